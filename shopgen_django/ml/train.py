"""``python -m shopgen_django.ml.train``: the trainer without Django."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .errors import ConfigError, MLError
from .options import add_options, config_from_options
from .seat import seat_from_launcher

if TYPE_CHECKING:
    from .config import TrainConfig
    from .loop import TrainResult
    from .progress import ProgressView
    from .seat import Seat

EXAMPLES = """examples:
  train on a folder with one sub-folder per category, for ten minutes:
      python -m shopgen_django.ml.train --source photos --output runs/first --minutes 10
  phone photos: put each product on white first:
      python -m shopgen_django.ml.train --source photos --output runs/white --prepare white --minutes 30
  go on with it, twenty minutes more (the clock counts all parts): the same command with a larger --minutes
  both cores of this machine in a process each; several GPUs are one process each:
      python -m shopgen_django.ml.train --source photos --output runs/first --minutes 10 --processes 2
  several hosts, the same command on each (see docs/scaling.md):
      torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 --rdzv-id run1 \\
          -m shopgen_django.ml.train --source photos --output runs/first --images-seen 5000000
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
    """Let waiting OpenMP threads sleep, and the like; must run before PyTorch is imported.

    The default is to spin, and on a machine that does anything else at the same time spinning threads take the
    cores from the working ones: a quarter of a step's time beside one busy neighbour, measured; alone it costs nothing.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # what Apple's GPU lacks runs on the CPU


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0 when it finished or was stopped, 1 when it failed."""
    options = build_parser().parse_args(arguments)
    set_thread_policy()
    from .progress import ProgressView

    seat = seat_from_launcher()
    first = seat is None or seat.rank == 0
    # One of several processes is enough to talk.
    output = sys.stdout if first else open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    view = ProgressView(output, terminal=output.isatty())
    try:
        config = config_from_options(vars(options))
        if seat is not None and config.processes not in (1, seat.count):
            raise ConfigError(
                f"--processes {config.processes}, but the launcher has started {seat.count}: leave --processes out."
            )
        if options.dry_run:
            from .estimate import describe, estimate

            view.line(describe(estimate(config)))
            return 0
        result = run(config, view, fresh=options.fresh, seat=seat)
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


def run(config: TrainConfig, view: ProgressView, *, fresh: bool, seat: Seat | None = None) -> TrainResult:
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
            on_note=view.line,
            should_stop=flag,
            fresh=fresh,
            seat=seat,
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
        f"{config.architecture} with loss {config.loss}, batches of {config.batch_size}",
        f"on {info.machine}",
    ]
    if data["skipped"]:
        lines.append(f"{len(data['skipped'])} files passed over; the reasons are in dataset.json")
    if data.get("left_out"):
        lines.append(f"{len(data['left_out'])} photos left out, their cut-outs are doubtful; see dataset.json")
    if data["low_confidence"]:
        lines.append(f"{data['low_confidence']} doubtful cut-outs are used all the same; see dataset.json")
    if info.resumed_at:
        lines.append(f"going on after {info.resumed_at} pictures")
    return lines


def summary(result: TrainResult) -> str:
    """The last line of a run."""
    from .progress import clock

    told = f"{result.images_seen} pictures seen in {clock(result.seconds)}; everything is in {result.folder}"
    if result.outcome != "finished":
        return f"Stopped and saved: {told}. Run it again to go on."
    return f"Done ({result.reason}): {told}" if result.reason else f"Done: {told}"


if __name__ == "__main__":
    sys.exit(main())
