"""Pictures from a trained model: ``load_generator(folder)`` and ``python -m shopgen_django.ml.sample``."""

from __future__ import annotations

import argparse
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import files
from .errors import MLError, ModelFileError, UnknownCategory
from .train import set_thread_policy

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL import Image

    from .families.base import Generator

GPU_CHUNK = 32
MAX_WEIGHTS_BYTES = 4 << 30
ONNX_RUNTIME = "onnxruntime"
"""``runtime`` in the description of a model that runs without PyTorch; absent in others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A picture that is asked for: number ``index`` of ``seed``, of the category number ``label`` (None: any)."""

    seed: int
    index: int
    label: int | None


class Sampler(ABC):
    """What a loaded model is asked for, whatever runs it. Get one from :func:`load_generator`.

    Attributes:
        categories: names that ``sample`` takes; empty for a model without categories.
        size: side of the pictures in pixels.
        channels: 1 (mode ``L``), 3 (``RGB``) or 4 (``RGBA``).
        card: the content of ``model.json``.
    """

    def __init__(self, card: Mapping[str, Any]) -> None:
        self.card = dict(card)
        self.categories: tuple[str, ...] = tuple(card["categories"])
        self.size = int(card["size"])
        self.channels = int(card["channels"])

    def sample(
        self, count: int, *, category: str | None = None, seed: int = 0, truncation: float = 1.0, start: int = 0
    ) -> list[Image.Image]:
        """``count`` pictures from number ``start`` on. The i-th one of a seed is the same whatever is asked for.

        Args:
            count: how many, at least 1.
            category: one of ``categories``; ``None`` draws one for each picture.
            seed: 0 or larger.
            truncation: 0..1; below 1 pulls the random vectors to the middle: less variety, fewer odd ones.
            start: number of the first one.

        Raises:
            UnknownCategory: the model has no such category.
            ValueError: a number out of its range.
        """
        if count < 1 or start < 0:
            raise ValueError("count must be at least 1, start at least 0.")
        label = self._category_number(category)
        wishes = [Wish(seed=seed, index=index, label=label) for index in range(start, start + count)]
        return list(self._pictures(wishes, truncation))

    def sample_each(
        self, wishes: Sequence[tuple[int, str | None]], *, truncation: float = 1.0
    ) -> Iterator[Image.Image]:
        """For every ``(seed, category)`` the picture that ``sample(1, seed=seed, category=category)`` gives, in order.

        On a GPU many are made at once; they come one by one.

        Raises:
            UnknownCategory, ValueError: as :meth:`sample`, before the first picture is made.
        """
        asked = [Wish(seed=seed, index=0, label=self._category_number(category)) for seed, category in wishes]
        return self._pictures(asked, truncation)

    def _pictures(self, wishes: Sequence[Wish], truncation: float) -> Iterator[Image.Image]:
        from .pictures import to_pillow

        if any(wish.seed < 0 for wish in wishes) or not (0.0 <= truncation <= 1.0):
            raise ValueError("seed must be at least 0, truncation between 0 and 1.")
        return (to_pillow(array) for array in self._arrays(wishes, truncation))

    @abstractmethod
    def _arrays(self, wishes: Sequence[Wish], truncation: float) -> Iterator[NDArray[np.uint8]]:
        """An array of shape ``(c, h, w)`` for each wish."""

    def _category_number(self, category: str | None) -> int | None:
        if category is None:
            return None if self.categories else 0
        if category not in self.categories:
            have = f"It has: {', '.join(self.categories)}." if self.categories else "It has no categories at all."
            raise UnknownCategory(f"The model has no category {category!r}. {have}")
        return self.categories.index(category)


class LoadedGenerator(Sampler):
    """A trained generator that runs on PyTorch."""

    def __init__(self, network: Generator, card: Mapping[str, Any], device: torch.device) -> None:
        super().__init__(card)
        self.network = network
        self._device = device
        # A network's last bits depend on the shape of the batch. On a CPU pictures are made one at a time, on a GPU
        # always in chunks of one length, the last one filled up.
        self._chunk = 1 if device.type == "cpu" else GPU_CHUNK

    def _arrays(self, wishes: Sequence[Wish], truncation: float) -> Iterator[NDArray[np.uint8]]:
        import torch

        from .samples import to_bytes

        for start in range(0, len(wishes), self._chunk):
            some = wishes[start : start + self._chunk]
            vectors, labels = self._vectors((*some, *[some[-1]] * (self._chunk - len(some))), truncation)
            with torch.no_grad():
                pictures = self.network(vectors.to(self._device), labels.to(self._device))
            yield from to_bytes(pictures)[: len(some)]

    def with_network(self, network: Generator) -> LoadedGenerator:
        """The same model with other weights."""
        return LoadedGenerator(network, self.card, self._device)

    def walk(
        self, steps: int, *, category: str | None = None, seed: int = 0, truncation: float = 1.0
    ) -> list[Image.Image]:
        """``steps`` pictures on the way from picture 0 to picture 1 of a seed, both included.

        The way is the great circle between the two random vectors, lengths blended (Shoemake 1985, White 2016): a
        straight line would pass too near to the middle. Smooth changes mean that the model has not just learnt
        single pictures by heart.

        Raises:
            UnknownCategory: the model has no such category.
            ValueError: fewer than two steps, or a number out of its range.
        """
        import torch

        from .pictures import to_pillow
        from .samples import to_bytes

        if steps < 2 or seed < 0 or not 0.0 <= truncation <= 1.0:
            raise ValueError("steps must be at least 2, seed at least 0, truncation between 0 and 1.")
        number = self._category_number(category)
        ends, labels = self._vectors([Wish(seed=seed, index=index, label=number) for index in range(2)], truncation)
        shares = torch.linspace(0.0, 1.0, steps).tolist()
        ways = torch.stack([_between(ends[0], ends[1], share) for share in shares]).to(self._device)
        label = labels[:1].to(self._device)  # of the first: half of a category is none
        with torch.no_grad():
            made = [self.network(way[None], label) for way in ways]
        return [to_pillow(array) for picture in made for array in to_bytes(picture)]

    def _vectors(self, wishes: Sequence[Wish], truncation: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Random vectors ``(n, latent)`` and numbers of categories ``(n,)`` for wishes."""
        import torch

        from .seeding import generator

        vectors, labels = [], []
        for wish in wishes:
            rng = generator(wish.seed, "sample", wish.index)
            drawn = int(torch.randint(max(1, len(self.categories)), (1,), generator=rng))
            labels.append(drawn if wish.label is None else wish.label)
            vectors.append(self.network.draw(rng, torch.tensor(labels[-1:]), truncation))
        return torch.cat(vectors), torch.tensor(labels)


def _between(first: torch.Tensor, last: torch.Tensor, share: float) -> torch.Tensor:
    """A point of the great circle from ``first`` to ``last``, its length between theirs."""
    one, other = first.norm(), last.norm()
    if share in (0.0, 1.0):
        return last if share else first
    if min(float(one), float(other)) == 0.0:
        return first.lerp(last, share)
    angle = float((first / one).dot(last / other).clamp(-1.0, 1.0).acos())
    if angle < 1e-4:
        return first.lerp(last, share)
    length = one.lerp(other, share)
    turned = math.sin((1.0 - share) * angle) * first / one + math.sin(share * angle) * last / other
    return turned * length / math.sin(angle)


def load_generator(
    folder: str | Path, device: str = "cpu", *, expected_sha256: str | None = None, threads: int | None = None
) -> Sampler:
    """Load the generator of an output folder, of a training run or of a compression.

    A model of PyTorch: see :func:`load_network`. One that was exported to ONNX is checked likewise and runs on
    onnxruntime; PyTorch is not imported for it.

    Args:
        folder: where the model lies.
        device: ``cpu`` or ``cuda``; an ONNX model always runs on the CPU.
        expected_sha256: what the weights must hash to besides what ``model.json`` says.
        threads: for an ONNX model; default: as many as PyTorch would take.

    Raises:
        ModelFileError: also when the model is for another purpose than making pictures.
    """
    path = Path(folder)
    card = read_card(path / files.CARD)
    if card.get("runtime") == ONNX_RUNTIME:
        from .compression.runtime import load_onnx

        return load_onnx(path, card, expected_sha256=expected_sha256, threads=threads)
    from .families.base import Generator

    network, card, target = load_network(path, device, expected_sha256=expected_sha256)
    if not isinstance(network, Generator):
        raise ModelFileError(
            f"The model in {folder} is for the purpose {card.get('purpose')!r}; pictures can't be generated with it."
        )
    return LoadedGenerator(network, card, target)


def load_network(
    folder: str | Path, device: str = "cpu", *, expected_sha256: str | None = None
) -> tuple[torch.nn.Module, dict[str, Any], torch.device]:
    """Load the model of an output folder, whatever it is for: network, content of ``model.json``, device.

    The SHA-256 of the weights is compared with ``model.json`` (and ``expected_sha256``) before they are parsed; names,
    shapes and kinds must be exactly the network's, and every value finite. Nothing is unpickled.

    Raises:
        ModelFileError: anything of this doesn't hold.
    """
    import torch

    from .families import get_family
    from .folder import from_safetensors
    from .networks import to_device

    path = Path(folder)
    card = read_card(path / files.CARD)
    if card.get("runtime") == ONNX_RUNTIME:
        raise ModelFileError(f"{path} is an export to ONNX; only its pictures can be asked for.")
    weights = path / files.WEIGHTS
    data = read_weights(weights, card, expected_sha256)
    try:
        tensors, _values = from_safetensors(data)
        network = get_family(str(card["architecture"])).build_generator(card["network"])
    except (MLError, TypeError, ValueError, KeyError, RuntimeError) as error:
        raise ModelFileError(f"The model in {path} can't be built: {error}") from None
    _check_tensors(tensors, network.state_dict(), weights)
    network.load_state_dict(tensors)
    target = torch.device(device)
    to_device(network.eval().requires_grad_(False), target)
    return network, card, target


def read_weights(weights: Path, card: Mapping[str, Any], expected_sha256: str | None) -> bytes:
    """The bytes of a model's weights, which are those that its description (and the caller) expects.

    Raises:
        ModelFileError: missing, too large, or another SHA-256.
    """
    try:
        if weights.stat().st_size > MAX_WEIGHTS_BYTES:
            raise ModelFileError(f"{weights} is larger than any model of this product.")
        data = weights.read_bytes()
    except OSError as error:
        raise ModelFileError(f"The weights {weights} can't be read: {error.strerror}.") from None
    sha256 = files.sha256_bytes(data)
    if sha256 not in {card["sha256"], card.get("next_sha256")}:
        raise ModelFileError(
            f"{weights} is not the file that {files.CARD} describes (its SHA-256 differs). Restore both from a copy."
        )
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise ModelFileError(f"{weights} has changed since the model was registered (its SHA-256 differs).")
    return data


def read_card(path: Path) -> dict[str, Any]:
    """The description of a model.

    Raises:
        ModelFileError: missing, unreadable, or not such a description.
    """
    try:
        card = files.read_json(path)
    except FileNotFoundError:
        raise ModelFileError(f"There is no trained model in {path.parent} ({path.name} is missing).") from None
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path} can't be read: {error}.") from None
    needed = {"architecture", "network", "size", "channels", "categories", "sha256"}
    if not isinstance(card, dict) or not needed <= card.keys():
        raise ModelFileError(f"{path} is not the description of a trained model.")
    return card


def _check_tensors(given: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], path: Path) -> None:
    import torch

    if given.keys() != wanted.keys():
        odd = sorted(given.keys() ^ wanted.keys())[:3]
        raise ModelFileError(f"{path} doesn't fit its network: {', '.join(odd)} missing or too many.")
    for name, tensor in given.items():
        if tensor.shape != wanted[name].shape or tensor.dtype != wanted[name].dtype:
            raise ModelFileError(
                f"{path}: {name} is {tuple(tensor.shape)} {tensor.dtype}, "
                f"its network needs {tuple(wanted[name].shape)} {wanted[name].dtype}."
            )
        if not bool(torch.isfinite(tensor).all()):
            raise ModelFileError(f"{path}: {name} holds values that are not finite numbers.")


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m shopgen_django.ml.sample", description="Make pictures from a trained model."
    )
    parser.add_argument("folder", metavar="FOLDER", help="output folder of a training run")
    parser.add_argument("--count", type=int, default=16, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--start", type=int, default=0, metavar="I", help="number of the first (default: %(default)s)")
    parser.add_argument("--category", metavar="NAME", help="only this category; default: one drawn for each picture")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="same seed, same pictures (default: %(default)s)"
    )
    parser.add_argument(
        "--truncation", type=float, default=1.0, metavar="T", help="0..1, less variety below 1 (default: %(default)s)"
    )
    parser.add_argument("--output", metavar="DIR", required=True, help="folder for 00000.png ...")
    parser.add_argument("--sheet", metavar="FILE", help="also write a contact sheet")
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), default="cpu", help="default: %(default)s")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0, or 1 with a message on standard error."""
    options = build_parser().parse_args(arguments)
    set_thread_policy()
    from .pictures import png_bytes, sheet

    try:
        model = load_generator(options.folder, options.device)
        pictures = model.sample(
            options.count,
            category=options.category,
            seed=options.seed,
            truncation=options.truncation,
            start=options.start,
        )
        folder = Path(options.output)
        folder.mkdir(parents=True, exist_ok=True)
        for index, picture in enumerate(pictures, start=options.start):
            files.write_bytes(folder / f"{index:05d}.png", png_bytes(picture))
        if options.sheet:
            columns = math.ceil(math.sqrt(len(pictures)))
            scale = max(1, 128 // model.size)
            files.write_bytes(Path(options.sheet), png_bytes(sheet(pictures, columns=columns, scale=scale)))
    except (MLError, ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{len(pictures)} pictures in {folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
