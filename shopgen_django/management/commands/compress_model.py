"""``manage.py compress_model``: a trained model made smaller and faster, measured, and registered beside it."""

from __future__ import annotations

import argparse
import re
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser, DjangoHelpFormatter

from shopgen_django.conf import app_settings
from shopgen_django.exceptions import ShopgenError
from shopgen_django.jobs.version_files import local_folder
from shopgen_django.management.tables import require_tables
from shopgen_django.ml.compression.config import add_options, config_from
from shopgen_django.ml.errors import MLError
from shopgen_django.ml.progress import ProgressView
from shopgen_django.models import ModelVersion
from shopgen_django.services.models import register_version, trainable_version, version_of_folder

if TYPE_CHECKING:
    from shopgen_django.ml.compression.run import Compressed

EXAMPLES = """examples:
  the shop's model at a quarter of the operations, on onnxruntime, used from then on:
      manage.py compress_model generator --activate
  a certain version; channels cut out; ten minutes of learning from it:
      manage.py compress_model "generator v3" --method prune int8 --minutes 10
  the network as it is, only without PyTorch:
      manage.py compress_model generator --method export --activate
"""


class _Formatter(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Django's order of options, with the examples as they are written."""


class Command(BaseCommand):
    help = (
        "Make a trained model smaller and faster: distilled or pruned, on onnxruntime without PyTorch, in 8 bit where "
        "that pays. Prints what it cost and gained, and registers the result as a model version."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.formatter_class = _Formatter
        parser.epilog = EXAMPLES
        parser.add_argument(
            "model", metavar="MODEL", help='a model\'s name, "name v3" for a certain version, or a folder'
        )
        shop = parser.add_argument_group("shop")
        shop.add_argument("--name", help="name of the new version (default: the model's own)")
        shop.add_argument("--output", metavar="DIR", help="folder for it (default: beside the training runs)")
        shop.add_argument("--activate", action="store_true", help="make it the one in use")
        add_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        # Before PyTorch is imported: see the function.
        from shopgen_django.ml.train import set_thread_policy

        set_thread_policy()
        require_tables()
        view = ProgressView(self.stdout, terminal=self.stdout.isatty() and options["verbosity"] > 0)
        try:
            self._compress(options, view)
        except (MLError, ShopgenError, ImproperlyConfigured) as error:
            view.close()
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            view.close()
            raise CommandError("Interrupted at once; nothing was registered.", returncode=130) from None

    def _compress(self, options: dict[str, Any], view: ProgressView) -> None:
        from shopgen_django.ml.compress import run

        folder, teacher = _find(options["model"])
        name = (options["name"] or (teacher.name if teacher else folder.name)).strip()
        if not name or len(name) > 100:
            raise CommandError("--name needs 1 to 100 characters.")
        output = options["output"] or _unused("-".join([name, *options["methods"]]))
        config = config_from(
            options, folder=str(folder), output=str(output),
            threads=options["threads"] or app_settings.LIMITS["THREADS"],
        )  # fmt: skip
        made: Compressed = run(config, view)
        version = register_version(
            folder=made.folder, name=name, category=teacher.category if teacher else "", teacher=teacher,
            licence=teacher.licence if teacher else "", metrics=made.metrics, activate=options["activate"],
        )  # fmt: skip
        origin = f", compressed from {teacher}" if teacher else ""
        view.line(f"Registered as {version} ({'active' if version.is_active else 'not active'}{origin}).")


def _find(text: str) -> tuple[Path, ModelVersion | None]:
    """The folder that the argument means, and its version where it is registered."""
    folder = Path(text)
    if folder.is_dir():
        return folder, version_of_folder(folder=folder)
    version = trainable_version(name=text)
    if version is None:
        names = sorted(set(ModelVersion.objects.values_list("name", flat=True)))
        have = f"There are: {', '.join(names[:20])}." if names else "No model is registered yet; see train_gan."
        raise CommandError(f"There is no model and no folder {text!r}. {have}")
    return local_folder(version), version


def _unused(name: str) -> Path:
    """A new folder: one that holds a registered version must not be written over."""
    stem = re.sub(r"[^\w.-]+", "-", name).strip(".-") or "model"
    root = app_settings.root / "compressed"
    return next(folder for number in count(1) if not (folder := root / f"{stem}-{number}").exists())
