"""Pixel code: safe decoding, cut-out, framing, provenance and measurements.

Nothing here knows Django or the rest of the package, so the trainer, the web process and a plain script can all use it.
Importing the package is cheap on purpose: take what you need from the modules themselves, e.g.
``from shopgen_django.imaging.intake import inspect``. OpenCV is imported inside the functions that need it.
"""

from __future__ import annotations
