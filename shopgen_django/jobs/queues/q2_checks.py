"""Settings of django-q2 that lose work, do it twice or stop it, found before they do harm. Reads settings alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004
from django.utils.connection import ConnectionDoesNotExist

from shopgen_django.conf import app_settings, usable_cores
from shopgen_django.jobs.queue import BURST_SECONDS
from shopgen_django.jobs.rings import longest_job
from shopgen_django.models import JobQueue

if TYPE_CHECKING:
    from .q2 import Q2Queue

RETRY_MARGIN = 10
_GUARD_BUFFER = 3  # seconds that django-q2 adds to a task's timeout before its guard acts


def check_q2(queue: Q2Queue) -> list[CheckMessage]:
    """Everything that is wrong with ``Q_CLUSTER`` and its surroundings for our jobs."""
    conf = getattr(settings, "Q_CLUSTER", None)
    if not apps.is_installed("django_q") or not isinstance(conf, Mapping):
        return [
            Error(
                "django-q2 is not set up: INSTALLED_APPS needs 'django_q' and the settings need a Q_CLUSTER dict.",
                hint="Add both (docs/workers.md has a Q_CLUSTER to copy), then run manage.py migrate.",
                id="shopgen.E001",
            )
        ]
    found: list[CheckMessage] = []
    served = list(dict.fromkeys([JobQueue.CPU.value, str(app_settings.ACCELERATED_QUEUE)]))
    for kind in served:
        name = queue.cluster(kind)
        own = cluster_conf(conf, name)
        if own is None:
            found.append(
                Error(
                    f'The cluster "{name}" of the {kind} queue is not in Q_CLUSTER["ALT_CLUSTERS"].',
                    hint=f'Add "{name}" to Q_CLUSTER["ALT_CLUSTERS"], or name another cluster in '
                    f'SHOPGEN["QUEUE"]["OPTIONS"]["{kind.upper()}"].',
                    id="shopgen.E006",
                )
            )
            continue
        found += _check_cluster(name, own)
    return [*found, *_check_broker(conf), *_check_surroundings(conf)]


def cluster_conf(conf: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """The settings that the cluster ``name`` runs with (as django-q2 merges them); None when there is no such one."""
    if name in {conf.get("cluster_name"), conf.get("name", "default")}:
        return dict(conf)
    own = (conf.get("ALT_CLUSTERS") or {}).get(name)
    return {**conf, **own} if isinstance(own, Mapping) else None


def longest_timeout(conf: Mapping[str, Any]) -> int:
    """Seconds that one message of this cluster may take: its own timeout, and the limits of our operations."""
    own = conf.get("timeout")
    return max(longest_job() + BURST_SECONDS, own if isinstance(own, int) else 0)


def needed_retry(conf: Mapping[str, Any]) -> int:
    """The smallest safe ``retry``: the lock on a message starts when it is fetched, so its wait counts as well."""
    workers = _workers(conf)
    waiting = _queue_limit(conf) + _whole(conf.get("bulk", 1), 1)
    return longest_timeout(conf) * (1 + math.ceil(waiting / workers)) + RETRY_MARGIN


def _workers(conf: Mapping[str, Any]) -> int:
    return _whole(conf.get("workers"), 0) or usable_cores()


def _queue_limit(conf: Mapping[str, Any]) -> int:
    return _whole(conf.get("queue_limit", _workers(conf) ** 2), 0)


def _whole(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default


def _check_cluster(name: str, conf: Mapping[str, Any]) -> Iterator[CheckMessage]:
    where = f'Q_CLUSTER (cluster "{name}")'
    timeout = conf.get("timeout")
    if not isinstance(timeout, int) or isinstance(timeout, bool) or timeout <= 0:
        yield Error(
            f"{where}: timeout must be a whole number of seconds, not {timeout!r}.",
            hint="A fraction makes django-q2 fail every task; without a limit a worker that hangs is never replaced.",
            id="shopgen.E004",
        )
    if conf.get("queue_limit", 1) == 0:
        yield Error(
            f"{where}: queue_limit 0 means no limit: one cluster swallows every message, and they wait there unseen.",
            hint='Set "queue_limit": 1.', id="shopgen.E005",
        )
    retry, needed = conf.get("retry", 60), needed_retry(conf)
    if not isinstance(retry, (int, float)) or retry < needed:
        yield Error(
            f"{where}: retry is {retry!r}; with these settings messages are delivered twice unless it is at least "
            f"{needed}.",
            hint="retry > longest timeout x (1 + (queue_limit + bulk) / workers) + 10. Raise retry, or lower timeout, "
            "SHOPGEN['JOBS']['HARD_TIMEOUT_SECONDS'], queue_limit or bulk.",
            id="shopgen.E002",
        )
    cycle = conf.get("guard_cycle", 0.5)
    if not _guard_cycle_works(cycle, timeout):
        yield Error(
            f"{where}: with guard_cycle {cycle!r} the hard time limit never strikes.",
            hint="django-q2 counts timeout + 3 down by guard_cycle and looks for exactly 0: use 0.25, 0.5 or 1.",
            id="shopgen.E003",
        )
    if conf.get("max_attempts", 0) != 1 or conf.get("ack_failures", False) is not True:
        yield Warning(
            f"{where}: django-q2 would repeat failed messages by itself; shopgen's job table does the repeating.",
            hint='Set "max_attempts": 1 and "ack_failures": True.', id="shopgen.W005",
        )
    if conf.get("catch_up", True) is not False:
        yield Warning(
            f"{where}: after a pause, schedules are made up for, one run for each that was missed.",
            hint='Set "catch_up": False.', id="shopgen.W003",
        )


def _guard_cycle_works(cycle: Any, timeout: Any) -> bool:
    """Whether counting down in steps of ``cycle`` in 32-bit floats hits zero: binary fractions that divide it."""
    if isinstance(cycle, bool) or not isinstance(cycle, (int, float)) or not 0 < cycle < _GUARD_BUFFER:
        return False
    if not float(cycle * 1024).is_integer():
        return False
    if not isinstance(timeout, int):
        return True
    return float((timeout + _GUARD_BUFFER) / cycle).is_integer()


def _check_broker(conf: Mapping[str, Any]) -> Iterator[CheckMessage]:
    alias = conf.get("orm")
    if not alias:
        yield Warning(
            "django-q2's broker is not the database: messages are lost when a worker or the broker dies.",
            hint='Set Q_CLUSTER["orm"] to "default". Lost messages are only made good by the next sweep.',
            id="shopgen.W001",
        )
        return
    try:
        database = _database(str(alias))
    except ConnectionDoesNotExist:
        yield Error(
            f'Q_CLUSTER["orm"] names the database {alias!r}, which is not in DATABASES.',
            hint='Set Q_CLUSTER["orm"] to "default".', id="shopgen.E007",
        )
        return
    if "sqlite" in database["ENGINE"] and database.get("OPTIONS", {}).get("transaction_mode") != "IMMEDIATE":
        yield Warning(
            "SQLite without transaction_mode IMMEDIATE: with workers running, writes fail with “database is locked”.",
            hint='DATABASES["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE", "timeout": 20, '
            '"init_command": "PRAGMA journal_mode=WAL"}. Use PostgreSQL in production.',
            id="shopgen.W002",
        )
    if "sqlite" not in database["ENGINE"] and database.get("CONN_MAX_AGE", 0) == 0:
        yield Warning(
            "CONN_MAX_AGE is 0: workers connect to the database anew for every job.",
            hint=f'Set DATABASES["{alias}"]["CONN_MAX_AGE"] to 60.', id="shopgen.W006",
        )


def _check_surroundings(conf: Mapping[str, Any]) -> Iterator[CheckMessage]:
    cache = settings.CACHES.get(conf.get("cache", "default"), {})
    if settings.DEBUG is False and str(cache.get("BACKEND", "")).endswith("LocMemCache"):
        yield Warning(
            "django-q2 keeps its figures in a cache that each process has to itself; qmonitor and qinfo show nothing.",
            hint="Use a shared cache (database, file, Redis), or look at manage.py shopgen_health instead.",
            id="shopgen.W004",
        )
    if conf.get("sync"):
        yield Error(
            "Q_CLUSTER['sync'] runs every job inside the process that queues it, also inside web requests.",
            hint="Remove it; tests can use shopgen_django.jobs.queues.immediate.ImmediateQueue.", id="shopgen.E008",
        )


def _database(alias: str) -> Mapping[str, Any]:
    from django.db import connections

    return connections[alias].settings_dict
