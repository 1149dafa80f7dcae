"""``manage.py shopgen_edit``: a folder in, a folder out, a table that can be trusted, resuming."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.db import OperationalError
from PIL import Image

from shopgen_django.catalogues.base import Product as Shown
from shopgen_django.imaging.provenance import encode, read_provenance
from shopgen_django.ml.files import folder_lock
from shopgen_django.services.edit_items import pictures_of
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
    assert all((output / name).is_file() for name in ("report/before/a.webp", "report/after/a.png.webp"))


def test_going_on_makes_only_what_is_missing(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    edit("cut_out", str(folder), output=str(output), no_report=True)
    kept = (output / "a.png").stat().st_mtime_ns
    (output / "more" / "b.png").unlink()
    with (output / "results.csv").open("a") as handle:
        handle.write("half a li")  # what a kill leaves
    assert "3 of 4 were done already" in edit("cut_out", str(folder), output=str(output), no_report=True)
    assert (output / "a.png").stat().st_mtime_ns == kept and (output / "more" / "b.png").is_file()
    assert len(table(output)) == 4
    with pytest.raises(CommandError, match="other settings"):
        edit("cut_out", str(folder), output=str(output), values=["output=white"])
    edit("cut_out", str(folder), output=str(output), values=["output=white"], fresh=True, no_report=True)
    assert (output / "a.jpg").is_file()


@pytest.mark.django_db
def test_results_inside_the_folder_are_not_taken_for_photos(folder: Path) -> None:
    edit("cut_out", str(folder), output=str(folder / "out"), no_report=True)
    assert "4 of 4 were done already" in edit("cut_out", str(folder), output=str(folder / "out"))
    assert len(table(folder / "out")) == 4
    # Neither are those of another run.
    edit("marketplace-white", str(folder), output=str(folder / "white"), no_report=True)
    assert len(table(folder / "white")) == 4
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


def test_another_picture_of_the_same_name_is_not_taken_for_done(tmp_path: Path) -> None:
    output, one, two = tmp_path / "out", tmp_path / "one", tmp_path / "two"
    for folder, colour in ((one, (190, 40, 50)), (two, (40, 60, 190))):
        folder.mkdir()
        Image.new("RGB", (64, 64), colour).save(folder / "x.png")
    edit("fit", str(one), output=str(output), values=["sizes=[\"thumbnail_400\"]"])
    edit("fit", str(two), output=str(output), values=["sizes=[\"thumbnail_400\"]"])
    with Image.open(output / "x.jpg") as made:
        assert made.getpixel((200, 200))[2] > 150
    Image.new("RGB", (64, 64), (40, 190, 60)).save(two / "x.png")  # replaced in its place
    edit("fit", str(two), output=str(output), values=["sizes=[\"thumbnail_400\"]"])
    with Image.open(output / "x.jpg") as made:
        assert made.getpixel((200, 200))[1] > 150


def test_no_two_pictures_share_a_result(tmp_path: Path) -> None:
    source, output = tmp_path / "photos", tmp_path / "out"
    source.mkdir()
    names = ["A.jpg", "a.JPG", "a.jpg", "a.png", "b|c.png", "b_c.png", "con. .png"]
    for number, name in enumerate(names):
        Image.new("RGB", (40 + number, 40), (20 * number, 90, 90)).save(source / name, "PNG")
    os.rename(source / "con. .png", os.fsencode(source) + b"/\xff.png")
    resize = ["sizes=[\"custom\"]", "width=40", "height=40", "mode=resize", "format=PNG"]
    edit("fit", str(source), output=str(output), values=resize)
    rows = table(output)
    outputs = [row["output"] for row in rows.values()]
    assert len(rows) == len({name.casefold() for name in outputs}) == len(names)
    assert all((output / name).is_file() for name in outputs)
    assert f"{len(names)} of {len(names)} were done" in edit("fit", str(source), output=str(output), values=resize)
    # One more arrives that comes before in the order and takes the name.
    Image.new("RGB", (40, 90), (250, 250, 0)).save(source / "B_C.png")
    edit("fit", str(source), output=str(output), values=resize)
    sizes = {}
    for name, row in table(output).items():
        with Image.open(output / row["output"]) as made:
            sizes[name] = made.size
    assert sizes["B_C.png"][1] > sizes["B_C.png"][0] and sizes["b_c.png"][0] >= sizes["b_c.png"][1]


def test_what_nobody_foresaw_takes_no_other_picture_along(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shopgen_django.imaging.cutout import chain
    from shopgen_django.imaging.cutout.network import NetworkError

    real, calls = chain.find, []

    def sometimes(rgb: Any) -> Any:
        calls.append(rgb.shape)
        if len(calls) == 1:
            raise ZeroDivisionError("unforeseen")
        if len(calls) == 2:
            raise NetworkError("the network is broken")
        return real(rgb)

    monkeypatch.setattr(chain, "find", sometimes)
    output = tmp_path / "out"
    with pytest.raises(CommandError, match="2 pictures could not be edited"):
        edit("cut_out", str(folder), output=str(output))
    errors = [row["error"] for row in table(output).values()]
    assert errors == ["ZeroDivisionError: unforeseen", "the network is broken", "", ""]
    edit("cut_out", str(folder), output=str(output))
    assert not any(row["error"] for row in table(output).values())


def test_a_damaged_picture_does_not_break_the_report(folder: Path, tmp_path: Path) -> None:
    noise = Image.effect_noise((300, 300), 90).convert("RGB")
    noise.save(folder / "damaged.png")
    content = bytearray((folder / "damaged.png").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = b"\x00" * 400
    (folder / "damaged.png").write_bytes(bytes(content))
    with pytest.raises(CommandError, match="1 pictures could not be edited"):
        edit("cut_out", str(folder), output=str(tmp_path / "out"))
    assert (tmp_path / "out" / "report.html").read_text().count("<li>") == 5


def test_what_was_generated_stays_marked(tmp_path: Path) -> None:
    made = tmp_path / "made.png"
    made.write_bytes(encode(photo(), format="PNG", digital_source_type="trainedAlgorithmicMedia"))
    edit("cut_out", str(made), output=str(tmp_path / "cut"))
    facts = read_provenance((tmp_path / "cut" / "made.png").read_bytes())
    assert facts["digital_source_type"].endswith("/trainedAlgorithmicMedia")
    photo().save(tmp_path / "photo.png")
    recipe = tmp_path / "chain.json"
    recipe.write_text(json.dumps({"steps": [{"operation": "background"}, {"operation": "fit"}]}))
    edit(str(recipe), str(tmp_path / "photo.png"), output=str(tmp_path / "chain"))
    facts = read_provenance((tmp_path / "chain" / "photo.jpg").read_bytes())
    assert facts["digital_source_type"].endswith("/compositeCapture")


def test_how_it_was_made_stands_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step tells of its making goes into the file, also when another step follows."""
    from dataclasses import replace

    from shopgen_django.operations.denoise import DenoisePicture

    run = DenoisePicture.run

    def telling(self: Any, context: Any) -> Any:
        for output in run(self, context):
            yield replace(output, facts={"weights": "abc123"})

    monkeypatch.setattr(DenoisePicture, "run", telling)
    photo().save(tmp_path / "photo.png")
    recipe = tmp_path / "chain.json"
    recipe.write_text(json.dumps({"steps": [{"operation": "denoise"}, {"operation": "fit"}]}))
    edit(str(recipe), str(tmp_path / "photo.png"), output=str(tmp_path / "out"))
    facts = read_provenance((tmp_path / "out" / "photo.jpg").read_bytes())
    assert (facts["weights"], facts["operation"]) == ("abc123", "denoise+fit")


def test_two_runs_do_not_write_into_one_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with folder_lock(tmp_path / "out"), pytest.raises(CommandError, match="Another run is writing"):
        edit("cut_out", str(folder), output=str(tmp_path / "out"))


def test_a_network_added_meanwhile_is_another_setting(folder: Path, tmp_path: Path, settings: Any) -> None:
    output = tmp_path / "out"
    edit("cut_out", str(folder / "a.png"), output=str(output))
    fit = tmp_path / "fit"
    edit("fit", str(folder / "a.png"), output=str(fit), values=["mode=pad"])
    settings.SHOPGEN = {"ENGINES": {"cutout": {"OPTIONS": {"MODEL": "mine"}}}}
    with pytest.raises(CommandError, match="other settings"):
        edit("cut_out", str(folder / "a.png"), output=str(output))
    # The network is missing: said for the picture, and no reason to refuse going on once it is there.
    with pytest.raises(CommandError, match="shopgen_model add mine"):
        edit("cut_out", str(folder / "a.png"), output=str(tmp_path / "new"))


@pytest.mark.django_db
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


@pytest.mark.django_db
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
    with pytest.raises(CommandError, match="File exists"):
        edit("cut_out", str(folder), output=str(folder / "notes.txt"))
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
    Product.objects.create(name="bare hat", category=category)
    with pytest.raises(CommandError, match="bare hat has no picture"):
        edit("cut_out", output=str(output), products="category:hats", no_report=True)


@pytest.mark.django_db
def test_a_recipe_that_the_shop_has_saved(folder: Path, tmp_path: Path) -> None:
    from shopgen_django.services.recipes import create_recipe

    create_recipe(name="tiny", label="Tiny", steps=[{"operation": "fit", "params": {"sizes": ["thumbnail_400"]}}])
    edit("tiny", str(folder), output=str(tmp_path / "out"))
    with Image.open(tmp_path / "out" / table(tmp_path / "out")["a.png"]["output"]) as made:
        assert made.size == (400, 400)


def test_folders_need_no_database(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shopgen_django.services import recipes

    def away(name: str) -> None:
        raise OperationalError("no such table")

    monkeypatch.setattr(recipes, "saved_recipe", away)
    with pytest.raises(CommandError, match="no operation or recipe tiny"):
        edit("tiny", str(folder), output=str(tmp_path / "out"))
    assert "4 pictures edited" in edit("studio", str(folder), output=str(tmp_path / "out"))


def test_keys_that_look_alike_as_names_keep_their_own_results() -> None:
    class Keys:
        def products(self, **chosen: Any) -> Any:
            return (Shown(pk=pk, title=pk) for pk in ("A/1", "A-1", "A_1", "a_1", "..", "a:b"))

    items = pictures_of(Keys(), "all")  # type: ignore[arg-type]
    assert len({item.stem.casefold() for item in items}) == len({item.name for item in items}) == 6
    assert not any("/" in item.stem or ".." in item.stem for item in items)


@pytest.mark.slow
def test_several_processes_give_the_same(folder: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    edit("cut_out", str(folder), output=str(one), no_report=True)
    out = io.StringIO()
    call_command("shopgen_edit", "cut_out", str(folder), stdout=out, workers=2, output=str(two), no_report=True)
    for row in table(one).values():
        assert (one / row["output"]).read_bytes() == (two / row["output"]).read_bytes()
