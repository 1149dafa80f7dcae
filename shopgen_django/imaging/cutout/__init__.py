"""Cut a product out of a photo: where it is (a finder), its exact outline, its own colours, and how far to trust it.

:func:`~shopgen_django.imaging.cutout.chain.cut_out` is the whole chain. The finder is replaceable: the classical one
needs nothing but OpenCV, an engine may bring a network.
"""

from __future__ import annotations

from .chain import CutOut, Finder, cut_out, on_white
from .hints import Hints

__all__ = ["CutOut", "Finder", "Hints", "cut_out", "on_white"]
