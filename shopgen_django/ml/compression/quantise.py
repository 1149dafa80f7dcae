"""8-bit networks through onnxruntime's static quantisation.

Convolutions calculate in 8 bit: activations unsigned, weights signed with a scale for each output channel and 7 bits of
range, because processors without dot products of bytes (VNNI) add pairs of products in 16 bit, which 8-bit weights
overflow (40 dB instead of 56, measured). The first layer, all layers that make picture values, and transposed
convolutions (for which onnxruntime has no 8-bit kernel: 1.2 times the time, measured) stay in floating point; their
weights are stored in 8 bit too, since the first one is often the largest of all, and become floats when the model is
loaded.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .export import import_onnx
from .onnx_file import check_onnx
from .runtime import LABELS, LATENTS
from .teacher import Model, draw_material

CALIBRATED = 256
"""Random vectors whose activations give the ranges."""
BATCH = 16
SMALL = 2_048
"""Arrays with fewer values stay as they are."""
_LAYERS = ("Gemm", "MatMul", "Conv", "ConvTranspose")


def to_int8(model: Model, data: bytes) -> bytes:
    """The 8-bit version of an exported network.

    Args:
        model: draws the vectors for calibration.
        data: the network as :func:`~shopgen_django.ml.compression.export.to_onnx` gave it.

    Raises:
        MissingExtra: onnx or onnxruntime isn't installed.
    """
    onnx = import_onnx()
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    metadata = check_onnx(data).metadata
    with tempfile.TemporaryDirectory(prefix="int8-") as temporary, _quiet():
        given, prepared, made = (Path(temporary) / name for name in ("given.onnx", "prepared.onnx", "made.onnx"))
        given.write_bytes(data)
        quant_pre_process(str(given), str(prepared), skip_symbolic_shape=True)
        proto = onnx.load(str(prepared))
        floating = _floating(proto, int(model.card["channels"]))
        if any(node.op_type == "Conv" and node.name not in floating for node in proto.graph.node):
            quantize_static(
                str(prepared),
                str(made),
                _reader(model, {entry.name for entry in proto.graph.input}),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=floating,
                calibrate_method=CalibrationMethod.MinMax,
            )
            proto = onnx.load(str(made))
    _store_small(onnx, proto)
    del proto.metadata_props[:]
    for key, value in metadata.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    serialised: bytes = proto.SerializeToString(deterministic=True)
    return serialised


def _floating(proto: Any, channels: int) -> list[str]:
    """Names of the layers that stay in floating point: the first with weights, the last, those that make pictures."""
    weights = {entry.name: entry for entry in proto.graph.initializer}
    layers = [node for node in proto.graph.node if node.op_type in _LAYERS]
    kept = {layers[0].name, layers[-1].name} | {node.name for node in layers if node.op_type != "Conv"}
    for node in layers:
        weight = weights.get(node.input[1])
        if weight is not None and weight.dims[0] in (channels, 4 * channels):
            kept.add(node.name)
    return sorted(kept)


def _reader(model: Model, names: set[str]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.start = 0

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            if self.start >= CALIBRATED:
                return None
            latents, labels = draw_material(model, seed=0, purpose="calibrate", start=self.start, count=BATCH)
            self.start += BATCH
            given = {LATENTS: latents.numpy(), LABELS: labels.numpy()}
            return {name: given[name] for name in names}

    return Reader()


def _store_small(onnx: Any, proto: Any) -> None:
    """Store the large arrays that are still floats in 8 bit; ``Cast`` and ``Mul`` bring them back.

    onnxruntime folds both when it loads the model, so they cost no time afterwards.
    """
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    users = {name: (node, place) for node in proto.graph.node for place, name in enumerate(node.input)}
    added = []
    for entry in list(proto.graph.initializer):
        if entry.data_type != onnx.TensorProto.FLOAT or entry.name not in users:
            continue
        values = numpy_helper.to_array(entry)
        if values.size < SMALL or values.ndim < 2:
            continue
        node, place = users[entry.name]
        axis = _output_axis(node, place)
        others = tuple(n for n in range(values.ndim) if n != axis)
        scale = np.maximum(np.abs(values).max(axis=others, keepdims=True), 1e-12).astype(np.float32) / np.float32(127)
        name = entry.name
        small = np.clip(np.rint(values / scale), -127, 127).astype(np.int8)
        proto.graph.initializer.remove(entry)
        proto.graph.initializer.append(numpy_helper.from_array(small, f"{name}_8bit"))
        proto.graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
        added.append(helper.make_node("Cast", [f"{name}_8bit"], [f"{name}_cast"], to=onnx.TensorProto.FLOAT))
        added.append(helper.make_node("Mul", [f"{name}_cast", f"{name}_scale"], [name]))
    nodes = [*added, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _output_axis(node: Any, place: int) -> int:
    """The axis of a layer's weights along which its outputs lie; of a table, its rows."""
    if node.op_type == "MatMul" or node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Gemm":
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        return 0 if transposed else 1
    return 0


class _quiet:  # noqa: N801 - used as a function
    """The quantiser logs advice for its own developers on the root logger."""

    def __enter__(self) -> None:
        self._before = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *details: object) -> None:
        logging.disable(self._before)
