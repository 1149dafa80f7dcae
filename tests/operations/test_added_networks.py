"""Networks that a shop adds, behind the operations: enlarge, denoise, tags, and the check of what models made."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from PIL import Image

from shopgen_django.engines import get_engine
from shopgen_django.engines.denoise import Denoise
from shopgen_django.engines.enlarge import Enlarge
from shopgen_django.engines.errors import BadOutput, Blocked, ModelMissing
from shopgen_django.engines.onnx_tags import OnnxTags
from shopgen_django.engines.texts import TextRequest
from shopgen_django.exceptions import PermanentError
from shopgen_django.operations.describe import writers
from shopgen_django.operations.safety import check_picture
from tests.imaging.test_onnx_networks import RED, enlarger, noise, reader, softener, sorter

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.django_db
LABELS = json.dumps({"width": 16, "height": 16, "labels": ["red", "green"]})


@pytest.fixture
def add(tmp_path: Path, settings: Any) -> Callable[..., str]:
    """``add(name, content, *options)``: as on the command line."""
    settings.SHOPGEN = {**settings.SHOPGEN, "ROOT": str(tmp_path / "root")}

    def function(name: str, content: bytes, *options: str, beside: dict[str, Any] | None = None) -> str:
        (tmp_path / f"{name}.onnx").write_bytes(content)
        if beside is not None:
            (tmp_path / f"{name}.json").write_text(json.dumps(beside))
        out = io.StringIO()
        call_command("shopgen_model", "add", str(tmp_path / f"{name}.onnx"), "--licence", "MIT", *options, stdout=out)
        return out.getvalue()

    return function


def test_what_a_network_is_for_is_said_by_options_by_a_file_beside_it_or_by_itself(add: Callable[..., str]) -> None:
    assert "a: enlarge" in add("a", enlarger(2), "--purpose", "enlarge", "--spec", '{"factor": 2}')
    assert "b: enlarge" in add("b", enlarger(2), beside={"purpose": "enlarge", "factor": 2})
    said = json.dumps({"purpose": "enlarge", "factor": 2})
    assert "c: enlarge" in add("c", enlarger(2, shopgen=said))
    assert "d: denoise" in add("d", softener(), "--purpose", "denoise")
    picture = Image.fromarray(noise(20, 30))
    same = {Enlarge(MODEL=name).enlarge(picture, factor=2, careful=False).tobytes() for name in "abc"}
    assert same == {picture.resize((60, 40), Image.Resampling.NEAREST).tobytes()}


@pytest.mark.parametrize(
    ("options", "beside", "words"),
    [
        (("--purpose", "denoise", "--spec", '{"factor": 2}'), None, "denoise with factor 2"),
        (("--purpose", "enlarge"), None, "enlarge with factor 1"),
        (("--purpose", "enlarge", "--spec", "{factor: 2}"), None, "neither JSON nor a readable file"),
        (("--purpose", "enlarge", "--spec", '{"faktor": 2}'), None, "faktor"),
        ((), {"purpose": "cooking"}, "one of: cut_out, enlarge"),
        (("--purpose", "tags", "--spec", LABELS), None, "finite scores"),
    ],
)
def test_what_cannot_be_is_told_when_it_is_added(
    add: Callable[..., str], options: tuple[str, ...], beside: dict[str, Any] | None, words: str
) -> None:
    with pytest.raises(CommandError, match=words):
        add("net", enlarger(2), *options, beside=beside)


def test_enlarging_by_a_network_of_any_factor(add: Callable[..., str]) -> None:
    picture = Image.fromarray(noise(12, 18)).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize((18, 12)))
    for number in (2, 3, 4):
        add(f"by{number}", enlarger(number), "--purpose", "enlarge", "--spec", json.dumps({"factor": number}))
        for factor in (2, 4):
            heard: list[float] = []
            made = Enlarge(MODEL=f"by{number}").enlarge(picture, factor=factor, careful=False, on_part=heard.append)
            assert made.size == (18 * factor, 12 * factor) and made.mode == "RGBA"
            assert heard == sorted(heard) and heard[-1] == 1.0
            back = made.convert("RGB").resize((18, 12), Image.Resampling.BOX)
            solid = np.asarray(picture.getchannel("A")) > 200
            error = np.abs(np.asarray(back, np.int16) - np.asarray(picture.convert("RGB"), np.int16))[solid]
            assert error.mean() < 3
    grey = Image.fromarray(noise(12, 18)).convert("L")
    assert Enlarge(MODEL="by2").enlarge(grey, factor=2).mode == "L"


def test_print_is_kept_as_it_is_by_what_finds_writing(add: Callable[..., str]) -> None:
    """A network that makes everything lighter may not do so where writing is."""
    from onnx import helper

    from tests.imaging.test_onnx_networks import _model

    weight = np.zeros((12, 3, 1, 1), np.float32)
    for channel in range(3):
        weight[channel::3, channel] = 1.0
    nodes = [
        helper.make_node("Conv", ["picture", "weight", "bias"], ["wide"]),
        helper.make_node("DepthToSpace", ["wide"], ["answer"], blocksize=2, mode="DCR"),
    ]
    lighter = _model(
        nodes, [1, 3, None, None], [1, 3, None, None], {"weight": weight, "bias": np.full(12, 0.2, np.float32)}
    )
    add("lighter", lighter, "--purpose", "enlarge", "--spec", '{"factor": 2}')
    add("reader", reader(), "--purpose", "letters", "--spec", '{"least": 64, "most": 320}')
    picture = np.full((100, 160, 3), 128, np.uint8)
    picture[40:50, 40:120] = 0
    engine = Enlarge(MODEL="lighter", LETTERS="reader")
    made = np.asarray(engine.enlarge(Image.fromarray(picture), factor=2))
    assert made[90, 160].tolist() == [0, 0, 0] and made[20, 20].tolist() == [179, 179, 179]
    free = np.asarray(engine.enlarge(Image.fromarray(picture), factor=2, careful=False))
    assert free[90, 160].tolist() == [51, 51, 51]
    assert engine.check() == [] and "reader" in engine.identity() and engine.identity().startswith("lighter ")
    assert Enlarge(LETTERS="none").check() and Enlarge(MODEL="reader").check()


def test_denoising_by_a_network_decides_as_the_others_do(add: Callable[..., str]) -> None:
    add("soft", softener(), "--purpose", "denoise")
    add("big", enlarger(2), "--purpose", "enlarge", "--spec", '{"factor": 2}')
    rng = np.random.default_rng(1)
    smooth = np.linspace(60, 190, 128)[None, :, None].repeat(128, 0).repeat(3, 2)
    noisy = Image.fromarray(np.clip(smooth + rng.normal(0, 25, smooth.shape), 0, 255).astype(np.uint8))
    engine = Denoise(MODEL="soft")
    made = engine.denoise(noisy, level=None, strength=1.0)
    assert made.changed and 15 < made.level < 35
    left = np.abs(np.asarray(made.image, np.float32) - smooth).mean()
    assert left < 0.4 * np.abs(np.asarray(noisy, np.float32) - smooth).mean()
    half = engine.denoise(noisy, level=25.0, strength=0.5).image
    assert half.tobytes() not in {noisy.tobytes(), made.image.tobytes()}
    calm = Image.fromarray(smooth.astype(np.uint8))
    kept = engine.denoise(calm, level=None, strength=1.0)
    assert not kept.changed and kept.image is calm
    clear = noisy.convert("RGBA")
    clear.putalpha(128)
    assert engine.denoise(clear, level=25.0, strength=1.0).image.getchannel("A").getextrema() == (128, 128)
    with pytest.raises(PermanentError, match="enlarges"):
        Denoise(MODEL="big").denoise(noisy, level=25.0, strength=1.0)
    with pytest.raises(PermanentError, match="shopgen_model add missing"):
        Denoise(MODEL="missing").denoise(noisy, level=25.0, strength=1.0)


def test_a_changed_file_and_a_forbidden_licence_are_refused(add: Callable[..., str], settings: Any) -> None:
    root = Path(settings.SHOPGEN["ROOT"])
    settings.SHOPGEN = {**settings.SHOPGEN, "ALLOW_NONCOMMERCIAL_MODELS": True}
    add("art", enlarger(2), "--purpose", "enlarge", "--spec", '{"factor": 2}', "--non-commercial")
    engine, picture = Enlarge(MODEL="art"), Image.fromarray(noise(8, 8))
    engine.enlarge(picture, factor=2)
    settings.SHOPGEN = {**settings.SHOPGEN, "ALLOW_NONCOMMERCIAL_MODELS": False}
    assert "commercial" in engine.check()[0]
    with pytest.raises(PermanentError, match="ALLOW_NONCOMMERCIAL_MODELS") as caught:
        engine.enlarge(picture, factor=2)
    assert caught.value.code == "licence_refused"
    settings.SHOPGEN = {**settings.SHOPGEN, "ALLOW_NONCOMMERCIAL_MODELS": True}
    (root / "models" / "art" / "model.onnx").write_bytes(enlarger(3))
    with pytest.raises(PermanentError, match="differs"):
        Enlarge(MODEL="art").enlarge(picture, factor=2)


def test_tags_by_a_network_with_labels_of_its_own(add: Callable[..., str], settings: Any) -> None:
    assert "tints: tags" in add("tints", sorter(), "--purpose", "tags", "--spec", LABELS)
    request = TextRequest(images=(RED, Image.new("RGB", (8, 8), (0, 160, 0))), kinds=("tags",))
    written = OnnxTags(MODEL="tints", TAGS={"green": "leaf"}).write(request)
    assert written.texts == {"tags": "red\nleaf"} and written.facts["scores"] == "red 1.00, leaf 0.63"
    assert OnnxTags(MODEL="tints", MINIMUM=0.9).write(request).texts == {"tags": "red"}
    wished = TextRequest(images=(RED,), kinds=("tags",), tags=("Green", "blue"))
    with pytest.raises(BadOutput, match="green"):
        OnnxTags(MODEL="tints").write(wished)
    assert OnnxTags().check() == [] and OnnxTags(MODEL="nothing").check()
    with pytest.raises(ModelMissing):
        OnnxTags(MODEL="nothing").describe()
    entry = {"BACKEND": "shopgen_django.engines.onnx_tags.OnnxTags", "OPTIONS": {"MODEL": "tints"}}
    settings.SHOPGEN = {**settings.SHOPGEN, "ENGINES": {"tags": entry}}
    found = writers()
    assert found["tags"].name == "tints" and not found["tags"].needs_tags


def test_a_picture_that_a_network_takes_for_unsafe_is_refused(add: Callable[..., str], settings: Any) -> None:
    check = "shopgen_django.operations.safety.unsafe_picture"
    settings.SHOPGEN = {**settings.SHOPGEN, "SAFETY": {"PROMPT": [], "PICTURE": [check]}}
    with pytest.raises(PermanentError, match="nothing is let through"):
        check_picture(RED, "create")
    add("judge", sorter(), "--purpose", "safety", "--spec", LABELS)
    options: dict[str, Any] = {"MODEL": "judge", "LIMITS": {"red": 0.8}}
    settings.SHOPGEN = {**settings.SHOPGEN, "ENGINES": {"safety": {"OPTIONS": options}}}
    with pytest.raises(Blocked, match=r"judge \(red 100 %\)"):
        check_picture(RED, "create")
    check_picture(Image.new("RGB", (8, 8), (0, 255, 0)), "create")
    options["LIMITS"] = {"nsfw": 0.5}
    settings.SHOPGEN = {**settings.SHOPGEN, "ENGINES": {"safety": {"OPTIONS": options}}}
    assert get_engine("safety").check() == []
    with pytest.raises(PermanentError, match="no label nsfw"):
        check_picture(Image.new("RGB", (8, 8), (0, 255, 0)), "create")


def test_a_large_model_and_a_network_never_share_a_name(add: Callable[..., str], settings: Any) -> None:
    large = Path(settings.SHOPGEN["ROOT"]) / "models" / "sdxl"
    large.mkdir(parents=True)
    (large / "model_index.json").write_text("{}")
    (large / "weights.safetensors").write_bytes(b"gigabytes")
    with pytest.raises(CommandError, match="taken"):
        add("sdxl", softener(), "--purpose", "denoise")
    assert (large / "weights.safetensors").read_bytes() == b"gigabytes"
    (large.parent / "linked").symlink_to(large)
    with pytest.raises(CommandError, match="taken"):
        add("linked", softener(), "--purpose", "denoise")
    with pytest.raises(CommandError, match="small letters"):
        add("plain", softener(), "--purpose", "denoise")


def test_a_corrected_description_is_used_and_told_apart(add: Callable[..., str]) -> None:
    add("tints", sorter(), "--purpose", "tags", "--spec", LABELS)
    engine, request = OnnxTags(MODEL="tints"), TextRequest(images=(RED,), kinds=("tags",))
    before = engine.identity()
    assert engine.write(request).texts == {"tags": "red"}
    add("tints", sorter(), "--purpose", "tags", "--spec", LABELS.replace("red", "crimson"))
    assert engine.write(request).texts == {"tags": "crimson"}
    assert engine.identity() != before


def test_what_an_option_says_is_never_left_out(add: Callable[..., str], tmp_path: Path, settings: Any) -> None:
    with pytest.raises(CommandError, match="mean, output: these options are for cut-outs"):
        add("net", softener(), "--purpose", "denoise", "--mean", "0.5", "0.5", "0.5", "--output-number", "1")
    add("first", enlarger(2), "--purpose", "enlarge", "--spec", '{"factor": 2, "tile": 32}')
    copied = Path(settings.SHOPGEN["ROOT"]) / "models" / "first" / "model.onnx"
    out = io.StringIO()
    call_command("shopgen_model", "add", str(copied), "--licence", "MIT", "--name", "second", stdout=out)
    assert "second: enlarge" in out.getvalue(), "the card beside it is one of ours"
