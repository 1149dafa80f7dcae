"""Bits of HTML that several screens share. Everything that people or models wrote goes through ``format_html``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.urls import reverse
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.exceptions import NotFound
from shopgen_django.models import ProductImage
from shopgen_django.operations.registry import get_operation

from .recipe_steps import steps_in_words


def picture_url(image: ProductImage, size: str = "small") -> str:
    """Address of the picture at a size of ``thumbnails.SIZES``, or of the stored file ("full").

    The SHA-256 is part of it, so that browsers may keep it for good.
    """
    return reverse("admin:shopgen_productimage_picture", args=[image.pk, size, image.sha256[:16]])


def change_url(row: Any) -> str:
    """Address of a row's page in the admin."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def alt_of(image: ProductImage) -> str:
    """A text alternative for staff: what is known when nobody has written one."""
    return image.alt_text or image.product_label or image.category or _("Picture without a description")


def thumb(image: ProductImage, size: str = "small", link: bool = True) -> SafeString:
    """The picture, linked to its page."""
    tag = format_html(
        '<img class="sg-thumb" src="{}" alt="{}" loading="lazy" decoding="async">',
        picture_url(image, size), alt_of(image),
    )
    if not link:
        return tag
    return format_html('<a class="sg-thumb-link" href="{}">{}</a>', change_url(image), tag)


def badge(value: str, label: object) -> SafeString:
    """A state as a word on a coloured ground (the word carries the meaning, the colour only helps)."""
    return format_html('<span class="sg-badge sg-badge-{}">{}</span>', value, label)


def operation_label(name: str) -> str:
    """The operation's name for people; its stable word when no such operation is installed any more."""
    if not name:
        return ""
    try:
        return str(get_operation(name).label)
    except NotFound:
        return name


def parameter_rows(operation: str, params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Stored parameters as pairs of label and value."""
    try:
        known = get_operation(operation)
        fields, hidden = known.Parameters.base_fields, known.hidden_params
    except NotFound:
        fields, hidden = {}, ()
    rows = []
    for name, value in params.items():
        if name in hidden:
            continue
        if name == "made_with" and isinstance(value, Mapping):
            # Facts of the making; what only repeats a parameter is shown once.
            rows += [(fact.replace("_", " "), str(told)) for fact, told in value.items()
                     if fact not in params or str(params[fact]) not in (told, f"{told}.0")]
            continue
        if name == "steps" and isinstance(value, list) and (steps := steps_in_words(value)):
            rows += [(f"{n}. {step.label}", step.text or _("as usual")) for n, step in enumerate(steps, start=1)]
            continue
        field = fields.get(name)
        label = str(field.label or name) if field is not None else name
        choices = dict(getattr(getattr(field, "widget", None), "choices", ()) or ())
        rows.append((label, _shown(value, choices)))
    return rows


def _shown(value: Any, choices: Mapping[Any, Any]) -> str:
    if value is None or value == "" or value == []:
        return _("not set")
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, list | tuple):
        return ", ".join(_shown(item, choices) for item in value)
    return str(choices.get(value, value) if isinstance(value, str) else value)


_MEASURED: dict[str, tuple[Any, str, float]] = {
    # name: (label, format, factor)
    "cutout_confidence": (gettext_lazy("Cut-out is sure"), "{:.0f} %", 100),
    "noise": (gettext_lazy("Noise found"), "{:.1f}", 1),
    "edges_kept": (gettext_lazy("Edges kept"), "{:.0f} %", 100),
    "texture_kept": (gettext_lazy("Fine detail kept"), "{:.0f} %", 100),
    "colour_change": (gettext_lazy("Colours moved (ΔE)"), "{:.1f}", 1),
    "exposure": (gettext_lazy("Brightened"), "× {:.2f}", 1),
    "repaired_share": (gettext_lazy("Filled"), "{:.1f} %", 100),
    "damage_share": (gettext_lazy("Damaged"), "{:.1f} %", 100),
    "shrinks_back_psnr": (gettext_lazy("True to the photo"), "{:.0f} dB", 1),
    "sharpness": (gettext_lazy("Sharpness"), "{:.0f}", 1),
    "contrast": (gettext_lazy("Contrast"), "{:.0f} %", 100),
    "blankness": (gettext_lazy("Of one colour"), "{:.0f} %", 100),
    "saturation": (gettext_lazy("Saturation"), "{:.0f} %", 100),
    "clipped_dark": (gettext_lazy("Fully black"), "{:.0f} %", 100),
    "clipped_light": (gettext_lazy("Fully white"), "{:.0f} %", 100),
    "entropy": (gettext_lazy("Variety of brightness"), "{:.1f} bit", 1),
    "opacity": (gettext_lazy("Opaque"), "{:.0f} %", 100),
}
_ELSEWHERE = frozenset({"width", "height"})


def measurement_rows(image: ProductImage) -> list[tuple[str, str]]:
    """Measurements in words and units that people read: the known ones first, those of other operations after them."""
    found = {row.name: row for row in image.measurements.all() if row.name not in _ELSEWHERE}
    rows = []
    for name, (label, form, factor) in _MEASURED.items():
        row = found.pop(name, None)
        if row is not None:
            rows.append((str(label), form.format(row.value * factor)))
    return rows + [(row.name.replace("_", " "), f"{row.value:.4g}{row.unit}") for row in found.values()]


def when(moment: datetime | None) -> SafeString | str:
    """How long ago, with the exact time as its title."""
    if moment is None:
        return "—"
    local = timezone.localtime(moment)
    new = (timezone.now() - moment).total_seconds() < 60
    return format_html(
        '<time datetime="{}" title="{}" class="sg-when">{}</time>', local.isoformat(),
        formats.date_format(local, "DATETIME_FORMAT"),
        _("just now") if new else _("%(time)s ago") % {"time": timesince(moment, depth=1)},
    )


def duration(seconds: float | None) -> str:
    """Seconds in words that fit a table."""
    if seconds is None:
        return ""
    if seconds < 90:
        return _("%(number).0f s") % {"number": seconds} if seconds >= 10 else _("%(number).1f s") % {"number": seconds}
    if seconds < 5400:
        return _("%(number).0f min") % {"number": seconds / 60}
    return _("%(number).1f h") % {"number": seconds / 3600}
