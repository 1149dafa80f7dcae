"""Engine over models that ``compress_model`` exported: on onnxruntime, in a process that never imports PyTorch."""

from __future__ import annotations

import importlib.util

from .trained import TrainedGenerator


class OnnxGenerator(TrainedGenerator):
    """Keeps the ``CACHE`` most recently used models in memory (default 2). Always on the CPU.

    The same seed draws the same products as with the model that was compressed; see
    :mod:`shopgen_django.ml.compression.latents`.
    """

    def check(self) -> list[str]:
        if importlib.util.find_spec("onnxruntime") is None:
            return ["onnxruntime is not installed: pip install 'shopgen-django[onnx]'."]
        return []

    def _prepare(self, threads: int) -> None:
        """The number of threads is the session's."""
