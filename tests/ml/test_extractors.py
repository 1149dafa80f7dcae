"""Feature networks: the one that ships, those that a user brings, and what is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from shopgen_django.ml.errors import ModelFileError, UnlikeFigures
from shopgen_django.ml.evaluation.extractors import SHIPPED, load_extractor
from shopgen_django.ml.evaluation.inception import InceptionV3
from shopgen_django.ml.evaluation.ladders import climb, read_off
from shopgen_django.ml.evaluation.network import to_input
from shopgen_django.ml.evaluation.results import require_alike
from shopgen_django.ml.files import sha256_file
from shopgen_django.ml.metrics import kid

DATA = Path(__file__).parents[1] / "data" / "fashion_mnist_900" / "fmnist900.npz"
PREPARATION = {"side": 32, "mean": [0.5], "std": [0.25], "channels": "grey", "dimension": 64}


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    """400 real pictures, all categories, in no order."""
    images = np.load(DATA)["images"][:, None]
    return images[np.random.default_rng(0).permutation(len(images))[:400]]


def test_the_identity_names_weights_layer_resize_and_type() -> None:
    extractor = load_extractor()
    text = str(extractor.identity)
    assert sha256_file(SHIPPED)[:16] in text
    for part in ("features[64]", "bilinear-antialias-64", "float32"):
        assert part in text
    assert extractor.identity.as_dict()["id"] == text
    assert SHIPPED.stat().st_size < 1_000_000


def test_grey_colour_alpha_and_size_follow_one_rule(photos: np.ndarray) -> None:
    grey = photos[:6]
    extractor = load_extractor()
    as_grey = extractor.features(grey)
    assert as_grey.shape == (6, 64)
    assert as_grey.dtype == np.float64
    np.testing.assert_array_equal(as_grey, extractor.features(np.repeat(grey, 3, axis=1)))
    solid = np.concatenate([np.repeat(grey, 3, axis=1), np.full_like(grey, 255)], axis=1)
    np.testing.assert_allclose(as_grey, extractor.features(solid), atol=1e-4)
    clear = solid.copy()
    clear[:, 3] = 0
    np.testing.assert_allclose(
        extractor.features(clear), extractor.features(np.full_like(grey, 255)), atol=1e-4
    )  # transparent is white
    # A picture enlarged without loss stays nearly where it was; another picture is far away.
    larger = np.kron(grey, np.ones((1, 1, 2, 2), dtype=np.uint8))
    moved = np.linalg.norm(extractor.features(larger) - as_grey, axis=1).mean()
    apart = np.linalg.norm(as_grey - np.roll(as_grey, 1, axis=0), axis=1).mean()
    assert moved < 0.35 * apart
    assert to_input(grey).shape == (6, 3, 64, 64)
    with pytest.raises(ValueError, match="uint8"):
        to_input(grey.astype(np.float32))


def test_features_do_not_depend_on_the_company(photos: np.ndarray) -> None:
    extractor = load_extractor()
    together, alone = extractor.features(photos[:70]), extractor.features(photos[66:67])
    np.testing.assert_allclose(together[66:67], alone, atol=1e-4)


def test_ladders_rise_with_blur_noise_and_missing_categories(photos: np.ndarray) -> None:
    extractor = load_extractor()
    labels = np.load(DATA)["labels"][np.random.default_rng(0).permutation(900)[:400]].astype(np.int64)
    rungs = climb(extractor.features(photos[:200]), photos[200:], labels[200:], extractor.features)
    for ladder in ("blur", "noise"):
        steps = [rung for rung in rungs if rung.ladder == ladder]
        assert [rung.amount for rung in steps] == sorted(rung.amount for rung in steps)
        assert [rung.kid for rung in steps] == sorted(rung.kid for rung in steps), ladder
        assert [rung.fid for rung in steps] == sorted(rung.fid for rung in steps), ladder
    untouched = next(rung for rung in rungs if rung.amount == 0.0)
    dropped = next(rung for rung in rungs if rung.ladder == "categories")
    assert dropped.kid > untouched.kid + 0.02
    assert abs(untouched.kid) < 0.1  # 200 a side: about two standard errors
    middle = (rungs[1].kid + rungs[2].kid) / 2  # between two rungs of blur
    assert rungs[1].amount < (read_off(rungs, "blur", middle) or 0.0) < rungs[2].amount
    assert read_off(rungs, "blur", -1.0) == 0.0
    assert read_off(rungs, "blur", 1e6) is None


def test_kid_between_halves_of_real_pictures_is_unbiased(photos: np.ndarray) -> None:
    features = load_extractor().features(photos)
    random = np.random.default_rng(1)
    values = []
    for _split in range(50):
        order = random.permutation(len(features))
        values.append(kid(features[order[:200]], features[order[200:]]))
    # The halves of one set are drawn without replacement and so a little more alike than two sets: below 0, not above.
    assert -0.01 < np.mean(values) < 2 * np.std(values) / np.sqrt(50)


def test_unlike_figures_are_refused() -> None:
    one = {"extractor": {"id": "a"}, "reference": {"digest": "x", "count": 9}}
    require_alike(one, {"extractor": {"id": "a"}, "reference": {"digest": "x", "count": 9}})
    with pytest.raises(UnlikeFigures, match="two extractors, a and b"):
        require_alike(one, {"extractor": {"id": "b"}, "reference": one["reference"]})
    with pytest.raises(UnlikeFigures, match="two sets of real pictures"):
        require_alike(one, {"extractor": {"id": "a"}, "reference": {"digest": "y", "count": 8}})


@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.pkl", "net.ts", "net.bin"])
def test_files_that_could_run_code_are_refused_unread(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps({"weights": 1}))
    with pytest.raises(ModelFileError, match="can run any program"):
        load_extractor(tmp_path / name)


def test_a_pickle_under_another_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.safetensors").write_bytes(pickle.dumps({"weights": 1}))
    (tmp_path / "net.json").write_text(json.dumps({**PREPARATION, "architecture": "inception-v3"}))
    with pytest.raises(ModelFileError, match="safetensors"):
        load_extractor(tmp_path / "net.safetensors")


def test_what_an_extractor_must_say_about_itself(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="can't be read"):
        load_extractor(tmp_path / "net.onnx")
    (tmp_path / "net.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelFileError, match=r"net\.json is missing"):
        load_extractor(tmp_path / "net.onnx")
    for wrong in ({"side": 32}, {**PREPARATION, "channels": "cmyk"}, {**PREPARATION, "mean": [0.1, 0.2]}, [1]):
        (tmp_path / "net.json").write_text(json.dumps(wrong))
        with pytest.raises(ModelFileError, match="does not say"):
            load_extractor(tmp_path / "net.onnx")
    (tmp_path / "net.json").write_text(json.dumps(PREPARATION))
    with pytest.raises(ModelFileError, match="not a graph"):
        load_extractor(tmp_path / "net.onnx")
    (tmp_path / "net.txt").write_text("")
    with pytest.raises(ModelFileError, match="neither"):
        load_extractor(tmp_path / "net.txt")


def test_a_users_onnx_graph_gives_features_with_an_identity_of_its_own(tmp_path: Path, photos: np.ndarray) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("AveragePool", ["x"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
         helper.make_node("Flatten", ["pooled"], ["features"])],
        "net", [helper.make_tensor_value_info("x", kind, ["n", 1, 32, 32])],
        [helper.make_tensor_value_info("features", kind, ["n", 64])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "net.json").write_text(json.dumps(PREPARATION))
    extractor = load_extractor(tmp_path / "net.onnx")
    found = extractor.features(photos[:3])
    given = (to_input(photos[:3], 32)[:, :1].numpy() * 0.5 + 0.5 - 0.5) / 0.25
    expected = given.reshape(3, 8, 4, 8, 4).mean((2, 4)).reshape(3, 64)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert str(extractor.identity).startswith("net@")
    (tmp_path / "net.json").write_text(json.dumps({**PREPARATION, "std": [0.5]}))
    assert str(load_extractor(tmp_path / "net.onnx").identity) != str(extractor.identity)
    (tmp_path / "net.json").write_text(json.dumps({**PREPARATION, "output": "logits"}))
    with pytest.raises(ModelFileError, match="It has: features"):
        load_extractor(tmp_path / "net.onnx")
    (tmp_path / "net.json").write_text(json.dumps({**PREPARATION, "dimension": 63}))
    with pytest.raises(ModelFileError, match="63"):
        load_extractor(tmp_path / "net.onnx").features(photos[:3])


def test_inception_takes_a_users_weights(tmp_path: Path, photos: np.ndarray) -> None:
    torch.manual_seed(0)
    network = InceptionV3(variant="fid").eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == 21_785_568  # as published, no classifier
    half = {name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()}
    half["fc.weight"] = torch.zeros(1008, 2048, dtype=torch.float16)
    safetensors.torch.save_file(half, tmp_path / "inception.safetensors")
    said = {"side": 96, "mean": [0.5] * 3, "std": [0.5] * 3, "dimension": 2048}
    (tmp_path / "inception.json").write_text(json.dumps(said))
    with pytest.raises(ModelFileError, match="architecture"):
        load_extractor(tmp_path / "inception.safetensors")
    (tmp_path / "inception.json").write_text(json.dumps({**said, "architecture": "inception-v3"}))
    extractor = load_extractor(tmp_path / "inception.safetensors")
    network.load_state_dict({name: value.float() for name, value in half.items() if not name.startswith("fc.")})
    with torch.no_grad():
        expected = network(to_input(photos[:2], 96)).numpy()
    np.testing.assert_allclose(extractor.features(photos[:2]), expected, rtol=1e-3, atol=1e-5)
    assert "pool3-fid[2048]" in str(extractor.identity)
    (tmp_path / "inception.safetensors").write_bytes(SHIPPED.read_bytes())
    with pytest.raises(ModelFileError, match="doesn't fit"):
        load_extractor(tmp_path / "inception.safetensors")
