"""What a model serves: engines whose settings name it, LoRAs that were trained on it, jobs that wait for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shopgen_django.conf import app_settings
from shopgen_django.engines.cutout import RECOMMENDED
from shopgen_django.engines.diffusers.families import FAMILIES as PICTURE_FAMILIES
from shopgen_django.engines.transformers.families import family_of as text_family_of
from shopgen_django.exceptions import ShopgenError
from shopgen_django.models import Job, ModelVersion
from shopgen_django.operations.registry import get_operation, public_operations

from .large_models import ADAPTER
from .models import LORA_PURPOSE
from .networks import ALIASES

_OPTIONS = ("MODEL", "INPAINT_MODEL", "OUTLINES", "REFERENCES", "LETTERS")
"""Options of our engines that name a model of this machine."""
_REMOTE = "shopgen_django.engines.remote."
_CUTOUT = "shopgen_django.engines.cutout.Cutout"
SEGMENTING = ("labels", "words", "marks")
"""Ways of the transformers library's models that find products."""
_LOOKED_AT = 1_000
"""Waiting chains that are looked into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """An engine whose settings name the model."""

    alias: str
    option: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependants:
    """What would miss a model that is removed."""

    engines: tuple[Use, ...] = ()
    loras: tuple[str, ...] = ()
    jobs: int = 0


def uses_of(name: str, folder: Path | None) -> tuple[Use, ...]:
    """The engines of the settings that load the model of this name, or the one in this folder."""
    found = []
    for alias, entry in sorted(app_settings.ENGINES.items()):
        backend, options = str(entry.get("BACKEND")), entry.get("OPTIONS") or {}
        if backend.startswith(_REMOTE):
            continue  # there MODEL is what a server calls one of its own
        found += [Use(alias=alias, option=key) for key in _OPTIONS if _names(options.get(key), name, folder)]
        if backend == _CUTOUT and options.get("MODEL", "auto") == "auto" and name in RECOMMENDED[:1]:
            found.append(Use(alias=alias, option="MODEL"))
    return tuple(found)


def _names(value: Any, name: str, folder: Path | None) -> bool:
    if isinstance(value, Mapping):
        value = value.get("PATH")
    if not isinstance(value, (str, Path)) or not str(value):
        return False
    if str(value) == name:
        return True
    path = Path(value).expanduser()
    return folder is not None and path.is_absolute() and path.resolve() == folder


def alias_for(kind: str, *, small: bool) -> str:
    """The engine that a model of this kind is for; "" where its files don't say what it is."""
    if small:
        return ALIASES.get(kind, "")
    if kind == ADAPTER or kind in {family.name for family in PICTURE_FAMILIES}:
        return "diffusion"
    family = text_family_of(kind)
    return "" if family is None else {"pairs": "tags", **dict.fromkeys(SEGMENTING, "cutout")}.get(family.way, "text")


def setting_for(kind: str, name: str, *, small: bool) -> tuple[str, dict[str, Any]]:
    """Alias and entry of ``SHOPGEN["ENGINES"]`` that put a model to its use."""
    alias, option, entry = alias_for(kind, small=small), "MODEL", {}
    if kind == ADAPTER:
        option = "REFERENCES"
    if small and kind == "letters":
        option = "LETTERS"
    if small and kind == "tags":
        entry["BACKEND"] = "shopgen_django.engines.onnx_tags.OnnxTags"
    if not small and alias == "cutout":
        entry["BACKEND"] = "shopgen_django.engines.transformers.Segmenter"
    return alias, {**entry, "OPTIONS": {option: name}}


def operations_of(aliases: Iterable[str]) -> tuple[str, ...]:
    """Names of the operations that ask one of these engines."""
    wanted = set(aliases) - {""}
    if "safety" in wanted and app_settings.SAFETY["PICTURE"]:
        wanted.add("diffusion")  # what models make is asked about before it is stored
    return tuple(operation.name for operation in public_operations() if wanted & set(operation.engines))


def dependants_of(*, name: str, folder: Path | None, sha256: str) -> Dependants:
    """What uses a model, for whoever is about to remove it."""
    engines = uses_of(name, folder)
    return Dependants(
        engines=engines, loras=_loras_on(name, sha256),
        jobs=_waiting(operations_of(use.alias for use in engines)) if engines else 0,
    )


def _loras_on(name: str, sha256: str) -> tuple[str, ...]:
    rows = ModelVersion.objects.filter(purpose__startswith=LORA_PURPOSE).order_by("name", "version")
    found = []
    for version in rows.only("name", "version", "config"):
        base = version.config.get("base") or {}
        if (sha256 and base.get("sha256") == sha256) or (not sha256 and base.get("name") == name):
            found.append(str(version))
    return tuple(found)


def _waiting(operations: tuple[str, ...]) -> int:
    """Jobs that wait or run and will ask one of these operations, also as a step of a chain."""
    active = Job.objects.active()
    number = active.filter(operation__in=operations).count()
    chains = [operation.name for operation in public_operations() if operation.is_chain]
    for job in active.filter(operation__in=chains).only("operation", "params")[:_LOOKED_AT]:
        number += any(part in operations for part in _parts(job.operation, job.params))
    return number


def _parts(operation: str, params: Mapping[str, Any]) -> list[str]:
    try:
        return [part.name for part in get_operation(operation).parts(params)]
    except (ShopgenError, KeyError, TypeError, ValueError):
        return []  # written by another version: it will fail for a reason of its own
