"""Files in the shop's own storage: written under a free name, removed only when nothing refers to them."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, BinaryIO, cast

from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, Storage
from django.db import models
from django.db.models.fields.files import FieldFile
from django.utils.translation import gettext as _

from shopgen_django.exceptions import FileMissing, PublishError, StorageFull
from shopgen_django.storage import DISK_FULL, ServedStorage, reached


def file_field(model: type[models.Model], name: str) -> models.FileField:
    """The model's file column."""
    return cast(models.FileField, model._meta.get_field(name))


def put(row: models.Model, field: str, filename: str, content: File[bytes]) -> str:
    """Write ``content`` through the row's file column, without saving the row; the name it got.

    The storage picks a free name, so no file is overwritten. Raises :class:`PublishError` or :class:`StorageFull`.
    """
    content.seek(0)
    content.name = content.name or filename  # without a name, an ImageField takes it for empty and measures nothing
    file: FieldFile = getattr(row, field)
    try:
        with nullcontext() if isinstance(file.storage, FileSystemStorage) else reached(filename):
            file.save(filename, content, save=False)
    except SuspiciousFileOperation as error:
        raise PublishError(
            _("The shop's storage does not take the file name %(name)s: %(why)s") % {"name": filename, "why": error}
        ) from error
    except OSError as error:
        if error.errno in DISK_FULL:
            raise StorageFull(_("The disk of the shop's pictures is full. Make room, then try again.")) from error
        raise PublishError(
            _("The shop's storage did not take the picture (%(why)s). Nothing was changed; try again later.")
            % {"why": error.strerror or str(error) or type(error).__name__}
        ) from error
    return str(file.name)


def open_file(storage: Storage, name: str) -> BinaryIO:
    """The stored file for reading. Raises :class:`FileMissing`, :class:`StorageUnavailable`."""
    try:
        if not isinstance(storage, FileSystemStorage):
            storage = ServedStorage(storage)
        return cast(BinaryIO, storage.open(name, "rb"))
    except FileNotFoundError as error:
        raise missing(name) from error


def missing(name: str) -> FileMissing:
    """The error for a picture of the shop whose file is not there."""
    return FileMissing(_("The shop's picture %(name)s is missing in its storage.") % {"name": name})


def remove_unused(model: type[models.Model], field: str, name: str, database: str) -> None:
    """Delete the file that we put into the shop, unless a row of this table still refers to it."""
    if not name or model._base_manager.using(database).filter(**{field: name}).exists():
        return
    storage = file_field(model, field).storage
    if storage.exists(name):
        storage.delete(name)


def columns_of_file(model: type[models.Model], field: str) -> list[str]:
    """The columns to save after the file has changed: the file, its measured size, and times of change."""
    column = file_field(model, field)
    names = [field]
    for measured in (getattr(column, "width_field", None), getattr(column, "height_field", None)):
        if measured:
            names.append(measured)
    names += [
        other.name
        for other in model._meta.concrete_fields
        if getattr(other, "auto_now", False) and other.name not in names
    ]
    return names


def fit_text(model: type[models.Model], field: str, text: str) -> str:
    """``text`` shortened to the column's length, at a word's end where that loses little."""
    limit: Any = getattr(model._meta.get_field(field), "max_length", None)
    if limit is None or len(text) <= limit:
        return text
    cut = text[: limit - 1]
    head, space, _tail = cut.rpartition(" ")
    if space and len(head) > limit * 2 // 3:
        cut = head
    return cut + "…"
