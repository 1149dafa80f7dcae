"""A model's texts made fit to be read, and what a reader should look at twice.

Models repeat themselves, stop in mid-sentence, write markup, and state with confidence what no picture can show:
material, size, price, origin, certificates, effects. In a shop such a sentence is a promise. It is not taken out, since
it may be true: the reader is told.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping

from django.utils.html import strip_tags
from django.utils.translation import gettext as _

from shopgen_django.engines.errors import BadOutput
from shopgen_django.engines.texts import TextKind, TextRequest

LENGTHS: Mapping[str, int] = {"title": 120, "description": 1500, "tags": 400, "alt_text": 180}
"""Characters at most."""
TAG_LENGTH = 40

_SPACES = re.compile(r"[^\S\n]+")
_BREAKS = re.compile(r"\n{3,}")
_MARKUP = re.compile(r"(\*\*|__|^#{1,6}[^\S\n]+|^[^\S\n]*[-*•][^\S\n]+)", re.MULTILINE)
_QUOTED = re.compile(r"^[\"'“”«»„‘’「『]+|[\"'“”«»„‘’」』]+$")
_OPENING = re.compile(r"^(?:an?|the)?\s*(?:image|picture|photo(?:graph)?)\s+(?:of|showing)\s+", re.IGNORECASE)
_OPENING_ZH = re.compile(r"^(?:这是)?一?[张幅](?:图片|照片|图像)[,，:：]?")
_END = re.compile(r"[.!?。！？…](?=\s|$|[\"'”’」』])|[。！？]")

_UNSEEN: dict[str, re.Pattern[str]] = {
    name: re.compile("|".join(patterns), re.IGNORECASE)
    for name, patterns in {
        "material": (
            r"\b\d{1,3}\s?%\s?\w+", r"\b(?:genuine|real|pure|organic)\s+\w+",
            r"\b(?:cotton|linen|wool|silk|cashmere|leather|polyester|viscose|nylon|denim)\b",
            r"\b(?:stainless steel|solid (?:wood|oak)|sterling silver|gold[- ]plated)\b",
            "纯棉|真皮|羊毛|羊绒|真丝|亚麻|涤纶|不锈钢|实木|纯银",
        ),
        "size": (
            r"\b\d+(?:[.,]\d+)?\s?(?:cm|mm|m|inch(?:es)?|in\.|kg|g|oz|lbs?|ml|l)\b",
            r"\d+(?:\.\d+)?\s?(?:厘米|毫米|公分|英寸|千克|公斤|毫升)",
        ),
        "price": (
            r"[€$£¥￥]\s?\d", r"\b\d+(?:[.,]\d+)?\s?(?:eur|usd|euros?|dollars?)\b",
            r"\b(?:sale|discount|bargain|cheap)\b", r"\d+\s?元|折扣|特价|促销",
        ),
        "origin": (
            r"\b(?:made|manufactured|crafted|designed) in \w+", r"\bhand[- ]?made\b",
            "(?:中国|意大利|法国|日本)制造|手工制作",
        ),
        "certificate": (
            r"\b(?:certified|certificate|oeko-?tex|gots|fair ?trade|fsc|ce[- ]marked|vegan|cruelty[- ]free)\b",
            r"\b(?:sustainabl[ey]|eco[- ]friendly|recycled|biodegradable)\b", "认证|环保|可降解",
        ),
        "effect": (
            r"\b(?:water(?:proof|[- ]resistant)|breathable|anti[- ]?bacterial|hypoallergenic|orthopa?edic)\b",
            r"\b(?:heal(?:s|ing)|machine[- ]wash(?:able)?|dishwasher[- ]safe|fireproof|uv[- ]protect\w+)\b",
            r"\b(?:guaranteed?|warranty)\b", "防水|透气|抗菌|可机洗|质保|保修",
        ),
    }.items()
}


def tidy(kind: TextKind, text: str, request: TextRequest) -> tuple[str, bool]:
    """The text without markup, control characters and loops, within its length; whether it had to be cut.

    Raises BadOutput when nothing is left.
    """
    text = unicodedata.normalize("NFC", strip_tags(text))
    text = "".join(sign for sign in text if sign == "\n" or unicodedata.category(sign)[0] != "C")
    text = _BREAKS.sub("\n\n", _SPACES.sub(" ", _MARKUP.sub("", text))).strip()
    if kind == "tags":
        text = "\n".join(_tags(text, request))
    else:
        text = _QUOTED.sub("", text).strip()
        lines = [" ".join(line.split()) for line in text.splitlines()]
        text = _unlooped("\n".join(lines) if kind == "description" else " ".join(filter(None, lines)))
    if kind == "alt_text":
        text = _capital(_OPENING_ZH.sub("", _OPENING.sub("", text)))
    elif kind == "title":
        text = _capital(text.rstrip(".。"))
    limit = request.lengths.get(kind, LENGTHS[kind])
    cut = len(text) > limit
    text = _cut(text, limit) if cut else text
    if not text:
        raise BadOutput(_("The model wrote no text “%(kind)s” for this picture.") % {"kind": kind})
    return text, cut


def doubts_about(kind: TextKind, text: str, request: TextRequest, *, cut: bool) -> Iterator[str]:
    """What a reader should look at, in plain words; nothing when all looks well."""
    if cut:
        yield _("It was longer and was cut.")
    known = " ".join((request.title, request.category, request.description)).casefold()
    for name, pattern in _UNSEEN.items():
        said = dict.fromkeys(found.group().strip() for found in pattern.finditer(text))
        new = [words for words in said if words.casefold() not in known]
        if new:
            yield _unseen(name) % {"words": ", ".join(new[:4])}
    if kind == "description" and not _END.search(text[-2:]):
        yield _("It may stop in mid-sentence.")
    if kind in ("title", "description", "alt_text") and _other_script(text, request.language):
        yield _("It seems to be written in another language than the one that was asked for.")


def _unseen(name: str) -> str:
    return {
        "material": _("Says what a photo can’t prove, the material: %(words)s."),
        "size": _("Says what a photo can’t prove, measures: %(words)s."),
        "price": _("Speaks of prices: %(words)s."),
        "origin": _("Says what a photo can’t prove, where or how it was made: %(words)s."),
        "certificate": _("Says what a photo can’t prove, a certificate or a claim about the environment: %(words)s."),
        "effect": _("Promises what a photo can’t prove: %(words)s."),
    }[name]


def _tags(text: str, request: TextRequest) -> list[str]:
    """Each once, short, at most as many as wished; of given ones only those, as the shop writes them."""
    words = [" ".join(_QUOTED.sub("", word.strip(" \t.;#")).split()) for word in re.split(r"[\n,;，、；]", text)]
    own = {tag.casefold(): tag for tag in request.tags}
    found = [own.get(word.casefold(), "") if own else word for word in words]
    kept = {word.casefold(): word for word in reversed(found) if word and len(word) <= TAG_LENGTH}
    return list(dict.fromkeys(kept[word.casefold()] for word in found if word.casefold() in kept))[: request.max_tags]


def _unlooped(text: str) -> str:
    """Small models fall into loops: a run of words that comes three times in a row is kept once."""
    words = text.split(" ")
    for size in range(1, 13):
        index = 0
        while index + 3 * size <= len(words):
            first = words[index : index + size]
            if words[index + size : index + 2 * size] == first and words[index + 2 * size : index + 3 * size] == first:
                end = index + size
                while words[end : end + size] == first:
                    end += size
                words[index + size : end] = []
            index += 1
    return " ".join(words)


def _cut(text: str, limit: int) -> str:
    """At the end of a sentence in the second half, else after a word."""
    head = text[:limit]
    ends = [found.end() for found in _END.finditer(head)]
    if ends and ends[-1] >= limit // 2:
        return head[: ends[-1]].strip()
    if "\n" in head or " " in head:
        head = head[: max(head.rfind(" "), head.rfind("\n"))]
    return head.rstrip(" ,;:，、；：-–")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _other_script(text: str, language: str) -> bool:
    """Han letters for most of a text that should have none, or hardly any where they are due."""
    letters = [sign for sign in text if sign.isalpha()]
    if len(letters) < 8:
        return False
    han = sum("\u4e00" <= sign <= "\u9fff" for sign in letters) / len(letters)
    return han < 0.3 if language.split("-")[0] == "zh" else language.split("-")[0] != "ja" and han > 0.3
