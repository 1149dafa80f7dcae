"""The options of a compression, for both entry points."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from shopgen_django.ml.errors import ConfigError

METHODS: dict[str, str] = {
    "prune": "the least important channels cut out, then trained to make the teacher's pictures",
    "distil": "a narrower network with the teacher's proportions, trained likewise",
    "int8": "8-bit convolutions; kept only where they are faster and close enough, both measured",
    "export": "ONNX only; the network stays as it is",
}
SMALLER = ("distil", "prune")
DEFAULT_METHODS = ("prune", "int8")
RUNTIMES = ("onnx", "torch")
DEFAULT_MINUTES = 3.0
LEAST = {"width": 4, "images": 1, "batch_size": 1, "threads": 1, "compared": 16, "seed": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressConfig:
    """What is to be done. ``check`` refuses what doesn't go together."""

    folder: str
    """Folder of the model that is compressed."""
    output: str
    methods: tuple[str, ...] = DEFAULT_METHODS
    runtime: str = "onnx"
    ratio: float = 0.25
    """Share of the operations that the smaller network may need."""
    width: int | None = None
    """Channels at the highest resolution instead of ``ratio`` (distil)."""
    minutes: float | None = None
    images: int | None = None
    batch_size: int = 32
    lr: float = 2e-3
    seed: int = 0
    threads: int | None = None
    photos: str = ""
    """Real pictures to compare with; default: those of the training run, where they lie beside the model."""
    compared: int = 512
    """Pictures a side for KID and coverage."""
    keep_int8: bool = False
    """Serve the 8-bit network even where it isn't worth it."""

    @property
    def smaller(self) -> str:
        """``distil``, ``prune`` or nothing."""
        return next((m for m in self.methods if m in SMALLER), "")

    def check(self) -> None:
        """Raises ConfigError naming the option."""
        unknown = sorted(set(self.methods) - METHODS.keys())
        if unknown or not self.methods:
            raise ConfigError(f"--method {', '.join(unknown) or 'nothing'}; choose from {', '.join(METHODS)}.")
        if set(SMALLER) <= set(self.methods):
            raise ConfigError("--method distil prune: take one of the two; both end by learning from the teacher.")
        if self.runtime not in RUNTIMES:
            raise ConfigError(f"--runtime {self.runtime} is neither onnx nor torch.")
        if self.runtime == "torch" and not self.smaller:
            raise ConfigError("--runtime torch needs --method distil or prune: int8 and export are for onnxruntime.")
        if self.runtime == "torch" and {"int8", "export"} & set(self.methods):
            raise ConfigError("--runtime torch: leave int8 and export out, they are for onnxruntime.")
        if not 0.0 < self.ratio < 1.0:
            raise ConfigError(f"--ratio {self.ratio:g} must lie between 0 and 1: the share of the operations to keep.")
        if self.width is not None and self.smaller != "distil":
            raise ConfigError("--width is for --method distil; pruning chooses the widths itself, by --ratio.")
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"--{name.replace('_', '-')} {value} is too small; at least {least}.")
        for name in ("minutes", "lr"):
            number = getattr(self, name)
            if number is not None and not 0 < number < 1e6:
                raise ConfigError(f"--{name} {number} must be larger than 0.")
        if Path(self.folder).resolve() == Path(self.output).resolve():
            raise ConfigError("--output is the model's own folder; give another one.")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of a compression, as ``--help`` shows them."""
    what = parser.add_argument_group("what is done")
    what.add_argument(
        "--method", dest="methods", nargs="+", choices=tuple(METHODS), default=list(DEFAULT_METHODS), metavar="M",
        help="one or more of: " + "; ".join(f"{name}: {text}" for name, text in METHODS.items())
        + f" (default: {' '.join(DEFAULT_METHODS)})",
    )  # fmt: skip
    what.add_argument(
        "--runtime", choices=RUNTIMES, default="onnx",
        help="onnx: runs on onnxruntime without PyTorch; torch: an ordinary model folder (default: %(default)s)",
    )  # fmt: skip
    what.add_argument(
        "--ratio", type=float, default=0.25, metavar="R",
        help="share of the operations that the smaller network may need (default: %(default)s)",
    )  # fmt: skip
    what.add_argument("--width", type=int, metavar="W", help="distil: channels at the highest resolution, not --ratio")
    what.add_argument(
        "--keep-int8", action="store_true", help="serve the 8-bit network even where it isn't faster or close enough"
    )
    long = parser.add_argument_group("how long")
    long.add_argument(
        "--minutes", type=float, metavar="M", help=f"learning from the teacher (default: {DEFAULT_MINUTES:g})"
    )
    long.add_argument("--images", type=int, metavar="N", help="stop after so many of the teacher's pictures")
    more = parser.add_argument_group("more")
    more.add_argument(
        "--photos", default="", metavar="DIR",
        help="real pictures to compare with; default: those of the training run, where they lie beside the model",
    )  # fmt: skip
    more.add_argument("--compared", type=int, default=512, metavar="N", help="pictures a side (default: %(default)s)")
    more.add_argument("--batch-size", type=int, default=32, metavar="B", help="default: %(default)s")
    more.add_argument("--lr", type=float, default=2e-3, metavar="X", help="learning rate (default: %(default)s)")
    more.add_argument("--seed", type=int, default=0, metavar="S", help="default: %(default)s")
    more.add_argument("--threads", type=int, metavar="N", help="CPU threads while learning")


def config_from(options: Mapping[str, Any], **more: Any) -> CompressConfig:
    """The configuration that parsed options describe; ``more`` goes before them. Checked.

    Raises:
        ConfigError: see :meth:`CompressConfig.check`.
    """
    names = {f.name for f in fields(CompressConfig)}
    values = {**{name: value for name, value in options.items() if name in names}, **more}
    values["methods"] = tuple(dict.fromkeys(values["methods"]))
    if values.get("minutes") is None and values.get("images") is None:
        values["minutes"] = DEFAULT_MINUTES
    config = CompressConfig(**values)
    config.check()
    return config
