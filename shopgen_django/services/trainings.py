"""Trainings asked for from a page or over HTTP: plan, start, stop, resume, throw away.

Only rows are written here. ``shopgen_worker`` starts the processes (:mod:`shopgen_django.jobs.trainings`), which read
the order from the row (:func:`take_up`).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from shopgen_django.catalogues.registry import get_catalogue
from shopgen_django.conf import app_settings
from shopgen_django.exceptions import InvalidParameters, InvalidState, LimitExceeded, NotAllowed
from shopgen_django.jobs.identity import worker_name
from shopgen_django.ml.config import AUTO, BASE, SCRATCH, check_config, config_from_dict
from shopgen_django.ml.errors import ConfigError
from shopgen_django.models import ACTIVE_RUN_STATES, RESUMABLE_RUN_STATES, RunState, TrainingRun

from .figures import finite
from .models import trainable_version

PERMISSION = "shopgen.start_trainingrun"
OPTIONS = (
    "category", "minutes", "images_seen", "size", "architecture", "loss", "prepare", "flip", "augment", "balance",
    "init", "seed", "batch_size", "dp_epsilon", "dp_delta", "conditional", "processes",
)  # fmt: skip
"""Options of ``train_gan`` that may come from outside: none names a file, and none touches how safely a run saves."""
MAX_PRODUCTS = 10_000
UNMADE = (RunState.ESTIMATING, RunState.PLANNED, RunState.QUEUED)
"""States before the first step."""
MODEST_OOM = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to train.

    Attributes:
        name: of the model, 1 to 100 characters.
        options: values for :data:`OPTIONS`; ``None`` means "choose for me".
        catalogue: alias of the catalogue whose photos are learnt from.
        products: primary keys; empty for all products (of the categories in ``options``).
        activate: whether the model is used as soon as it is finished.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    catalogue: str = "default"
    products: tuple[str, ...] = ()
    activate: bool = False


def plan_training(*, order: Order, user: Any, start: bool = False, key: uuid.UUID | None = None) -> TrainingRun:
    """Write down what is asked for. A worker estimates it; with ``start`` it trains at once.

    ``key``: the row's primary key; the same one again gives the row that is there (the second click).

    Raises:
        NotAllowed, InvalidParameters, LimitExceeded.
    """
    _allow(user)
    if order.activate and not user.has_perm("shopgen.activate_modelversion"):
        raise NotAllowed(_("You may not choose the active model."))
    known = TrainingRun.objects.filter(pk=key).first() if key else None
    if known is not None:
        return known
    options = _checked(order)
    if TrainingRun.objects.filter(state__in=ACTIVE_RUN_STATES).count() >= int(app_settings.TRAINING["WAITING"]):
        raise LimitExceeded(_("Too many trainings are waiting or running. Stop one, or wait until one is done."))
    key = key or uuid.uuid4()
    folder = (app_settings.root / "training" / f"{folder_name(order.name)}-{str(key)[:8]}").resolve()
    category = options.get("category") or []
    values = {
        "name": order.name, "state": RunState.QUEUED if start else RunState.ESTIMATING, "output_dir": str(folder),
        "category": category[0] if len(category) == 1 else "", "created_by": user,
        "order": {
            "options": options, "catalogue": order.catalogue, "products": list(order.products),
            "activate": order.activate,
        },
    }  # fmt: skip
    try:
        with transaction.atomic():
            return TrainingRun.objects.create(pk=key, **values)
    except IntegrityError:  # two clicks at the same time
        return TrainingRun.objects.get(pk=key)


def _checked(order: Order) -> dict[str, Any]:
    """The options, without those that are left open."""
    if not order.name.strip() or len(order.name) > 100:
        _refuse("name", _("Give a name of 1 to 100 characters."))
    if strange := sorted(set(order.options) - set(OPTIONS)):
        _refuse(strange[0], _("This can't be set from here: %(names)s.") % {"names": ", ".join(strange)})
    if len(order.products) > MAX_PRODUCTS:
        _refuse("products", _("At most %(n)d products; choose categories instead.") % {"n": MAX_PRODUCTS})
    if order.catalogue not in app_settings.CATALOGUES:
        _refuse("catalogue", _("There is no catalogue %(alias)s.") % {"alias": order.catalogue})
    options = {name: value for name, value in order.options.items() if value not in (None, "", [], ())}
    most = float(app_settings.TRAINING["MAX_MINUTES"])
    if not 0 < float(options.get("minutes") or 1.0) <= most:
        _refuse("minutes", _("Give more than 0 and at most %(most)g minutes.") % {"most": most})
    if "minutes" not in options and "images_seen" not in options:
        _refuse("minutes", _("Say how long to train."))
    begin = options.get("init", AUTO)
    if begin not in (AUTO, BASE, SCRATCH) and ("/" in begin or trainable_version(name=begin) is None):
        _refuse("init", _("There is no model %(name)s to begin with.") % {"name": begin})
    known = get_catalogue(order.catalogue).categories()
    if missing := [name for name in options.get("category", ()) if name not in known]:
        _refuse("category", _("The catalogue has no category %(names)s.") % {"names": ", ".join(map(str, missing))})
    try:
        check_config(config_from_dict({**options, "source": "photos", "output": "run"}))
    except ConfigError as error:
        raise InvalidParameters(str(error)) from error
    return options


def _refuse(name: str, message: str) -> None:
    raise InvalidParameters(message, fields={name: [message]})


def start_training(*, run: TrainingRun, user: Any) -> TrainingRun:
    """Let a planned run begin as soon as a worker is free. A second click changes nothing.

    Raises NotAllowed, InvalidState.
    """
    _allow(user)
    moved = TrainingRun.objects.filter(pk=run.pk, state__in=(RunState.PLANNED, RunState.ESTIMATING)).update(
        state=RunState.QUEUED, stage=""
    )
    run.refresh_from_db()
    if not moved and run.state not in (RunState.QUEUED, RunState.RUNNING):
        raise InvalidState(_("This training is %(state)s: it can't be started.") % {"state": run.get_state_display()})
    return run


def stop_training(*, run: TrainingRun, user: Any) -> TrainingRun:
    """Stop a run: one that waits at once, one that trains as soon as it has saved (seconds).

    Works for runs of the command as well, on whatever machine. Raises NotAllowed, InvalidState.
    """
    _allow(user)
    waiting = TrainingRun.objects.filter(pk=run.pk, state__in=UNMADE)
    done = waiting.update(state=RunState.STOPPED, stop_asked_at=Now(), finished_at=Now(), stage="")
    if not done:
        rows = TrainingRun.objects.filter(pk=run.pk, state=RunState.RUNNING)
        rows.filter(stop_asked_at=None).update(stop_asked_at=Now())
        done = rows.count()
    run.refresh_from_db()
    if not done and run.state not in RESUMABLE_RUN_STATES:
        raise InvalidState(_("This training is %(state)s: it can't be stopped.") % {"state": run.get_state_display()})
    return run


def resume_training(*, run: TrainingRun, user: Any, minutes: float | None = None) -> TrainingRun:
    """Let a run go on from its last snapshot; with ``minutes`` (counted over all parts) also a finished one.

    Raises NotAllowed, InvalidParameters, InvalidState.
    """
    _allow(user)
    if not run.order:
        raise InvalidState(_("This run was started with the command; run the command again to go on."))
    order = dict(run.order)
    if minutes is not None:
        most = float(app_settings.TRAINING["MAX_MINUTES"])
        if not 0 < minutes <= most:
            _refuse("minutes", _("Give more than 0 and at most %(most)g minutes.") % {"most": most})
        options = {name: value for name, value in order["options"].items() if name != "images_seen"}
        order["options"] = {**options, "minutes": minutes}
    before = float(run.order["options"].get("minutes") or 0.0)
    states = [*RESUMABLE_RUN_STATES]
    if minutes is not None and minutes > before:
        states.append(RunState.SUCCEEDED)
    moved = TrainingRun.objects.filter(pk=run.pk, state__in=states, process="").update(
        state=RunState.QUEUED, order=order, stop_asked_at=None, error="", finished_at=None, stage=""
    )
    run.refresh_from_db()
    if not moved and run.state not in (RunState.QUEUED, RunState.RUNNING):
        if run.state == RunState.SUCCEEDED:
            _refuse("minutes", _("It has trained for %(n)g minutes; give more to train it further.") % {"n": before})
        raise InvalidState(_("This training is %(state)s: it can't be resumed.") % {"state": run.get_state_display()})
    return run


def discard_training(*, run: TrainingRun, user: Any) -> None:
    """Remove a run with its folders. Raises NotAllowed; InvalidState while it is active or a model came of it."""
    _allow(user)
    with transaction.atomic():
        locked = TrainingRun.objects.select_for_update().filter(pk=run.pk).first()
        if locked is None:
            return
        if locked.state in ACTIVE_RUN_STATES or locked.process:
            raise InvalidState(_("Stop the training first."))
        if locked.versions.exists():
            raise InvalidState(_("A model came of this training; it is kept with its figures."))
        if not locked.order:
            raise InvalidState(_("This run was started with the command; its folder is not ours to remove."))
        locked.delete()
    for folder in (Path(run.output_dir), photos_folder(run)):
        shutil.rmtree(folder, ignore_errors=True)


def may_start(user: Any) -> bool:
    """Whether ``user`` may start, stop and resume trainings."""
    return bool(user.has_perm(PERMISSION))


def _allow(user: Any) -> None:
    if not may_start(user):
        raise NotAllowed(_("You may not start or stop trainings."))


def folder_name(name: str) -> str:
    """``name`` as the name of a folder."""
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "model"


def photos_folder(run: TrainingRun) -> Path:
    """Where the photos of an ordered run are brought together."""
    return app_settings.root / "training" / "photos" / Path(run.output_dir).name


# -- the process that does it ---------------------------------------------------------------------


def take_up(*, key: str, estimate: bool) -> TrainingRun:
    """The row that this process was started for, with the process' own name on it.

    Raises InvalidState when nobody waits for it any more.
    """
    state = RunState.ESTIMATING if estimate else RunState.RUNNING
    taken = TrainingRun.objects.filter(pk=key, state=state).exclude(order={}).update(
        process=worker_name(), pid=os.getpid(), heartbeat_at=Now(), stage=_("collecting the photos")
    )
    if not taken:
        raise InvalidState(_("No worker has taken the run %(key)s; start it on its page.") % {"key": key})
    return TrainingRun.objects.select_related("created_by").get(pk=key)


def stand_back() -> None:
    """Let the shop's jobs go first, and be the first to go when memory runs out."""
    nice = int(app_settings.TRAINING["NICE"])
    with contextlib.suppress(OSError):
        os.nice(max(0, nice - os.nice(0)))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(MODEST_OOM), encoding="ascii")


def options_of(run: TrainingRun, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The command's options for an ordered run."""
    return {
        **defaults, "init": AUTO, **run.order["options"], "name": run.name, "output": run.output_dir,
        "catalogue": run.order["catalogue"], "activate": bool(run.order["activate"]), "products": run.order["products"],
    }  # fmt: skip


def record_estimate(*, run: TrainingRun, values: Mapping[str, Any]) -> None:
    """What a run would cost; it is planned now, unless somebody has started it meanwhile."""
    TrainingRun.objects.filter(pk=run.pk).update(estimate=finite(dict(values)), process="", stage="", pid=None)
    TrainingRun.objects.filter(pk=run.pk, state=RunState.ESTIMATING).update(state=RunState.PLANNED)


def refuse_estimate(*, run: TrainingRun, reason: str) -> None:
    """Say why the run can't be: its data or its options."""
    rows = TrainingRun.objects.filter(pk=run.pk)
    rows.update(process="", stage="", pid=None)
    rows.filter(state=RunState.ESTIMATING).update(state=RunState.FAILED, error=reason, finished_at=Now())


def wait_again(*, run: TrainingRun) -> None:
    """The process was told to end though nobody wants the run to: it goes on when a worker can start it again."""
    TrainingRun.objects.filter(pk=run.pk).update(
        state=RunState.QUEUED, process="", pid=None, stage=_("interrupted; goes on by itself"), heartbeat_at=Now()
    )
