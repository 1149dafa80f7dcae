"""Every text that people read exists in Simplified Chinese, whole and up to date."""

from __future__ import annotations

import gettext
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po
from django.utils import translation

from shopgen_django.models import Job, ProductImage
from shopgen_django.operations.registry import get_operation

PACKAGE = Path(__file__).resolve().parent.parent / "shopgen_django"
MESSAGES = PACKAGE / "locale" / "zh_Hans" / "LC_MESSAGES"
PLACEHOLDER = re.compile(r"%\((\w+)\)(?:\.\d+)?[sdfr]|\{(\w*)\}")
HTML = re.compile(r"</?\w+[^>]*>")


def read(path: Path) -> Catalog:
    with path.open("rb") as handle:
        return read_po(handle, locale="zh_Hans")


@pytest.fixture(scope="module")
def chinese() -> Catalog:
    return read(MESSAGES / "django.po")


def singular(text: object) -> str:
    return text[0] if isinstance(text, list | tuple) else str(text)


def looked_up(compiled: gettext.GNUTranslations, message: Message) -> str:
    """What the compiled catalogue answers for one message."""
    plural = isinstance(message.id, list | tuple)
    if message.context:
        return (
            compiled.npgettext(message.context, *message.id, 1) if plural
            else compiled.pgettext(message.context, message.id)
        )  # fmt: skip
    return compiled.ngettext(*message.id, 1) if plural else compiled.gettext(message.id)


def test_nothing_is_untranslated_or_fuzzy(chinese: Catalog) -> None:
    assert len(chinese) > 500
    assert [message.id for message in chinese if message.id and not singular(message.string)] == []
    assert [message.id for message in chinese if message.id and message.fuzzy] == []
    assert not chinese.obsolete


def test_placeholders_and_markup_are_kept(chinese: Catalog) -> None:
    for message in chinese:
        if not message.id:
            continue
        # The plural form names every placeholder; the singular may say "one" instead.
        english = message.id[-1] if isinstance(message.id, list | tuple) else message.id
        text = singular(message.string)
        assert sorted(PLACEHOLDER.findall(text)) == sorted(PLACEHOLDER.findall(english)), message.id
        assert sorted(HTML.findall(text)) == sorted(HTML.findall(english)), message.id


def test_compiled_catalogue_is_the_one_of_the_source(chinese: Catalog) -> None:
    with (MESSAGES / "django.mo").open("rb") as handle:
        compiled = gettext.GNUTranslations(handle)
    for message in chinese:
        if message.id:
            assert looked_up(compiled, message) == singular(message.string), f"run make messages: {message.id}"


def test_no_text_of_the_source_is_missing(chinese: Catalog, tmp_path: Path) -> None:
    if shutil.which("xgettext") is None:
        text = "needs GNU gettext (apt install gettext)"
        pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)
    copy = tmp_path / "shopgen_django"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.mo"))
    done = subprocess.run(
        [sys.executable, "-m", "django", "makemessages", "--locale", "zh_Hans", "--verbosity", "0"],
        cwd=copy, env={key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    extracted = read(copy / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po")
    wanted, known = (
        {(message.context, singular(message.id)) for message in catalogue if message.id}
        for catalogue in (extracted, chinese)
    )
    assert wanted - known == set(), "run make messages, then translate"


def test_texts_appear_in_chinese() -> None:
    with translation.override("zh-hans"):
        assert str(Job._meta.verbose_name) == "任务"
        assert str(ProductImage._meta.verbose_name) == "商品图片"
        schema = get_operation("generate").Parameters.json_schema()
        assert schema["properties"]["count"]["title"] == "数量"
    with translation.override("en"):
        assert str(Job._meta.verbose_name) == "job"
