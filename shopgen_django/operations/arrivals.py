"""Pictures on their way in: what a worker hands to an operation that takes pictures in, and what comes back.

Such an operation (``takes_in = True``) makes sources, not results. It reads what arrives, decodes it within limits and
says for each picture what became of it. Values only, never model rows: where the bytes come from and whether a picture
is stored already is asked through callables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One picture that wants to become a source."""

    item: str
    """What the caller calls it: the product's key, or the name of the file."""
    label: str
    """What people call it: the product's title, or the name of the file."""
    read: Callable[[int], bytes]
    """``read(limit)``: at most so many bytes of the file as it came. Raises FileMissing, ProductNotFound, OSError."""
    known: Callable[[str], str]
    """``known(sha256)``: id of the stored picture that came from exactly this file for this product, or ""."""
    catalogue: str = ""
    object_pk: str = ""
    product_label: str = ""
    category: str = ""
    alt_text: str = ""
    digital_source: str = ""
    """Origin as somebody stated it; "": what the file itself says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a picture, or a product's pictures, did not come in."""

    item: str
    label: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The picture is stored already, as the row ``id``."""

    arrival: Arrival
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A picture made anew, ready to be stored."""

    arrival: Arrival
    data: bytes
    format: str
    width: int
    height: int
    sha256: str
    """Of ``data``."""
    origin_sha256: str
    """Of the file as it came in."""
    digital_source: str


Incoming = Arrival | Refusal
Outcome = Source | Known | Refusal

__all__ = ["Arrival", "Incoming", "Known", "Outcome", "Refusal", "Source"]
