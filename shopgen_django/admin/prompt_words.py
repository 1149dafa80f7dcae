"""What a model would get to read, on the page that queues work."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from shopgen_django.operations.base import Words
from shopgen_django.services.submit import Planned
from shopgen_django.services.words import words_of

SHOWN = 3
"""Jobs whose words are shown; of the others the number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptWords:
    """The words of the first jobs, with their labels, and in how many a model would leave some unread."""

    shown: tuple[tuple[str, tuple[Words, ...]], ...]
    jobs: int
    cut: int
    untold: tuple[str, ...]
    """Why it is not known of some what would be cut, each reason once."""
    mark: str
    """Differs where other words would be left unread: a person who has seen these has not seen those."""

    @property
    def more(self) -> int:
        return self.jobs - len(self.shown)


def prompt_words(planned: Sequence[tuple[str, Planned]]) -> PromptWords | None:
    """Of these jobs with their labels; ``None`` where no model works by words."""
    found = words_of([plan for _label, plan in planned])
    told = [(label, words) for (label, _plan), words in zip(planned, found, strict=True) if words]
    if not told:
        return None
    cut = [words for _label, words in told if any(each.is_cut for each in words)]
    seen = sorted({f"{each.prompt.cut}\n{each.negative.cut}" for words in cut for each in words})
    return PromptWords(
        shown=tuple(told[:SHOWN]), jobs=len(told), cut=len(cut),
        untold=tuple(dict.fromkeys(each.untold for _label, words in told for each in words if each.untold)),
        mark=hashlib.sha256("\n\n".join(seen).encode()).hexdigest()[:16] if cut else "",
    )
