"""Smaller and faster generators: distilled, pruned, as ONNX, in 8 bit; each measured against its teacher.

Nothing heavy is imported here. What serving needs (:mod:`.latents`, :mod:`.onnx_file`, :mod:`.runtime`) never imports
PyTorch; what compressing needs (:mod:`.prune`, :mod:`.distil`, :mod:`.export`, :mod:`.quantise`, :mod:`.table`,
:mod:`.run`) does.
"""

from __future__ import annotations
