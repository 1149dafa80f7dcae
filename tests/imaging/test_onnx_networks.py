"""Networks for enlarging, mending, labelling and finding writing: what their description says reaches them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shopgen_django.imaging.onnx_labels import OnnxLabels
from shopgen_django.imaging.onnx_letters import OnnxLetters
from shopgen_django.imaging.onnx_network import NetworkError
from shopgen_django.imaging.onnx_pictures import OnnxPainter, _mirrored

onnx = pytest.importorskip("onnx")


def _model(nodes: list[Any], source: list[Any], target: list[Any], constants: dict[str, Any], **said: str) -> bytes:
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        nodes, "tiny", [helper.make_tensor_value_info("picture", TensorProto.FLOAT, source)],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, target)],
        [
            helper.make_tensor(
                name, TensorProto.INT64 if value.dtype == np.int64 else TensorProto.FLOAT, value.shape, value.ravel()
            )
            for name, value in constants.items()
        ],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if said:
        helper.set_model_props(model, said)
    return bytes(model.SerializeToString())


def enlarger(factor: int = 2, *, side: int | None = None, **said: str) -> bytes:
    """Every pixel becomes factor x factor of its kind: a 1 x 1 convolution whose channels are laid side by side."""
    from onnx import helper

    weight = np.zeros((3 * factor * factor, 3, 1, 1), np.float32)
    for channel in range(3):
        weight[channel :: 3, channel] = 1.0
    nodes = [
        helper.make_node("Conv", ["picture", "weight"], ["wide"]),
        helper.make_node("DepthToSpace", ["wide"], ["answer"], blocksize=factor, mode="DCR"),
    ]
    target = None if side is None else factor * side
    return _model(nodes, [1, 3, side, side], [1, 3, target, target], {"weight": weight}, **said)


def softener(**said: str) -> bytes:
    """The mean of 5 x 5 pixels: its reach is 2."""
    from onnx import helper

    weight = np.zeros((3, 3, 5, 5), np.float32)
    for channel in range(3):
        weight[channel, channel] = 1 / 25
    node = helper.make_node("Conv", ["picture", "weight"], ["answer"], pads=[2, 2, 2, 2])
    return _model([node], [1, 3, None, None], [1, 3, None, None], {"weight": weight}, **said)


def sorter(*, last: bool = False, raw: bool = False) -> bytes:
    """Two scores: how much of the first, how much of the second channel. ``last``: the channels come last."""
    from onnx import helper

    first = [helper.make_node("Transpose", ["picture"], ["planes"], perm=[0, 3, 1, 2])] if last else []
    nodes = [
        *first,
        helper.make_node("GlobalAveragePool", ["planes" if last else "picture"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["three"]),
        helper.make_node("Gemm", ["three", "weight"], ["answer"]),
    ]
    weight = np.array([[1, 0], [0, 1], [0, 0]], np.float32) * (10.0 if raw else 1.0)
    return _model(nodes, [1, 16, 16, 3] if last else [1, 3, 16, 16], [1, 2], {"weight": weight})


def reader() -> bytes:
    """Dark is writing."""
    from onnx import helper

    nodes = [helper.make_node("Conv", ["picture", "weight", "bias"], ["raw"]),
             helper.make_node("Sigmoid", ["raw"], ["answer"])]  # fmt: skip
    constants = {"weight": np.full((1, 3, 1, 1), -4.0, np.float32), "bias": np.array([-6.0], np.float32)}
    return _model(nodes, [1, 3, None, None], [1, 1, None, None], constants)


def folder_of(place: Path, data: bytes, part: str, purpose: str = "", **spec: Any) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    (place / "model.onnx").write_bytes(data)
    card = {"sha256": hashlib.sha256(data).hexdigest(), "purpose": purpose, "licence": "MIT", part: spec}
    (place / "model.json").write_text(json.dumps(card))
    return place


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_an_enlarger_in_tiles_is_the_same_as_whole(tmp_path: Path, factor: int) -> None:
    picture = noise(45, 71)
    painter = OnnxPainter(
        folder_of(tmp_path, enlarger(factor), "picture", factor=factor, tile=16, overlap=3, multiple=4)
    )
    heard: list[float] = []
    made = painter(picture, on_tile=heard.append)
    assert np.array_equal(made, picture.repeat(factor, 0).repeat(factor, 1))
    assert len(heard) == 15 and heard[-1] == 1.0


def test_tiles_do_not_show_where_the_overlap_is_the_reach(tmp_path: Path) -> None:
    picture = noise(50, 40)
    tiled = OnnxPainter(folder_of(tmp_path / "a", softener(), "picture", tile=16, overlap=2))(picture)
    whole = OnnxPainter(folder_of(tmp_path / "b", softener(), "picture", tile=64, overlap=2))(picture)
    assert np.array_equal(tiled, whole)
    cut = OnnxPainter(folder_of(tmp_path / "c", softener(), "picture", tile=16, overlap=0))(picture)
    assert not np.array_equal(cut, whole), "the test would see tiles"


@pytest.mark.parametrize("size", [(5, 5), (16, 16), (17, 60)])
def test_a_network_of_one_size_only(tmp_path: Path, size: tuple[int, int]) -> None:
    picture = noise(*size)
    painter = OnnxPainter(
        folder_of(tmp_path, enlarger(2, side=24), "picture", factor=2, tile=16, overlap=4, fixed=True)
    )
    assert np.array_equal(painter(picture), picture.repeat(2, 0).repeat(2, 1))


def test_order_and_scale_go_in_and_come_out(tmp_path: Path) -> None:
    """A network that dims its third channel dims red where pictures go in as BGR."""
    from onnx import helper

    weight = np.diag([1.0, 1.0, 0.5]).astype(np.float32)[:, :, None, None]
    data = _model(
        [helper.make_node("Conv", ["picture", "weight"], ["answer"])], [1, 3, None, None], [1, 3, None, None],
        {"weight": weight},
    )  # fmt: skip
    picture = np.full((8, 8, 3), 200, np.uint8)
    made = OnnxPainter(folder_of(tmp_path, data, "picture", order="bgr", scale="1"))(picture)
    assert made[0, 0].tolist() == [100, 200, 200]
    assert OnnxPainter(folder_of(tmp_path, data, "picture"))(picture)[0, 0].tolist() == [200, 200, 100]


@given(start=st.integers(-300, 300), side=st.integers(1, 300), length=st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_beyond_the_edge_pixels_are_mirrored(start: int, side: int, length: int) -> None:
    index = _mirrored(np.arange(start, start + side), length)
    assert index.min() >= 0 and index.max() < length
    assert (np.abs(np.diff(index)) == (0 if length == 1 else 1)).all(), "neighbours stay neighbours"


@pytest.mark.parametrize(
    ("data", "spec", "words"),
    [
        (enlarger(2), {"factor": 3}, r"a finite picture \(1, 3, 102, 102\), but \(1, 3, 68, 68\)"),
        (enlarger(2), {"factor": 5}, "factor is 1, 2, 3 or 4"),
        (enlarger(2), {"facto": 2}, "Unknown in the description of a picture network: facto"),
        (enlarger(2), {"tile": 4}, "tile is 16 to 4096"),
        (enlarger(2), {"std": [0, 1, 1]}, "std above 0"),
        (enlarger(2), {"factor": 2, "output": 3}, "asks for number 3"),
        (enlarger(2, side=8), {"factor": 2}, "can't take its input"),
        (b"<html>not found</html>", {"factor": 2}, "not an ONNX network"),
    ],
)
def test_what_a_picture_network_may_not_be(tmp_path: Path, data: bytes, spec: dict[str, Any], words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        OnnxPainter(folder_of(tmp_path, data, "picture", **spec))(noise(2, 2))


def test_numbers_that_are_none_make_no_picture(tmp_path: Path) -> None:
    from onnx import helper

    data = _model(
        [helper.make_node("Log", ["picture"], ["answer"])], [1, 3, None, None], [1, 3, None, None], {},
    )  # fmt: skip
    with pytest.raises(NetworkError, match="finite"):
        OnnxPainter(folder_of(tmp_path, data, "picture"))(np.zeros((4, 4, 3), np.uint8))


RED = Image.new("RGB", (40, 20), (255, 0, 0))


def test_labels_and_their_scores(tmp_path: Path) -> None:
    spec = {"width": 16, "height": 16, "labels": ["red", "green"]}
    assert OnnxLabels(folder_of(tmp_path, sorter(), "labels", **spec))(RED) == {"red": 1.0, "green": 0.0}
    bgr = OnnxLabels(folder_of(tmp_path, sorter(), "labels", order="bgr", **spec))(RED)
    assert bgr == {"red": 0.0, "green": 0.0}, "red is the third channel there"
    last = OnnxLabels(folder_of(tmp_path, sorter(last=True), "labels", layout="nhwc", **spec))(RED)
    assert last == {"red": 1.0, "green": 0.0}
    soft = OnnxLabels(folder_of(tmp_path, sorter(raw=True), "labels", activation="softmax", **spec))(RED)
    assert soft["red"] > 0.99 and sum(soft.values()) == pytest.approx(1.0)
    with pytest.raises(NetworkError, match="needs an activation"):
        OnnxLabels(folder_of(tmp_path, sorter(raw=True), "labels", **spec))(RED)
    with pytest.raises(NetworkError, match=r"\(1, 3\) finite scores"):
        OnnxLabels(folder_of(tmp_path, sorter(), "labels", **{**spec, "labels": ["a", "b", "c"]}))(RED)


def test_the_margin_is_cut_off(tmp_path: Path) -> None:
    framed = Image.new("RGB", (32, 32), (255, 0, 0))
    framed.paste((0, 255, 0), (8, 8, 24, 24))
    spec = {"width": 16, "height": 16, "labels": ["red", "green"]}
    inner = OnnxLabels(folder_of(tmp_path, sorter(), "labels", margin=8, **spec))(framed)
    assert inner == {"red": 0.0, "green": 1.0}
    assert OnnxLabels(folder_of(tmp_path, sorter(), "labels", **spec))(framed)["red"] == pytest.approx(0.75, abs=0.02)


def test_writing_is_found_where_it_is_and_grows_back(tmp_path: Path) -> None:
    picture = np.full((120, 300, 3), 255, np.uint8)
    picture[50:60, 60:200] = 0
    found = OnnxLetters(folder_of(tmp_path, reader(), "letters", least=128, most=320))(picture)
    assert found.shape == (120, 300) and set(np.unique(found)) == {0.0, 1.0}
    assert found[50:60, 60:200].all(), "all of it"
    assert found[45, 130] == 1.0 and found[30, 130] == 0.0 and found[55, 230] == 0.0, "with a little around it"
    assert not OnnxLetters(folder_of(tmp_path, reader(), "letters"))(np.full((64, 64, 3), 255, np.uint8)).any()
    picture[20:100, 40:250] = 0
    assert not OnnxLetters(folder_of(tmp_path, reader(), "letters"))(picture).any(), "a dark box is no line"
