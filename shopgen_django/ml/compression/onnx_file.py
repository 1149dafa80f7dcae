"""A look into an ONNX file before anything is handed to the runtime.

ONNX can't run code of its own, but a file may tell the runtime to read other files (external data), name operators
from libraries, or hold loops. A network of ours has none of these, so a file that has is refused. The file is read
here by the wire format of protocol buffers: a dozen fields of the public ``onnx.proto`` matter, and no parser needs to
be installed where models are only served.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from shopgen_django.ml.errors import ModelFileError

MAX_BYTES = 2 << 30
MAX_NODES = 5_000
OPERATORS = frozenset({
    "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "Conv", "ConvTranspose",
    "DepthToSpace", "DequantizeLinear", "Div", "Erf", "Exp", "Expand", "Flatten", "Gather", "Gelu", "Gemm",
    "GlobalAveragePool", "GroupNormalization", "Identity", "InstanceNormalization", "LayerNormalization",
    "LeakyRelu", "MatMul", "Max", "Mean", "Min", "Mul", "Neg", "Pad", "Pow", "QuantizeLinear", "Reciprocal",
    "ReduceMean", "ReduceSum", "Relu", "Reshape", "Resize", "Shape", "Sigmoid", "Slice", "Softmax", "Softplus",
    "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze", "Where",
})  # fmt: skip
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_EXTERNAL = 1


@dataclass(slots=True)
class Contents:
    """What the file says about itself."""

    operators: dict[str, int] = field(default_factory=dict)
    """How often each operator occurs."""
    metadata: dict[str, str] = field(default_factory=dict)
    """The model's own names and values."""


def check_onnx(data: bytes, name: str = "The file") -> Contents:
    """Refuse a file that isn't a plain network.

    Args:
        data: the file's bytes.
        name: what the messages call it.

    Raises:
        ModelFileError: not ONNX; external data; an operator that no generator of ours has; loops, branches,
            functions, sparse tensors.
    """
    if len(data) > MAX_BYTES:
        raise ModelFileError(f"{name} is larger than any model of this product.")
    contents = Contents()
    try:
        _model(memoryview(data), contents)
    except _NotProtobuf as error:
        raise ModelFileError(f"{name} is not a whole ONNX file ({error}).") from None
    except _Refused as error:
        raise ModelFileError(f"{name} is refused: {error}.") from None
    if not contents.operators:
        raise ModelFileError(f"{name} is not a whole ONNX file (no network in it).")
    return contents


class _NotProtobuf(Exception):
    pass


class _Refused(Exception):
    pass


def _model(message: memoryview, contents: Contents) -> None:
    for number, value in _fields(message):
        if number == 7:
            _graph(_bytes(value), contents)
        elif number == 14:
            entry = _bytes(value)
            contents.metadata[_text(entry, 1)] = _text(entry, 2)
        elif number == 20 or number == 25:
            raise _Refused("it holds training information or functions")


def _graph(message: memoryview, contents: Contents) -> None:
    for number, value in _fields(message):
        if number == 1:
            _node(_bytes(value), contents)
        elif number == 5:
            _tensor(_bytes(value))
        elif number == 15:
            raise _Refused("it holds sparse tensors")


def _node(message: memoryview, contents: Contents) -> None:
    operator = _text(message, 4)
    _domain(_text(message, 7))
    if operator not in OPERATORS:
        raise _Refused(f"no generator of this product has the operator {operator[:40]!r}")
    contents.operators[operator] = contents.operators.get(operator, 0) + 1
    if sum(contents.operators.values()) > MAX_NODES:
        raise _Refused(f"it has more than {MAX_NODES} operators")
    for number, value in _fields(message):
        if number == 5:
            _attribute(_bytes(value))


def _attribute(message: memoryview) -> None:
    for number, value in _fields(message):
        if number in (5, 10):
            _tensor(_bytes(value))
        elif number in (6, 11, 22, 23):
            raise _Refused("it holds a network within an operator, or sparse tensors")


def _tensor(message: memoryview) -> None:
    for number, value in _fields(message):
        if number == 13 or (number == 14 and value == _EXTERNAL):
            raise _Refused("it wants to read weights from another file (external data)")


def _domain(name: str) -> None:
    if name not in ("", "ai.onnx"):
        raise _Refused(f"it uses operators of {name[:60]!r}")


def _text(message: memoryview, wanted: int) -> str:
    """The last value of a text field, "" when there is none (as parsers of this format have it)."""
    found = b""
    for number, value in _fields(message):
        if number == wanted:
            found = bytes(_bytes(value))
    try:
        return found.decode("utf-8")
    except UnicodeDecodeError:
        raise _NotProtobuf("text that isn't UTF-8") from None


def _bytes(value: memoryview | int) -> memoryview:
    if isinstance(value, int):
        raise _NotProtobuf("a number where a message belongs")
    return value


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Field numbers with their values: bytes, or whole numbers."""
    place, end = 0, len(message)
    while place < end:
        key, place = _varint(message, place)
        kind, number = key & 7, key >> 3
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if kind == _LENGTH:
            length, place = _varint(message, place)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise _NotProtobuf("an unknown kind of field")
        if number == 0 or place + length > end:
            raise _NotProtobuf("cut off, or not ONNX at all")
        yield number, message[place : place + length]
        place += length


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise _NotProtobuf("cut off")
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise _NotProtobuf("a number that is too long")
