"""The shop's large models and networks as people see them: the files here, what other machines reported, what ships."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db.models.functions import Now
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.conf import app_settings
from shopgen_django.exceptions import InvalidState, NotFound
from shopgen_django.ml.cards import FOLDER
from shopgen_django.ml.files import read_json
from shopgen_django.models import ACTIVE_JOB_STATES, Job, JobState, SuppliedModel
from shopgen_django.operations.model_files import ModelFiles

from . import large_models, networks
from .model_uses import Use, alias_for, operations_of, uses_of

REMEMBERED = 200
"""Requests that are looked through for the newest of each model."""
_SHIPPED: tuple[tuple[str, str, Any, str, tuple[str, ...]], ...] = (
    ("cutout", "cutout", gettext_lazy("Finds products"), "CC0-1.0", ("cutout",)),
    ("denoiser", "denoiser/model", gettext_lazy("Takes noise out of photos"), "CC0-1.0", ("denoise",)),
    ("enlarge", "enlarge", gettext_lazy("Makes pictures larger"), "CC0-1.0", ("enlarge",)),
    ("base_64", "base_64/model", gettext_lazy("What trainings begin with"), "CC0-1.0", ()),
    ("features", "features", gettext_lazy("Judges trainings"), "MIT", ()),
)
"""Name, file without its ending, what it is for, licence, engines that ask it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one machine sees of a model's files, without hashing them."""

    name: str
    small: bool
    kind: str
    """A family's name, a class of the transformers library, or what a small network is for."""
    bytes: int
    folder: Path
    licence: str = ""
    commercial: bool | None = None
    base: str = ""
    source: str = ""
    sha256: str = ""
    """"" where nobody wrote down what the files should be."""
    added_at: datetime | None = None
    problem: str = ""
    unreadable: bool = False
    """Whether this process may not read the files: then what another one has reported says more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplied:
    """A model under its name.

    ``state``: "ships", "working" (a worker is asked to do something), "bad", "whole", "unchecked" or "unknown" (nobody
    has written down what its files should be).
    """

    name: str
    kind: str
    bytes: int
    licence: str
    commercial: bool | None
    state: str
    small: bool = False
    base: str = ""
    source: str = ""
    sha256: str = ""
    about: str = ""
    uses: tuple[Use, ...] = ()
    serves: tuple[str, ...] = ()
    """Names of the operations that a model of its kind is for."""
    alias: str = ""
    """The engine that it is for."""
    folder: Path | None = None
    """None when this machine does not see it."""
    host: str = ""
    """The machine that reported it last; "" when none has."""
    seen_at: datetime | None = None
    added_at: datetime | None = None
    added_by: Any = None
    problem: str = ""
    checked_at: datetime | None = None
    checked_by: Any = None
    checked_on: str = ""
    fault: str = ""
    """What the last verification found; "" when every file was as it was added."""
    request: Job | None = field(default=None, compare=False)
    """The newest thing that a worker was asked to do with it, while it waits or runs or when it has failed."""

    @property
    def ships(self) -> bool:
        return self.state == "ships"


def this_host() -> str:
    """The name of this machine, as rows and pages tell it."""
    return socket.gethostname()[:128]


def look_at(name: str) -> Facts | None:
    """What this machine sees under a name; None for nothing."""
    model = large_models.find_model(name)
    if model is not None:
        return _large_facts(model)
    network = networks.find_network(name)
    return None if network is None else _network_facts(network)


def look_around() -> list[Facts]:
    """All that this machine sees, by name."""
    found = [_large_facts(model) for model in large_models.all_models()]
    found += [_network_facts(network) for network in networks.all_networks()]
    return sorted(found, key=lambda facts: facts.name)


def record(facts: Facts, *, added_by: Any = None, checked: bool = False, checked_by: Any = None,
           fault: str = "") -> SuppliedModel:
    """Write down what this machine sees, and with ``checked`` what hashing has found."""
    values: dict[str, Any] = {
        "small": facts.small, "kind": facts.kind[:100], "bytes": facts.bytes, "licence": facts.licence[:100],
        "commercial": facts.commercial, "base": facts.base[:200], "source": facts.source[:500],
        "sha256": facts.sha256, "problem": facts.problem, "host": this_host(), "seen_at": Now(),
    }  # fmt: skip
    if facts.added_at is not None:
        values["added_at"] = facts.added_at
    if added_by is not None:
        values["added_by"] = added_by
    if checked:
        values |= {"checked_at": Now(), "checked_by": checked_by, "checked_on": this_host(), "fault": fault}
    row, _made = SuppliedModel.objects.update_or_create(name=facts.name, defaults=values)
    return row


def forget(name: str) -> bool:
    """Delete what was written down about a model; whether there was anything."""
    return bool(SuppliedModel.objects.filter(name=name).delete()[0])


def all_supplied() -> list[Supplied]:
    """The shop's models by name, then those that ship with the package."""
    try:
        seen = {facts.name: facts for facts in look_around()}
    except OSError:  # a web server's user need not be let into the workers' folder: the rows say what they reported
        seen = {}
    rows = {row.name: row for row in SuppliedModel.objects.select_related("added_by", "checked_by")}
    asked = latest_requests()
    own = [_entry(name, seen.get(name), rows.get(name), asked.get(name)) for name in sorted({*seen, *rows})]
    return own + shipped()


def get_supplied(name: str) -> Supplied:
    """Raises NotFound."""
    facts = look_at(name)
    row = SuppliedModel.objects.select_related("added_by", "checked_by").filter(name=name).first()
    if facts is not None and facts.unreadable and row is None:
        facts = None  # where nothing can be read, every name looks like that
    if facts is not None or row is not None:
        return _entry(name, facts, row, latest_requests().get(name))
    found = next((each for each in shipped() if each.name == name), None)
    if found is None:
        raise NotFound(_("There is no model %(name)s.") % {"name": name})
    return found


def not_added() -> list[networks.KnownNetwork]:
    """Known networks that could be fetched from the package index, which the command does alone."""
    names = {network.name for network in networks.all_networks()}
    names |= set(SuppliedModel.objects.filter(small=True).values_list("name", flat=True))
    return [known for known in networks.KNOWN.values() if known.name not in names]


def requests() -> list[Job]:
    """What workers were asked to do with models lately, the newest first."""
    jobs = Job.objects.filter(operation=ModelFiles.name).select_related("created_by").order_by("-created_at", "-id")
    return list(jobs[:REMEMBERED])


def latest_requests() -> dict[str, Job]:
    """Name -> the newest request."""
    found: dict[str, Job] = {}
    for job in requests():
        found.setdefault(str(job.params.get("name") or ""), job)
    return found


def require_own(model: Supplied) -> None:
    """Raises InvalidState for one that ships: its hash is compared at every load, and it goes with the package."""
    if model.ships:
        raise InvalidState(
            _("%(name)s comes with the package: its hash is compared at every load, and it can't be removed.")
            % {"name": model.name}
        )


def _large_facts(model: large_models.LargeModel) -> Facts:
    manifest = model.manifest
    facts = Facts(
        name=model.name, small=False, kind=model.kind, bytes=model.bytes, folder=model.folder, problem=model.problem,
        unreadable=model.unreadable,
    )  # fmt: skip
    if manifest is None:
        return facts
    return replace(
        facts, licence=manifest.licence, commercial=manifest.commercial, base=manifest.base, source=manifest.source,
        sha256=manifest.sha256, added_at=_moment(manifest.added_at), problem=model.problem or _licence_problem(manifest)
    )


def _licence_problem(manifest: Any) -> str:
    if manifest.commercial or app_settings.ALLOW_NONCOMMERCIAL_MODELS:
        return ""
    return _("Its licence forbids commercial use, so it is refused (the setting ALLOW_NONCOMMERCIAL_MODELS is off).")


def _network_facts(network: networks.Network) -> Facts:
    card = network.card
    return Facts(
        name=network.name, small=True, kind=str(card.get("purpose") or "?"), bytes=network.bytes, folder=network.folder,
        licence=str(card.get("licence") or ""), commercial=card.get("commercial") is True,
        source=str(card.get("source") or ""), sha256=str(card.get("sha256") or ""),
        added_at=_moment(str(card.get("added_at") or "")), problem="" if network.bytes else _("Its file is gone."),
    )


def _moment(text: str) -> datetime | None:
    try:
        return parse_datetime(text)
    except ValueError:
        return None


def _entry(name: str, facts: Facts | None, row: SuppliedModel | None, request: Job | None) -> Supplied:
    """One model from what is seen here, what was reported, and what was asked for."""
    if facts is not None and facts.unreadable and row is not None:
        facts = None
    told: Any = facts or row
    small, kind = bool(told.small), str(told.kind)
    uses, alias = uses_of(name, facts.folder if facts else None), alias_for(kind, small=small)
    problem = str(told.problem)
    if facts is None and look_at(name) is None and row is not None and row.host == this_host():
        problem = _("It is no longer in the folder of models of this machine.")
    # A verification speaks of the files that were described then: a model that was added anew since is another one.
    checked = row if row is not None and row.checked_at and row.sha256 == told.sha256 else None
    if request is not None and not _worth_telling(request, row):
        request = None
    return Supplied(
        name=name, kind=kind, small=small, bytes=told.bytes, licence=told.licence, commercial=told.commercial,
        base=told.base, source=told.source, sha256=told.sha256, uses=uses, alias=alias,
        serves=operations_of({alias, *(use.alias for use in uses)}),
        folder=facts.folder if facts else None, host=row.host if row else "", seen_at=row.seen_at if row else None,
        added_at=told.added_at or (row.added_at if row else None), added_by=row.added_by if row else None,
        problem=problem, checked_at=checked.checked_at if checked else None,
        checked_by=checked.checked_by if checked else None, checked_on=checked.checked_on if checked else "",
        fault=checked.fault if checked else "", request=request,
        state=_state(told, checked, request, problem),
    )  # fmt: skip


def _worth_telling(request: Job, row: SuppliedModel | None) -> bool:
    """Whether a request still waits or runs, or has failed for a reason that no later verification has answered."""
    if request.state != JobState.FAILED:
        return request.state in ACTIVE_JOB_STATES
    if row is None or row.checked_at is None or request.finished_at is None:
        return True
    return request.finished_at > row.checked_at and request.error_detail != row.fault


def _state(told: Any, checked: SuppliedModel | None, request: Job | None, problem: str) -> str:
    if request is not None and request.state in ACTIVE_JOB_STATES:
        return "working"
    if problem or (checked is not None and checked.fault):
        return "bad"
    if not told.sha256:
        return "unknown"
    return "whole" if checked is not None else "unchecked"


def shipped() -> list[Supplied]:
    """The small networks of the package. Trained here on data that may be used for anything; see their cards."""
    found = []
    for name, file, about, licence, aliases in _SHIPPED:
        weights = FOLDER / f"{file}.safetensors"
        card = _card(FOLDER / f"{file}.json")
        found.append(
            Supplied(
                name=name, kind=str(card.get("purpose") or ""), small=True, state="ships", about=str(about),
                bytes=weights.stat().st_size if weights.is_file() else 0, commercial=True, folder=weights.parent,
                licence=str(card.get("licence") or licence), serves=operations_of(aliases), source="shopgen_django",
                problem="" if weights.is_file() else _("Its file is gone. Install the package again."),
                alias=aliases[0] if aliases else "",
            )
        )
    return found


def _card(path: Path) -> Mapping[str, Any]:
    try:
        value = read_json(path)
    except (OSError, ValueError):  # the feature network has none: its licence is told above
        return {}
    return value if isinstance(value, dict) else {}
