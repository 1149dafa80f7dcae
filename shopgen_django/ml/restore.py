"""Noise out of a picture with a trained denoiser: ``load_restorer(folder)``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ModelFileError
from .sample import load_network

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor

    from .families.restorer import Restorer

TILE = 256
ESTIMATE_TILE, ESTIMATE_TILES = 128, 16
LEAST_LEVEL = 2.0
"""Noise below this (0..255) is left alone when nobody said how much there is: nobody sees it, and detail is safe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """What an estimate says of a picture.

    Attributes:
        sigma: standard deviation of the noise on the scale 0..255.
        coloured: 0..1, how sure it is that neighbouring pixels share their noise, as from a camera or a JPEG.
    """

    sigma: float
    coloured: float


class LoadedRestorer:
    """A trained denoiser. Get one from :func:`load_restorer`.

    Attributes:
        channels: 1 or 3, what it was trained on; pictures of either kind are taken.
        card: the content of ``model.json``.
    """

    def __init__(self, network: Restorer, card: Mapping[str, Any], device: torch.device) -> None:
        self._network = network
        self._device = device
        self.card = dict(card)
        self.channels = int(card["channels"])

    def estimate(self, image: Image.Image) -> Noise:
        """How much noise there is in a picture, and of which kind: the median over up to 16 pieces of it."""
        import torch

        pictures = self._tensor(image)
        with torch.no_grad():
            found = [self._network.estimator(piece.to(self._device)) for piece in _spread(pictures)]
        level = torch.cat([each.level for each in found]).median()
        coloured = torch.cat([each.coloured for each in found]).median().sigmoid()
        return Noise(sigma=float(level), coloured=float(coloured))

    def restore(self, image: Image.Image, *, strength: float = 1.0, sigma: float | None = None) -> Image.Image:
        """The picture without its noise, of the same size; transparency is kept as it is.

        Args:
            image: mode ``L``, ``RGB`` or ``RGBA``, any size from 2 x 2.
            strength: 0..1, how much of the change is made; below 1 a little grain stays.
            sigma: standard deviation of white noise, 0..255; ``None`` estimates level and kind, and leaves the picture
                alone when there is hardly any.

        Raises:
            ValueError: a number out of its range, or another mode.
        """
        import torch

        if not 0.0 <= strength <= 1.0 or (sigma is not None and not 0.0 <= sigma <= 255.0):
            raise ValueError("strength must be between 0 and 1, sigma between 0 and 255.")
        noise = Noise(sigma=sigma, coloured=0.0) if sigma is not None else self.estimate(image)
        if strength == 0.0 or noise.sigma == 0.0 or (sigma is None and noise.sigma < LEAST_LEVEL):
            return image.copy()
        pictures = self._tensor(image)
        with torch.no_grad():
            restored = torch.lerp(pictures, self._tiled(pictures, noise).clamp_(-1.0, 1.0), strength)
        return self._image(restored, image)

    def _tiled(self, pictures: Tensor, noise: Noise) -> Tensor:
        """The whole picture's result, computed tile by tile with as much around each as the network looks at."""
        import torch

        reach = self._network.reach
        height, width = pictures.shape[2:]
        result = torch.empty_like(pictures)
        for y in range(0, height, TILE):
            for x in range(0, width, TILE):
                top, left = max(0, y - reach), max(0, x - reach)
                piece = pictures[:, :, top : y + TILE + reach, left : x + TILE + reach].to(self._device)
                n = len(piece)
                level = torch.full((n,), noise.sigma, device=self._device)
                coloured = torch.full((n,), noise.coloured, device=self._device)
                made = self._network(piece, level, coloured)[:, :, y - top :, x - left :]
                rows, columns = min(TILE, height - y), min(TILE, width - x)
                result[:, :, y : y + rows, x : x + columns] = made[:, :, :rows, :columns].cpu()
        return result

    def _tensor(self, image: Image.Image) -> Tensor:
        """``(n, channels, h, w)`` in -1..1 with even sides: a colour picture is three pictures for a grey model."""
        import numpy as np
        import torch

        if image.mode not in ("L", "RGB", "RGBA"):
            raise ValueError(f"A picture of mode {image.mode} can't be restored; convert it to L, RGB or RGBA first.")
        plain = image.convert("RGB") if image.mode == "RGBA" or self.channels == 3 else image
        array = np.atleast_3d(np.asarray(plain, dtype=np.float32)).transpose(2, 0, 1) / 127.5 - 1.0
        pictures = torch.from_numpy(array)[:, None] if self.channels == 1 else torch.from_numpy(array)[None]
        height, width = pictures.shape[2:]
        return torch.nn.functional.pad(pictures, (0, width % 2, 0, height % 2), mode="replicate")

    def _image(self, pictures: Tensor, image: Image.Image) -> Image.Image:
        """The inverse of :meth:`_tensor`, with size, mode and transparency of ``image``."""
        from .pictures import to_pillow
        from .samples import to_bytes

        planes = pictures.transpose(0, 1) if self.channels == 1 else pictures
        made = to_pillow(to_bytes(planes)[0]).crop((0, 0, *image.size))
        if image.mode == "RGBA":
            made.putalpha(image.getchannel("A"))
            return made
        return made.convert(image.mode)


def _spread(pictures: Tensor) -> Iterator[Tensor]:
    """Up to :data:`ESTIMATE_TILES` pieces, evenly spread over the picture."""
    height, width = pictures.shape[2:]
    side = int(ESTIMATE_TILES**0.5)
    for top in _starts(height, side):
        for left in _starts(width, side):
            yield pictures[:, :, top : top + ESTIMATE_TILE, left : left + ESTIMATE_TILE]


def _starts(length: int, count: int) -> list[int]:
    room = max(0, length - ESTIMATE_TILE)
    return sorted({room * index // max(1, count - 1) // 2 * 2 for index in range(count)})


def load_restorer(folder: str | Path, device: str = "cpu", *, expected_sha256: str | None = None) -> LoadedRestorer:
    """Load the denoiser of an output folder, checked as :func:`~shopgen_django.ml.sample.load_network` does.

    Raises:
        ModelFileError: also when the model is for another purpose than taking noise out.
    """
    from .families.restorer import Restorer

    network, card, target = load_network(folder, device, expected_sha256=expected_sha256)
    if not isinstance(network, Restorer):
        raise ModelFileError(
            f"The model in {folder} is for the purpose {card.get('purpose', 'generate')!r}; no noise can be taken out "
            "with it. Train one with --architecture denoiser."
        )
    return LoadedRestorer(network, card, target)
