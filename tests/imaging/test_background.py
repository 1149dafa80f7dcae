"""A product on a new ground: bytes, light, shadows, placing."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from shopgen_django.imaging.background import Ground, Placing, Shadow, kept_shadow, on_ground


def product(size: tuple[int, int] = (200, 160), *, soft: bool = False) -> Image.Image:
    """A grainy orange box, clear around."""
    grain = np.random.default_rng(2).integers(0, 60, (size[1], size[0], 3), np.uint8)
    pixels = grain + np.array([180, 90, 20], np.uint8)
    alpha = Image.new("L", size)
    ImageDraw.Draw(alpha).rectangle((60, 50, 139, 119), fill=255)
    if soft:
        alpha = alpha.filter(ImageFilter.GaussianBlur(3))
    result = Image.fromarray(pixels.astype(np.uint8))
    result.putalpha(alpha)
    return result


@pytest.mark.parametrize("kind", ["colour", "gradient", "sweep", "photo"])
@pytest.mark.parametrize("shadow", ["none", "contact", "soft"])
def test_solid_pixels_are_the_products_own_to_the_last_bit(kind: str, shadow: str) -> None:
    cut = product(soft=True)
    ground = Ground(kind=kind, photo=Image.effect_noise((90, 70), 40).convert("RGB"))  # type: ignore[arg-type]
    result = on_ground(cut, ground, shadow=Shadow(kind=shadow))  # type: ignore[arg-type]
    pixels = np.asarray(cut)
    solid = pixels[..., 3] == 255
    assert result.mode == "RGB" and result.size == cut.size
    assert np.array_equal(np.asarray(result)[solid], pixels[solid][:, :3])


def test_white_is_white() -> None:
    result = np.asarray(on_ground(product(), Ground()))
    assert (result[:40] == 255).all()


def test_soft_edges_mix_in_linear_light() -> None:
    cut = Image.new("RGBA", (16, 16), (0, 0, 0, 128))
    value = int(np.asarray(on_ground(cut, Ground(colour=(255, 255, 255))))[8, 8, 0])
    light = 1 - 128 / 255  # half the light, which sRGB writes as about 187, not 127
    assert abs(value - round(255 * (1.055 * light ** (1 / 2.4) - 0.055))) <= 1


def test_a_gradient_runs_from_one_colour_to_the_other() -> None:
    ground = Ground(kind="gradient", colour=(200, 0, 0), second=(0, 0, 200))
    result = np.asarray(on_ground(product(), ground)).astype(int)
    assert np.abs(result[0, 0] - (200, 0, 0)).max() <= 2 and np.abs(result[-1, 0] - (0, 0, 200)).max() <= 2


def test_a_made_shadow_is_darkest_under_the_foot_and_away_from_the_product() -> None:
    plain = np.asarray(on_ground(product(), Ground(colour=(230, 230, 230))))[..., 0].astype(int)
    shaded = np.asarray(on_ground(product(), Ground(colour=(230, 230, 230)), shadow=Shadow(kind="soft", strength=0.5)))
    dark = plain - shaded[..., 0]
    assert dark[121:126, 80:120].mean() > 12
    assert dark[:20].mean() < 2 and dark[121:126, 80:120].mean() > 2 * dark[30:45, 80:120].mean()


def test_a_kept_shadow_is_found_and_an_even_ground_has_none() -> None:
    size = (200, 160)
    alpha = np.asarray(product().getchannel("A"))
    falling = np.linspace(225, 180, size[1])[:, None] * np.ones((1, size[0]))  # light falls off downwards
    even = Image.fromarray(falling.astype(np.uint8)).convert("RGB")
    assert kept_shadow(even, alpha)[alpha == 0].min() > 0.95
    shade = np.ones((size[1], size[0]))
    shade[121:140, 60:150] = 0.6
    shaded = Image.fromarray((falling * shade).astype(np.uint8)).convert("RGB")
    light = kept_shadow(shaded, alpha)
    assert light[126:136, 80:130].mean() < 0.6  # in linear light darker than the sRGB factor
    assert light[:40].min() > 0.95
    half = kept_shadow(shaded, alpha, strength=0.5)
    assert abs((1 - half[130, 100]) - (1 - light[130, 100]) / 2) < 0.01


@pytest.mark.parametrize("stand", [False, True])
def test_the_product_fills_the_canvas_up_to_its_margin(stand: bool) -> None:
    placing = Placing(size=(300, 300), margin=0.1, stand=stand, max_upscale=4)
    result = np.asarray(on_ground(product(), Ground(), placing=placing))
    rows, columns = np.nonzero((result != 255).any(axis=2))
    assert result.shape == (300, 300, 3)
    assert abs(columns.min() - 30) <= 1 and abs(columns.max() - 269) <= 1
    assert abs(rows.max() - (269 if stand else 150 + 105)) <= 2


def test_a_small_product_is_not_blown_up() -> None:
    result = np.asarray(on_ground(product(), Ground(), placing=Placing(size=(900, 900), max_upscale=1.5)))
    columns = np.nonzero((result != 255).any(axis=2))[1]
    assert abs((columns.max() - columns.min() + 1) - 120) <= 2


def test_a_large_picture_is_worked_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = on_ground(product(soft=True), Ground(kind="sweep"), shadow=Shadow(kind="soft"))
    monkeypatch.setattr("shopgen_django.imaging.cutout.alpha._STRIP_PIXELS", 200 * 13)
    calls = []
    parts = on_ground(
        product(soft=True), Ground(kind="sweep"), shadow=Shadow(kind="soft"), check=lambda: calls.append(1)
    )
    assert len(calls) > 5
    assert np.array_equal(np.asarray(whole), np.asarray(parts))


def test_what_cannot_be_laid_on_a_ground_is_refused_in_words() -> None:
    empty = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    with pytest.raises(ValueError, match="empty"):
        on_ground(empty, Ground())
    with pytest.raises(ValueError, match="RGBA"):
        on_ground(empty.convert("RGB"), Ground())
    with pytest.raises(ValueError, match="photo"):
        on_ground(product(), Ground(), shadow=Shadow(kind="keep"))
    with pytest.raises(ValueError, match="photo"):
        Ground(kind="photo")
    with pytest.raises(ValueError, match="margin"):
        Placing(margin=0.6)
