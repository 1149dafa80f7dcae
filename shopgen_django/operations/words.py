"""The words that a model gets to read, as they are once presets, placeholders and trigger words are in their places,
and what of them it does not read."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.utils.functional import Promise

from shopgen_django.engines.pictures import Unread


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A text and what a model leaves of it; ``unread`` is ``None`` where nobody knows."""

    text: str
    unread: Unread | None = None

    @property
    def cut(self) -> str:
        """Its end that nothing reads."""
        return self.unread.cut if self.unread else ""

    @property
    def partly(self) -> str:
        """What stands before that and counts for less."""
        return self.unread.partly if self.unread else ""

    @property
    def whole(self) -> str:
        """What stands before both and is read in full."""
        read = self.text.removesuffix(self.cut).rstrip() if self.cut else self.text
        return read.removesuffix(self.partly).rstrip() if self.partly else read


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What one operation gives its model to read."""

    prompt: Passage
    negative: Passage = field(default_factory=lambda: Passage(text=""))
    negative_heeded: bool = True
    """Whether the model heeds what shall not be seen, with the parameters as they are."""
    untold: str = ""
    """Why it is not known what would be cut; "" where it is known."""
    step: str | Promise = ""
    """The operation's label, where it is a step of a chain."""

    @property
    def is_cut(self) -> bool:
        """Whether something that counts is not read."""
        return bool(self.prompt.cut or (self.negative_heeded and self.negative.cut))
