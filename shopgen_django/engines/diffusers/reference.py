"""IP-Adapters: a picture that what is made shall resemble, beside the words (Ye et al. 2023, "IP-Adapter").

An adapter is one safetensors file (a projection of the picture's embedding, and keys and values for every
cross-attention of the UNet) and an image encoder in a folder of its own. It is laid into the UNet for one run and taken
out whatever happens: a UNet that holds one can't do without a picture, and all tasks share the UNet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from shopgen_django.engines.errors import (
    BadOutput,
    BadRequest,
    ModelCorrupt,
    ModelMissing,
    OutOfMemory,
    UnsafeFile,
    WrongKind,
)

from .folder import PICKLES, Component, ModelFolder, read_header, read_json, shown, weights_of
from .loading import first_line, load_part
from .memory import ran_out

OWN_FOLDER = "ip_adapter"
"""Where a model's own folder holds an adapter."""
ENCODER = "image_encoder"
_ENCODER_CLASS = "CLIPVisionModelWithProjection"
_PARTS = ("image_proj", "ip_adapter")
# What CLIP's encoders were trained with.
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFiles:
    """An adapter that has passed every check which needs no library."""

    weights: Path
    encoder: Component
    plus: bool
    """Whether it reads the encoder's patches (IP-Adapter Plus) instead of one embedding."""
    side: int
    """Of the square that the encoder looks at, in pixels."""
    attentions: int
    """Cross-attentions that it has keys and values for."""
    bytes: int

    @property
    def folder(self) -> Path:
        """What is hashed and may have a manifest."""
        return self.weights.parent


@dataclass(slots=True, kw_only=True, eq=False)
class Adapter:
    """An adapter in memory, on the processor."""

    files: AdapterFiles
    digest: str
    encoder_digest: str
    """SHA-256 of the encoder's folder where that lies elsewhere; "" where ``digest`` or the model's covers it."""
    tensors: dict[str, dict[str, Any]]
    encoder: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The option REFERENCES: a folder or file, the image encoder's folder ("": beside it), the SHA-256 it must have."""

    path: str = ""
    encoder: str = ""
    sha256: str = ""


def named_adapter(option: str | Path | Mapping[str, Any]) -> Named:
    """The option as given: a path, or ``{"PATH": …, "ENCODER": …, "SHA256": …}``."""
    given = option if isinstance(option, Mapping) else {"PATH": option}
    return Named(
        path=str(given.get("PATH") or ""), encoder=str(given.get("ENCODER") or ""),
        sha256=str(given.get("SHA256") or "").lower(),
    )


def read_adapter(named: Named, model: ModelFolder, local: Callable[[str], Path]) -> AdapterFiles:
    """The adapter for ``model``, looked for where ``named`` says, else in the model's own folder; ``local`` makes a
    path of a name.

    Raises BadRequest (the model can't, or nothing is named), ModelMissing, UnsafeFile (pickles), ModelCorrupt,
    WrongKind (no adapter, or one for another model or another encoder).
    """
    if not model.family.references:
        raise BadRequest(
            _("A %(kind)s model can't follow a reference picture here; Stable Diffusion 1, 2 and XL can.")
            % {"kind": model.family.name}
        )
    path = local(named.path) if named.path else model.path / OWN_FOLDER
    if not named.path and not path.is_dir():
        raise BadRequest(
            _("This model can't follow a reference picture: the option REFERENCES names no IP-Adapter for it.")
        )
    weights = _weights_file(path)
    shapes = {
        name: entry["shape"] for name, entry in read_header(weights).items() if name != "__metadata__"
    }
    if not shapes or {name.partition(".")[0] for name in shapes} != set(_PARTS):
        raise WrongKind(_("%(path)s holds no IP-Adapter.") % {"path": shown(weights)})
    plain, plus = "image_proj.proj.weight" in shapes, "image_proj.latents" in shapes
    if not plain and not plus:
        raise WrongKind(
            _("%(path)s is an IP-Adapter of a kind that is not known here (one for faces, for example). Take a plain "
              "one, or a “plus”.") % {"path": shown(weights)}
        )
    encoder, config = _encoder(named, weights, model, local)
    keys = [shape for name, shape in shapes.items() if name.endswith(".to_k_ip.weight")]
    core = read_json(model.path / model.family.core / "config.json")
    if not keys or any(shape[1:] != [core.get("cross_attention_dim")] for shape in keys):
        raise WrongKind(
            _("The IP-Adapter %(path)s was made for another kind of model than %(model)s.")
            % {"path": shown(weights), "model": shown(model.path)}
        )
    takes = shapes["image_proj.proj.weight"] if plain else shapes.get("image_proj.proj_in.weight")
    gives = config.get("projection_dim" if plain else "hidden_size")
    if takes is None or takes[1:] != [gives]:
        raise WrongKind(
            _("The IP-Adapter %(path)s was made for another image encoder than %(encoder)s.")
            % {"path": shown(weights), "encoder": shown(encoder.folder)}
        )
    return AdapterFiles(
        weights=weights, encoder=encoder, plus=plus, side=int(config.get("image_size") or 224), attentions=len(keys),
        bytes=weights.stat().st_size + encoder.bytes,
    )


def is_adapter_folder(path: Path) -> bool:
    """Whether a folder looks like one of an adapter: weights beside an image encoder, no model of its own."""
    return (path / ENCODER / "config.json").is_file() and any(path.glob("*.safetensors")) and not (
        path / "config.json"
    ).is_file()


def check_adapter_folder(path: Path) -> int:
    """Look at an adapter's folder without a model to fit it to; bytes of its weights. Raises UnsafeFile, WrongKind,
    ModelCorrupt."""
    total = 0
    for weights in sorted(path.glob("*.safetensors")):
        if {name.partition(".")[0] for name in read_header(weights) if name != "__metadata__"} != set(_PARTS):
            raise WrongKind(_("%(path)s holds no IP-Adapter.") % {"path": shown(weights)})
        total += weights.stat().st_size
    files, _variant, _numbers = weights_of(path / ENCODER)
    return total + sum(each.stat().st_size for each in files)


def _weights_file(path: Path) -> Path:
    """The file, or the only one of a folder."""
    if path.suffix.lower() in PICKLES:
        raise _pickled(path.parent, [path.name])
    if path.suffix.lower() == ".safetensors":
        if not path.is_file():
            raise ModelMissing(_("There is no file %(path)s.") % {"path": shown(path)})
        return path
    if not path.is_dir():
        raise ModelMissing(_("There is no model folder %(path)s.") % {"path": shown(path)})
    found = sorted(path.glob("*.safetensors"))
    if not found:
        pickles = sorted(each.name for each in path.iterdir() if each.suffix.lower() in PICKLES)
        if pickles:
            raise _pickled(path, pickles)
        raise ModelMissing(
            _("The folder %(path)s holds no weights of an IP-Adapter (*.safetensors).") % {"path": shown(path)}
        )
    if len(found) > 1:
        raise WrongKind(
            _("The folder %(path)s holds several IP-Adapters (%(files)s): name the file itself in the option "
              "REFERENCES.") % {"path": shown(path), "files": ", ".join(each.name for each in found[:5])}
        )
    return found[0]


def _pickled(folder: Path, names: list[str]) -> UnsafeFile:
    return UnsafeFile(
        _("%(path)s has its weights only as %(files)s. Such files are pickles and can run any program when "
          "they are opened. Get the model as safetensors, or convert it where that is safe.")
        % {"path": shown(folder), "files": ", ".join(names)}
    )


def _encoder(
    named: Named, weights: Path, model: ModelFolder, local: Callable[[str], Path]
) -> tuple[Component, dict[str, Any]]:
    """The image encoder and its configuration: the one that is named, else beside the adapter, else the model's."""
    places = [local(named.encoder)] if named.encoder else [weights.parent / ENCODER, model.path / ENCODER]
    folder = next((place for place in places if (place / "config.json").is_file()), None)
    if folder is None:
        raise ModelMissing(
            _("The IP-Adapter %(path)s has no image encoder: a folder %(name)s with config.json and weights beside it.")
            % {"path": shown(weights), "name": places[0].name}
        )
    config = read_json(folder / "config.json")
    if _ENCODER_CLASS not in (config.get("architectures") or ()):
        raise WrongKind(
            _("%(path)s is no image encoder for an IP-Adapter (%(kind)s).")
            % {"path": shown(folder), "kind": _ENCODER_CLASS}
        )
    files, variant, numbers = weights_of(folder)
    if "vision_config" in config and isinstance(config["vision_config"], dict):
        config = {**config, **config["vision_config"]}
    return Component(
        name=ENCODER, library="transformers", kind=_ENCODER_CLASS, folder=folder, weights=files, variant=variant,
        numbers=numbers,
    ), config


def load_adapter(
    diffusers: Any, files: AdapterFiles, dtype: str, *, digest: str, encoder_digest: str = ""
) -> Adapter:
    """Adapter and encoder in memory. Raises ModelCorrupt, WrongKind, OutOfMemory."""
    from safetensors.torch import load_file

    try:
        flat = load_file(str(files.weights))
    except Exception as error:
        if ran_out(error):
            raise OutOfMemory(
                _("There is not enough memory to load %(path)s.") % {"path": shown(files.weights)}
            ) from error
        raise ModelCorrupt(
            _("%(path)s can't be loaded: %(why)s")
            % {"path": shown(files.weights), "why": first_line(error, files.folder)}
        ) from error
    tensors: dict[str, dict[str, Any]] = {part: {} for part in _PARTS}
    for name, value in flat.items():
        part, _dot, rest = name.partition(".")
        tensors[part][rest] = value
    return Adapter(
        files=files, digest=digest, encoder_digest=encoder_digest, tensors=tensors,
        encoder=load_part(diffusers, files.encoder, dtype),
    )


@contextmanager
def followed(
    pipeline: Any, adapter: Adapter, picture: Any, *, weight: float, guided: bool, device: str, stays: bool
) -> Iterator[Any]:
    """The pipeline with the adapter in its UNet while the block runs, and without it afterwards; gives what its call
    takes as ``ip_adapter_image_embeds``.

    Args:
        picture: the reference (PIL, any size): all of it is looked at, on white ground.
        weight: 0..1, how closely it is followed.
        guided: whether the call will use classifier-free guidance.
        stays: whether the encoder may stay on the device.

    Raises WrongKind when the adapter has no place in the model, BadOutput for an embedding with values that are no
    numbers, OutOfMemory.
    """
    places = sum(not name.endswith("attn1.processor") for name in pipeline.unet.attn_processors)
    path = shown(adapter.files.weights)
    if places != adapter.files.attentions:
        raise WrongKind(
            _("The IP-Adapter %(path)s does not fit this model: it is for %(found)d attentions, and there are "
              "%(wanted)d.") % {"path": path, "found": adapter.files.attentions, "wanted": places}
        )
    try:
        try:
            embedded = _embedded(adapter, picture, guided=guided, device=device, stays=stays)
            pipeline.load_ip_adapter(adapter.tensors, subfolder="", weight_name="", image_encoder_folder=None)
            pipeline.set_ip_adapter_scale(weight)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            if ran_out(error):
                raise OutOfMemory(
                    _("There is not enough memory on %(device)s for this model.") % {"device": device}
                ) from error
            raise WrongKind(
                _("The IP-Adapter %(path)s does not fit this model: %(why)s")
                % {"path": path, "why": first_line(error, adapter.files.folder)}
            ) from error
        yield [embedded]
    finally:
        pipeline.unload_ip_adapter()


def _embedded(adapter: Adapter, picture: Any, *, guided: bool, device: str, stays: bool) -> Any:
    """The picture as the adapter reads it: (1 or 2, 1, width), for a plus (1 or 2, 1, patches, width); with guidance
    "no picture" comes first."""
    import torch

    encoder = adapter.encoder.to(device)
    try:
        dtype = next(encoder.parameters()).dtype
        pixels = _pixels(picture, adapter.files.side).to(device, dtype)
        with torch.inference_mode():
            if adapter.files.plus:
                found = encoder(pixels, output_hidden_states=True).hidden_states[-2]
                without = encoder(torch.zeros_like(pixels), output_hidden_states=True).hidden_states[-2]
            else:
                found = encoder(pixels).image_embeds
                without = torch.zeros_like(found)
            if not bool(torch.isfinite(found).all()):
                raise BadOutput(
                    _("The image encoder computed values that are no numbers (NaN) for the reference picture. Its "
                      "files may be damaged, or it may need another precision: see the option DTYPE.")
                )
            both = torch.cat([without[None], found[None]]) if guided else found[None]
        return both.clone()
    finally:
        if not stays:
            encoder.to("cpu")


def _pixels(picture: Any, side: int) -> Any:
    """(1, 3, side, side), normalised as CLIP's encoders want it: the whole picture, on a white square."""
    import numpy as np
    import torch
    from PIL import Image, ImageOps

    square = ImageOps.pad(picture.convert("RGB"), (side, side), Image.Resampling.BICUBIC, color=(255, 255, 255))
    mean, std = np.array(_MEAN, np.float32), np.array(_STD, np.float32)
    values = (np.asarray(square, np.float32) / np.float32(255.0) - mean) / std
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1))[None])
