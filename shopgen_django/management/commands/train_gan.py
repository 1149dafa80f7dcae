"""``manage.py train_gan``: train a generator on the shop's photos or a folder, visible in the admin while it goes."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser, DjangoHelpFormatter
from django.utils.translation import gettext as _

from shopgen_django.catalogues.registry import get_catalogue
from shopgen_django.conf import app_settings
from shopgen_django.engines import get_engine
from shopgen_django.engines.cutout import Cutout
from shopgen_django.engines.memory import free_bytes
from shopgen_django.exceptions import ShopgenError
from shopgen_django.management.tables import require_tables
from shopgen_django.ml.config import AUTO, BASE, SCRATCH
from shopgen_django.ml.errors import MLError
from shopgen_django.ml.options import add_options, config_from_options
from shopgen_django.ml.progress import ProgressView
from shopgen_django.ml.sources import LABELS_FILE
from shopgen_django.models import TrainingRun
from shopgen_django.models.choices import RunState
from shopgen_django.services.models import folder_to_begin_with, register_version
from shopgen_django.services.training import Export, RunFollower, RunStopped, export_photos, finish_run
from shopgen_django.services.trainings import (
    folder_name,
    options_of,
    photos_folder,
    record_estimate,
    refuse_estimate,
    stand_back,
    take_up,
    wait_again,
)

if TYPE_CHECKING:
    from shopgen_django.ml.config import TrainConfig
    from shopgen_django.ml.estimate import Estimate
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
        shop.add_argument("--run", metavar="ID", help=argparse.SUPPRESS)  # what shopgen_worker starts trainings with
        add_options(parser)
        parser.set_defaults(source=CATALOGUE)
        add_run_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        # Before PyTorch is imported: see the function.
        from shopgen_django.ml.train import set_thread_policy

        set_thread_policy()
        view = ProgressView(self.stdout, terminal=self.stdout.isatty() and options["verbosity"] > 0)
        try:
            ordered = None
            if options["run"]:
                stand_back()
                require_tables()
                ordered = take_up(key=options["run"], estimate=options["dry_run"])
                options = options_of(ordered, options)
            if options["dry_run"]:
                self._dry_run(options, view, ordered)
            else:
                self._train(options, view, ordered)
        except RunStopped as error:  # that is no failure: somebody wanted it so
            view.close()
            view.line(str(error))
        except (MLError, ShopgenError, ImproperlyConfigured) as error:
            view.close()
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            view.close()
            raise CommandError("Interrupted at once; the last snapshot is kept.", returncode=130) from None

    def _dry_run(self, options: dict[str, Any], view: ProgressView, ordered: TrainingRun | None) -> None:
        from shopgen_django.ml.estimate import describe, estimate

        if ordered is None:
            with tempfile.TemporaryDirectory(prefix="train-gan-") as temporary:
                view.line(describe(estimate(self._config(options, Path(temporary), view)[0])))
            return
        try:
            config, exported = self._config(options, photos_folder(ordered), view)
            found = estimate(config)
        except BaseException as error:
            refuse_estimate(run=ordered, reason=_reason(error))
            raise
        view.line(describe(found))
        record_estimate(run=ordered, values=_estimated(found, exported))

    def _train(self, options: dict[str, Any], view: ProgressView, ordered: TrainingRun | None) -> None:
        require_tables()
        category = (options["category"] or [""])[0] if len(options["category"] or ()) == 1 else ""
        follower = RunFollower(name=options["name"], category=category, ordered=ordered)
        photos = app_settings.root / "training" / "photos" / folder_name(options["name"])
        try:
            config, _taken = self._config(options, photos_folder(ordered) if ordered else photos, view, follower)
            result, interrupted = self._run(config, follower, view, fresh=options["fresh"])
        except BaseException as error:
            _close(follower, error)
            raise
        if interrupted and ordered is not None:
            wait_again(run=ordered)
            view.line(_summary(result))
            return
        self._register(options, view, follower, result)

    def _register(
        self, options: dict[str, Any], view: ProgressView, follower: RunFollower, result: TrainResult
    ) -> None:
        run = follower.run
        assert run is not None
        stopped = result.outcome == "stopped"
        finish_run(run=run, state=RunState.STOPPED if stopped else RunState.SUCCEEDED, images_seen=result.images_seen)
        view.line(_summary(result))
        owner = follower.ordered.created_by if follower.ordered else None
        may_activate = owner is None or owner.has_perm("shopgen.activate_modelversion")
        version = register_version(
            folder=result.folder,
            name=options["name"],
            category=run.category,
            run=run,
            activate=options["activate"] and not stopped and may_activate,
            metrics=_figures_of(result),
            user=owner,
        )
        state = "active" if version.is_active else "not active"
        view.line(f"Registered as {version} ({state}{f', for {run.category}' if run.category else ''}).")
        if stopped and options["activate"]:
            view.line("It is not activated, since the run is not finished.")

    def _run(
        self, config: TrainConfig, follower: RunFollower, view: ProgressView, *, fresh: bool
    ) -> tuple[TrainResult, bool]:
        """What came of it, and whether it was only a signal that stopped it, not somebody on the run's page."""
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

        def decoded(done: int, count: int) -> None:
            view.decoding(done, count)
            follower.before_start(_("reading the photos: %(done)d of %(count)d") % {"done": done, "count": count})
            if follower.ordered is not None and flag():
                raise RunStopped(_("Stopped before the first step."))

        with stop_on_signals() as flag:
            result = train(
                config,
                on_start=start,
                on_tick=tick,
                on_sample=follower.on_sample,
                on_progress=progress,
                on_decode=decoded,
                on_note=view.line,
                should_stop=lambda: flag() or follower.stop_asked,
                fresh=fresh,
            )
        view.close()
        return result, result.outcome == "stopped" and not follower.stop_asked

    def _config(
        self, options: dict[str, Any], photos: Path, view: ProgressView, follower: RunFollower | None = None
    ) -> tuple[TrainConfig, Export | None]:
        """The trainer's configuration, and what was taken from the catalogue."""
        name = options["name"].strip()
        if not name or len(name) > 100:
            raise CommandError("--name needs 1 to 100 characters.")
        output = options["output"] or str(app_settings.root / "training" / folder_name(name))
        overrides: dict[str, Any] = {"output": output, "threads": options["threads"] or app_settings.LIMITS["THREADS"]}
        if options["init"] not in (AUTO, BASE, SCRATCH) and not Path(options["init"]).is_dir():
            folder = folder_to_begin_with(name=options["init"])
            overrides |= {} if folder is None else {"init": str(folder)}
        if options["prepare"] == "white" and not options["cutout"]:
            overrides |= _cutout_network()
        exported = None
        if options["source"] == CATALOGUE:
            ordered = follower.ordered if follower else None
            if ordered is None or not (ordered.images_seen and (photos / LABELS_FILE).is_file()):
                exported = self._export(options, photos, view, follower)
            # else it goes on: with the photos that it began with, whatever the shop has changed since
            overrides["source"] = str(photos)
        return config_from_options(options, **overrides), exported

    def _export(
        self, options: dict[str, Any], photos: Path, view: ProgressView, follower: RunFollower | None
    ) -> Export:
        def alive() -> None:
            if follower is not None:
                follower.before_start(_("collecting the photos"))

        exported = export_photos(
            catalogue=get_catalogue(options["catalogue"]),
            folder=photos,
            categories=tuple(options["category"] or ()),
            products=options.get("products", ()),
            on_product=alive,
        )
        notes = [f"{exported.photos} photos from the catalogue"]
        notes += [f"{exported.without_picture} products without a photo"] if exported.without_picture else []
        notes += [f"{exported.missing} missing files"] if exported.missing else []
        notes += [f"{exported.made} made by a model, left out"] if exported.made else []
        view.line(", ".join(notes))
        return exported


def _estimated(found: Estimate, exported: Export | None) -> dict[str, Any]:
    """What a page shows of an estimate; sizes in bytes, times in seconds."""
    root = app_settings.root
    disk = shutil.disk_usage(root).free if root.exists() else None
    values: dict[str, Any] = {
        "photos": found.photos, "skipped": found.skipped, "images": found.images, "seconds": found.seconds,
        "images_per_second": found.images_per_second, "memory_bytes": found.memory_bytes,
        "memory_free": free_bytes(found.config.device), "disk_free": disk,
        "parameters": sum(found.parameters.values()), "size": found.config.size, "device": found.config.device,
        "batch_size": found.config.batch_size, "architecture": found.config.architecture, "init": found.config.init,
        "notes": list(found.notes),
    }  # fmt: skip
    if exported is not None:
        values |= {
            "categories": exported.categories, "without_picture": exported.without_picture,
            "missing": exported.missing, "made": exported.made,
        }  # fmt: skip
    return values


def _reason(error: BaseException) -> str:
    if isinstance(error, MLError | ShopgenError | CommandError):
        return str(error) or type(error).__name__
    return f"{type(error).__name__}: {error}"


def _cutout_network() -> dict[str, Any]:
    """What finds products for the shop's cut-outs finds them here too."""
    engine = get_engine("cutout")
    return {"cutout": engine.network()} if isinstance(engine, Cutout) else {}


def _close(follower: RunFollower, error: BaseException) -> None:
    """Say on the row why the run ended, then let the error go on its way."""
    if follower.run is None:
        return
    if isinstance(error, RunStopped) and follower.ordered is not None and not follower.stop_asked:
        wait_again(run=follower.ordered)
    elif isinstance(error, KeyboardInterrupt | RunStopped):
        finish_run(run=follower.run, state=RunState.STOPPED)
    else:
        finish_run(run=follower.run, state=RunState.FAILED, error=_reason(error))


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
