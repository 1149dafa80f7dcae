"""``manage.py shopgen_worker``: the workers of this machine, started, watched and healed."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from shopgen_django.conf import app_settings
from shopgen_django.management.tables import require_tables
from shopgen_django.models import JobQueue


class Command(BaseCommand):
    help = (
        "Run the workers that do the queued jobs. Starts one django-q2 cluster per queue, restarts it when it dies or "
        "stalls, and stops within half a minute on SIGTERM or Ctrl-C without losing a job."
    )

    # Only shopgen's own checks are run, in the supervisor: the others import the whole site, which workers don't need.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--queues",
            help="Comma-separated: cpu, gpu. Default: cpu, and gpu as well when SHOPGEN['ACCELERATED_QUEUE'] is gpu.",
        )
        parser.add_argument(
            "--until-idle", action="store_true", help="Stop when no job of these queues is waiting or running."
        )
        parser.add_argument("--serve", choices=JobQueue.values, help="Internal: be the workers of one queue.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["serve"]:
            self._serve(options["serve"], options["verbosity"])
            return
        from shopgen_django.checks import TAG
        from shopgen_django.jobs.supervisor import Chore, Supervisor
        from shopgen_django.jobs.trainings import Trainings
        from shopgen_django.jobs.version_files import tidy_versions
        from shopgen_django.services.retention import apply_retention

        self.check(tags=[TAG])
        require_tables()
        queues = self._queues(options["queues"])
        # Trainings belong where the accelerated work is done; a worker that is only to empty the queue starts none.
        trains = app_settings.ACCELERATED_QUEUE in queues and not options["until_idle"]
        Supervisor(
            queues, until_idle=options["until_idle"], say=self._say, verbosity=options["verbosity"],
            trainings=Trainings(self._say) if trains else None,
            chores=[
                Chore(run=apply_retention, seconds=3600.0, due=time.monotonic() + 600.0, beside=True),
                Chore(run=tidy_versions, seconds=3600.0, due=time.monotonic() + 60.0, beside=True),
            ],
        ).run()

    def _queues(self, text: str | None) -> list[str]:
        if text is None:
            return list(dict.fromkeys([JobQueue.CPU.value, app_settings.ACCELERATED_QUEUE]))
        queues = [name.strip() for name in text.split(",") if name.strip()]
        unknown = sorted(set(queues) - set(JobQueue.values))
        if unknown or not queues:
            raise CommandError(
                f"--queues: {', '.join(unknown) or 'nothing'} is no queue. Known are: {', '.join(JobQueue.values)}."
            )
        return list(dict.fromkeys(queues))

    def _say(self, text: str) -> None:
        self.stdout.write(f"{timezone.localtime():%H:%M:%S} shopgen_worker: {text}")
        self.stdout.flush()

    def _serve(self, queue: str, verbosity: int) -> None:
        from shopgen_django.jobs.identity import SUPERVISOR_VARIABLE
        from shopgen_django.jobs.process import die_with
        from shopgen_django.jobs.queue import get_queue

        supervisor = os.environ.get(SUPERVISOR_VARIABLE, "")
        if not supervisor.isdigit():
            raise CommandError("--serve is what shopgen_worker calls itself with; start shopgen_worker without it.")
        die_with(int(supervisor))
        _log(verbosity)
        get_queue().serve(queue)


def _log(verbosity: int) -> None:
    """Show what the workers do when the project's LOGGING says nothing about it."""
    ours = logging.getLogger("shopgen_django")
    if not ours.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        ours.addHandler(handler)
        ours.setLevel(logging.INFO if verbosity else logging.WARNING)
    if verbosity < 2:
        logging.getLogger("django-q").setLevel(logging.WARNING)
