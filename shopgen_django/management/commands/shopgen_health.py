"""``manage.py shopgen_health``: exit 0 while the work goes on, 1 when a person or a supervisor should look."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from shopgen_django.jobs.health import QueueHealth, queue_health
from shopgen_django.management.tables import require_tables


class Command(BaseCommand):
    help = "Say for each queue whether its work goes on. Exit 0: yes. Exit 1: no worker, or jobs that nobody takes."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="One JSON object per queue and line.")

    def handle(self, *args: Any, **options: Any) -> None:
        require_tables()
        healths = queue_health()
        for health in healths:
            self.stdout.write(json.dumps(asdict(health)) if options["json"] else _line(health))
        if not all(health.ok for health in healths):
            raise SystemExit(1)


def _line(health: QueueHealth) -> str:
    return (
        f"{health.queue}: {'ok' if health.ok else 'NOT OK'}. {health.status} Ready {health.ready}"
        + (f" (oldest for {health.oldest_ready_seconds:.0f} s)" if health.oldest_ready_seconds is not None else "")
        + f", running {health.running}, lost leases {health.lost}, workers alive {health.workers_alive}"
        + (f" (last sign {health.last_beat_seconds:.0f} s ago)" if health.last_beat_seconds is not None else "")
        + "."
    )
