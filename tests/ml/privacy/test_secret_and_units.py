"""Numbers nobody can guess; which photos belong together; Poisson sampling of the groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.data import Pictures
from shopgen_django.ml.families.base import DataFacts
from shopgen_django.ml.privacy.feed import PoissonFeed
from shopgen_django.ml.privacy.secret import draw_secret, keyed_digest, normals, stream
from shopgen_django.ml.privacy.units import find_units

SECRET = b"s" * 32


def pictures(groups: list[str | None], hashes: list[str] | None = None) -> Pictures:
    """Pictures whose every pixel is their own number."""
    files: list[dict[str, Any]] = [
        {"file": f"{i}.png", "category": None, "group": group, "sha256": hashes[i] if hashes else str(i)}
        for i, group in enumerate(groups)
    ]
    images = np.arange(len(groups), dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 16, 16), dtype=np.uint8)
    labels = np.zeros(len(groups), dtype=np.int64)
    return Pictures(images=images, labels=labels, categories=(), manifest={"digest": "d", "files": files})


def feed(data: Pictures, rate: float, *, secret: bytes = SECRET, flip: bool = False) -> PoissonFeed:
    config = TrainConfig(batch_size=2, seed=3, flip=flip)
    facts = DataFacts(count=len(data.images), size=16, channels=1, categories=0)
    return PoissonFeed(data, find_units(data), config, facts, torch.device("cpu"), sample_rate=rate, secret=secret)


def test_noise_has_the_distribution_it_should() -> None:
    numbers = normals(SECRET, "noise", 0, 100_001)
    assert len(numbers) == 100_001
    assert abs(numbers.mean()) < 4 / np.sqrt(1e5)
    assert numbers.std() == pytest.approx(1.0, abs=0.01)
    assert np.mean(np.abs(numbers) > 1.959964) == pytest.approx(0.05, abs=0.004)
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.015
    halves = np.corrcoef(numbers[:50_000], numbers[50_001:100_001])  # the two numbers of a pair
    assert abs(halves[0, 1]) < 0.02


def test_numbers_are_a_function_of_secret_purpose_and_step() -> None:
    first = stream(SECRET, "noise", 1, 8)
    assert np.array_equal(first, stream(SECRET, "noise", 1, 8))
    assert np.array_equal(first, stream(SECRET, "noise", 1, 20)[:8])
    for other in (stream(b"t" * 32, "noise", 1, 8), stream(SECRET, "sample", 1, 8), stream(SECRET, "noise", 11, 8)):
        assert not np.any(first == other)
    assert np.all((first >= 0) & (first < 1))
    assert draw_secret() != draw_secret()
    assert keyed_digest(SECRET, "a") != keyed_digest(b"t" * 32, "a")


def test_photos_of_one_product_and_equal_files_are_one_unit() -> None:
    units = find_units(pictures(["a", "a", None, "b", None, "b"], ["1", "2", "3", "4", "3", "6"]))
    assert [list(m) for m in units.members] == [[0, 1], [2, 4], [3, 5]]
    assert (units.count, units.pictures, units.named, units.word) == (3, 6, True, "products")
    alone = find_units(pictures([None, None]))
    assert (alone.count, alone.named, alone.word) == (2, False, "files")


def test_products_that_share_a_photo_are_one_unit() -> None:
    units = find_units(pictures(["a", "b", "b", "c"], ["same", "same", "other", "third"]))
    assert [list(m) for m in units.members] == [[0, 1, 2], [3]]


def test_every_unit_takes_part_at_its_rate_with_one_photo_at_most() -> None:
    data = pictures(["many"] * 5 + ["one", "two", "two"])
    source = feed(data, 0.25)
    steps = 2_000
    counts = np.zeros(8)
    sizes = []
    for step in range(steps):
        chosen = source.chosen(step)
        assert len({("many" if i < 5 else "one" if i == 5 else "two") for i in chosen}) == len(chosen)
        counts[chosen] += 1
        sizes.append(len(chosen))
    by_unit = np.array([counts[:5].sum(), counts[5], counts[6:].sum()]) / steps
    assert np.all(np.abs(by_unit - 0.25) < 0.04)  # four standard errors
    assert counts[:5].min() > 0.03 * steps  # each photo of the product has its turn
    # Independent units: the size is binomial, empty batches among them; a fixed size would have no variance.
    assert np.var(sizes) == pytest.approx(3 * 0.25 * 0.75, rel=0.15)
    assert sizes.count(0) == pytest.approx(steps * 0.75**3, rel=0.15)


def test_batches_depend_on_the_secret_not_on_the_seed_alone() -> None:
    data = pictures([None] * 40)
    ours = [tuple(feed(data, 0.5).chosen(step)) for step in range(3)]
    assert ours == [tuple(feed(data, 0.5).chosen(step)) for step in range(3)]
    assert ours != [tuple(feed(data, 0.5, secret=b"t" * 32).chosen(step)) for step in range(3)]


def test_public_numbers_of_a_step_are_the_same_whoever_takes_part() -> None:
    """Made pictures must not depend on the private batch, not even on its length."""
    few, many = (
        feed(pictures([None] * 40), 0.1, flip=True).batch(5),
        feed(pictures([None] * 40), 0.9, flip=True).batch(5),
    )
    assert len(few.real) != len(many.real)
    assert torch.equal(torch.rand(4, generator=few.rng), torch.rand(4, generator=many.rng))  # type: ignore[arg-type]


def test_an_empty_batch_is_a_batch() -> None:
    batch = feed(pictures([None] * 4), 0.0).batch(0)
    assert batch.real.shape == (0, 1, 16, 16)
    assert len(batch.labels) == len(batch.real_again) == 0


def test_secret_files_are_for_the_owner(tmp_path: Path) -> None:
    from shopgen_django.ml.privacy.session import forget_secret, run_secret

    first = run_secret(tmp_path)
    assert run_secret(tmp_path) == first
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "private" / "secret").stat().st_mode & 0o777 == 0o600
    forget_secret(tmp_path)
    assert run_secret(tmp_path) != first
