"""A warm start: the generator first learns to redraw photos from a few numbers that describe them.

The numbers are the photo's principal components within its category, scaled to unit variance, so that they are spread
like the random vectors of sampling. After a few passes the generator draws blurred but well-formed products for any
random vector, and the game starts from there instead of from noise. (Supervised start of a GAN; the choice of
principal components in place of a learned code, as in GLO, Bojanowski et al. 2018, needs no second optimisation.)
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

SIDE = 16
MAX_PICTURES = 4_000


class Describer(nn.Module):
    """Pictures and labels -> ``(n, latent)``: ``components`` numbers from the picture, the rest random.

    Its buffers are part of the saved state, so that a resumed run describes pictures bit by bit as before.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, *, channels: int, categories: int, components: int) -> None:
        super().__init__()
        values = channels * SIDE * SIDE
        self.register_buffer("mean", torch.zeros(max(1, categories), values))
        self.register_buffer("basis", torch.zeros(values, components))

    def fit(self, images: NDArray[np.uint8], labels: NDArray[np.int64], *, flip: bool) -> None:
        """Compute the components from up to :data:`MAX_PICTURES` pictures (and their mirror images)."""
        step = max(1, -(-len(images) // MAX_PICTURES))
        some = torch.from_numpy(np.ascontiguousarray(images[::step])).float().div_(127.5).sub_(1.0)
        of = torch.from_numpy(labels[::step].copy())
        if flip:
            some, of = torch.cat([some, some.flip(3)]), torch.cat([of, of])
        small = _small(some)
        for label in range(len(self.mean)):
            chosen = small[of == label] if len(self.mean) > 1 else small
            self.mean[label] = chosen.mean(dim=0) if len(chosen) else small.mean(dim=0)
        centred = small - self._means(of)
        spread, vectors = torch.linalg.eigh((centred.T @ centred / len(centred)).double())
        count = self.basis.shape[1]
        strongest = slice(-count, None)
        scale = spread[strongest].clamp_min(spread[-1] * 1e-4).rsqrt()
        self.basis.copy_((vectors[:, strongest] * scale).flip(1).float())

    def _means(self, labels: Tensor) -> Tensor:
        return self.mean[labels] if len(self.mean) > 1 else self.mean

    def describe(self, pictures: Tensor, labels: Tensor) -> Tensor:
        """``(n, components)`` numbers of pictures in -1..1; the few that lie far out are pulled in."""
        return ((_small(pictures) - self._means(labels)) @ self.basis).clamp(-3.0, 3.0)

    def codes(self, images: NDArray[np.uint8], labels: Tensor) -> Tensor:
        """The same for 8-bit pictures."""
        parts = [
            self.describe(torch.from_numpy(np.ascontiguousarray(some)).float().div(127.5).sub(1.0), of)
            for some, of in ((images[at : at + 256], labels[at : at + 256]) for at in range(0, len(images), 256))
        ]
        return torch.cat(parts)

    def forward(self, pictures: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
        described = self.describe(pictures, labels)
        return torch.cat([described, noise[:, described.shape[1] :]], dim=1)


def _small(pictures: Tensor) -> Tensor:
    return adaptive_avg_pool2d(pictures.float(), SIDE).flatten(1)
