"""Networks that ship: weights that are missing, changed or another network's are told, never used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from shopgen_django.ml.cards import card_of
from shopgen_django.ml.errors import ModelFileError
from shopgen_django.ml.files import sha256_bytes
from shopgen_django.ml.shipped import load_shipped


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from safetensors.torch import save

    torch.manual_seed(0)
    data = save(torch.nn.Conv2d(3, 4, 3).state_dict())
    (tmp_path / "tiny.safetensors").write_bytes(data)
    (tmp_path / "tiny.json").write_text(json.dumps({"sha256": sha256_bytes(data), "licence": "MIT"}))
    return tmp_path


def test_weights_arrive_and_nothing_learns_any_more(folder: Path) -> None:
    network = torch.nn.Conv2d(3, 4, 3)
    card = load_shipped(network, "tiny", folder=folder)
    torch.manual_seed(0)
    assert torch.equal(network.weight, torch.nn.Conv2d(3, 4, 3).weight)
    assert card["licence"] == "MIT"
    assert not network.training and not network.weight.requires_grad


def test_a_changed_file_is_refused(folder: Path) -> None:
    path = folder / "tiny.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(ModelFileError, match="not the file that its card names"):
        load_shipped(torch.nn.Conv2d(3, 4, 3), "tiny", folder=folder)


def test_another_network_is_refused(folder: Path) -> None:
    with pytest.raises(ModelFileError, match="doesn't fit"):
        load_shipped(torch.nn.Conv2d(3, 8, 3), "tiny", folder=folder)


def test_missing_files_are_told(folder: Path) -> None:
    (folder / "tiny.safetensors").unlink()
    with pytest.raises(ModelFileError, match="can't be read"):
        load_shipped(torch.nn.Conv2d(3, 4, 3), "tiny", folder=folder)
    with pytest.raises(ModelFileError, match="no card"):
        card_of("other", folder=folder)
