"""What people ask for models, and how a worker does it: add, verify, remove, look what is there.

A request is a job (``operations.model_files``), so that it survives a worker that is killed, is tried again, and says
how it ended. It runs on the queue whose workers load such models; which machine it was is written into the row. With
several machines that have folders of their own, one of them takes the request; the command does it on each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils.translation import gettext as _

from shopgen_django.exceptions import InvalidParameters, InvalidState, NotAllowed, NotFound, PermanentError
from shopgen_django.jobs.rings import ring
from shopgen_django.models import Job, SuppliedModel
from shopgen_django.operations.model_files import ModelFiles, desk
from shopgen_django.operations.registry import get_operation

from . import large_models, networks
from .model_sources import find_folder, require_allowed
from .submit import Planned, Target, keep_limits, write_job
from .supplied import Supplied, forget, get_supplied, look_around, look_at, record, require_own, this_host

ADD, REMOVE, VERIFY = "add_suppliedmodel", "delete_suppliedmodel", "verify_suppliedmodel"
NEEDED = {"add": ADD, "verify": VERIFY, "remove": REMOVE, "look": VERIFY}
LONGEST = {"licence": 100, "source": 500, "base": 200, "path": 1000}

Report = Callable[..., None]
Check = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """A folder that shall become a model under a name.

    Attributes:
        path: absolute, or below one of the folders of ``MODEL_SOURCES``.
        name: small letters, digits, dots, hyphens; 1 to 64.
        licence: an SPDX identifier where there is one.
        commercial: whether the licence allows commercial use.
        source: where it is from, an address.
        base: the model that it was made from; "" when it is one of its own.
    """

    path: str
    name: str
    licence: str
    commercial: bool
    source: str
    base: str = ""


def register() -> None:
    """Tell the operation who does the work; called from ``AppConfig.ready``."""
    desk.work = work


# -- asking ---------------------------------------------------------------------------------------


def ask_addition(*, addition: Addition, user: Any) -> Job:
    """Have a folder of the server hashed, described and linked. The same request while the first is under way gives
    the same job.

    Raises NotAllowed, InvalidParameters (also a path outside the allowed folders, a pickle), InvalidState (a licence
    that forbids commercial use; something else is being done with that name), LimitExceeded.
    """
    _allow(user, ADD)
    values = {name: str(getattr(addition, name)).strip() for name in ("licence", "source", "base")}
    for name, most in LONGEST.items():
        if len(str(getattr(addition, name))) > most:
            text = _("At most %(n)d characters.") % {"n": most}
            raise InvalidParameters(text, fields={name: [text]})
    large_models.require_description(
        name=addition.name, licence=values["licence"], commercial=addition.commercial, source=values["source"]
    )
    path = require_allowed(addition.path)
    params = {**values, "path": path, "commercial": addition.commercial, "small": False, "bytes": 0}
    return _ask("add", addition.name, params, user)


def ask_verification(*, name: str, user: Any) -> Job:
    """Have a model's files hashed and compared. A second click while the first is under way gives the same job.

    Raises NotAllowed, NotFound; InvalidState (one that ships, one that was never added, something else is being done
    with it); LimitExceeded.
    """
    _allow(user, VERIFY)
    model = _own(name)
    if not model.sha256:
        raise InvalidState(
            _("%(name)s has no manifest, so nobody knows what its files should be. Add it by its folder.")
            % {"name": name}
        )
    return _ask("verify", name, {"small": model.small, "bytes": model.bytes}, user)


def ask_removal(*, name: str, user: Any) -> Job:
    """Have a model's name taken away (a small network: deleted). A second click gives the same job.

    Raises NotAllowed, NotFound; InvalidState (one that ships, something else is being done with it); LimitExceeded.
    """
    _allow(user, REMOVE)
    model = _own(name)
    return _ask("remove", name, {"small": model.small, "bytes": 0}, user)


def ask_look(*, user: Any) -> Job:
    """Have a worker write down which models its machine has. Raises NotAllowed, LimitExceeded."""
    _allow(user, VERIFY)
    return _ask("look", "", {"small": False, "bytes": 0}, user)


def may(user: Any, codename: str) -> bool:
    return bool(user.has_perm(f"shopgen.{codename}"))


def _allow(user: Any, codename: str) -> None:
    if not may(user, codename):
        raise NotAllowed(_("You may not do this with models."))


def _own(name: str) -> Supplied:
    model = get_supplied(name)
    require_own(model)
    return model


def _ask(verb: str, name: str, params: dict[str, Any], user: Any) -> Job:
    """One request at a time for a name: the one that is under way, or a new one."""
    plan = Planned(
        operation=get_operation(ModelFiles.name), inputs=(), target=Target(), model=None, seconds=1.0, outputs=0,
        params={"verb": verb, "name": name, "asked_by": str(user.pk), **params},
    )
    with transaction.atomic():
        keep_limits(user)  # under a lock, so that two clicks at once don't make two jobs
        active = Job.objects.active().filter(operation=ModelFiles.name, params__name=name).first()
        if active is None:
            job = write_job(plan, user, "", "", 0, None)
            ring(job)
            return job
    request = {key: value for key, value in plan.params.items() if key not in {"asked_by", "bytes"}}
    if any(active.params.get(key) != value for key, value in request.items()):
        raise InvalidState(
            _("A worker is asked to do something else with %(name)s already. Wait until that is done.")
            % {"name": name}
        )
    return active


# -- doing ----------------------------------------------------------------------------------------


def work(params: Mapping[str, Any], *, report: Report, check: Check) -> None:
    """Do what was asked for, on this machine. Doing it twice is doing it once.

    Raises the reasons why it can't be done, which end the job; they stand on the model's row as well.
    """
    name, user = str(params["name"]), _person(params.get("asked_by"))
    if user is None or not may(user, NEEDED[params["verb"]]):  # it may have waited for long, or been tried again
        raise NotAllowed(_("Whoever asked for this may no longer do it."))
    if params["verb"] == "look":
        look()
    elif params["verb"] == "add":
        _add(params, user, report, check)
    elif params["verb"] == "verify":
        verify(name, user=user, report=report, check=check)
    else:
        remove(name)


def look() -> int:
    """Write down which models this machine has; gives their number."""
    found = look_around()
    for facts in found:
        record(facts)
    gone = SuppliedModel.objects.filter(host=this_host()).exclude(name__in=[facts.name for facts in found])
    gone.update(problem=_("It is no longer in the folder of models of %(host)s.") % {"host": this_host()})
    return len(found)


def _add(params: Mapping[str, Any], user: Any, report: Report, check: Check) -> None:
    folder = find_folder(str(params["path"]))
    model = large_models.add_model(
        folder, name=str(params["name"]), licence=str(params["licence"]), commercial=bool(params["commercial"]),
        source=str(params["source"]), base=str(params.get("base") or ""), check=check,
        report=lambda share: report(share, "hash"),
    )
    record_added(model.name, user=user)


def record_added(name: str, *, user: Any = None) -> None:
    """Write down a model that was added this moment: its files were hashed for that, so they count as verified."""
    facts = look_at(name)
    if facts is not None:
        record(facts, added_by=user, checked=True, checked_by=user)


def record_verified(name: str, *, user: Any = None, fault: str = "") -> None:
    """Write down what hashing a model's files on this machine has found; ``fault``: "" when all are as they were."""
    facts = look_at(name)
    if facts is not None:
        record(facts, checked=True, checked_by=user, fault=fault)


def verify(
    name: str, *, user: Any = None, report: Report = lambda share, stage="": None, check: Check = lambda: None
) -> None:
    """Hash a model's files on this machine and write the result down.

    Raises NotFound when this machine has no such model; InvalidState with what is wrong.
    """
    if look_at(name) is None:
        text = _("%(host)s has no model %(name)s in its folder of models.") % {"host": this_host(), "name": name}
        SuppliedModel.objects.filter(name=name, host=this_host()).update(problem=text)
        raise NotFound(text)
    try:
        _verify_files(name, report, check)
    except (InvalidState, PermanentError) as error:
        record_verified(name, user=user, fault=str(error))
        raise
    record_verified(name, user=user)


def _verify_files(name: str, report: Report, check: Check) -> None:
    model = large_models.find_model(name)
    if model is not None:
        large_models.verify_model(model, check=check, report=lambda share: report(share, "hash"))
    else:
        networks.verify_network(networks.get_network(name))


def remove(name: str) -> None:
    """Take the name away on this machine; nothing happens when it is gone already.

    Raises InvalidState for a folder that lies in the folder of models itself; NotFound when another machine has it.
    """
    elsewhere = SuppliedModel.objects.filter(name=name).exclude(host=this_host()).first()
    if look_at(name) is None and elsewhere is not None:
        raise NotFound(
            _("%(host)s has no model %(name)s; it was last seen on %(other)s. Run manage.py shopgen_model remove "
              "%(name)s there, or anywhere when that machine is gone.")
            % {"host": this_host(), "name": name, "other": elsewhere.host}
        )
    remove_files(name)
    forget(name)


def remove_files(name: str) -> bool:
    """As :func:`remove`, of the files alone; whether there were any."""
    model = large_models.find_model(name)
    if model is not None:
        large_models.remove_model(model)
        return True
    network = networks.find_network(name)
    if network is not None:
        networks.remove_network(network)
    return network is not None


def _person(key: Any) -> Any:
    return get_user_model().objects.filter(pk=key).first() if key else None
