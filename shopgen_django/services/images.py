"""Pictures come in: imported from the shop's catalogue, or uploaded. Everything is checked and encoded anew."""

from __future__ import annotations

from typing import IO, Any

from django.db import transaction
from django.db.models import ProtectedError
from django.utils.translation import gettext as _

from shopgen_django.catalogues import get_catalogue
from shopgen_django.conf import app_settings
from shopgen_django.exceptions import InvalidParameters, InvalidState, NotAllowed
from shopgen_django.models import DigitalSource, ImageKind, ProductImage
from shopgen_django.storage import private_storage, save_bytes, source_name


def intake_limits() -> Any:
    """The upload limits of ``SHOPGEN["LIMITS"]`` as the intake reads them."""
    from shopgen_django.imaging.intake import IntakeLimits

    limits = app_settings.LIMITS
    return IntakeLimits(
        max_bytes=limits["MAX_UPLOAD_BYTES"], max_pixels=limits["MAX_PIXELS"],
        max_side=limits["MAX_SIDE"], min_side=limits["MIN_SIDE"],
    )


def import_picture(
    *,
    source: IO[bytes] | bytes,
    catalogue: str = "",
    object_pk: object = "",
    category: str = "",
    alt_text: str = "",
    digital_source: str = DigitalSource.UNKNOWN,
    user: Any = None,
) -> ProductImage:
    """Check, normalise and store one picture as a source.

    The same picture for the same product is stored once: the existing row comes back. Without ``digital_source`` the
    origin that the file itself states (its XMP) is kept: a generated picture stays marked when it comes back in.

    Raises InvalidParameters with the intake's stable code, ProductNotFound, StorageFull, NotAllowed.
    """
    from shopgen_django.imaging.intake import IntakeError, inspect, normalise_bounded

    if user is not None and not user.has_perm("shopgen.add_productimage"):
        raise NotAllowed(_("You may not add pictures."))
    product_label, alias = "", ""
    key = str(object_pk) if object_pk != "" else ""
    if key:
        alias = catalogue or "default"
        product = get_catalogue(alias).get(key)
        product_label, category = product.title, category or product.category
    try:
        limits = intake_limits()
        content = source if isinstance(source, bytes) else source.read(limits.max_bytes + 1)
        inspect(content, limits)  # most refusals need no child process
        # The decoder runs in a child with a time and a memory limit: this may be a web process.
        picture = normalise_bounded(content, limits)
    except IntakeError as error:
        raise InvalidParameters(
            f"{error.message} {error.hint}".strip(), code=error.code, fields={"file": [error.message]}
        ) from error
    known = ProductImage.objects.sources().filter(
        sha256=picture.sha256, catalogue=alias, object_pk=key
    ).first()
    if known is not None and private_storage().exists(str(known.file.name)):
        return known
    name = save_bytes(source_name(picture.sha256, picture.format), picture.data)
    image = ProductImage(
        kind=ImageKind.SOURCE, catalogue=alias, object_pk=key, product_label=product_label[:255],
        category=category[:100], file=name, sha256=picture.sha256, format=picture.format,
        width=picture.width, height=picture.height, bytes=len(picture.data), alt_text=alt_text[:500],
        digital_source=digital_source or _stated_source(picture.inspection.digital_source_type), created_by=user if getattr(user, "pk", None) else None,
        content_type=_content_type(alias) if key else None,
    )
    try:
        with transaction.atomic():
            image.save(force_insert=True)
    except BaseException:
        private_storage().delete(name)
        raise
    return image


def import_from_catalogue(
    *, catalogue: str = "default", object_pk: object, user: Any = None
) -> list[ProductImage]:
    """The product's pictures in the shop as source rows (each stored once, however often it is called)."""
    adapter = get_catalogue(catalogue)
    images = []
    for picture in adapter.pictures(str(object_pk)):
        with adapter.open_picture(str(object_pk), picture.key) as handle:
            images.append(
                import_picture(
                    source=handle, catalogue=catalogue, object_pk=object_pk, alt_text=picture.alt_text, user=user
                )
            )
    return images


def delete_image(*, image: ProductImage, user: Any = None) -> None:
    """Delete a picture's row and file.

    Raises NotAllowed; InvalidState while it stands in the shop or a job names it as an input.
    """
    if user is not None and not user.has_perm("shopgen.delete_productimage"):
        raise NotAllowed(_("You may not delete pictures."))
    storage, name = image.file.storage, str(image.file.name)
    try:
        with transaction.atomic():
            image.publications.filter(withdrawn_at__isnull=False).delete()
            image.delete()
            transaction.on_commit(lambda: storage.delete(name))
    except ProtectedError as error:
        raise InvalidState(
            _("The picture can't be deleted: it stands in the shop (take it back first) or a job uses it as an input.")
        ) from error


def _stated_source(stated: str) -> str:
    return stated if stated in DigitalSource.values else str(DigitalSource.UNKNOWN)


def _content_type(alias: str) -> Any:
    from django.contrib.contenttypes.models import ContentType

    return ContentType.objects.get_for_model(get_catalogue(alias).model)
