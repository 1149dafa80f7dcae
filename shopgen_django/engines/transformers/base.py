"""What the engines over this library share: options, checks, loading, the place on the common shelf."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _

from shopgen_django.conf import app_settings
from shopgen_django.engines.base import Engine
from shopgen_django.engines.diffusers.folder import shown
from shopgen_django.engines.diffusers.loading import DTYPES, device_of, dtype_of, first_line, require_whole
from shopgen_django.engines.diffusers.manifest import fingerprint, read_manifest, require_licence, verified
from shopgen_django.engines.diffusers.memory import ran_out
from shopgen_django.engines.diffusers.shelf import SHELF, Key
from shopgen_django.engines.errors import ModelCorrupt, ModelMissing, OutOfMemory, WrongKind
from shopgen_django.engines.memory import free_bytes
from shopgen_django.engines.texts import TextEngine, TextKind, Writer
from shopgen_django.exceptions import PermanentError

from .families import Way
from .folder import TextFolder, read_text_folder
from .install import EXTRA, load_library, missing

_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_ROOM = 1 << 30
"""Working memory beside the weights, roughly."""


@dataclass(slots=True, kw_only=True, eq=False)
class Held:
    """A network in memory with what prepares its input; ``lock`` is held while it works."""

    folder: TextFolder
    digest: str
    device: str
    dtype: str
    network: Any
    processor: Any
    known: dict[str, Any] = field(default_factory=dict)
    """What an engine has worked out once and uses again."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0

    def close(self) -> None:
        self.network = self.processor = None
        self.known.clear()


class Asked(Protocol):
    """What loading has to know of a request."""

    @property
    def device(self) -> str: ...
    @property
    def threads(self) -> int: ...


class ModelEngine(Engine):
    """Base of all engines over a folder of this library.

    Options: ``MODEL``, a folder (absolute, or a name under ``ROOT/models``); ``SHA256`` that it must have; ``DEVICE``
    ("auto": the worker's) and ``ALLOW_CPU`` when that is missing; ``DTYPE``; ``CACHE``, models that a worker keeps
    (shared with the other engines).
    """

    ways: ClassVar[tuple[Way, ...]]

    def __init__(
        self, *, MODEL: str | Path = "", SHA256: str = "", DEVICE: str = "auto", ALLOW_CPU: bool = False,
        DTYPE: str = "auto", CACHE: int = 2, **options: Any,
    ) -> None:
        if options:
            raise ImproperlyConfigured(
                f"The engine {type(self).__name__} has no options {', '.join(sorted(options))}. docs/large-models.md "
                "lists them."
            )
        if DTYPE not in DTYPES:
            raise ImproperlyConfigured(f"The option DTYPE is one of {', '.join(DTYPES)}, not {DTYPE!r}.")
        super().__init__(MODEL=MODEL)
        self._model, self._sha256 = str(MODEL), SHA256
        self._device, self._allow_cpu, self._dtype = DEVICE, bool(ALLOW_CPU), DTYPE
        self._capacity = max(1, int(CACHE))
        self._keys: set[Key] = set()
        self._known: tuple[str, TextFolder] | None = None

    def check(self) -> list[str]:
        if not self._model:
            return []
        absent = missing()
        problems = [f"Packages are missing ({', '.join(absent)}): {EXTRA}."] if absent else []
        try:
            self.folder()
        except PermanentError as error:
            problems.append(str(error))
        return problems

    def identity(self) -> str:
        if not self._model:
            return "no model"
        path = self._path()
        try:
            manifest = read_manifest(path)
        except ModelCorrupt:
            manifest = None
        digest = manifest.sha256 if manifest else fingerprint(path)
        return f"{path.name} {digest[:12]}"

    def free(self) -> None:
        SHELF.release(self._keys.__contains__)
        self._keys.clear()

    def folder(self) -> TextFolder:
        """The folder as its files are now. Raises the errors of :func:`read_text_folder`, ModelMissing, WrongKind."""
        if not self._model:
            raise ModelMissing(
                _("No model is configured for this. Name a folder in the settings: SHOPGEN['ENGINES']['%(alias)s'] = "
                  "{'OPTIONS': {'MODEL': '/path/to/model'}}. The page “Large models” of the documentation says more.")
                % {"alias": self.alias}
            )
        path = self._path()
        seen = fingerprint(path) if path.is_dir() else ""
        if self._known is None or self._known[0] != seen:
            self._known = (seen, read_text_folder(path))
        folder = self._known[1]
        if folder.family.way not in self.ways:
            raise WrongKind(
                _("The model %(name)s is a %(kind)s, which the engine “%(alias)s” can't use.")
                % {"name": Path(self._model).name, "kind": folder.architecture, "alias": self.alias}
            )
        return folder

    @contextmanager
    def borrowed(self, request: Asked, check: Callable[[], None]) -> Iterator[Held]:
        """The network, loaded and verified; nobody else uses it meanwhile. Raises the errors of ``engines.errors``."""
        folder, library = self.folder(), load_library()
        device = device_of(request.device if self._device == "auto" else self._device, allow_cpu=self._allow_cpu)
        dtype = dtype_of(self._dtype, device)
        key = ("text", str(folder.path), fingerprint(folder.path), dtype, device)
        self._keys.add(key)
        need = folder.numbers * _BYTES[dtype] + _ROOM

        def load() -> Held:
            return self._load(library, folder, dtype, device, need, request, check)

        try:
            with SHELF.borrowed(key, load, capacity=self._capacity, need=need, device=device) as held, held.lock:
                yield held
        except Exception as error:
            if not ran_out(error):
                raise
            told = str(error).splitlines()[0]
        else:
            return
        SHELF.release(key.__eq__)  # out here nothing holds the failed attempt any more
        text = _("There is not enough memory on %(device)s for this model.") % {"device": device}
        raise OutOfMemory(f"{text} ({told})")

    def _load(
        self, library: Any, folder: TextFolder, dtype: str, device: str, need: int, request: Asked,
        check: Callable[[], None],
    ) -> Held:
        import torch

        digest = verified(
            folder.path, read_manifest(folder.path), threads=request.threads, expected=self._sha256, check=check
        )
        free = free_bytes(device)
        if free and need - _ROOM > free:
            raise OutOfMemory(
                _("%(path)s needs %(need).1f GB of memory on %(device)s, and %(free).1f GB are free. Take a smaller "
                  "model, or let a server run it.")
                % {"path": shown(folder.path), "need": (need - _ROOM) / 1e9, "free": free / 1e9, "device": device}
            )
        try:
            network = whole_network(library, folder, getattr(torch, dtype)).to(device)
            check()
            processor = self.processor(library, folder)
        except PermanentError:
            raise
        except Exception as error:
            if ran_out(error):
                raise
            raise ModelCorrupt(
                _("%(path)s can't be loaded: %(why)s")
                % {"path": shown(folder.path), "why": first_line(error, folder.path)}
            ) from error
        return Held(
            folder=folder, digest=digest, device=device, dtype=dtype, network=network, processor=processor
        )

    def processor(self, library: Any, folder: TextFolder) -> Any:
        return library.AutoProcessor.from_pretrained(
            str(folder.path), local_files_only=True, trust_remote_code=False
        )

    def _path(self) -> Path:
        path = Path(self._model).expanduser()
        return path if path.is_absolute() else Path(app_settings.root) / "models" / path


class FolderEngine(ModelEngine, TextEngine):
    """Base of the engines that write about pictures."""

    def describe(self) -> Writer:
        folder = self.folder()
        manifest = read_manifest(folder.path)
        require_licence(manifest, folder.path, noncommercial=app_settings.ALLOW_NONCOMMERCIAL_MODELS)
        return Writer(
            name=Path(self._model).name, model_kind=folder.architecture, kinds=self.kinds(folder),
            licence=manifest.licence if manifest else "", sha256=manifest.sha256 if manifest else "",
            bytes=folder.bytes, languages=folder.family.languages, pictures=folder.family.pictures,
            needs_tags=folder.family.way == "pairs", heeds_instructions=folder.family.way == "chat",
        )

    def kinds(self, folder: TextFolder) -> tuple[TextKind, ...]:
        return folder.family.kinds


def whole_network(library: Any, folder: TextFolder, dtype: Any) -> Any:
    """The network with every tensor from its files: the library fills gaps with random values and goes on.

    Raises ModelCorrupt when tensors are missing or have other shapes.
    """
    options: dict[str, Any] = {"variant": folder.variant} if folder.variant else {}
    network, told = getattr(library, folder.architecture).from_pretrained(
        str(folder.path), local_files_only=True, trust_remote_code=False, use_safetensors=True,
        output_loading_info=True, dtype=dtype, **options,
    )
    require_whole(told, folder.path)
    return network.eval()


def moved(value: Any, held: Held) -> Any:
    """A tensor on the network's device; one of fractions in its precision."""
    import torch

    return value.to(held.device, getattr(torch, held.dtype) if value.is_floating_point() else value.dtype)
