"""Noise out of a picture with a trained denoiser: ``load_restorer(folder)``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ModelFileError
from .sample import load_network

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
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

        array = self._array(image)
        with torch.no_grad():
            found = [self._network.estimator(self._tensor(piece)) for piece in _spread(array)]
        level = torch.cat([each.level for each in found]).median()
        coloured = torch.cat([each.coloured for each in found]).median().sigmoid()
        return Noise(sigma=float(level), coloured=float(coloured))

    def restore(
        self,
        image: Image.Image,
        *,
        strength: float = 1.0,
        sigma: float | None = None,
        noise: Noise | None = None,
        on_tile: Callable[[float], object] | None = None,
    ) -> Image.Image:
        """The picture without its noise, of the same size; transparency is kept as it is.

        Beyond the picture and its result memory is needed for one tile of 256 pixels.

        Args:
            image: mode ``L``, ``RGB`` or ``RGBA``, any size from 2 x 2.
            strength: 0..1, how much of the change is made; below 1 a little grain stays.
            sigma: standard deviation of white noise, 0..255; ``None`` estimates level and kind, and leaves the picture
                alone when there is hardly any.
            noise: what :meth:`estimate` said, so that it isn't asked again; goes before ``sigma``.
            on_tile: called with the share that is done, 0..1, after each tile; what it raises ends the work.

        Raises:
            ValueError: a number out of its range, or another mode.
        """
        if not 0.0 <= strength <= 1.0 or (sigma is not None and not 0.0 <= sigma <= 255.0):
            raise ValueError("strength must be between 0 and 1, sigma between 0 and 255.")
        array = self._array(image)
        guessed = noise is not None or sigma is None
        found = noise or (self.estimate(image) if sigma is None else Noise(sigma=sigma, coloured=0.0))
        if strength == 0.0 or found.sigma == 0.0 or (guessed and found.sigma < LEAST_LEVEL):
            return image.copy()
        made = self._tiled(array, found, strength, on_tile)
        return self._image(made, image)

    def _tiled(
        self, array: NDArray[np.uint8], noise: Noise, strength: float, on_tile: Callable[[float], object] | None = None
    ) -> NDArray[np.uint8]:
        """The whole picture's result, computed tile by tile with as much around each as the network looks at."""
        import numpy as np
        import torch

        from .samples import to_bytes

        reach = self._network.reach
        height, width = array.shape[:2]
        result = np.empty_like(array)
        places = [(y, x) for y in range(0, height, TILE) for x in range(0, width, TILE)]
        for number, (y, x) in enumerate(places, start=1):
            top, left = max(0, y - reach), max(0, x - reach)
            pieces = self._tensor(array[top : y + TILE + reach, left : x + TILE + reach])
            level = torch.full((len(pieces),), noise.sigma, device=self._device)
            coloured = torch.full((len(pieces),), noise.coloured, device=self._device)
            with torch.no_grad():
                made = torch.lerp(pieces, self._network(pieces, level, coloured).clamp_(-1.0, 1.0), strength)
            made = made.transpose(0, 1) if self.channels == 1 else made
            rows, columns = min(TILE, height - y), min(TILE, width - x)
            bytes_ = to_bytes(made.cpu())[0][:, y - top : y - top + rows, x - left : x - left + columns]
            result[y : y + rows, x : x + columns] = bytes_.transpose(1, 2, 0)
            if on_tile is not None:
                on_tile(number / len(places))
        return result

    def _array(self, image: Image.Image) -> NDArray[np.uint8]:
        """``(h, w, 1 or 3)`` of the colours."""
        import numpy as np

        if image.mode not in ("L", "RGB", "RGBA"):
            raise ValueError(f"A picture of mode {image.mode} can't be restored; convert it to L, RGB or RGBA first.")
        plain = image.convert("RGB") if image.mode == "RGBA" or self.channels == 3 else image
        return np.atleast_3d(np.asarray(plain, dtype=np.uint8))

    def _tensor(self, array: NDArray[np.uint8]) -> Tensor:
        """``(n, channels, h, w)`` in -1..1 with even sides: a colour picture is three pictures for a grey model."""
        import numpy as np
        import torch

        planes = torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1))).float().div_(127.5).sub_(1.0)
        pictures = planes[:, None] if self.channels == 1 else planes[None]
        height, width = pictures.shape[2:]
        padded = torch.nn.functional.pad(pictures, (0, width % 2, 0, height % 2), mode="replicate")
        return padded.to(self._device)

    def _image(self, made: NDArray[np.uint8], image: Image.Image) -> Image.Image:
        """The inverse of :meth:`_array`, with mode and transparency of ``image``."""
        from PIL import Image as Pillow

        picture = Pillow.fromarray(made[..., 0] if made.shape[2] == 1 else made)
        if image.mode == "RGBA":
            picture.putalpha(image.getchannel("A"))
            return picture
        return picture.convert(image.mode)


def _spread(array: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Up to :data:`ESTIMATE_TILES` pieces, evenly spread over the picture."""
    height, width = array.shape[:2]
    side = int(ESTIMATE_TILES**0.5)
    for top in _starts(height, side):
        for left in _starts(width, side):
            yield array[top : top + ESTIMATE_TILE, left : left + ESTIMATE_TILE]


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
