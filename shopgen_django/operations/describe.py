"""``describe``: title, description, tags and alt text of a product, proposed from its photos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, cast

from django import forms
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import get_language_info, gettext_lazy
from django.utils.translation import gettext as _

from shopgen_django.conf import app_settings
from shopgen_django.engines import get_engine
from shopgen_django.engines.errors import ModelMissing
from shopgen_django.engines.texts import KINDS, TextEngine, TextKind, TextRequest, Writer
from shopgen_django.exceptions import InvalidParameters, ModelUnavailable, PermanentError, ShopgenError

from .base import Estimate, InputImage, Operation, OperationContext, TextOutput
from .parameters import Parameters
from .registry import register
from .safety import check_words
from .text_checks import LENGTHS, doubts_about, tidy

ENGINE, TAGGER = "text", "tags"
LABELS: Mapping[TextKind, Any] = {
    "title": gettext_lazy("Title"), "description": gettext_lazy("Description"), "tags": gettext_lazy("Tags"),
    "alt_text": gettext_lazy("Alt text"),
}
MAX_SIDE = 1536
"""Pictures are shown to models no larger than this, in pixels."""


def _languages() -> list[tuple[str, str]]:
    return [(code, str(name)) for code, name in settings.LANGUAGES]


def _own_language() -> str:
    codes = [code for code, _name in settings.LANGUAGES]
    own = settings.LANGUAGE_CODE
    return own if own in codes else next((code for code in codes if own.startswith(code)), codes[0])


class DescribeParameters(Parameters):
    kinds = forms.MultipleChoiceField(
        label=gettext_lazy("Texts"), choices=list(LABELS.items()), required=False, initial=list,
        widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy("None chosen: everything that the model can write."),
    )
    language = forms.ChoiceField(label=gettext_lazy("Language"), choices=_languages, initial=_own_language)
    instructions = forms.CharField(
        label=gettext_lazy("Style"), max_length=1000, required=False, widget=forms.Textarea(attrs={"rows": 2}),
        help_text=gettext_lazy("For example: friendly, short sentences, no exclamation marks."),
    )
    tags = forms.CharField(
        label=gettext_lazy("Tags to choose from"), max_length=4000, required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=gettext_lazy("Separated by commas. Empty: free choice, where the model can do that."),
    )
    max_tags = forms.IntegerField(label=gettext_lazy("Tags at most"), min_value=1, max_value=30, initial=8)


def given_tags(params: Mapping[str, Any]) -> tuple[str, ...]:
    """The shop's own list of tags, each once."""
    words = (" ".join(word.split()) for word in str(params["tags"]).replace("\n", ",").split(","))
    return tuple(dict.fromkeys(word for word in words if word))


def _engine(alias: str) -> TextEngine:
    try:
        engine = get_engine(alias)
    except (ImproperlyConfigured, ImportError) as error:
        raise PermanentError(str(error), code="wrong_engine") from error
    if not isinstance(engine, TextEngine):
        raise PermanentError(_("The engine %(name)s can't write texts.") % {"name": alias}, code="wrong_engine")
    return engine


def writers() -> dict[str, Writer]:
    """The engines that are set up, by alias: one that writes, and one that chooses tags, or only one of them.

    Raises ModelUnavailable when there is neither, and the engines' errors for one that is set up wrongly.
    """
    found: dict[str, Writer] = {}
    missing: ModelMissing | None = None
    for alias in (ENGINE, TAGGER):
        try:
            found[alias] = _engine(alias).describe()
        except ModelMissing as error:
            if app_settings.ENGINES[alias].get("OPTIONS"):
                raise ModelUnavailable(str(error)) from error
            missing = missing or error
    if not found:
        raise ModelUnavailable(str(missing))
    return found


def shared_out(
    kinds: tuple[TextKind, ...], found: Mapping[str, Writer], tags: tuple[str, ...]
) -> dict[str, list[TextKind]]:
    """Which engine writes which kinds: tags are for the one that chooses among given ones, where there are some."""
    plan: dict[str, list[TextKind]] = {}
    for kind in kinds:
        order = (TAGGER, ENGINE) if kind == "tags" and tags else (ENGINE, TAGGER)
        for alias in order:
            writer = found.get(alias)
            if writer is not None and kind in writer.kinds and (tags or not writer.needs_tags):
                plan.setdefault(alias, []).append(kind)
                break
    return plan


@register
class Describe(Operation):
    name = "describe"
    label = gettext_lazy("Propose texts")
    description = gettext_lazy(
        "Title, description, tags and alt text from the photos of a product, by the model that the shop has "
        "configured. A person reads and changes them before they reach the shop."
    )
    Parameters = DescribeParameters
    min_inputs = 1
    max_inputs = 8
    together = gettext_lazy("The photos show one product; they are looked at together and give one set of texts")
    accelerated = True
    makes_texts = True
    engines: ClassVar[tuple[str, ...]] = (ENGINE, TAGGER)

    def estimate(self, params: Mapping[str, Any], inputs: int) -> Estimate:
        kinds = params["kinds"] or KINDS
        return Estimate(seconds=2.0 + 3.0 * len(kinds) + 0.5 * max(1, inputs), outputs=len(kinds))

    def demand(self, params: Mapping[str, Any], inputs: int) -> Mapping[str, int]:
        kinds = cast(tuple[TextKind, ...], tuple(params["kinds"])) or KINDS
        try:
            return dict.fromkeys(shared_out(kinds, writers(), given_tags(params)), 1)
        except ShopgenError:  # what stands in the way is told where the parameters are cleaned
            return {}

    def clean(self, params: dict[str, Any]) -> dict[str, Any]:
        """Refuses, before any job is queued, what can't be done: no model, a kind or language that it can't write."""
        found, tags = writers(), given_tags(params)
        wanted = cast(tuple[TextKind, ...], tuple(params["kinds"]))
        plan = shared_out(wanted or KINDS, found, tags)
        able = {kind for kinds in plan.values() for kind in kinds}
        lacking = [kind for kind in wanted if kind not in able]
        if lacking or not able:
            text = _("The model that is configured can't write this: %(kinds)s.") % {
                "kinds": ", ".join(str(LABELS[kind]) for kind in lacking or KINDS)
            }
            if lacking == ["tags"] and not tags:
                text = _("The model that is configured chooses among tags that you give it. Write some below.")
            raise InvalidParameters(text, fields={"kinds": [text]})
        languages = found[ENGINE].languages if set(plan) - {TAGGER} else ()
        if languages and params["language"] not in languages:
            text = _("This model writes %(languages)s only.") % {"languages": ", ".join(languages)}
            raise InvalidParameters(text, fields={"language": [text]})
        if params["instructions"]:
            check_words(str(params["instructions"]), self.name)
        return params

    def run(self, context: OperationContext) -> Iterator[TextOutput]:
        found, tags = writers(), given_tags(context.params)
        kinds = cast(tuple[TextKind, ...], tuple(context.params["kinds"])) or KINDS
        plan = shared_out(kinds, found, tags)
        request = _request(context, tags)
        for number, (alias, own) in enumerate(plan.items()):
            writer, began = found[alias], number / len(plan)
            asked = replace(request, kinds=tuple(own), images=request.images[: writer.pictures])
            made = _engine(alias).write(
                asked, on_step=lambda share, began=began: context.report(began + share / len(plan), self.name),  # type: ignore[misc]
                check=context.check,
            )
            facts = {
                "engine": alias, "model": writer.name, "model_kind": writer.model_kind,
                "model_licence": writer.licence, "model_sha256": writer.sha256, **made.facts,
            }
            for kind in own:
                yield self._output(kind, made.texts.get(kind, ""), asked, {k: v for k, v in facts.items() if v})

    def _output(self, kind: TextKind, text: str, request: TextRequest, facts: dict[str, str]) -> TextOutput:
        tidied, cut = tidy(kind, text, request)
        check_words(tidied, self.name)
        doubts = tuple(doubts_about(kind, tidied, request, cut=cut))
        return TextOutput(kind=kind, text=tidied, language=request.language, doubts=doubts, facts=facts)


def _request(context: OperationContext, tags: tuple[str, ...]) -> TextRequest:
    params, language = context.params, str(context.params["language"])
    try:
        language_name = str(get_language_info(language)["name"])
    except KeyError:
        language_name = language
    return TextRequest(
        images=tuple(_shown(image) for image in context.inputs), kinds=(), language=language,
        language_name=language_name, title=context.product_title, category=context.category,
        description=context.product_description, instructions=str(params["instructions"]), tags=tags,
        max_tags=int(params["max_tags"]), lengths=LENGTHS, device=context.device, threads=context.threads,
    )


def _shown(image: InputImage) -> Any:
    """RGB on white, no larger than a model needs."""
    from PIL import Image

    picture = image.open()
    if picture.mode in ("RGBA", "LA", "P", "PA"):
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(ground, picture)
    picture = picture.convert("RGB")
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return picture
