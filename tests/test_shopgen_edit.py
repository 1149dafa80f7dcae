"""``manage.py shopgen_edit``: a folder in, a folder out, a table that can be trusted, resuming."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from PIL import Image

from tests.operations.test_cut_out import photo
from tests.testshop.models import Category, Product


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four photos (in a sub-folder, turned by EXIF, two that differ in their suffix only) and a text."""
    source = tmp_path / "photos"
    (source / "more").mkdir(parents=True)
    photo().save(source / "a.png")
    photo().save(source / "a.jpg", quality=95)
    photo(160, 120).save(source / "more" / "b.webp")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(240, 160).save(source / "turned.jpg", exif=exif)
    (source / "notes.txt").write_text("no picture")
    return source


def edit(*arguments: str, **options: Any) -> str:
    out = io.StringIO()
    call_command("shopgen_edit", *arguments, stdout=out, workers=1, **options)
    return out.getvalue()


def table(output: Path) -> dict[str, dict[str, str]]:
    with (output / "results.csv").open(newline="", encoding="utf-8") as handle:
        return {row["file"]: row for row in csv.DictReader(handle)}


def test_every_picture_comes_out_upright_at_its_size_under_its_name(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    said = edit("cut_out", str(folder), output=str(output))
    assert "4 pictures edited" in said
    rows = table(output)
    assert list(rows) == ["a.jpg", "a.png", "more/b.webp", "turned.jpg"]
    assert {row["output"] for row in rows.values()} == {"a.png", "a_png.png", "more/b.png", "turned.png"}
    for row in rows.values():
        assert 0.0 <= float(row["uncertainty"]) <= 1.0 and float(row["seconds"]) > 0 and not row["error"]
        assert "cutout_confidence" in json.loads(row["measurements"])
    with Image.open(output / "turned.png") as turned:
        assert turned.mode == "RGBA" and turned.size == (160, 240)
    page = (output / "report.html").read_text()
    assert page.count("<li>") == 4 and "http" not in page
    assert all((output / name).is_file() for name in ("report/before/a.jpg.webp", "report/after/a.png.webp"))


def test_going_on_makes_only_what_is_missing(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    edit("cut_out", str(folder), output=str(output), no_report=True)
    kept = (output / "a.png").stat().st_mtime_ns
    (output / "more" / "b.png").unlink()
    with (output / "results.csv").open("a") as handle:
        handle.write("half a li")  # what a kill leaves
    assert "3 of 4 are done" in edit("cut_out", str(folder), output=str(output), no_report=True)
    assert (output / "a.png").stat().st_mtime_ns == kept and (output / "more" / "b.png").is_file()
    assert len(table(output)) == 4
    with pytest.raises(CommandError, match="other settings"):
        edit("cut_out", str(folder), output=str(output), values=["output=white"])
    edit("cut_out", str(folder), output=str(output), values=["output=white"], fresh=True, no_report=True)
    assert (output / "a.jpg").is_file()


def test_results_inside_the_folder_are_not_taken_for_photos(folder: Path) -> None:
    edit("cut_out", str(folder), output=str(folder / "out"), no_report=True)
    assert "4 of 4 are done" in edit("cut_out", str(folder), output=str(folder / "out"))
    assert len(table(folder / "out")) == 4
    with pytest.raises(CommandError, match="was not made by this command"):
        edit("cut_out", str(folder), output=str(folder))  # photos are not overwritten by their results


def test_a_bad_file_is_told_and_the_others_go_on(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    output = tmp_path / "out"
    with pytest.raises(CommandError, match=r"1 pictures could not be edited. broken.jpg"):
        edit("cut_out", str(folder), output=str(output))
    rows = table(output)
    assert rows["broken.jpg"]["error"] and not rows["broken.jpg"]["output"]
    assert sum(bool(row["output"]) for row in rows.values()) == 4
    page = (output / "report.html").read_text()
    assert page.index("broken.jpg") < page.index("turned.jpg")  # what went wrong comes first


def test_a_recipe_and_its_file(folder: Path, tmp_path: Path) -> None:
    one = folder / "a.png"
    edit("marketplace-white", str(one), output=str(tmp_path / "white"), no_report=True)
    with Image.open(tmp_path / "white" / "a.jpg") as made:
        assert made.size == (2000, 2000) and made.getpixel((3, 3)) == (255, 255, 255)
    recipe = tmp_path / "mine.json"
    steps = [
        {"operation": "cut_out", "params": {}},
        {"operation": "background", "params": {"ground": "colour", "colour": "#102030", "format": "PNG"}},
        {"operation": "fit", "params": {"sizes": ["thumbnail_400", "custom"], "width": 64, "height": 32}},
    ]
    recipe.write_text(json.dumps({"name": "mine", "steps": steps}))
    edit(str(recipe), str(one), output=str(tmp_path / "mine"), no_report=True)
    row = table(tmp_path / "mine")["a.png"]
    names = row["output"].split("|")
    sizes = []
    for name in names:
        with Image.open(tmp_path / "mine" / name) as made:
            sizes.append(made.size)
    assert sizes == [(400, 400), (64, 32)] and row["uncertainty"]


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("{", "not valid JSON"), ("[]", "A recipe is"), ('{"steps": []}', "1 to 20 steps"),
        ('{"steps": [{"operation": "nothing"}]}', "no operation nothing"),
        ('{"steps": [{"operation": "generate"}]}', "does not make a picture from one picture"),
        ('{"steps": [{"operation": "fit", "params": {"sizes": ["huge"]}}]}', r"Step 1 \(fit\): sizes"),
        ('{"steps": [{"operation": "cut_out"}], "colour": 1}', "Unknown in a recipe: colour"),
    ],
)
def test_recipes_that_cannot_be_are_told(folder: Path, tmp_path: Path, recipe: str, words: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(recipe)
    with pytest.raises(CommandError, match=words):
        edit(str(path), str(folder), output=str(tmp_path / "out"))


def test_mistakes_on_the_command_line_are_told(folder: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    for arguments, options, words in (
        (("cut_out",), {}, "path of pictures, or --products"),
        (("cut-out", str(folder)), {}, "Recipes: marketplace-white"),
        (("cut_out", str(tmp_path / "nowhere")), {}, "no file or folder"),
        (("cut_out", str(folder)), {"values": ["outputwhite"]}, "NAME=VALUE"),
        (("cut_out", str(folder)), {"values": ["colours=1"]}, "colours"),
        (("cut_out", str(folder)), {"params": "[1]"}, "is an object"),
        (("studio", str(folder)), {"values": ["margin=0.1"]}, "single operation"),
    ):
        with pytest.raises(CommandError, match=words):
            edit(*arguments, output=output, **options)
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "letter.doc").write_text("mine")
    with pytest.raises(CommandError, match="was not made by this command"):
        edit("cut_out", str(folder), output=str(strange))


@pytest.mark.django_db
def test_the_pictures_of_products(tmp_path: Path) -> None:
    category = Category.objects.create(name="hats")
    content = io.BytesIO()
    photo(120, 100).save(content, "PNG")
    for name in ("red hat", "blue hat", "scarf"):
        product = Product(name=name, category=category if "hat" in name else None)
        product.image.save(f"{name}.png", ContentFile(content.getvalue()), save=True)
    output = tmp_path / "out"
    edit("cut_out", output=str(output), products="category:hats", no_report=True)
    keys = {str(product.pk) for product in Product.objects.filter(category=category)}
    assert {Path(row["output"]).stem for row in table(output).values()} == keys
    with pytest.raises(CommandError, match="No product"):
        edit("cut_out", output=str(tmp_path / "none"), products="pk:999999")


@pytest.mark.slow
def test_several_processes_give_the_same(folder: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    edit("cut_out", str(folder), output=str(one), no_report=True)
    out = io.StringIO()
    call_command("shopgen_edit", "cut_out", str(folder), stdout=out, workers=2, output=str(two), no_report=True)
    for row in table(one).values():
        assert (one / row["output"]).read_bytes() == (two / row["output"]).read_bytes()
