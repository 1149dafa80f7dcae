"""Folders that are damaged, unsafe or of another kind: each is told by name, and nothing in one ever runs."""

from __future__ import annotations

import importlib.util
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shopgen_django.engines.diffusers import Diffusers, install
from shopgen_django.engines.diffusers.folder import read_folder
from shopgen_django.engines.diffusers.manifest import digest_of, fingerprint, hash_files, read_manifest, write_manifest
from shopgen_django.engines.diffusers.shelf import SHELF
from shopgen_django.engines.errors import (
    BadOutput,
    BrokenInstall,
    ModelCorrupt,
    ModelMissing,
    NotInstalled,
    UnsafeFile,
    WrongKind,
)
from shopgen_django.exceptions import PermanentError
from tests.diffusion.test_engine import request

UNET = "unet/diffusion_pytorch_model.safetensors"
Copy = Callable[[Path], Path]


def run(folder: Path, **options: Any) -> Any:
    engine = Diffusers(MODEL=str(folder), **options)
    try:
        return next(engine.run(request()))
    finally:
        engine.free()


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def flip(path: Path, *, at: int = -1000) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(bytes(content))


def rewrite(path: Path, alter: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    from safetensors.torch import load_file, save_file

    save_file(alter(load_file(str(path))), str(path), metadata={"format": "pt"})


def cut(folder: Path) -> None:
    path = folder / UNET
    path.write_bytes(path.read_bytes()[:100_000])


def garbage(folder: Path) -> None:
    (folder / UNET).write_bytes(b"<!DOCTYPE html>" + b"x" * 5000)


def without_weights(folder: Path) -> None:
    (folder / UNET).unlink()


def without_index(folder: Path) -> None:
    (folder / "model_index.json").unlink()


def bad_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("{")


def without_part(folder: Path) -> None:
    (folder / "vae" / "config.json").unlink()
    for path in (folder / "vae").iterdir():
        path.unlink()
    (folder / "vae").rmdir()


def without_config(folder: Path) -> None:
    (folder / "vae" / "config.json").write_text("[]")


def with_fewer_tensors(folder: Path) -> None:
    rewrite(folder / UNET, lambda tensors: {name: value for name, value in tensors.items() if name != "conv_in.bias"})


def with_fewer_words(folder: Path) -> None:
    path = folder / "text_encoder" / "model.safetensors"
    rewrite(path, lambda tensors: {n: v for n, v in tensors.items() if "final_layer_norm.bias" not in n})


def with_other_shapes(folder: Path) -> None:
    rewrite(folder / UNET, lambda tensors: {**tensors, "conv_in.bias": tensors["conv_in.bias"][:7].clone()})


@pytest.mark.parametrize(
    "damage",
    [
        cut, garbage, without_weights, without_index, bad_index, without_part, without_config, with_fewer_tensors,
        with_fewer_words, with_other_shapes,
    ],
)
def test_damaged_folders_are_told(
    sd: Path, copy: Copy, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    folder = copy(sd)
    damage(folder)
    with pytest.raises(ModelCorrupt) as caught:
        run(folder)
    assert caught.value.code == "model_corrupt" and "model" in str(caught.value)
    assert str(tmp_path) not in str(caught.value), "a server's paths are nobody's business"
    assert not len(SHELF)


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing):
        run(tmp_path / "nothing")


class Marks:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.write_text, (self.path, "ran"))


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors"])
def test_pickles_are_refused_under_any_name(sd: Path, copy: Copy, tmp_path: Path, name: str) -> None:
    folder, marker = copy(sd), tmp_path / "marker"
    (folder / UNET).unlink()
    (folder / "unet" / name).write_bytes(pickle.dumps({"conv_in.weight": Marks(marker)}))
    with pytest.raises(UnsafeFile, match="run any program"):
        run(folder)
    assert not marker.exists()


def test_pickles_beside_the_weights_are_left_alone(sd: Path, copy: Copy, tmp_path: Path) -> None:
    folder, marker = copy(sd), tmp_path / "marker"
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Marks(marker)))
    assert run(folder).image.size == (64, 64) and not marker.exists()


def own_pipeline(folder: Path) -> None:
    change(folder / "model_index.json", _class_name=["pipeline", "Mine"])


def own_part(folder: Path) -> None:
    change(folder / "model_index.json", unet=["mine", "UNet"])


def auto_map(folder: Path) -> None:
    change(folder / "unet" / "config.json", auto_map={"AutoModel": "mine.UNet"})


@pytest.mark.parametrize("ask", [own_pipeline, own_part, auto_map])
def test_code_in_a_folder_never_runs(sd: Path, copy: Copy, tmp_path: Path, ask: Callable[[Path], None]) -> None:
    folder, marker = copy(sd), tmp_path / "marker"
    code = f"from pathlib import Path\nPath({str(marker)!r}).write_text('ran')\nclass Mine: ...\nclass UNet: ...\n"
    for place in (folder, folder / "unet"):
        for name in ("pipeline.py", "mine.py"):
            (place / name).write_text(code)
    assert run(folder).image.size == (64, 64), "files that nobody asks for do no harm"
    ask(folder)
    with pytest.raises(UnsafeFile):
        run(folder)
    assert not marker.exists()


@pytest.mark.parametrize(
    "part", [("diffusers", "DiffusionPipeline"), ("transformers", "pipeline"), ("transformers", "TrainingArguments")]
)
def test_only_models_tokenizers_and_schedulers_are_made(sd: Path, copy: Copy, part: tuple[str, str]) -> None:
    folder = copy(sd)
    change(folder / "model_index.json", unet=list(part))
    with pytest.raises(WrongKind):
        run(folder)


@pytest.mark.parametrize("kind", ["StableDiffusionXLPipeline", "FluxPipeline", "LTXPipeline"])
def test_a_class_that_is_not_the_folders_own(sd: Path, copy: Copy, kind: str) -> None:
    folder = copy(sd)
    change(folder / "model_index.json", _class_name=kind)
    with pytest.raises(WrongKind, match=kind):
        run(folder)


def test_an_xl_class_over_an_sd_unet(sdxl: Path, sd: Path, copy: Copy) -> None:
    folder = copy(sdxl)
    change(folder / "unet" / "config.json", addition_embed_type=None)
    with pytest.raises(WrongKind, match="unet"):
        read_folder(folder)


def test_unets_with_channels_of_another_kind(sd: Path, copy: Copy) -> None:
    folder = copy(sd)
    change(folder / "unet" / "config.json", in_channels=8)
    with pytest.raises(WrongKind, match="8 channels"):
        read_folder(folder)


def test_a_flipped_byte_is_caught_by_the_manifest(sd: Path, copy: Copy) -> None:
    folder = copy(sd)
    manifest = write_manifest(folder, licence="CreativeML-OpenRAIL-M", commercial=True, source="https://example.org")
    made = run(folder)
    assert made.facts["model_sha256"] == manifest.sha256 == digest_of(hash_files(folder, threads=2))
    flip(folder / UNET)
    with pytest.raises(ModelCorrupt, match="diffusion_pytorch_model"):
        run(folder)
    flip(folder / UNET)
    assert run(folder).facts["model_sha256"] == manifest.sha256
    (folder / "unet" / "more.json").write_text("{}")
    with pytest.raises(ModelCorrupt, match=r"more\.json"):
        run(folder)
    (folder / "shopgen.json").write_text("{}")
    with pytest.raises(ModelCorrupt):
        read_manifest(folder)


def test_a_flipped_byte_is_caught_by_a_hash_in_the_settings(sd: Path, copy: Copy) -> None:
    folder = copy(sd)
    digest = digest_of(hash_files(folder))
    assert run(folder, SHA256=digest.upper()).facts["model_sha256"] == digest
    flip(folder / UNET)
    with pytest.raises(ModelCorrupt, match="SHA256"):
        run(folder, SHA256=digest)


def test_weights_that_are_no_numbers_end_as_an_error_without_a_manifest(sd: Path, copy: Copy) -> None:
    folder = copy(sd)
    rewrite(folder / UNET, lambda tensors: {**tensors, "conv_in.bias": tensors["conv_in.bias"] * float("nan")})
    with pytest.raises(BadOutput):
        run(folder)


def test_files_that_change_are_loaded_anew(sd: Path, copy: Copy) -> None:
    folder = copy(sd)
    engine = Diffusers(MODEL=str(folder))
    before, known = next(engine.run(request())), fingerprint(folder)
    rewrite(folder / UNET, lambda tensors: {**tensors, "conv_in.bias": tensors["conv_in.bias"] + 1.0})
    after = next(engine.run(request()))
    assert before.facts["model_sha256"] != after.facts["model_sha256"] and fingerprint(folder) != known
    assert before.image.tobytes() != after.image.tobytes()
    engine.free()


def test_half_precision_files_are_found_by_their_variant(sd: Path, copy: Copy) -> None:
    folder = copy(sd)
    for path in [*folder.glob("*/*.safetensors")]:
        rewrite(path, lambda tensors: {n: v.half() if v.is_floating_point() else v for n, v in tensors.items()})
        path.rename(path.with_suffix(".fp16.safetensors"))
    assert {part.variant for part in read_folder(folder).components if part.weights} == {"fp16"}
    assert run(folder).image.size == (64, 64)


def test_missing_packages_are_named_with_the_extra(monkeypatch: pytest.MonkeyPatch, sd: Path) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "diffusers" else found(name, *more)
    )
    assert "shopgen-django[diffusers]" in Diffusers(MODEL=str(sd)).check()[0]
    with pytest.raises(NotInstalled, match=r"diffusers.*shopgen-django\[diffusers\]"):
        run(sd)


def test_a_torchvision_that_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    with pytest.raises(BrokenInstall, match="pip uninstall torchvision") as caught:
        install.load_libraries()
    assert isinstance(caught.value, PermanentError) and caught.value.code == "engine_broken"


DESCRIBED = """
import sys
import django
django.setup()
from shopgen_django.engines import get_engine
from shopgen_django.engines.diffusers import Diffusers
engine = Diffusers(MODEL=sys.argv[1])
print(engine.describe().kind, engine.check(), len(engine.identity()) > 10, get_engine("diffusion").check())
heavy = ("torch", "diffusers", "transformers", "accelerate", "peft", "numpy", "safetensors", "huggingface_hub")
print([name for name in heavy if name in sys.modules])
"""


def test_the_web_process_describes_models_and_imports_nothing(sd: Path) -> None:
    done = subprocess.run([sys.executable, "-c", DESCRIBED, str(sd)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["StableDiffusionPipeline [] True []", "[]"]


def test_system_checks_tell_of_engines_that_cannot_work(sd: Path, settings: Any, copy: Copy) -> None:
    from shopgen_django.checks import check_engines

    def told(**options: Any) -> list[tuple[str, str]]:
        settings.SHOPGEN = {**settings.SHOPGEN, "ENGINES": {"diffusion": {"OPTIONS": options}}}
        return [(str(message.id), message.msg) for message in check_engines()]

    assert told() == told(MODEL=str(sd)) == []
    assert told(MODEL="nowhere") == [
        ("shopgen.W011", 'SHOPGEN["ENGINES"]["diffusion"]: There is no model folder models/nowhere.')
    ]
    folder = copy(sd)
    cut(folder)
    assert "is cut" in told(MODEL=str(folder))[0][1]
    assert told(MODLE="x")[0][0] == "shopgen.E021"
