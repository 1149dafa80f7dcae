"""Choosing one of the shop's pictures in an operation's form: tiles to pick from, found by a word, without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from shopgen_django.models import ImageState, ProductImage
from shopgen_django.operations.parameters import PictureField

from .subjects import Subject

SHOWN = 18
_FIND = "-find"


class PictureChoice(forms.Widget):
    """One of ``pictures``, or none."""

    def __init__(self, pictures: Sequence[ProductImage], *, label: object, query: str = "") -> None:
        super().__init__()
        self.pictures, self.label, self.query = pictures, label, query

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        return render_to_string("shopgen_django/admin/includes/picture_choice.html", {
            "name": name, "value": str(value or ""), "pictures": self.pictures, "label": self.label,
            "query": self.query, "find": name + _FIND,
        })  # fmt: skip

    def id_for_label(self, id_: str) -> str:
        return ""  # the group names itself; there is no one field to go to


def offer_pictures(form: Any, request: HttpRequest, subject: Subject | None = None) -> None:
    """Let every field that names a picture be filled by choosing: the subject's own product's pictures first, then the
    newest of the shop, or those that a word is in; never one that shows a person or was rejected."""
    for name, field in form.fields.items():
        if isinstance(field, PictureField):
            prefixed = form.add_prefix(name)
            query = str(request.POST.get(prefixed + _FIND, "")).strip()[:100]
            chosen = str(form[name].value() or "")
            field.widget = PictureChoice(_offered(subject, request.user, query, chosen), label=field.label, query=query)


def _offered(subject: Subject | None, user: Any, query: str, chosen: str) -> list[ProductImage]:
    rows = ProductImage.objects.visible_to(user).filter(personal=False).exclude(state=ImageState.REJECTED)
    rows = rows.order_by("-created_at", "-pk")
    found: list[ProductImage] = list(_by_key(rows, chosen))
    if query:
        found += rows.filter(
            Q(product_label__icontains=query) | Q(alt_text__icontains=query) | Q(category__icontains=query)
        )[:SHOWN]
    else:
        own = None if subject is None else _of_subject(subject)
        if own is not None:
            found += rows.filter(own)[: SHOWN // 2]
        found += rows[:SHOWN]
    return list({image.pk: image for image in found}.values())[:SHOWN]


def _by_key(rows: Any, key: str) -> Any:
    """The picture that is chosen already stays among the tiles, whatever is looked for."""
    if not key:
        return ()
    try:
        return rows.filter(pk=key)[:1]
    except (ValueError, ValidationError):
        return ()


def _of_subject(subject: Subject) -> Q | None:
    """Pictures of the products that the page is about."""
    keys = {(image.catalogue, image.object_pk) for image in subject.pictures[:20] if image.object_pk}
    if subject.products:
        alias = getattr(subject, "alias", "")
        keys |= {(alias, str(product.pk)) for product in subject.products[:20]}
    if not keys:
        return None
    wanted = Q()
    for catalogue, key in sorted(keys):
        wanted |= Q(catalogue=catalogue, object_pk=key)
    return wanted
