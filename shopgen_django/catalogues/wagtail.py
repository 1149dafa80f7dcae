"""The adapter for a Wagtail shop: a page or snippet model with a foreign key to a Wagtail image.

Publishing adds an image to Wagtail's library and points the foreign key at it; what is on a page changes through
revisions (see :mod:`shopgen_django.catalogues.wagtail_revisions`). The image that stood there stays in the library.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any, BinaryIO, ClassVar

from django.core.checks import CheckMessage, Error
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.core.files.base import File
from django.db import models, transaction
from django.utils.translation import gettext as _

from shopgen_django.exceptions import ProductNotFound, PublishError

from . import files, guessing
from .base import Picture, Placement, Receipt, WithdrawOutcome
from .modelled import ModelCatalogue
from .wagtail_revisions import change, refuse_locked, shown


class WagtailCatalogue(ModelCatalogue):
    """Pages or snippets with one Wagtail image each; ``MODEL`` is the only option it needs.

    ``IMAGE_FIELD`` is the foreign key to the image (guessed when there is one), ``COLLECTION`` the name or id of the
    collection that new images go to (made when missing; the root collection when left out), ``IMAGE_DEFAULTS`` values
    for further fields of a custom image model. Live pages are on offer unless ``ACTIVE_FILTER`` says otherwise. The
    image's description is the text alternative.
    """

    OPTIONS: ClassVar[Mapping[str, Any]] = {
        **ModelCatalogue.OPTIONS,
        "IMAGE_FIELD": None,
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
    def image_field(self) -> str:
        """Name of the foreign key to the Wagtail image. Raises ImproperlyConfigured when that can't be told."""
        found = [
            field.name
            for field in self.model._meta.concrete_fields
            if isinstance(field, models.ForeignKey) and self._is_image_model(field.related_model)
        ]
        chosen = self.options["IMAGE_FIELD"]
        if chosen is not None:
            if chosen not in found:
                raise ImproperlyConfigured(
                    f"{self.where('IMAGE_FIELD')}: {self.model._meta.label}.{chosen} is no foreign key to the Wagtail "
                    f"image model. Such are: {', '.join(found) or 'none'}."
                )
            return str(chosen)
        usual = [name for name in found if name in guessing.PICTURES]
        for candidates in (found, usual):
            if len(candidates) == 1:
                return candidates[0]
        raise ImproperlyConfigured(
            f"{self.where('IMAGE_FIELD')} has to name the foreign key of {self.model._meta.label} to the Wagtail image "
            f"model; candidates: {', '.join(found) or 'none'}."
        )

    @staticmethod
    def _is_image_model(model: Any) -> bool:
        from wagtail.images.models import AbstractImage

        return isinstance(model, type) and issubclass(model, AbstractImage)

    @property
    def image_model(self) -> type[models.Model]:
        """The image model that the foreign key points to."""
        return self.model._meta.get_field(self.image_field).related_model  # type: ignore[return-value]

    @property
    def _column(self) -> str:
        return f"{self.image_field}_id"

    def active(self) -> models.QuerySet[Any]:
        rows = super().active()
        if self.options["ACTIVE_FILTER"] is not None:
            return rows
        names = {field.name for field in self.model._meta.concrete_fields}
        if "live" in names:
            rows = rows.filter(live=True)
        return rows.filter(alias_of=None) if "alias_of" in names else rows

    # Pictures

    def _image(self, product: Any) -> Any | None:
        key = getattr(shown(product), self._column)
        return None if key is None else self.image_model._base_manager.filter(pk=key).first()

    def pictures(self, pk: str) -> list[Picture]:
        image = self._image(self.row(pk))
        if image is None:
            return []
        return [Picture(key=str(image.pk), alt_text=image.description, position=0, name=image.file.name)]

    def open_picture(self, pk: str, key: str) -> BinaryIO:
        image = self._image(self.row(pk))
        if image is None or str(image.pk) != key:
            raise files.missing(key)
        return files.open_file(image.file.storage, image.file.name)

    def publish(self, pk: str, *, content: File[bytes], filename: str, alt_text: str, placement: Placement) -> Receipt:
        self.require_placement(placement)
        product = self.locked(pk)
        refuse_locked(product)
        before = self._image(product)
        image = self._add_image(self.title.read(product) or str(product), content, filename, alt_text)
        try:
            change(product, partial(self._point, image.pk), [self.image_field])
        except BaseException:
            image.file.storage.delete(image.file.name)
            raise
        previous = None if before is None else {"image": before.pk, "file": before.file.name}
        placed = {"image": image.pk, "file": image.file.name}
        return {"placement": placement, "placed": placed, "previous": previous}

    def _point(self, key: Any, item: Any) -> None:
        setattr(item, self._column, key)

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
        self._forget(placed)
        if getattr(shown(product), self._column) != placed:
            return WithdrawOutcome.KEPT_NEWER
        wanted = None if previous is None else previous["image"]
        lost = wanted is not None and not self.image_model._base_manager.filter(pk=wanted).exists()
        back = None if lost else wanted
        if back is None and not self.model._meta.get_field(self.image_field).null:
            raise PublishError(
                _("The picture that stood there no longer exists and the field may not be empty. Choose another first.")
            )

        def restore(item: Any) -> None:
            # An editor may have chosen another picture in the draft already: that choice stays.
            if getattr(item, self._column) == placed:
                setattr(item, self._column, back)

        change(product, restore, [self.image_field])
        return WithdrawOutcome.PREVIOUS_MISSING if lost else WithdrawOutcome.RESTORED

    def _forget(self, key: Any) -> None:
        transaction.on_commit(partial(self._remove_unused, key), using=self.database)

    def _remove_unused(self, key: Any) -> None:
        """Take our image out of the library, unless an editor uses it anywhere."""
        from wagtail.models import ReferenceIndex

        image = self.image_model._base_manager.filter(pk=key).first()
        if image is None or ReferenceIndex.get_references_to(image).exists():
            return
        # The index knows what is live; an unpublished draft of a product may hold the picture as well.
        if self.model._base_manager.filter(**{self._column: key}).exists():
            return
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
