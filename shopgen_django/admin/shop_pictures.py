"""What stands in the shop now: read through the catalogue, shown scaled down to staff who may publish."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import ImproperlyConfigured
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _

from shopgen_django.catalogues import get_catalogue
from shopgen_django.exceptions import ShopgenError
from shopgen_django.models import ProductImage, TextSuggestion

from .thumbnails import SIZES, picture_response, shrink


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopNow:
    """The product's main picture at this moment."""

    picture_url: str = ""
    alt_text: str = ""
    others: int = 0
    product_url: str = ""
    problem: str = ""


def shop_picture_url(alias: str, object_pk: str, key: str, size: str = "medium") -> str:
    """Address of one of the shop's own pictures, scaled down, for staff."""
    query = urlencode({"product": object_pk, "key": key, "size": size})
    return reverse("admin:shopgen_shop_picture", args=[alias]) + "?" + query


def shop_now(image: ProductImage) -> ShopNow:
    """What the picture would stand beside or instead of."""
    if not image.catalogue or not image.object_pk:
        return ShopNow(problem=_("The picture belongs to no product yet. Assign it to one on its page first."))
    try:
        catalogue = get_catalogue(image.catalogue)
        pictures = catalogue.pictures(image.object_pk)
    except (ShopgenError, ImproperlyConfigured) as error:
        return ShopNow(problem=str(error))
    url = catalogue.admin_change_url(image.object_pk) or ""
    if not pictures:
        return ShopNow(product_url=url)
    first = pictures[0]
    return ShopNow(
        picture_url=shop_picture_url(image.catalogue, image.object_pk, first.key),
        alt_text=first.alt_text, others=len(pictures) - 1, product_url=url,
    )


def shop_picture(request: HttpRequest, alias: str) -> HttpResponse:
    """One of the shop's pictures, read and scaled down. 404 for whatever can't be shown."""
    size = SIZES.get(request.GET.get("size", "medium"))
    if size is None:
        raise Http404
    try:
        catalogue = get_catalogue(alias)
        with catalogue.open_picture(request.GET.get("product", ""), request.GET.get("key", "")) as handle:
            content = shrink(handle.read(), size)
    except (ShopgenError, ImproperlyConfigured) as error:
        raise Http404(str(error)) from error
    # The shop may change the picture under the same key at any time.
    return picture_response(content, seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductLink:
    """The product of a picture, for people."""

    label: str
    url: str
    public_url: str


def product_link(image: ProductImage | TextSuggestion) -> ProductLink | None:
    """Where the product is found; None when the picture or text has none or it is gone."""
    if not image.has_product:
        return None
    try:
        catalogue = get_catalogue(image.catalogue)
        url = catalogue.admin_change_url(image.object_pk) or ""
        row = catalogue.model._base_manager.filter(pk=catalogue.to_pk(image.object_pk)).first()
    except (ShopgenError, ImproperlyConfigured):
        return None
    if row is None:
        return None
    return ProductLink(label=image.product_label or str(row), url=url, public_url=_public_url(row))


def _public_url(row: Any) -> str:
    address = getattr(row, "get_absolute_url", None)
    try:
        return str(address() or "") if callable(address) else ""
    except NoReverseMatch:
        return ""
