"""From folders and archives to training data: categories, manifests, refusals, the cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shopgen_django.ml import files
from shopgen_django.ml.data import CACHE_FILE, Pictures, load_pictures, open_source
from shopgen_django.ml.errors import DatasetError
from tests.ml.photos import make_folder, photo, tiny

Load = Callable[..., Pictures]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def function(source: Path, **values: Any) -> Pictures:
        config = tiny(source, tmp_path / "out", **values)
        (tmp_path / "out").mkdir(exist_ok=True)
        return load_pictures(open_source(config), config, tmp_path / "out")

    return function


def test_first_level_folders_are_categories_in_any_nesting(tmp_path: Path, load: Load) -> None:
    source = make_folder(tmp_path / "photos")
    deep = source / "bags" / "2024" / "spring"
    deep.mkdir(parents=True)
    photo("bags", 99).save(deep / "x.png")
    (source / ".hidden").mkdir()
    photo("bags", 98).save(source / ".hidden" / "y.png")
    pictures = load(source)
    assert pictures.categories == ("bags", "hats")
    assert pictures.images.shape == (13, 3, 16, 16)
    assert np.bincount(pictures.labels).tolist() == [7, 6]
    assert pictures.manifest["categories"] == {"bags": 7, "hats": 6}


def test_labels_csv_goes_before_folders_and_finds_base_names(tmp_path: Path, load: Load) -> None:
    source = make_folder(tmp_path / "photos", 20)
    rows = [f"{'hats' if n % 2 else 'bags'}/{n:03d}.png,{'even' if n % 4 < 2 else 'odd'},9" for n in range(10)]
    rows += [f"{n:03d}.png,even,9" for n in range(10, 20)]
    (source / "labels.csv").write_text("\ufeffFile,Label,seller\n" + "\n".join(rows), encoding="utf-8")
    pictures = load(source)
    assert pictures.categories == ("even", "odd")
    assert pictures.manifest["categories"] == {"even": 16, "odd": 4}


def test_labels_csv_that_lacks_columns_says_so(tmp_path: Path, load: Load) -> None:
    source = make_folder(tmp_path / "photos")
    (source / "labels.csv").write_text("name;kind\n000.png;x\n")
    with pytest.raises(DatasetError, match="columns file and label"):
        load(source)


def test_files_and_labels_that_do_not_meet_are_listed(tmp_path: Path, load: Load) -> None:
    source = make_folder(tmp_path / "photos")
    rows = [f"{number:03d}.png,x" for number in range(11)] + ["gone.png,x"]
    (source / "labels.csv").write_text("file,label\n" + "\n".join(rows))
    pictures = load(source, allow_bad_files=True)
    assert pictures.manifest["skipped"] == [
        {"file": "hats/011.png", "reason": "not in labels.csv"},
        {"file": "gone.png", "reason": "in labels.csv, but there is no such picture"},
    ]


def test_base_names_that_several_files_have_are_not_guessed(tmp_path: Path, load: Load) -> None:
    source = make_folder(tmp_path / "photos")
    photo("hats", 5).save(source / "hats" / "000.png")
    rows = [f"{number:03d}.png,x" for number in range(12)]
    (source / "labels.csv").write_text("file,label\n" + "\n".join(rows))
    reasons = {item["reason"] for item in load(source, allow_bad_files=True).manifest["skipped"]}
    assert reasons == {"labels.csv gives a base name that several files have"}


def test_categories_can_be_chosen_and_unknown_ones_are_named(tmp_path: Path, load: Load) -> None:
    source = make_folder(tmp_path / "photos")
    assert load(source, category=("hats",)).manifest["categories"] == {"hats": 6}
    with pytest.raises(DatasetError, match=r"no category 'shoes'.*bags \(6\), hats \(6\)"):
        load(source, category=("shoes",))


def test_manifest_has_every_files_hash(tmp_path: Path, load: Load) -> None:
    source = make_folder(tmp_path / "photos")
    listed = load(source).manifest["files"]
    assert [item["file"] for item in listed] == sorted(item["file"] for item in listed)
    for item in listed:
        assert item["sha256"] == files.sha256_file(source / item["file"])
    on_disk = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert on_disk["files"] == listed


def test_broken_files_are_passed_over_with_the_reason(tmp_path: Path, load: Load) -> None:
    source = make_folder(tmp_path / "photos", 60)
    (source / "bags" / "empty.jpg").write_bytes(b"")
    (source / "bags" / "text.jpg").write_text("not a picture at all")
    (source / "bags" / "notes.txt").write_text("ignored")
    pictures = load(source)
    assert len(pictures.images) == 60
    assert pictures.manifest["skipped"] == [
        {"file": "bags/empty.jpg", "reason": "empty file"},
        {"file": "bags/text.jpg", "reason": "not a picture"},
    ]
    assert pictures.manifest["ignored"] == 1


def test_too_many_broken_files_refuse_to_start(tmp_path: Path, load: Load) -> None:
    source = make_folder(tmp_path / "photos", 20)
    for number in range(2):
        (source / "bags" / f"empty{number}.jpg").write_bytes(b"")
    with pytest.raises(
        DatasetError, match=r"2 of 22 files can't be used \(9%.*bags/empty0.jpg: empty file.*--allow-bad"
    ):
        load(source)
    assert len(load(source, allow_bad_files=True).images) == 20


@pytest.mark.parametrize("missing", ["nowhere", "empty"])
def test_nothing_to_train_on(missing: str, tmp_path: Path, load: Load) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"is not a folder|No pictures found"):
        load(tmp_path / missing)


def test_archive_of_grey_images(tmp_path: Path, load: Load) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(20) % 3)
    pictures = load(tmp_path / "a.npz", size=None)
    assert pictures.images.shape == (20, 1, 28, 28)
    assert (pictures.images[:, 0] == images).all()
    assert pictures.categories == ("0", "1", "2")
    assert pictures.manifest["archive"]["sha256"] == files.sha256_file(tmp_path / "a.npz")


def test_archive_of_colour_fractions_channels_first(tmp_path: Path, load: Load) -> None:
    images = np.random.default_rng(0).random((6, 3, 20, 20)).astype(np.float32)
    np.savez(tmp_path / "a.npz", images=images)
    pictures = load(tmp_path / "a.npz")
    assert pictures.images.shape == (6, 3, 16, 16)
    assert pictures.categories == ()


def test_archive_with_pickled_objects_is_refused(tmp_path: Path, load: Load) -> None:
    marker = tmp_path / "executed"

    class Gadget:
        def __reduce__(self) -> Any:
            return (Path.touch, (marker,))

    np.savez(tmp_path / "a.npz", images=np.array([Gadget()], dtype=object))
    with pytest.raises(DatasetError, match="plain arrays"):
        load(tmp_path / "a.npz")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pixels": np.zeros((4, 16, 16), np.uint8)}, "no array 'images'"),
        ({"images": np.zeros((4, 16), np.uint8)}, "shape"),
        ({"images": np.zeros((4, 16, 16), np.uint8), "labels": np.zeros(3)}, "4 images but 3 labels"),
    ],
)
def test_archives_of_other_shapes_say_what_is_wrong(
    arrays: dict[str, Any], message: str, tmp_path: Path, load: Load
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DatasetError, match=message):
        load(tmp_path / "a.npz")


def test_pictures_are_decoded_once(tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_folder(tmp_path / "photos")
    first = load(source)
    monkeypatch.setattr("shopgen_django.ml.data._decode_all", lambda *a: pytest.fail("decoded again"))
    again = load(source)
    assert (again.images == first.images).all()
    assert (again.labels == first.labels).all()
    assert again.digest == first.digest


def test_a_damaged_cache_and_changed_photos_are_decoded_again(tmp_path: Path, load: Load) -> None:
    source = make_folder(tmp_path / "photos")
    first = load(source)
    cache = tmp_path / "out" / CACHE_FILE
    data = bytearray(cache.read_bytes())
    data[-1] ^= 1
    cache.write_bytes(bytes(data))
    assert (load(source).images == first.images).all()
    Image.new("RGB", (30, 30), "green").save(source / "bags" / "000.png")
    changed = load(source)
    assert changed.digest != first.digest
    assert not (changed.images == first.images).all()


def test_large_sets_are_memory_mapped(tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_folder(tmp_path / "photos")
    load(source)
    monkeypatch.setattr("shopgen_django.ml.data.IN_MEMORY_BYTES", 100)
    assert isinstance(load(source).images, np.memmap)


def test_prepared_pictures_fill_a_white_ground(tmp_path: Path, load: Load) -> None:
    source = tmp_path / "photos" / "bags"
    source.mkdir(parents=True)
    for number in range(4):
        photo("bags", number, (120, 140)).save(source / f"{number}.png")
    pictures = load(source.parent, prepare="white")
    corners = pictures.images[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners > 250).mean() > 0.9
    middle = pictures.images[:, :, 8, 8]
    assert (middle[:, 0] > middle[:, 1] + 80).all()  # the red product
    listed = pictures.manifest["files"]
    assert all(0.0 <= item["confidence"] <= 1.0 for item in listed)
    assert pictures.manifest["low_confidence"] == sum(item["confidence"] < 0.5 for item in listed)


def test_doubtful_cut_outs_are_left_out_and_listed(
    tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the bags are sure; of the hats none is, and a category must not vanish."""
    for category in ("bags", "hats"):
        folder = tmp_path / "photos" / category
        folder.mkdir(parents=True)
        for number in range(8):
            photo(category, number, (60, 60)).save(folder / f"{number}.png")
    import shopgen_django.ml.data as data

    decode = data._decode_one

    def doubting(entry: Any, *rest: Any) -> Any:
        picture, _confidence = decode(entry, *rest)
        return picture, 0.9 if entry.category == "bags" and int(Path(entry.name).stem) % 2 else 0.2

    monkeypatch.setattr(data, "_decode_one", doubting)
    monkeypatch.setattr(data, "finder_of", lambda config: None)
    monkeypatch.setattr(data, "network_digest", lambda config: [])
    pictures = load(tmp_path / "photos", prepare="white")
    names = [item["file"] for item in pictures.manifest["files"]]
    assert names == [f"bags/{n}.png" for n in (1, 3, 5, 7)] + [f"hats/{n}.png" for n in range(8)]
    assert len(pictures.images) == len(pictures.labels) == 12
    assert pictures.labels.tolist() == [0] * 4 + [1] * 8
    left_out = pictures.manifest["left_out"]
    assert left_out == [{"file": f"bags/{n}.png", "confidence": 0.2} for n in (0, 2, 4, 6)]
    assert pictures.manifest["low_confidence"] == 8 and not pictures.manifest["skipped"]
    everything = load(tmp_path / "photos", prepare="white", doubtful="keep")
    assert len(everything.images) == 16 and everything.manifest["left_out"] == []
    assert everything.digest != pictures.digest


def test_a_private_run_judges_each_photo_by_itself() -> None:
    """What becomes of a photo must not depend on another product's photos: the promise is about one more or less."""
    from shopgen_django.ml.doubtful import Sieve

    picture = np.zeros((3, 4, 4), np.uint8)
    for others in ([], [("bags", 0.9)], [("bags", 0.2)]):
        sieve = Sieve(leave_out=True, alone=True)
        for number, (category, confidence) in enumerate(others):
            sieve.passes(number, category, picture, confidence)
        assert not sieve.passes(9, "bags", picture, 0.2)
        assert sieve.rest() == [] and (9, 0.2) in sieve.left_out
