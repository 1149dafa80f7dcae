"""``denoise``: noise goes, clean photos and transparency stay, lost detail is told; engines; the job."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

from shopgen_django.engines import get_engine
from shopgen_django.engines.denoise import Denoise
from shopgen_django.exceptions import JobCancelled, PermanentError
from shopgen_django.imaging.detail import kept_detail
from shopgen_django.imaging.plain_denoise import estimate_sigma, smooth
from shopgen_django.jobs.runner import run_job
from shopgen_django.models import ProductImage
from shopgen_django.operations.base import OperationContext
from shopgen_django.operations.registry import get_operation
from shopgen_django.services.submit import submit_job
from tests.factories import make_image, make_user

from .studio import noisy, photo, psnr, run, source


def text_picture() -> Image.Image:
    image = Image.new("RGB", (240, 120), (236, 232, 226))
    draw = ImageDraw.Draw(image)
    for line, size in enumerate((20, 16, 12)):
        draw.text((10, 8 + 34 * line), "Größe M 42 · 100 % Wolle", fill=(40, 40, 60), font=ImageFont.load_default(size))
    return image


def test_noise_goes_and_is_measured() -> None:
    clean = photo(7)
    dirty = noisy(clean, 25.0)
    output = run("denoise", dirty)
    assert psnr(output.image, clean) > psnr(dirty, clean) + 4.0
    assert output.measurements["noise"] == pytest.approx(25.0, rel=0.35)
    assert output.measurements["changed"] == 1.0
    assert output.image.size == clean.size and output.format == "PNG"
    assert (output.parents, output.alt_text, output.category) == (("image-0",), "A red dress", "Dress")


def test_jpeg_blocks_go_as_well() -> None:
    import io

    clean = photo(3)
    file = io.BytesIO()
    clean.save(file, "JPEG", quality=25)
    with Image.open(file) as opened:
        blocky = opened.convert("RGB")
    assert psnr(run("denoise", blocky, strength=1.0).image, clean) > psnr(blocky, clean) + 0.3


def test_what_has_no_noise_is_left_alone_to_the_last_bit() -> None:
    drawn = text_picture()
    for clean in (drawn, Image.new("L", (50, 40), 200), Image.new("RGB", (60, 60), "white")):
        output = run("denoise", clean)
        assert output.measurements["changed"] == 0.0
        assert output.image.tobytes() == clean.tobytes()
    assert run("denoise", noisy(photo(1), 20.0), strength=0.0).measurements["changed"] == 0.0


def test_transparency_and_grey_are_kept() -> None:
    dirty = noisy(photo(2), 20.0)
    clear = dirty.copy()
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    output = run("denoise", clear, level=20.0)
    assert output.image.mode == "RGBA" and output.format == "PNG"
    assert output.image.getchannel("A").tobytes() == clear.getchannel("A").tobytes()
    assert run("denoise", source(clear, kind="WEBP"), format="JPEG").format == "PNG"
    assert run("denoise", source(dirty, kind="JPEG")).format == "JPEG"
    grey = noisy(photo(2).convert("L"), 20.0)
    assert run("denoise", grey).image.mode == "L"


def test_letters_stay_letters() -> None:
    clean = text_picture()
    output = run("denoise", noisy(clean, 15.0))
    assert output.measurements["edges_kept"] >= 0.95 and not output.held_back
    truth = kept_detail(clean, output.image)
    assert truth.edges >= 0.95


def test_a_result_that_lost_its_detail_is_held_back() -> None:
    class Blur(Denoise):
        def denoise(self, image: Image.Image, **values: Any) -> Any:
            found = super().denoise(image, **{**values, "strength": 1.0})
            from dataclasses import replace

            from PIL import ImageFilter

            return replace(found, image=found.image.filter(ImageFilter.GaussianBlur(3)))

    from shopgen_django.engines import registry

    registry._ENGINES["denoise"] = Blur()
    try:
        output = run("denoise", noisy(text_picture(), 15.0))
    finally:
        registry.reset_engines()
    assert "Look closely" in output.held_back


def test_the_work_stops_when_the_job_is_cancelled() -> None:
    class Stop:
        calls = 0

        def __call__(self) -> None:
            self.calls += 1
            if self.calls > 1:
                raise JobCancelled("stop")

    operation = get_operation("denoise")
    large = noisy(photo(0).resize((600, 600)), 20.0)
    context = OperationContext(params=operation.Parameters.parse({}), inputs=(source(large),), check=Stop())
    with pytest.raises(JobCancelled):
        list(operation.run(context))


def test_the_plain_engine_needs_no_pytorch(settings: Any) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "ENGINES": {"denoise": {"OPTIONS": {"MODEL": "plain"}}}}
    clean = photo(5)
    dirty = noisy(clean, 15.0)
    output = run("denoise", dirty)
    assert psnr(output.image, clean) > psnr(dirty, clean) + 2.0
    assert get_engine("denoise").identity() == "plain"
    code = (
        "import sys; from PIL import Image; from shopgen_django.imaging.plain_denoise import smooth;"
        "smooth(Image.new('RGB', (40, 40)), 10.0); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_strips_of_the_plain_filter_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    from shopgen_django.imaging.cutout import alpha

    dirty = noisy(photo(4), 20.0)
    whole = smooth(dirty, 20.0)
    monkeypatch.setattr(alpha, "_STRIP_PIXELS", 128 * 10)
    assert smooth(dirty, 20.0).tobytes() == whole.tobytes()


@pytest.mark.parametrize("sigma", [4.0, 15.0, 40.0])
def test_wavelets_tell_how_much_noise_there_is(sigma: float) -> None:
    flat = Image.new("RGB", (200, 150), (128, 120, 110))
    assert estimate_sigma(noisy(flat, sigma)) == pytest.approx(sigma, rel=0.08)
    assert estimate_sigma(Image.new("L", (3, 1))) == 0.0


def test_wrong_options_and_tiny_pictures_are_told(settings: Any) -> None:
    with pytest.raises(PermanentError, match="too small"):
        run("denoise", Image.new("RGB", (4, 40)))
    settings.SHOPGEN = {**settings.SHOPGEN, "ENGINES": {"denoise": {"OPTIONS": {"MODEL": "best"}}}}
    assert "built in: " in get_engine("denoise").check()[0]
    with pytest.raises(PermanentError, match="built in"):
        run("denoise", photo(0))


@pytest.mark.django_db
def test_the_job_makes_a_picture_for_review() -> None:
    image = make_image(content=source(noisy(photo(0), 20.0)).content)
    job, _new = submit_job(operation="denoise", inputs=[image], user=make_user("anna", "submit_job"))
    assert job.model_version is None  # the one that ships is used
    run_job(str(job.pk))
    job.refresh_from_db()
    assert job.state == "succeeded", job.error_detail
    made = ProductImage.objects.get(job=job)
    assert list(made.parents.all()) == [image]
