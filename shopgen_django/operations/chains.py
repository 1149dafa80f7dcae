"""Operations one after the other: the chain that a recipe's job and a folder's pictures both go through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from shopgen_django.exceptions import InvalidParameters, NotFound, PermanentError

from .base import Estimate, InputImage, Operation, OperationContext, Output
from .registry import get_operation

if TYPE_CHECKING:
    from PIL import Image

CONFIDENCE = "cutout_confidence"
MAX_STEPS = 20
MAX_RESULTS = 100
"""Pictures of all steps together that one chain may make of one picture: steps that make several multiply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One operation with its parameters, validated and complete."""

    operation: str
    params: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, with the version of the operation's parameters: what is stored can be upgraded later."""
        return {
            "operation": self.operation, "params": dict(self.params),
            "params_version": get_operation(self.operation).Parameters.version,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a step made: ``of`` is the number of the result that it was made from (``None``: of the source), in the
    order in which results come."""

    step: int
    of: int | None
    output: Output


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decoded(InputImage):
    """An input whose pixels are at hand: steps follow each other without a lossy file in between."""

    picture: Image.Image

    def open(self) -> Image.Image:
        return self.picture.copy()


def decoded(picture: Image.Image, *, name: str, sha256: str, category: str = "", alt_text: str = "") -> InputImage:
    """A picture as an operation's input."""
    return _Decoded(
        id=name, content=b"", sha256=sha256, width=picture.width, height=picture.height, format="PNG", picture=picture,
        category=category, alt_text=alt_text,
    )


def parse_steps(steps: Iterable[Mapping[str, Any]]) -> tuple[Step, ...]:
    """Steps from plain values ``{"operation": NAME, "params": {...}}``, each validated by its operation.

    ``params_version`` beside them is the version that the parameters were stored with (without it: today's); older
    ones are upgraded. Raises InvalidParameters that names the step: an unknown operation, one that needs no or more
    than one picture or a trained model, parameters that don't fit; and for a chain of too many steps or pictures.
    """
    parsed: list[Step] = []
    given = list(steps)
    if not 1 <= len(given) <= MAX_STEPS:
        raise InvalidParameters(_("A recipe has 1 to %(limit)d steps.") % {"limit": MAX_STEPS})
    for number, step in enumerate(given, start=1):
        if not isinstance(step, Mapping) or not isinstance(step.get("operation"), str):
            raise InvalidParameters(_('Step %(n)d: a step is {"operation": …, "params": {…}}.') % {"n": number})
        unknown = sorted(str(name) for name in set(step) - {"operation", "params", "params_version"})
        if unknown:
            raise InvalidParameters(
                _("Unknown in step %(n)d: %(names)s.") % {"n": number, "names": ", ".join(unknown)}
            )
        operation = _operation(str(step["operation"]), number)
        if not suits_chain(operation):
            raise InvalidParameters(
                _("Step %(n)d: %(operation)s does not make a picture from one picture.")
                % {"n": number, "operation": operation.name}
            )
        try:
            params = operation.clean(operation.Parameters.parse(_upgraded(operation, step, number)))
        except InvalidParameters as error:
            told = "; ".join(f"{name}: {' '.join(map(str, texts))}" for name, texts in error.fields.items())
            raise InvalidParameters(
                _("Step %(n)d (%(operation)s): %(why)s")
                % {"n": number, "operation": operation.name, "why": told or str(error)}
            ) from error
        parsed.append(Step(operation=operation.name, params=params))
    count = estimate_of(parsed).outputs
    if count > MAX_RESULTS:
        raise InvalidParameters(
            _("These steps would make %(count)d pictures of one; at most %(most)d are allowed. Let only the last step "
              "make several sizes.") % {"count": count, "most": MAX_RESULTS}
        )
    return tuple(parsed)


def _operation(name: str, number: int) -> Operation:
    try:
        return get_operation(name)
    except NotFound as error:
        raise InvalidParameters(_("Step %(n)d: %(why)s") % {"n": number, "why": error}) from error


def estimate_of(steps: Iterable[Step]) -> Estimate:
    """Of a whole chain on one picture: what a step makes of one, the next makes of each."""
    seconds, outputs, level = 0.0, 0, 1
    for step in steps:
        each = get_operation(step.operation).estimate(step.params, 1)
        seconds += level * each.seconds
        level *= max(1, each.outputs)
        outputs += level
    return Estimate(seconds=seconds, outputs=outputs)


def suits_chain(operation: Operation) -> bool:
    """Whether it can be a step: it makes pictures from one picture and needs no trained model."""
    needs_model = bool(operation.model_purpose) and not operation.model_optional
    one_picture = operation.min_inputs <= 1 <= operation.max_inputs
    makes_pictures = not operation.makes_texts
    return one_picture and makes_pictures and not needs_model and operation.public and not operation.is_chain


def _upgraded(operation: Operation, step: Mapping[str, Any], number: int) -> Any:
    """The step's parameters as today's version of the operation reads them."""
    params, now = step.get("params"), operation.Parameters.version
    version = step.get("params_version", now)
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= now:
        raise InvalidParameters(
            _("Step %(n)d (%(operation)s): params_version is a number from 1 to %(now)d here.")
            % {"n": number, "operation": operation.name, "now": now}
        )
    if version < now and isinstance(params, Mapping):
        return operation.Parameters.upgrade(dict(params), version)
    return params


def run_chain(source: InputImage, steps: Sequence[Step], context: OperationContext) -> Iterator[Made]:
    """The results of every step, in order. A step that makes several pictures has the next one run on each.

    ``context`` gives seed, threads, device, ``check`` and ``report``; parameters and inputs are the steps' own.
    Raises what the operations raise, and PermanentError when a step makes nothing.
    """
    level: list[tuple[int | None, InputImage]] = [(None, source)]
    count = 0
    for number, step in enumerate(steps):
        operation = get_operation(step.operation)
        following: list[tuple[int | None, InputImage]] = []
        for part, (position, given) in enumerate(level):

            def report(share: float, stage: str = "", *, number: int = number, part: int = part) -> None:
                done = (number + (part + share) / len(level)) / len(steps)  # noqa: B023 - called while it is this level
                context.report(min(1.0, done), stage)

            own = replace(context, params=step.params, inputs=(given,), model=None, report=report)
            made = 0
            for output in operation.run(own):
                yield Made(step=number, of=position, output=output)
                following.append((count, decoded(
                    output.image, name=given.id, sha256=given.sha256, category=output.category or given.category,
                    alt_text=str(output.alt_text) or given.alt_text,
                )))  # fmt: skip
                count, made = count + 1, made + 1
            if not made:
                raise PermanentError(_("%(operation)s made nothing of this picture.") % {"operation": operation.label})
        level = following


def gather(known: dict[str, float], found: Mapping[str, float]) -> None:
    """Add a step's measurements to those of the ones before; of confidences the smallest counts."""
    for name, value in found.items():
        before = known.get(name)
        known[name] = min(before, float(value)) if name == CONFIDENCE and before is not None else float(value)


def origin_of(steps: Sequence[Step], origin: str) -> str:
    """IPTC code of a chain's results, made of a picture whose own code is ``origin``."""
    from shopgen_django.imaging.provenance import inherited_source_type

    for step in steps:
        origin = inherited_source_type(get_operation(step.operation).digital_source, [origin])
    return origin
