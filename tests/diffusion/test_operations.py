"""``restyle``, ``inpaint`` and ``scene``: sizes, kept bytes, marks, words, safety; and their jobs."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from shopgen_django.engines.errors import Blocked
from shopgen_django.engines.pictures import Described
from shopgen_django.exceptions import InvalidParameters, PermanentError
from shopgen_django.imaging.repaint import box_around, hard_mask, laid_in, mask_of
from shopgen_django.operations.base import InputImage, OperationContext, Output
from shopgen_django.operations.cutting import cut
from shopgen_django.operations.diffusion import working_size
from shopgen_django.operations.prompts import expand, parse_loras
from shopgen_django.operations.registry import get_operation
from tests.diffusion.tiny import make_lora


def photo(width: int = 150, height: int = 130) -> Image.Image:
    """A red product on a plain green ground."""
    image = Image.new("RGB", (width, height), (120, 160, 130))
    ImageDraw.Draw(image).ellipse((width * 0.25, height * 0.2, width * 0.75, height * 0.85), fill=(190, 40, 50))
    noise = np.random.default_rng(1).normal(0, 4, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def context_of(operation: str, *images: Image.Image, **params: Any) -> OperationContext:
    chosen = get_operation(operation)
    inputs = []
    for number, image in enumerate(images):
        content = io.BytesIO()
        image.save(content, "PNG")
        inputs.append(
            InputImage(
                id=f"image-{number}", content=content.getvalue(), format="PNG", width=image.width,
                height=image.height, sha256=hashlib.sha256(content.getvalue()).hexdigest(), category="Dress",
                alt_text="A red dress",
            )
        )
    parsed = chosen.clean(chosen.Parameters.parse({"steps": 2, "seed": 3, **params}))
    return OperationContext(params=parsed, inputs=tuple(inputs), product_title="Linen dress", category="Dress")


def run(operation: str, *images: Image.Image, **params: Any) -> list[Output]:
    return list(get_operation(operation).run(context_of(operation, *images, **params)))


@pytest.fixture(autouse=True)
def _engine(use: Callable[..., None], sd: Path) -> None:
    use(MODEL=str(sd))


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.int16)


@pytest.mark.parametrize(("size", "final"), [((70, 66), (66, 62)), ((50, 40), (50, 40)), ((400, 100), (128, 32))])
def test_a_restyled_picture_keeps_its_shape(size: tuple[int, int], final: tuple[int, int]) -> None:
    (output,) = run("restyle", photo(*size), prompt="in blue")
    assert output.image.size == final and output.image.mode == "RGB"
    assert (output.alt_text, output.category, output.parents) == ("A red dress", "Dress", ("image-0",))


def test_strength_says_how_far_it_may_go() -> None:
    picture = photo(64, 64)
    near, far = (run("restyle", picture, strength=share, steps=10)[0].image for share in (0.1, 1.0))
    assert near.tobytes() != far.tobytes()
    with pytest.raises(InvalidParameters) as caught:
        get_operation("restyle").clean(get_operation("restyle").Parameters.parse({"strength": 0.05, "steps": 10}))
    assert "steps" in caught.value.fields


STROKE = {"keep": True, "radius": 0.1, "points": [[0.3, 0.5], [0.6, 0.5]]}


def test_outside_the_marks_every_byte_stays() -> None:
    picture = photo(300, 260)
    first, second = run("inpaint", picture, strokes=[STROKE], count=2)
    from shopgen_django.operations.marks import painted_strokes

    marked = np.asarray(painted_strokes([STROKE], picture.size, keep=255, drop=0)) > 0
    for output in (first, second):
        changed = (array(output.image) != array(picture)).any(axis=2)
        assert output.image.size == picture.size and not changed[~marked].any()
        assert changed[marked].mean() > 0.9 and output.format == "PNG"
    assert first.image.tobytes() != second.image.tobytes()
    assert first.measurements["repainted_share"] == pytest.approx(marked.mean(), abs=0.001)


def test_a_mask_is_the_second_picture_and_white_is_made_anew() -> None:
    picture = photo(96, 96)
    mask = Image.new("L", (48, 48))
    mask.paste(255, (24, 0, 48, 48))
    (output,) = run("inpaint", picture, mask, feather=0)
    changed = (array(output.image) != array(picture)).any(axis=2)
    assert not changed[:, :46].any() and changed[:, 50:].mean() > 0.9
    assert output.parents == ("image-0", "image-1")


def test_transparent_pictures_are_laid_on_white_first() -> None:
    picture = photo(96, 96).convert("RGBA")
    picture.putalpha(Image.new("L", picture.size, 0))
    (output,) = run("inpaint", picture, strokes=[STROKE])
    assert output.image.getpixel((2, 2)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("images", "params"),
    [
        (1, {}), (2, {"strokes": [STROKE]}), (1, {"strokes": [{**STROKE, "keep": False}]}), (2, {}),
    ],
)
def test_marks_that_mark_nothing(images: int, params: dict[str, Any]) -> None:
    pictures = [photo(64, 64), Image.new("L", (64, 64))][:images]
    with pytest.raises(PermanentError) as caught:
        run("inpaint", *pictures, **params)
    assert caught.value.code == "nothing_marked"


@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
def test_the_product_of_a_scene_keeps_every_byte(format_: str) -> None:
    picture = photo()
    context = context_of("scene", picture, prompt="{title} on sand", format=format_)
    (output,) = get_operation("scene").run(context)
    solid = cut(context, picture).alpha == 255
    assert 0.1 < solid.mean() < 0.6 and output.image.size == picture.size and output.format == format_
    difference = np.abs(array(output.image) - array(picture))
    assert int(difference[solid].sum()) == 0
    assert difference[~solid].mean() > 5
    assert output.facts["prompt"] == "Linen dress on sand" and output.measurements["cutout_confidence"] > 0


def test_a_scene_of_a_cut_out_keeps_its_pixels() -> None:
    picture = photo(90, 90).convert("RGBA")
    alpha = Image.new("L", picture.size)
    ImageDraw.Draw(alpha).ellipse((20, 20, 70, 70), fill=255)
    picture.putalpha(alpha)
    (output,) = run("scene", picture)
    solid = np.asarray(alpha) == 255
    assert not (array(output.image) != array(picture)[..., :3])[solid].any()


def test_a_scene_without_a_product_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    with pytest.raises(PermanentError) as caught:
        run("scene", empty)
    assert caught.value.code == "no_product"


def test_placeholders_are_filled_once() -> None:
    assert expand("{title} in {category}, lit", title="{category}", category="") == "{category} in, lit"
    assert expand("a  {category} , {title}", title="", category="Hat") == "a Hat"
    assert [each.weight for each in parse_loras("a: 0.8, b.c, d : -1")] == [0.8, 1.0, -1.0]


def test_without_title_category_or_words_there_is_nothing_to_say() -> None:
    context = OperationContext(params=get_operation("create").Parameters.parse({"prompt": "{title}"}))
    with pytest.raises(PermanentError, match="no words left"):
        list(get_operation("create").run(context))


@pytest.mark.django_db
def test_loras_change_the_picture_and_weight_nothing_changes_nothing(
    sd: Path, tmp_path: Path, use: Callable[..., None]
) -> None:
    use(MODEL=str(sd), LORAS={"house": make_lora(tmp_path / "house", sd)})
    base, none, much, again = (
        run("create", loras=text)[0] for text in ("", "house: 0", "house: 1", "")
    )
    assert base.image.tobytes() == none.image.tobytes() == again.image.tobytes()
    assert np.abs(array(base.image) - array(much.image)).mean() > 0.5
    assert much.facts["loras"].startswith("house x 1 (") and "loras" not in again.facts
    with pytest.raises(InvalidParameters, match="Known are: house") as caught:
        run("create", loras="lost")
    assert "loras" in caught.value.fields


def refuses_guns(prompt: str, operation: str) -> str:
    return "No weapons." if "gun" in prompt else ""


def refuses_all(image: Image.Image, operation: str) -> str:
    assert image.mode == "RGB" and operation == "create"
    return "Not this one."


def breaks(subject: Any, operation: str) -> str:
    raise LookupError("no list")


def says_yes(subject: Any, operation: str) -> Any:
    return True


@pytest.mark.parametrize(
    ("safety", "params", "code", "match"),
    [
        ({"PROMPT": ["refuses_guns"]}, {"prompt": "a gun"}, "blocked", "No weapons"),
        ({"PICTURE": ["refuses_all"]}, {}, "blocked", "Not this one"),
        ({"PROMPT": ["breaks"]}, {}, "safety_broken", "no list"),
        ({"PICTURE": ["breaks"]}, {}, "safety_broken", "no list"),
        ({"PROMPT": ["says_yes"]}, {}, "safety_broken", "True"),
        ({"PICTURE": ["nowhere"]}, {}, "safety_broken", "nowhere"),
    ],
)
def test_safety_checks_fail_closed(
    settings: Any, safety: dict[str, list[str]], params: dict[str, Any], code: str, match: str
) -> None:
    paths = {kind: [f"{__name__}.{name}" for name in names] for kind, names in safety.items()}
    settings.SHOPGEN = {**settings.SHOPGEN, "SAFETY": paths}
    with pytest.raises(PermanentError, match=match) as caught:
        run("create", **params)
    assert caught.value.code == code


def test_words_that_a_product_brings_are_checked_as_well(settings: Any) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "SAFETY": {"PROMPT": [f"{__name__}.refuses_guns"]}}
    operation = get_operation("create")
    context = OperationContext(
        params=operation.clean(operation.Parameters.parse({"prompt": "{title}"})), product_title="Toy gun"
    )
    with pytest.raises(Blocked):
        list(operation.run(context))


class NoPictures:
    def __init__(self, **options: Any) -> None: ...

    def free(self) -> None: ...


def test_an_engine_of_another_kind_is_told(settings: Any) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "ENGINES": {"diffusion": {"BACKEND": f"{__name__}.NoPictures"}}}
    with pytest.raises(PermanentError, match="by words"):
        run("create")


@pytest.mark.parametrize(
    ("size", "expected"), [((1000, 1000), (512, 512)), ((3000, 1000), (888, 296)), ((20_000, 20), (4096, 8))]
)
def test_working_sizes(size: tuple[int, int], expected: tuple[int, int]) -> None:
    described = Described(
        name="m", kind="k", tasks=("text",), multiple=8, size=(512, 512), max_pixels=1 << 20, in_channels=4, bytes=1,
        negative=True,
    )
    width, height = working_size(size, described)
    assert width % 8 == height % 8 == 0 and width * height <= described.max_pixels
    if size != (20_000, 20):
        assert (width, height) == expected


def test_boxes_and_masks() -> None:
    mask = Image.new("L", (200, 100))
    drawn = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    drawn.putpixel((1, 1), (0, 0, 0, 255))
    assert list(mask_of(drawn, (4, 4)).tobytes()).index(255) == 5 and sum(mask_of(drawn, (4, 4)).tobytes()) == 255
    assert mask_of(Image.new("RGBA", (2, 2), "white"), (4, 4)).getextrema() == (255, 255)
    assert mask_of(Image.new("L", (2, 2), 5), (4, 4)).getextrema() == (0, 0)
    assert box_around(mask, room=1, least=(10, 10)) is None
    mask.putpixel((0, 99), 1)
    assert box_around(mask, room=0, least=(50, 40)) == (0, 60, 50, 100)
    assert box_around(mask, room=0, least=(500, 500)) == (0, 0, 200, 100)
    assert hard_mask(mask, (20, 10)).getpixel((0, 9)) == 255
    with pytest.raises(ValueError, match="RGB"):
        laid_in(mask, mask, mask, place=(0, 0), feather=1)
