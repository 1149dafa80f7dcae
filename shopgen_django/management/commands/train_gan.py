"""``manage.py train_gan``: train a generator on the shop's photos or a folder, visible in the admin while it goes."""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser, DjangoHelpFormatter

from shopgen_django.catalogues.registry import get_catalogue
from shopgen_django.conf import app_settings
from shopgen_django.engines import get_engine
from shopgen_django.engines.cutout import Cutout
from shopgen_django.exceptions import ShopgenError
from shopgen_django.management.tables import require_tables
from shopgen_django.ml.config import AUTO, BASE, SCRATCH
from shopgen_django.ml.errors import MLError
from shopgen_django.ml.options import add_options, config_from_options
from shopgen_django.ml.progress import ProgressView
from shopgen_django.models.choices import RunState
from shopgen_django.services.models import folder_to_begin_with, register_version
from shopgen_django.services.training import RunFollower, export_photos, finish_run

if TYPE_CHECKING:
    from shopgen_django.ml.config import TrainConfig
    from shopgen_django.ml.loop import TrainResult

CATALOGUE = "catalogue"
EXAMPLES = """examples:
  the shop's own photos, half an hour, then used by the shop's staff:
      manage.py train_gan --minutes 30 --activate
  phone photos: put each product on white first; only two categories:
      manage.py train_gan --prepare white --category Dress Skirt --name dresses --minutes 30
  a folder instead of the shop:
      manage.py train_gan --source photos/ --output runs/first --images-seen 500000
  go on from an earlier model with this season's photos:
      manage.py train_gan --name autumn --init spring --minutes 10
  what would it do, and how long would it take:
      manage.py train_gan --minutes 30 --dry-run
Ctrl-C saves; running the same command again goes on where it stopped.
"""


class _Formatter(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Django's order of options, with the examples as they are written."""


class Command(BaseCommand):
    help = (
        "Train a generator of product pictures on the shop's photos or on a folder. The run shows in the admin while "
        "it goes and ends as a model version."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.formatter_class = _Formatter
        parser.epilog = EXAMPLES
        from shopgen_django.ml.train import add_run_options

        shop = parser.add_argument_group("shop")
        shop.add_argument("--name", default="generator", help="name of the model and of the run (default: %(default)s)")
        shop.add_argument(
            "--catalogue",
            default="default",
            metavar="ALIAS",
            help="which catalogue to read (default: %(default)s)",
        )
        shop.add_argument(
            "--activate", action="store_true", help="make the model the one in use when the run is finished"
        )
        add_options(parser)
        parser.set_defaults(source=CATALOGUE)
        add_run_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        # Before PyTorch is imported: see the function.
        from shopgen_django.ml.train import set_thread_policy

        set_thread_policy()
        view = ProgressView(self.stdout, terminal=self.stdout.isatty() and options["verbosity"] > 0)
        try:
            if options["dry_run"]:
                self._dry_run(options, view)
            else:
                self._train(options, view)
        except (MLError, ShopgenError, ImproperlyConfigured) as error:
            view.close()
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            view.close()
            raise CommandError("Interrupted at once; the last snapshot is kept.", returncode=130) from None

    def _dry_run(self, options: dict[str, Any], view: ProgressView) -> None:
        from shopgen_django.ml.estimate import describe, estimate

        with tempfile.TemporaryDirectory(prefix="train-gan-") as temporary:
            config = self._config(options, Path(temporary), view)
            view.line(describe(estimate(config)))

    def _train(self, options: dict[str, Any], view: ProgressView) -> None:
        require_tables()
        config = self._config(options, app_settings.root / "training" / "photos" / _folder_name(options["name"]), view)
        category = config.category[0] if len(config.category) == 1 else ""
        follower = RunFollower(name=options["name"], category=category)
        result = self._run(config, follower, view, fresh=options["fresh"])
        run = follower.run
        assert run is not None
        stopped = result.outcome == "stopped"
        finish_run(run=run, state=RunState.STOPPED if stopped else RunState.SUCCEEDED, images_seen=result.images_seen)
        view.line(_summary(result))
        version = register_version(
            folder=result.folder,
            name=options["name"],
            category=category,
            run=run,
            activate=options["activate"] and not stopped,
            metrics=_figures_of(result),
        )
        state = "active" if version.is_active else "not active"
        view.line(f"Registered as {version} ({state}{f', for {category}' if category else ''}).")
        if stopped and options["activate"]:
            view.line("It is not activated, since the run is not finished.")

    def _run(self, config: TrainConfig, follower: RunFollower, view: ProgressView, *, fresh: bool) -> TrainResult:
        from shopgen_django.ml.loop import RunInfo, Tick, train
        from shopgen_django.ml.runtime import stop_on_signals
        from shopgen_django.ml.train import opening_lines

        def start(info: RunInfo) -> None:
            follower.on_start(info)
            for line in opening_lines(info):
                view.line(line)

        def tick(now: Tick) -> None:
            follower.on_tick(now)
            view.tick(now.images_seen, now.seconds, now.progress, now.values)

        def progress(share: float, images_seen: int, seconds: float) -> None:
            follower.on_progress(share, images_seen, seconds)
            view.progress(share, images_seen, seconds)

        try:
            with stop_on_signals() as flag:
                result = train(
                    config,
                    on_start=start,
                    on_tick=tick,
                    on_sample=follower.on_sample,
                    on_progress=progress,
                    on_decode=view.decoding,
                    on_note=view.line,
                    should_stop=flag,
                    fresh=fresh,
                )
        except BaseException as error:
            _close(follower, error)
            raise
        view.close()
        return result

    def _config(self, options: dict[str, Any], photos: Path, view: ProgressView) -> TrainConfig:
        name = options["name"].strip()
        if not name or len(name) > 100:
            raise CommandError("--name needs 1 to 100 characters.")
        output = options["output"] or str(app_settings.root / "training" / _folder_name(name))
        overrides: dict[str, Any] = {"output": output, "threads": options["threads"] or app_settings.LIMITS["THREADS"]}
        if options["init"] not in (AUTO, BASE, SCRATCH) and not Path(options["init"]).is_dir():
            folder = folder_to_begin_with(name=options["init"])
            overrides |= {} if folder is None else {"init": str(folder)}
        if options["prepare"] == "white" and not options["cutout"]:
            overrides |= _cutout_network()
        if options["source"] == CATALOGUE:
            exported = export_photos(
                catalogue=get_catalogue(options["catalogue"]),
                folder=photos,
                categories=tuple(options["category"] or ()),
            )
            notes = [f"{exported.photos} photos from the catalogue"]
            notes += [f"{exported.without_picture} products without a photo"] if exported.without_picture else []
            notes += [f"{exported.missing} missing files"] if exported.missing else []
            notes += [f"{exported.made} made by a model, left out"] if exported.made else []
            view.line(", ".join(notes))
            overrides["source"] = str(exported.folder)
        return config_from_options(options, **overrides)


def _cutout_network() -> dict[str, Any]:
    """The network that the shop's cut-outs use, when there is one."""
    engine = get_engine("cutout")
    folder = engine.folder() if isinstance(engine, Cutout) else None
    return {} if folder is None else {"cutout": str(folder)}


def _close(follower: RunFollower, error: BaseException) -> None:
    """Say on the row why the run ended, then let the error go on its way."""
    if follower.run is None:
        return
    if isinstance(error, KeyboardInterrupt):
        finish_run(run=follower.run, state=RunState.STOPPED)
        return
    reason = str(error) if isinstance(error, MLError | ShopgenError) else f"{type(error).__name__}: {error}"
    finish_run(run=follower.run, state=RunState.FAILED, error=reason or type(error).__name__)


def _summary(result: TrainResult) -> str:
    from shopgen_django.ml.train import summary

    return summary(result)


def _figures_of(result: TrainResult) -> dict[str, Any]:
    """The figures of the model that is served, which need not be the run's last one."""
    from shopgen_django.ml.files import read_json
    from shopgen_django.ml.folder import CARD

    card = read_json(result.folder / CARD)
    if int(card["images_seen"]) == result.images_seen:
        return result.latest
    return dict(card["metrics"])


def _folder_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "model"
