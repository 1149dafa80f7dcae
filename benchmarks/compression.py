"""What compressing a real generator costs and gains: distilled, pruned, exported, in 8 bit.

Trains a generator on the example's photos first, unless one is given, and compresses it in three ways. Then 8 bit
against floating point on a network four times as wide, as one trains it on a GPU: it learns from the first one for some
minutes. Last the time alone at several widths, with weights as drawn (it doesn't depend on what a network has learned).

    python benchmarks/compression.py --minutes 3 --output /tmp/compression
    python benchmarks/compression.py --teacher runs/first --output /tmp/compression
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from shopgen_django.ml.compression.config import CompressConfig
from shopgen_django.ml.compression.distil import DistilSettings, distil
from shopgen_django.ml.compression.export import to_onnx
from shopgen_django.ml.compression.quantise import to_int8
from shopgen_django.ml.compression.run import Callbacks, compress
from shopgen_django.ml.compression.table import measure_time, onnx_contestant
from shopgen_django.ml.compression.teacher import Model, draw_material, like, load_teacher, resized
from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.families import get_family
from shopgen_django.ml.folder import RunFolder
from shopgen_django.ml.loop import train
from shopgen_django.ml.networks import scaled_normal

ROOT = Path(__file__).resolve().parent.parent
PHOTOS = ROOT / "example_project" / "data" / "clothing_cc0"
WAYS: dict[str, tuple[str, ...]] = {
    "distil": ("distil", "int8"),
    "prune": ("prune", "int8"),
    "export": ("export", "int8"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, help="a trained model; default: train one")
    parser.add_argument("--minutes", type=float, default=3.0, help="of training, and of each learning")
    parser.add_argument("--wide-minutes", type=float, default=4.0, help="learning of the wide network; 0: without it")
    parser.add_argument("--ratio", type=float, default=0.25)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    teacher = options.teacher or _train(options.output / "teacher", options.minutes)
    for name, methods in WAYS.items():
        config = CompressConfig(
            folder=str(teacher), output=str(options.output / name), methods=methods, ratio=options.ratio,
            minutes=options.minutes,
        )  # fmt: skip
        made = compress(config, Callbacks(on_line=print))
        print(made.text, *made.remarks, "", sep="\n", flush=True)
    if options.wide_minutes:
        wide = _wide(teacher, options.output / "wide", options.wide_minutes)
        made = compress(CompressConfig(folder=str(wide), output=str(options.output / "wide-int8"), methods=("int8",)))
        print(made.text, *made.remarks, "", sep="\n", flush=True)
    found = [_width(name, width) for name in ("modern", "dcgan") for width in (16, 32, 64)]
    (options.output / "widths.json").write_text(json.dumps(found, indent=1))


def _train(folder: Path, minutes: float) -> Path:
    train(TrainConfig(source=str(PHOTOS), output=str(folder), size=64, prepare="white", minutes=minutes))
    return folder


def _wide(folder: Path, output: Path, minutes: float) -> Path:
    """A network like the teacher's with four times the channels that learned to make the teacher's pictures."""
    teacher = load_teacher(folder)
    plan = tuple(4 * width for width in teacher.plan)
    network = resized(teacher, plan).eval()
    _draw_weights(network)
    state, known = network.state_dict(), teacher.network.state_dict()
    network.load_state_dict({name: known[name] if known[name].shape == v.shape else v for name, v in state.items()})
    wide = like(teacher, network, plan)
    settings = DistilSettings(minutes=minutes, images=None, batch_size=16, lr=1e-3, seed=0)
    print("wide:", distil(teacher, wide, settings), flush=True)
    output.mkdir(parents=True, exist_ok=True)
    card = {name: value for name, value in wide.card.items() if name not in ("sha256", "bytes", "format")}
    RunFolder(output).save_model(network.state_dict(), card)
    return output


def _draw_weights(network: torch.nn.Module) -> None:
    rng = torch.Generator().manual_seed(0)
    for name, layer in network.named_modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d | torch.nn.Linear):
            scaled_normal(layer, rng)
            with torch.no_grad():  # as the modern family begins: pictures near grey, levels added softly
                layer.weight.mul_(0.25 if name.startswith(("last", "pictures")) else 0.5 if "mixes" in name else 1.0)


def _width(family: str, width: int) -> dict[str, object]:
    """8 bit against floating point for a network of this width at 64 px."""
    plan = [min(512, width * 2**level) for level in (3, 2, 1, 0)]
    spec = {"size": 64, "channels": 3, "latent": 64, "categories": 6, "plan": plan}
    network = get_family(family).build_generator(spec).eval().requires_grad_(False)
    _draw_weights(network)
    card = {"architecture": family, "network": spec, "size": 64, "channels": 3, "categories": list("abcdef")}
    model = like(Model(network=network, card=card), network, tuple(plan))
    plain = to_onnx(model)
    small = to_int8(model, plain)
    contestants = [onnx_contestant("fp32", model, plain, 0), onnx_contestant("int8", model, small, 0)]
    latents, labels = (values.numpy() for values in draw_material(model, seed=1, purpose="bench", start=0, count=64))
    measure_time(contestants, latents, labels)
    first, second = (contestant.row for contestant in contestants)
    row = {
        "family": family, "plan": plan, "megaflops": first.megaflops, "fp32_ms": (first.ms_1, first.ms_16),
        "int8_ms": (second.ms_1, second.ms_16), "time": (second.ms_1 / first.ms_1, second.ms_16 / first.ms_16),
        "file": len(small) / len(plain),
    }  # fmt: skip
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()
