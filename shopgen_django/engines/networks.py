"""ONNX networks that a shop has added (``manage.py shopgen_model``), as engines hold them."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.utils.translation import gettext as _

from shopgen_django.conf import app_settings
from shopgen_django.exceptions import PermanentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from shopgen_django.imaging.onnx_pictures import OnnxPainter

T = TypeVar("T")


def folder_of(name: str) -> Path:
    """Where the network of this name lies, or would lie."""
    return Path(app_settings.root) / "models" / name


def is_added(name: str) -> bool:
    """Whether there is a network of this name; nothing of it is opened."""
    return (folder_of(name) / "model.json").is_file()


def problems_of(name: str, part: str, *built_in: str) -> list[str]:
    """What system checks say of an engine whose option MODEL is ``name``: not added, for something else, licence.

    ``built_in``: the other values that the option takes.
    """
    from shopgen_django.imaging.network_card import NetworkError, read_card

    if not is_added(name):
        others = f", or use what is built in: {', '.join(map(repr, built_in))}" if built_in else ""
        return [f"There is no network {name!r}. Add it with: manage.py shopgen_model add {name}{others}."]
    try:
        card = read_card(folder_of(name), part)
    except NetworkError as error:
        return [str(error)]
    return [_refused(name)] if _forbidden(card) else []


def identity_of(name: str, part: str) -> str:
    """The network's name with the beginnings of its hash and of its description's; one that is missing is named all the
    same, since its results will differ from the others'. Raises PermanentError."""
    from shopgen_django.imaging.network_card import NetworkError, read_card

    if not is_added(name):
        return f"{name} (missing)"
    try:
        card = read_card(folder_of(name), part)
        return f"{name} {str(card['sha256'])[:12]} {_told(card, part)}"
    except NetworkError as error:
        raise PermanentError(str(error), code="model_unavailable") from error


class HeldNetwork(Generic[T]):
    """The one network that an engine keeps loaded; another one, or one that was added anew, takes its place.

    ``load(folder, threads=...)`` opens it and checks its hash, and raises NetworkError.
    """

    def __init__(self, part: str, load: Callable[..., T], *built_in: str) -> None:
        self._part, self._load, self._built_in = part, load, built_in
        self._loaded: dict[tuple[str, str, int], T] = {}
        self._lock = threading.Lock()

    def get(self, name: str, *, threads: int = 1) -> T:
        """Raises PermanentError: it was not added, is not what was added, its licence forbids this use, or it can't be
        loaded."""
        from shopgen_django.imaging.network_card import NetworkError, read_card

        if not is_added(name):
            raise PermanentError(problems_of(name, self._part, *self._built_in)[0], code="model_unavailable")
        try:
            card = read_card(folder_of(name), self._part)
            if _forbidden(card):
                raise PermanentError(_refused(name), code="licence_refused")
            key = (str(card["sha256"]), _told(card, self._part), threads)
            with self._lock:
                if key not in self._loaded:
                    self._loaded = {key: self._load(folder_of(name), threads=threads)}
                return self._loaded[key]
        except NetworkError as error:
            raise PermanentError(str(error), code="model_unavailable") from error

    def free(self) -> None:
        """Let go of it."""
        with self._lock:
            self._loaded.clear()


def load_painter(folder: Path, *, threads: int) -> OnnxPainter:
    """A network that gives pictures back. Raises NetworkError."""
    from shopgen_django.imaging.onnx_pictures import OnnxPainter

    return OnnxPainter(folder, threads=threads)


def _told(card: dict[str, Any], part: str) -> str:
    """The beginning of the hash of a description: the same file is another network with another preprocessing."""
    return hashlib.sha256(json.dumps(card[part], sort_keys=True).encode()).hexdigest()[:6]


def _forbidden(card: dict[str, Any]) -> bool:
    return card.get("commercial") is False and not app_settings.ALLOW_NONCOMMERCIAL_MODELS


def _refused(name: str) -> str:
    return _(
        "The licence of the network %(name)s forbids commercial use. Set SHOPGEN['ALLOW_NONCOMMERCIAL_MODELS'] if that "
        "is what you want."
    ) % {"name": name}
