"""Small versions of stored pictures: made once with Pillow, kept in the private storage, served to staff only."""

from __future__ import annotations

import logging
from functools import partial
from io import BytesIO

from django.core.files.storage import Storage
from django.db import transaction
from django.http import HttpResponse
from django.utils.translation import gettext as _

from shopgen_django.exceptions import ShopgenError
from shopgen_django.models import ProductImage
from shopgen_django.storage import private_storage, read_image, save_bytes

logger = logging.getLogger(__name__)

SIZES = {"small": 160, "medium": 480, "large": 1400}
"""Longest side in pixels; a smaller picture is kept as it is."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
MAX_PIXELS = 60_000_000
"""Refused before decoding: what the shop's own storage holds has not been through our intake."""

_POLICY = "default-src 'none'; sandbox"


def thumbnail(image: ProductImage, size: str) -> bytes:
    """WebP bytes of ``image`` at one of :data:`SIZES`; made on the first call, read afterwards.

    Raises FileMissing when the stored file is gone or was changed.
    """
    storage = private_storage()
    name = _name(image.sha256, size)
    kept = _read(storage, name)
    if kept is None:
        kept = shrink(read_image(image), SIZES[size])
        save_bytes(name, kept, storage)
    return kept


def shrink(content: bytes, side: int) -> bytes:
    """``content`` as WebP with its longest side at most ``side`` pixels.

    Raises ShopgenError for what is no picture, is broken, or is too large to decode within a web request.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(BytesIO(content), formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ShopgenError(_("The picture is too large to be shown here."), code="picture_too_large")
            picture.draft("RGB", (side * 2, side * 2))
            upright = ImageOps.exif_transpose(picture)
            upright.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
            transparent = "A" in upright.getbands() or "transparency" in upright.info
            buffer = BytesIO()
            upright.convert("RGBA" if transparent else "RGB").save(buffer, "WEBP", quality=85, method=2)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ShopgenError(_("The file is not a picture that can be shown."), code="not_a_picture") from error
    return buffer.getvalue()


def picture_response(content: bytes, *, content_type: str = "image/webp", seconds: int = 31_536_000) -> HttpResponse:
    """A picture for the browser of one person, never for a shared cache; it can't run anything."""
    response = HttpResponse(content, content_type=content_type)
    response["Cache-Control"] = f"private, max-age={seconds}" + (", immutable" if seconds > 86_400 else "")
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = _POLICY
    return response


def forget_thumbnails(*, instance: ProductImage, using: str, **kwargs: object) -> None:
    """Receiver of ``post_delete``: the small versions go with the picture, once no other row has its content."""
    transaction.on_commit(partial(_remove, instance.sha256), using=using)


def _remove(sha256: str) -> None:
    if ProductImage.objects.filter(sha256=sha256).exists():
        return
    storage = private_storage()
    for size in SIZES:
        try:
            storage.delete(_name(sha256, size))
        except OSError:
            # The picture is deleted and committed: a small version left over must not read as a failure of that.
            logger.warning("The thumbnail %s could not be removed.", _name(sha256, size), exc_info=True)


def _name(sha256: str, size: str) -> str:
    return f"thumbnails/{sha256[:2]}/{sha256}-{size}.webp"


def _read(storage: Storage, name: str) -> bytes | None:
    try:
        with storage.open(name, "rb") as handle:
            return bytes(handle.read())
    except FileNotFoundError:
        return None


