"""Rows and pictures for tests."""

from __future__ import annotations

import hashlib
from io import BytesIO
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.utils import timezone
from PIL import Image, ImageDraw

from shopgen_django.models import ImageKind, ImageState, ProductImage
from shopgen_django.storage import save_bytes, source_name


def picture(width: int = 96, height: int = 80, colour: str = "#3366aa", mode: str = "RGB") -> Image.Image:
    """A picture with a shape on it, so that it is neither blank nor noise."""
    image = Image.new("RGB", (width, height), "#f0f0f0")
    draw = ImageDraw.Draw(image)
    draw.rectangle((width // 4, height // 4, width * 3 // 4, height * 3 // 4), fill=colour)
    return image.convert(mode)


def picture_bytes(image_format: str = "PNG", **kwargs: Any) -> bytes:
    buffer = BytesIO()
    picture(**kwargs).save(buffer, image_format)
    return buffer.getvalue()


def make_user(name: str = "staff", *permissions: str, **fields: Any) -> Any:
    """A user with these ``shopgen`` permission codenames."""
    fields.setdefault("is_staff", True)
    user = get_user_model().objects.create_user(username=name, password="secret", **fields)
    found = list(Permission.objects.filter(content_type__app_label="shopgen", codename__in=permissions))
    assert len(found) == len(set(permissions)), f"unknown permission among {permissions}"
    user.user_permissions.set(found)
    return user


def make_image(state: str = ImageState.DRAFT, *, content: bytes | None = None, **fields: Any) -> ProductImage:
    """A stored picture in the given state."""
    if content is None:
        content = picture_bytes(colour=fields.pop("colour", "#3366aa"))
    sha256 = hashlib.sha256(content).hexdigest()
    with Image.open(BytesIO(content)) as image:
        size, image_format = image.size, str(image.format)
    now = timezone.now()
    values: dict[str, Any] = {
        "kind": ImageKind.RESULT,
        "state": state,
        "file": save_bytes(source_name(sha256, image_format), content),
        "sha256": sha256,
        "format": image_format,
        "width": size[0],
        "height": size[1],
        "bytes": len(content),
        "approved_at": now if state in {"approved", "published", "withdrawn"} else None,
        "published_at": now if state == "published" else None,
    }
    values.update(fields)
    return ProductImage.objects.create(**values)
