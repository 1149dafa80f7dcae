"""The ``SHOPGEN`` setting: one dict, merged over the defaults, read lazily, reset when settings change.

Every key is documented in ``docs/settings.md``; wrong or contradictory values are reported by ``checks.py``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.functional import LazyObject, empty

DEFAULTS: dict[str, Any] = {
    # alias -> {"ADAPTER": dotted path, "OPTIONS": {...}}: how a shop's products and pictures are seen.
    "CATALOGUES": {},
    # alias -> {"BACKEND": dotted path, "OPTIONS": {...}}: replaceable executors of operations.
    "ENGINES": {
        "generator": {"BACKEND": "shopgen_django.engines.trained.TrainedGenerator", "OPTIONS": {}},
        "generator-onnx": {"BACKEND": "shopgen_django.engines.onnx_generator.OnnxGenerator", "OPTIONS": {}},
        "cutout": {"BACKEND": "shopgen_django.engines.cutout.Cutout", "OPTIONS": {}},
        "denoise": {"BACKEND": "shopgen_django.engines.denoise.Denoise", "OPTIONS": {}},
        "enlarge": {"BACKEND": "shopgen_django.engines.enlarge.Enlarge", "OPTIONS": {}},
        "repair": {"BACKEND": "shopgen_django.engines.repair.Repair", "OPTIONS": {}},
        # Large picture models; does nothing until its option MODEL names one.
        "diffusion": {"BACKEND": "shopgen_django.engines.diffusers.Diffusers", "OPTIONS": {}},
        # Models that write about pictures, and that choose tags for them; as above.
        "text": {"BACKEND": "shopgen_django.engines.transformers.Transformers", "OPTIONS": {}},
        "tags": {"BACKEND": "shopgen_django.engines.transformers.ZeroShotTags", "OPTIONS": {}},
        # Asked by shopgen_django.operations.safety.unsafe_picture, where SAFETY lists that.
        "safety": {"BACKEND": "shopgen_django.engines.onnx_safety.OnnxSafety", "OPTIONS": {}},
    },
    # How workers are told that a job waits.
    "QUEUE": {
        "BACKEND": "shopgen_django.jobs.queues.q2.Q2Queue",
        "OPTIONS": {"CPU": "default", "GPU": "gpu"},
    },
    # Which queue kind runs operations that a GPU speeds up: "gpu" once a GPU cluster is running.
    "ACCELERATED_QUEUE": "cpu",
    # Private files: an alias in STORAGES; without that alias a folder under ROOT is used.
    "STORAGE": "shopgen",
    # Training runs, exported photos, private files when STORAGE has no alias of its own.
    "ROOT": None,
    # Dotted paths of callables (image, measurements) -> Verdict, asked before a result reaches review.
    "GATES": ["shopgen_django.operations.gates.not_blank"],
    "REVIEW": {"REQUIRE_APPROVAL": True, "FOUR_EYES": False},
    # Dotted paths of callables that may refuse words, and pictures that were made of them; asked before all else.
    "SAFETY": {"PROMPT": [], "PICTURE": []},
    # Whether "Import photos", "Generate pictures" ... appear on the shop's own product list in the Django admin.
    "ADMIN_ACTIONS": True,
    "LIMITS": {
        "MAX_UPLOAD_BYTES": 20 * 1024 * 1024,
        "MAX_PIXELS": 50_000_000,
        "MAX_SIDE": 12_000,
        "MIN_SIDE": 64,
        "ACTIVE_JOBS_PER_USER": 10_000,
        "QUEUED_JOBS": 100_000,
        "WAITING_UPLOADS": 500,  # files that no worker has taken in yet
        "THREADS": None,  # cores this process may use / workers
    },
    "JOBS": {
        "LEASE_SECONDS": 60,
        "HEARTBEAT_SECONDS": 10,
        "STALL_SECONDS": 300,  # no progress for so long: the lease is no longer renewed
        "MAX_ATTEMPTS": 3,
        "BACKOFF_SECONDS": 15,
        "BACKOFF_MAX_SECONDS": 600,
        "GRACE_SECONDS": 25,
        "HARD_TIMEOUT_SECONDS": 900,
        "SWEEP_SECONDS": 60,
        "RERING_SECONDS": 60,
        "EXPIRE_SECONDS": None,  # a job that waited longer than this is expired; None: never
    },
    # Trainings that are started from the admin or over HTTP; shopgen_worker runs them in processes of their own.
    "TRAINING": {
        "AT_ONCE": 1,  # on a machine
        "NICE": 10,  # how far they stand back behind the shop's jobs (0 to 19)
        "MAX_MINUTES": 2880,
        "WAITING": 20,  # asked for and not yet done
    },
    "BUDGETS": {},
    "API": {
        # Per user. A batch counts as many jobs as it queues.
        "JOBS_PER_MINUTE": 600,
        "UPLOADS_PER_MINUTE": 120,
        "WRITES_PER_MINUTE": 600,
        "READS_PER_MINUTE": 6000,
        "PAGE_SIZE": 50,
        "MAX_PAGE_SIZE": 100,
        "MAX_BODY_BYTES": 1024 * 1024,
        "BATCH_ITEMS": 500,
    },
    "RETENTION": {
        "FINISHED_JOBS_DAYS": 30,
        "FAILED_JOBS_DAYS": 180,
        "REJECTED_IMAGES_DAYS": 30,
        "ORPHAN_FILES_HOURS": 24,
        "METRIC_POINTS_DAYS": 90,
        "USAGE_DAYS": 400,  # what budgets have counted
    },
    "ALLOW_NONCOMMERCIAL_MODELS": False,
    # Folders below which the admin and the API may take models from; relative ones lie under ROOT.
    "MODEL_SOURCES": ["incoming_models"],
}

# In these, a shop's dict replaces the default whole: their keys are the shop's own names.
_REPLACED_WHOLE = frozenset({"CATALOGUES", "BUDGETS"})


def _merge(default: Any, given: Any) -> Any:
    if not isinstance(default, Mapping) or not isinstance(given, Mapping):
        return given
    merged = dict(default)
    for key, value in given.items():
        merged[key] = _merge(default[key], value) if key in default else value
    return merged


class AppSettings:
    """``SHOPGEN`` merged over :data:`DEFAULTS`, each top-level key as an attribute."""

    def __init__(self) -> None:
        given = getattr(settings, "SHOPGEN", {}) or {}
        self.given: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
        self._values: dict[str, Any] = {}
        for key, default in DEFAULTS.items():
            value = self.given.get(key, default)
            self._values[key] = value if key in _REPLACED_WHOLE else _merge(default, value)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(f"SHOPGEN has no setting {name!r}") from None

    @property
    def root(self) -> Path:
        """Folder for what shopgen keeps on disk: training runs, private files. Not created here."""
        if self.ROOT:
            return Path(self.ROOT)
        base = getattr(settings, "BASE_DIR", None)
        return Path(base or Path.cwd()) / "var" / "shopgen"

    @property
    def threads(self) -> int:
        """Threads for one worker process: LIMITS.THREADS, or cores it may use / workers."""
        configured = self.LIMITS.get("THREADS")
        if configured:
            return max(1, int(configured))
        workers = int((getattr(settings, "Q_CLUSTER", None) or {}).get("workers") or 1)
        return max(1, usable_cores() // max(1, workers))


def usable_cores() -> int:
    """Cores that this process may run on (its affinity, not the machine's total)."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:  # macOS and Windows have no affinity
        return max(1, os.cpu_count() or 1)


class _LazySettings(LazyObject):
    def _setup(self) -> None:
        self._wrapped = AppSettings()


app_settings: Any = _LazySettings()


def _reset(*, setting: str, **kwargs: object) -> None:
    if setting in {"SHOPGEN", "Q_CLUSTER", "BASE_DIR", "STORAGES"}:
        app_settings._wrapped = empty


setting_changed.connect(_reset, dispatch_uid="shopgen.conf.reset")

__all__ = ["DEFAULTS", "AppSettings", "app_settings", "usable_cores"]
