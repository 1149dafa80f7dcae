"""A plain classifier on features: are made pictures what they should be, and do they show all that there is?

Multinomial logistic regression with a little weight decay on standardised features. It is convex, so there is one
answer and nothing to tune. Trained on real and tested on made features it says whether categories are drawn so that
they are recognised; trained on made and tested on real ones (classification accuracy score, Ravuri and Vinyals 2019) it
falls when something is missing as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from shopgen_django.ml.metrics import Features

DECAY = 1e-2
ROUNDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """A trained classifier: ``(n, d)`` features to numbers of categories."""

    centre: Features
    spread: Features
    weights: Features
    bias: Features

    def classify(self, features: Features) -> NDArray[np.int64]:
        """The likeliest category of each."""
        scores = (features - self.centre) / self.spread @ self.weights + self.bias
        return np.asarray(scores.argmax(axis=1), dtype=np.int64)


def fit_classifier(features: Features, labels: NDArray[np.int64], categories: int) -> Classifier:
    """Train on features with their categories (0 .. ``categories`` - 1); every category weighs the same."""
    centre, spread = features.mean(0), features.std(0) + 1e-6
    data, target = torch.from_numpy((features - centre) / spread).double(), torch.from_numpy(labels)
    counts = np.bincount(labels, minlength=categories)
    share = torch.from_numpy(np.where(counts > 0, 1.0 / np.maximum(counts, 1), 0.0))
    weights = torch.zeros(data.shape[1], categories, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(categories, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=ROUNDS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = functional.cross_entropy(data @ weights + bias, target, weight=share) + DECAY * weights.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return Classifier(
        centre=centre, spread=spread, weights=weights.detach().numpy(), bias=bias.detach().numpy()
    )


def accuracies(found: NDArray[np.int64], labels: NDArray[np.int64], categories: int) -> list[float | None]:
    """Share right within each category; None for one without pictures."""
    return [
        float((found[labels == number] == number).mean()) if (labels == number).any() else None
        for number in range(categories)
    ]


def balanced(shares: list[float | None]) -> float | None:
    """Mean over the categories that have pictures."""
    known = [share for share in shares if share is not None]
    return float(np.mean(known)) if known else None
