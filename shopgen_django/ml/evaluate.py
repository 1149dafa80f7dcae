"""``python -m shopgen_django.ml.evaluate``: how good is a model? Without Django."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import files
from .errors import ConfigError, MLError
from .train import set_thread_policy

Say = Callable[[str], object]
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
    parser.add_argument(
        "--lpips", metavar="PATH", help="for a denoiser: LPIPS as .onnx with two inputs, to be measured as well"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to evaluate and how: the command's options."""

    folder: Path
    source: str | None = None
    count: int = 1_000
    seed: int = 0
    extractor: str | None = None
    lpips: str | None = None
    device: str = "cpu"
    threads: int | None = None
    output: str | None = None
    against: str | None = None
    unsafe_metrics: bool = False

    @property
    def target(self) -> Path:
        """Where the files go."""
        return Path(self.output) if self.output else self.folder


def run(request: Request, say: Say) -> None:
    """Evaluate, write ``evaluation.json`` and ``report.html``, and say the figures.

    Raises:
        MLError: no model, unlike figures, a private model without ``unsafe_metrics``.
    """
    import torch

    from .evaluation.evaluate import purpose_of, refuse_private
    from .runtime import thread_count

    torch.set_num_threads(thread_count(request.threads))
    if not request.unsafe_metrics:
        refuse_private(request.folder)
    purpose = purpose_of(request.folder)
    if purpose == "denoise":
        _restorer(request, say)
    elif purpose == "generate":
        _generator(request, say)
    else:
        raise ConfigError(f"{request.folder} holds a model for {purpose!r}; there are no figures for such.")


def _generator(request: Request, say: Say) -> None:
    from .evaluation.evaluate import evaluate
    from .evaluation.extractors import load_extractor
    from .evaluation.report import write_report
    from .evaluation.results import EVALUATION, REPORT, require_alike
    from .evaluation.words import ladder_words, rows
    from .runtime import choose_device

    other = files.read_json(Path(request.against)) if request.against else None
    found = evaluate(
        request.folder, source=request.source, count=request.count, seed=request.seed,
        extractor=load_extractor(request.extractor), device=choose_device(request.device).type, say=say,
    )  # fmt: skip
    values, target = found.evaluation.as_dict(), request.target
    target.mkdir(parents=True, exist_ok=True)
    files.write_json(target / EVALUATION, values)
    files.write_bytes(target / REPORT, write_report(found, request.folder if request.folder.is_dir() else None))
    for row in rows(found.evaluation):
        say(f"{row.name:<24}{row.value:>18}   real: {row.floor}")
    say(ladder_words(found.evaluation))
    for note in found.evaluation.notes:
        say(note)
    if other is not None:
        require_alike(values, other)
        say(f"KID {values['kid']['value']:.4f} here, {other['kid']['value']:.4f} for {other['model']}.")
    say(f"Written: {target / EVALUATION}, {target / REPORT}")


def _restorer(request: Request, say: Say) -> None:
    from .evaluation.evaluate import clean_pictures
    from .evaluation.restorer_report import write_restorer_report
    from .evaluation.restoring import judge_restorer, load_lpips
    from .evaluation.results import EVALUATION, REPORT
    from .restore import load_restorer

    model = load_restorer(request.folder, request.device)
    pictures = clean_pictures(request.folder, request.source, count=request.count)
    say(f"{len(pictures.images)} pictures at four noise levels")
    found = judge_restorer(
        model.restore, pictures.images, seed=request.seed, lpips=load_lpips(request.lpips) if request.lpips else None
    )
    say("noise    noisy dB   best filter   restored   SSIM before, after")
    for each in found:
        say(
            f"{each.sigma:5g}  {each.noisy_psnr:10.2f}  {each.filter_psnr:12.2f}  {each.restored_psnr:9.2f}   "
            f"{each.noisy_ssim:.3f}, {each.restored_ssim:.3f}"
        )
    values = {
        "format": 1, "kind": "restorer", "model": request.folder.name, "model_sha256": model.card["sha256"],
        "reference": {"digest": pictures.digest, "count": len(pictures.images), "held_out": pictures.held_out},
        "seed": request.seed, "levels": [each.as_dict() for each in found],
    }  # fmt: skip
    request.target.mkdir(parents=True, exist_ok=True)
    files.write_json(request.target / EVALUATION, values)
    files.write_bytes(
        request.target / REPORT,
        write_restorer_report(
            request.folder.name, found, model.restore, pictures.images, seed=request.seed, held_out=pictures.held_out
        ),
    )
    if not pictures.held_out:
        say("These are photos that it was trained on; give others (--source) to know how it does on new ones.")
    say(f"Written: {request.target / EVALUATION}, {request.target / REPORT}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0, or 1 with a line on standard error."""
    set_thread_policy()
    options = vars(build_parser().parse_args(arguments))

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    try:
        run(Request(folder=Path(options.pop("folder")), **options), say)
    except (MLError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
