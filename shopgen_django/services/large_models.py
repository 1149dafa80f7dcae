"""Large models that a shop adds: a folder stays where it is, gets a manifest (hashes, licence, source) and a name.

The name is a link ``ROOT/models/NAME`` to the folder, so gigabytes are not copied. Engines insist on the manifest at
every load; see ``engines.diffusers.manifest``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from django.utils.translation import gettext as _

from shopgen_django.conf import app_settings, usable_cores
from shopgen_django.engines.diffusers.folder import INDEX, read_folder
from shopgen_django.engines.diffusers.manifest import Manifest, read_manifest, verified, write_manifest
from shopgen_django.engines.diffusers.reference import check_adapter_folder, is_adapter_folder
from shopgen_django.engines.transformers.folder import is_text_folder, read_text_folder
from shopgen_django.exceptions import InvalidParameters, InvalidState, PermanentError

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_NO_NAMES = frozenset({"auto", "classical", "shipped"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LargeModel:
    """A large model that has a name."""

    name: str
    folder: Path
    kind: str
    bytes: int
    manifest: Manifest | None
    problem: str = ""
    """Why it can't be used; "" when its files look right (they are hashed by :func:`verify_model`)."""


def add_model(path: Path, *, name: str, licence: str, commercial: bool, source: str, base: str = "") -> LargeModel:
    """Check a folder of the diffusers or transformers library, or of an IP-Adapter, write its manifest and link it
    under ``name``. Adding it again renews the manifest.

    Raises InvalidParameters for a folder that can't be used (the reason is the engine's), a name that can't be, or
    without licence and source; InvalidState for a name that is taken, a folder that can't be written to, and for a
    licence that forbids commercial use while ``ALLOW_NONCOMMERCIAL_MODELS`` is off.
    """
    folder = path.resolve()
    if not _NAME.fullmatch(name) or name in _NO_NAMES:
        raise InvalidParameters(
            _(
                "A network's name has small letters, digits, dots and hyphens, at most 64; "
                "not “auto”, “classical” or “shipped”."
            )
        )
    if not licence or not source:
        raise InvalidParameters(
            _("Say under which licence the model comes (an SPDX identifier) and where it is from (an address).")
        )
    if not commercial and not app_settings.ALLOW_NONCOMMERCIAL_MODELS:
        raise InvalidState(
            _("The licence forbids commercial use. Set SHOPGEN['ALLOW_NONCOMMERCIAL_MODELS'] if that is what you want.")
        )
    try:
        _kind_and_bytes(folder)
    except PermanentError as error:
        raise InvalidParameters(str(error)) from error
    place = models_folder() / name
    taken = place.is_symlink() or place.exists()
    if taken and place.resolve() != folder:
        raise InvalidState(_("The name %(name)s is taken. Choose another, or remove that one first.") % {"name": name})
    try:
        write_manifest(
            folder, licence=licence, commercial=commercial, source=source, base=base, threads=usable_cores()
        )
        if not taken:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(folder, target_is_directory=True)
    except OSError as error:
        raise InvalidState(
            _("%(path)s can't be written to: %(why)s.") % {"path": error.filename or folder, "why": error.strerror}
        ) from error
    found = _model(place)
    assert found is not None
    return found


def models_folder() -> Path:
    return Path(app_settings.root) / "models"


def all_models() -> list[LargeModel]:
    """Every large model under ``ROOT/models``, by name, also those that were put there by hand."""
    if not models_folder().is_dir():
        return []
    found = (_model(place) for place in sorted(models_folder().iterdir()) if not place.name.startswith("."))
    return [model for model in found if model is not None]


def find_model(name: str) -> LargeModel | None:
    return _model(models_folder() / name) if _NAME.fullmatch(name) else None


def verify_model(model: LargeModel) -> None:
    """Hash every file. Raises InvalidState when one is not what the manifest says, or when there is no manifest."""
    if model.problem:
        raise InvalidState(f"{model.name}: {model.problem}")
    if model.manifest is None:
        raise InvalidState(
            _("%(name)s has no manifest, so nobody knows what its files should be. Add it by its folder.")
            % {"name": model.name}
        )
    try:
        verified(model.folder, model.manifest, threads=usable_cores())
    except PermanentError as error:
        raise InvalidState(str(error)) from error


def remove_model(model: LargeModel) -> None:
    """Take the name away. The folder stays; one that lies under ``ROOT/models`` itself is the shop's to delete."""
    place = models_folder() / model.name
    if not place.is_symlink():
        raise InvalidState(
            _("%(name)s is a folder of its own, no link to one. Delete it by hand: %(path)s")
            % {"name": model.name, "path": place}
        )
    place.unlink()


def _model(place: Path) -> LargeModel | None:
    folder = place.resolve()
    if not (folder / INDEX).is_file() and not is_text_folder(folder) and not is_adapter_folder(folder):
        return None
    try:
        manifest = read_manifest(folder)
        kind, size = _kind_and_bytes(folder)
    except PermanentError as error:
        return LargeModel(name=place.name, folder=folder, kind="?", bytes=0, manifest=None, problem=str(error))
    return LargeModel(name=place.name, folder=folder, kind=kind, bytes=size, manifest=manifest)


def _kind_and_bytes(folder: Path) -> tuple[str, int]:
    """What a folder holds, and the size of its weights. Raises the engines' errors for one that can't be used."""
    if is_text_folder(folder) and not (folder / INDEX).is_file():
        text = read_text_folder(folder)
        return text.architecture, text.bytes
    if is_adapter_folder(folder) and not (folder / INDEX).is_file():
        return "IP-Adapter", check_adapter_folder(folder)
    read = read_folder(folder)
    return read.family.name, read.bytes
