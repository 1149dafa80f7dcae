"""Large models that a shop adds: a folder stays where it is, gets a manifest (hashes, licence, source) and a name.

The name is a link ``ROOT/models/NAME`` to the folder, so gigabytes are not copied. Engines insist on the manifest at
every load; see ``engines.diffusers.manifest``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.utils.translation import gettext as _

from shopgen_django.conf import app_settings, usable_cores
from shopgen_django.engines.diffusers.folder import INDEX, MANIFEST, read_folder, shown
from shopgen_django.engines.diffusers.manifest import Manifest, read_manifest, verified, write_manifest
from shopgen_django.engines.diffusers.reference import check_adapter_folder, is_adapter_folder
from shopgen_django.engines.transformers.folder import is_text_folder, read_text_folder
from shopgen_django.exceptions import InvalidParameters, InvalidState, PermanentError, StorageFull
from shopgen_django.ml.errors import StorageFull as DiskFull

from .licences import require_usable_licence

ADAPTER = "IP-Adapter"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_NO_NAMES = frozenset({"auto", "classical", "shipped", "plain"})


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
    unreadable: bool = False
    """Whether this process may not read its files, so that it can't say more of them."""


def require_description(*, name: str, licence: str, commercial: bool, source: str) -> None:
    """What can be said against a model before its files are looked at.

    Raises InvalidParameters for a name that can't be, or without licence and source; what
    :func:`~shopgen_django.services.licences.require_usable_licence` raises.
    """
    if not _NAME.fullmatch(name) or name in _NO_NAMES:
        text = _(
            "A network's name has small letters, digits, dots and hyphens, at most 64; "
            "not “auto”, “classical” or “shipped”."
        )
        raise InvalidParameters(text, fields={"name": [text]})
    if not licence or not source:
        text = _("Say under which licence the model comes (an SPDX identifier) and where it is from (an address).")
        raise InvalidParameters(text, fields={"source" if licence else "licence": [text]})
    require_usable_licence(licence, commercial=commercial)


def add_model(
    path: Path, *, name: str, licence: str, commercial: bool, source: str, base: str = "",
    check: Callable[[], None] = lambda: None, report: Callable[[float], None] = lambda share: None,
) -> LargeModel:
    """Check a folder of the diffusers or transformers library, or of an IP-Adapter, write its manifest and link it
    under ``name``. Adding it again renews the manifest. ``check`` and ``report`` as for
    ``engines.diffusers.manifest.hash_files``.

    Raises InvalidParameters for a folder that can't be used (the reason is the engine's) and what
    :func:`require_description` raises; InvalidState for a name that is taken, and a folder that can't be written to.
    """
    folder = path.resolve()
    require_description(name=name, licence=licence, commercial=commercial, source=source)
    try:
        _kind_and_bytes(folder)
    except PermanentError as error:
        raise InvalidParameters(str(error), code=error.code) from error
    place = models_folder() / name
    taken = place.is_symlink() or place.exists()
    if taken and place.resolve() != folder:
        raise InvalidState(_("The name %(name)s is taken. Choose another, or remove that one first.") % {"name": name})
    try:
        write_manifest(
            folder, licence=licence, commercial=commercial, source=source, base=base, threads=usable_cores(),
            check=check, report=report,
        )
        if not taken:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(folder, target_is_directory=True)
    except DiskFull as error:
        raise StorageFull(str(error)) from error
    except OSError as error:
        raise InvalidState(
            _("%(path)s can't be written to: %(why)s.")
            % {"path": shown(Path(error.filename or folder)), "why": error.strerror}
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


def verify_model(
    model: LargeModel, *, check: Callable[[], None] = lambda: None, report: Callable[[float], None] = lambda share: None
) -> None:
    """Hash every file; ``check`` and ``report`` as for ``engines.diffusers.manifest.hash_files``.

    Raises InvalidState when one is not what the manifest says, or when there is no manifest.
    """
    if model.problem:
        raise InvalidState(f"{model.name}: {model.problem}", code="model_corrupt")
    if model.manifest is None:
        raise InvalidState(
            _("%(name)s has no manifest, so nobody knows what its files should be. Add it by its folder.")
            % {"name": model.name}
        )
    try:
        verified(model.folder, model.manifest, threads=usable_cores(), check=check, report=report)
    except PermanentError as error:
        raise InvalidState(str(error), code=error.code) from error


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
    try:
        if not (folder / INDEX).is_file() and not is_text_folder(folder) and not is_adapter_folder(folder):
            return _ruin(place, folder)
        manifest = read_manifest(folder)
        kind, size = _kind_and_bytes(folder)
    except OSError as error:
        problem = _("Its files can't be read here: %(why)s.") % {"why": error.strerror or error}
        return LargeModel(
            name=place.name, folder=folder, kind="?", bytes=0, manifest=None, problem=problem, unreadable=True
        )
    except PermanentError as error:
        return LargeModel(
            name=place.name, folder=folder, kind="?", bytes=0, manifest=_manifest_alone(folder), problem=str(error)
        )
    return LargeModel(name=place.name, folder=folder, kind=kind, bytes=size, manifest=manifest)


def _ruin(place: Path, folder: Path) -> LargeModel | None:
    """What was a model once: a link whose folder is gone or emptied. ``None`` for anything else."""
    if place.is_symlink() and not folder.exists():
        problem = _("The folder that it leads to is gone.")
    elif (folder / MANIFEST).is_file():
        problem = _("Neither model_index.json nor config.json is left in its folder.")
    else:
        return None
    return LargeModel(
        name=place.name, folder=folder, kind="?", bytes=0, manifest=_manifest_alone(folder), problem=problem
    )


def _manifest_alone(folder: Path) -> Manifest | None:
    """The manifest of a model whose files are not right, where it can be read: its licence is still worth telling."""
    try:
        return read_manifest(folder)
    except (PermanentError, OSError):
        return None


def _kind_and_bytes(folder: Path) -> tuple[str, int]:
    """What a folder holds, and the size of its weights. Raises the engines' errors for one that can't be used."""
    if is_text_folder(folder) and not (folder / INDEX).is_file():
        text = read_text_folder(folder)
        return text.architecture, text.bytes
    if is_adapter_folder(folder) and not (folder / INDEX).is_file():
        return ADAPTER, check_adapter_folder(folder)
    read = read_folder(folder)
    return read.family.name, read.bytes
