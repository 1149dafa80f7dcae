"""``manage.py shopgen_model`` with large models: a name, a manifest, and the folder stays where it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError

from shopgen_django.engines.diffusers import Diffusers
from tests.diffusion.test_folder import UNET, flip
from tests.test_shopgen_model import shopgen_model

pytestmark = pytest.mark.django_db
OURS = ("--licence", "CreativeML-OpenRAIL-M", "--source", "https://example.org/model")


def test_a_folder_gets_a_name_and_is_held_to_its_files(
    sd: Path, copy: Callable[[Path], Path], settings: Any
) -> None:
    folder = copy(sd)
    told = shopgen_model("add", str(folder), "--name", "house", *OURS)
    assert told.startswith("house: Stable Diffusion 1 or 2, 5.2 MB, CreativeML-OpenRAIL-M, ") and str(folder) in told
    link = Path(settings.SHOPGEN["ROOT"]) / "models" / "house"
    assert link.is_symlink() and told in shopgen_model("list")
    described = Diffusers(MODEL="house").describe()
    assert described.licence == "CreativeML-OpenRAIL-M" and described.sha256.startswith(told.split(", ")[3][:12])
    assert shopgen_model("verify", "house") == shopgen_model("verify") == "house: whole\n"
    assert shopgen_model("add", str(folder), "--name", "house", *OURS) == told, "again"
    flip(folder / UNET)
    with pytest.raises(CommandError, match="diffusion_pytorch_model"):
        shopgen_model("verify")
    assert shopgen_model("remove", "house") == "house: removed\n"
    assert not link.exists() and (folder / "model_index.json").is_file()


def test_what_cannot_be_added(sd: Path, sdxl: Path, copy: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = copy(sd)
    for arguments, match in (
        ((), "licence"), (("--licence", "MIT"), "where it is from"), ((*OURS, "--non-commercial"), "commercial"),
        ((*OURS, "--name", "Ours!"), "small letters"),
    ):
        with pytest.raises(CommandError, match=match):
            shopgen_model("add", str(folder), *arguments)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CommandError, match="whole diffusers model"):
        shopgen_model("add", str(tmp_path / "empty"), *OURS)
    shopgen_model("add", str(folder), "--name", "house", *OURS)
    other = tmp_path / "other"
    other.symlink_to(sdxl)
    with pytest.raises(CommandError, match="taken"):
        shopgen_model("add", str(other), "--name", "house", *OURS)


def test_folders_that_were_put_there_by_hand(sd: Path, settings: Any, copy: Callable[[Path], Path]) -> None:
    place = Path(settings.SHOPGEN["ROOT"]) / "models" / "mine"
    place.parent.mkdir(parents=True)
    copy(sd).rename(place)
    assert "no manifest" in shopgen_model("list")
    with pytest.raises(CommandError, match="no manifest"):
        shopgen_model("verify", "mine")
    with pytest.raises(CommandError, match="by hand"):
        shopgen_model("remove", "mine")
    shopgen_model("add", str(place), *OURS)
    assert shopgen_model("verify", "mine") == "mine: whole\n"
    (place / UNET).unlink()
    assert "can't be used" in shopgen_model("list")


def test_a_hub_id_is_taken_from_the_cache_and_fetched_only_when_asked(
    sd: Path, copy: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(CommandError, match=r"not on this machine\. --fetch"):
        shopgen_model("add", "shop/Tiny", "--licence", "MIT")
    asked: list[dict[str, Any]] = []

    def away(name: str, **options: Any) -> str:
        asked.append(options)
        raise OSError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.snapshot_download", away)
        with pytest.raises(CommandError, match="could not be fetched: no answer"):
            shopgen_model("add", "shop/Tiny", "--licence", "MIT", "--fetch", "--revision", "v2")
    assert asked[0]["local_files_only"] is False and asked[0]["revision"] == "v2"
    assert not [pattern for pattern in asked[0]["allow_patterns"] if pattern.endswith((".bin", ".py", ".ckpt"))]
    kept = tmp_path / "cache" / "models--shop--Tiny"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("a" * 40)
    (kept / "snapshots").mkdir()
    (kept / "snapshots" / ("a" * 40)).symlink_to(copy(sd))
    assert shopgen_model("add", "shop/Tiny", "--licence", "MIT").startswith("tiny: Stable Diffusion 1 or 2")
    card = json.loads((Path(settings.SHOPGEN["ROOT"]) / "models" / "tiny" / "shopgen.json").read_text())
    assert card["source"] == "https://huggingface.co/shop/Tiny" and card["licence"] == "MIT"
