"""``manage.py train_lora``: fine-tune a large model on the shop's own products, visible in the admin while it goes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser, DjangoHelpFormatter

from shopgen_django.catalogues.registry import get_catalogue
from shopgen_django.conf import app_settings
from shopgen_django.engines.lora_training.base import Base
from shopgen_django.engines.lora_training.config import LoraConfig, config_from
from shopgen_django.engines.lora_training.photos import MIN_PHOTOS
from shopgen_django.exceptions import ShopgenError
from shopgen_django.management.tables import require_tables
from shopgen_django.ml.errors import MLError
from shopgen_django.ml.progress import ProgressView, clock
from shopgen_django.models.choices import RunState
from shopgen_django.services.fine_tuning import find_base, gather_photos, refuse_taken_name, register_lora
from shopgen_django.services.training import RunFollower, RunStopped, finish_run

if TYPE_CHECKING:
    from shopgen_django.engines.lora_training.loop import LoraInfo
    from shopgen_django.ml.events import TrainResult

DESCRIPTION = (
    "Fine-tune a large model (Stable Diffusion 1, 2 or XL) on a few photos of one product, or on many of the house "
    "style. What comes of it is a LoRA: a small file laid over the model, registered as a model version. Once in use, "
    "its name works in the parameter “loras” of create, restyle, inpaint and scene."
)
EXAMPLES = f"""examples:
  one product, from a folder of photos ({MIN_PHOTOS} at least, 10 to 30 from several sides are better):
      manage.py train_lora --name blue-mug --photos photos/mug --trigger "zeni mug" --activate
  the same from the shop's catalogue; captions come from the products' titles:
      manage.py train_lora --name blue-mug --search "blue mug" --trigger "zeni mug"
  the house style, from everything in two categories:
      manage.py train_lora --name house-style --category Dress Skirt --trigger "shop style" --steps 3000 \\
          --caption "{{category}}, {{title}}, in {{trigger}}"
  a GPU with little memory:
      manage.py train_lora --name blue-mug --photos photos/mug --checkpointing --batch 1 --accumulate 8
  what would it do:
      manage.py train_lora --name blue-mug --photos photos/mug --dry-run
  go on with one that was stopped or killed (options that are left out are those that it began with):
      manage.py train_lora --name blue-mug
A trigger is best two words that mean little together, so that nothing the model knows already is overwritten.
Ctrl-C saves; running the same command again goes on where it stopped.
"""


class _Formatter(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Django's order of options, with the examples as they are written."""


class Command(BaseCommand):
    help = DESCRIPTION

    def add_arguments(self, parser: CommandParser) -> None:
        parser.formatter_class = _Formatter
        parser.epilog = EXAMPLES
        # No option has a default of its own: what is left out comes from the run that goes on, else from LoraConfig.
        what = parser.add_argument_group("what to learn")
        what.add_argument("--name", default="house-style", help="name of LoRA and run (default: %(default)s)")
        what.add_argument(
            "--base", metavar="MODEL",
            help="the model to fine-tune: a folder, or a name that shopgen_model lists (default: the engine's own "
            "model, which is what the LoRA will be laid over)",
        )
        what.add_argument("--photos", metavar="DIR", help="a folder of photos; without it the shop's catalogue is read")
        what.add_argument("--products", nargs="+", metavar="KEY", help="only these products of the catalogue")
        what.add_argument("--search", metavar="TEXT", help="only products with this in their title")
        what.add_argument("--category", nargs="+", metavar="NAME", help="only products of these categories")
        what.add_argument(
            "--catalogue", default="default", metavar="ALIAS", help="which catalogue to read (default: %(default)s)"
        )
        what.add_argument("--trigger", help="the words that stand for what is learnt (default: the name)")
        what.add_argument(
            "--caption", metavar="TEMPLATE",
            help="what the model is told of each photo, with {trigger}, {title}, {category} (default: “{trigger}, "
            "{title}” with titles, else “a photo of {trigger}”); PHOTO.txt beside PHOTO.jpg goes before it",
        )
        _add_how(parser)
        _add_watching(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        from shopgen_django.ml.train import set_thread_policy

        set_thread_policy()  # before PyTorch is imported: see the function
        view = ProgressView(self.stdout, terminal=self.stdout.isatty() and options["verbosity"] > 0)
        follower = RunFollower(name=options["name"])
        try:
            require_tables()
            refuse_taken_name(options["name"])
            config, base = self._settle(options, view)
            if options["dry_run"]:
                from shopgen_django.engines.lora_training.estimate import describe

                view.line(describe(config, base))
                return
            result = self._run(config, base, follower, view, fresh=options["fresh"])
        except (RunStopped, KeyboardInterrupt) as error:
            view.close()
            if follower.run is not None:
                finish_run(run=follower.run, state=RunState.STOPPED)
            if isinstance(error, KeyboardInterrupt):
                raise CommandError("Interrupted at once; the last snapshot is kept.", returncode=130) from None
            view.line(str(error))
        except (MLError, ShopgenError, ImproperlyConfigured) as error:
            view.close()
            _failed(follower, str(error) or type(error).__name__)
            raise CommandError(str(error)) from error
        except BaseException as error:
            _failed(follower, f"{type(error).__name__}: {error}")
            raise
        else:
            self._register(options, view, follower, result)

    def _settle(self, options: dict[str, Any], view: ProgressView) -> tuple[LoraConfig, Base]:
        """Options of the command, then those of the run that goes on, then the defaults; photos gathered, base looked
        at."""
        from shopgen_django.engines.lora_training.loop import options_in

        place = f"lora-{options['name']}"
        output = Path(options["output"] or app_settings.root / "training" / place).resolve()
        values = {} if options["fresh"] else options_in(output)
        given = {name: value for name, value in options.items() if value is not None}
        values = {**values, **given, "output": str(output)}
        values["trigger"] = values.get("trigger") or options["name"]
        values["threads"] = options["threads"] or app_settings.LIMITS["THREADS"]
        gathered = app_settings.root / "training" / "photos" / place
        narrowed = options["products"] or options["search"] or options["category"]
        if options["photos"] and narrowed:
            raise CommandError("Give either --photos, or products of the catalogue, not both.")
        if not values.get("photos") or narrowed:
            exported = gather_photos(
                catalogue=get_catalogue(options["catalogue"]), folder=gathered, search=options["search"] or "",
                categories=tuple(options["category"] or ()), products=options["products"] or (),
            )
            values["photos"] = str(gathered)
            view.line(f"{exported.photos} photos from the catalogue" + (
                f", {exported.made} made by a model, left out" if exported.made else ""
            ))  # fmt: skip
        base = find_base(str(values.get("base") or ""))
        values["base"] = str(base.folder.path)
        return config_from(values), base

    def _run(
        self, config: LoraConfig, base: Base, follower: RunFollower, view: ProgressView, *, fresh: bool
    ) -> TrainResult:
        from shopgen_django.engines.lora_training.loop import LoraCallbacks, StoppedEarly, train_lora
        from shopgen_django.ml.runtime import stop_on_signals

        def start(info: LoraInfo) -> None:
            follower.on_start(info)
            for line in _opening(info):
                view.line(line)

        def tick(now: Any) -> None:
            follower.on_tick(now)
            view.tick(now.images_seen, now.seconds, now.progress, now.values)

        def progress(share: float, images_seen: int, seconds: float) -> None:
            follower.on_progress(share, images_seen, seconds)
            view.progress(share, images_seen, seconds)

        def encoded(done: int, count: int) -> None:
            if done == count or self.stdout.isatty():
                view.counting(done, count, "photos encoded")

        with stop_on_signals() as flag:
            callbacks = LoraCallbacks(
                on_start=start, on_tick=tick, on_sample=follower.on_sample, on_progress=progress,
                on_decode=view.decoding, on_note=view.line, should_stop=lambda: flag() or follower.stop_asked,
                on_encode=encoded,
            )
            try:
                result = train_lora(config, base, callbacks, fresh=fresh)
            except StoppedEarly as error:
                raise RunStopped(str(error)) from error
        view.close()
        return result

    def _register(
        self, options: dict[str, Any], view: ProgressView, follower: RunFollower, result: TrainResult
    ) -> None:
        from shopgen_django.engines.lora_training.output import metrics_in

        run = follower.run
        assert run is not None
        stopped = result.outcome == "stopped"
        finish_run(run=run, state=RunState.STOPPED if stopped else RunState.SUCCEEDED, images_seen=result.images_seen)
        told = f"{result.images_seen} photos seen in {clock(result.seconds)}; everything is in {result.folder}"
        view.line(f"Stopped and saved: {told}. Run it again to go on." if stopped else f"Done: {told}")
        if not result.images_seen:
            return  # stopped before the first step: there is nothing to use
        try:
            version = register_lora(
                folder=result.folder, name=options["name"], run=run, activate=options["activate"] and not stopped,
                metrics=metrics_in(result.folder),
            )
        except ShopgenError as error:
            raise CommandError(str(error)) from error
        state = "in use" if version.is_active else "not in use yet: see Model versions in the admin, or --activate"
        view.line(f"Registered as {version} ({state}). In create, restyle, inpaint, scene: loras = {version.name}: 0.8")


def _add_how(parser: CommandParser) -> None:
    d = {f.name: f.default for f in LoraConfig.__dataclass_fields__.values()}
    how = parser.add_argument_group("how")
    how.add_argument("--steps", type=int, help=f"steps; each sees batch x accumulate photos (default: {d['steps']})")
    how.add_argument("--rank", type=int, help=f"size of the LoRA: 4 to 16 for a product, 32 for a style ({d['rank']})")
    how.add_argument("--alpha", type=float, help="strength is alpha / rank (default: the rank)")
    how.add_argument("--lr", type=float, help=f"learning rate (default: {d['lr']})")
    how.add_argument("--size", type=int, help="side in pixels (default: what the base was trained for)")
    how.add_argument("--fit", choices=("crop", "pad"), help="cut the middle square, or fill up (default: crop)")
    how.add_argument("--batch", type=int, help=f"photos at a time (default: {d['batch']})")
    how.add_argument(
        "--accumulate", type=int, help=f"batches of a step, for a large step in little memory ({d['accumulate']})"
    )
    how.add_argument("--min-snr", type=float, help=f"gamma of the weighting by noise; 0: none ({d['min_snr']:g})")
    how.add_argument(
        "--prior", type=float,
        help="hold on to what the base says where the trigger isn't named, with this weight; three times the work "
        "(default: 0)",
    )
    how.add_argument("--checkpointing", action="store_const", const=True, help="less memory, a third more time")
    how.add_argument("--precision", choices=("auto", "fp32", "bf16"), help="auto: bf16 on a CUDA GPU (default: auto)")
    how.add_argument("--device", choices=("auto", "cpu", "cuda"), help="where (default: auto)")
    how.add_argument("--threads", type=int, help="threads (default: the setting LIMITS.THREADS, else all cores)")
    how.add_argument("--seed", type=int, help=f"the same seed learns the same on a CPU (default: {d['seed']})")


def _add_watching(parser: CommandParser) -> None:
    watch = parser.add_argument_group("watching it")
    watch.add_argument("--hold-out", type=int, help="photos that are never trained on, to see overfitting (a tenth)")
    watch.add_argument("--samples", type=int, help="pictures of a sheet's row, 0 for none (default: 4)")
    watch.add_argument("--sample-prompts", nargs="+", metavar="WORDS", help="what the samples show")
    watch.add_argument("--sample-steps", type=int, help="steps of a sample (default: 20)")
    watch.add_argument("--sample-every", type=int, help="steps between sheets (default: a fifth of the run)")
    watch.add_argument("--measure-every", type=int, help="steps between measurements (default: a twentieth)")
    watch.add_argument("--tick-seconds", type=float, help="seconds between lines of stats.jsonl (default: 5)")
    watch.add_argument("--snapshot-seconds", type=float, help="seconds between saved states (default: 60)")
    this = parser.add_argument_group("this start")
    this.add_argument("--output", metavar="DIR", help="the run's folder (default: ROOT/training/lora-NAME)")
    this.add_argument("--activate", action="store_true", help="put the LoRA to use when the run is finished")
    this.add_argument("--fresh", action="store_true", help="start over, dropping the run in the folder")
    this.add_argument("--dry-run", action="store_true", help="say what it would do; trains and writes nothing")


def _opening(info: LoraInfo) -> list[str]:
    data, config = info.dataset, info.config
    lines = [
        f"{data['count']} photos at {data['size']} px, {data['held_out']} of them held out; "
        f"{info.base.folder.family.name} ({info.base.name}), rank {config.rank}, {config.step_images} photos a step",
        f"on {info.machine}",
        f"for example: {data['files'][0]['caption']}",
    ]
    return [*lines, f"going on after {info.resumed_at} photos"] if info.resumed_at else lines


def _failed(follower: RunFollower, reason: str) -> None:
    if follower.run is not None:
        finish_run(run=follower.run, state=RunState.FAILED, error=reason)
