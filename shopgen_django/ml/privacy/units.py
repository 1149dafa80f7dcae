"""Whose photos belong together: the promise is made for a product, not for a single photo of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shopgen_django.ml.data import Pictures, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """Privacy units: products, or single files where nobody said which belong together.

    Attributes:
        members: for each unit the indices of its pictures.
        named: whether the source said which photos belong together.
    """

    members: tuple[NDArray[np.int64], ...]
    named: bool

    @property
    def count(self) -> int:
        return len(self.members)

    @property
    def pictures(self) -> int:
        return sum(len(m) for m in self.members)

    @property
    def word(self) -> str:
        """What a unit is, for people."""
        return "products" if self.named else "files"


def find_units(pictures: Pictures) -> Units:
    """Group pictures by the ``group`` of the manifest; pictures with the same content are always together.

    A picture without a group is a unit of its own. Two groups that share a picture become one unit: otherwise taking
    one product away would leave its picture behind.
    """
    return _united(pictures.manifest["files"])


def units_of_source(source: Source) -> Units:
    """The same before anything is decoded; files that can't be read are still counted."""
    alone = source.archive is not None
    return _united(
        [
            {"group": entry.group, "sha256": "" if alone else source.hashes[index]}
            for index, entry in enumerate(source.entries)
        ]
    )


def _united(items: Sequence[Mapping[str, Any]]) -> Units:
    parent = list(range(len(items)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[tuple[str, str], int] = {}
    for index, item in enumerate(items):
        for kind in ("group", "sha256"):
            if item.get(kind):
                other = first.setdefault((kind, str(item[kind])), index)
                low, high = sorted((root(index), root(other)))
                parent[high] = low
    gathered: dict[int, list[int]] = {}
    for index in range(len(items)):
        gathered.setdefault(root(index), []).append(index)
    members = tuple(np.array(gathered[key], dtype=np.int64) for key in sorted(gathered))
    return Units(members=members, named=any(item.get("group") for item in items))
