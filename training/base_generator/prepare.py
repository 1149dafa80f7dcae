"""Step 1 of 3: phone photos of clothes -> one framed product on plain white each, 128 px, a folder per category.

    python training/base_generator/prepare.py --photos DIR --cutter u2netp.onnx --output PREPARED [--leave-out FILE ...]

``DIR`` holds ``labels.csv`` (file, label) and ``images/``. The cutter is U^2-Net's small variant (Qin et al. 2020,
Apache-2.0, 4.6 MB) as an ONNX file whose input size is free or gets freed here; it is run at 160 px with onnxruntime.
Cut-outs that look implausible by figures are left out, and so is every file named in a ``--leave-out`` list (one name
a line, text after a blank is a remark): photos that tests and examples use, and those that a person rejected.
At most ``--most`` photos of a label are taken (common ones would crowd out the rest); labels with few join a like
one or are left out (:data:`MERGED`). Writes ``PREPARED/<label>/<name>.png``, ``report.csv`` with the figures of every
photo, and goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from shopgen_django.imaging.plain_ground import compose
from shopgen_django.ml.pictures import frame_product

SIDE = 160
SAVED_SIDE = 128
MEAN, SPREAD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
MERGED: dict[str, str | None] = {"Blouse": "Shirt", "Top": "Undershirt", "Body": None}
COLUMNS = ["file", "label", "area", "frame", "soft", "parts", "kept"]


def load_cutter(path: Path) -> Any:
    """An onnxruntime session that takes pictures of any size."""
    import onnx
    import onnxruntime

    model = onnx.load(str(path))
    for value in [*model.graph.input, *model.graph.output]:
        for index, dimension in enumerate(value.type.tensor_type.shape.dim):
            if index >= 2:
                dimension.ClearField("dim_value")
                dimension.dim_param = f"side{index}"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def cut(session: Any, image: Image.Image) -> NDArray[np.float32]:
    """Alpha in 0..1 at the picture's size."""
    small = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS), np.float32)
    small = (small / max(1.0, float(small.max())) - MEAN) / SPREAD
    given = {session.get_inputs()[0].name: small.transpose(2, 0, 1)[None].astype(np.float32)}
    rough = session.run([session.get_outputs()[0].name], given)[0][0, 0]
    grown = Image.fromarray(rough.astype(np.float32)).resize(image.size, Image.Resampling.BICUBIC)
    return np.clip((np.asarray(grown) - 0.2) / 0.6, 0.0, 1.0).astype(np.float32)


def figures(alpha: NDArray[np.float32]) -> dict[str, float]:
    """Area, share of the frame that is covered, share of undecided pixels, weight of all parts but the largest."""
    import cv2

    solid = alpha > 0.5
    edge = np.concatenate([solid[0], solid[-1], solid[:, 0], solid[:, -1]])
    _count, _labels, stats, _ = cv2.connectedComponentsWithStats(solid.astype(np.uint8))
    sizes = np.sort(stats[1:, cv2.CC_STAT_AREA])
    soft = ((alpha > 0.05) & (alpha < 0.95)).sum() / max(1, solid.sum())
    rest = sizes[:-1].sum() / max(1, sizes.sum()) if len(sizes) else 1.0
    return {"area": float(solid.mean()), "frame": float(edge.mean()), "soft": float(soft), "parts": float(rest)}


def plausible(found: dict[str, float], label: str) -> bool:
    """Whether a cut-out is likely to be one whole product."""
    apart = 0.55 if label == "Shoes" else 0.1  # a pair of shoes has two parts
    return 0.06 <= found["area"] <= 0.85 and found["frame"] <= 0.2 and found["soft"] <= 0.35 and found["parts"] <= apart


def read_names(paths: list[Path]) -> set[str]:
    """The first word of every line, without its ending."""
    lines = [line.split() for path in paths for line in path.read_text().splitlines()]
    return {Path(words[0]).stem for words in lines if words and not words[0].startswith("#")}


def at_most(rows: list[dict[str, str]], most: int) -> list[dict[str, str]]:
    """The first ``most`` rows of each label, after merging."""
    seen: Counter[str] = Counter()
    taken = []
    for row in rows:
        label = MERGED.get(row["label"], row["label"])
        if label is not None and seen[label] < most:
            seen[label] += 1
            taken.append({**row, "label": label})
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--cutter", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--most", type=int, default=240)
    parser.add_argument("--labels", nargs="*", default=[], help="only these, after merging")
    parser.add_argument("--leave-out", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    left_out = read_names(options.leave_out)
    rows = list(csv.DictReader((options.photos / "labels.csv").open()))
    rows = [row for row in rows if Path(row["file"]).stem not in left_out]
    # Shuffled, so that what is done after a while is a fair part of all categories.
    rows = [rows[index] for index in np.random.default_rng(0).permutation(len(rows))]
    rows = [row for row in at_most(rows, options.most) if row["label"] in options.labels or not options.labels]
    options.output.mkdir(parents=True, exist_ok=True)
    report = options.output / "report.csv"
    done = {row["file"] for row in csv.DictReader(report.open())} if report.exists() else set()
    session = load_cutter(options.cutter)
    with report.open("a", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS)
        if not done:
            writer.writeheader()
        for row in rows:
            if row["file"] in done:
                continue
            photo = Image.open(options.photos / "images" / row["file"])
            photo = ImageOps.exif_transpose(photo).convert("RGB")
            alpha = cut(session, photo)
            found = figures(alpha)
            kept = plausible(found, row["label"])
            if kept:
                product = frame_product(compose(photo, alpha))
                product = product.resize((SAVED_SIDE, SAVED_SIDE), Image.Resampling.LANCZOS)
                path = options.output / row["label"] / f"{Path(row['file']).stem}.png"
                path.parent.mkdir(exist_ok=True)
                product.save(path)
            numbers = {name: f"{value:.3f}" for name, value in found.items()}
            writer.writerow({"file": row["file"], "label": row["label"], **numbers, "kept": int(kept)})
            handle.flush()


if __name__ == "__main__":
    main()
