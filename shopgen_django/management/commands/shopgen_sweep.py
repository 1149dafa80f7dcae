"""``manage.py shopgen_sweep``: put right what crashes left behind (for cron, next to or instead of the supervisor)."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from shopgen_django.jobs.files import sweep_files
from shopgen_django.jobs.queue import get_queue
from shopgen_django.jobs.rings import ring_missing
from shopgen_django.jobs.sweeper import sweep
from shopgen_django.management.tables import require_tables


class Command(BaseCommand):
    help = (
        "Give back or fail the jobs of lost workers, ring for jobs that wait unheard, set unreadable messages aside, "
        "mark lost training runs, remove files of lost attempts. Safe to run at any time, as often as you like."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--ring-all", action="store_true", help="Ring for every ready job now (after SECRET_KEY was changed)."
        )
        parser.add_argument(
            "--put-back", action="store_true", help="Queue set-aside messages again that can be read by now."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        require_tables()
        swept = sweep()
        recovered = swept.recovered
        rung = recovered.rung + (ring_missing(older_than=0.0) if options["ring_all"] else 0)
        self.stdout.write(
            f"Jobs of lost workers: {recovered.requeued} back in the queue, {recovered.failed} failed, "
            f"{recovered.cancelled} cancelled. Rung: {rung}. Expired: {swept.expired}. "
            f"Training runs lost: {swept.lost_runs}. Unreadable messages set aside: {swept.set_aside}. "
            f"Files without a row removed: {sweep_files()}."
        )
        if options["put_back"]:
            self.stdout.write(f"Messages put back: {get_queue().put_back()}.")
