"""The adapter for a Wagtail shop: a page or snippet model whose pictures are images of Wagtail's library.

Publishing adds an image to the library and points a foreign key at it, or adds it to a child relation. What is on a
page changes through revisions (see :mod:`shopgen_django.catalogues.wagtail_revisions`). The image that stood there
stays in the library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any, BinaryIO, ClassVar

from django.core.checks import CheckMessage, Error
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.core.files.base import File
from django.db import models, transaction
from django.utils.translation import gettext as _

from shopgen_django.exceptions import ProductNotFound, PublishError

from . import files
from .base import Picture, Placement, Receipt, WithdrawOutcome
from .modelled import ModelCatalogue
from .wagtail_places import ImagePlace, find_place
from .wagtail_revisions import change, refuse_locked, shown


class WagtailCatalogue(ModelCatalogue):
    """Pages or snippets with Wagtail images; ``MODEL`` is the only option it needs.

    ``IMAGE_FIELD`` is the foreign key to the image, or ``GALLERY`` the child relation that holds images in an order;
    the one that there is, is found by itself. ``COLLECTION`` is the name or id of the collection that new images go to
    (made when missing; the root collection when left out), ``IMAGE_DEFAULTS`` values for further fields of a custom
    image model. Live pages are on offer unless ``ACTIVE_FILTER`` says otherwise. The image's description is the text
    alternative.
    """

    OPTIONS: ClassVar[Mapping[str, Any]] = {
        **ModelCatalogue.OPTIONS,
        "IMAGE_FIELD": None,
        "GALLERY": None,
        "COLLECTION": None,
        "IMAGE_DEFAULTS": {},
    }
    supports_alt_text = True

    def __init__(self, alias: str = "default", **options: Any) -> None:
        super().__init__(alias, **options)
        try:
            import wagtail.images  # noqa: F401
        except ImportError as error:
            raise ImproperlyConfigured(
                "WagtailCatalogue needs wagtail, which is not installed: pip install shopgen-django[wagtail]"
            ) from error

    @cached_property
    def place(self) -> ImagePlace:
        """Where images stand. Raises ImproperlyConfigured when that can't be told."""
        image_field, gallery = self.options["IMAGE_FIELD"], self.options["GALLERY"]
        return find_place(self.model, image_field=image_field, gallery=gallery, where=self.where)

    @property
    def supports_gallery(self) -> bool:  # type: ignore[override]
        return self.place.supports_gallery

    @property
    def image_model(self) -> type[models.Model]:
        """The shop's Wagtail image model."""
        return self.place.image_model

    def active(self) -> models.QuerySet[Any]:
        rows = super().active()
        if self.options["ACTIVE_FILTER"] is not None:
            return rows
        names = {field.name for field in self.model._meta.concrete_fields}
        if "live" in names:
            rows = rows.filter(live=True)
        return rows.filter(alias_of=None) if "alias_of" in names else rows

    # Pictures

    def _images(self, product: Any) -> list[Any]:
        keys = self.place.keys(shown(product))
        found = self.image_model._base_manager.in_bulk(keys)
        return [found[key] for key in keys if key in found]

    def pictures(self, pk: str) -> list[Picture]:
        return [
            Picture(key=str(image.pk), alt_text=image.description, position=position, name=image.file.name)
            for position, image in enumerate(self._images(self.row(pk)))
        ]

    def open_picture(self, pk: str, key: str) -> BinaryIO:
        for image in self._images(self.row(pk)):
            if str(image.pk) == key:
                return files.open_file(image.file.storage, image.file.name)
        raise files.missing(key)

    # Texts

    def face(self, row: Any) -> Any:
        return shown(row)

    def change_row(self, row: Any, mutate: Callable[[Any], None], columns: list[str]) -> None:
        refuse_locked(row)
        change(row, mutate, columns)

    def read_alt(self, row: Any, key: str) -> str:
        return str(self._image(row, key).description)

    def write_alt(self, row: Any, key: str, text: str) -> str:
        """The description of the image in the library: other pages that show it show the new one as well."""
        image = self._image(row, key)
        value = str(files.fit_text(self.image_model, "description", text))
        image.description = value
        image.save(update_fields=["description"])
        return value

    def _image(self, row: Any, key: str) -> Any:
        for image in self._images(row):
            if str(image.pk) == key:
                return image
        raise files.missing(key)

    def publish(self, pk: str, *, content: File[bytes], filename: str, alt_text: str, placement: Placement) -> Receipt:
        self.require_placement(placement)
        product = self.locked(pk)
        refuse_locked(product)
        before = self._images(product)
        image = self._add_image(self.title.read(product) or str(product), content, filename, alt_text)
        put = partial(self.place.put, key=image.pk, placement=placement, text=alt_text)
        try:
            change(product, put, self.place.columns)
        except BaseException:
            image.file.storage.delete(image.file.name)
            raise
        previous = {"image": before[0].pk, "file": before[0].file.name} if before else None
        placed = {"image": image.pk, "file": image.file.name}
        return {"placement": placement, "placed": placed, "previous": previous}

    def _add_image(self, title: str, content: File[bytes], filename: str, alt_text: str) -> Any:
        model = self.image_model
        image: Any = model(**self.options["IMAGE_DEFAULTS"])
        image.title = files.fit_text(model, "title", title)
        image.description = files.fit_text(model, "description", alt_text)
        collection = self._collection()
        if collection is not None:
            image.collection = collection
        name = files.put(image, "file", filename, content)
        try:
            image.save()
            image.get_file_size()
            image.get_file_hash()
        except BaseException:
            image.file.storage.delete(name)
            raise
        return image

    def _collection(self) -> Any | None:
        from wagtail.models import Collection

        chosen = self.options["COLLECTION"]
        if chosen is None:
            return None
        if isinstance(chosen, int):
            found = Collection.objects.filter(pk=chosen).first()
            if found is None:
                raise PublishError(_("Wagtail has no collection with the id %(id)s.") % {"id": chosen})
            return found
        found = Collection.objects.filter(name=chosen).order_by("path").first()
        return found or Collection.get_first_root_node().add_child(name=chosen)

    def withdraw(self, pk: str, receipt: Receipt) -> WithdrawOutcome:
        placed, previous = receipt["placed"]["image"], receipt["previous"]
        try:
            product = self.locked(pk)
        except ProductNotFound:
            self._forget(placed)
            return WithdrawOutcome.PRODUCT_GONE
        refuse_locked(product)
        self._forget(placed, product)
        keys = self.place.keys(shown(product))
        if placed not in keys:
            return WithdrawOutcome.KEPT_NEWER
        wanted = None if previous is None else previous["image"]
        lost = wanted is not None and self.place.lost(shown(product), wanted)
        back = None if lost else wanted
        if back is None and not self.place.may_be_empty():
            raise PublishError(
                _("The picture that stood there no longer exists and the field may not be empty. Choose another first.")
            )
        change(product, partial(self.place.take, key=placed, back=back), self.place.columns)
        if receipt["placement"] != "main":
            return WithdrawOutcome.RESTORED
        if keys[0] != placed:
            return WithdrawOutcome.KEPT_NEWER
        return WithdrawOutcome.PREVIOUS_MISSING if lost else WithdrawOutcome.RESTORED

    def _forget(self, key: Any, product: Any = None) -> None:
        product_key = None if product is None else product.pk
        transaction.on_commit(partial(self._remove_unused, key, product_key), using=self.database)

    def _remove_unused(self, key: Any, product_key: Any) -> None:
        """Take our image out of the library, unless an editor uses it anywhere."""
        from wagtail.models import ReferenceIndex

        image = self.image_model._base_manager.filter(pk=key).first()
        if image is None:
            return
        product = self.model._base_manager.filter(pk=product_key).first()
        if product is not None and ReferenceIndex.model_is_indexable(type(product)):
            # Wagtail doesn't index anew when the last row of a child relation goes.
            ReferenceIndex.create_or_update_for_object(product)
        if not ReferenceIndex.get_references_to(image).exists():
            image.delete()

    def discard(self, receipt: Receipt) -> None:
        files.remove_unused(self.image_model, "file", receipt["placed"]["file"], self.database)

    def rebase(self, receipt: Receipt, withdrawn: Receipt) -> Receipt | None:
        previous = receipt["previous"]
        if previous is None or previous["image"] != withdrawn["placed"]["image"]:
            return None
        return {**receipt, "previous": withdrawn["previous"]}

    def admin_change_url(self, pk: str) -> str | None:
        """The product's edit page in Wagtail's admin; in Django's when Wagtail has none."""
        from wagtail.admin.admin_url_finder import AdminURLFinder

        url = AdminURLFinder().get_edit_url(self.row(pk))
        return url or super().admin_change_url(pk)

    def check_pictures(self, where: str) -> list[CheckMessage]:
        try:
            model = self.image_model
        except ImproperlyConfigured as error:
            return [Error(str(error), id="shopgen.E105", obj=where)]
        ours = {"id", "title", "file", "description", "width", "height", "collection", "created_at"}
        for name in self.options["IMAGE_DEFAULTS"]:
            try:
                model._meta.get_field(name)
            except FieldDoesNotExist:
                text = f"{self.where('IMAGE_DEFAULTS')}: {model._meta.label} has no field “{name}”."
                return [Error(text, id="shopgen.E107", obj=where)]
        needed = [
            field.name
            for field in model._meta.concrete_fields
            if not (field.has_default() or field.null or field.blank or field.primary_key or field.name in ours)
        ]
        missing = sorted(set(needed) - set(self.options["IMAGE_DEFAULTS"]))
        if not missing:
            return []
        text = f"Your image model {model._meta.label} needs a value for {', '.join(missing)}."
        hint = f"Give the values in {self.where('IMAGE_DEFAULTS')}."
        return [Error(text, hint=hint, id="shopgen.E107", obj=where)]
