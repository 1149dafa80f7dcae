"""How far to trust a network's cut-out, without knowing the truth."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .classical import WORK_SIDE, Found, iou, plausibility, ramp

__all__ = ["confidence_of", "network_doubts"]

ByteArray = NDArray[np.uint8]
FloatArray = NDArray[np.float32]


def network_doubts(rgb: ByteArray, belief: FloatArray, steadiness: float, classical: Found) -> dict[str, float]:
    """Single scores of a network's ``belief`` (float 0..1) about ``rgb``, each 0..1, 1 = no doubt.

    Beside the plausibility of the mask: ``steadiness``, whether several views of the picture got the same answer
    (given as the smallest overlap of two); ``decision``, how little of the belief is undecided compared with the
    product's area; ``agreement``, the overlap with what the classical finder says, an opinion with other mistakes;
    ``presence``, whether anything was found for sure.
    """
    import cv2

    high, wide = classical.belief.shape
    small = cv2.resize(rgb, (wide, high), interpolation=cv2.INTER_AREA) if max(rgb.shape) > WORK_SIDE else rgb
    belief = np.asarray(cv2.resize(belief, (wide, high), interpolation=cv2.INTER_AREA), np.float32)
    mask = belief > 0.5
    undecided = float(((belief > 0.2) & (belief < 0.8)).sum() / max(1, mask.sum()))
    plausible = plausibility(np.asarray(small, np.uint8), mask)
    if "separation" in plausible:
        # Colours alone say little against a network, which knows shapes: product and ground may well be alike.
        plausible["separation"] = 0.3 + 0.7 * plausible["separation"]
    return {
        **plausible,
        "presence": ramp(float(belief.max()), 0.3, 0.7),
        "steadiness": ramp(steadiness, 0.6, 0.97),
        "decision": ramp(undecided, 0.5, 0.05),
        "agreement": ramp(iou(mask, classical.belief > 0.5), 0.0, 0.9),
    }


_WEIGHTS: Mapping[str, float] = {"agreement": 0.5, "decision": 0.5}
"""Exponents of the scores that are weak evidence alone."""


def confidence_of(doubts: Mapping[str, float]) -> float:
    """One number in 0..1 from the single scores: their product, weak evidence weighing less beside a network's.

    Classical scores (no ``decision`` among them) count whole: they are calibrated as a plain product. The weights of a
    network's were chosen on 133 phone photos with u2netp: at 0.5 and more 95 % are accepted, of which 5 % overlap with
    their reference by less than 0.9.
    """
    weights = _WEIGHTS if "decision" in doubts else {}
    return float(math.prod(score ** weights.get(name, 1.0) for name, score in doubts.items()))
