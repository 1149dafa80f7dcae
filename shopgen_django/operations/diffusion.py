"""What ``create``, ``restyle``, ``inpaint`` and ``scene`` share: the engine, sizes, one call, results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _

from shopgen_django.engines import get_engine
from shopgen_django.engines.errors import BadRequest, ModelMissing
from shopgen_django.engines.pictures import Described, MadePicture, PictureEngine, PictureRequest, Task, Unread
from shopgen_django.exceptions import InvalidParameters, ModelUnavailable, PermanentError, ShopgenError

from .base import Estimate, Operation, OperationContext, Output
from .pictures import REFERENCE, reference_of, wants_reference
from .prompts import final_words, lora_parameters, unknown_loras, words_of
from .safety import check_picture, check_words
from .words import Passage, Words

if TYPE_CHECKING:
    from PIL import Image

ENGINE = "diffusion"
FORMATS = (("PNG", "PNG"), ("JPEG", "JPEG"), ("WEBP", "WebP"))
_STEP_SECONDS = 0.25
"""Of one step of one picture on a GPU, for estimates."""


def picture_engine() -> PictureEngine:
    """The engine behind the alias. Raises PermanentError."""
    try:
        engine = get_engine(ENGINE)
    except (ImproperlyConfigured, ImportError) as error:
        raise PermanentError(str(error), code="wrong_engine") from error
    if not isinstance(engine, PictureEngine):
        raise PermanentError(
            _("The engine %(name)s can't make pictures by words.") % {"name": ENGINE}, code="wrong_engine"
        )
    return engine


class WordsOperation(Operation):
    """Base of the operations that a large model does by words."""

    engines: ClassVar[tuple[str, ...]] = (ENGINE,)
    accelerated = True
    hidden_params = ("preset_words",)
    task: ClassVar[Task] = "text"

    def estimate(self, params: Mapping[str, Any], inputs: int) -> Estimate:
        count = int(params["count"])
        work = int(params["steps"]) * float(params.get("strength") or 1.0)
        return Estimate(seconds=3.0 + count * (0.5 + work * _STEP_SECONDS), outputs=count)

    def demand(self, params: Mapping[str, Any], inputs: int) -> Mapping[str, int]:
        return {ENGINE: int(params["count"])}

    def words(self, params: Mapping[str, Any], *, title: str = "", category: str = "") -> tuple[Words, ...]:
        prompt, negative = final_words(params, title=title, category=category)
        left: list[Unread | None] = [None, None]
        heeded, untold = float(params["guidance"]) > 1.0, ""
        try:
            engine = picture_engine()
            heeded = heeded and engine.describe(self.task).negative
            left = [engine.unread(text, self.task) if text else Unread() for text in (prompt, negative)]
            if None in left:
                untold = _("This engine does not say how many words its model reads.")
        except ShopgenError as error:  # what stands in the way of the work itself is told elsewhere
            untold = str(error)
        return (
            Words(
                prompt=Passage(text=prompt, unread=left[0]), negative=Passage(text=negative, unread=left[1]),
                negative_heeded=heeded, untold=untold,
            ),
        )

    def clean(self, params: dict[str, Any]) -> dict[str, Any]:
        """Refuses, before any job is queued, what can't be done: no model, a model of another kind, forbidden words."""
        try:
            described = picture_engine().describe(self.task)
        except ModelMissing as error:
            raise ModelUnavailable(str(error)) from error
        self.clean_for(described, params)
        if wants_reference(params):
            try:
                picture_engine().require_reference(self.task)
            except PermanentError as error:
                raise InvalidParameters(str(error), fields={REFERENCE: [str(error)]}) from error
        if described.loras and (text := unknown_loras(params, picture_engine().lora_names)):
            raise InvalidParameters(text, fields={"loras": [text]})
        for name in ("prompt", "negative"):
            if params.get(name):
                check_words(str(params[name]), self.name)
        return params

    def clean_for(self, described: Described, params: dict[str, Any]) -> None:
        """Hook: refuse (InvalidParameters) what this model can't do."""
        if self.task != "text" and int(int(params["steps"]) * float(params.get("strength") or 1.0)) < 1:
            text = _("Too few steps for so small a strength: steps × strength must be at least 1.")
            raise InvalidParameters(text, fields={"steps": [text]})


def request_of(
    context: OperationContext, task: Task, size: tuple[int, int], *, image: Image.Image | None = None,
    mask: Image.Image | None = None, strength: float = 1.0,
) -> PictureRequest:
    """The engine's request from an operation's parameters. Raises Blocked for words that a safety check refuses."""
    params, reference = context.params, _reference(context)
    prompt, negative = words_of(context)
    if not prompt:
        raise BadRequest(_("There are no words left: the product has neither a title nor a category. Write some."))
    return PictureRequest(
        task=task, prompt=prompt, negative=negative, width=size[0], height=size[1], count=int(params["count"]),
        seed=context.seed if params["seed"] is None else int(params["seed"]), steps=int(params["steps"]),
        guidance=float(params["guidance"]), scheduler=str(params["scheduler"]), strength=strength, image=image,
        mask=mask, loras=lora_parameters(params), reference=reference,
        reference_weight=float(params["reference_weight"]), device=context.device, threads=context.threads,
    )


def _reference(context: OperationContext) -> Image.Image | None:
    from shopgen_django.imaging.cutout import on_white

    found = reference_of(context)
    return None if found is None else on_white(found.open())


def make(
    context: OperationContext, request: PictureRequest, operation: str, *, began: float = 0.0
) -> Iterator[MadePicture]:
    """Run the request; each picture has passed the shop's safety checks.

    Progress goes from ``began`` to 1. Raises the errors of ``engines.errors``, and Blocked.
    """
    for words in filter(None, (request.prompt, request.negative)):
        check_words(words, operation)
    engine, reference = picture_engine(), reference_of(context)
    described = engine.describe(request.task)
    made = engine.run(
        request, on_step=lambda share: context.report(began + (1.0 - began) * share, operation), check=context.check
    )
    for picture in made:
        check_picture(picture.image, operation)
        facts = {
            "engine": ENGINE, "model": described.name, "model_kind": described.kind, "model_licence": described.licence,
            "reference_sha256": "" if reference is None else reference.sha256, **picture.facts,
        }
        yield replace(picture, facts={name: value for name, value in facts.items() if value})


def output_of(
    context: OperationContext, picture: MadePicture, image: Image.Image, **values: Any
) -> Output:
    """A result with its facts and measurements. ``values``: other fields of Output, which go before."""
    measurements = dict(values.pop("measurements", {}))
    if "prompt_not_read" in picture.facts:
        measurements["words_not_read"] = float(len(picture.facts["prompt_not_read"].split()))
    fields: dict[str, Any] = {
        "category": context.category, "facts": picture.facts, **values,
    }
    reference = reference_of(context)
    if reference is not None:
        fields["parents"] = (*fields.get("parents", ()), reference.id)
    fields["alt_text"] = fields.get("alt_text") or context.product_title or picture.facts.get("prompt", "")[:200]
    return Output(image=image, measurements=measurements, **fields)


def working_size(size: tuple[int, int], described: Described) -> tuple[int, int]:
    """The size at which a model works on a picture of ``size``: the same shape as nearly as its multiples allow, the
    number of pixels that it was trained for (more confuses it, fewer blur), within what the engine may make."""
    goal = min(described.size[0] * described.size[1], described.max_pixels)
    scale = (goal / (size[0] * size[1])) ** 0.5
    multiple = described.multiple
    width, height = (max(multiple, round(side * scale / multiple) * multiple) for side in size)
    while width * height > described.max_pixels:
        if width >= height:
            width -= multiple
        else:
            height -= multiple
        if min(width, height) < multiple:
            raise BadRequest(_("The picture is too narrow for this model."))
    return width, height
