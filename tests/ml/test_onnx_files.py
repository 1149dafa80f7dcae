"""What is refused before onnxruntime sees it: files that are something else, or want more than to be a network."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from shopgen_django.ml import files
from shopgen_django.ml.compression import runtime
from shopgen_django.ml.compression.onnx_file import check_onnx
from shopgen_django.ml.errors import ModelFileError
from shopgen_django.ml.sample import load_generator


def network(**changes: Any) -> onnx.ModelProto:
    """``pictures = reshape(latents x weights)``: 2 numbers to 1 x 4 x 4."""
    weights = numpy_helper.from_array(np.ones((2, 16), np.float32), "weights")
    shape = numpy_helper.from_array(np.array([-1, 1, 4, 4], np.int64), "shape")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["latents", "weights"], ["flat"]),
         helper.make_node("Reshape", ["flat", "shape"], ["pictures"])],
        "small",
        [helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, ["n", 1, 4, 4])],
        [weights, shape],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, **changes)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a network with a card that vouches for it."""

    def write(data: bytes, **card: Any) -> Path:
        (tmp_path / "model.onnx").write_bytes(data)
        values = {
            "architecture": "dcgan", "network": {}, "size": 4, "channels": 1, "categories": [],
            "runtime": "onnxruntime", "latents": {"kind": "normal", "latent": 2}, "sha256": files.sha256_bytes(data),
            **card,
        }  # fmt: skip
        (tmp_path / "model.json").write_text(json.dumps(values))
        return tmp_path

    return write


def test_a_plain_network_is_served(folder: Callable[..., Path]) -> None:
    model = load_generator(folder(network().SerializeToString()))
    assert [picture.size for picture in model.sample(2)] == [(4, 4), (4, 4)]


def test_a_pickle_is_refused_and_not_run(folder: Callable[..., Path], tmp_path: Path) -> None:
    marker = tmp_path / "executed"

    class Gadget:
        def __reduce__(self) -> Any:
            return (Path.touch, (marker,))

    with pytest.raises(ModelFileError, match="not a whole ONNX file"):
        load_generator(folder(pickle.dumps(Gadget())))
    digest = files.sha256_bytes(pickle.dumps(Gadget()))
    good = network()
    entry = good.metadata_props.add()
    entry.key, entry.value = runtime.CODES_KEY, digest
    made = folder(good.SerializeToString())
    (made / runtime.CODES).write_bytes(pickle.dumps(Gadget()))
    with pytest.raises(ModelFileError, match="doesn't hold codes"):
        load_generator(made)
    assert not marker.exists()


def _external(model: onnx.ModelProto, how: str) -> None:
    tensor = model.graph.initializer[0]
    if how == "location":
        tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../secret.bin"


def _hidden(model: onnx.ModelProto) -> None:
    """External data in an attribute instead of the list of weights."""
    tensor = numpy_helper.from_array(np.ones(2, np.float32), "hidden")
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/hostname"
    model.graph.node.append(helper.make_node("Constant", [], ["hidden"], value=tensor))


def _loop(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Identity", ["flat"], ["again"], body=body))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: _external(m, "location"), "external data"),
        (lambda m: _external(m, "entry"), "external data"),
        (_hidden, "external data"),
        (_loop, "network within an operator"),
        (lambda m: m.graph.node.append(helper.make_node("Loop", ["flat"], ["x"])), "'Loop'"),
        (lambda m: m.graph.node.append(helper.make_node("Add", ["flat"], ["x"], domain="evil.ops")), "evil.ops"),
        (lambda m: m.functions.add(), "functions"),
        (lambda m: m.graph.sparse_initializer.add(), "sparse"),
        (lambda m: m.graph.node.extend([m.graph.node[0]] * 5001), "more than 5000"),
        (lambda m: m.graph.ClearField("node"), "no network"),
    ],
)
def test_what_is_more_than_a_network_is_refused(
    spoil: Callable[[onnx.ModelProto], Any], message: str, folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network()
    spoil(model)
    monkeypatch.setattr(runtime, "onnx_session", lambda *given: pytest.fail("handed to the runtime"))
    with pytest.raises(ModelFileError, match=message):
        load_generator(folder(model.SerializeToString()))


@settings(max_examples=150)
@given(data=st.data())
def test_damaged_files_are_refused_or_harmless(data: st.DataObject) -> None:
    """Cut off, changed or random bytes: an answer or a ModelFileError, never anything else."""
    good = network().SerializeToString()
    kind = data.draw(st.sampled_from(["cut", "changed", "random"]))
    if kind == "cut":
        bad = good[: data.draw(st.integers(0, len(good) - 1))]
    elif kind == "changed":
        spoiled = bytearray(good)
        spoiled[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
        bad = bytes(spoiled)
    else:
        bad = data.draw(st.binary(max_size=200))
    try:
        check_onnx(bad)
    except ModelFileError as error:
        assert str(error)


def test_one_changed_byte_is_refused_before_it_is_read(
    folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = folder(network().SerializeToString())
    data = bytearray((made / "model.onnx").read_bytes())
    data[-1] ^= 1
    (made / "model.onnx").write_bytes(bytes(data))
    monkeypatch.setattr(runtime, "check_onnx", lambda *given: pytest.fail("parsed"))
    with pytest.raises(ModelFileError, match="SHA-256 differs"):
        load_generator(made)


def test_the_registered_hash_is_compared(folder: Callable[..., Path]) -> None:
    made = folder(network().SerializeToString())
    assert load_generator(made, expected_sha256=files.sha256_file(made / "model.onnx"))
    with pytest.raises(ModelFileError, match="changed since"):
        load_generator(made, expected_sha256="0" * 64)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"latents": None}, "doesn't say how"),
        ({"latents": {"kind": "normal", "latent": 3}}, "vectors of 3 numbers"),
        ({"latents": {"kind": "blend", "latent": 2}}, "can't be followed"),
    ],
)
def test_descriptions_that_do_not_fit(card: dict[str, Any], message: str, folder: Callable[..., Path]) -> None:
    with pytest.raises(ModelFileError, match=message):
        load_generator(folder(network().SerializeToString(), **card))


def test_pictures_of_another_size_and_broken_values_are_refused(folder: Callable[..., Path]) -> None:
    with pytest.raises(ModelFileError, match="description says"):
        load_generator(folder(network().SerializeToString(), size=8)).sample(1)
    model = network()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((2, 16), np.nan, np.float32), "weights"))
    with pytest.raises(ModelFileError, match="not finite"):
        load_generator(folder(model.SerializeToString())).sample(1)
    model.graph.node[0].op_type = "Gemm"
    model.graph.node[0].input.append("missing")
    with pytest.raises(ModelFileError, match="onnxruntime can't load"):
        load_generator(folder(model.SerializeToString()))
