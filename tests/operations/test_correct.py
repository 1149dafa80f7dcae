"""``correct``: casts go, good photos stay, whites keep their folds, a series gets one look; lines, corners, dust."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from shopgen_django.exceptions import InvalidParameters, PermanentError
from shopgen_django.imaging.colour import delta_e, from_linear, lab, to_linear
from shopgen_django.imaging.correcting import Light, apply, find_light, of_series
from shopgen_django.imaging.straightening import find_angle, find_corners
from shopgen_django.jobs.runner import run_job
from shopgen_django.models import ProductImage
from shopgen_django.operations.registry import get_operation
from shopgen_django.services.submit import submit_job
from tests.factories import make_image, make_user

from .studio import noisy, photo, run, run_all, source

Colour = tuple[int, int, int]


def studio(ground: Colour = (245, 245, 245), product: Colour = (180, 40, 60)) -> Image.Image:
    image = Image.new("RGB", (240, 200), ground)
    draw = ImageDraw.Draw(image)
    draw.ellipse((60, 40, 180, 170), fill=product)
    draw.rectangle((110, 90, 130, 120), fill=(20, 20, 24))
    return noisy(image, 1.5)


def cast(image: Image.Image, red: float, blue: float, exposure: float = 1.0) -> Image.Image:
    light = to_linear(np.asarray(image)) * np.array([red, 1.0, blue], np.float32) * exposure / max(red, 1.0, blue)
    return Image.fromarray(np.rint(from_linear(light)).astype(np.uint8))


@pytest.mark.parametrize(("red", "blue"), [(1.3, 0.8), (0.75, 1.2), (1.0, 0.7)])
def test_a_colour_cast_goes(red: float, blue: float) -> None:
    output = run("correct", cast(studio(), red, blue), exposure=False)
    ground = np.asarray(output.image, dtype=float)[5:20, 5:60].mean(axis=(0, 1))
    assert ground.max() - ground.min() < 2.0
    assert output.measurements["gain_red"] / output.measurements["gain_blue"] == pytest.approx(blue / red, rel=0.06)
    assert output.measurements["colour_change"] > 2.0


def test_a_good_photo_is_left_to_the_last_bit() -> None:
    good = studio()
    output = run("correct", good)
    assert output.image.tobytes() == good.tobytes()
    assert output.measurements["colour_change"] == 0.0 and not output.held_back


def test_a_coloured_ground_is_the_shops_choice() -> None:
    pink = studio(ground=(240, 170, 180))
    assert run("correct", pink, exposure=False).image.tobytes() == pink.tobytes()
    made = np.asarray(run("correct", pink, balance="always", exposure=False).image, dtype=float)[5:20, 5:60]
    assert np.ptp(made.mean(axis=(0, 1))) < 25.0
    assert run("correct", cast(studio(), 1.3, 0.8), balance="none", exposure=False).measurements["gain_red"] == 1.0


def test_dark_photos_become_bright_and_white_products_keep_their_folds() -> None:
    folds = studio(ground=(250, 250, 250), product=(236, 236, 236))
    dark = cast(folds, 1.0, 1.0, exposure=0.52)
    made = np.asarray(run("correct", dark).image, dtype=float)
    assert made[10, 10].mean() > 225.0
    inside, around = made[130:160, 90:150].mean(), made[5:20, 5:60].mean()
    assert around - inside > 5.0  # still two whites
    assert (made > 254).mean() < 0.02
    assert run("correct", dark, exposure=False).measurements["exposure"] == 1.0


def test_bright_colours_keep_their_hue() -> None:
    picture = Image.new("RGB", (40, 40), (255, 120, 40))
    made = np.asarray(apply(picture, Light(exposure=1.6)), dtype=float)[5, 5]
    before, after = to_linear(np.asarray(picture)[5, 5]), to_linear(made.astype(np.float32))
    assert after[1] / after[0] == pytest.approx(before[1] / before[0], rel=0.03)


def test_a_series_gets_one_look() -> None:
    photos = [cast(studio(product=product), 1.25, 0.85) for product in ((180, 40, 60), (40, 60, 180), (60, 160, 60))]
    outputs = run_all("correct", *photos)
    assert [output.parents for output in outputs] == [("image-0",), ("image-1",), ("image-2",)]
    assert len({(o.measurements["gain_red"], o.measurements["exposure"]) for o in outputs}) == 1
    alone = [find_light(each, balance=True, exposure=True) for each in photos]
    assert of_series(alone).gains[0] == pytest.approx(np.median([each.gains[0] for each in alone]), rel=1e-3)


def test_transparency_and_grey_are_kept() -> None:
    clear = cast(studio(), 1.3, 0.8)
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    output = run("correct", clear, balance="always")
    assert output.image.getchannel("A").tobytes() == clear.getchannel("A").tobytes()
    assert run("correct", photo(0).convert("L")).image.mode == "L"


@pytest.mark.parametrize("angle", [-5.0, -1.5, 3.0])
def test_tilted_lines_are_levelled(angle: float) -> None:
    shelf = Image.new("RGB", (320, 260), (240, 240, 240))
    draw = ImageDraw.Draw(shelf)
    for y in range(40, 240, 50):
        draw.line((30, y, 290, y), fill=(40, 40, 40), width=3)
    draw.rectangle((120, 60, 200, 200), outline=(60, 60, 160), width=4)
    tilted = shelf.rotate(angle, resample=Image.Resampling.BICUBIC, fillcolor=(240, 240, 240))
    assert find_angle(tilted) == pytest.approx(-angle, abs=0.4)
    output = run("correct", tilted, straighten=True, exposure=False)
    assert output.measurements["turned_degrees"] == pytest.approx(-angle, abs=0.4)
    assert find_angle(output.image) == pytest.approx(0.0, abs=0.4)


def test_what_has_no_lines_is_not_turned() -> None:
    for picture in (photo(0), studio(), Image.new("RGB", (80, 80), "white")):
        assert abs(find_angle(picture)) < 8.0
    assert find_angle(studio()) == 0.0 and find_angle(Image.new("RGB", (80, 80), "white")) == 0.0


def book() -> tuple[Image.Image, list[list[float]]]:
    corners = [(70, 40), (250, 60), (270, 230), (50, 210)]
    image = noisy(Image.new("RGB", (320, 260), (225, 222, 215)), 2.0)
    ImageDraw.Draw(image).polygon(corners, fill=(40, 70, 140))
    return image, [[x / 320, y / 260] for x, y in corners]


def test_flat_goods_are_seen_from_above() -> None:
    image, corners = book()
    found = find_corners(image)
    assert found is not None
    assert np.abs(np.array(found) - np.array(corners)).max() < 0.02
    for params in ({"perspective": "auto"}, {"perspective": "corners", "corners": corners[2:] + corners[:2]}):
        output = run("correct", image, balance="none", exposure=False, **params)
        pixels = np.asarray(output.image, dtype=float)
        assert np.abs(pixels[6:-6, 6:-6] - [40, 70, 140]).max() < 12.0
        assert output.image.width == pytest.approx(221, abs=8) and not output.held_back


def test_no_corners_is_told_and_wrong_ones_are_refused() -> None:
    assert find_corners(studio()) is None
    assert "corners" in run("correct", studio(), perspective="auto").held_back
    image, corners = book()
    with pytest.raises(PermanentError, match="one flat thing"):
        run("correct", image, perspective="corners", corners=[*corners[:3], [0.6, 0.4]])
    for wrong in ([[0, 0]], [[0, 0], [1, 0], [1, 1], [0, 2]], "x", [[0, 0], [1, 0], [1, 1], [0, True]]):
        with pytest.raises(InvalidParameters) as caught:
            get_operation("correct").Parameters.parse({"perspective": "corners", "corners": wrong})
        assert set(caught.value.fields) == {"corners"}
    with pytest.raises(InvalidParameters):
        get_operation("correct").Parameters.parse({"perspective": "corners"})


def test_dust_goes_from_plain_ground() -> None:
    clean = studio()
    dusty = clean.copy()
    ImageDraw.Draw(dusty).ellipse((20, 20, 24, 24), fill=(80, 80, 80))
    output = run("correct", dusty, dust=True)
    assert np.asarray(output.image)[22, 22].mean() > 235
    assert 0.0 < output.measurements["dust_share"] < 0.02


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [  # Sharma, Wu and Dalal 2005, table 1
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, -1.3802, -84.2814), (50.0, 0.0, -82.7485), 1.0000),
        ((50.0, 2.5, 0.0), (50.0, 0.0, -2.5), 4.3065),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_differences_of_colour_are_those_of_the_standard(one: Any, other: Any, expected: float) -> None:
    found = delta_e(np.array([one], np.float32), np.array([other], np.float32))
    assert float(found[0]) == pytest.approx(expected, abs=2e-3)


def test_light_there_and_back_is_exact_and_white_is_white() -> None:
    every = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
    assert (np.rint(from_linear(to_linear(every))).astype(int) == every).all()
    assert lab(np.array([[255, 255, 255]], np.uint8))[0] == pytest.approx([100, 0, 0], abs=0.02)


@pytest.mark.django_db
def test_the_job_gives_each_photo_its_own_result() -> None:
    photos = [cast(studio(product=product), 1.25, 0.85) for product in ((180, 40, 60), (0, 90, 0))]
    images = [make_image(content=source(each).content) for each in photos]
    job, _new = submit_job(operation="correct", inputs=images, user=make_user("anna", "submit_job"))
    run_job(str(job.pk))
    job.refresh_from_db()
    assert job.state == "succeeded", job.error_detail
    made = ProductImage.objects.filter(job=job).order_by("index")
    assert [list(each.parents.all()) for each in made] == [[images[0]], [images[1]]]
