"""``manage.py evaluate_model``: how good is a model? Figures, floors, ladders, neighbours, and a report page."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser, DjangoHelpFormatter

from shopgen_django.exceptions import ShopgenError
from shopgen_django.jobs.version_files import local_folder, share_pictures
from shopgen_django.management.tables import require_tables
from shopgen_django.ml import files
from shopgen_django.ml.errors import MLError
from shopgen_django.ml.evaluate import add_options
from shopgen_django.ml.evaluation.results import EVALUATION
from shopgen_django.models import ModelVersion
from shopgen_django.services.evaluations import find_version, record_evaluation

EXAMPLES = """examples:
  the newest version of a model against the photos it was trained on:
      manage.py evaluate_model generator
  one version against photos it has never seen:
      manage.py evaluate_model "generator v3" --source other-photos
  an output folder, or pictures that something else made:
      manage.py evaluate_model runs/first
      manage.py evaluate_model made/ --source photos --output judged
"""


class _Formatter(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Django's order of options, with the examples as they are written."""


class Command(BaseCommand):
    help = (
        "Compare a model's pictures with real ones. Writes evaluation.json and report.html, and keeps the figures on "
        "the model version."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.formatter_class = _Formatter
        parser.epilog = EXAMPLES
        parser.add_argument(
            "model", metavar="NAME|VERSION|FOLDER",
            help='a model version ("generator", "generator v3", its id), or a folder',
        )  # fmt: skip
        add_options(parser)

    def handle(self, *, model: str, **options: Any) -> None:
        # Before PyTorch is imported: see the function.
        from shopgen_django.ml.train import set_thread_policy

        set_thread_policy()
        from shopgen_django.ml.evaluate import Request, run

        require_tables()
        folder, version = self._folder(model)
        chosen = {f.name: options[f.name] for f in fields(Request) if f.name != "folder"}
        request = Request(folder=folder, **chosen)
        try:
            run(request, self.stdout.write)
        except (MLError, OSError) as error:
            raise CommandError(str(error)) from error
        values = files.read_json(request.target / EVALUATION)
        for row in [version] if version is not None else self._registered(folder, values):
            record_evaluation(version=row, values=values)
            share_pictures(row, request.target)
            self.stdout.write(f"Kept on {row}.")

    def _folder(self, model: str) -> tuple[Path, ModelVersion | None]:
        path = Path(model)
        if path.exists():
            return path, None
        version = find_version(model)
        if version is None:
            known = ", ".join(ModelVersion.objects.order_by("name").values_list("name", flat=True).distinct()[:10])
            raise CommandError(
                f"{model} is neither a folder nor a model version. "
                + (f"There are versions of: {known}." if known else "No model is registered yet.")
            )
        try:
            return local_folder(version), version
        except ShopgenError as error:
            raise CommandError(str(error)) from error

    def _registered(self, folder: Path, values: dict[str, Any]) -> list[ModelVersion]:
        """Versions that were registered with exactly these weights."""
        return list(ModelVersion.objects.filter(folder=str(folder.resolve()), weights_sha256=values["model_sha256"]))
