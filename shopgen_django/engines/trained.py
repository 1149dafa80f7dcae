"""Engine over the models that ``train_gan`` makes."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .base import GeneratorEngine, ModelLike

if TYPE_CHECKING:
    from PIL import Image

    from shopgen_django.ml.sample import Sampler


class TrainedGenerator(GeneratorEngine):
    """Keeps the ``CACHE`` most recently used generators in memory (default 2)."""

    def __init__(self, *, CACHE: int = 2, **options: Any) -> None:
        super().__init__(CACHE=CACHE, **options)
        self._capacity = max(1, int(CACHE))
        self._loaded: OrderedDict[tuple[str, str], Sampler] = OrderedDict()
        self._lock = threading.Lock()

    def generate(
        self,
        *,
        model: ModelLike,
        count: int,
        category: str | None,
        seed: int,
        truncation: float,
        device: str = "cpu",
        threads: int = 1,
    ) -> Iterator[tuple[Image.Image, str]]:
        self._prepare(threads)
        generator = self._load(model, device, threads)
        names = generator.categories
        wishes: list[tuple[int, str | None]] = []
        for index in range(count):
            chosen = category
            if chosen is None and names:
                # Without a wish every category gets its turn, so that a handful shows what the model can do.
                chosen = names[(seed + index) % len(names)]
            wishes.append((_seed_of(seed, index), chosen))
        pictures = generator.sample_each(wishes, truncation=truncation)
        for (_seed, chosen), picture in zip(wishes, pictures, strict=True):
            yield picture, chosen or ""

    def _prepare(self, threads: int) -> None:
        import torch

        torch.set_num_threads(max(1, threads))

    def _load(self, model: ModelLike, device: str, threads: int) -> Sampler:
        from shopgen_django.ml.sample import load_generator

        key = (model.weights_sha256, device)
        with self._lock:  # threads of one process (ImmediateQueue) share the engine
            if key in self._loaded:
                self._loaded.move_to_end(key)
                return self._loaded[key]
            generator = load_generator(
                model.folder, device=device, expected_sha256=model.weights_sha256, threads=threads
            )
            self._loaded[key] = generator
            while len(self._loaded) > self._capacity:
                self._loaded.popitem(last=False)
            return generator

    def free(self) -> None:
        with self._lock:
            self._loaded.clear()


def _seed_of(seed: int, index: int) -> int:
    """A seed per picture: neighbouring seeds share no picture, and picture i does not depend on the count."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{index}".encode()).digest()[:4], "big") >> 1
