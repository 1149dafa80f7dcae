"""Loading a model and drawing from it: what is asked for, always the same, or refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from shopgen_django.ml import files, sample
from shopgen_django.ml.errors import ModelFileError, UnknownCategory
from shopgen_django.ml.folder import CARD, WEIGHTS, from_safetensors, to_safetensors
from shopgen_django.ml.loop import train
from tests.ml.photos import make_folder, tiny


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("trained")
    train(tiny(make_folder(base / "photos"), base / "run"))
    return base / "run"


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    for name in (WEIGHTS, CARD):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    return tmp_path


def _arrays(pictures: list[Image.Image]) -> list[np.ndarray]:
    return [np.asarray(picture) for picture in pictures]


def test_what_it_says_about_itself(trained: Path) -> None:
    loaded = sample.load_generator(trained)
    assert loaded.categories == ("bags", "hats")
    assert (loaded.size, loaded.channels) == (16, 3)
    pictures = loaded.sample(3)
    assert [picture.size for picture in pictures] == [(16, 16)] * 3
    assert {picture.mode for picture in pictures} == {"RGB"}


@pytest.mark.parametrize("category", [None, "hats"])
def test_a_picture_depends_on_seed_and_number_only(trained: Path, category: str | None) -> None:
    loaded = sample.load_generator(trained)
    many = _arrays(loaded.sample(40, category=category, seed=7))
    few = _arrays(sample.load_generator(trained).sample(3, category=category, seed=7))
    for number, array in enumerate(few):
        assert (array == many[number]).all()
    assert any((a != b).any() for a, b in zip(few, _arrays(loaded.sample(3, category=category, seed=8)), strict=True))


def test_a_run_of_pictures_may_begin_anywhere(trained: Path) -> None:
    loaded = sample.load_generator(trained)
    expected = _arrays(loaded.sample(12, seed=3))
    for number, array in enumerate(_arrays(loaded.sample(5, seed=3, start=7)), start=7):
        assert (array == expected[number]).all()
    with pytest.raises(ValueError, match="start at least 0"):
        loaded.sample(1, start=-1)


@pytest.mark.parametrize("chunk", [1, 4])
def test_pictures_of_many_seeds_are_those_of_each_alone(trained: Path, chunk: int) -> None:
    """In chunks, as on a GPU, a picture is the same up to the rounding of its last bit."""
    loaded = sample.load_generator(trained)
    wishes = [(11, "hats"), (5, "bags"), (5, None), (11, "hats"), (0, "bags"), (7, None)]
    alone = [loaded.sample(1, seed=seed, category=category)[0] for seed, category in wishes]
    loaded._chunk = chunk  # type: ignore[attr-defined]
    together = list(loaded.sample_each(wishes))
    assert len(together) == len(wishes)
    for one, other in zip(_arrays(alone), _arrays(together), strict=True):
        assert np.abs(one.astype(int) - other.astype(int)).max() <= (0 if chunk == 1 else 1)
    with pytest.raises(UnknownCategory):
        loaded.sample_each([(0, "shoes")])


def test_truncation_takes_variety_away(trained: Path) -> None:
    loaded = sample.load_generator(trained)

    def variety(truncation: float) -> float:
        arrays = np.stack(_arrays(loaded.sample(30, category="bags", truncation=truncation))).astype(float)
        return float(arrays.std(axis=0).mean())

    assert variety(0.0) < variety(0.5) < variety(1.0)


def test_unknown_categories_are_refused(trained: Path) -> None:
    with pytest.raises(UnknownCategory, match=r"no category 'shoes'\. It has: bags, hats"):
        sample.load_generator(trained).sample(1, category="shoes")


@pytest.mark.parametrize("values", [{"count": 0}, {"count": 1, "seed": -1}, {"count": 1, "truncation": 1.5}])
def test_numbers_out_of_range_are_refused(trained: Path, values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least"):
        sample.load_generator(trained).sample(**values)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (4, "RGBA")])
def test_other_channel_counts(channels: int, mode: str, tmp_path: Path) -> None:
    source = make_folder(tmp_path / "photos")
    train(tiny(source, tmp_path / "run", channels=channels, conditional=False, images_seen=8))
    loaded = sample.load_generator(tmp_path / "run")
    assert loaded.categories == ()
    assert loaded.sample(1)[0].mode == mode


@pytest.mark.parametrize("place", [8, 300, -1])
def test_one_changed_byte_is_refused_before_it_is_read(
    model: Path, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray((model / WEIGHTS).read_bytes())
    data[place] ^= 1
    (model / WEIGHTS).write_bytes(bytes(data))
    monkeypatch.setattr("shopgen_django.ml.folder.from_safetensors", lambda data: pytest.fail("parsed"))
    with pytest.raises(ModelFileError, match="SHA-256 differs"):
        sample.load_generator(model)


def test_the_registered_hash_is_compared(model: Path) -> None:
    sha256 = files.sha256_file(model / WEIGHTS)
    assert sample.load_generator(model, expected_sha256=sha256)
    with pytest.raises(ModelFileError, match="changed since"):
        sample.load_generator(model, expected_sha256="0" * 64)


def _replace(model: Path, data: bytes, **card: Any) -> None:
    """Put other weights there with a card that vouches for them."""
    (model / WEIGHTS).write_bytes(data)
    written = json.loads((model / CARD).read_text())
    (model / CARD).write_text(json.dumps({**written, "sha256": files.sha256_bytes(data), **card}))


def _tensors(model: Path) -> dict[str, torch.Tensor]:
    return from_safetensors((model / WEIGHTS).read_bytes())[0]


def test_a_pickle_is_refused_and_not_run(model: Path, tmp_path: Path) -> None:
    marker = tmp_path / "executed"

    class Gadget:
        def __reduce__(self) -> Any:
            return (Path.touch, (marker,))

    _replace(model, pickle.dumps(Gadget()))
    with pytest.raises(ModelFileError):
        sample.load_generator(model)
    assert not marker.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(model: Path, value: float) -> None:
    tensors = _tensors(model)
    name = next(n for n, t in tensors.items() if t.is_floating_point())
    tensors[name].view(-1)[0] = value
    _replace(model, to_safetensors(tensors, {}))
    with pytest.raises(ModelFileError, match="not finite"):
        sample.load_generator(model)


def test_tensors_of_other_shape_kind_or_name_are_refused(model: Path) -> None:
    good = _tensors(model)
    name = "last.weight"
    for bad, message in (
        ({**good, name: good[name][:1]}, "its network needs"),
        ({**good, name: good[name].double()}, "its network needs"),
        ({n: t for n, t in good.items() if n != name}, "missing or too many"),
        ({**good, "extra": good[name]}, "missing or too many"),
    ):
        _replace(model, to_safetensors(bad, {}))
        with pytest.raises(ModelFileError, match=message):
            sample.load_generator(model)


@pytest.mark.parametrize(
    "header", [b"\xff" * 8, (10**9).to_bytes(8, "little"), b"", b"\x02\x00\x00\x00\x00\x00\x00\x00[]"]
)
def test_broken_headers_are_refused(model: Path, header: bytes) -> None:
    _replace(model, header)
    with pytest.raises(ModelFileError):
        sample.load_generator(model)


def test_cards_that_do_not_describe_a_model(model: Path, tmp_path: Path) -> None:
    _replace(model, (model / WEIGHTS).read_bytes(), architecture="os.system")
    with pytest.raises(ModelFileError, match="no architecture"):
        sample.load_generator(model)
    (model / CARD).write_text("{}")
    with pytest.raises(ModelFileError, match="not the description"):
        sample.load_generator(model)
    with pytest.raises(ModelFileError, match="no trained model"):
        sample.load_generator(tmp_path / "nowhere")


def test_command_writes_numbered_pictures_and_a_sheet(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(trained), "--count", "5", "--output", str(tmp_path / "made"), "--sheet", str(tmp_path / "s.png")]
    assert sample.main(arguments) == 0
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [f"{n:05d}.png" for n in range(5)]
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.size == (3 * 130 + 2, 2 * 130 + 2)
    with Image.open(tmp_path / "made" / "00004.png") as last:
        expected = sample.load_generator(trained).sample(5)[4]
        assert (np.asarray(last) == np.asarray(expected)).all()
    assert "5 pictures" in capsys.readouterr().out


def test_command_says_what_is_wrong(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sample.main([str(trained), "--category", "shoes", "--output", str(tmp_path)]) == 1
    assert "It has: bags, hats" in capsys.readouterr().err
