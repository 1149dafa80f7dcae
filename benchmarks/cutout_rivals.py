"""What one would take for cutting out instead, and composites whose alpha is known: for ``benchmarks/cutout.py``."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

Array = np.ndarray
Method = Callable[[Image.Image], Array]
"""RGB picture -> alpha, uint8 of its size."""

SIDE = 256
UNSEEN = ("drink", "dash-force", "sunnies", "cushion", "mug", "beanie", "neck-warmer", "digital-product")
"""Kinds of objects that the network that ships was not trained on (training/cutout/train.py)."""


def _grabcut(rgb: Array, seeds: Array, box: tuple[int, int, int, int], how: int) -> Array:
    cv2.setRNGSeed(1)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(rgb[..., ::-1]), seeds, box, *models, 5, how)
    return np.where((seeds == cv2.GC_FGD) | (seeds == cv2.GC_PR_FGD), 255, 0).astype(np.uint8)


def rectangle(image: Image.Image) -> Array:
    """GrabCut from a rectangle 5 % inside of the frame, 5 rounds."""
    rgb = np.asarray(image)
    high, wide = rgb.shape[:2]
    left, top = round(0.05 * wide), round(0.05 * high)
    seeds = np.zeros((high, wide), np.uint8)
    return _grabcut(rgb, seeds, (left, top, wide - 2 * left, high - 2 * top), cv2.GC_INIT_WITH_RECT)


def saliency(image: Image.Image) -> Array:
    """Lab distance to five colours of the frame (4 % wide), divided by their spread, times a centre weight; Otsu; five
    rounds of GrabCut; parts under 5 % of the largest dropped."""
    rgb = np.asarray(image)
    high, wide = rgb.shape[:2]
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    band = max(2, round(0.04 * max(high, wide)))
    frame = np.ones((high, wide), bool)
    frame[band:-band, band:-band] = False
    cv2.setRNGSeed(1)
    border = np.ascontiguousarray(lab[frame])
    _, labels, centres = cv2.kmeans(border, 5, None, (3, 20, 0.5), 2, cv2.KMEANS_PP_CENTERS)
    spread = np.array([
        max(3.0, float(np.linalg.norm(border[labels.ravel() == k] - centres[k], axis=1).mean())) for k in range(5)
    ])  # fmt: skip
    distance = (np.linalg.norm(lab[:, :, None] - centres[None, None], axis=3) / spread).min(axis=2)
    y, x = np.mgrid[:high, :wide]
    centre = np.exp(-2 * (((y + 0.5) / high - 0.5) ** 2 + ((x + 0.5) / wide - 0.5) ** 2) / 0.25)
    score = cv2.GaussianBlur(distance * centre, (0, 0), 2)
    score = np.clip(255 * score / np.percentile(score, 99), 0, 255).astype(np.uint8)
    _, first = cv2.threshold(score, 0, 1, cv2.THRESH_OTSU)
    seeds = np.where(first > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    if not first.any() or first.all():
        return (255 * first).astype(np.uint8)
    mask = _grabcut(rgb, seeds, (0, 0, 1, 1), cv2.GC_INIT_WITH_MASK)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count > 1:
        areas = stats[:, cv2.CC_STAT_AREA].copy()
        areas[0] = 0
        mask[(areas < 0.05 * areas.max())[parts] & (parts > 0)] = 0
    return mask


def matting() -> Method:
    """Closed-form matting (Levin 2007, PyMatting) in a band of 4 px in and out of :func:`saliency`."""
    from pymatting import estimate_alpha_cf

    kernel = np.ones((9, 9), np.uint8)

    def method(image: Image.Image) -> Array:
        mask = saliency(image)
        trimap = np.full(mask.shape, 0.5)
        trimap[cv2.erode(mask, kernel) > 127] = 1.0
        trimap[cv2.dilate(mask, kernel) < 128] = 0.0
        if not (trimap == 1).any() or not (trimap == 0).any():
            return mask
        return np.rint(255 * np.clip(estimate_alpha_cf(np.asarray(image) / 255.0, trimap), 0, 1)).astype(np.uint8)

    return method


def rembg_picture(**options: bool) -> Callable[[Image.Image], Image.Image]:
    """The package rembg with its u2netp (``U2NET_HOME`` names the folder of u2netp.onnx), which gives RGBA."""
    import rembg as package

    session = package.new_session("u2netp", providers=["CPUExecutionProvider"])
    return lambda image: package.remove(image, session=session, **options)


def rembg(**options: bool) -> Method:
    """Its alpha."""
    method = rembg_picture(**options)
    return lambda image: np.asarray(method(image).getchannel("A"))


# -- composites --------------------------------------------------------------------------------


def composites(objects: Path, grounds: Path, each: int) -> Iterator[tuple[str, Image.Image, Array]]:
    """(name, picture of 256 px, true alpha uint8): every object of UNSEEN ``each`` times before a studio wall ("studio
    …") and on grounds that hold nothing ("ground …"), every third by name: on those nothing was trained."""
    chosen = [path for path in sorted(objects.rglob("*.png")) if any(kind in path.stem for kind in UNSEEN)]
    floors = sorted(grounds.rglob("*.jpg"))[::3]
    for path in chosen:
        with Image.open(path) as opened:
            rgba = np.asarray(opened.convert("RGBA")).astype(np.float32)
        for number in range(each):
            for kind in ("studio", "ground"):
                name = f"{kind} {path.stem} {number}"
                seed = int.from_bytes(hashlib.sha1(name.encode()).digest()[:8], "big")
                rng = np.random.default_rng(seed)
                floor = floors[int(rng.integers(len(floors)))] if kind == "ground" else None
                yield name, *_composed(rgba, floor, rng)


def _composed(rgba: Array, floor: Path | None, rng: np.random.Generator) -> tuple[Image.Image, Array]:
    ys, xs = np.where(rgba[..., 3] > 0.02 * 255)
    part = rgba[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].copy()
    factor = rng.uniform(0.55, 0.85) * SIDE / max(part.shape[:2])
    size = max(4, round(part.shape[1] * factor)), max(4, round(part.shape[0] * factor))
    part[..., :3] *= part[..., 3:] / 255
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    y, x = int(rng.integers(0, SIDE - size[1] + 1)), int(rng.integers(0, SIDE - size[0] + 1))
    laid = np.zeros((SIDE, SIDE, 4), np.float32)
    laid[y : y + size[1], x : x + size[0]] = small
    # The object's own soft shadow is seen, but is not product.
    near = cv2.dilate((laid[..., 3] >= 100).astype(np.uint8), np.ones((3, 3), np.uint8))
    truth = np.rint(laid[..., 3] * near).astype(np.uint8)
    if floor is None:
        ramp = np.linspace(4, -8, SIDE)[:, None, None]
        ground = np.clip(rng.choice([255, 245, 225, 190]) + ramp + np.zeros((SIDE, SIDE, 3)), 0, 255)
        shadow = np.roll(cv2.GaussianBlur(truth / 255.0, (0, 0), 8), (6, 3), (0, 1))
        ground = ground * (1 - rng.uniform(0.15, 0.35) * shadow[..., None])
    else:
        with Image.open(floor) as opened:
            rgb = np.asarray(opened.convert("RGB"))
        side = min(rgb.shape[:2])
        top, left = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
        ground = cv2.resize(rgb[top : top + side, left : left + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        ground = ground.astype(np.float32)
    alpha = laid[..., 3:] / 255
    pixels = laid[..., :3] + ground * (1 - alpha) + rng.normal(0, 2, (SIDE, SIDE, 3))
    coded = io.BytesIO()
    Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)).save(coded, "JPEG", quality=90)
    return Image.open(coded).convert("RGB"), truth
