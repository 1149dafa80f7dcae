"""A job's state in words that need no explanation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from shopgen_django.models import Job, JobState

from .display import duration

_STAGES = {
    "generate": lambda: _("making pictures"),
    "store": lambda: _("storing results"),
    "load": lambda: _("loading the model"),
    "read": lambda: _("reading the input"),
    "import": lambda: _("taking photos in"),
    "hash": lambda: _("hashing the files"),
}


def stage_of(job: Job) -> str:
    """The step that a running job is at; an operation's own word when we have none."""
    known = _STAGES.get(job.stage)
    return known() if known else job.stage


def job_note(job: Job) -> str:
    """One sentence: what the job waits for, does, or failed at."""
    if job.state == JobState.QUEUED:
        if job.error_detail:
            return _("Attempt %(n)d failed, it will be tried again: %(why)s") % {
                "n": job.attempt, "why": job.error_detail
            }
        return _("Waits until %(time)s") % {"time": _clock(job.not_before)} if _later(job) else _("Waits for a worker")
    if job.state == JobState.RUNNING:
        if job.cancel_requested_at is not None:
            return _("Will stop at its next step")
        stage = stage_of(job)
        return stage[:1].upper() + stage[1:] if stage else _("Running")
    if job.state == JobState.FAILED:
        return job.error_detail or job.error_code
    if job.state == JobState.SUCCEEDED and job.result:
        return _taken_in(job.result)
    if job.state == JobState.SUCCEEDED and job.seconds is not None:
        return _("Took %(time)s") % {"time": duration(job.seconds)}
    return ""


def _taken_in(result: Any) -> str:
    """What came of an upload or an import."""
    if "parts" in result:
        return ngettext(
            "%(n)d product found, in %(parts)d parts", "%(n)d products found, in %(parts)d parts", result["products"]
        ) % {"n": result["products"], "parts": result["parts"]}  # fmt: skip
    new, known, problems = result.get("new") or 0, result.get("known") or 0, len(result.get("problems") or ())
    parts = [ngettext("%(n)d new photo", "%(n)d new photos", new) % {"n": new}]
    if known:
        parts.append(ngettext("%(n)d was there already", "%(n)d were there already", known) % {"n": known})
    if problems:
        parts.append(ngettext("%(n)d problem", "%(n)d problems", problems) % {"n": problems})
    return ", ".join(parts)


def _later(job: Job) -> bool:
    return bool(job.not_before and job.not_before > timezone.now())


def _clock(moment: Any) -> str:
    return f"{timezone.localtime(moment):%H:%M:%S}"


_OUTCOMES = {
    "succeeded": lambda: _("succeeded"),
    "failed": lambda: _("failed"),
    "retried": lambda: _("failed, to be tried again"),
    "lost": lambda: _("lost: the worker went away"),
    "released": lambda: _("handed back by a stopping worker"),
    "cancelled": lambda: _("cancelled"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One finished attempt, for a table."""

    number: str
    started: Any
    took: str
    worker: str
    outcome: str
    detail: str


def attempt_rows(job: Job) -> list[Attempt]:
    """The attempts so far, the last one first."""
    rows = []
    for entry in reversed(job.history or []):
        started, ended = (parse_datetime(str(entry.get(name) or "")) for name in ("started", "ended"))
        outcome = str(entry.get("outcome") or "")
        rows.append(
            Attempt(
                number=str(entry.get("attempt", "")),
                started=started,
                took=duration((ended - started).total_seconds()) if started and ended else "",
                worker=str(entry.get("worker") or ""),
                outcome=_OUTCOMES[outcome]() if outcome in _OUTCOMES else outcome,
                detail=str(entry.get("detail") or ""),
            )
        )
    return rows
