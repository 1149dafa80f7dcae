"""``repair``: nothing outside the mask changes; better than diffusion; any mask; found damage is only proposed."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from shopgen_django.exceptions import JobCancelled, PermanentError
from shopgen_django.imaging.repair import fill, find_damage, prepared_mask
from shopgen_django.imaging.repair.smooth import fill_smooth
from shopgen_django.imaging.repair.texture import fill_texture
from shopgen_django.jobs.runner import run_job
from shopgen_django.models import ProductImage
from shopgen_django.operations.base import OperationContext
from shopgen_django.operations.registry import get_operation
from shopgen_django.services.submit import submit_job
from tests.factories import make_image, make_user

from .studio import noisy, photo, run, source


def scratched(image: Image.Image, seed: int = 1) -> tuple[Image.Image, Image.Image]:
    """A photo with three white scratches, and the mask of them."""
    mask = Image.new("L", image.size)
    rng = np.random.default_rng(seed)
    for _line in range(3):
        ends = [(int(rng.integers(0, image.width)), int(rng.integers(0, image.height))) for _end in range(2)]
        ImageDraw.Draw(mask).line(ends, fill=255, width=2)
    return Image.composite(Image.new("RGB", image.size, "white"), image, mask), mask


def inside(one: Image.Image, other: Image.Image, mask: Image.Image) -> float:
    """PSNR in the mask, in dB."""
    where = np.asarray(mask) > 127
    error = np.square(np.asarray(one, dtype=float) - np.asarray(other, dtype=float))[where].mean()
    return float(10 * np.log10(255.0**2 / error))


def test_nothing_outside_the_mask_changes() -> None:
    clean = photo(8)
    damaged, mask = scratched(clean)
    for widen in (0, 4):
        output = run("repair", damaged, mask, widen=widen)
        hole = prepared_mask(mask, clean.size, widen=widen)
        same = (np.asarray(output.image) == np.asarray(damaged)).all(axis=2)
        assert same[~hole].all() and not same[hole].all()
        assert output.measurements["repaired_share"] == pytest.approx(hole.mean())
    assert output.format == "PNG" and output.parents == ("image-0", "image-1")


def test_scratches_come_out_nearer_to_the_photo_than_by_diffusion() -> None:
    gains = []
    for number in range(0, 240, 30):
        clean = photo(number)
        damaged, mask = scratched(clean, number)
        made = run("repair", damaged, mask, widen=0).image
        plain = cv2.inpaint(np.asarray(damaged), (np.asarray(mask) > 127).astype(np.uint8), 3, cv2.INPAINT_NS)
        gains.append(inside(made, clean, mask) - inside(Image.fromarray(plain), clean, mask))
    assert len(gains) == 8 and np.mean(gains) > 0.5


def test_texture_is_continued_where_diffusion_smears() -> None:
    rows, columns = np.indices((128, 128))
    weave = 120 + 60 * np.sin(rows / 1.7) * np.sin(columns / 2.3)
    clean = noisy(Image.fromarray(np.repeat(weave[..., None], 3, axis=2).astype(np.uint8)), 2.0)
    hole = np.zeros((128, 128), dtype=bool)
    hole[50:78, 48:80] = True
    damaged = np.asarray(clean).copy()
    damaged[hole] = 128
    texture = fill_texture(damaged.astype(np.float32), hole)
    smooth = fill_smooth(damaged.astype(np.float32), hole)
    truth = np.asarray(clean, dtype=float)
    errors = [np.square(each - truth)[hole].mean() for each in (texture, smooth)]
    assert errors[0] < 0.4 * errors[1]
    chosen = fill(Image.fromarray(damaged), hole)
    assert chosen.textured == 1.0 and chosen.widest == pytest.approx(28, abs=2)
    assert fill(Image.fromarray(damaged), hole, method="smooth").textured == 0.0


def test_plain_ground_keeps_its_colour() -> None:
    ramp = np.linspace(180, 230, 100)[None, :, None] * np.ones((90, 1, 3))
    picture = Image.fromarray(ramp.astype(np.uint8))
    stained = picture.copy()
    ImageDraw.Draw(stained).ellipse((30, 30, 60, 60), fill=(90, 60, 30))
    mask = Image.new("L", picture.size)
    ImageDraw.Draw(mask).ellipse((30, 30, 60, 60), fill=255)
    made = np.asarray(run("repair", stained, mask).image, dtype=float)
    assert np.abs(made - np.asarray(picture, dtype=float)).max() < 4.0


@pytest.mark.parametrize("kind", ["L", "1", "RGB", "RGBA", "small"])
def test_masks_of_any_kind_are_taken(kind: str) -> None:
    mask = Image.new("L", (60, 40))
    ImageDraw.Draw(mask).rectangle((20, 10, 39, 29), fill=255)
    if kind == "RGBA":  # in the alpha, as editors save it
        clear = Image.new("RGBA", mask.size, (0, 0, 0, 0))
        clear.putalpha(mask)
        given: Image.Image = clear
    else:
        given = mask.resize((30, 20), Image.Resampling.NEAREST) if kind == "small" else mask.convert(kind)
    found = prepared_mask(given, (60, 40), widen=0)
    assert found[12:28, 22:38].all() and found.mean() == pytest.approx(20 * 20 / 2400, abs=0.05)
    assert prepared_mask(given, (60, 40), widen=3).sum() > found.sum()
    assert prepared_mask(Image.new("RGBA", (8, 8), (255, 255, 255, 255)), (8, 8), widen=0).all()


def test_strokes_paint_damage_and_take_it_back() -> None:
    clean = photo(2)
    painted = [{"keep": True, "radius": 0.05, "points": [[0.5, 0.5], [0.6, 0.5]]}]
    output = run("repair", clean, strokes=painted)
    assert 0.0 < output.measurements["repaired_share"] < 0.1
    assert output.image.tobytes() != clean.tobytes() and not output.held_back
    with pytest.raises(PermanentError, match="Nothing is marked"):
        run("repair", clean, strokes=[*painted, {"keep": False, "radius": 0.2, "points": [[0.55, 0.5]]}])


def test_a_mask_can_be_asked_for_and_is_never_a_product_picture() -> None:
    damaged, truth = scratched(photo(12), 5)
    output = run("repair", damaged, find="scratches", result="damage")
    assert output.image.mode == "L" and output.image.size == damaged.size and output.format == "PNG"
    assert "mask" in output.held_back
    found, real = np.asarray(output.image) > 127, np.asarray(truth) > 127
    assert (found & real).sum() / max(1, real.sum()) > 0.3
    # The same mask, given back, is what is repaired.
    assert run("repair", damaged, output.image).measurements["repaired_share"] > 0.0


def test_what_was_found_by_itself_waits_for_a_person() -> None:
    damaged, _mask = scratched(photo(20), 3)
    assert "found by itself" in run("repair", damaged, find="all").held_back
    assert "No damage was found" in run("repair", Image.new("RGB", (90, 90), "white"), find="all").held_back


def test_specks_on_plain_ground_are_found_and_clean_ground_is_left() -> None:
    ground = noisy(Image.new("RGB", (160, 120), (225, 225, 222)), 1.0)
    assert not np.asarray(find_damage(ground)).any()
    dusty = ground.copy()
    for x, y in ((30, 40), (100, 20), (140, 100)):
        ImageDraw.Draw(dusty).ellipse((x, y, x + 3, y + 3), fill=(90, 90, 90))
    found = np.asarray(find_damage(dusty, scratches=False)) > 127
    assert found[41, 31] and found[21, 101] and found[101, 141] and found.mean() < 0.01


def test_stripes_are_no_scratches() -> None:
    shirt = Image.new("RGB", (160, 160), (240, 240, 240))
    for y in range(4, 160, 12):
        ImageDraw.Draw(shirt).line((10, y, 150, y), fill=(30, 40, 90), width=2)
    assert (np.asarray(find_damage(shirt, dust=False)) > 127).mean() < 0.01


def test_large_holes_are_told(settings: Any) -> None:
    clean = photo(0)
    half = Image.new("L", clean.size)
    ImageDraw.Draw(half).rectangle((0, 0, clean.width // 3, clean.height), fill=255)
    assert "large part" in run("repair", clean, half).held_back
    wide = Image.new("L", clean.size)
    ImageDraw.Draw(wide).rectangle((40, 40, 70, 70), fill=255)
    assert "wide hole" in run("repair", clean, wide).held_back
    with pytest.raises(PermanentError, match="inverted"):
        run("repair", clean, Image.new("L", clean.size, 255))
    settings.SHOPGEN = {
        **settings.SHOPGEN, "ENGINES": {"repair": {"BACKEND": "shopgen_django.engines.base.Engine", "OPTIONS": {}}}
    }
    with pytest.raises(PermanentError, match="can't repair"):
        run("repair", clean, wide)


def test_parts_of_a_large_hole_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    from shopgen_django.imaging.repair import filling

    ramp = np.linspace(100, 200, 300)[None, :, None] * np.ones((40, 1, 3))
    hole = np.zeros((40, 300), dtype=bool)
    hole[18:22, 10:290] = True
    damaged = ramp.copy()
    damaged[hole] = 0
    monkeypatch.setattr(filling, "MOST_SIDE", 64)
    made = np.asarray(fill(Image.fromarray(damaged.astype(np.uint8)), hole).image, dtype=float)
    assert np.abs(made - np.floor(ramp)).max() < 3.0


def test_transparency_and_grey_are_kept_and_work_can_be_stopped() -> None:
    clear = photo(1)
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    mask = Image.new("L", clear.size)
    ImageDraw.Draw(mask).rectangle((30, 30, 50, 50), fill=255)
    output = run("repair", clear, mask)
    assert output.image.getchannel("A").tobytes() == clear.getchannel("A").tobytes()
    assert run("repair", photo(1).convert("L"), mask).image.mode == "L"
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) > 2:
            raise JobCancelled("stop")

    operation = get_operation("repair")
    context = OperationContext(
        params=operation.Parameters.parse({"method": "texture"}), inputs=(source(photo(1)), source(mask, "mask")),
        check=check,
    )
    with pytest.raises(JobCancelled):
        list(operation.run(context))


@pytest.mark.django_db
def test_the_job_makes_a_picture_for_review() -> None:
    damaged, mask = scratched(photo(3))
    images = [make_image(content=source(each).content) for each in (damaged, mask)]
    job, _new = submit_job(operation="repair", inputs=images, user=make_user("anna", "submit_job"))
    run_job(str(job.pk))
    job.refresh_from_db()
    assert job.state == "succeeded", job.error_detail
    made = ProductImage.objects.get(job=job)
    assert set(made.parents.all()) == set(images)
