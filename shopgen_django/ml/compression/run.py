"""A compression from beginning to end: smaller, exported, in 8 bit, measured, and written into a folder.

=================  ==========================================================================
``model.onnx``     the network that is served (``--runtime torch``: ``model.safetensors``)
``model.json``     its description; ``teacher`` in it names the model it was made from
``codes.safetensors``  the codes of photos that vectors are blended from, where there are any
``network/``       the smaller network as an ordinary model folder, to go on from
``compression.json``  all figures and settings; ``compression.txt`` the same as a table
``samples/strip.png``  one row of pictures for each stage, the same random vector in each column
=================  ==========================================================================
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shopgen_django.ml import files
from shopgen_django.ml.errors import ConfigError
from shopgen_django.ml.folder import RunFolder, to_safetensors, versions
from shopgen_django.ml.runtime import thread_count

from .config import CompressConfig
from .distil import Distilled, DistilSettings, distil
from .export import codes_file, largest_difference, save_onnx, to_onnx
from .features import default_extractor
from .photos import real_pictures
from .prune import choose_plan, cut, importance, scaled_plan
from .quantise import to_int8
from .runtime import NETWORK, psnr, to_bytes
from .table import Contestant, Row, as_plain, as_text, measure, onnx_contestant, strip, torch_contestant
from .teacher import Model, draw_material, load_teacher, pictures_of

REPORT, TABLE, STRIP, INNER = "compression.json", "compression.txt", "samples/strip.png", "network"
INT8_PSNR, INT8_TIME, INT8_FILE, INT8_KID = 30.0, 0.7, 0.30, 0.20
"""What an 8-bit network must reach to be served: dB, and shares of the floating-point one's time, file and KID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compressed:
    """What came of it."""

    folder: Path
    runtime: str
    precision: str
    """``fp32`` or ``int8``: what is served."""
    rows: tuple[Row, ...]
    text: str
    remarks: tuple[str, ...]
    metrics: dict[str, float]


@dataclass(slots=True, kw_only=True)
class Callbacks:
    """What a host may listen to."""

    on_line: Callable[[str], None] | None = None
    on_progress: Callable[[float, int, float], None] | None = None
    should_stop: Callable[[], bool] | None = None

    def say(self, text: str) -> None:
        if self.on_line is not None:
            self.on_line(text)


def compress(config: CompressConfig, callbacks: Callbacks | None = None) -> Compressed:
    """Do what ``config`` says.

    Raises:
        MLError: options that don't go together, a model that can't be loaded or exported, a full disk.
    """
    config.check()
    calls = callbacks or Callbacks()
    torch.set_num_threads(thread_count(config.threads))
    teacher = load_teacher(Path(config.folder))
    folder = Path(config.output)
    _prepare(folder)
    with files.folder_lock(folder):
        files.remove_leftovers(folder)
        return _Work(config, calls, teacher, folder).go()


def _prepare(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--output {folder} is a file; give a folder.")
    if folder.is_dir() and not (folder / REPORT).exists():
        strangers = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
        if set(strangers) - {"samples", INNER}:
            raise ConfigError(
                f"--output {folder} holds other files ({', '.join(strangers[:3])}) and no compression. Give a new or "
                "an empty folder."
            )
    with files.disk_errors(folder):
        (folder / "samples").mkdir(parents=True, exist_ok=True)


class _Work:
    def __init__(self, config: CompressConfig, calls: Callbacks, teacher: Model, folder: Path) -> None:
        self.config, self.calls, self.teacher, self.folder = config, calls, teacher, folder
        self.remarks: list[str] = []
        self.learned: Distilled | None = None
        self.extractor = default_extractor()
        # Read first: a wrong --photos should be told before minutes of learning.
        self.photos = real_pictures(Path(config.folder), config.photos, teacher.card)

    def go(self) -> Compressed:
        student = self._smaller()
        contestants = [torch_contestant("teacher, PyTorch", self.teacher, int(self.teacher.card.get("bytes") or 0))]
        if student is not self.teacher:
            data = to_safetensors(student.network.state_dict(), {})
            contestants.append(torch_contestant(f"{self.config.smaller}, PyTorch", student, len(data)))
        networks: dict[str, bytes] = {}
        if self.config.runtime == "onnx":
            networks = self._exported(student, contestants)
        self._measure(contestants)
        precision = self._choose(contestants, networks)
        self._save(student, networks.get(precision, b""), precision, contestants)
        rows = tuple(contestant.row for contestant in contestants)
        return Compressed(
            folder=self.folder, runtime=self.config.runtime, precision=precision, rows=rows, text=as_text(rows),
            remarks=tuple(self.remarks), metrics=self._metrics(contestants, precision),
        )  # fmt: skip

    # -- smaller -------------------------------------------------------------------------------

    def _smaller(self) -> Model:
        config, teacher = self.config, self.teacher
        if not config.smaller:
            return teacher
        if not teacher.plan:
            raise ConfigError(
                f"The widths of the family {teacher.family.name} can't be changed; use --method export or int8."
            )
        ranks = importance(teacher, seed=config.seed)
        plan = self._plan(ranks)
        student = cut(teacher, plan, ranks)
        before, after = ("-".join(map(str, widths)) for widths in (teacher.plan, plan))
        self.calls.say(f"{config.smaller}: channels {before} become {after}, learning from the teacher")
        settings = DistilSettings(
            minutes=config.minutes, images=config.images, batch_size=config.batch_size, lr=config.lr, seed=config.seed
        )
        self.learned = distil(
            teacher, student, settings,
            on_progress=self.calls.on_progress, should_stop=self.calls.should_stop,
        )  # fmt: skip
        self.calls.say(
            f"{self.learned.images} pictures in {self.learned.seconds:.0f} s: {self.learned.psnr_before:.1f} dB after "
            f"cutting, {self.learned.psnr:.1f} dB after learning"
        )
        return student

    def _plan(self, ranks: list[torch.Tensor]) -> tuple[int, ...]:
        config, teacher = self.config, self.teacher
        if config.smaller == "prune":
            return choose_plan(teacher, ranks, ratio=config.ratio)
        if config.width is None:
            return scaled_plan(teacher, ratio=config.ratio)
        if config.width >= teacher.plan[-1]:
            raise ConfigError(f"--width {config.width} is not narrower than the teacher's {teacher.plan[-1]}.")
        share = config.width / teacher.plan[-1]
        return (*(max(4, round(w * share)) for w in teacher.plan[:-1]), config.width)

    # -- exported ------------------------------------------------------------------------------

    def _exported(self, student: Model, contestants: list[Contestant]) -> dict[str, bytes]:
        extra = len(codes_file(student.network))
        name = self.config.smaller or "teacher"
        networks = {"fp32": to_onnx(student)}
        contestants.append(onnx_contestant(f"{name}, ONNX", student, networks["fp32"], extra))
        contestants[-1].row.difference = largest_difference(student, networks["fp32"])
        if "int8" in self.config.methods:
            networks["int8"] = to_int8(student, networks["fp32"])
            contestants.append(onnx_contestant(f"{name}, ONNX 8 bit", student, networks["int8"], extra))
        return networks

    def _choose(self, contestants: list[Contestant], networks: dict[str, bytes]) -> str:
        """``int8`` where it is worth it, else ``fp32``; says why."""
        if "int8" not in networks:
            return "fp32"
        floating, small = contestants[-2], contestants[-1]
        found = {
            "psnr": psnr(small.made, floating.made),
            "time_1": small.row.ms_1 / max(1e-9, floating.row.ms_1),
            "time_16": small.row.ms_16 / max(1e-9, floating.row.ms_16),
            "file": len(networks["int8"]) / len(networks["fp32"]),
        }
        failed = []
        if found["psnr"] < INT8_PSNR:
            failed.append(f"{found['psnr']:.1f} dB are less than {INT8_PSNR:g}")
        slowest = max(found["time_1"], found["time_16"])
        if slowest > INT8_TIME:
            failed.append(f"it takes {slowest:.2f} of the time, more than {INT8_TIME}")
        if _kid(small.row) > (1 + INT8_KID) * max(0.0, _kid(floating.row)) + abs(contestants[0].row.kid_teacher):
            failed.append(f"its KID is {_kid(small.row):.4f}, was {_kid(floating.row):.4f}")
        if found["file"] > INT8_FILE:
            failed.append(f"its file is {found['file']:.0%} of the other")
        figures = (
            f"8 bit: {found['psnr']:.1f} dB against floating point, {found['time_1']:.2f} (one picture) and "
            f"{found['time_16']:.2f} (sixteen) of its time, {found['file']:.0%} of its file"
        )
        if not failed:
            self.remarks.append(figures + ". It is served.")
            return "int8"
        if self.config.keep_int8:
            self.remarks.append(f"{figures}. It is served because of --keep-int8, although {'; '.join(failed)}.")
            return "int8"
        self.remarks.append(f"{figures}. Floating point is served, since {'; '.join(failed)} on this machine.")
        return "fp32"

    # -- measured ------------------------------------------------------------------------------

    def _measure(self, contestants: list[Contestant]) -> None:
        config, teacher, photos = self.config, self.teacher, self.photos
        count = config.compared
        latents, labels = draw_material(teacher, seed=config.seed, purpose="compare", start=0, count=count)
        others = draw_material(teacher, seed=config.seed, purpose="reference", start=0, count=count)
        reference = to_bytes(pictures_of(teacher.network, *others).numpy())
        self.calls.say(f"comparing {count} pictures of each stage" + ("" if photos is None else " with photos as well"))
        measure(
            contestants, latents=latents.numpy(), labels=labels.numpy(), reference=reference,
            photos=None if photos is None else _some(photos, 2 * count), extractor=self.extractor,
        )  # fmt: skip

    def _metrics(self, contestants: list[Contestant], precision: str) -> dict[str, float]:
        """Figures of what is served, for the model's record."""
        row = self._served(contestants, precision).row
        first = contestants[0].row
        found: dict[str, float | None] = {
            "kid_to_teacher": row.kid_teacher, "coverage_of_teacher": row.coverage_teacher, "psnr_to_teacher": row.psnr,
            "kid": row.kid_photos, "coverage": row.coverage_photos, "ms_1": row.ms_1, "ms_16": row.ms_16,
            "share_of_time": round(row.ms_1 / max(1e-9, first.ms_1), 4), "megaflops": row.megaflops,
        }  # fmt: skip
        return {name: value for name, value in found.items() if value is not None}

    def _served(self, contestants: list[Contestant], precision: str) -> Contestant:
        if self.config.runtime == "onnx" and "int8" in self.config.methods and precision == "fp32":
            return contestants[-2]
        return contestants[-1]

    # -- written -------------------------------------------------------------------------------

    def _save(self, student: Model, data: bytes, precision: str, contestants: list[Contestant]) -> None:
        config, folder = self.config, self.folder
        about: dict[str, Any] = {
            "teacher": {
                "sha256": self.teacher.card["sha256"],
                "architecture": self.teacher.card["architecture"],
                "network": self.teacher.card["network"],
            },
            "compression": {
                "methods": list(config.methods),
                "ratio": config.ratio,
                "precision": precision,
                "learned_images": self.learned.images if self.learned else 0,
                "rows": as_plain([c.row for c in contestants]),
                "remarks": self.remarks,
            },
            "metrics": self._metrics(contestants, precision),
            "versions": {**versions(), **_more_versions()},
        }
        card = {k: v for k, v in student.card.items() if k not in ("sha256", "next_sha256", "bytes", "format")}
        if student is not self.teacher:
            inner = folder / INNER if config.runtime == "onnx" else folder
            with files.disk_errors(inner):
                inner.mkdir(exist_ok=True)
            RunFolder(inner).save_model(student.network.state_dict(), {**card, **about})
        files.write_bytes(folder / STRIP, strip(contestants, scale=max(1, 96 // int(student.card["size"]))))
        files.write_bytes(folder / TABLE, (as_text([c.row for c in contestants]) + "\n").encode())
        files.write_json(
            folder / REPORT,
            {
                "format": 1, **about, "runtime": config.runtime, "config": asdict(config),
                "learned": asdict(self.learned) if self.learned else None, "extractor": self.extractor.name,
                "compared": config.compared, "rows": about["compression"]["rows"], "remarks": self.remarks,
                "machine": {"processor": platform.processor() or platform.machine(), "clock": "processor time"},
            },
        )  # fmt: skip
        if config.runtime == "onnx":
            save_onnx(folder, data, Model(network=student.network, card={"format": 1, **card}), about)


def _kid(row: Row) -> float:
    return row.kid_teacher if row.kid_photos is None else row.kid_photos


def _some(pictures: NDArray[np.uint8], most: int) -> NDArray[np.uint8]:
    return np.asarray(pictures[:: max(1, -(-len(pictures) // most))])


def _more_versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("onnx", "onnxruntime"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


__all__ = ["NETWORK", "REPORT", "STRIP", "TABLE", "Callbacks", "Compressed", "compress"]
