"""How much of a prompt a model reads, told from its tokenizers' files without loading it.

Text encoders have room for so many tokens (CLIP: 77, two of them for begin and end); what comes after is cut without a
word. The ``tokenizers`` library reads the files, a fraction of a second and some 7 MB, so that a web page can ask.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .folder import ModelFolder, read_json

CLIP_WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
"""How CLIP splits a text before it looks for pairs of signs (Radford et al. 2021; the pattern is part of the format)."""
_NAMES = ("tokenizer", "tokenizer_2", "tokenizer_3")


def unread_words(folder: ModelFolder, prompt: str) -> str | None:
    """The end of ``prompt`` that the model will not read; "" when it reads all of it, None when that can't be told.

    Where several tokenizers read it, what none of them reads counts.
    """
    if find_spec("tokenizers") is None:
        return None
    found: list[tuple[Any, int]] = []
    for name in _NAMES:
        part = folder.component(name)
        if part is None:
            continue
        seen = tuple(
            (path.name, path.stat().st_mtime_ns, path.stat().st_size)
            for path in sorted(part.folder.iterdir()) if path.suffix in (".json", ".txt")
        )  # fmt: skip
        read = _from_files(part.folder, "clip" in part.kind.lower(), seen)
        if read is None:
            return None
        tokenizer, most = read
        found.append((tokenizer, room(folder.family.words, most, clip="clip" in part.kind.lower())))
    return unread(found, prompt)


def unread(tokenizers: list[tuple[Any, int]], prompt: str) -> str:
    """The end of ``prompt`` that none of these reads; each is a ``tokenizers.Tokenizer`` with its room in tokens."""
    left = []
    for tokenizer, longest in tokenizers:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        read = tokenizer.encode(prompt)
        if len(read.ids) <= longest:
            return ""
        left.append(prompt[read.offsets[longest - 1][0] :].strip())  # the last place is the end token's
    return min(left, key=len) if left else ""


def room(limit: int, most: int, *, clip: bool) -> int:
    """Tokens that one tokenizer's encoder reads: the family's ``limit``, of CLIP never more than 77."""
    longest = min(limit, most) if limit <= 77 else limit
    return min(longest, 77) if clip else longest


@lru_cache(maxsize=8)
def _from_files(folder: Path, clip: bool, seen: tuple[Any, ...]) -> tuple[Any, int] | None:
    """The tokenizer of a folder and its ``model_max_length``; None where its files are of another kind. ``seen``: as
    the files are now, so that changed ones are read anew."""
    from tokenizers import Tokenizer

    config = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    most = int(min(config.get("model_max_length") or 77, 1 << 20))
    if (folder / "tokenizer.json").is_file():
        return Tokenizer.from_file(str(folder / "tokenizer.json")), most
    if clip and (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return _clip(folder), most
    return None


def _clip(folder: Path) -> Any:
    """A CLIP tokenizer from its older pair of files."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    vocab, merges = models.BPE.read_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    end = "<|endoftext|>"
    made = Tokenizer(models.BPE(
        vocab=vocab, merges=merges, continuing_subword_prefix="", end_of_word_suffix="</w>", unk_token=end,
    ))  # fmt: skip
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(CLIP_WORDS), behavior="removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ])  # fmt: skip
    start = "<|startoftext|>"
    made.post_processor = processors.RobertaProcessing(
        (end, vocab[end]), (start, vocab[start]), trim_offsets=False, add_prefix_space=False
    )
    return made
