"""How much of a prompt a model reads, told from its tokenizers' files without loading it.

Text encoders have room for so many tokens (CLIP: 77, two of them for begin and end); what comes after is cut without a
word. The ``tokenizers`` library reads the files, a fraction of a second and some 7 MB, so that a web page can ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from shopgen_django.engines.errors import ModelCorrupt, NotInstalled
from shopgen_django.engines.pictures import Unread

from .families import Family
from .folder import ModelFolder, read_json, shown
from .install import EXTRA

CLIP_WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
"""How CLIP splits a text before it looks for pairs of signs (Radford et al. 2021): a part of the format."""
_START, _END = "<|startoftext|>", "<|endoftext|>"


def unread_words(folder: ModelFolder, prompt: str) -> Unread:
    """What of ``prompt`` the model in ``folder`` will not read; imports neither torch nor the libraries of models.

    Raises NotInstalled without the package ``tokenizers``, ModelCorrupt for files that it can't read.
    """
    if find_spec("tokenizers") is None:
        raise NotInstalled(_("The package tokenizers is missing: %(extra)s.") % {"extra": EXTRA})
    found: list[tuple[Any, int]] = []
    for name in readers_of(folder.family, {component.name for component in folder.components}):
        part = folder.component(name)
        assert part is not None  # readers_of names only what is there
        tokenizer, most = _from_files(part.folder, _is_clip(part.kind), _identity(part.folder))
        found.append((tokenizer, room(folder.family.words, most, clip=_is_clip(part.kind))))
    return unread(found, prompt)


def readers_of(family: Family, present: set[str]) -> list[str]:
    """The tokenizers whose text encoders read a prompt word by word, of the parts that are ``present``.

    An encoder that was left out of the folder (the large one of Stable Diffusion 3) reads nothing, although its
    tokenizer may still lie there.
    """
    return [name for name in family.readers if name in present and encoder_of(name) in present]


def encoder_of(tokenizer: str) -> str:
    """The name of the part that reads what a tokenizer writes."""
    return tokenizer.replace("tokenizer", "text_encoder")


def unread(tokenizers: Sequence[tuple[Any, int]], prompt: str) -> Unread:
    """What of ``prompt`` these don't read; each is a ``tokenizers.Tokenizer`` that neither cuts nor pads, with its room
    in tokens."""
    ends = []
    for tokenizer, longest in tokenizers:
        read = tokenizer.encode(prompt)
        # The last place is the end token's.
        ends.append(len(prompt) if len(read.ids) <= longest else read.offsets[longest - 1][0])
    first, last = min(ends, default=len(prompt)), max(ends, default=len(prompt))
    return Unread(cut=prompt[last:].strip(), partly=prompt[first:last].strip())


def room(limit: int, most: int, *, clip: bool) -> int:
    """Tokens that one tokenizer's encoder reads: the family's ``limit``, of CLIP never more than 77."""
    longest = min(limit, most) if limit <= 77 else limit
    return min(longest, 77) if clip else longest


def _is_clip(kind: str) -> bool:
    return "clip" in kind.lower()


def _identity(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, time and size of each file that a tokenizer may consist of."""
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".txt"))
        return tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files)
    except OSError as error:
        raise ModelCorrupt(
            _("%(path)s can't be read: %(why)s.") % {"path": shown(folder), "why": error.strerror}
        ) from error


@lru_cache(maxsize=8)
def _from_files(folder: Path, clip: bool, seen: tuple[tuple[str, int, int], ...]) -> tuple[Any, int]:
    """The tokenizer of a folder, which neither cuts nor pads, and its ``model_max_length``. ``seen``: the files as they
    are now, so that changed ones are read anew. Raises ModelCorrupt.

    Threads share it, so nothing is set on it later: the library refuses a change while another thread reads.
    """
    from tokenizers import Tokenizer

    config = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    try:
        most = int(min(config.get("model_max_length") or 77, 1 << 20))
        if (folder / "tokenizer.json").is_file():
            made = Tokenizer.from_file(str(folder / "tokenizer.json"))
        elif clip and (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            made = _clip(folder)
        else:
            raise ValueError(_("there is no tokenizer.json"))
        made.no_truncation()
        made.no_padding()
    except Exception as error:  # the library raises no other kind for files that it can't read
        raise ModelCorrupt(
            _("The tokenizer in %(path)s can't be read: %(why)s.")
            % {"path": shown(folder), "why": str(error).rstrip(".")[:300]}
        ) from error
    return made, most


def _clip(folder: Path) -> Any:
    """A CLIP tokenizer from its older pair of files."""
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    vocab, merges = models.BPE.read_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    if not {_START, _END} <= vocab.keys():
        raise ValueError(_("vocab.json lacks the signs for begin and end"))
    made = Tokenizer(models.BPE(
        vocab=vocab, merges=merges, continuing_subword_prefix="", end_of_word_suffix="</w>", unk_token=_END,
    ))  # fmt: skip
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(CLIP_WORDS), behavior="removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ])  # fmt: skip
    made.post_processor = processors.RobertaProcessing(
        (_END, vocab[_END]), (_START, vocab[_START]), trim_offsets=False, add_prefix_space=False
    )
    made.add_special_tokens([AddedToken(sign, normalized=False, special=True) for sign in (_START, _END)])
    return made
