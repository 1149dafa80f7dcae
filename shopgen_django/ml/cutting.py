"""The cut-out network of ``--prepare white``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .config import TrainConfig
from .errors import ConfigError

if TYPE_CHECKING:
    from shopgen_django.imaging.cutout import Finder


def finder_of(config: TrainConfig) -> Finder | None:
    """The network in ``config.cutout``; ``None`` leaves finding products to the classical means.

    Raises:
        ConfigError: the folder holds no network that can be used.
    """
    if config.prepare != "white" or not config.cutout:
        return None
    # OpenCV and onnxruntime are paid for only by runs that ask for it.
    from shopgen_django.imaging.cutout.network import NetworkError, OnnxFinder

    try:
        return OnnxFinder(config.cutout, threads=1)  # as many pictures are decoded at a time as there are cores
    except NetworkError as error:
        raise ConfigError(f"--cutout {config.cutout}: {error}") from None


def network_digest(config: TrainConfig) -> list[object]:
    """The hash of that network's weights and its preprocessing: others cut other pictures out.

    Raises:
        ConfigError: the folder holds no network.
    """
    from shopgen_django.imaging.cutout.network import NetworkError, read_card

    try:
        card = read_card(Path(config.cutout))
    except NetworkError as error:
        raise ConfigError(f"--cutout {config.cutout}: {error}") from None
    return [card["sha256"], card["cutout"]]
