"""``python -m shopgen_django.ml.train``: the trainer without Django."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .errors import MLError
from .options import add_options, config_from_options

if TYPE_CHECKING:
    from .config import TrainConfig
    from .loop import TrainResult
    from .progress import ProgressView

EXAMPLES = """examples:
  train on a folder with one sub-folder per category, for ten minutes:
      python -m shopgen_django.ml.train --source photos --output runs/first --minutes 10
  phone photos: put each product on white first:
      python -m shopgen_django.ml.train --source photos --output runs/white --prepare white --minutes 30
  go on with it, twenty minutes more (the clock counts all parts): the same command with a larger --minutes
  make pictures from it:
      python -m shopgen_django.ml.sample runs/first --count 16 --output made --sheet sheet.png
"""


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m shopgen_django.ml.train",
        description="Train a generator of product pictures on a folder of photos. Ctrl-C saves; running the same "
        "command again continues.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser, required=("source", "output"))
    add_run_options(parser)
    return parser


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Options about this start of the run rather than about the run; shared with the Django command."""
    group = parser.add_argument_group("this start")
    begin = group.add_mutually_exclusive_group()
    begin.add_argument(
        "--resume", action="store_true", help="go on with the run in --output; the default when there is one"
    )
    begin.add_argument("--fresh", action="store_true", help="start over, dropping the run in --output")
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="settle all options, read the pictures' list, estimate time and memory, train nothing",
    )


def set_thread_policy() -> None:
    """Let waiting OpenMP threads sleep; must run before PyTorch is imported.

    The default is to spin, and on a machine that does anything else at the same time spinning threads take the
    cores from the working ones: a quarter of a step's time beside one busy neighbour, measured; alone it costs nothing.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0 when it finished or was stopped, 1 when it failed."""
    options = build_parser().parse_args(arguments)
    set_thread_policy()
    from .progress import ProgressView

    view = ProgressView(sys.stdout, terminal=sys.stdout.isatty())
    try:
        config = config_from_options(vars(options))
        if options.dry_run:
            from .estimate import describe, estimate

            view.line(describe(estimate(config)))
            return 0
        result = run(config, view, fresh=options.fresh)
    except MLError as error:
        view.close()
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        view.close()
        sys.stderr.write("Interrupted at once; the last snapshot is kept.\n")
        return 130
    view.line(summary(result))
    return 0


def run(config: TrainConfig, view: ProgressView, *, fresh: bool) -> TrainResult:
    """Train with a view for the person and signals asking for an orderly stop."""
    from .loop import RunInfo, Tick, train
    from .runtime import stop_on_signals

    def started(info: RunInfo) -> None:
        for text in opening_lines(info):
            view.line(text)

    def tick(now: Tick) -> None:
        view.tick(now.images_seen, now.seconds, now.progress, now.values)

    with stop_on_signals() as flag:
        result = train(
            config,
            on_start=started,
            on_tick=tick,
            on_progress=view.progress,
            on_decode=view.decoding,
            should_stop=flag,
            fresh=fresh,
        )
    view.close()
    return result


def opening_lines(info: object) -> list[str]:
    """What a person should know when the run starts."""
    from .loop import RunInfo

    assert isinstance(info, RunInfo)
    data, config = info.dataset, info.config
    lines = [
        f"{data['count']} pictures at {data['size']} px, {len(data['categories'])} categories, "
        f"{config.architecture} with loss {config.loss}, on {config.device} ({config.precision}), "
        f"batches of {config.batch_size}"
    ]
    if data["skipped"]:
        lines.append(f"{len(data['skipped'])} files passed over; the reasons are in dataset.json")
    if data["low_confidence"]:
        lines.append(f"{data['low_confidence']} cut-outs are doubtful; see dataset.json")
    if info.resumed_at:
        lines.append(f"going on after {info.resumed_at} pictures")
    return lines


def summary(result: TrainResult) -> str:
    """The last line of a run."""
    from .progress import clock

    told = f"{result.images_seen} pictures seen in {clock(result.seconds)}; everything is in {result.folder}"
    return f"Done: {told}" if result.outcome == "finished" else f"Stopped and saved: {told}. Run it again to go on."


if __name__ == "__main__":
    sys.exit(main())
