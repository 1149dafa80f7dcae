"""Held to outlines by a ControlNet: it does something, nothing at weight 0, and only where it fits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shopgen_django.engines.diffusers import Diffusers
from shopgen_django.engines.errors import BadRequest, ModelCorrupt, ModelMissing, WrongKind
from shopgen_django.exceptions import InvalidParameters
from shopgen_django.imaging.edges import edges_of
from tests.diffusion import tiny
from tests.diffusion.test_engine import photo, pixels, request
from tests.diffusion.test_operations import photo as product
from tests.diffusion.test_operations import run


@pytest.fixture(scope="module")
def edges(sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_controlnet(tmp_path_factory.mktemp("controlnet") / "edges", sd)


def lines(kind: int = 0) -> Image.Image:
    image = Image.new("L", (64, 64))
    image.paste(255, (20, 0, 24, 64) if kind else (0, 20, 64, 24))
    return image


@pytest.mark.parametrize("task", ["text", "image"])
def test_outlines_count_and_weigh(sd: Path, edges: Path, task: str) -> None:
    engine = Diffusers(MODEL=str(sd), OUTLINES=str(edges))
    assert engine.describe().outlines
    base = request(task=task, image=photo() if task == "image" else None, steps=2)
    held = [
        pixels(engine.run(request(
            task=task, image=photo() if task == "image" else None, steps=2, outlines=lines(kind), outlines_weight=weight
        ))) for kind, weight in ((0, 1.0), (1, 1.0), (0, 0.0), (0, 1.0))
    ]
    plain = pixels(engine.run(base))
    assert held[0] != held[1] and held[0] == held[3] and held[2] == plain != held[0]
    made = next(engine.run(request(task="text", steps=2, outlines=lines())))
    assert made.facts["outlines"] == "1" and len(made.facts["controlnet_sha256"]) == 64
    engine.free()


def test_xl_is_held_as_well(sdxl: Path, tmp_path: Path) -> None:
    engine = Diffusers(MODEL=str(sdxl), OUTLINES=str(tiny.make_controlnet(tmp_path / "edges", sdxl)))
    wanted = {"task": "image", "image": photo(), "steps": 2}
    free, held = (pixels(engine.run(request(**wanted, outlines=each))) for each in (None, lines()))
    assert free != held
    engine.free()


def test_what_does_not_fit_is_told(sd: Path, sdxl: Path, edges: Path, tmp_path: Path) -> None:
    wanted = request(steps=1, outlines=lines())
    for folder, error in ((tmp_path / "none", ModelMissing), (sdxl / "unet", WrongKind), (sd / "vae", WrongKind)):
        with pytest.raises(error):
            Diffusers(MODEL=str(sd), OUTLINES=str(folder)).run(wanted)
    with pytest.raises(BadRequest, match="OUTLINES"):
        Diffusers(MODEL=str(sd)).run(wanted)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text((edges / "config.json").read_text())
    (broken / "diffusion_pytorch_model.safetensors").write_bytes(b"x" * 100)
    engine = Diffusers(MODEL=str(sd), OUTLINES=str(broken))
    with pytest.raises(ModelCorrupt):
        engine.run(wanted)
    engine.free()


def test_restyle_holds_a_product_to_its_outlines(sd: Path, edges: Path, use: Callable[..., None]) -> None:
    use(MODEL=str(sd))
    with pytest.raises(InvalidParameters) as caught:
        run("restyle", product(), outlines=1)
    assert "outlines" in caught.value.fields
    use(MODEL=str(sd), OUTLINES=str(edges))
    free, held = (run("restyle", product(), outlines=weight, strength=1.0)[0] for weight in (0, 1))
    assert free.image.tobytes() != held.image.tobytes() and held.facts["outlines"] == "1"


def test_edges_are_lines_on_black() -> None:
    image = Image.new("RGB", (40, 40), "white")
    image.paste((0, 0, 0), (10, 10, 30, 30))
    found = np.asarray(edges_of(image))
    assert set(np.unique(found)) == {0, 255} and found[20, 9:11].any() and not found[15:25, 15:25].any()
