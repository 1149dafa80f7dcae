"""Put a photographed product on a plain ground, with classical means only.

The cut-out works in three steps on a copy of at most :data:`WORK_SIDE` pixels:

1. *Which colours belong to the product?* The colours are grouped by k-means in CIE Lab. A group that lies mostly in the
   middle of the frame is taken for product, one that lies along the frame for ground; the belief per pixel is iterated
   with a weak centre prior (a naive Bayes model on colour groups, in the spirit of spatial-distribution saliency).
2. *Where exactly is the outline?* That belief seeds GrabCut (Rother, Kolmogorov, Blake 2004; OpenCV's implementation),
   with sure product where the belief is high and sure ground where it is low. Few rounds are better than many: the
   seeds hold the colour mixtures in place, long runs drift and lose whole garments. A second run starts from the place
   alone; the mask whose colours set it apart better is taken, and where the two differ lies the doubt.
3. *Soft edge.* The mask is enlarged to the full picture with a guided filter (He, Sun, Tang 2010), and the colours of
   the rim are replaced by colours from just inside, so that no old ground shines through.

Holes (between the legs of trousers, inside a handle) stay open: no morphology closes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["CutOut", "compose", "cut_out", "put_on_ground"]

WORK_SIDE = 128
"""Longest side, in pixels, at which the outline is searched; the alpha comes back at full size."""

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
class CutOut:
    """A product's alpha and how far to trust it.

    ``alpha`` is float32 of shape (height, width) in 0..1, the size of the picture. ``confidence`` is in 0..1: under 0.5
    the mask is probably wrong (see :func:`put_on_ground`). ``doubts`` holds the single scores, each 0..1, 1 = no doubt.
    """

    alpha: FloatArray
    confidence: float
    doubts: dict[str, float]


def put_on_ground(image: Image.Image, *, ground: tuple[int, int, int] = (255, 255, 255)) -> tuple[Image.Image, float]:
    """Cut the product out of ``image`` and lay it on the colour ``ground`` (sRGB, 0..255 each).

    Returns an RGB picture of the same size and a confidence in 0..1. The confidence is low when the mask is
    implausible: it runs along most of the frame, is tiny or nearly everything, hardly differs in colour from its
    surroundings, or two searches from different starts disagree. A picture that brings real transparency keeps its
    own alpha (confidence 1). Deterministic: the same pixels give the same answer.
    """
    result = cut_out(image)
    return compose(image, result.alpha, ground=ground), result.confidence


def cut_out(image: Image.Image) -> CutOut:
    """Find the product in a photo: alpha at full size with a confidence.

    Any Pillow mode is taken; work is done in RGB. Raises ``ValueError`` for a picture under 8 pixels on a side.
    """
    if min(image.size) < 8:
        raise ValueError("A cut-out needs a picture of at least 8 x 8 pixels.")
    own = _own_alpha(image)
    if own is not None:
        return CutOut(alpha=own, confidence=1.0, doubts={"own_alpha": 1.0})
    rgb = np.asarray(image.convert("RGB"))
    small = _shrunk(rgb, WORK_SIDE)
    colours = _colour_groups(small)
    masks = [_main_parts(_grabcut(small, seeds)) for seeds in (_belief_seeds(colours), _place_seeds(small))]
    scores = [_separability(colours, mask) for mask in masks]
    best = int(np.argmax(scores))
    doubts = _doubts(small, masks[best])
    doubts |= {"colours": _ramp(scores[best], 0.6, 0.95), "agreement": _ramp(_iou(*masks), 0.5, 1.0)}
    alpha = _soft_alpha(rgb, masks[best]) if masks[best].any() else np.zeros(rgb.shape[:2], np.float32)
    return CutOut(alpha=alpha, confidence=float(np.prod(list(doubts.values()))), doubts=doubts)


def compose(image: Image.Image, alpha: FloatArray, *, ground: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """Lay ``image`` on a plain ``ground`` through ``alpha`` (float, height x width, 0..1); RGB of the same size.

    Colours are mixed in sRGB values, as browsers do. Where the alpha is partial, the colour is taken from the nearest
    solid product pixels instead of the photo, which removes the rim of the old ground.
    """
    rgb = np.asarray(image.convert("RGB"), dtype=np.float32)
    if alpha.shape != rgb.shape[:2]:
        height, width = alpha.shape
        raise ValueError(f"The alpha is {width} x {height}, the picture {image.width} x {image.height}.")
    front = _rim_colours(rgb, alpha)
    mixed = front * alpha[..., None] + np.asarray(ground, np.float32) * (1.0 - alpha[..., None])
    return Image.fromarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8), "RGB")


def _own_alpha(image: Image.Image) -> FloatArray | None:
    """The picture's own alpha when at least one pixel in a hundred is clear, else None."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return None
    alpha = np.asarray(image.convert("RGBA").getchannel("A"), dtype=np.float32) / 255.0
    return alpha if float((alpha < 0.5).mean()) >= 0.01 else None


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


def _belief_seeds(colours: _Colours) -> ByteArray:
    """GrabCut seeds from how the colours are spread over the frame."""
    import cv2

    height, width = colours.shape
    prior = np.clip(_centre_prior(height, width).ravel(), 0.02, 0.98)
    place = 0.3 * np.log(prior / (1 - prior))
    belief = prior
    for _ in range(3):
        logit = (place + _colour_evidence(colours, belief)).reshape(height, width)
        belief = 1 / (1 + np.exp(-cv2.GaussianBlur(logit, (0, 0), 1.5).ravel()))
    high, wide = colours.full_shape
    large = cv2.resize(belief.reshape(height, width).astype(np.float32), (wide, high))
    seeds = np.where(large > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    seeds[_frame(high, wide, 0.02) & (large < 0.5)] = cv2.GC_BGD
    seeds[large > _SURE_PRODUCT] = cv2.GC_FGD
    seeds[large < _SURE_GROUND] = cv2.GC_BGD
    return seeds


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


def _iou(first: BoolArray, second: BoolArray) -> float:
    """Share of the pixels in either mask that are in both; 0 when both are empty."""
    return float((first & second).sum() / max(1, (first | second).sum()))


def _separability(colours: _Colours, mask: BoolArray) -> float:
    """How well colour alone tells the mask from the rest (IoU of the mask with what its own colours would pick)."""
    import cv2

    height, width = colours.shape
    share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA).ravel()
    if not 0.0 < float(share.mean()) < 1.0:
        return 0.0
    return _iou(_colour_evidence(colours, share.astype(np.float32)) > 0, share > 0.5)


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


def _ramp(value: float, low: float, high: float) -> float:
    """0 at ``low``, 1 at ``high``, straight between; ``low`` may be above ``high``."""
    return float(np.clip((value - low) / (high - low), 0.0, 1.0))


def _doubts(rgb: ByteArray, mask: BoolArray) -> dict[str, float]:
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
        "area": min(_ramp(area, 0.02, 0.06), _ramp(area, 0.97, 0.85)),
        "frame": _ramp(float(edge.mean()), 0.6, 0.15),
        "separation": _ramp(flat, 0.5, 0.1),
    }


def _soft_alpha(rgb: ByteArray, mask: BoolArray) -> FloatArray:
    """Enlarge a small hard mask to the picture's size along the picture's own edges (guided filter, grey guide)."""
    import cv2

    height, width = rgb.shape[:2]
    rough = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    reach = 2 * max(1, round(max(height, width) / max(mask.shape))) + 1
    guide = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0

    def mean(values: Any) -> FloatArray:
        return np.asarray(cv2.boxFilter(values, -1, (2 * reach + 1, 2 * reach + 1)), np.float32)

    guide_mean, rough_mean = mean(guide), mean(rough)
    slope = (mean(guide * rough) - guide_mean * rough_mean) / (mean(guide * guide) - guide_mean**2 + 1e-3)
    alpha = mean(slope) * guide + mean(rough_mean - slope * guide_mean)
    # Far inside stays solid and far outside clear, whatever the texture of the guide says.
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    solid, clear = cv2.erode(rough, kernel, borderValue=1) > 0.5, cv2.dilate(rough, kernel) < 0.5
    alpha = np.clip((alpha - 0.15) / 0.7, 0.0, 1.0)
    return np.where(solid, 1.0, np.where(clear, 0.0, alpha)).astype(np.float32)


def _rim_colours(rgb: FloatArray, alpha: FloatArray) -> FloatArray:
    """Colours of the product alone: rim pixels get the mean of the solid pixels near them."""
    import cv2

    rim = (alpha > 0.0) & (alpha < 0.95)
    if not rim.any():
        return rgb
    solid = (alpha >= 0.95).astype(np.float32)
    reach = 2 * max(2, round(max(alpha.shape) / WORK_SIDE * 2)) + 1
    weight = cv2.boxFilter(solid, -1, (reach, reach), normalize=False)
    near = cv2.boxFilter(rgb * solid[..., None], -1, (reach, reach), normalize=False)
    known = rim & (weight > 0.5)
    front = rgb.copy()
    front[known] = near[known] / weight[known][:, None]
    return front
