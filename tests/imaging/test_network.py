"""A cut-out network from a folder: declared preprocessing, hash, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shopgen_django.imaging.cutout.network import NetworkError, OnnxFinder, Spec

onnx = pytest.importorskip("onnx")


def tiny_network(size: int = 16, *, out_channels: int = 1) -> bytes:
    """``sigmoid(4 (red - green))`` of the input, as ONNX: a 1 x 1 convolution made by hand."""
    from onnx import TensorProto, helper

    weight = np.zeros((out_channels, 3, 1, 1), np.float32)
    weight[:, 0], weight[:, 1] = 4.0, -4.0
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["picture", "weight"], ["raw"]),
            helper.make_node("Sigmoid", ["raw"], ["mask"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, size, size])],
        [
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, out_channels, size, size]),
            helper.make_tensor_value_info("raw", TensorProto.FLOAT, [1, out_channels, size, size]),
        ],
        [helper.make_tensor("weight", TensorProto.FLOAT, weight.shape, weight.ravel())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


def network_folder(folder: Path, data: bytes | None = None, **cutout: Any) -> Path:
    data = tiny_network() if data is None else data
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(data)
    spec = {"width": 16, "height": 16, "mean": [0, 0, 0], "std": [1, 1, 1], **cutout}
    card = {"sha256": hashlib.sha256(data).hexdigest(), "cutout": spec, "licence": "MIT"}
    (folder / "model.json").write_text(json.dumps(card))
    return folder


def half_red(size: int = 40) -> np.ndarray:
    picture = np.zeros((size, size, 3), np.uint8)
    picture[:, : size // 2, 0] = 255
    picture[:, size // 2 :, 1] = 255
    return picture


def test_the_declared_preprocessing_reaches_the_network(tmp_path: Path) -> None:
    belief = OnnxFinder(network_folder(tmp_path))(half_red())
    assert belief.shape == (16, 16) and belief.dtype == np.float32
    assert belief[8, 2] == pytest.approx(1 / (1 + np.exp(-4)), abs=1e-3)
    assert belief[8, 13] == pytest.approx(1 / (1 + np.exp(4)), abs=1e-3)
    halved = OnnxFinder(network_folder(tmp_path / "b", std=[2, 2, 2]))(half_red())
    assert halved[8, 2] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-3)
    dark = OnnxFinder(network_folder(tmp_path / "c", scale="max"))(half_red() // 4)
    assert dark[8, 2] == pytest.approx(1 / (1 + np.exp(-4)), abs=3e-3)  # resizing overshoots a little


def test_output_activation_and_stretch(tmp_path: Path) -> None:
    raw = OnnxFinder(network_folder(tmp_path / "a", output=1, activation="sigmoid"))(half_red())
    assert raw[8, 2] == pytest.approx(1 / (1 + np.exp(-4)), abs=1e-3)
    stretched = OnnxFinder(network_folder(tmp_path / "b", stretch=True))(half_red())
    assert stretched.min() == 0.0 and stretched.max() == 1.0
    nothing = OnnxFinder(network_folder(tmp_path / "c", stretch=True, presence=0.9))(half_red() * 0)
    assert nothing.max() == 0.0  # half sure everywhere: no product is made of that


def test_what_is_not_the_file_of_its_card_is_refused(tmp_path: Path) -> None:
    folder = network_folder(tmp_path)
    (folder / "model.onnx").write_bytes(tiny_network() + b"x")
    with pytest.raises(NetworkError, match="SHA-256"):
        OnnxFinder(folder)


@pytest.mark.parametrize("data", [b"", b"<html>not found</html>", tiny_network()[:60], b"\x80\x04K\x01."])
def test_what_is_no_network_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(NetworkError, match="not an ONNX network"):
        OnnxFinder(network_folder(tmp_path, data))


def test_a_network_of_another_shape_is_told(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="can't take its input"):
        OnnxFinder(network_folder(tmp_path / "a", width=32, height=32))(half_red())
    with pytest.raises(NetworkError, match="one finite map"):
        OnnxFinder(network_folder(tmp_path / "b", tiny_network(out_channels=2)))(half_red())
    with pytest.raises(NetworkError, match="2 outputs"):
        OnnxFinder(network_folder(tmp_path / "c", output=5))


def test_folders_without_a_network_are_told(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"model\.json"):
        OnnxFinder(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(NetworkError, match="not valid JSON"):
        OnnxFinder(tmp_path)
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(NetworkError, match="does not describe"):
        OnnxFinder(tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        {}, {"width": 4, "height": 16}, {"width": 16, "height": 16, "colour": 1},
        {"width": 16, "height": 16, "scale": "127"}, {"width": 16, "height": 16, "std": [1, 0, 1]},
        {"width": 16, "height": 16, "mean": [1]},
    ],
)
def test_descriptions_that_cannot_be_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(NetworkError):
        Spec.from_dict(values)
