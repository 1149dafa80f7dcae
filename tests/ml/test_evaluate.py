"""A whole evaluation: of a model, of a folder of pictures; its files, its report, what it refuses."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shopgen_django.ml import evaluate as command
from shopgen_django.ml.errors import ConfigError, DatasetError
from shopgen_django.ml.evaluation.classifier import accuracies, balanced, fit_classifier
from shopgen_django.ml.evaluation.evaluate import Comparison, evaluate
from shopgen_django.ml.evaluation.ladders import blurred
from shopgen_django.ml.evaluation.material import real_material, shares_of, training_pictures
from shopgen_django.ml.evaluation.report import write_report
from shopgen_django.ml.evaluation.spectrum import fine_detail, radial_power
from shopgen_django.ml.loop import train
from shopgen_django.ml.sample import LoadedGenerator, load_generator
from tests.ml.photos import make_folder, tiny


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("photos"), 48)


@pytest.fixture(scope="module")
def model(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "first"
    train(tiny(photos, folder, tick_seconds=0.0))
    return folder


@pytest.fixture(scope="module")
def found(model: Path) -> Comparison:
    return evaluate(model, count=36)


def test_an_evaluation_has_every_figure_with_its_floor(found: Comparison) -> None:
    values = found.evaluation
    assert (values.model, values.count, values.reference.count, values.reference.kind) == ("first", 36, 48, "train")
    assert values.kid.value > values.kid.floor  # a handful of steps draws nothing like the photos
    assert values.kid_error > 0
    assert values.kid.count == values.fid.count == 24
    assert values.fid_fair is False
    assert any("too few for the Fréchet distance" in note for note in values.notes)
    assert [category.name for category in values.categories] == ["bags", "hats"]
    assert sum(category.made for category in values.categories) == 36
    assert values.accuracy_real is not None and values.accuracy_real > 0.9
    assert values.memory is not None and values.memory.yardstick == "leave_one_out"
    assert len(values.memory.nearest) == 8
    assert {rung.ladder for rung in values.ladder} == {"blur", "noise", "categories"}


def test_weights_before_averaging_are_measured_as_well(found: Comparison, model: Path, tmp_path: Path) -> None:
    import shutil

    assert found.evaluation.kid_raw is not None
    assert found.evaluation.kid_raw != found.evaluation.kid.at_floor
    copied = tmp_path / "first"
    shutil.copytree(model, copied, ignore=shutil.ignore_patterns("state*"))
    assert evaluate(copied, count=36).evaluation.kid_raw is None  # the model alone, without what it learnt with


def test_ways_lead_from_one_picture_to_another(found: Comparison, model: Path) -> None:
    generator = load_generator(model)
    assert isinstance(generator, LoadedGenerator)
    first, last = generator.sample(2, category="bags", seed=0)
    way = generator.walk(12, category="bags", seed=0)
    assert (way[0].tobytes(), way[-1].tobytes()) == (first.tobytes(), last.tobytes())
    assert found.walks is not None and found.walks.shape[:2] == (6, 12)
    steps = np.abs(np.diff(found.walks.astype(float), axis=1)).mean(axis=(2, 3, 4))
    whole = np.abs(found.walks[:, -1].astype(float) - found.walks[:, 0]).mean(axis=(1, 2, 3))
    assert (steps.max(axis=1) < np.maximum(1.0, 0.7 * whole)).all()
    with pytest.raises(ValueError, match="at least 2"):
        generator.walk(1, category="bags")


def test_a_spectrum_tells_soft_pictures_and_checkerboards() -> None:
    rng = np.random.default_rng(0)
    real = np.clip(128 + blurred(rng.integers(0, 256, (20, 3, 32, 32), dtype=np.uint8), 0.5).astype(int) // 4, 0, 255)
    real = real.astype(np.uint8)
    board = (np.indices((32, 32)).sum(axis=0) % 2 * 20).astype(np.uint8)
    power = radial_power(real)
    assert power.shape == (16,)
    assert fine_detail(power, power) == pytest.approx(1.0)
    assert fine_detail(radial_power(blurred(real, 2.0)), power) < 0.3
    stripes = np.minimum(255, real.astype(int) + board[:1] * 3).astype(np.uint8)
    assert fine_detail(radial_power(stripes), power) > 2.0


def test_the_same_seed_gives_the_same_figures(model: Path, found: Comparison) -> None:
    assert evaluate(model, count=36).evaluation == found.evaluation
    assert evaluate(model, count=36, seed=1).evaluation.kid != found.evaluation.kid


def test_real_pictures_against_themselves_are_near_perfect(photos: Path) -> None:
    same = evaluate(photos, source=photos, count=48).evaluation
    assert same.coverage.value == same.precision.value == same.recall.value == 1.0
    assert abs(same.fid.value) < 1e-3
    assert same.kid.value <= 0.0
    assert same.accuracy_made == pytest.approx(1.0, abs=0.05)
    assert same.variety == pytest.approx(1.0, abs=1e-6)


def test_the_report_is_one_file_that_loads_nothing(found: Comparison, model: Path) -> None:
    evaluation = replace(found.evaluation, model="<script>alert(1)</script>")
    page = write_report(replace(found, evaluation=evaluation), model).decode()
    assert "<script" not in page
    for text in ("KID", "Ladders", "Nearest photos", "Categories", "Made pictures", "Training", "bags", "Not selected",
                 "From one to another", "Fineness", "KID, not averaged"):  # fmt: skip
        assert text in page, text
    assert evaluation.reference.digest in page
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert len(sources) > 10
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "http" not in re.sub(r"data:[^\"]+", "", page)


def test_the_command_writes_figures_and_report(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "judged"
    arguments = [str(model), "--count", "16", "--output", str(output), "--threads", "1"]
    assert command.main([*arguments, "--source", str(photos)]) == 0
    said = capsys.readouterr().out
    assert "KID" in said and "report.html" in said
    values = json.loads((output / "evaluation.json").read_text())
    assert (values["count"], values["reference"]["kind"]) == (16, "given")
    assert values["extractor"]["id"].startswith("shopgen-features@")
    assert (output / "report.html").stat().st_size > 10_000
    # Against figures of the training photos: the same files, but labelled and prepared alike, so they may be compared.
    assert command.main([*arguments, "--against", str(output / "evaluation.json")]) == 0
    capsys.readouterr()
    values["extractor"]["id"] = "another"
    (tmp_path / "other.json").write_text(json.dumps(values))
    assert command.main([*arguments, "--against", str(tmp_path / "other.json")]) == 1
    assert "two extractors" in capsys.readouterr().err


def test_what_can_not_be_evaluated_is_told(model: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 16"):
        evaluate(model, count=4)
    with pytest.raises(ConfigError, match="say what is real"):
        evaluate(photos)
    few = make_folder(tmp_path / "few", 8)
    with pytest.raises(DatasetError, match="Only 8 real"):
        evaluate(model, source=few, count=16)


def test_a_private_model_is_not_measured_by_accident(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    private = tmp_path / "private"
    shutil.copytree(model, private)
    card = json.loads((private / "model.json").read_text())
    card["metrics"]["epsilon"] = 3.0
    (private / "model.json").write_text(json.dumps(card))
    assert command.main([str(private), "--count", "16"]) == 1
    assert "differential privacy" in capsys.readouterr().err
    assert not (private / "evaluation.json").exists()


def test_a_denoiser_is_judged_by_what_it_restores(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny(photos, tmp_path / "clean", architecture="denoiser", warm_images=None, latent=None, images_seen=16))
    assert command.main([str(tmp_path / "clean"), "--count", "4", "--threads", "1"]) == 0
    said = capsys.readouterr().out
    assert "noisy dB" in said and "trained on" in said
    values = json.loads((tmp_path / "clean" / "evaluation.json").read_text())
    assert [level["sigma"] for level in values["levels"]] == [0.0, 15.0, 25.0, 50.0]
    assert (values["kind"], values["reference"]["count"], values["reference"]["held_out"]) == ("restorer", 4, False)
    assert 20.0 < values["levels"][2]["noisy_psnr"] < 24.0


def test_a_folder_whose_pictures_are_damaged_is_not_compared_with(model: Path, tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    data = bytearray((broken / "pictures.npy").read_bytes())
    data[-1] ^= 1
    (broken / "pictures.npy").write_bytes(bytes(data))
    with pytest.raises(DatasetError, match="SHA-256"):
        training_pictures(broken)
    with pytest.raises(DatasetError, match="--source"):
        evaluate(broken, count=16)


def test_pictures_are_dealt_out_by_category() -> None:
    assert shares_of([3, 1], 8) == [6, 2]
    assert shares_of([1, 1, 1], 10) in ([4, 3, 3], [3, 4, 3], [3, 3, 4])
    assert sum(shares_of([7, 11, 2], 1000)) == 1000


def test_pictures_of_another_kind_are_made_alike(photos: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    for number, path in enumerate(sorted(photos.rglob("*.png"))[:20]):
        Image.open(path).convert("L").resize((90, 90)).save(made / f"{number}.png")
    values = evaluate(made, source=photos, count=20).evaluation
    assert (values.count, values.reference.size, values.categories) == (20, 64, ())
    assert any("does not know the categories" in note for note in values.notes)


def test_a_large_set_is_thinned_evenly(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shopgen_django.ml.evaluation.material.MOST_REAL", 20)
    real = real_material(training_pictures(model))
    assert len(real) == 20
    assert real.labels is not None
    assert np.bincount(real.labels).tolist() == [10, 10]


def test_the_classifier_learns_what_can_be_learned() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    features = rng.normal(size=(300, 8)) + 3.0 * np.eye(3, 8)[labels]
    found = fit_classifier(features[:200], labels[:200], 4)
    shares = accuracies(found.classify(features[200:]), labels[200:], 4)
    assert shares[3] is None
    assert (balanced(shares) or 0.0) > 0.9
    noise = fit_classifier(features[:200], rng.integers(0, 3, 200), 4)
    assert (balanced(accuracies(noise.classify(features[200:]), labels[200:], 4)) or 0.0) < 0.6
