"""Pictures come in at once, for commands and scripts; and what becomes of their rows later.

A web request has workers take pictures in (:mod:`shopgen_django.services.intake`): nothing is decoded there.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import IO, Any

from django.core.files.storage import Storage
from django.db import transaction
from django.db.models import ProtectedError
from django.utils.translation import gettext as _

from shopgen_django.catalogues import get_catalogue
from shopgen_django.exceptions import FileMissing, InvalidParameters, InvalidState, NotAllowed, ShopgenError
from shopgen_django.jobs.sources import StoredSource, known_source, record_sources, store_source
from shopgen_django.models import DigitalSource, ProductImage
from shopgen_django.operations.arrivals import Arrival, Known
from shopgen_django.storage import private_storage

from .rows import gone, shows_person

logger = logging.getLogger(__name__)


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
    """Check, normalise and store one picture as a source, here and now.

    It is decoded in a child process of the caller; a web request calls
    :func:`shopgen_django.services.intake.submit_upload` instead. The same picture for the same product is stored once:
    the existing row comes back. Without ``digital_source`` the origin that the file itself states (its XMP) is kept: a
    generated picture stays marked when it comes back in.

    Raises InvalidParameters with the intake's stable code, ProductNotFound, StorageFull, NotAllowed.
    """
    from shopgen_django.imaging.intake import IntakeError, inspect
    from shopgen_django.operations.intake import intake_limits, take_in

    if user is not None and not user.has_perm("shopgen.add_productimage"):
        raise NotAllowed(_("You may not add pictures."))
    product_label, alias = "", ""
    key = str(object_pk) if object_pk != "" else ""
    if key:
        alias = catalogue or "default"
        product = get_catalogue(alias).get(key)
        key = product.pk  # one way of writing it: "07", or a UUID without hyphens, finds the product as well
        product_label, category = product.title, category or product.category
    try:
        limits = intake_limits()
        content = source if isinstance(source, bytes) else source.read(limits.max_bytes + 1)
        inspect(content, limits)  # most refusals need no child process
        taken = take_in(Arrival(
            item=key, label=product_label, read=lambda limit: content,
            known=lambda sha256: _known(alias, key, user, sha256), catalogue=alias, object_pk=key,
            product_label=product_label, category=category, alt_text=alt_text, digital_source=digital_source,
        ))  # fmt: skip
    except IntakeError as error:
        raise InvalidParameters(
            f"{error.message} {error.hint}".strip(), code=error.code, fields={"file": [error.message]}
        ) from error
    stored: StoredSource | Known = taken if isinstance(taken, Known) else store_source(taken)
    try:
        with transaction.atomic():
            (image_id,), _new = record_sources([stored], user=user)
    except BaseException:
        if isinstance(stored, StoredSource):
            private_storage().delete(stored.name)
        raise
    return ProductImage.objects.get(pk=image_id)


def _known(alias: str, key: str, user: Any, sha256: str) -> str:
    known = known_source(alias=alias, object_pk=key, user=user, origin_sha256=sha256)
    return str(known.pk) if known is not None else ""


def import_from_catalogue(
    *, catalogue: str = "default", object_pk: object, user: Any = None
) -> list[ProductImage]:
    """The product's pictures in the shop as source rows, here and now (each stored once, however often it is called).

    A web request calls :func:`shopgen_django.services.intake.submit_import` instead. One that can't be read or is
    refused does not keep the others out: they are imported first, then its error is raised. Raises what
    :func:`import_picture` raises, FileMissing.
    """
    adapter = get_catalogue(catalogue)
    images = []
    first_problem: ShopgenError | None = None
    for picture in adapter.pictures(str(object_pk)):
        try:
            with adapter.open_picture(str(object_pk), picture.key) as handle:
                images.append(
                    import_picture(
                        source=handle, catalogue=catalogue, object_pk=object_pk, alt_text=picture.alt_text, user=user
                    )
                )
        except (InvalidParameters, FileMissing) as error:
            first_problem = first_problem or error
    if first_problem is not None:
        raise first_problem
    return images


def delete_image(*, image: ProductImage, user: Any = None) -> None:
    """Delete a picture's row and file.

    What was made from a picture that shows a person stays marked as showing one.

    Raises NotAllowed; InvalidState while it stands in the shop or a job names it as an input; NotFound when somebody
    else was faster.
    """
    if user is not None and not user.has_perm("shopgen.delete_productimage"):
        raise NotAllowed(_("You may not delete pictures."))
    try:
        with transaction.atomic():
            image.publications.filter(withdrawn_at__isnull=False).delete()
            if not remove_row(image):
                raise gone(image)
    except ProtectedError as error:
        raise InvalidState(
            _("The picture can't be deleted: it stands in the shop (take it back first) or a job uses it as an input.")
        ) from error


def remove_row(image: ProductImage, *, state: str | None = None) -> bool:
    """Delete the row, and its file after the commit; False when it is gone (or no longer in ``state``).

    Call it inside a transaction. Row first, file after the commit: a crash between leaves a file that the sweep finds,
    never a row without one. Raises ProtectedError.
    """
    rows = ProductImage.objects.filter(pk=image.pk)
    # Locked before Django looks for what protects it: a publication or job that is just being written is waited for.
    row = (rows if state is None else rows.filter(state=state)).select_for_update().first()
    if row is None:
        return False
    storage, name = row.file.storage, str(row.file.name)
    if shows_person(row):
        # The lineage through this row ends with it; what it told about the pictures made from it must not.
        row.children.filter(published_at__isnull=True).update(personal=True)
        row.suggestions.all().delete()  # words about a person; none of them can have been published
    row.delete()
    transaction.on_commit(partial(_delete_file, storage, name), robust=True)
    return True


def _delete_file(storage: Storage, name: str) -> None:
    try:
        storage.delete(name)
    except OSError:
        logger.warning("The file %s could not be removed; the sweep of the files tries again.", name, exc_info=True)
