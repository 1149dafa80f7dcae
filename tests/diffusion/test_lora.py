"""LoRA files: none that does nothing passes for one that does something."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shopgen_django.engines.diffusers import Diffusers
from shopgen_django.engines.diffusers.lora import LoraFile, checked
from shopgen_django.engines.errors import BadRequest, ModelCorrupt, ModelMissing, UnsafeFile, WrongKind
from shopgen_django.engines.pictures import Lora
from tests.diffusion.test_engine import pixels, request
from tests.diffusion.tiny import make_lora


@pytest.fixture
def house(tmp_path: Path, sd: Path) -> Path:
    return make_lora(tmp_path / "house", sd)


def rewrite(path: Path, alter: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    from safetensors.torch import load_file, save_file

    save_file(alter(load_file(str(path))), str(path))


def run(sd: Path, path: Path, **more: Any) -> Any:
    engine = Diffusers(MODEL=str(sd), LORAS={"house": {"PATH": path, **more}})
    try:
        base = pixels(engine.run(request(steps=2)))
        try:
            return pixels(engine.run(request(steps=2, loras=(Lora(name="house"),)))) != base
        finally:
            assert pixels(engine.run(request(steps=2))) == base, "nothing of it stays"
    finally:
        engine.free()


def test_a_good_file_or_its_folder(sd: Path, house: Path) -> None:
    assert run(sd, house.parent)


def test_several_at_once(sd: Path, house: Path, tmp_path: Path) -> None:
    other = make_lora(tmp_path / "other", sd, seed=2)
    engine = Diffusers(MODEL=str(sd), LORAS={"house": house, "other": other})
    assert engine.lora_names == ("house", "other")
    both, one = (
        pixels(engine.run(request(steps=2, loras=tuple(Lora(name=name, weight=0.7) for name in names))))
        for names in (("house", "other"), ("house",))
    )
    assert both != one
    with pytest.raises(BadRequest, match="house, other"):
        engine.run(request(steps=2, loras=(Lora(name="lost"),)))
    engine.free()


def strange(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("unet.", "other."): value for name, value in tensors.items()}


def partly_strange(tensors: dict[str, Any]) -> dict[str, Any]:
    first, second = list(tensors)[:2]
    return {name.replace("blocks", "bricks") if name in (first, second) else name: v for name, v in tensors.items()}


def of_other_shapes(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: value[:, :-1].contiguous() for name, value in tensors.items()}


def empty(tensors: dict[str, Any]) -> dict[str, Any]:
    return {}


@pytest.mark.parametrize("alter", [strange, partly_strange, of_other_shapes, empty])
def test_files_for_another_model_are_refused(
    sd: Path, house: Path, alter: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    rewrite(house, alter)
    with pytest.raises(WrongKind, match="does not fit"):
        run(sd, house)


def test_pickles_missing_cut_and_changed_files(sd: Path, house: Path) -> None:
    pickled = house.with_suffix(".bin")
    pickled.write_bytes(house.read_bytes())
    with pytest.raises(UnsafeFile, match="pickle"):
        run(sd, pickled)
    with pytest.raises(UnsafeFile, match="no safetensors"):
        checked(LoraFile(name="a", path=house.with_suffix(".zip")))
    with pytest.raises(ModelMissing):
        checked(LoraFile(name="a", path=house.with_name("nothing.safetensors")))
    with pytest.raises(ModelCorrupt, match="SHA256"):
        checked(LoraFile(name="a", path=house, sha256="0" * 64))
    house.write_bytes(house.read_bytes()[:-10])
    with pytest.raises(ModelCorrupt, match="cut"):
        checked(LoraFile(name="a", path=house))
