"""Small categories are shown more often, evenly within, as a function of the position alone."""

from __future__ import annotations

import numpy as np
import pytest

from shopgen_django.ml.balance import BalancedShuffle, is_uneven

LABELS = np.array([0] * 400 + [1] * 100 + [2] * 4, dtype=np.int64)


def test_shares_follow_the_square_root() -> None:
    stream = BalancedShuffle(LABELS, 0, "real")
    shown = np.bincount(LABELS[stream.take(0, 20 * len(LABELS))], minlength=3) / (20 * len(LABELS))
    assert shown == pytest.approx([20 / 32, 10 / 32, 2 / 32], abs=0.003)


def test_each_photo_of_a_category_before_any_again() -> None:
    stream = BalancedShuffle(LABELS, 3, "real")
    taken = stream.take(0, 5 * len(LABELS))
    for label in range(3):
        own = taken[LABELS[taken] == label]
        size = int(np.count_nonzero(label == LABELS))
        for start in range(0, len(own) - size + 1, size):
            assert len(set(own[start : start + size])) == size


@pytest.mark.parametrize("start", [0, 1, 503, 504, 505, 1300])
def test_any_part_is_the_part_of_the_whole(start: int) -> None:
    whole = BalancedShuffle(LABELS, 7, "again").take(0, 2000)
    fresh = BalancedShuffle(LABELS, 7, "again")
    assert np.array_equal(fresh.take(start, 600), whole[start : start + 600])
    assert not np.array_equal(BalancedShuffle(LABELS, 8, "again").take(start, 600), whole[start : start + 600])


def test_a_category_with_one_photo() -> None:
    labels = np.array([0] * 50 + [1], dtype=np.int64)
    taken = labels[BalancedShuffle(labels, 0, "real").take(0, 51)]
    assert set(taken) == {0, 1}


@pytest.mark.parametrize(("counts", "wanted"), [((10, 40), False), ((10, 41), True), ((5,), False), ((0, 9, 9), False)])
def test_uneven(counts: tuple[int, ...], wanted: bool) -> None:
    assert is_uneven(np.repeat(np.arange(len(counts)), counts)) is wanted
