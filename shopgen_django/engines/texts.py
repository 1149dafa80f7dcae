"""What an engine that reads pictures and writes about them takes and gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from .base import Engine

if TYPE_CHECKING:
    from PIL import Image

TextKind = Literal["title", "description", "tags", "alt_text"]
KINDS: tuple[TextKind, ...] = ("title", "description", "tags", "alt_text")


def _nobody(share: float) -> None:
    """Nobody listens."""


def _never() -> None:
    """Nothing can cancel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """A model as its files or settings describe it, read without loading it."""

    name: str
    model_kind: str
    """Its class, for example "BlipForConditionalGeneration"."""
    kinds: tuple[TextKind, ...]
    """What it can write."""
    licence: str = ""
    sha256: str = ""
    bytes: int = 0
    languages: tuple[str, ...] = ()
    """Codes of the languages that it writes; empty: whichever it is asked for."""
    pictures: int = 8
    """Pictures of one product that it looks at together at most."""
    needs_tags: bool = False
    """Whether it can only choose among tags that are given."""
    heeds_instructions: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRequest:
    """One call of an engine: pictures (RGB) of one product, and what is known of it.

    ``lengths``: characters of each kind at most. ``tags``: those to choose from; empty: free choice. ``language``: a
    code such as "en" or "zh-hans", ``language_name`` the same in English words.
    """

    images: tuple[Image.Image, ...]
    kinds: tuple[TextKind, ...]
    language: str = "en"
    language_name: str = "English"
    title: str = ""
    category: str = ""
    description: str = ""
    instructions: str = ""
    tags: tuple[str, ...] = ()
    max_tags: int = 8
    lengths: Mapping[str, int] = field(default_factory=dict)
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a model wrote: kind -> text as it came (tags one a line), unchecked; facts of the making as plain texts."""

    texts: Mapping[TextKind, str]
    facts: Mapping[str, str] = field(default_factory=dict)


class TextEngine(Engine, ABC):
    """Looks at pictures of a product and writes about it."""

    @abstractmethod
    def describe(self) -> Writer:
        """The model; reads small files only and imports nothing heavy.

        Raises an error of ``engines.errors``: nothing is configured, or the folder is not what it should be.
        """

    @abstractmethod
    def write(
        self, request: TextRequest, *, on_step: Callable[[float], None] = _nobody,
        check: Callable[[], None] = _never,
    ) -> Written:
        """Write the texts of ``request.kinds``. ``on_step(share)`` hears of progress, 0..1; ``check`` is called often,
        and what it raises stops the work, leaves the engine usable, and passes through.

        Raises the errors of ``engines.errors``.
        """
