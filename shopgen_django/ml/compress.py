"""``python -m shopgen_django.ml.compress``: make a trained generator smaller and faster, without Django."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .compression.config import add_options, config_from
from .errors import MLError
from .train import set_thread_policy

if TYPE_CHECKING:
    from .compression.config import CompressConfig
    from .compression.run import Compressed
    from .progress import ProgressView

EXAMPLES = """examples:
  a quarter of the operations, on onnxruntime, in 8 bit where that is worth it:
      python -m shopgen_django.ml.compress runs/first --output runs/first-small
  cut channels out instead, ten minutes of learning, an ordinary folder for PyTorch:
      python -m shopgen_django.ml.compress runs/first --method prune --runtime torch --minutes 10 --output runs/pruned
  the network as it is, only on another runtime:
      python -m shopgen_django.ml.compress runs/first --method export --output runs/first-onnx
  pictures from it, with the same seeds as before:
      python -m shopgen_django.ml.sample runs/first-small --count 16 --output made --sheet sheet.png
"""


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m shopgen_django.ml.compress",
        description="Make a trained generator smaller and faster, and measure what that costs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="FOLDER", help="output folder of a training run")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the compressed model")
    add_options(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0, or 1 with a message on standard error."""
    options = build_parser().parse_args(arguments)
    set_thread_policy()
    from .progress import ProgressView

    view = ProgressView(sys.stdout, terminal=sys.stdout.isatty())
    try:
        run(config_from(vars(options)), view)
    except (MLError, OSError) as error:
        view.close()
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        view.close()
        sys.stderr.write("Interrupted at once; nothing was written.\n")
        return 130
    return 0


def run(config: CompressConfig, view: ProgressView) -> Compressed:
    """Compress with a view for the person; Ctrl-C ends the learning and goes on to measuring."""
    from .compression.run import Callbacks, compress
    from .runtime import stop_on_signals

    with stop_on_signals() as flag:
        made = compress(config, Callbacks(on_line=view.line, on_progress=view.progress, should_stop=flag))
    view.close()
    for line in (*made.text.split("\n"), *made.remarks, f"Written to {made.folder}"):
        view.line(line)
    return made


if __name__ == "__main__":
    sys.exit(main())
