"""Trained models: register what a run made, choose which one is active."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from shopgen_django.exceptions import InvalidParameters, InvalidState, NotAllowed
from shopgen_django.jobs.version_files import (
    DESCRIPTION,
    LORA_KIND,
    LORA_WEIGHTS,
    MANIFEST,
    ONNX_RUNTIME,
    ONNX_WEIGHTS,
    WEIGHTS,
    local_folder,
    share,
    weights_file,
)
from shopgen_django.models import ModelVersion, TrainingRun

from .figures import finite

logger = logging.getLogger(__name__)

__all__ = ["DESCRIPTION", "LORA_KIND", "LORA_WEIGHTS", "MANIFEST", "ONNX_WEIGHTS", "WEIGHTS", "weights_file"]
ONNX_ENGINE, LORA_ENGINE = "generator-onnx", "diffusion"
LORA_PURPOSE = "lora:"
"""A LoRA's purpose is this and its name, so that one version of each name is in use, whatever others are."""


def register_version(
    *,
    folder: Path | str,
    name: str,
    purpose: str = "generate",
    category: str = "",
    run: TrainingRun | None = None,
    activate: bool = False,
    user: Any = None,
    metrics: dict[str, Any] | None = None,
    licence: str = "",
    teacher: ModelVersion | None = None,
) -> ModelVersion:
    """Record a trainer's output folder as the next version of ``name``.

    What its description says about its purpose goes before ``purpose``: a model that takes noise out never becomes
    one that makes pictures. The weights are hashed now and checked before every load; a model exported to ONNX gets the
    engine that runs it. Raises InvalidParameters when the folder holds no model or a text is too long; with
    ``activate`` also what :func:`activate_version` raises.

    Args:
        teacher: the version that this one was compressed from.
    """
    folder = Path(folder).resolve()
    description = folder / DESCRIPTION
    config = _described(_present(description))
    weights = _present(folder / weights_file(config))
    purpose = str(config.get("purpose") or purpose)
    for field, text in (("name", name), ("purpose", purpose), ("category", category), ("folder", str(folder)),
                        ("licence", licence)):
        limit = getattr(ModelVersion._meta.get_field(field), "max_length", None)
        if limit is not None and len(text) > limit:
            message = _("At most %(limit)d characters.") % {"limit": limit}
            raise InvalidParameters(f"{field}: {message}", fields={field: [message]})
    manifest = folder / MANIFEST
    values = {
        "teacher": teacher,
        "engine": _engine_of(config),
        "purpose": purpose,
        "category": category,
        "folder": str(folder),
        "weights_sha256": _sha256(weights),
        "weights_bytes": weights.stat().st_size,
        "config": config,
        "metrics": finite(metrics or {}),
        "manifest_sha256": _sha256(manifest) if manifest.is_file() else teacher.manifest_sha256 if teacher else "",
        "photos": run.photos if run else int(config.get("photos") or 0),
        "licence": licence,
        "library_versions": _library_versions(),
        **_promise(config),
        "run": run,
        "created_by": user if getattr(user, "pk", None) else None,
    }
    known = ModelVersion.objects.filter(
        name=name, weights_sha256=values["weights_sha256"], folder=str(folder)
    ).first()
    row = known or _next_version(name, values)
    transaction.on_commit(lambda: _share(row))
    return activate_version(version=row, user=user) if activate else row


def activate_version(*, version: ModelVersion, user: Any = None) -> ModelVersion:
    """Make this version the one that operations use; the one before it is put aside.

    Raises NotAllowed; InvalidState when its files are gone or differ from what was registered.
    """
    if user is not None and not user.has_perm("shopgen.activate_modelversion"):
        raise NotAllowed(_("You may not choose the active model."))
    verify_version(version=version)
    with transaction.atomic():
        # All rows of the slot are locked in one order, so that two activations don't wait for each other crosswise.
        slot = ModelVersion.objects.select_for_update().filter(
            purpose=version.purpose, category=version.category
        ).order_by("pk")
        list(slot.values_list("pk", flat=True))
        slot.filter(is_active=True).exclude(pk=version.pk).update(is_active=False)
        slot.filter(pk=version.pk).update(is_active=True, activated_at=Now())
    version.refresh_from_db()
    return version


def folder_to_begin_with(*, name: str) -> Path | None:
    """The folder of the model that ``name`` means: ``shirts v3`` that version, ``shirts`` its active or newest one.

    None when no model has that name. Raises InvalidState when its files are gone or were changed.
    """
    found = trainable_version(name=name)
    return None if found is None else local_folder(found)


def trainable_version(*, name: str) -> ModelVersion | None:
    """The version that ``name`` means: ``shirts v3`` that one, ``shirts`` the active or newest one that can be trained
    further (exports to ONNX and LoRAs can't). None when there is none.

    Raises InvalidState when its files are gone or were changed.
    """
    stem, _space, number = name.rpartition(" v")
    found = None
    if stem and number.isdigit():
        found = ModelVersion.objects.filter(name=stem, version=int(number)).exclude(engine=LORA_ENGINE).first()
    if found is None:
        named = ModelVersion.objects.filter(name=name).exclude(engine__in=(ONNX_ENGINE, LORA_ENGINE))
        found = named.order_by("-is_active", "-version").first()
    if found is not None:
        verify_version(version=found)
    return found


def version_of_folder(*, folder: Path | str) -> ModelVersion | None:
    """The newest version that is registered with this folder and its present weights."""
    folder = Path(folder).resolve()
    weights = folder / weights_file(_described(_present(folder / DESCRIPTION)))
    versions = ModelVersion.objects.filter(folder=str(folder), weights_sha256=_sha256(_present(weights)))
    return versions.order_by("-version").first()


def _engine_of(config: dict[str, Any]) -> str:
    """The engine that runs a model with this description."""
    if config.get("kind") == LORA_KIND:
        return LORA_ENGINE
    return ONNX_ENGINE if config.get("runtime") == ONNX_RUNTIME else "generator"


def _present(path: Path) -> Path:
    if not path.is_file():
        raise InvalidParameters(
            _("%(folder)s holds no trained model: %(file)s is missing.") % {"folder": path.parent, "file": path.name}
        )
    return path


def verify_version(*, version: ModelVersion) -> None:
    """Raises InvalidState when the weights are missing or changed since registration."""
    weights = local_folder(version) / weights_file(version.config)
    if not weights.is_file():
        raise InvalidState(
            _("The weights of %(name)s are gone from %(folder)s.") % {"name": version, "folder": version.folder},
            code="weights_missing",
        )
    if _sha256(weights) != version.weights_sha256:
        raise InvalidState(
            _("The weights of %(name)s were changed after they were registered; they are not used.")
            % {"name": version},
            code="weights_changed",
        )


def _share(version: ModelVersion) -> None:
    """Other hosts get it later when the storage is away now: what a training made is never lost to that."""
    try:
        share(version)
    except OSError:
        logger.warning("%s could not be put into the storage; the worker here tries again.", version, exc_info=True)


def _described(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidParameters(
            _("%(file)s is not valid JSON: %(why)s") % {"file": path, "why": error}
        ) from error
    if not isinstance(config, dict):
        raise InvalidParameters(_("%(file)s does not describe a model.") % {"file": path})
    return dict(finite(config))


def _promise(config: dict[str, Any]) -> dict[str, float | None]:
    """Epsilon and delta of a model that was trained privately, as its description gives them."""
    privacy = config.get("privacy")
    if not isinstance(privacy, dict):
        return {"epsilon": None, "delta": None}
    return {"epsilon": float(privacy["epsilon"]), "delta": float(privacy["delta"])}


def _next_version(name: str, values: dict[str, Any]) -> ModelVersion:
    for _attempt in range(5):
        latest = ModelVersion.objects.filter(name=name).aggregate(latest=Max("version"))["latest"] or 0
        try:
            with transaction.atomic():
                return ModelVersion.objects.create(name=name, version=latest + 1, **values)
        except IntegrityError:
            continue  # another run registered the same number in this moment
    raise InvalidState(_("Other runs keep registering versions of %(name)s; try again.") % {"name": name})


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _library_versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for package in ("shopgen-django", "torch", "numpy", "pillow", "safetensors"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
