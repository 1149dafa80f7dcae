"""``manage.py shopgen_retention``: delete what has been kept long enough."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from shopgen_django.management.tables import require_tables
from shopgen_django.services.retention import apply_retention


class Command(BaseCommand):
    help = "Delete old jobs, rejected pictures, training figures and files without a row, as SHOPGEN['RETENTION'] says."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only say how much would go.")

    def handle(self, *args: Any, **options: Any) -> None:
        require_tables()
        removed = apply_retention(dry_run=options["dry_run"])
        verb = "Would remove" if options["dry_run"] else "Removed"
        self.stdout.write(
            f"{verb} {removed.jobs} jobs, {removed.images} rejected pictures, {removed.texts} rejected texts, "
            f"{removed.metric_points} training figures, {removed.messages} unreadable messages, "
            f"{removed.usage} entries of use"
            + ("." if options["dry_run"] else f", {removed.files} files without a row.")
        )
