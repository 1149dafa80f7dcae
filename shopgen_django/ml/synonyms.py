"""Whether two shops mean the same by a category: names without case, plural and punctuation, and a word list."""

from __future__ import annotations

import re
from collections.abc import Sequence

SAME: dict[str, tuple[str, ...]] = {
    "blazer": ("suit jacket", "sport coat", "suit", "西装", "西服"),
    "dress": ("gown", "frock", "连衣裙", "长裙", "礼服"),
    "hat": ("cap", "beanie", "headwear", "bucket hat", "帽子", "帽"),
    "hoodie": ("hooded sweatshirt", "hoody", "连帽衫", "卫衣"),
    "longsleeve": ("sweater", "jumper", "pullover", "sweatshirt", "cardigan", "knitwear", "knit", "毛衣", "针织衫"),
    "outwear": ("outerwear", "jacket", "coat", "parka", "anorak", "windbreaker", "外套", "大衣", "夹克"),
    "pants": ("trouser", "jean", "legging", "chino", "slack", "jogger", "sweatpant", "裤子", "长裤", "牛仔裤"),
    "polo": ("polo shirt", "polo衫"),
    "shirt": ("blouse", "button down", "dress shirt", "衬衫", "衬衣"),
    "shoes": ("sneaker", "boot", "sandal", "trainer", "heel", "footwear", "loafer", "鞋", "鞋子", "运动鞋"),
    "shorts": ("bermuda", "board short", "短裤"),
    "skirt": ("miniskirt", "半身裙", "短裙", "裙子"),
    "tshirt": ("tee", "tee shirt", "t恤", "短袖"),
    "undershirt": ("tank top", "singlet", "tank", "camisole", "背心"),
}
"""What a category is also called; keys and values in plain singular, as :func:`plain` makes them or close to it."""


def plain(name: str) -> str:
    """Lower case letters and digits only, a plural ``s`` or ``es`` taken off: ``T-Shirts`` is ``tshirt``."""
    joined = re.sub(r"[\W_]+", "", name.lower())
    if len(joined) > 4 and joined.endswith(("sses", "shes", "ches", "xes")):
        return joined[:-2]
    return joined[:-1] if len(joined) > 3 and joined.endswith("s") and not joined.endswith("ss") else joined


_MEANING: dict[str, str] = {
    plain(word): plain(key) for key, words in SAME.items() for word in (key, *words)
}


def meaning(name: str) -> str:
    """One word for everything that means the same; a name that the list doesn't know stands for itself."""
    return _MEANING.get(plain(name), plain(name))


def find(name: str, known: Sequence[str]) -> int | None:
    """Which of ``known`` the category ``name`` is: its last part (``Women > Dresses``) as a whole, else its last words.

    Returns the index in ``known``, or None when none fits.
    """
    meanings = {meaning(other): index for index, other in reversed(list(enumerate(known)))}
    last = re.split(r"[/>|\\]", name)[-1].strip()
    exact = {plain(other): index for index, other in enumerate(known)}
    words = last.split()
    for start in range(len(words)):
        tail = " ".join(words[start:])
        found = exact.get(plain(tail), meanings.get(meaning(tail)))
        if found is not None:
            return found
    return None
