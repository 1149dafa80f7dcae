"""``python -m shopgen_django.ml.evaluate``: how good is a model? Without Django."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import files
from .errors import MLError
from .train import set_thread_policy

if TYPE_CHECKING:
    from .evaluation.results import Evaluation

EXAMPLES = """examples:
  a model against the photos it was trained on:
      python -m shopgen_django.ml.evaluate runs/first
  against photos it has never seen:
      python -m shopgen_django.ml.evaluate runs/first --source other-photos
  pictures that something else made:
      python -m shopgen_django.ml.evaluate pictures/ --source photos --output judged
  with your own feature network (see the page on evaluation):
      python -m shopgen_django.ml.evaluate runs/first --extractor inception.safetensors
"""


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m shopgen_django.ml.evaluate",
        description="Compare a model's pictures with real ones: figures, floors, ladders, neighbours, and a report.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="FOLDER", help="output folder of a run, or a folder of made pictures")
    add_options(parser)
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options shared with the Django command."""
    parser.add_argument(
        "--source", metavar="DIR", help="real pictures to compare with (a folder or .npz); default: the training photos"
    )
    parser.add_argument("--count", type=int, default=1000, metavar="N", help="pictures to make (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the random vectors (default: %(default)s)")
    parser.add_argument(
        "--extractor", metavar="PATH", help="your own feature network: .onnx, or Inception's .safetensors"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu", help="where the model runs")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    parser.add_argument(
        "--output", metavar="DIR", help="where evaluation.json and report.html go (default: the model's folder)"
    )
    parser.add_argument(
        "--against", metavar="FILE", help="another model's evaluation.json to print beside; refused when it was "
        "measured with something else",
    )  # fmt: skip
    parser.add_argument(
        "--unsafe-metrics", action="store_true",
        help="evaluate a privately trained model; figures that look at its photos are outside of the promise",
    )  # fmt: skip


def run(
    folder: Path, *, source: str | None, count: int, seed: int, extractor: str | None, device: str,
    threads: int | None, output: str | None, against: str | None, unsafe_metrics: bool, say: Callable[[str], None],
) -> Evaluation:  # fmt: skip
    """Evaluate, write ``evaluation.json`` and ``report.html``, and say the figures.

    Raises:
        MLError: no model, unlike figures, a private model without ``unsafe_metrics``.
    """
    import torch

    from .evaluation.evaluate import evaluate, refuse_private
    from .evaluation.extractors import load_extractor
    from .evaluation.report import write_report
    from .evaluation.results import EVALUATION, REPORT, require_alike
    from .evaluation.words import ladder_words, rows
    from .runtime import choose_device, thread_count

    torch.set_num_threads(thread_count(threads))
    if not unsafe_metrics:
        refuse_private(folder)
    other = files.read_json(Path(against)) if against else None
    found = evaluate(
        folder, source=source, count=count, seed=seed, extractor=load_extractor(extractor),
        device=choose_device(device).type, say=say,
    )  # fmt: skip
    values = found.evaluation.as_dict()
    target = Path(output) if output else folder
    target.mkdir(parents=True, exist_ok=True)
    files.write_json(target / EVALUATION, values)
    files.write_bytes(target / REPORT, write_report(found, folder if folder.is_dir() else None))
    for row in rows(found.evaluation):
        say(f"{row.name:<24}{row.value:>18}   real: {row.floor}")
    say(ladder_words(found.evaluation))
    for note in found.evaluation.notes:
        say(note)
    if other is not None:
        require_alike(values, other)
        say(f"KID {values['kid']['value']:.4f} here, {other['kid']['value']:.4f} for {other['model']}.")
    say(f"Written: {target / EVALUATION}, {target / REPORT}")
    return found.evaluation


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0, or 1 with a line on standard error."""
    set_thread_policy()
    options = vars(build_parser().parse_args(arguments))

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    try:
        run(Path(options.pop("folder")), **options, say=say)
    except (MLError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
