"""What a training's page says beside its curves: the estimate, why it waits, what may be done with it."""

from __future__ import annotations

from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from shopgen_django.conf import app_settings
from shopgen_django.jobs.health import queue_health
from shopgen_django.models import ACTIVE_RUN_STATES, RESUMABLE_RUN_STATES, RunState, TrainingRun

from .display import duration

FEW_IMAGES = 60_000
"""Pictures seen, from scratch, below which made pictures are hardly like products (docs/training-results.md)."""
FEW_PHOTOS = 50
ROOM = 2 << 30
"""Free bytes on the disk below which a run may not find room for its snapshots."""


def estimate_facts(run: TrainingRun) -> list[tuple[str, str]]:
    """The estimate as labels and texts; empty when there is none."""
    found = run.estimate or {}
    if not found:
        return []
    photos = _count(found["photos"])
    if found.get("categories"):
        photos += " (" + ", ".join(f"{name} {n}" for name, n in found["categories"].items()) + ")"
    seen = _("%(images)s, each photo about %(times)s times") % {
        "images": _count(found["images"]), "times": _count(found["images"] // max(1, found["photos"])),
    }  # fmt: skip
    memory = _size(found["memory_bytes"])
    if found.get("memory_free"):
        memory = _("%(needed)s; %(free)s are free") % {"needed": memory, "free": _size(found["memory_free"])}
    rows = [
        (_("Photos"), photos), (_("Time"), duration(found["seconds"])), (_("Pictures seen"), seen),
        (_("Speed"), _("%(n)s pictures a second, measured on %(device)s") % {
            "n": _count(round(found["images_per_second"])), "device": found["device"]}),
        (_("Memory"), memory), (_("Size of the pictures"), f"{found['size']} px"),
        (_("Begins with"), _begins_with(str(found["init"]))),
    ]  # fmt: skip
    if found.get("disk_free"):
        rows.append((_("Free on the disk"), _size(found["disk_free"])))
    return rows


def estimate_warnings(run: TrainingRun) -> list[str]:
    """What a person should know before starting."""
    found = run.estimate or {}
    if not found:
        return []
    told = list(found.get("notes") or ())
    if found.get("made"):
        told.append(_("%(n)d pictures in the shop were made by a model; they are left out.") % {"n": found["made"]})
    if found.get("missing"):
        told.append(_("%(n)d photos of the shop could not be found.") % {"n": found["missing"]})
    if found.get("skipped"):
        told.append(_("%(n)d files can't be used.") % {"n": found["skipped"]})
    if found["photos"] < FEW_PHOTOS:
        told.append(
            ngettext(
                "%(n)d photo is very little to learn from: the model will know it by heart.",
                "%(n)d photos are very few to learn from: the model will know them by heart.", found["photos"],
            ) % {"n": found["photos"]}
        )  # fmt: skip
    if found["images"] < FEW_IMAGES and found.get("init") == "scratch":
        told.append(
            _("In this time it sees too few pictures to make good ones. Train longer, choose smaller pictures, or "
              "begin with a model.")
        )  # fmt: skip
    if found.get("memory_free") and found["memory_bytes"] > 0.8 * found["memory_free"]:
        told.append(_("The memory may not suffice: choose smaller pictures, or stop something else."))
    if found.get("disk_free") and found["disk_free"] < ROOM:
        told.append(_("The disk is nearly full; a training needs up to 2 GB."))
    return told


def waits_for(run: TrainingRun) -> str:
    """Why nothing happens yet; "" when something does."""
    if run.state not in (RunState.ESTIMATING, RunState.QUEUED) or run.process:
        return ""
    queue = app_settings.ACCELERATED_QUEUE
    if not any(health.workers_alive for health in queue_health() if health.queue == queue):
        return _("No worker is running (%(queue)s), so nobody starts it. Start one: manage.py shopgen_worker") % {
            "queue": queue
        }
    other = TrainingRun.objects.filter(state=RunState.RUNNING).exclude(pk=run.pk).first()
    if other is not None and run.state == RunState.QUEUED:
        return _("It waits until the training %(name)s is done.") % {"name": other.name}
    return _("A worker is about to start it.")


def verbs(run: TrainingRun) -> dict[str, bool]:
    """What may be done with the run, by its state; permission is another matter."""
    ordered, state = bool(run.order), run.state
    return {
        "start": state in (RunState.PLANNED, RunState.ESTIMATING),
        "stop": state in ACTIVE_RUN_STATES and run.stop_asked_at is None,
        "resume": ordered and state in RESUMABLE_RUN_STATES,
        "extend": ordered and state == RunState.SUCCEEDED and bool(run.order["options"].get("minutes")),
        "change": ordered and state not in ACTIVE_RUN_STATES,
        "discard": ordered and state not in ACTIVE_RUN_STATES and not run.versions.exists(),
    }


def _begins_with(init: str) -> str:
    known = {"base": _("the generator of clothes that ships"), "scratch": _("nothing")}
    return known.get(init, init.rpartition("/")[2])


def _count(number: int) -> str:
    return number_format(number, force_grouping=True)


def _size(count: float) -> str:
    if count >= 1 << 30:
        return f"{number_format(round(count / (1 << 30), 1))} GB"
    return f"{number_format(round(count / (1 << 20)))} MB"

