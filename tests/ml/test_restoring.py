"""A denoiser's figures: of one that does nothing, of one that knows the answer, of a simple filter."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from shopgen_django.ml.errors import ModelFileError
from shopgen_django.ml.evaluation.restorer_report import write_restorer_report
from shopgen_django.ml.evaluation.restoring import SAME, judge_restorer, load_lpips

DATA = Path(__file__).parents[1] / "data" / "fashion_mnist_900" / "fmnist900.npz"


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return np.load(DATA)["images"][::90][:, None]


def test_who_does_nothing_gains_nothing(clean: np.ndarray) -> None:
    found = judge_restorer(lambda picture: picture, clean)
    assert [each.sigma for each in found] == [0.0, 15.0, 25.0, 50.0]
    assert (found[0].restored_psnr, found[0].restored_ssim) == (SAME, pytest.approx(1.0))
    for each in found:
        assert each.restored_psnr == each.noisy_psnr
        assert each.restored_ssim == each.noisy_ssim
        assert each.restored_lpips is None
    # 20 log10(255 / 25) is 20.2 dB; clipping at black and white takes some of the noise away.
    assert 20.1 < found[2].noisy_psnr < 24.0
    assert [each.noisy_psnr for each in found] == sorted((each.noisy_psnr for each in found), reverse=True)


def test_a_filter_is_found_to_be_no_better_than_the_best_filter(clean: np.ndarray) -> None:
    found = judge_restorer(lambda picture: picture.filter(ImageFilter.MedianFilter(3)), clean)
    assert all(each.restored_psnr <= each.filter_psnr + 1e-9 for each in found)
    assert found[3].filter_psnr > found[3].noisy_psnr + 2.0


def test_who_knows_the_answer_is_perfect(clean: np.ndarray) -> None:
    answers = iter([Image.fromarray(picture[0]) for picture in clean] * 4)
    found = judge_restorer(lambda picture: next(answers), clean)
    assert all(each.restored_psnr == SAME for each in found)


def test_the_report_shows_every_level_with_its_pictures(clean: np.ndarray) -> None:
    def soft(image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(0.8))

    found = judge_restorer(soft, clean)
    page = write_restorer_report("<b>soft</b>", found, soft, clean, seed=0, held_out=True).decode()
    assert "<b>soft</b>" not in page and "not trained on" in page and "http" not in re.sub(r"data:[^\"]+", "", page)
    for each in found:
        assert f"Noise of {each.sigma:g}" in page and f"{each.restored_psnr:.2f} dB" in page
    sheets = [base64.b64decode(data) for data in re.findall(r"data:image/png;base64,([^\"]+)", page)]
    assert len(sheets) == len(found)
    with Image.open(io.BytesIO(sheets[2])) as sheet:
        assert sheet.width > sheet.height > 0  # eight columns, three rows


def test_lpips_is_a_graph_with_two_inputs(clean: np.ndarray, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    sides = [helper.make_tensor_value_info(name, kind, ["n", 3, "h", "w"]) for name in ("a", "b")]
    nodes = [
        helper.make_node("Sub", ["a", "b"], ["difference"]),
        helper.make_node("ReduceL1", ["difference"], ["distance"], keepdims=0),
    ]
    for count in (2, 1):
        kept = nodes if count == 2 else [helper.make_node("ReduceL1", ["a"], ["distance"], keepdims=0)]
        outputs = [helper.make_tensor_value_info("distance", kind, [])]
        graph = helper.make_graph(kept, "net", sides[:count], outputs)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        (tmp_path / f"{count}.onnx").write_bytes(model.SerializeToString())
    found = judge_restorer(lambda picture: picture, clean[:2], lpips=load_lpips(tmp_path / "2.onnx"))
    assert found[0].restored_lpips == 0.0
    assert found[3].noisy_lpips is not None and found[3].noisy_lpips > 0.0
    with pytest.raises(ModelFileError, match="1 inputs"):
        load_lpips(tmp_path / "1.onnx")
    with pytest.raises(ModelFileError, match="can't be read"):
        load_lpips(tmp_path / "none.onnx")
