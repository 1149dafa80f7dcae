"""Cutting out by networks of the transformers library: what they find, what they are told, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.exceptions import ImproperlyConfigured
from PIL import Image

from shopgen_django.engines import get_engine, reset_engines
from shopgen_django.engines.diffusers.manifest import write_manifest
from shopgen_django.engines.diffusers.shelf import SHELF
from shopgen_django.engines.errors import (
    BadOutput,
    LicenceRefused,
    ModelCorrupt,
    ModelMissing,
    OutOfMemory,
    UnsafeFile,
    WrongKind,
)
from shopgen_django.engines.transformers import Segmenter, Transformers
from shopgen_django.exceptions import JobCancelled, PermanentError
from shopgen_django.imaging.cutout import Hints, cut_out
from shopgen_django.imaging.cutout.hints import Prompts
from shopgen_django.jobs.runner import run_job
from shopgen_django.models import Job, JobState, ProductImage
from shopgen_django.operations.registry import get_operation
from shopgen_django.services.submit import submit_job
from shopgen_django.storage import read_image
from tests.diffusion.test_folder import flip
from tests.factories import make_image
from tests.operations.test_cut_out import source
from tests.segmenting import tiny
from tests.test_shopgen_model import shopgen_model

SIZE = (300, 240)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind of network; the SegFormer knows wall, floor and bag."""
    place = tmp_path_factory.mktemp("networks")
    tiny.make_segformer(place / "segformer", taught=True)
    for name in ("dpt", "clipseg", "sam"):
        getattr(tiny, f"make_{name}")(place / name)
    return place


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    SHELF.release()


@pytest.fixture
def use(settings: Any) -> Iterator[Callable[..., None]]:
    def used(**options: Any) -> None:
        entry = {"BACKEND": "shopgen_django.engines.transformers.Segmenter", "OPTIONS": options}
        settings.SHOPGEN = {**settings.SHOPGEN, "ENGINES": {"cutout": entry}, "LIMITS": {"THREADS": 1}}

    yield used
    reset_engines()


@pytest.fixture
def copy(models: Path, tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(models / name, tmp_path / name))


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def belief(folder: Path, rgb: np.ndarray, prompts: Prompts | None = None, **options: Any) -> np.ndarray:
    finder: Any = Segmenter(MODEL=str(folder), **options).finder()
    return np.asarray(finder(rgb) if prompts is None else finder(rgb, prompts))


def pixels(seed: int = 3) -> np.ndarray:
    return np.asarray(tiny.scene(seed, SIZE)[0], np.uint8)


def test_what_it_has_learnt_it_finds_to_the_photos_own_edges(models: Path) -> None:
    engine = Segmenter(MODEL=str(models / "segformer"))
    assert engine.check() == []
    for seed in range(3):
        image, mask = tiny.scene(seed, SIZE)
        found = cut_out(image, finder=engine.finder())
        assert found.alpha.shape == mask.shape and overlap(found.alpha > 127, mask) > 0.95
        coarse = belief(models / "segformer", np.asarray(image, np.uint8))
        assert coarse.shape[0] < mask.shape[0] and 0.0 <= coarse.min() <= coarse.max() <= 1.0
        large = np.asarray(Image.fromarray(coarse).resize(SIZE, Image.Resampling.BILINEAR))
        assert overlap(large > 0.5, mask) > 0.85, "the network itself has found it"
    # Where there is none it finds none.
    empty = Image.new("RGB", SIZE, (100, 90, 95))
    empty.paste((30, 30, 40), (0, 170, SIZE[0], SIZE[1]))
    assert belief(models / "segformer", np.asarray(empty, np.uint8)).max() < 0.5


def test_which_labels_are_product(models: Path, copy: Callable[[str], Path]) -> None:
    folder = models / "segformer"
    image = pixels()
    usual = belief(folder, image)
    assert np.array_equal(usual, belief(folder, image, LABELS=["Bag"]))
    both, floor = belief(folder, image, LABELS=["bag", "floor"]), belief(folder, image, LABELS=["flooring"])
    assert np.allclose(both, usual + floor, atol=1e-5) and floor[-4:].mean() > 0.5 > usual[-4:].mean()
    with pytest.raises(WrongKind, match=r"shoe.*wall, floor;flooring, bag"):
        Segmenter(MODEL=str(folder), LABELS=["shoe", "bag"]).finder()
    with pytest.raises(WrongKind, match="all or none"):
        Segmenter(MODEL=str(folder), LABELS=["wall", "floor", "bag"]).finder()
    with pytest.raises(WrongKind, match="no labels"):
        Segmenter(MODEL=str(models / "sam"), LABELS=["bag"]).finder()
    nameless = copy("segformer")
    config = json.loads((nameless / "config.json").read_text())
    config["id2label"] = {str(number): f"LABEL_{number}" for number in range(3)}
    (nameless / "config.json").write_text(json.dumps(config))
    with pytest.raises(WrongKind, match="LABEL_0, LABEL_1, LABEL_2"):
        Segmenter(MODEL=str(nameless)).finder()
    assert np.array_equal(usual, belief(nameless, image, LABELS=["LABEL_2"]))
    for wrong in ({"LABELS": "bag"}, {"WORDS": " "}, {"COLOUR": "red"}, {"DTYPE": "float8"}):
        with pytest.raises(ImproperlyConfigured):
            Segmenter(MODEL=str(folder), **wrong)


@pytest.mark.parametrize("name", ["dpt", "clipseg", "sam"])
def test_every_kind_runs_and_repeats(models: Path, name: str) -> None:
    image = pixels()
    first, again = (belief(models / name, image) for _time in range(2))
    assert np.array_equal(first, again) and first.ndim == 2 and first.dtype == np.float32
    assert np.isfinite(first).all() and first.std() > 0
    found = cut_out(Image.fromarray(image), finder=Segmenter(MODEL=str(models / name)).finder())
    assert found.alpha.shape == image.shape[:2] and 0.0 <= found.confidence <= 1.0


def test_words_say_what_is_looked_for(models: Path) -> None:
    image = pixels()
    assert not np.array_equal(belief(models / "clipseg", image), belief(models / "clipseg", image, WORDS="a red shoe"))
    plain = Segmenter(MODEL=str(models / "clipseg"))
    assert plain.identity() != Segmenter(MODEL=str(models / "clipseg"), WORDS="a red shoe").identity()


def test_a_box_and_points_say_where_to_look(models: Path) -> None:
    """What SAM is asked is what a person has marked, in the pixels of the view it is shown."""
    image, sam = pixels(), models / "sam"
    box = Prompts(box=(60.0, 40.0, 200.0, 180.0))
    asked = [None, box, Prompts(box=box.box, keep=((100.0, 90.0),)), Prompts(keep=((100.0, 90.0),)),
             Prompts(keep=((100.0, 90.0),), drop=((20.0, 20.0), (280.0, 220.0)))]  # fmt: skip
    answers = [belief(sam, image, prompts) for prompts in asked]
    assert len({answer.tobytes() for answer in answers}) == len(asked)
    assert all(answer.shape == image.shape[:2] for answer in answers)


def test_a_persons_hints_reach_the_network_in_every_view(models: Path) -> None:
    image, told = Image.fromarray(pixels()), []

    def watched(rgb: Any, prompts: Any = None) -> Any:
        told.append((rgb.shape[1], rgb.shape[0], prompts))
        return np.zeros(rgb.shape[:2], np.float32)

    watched.prompted = True  # type: ignore[attr-defined]
    strokes = np.zeros((240, 300), np.uint8)
    strokes[100:110, 150:160] = 1
    strokes[20:24, 250:254] = 2
    cut_out(image, finder=watched, hints=Hints(strokes=strokes))
    (plain, mirrored, padded) = told
    assert plain[:2] == mirrored[:2] == (300, 240) and padded[:2] == (300, 300)
    ((x, y),), ((far, high),) = plain[2].keep, plain[2].drop
    assert plain[2].box is None and 150 <= x < 160 and 100 <= y < 110 and 250 <= far < 254 and 20 <= high < 24
    assert mirrored[2].keep == ((299 - x, y),) and padded[2].keep == ((x, y + 30),)
    told.clear()
    cut_out(image, finder=watched, hints=Hints(box=(0.2, 0.25, 0.8, 0.75)))
    width, height, prompts = told[0]
    left, top, right, bottom = prompts.box
    # It sees the box with some room around it, and the box lies within.
    assert 0 < left < right < width < 300 and 0 < top < bottom < height < 240
    assert (right - left, bottom - top) == (180, 120) and told[1][2].box == (width - right, top, width - left, bottom)
    told.clear()
    plain_image, mask = tiny.scene(3, SIZE)
    cut_out(plain_image, finder=watched)
    left, top, right, bottom = told[0][2].box
    rows, columns = np.nonzero(mask)
    # Without a person the classical finder says where to look.
    assert abs(left - columns.min()) < 15 and abs(bottom - rows.max()) < 15


def test_it_is_the_engine_of_the_operations(models: Path, use: Callable[..., None], db: None) -> None:
    use(MODEL=str(models / "segformer"))
    image, mask = tiny.scene(5, SIZE)
    job, _new = submit_job(operation="cut_out", inputs=[make_image("approved", content=source(image).content)])
    run_job(job.pk)
    assert Job.objects.get(pk=job.pk).state == JobState.SUCCEEDED, Job.objects.get(pk=job.pk).error_detail
    result = ProductImage.objects.get(job=job)
    import io

    alpha = np.asarray(Image.open(io.BytesIO(read_image(result))).getchannel("A"))
    assert overlap(alpha > 127, mask) > 0.95
    names = {row.name for row in result.measurements.all()}
    assert {"cutout_confidence", "cutout_steadiness", "cutout_agreement"} <= names
    made = result.params["made_with"]
    assert made["cutout_model"] == "segformer" and len(made["cutout_model_sha256"]) == 64
    use(MODEL=str(models / "sam"))
    stroke = {"keep": True, "radius": 0.1, "points": [[0.5, 0.5]]}
    job, _new = submit_job(
        operation="cut_out", params={"strokes": [stroke], "sure": 0},
        inputs=[make_image("approved", content=source(image).content)],
    )
    run_job(job.pk)
    assert Job.objects.get(pk=job.pk).state == JobState.SUCCEEDED
    use(MODEL="lost")
    job, _new = submit_job(operation="cut_out", inputs=[make_image("approved")])
    run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error_code) == (JobState.FAILED, "model_unavailable")


def test_cancelling_stops_between_the_views(models: Path) -> None:
    engine, calls = Segmenter(MODEL=str(models / "segformer")), 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise JobCancelled

    image, mask = tiny.scene(1, SIZE)
    with pytest.raises(JobCancelled):
        cut_out(image, finder=engine.finder(), check=stop)
    assert overlap(cut_out(image, finder=engine.finder()).alpha > 127, mask) > 0.95


def damaged(folder: Path, how: str) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    weights = folder / "model.safetensors"
    tensors, config = load_file(str(weights)), json.loads((folder / "config.json").read_text())
    if how == "pickle":
        weights.rename(folder / "pytorch_model.bin")
    elif how == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "missing tensor":
        tensors.pop("decode_head.classifier.weight")
        save_file(tensors, str(weights), metadata={"format": "pt"})
    elif how == "nan":
        tensors["decode_head.classifier.bias"] = torch.full((3,), float("nan"))
        save_file(tensors, str(weights), metadata={"format": "pt"})
    elif how == "flipped":
        write_manifest(folder, licence="MIT", commercial=True)
        flip(weights)
    elif how == "licence":
        write_manifest(folder, licence="CC-BY-NC-4.0", commercial=False)
    elif how == "code":
        (folder / "config.json").write_text(json.dumps({
            **config, "architectures": ["BiRefNet"], "auto_map": {"AutoModel": "birefnet.BiRefNet"}
        }))  # fmt: skip
        (folder / "birefnet.py").write_text("raise SystemExit('ran')")
    elif how == "code of a known class":
        (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "own.Own"}}))
    elif how == "other class":
        (folder / "config.json").write_text(json.dumps({**config, "architectures": ["ResNetForImageClassification"]}))


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ("pickle", UnsafeFile, "pickle"), ("cut", ModelCorrupt, "cut"), ("missing tensor", ModelCorrupt, "missing"),
        ("nan", BadOutput, "NaN"), ("flipped", ModelCorrupt, "not the model"),
        ("licence", LicenceRefused, "commercial"), ("code", UnsafeFile, "ONNX"),
        ("code of a known class", UnsafeFile, "auto_map"), ("other class", WrongKind, "Segformer"),
    ],
)
def test_what_can_not_be_used_has_a_name(
    copy: Callable[[str], Path], how: str, error: type[Exception], words: str
) -> None:
    folder = copy("segformer")
    damaged(folder, how)
    with pytest.raises(error, match=words):
        belief(folder, pixels())


def test_other_things_that_are_told(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "MODEL" in Segmenter().check()[0]
    with pytest.raises(ModelMissing):
        Segmenter().finder()
    with pytest.raises(ModelMissing):
        Segmenter(MODEL=str(tmp_path / "lost")).finder()
    with pytest.raises(PermanentError, match="device"):
        belief(models / "segformer", pixels(), DEVICE="cuda:7")
    with pytest.raises(ModelCorrupt, match="SHA"):
        belief(models / "segformer", pixels(), SHA256="0" * 64)
    with pytest.raises(WrongKind, match="can't use"):
        Transformers(MODEL=str(models / "segformer")).describe()
    engine = Segmenter(MODEL=str(models / "segformer"))
    usual: Any = engine.finder()
    before = usual(pixels())

    def full(*_args: Any, **_options: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    with monkeypatch.context() as patched, pytest.raises(OutOfMemory):
        patched.setattr(Segmenter, "_by_labels", full)
        usual(pixels())
    assert np.array_equal(usual(pixels()), before) and len(SHELF) == 1
    engine.free()
    assert len(SHELF) == 0


@pytest.mark.django_db
def test_a_folder_gets_a_name_by_the_command(copy: Callable[[str], Path], use: Callable[..., None]) -> None:
    folder = copy("segformer")
    ours = ("--licence", "Apache-2.0", "--source", "https://example.org/bags")
    told = shopgen_model("add", str(folder), "--name", "bags", *ours)
    assert told.startswith("bags: SegformerForSemanticSegmentation, ") and told in shopgen_model("list")
    assert shopgen_model("verify", "bags") == "bags: whole\n"
    use(MODEL="bags")
    engine: Any = get_engine("cutout")
    assert engine.check() == [] and engine.identity().startswith("bags ")
    chosen = get_operation("cut_out")
    from shopgen_django.operations.base import OperationContext

    image, mask = tiny.scene(7, SIZE)
    (output,) = chosen.run(OperationContext(params=chosen.Parameters.parse({}), inputs=(source(image),)))
    assert overlap(np.asarray(output.image.getchannel("A")) > 127, mask) > 0.95
    assert output.facts["cutout_model"] == "bags" and output.facts["cutout_model_licence"] == "Apache-2.0"
