"""The base model of a fine-tuning, looked at with the engine's own rules before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from shopgen_django.engines.diffusers.families import SD, SDXL
from shopgen_django.engines.diffusers.folder import ModelFolder, read_folder, shown
from shopgen_django.engines.diffusers.manifest import read_manifest, require_licence, verified
from shopgen_django.engines.errors import ModelCorrupt, WrongKind

PREDICTIONS = ("epsilon", "v_prediction")


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A model that can be fine-tuned. ``sha256`` is of all its files, ``prediction`` what its network foretells."""

    folder: ModelFolder
    sha256: str
    licence: str
    commercial: bool
    source: str
    prediction: str

    @property
    def xl(self) -> bool:
        """Whether it has two text encoders and is told of sizes."""
        return self.folder.family is SDXL

    @property
    def name(self) -> str:
        return self.folder.path.name


def open_base(
    path: Path, *, noncommercial: bool, threads: int = 1, check: Callable[[], None] = lambda: None
) -> Base:
    """The base in ``path``, every file hashed; ``check`` is called after each.

    Raises:
        ModelMissing, UnsafeFile, ModelCorrupt: as the engine does.
        WrongKind: a model that can't be fine-tuned here.
        LicenceRefused: it must not be used commercially, and ``noncommercial`` is false.
    """
    folder = read_folder(path)
    if folder.family not in (SD, SDXL):
        raise WrongKind(
            _("%(path)s is a %(kind)s. Only %(known)s can be fine-tuned here.")
            % {"path": shown(path), "kind": folder.family.name, "known": f"{SD.name}, {SDXL.name}"}
        )
    if "text" not in folder.tasks:
        raise WrongKind(
            _("%(path)s was made for repainting parts of pictures. Fine-tune the model that makes whole pictures.")
            % {"path": shown(path)}
        )
    manifest = read_manifest(path)
    require_licence(manifest, path, noncommercial=noncommercial)
    scheduler = _json(path / "scheduler" / "scheduler_config.json")
    prediction = str(scheduler.get("prediction_type", PREDICTIONS[0]))
    strange = str(scheduler.get("_class_name", "")).startswith(("EDM", "FlowMatch"))
    if prediction not in PREDICTIONS or strange or _json(path / "vae" / "config.json").get("latents_mean"):
        raise WrongKind(
            _("%(path)s was trained in a way that is not known here (%(prediction)s, %(scheduler)s). Known are models "
              "that foretell %(known)s.")
            % {"path": shown(path), "prediction": prediction, "scheduler": scheduler.get("_class_name", "?"),
               "known": ", ".join(PREDICTIONS)}
        )
    digest = verified(path, manifest, threads=threads, check=check)
    return Base(
        folder=folder, sha256=digest, prediction=prediction, licence=manifest.licence if manifest else "",
        commercial=manifest.commercial if manifest else True, source=manifest.source if manifest else "",
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ModelCorrupt(
            _("%(path)s can't be read: %(why)s.")
            % {"path": shown(path), "why": getattr(error, "strerror", None) or error}
        ) from error
