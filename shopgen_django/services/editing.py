"""Operations on files, without rows: one after the other on each picture of a folder.

The steps are the very operations that jobs run; what a job stores as rows is here a file with its line in a table.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from shopgen_django import __version__
from shopgen_django.engines import get_engine
from shopgen_django.exceptions import InvalidParameters, PermanentError
from shopgen_django.operations.base import InputImage, Operation, OperationContext, Output
from shopgen_django.operations.gates import ask_gates
from shopgen_django.operations.registry import get_operation
from shopgen_django.storage import EXTENSIONS

if TYPE_CHECKING:
    from PIL import Image

CONFIDENCE = "cutout_confidence"
SMALL_SIDE = 320
MAX_STEPS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One operation with its parameters, validated and complete."""

    operation: str
    params: Mapping[str, Any]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decoded(InputImage):
    """An input whose pixels are at hand: steps follow each other without a lossy file in between."""

    picture: Image.Image

    def open(self) -> Image.Image:
        return self.picture.copy()


def parse_steps(steps: Iterable[Mapping[str, Any]]) -> tuple[Step, ...]:
    """Steps from plain values ``{"operation": NAME, "params": {...}}``, each validated by its operation.

    Raises InvalidParameters that names the step: an unknown operation, one that needs no or more than one picture or a
    trained model, parameters that don't fit.
    """
    parsed: list[Step] = []
    for number, step in enumerate(steps, start=1):
        if not isinstance(step, Mapping) or not isinstance(step.get("operation"), str):
            raise InvalidParameters(_('Step %(n)d: a step is {"operation": …, "params": {…}}.') % {"n": number})
        operation = get_operation(str(step["operation"]))
        _suits(operation, number)
        try:
            params = operation.clean(operation.Parameters.parse(step.get("params")))
        except InvalidParameters as error:
            told = "; ".join(f"{name}: {' '.join(map(str, texts))}" for name, texts in error.fields.items())
            raise InvalidParameters(
                _("Step %(n)d (%(operation)s): %(why)s")
                % {"n": number, "operation": operation.name, "why": told or str(error)}
            ) from error
        parsed.append(Step(operation=operation.name, params=params))
    if not 1 <= len(parsed) <= MAX_STEPS:
        raise InvalidParameters(_("A recipe has 1 to %(limit)d steps.") % {"limit": MAX_STEPS})
    return tuple(parsed)


def _suits(operation: Operation, number: int) -> None:
    needs_model = operation.model_purpose and not operation.model_optional
    if not (operation.min_inputs <= 1 <= operation.max_inputs) or needs_model or not operation.public:
        raise InvalidParameters(
            _("Step %(n)d: %(operation)s does not make a picture from one picture.")
            % {"n": number, "operation": operation.name}
        )


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
    pictures: list[tuple[Image.Image, str]] = [(original, "PNG")]
    measurements: dict[str, float] = {}
    reasons: list[str] = []
    for step in steps:
        outputs = [
            output for picture, _kind in pictures
            for output in _run(step, picture, name, sha256, threads=threads, check=check)
        ]
        for output in outputs:
            for measured, value in output.measurements.items():
                known = measurements.get(measured)
                keep = known is not None and measured == CONFIDENCE
                measurements[measured] = min(known, float(value)) if keep and known is not None else float(value)
            reason = str(output.held_back) or ask_gates(output.image, output.measurements)
            if reason and reason not in reasons:
                reasons.append(reason)
        pictures = [(output.image, output.format) for output in outputs]
    origin = _origin(content, steps)
    confidence = measurements.get(CONFIDENCE)
    return Edited(
        results=tuple((f".{EXTENSIONS[kind]}", _encoded(image, kind, steps, origin)) for image, kind in pictures),
        before=_small(original), after=tuple(_small(image) for image, _kind in pictures),
        seconds=time.monotonic() - began, uncertainty=None if confidence is None else 1.0 - confidence,
        reason=" ".join(reasons), measurements=measurements,
    )


def _run(
    step: Step, picture: Image.Image, name: str, sha256: str, *, threads: int, check: Callable[[], None] | None
) -> list[Output]:
    operation = get_operation(step.operation)
    source = _Decoded(
        id=name, content=b"", sha256=sha256, width=picture.width, height=picture.height, format="PNG", picture=picture
    )
    # Drawn from the file, so that a second run makes the same pictures.
    seed = int(sha256[:8], 16) & 0x7FFFFFFF
    context = OperationContext(params=step.params, inputs=(source,), seed=seed, threads=threads)
    outputs = list(operation.run(context if check is None else replace(context, check=check)))
    if not outputs:
        raise PermanentError(_("%(operation)s made nothing of this picture.") % {"operation": operation.label})
    return outputs


def _origin(content: bytes, steps: Sequence[Step]) -> str:
    """IPTC code of the results: what the file says it is, carried through every step as a job's lineage would."""
    from shopgen_django.imaging.provenance import inherited_source_type, read_provenance

    origin = read_provenance(content).get("digital_source_type", "")
    for step in steps:
        origin = inherited_source_type(get_operation(step.operation).digital_source, [origin])
    return origin


def _encoded(picture: Image.Image, kind: str, steps: Sequence[Step], origin: str) -> bytes:
    from shopgen_django.imaging.provenance import encode

    return encode(
        picture, format=kind, digital_source_type=origin, software=f"shopgen-django {__version__}",
        extra={"operation": "+".join(step.operation for step in steps)},
    )


def _small(picture: Image.Image) -> bytes:
    """A small WebP for the report."""
    copy = picture.copy()
    copy.thumbnail((SMALL_SIDE, SMALL_SIDE))
    file = io.BytesIO()
    copy.save(file, "WEBP", quality=85)
    return file.getvalue()
