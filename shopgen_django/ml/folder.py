"""The output folder: what is in it, how it is saved in one piece, and how the last good state is found again.

=====================  =======================================================================
``config.json``        the options with every choice made, and the library versions
``dataset.json``       every picture's SHA-256, and the skipped files with their reasons
``stats.jsonl``        one line a tick
``samples/*.png``      the same random vectors every time; ``reals.png`` is real pictures
``curves.png``         the figures over pictures seen
``model.safetensors``  the averaged generator, ``model.json`` all that is needed to load it
``state.safetensors``  all that is needed to go on: networks, average, optimisers, position;
                       ``state.previous.safetensors`` the one before, ``state.json`` the hashes of both
``*.best.*``           state and model of the best snapshot, where something judges snapshots
``private/``           of a run with differential privacy: decoded pictures, ``dataset.json``, the secret
=====================  =======================================================================

No file is ever unpickled. A state is taken only when its SHA-256 is one of those in ``state.json``, which is written
first, so that a kill at any moment leaves one good state behind.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from . import files
from .errors import CheckpointError, ConfigError

FORMAT = 1
STATE = "state.safetensors"
PREVIOUS = "state.previous.safetensors"
BEST = "state.best.safetensors"
STATE_HASHES = "state.json"
WEIGHTS = files.WEIGHTS
BEST_WEIGHTS = "model.best.safetensors"
CARD = files.CARD
BEST_CARD = "model.best.json"
CONFIG = "config.json"
DATASET = "dataset.json"
STATS = "stats.jsonl"
SAMPLES = "samples"
CURVES = "curves.png"
REALS = "reals.png"
PRIVATE = "private"
"""Sub-folder of a private run for what must not leave the house."""
_OF_A_RUN = (
    STATE_HASHES, STATE, PREVIOUS, BEST, CARD, WEIGHTS, BEST_CARD, BEST_WEIGHTS, STATS, CURVES, REALS, CONFIG,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedState:
    """Tensors by name and plain values (position, time, options) of a state."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]


class RunFolder:
    """Reading and writing of one output folder. Create it, then hold :func:`files.folder_lock` around its use."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self) -> None:
        """Make the folder.

        Raises:
            ConfigError: it exists, holds other things, and was not made by a training run.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"--output {self.path} is a file; give a folder.")
        if self.path.is_dir() and not (self.path / CONFIG).exists():
            strangers = [p.name for p in self.path.iterdir() if not p.name.startswith(".")]
            ours = {DATASET, "pictures.npy", SAMPLES, PRIVATE}  # left by a run that was killed before its first step
            if set(strangers) - ours:
                raise ConfigError(
                    f"--output {self.path} holds other files ({', '.join(sorted(strangers)[:3])}) and no training "
                    "run. Give a new or an empty folder."
                )
        with files.disk_errors(self.path):
            (self.path / SAMPLES).mkdir(parents=True, exist_ok=True)

    def clear(self) -> None:
        """Remove what a run wrote, for a fresh start; decoded pictures stay."""
        for name in _OF_A_RUN:
            (self.path / name).unlink(missing_ok=True)
        for path in (self.path / SAMPLES).glob("*.png"):
            path.unlink()

    # -- state ---------------------------------------------------------------------------------

    def save_state(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Save a state; the one before stays as a fallback.

        Raises:
            StorageFull: no room; the states saved before are untouched.
        """
        data = to_safetensors(tensors, {"format": FORMAT, **values})
        path, previous = self.path / STATE, self.path / PREVIOUS
        temporary = files.write_beside(path, data)
        try:
            known = [files.sha256_bytes(data), *self._known_hashes()][:3]
            self._write_hashes(known, self._best_hash())
            if path.exists():
                os.replace(path, previous)
            os.replace(temporary, path)
            files.sync_folder(self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def has_state(self) -> bool:
        """Whether a state was ever saved here."""
        return (self.path / STATE).exists() or (self.path / PREVIOUS).exists()

    def has_best(self) -> bool:
        """Whether a state was called the best."""
        return (self.path / BEST).exists()

    def keep_best(self) -> None:
        """Keep the state and the model saved last as the best ones, whatever is saved later.

        Costs no copy where the file system has hard links.
        """
        known = self._known_hashes()
        for source, target in ((WEIGHTS, BEST_WEIGHTS), (CARD, BEST_CARD)):
            files.link(self.path / source, self.path / target)
        # Before the file: a kill in between leaves the old one, which then isn't taken for the best any more.
        self._write_hashes(known, known[0])
        files.link(self.path / STATE, self.path / BEST)

    def load_state(self, *, best: bool = False) -> SavedState | None:
        """The newest whole state (or the one kept as the best); ``None`` when none was ever saved.

        Raises:
            CheckpointError: there are states, but none of them is whole.
        """
        if not self.has_state():
            return None
        known = set(self._known_hashes()) | {self._best_hash()}
        for name in (BEST, STATE, PREVIOUS) if best else (STATE, PREVIOUS):
            path = self.path / name
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue
            if files.sha256_bytes(data) in known:
                tensors, values = from_safetensors(data)
                return SavedState(tensors=tensors, values=values)
        raise CheckpointError(
            f"No saved state in {self.path} is whole (their SHA-256 is not in {STATE_HASHES}). "
            "Start over with --fresh, or restore the folder from a copy."
        )

    def _write_hashes(self, known: list[str], best: str) -> None:
        value: dict[str, Any] = {"format": FORMAT, "sha256": known}
        files.write_json(self.path / STATE_HASHES, {**value, "best": best} if best else value)

    def _known_hashes(self) -> list[str]:
        try:
            return [str(item) for item in files.read_json(self.path / STATE_HASHES)["sha256"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def _best_hash(self) -> str:
        try:
            return str(files.read_json(self.path / STATE_HASHES).get("best", ""))
        except (OSError, ValueError, AttributeError):
            return ""

    # -- model ---------------------------------------------------------------------------------

    def save_model(self, tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
        """Save weights and card so that a reader finds a matching pair at any moment.

        While the weights are exchanged the card names the hashes of both, the new and the old one.
        """
        data = to_safetensors(tensors, {"format": FORMAT})
        sha256 = files.sha256_bytes(data)
        final = {"format": FORMAT, **card, "sha256": sha256, "bytes": len(data)}
        weights, path = self.path / WEIGHTS, self.path / CARD
        temporary = files.write_beside(weights, data)
        try:
            if weights.exists():
                old = files.sha256_file(weights)
                files.write_json(path, {**final, "sha256": old, "next_sha256": sha256})
            os.replace(temporary, weights)
            files.write_json(path, final)
        finally:
            temporary.unlink(missing_ok=True)

    def publish_best(self) -> bool:
        """Make the model kept as the best the one that is served; false when there is none."""
        try:
            data = (self.path / BEST_WEIGHTS).read_bytes()
            card = files.read_json(self.path / BEST_CARD)
        except FileNotFoundError:
            return False
        if files.sha256_bytes(data) != card["sha256"]:
            return False  # a kill between the two files: the newest model stays
        self.save_model(from_safetensors(data)[0], {n: v for n, v in card.items() if n not in ("sha256", "bytes")})
        return True

    # -- statistics ----------------------------------------------------------------------------

    def append_stats(self, line: Mapping[str, Any]) -> None:
        """Add one line to ``stats.jsonl``."""
        path = self.path / STATS
        with files.disk_errors(path), path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line, allow_nan=False) + "\n")

    def read_stats(self) -> list[dict[str, Any]]:
        """All whole lines of ``stats.jsonl``."""
        path = self.path / STATS
        if not path.exists():
            return []
        lines = []
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:  # the line that a kill cut off
                continue
        return lines

    def cut_stats(self, images_seen: int) -> None:
        """Forget lines beyond a position: a resumed run writes them again."""
        kept = [line for line in self.read_stats() if line["images_seen"] <= images_seen]
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in kept)
        files.write_bytes(self.path / STATS, text.encode())


def to_safetensors(tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> bytes:
    """Tensors and plain values as one safetensors file."""
    plain = {name: tensor.detach().to("cpu").contiguous().clone() for name, tensor in tensors.items()}
    return bytes(safetensors.torch.save(plain, metadata={"values": json.dumps(values, allow_nan=False)}))


def from_safetensors(data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The inverse of :func:`to_safetensors`.

    Raises:
        CheckpointError: not a safetensors file.
    """
    try:
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        values = json.loads(header.get("__metadata__", {}).get("values", "{}"))
    except (safetensors.SafetensorError, ValueError) as error:
        raise CheckpointError(f"Not a whole safetensors file: {error}.") from None
    return tensors, values


def versions() -> dict[str, str]:
    """Versions that a result may depend on."""
    import platform

    import numpy
    import PIL

    from shopgen_django import __version__

    return {
        "shopgen_django": __version__,
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "pillow": PIL.__version__,
        "python": platform.python_version(),
    }
