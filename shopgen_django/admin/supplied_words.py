"""A supplied model in the words of its page: facts, state, what is wrong, what may be done."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.template.defaultfilters import filesizeformat
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.models import ACTIVE_JOB_STATES, Job
from shopgen_django.services.model_uses import Dependants, setting_for
from shopgen_django.services.supplied import Supplied, this_host
from shopgen_django.services.supplied_work import REMOVE, VERIFY, may

from .display import badge, change_url, operation_label, when
from .job_words import job_note

_STATES: dict[str, tuple[str, Any]] = {
    "bad": ("failed", gettext_lazy("not as it should be")),
    "whole": ("succeeded", gettext_lazy("verified")),
    "unchecked": ("queued", gettext_lazy("not verified yet")),
    "unknown": ("queued", gettext_lazy("never added, so nobody knows what its files should be")),
}
_WORKING = {
    "add": gettext_lazy("being added"), "verify": gettext_lazy("being verified"),
    "remove": gettext_lazy("being removed"),
}
_FAILED = {
    "add": gettext_lazy("It could not be added"), "verify": gettext_lazy("It could not be verified"),
    "remove": gettext_lazy("It could not be removed"),
}
_ASKED = {
    "add": gettext_lazy("Add %(name)s"), "verify": gettext_lazy("Verify %(name)s"),
    "remove": gettext_lazy("Remove %(name)s"), "look": gettext_lazy("Look what is there"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What the page shows of one model."""

    model: Supplied
    badge: SafeString
    rows: list[tuple[str, object]]
    problems: list[str]
    note: str
    percent: int | None
    may_verify: bool
    may_remove: bool


def card_of(model: Supplied, user: Any) -> Card:
    job = model.request
    working = model.state == "working" and job is not None
    if working and job is not None:
        shown = badge("running", _WORKING[job.params["verb"]])
    else:
        shown = badge(_STATES[model.state][0], _STATES[model.state][1])
    problems = [text for text in dict.fromkeys((model.problem, model.fault)) if text]
    if job is not None and not working:
        problems.append(_("%(what)s: %(why)s") % {"what": _FAILED[job.params["verb"]], "why": job_note(job)})
    return Card(
        model=model, badge=shown, rows=_rows(model), problems=problems,
        note=job_note(job) if working and job is not None else "",
        percent=round(100 * job.progress) if working and job is not None and job.progress else None,
        may_verify=not working and bool(model.sha256) and may(user, VERIFY),
        may_remove=not working and may(user, REMOVE),
    )


def _rows(model: Supplied) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [
        (_("What it is"), kind_words(model)),
        (_("What it is for"), ", ".join(operation_label(name) for name in model.serves) or "—"),
        (_("Used by"), uses_words(model)),
        (_("Size"), filesizeformat(model.bytes) if model.bytes else "—"),
        (_("Licence"), licence_words(model)),
    ]
    if model.base:
        rows.append((_("Base model"), model.base))
    rows.append((_("Source"), model.source or "—"))
    if model.added_at is not None:
        rows.append((_("Added"), _by(model.added_at, model.added_by)))
    rows += [(_("Verified"), checked_words(model)), (_("Where"), place_words(model))]
    if model.sha256:
        rows.append(("SHA-256", format_html('<code class="sg-hash">{}</code>', model.sha256)))
    return rows


_SMALL = {
    "letters": gettext_lazy("finds writing"), "tags": gettext_lazy("tags by labels of its own"),
    "safety": gettext_lazy("judges pictures that models made"),
}  # fmt: skip


def kind_words(model: Supplied) -> str:
    """A family's name, a class, or what a small network does."""
    if model.small:
        return _("Small network: %(what)s") % {"what": _SMALL.get(model.kind) or operation_label(model.kind)}
    return model.kind if model.kind != "?" else "—"


def licence_words(model: Supplied) -> str:
    if not model.licence:
        return _("not told")
    allowed = _("commercial use allowed") if model.commercial else _("commercial use forbidden")
    return f"{model.licence} · {allowed}"


def uses_words(model: Supplied) -> object:
    """The engines that name it, else what to write into the settings."""
    if model.uses:
        return ", ".join(
            _("the engine “%(alias)s” (%(option)s)") % {"alias": use.alias, "option": use.option} for use in model.uses
        )
    if not model.alias:
        return "—"
    alias, entry = setting_for(model.kind, model.name, small=model.small)
    setting = f'"ENGINES": {json.dumps({alias: entry})}'
    return format_html("{} <code>{}</code>", _("no engine yet. To use it, write into SHOPGEN:"), setting)


def checked_words(model: Supplied) -> str:
    if model.checked_at is None:
        return _("not since it was added") if model.sha256 else "—"
    found = _("differences found") if model.fault else _("every file is as it was added")
    return _("%(found)s · %(when)s · on %(host)s") % {
        "found": found, "when": _by(model.checked_at, model.checked_by), "host": model.checked_on
    }


def place_words(model: Supplied) -> object:
    """Where the files are, and whether this very server sees them."""
    if model.folder is not None:
        return format_html("<code>{}</code> · {}", str(model.folder), _("seen by this server (%(host)s)") % {
            "host": this_host()
        })  # fmt: skip
    return _("in the folder of models of %(host)s, as it reported %(when)s; this server does not see it") % {
        "host": model.host or "?", "when": _moment(model.seen_at) if model.seen_at else "?"
    }


def dependant_rows(told: Dependants) -> list[str]:
    """What would miss it, one sentence each."""
    rows = [
        _("The engine “%(alias)s” of the settings names it (%(option)s): its jobs fail until another model is named.")
        % {"alias": use.alias, "option": use.option} for use in told.engines
    ]
    if told.jobs:
        rows.append(_("Jobs that wait or run and ask for it: %(n)d.") % {"n": told.jobs})
    if told.loras:
        rows.append(_("LoRAs that were trained on it: %(names)s.") % {"names": ", ".join(told.loras)})
    return rows


def request_rows(jobs: list[Job], user: Any) -> list[dict[str, Any]]:
    """What was asked for lately, for people who may see whose jobs they are."""
    everybody = user.has_perm("shopgen.view_job")
    return [
        {
            "what": _ASKED[job.params["verb"]] % {"name": job.params.get("name")}, "by": _name(job.created_by),
            "at": when(job.created_at), "badge": badge(job.state, job.get_state_display()), "note": job_note(job),
            "url": change_url(job) if everybody or job.created_by_id == user.pk else "",
            "active": job.state in ACTIVE_JOB_STATES,
        }
        for job in jobs
    ]


def _by(moment: Any, person: Any) -> str:
    if person is None:
        return _moment(moment)
    return _("%(when)s by %(who)s") % {"when": _moment(moment), "who": _name(person)}


def _name(person: Any) -> str:
    return str(person.get_username()) if person is not None else "—"


def _moment(moment: Any) -> str:
    return formats.date_format(timezone.localtime(moment), "DATETIME_FORMAT")
