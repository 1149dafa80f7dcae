"""What an engine over large picture models takes and gives: text to picture, picture to picture, repainting a part."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from django.utils.translation import gettext as _

from .base import Engine
from .errors import BadRequest

if TYPE_CHECKING:
    from PIL import Image

Task = Literal["text", "image", "inpaint"]
TASKS: tuple[Task, ...] = ("text", "image", "inpaint")


def _nobody(share: float) -> None:
    """Nobody listens."""


def _never() -> None:
    """Nothing can cancel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A model as its files describe it, read without loading it."""

    name: str
    kind: str
    """Its class, for example "StableDiffusionPipeline"."""
    tasks: tuple[Task, ...]
    multiple: int
    """Width and height are multiples of this."""
    size: tuple[int, int]
    """Width and height that it was trained for, in pixels."""
    max_pixels: int
    in_channels: int
    bytes: int
    """Of the weight files."""
    negative: bool
    """Whether it heeds a negative prompt."""
    licence: str = ""
    sha256: str = ""
    """Of all its files, where the folder's manifest states them; "" when it has none."""
    outlines: bool = False
    """Whether it can be held to the outlines of a picture (``PictureRequest.outlines``)."""
    loras: bool = False
    """Whether LoRAs can be laid over it."""
    keeps_seed: bool = True
    mask_rule: str = "white is repainted"

    def require_size(self, width: int, height: int) -> None:
        """Raises BadRequest for a size that the model can't make.

        Memory is asked for by the pixel: a request that is far too large kills its process without a word.
        """
        if min(width, height) < self.multiple or width % self.multiple or height % self.multiple:
            raise BadRequest(
                _("Width and height must be multiples of %(multiple)d for this model, not %(width)d × %(height)d.")
                % {"multiple": self.multiple, "width": width, "height": height}
            )
        if width * height > self.max_pixels:
            raise BadRequest(
                _("%(width)d × %(height)d is more than the %(limit)d pixels that this engine is allowed to make.")
                % {"width": width, "height": height, "limit": self.max_pixels}
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """What of a prompt a model does not read: its text encoders have room for so many words."""

    cut: str = ""
    """The prompt's end that nothing reads."""
    partly: str = ""
    """What stands before that and is read by some of the model's text encoders only, so that it counts for less."""


def seed_of(seed: int, number: int) -> int:
    """The seed of picture ``number``: neighbouring seeds share no picture, and it doesn't depend on the count."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4], "big") >> 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """A fine-tuning laid over the model for one run: a name that the engine's options list, and its weight.

    ``path``: the file of one that they don't list, with the SHA-256 that it must have.
    """

    name: str
    weight: float = 1.0
    path: Path | None = None
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureRequest:
    """One call of an engine.

    ``width`` and ``height`` are those of the result, in pixels, multiples of what :class:`Described` says; ``image``
    (RGB) and ``mask`` (L, white is repainted) have that size. The i-th picture of ``count`` depends on ``seed`` and i
    alone; where an engine makes several at a time, its last bits depend on how many as well. ``strength``, above 0 to
    1: how far ``image`` is left behind; ``steps`` are the steps of the whole way, of which ``strength`` is gone.
    ``scheduler``: "" for the model's own.
    """

    task: Task
    prompt: str
    negative: str = ""
    width: int
    height: int
    count: int = 1
    seed: int = 0
    steps: int = 30
    guidance: float = 7.0
    scheduler: str = ""
    strength: float = 0.75
    image: Image.Image | None = None
    mask: Image.Image | None = None
    outlines: Image.Image | None = None
    """L, of the request's size, white lines on black: what the result's outlines are held to."""
    outlines_weight: float = 1.0
    reference: Image.Image | None = None
    """A picture, of any size, that the result shall resemble."""
    reference_weight: float = 0.6
    """0..1: how closely; at 0 the picture isn't looked at."""
    loras: tuple[Lora, ...] = ()
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MadePicture:
    """One picture (RGB, of the request's size) and all that is needed to make it again."""

    image: Image.Image
    number: int
    """Which of ``count``, from 0: a picture that a safety check took out leaves a gap."""
    seed: int
    facts: Mapping[str, str] = field(default_factory=dict)
    """Seed, steps, scheduler, model with hash, device, versions, words of the prompt that were cut: plain texts."""


class PictureEngine(Engine, ABC):
    """Makes and changes pictures by words."""

    @property
    def lora_names(self) -> tuple[str, ...]:
        """The LoRAs that its options list."""
        return ()

    def require_reference(self, task: Task = "text") -> None:
        """Raises an error of ``engines.errors`` when a request for ``task`` can't have a ``reference``; reads small
        files only and imports nothing heavy."""
        raise BadRequest(_("This engine can't follow a reference picture."))

    @abstractmethod
    def describe(self, task: Task = "text") -> Described:
        """The model that would do ``task``; reads small files only and imports nothing heavy.

        Raises an error of ``engines.errors``: nothing is configured, or the folder is not what it should be.
        """

    def unread(self, prompt: str, task: Task = "text") -> Unread | None:
        """What of ``prompt`` the model for ``task`` would not read; ``None`` where the engine can't know.

        Reads small files only and imports nothing heavy. Raises an error of ``engines.errors`` for files that can't be
        read.
        """
        return None

    @abstractmethod
    def run(
        self, request: PictureRequest, *, on_step: Callable[[float], None] = _nobody,
        check: Callable[[], None] = _never,
    ) -> Iterator[MadePicture]:
        """Make the pictures. ``on_step(share)`` hears of progress, 0..1; ``check`` is called at every step, and what it
        raises stops the work within that step, leaves the engine usable, and passes through.

        Raises the errors of ``engines.errors``.
        """
