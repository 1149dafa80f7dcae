"""Operations on files, without rows: one after the other on each picture of a folder.

The steps are the very operations that jobs run; what a job stores as rows is here a file with its line in a table.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from shopgen_django import __version__
from shopgen_django.engines import get_engine
from shopgen_django.operations.base import OperationContext
from shopgen_django.operations.chains import CONFIDENCE, Step, decoded, gather, origin_of, run_chain
from shopgen_django.operations.gates import ask_gates
from shopgen_django.operations.registry import get_operation
from shopgen_django.storage import EXTENSIONS

if TYPE_CHECKING:
    from PIL import Image

SMALL_SIDE = 320


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """What became of one picture. ``results`` are encoded files with their suffix, in order; ``before`` and ``after``
    small copies for people."""

    results: tuple[tuple[str, bytes], ...]
    before: bytes
    after: tuple[bytes, ...]
    seconds: float
    uncertainty: float | None
    """1 - the smallest confidence of a cut-out on the way; ``None`` when nothing was cut out."""
    reason: str
    """Why a person should look at it; "" when nothing speaks against it."""
    measurements: Mapping[str, float] = field(default_factory=dict)


def digest_of(steps: Sequence[Step]) -> str:
    """The same text for the same work."""
    plain = [{"operation": step.operation, "params": dict(step.params)} for step in steps]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()


def engines_of(steps: Sequence[Step]) -> str:
    """What does the work behind the steps here and now: results of unlike engines are not mixed.

    Raises PermanentError for an engine that can't be used.
    """
    aliases = sorted({alias for step in steps for alias in get_operation(step.operation).engines})
    return ", ".join(f"{alias}: {get_engine(alias).identity()}" for alias in aliases)


def edit_picture(
    content: bytes,
    steps: Sequence[Step],
    *,
    name: str = "picture",
    threads: int = 1,
    limits: Any = None,
    check: Callable[[], None] | None = None,
) -> Edited:
    """Run the steps on a picture's file, kept at its full size, upright.

    Raises ``imaging.intake.IntakeError`` for a file that can't be taken, and what the operations raise.
    """
    from shopgen_django.imaging.intake import decode

    began = time.monotonic()
    sha256 = hashlib.sha256(content).hexdigest()
    original = decode(content, limits)
    source = decoded(original, name=name, sha256=sha256)
    # The seed is drawn from the file, so that a second run makes the same pictures.
    context = OperationContext(params={}, inputs=(source,), seed=int(sha256[:8], 16) & 0x7FFFFFFF, threads=threads)
    measurements: dict[str, float] = {}
    reasons: list[str] = []
    pictures: list[tuple[Image.Image, str, dict[str, str]]] = []
    facts: list[dict[str, str]] = []
    for made in run_chain(source, steps, context if check is None else replace(context, check=check)):
        gather(measurements, made.output.measurements)
        # How a picture was made includes how that was made which it was made from.
        facts.append({**(facts[made.of] if made.of is not None else {}), **made.output.facts})
        reason = str(made.output.held_back) or ask_gates(made.output.image, made.output.measurements)
        if reason and reason not in reasons:
            reasons.append(reason)
        if made.step == len(steps) - 1:
            pictures.append((made.output.image, made.output.format, facts[-1]))
    origin = _origin(content, steps)
    confidence = measurements.get(CONFIDENCE)
    return Edited(
        results=tuple(
            (f".{EXTENSIONS[kind]}", _encoded(image, kind, steps, origin, own)) for image, kind, own in pictures
        ),
        before=_small(original), after=tuple(_small(image) for image, _kind, _own in pictures),
        seconds=time.monotonic() - began, uncertainty=None if confidence is None else 1.0 - confidence,
        reason=" ".join(reasons), measurements=measurements,
    )


def _origin(content: bytes, steps: Sequence[Step]) -> str:
    """IPTC code of the results: what the file says it is, carried through every step as a job's lineage would."""
    from shopgen_django.imaging.provenance import read_provenance

    return origin_of(steps, read_provenance(content).get("digital_source_type", ""))


def _encoded(
    picture: Image.Image, kind: str, steps: Sequence[Step], origin: str, facts: Mapping[str, str]
) -> bytes:
    from shopgen_django.imaging.provenance import encode

    return encode(
        picture, format=kind, digital_source_type=origin, software=f"shopgen-django {__version__}",
        extra={**facts, "operation": "+".join(step.operation for step in steps)},
    )


def _small(picture: Image.Image) -> bytes:
    """A small WebP for the report."""
    copy = picture.copy()
    copy.thumbnail((SMALL_SIDE, SMALL_SIDE))
    file = io.BytesIO()
    copy.save(file, "WEBP", quality=85)
    return file.getvalue()
