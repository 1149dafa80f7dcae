"""Pictures that an operation's parameters name beside its inputs: found, and allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from shopgen_django.exceptions import InvalidParameters
from shopgen_django.models import ImageState, ProductImage
from shopgen_django.operations.base import Operation

from .rows import shows_person


def named_pictures(operation: Operation, params: Mapping[str, Any], user: Any) -> tuple[ProductImage, ...]:
    """Each picture once, in the order of the parameters. ``user``: who asks; ``None``: the shop itself.

    Raises InvalidParameters, at the parameter, for one that there is not (or that the user may not see: the same
    words), that was rejected, or that shows a person: a model would carry people's looks into pictures of products.
    """
    wanted = operation.pictures(params)
    if not wanted:
        return ()
    rows = ProductImage.objects.all() if user is None else ProductImage.objects.visible_to(user)
    found = {str(row.pk): row for row in rows.filter(pk__in=set(wanted.values()))}
    for name, key in wanted.items():
        image, text = found.get(key), ""
        if image is None:
            text = _("There is no picture %(key)s.") % {"key": key}
        elif image.state == ImageState.REJECTED:
            text = _("A rejected picture can't be used. Send it to review first.")
        elif shows_person(image):
            text = _("This picture shows a person, so it can't be a model's example. Choose a picture of a product.")
        if text:
            raise InvalidParameters(text, fields={name: [text]})
    return tuple(found[key] for key in dict.fromkeys(wanted.values()))
