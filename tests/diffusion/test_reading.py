"""What of a prompt a model leaves unread, told from files alone: the same as its own tokenizer would say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shopgen_django.engines.diffusers import Diffusers
from shopgen_django.engines.diffusers.folder import read_folder
from shopgen_django.engines.diffusers.reading import _from_files, _identity, unread
from shopgen_django.engines.diffusers.running import words_cut
from shopgen_django.engines.errors import ModelCorrupt, NotInstalled
from shopgen_django.engines.pictures import Unread
from shopgen_django.engines.remote import OpenAICompatible
from tests.diffusion import tiny

ROOT = Path(__file__).resolve().parents[2]
LONG = "a red shirt " * 13 + "on marble"
TEXTS = st.lists(
    st.one_of(
        st.text(max_size=12), st.sampled_from([
            "red shirt", "RED", "it's", "we'll", " \t\n", "白色大理石桌面", "👗👩‍👩‍👧", "é", "e\u0301",
            "ﬁ", "①", "½", "İ", "ß", "ς", "\u200b", "\x00", "\x7f", "\u0085",
            "<|endoftext|>", "<|startoftext|>", "</w>", "a,b;c!!", "10 000 €",
        ]),
    ),
    max_size=30,
).map("".join)  # fmt: skip


def old_files(folder: Path) -> Path:
    """The pair of files that most models were published with, and no tokenizer.json."""
    vocab, merges = tiny.vocabulary()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def read(folder: Path) -> Any:
    return _from_files(folder, True, _identity(folder))[0]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return read(old_files(tmp_path_factory.mktemp("old")))


@pytest.fixture(scope="module")
def library() -> Any:
    return tiny.tokenizer()


@given(text=TEXTS)
@example(text="x" * 75)
@example(text="x" * 76)
@settings(max_examples=150, deadline=None)
def test_whatever_is_written_the_files_say_what_the_library_says(old: Any, library: Any, text: str) -> None:
    """Its own class, given the same vocabulary: the same numbers, and what is cut begins where it stops reading."""
    ids = library(text)["input_ids"]
    assert old.encode(text).ids == ids
    left = unread([(old, 77)], text)
    assert (left.cut != "") == (len(ids) > 77 and bool(text[old.encode(text).offsets[76][0] :].strip()))
    assert text.rstrip().endswith(left.cut) and left.partly == ""
    if left.cut:
        kept = text.rstrip()[: -len(left.cut)]
        # All of what counts as read lies within the model's room, and a sign more does not.
        assert len([end for _begin, end in old.encode(text).offsets[1:76] if end <= len(kept)]) >= 72


def test_an_engine_tells_it_for_each_kind_of_file(sd: Path, copy: Callable[[Path], Path]) -> None:
    engine = Diffusers(MODEL=str(sd))
    assert engine.unread("a red shirt") == Unread()
    told = engine.unread(LONG)
    assert told.cut.endswith("on marble") and LONG.endswith(told.cut) and told.partly == ""
    older = copy(sd)
    for path in (older / "tokenizer").iterdir():
        path.unlink()
    old_files(older / "tokenizer")
    assert Diffusers(MODEL=str(older)).unread(LONG) == told


def test_changed_files_are_read_anew(sd: Path, copy: Callable[[Path], Path]) -> None:
    folder = copy(sd)
    engine = Diffusers(MODEL=str(folder))
    assert engine.unread(LONG).cut
    config = folder / "tokenizer" / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "model_max_length": 5}))
    assert engine.unread("a red shirt").cut != "" and engine.unread("").cut == ""


def test_a_tokenizer_that_cannot_be_read_is_told(sd: Path, copy: Callable[[Path], Path]) -> None:
    folder = copy(sd)
    engine, file = Diffusers(MODEL=str(folder)), folder / "tokenizer" / "tokenizer.json"
    file.write_text("{")
    with pytest.raises(ModelCorrupt, match="model/tokenizer can't be read"):
        engine.unread("shirt")
    file.unlink()
    for path in (folder / "tokenizer").glob("vocab.json"):
        path.unlink()
    with pytest.raises(ModelCorrupt, match=r"no tokenizer\.json"):
        engine.unread("shirt")
    old_files(folder / "tokenizer")
    (folder / "tokenizer" / "vocab.json").write_text("{}")
    with pytest.raises(ModelCorrupt):
        engine.unread("shirt")
    shutil.rmtree(folder / "tokenizer")
    (folder / "tokenizer").write_text("")
    with pytest.raises(ModelCorrupt):
        engine.unread("shirt")


def test_without_the_library_the_extra_is_named(sd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shopgen_django.engines.diffusers.reading.find_spec", lambda name: None)
    with pytest.raises(NotInstalled, match="diffusers"):
        Diffusers(MODEL=str(sd)).unread("shirt")


@pytest.fixture(scope="module")
def sd3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_sd3(tmp_path_factory.mktemp("models") / "tiny-sd3")


def test_models_with_several_readers(sd3: Path, tmp_path: Path) -> None:
    """Stable Diffusion 3 reads the beginning with three encoders and the rest with one; Flux reads with one alone."""
    words = "red shirt " * 20
    told = Diffusers(MODEL=str(sd3)).unread(words)
    assert told.cut == "" and words.strip().endswith(told.partly) and 0 < len(told.partly) < len(words) // 2
    far = Diffusers(MODEL=str(sd3)).unread("red shirt " * 40)
    assert far.cut and far.partly and ("red shirt " * 40).strip().endswith(f"{far.partly} {far.cut}".replace("  ", " "))
    flux = tiny.make_flux(tmp_path / "flux")
    assert Diffusers(MODEL=str(flux)).unread(words) == Unread()
    assert Diffusers(MODEL=str(flux)).unread("red shirt " * 60).cut


def test_an_encoder_that_was_left_out_reads_nothing(sd3: Path, copy: Callable[[Path], Path]) -> None:
    """The large one of Stable Diffusion 3 is often left away to save memory; its tokenizer stays in the folder."""
    folder = copy(sd3)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "text_encoder_3": [None, None]}))
    words = "red shirt " * 20
    assert "tokenizer_3" in {part.name for part in read_folder(folder).components}
    told = Diffusers(MODEL=str(folder)).unread(words)
    assert told.cut and told.partly == ""

    class Pipeline:
        tokenizer, text_encoder = tiny.tokenizer(), object()
        tokenizer_3, text_encoder_3 = tiny.t5()[1], None

    assert words_cut(Pipeline(), words, 256, ("tokenizer", "tokenizer_3")) == told.cut
    assert words_cut(Pipeline(), "shirt", 256, ("tokenizer", "tokenizer_3")) == ""


def test_the_engine_says_before_what_it_says_after(sdxl: Path) -> None:
    from tests.diffusion.test_engine import request

    engine = Diffusers(MODEL=str(sdxl))
    made = next(iter(engine.run(request(prompt=LONG, steps=1))))
    assert made.facts["prompt_not_read"] == engine.unread(LONG).cut
    engine.free()


def test_threads_may_ask_at_once(sd: Path) -> None:
    engine = Diffusers(MODEL=str(sd))
    wanted, found = engine.unread(LONG), []
    threads = [
        threading.Thread(target=lambda: found.extend(engine.unread(LONG) for _ in range(50))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [wanted] * 200


def test_a_server_does_not_say() -> None:
    assert OpenAICompatible(URL="http://127.0.0.1:1/v1", MODEL="x").unread("shirt") is None


def test_asking_imports_nothing_heavy(sd: Path) -> None:
    script = (
        "import sys, django; django.setup()\n"
        "from shopgen_django.engines.diffusers import Diffusers\n"
        f"assert Diffusers(MODEL={str(sd)!r}).unread({LONG!r}).cut\n"
        "heavy = ('torch', 'diffusers', 'transformers', 'numpy', 'safetensors')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}, cwd=ROOT,
        text=True, capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
