"""A model's folder read without loading anything: its kind, its size, whether its files are safe and whole.

Only safetensors are ever opened, and nothing in a folder can run code: a class of its own, a reference to Python files
or a pickle is refused here, before any library sees the folder.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from shopgen_django.engines.errors import ModelCorrupt, ModelMissing, UnsafeFile, WrongKind
from shopgen_django.engines.pictures import Described, Task

from .families import FAMILIES, INPAINT_CHANNELS, Family, family_of

INDEX = "model_index.json"
MANIFEST = "shopgen.json"
PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".msgpack", ".h5"})
READ = frozenset({".json", ".txt", ".model", ".safetensors"})
"""Endings of the files that the libraries read; all others are left alone."""
_LIBRARIES = frozenset({"diffusers", "transformers", "stable_diffusion", "stable_diffusion_xl"})
_LARGEST_HEADER = 100 << 20
_LARGEST_JSON = 20 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One part of a pipeline: where it lies, which class it is, its weight files (none for a scheduler)."""

    name: str
    library: str
    kind: str
    folder: Path
    weights: tuple[Path, ...]
    variant: str = ""
    """"fp16" where the folder has only the files of that variant."""
    numbers: int = 0
    """How many numbers the weights consist of, whatever their precision."""

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """A folder that has passed every check which needs no library."""

    path: Path
    kind: str
    family: Family
    components: tuple[Component, ...]
    tasks: tuple[Task, ...]
    multiple: int
    size: tuple[int, int]
    in_channels: int

    @property
    def bytes(self) -> int:
        return sum(component.bytes for component in self.components)

    def component(self, name: str) -> Component | None:
        return next((each for each in self.components if each.name == name), None)

    def described(
        self, *, name: str, max_pixels: int, licence: str, sha256: str, outlines: bool = False
    ) -> Described:
        return Described(
            name=name, kind=self.kind, tasks=self.tasks, multiple=self.multiple, size=self.size,
            max_pixels=max_pixels, in_channels=self.in_channels, bytes=self.bytes, licence=licence, sha256=sha256,
            negative=self.family.negative, loras=True, outlines=outlines and bool(self.family.outlined),
        )


def read_folder(path: Path) -> ModelFolder:
    """What lies in ``path``.

    Raises ModelMissing (no such folder), WrongKind (another kind of model), UnsafeFile (pickles, code), ModelCorrupt
    (missing or cut files).
    """
    if not path.is_dir():
        raise ModelMissing(_("There is no model folder %(path)s.") % {"path": shown(path)})
    index = read_json(path / INDEX)
    kind = index.get("_class_name")
    if not isinstance(kind, str):
        raise UnsafeFile(
            _("%(path)s names a pipeline class of its own: that means running code from the folder, never done.")
            % {"path": shown(path / INDEX)}
        )
    family = family_of(kind)
    if family is None:
        raise WrongKind(
            _("%(path)s is a %(kind)s. Known are: %(known)s.")
            % {"path": shown(path), "kind": kind, "known": ", ".join(family.name for family in FAMILIES)}
        )
    components = tuple(_components(path, index))
    absent = sorted(set(family.needs) - {component.name for component in components})
    if absent:
        raise WrongKind(
            _("%(path)s calls itself a %(kind)s but has no %(names)s.")
            % {"path": shown(path), "kind": kind, "names": ", ".join(absent)}
        )
    core = read_json(path / family.core / "config.json")
    if (family.name == "Stable Diffusion XL") != (core.get("addition_embed_type") == "text_time") and (
        family.core == "unet"
    ):
        raise WrongKind(
            _("%(path)s calls itself a %(kind)s, but its unet is one of another kind.")
            % {"path": shown(path), "kind": kind}
        )
    channels = int(core.get("in_channels") or 4)
    scale = 2 ** (len(read_json(path / "vae" / "config.json").get("block_out_channels") or (1, 1, 1, 1)) - 1)
    side = family.size or _side(core.get("sample_size")) * scale or 512
    return ModelFolder(
        path=path, kind=kind, family=family, components=components, tasks=_tasks(path, family, channels),
        multiple=scale * family.patch, size=(side, side), in_channels=channels,
    )


def read_controlnet(path: Path, model: ModelFolder) -> Component:
    """A ControlNet's folder (``config.json`` and weights) that fits ``model``. Raises as :func:`read_folder`."""
    if not path.is_dir():
        raise ModelMissing(_("There is no model folder %(path)s.") % {"path": shown(path)})
    config, core = read_json(path / "config.json"), read_json(model.path / model.family.core / "config.json")
    fits = config.get("_class_name") == "ControlNetModel" and all(
        config.get(name) == core.get(name) for name in ("cross_attention_dim", "block_out_channels")
    )
    if not fits:
        raise WrongKind(
            _("%(path)s is no ControlNet for %(model)s.") % {"path": shown(path), "model": shown(model.path)}
        )
    weights, variant, numbers = weights_of(path)
    return Component(
        name="controlnet", library="diffusers", kind="ControlNetModel", folder=path, weights=weights, variant=variant,
        numbers=numbers,
    )


def shown(path: Path) -> str:
    """A path for people, from the model's own name on: messages reach those who need not know how a server is laid out.
    """
    for root in (path, *path.parents[:2]):
        if (root / INDEX).is_file():
            return path.relative_to(root.parent).as_posix()
    return "/".join(path.parts[-2:])


def files_of(path: Path) -> list[Path]:
    """The files that are read from a model's folder (two levels; three where it holds an IP-Adapter, whose encoder has
    a folder of its own), sorted; the manifest is not among them."""
    places = (*path.glob("*"), *path.glob("*/*"), *path.glob("ip_adapter/*/*"))
    found = [each for each in places if each.suffix in READ and each.is_file()]
    return sorted(each for each in found if each.name != MANIFEST or each.parent != path)



def _components(path: Path, index: dict[str, Any]) -> Iterator[Component]:
    for name, entry in index.items():
        if name.startswith("_") or not isinstance(entry, list) or len(entry) != 2 or entry[0] is None:
            continue
        library, kind = str(entry[0]), str(entry[1])
        if library not in _LIBRARIES:
            raise UnsafeFile(
                _("%(path)s: the part %(name)s is to be loaded from %(library)s, code of its own. That is never done.")
                % {"path": shown(path / INDEX), "name": name, "library": library}
            )
        folder = path / name
        if not folder.is_dir():
            raise ModelCorrupt(_("%(path)s has no folder %(name)s.") % {"path": shown(path), "name": name})
        weights, variant, numbers = weights_of(folder)
        yield Component(
            name=name, library=library, kind=kind, folder=folder, weights=weights, variant=variant, numbers=numbers
        )


def weights_of(folder: Path) -> tuple[tuple[Path, ...], str, int]:
    """The weight files of a part, the variant they belong to, and how many numbers they hold; none for schedulers,
    tokenizers and the like."""
    config = folder / "config.json"
    if not config.is_file():
        return (), "", 0
    if "auto_map" in read_json(config):
        raise UnsafeFile(
            _("%(path)s asks for code from the model's folder (auto_map). That is never run.")
            % {"path": shown(config)}
        )
    found = sorted(each for each in folder.glob("*.safetensors"))
    plain = [each for each in found if ".fp16." not in each.name and ".bf16." not in each.name]
    variant = "" if plain or not found else "fp16" if ".fp16." in found[0].name else "bf16"
    chosen = plain or [each for each in found if f".{variant}." in each.name]
    if not chosen:
        pickled = sorted(each.name for each in folder.iterdir() if each.suffix in PICKLES)
        if pickled:
            raise UnsafeFile(
                _("%(path)s has its weights only as %(files)s. Such files are pickles and can run any program when "
                  "they are opened. Get the model as safetensors, or convert it where that is safe.")
                % {"path": shown(folder), "files": ", ".join(pickled)}
            )
        raise ModelCorrupt(_("%(path)s has no weights (*.safetensors).") % {"path": shown(folder)})
    numbers = sum(
        prod(entry["shape"]) for each in chosen for name, entry in read_header(each).items() if name != "__metadata__"
    )
    return tuple(chosen), variant, numbers


def read_header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file: tensor name -> dtype, shape, place. Raises ModelCorrupt, UnsafeFile."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"PK"):
                raise UnsafeFile(
                    _("%(path)s is a pickle under another name: it could run any program when it is opened.")
                    % {"path": shown(path)}
                )
            if not 2 <= length <= min(_LARGEST_HEADER, size - 8):
                raise ValueError("the header does not fit into the file")
            header = json.loads(file.read(length))
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        ends = [int(entry["data_offsets"][1]) for entry in tensors]
        if not all(isinstance(side, int) and side >= 0 for entry in tensors for side in entry["shape"]):
            raise ValueError("a shape that is none")
    except OSError as error:
        raise ModelCorrupt(
            _("%(path)s can't be read: %(why)s.") % {"path": shown(path), "why": error.strerror}
        ) from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ModelCorrupt(
            _("%(path)s is no whole safetensors file: %(why)s.") % {"path": shown(path), "why": error}
        ) from error
    if 8 + length + max(ends, default=0) != size:
        raise ModelCorrupt(
            _("%(path)s is cut or has grown: it has %(size)d bytes and should have %(wanted)d.")
            % {"path": shown(path), "size": size, "wanted": 8 + length + max(ends, default=0)}
        )
    return dict(header)


def _tasks(path: Path, family: Family, channels: int) -> tuple[Task, ...]:
    if not family.channels or channels in family.channels:
        return tuple(family.pipelines)
    if channels == INPAINT_CHANNELS and family.core == "unet":
        return ("inpaint",)
    known = {*family.channels, INPAINT_CHANNELS} if family.core == "unet" else family.channels
    raise WrongKind(
        _("%(path)s: its network takes %(channels)d channels. Known are %(known)s.")
        % {"path": shown(path), "channels": channels, "known": ", ".join(str(each) for each in sorted(known))}
    )


def _side(size: object) -> int:
    if isinstance(size, (list, tuple)) and size:
        size = size[0]
    return int(size) if isinstance(size, int) else 0


def read_json(path: Path) -> dict[str, Any]:
    """A small file that holds an object. Raises ModelCorrupt."""
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise ModelCorrupt(_("%(path)s is far too large for a configuration.") % {"path": shown(path)})
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelCorrupt(
            _("%(path)s can't be read (%(why)s). Is the folder a whole diffusers model?")
            % {"path": shown(path), "why": error.strerror}
        ) from error
    except ValueError as error:
        raise ModelCorrupt(_("%(path)s is not valid JSON: %(why)s.") % {"path": shown(path), "why": error}) from error
    if not isinstance(value, dict):
        raise ModelCorrupt(_("%(path)s does not hold an object.") % {"path": shown(path)})
    return value
