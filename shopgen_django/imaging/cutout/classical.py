"""Find the product in a photo with classical means only.

1. *Which colours belong to the product?* The colours are grouped by k-means in CIE Lab. A group that lies mostly in the
   middle of the frame is taken for product, one that lies along the frame for ground; the belief per pixel is iterated
   with a weak centre prior (a naive Bayes model on colour groups, in the spirit of spatial-distribution saliency).
2. *Where is the outline?* That belief seeds GrabCut (Rother, Kolmogorov, Blake 2004; OpenCV's implementation), with
   sure product where the belief is high and sure ground where it is low. Few rounds are better than many: the
   seeds hold the colour mixtures in place, long runs drift and lose whole garments. A second run starts from the place
   alone; the mask whose colours set it apart better is taken, and where the two differ lies the doubt.

Holes (between the legs of trousers, inside a handle) stay open: no morphology closes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["WORK_SIDE", "Found", "colour_belief", "find", "follow_colours", "iou", "plausibility", "ramp"]

WORK_SIDE = 128
"""Longest side, in pixels, at which the outline is searched."""

FOLLOW_SIDE = 256
"""Longest side, in pixels, at which a network's belief is drawn to the colours."""

_COLOUR_SIDE = 64
_COLOUR_GROUPS = 16
_CENTRE_REACH = 0.44
_SURE_PRODUCT = 0.97
_SURE_GROUND = 0.05
_GRABCUT_ROUNDS = 2

FloatArray = NDArray[np.float32]
ByteArray = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """``belief`` is float32 (h, w), at most :data:`WORK_SIDE` pixels a side, 0 or 1; ``doubts`` the single scores,
    0..1, 1 = no doubt."""

    belief: FloatArray
    doubts: dict[str, float]


def find(rgb: ByteArray) -> Found:
    """Where the product is in ``rgb`` (h, w, 3; any size from 8 pixels). Deterministic."""
    small = _shrunk(rgb, WORK_SIDE)
    colours = _colour_groups(small)
    masks = [_main_parts(_grabcut(small, seeds)) for seeds in (_belief_seeds(colours), _place_seeds(small))]
    scores = [_separability(colours, mask) for mask in masks]
    best = int(np.argmax(scores))
    doubts = plausibility(small, masks[best])
    doubts |= {"colours": ramp(scores[best], 0.6, 0.95), "agreement": ramp(iou(*masks), 0.5, 1.0)}
    return Found(belief=masks[best].astype(np.float32), doubts=doubts)


def _shrunk(rgb: ByteArray, side: int) -> ByteArray:
    import cv2

    height, width = rgb.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return np.ascontiguousarray(rgb)
    size = (max(8, round(width * factor)), max(8, round(height * factor)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _lab(rgb: ByteArray) -> FloatArray:
    import cv2

    return np.asarray(cv2.cvtColor(rgb.astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB), np.float32)


def _frame(height: int, width: int, share: float) -> BoolArray:
    """True on the outermost ``share`` of the longer side (at least two pixels)."""
    band = max(2, round(share * max(height, width)))
    frame = np.zeros((height, width), bool)
    frame[:band] = frame[-band:] = True
    frame[:, :band] = frame[:, -band:] = True
    return frame


def _centre_prior(height: int, width: int) -> FloatArray:
    """Where products tend to be: flat in the middle, falling steeply near the frame; 0..1."""
    y = np.abs((np.arange(height) + 0.5) / height - 0.5) / _CENTRE_REACH
    x = np.abs((np.arange(width) + 0.5) / width - 0.5) / _CENTRE_REACH
    return np.exp(-0.5 * (y[:, None] ** 4 + x[None, :] ** 4)).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Colours:
    """The colours of a picture in soft groups: ``weights`` (pixels, groups) of a small copy of ``shape``."""

    weights: FloatArray
    shape: tuple[int, int]
    full_shape: tuple[int, int]


def _colour_groups(rgb: ByteArray) -> _Colours:
    import cv2

    lab = _lab(_shrunk(rgb, _COLOUR_SIDE))
    pixels = lab.reshape(-1, 3)
    cv2.setRNGSeed(1)
    groups = min(_COLOUR_GROUPS, len(pixels) // 2)
    sample = np.ascontiguousarray(pixels[::2])
    _, _, centres = cv2.kmeans(sample, groups, None, (3, 6, 1.0), 1, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    # The soft width, in Lab units, is about the noise of a phone photo: neighbouring groups share evidence.
    distance = ((pixels[:, None] - centres[None]) ** 2).sum(axis=2)
    weights = np.exp(-distance / (2 * 6.0**2)) + 1e-8
    weights /= weights.sum(axis=1, keepdims=True)
    return _Colours(weights=weights.astype(np.float32), shape=lab.shape[:2], full_shape=rgb.shape[:2])


def _colour_evidence(colours: _Colours, belief: FloatArray) -> FloatArray:
    """Log odds per pixel that its colour is the product's, when ``belief`` (flat, 0..1) says where the product is."""
    product, ground = colours.weights.T @ belief, colours.weights.T @ (1 - belief)
    odds = np.log((product / product.sum() + 1e-4) / (ground / ground.sum() + 1e-4))
    return np.asarray(colours.weights @ odds, np.float32)


def colour_belief(rgb: ByteArray) -> FloatArray:
    """Where the product is judging by how the colours are spread over the frame, blurred: float32 0..1, at most
    64 pixels a side, same framing as ``rgb`` (h, w, 3; any size from 8 pixels). Takes milliseconds. Deterministic."""
    return _spread_belief(_colour_groups(_shrunk(rgb, WORK_SIDE)))


def _spread_belief(colours: _Colours) -> FloatArray:
    import cv2

    height, width = colours.shape
    prior = np.clip(_centre_prior(height, width).ravel(), 0.02, 0.98)
    place = 0.3 * np.log(prior / (1 - prior))
    belief = prior
    for _ in range(3):
        logit = (place + _colour_evidence(colours, belief)).reshape(height, width)
        belief = 1 / (1 + np.exp(-cv2.GaussianBlur(logit, (0, 0), 1.5).ravel()))
    return np.asarray(belief.reshape(height, width), np.float32)


def _belief_seeds(colours: _Colours) -> ByteArray:
    """GrabCut seeds from how the colours are spread over the frame."""
    import cv2

    high, wide = colours.full_shape
    large = cv2.resize(_spread_belief(colours), (wide, high))
    seeds = np.where(large > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    seeds[_frame(high, wide, 0.02) & (large < 0.5)] = cv2.GC_BGD
    seeds[large > _SURE_PRODUCT] = cv2.GC_FGD
    seeds[large < _SURE_GROUND] = cv2.GC_BGD
    return seeds


def follow_colours(rgb: ByteArray, belief: FloatArray) -> FloatArray:
    """A coarse ``belief`` (float 0..1, of the size of ``rgb``) drawn to where the colours change: its mean with what
    GrabCut makes of it on at most :data:`FOLLOW_SIDE` pixels a side. Where the two differ it is undecided."""
    import cv2

    small = _shrunk(rgb, FOLLOW_SIDE)
    size = (small.shape[1], small.shape[0])
    coarse = np.asarray(cv2.resize(belief, size, interpolation=cv2.INTER_AREA), np.float32)
    seeds = np.where(coarse > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    seeds[coarse > _SURE_PRODUCT] = cv2.GC_FGD
    seeds[coarse < 1 - _SURE_PRODUCT] = cv2.GC_BGD
    mean = (coarse + _grabcut(small, seeds)) / 2
    return np.asarray(cv2.resize(mean, (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)


def _place_seeds(rgb: ByteArray) -> ByteArray:
    """GrabCut seeds from the place alone: a rounded rectangle in the middle, and a sure frame."""
    import cv2

    height, width = rgb.shape[:2]
    seeds = np.where(_centre_prior(height, width) > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    seeds[_frame(height, width, 0.03)] = cv2.GC_BGD
    return seeds


def _grabcut(rgb: ByteArray, seeds: ByteArray) -> BoolArray:
    import cv2

    product = (seeds == cv2.GC_FGD) | (seeds == cv2.GC_PR_FGD)
    if product.all() or not product.any():
        return np.asarray(product, bool)
    cv2.setRNGSeed(1)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    bgr = np.ascontiguousarray(rgb[:, :, ::-1])
    seeds = seeds.copy()
    cv2.grabCut(bgr, seeds, (0, 0, 1, 1), *models, _GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    return np.asarray((seeds == cv2.GC_FGD) | (seeds == cv2.GC_PR_FGD), bool)


def iou(first: BoolArray, second: BoolArray) -> float:
    """Share of the pixels in either mask that are in both; 0 when both are empty."""
    return float((first & second).sum() / max(1, (first | second).sum()))


def _separability(colours: _Colours, mask: BoolArray) -> float:
    """How well colour alone tells the mask from the rest (IoU of the mask with what its own colours would pick)."""
    import cv2

    height, width = colours.shape
    share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA).ravel()
    if not 0.0 < float(share.mean()) < 1.0:
        return 0.0
    return iou(_colour_evidence(colours, share.astype(np.float32)) > 0, share > 0.5)


def _main_parts(mask: BoolArray) -> BoolArray:
    """Keep the part that lies most in the middle and every part of like weight (a pair of shoes).

    A part that touches the frame has to weigh half as much as the main one, any other a twentieth.
    """
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:
        return mask
    height, width = mask.shape
    weights = np.bincount(labels.ravel(), _centre_prior(height, width).ravel(), count)
    weights[0] = 0.0
    x, y, wide, high = (stats[:, column] for column in range(4))
    touches = (x == 0) | (y == 0) | (x + wide == width) | (y + high == height)
    kept = weights >= np.where(touches, 0.5, 0.05) * weights.max()
    kept[0] = False
    return np.asarray(kept[labels], bool)


def ramp(value: float, low: float, high: float) -> float:
    """0 at ``low``, 1 at ``high``, straight between; ``low`` may be above ``high``."""
    return float(np.clip((value - low) / (high - low), 0.0, 1.0))


def plausibility(rgb: ByteArray, mask: BoolArray) -> dict[str, float]:
    """The single plausibility scores of a mask, each 0 (implausible) to 1 (fine)."""
    import cv2

    area = float(mask.mean())
    if not 0.0 < area < 1.0:
        return {"area": 0.0}
    edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    # Colours 2 px inside and outside of the outline, compared place by place through a small blur.
    lab = _lab(rgb)
    inside = mask & ~cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1).astype(bool)
    outside = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool) & ~mask
    near = [cv2.boxFilter(np.where(side[..., None], lab, 0), -1, (7, 7), normalize=False) for side in (inside, outside)]
    size = [cv2.boxFilter(side.astype(np.float32), -1, (7, 7), normalize=False) for side in (inside, outside)]
    both = inside & (size[1] > 0)
    step = np.linalg.norm(near[0][both] / size[0][both][:, None] - near[1][both] / size[1][both][:, None], axis=1)
    flat = float((step < 6.0).mean()) if len(step) else 1.0
    return {
        "area": min(ramp(area, 0.02, 0.06), ramp(area, 0.97, 0.85)),
        "frame": ramp(float(edge.mean()), 0.6, 0.15),
        "separation": ramp(flat, 0.5, 0.1),
    }
