"""System checks: settings that lose work or contradict one another are told before they do harm.

Nothing heavy is imported: versions of installed packages are read from their metadata, never from the packages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from .check_storages import check_storage
from .conf import DEFAULTS, app_settings

TAG = "shopgen"
WRONG_TYPE = "shopgen.E011"

Check = Callable[..., list[CheckMessage]]

MINIMUM_VERSIONS = {"pillow": (12, 3), "torch": (2, 10)}
"""Older ones have holes that hostile pictures and weight files reach."""

_OPTIONAL_NUMBERS = {("JOBS", "EXPIRE_SECONDS"), ("LIMITS", "THREADS"), ("ROOT",)}

CATALOGUE_HINT = (
    'An entry is {"ADAPTER": dotted path, "OPTIONS": {"MODEL": "app.Product", ...}}. Built-in adapters: '
    "shopgen_django.catalogues.generic.GenericCatalogue, .oscar.OscarCatalogue and .wagtail.WagtailCatalogue."
)


def register_checks() -> None:
    """Connect the checks to Django (called once from AppConfig.ready)."""
    for check in (
        check_settings, check_times, check_review, check_paths, check_catalogues, check_queue, check_house,
        check_engines,
    ):
        register(check, TAG)
    from .budget_checks import check_budgets

    register(check_budgets, TAG)


def _after_settings(check: Check) -> Check:
    """Run ``check`` only when the values have the right types; else :func:`check_settings` has the word."""

    @wraps(check)
    def guarded(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
        if any(message.id == WRONG_TYPE for message in check_settings()):
            return []
        return check(app_configs, **kwargs)

    return guarded


def check_settings(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Unknown keys and values of the wrong type in ``SHOPGEN``."""
    given = getattr(settings, "SHOPGEN", {})
    if not isinstance(given, Mapping):
        return [
            Error(
                f"SHOPGEN must be a dict, not {type(given).__name__}.", hint="See docs/settings.md.", id=WRONG_TYPE
            )
        ]
    found: list[CheckMessage] = []
    for key, value in given.items():
        if key not in DEFAULTS:
            found.append(_unknown(f'SHOPGEN["{key}"]', key, DEFAULTS))
        else:
            found += _check_value((key,), value, DEFAULTS[key])
    return found


def _check_value(path: tuple[str, ...], value: Any, default: Any) -> Iterator[CheckMessage]:
    where = "SHOPGEN" + "".join(f'["{part}"]' for part in path)
    if isinstance(default, Mapping):
        if not isinstance(value, Mapping):
            yield _wrong(where, "a dict", value)
            return
        # These hold names of the shop's own choosing; what they point to is checked elsewhere.
        if path[0] in {"CATALOGUES", "ENGINES", "QUEUE", "BUDGETS"}:
            return
        for key, part in value.items():
            if key not in default:
                yield _unknown(f'{where}["{key}"]', key, default)
            else:
                yield from _check_value((*path, key), part, default[key])
        return
    wanted = _wanted(path, value, default)
    if wanted:
        yield _wrong(where, wanted, value)


def _wanted(path: tuple[str, ...], value: Any, default: Any) -> str:
    """What the value should have been, or "" when it is fine."""
    optional = path in _OPTIONAL_NUMBERS or path[0] == "RETENTION"
    if value is None and optional:
        return ""
    if path == ("ROOT",):
        return "" if isinstance(value, (str, Path)) else "a path"
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "True or False"
    if isinstance(default, (int, float)) or path in _OPTIONAL_NUMBERS:
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
        return "" if number else "a number above 0" + (" or None" if optional else "")
    if isinstance(default, str):
        return "" if isinstance(value, str) and value else "a text"
    if path == ("MODEL_SOURCES",):
        fine = isinstance(value, (list, tuple)) and all(isinstance(item, (str, Path)) and str(item) for item in value)
        return "" if fine else "a list of folders"
    if isinstance(default, list):
        fine = isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
        return "" if fine else "a list of dotted paths"
    return ""


def _unknown(where: str, key: object, known: Mapping[str, Any]) -> Error:
    return Error(
        f"{where} is no setting of shopgen; it has no effect.",
        hint=f"Check the spelling of {key!r}. Known here: {', '.join(sorted(known))}.", id="shopgen.E010",
    )


def _wrong(where: str, wanted: str, value: object) -> Error:
    return Error(f"{where} must be {wanted}, not {value!r}.", hint="See docs/settings.md.", id=WRONG_TYPE)


@_after_settings
def check_times(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Times of the job engine that contradict one another."""
    jobs = app_settings.JOBS
    lease, beat = float(jobs["LEASE_SECONDS"]), float(jobs["HEARTBEAT_SECONDS"])
    stall, hard = float(jobs["STALL_SECONDS"]), float(jobs["HARD_TIMEOUT_SECONDS"])
    pause, longest = float(jobs["BACKOFF_SECONDS"]), float(jobs["BACKOFF_MAX_SECONDS"])
    found: list[CheckMessage] = []
    if lease < 3 * beat:
        found.append(
            Error(
                f"SHOPGEN['JOBS']: a lease of {lease:g} s with a heartbeat every {beat:g} s is lost by one hiccup.",
                hint="Make LEASE_SECONDS at least three times HEARTBEAT_SECONDS.", id="shopgen.E014",
            )
        )
    if stall > hard:
        found.append(
            Warning(
                "SHOPGEN['JOBS']: STALL_SECONDS is above HARD_TIMEOUT_SECONDS and never matters.",
                hint="A job that hangs is then only noticed at its hard time limit. Lower STALL_SECONDS.",
                id="shopgen.W007",
            )
        )
    if pause > longest:
        found.append(
            Error(
                "SHOPGEN['JOBS']: BACKOFF_SECONDS is above BACKOFF_MAX_SECONDS.",
                hint="Raise BACKOFF_MAX_SECONDS.", id="shopgen.E015",
            )
        )
    if app_settings.ACCELERATED_QUEUE not in {"cpu", "gpu"}:
        found.append(
            Error(
                f"SHOPGEN['ACCELERATED_QUEUE'] is {app_settings.ACCELERATED_QUEUE!r}; it must be \"cpu\" or \"gpu\".",
                hint="Use \"gpu\" only when a GPU cluster runs; else those jobs wait for ever.", id="shopgen.E016",
            )
        )
    return found


@_after_settings
def check_review(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Rules of review that contradict one another."""
    review = app_settings.REVIEW
    if review["FOUR_EYES"] and not review["REQUIRE_APPROVAL"]:
        return [
            Warning(
                "SHOPGEN['REVIEW']: FOUR_EYES has no effect while REQUIRE_APPROVAL is False.",
                hint="Nobody reviews pictures that are approved by themselves. Set REQUIRE_APPROVAL to True.",
                id="shopgen.W010",
            )
        ]
    return []


@_after_settings
def check_paths(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Dotted paths in ``ENGINES``, ``GATES`` and ``QUEUE`` that lead nowhere."""
    found: list[CheckMessage] = []
    paths: list[tuple[str, Any]] = [('SHOPGEN["QUEUE"]["BACKEND"]', _entry(app_settings.QUEUE))]
    paths += [
        (f'SHOPGEN["ENGINES"]["{alias}"]["BACKEND"]', _entry(entry)) for alias, entry in app_settings.ENGINES.items()
    ]
    paths += [(f'SHOPGEN["GATES"][{number}]', path) for number, path in enumerate(app_settings.GATES)]
    paths += [
        (f'SHOPGEN["SAFETY"]["{kind}"][{number}]', path)
        for kind, listed in app_settings.SAFETY.items() for number, path in enumerate(listed)
    ]
    for where, path in paths:
        problem = _leads_nowhere(path)
        if problem:
            found.append(
                Error(f"{where}: {problem}", hint="Give the dotted path of something importable.", id="shopgen.E012")
            )
    return found


def _entry(entry: Any) -> Any:
    return entry.get("BACKEND") if isinstance(entry, Mapping) else None


def _leads_nowhere(path: Any) -> str:
    """Why ``path`` can't be used, or "". Foreign modules are looked for and not imported: they may load torch."""
    if not isinstance(path, str) or "." not in path:
        return f"{path!r} is no dotted path."
    module, _dot, name = path.rpartition(".")
    try:
        spec = find_spec(module)
    except (ImportError, ValueError, AttributeError) as error:
        return f"{path}: {error}."
    if spec is None:
        return f"there is no module {module}."
    if not module.startswith("shopgen_django."):
        return "" if spec.origin is None or _defines(spec.origin, name) else f"{module} defines no {name}."
    try:
        import_string(path)
    except ImportError as error:
        return f"{error}."
    return ""


def _defines(origin: str, name: str) -> bool:
    """Whether the source file binds ``name`` somewhere; files that are no Python source are trusted."""
    try:
        text = Path(origin).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return True
    return re.search(rf"\b{re.escape(name)}\b", text) is not None


@_after_settings
def check_catalogues(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Each catalogue says by itself what is wrong with it."""
    from .catalogues import catalogue_aliases, get_catalogue

    found: list[CheckMessage] = []
    try:
        aliases = catalogue_aliases()
    except ImproperlyConfigured as error:
        return [Error(str(error), hint=CATALOGUE_HINT, id="shopgen.E013")]
    if not aliases:
        found.append(
            Warning(
                "shopgen knows no products: SHOPGEN['CATALOGUES'] is empty.",
                hint='SHOPGEN = {"CATALOGUES": {"default": {"OPTIONS": {"MODEL": "shop.Product"}}}}',
                id="shopgen.W008",
            )
        )
    for alias in aliases:
        try:
            found += get_catalogue(alias).check()
        except ImproperlyConfigured as error:
            found.append(Error(str(error), hint=CATALOGUE_HINT, id="shopgen.E013"))
    return found


@_after_settings
def check_queue(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """The queue says by itself what is wrong with its settings."""
    from .jobs.queue import get_queue

    if _leads_nowhere(_entry(app_settings.QUEUE)):
        return []  # check_paths says so
    try:
        return get_queue().check()
    except (ImproperlyConfigured, ImportError, TypeError) as error:
        return [
            Error(f"The queue can't be set up: {error}", hint='Check SHOPGEN["QUEUE"].', id="shopgen.E009")
        ]


@_after_settings
def check_engines(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """The engines that the project's own settings name say by themselves what is wrong with them.

    Only ours are asked: another module might load torch when it is imported.
    """
    from .engines import get_engine

    found: list[CheckMessage] = []
    for alias in app_settings.given.get("ENGINES", {}):
        path = _entry(app_settings.ENGINES[alias])
        if not str(path).startswith("shopgen_django.") or _leads_nowhere(path):
            continue  # check_paths has the word
        where = f'SHOPGEN["ENGINES"]["{alias}"]'
        try:
            problems = get_engine(alias).check()
        except (ImproperlyConfigured, TypeError, ValueError) as error:
            found.append(Error(f"{where}: {error}", hint="See docs/settings.md for its options.", id="shopgen.E021"))
            continue
        found += [
            Warning(f"{where}: {problem}", hint="Jobs that need this engine fail until then.", id="shopgen.W011")
            for problem in problems
        ]
    return found


@_after_settings
def check_house(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Apps that are missing, files with a public address, packages that are too old."""
    return [*_check_apps(), *check_storage(), *_check_versions()]


def _check_apps() -> Iterator[CheckMessage]:
    for name in ("django.contrib.auth", "django.contrib.contenttypes"):
        if not apps.is_installed(name):
            yield Error(
                f"shopgen needs {name}.", hint=f'Add "{name}" to INSTALLED_APPS.', id="shopgen.E017"
            )
    if not apps.is_installed("django.contrib.admin"):
        yield Warning(
            "Without django.contrib.admin there is no page to review and publish pictures on.",
            hint='Add "django.contrib.admin" to INSTALLED_APPS, or use the HTTP API alone.', id="shopgen.W009",
        )


def _check_versions() -> Iterator[CheckMessage]:
    for package, minimum in MINIMUM_VERSIONS.items():
        wanted = ".".join(map(str, minimum))
        try:
            text = metadata.version(package)
        except metadata.PackageNotFoundError:
            yield Error(
                f"{package} is not installed.", hint=f'pip install "{package}>={wanted}"', id="shopgen.E019"
            )
            continue
        numbers = tuple(int(part) for part in re.findall(r"\d+", text)[:2])
        if numbers < minimum:
            yield Error(
                f"{package} {text} has known security holes.", hint=f'pip install "{package}>={wanted}"',
                id="shopgen.E019",
            )
