"""Engine over models of the diffusers library: a folder that the shop supplies, or a hub id when that is allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _

from shopgen_django.conf import app_settings
from shopgen_django.engines.errors import BadRequest, ModelMissing, OutOfMemory, WrongKind
from shopgen_django.engines.hub import HUB_ID, snapshot_of
from shopgen_django.engines.memory import free_bytes
from shopgen_django.engines.pictures import Described, MadePicture, PictureEngine, PictureRequest, Task, Unread
from shopgen_django.exceptions import PermanentError

from .folder import INDEX, ModelFolder, read_controlnet, read_folder
from .install import EXTRA, load_libraries, missing, require
from .loading import DTYPES, device_of, dtype_of, load_part, load_parts, weights_in
from .lora import chosen_files, lora_files, require_base
from .manifest import fingerprint, read_manifest, require_licence, verified
from .memory import plan_for
from .reading import unread_words
from .reference import Adapter, AdapterFiles, load_adapter, named_adapter, read_adapter
from .running import run_request
from .shelf import SHELF, Key, Loaded

MAX_PIXELS = 2 << 20


class Diffusers(PictureEngine):
    """Text to picture, picture to picture and repainting by Stable Diffusion 1, 2, XL and 3 and Flux models.

    Options: ``MODEL``, a folder (absolute, or a name under ``ROOT/models``), or a hub id with ``ALLOW_HUB``;
    ``INPAINT_MODEL``, another one for repainting; ``SHA256`` that the model must have; ``REVISION`` of a hub id;
    ``DEVICE`` ("auto": the worker's) and ``ALLOW_CPU`` when it is missing; ``DTYPE``; ``BATCH``, pictures at a time on
    a GPU; ``CACHE``, models a worker keeps; ``MAX_PIXELS`` of one picture; ``LORAS``, name -> file;
    ``LORA_OTHER_BASE``, whether one that was trained here on another model may be used;
    ``OUTLINES``, the folder of a ControlNet for edges; ``REFERENCES``, an IP-Adapter (a folder, its file, or ``{"PATH":
    …, "ENCODER": …, "SHA256": …}``; empty: the model's own, if it has one); ``SAFETY_CHECKER``, whether a checker in
    the folder is used.
    """

    def __init__(
        self, *, MODEL: str | Path = "", INPAINT_MODEL: str | Path = "", SHA256: str = "", REVISION: str = "main",
        ALLOW_HUB: bool = False, DEVICE: str = "auto", ALLOW_CPU: bool = False, DTYPE: str = "auto", BATCH: int = 1,
        CACHE: int = 2, MAX_PIXELS: int = MAX_PIXELS, LORAS: Mapping[str, Any] | None = None, OUTLINES: str | Path = "",
        LORA_OTHER_BASE: bool = False, SAFETY_CHECKER: bool = True,
        REFERENCES: str | Path | Mapping[str, Any] = "", **options: Any,
    ) -> None:
        if options:
            raise ImproperlyConfigured(
                f"The engine Diffusers has no options {', '.join(sorted(options))}. docs/large-models.md lists them."
            )
        if DTYPE not in DTYPES:
            raise ImproperlyConfigured(f"The option DTYPE is one of {', '.join(DTYPES)}, not {DTYPE!r}.")
        super().__init__(MODEL=MODEL)
        self._models: dict[Task, str] = {
            "text": str(MODEL), "image": str(MODEL), "inpaint": str(INPAINT_MODEL or MODEL)
        }
        self._sha256, self._revision, self._hub = SHA256, REVISION, bool(ALLOW_HUB)
        self._device, self._allow_cpu, self._dtype = DEVICE, bool(ALLOW_CPU), DTYPE
        self._batch, self._capacity = max(1, int(BATCH)), max(1, int(CACHE))
        self._max_pixels, self._checker = int(MAX_PIXELS), bool(SAFETY_CHECKER)
        self._loras = lora_files(LORAS or {})
        self._other_base = bool(LORA_OTHER_BASE)
        self._outlines = str(OUTLINES)
        self._references = named_adapter(REFERENCES)
        self._keys: set[Key] = set()
        self._known: dict[Path, tuple[str, ModelFolder]] = {}
        self._adapters: dict[Path, tuple[str, AdapterFiles]] = {}

    def check(self) -> list[str]:
        if not self._models["text"] and not self._models["inpaint"]:
            return []
        absent = missing()
        problems = [f"Packages are missing ({', '.join(absent)}): {EXTRA}."] if absent else []
        for name in sorted({name for name in self._models.values() if name}):
            try:
                if not HUB_ID.fullmatch(name) or Path(name).is_dir():
                    read_folder(self._local(name))
            except PermanentError as error:
                problems.append(str(error))
        if self._references.path and self._models["text"] and not problems:
            try:
                self.require_reference()
            except PermanentError as error:
                problems.append(str(error))
        return problems

    def identity(self) -> str:
        named = []
        for name in sorted({name for name in self._models.values() if name}):
            try:
                folder = self.folder_of(name)
                manifest = read_manifest(folder)
                digest = manifest.sha256 if manifest else fingerprint(folder)
            except ModelMissing:
                digest = "missing"
            named.append(f"{Path(name).name} {digest[:12]}")
        return ", ".join(named) or "no model"

    @property
    def model(self) -> str:
        """The model that makes whole pictures, as the options name it; "" for none."""
        return self._models["text"]

    @property
    def lora_names(self) -> tuple[str, ...]:
        return tuple(sorted(self._loras))

    def describe(self, task: Task = "text") -> Described:
        folder, name = self._folder(task)
        manifest = read_manifest(folder.path)
        require_licence(manifest, folder.path, noncommercial=app_settings.ALLOW_NONCOMMERCIAL_MODELS)
        return folder.described(
            name=name, max_pixels=self._max_pixels, licence=manifest.licence if manifest else "",
            sha256=manifest.sha256 if manifest else "", outlines=bool(self._outlines),
        )

    def require_reference(self, task: Task = "text") -> None:
        files = self._adapter_files(self._folder(task)[0])
        noncommercial = app_settings.ALLOW_NONCOMMERCIAL_MODELS
        for path in {files.folder, files.encoder.folder}:
            require_licence(read_manifest(path), path, noncommercial=noncommercial)
    def unread(self, prompt: str, task: Task = "text") -> Unread:
        return unread_words(self._folder(task)[0], prompt)

    def run(
        self, request: PictureRequest, *, on_step: Callable[[float], None] = lambda share: None,
        check: Callable[[], None] = lambda: None,
    ) -> Iterator[MadePicture]:
        self.describe(request.task).require_size(request.width, request.height)
        loras = chosen_files(
            self._loras, request.loras, noncommercial=app_settings.ALLOW_NONCOMMERCIAL_MODELS
        )
        folder, _name = self._folder(request.task)
        require()
        diffusers = load_libraries(hub=self._hub)
        device = device_of(request.device if self._device == "auto" else self._device, allow_cpu=self._allow_cpu)
        dtype = dtype_of(self._dtype, device)
        key = (str(folder.path), fingerprint(folder.path), dtype, device, str(self._checker))
        self._keys.add(key)
        need, _largest = weights_in(folder, dtype)

        def load() -> Loaded:
            return self._load(diffusers, folder, dtype, device, request, check)

        ran_dry = ""
        try:
            with SHELF.borrowed(key, load, capacity=self._capacity, need=need, device=device) as loaded, loaded.lock:
                require_base(loras, loaded.digest, other=self._other_base)
                control = self._control(diffusers, loaded, request, check)
                adapter = self._adapter(diffusers, loaded, request, check)
                made = run_request(
                    diffusers, loaded, request, loras, control=control, adapter=adapter, on_step=on_step, check=check
                )
                return iter(made)
        except OutOfMemory as error:
            ran_dry = str(error)
        # Out here nothing holds the failed attempt any more, so that the next job finds its memory free.
        SHELF.release(key.__eq__)
        raise OutOfMemory(ran_dry)

    def free(self) -> None:
        SHELF.release(self._keys.__contains__)
        self._keys.clear()

    def _load(
        self, diffusers: Any, folder: ModelFolder, dtype: str, device: str, request: PictureRequest,
        check: Callable[[], None],
    ) -> Loaded:
        manifest = read_manifest(folder.path)
        digest = verified(
            folder.path, manifest, threads=request.threads, check=check,
            expected=self._sha256 if str(folder.path) == str(self.folder_of(self._models["text"])) else "",
        )
        weights, largest = weights_in(folder, dtype)
        plan = plan_for(
            weights=weights, largest=largest, free=free_bytes(device), device=device,
            pixels=request.width * request.height, batch=self._batch,
        )
        parts = load_parts(diffusers, folder, dtype, check=check, skip=() if self._checker else ("safety_checker",))
        return Loaded(
            folder=folder, digest=digest, dtype=dtype, device=device, weights=weights, parts=parts, plan=plan
        )

    def _control(
        self, diffusers: Any, loaded: Loaded, request: PictureRequest, check: Callable[[], None]
    ) -> Any:
        """The ControlNet for a request with outlines, loaded beside the model and kept with it; else ``None``."""
        if request.outlines is None:
            return None
        if not self._outlines or request.task not in loaded.folder.family.outlined:
            raise BadRequest(
                _("This model can't be held to outlines: the option OUTLINES names no ControlNet for it.")
            )
        path = self._local(self._outlines)
        component = read_controlnet(path, loaded.folder)
        seen = fingerprint(path)
        if loaded.controls[0] != seen:
            manifest = read_manifest(path)
            require_licence(manifest, path, noncommercial=app_settings.ALLOW_NONCOMMERCIAL_MODELS)
            digest = verified(path, manifest, threads=request.threads, check=check)
            for name in [name for name in loaded.pipelines if " " in name]:
                del loaded.pipelines[name]
            loaded.controls = (seen, digest, load_part(diffusers, component, loaded.dtype))
        return loaded.controls[2]

    def _adapter(
        self, diffusers: Any, loaded: Loaded, request: PictureRequest, check: Callable[[], None]
    ) -> Adapter | None:
        """The IP-Adapter for a request with a reference, loaded beside the model and kept with it; else ``None``."""
        if request.reference is None or not request.reference_weight:
            return None
        self.require_reference(request.task)
        files = self._adapter_files(loaded.folder)
        folders = (files.folder, files.encoder.folder)
        seen = f"{files.weights} {' '.join(fingerprint(folder) for folder in folders)}"
        if loaded.adapter[0] != seen:
            loaded.adapter = ("", None)
            SHELF.make_room(capacity=len(SHELF) + 1, need=files.bytes, device=loaded.device)
            digest = verified(
                files.folder, read_manifest(files.folder), threads=request.threads, check=check,
                expected=self._references.sha256,
            )
            apart = not files.encoder.folder.is_relative_to(files.folder) and (
                not files.encoder.folder.is_relative_to(loaded.folder.path)
            )
            encoder = files.encoder.folder
            encoder_digest = verified(
                encoder, read_manifest(encoder), threads=request.threads, check=check
            ) if apart else ""
            loaded.adapter = (
                seen, load_adapter(diffusers, files, loaded.dtype, digest=digest, encoder_digest=encoder_digest)
            )
        found: Adapter = loaded.adapter[1]
        return found

    def _adapter_files(self, model: ModelFolder) -> AdapterFiles:
        """The adapter for a model as its files are now; its header is read anew only when they have changed."""
        known = self._adapters.get(model.path)
        if known is not None:
            seen = f"{fingerprint(known[1].folder)} {fingerprint(known[1].encoder.folder)} {fingerprint(model.path)}"
            if seen == known[0]:
                return known[1]
        files = read_adapter(self._references, model, self._local)
        seen = f"{fingerprint(files.folder)} {fingerprint(files.encoder.folder)} {fingerprint(model.path)}"
        self._adapters[model.path] = (seen, files)
        return files

    def _folder(self, task: Task) -> tuple[ModelFolder, str]:
        name = self._models[task]
        if not name:
            raise ModelMissing(
                _("No model is configured for this. Name a folder in the settings: SHOPGEN['ENGINES']['%(alias)s'] = "
                  "{'OPTIONS': {'MODEL': '/path/to/model'}}. The page “Large models” of the documentation says more.")
                % {"alias": "diffusion"}
            )
        folder = self._read(self.folder_of(name))
        if task not in folder.tasks:
            raise WrongKind(
                _("The model %(name)s was made for repainting parts of pictures and does nothing else. Name it as "
                  "INPAINT_MODEL, and another one as MODEL.") % {"name": name}
            )
        return folder, Path(name).name

    def _read(self, path: Path) -> ModelFolder:
        """The folder as its files are now; asked for each of hundreds of jobs that are queued at once."""
        seen = fingerprint(path)
        known = self._known.get(path)
        if known is None or known[0] != seen:
            known = self._known[path] = (seen, read_folder(path))
        return known[1]

    def folder_of(self, name: str) -> Path:
        """Where a model lies. Raises ModelMissing."""
        local = self._local(name)
        if (local / INDEX).is_file() or not HUB_ID.fullmatch(name):
            return local
        return self._from_hub(name)

    def _local(self, name: str) -> Path:
        path = Path(name).expanduser()
        return path if path.is_absolute() else Path(app_settings.root) / "models" / path

    def _from_hub(self, name: str) -> Path:
        """A hub id: the copy in the hub's cache on this machine, fetched first only where that is allowed."""
        return snapshot_of(
            name, revision=self._revision, fetch=self._hub,
            how=_("Nothing is fetched unless the option ALLOW_HUB is on. Put its folder into “models” under "
                  "SHOPGEN['ROOT'], or allow it."),
        )  # fmt: skip
