"""``cut_out`` and ``background``: the declaration, results, doubts, engines, and the job that runs them."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from shopgen_django.engines.cutout import CutoutEngine
from shopgen_django.exceptions import InvalidParameters, PermanentError
from shopgen_django.jobs.runner import run_job
from shopgen_django.models import Job, ProductImage
from shopgen_django.models.choices import ImageState
from shopgen_django.operations.base import InputImage, OperationContext, Output
from shopgen_django.operations.registry import get_operation
from shopgen_django.services.submit import submit_job
from tests.factories import make_image, make_user


def photo(width: int = 240, height: int = 200) -> Image.Image:
    """A red product on a plain green ground."""
    image = Image.new("RGB", (width, height), (120, 160, 130))
    ImageDraw.Draw(image).ellipse((width * 0.25, height * 0.2, width * 0.75, height * 0.85), fill=(190, 40, 50))
    noise = np.random.default_rng(1).normal(0, 4, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def source(image: Image.Image, name: str = "one") -> InputImage:
    content = io.BytesIO()
    image.save(content, "PNG")
    return InputImage(
        id=name, content=content.getvalue(), sha256=hashlib.sha256(content.getvalue()).hexdigest(),
        width=image.width, height=image.height, format="PNG", category="Dress", alt_text="A red dress",
    )


def run(operation: str, *images: Image.Image, **params: Any) -> Output:
    chosen = get_operation(operation)
    inputs = tuple(source(image, f"image-{number}") for number, image in enumerate(images))
    parsed = chosen.clean(chosen.Parameters.parse(params))
    (output,) = chosen.run(OperationContext(params=parsed, inputs=inputs))
    return output


def test_a_cut_out_has_the_photos_size_and_says_how_sure_it_is() -> None:
    output = run("cut_out", photo())
    assert output.image.mode == "RGBA" and output.image.size == (240, 200) and output.format == "PNG"
    alpha = np.asarray(output.image.getchannel("A"))
    assert alpha[100, 120] == 255 and alpha[5, 5] == 0
    assert output.measurements["cutout_confidence"] > 0.5 and not output.held_back
    assert (output.alt_text, output.category, output.parents) == ("A red dress", "Dress", ("image-0",))


def test_on_white_it_is_an_opaque_jpeg() -> None:
    output = run("cut_out", photo(), output="white")
    assert output.format == "JPEG" and output.image.mode == "RGB"
    assert output.image.getpixel((3, 3)) == (255, 255, 255)


def test_an_uncertain_cut_out_is_held_back_in_words() -> None:
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 256, (120, 120, 3), np.uint8))
    output = run("cut_out", noise)
    assert "uncertain" in output.held_back or "No product" in output.held_back
    assert not run("cut_out", photo(), sure=0.0).held_back


def test_a_picture_of_one_colour_holds_no_product() -> None:
    output = run("cut_out", Image.new("RGB", (90, 90), (250, 250, 250)), output="white")
    assert output.held_back


def test_strokes_change_the_result() -> None:
    image = Image.new("RGB", (300, 200), (230, 230, 228))
    draw = ImageDraw.Draw(image)
    draw.ellipse((30, 50, 130, 150), fill=(190, 40, 50))
    draw.rectangle((170, 50, 270, 150), fill=(40, 60, 160))
    stroke = {"keep": False, "radius": 0.02, "points": [[0.7, 0.5], [0.75, 0.5]]}
    alpha = np.asarray(run("cut_out", image, strokes=[stroke]).image.getchannel("A"))
    assert (alpha[60:140, 180:260] < 10).mean() > 0.9 and (alpha[80:120, 60:100] > 245).mean() > 0.9


@pytest.mark.parametrize(
    "params",
    [
        {"box": [0, 0, 1]}, {"box": [0.5, 0, 0.2, 1]}, {"box": "all"}, {"box": [0, 0, 1, float("nan")]},
        {"strokes": {"keep": True}}, {"strokes": [{"keep": 1, "points": [[0, 0]]}]},
        {"strokes": [{"keep": True, "points": []}]}, {"strokes": [{"keep": True, "points": [[2, 0]]}]},
        {"strokes": [{"keep": True, "points": [[0, 0]], "colour": "red"}]},
        {"output": "transparent", "format": "JPEG"}, {"sure": 2}, {"colour": "red"},
    ],
)
def test_impossible_parameters_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameters) as caught:
        get_operation("cut_out").Parameters.parse(params)
    assert set(caught.value.fields) & {*params, "format"}


@pytest.mark.parametrize("ground", ["white", "colour", "gradient", "sweep"])
def test_a_new_ground_behind_the_product(ground: str) -> None:
    output = run("background", photo(), ground=ground, shadow="soft", width=320, height=400)
    assert output.image.size == (320, 400) and output.image.mode == "RGB"
    red, green, _blue = output.image.getpixel((160, 200))
    assert red > 150 and green < 90
    if ground == "white":
        assert output.image.getpixel((2, 2)) == (255, 255, 255)


def test_a_ground_of_ones_own_is_the_second_picture() -> None:
    blue = Image.new("RGB", (80, 80), (20, 40, 200))
    output = run("background", photo(), blue, ground="photo", format="PNG")
    assert output.image.getpixel((2, 2)) == (20, 40, 200)
    assert output.parents == ("image-0", "image-1")
    for images, ground in (((photo(), blue), "white"), ((photo(),), "photo")):
        with pytest.raises(PermanentError, match="second picture"):
            run("background", *images, ground=ground)


def test_the_kept_shadow_of_a_transparent_picture_is_none() -> None:
    cut = np.array(run("cut_out", photo()).image)
    cut[cut[..., 3] == 0] = 0  # what editors leave under clear pixels: black
    output = run("background", Image.fromarray(cut), shadow="keep", shadow_strength=1.0, format="PNG")
    pixels = np.asarray(output.image)
    assert output.image.getpixel((2, 2)) == (255, 255, 255) and (pixels[:20] > 250).all()


def test_width_without_height_is_refused() -> None:
    with pytest.raises(InvalidParameters) as caught:
        get_operation("background").Parameters.parse({"width": 300})
    assert "height" in caught.value.fields


class Halves(CutoutEngine):
    """Takes the left half for the product."""

    def finder(self, *, threads: int = 1, device: str = "cpu") -> Any:
        def find(rgb: np.ndarray) -> np.ndarray:
            belief = np.zeros(rgb.shape[:2], np.float32)
            belief[:, : rgb.shape[1] // 2] = 1.0
            return belief

        return find


class NotCutting:
    def __init__(self, **options: Any) -> None: ...

    def free(self) -> None: ...


def test_another_engine_does_the_finding(settings: Any) -> None:
    settings.SHOPGEN = {"ENGINES": {"cutout": {"BACKEND": f"{__name__}.Halves"}}}
    output = run("cut_out", photo())
    # The left half and its mirror image disagree about everything: nobody should trust that.
    assert output.measurements["cutout_steadiness"] == 0.0 and output.held_back
    settings.SHOPGEN = {"ENGINES": {"cutout": {"BACKEND": f"{__name__}.NotCutting"}}}
    with pytest.raises(PermanentError, match="can't cut"):
        run("cut_out", photo())


def test_a_network_that_was_never_added_is_told() -> None:
    from shopgen_django.engines.cutout import Cutout

    engine = Cutout(MODEL="u2netp-of-nowhere")
    assert "shopgen_model add" in engine.check()[0] and engine.identity() != Cutout(MODEL="classical").identity()
    with pytest.raises(PermanentError, match="shopgen_model add"):
        engine.finder()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("operation", ["cut_out", "background"])
def test_the_job_puts_it_before_a_person(operation: str) -> None:
    image = make_image("approved")
    user = make_user("maker", "submit_job", "view_productimage")
    job, _new = submit_job(operation=operation, params={"sure": 0.0}, inputs=[image], user=user)
    assert run_job(job.pk) == "succeeded", Job.objects.get(pk=job.pk).error_detail
    result = ProductImage.objects.get(job=job)
    assert result.state in (ImageState.IN_REVIEW, ImageState.DRAFT)
    assert list(result.parents.all()) == [image]
    assert result.measurements.filter(name="cutout_confidence").exists()
