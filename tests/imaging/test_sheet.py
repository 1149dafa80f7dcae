from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from shopgen_django.imaging.sheet import contact_sheet


def test_pictures_lie_in_rows_and_keep_their_shape() -> None:
    pictures = [Image.new("RGB", size, (200, 0, 0)) for size in [(100, 50), (50, 100), (64, 64), (64, 64), (64, 64)]]
    sheet = contact_sheet(pictures, columns=3, cell=40, gap=2, background=(255, 255, 255))
    assert sheet.size == (3 * 42 + 2, 2 * 42 + 2)
    red = np.asarray(sheet)[..., 1] < 128
    assert red[2:42, 2:42].sum() == 40 * 20
    assert red[2:42, 44:84].sum() == 20 * 40
    assert not red[44:84, 86:].any()


def test_small_samples_are_enlarged_with_hard_pixels() -> None:
    sample = Image.fromarray(np.random.default_rng(1).integers(0, 256, (28, 28, 3)).astype(np.uint8))
    sheet = np.asarray(contact_sheet([sample], columns=8, cell=90, gap=0))
    assert sheet.shape == (90, 90, 3)
    assert (sheet[3:87:3, 3:87:3] == np.asarray(sample)).all()


def test_labels_need_room_and_are_cut_to_it() -> None:
    pictures = [Image.new("L", (20, 20), 255)] * 2
    sheet = contact_sheet(pictures, columns=2, cell=40, labels=["a very long label that cannot fit", ""])
    assert sheet.height == 2 + 40 + 2 + 14
    dark = np.asarray(sheet.convert("L")) < 120
    assert dark[42:, :44].any()
    assert not dark[42:, 44:].any()


def test_transparent_pictures_show_the_background() -> None:
    sheet = contact_sheet([Image.new("RGBA", (20, 20), (0, 0, 0, 0))], columns=1, cell=20, background=(9, 8, 7))
    assert (np.asarray(sheet) == (9, 8, 7)).all()


def test_what_cannot_be_laid_out_is_refused() -> None:
    picture = Image.new("RGB", (9, 9))
    with pytest.raises(ValueError, match="at least one picture"):
        contact_sheet([], columns=2, cell=10)
    with pytest.raises(ValueError, match="at least 1"):
        contact_sheet([picture], columns=0, cell=10)
    with pytest.raises(ValueError, match="need as many labels"):
        contact_sheet([picture], columns=1, cell=10, labels=["a", "b"])
