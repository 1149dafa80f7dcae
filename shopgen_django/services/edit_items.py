"""The pictures that an editing run works on, and what their results are called."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from django.utils.translation import gettext as _

from shopgen_django.catalogues.base import Catalogue, Product
from shopgen_django.exceptions import FileMissing, InvalidParameters

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
TABLE, SETTINGS = "results.csv", "edit.json"
_NOT_EVERYWHERE = re.compile(r'[\x00-\x1f<>:"|?*\\]')
"""What some system's file names, or our table, can't hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A picture to edit."""

    name: str
    """What the table calls it."""
    stem: str
    """Where its results go, relative to the output folder, without suffix; no two items of a run share one."""
    read: Callable[[], bytes]
    """Its file's bytes. Raises OSError, FileMissing or ProductNotFound."""

    def may_be_called(self, output: str) -> bool:
        """Whether a result of this name is this picture's, not one of a picture that had the name before."""
        return re.fullmatch(re.escape(self.stem) + r"(-\d+)?\.\w+", output) is not None


class _Stems:
    """Gives each picture a stem of its own, also on systems that don't tell capitals apart."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, wanted: str, tail: str) -> str:
        parts = [_NOT_EVERYWHERE.sub("_", part).rstrip(". ") or "_" for part in PurePosixPath(wanted).parts]
        stem = clean = "/".join(parts)
        number = 1
        while stem.casefold() in self._taken:
            stem = f"{clean}_{tail}" + (f"_{number}" if number > 1 else "")
            number += 1
        self._taken.add(stem.casefold())
        return stem


def pictures_in(path: Path, *, output: Path) -> list[Item]:
    """The pictures of a folder in any nesting, or the one file, in a stable order.

    Hidden files are left out, and so are the folders that this command has written into, ``output`` and others: results
    must not become sources. Two files that differ in their suffix only keep it in the result's name (``a_png.png``).

    Raises InvalidParameters when there are none.
    """
    if path.is_file():
        return [Item(name=_text(path.name), stem=_Stems().take(_text(path.stem), ""), read=path.read_bytes)]
    if not path.is_dir():
        raise InvalidParameters(_("There is no file or folder %(path)s.") % {"path": path})
    written = {marker.parent for marker in path.rglob(SETTINGS) if (marker.parent / TABLE).is_file()} - {path}
    if output.resolve() != path.resolve():
        written.add(output)
    written = {folder.resolve() for folder in written}
    found = sorted(
        file for file in path.rglob("*")
        if file.suffix.lower() in PICTURES
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
        and not any(folder.resolve() in written for folder in file.parents)
    )
    if not found:
        raise InvalidParameters(_("There are no JPEG, PNG or WebP pictures in %(path)s.") % {"path": path})
    stems = _Stems()
    items = []
    for file in found:
        relative = file.relative_to(path)
        stem = stems.take(_text(relative.with_suffix("").as_posix()), file.suffix.lstrip(".").lower())
        items.append(Item(name=_text(relative.as_posix()), stem=stem, read=file.read_bytes))
    return items


def pictures_of(catalogue: Catalogue, query: str) -> list[Item]:
    """The main pictures of products: ``all``, ``category:NAME``, ``pk:1,2,3``, or words of the title.

    Each is read when its turn comes; a product without a picture of its own then fails with a word.

    Raises InvalidParameters when no product fits.
    """
    kind, _sep, value = query.partition(":")
    if query == "all":
        products = catalogue.products()
    elif kind == "category" and value:
        products = catalogue.products(category=value)
    elif kind == "pk" and value:
        products = catalogue.products(pks=[pk.strip() for pk in value.split(",")])
    else:
        products = catalogue.products(search=query)
    stems = _Stems()
    items = [
        Item(
            name=product.pk, stem=stems.take(product.pk.replace("/", "_"), "product"),
            read=partial(_main_picture, catalogue, product),
        )
        for product in products
    ]
    if not items:
        raise InvalidParameters(_("No product fits “%(query)s”.") % {"query": query})
    return items


def _main_picture(catalogue: Catalogue, product: Product) -> bytes:
    picture = next((picture for picture in catalogue.pictures(product.pk) if not picture.inherited), None)
    if picture is None:
        raise FileMissing(_("%(product)s has no picture.") % {"product": product.title})
    with catalogue.open_picture(product.pk, picture.key) as handle:
        return handle.read()


def _text(name: str) -> str:
    """A file's name as text that any file can hold: bytes that are no UTF-8 are written as ``_xff``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace").replace("\\", "_")
