"""``cut_out`` on the files and products that such tools trip over: each through the intake, as an upload would come."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw, ImageFilter

from shopgen_django.imaging.background import Ground, on_ground
from shopgen_django.imaging.intake import normalise
from shopgen_django.operations.base import Output
from tests.imaging import hostile as make
from tests.operations.test_cut_out import run

WIDTH, HEIGHT = 160, 120
RED, GREEN = (190, 40, 50), (120, 160, 130)


def scene() -> tuple[Image.Image, np.ndarray]:
    """A red product on a grainy green ground, unlike its own mirror images, and where it is."""
    mask = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(mask).polygon([(45, 100), (55, 25), (90, 20), (95, 60), (125, 65), (120, 100)], fill=255)
    truth = np.asarray(mask) > 127
    pixels = np.where(truth[..., None], RED, GREEN) + np.random.default_rng(1).normal(0, 4, (HEIGHT, WIDTH, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), truth


def uploaded(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(normalise(data).data)) as image:
        image.load()
        return image


def overlap(output: Output, truth: np.ndarray) -> float:
    found = np.asarray(output.image.getchannel("A")) > 127
    assert found.shape == truth.shape
    return float((found & truth).sum() / (found | truth).sum())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_camera_may_be_held_in_any_way(orientation: int) -> None:
    image, truth = scene()
    stored: Callable[[np.ndarray], np.ndarray] = {
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1), 6: np.rot90, 7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
        8: lambda a: np.rot90(a, -1),
    }[orientation]  # fmt: skip
    turned = Image.fromarray(np.ascontiguousarray(stored(np.asarray(image))))
    output = run("cut_out", uploaded(make.encoded(turned, "JPEG", quality=95, exif=make.exif(orientation))))
    assert output.image.size == (WIDTH, HEIGHT) and overlap(output, truth) > 0.92
    assert output.image.getexif().get(274, 1) == 1


def _other_primaries(image: Image.Image) -> bytes:
    """The same colours to the eye in a file whose profile has red and green in each other's place."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for number in range(int.from_bytes(profile[128:132], "big")):
        entry = 132 + 12 * number
        name = bytes(profile[entry : entry + 4])
        profile[entry : entry + 4] = {b"rXYZ": b"gXYZ", b"gXYZ": b"rXYZ"}.get(name, name)
    red, green, blue = image.split()
    return make.encoded(Image.merge("RGB", (green, red, blue)), "PNG", icc_profile=bytes(profile))


def _sixteen_bits(image: Image.Image) -> bytes:
    rows = np.asarray(image).astype(">u2") * 257
    return make.png_of(WIDTH, HEIGHT, bits=16, data=b"".join(b"\0" + row.tobytes() for row in rows.astype(">u2")))


FILES: dict[str, Callable[[Image.Image], bytes]] = {
    "profile": _other_primaries,
    "16 bit": _sixteen_bits,
    "palette": lambda image: make.encoded(image.quantize(32), "PNG"),
    "cmyk": lambda image: make.encoded(image.convert("CMYK"), "JPEG", quality=95),
}


@pytest.mark.parametrize("kind", FILES)
def test_the_kind_of_file_does_not_matter(kind: str) -> None:
    image, truth = scene()
    output = run("cut_out", uploaded(FILES[kind](image)))
    assert overlap(output, truth) > 0.92
    cut = np.asarray(output.image)
    solid = cut[(cut[..., 3] == 255) & truth][:, :3].mean(axis=0)
    assert np.abs(solid - RED).max() < 20


def test_shrunk_afterwards_no_old_ground_comes_out_from_under_clear_pixels() -> None:
    image, _truth = scene()
    cut = run("cut_out", image).image
    careless = np.asarray(cut.resize((40, 30), Image.Resampling.BOX), np.float32)  # not premultiplied
    seen = careless[careless[..., 3] > 60][:, :3]
    assert (seen[:, 0] > seen[:, 1] + 60).all()  # red everywhere, no green


def test_a_white_product_on_white_is_held_back() -> None:
    _image, truth = scene()
    pixels = np.where(truth[..., None], 250, 252) + np.random.default_rng(2).normal(0, 2, (HEIGHT, WIDTH, 3))
    output = run("cut_out", Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)))
    assert output.held_back


def test_glass_is_held_back_or_kept_whole() -> None:
    """Alpha from colours can't tell glass: it must not come out with holes and be called sure."""
    rng = np.random.default_rng(3)
    ground = 150 + 25 * np.sin(np.arange(WIDTH) / 6)[None, :, None] + np.zeros((HEIGHT, WIDTH, 3))
    mask = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(mask).rounded_rectangle((55, 20, 105, 105), 8, fill=255)
    soft = np.asarray(mask.filter(ImageFilter.GaussianBlur(1)), np.float32)[..., None] / 255
    glass = 0.9 * ground + 0.1 * 235
    pixels = ground * (1 - soft) + glass * soft + rng.normal(0, 2, ground.shape)
    output = run("cut_out", Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)))
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[30:95, 62:98] = True
    solid = (np.asarray(output.image)[..., 3][inside] > 242).mean() if output.image.mode == "RGBA" else 0.0
    assert output.held_back or solid > 0.995


def test_a_handle_keeps_its_hole() -> None:
    image, truth = scene()
    pixels = np.asarray(image).copy()
    hole = np.zeros(truth.shape, bool)
    hole[45:80, 62:84] = True
    pixels[hole] = np.clip(np.random.default_rng(4).normal(GREEN, 4, (int(hole.sum()), 3)), 0, 255)
    alpha = np.asarray(run("cut_out", Image.fromarray(pixels)).image)[..., 3]
    assert (alpha[hole] < 128).mean() > 0.8


def test_a_fringe_shows_no_old_ground_on_any_new_one() -> None:
    """The rim's colours on black, white and red are at most half as wrong as when the photo's own were kept."""
    large = Image.new("L", (4 * WIDTH, 4 * HEIGHT))
    ImageDraw.Draw(large).ellipse((200, 80, 480, 420), fill=255)
    alpha = np.asarray(large.resize((WIDTH, HEIGHT), Image.Resampling.BOX), np.float32)[..., None] / 255
    pixels = np.array(RED) * alpha + np.array(GREEN) * (1 - alpha)
    photo = Image.fromarray(np.rint(pixels).astype(np.uint8))
    cut = run("cut_out", photo).image
    kept = photo.convert("RGBA")
    kept.putalpha(cut.getchannel("A"))
    rim = (np.asarray(cut)[..., 3] > 20) & (np.asarray(cut)[..., 3] < 235)
    assert rim.sum() > 50
    true = Image.new("RGBA", cut.size, RED)
    true.putalpha(cut.getchannel("A"))
    for colour in ((0, 0, 0), (255, 255, 255), (255, 0, 0)):
        ours, theirs, right = (
            np.asarray(on_ground(each, Ground(colour=colour)), np.float32)[rim] for each in (cut, kept, true)
        )
        assert np.abs(ours - right).mean() < 0.5 * np.abs(theirs - right).mean()


def test_a_floor_without_a_product_is_held_back() -> None:
    grain = np.random.default_rng(5).normal(0, 9, (HEIGHT, WIDTH, 1)) + np.array((150, 120, 95))
    planks = np.where(np.arange(WIDTH) % 40 < 2, -45, 0)[None, :, None]
    assert run("cut_out", Image.fromarray(np.clip(grain + planks, 0, 255).astype(np.uint8))).held_back
