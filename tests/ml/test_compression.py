"""Smaller generators: cut where it costs nothing, taught, exported, in 8 bit, and always measured."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from shopgen_django.ml import compress as command
from shopgen_django.ml import files
from shopgen_django.ml.compression import run as running
from shopgen_django.ml.compression import table
from shopgen_django.ml.compression.config import CompressConfig
from shopgen_django.ml.compression.distil import DistilSettings, distil, picture_loss
from shopgen_django.ml.compression.export import largest_difference, to_onnx
from shopgen_django.ml.compression.latents import Numbers, rule_from
from shopgen_django.ml.compression.onnx_file import check_onnx
from shopgen_django.ml.compression.prune import choose_plan, cut, importance, scaled_plan
from shopgen_django.ml.compression.quantise import to_int8
from shopgen_django.ml.compression.runtime import onnx_session, psnr
from shopgen_django.ml.compression.teacher import Cost, Model, draw_material, like, operations, pictures_of
from shopgen_django.ml.errors import ConfigError, MissingExtra, ModelFileError
from shopgen_django.ml.families import get_family
from shopgen_django.ml.families.base import Generator
from shopgen_django.ml.loop import train
from shopgen_django.ml.networks import scaled_normal
from shopgen_django.ml.sample import load_generator
from tests.ml.photos import make_folder, tiny

SPECS: dict[str, dict[str, Any]] = {
    "modern": {"size": 32, "channels": 3, "latent": 16, "categories": 2, "plan": [24, 16, 12], "codes": 20},
    "dcgan": {"size": 32, "channels": 1, "latent": 20, "categories": 0, "plan": [24, 16, 12]},
    "vae": {
        "size": 16, "channels": 3, "latent": 12, "categories": 2, "plan": [16, 12], "likelihood": "gaussian",
        "second_stage": True,
    },
}


def make(name: str) -> Model:
    """A network with weights as drawn, and for dcgan statistics that aren't the initial ones."""
    spec = SPECS[name]
    rng = torch.Generator().manual_seed(5)
    network = get_family(name).build_generator(spec)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                scaled_normal(layer, rng)
            elif isinstance(layer, nn.Embedding):
                layer.weight.normal_(generator=rng)
        for buffer_name, buffer in network.named_buffers():
            if buffer.is_floating_point():
                buffer.normal_(generator=rng)
                if "running" in buffer_name:
                    buffer.abs_().add_(0.5) if buffer_name.endswith("var") else buffer.mul_(0.1)
            elif buffer_name == "code_labels":
                buffer.copy_(torch.arange(len(buffer)) % 2)
    names = [f"category {n}" for n in range(spec["categories"])]
    card = {"architecture": name, "network": spec, "categories": names, "sha256": "0" * 64, "prepare": "none"}
    card |= {"size": spec["size"], "channels": spec["channels"]}
    network.eval().requires_grad_(False)
    return like(Model(network=network, card=card), network, tuple(spec["plan"]))


@pytest.fixture(scope="module", autouse=True)
def _few_runs() -> Iterator[None]:
    """Times are measured to be seen in the table, not to be precise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "TIMED", 3)
        yield


@pytest.fixture(scope="module", params=["modern", "dcgan", "vae"])
def model(request: pytest.FixtureRequest) -> Model:
    return make(request.param)


@pytest.fixture(scope="module")
def exported(model: Model) -> bytes:
    return to_onnx(model)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("trained")
    train(tiny(make_folder(base / "photos", 24), base / "run", width=8, images_seen=80))
    return base / "run"


@pytest.fixture(scope="module")
def compressed(trained: Path) -> Path:
    config = CompressConfig(
        folder=str(trained), output=str(trained.parent / "small"), methods=("distil", "int8"), ratio=0.6, images=96,
        compared=24, threads=1,
    )  # fmt: skip
    assert running.compress(config).folder == trained.parent / "small"
    return trained.parent / "small"


# -- random vectors without PyTorch ----------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 7, 2**40 + 17, 2**63 - 5])
def test_the_numbers_are_pytorchs(seed: int) -> None:
    theirs, ours = torch.Generator().manual_seed(seed), Numbers(seed)
    for count in (1, 3, 8, 15, 16, 17, 33, 64, 100):
        assert int(torch.randint(7, (1,), generator=theirs)) == ours.below(7)
        assert np.abs(torch.randn(count, generator=theirs).numpy() - ours.normal(count)).max() < 3e-6
        assert (torch.rand(5, generator=theirs).numpy() == ours.uniform(5)).all()


@pytest.mark.parametrize("truncation", [1.0, 0.4])
def test_a_seed_draws_the_same_products_as_with_pytorch(trained: Path, tmp_path: Path, truncation: float) -> None:
    running.compress(CompressConfig(folder=str(trained), output=str(tmp_path / "o"), methods=("export",), compared=16))
    loaded = [load_generator(folder) for folder in (trained, tmp_path / "o")]
    for category in (None, "hats"):
        first, second = (
            np.stack([np.asarray(p, dtype=int) for p in m.sample(12, category=category, seed=3, truncation=truncation)])
            for m in loaded
        )
        assert np.abs(first - second).max() <= 1
        assert first.std(axis=0).mean() > 1  # twelve pictures, not one twelve times


def test_a_family_that_draws_in_its_own_way_must_say_how() -> None:
    made = make("dcgan")

    class Odd(type(made.network)):  # type: ignore[misc]
        def draw(self, rng: Any, labels: torch.Tensor, truncation: float = 1.0) -> torch.Tensor:
            return torch.zeros(len(labels), self.latent)

    made.network.__class__ = Odd
    assert Odd.latent_rule is Generator.latent_rule
    with pytest.raises(ConfigError, match="how its random vectors are drawn"):
        to_onnx(made)


@pytest.mark.parametrize(
    "change",
    [{"kind": "magic"}, {"latent": 0}, {"latent": 10**9}, {"latent": 1}, {"spread": "wide"}, {"kind": "blend"}],
)
def test_rules_that_can_not_be_followed_are_refused(change: dict[str, Any]) -> None:
    good = {"kind": "blend", "latent": 8, "by_category": True, "neighbours": 2, "looks": 3, "spread": 0.1, "reach": 0.4}
    codes, labels = np.zeros((4, 5), np.float32), np.zeros(4, np.int64)
    assert rule_from(good, codes, labels).blend is not None
    with pytest.raises(ModelFileError, match="can't be followed"):
        rule_from({**good, **change}, *((None, None) if change == {"kind": "blend"} else (codes, labels)))


# -- pruning ---------------------------------------------------------------------------------------


def test_every_level_says_where_its_channels_lie(model: Model) -> None:
    state = model.network.state_dict()
    for width, level in zip(model.plan, model.network.levels(), strict=True):
        for part in level:
            assert state[part.tensor].shape[part.axis] == width * part.block


def test_channels_that_are_off_rank_last_and_go_without_a_trace(model: Model) -> None:
    """Four channels of each level are switched off; what is cut out are these, and the pictures stay."""
    dead = Model(network=model.family.build_generator(model.card["network"]), card=model.card)
    dead.network.load_state_dict(model.network.state_dict())
    dead.network.eval().requires_grad_(False)
    state = dead.network.state_dict()
    for width, level in zip(model.plan, model.network.levels(), strict=True):
        for part in (part for part in level if part.makes):
            blocks = state[part.tensor].movedim(part.axis, 0).view(width, -1)
            blocks[[1, 4, 5, width - 1]] = 0.0
    ranks = importance(dead)
    for width, rank in zip(model.plan, ranks, strict=True):
        assert set(rank.argsort()[:4].tolist()) == {1, 4, 5, width - 1}
    plan = tuple(width - 4 for width in model.plan)
    smaller = cut(dead, plan, ranks)
    material = draw_material(model, seed=1, purpose="test", start=0, count=8)
    assert torch.allclose(pictures_of(smaller.network, *material), pictures_of(dead.network, *material), atol=1e-5)
    count = sum(p.numel() for p in smaller.network.parameters())
    assert count < sum(p.numel() for p in dead.network.parameters())
    rebuilt = model.family.build_generator(smaller.card["network"])
    rebuilt.load_state_dict(smaller.network.state_dict())


def test_operations_in_closed_form_are_those_of_the_network(model: Model) -> None:
    ranks = importance(model)
    for plan in (choose_plan(model, ranks, ratio=0.6), scaled_plan(model, ratio=0.6)):
        built = operations(cut(model, plan, ranks).network)
        assert Cost(model)(plan) == pytest.approx(built)
        assert built <= 0.6 * operations(model.network)
        assert plan != model.plan
    with pytest.raises(ConfigError, match=r"can't be reached.*Ask for 0\.\d\d"):
        choose_plan(model, ranks, ratio=0.01)


# -- distillation ----------------------------------------------------------------------------------


def test_the_student_comes_nearer_and_is_the_same_each_time(model: Model) -> None:
    ranks = importance(model)
    plan = scaled_plan(model, ratio=0.7)
    settings = DistilSettings(minutes=None, images=320, batch_size=16, lr=2e-3, seed=1)
    students = [cut(model, plan, ranks) for _ in range(2)]
    results = [distil(model, student, settings) for student in students]
    assert results[0].psnr > results[0].psnr_before + 1.0
    assert results[0].images == 320
    assert results[0].psnr == results[1].psnr
    stopped = distil(model, cut(model, plan, ranks), settings, should_stop=lambda: True)
    assert stopped.images == 0
    assert stopped.psnr == pytest.approx(results[0].psnr_before)


def test_the_loss_sees_all_scales() -> None:
    wanted = torch.zeros(1, 1, 32, 32)
    assert float(picture_loss(wanted, wanted)) == 0.0
    surface = torch.full_like(wanted, 0.1)
    grid = 0.1 * (1.0 - 2.0 * ((torch.arange(32)[:, None] + torch.arange(32)) % 2)).expand(1, 1, 32, 32)
    # A surface counts in the pixels and in the coarsest band, a chessboard in the pixels and in the finest.
    assert float(picture_loss(surface, wanted)) == pytest.approx(0.2, abs=1e-5)
    assert float(picture_loss(grid, wanted)) == pytest.approx(0.2, abs=1e-5)


# -- ONNX ------------------------------------------------------------------------------------------


def test_onnx_makes_pytorchs_pictures_in_any_batch(model: Model, exported: bytes) -> None:
    session = onnx_session(exported)
    for batch in (1, 3, 16):
        for start in range(0, 64, batch):
            latents, labels = draw_material(model, seed=2, purpose="test", start=start, count=batch)
            given = {"latents": latents.numpy(), "labels": labels.numpy()}
            made = session.run(None, {i.name: given[i.name] for i in session.get_inputs()})[0]
            assert np.abs(made - pictures_of(model.network, latents, labels).numpy()).max() <= 1e-4
    assert largest_difference(model, exported) <= 1e-4


def test_nothing_of_this_machine_is_in_the_file(exported: bytes) -> None:
    assert b"shopgen_django/" not in exported
    assert str(Path.home()).encode() + b"/" not in exported
    assert set(check_onnx(exported).metadata) <= {"shopgen.codes_sha256"}


def test_eight_bit_is_small_near_and_leaves_first_and_last_layer_in_floats(model: Model, exported: bytes) -> None:
    small = to_int8(model, exported)
    assert len(small) < 0.6 * len(exported)  # these are tiny: names and shapes are half of the file
    assert check_onnx(small).metadata == check_onnx(exported).metadata
    latents, labels = draw_material(model, seed=2, purpose="test", start=0, count=16)
    given = {"latents": latents.numpy(), "labels": labels.numpy()}
    made = [
        session.run(None, {i.name: given[i.name] for i in session.get_inputs()})[0]
        for session in (onnx_session(exported), onnx_session(small))
    ]
    assert psnr(made[1], made[0]) >= 30.0
    graph = onnx.load_model_from_string(small).graph
    producer = {name: node.op_type for node in graph.node for name in node.output}
    layers = [n for n in graph.node if n.op_type in ("Gemm", "MatMul", "Conv", "ConvTranspose")]
    in_8_bit = [producer.get(node.input[0]) == "DequantizeLinear" for node in layers]
    assert not in_8_bit[0]
    assert not in_8_bit[-1]
    # onnxruntime has no transposed convolution in 8 bit: there only the weights are small.
    assert any(in_8_bit) == any(node.op_type == "Conv" for node in layers[1:-1])


# -- the whole -------------------------------------------------------------------------------------


def test_a_compression_leaves_a_folder_that_says_everything(trained: Path, compressed: Path) -> None:
    card = json.loads((compressed / "model.json").read_text())
    assert (card["runtime"], card["weights"]) == ("onnxruntime", "model.onnx")
    assert card["teacher"]["sha256"] == json.loads((trained / "model.json").read_text())["sha256"]
    assert card["sha256"] == files.sha256_file(compressed / "model.onnx")
    report = json.loads((compressed / "compression.json").read_text())
    rows = {row["name"]: row for row in report["rows"]}
    assert list(rows) == ["teacher, PyTorch", "distil, PyTorch", "distil, ONNX", "distil, ONNX 8 bit"]
    teacher, student, plain, small = report["rows"]
    assert student["megaflops"] <= 0.6 * teacher["megaflops"] + 1e-3
    assert plain["difference"] <= 1e-4
    assert plain["psnr"] == pytest.approx(student["psnr"], abs=0.1)
    assert small["bytes"] < plain["bytes"]
    assert all(row["ms_1"] > 0 and row["ms_16"] > 0 for row in rows.values())
    assert teacher["kid_photos"] is not None  # the run's own photos lie beside it
    assert report["remarks"][0].startswith("8 bit: ")
    table = (compressed / "compression.txt").read_text()
    assert all(name in table for name in rows)
    assert (compressed / "samples" / "strip.png").read_bytes().startswith(b"\x89PNG")
    inner = load_generator(compressed / "network")
    assert inner.card["network"]["plan"] != json.loads((trained / "model.json").read_text())["network"]["plan"]
    assert not list(compressed.glob(".*.tmp"))


def test_pictures_of_the_compressed_one_depend_on_seed_and_number_only(compressed: Path) -> None:
    loaded = load_generator(compressed)
    assert loaded.categories == ("bags", "hats")
    many = [np.asarray(p) for p in loaded.sample(9, seed=4)]
    few = [np.asarray(p) for p in load_generator(compressed).sample(3, seed=4)]
    assert all((a == b).all() for a, b in zip(few, many, strict=False))
    assert any((a != np.asarray(b)).any() for a, b in zip(few, loaded.sample(3, seed=5), strict=True))


def test_eight_bit_is_served_only_where_it_is_worth_it(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CompressConfig(folder=str(trained), output=str(tmp_path / "a"), methods=("int8",), compared=16)
    monkeypatch.setattr(running, "INT8_FILE", 1.0)
    monkeypatch.setattr(running, "INT8_KID", 1e9)
    for limit, precision, words in ((0.0, "fp32", "Floating point is served"), (1e9, "int8", "It is served")):
        monkeypatch.setattr(running, "INT8_TIME", limit)
        made = running.compress(config)
        assert made.precision == precision
        assert words in made.remarks[0]
        sizes = {row.name: row.bytes for row in made.rows}
        codes = (made.folder / "codes.safetensors").stat().st_size
        name = "teacher, ONNX" + (" 8 bit" if precision == "int8" else "")
        assert (made.folder / "model.onnx").stat().st_size + codes == sizes[name]
    monkeypatch.setattr(running, "INT8_TIME", 0.0)
    made = running.compress(replace(config, keep_int8=True))
    assert (made.precision, "because of --keep-int8" in made.remarks[0]) == ("int8", True)


def test_pruning_for_pytorch_makes_an_ordinary_folder(trained: Path, tmp_path: Path) -> None:
    arguments = [str(trained), "--method", "prune", "--runtime", "torch", "--ratio", "0.6", "--images", "64"]
    arguments += ["--compared", "16", "--output", str(tmp_path / "o"), "--photos", str(trained.parent / "photos")]
    assert command.main(arguments) == 0
    assert not (tmp_path / "o" / "model.onnx").exists()
    loaded = load_generator(tmp_path / "o")
    assert loaded.card["compression"]["methods"] == ["prune"]
    assert len(loaded.sample(2)) == 2


def test_a_private_model_is_not_compared_with_photos(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private = tmp_path / "private"
    shutil.copytree(trained, private)
    card = json.loads((private / "model.json").read_text())
    (private / "model.json").write_text(json.dumps({**card, "privacy": {"epsilon": 8.0, "delta": 1e-5}}))
    arguments = [str(private), "--method", "export", "--compared", "16", "--output", str(tmp_path / "o")]
    assert command.main([*arguments, "--photos", str(trained.parent / "photos")]) == 1
    assert "differential privacy" in capsys.readouterr().err
    assert command.main(arguments) == 0
    report = json.loads((tmp_path / "o" / "compression.json").read_text())
    assert [row["kid_photos"] for row in report["rows"]] == [None, None]
    assert json.loads((tmp_path / "o" / "model.json").read_text())["privacy"]["epsilon"] == 8.0


@pytest.mark.parametrize(("package", "extra"), [("onnx", "compression"), ("onnxruntime", "onnx")])
def test_a_missing_package_is_named_with_its_extra(
    package: str, extra: str, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'shopgen-django\[{extra}\]'"):
        to_onnx(model)


NO_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "onnx", "django"}:
            raise ImportError(name + " is not installed")
sys.meta_path.insert(0, Refuse())
from shopgen_django.ml import sample
assert sample.main([sys.argv[1], "--count", "3", "--output", sys.argv[2]]) == 0
print(sorted(n for n in ("torch", "onnx", "django") if n in sys.modules))
"""


def test_sampling_needs_no_torch(compressed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH, str(compressed), str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert len(list(tmp_path.glob("*.png"))) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "distil", "prune"], "take one of the two"),
        (["--method", "int8", "--runtime", "torch"], "--runtime torch"),
        (["--ratio", "1.5"], "between 0 and 1"),
        (["--method", "prune", "--width", "8"], "--width is for --method distil"),
        (["--method", "distil", "--width", "64"], "not narrower"),
        (["--minutes", "0"], "--minutes 0"),
        (["--compared", "3"], "--compared 3 is too small"),
        (["--photos", "/nowhere/at/all"], "is not a folder"),
    ],
)
def test_errors_are_plain_words(
    options: list[str], message: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    length = [] if "--minutes" in options else ["--images", "32"]
    assert command.main([str(trained), "--output", str(tmp_path / "o"), *length, *options]) == 1
    assert message in capsys.readouterr().err


def test_folders_are_not_overwritten_and_exports_not_compressed_again(
    trained: Path, compressed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert command.main([str(trained), "--output", str(tmp_path)]) == 1
    assert "holds other files (thesis.txt)" in capsys.readouterr().err
    assert command.main([str(trained), "--output", str(trained)]) == 1
    assert "own folder" in capsys.readouterr().err
    assert command.main([str(compressed), "--output", str(tmp_path / "o")]) == 1
    assert "is an ONNX export" in capsys.readouterr().err
