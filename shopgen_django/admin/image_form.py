"""What people write on a picture: alt text, category, and the product that it belongs to."""

from __future__ import annotations

from itertools import islice
from typing import Any

from django import forms
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.catalogues import Catalogue, get_catalogue
from shopgen_django.catalogues.base import Product
from shopgen_django.catalogues.registry import catalogue_aliases
from shopgen_django.exceptions import ProductNotFound, ShopgenError
from shopgen_django.models import ImageState, ProductImage

SUGGESTED = 5


def find_product(alias: str, text: str) -> tuple[Catalogue, Product]:
    """The one product that ``text`` names by its key or by a part of its title. Raises ValidationError."""
    try:
        shop = get_catalogue(alias)
        try:
            return shop, shop.get(text)
        except ProductNotFound as error:
            hits = list(islice(shop.products(search=text), SUGGESTED + 1))
            if not hits:
                raise forms.ValidationError(str(error)) from error
    except (ShopgenError, ImproperlyConfigured) as error:
        raise forms.ValidationError(str(error)) from error
    if len(hits) == 1:
        return shop, hits[0]
    names = "; ".join(f"{hit.title} ({hit.pk})" for hit in hits[:SUGGESTED]) + (" …" if len(hits) > SUGGESTED else "")
    raise forms.ValidationError(_("Several products match; give the key of one: %(names)s") % {"names": names})


class ProductImageForm(forms.ModelForm):
    """The product is checked with its catalogue; it stays as it is while the picture stands in the shop."""

    object_pk = forms.CharField(
        label=gettext_lazy("Product’s key"), required=False, max_length=255,
        help_text=gettext_lazy(
            "Primary key of the product in the shop, or a part of its title that no other has; empty: none."
        ),
    )
    catalogue = forms.ChoiceField(label=gettext_lazy("Catalogue"), required=False)

    class Meta:
        model = ProductImage
        fields = ["alt_text", "category", "catalogue", "object_pk"]
        widgets = {"alt_text": forms.Textarea(attrs={"rows": 2, "class": "vLargeTextField"})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A user who may only look gets a form without fields.
        if "catalogue" in self.fields:
            aliases = dict.fromkeys([*catalogue_aliases(), self.instance.catalogue])
            choices = [(alias, alias) for alias in aliases if alias]
            self.fields["catalogue"].choices = [("", "—"), *choices]  # type: ignore[attr-defined]
            if not self.instance.catalogue and len(choices) == 1:
                self.initial["catalogue"] = choices[0][0]
        if self.instance.state == ImageState.PUBLISHED:
            for name in ("catalogue", "object_pk"):
                if name in self.fields:
                    self.fields[name].disabled = True
                    self.fields[name].help_text = _("The picture stands in the shop; withdraw it to assign it anew.")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        key = (cleaned.get("object_pk") or "").strip()
        moved = (cleaned.get("catalogue"), key) != (self.instance.catalogue, self.instance.object_pk)
        self.product: Product | None = None
        self.shop: Catalogue | None = None
        if not key:
            cleaned["catalogue"] = ""
        elif not cleaned.get("catalogue"):
            self.add_error("catalogue", _("Choose the catalogue that the product belongs to."))
        elif moved or (self.instance.content_type_id is None and self.instance.product_deleted_at is None):
            key = self._find(cleaned["catalogue"], key)
        cleaned["object_pk"] = key
        return cleaned

    def _find(self, alias: str, text: str) -> str:
        """The key of the product that ``text`` names by its key or by its title; errors go to the field."""
        try:
            self.shop, self.product = find_product(alias, text)
        except forms.ValidationError as error:
            self.add_error("object_pk", error)
        return self.product.pk if self.product is not None else text

    def save(self, commit: bool = True) -> Any:
        image = self.instance
        if not self.cleaned_data.get("object_pk"):
            image.content_type, image.product_label, image.product_deleted_at = None, "", None
        elif self.product is not None and self.shop is not None:
            from django.contrib.contenttypes.models import ContentType

            image.content_type = ContentType.objects.get_for_model(self.shop.model)
            image.product_label = self.product.title[:255]
            image.product_deleted_at = None
            image.category = image.category or self.product.category[:100]
        return super().save(commit=commit)
