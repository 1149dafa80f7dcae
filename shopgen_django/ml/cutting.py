"""What finds the products for ``--prepare white``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .cards import card_of
from .config import TrainConfig
from .errors import ConfigError, ModelFileError

if TYPE_CHECKING:
    from shopgen_django.imaging.cutout import Finder


CLASSICAL, SHIPPED = "classical", "shipped"
"""Values of ``config.cutout`` that name no folder; empty means SHIPPED."""


def finder_of(config: TrainConfig) -> Finder | None:
    """The network that ``config.cutout`` names; ``None`` leaves finding products to the classical means.

    Raises:
        ConfigError: the folder holds no network that can be used.
    """
    if config.prepare != "white" or config.cutout == CLASSICAL:
        return None
    # OpenCV and onnxruntime are paid for only by runs that ask for it.
    from shopgen_django.imaging.cutout.network import NetworkError, OnnxFinder

    try:
        if config.cutout in ("", SHIPPED):
            from .cutout_net import ShippedFinder

            return ShippedFinder()
        return OnnxFinder(config.cutout, threads=1)  # as many pictures are decoded at a time as there are cores
    except (NetworkError, ModelFileError) as error:
        raise ConfigError(f"--cutout {config.cutout or SHIPPED}: {error}") from None


def network_digest(config: TrainConfig) -> list[object]:
    """What tells this finder from others, which cut other pictures out: the hash of a network's weights and its
    preprocessing.

    Raises:
        ConfigError: the folder holds no network.
    """
    from shopgen_django.imaging.cutout.network import NetworkError, read_card

    if config.cutout == CLASSICAL:
        return [CLASSICAL]
    try:
        if config.cutout in ("", SHIPPED):
            return [card_of("cutout")["sha256"]]
        card = read_card(Path(config.cutout))
    except (NetworkError, ModelFileError) as error:
        raise ConfigError(f"--cutout {config.cutout or SHIPPED}: {error}") from None
    return [card["sha256"], card["cutout"]]
