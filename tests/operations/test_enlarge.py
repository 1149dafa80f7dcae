"""``enlarge``: true to the photo, letters left alone, transparency without a rim, tiles that don't show, limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from shopgen_django.engines import get_engine
from shopgen_django.engines.enlarge import Enlarge
from shopgen_django.exceptions import JobCancelled, PermanentError
from shopgen_django.imaging.detail import kept_detail
from shopgen_django.imaging.enlarging import bled, letters, plain_double
from shopgen_django.jobs.runner import run_job
from shopgen_django.models import ProductImage
from shopgen_django.operations.base import OperationContext
from shopgen_django.operations.registry import get_operation
from shopgen_django.services.submit import submit_job
from tests.factories import make_image, make_user

from .studio import PHOTOS, photo, psnr, run, source


def shrunk(number: int) -> tuple[Image.Image, Image.Image]:
    """A photo with even sides and its half."""
    whole = photo(number)
    whole = whole.crop((0, 0, whole.width // 4 * 4, whole.height // 4 * 4))
    return whole, whole.reduce(2)


def printed(scale: int = 1) -> Image.Image:
    image = Image.new("RGB", (240 * scale, 160 * scale), (238, 236, 230))
    draw = ImageDraw.Draw(image)
    for line in range(5):
        font = ImageFont.load_default(14 * scale)
        draw.text((10 * scale, (8 + 30 * line) * scale), "Größe 42 · Wolle 100 % · £59", fill=(30, 30, 50), font=font)
    return image


def test_it_is_nearer_to_the_photo_than_lanczos() -> None:
    gains = []
    for number in range(0, 240, 24):
        whole, half = shrunk(number)
        made = run("enlarge", half).image
        gains.append(psnr(made, whole) - psnr(half.resize(whole.size, Image.Resampling.LANCZOS), whole))
    assert len(gains) == 10 and np.mean(gains) > 0.2


@pytest.mark.parametrize(("factor", "model"), [("2", "shipped"), ("4", "shipped"), ("2", "plain"), ("4", "plain")])
def test_it_shrinks_back_to_what_it_came_from(factor: str, model: str, settings: Any) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "ENGINES": {"enlarge": {"OPTIONS": {"MODEL": model}}}}
    small = photo(9)
    output = run("enlarge", small, factor=factor)
    times = int(factor)
    assert output.image.size == (small.width * times, small.height * times)
    assert output.measurements["shrinks_back_psnr"] > (45.0 if times == 2 else 40.0)
    assert psnr(output.image.reduce(times), small) == pytest.approx(output.measurements["shrinks_back_psnr"], abs=0.5)
    assert output.parents == ("image-0",)


def test_letters_are_found_and_left_alone() -> None:
    page = printed()
    found = letters(np.asarray(page))
    assert found[10:25, 20:200].mean() > 0.5
    plain = np.full((120, 120, 3), 200, np.uint8)
    assert letters(plain).max() == 0.0
    garments = [letters(np.asarray(photo(number))).mean() for number in (10, 60, 110)]
    assert np.mean(garments) < 0.7  # woven cloth and stripes look alike; they are treated as carefully
    made = run("enlarge", page)
    assert made.measurements["edges_kept"] >= 0.95 and not made.held_back
    large = printed(2)
    assert kept_detail(large, run("enlarge", large.reduce(2)).image).edges >= 0.95
    assert run("enlarge", page, careful=False).image.tobytes() != made.image.tobytes()


def test_transparency_grows_without_a_rim() -> None:
    clear = Image.new("RGBA", (160, 160), (0, 0, 0, 0))  # black under clear pixels, as editors leave it
    ImageDraw.Draw(clear).ellipse((30, 30, 130, 130), fill=(230, 60, 60, 255))
    for output in (run("enlarge", clear), run("enlarge", clear, factor="4")):
        pixels = np.asarray(output.image).astype(int)
        assert output.image.mode == "RGBA" and output.format == "PNG"
        seen = pixels[pixels[..., 3] > 20]
        assert np.abs(seen[:, :3] - [230, 60, 60]).max() <= 12  # no darker rim
    assert run("enlarge", photo(0).convert("L")).image.mode == "L"


def test_colours_are_bled_under_what_is_clear() -> None:
    clear = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    clear.paste((200, 100, 50, 255), (10, 10, 30, 30))
    pixels = np.asarray(bled(clear)).astype(int)
    assert np.abs(pixels[5:35, 5:35] - [200, 100, 50]).max() <= 1
    assert (pixels[0, 0] == 255).all()


@pytest.mark.parametrize("size", [(33, 47), (70, 41)])
def test_tiles_do_not_show(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    from shopgen_django.ml import enlarge

    image = photo(4).resize(size)
    whole = np.asarray(Enlarge().enlarge(image, factor=2)).astype(int)
    monkeypatch.setattr(enlarge, "TILE", 16)
    tiled = np.asarray(Enlarge().enlarge(image, factor=2)).astype(int)
    assert np.abs(whole - tiled).max() <= 1


def test_the_plain_filter_is_lanczos_or_better() -> None:
    whole, half = shrunk(30)
    made = Image.fromarray(plain_double(np.asarray(half)))
    assert psnr(made, whole) >= psnr(half.resize(whole.size, Image.Resampling.LANCZOS), whole) - 0.05


def test_limits_and_small_photos(settings: Any) -> None:
    with pytest.raises(PermanentError, match="at least"):
        run("enlarge", Image.new("RGB", (20, 200)))
    assert "very small" in run("enlarge", photo(0).resize((60, 60))).held_back
    settings.SHOPGEN = {**settings.SHOPGEN, "LIMITS": {"MAX_PIXELS": 100_000}}
    with pytest.raises(PermanentError, match="megapixels") as caught:
        run("enlarge", photo(0).resize((200, 200)))
    assert caught.value.code == "too_large"
    settings.SHOPGEN = {**settings.SHOPGEN, "ENGINES": {"enlarge": {"OPTIONS": {"MODEL": "best"}}}}
    assert "built in: " in get_engine("enlarge").check()[0]


def test_the_work_stops_when_the_job_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    from shopgen_django.ml import enlarge

    monkeypatch.setattr(enlarge, "TILE", 32)
    shares: list[float] = []

    def check() -> None:
        if len(shares) > 2:
            raise JobCancelled("stop")

    operation = get_operation("enlarge")
    context = OperationContext(
        params=operation.Parameters.parse({}), inputs=(source(photo(0)),), check=check,
        report=lambda share, stage="": shares.append(share),
    )
    with pytest.raises(JobCancelled):
        list(operation.run(context))
    assert shares == sorted(shares) and shares[-1] < 0.9


@pytest.mark.django_db
def test_the_job_makes_a_picture_for_review() -> None:
    content = sorted(PHOTOS.rglob("*.jpg"))[0].read_bytes()
    image = make_image(content=content)
    job, _new = submit_job(operation="enlarge", inputs=[image], user=make_user("anna", "submit_job"))
    run_job(str(job.pk))
    job.refresh_from_db()
    assert job.state == "succeeded", job.error_detail
    made = ProductImage.objects.get(job=job)
    assert (made.width, made.height, made.format) == (2 * image.width, 2 * image.height, "JPEG")
