"""System checks of where private files lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004

from .conf import app_settings


def check_storage() -> Iterator[CheckMessage]:
    """Whether the private files have a place, and whether others may look there."""
    from django.core.files.storage import FileSystemStorage
    from django.core.files.storage.handler import InvalidStorageError

    from .storage import private_storage

    if "STORAGE" in app_settings.given and app_settings.STORAGE not in settings.STORAGES:
        yield Error(
            f"SHOPGEN['STORAGE'] names {app_settings.STORAGE!r}, which is not in STORAGES; a folder on this machine is "
            "used instead.",
            hint=f"Add {app_settings.STORAGE!r} to STORAGES, or leave SHOPGEN['STORAGE'] out.", id="shopgen.E020",
        )
    try:
        storage = private_storage()
    except InvalidStorageError as error:
        yield Error(
            f"STORAGES[{app_settings.STORAGE!r}] can't be used: {error}",
            hint="Give a BACKEND that can be imported.", id="shopgen.E020",
        )
        return
    if not isinstance(storage, FileSystemStorage):
        yield from _check_served_storage()
        return
    location = Path(storage.location).resolve()
    for name in ("MEDIA_ROOT", "STATIC_ROOT"):
        public = getattr(settings, name, "")
        if not public:
            continue
        folder = Path(public).resolve()
        if location == folder or folder in location.parents:
            yield Error(
                f"shopgen's private files lie in {location}, under {name}: unreviewed pictures have a public address.",
                hint=f'Give STORAGES["{app_settings.STORAGE}"] (or SHOPGEN["ROOT"]) a folder outside {name}.',
                id="shopgen.E018",
            )


_OWNERS_ONLY = ("private", "bucket-owner-read", "bucket-owner-full-control")


def _check_served_storage() -> Iterator[CheckMessage]:
    """Of storages like S3, by the attributes that django-storages gives them; nothing is asked over the network."""
    from django.core.files.storage import default_storage, storages

    storage = storages[app_settings.STORAGE]
    if (rule := str(getattr(storage, "default_acl", None) or "private")) not in _OWNERS_ONLY:
        yield Error(
            f"shopgen's private files have the access rule {rule!r}: everybody can read unreviewed pictures.",
            hint=f'Leave default_acl out of the OPTIONS of STORAGES["{app_settings.STORAGE}"].', id="shopgen.E018",
        )
    bucket = getattr(storage, "bucket_name", None)
    ours, theirs = (str(getattr(each, "location", "")).strip("/") for each in (storage, default_storage))
    within = not theirs or f"{ours}/".startswith(f"{theirs}/")
    if bucket and bucket == getattr(default_storage, "bucket_name", None) and within:
        yield Warning(
            f"shopgen's private files lie in the bucket {bucket!r} among the shop's public ones: a rule that opens the "
            "bucket opens them too.",
            hint=f'Give STORAGES["{app_settings.STORAGE}"] a bucket of its own.', id="shopgen.W013",
        )
