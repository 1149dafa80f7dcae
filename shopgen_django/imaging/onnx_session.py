"""One way to open an ONNX network, for whoever runs one. onnxruntime is an extra, imported when a network is opened."""

from __future__ import annotations

from typing import Any

__all__ = ["OnnxRuntimeMissing", "OnnxUnreadable", "open_session"]


class OnnxRuntimeMissing(Exception):
    """onnxruntime is not installed; the caller knows which extra brings it."""


class OnnxUnreadable(ValueError):
    """onnxruntime can't load the network; the message is its own."""


def open_session(data: bytes, *, threads: int = 1) -> Any:
    """An onnxruntime session on the CPU.

    Taken from bytes, so that data outside the file can't be referred to. ``threads`` is how many cores a run uses; they
    sleep while they wait, since spinning threads would take the cores from the rest of the shop.

    Raises:
        OnnxRuntimeMissing: onnxruntime is not installed.
        OnnxUnreadable: the bytes are no network that it can run.
    """
    try:
        import onnxruntime
    except ImportError:
        raise OnnxRuntimeMissing from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, threads)
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class of its own
        raise OnnxUnreadable(str(error)) from error
