"""Load a checked folder: part by part, safetensors only, every tensor accounted for, nothing asked of any server."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from shopgen_django.engines.errors import DeviceMissing, ModelCorrupt, OutOfMemory, WrongKind

from .folder import Component, ModelFolder, shown
from .install import require
from .memory import Plan, ran_out

_BITS = {"float32": 4, "float16": 2, "bfloat16": 2}
DTYPES = ("auto", *_BITS)


def device_of(asked: str, *, allow_cpu: bool) -> str:
    """The device to work on. Raises DeviceMissing when it is not there and the processor is not allowed instead."""
    import torch

    there = (
        asked == "cpu"
        or (asked.startswith("cuda") and torch.cuda.is_available() and _has(asked))
        or (asked == "mps" and torch.backends.mps.is_available())
    )
    if there:
        return asked
    if allow_cpu:
        return "cpu"
    raise DeviceMissing(
        _("The device %(device)s was asked for and is not there. Give the worker a GPU (and a torch built for it), or "
          "set the option ALLOW_CPU; large models are very slow on the processor.") % {"device": asked}
    )


def dtype_of(wished: str, device: str) -> str:
    """float32 on a processor; on a GPU bfloat16 where it can, else float16; unless one is named."""
    if wished != "auto":
        return wished
    if not device.startswith("cuda"):
        return "float32"
    import torch

    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def weights_in(folder: ModelFolder, dtype: str) -> tuple[int, int]:
    """Bytes that all weights take in this precision, and those of the largest part, from the files' headers alone."""
    sizes = [component.numbers * _BITS[dtype] for component in folder.components]
    return sum(sizes), max(sizes, default=0)


def load_parts(
    diffusers: Any, folder: ModelFolder, dtype: str, *, check: Callable[[], None], skip: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Every part of the pipeline, on the processor, except those to ``skip``; ``check`` is called before each.

    Raises ModelCorrupt when a file can't be read, lacks tensors, or has some of other shapes; WrongKind for a class
    that is no model, tokenizer or scheduler; OutOfMemory.
    """
    parts: dict[str, Any] = {}
    for component in folder.components:
        check()
        if component.name in skip:
            continue
        parts[component.name] = load_part(diffusers, component, dtype)
    return parts


def load_part(diffusers: Any, component: Component, dtype: str) -> Any:
    """One part, on the processor. Raises as :func:`load_parts`."""
    import torch

    try:
        return _load(diffusers, component, getattr(torch, dtype))
    except (ModelCorrupt, WrongKind):
        raise
    except Exception as error:
        where = component.folder.parent
        if ran_out(error):
            raise OutOfMemory(
                _("There is not enough memory to load %(path)s.") % {"path": shown(component.folder)}
            ) from error
        raise ModelCorrupt(
            _("%(path)s can't be loaded: %(why)s")
            % {"path": shown(component.folder), "why": first_line(error, where)}
        ) from error


def _load(diffusers: Any, component: Component, dtype: Any) -> Any:
    cls = _class(diffusers, component)
    where = str(component.folder)
    if not component.weights:
        return cls.from_pretrained(where, local_files_only=True)
    options: dict[str, Any] = {
        "local_files_only": True, "use_safetensors": True, "output_loading_info": True, "dtype": dtype,
    }
    if component.variant:
        options["variant"] = component.variant
    module, told = cls.from_pretrained(where, **options)
    require_whole(told, component.folder)
    return module.eval()


def require_whole(told: Mapping[str, Any], folder: Path) -> None:
    """Raises ModelCorrupt when ``output_loading_info`` of either library says that tensors were missing or did not
    fit: they would hold random values."""
    for what, text in (
        ("missing_keys", _("tensors are missing")), ("mismatched_keys", _("tensors have another shape")),
        ("error_msgs", _("tensors can't be used")),
    ):
        found = told.get(what) or ()
        if found:
            names = ", ".join(str(each[0] if isinstance(each, tuple) else each) for each in sorted(found, key=str)[:3])
            raise ModelCorrupt(
                _("%(path)s: %(what)s (%(count)d, for example %(names)s). The model would work with random values.")
                % {"path": shown(folder), "what": text, "count": len(found), "names": names}
            )


def _class(diffusers: Any, component: Component) -> Any:
    """The class a folder names, if it is one that such a folder may name."""
    transformers = importlib.import_module("transformers")
    if component.library == "transformers":
        home = transformers
    elif component.library == "diffusers":
        home = diffusers
    else:
        home = importlib.import_module(f"diffusers.pipelines.{component.library}")
    cls = getattr(home, component.kind, None)
    bases: tuple[type, ...] = (
        diffusers.ModelMixin, diffusers.SchedulerMixin, transformers.PreTrainedModel,
        transformers.PreTrainedTokenizerBase, transformers.image_processing_utils.BaseImageProcessor,
        transformers.ProcessorMixin,
    )
    if not (isinstance(cls, type) and (issubclass(cls, bases) or component.kind.startswith("CLIPImageProcessor"))):
        raise WrongKind(
            _("%(path)s is to be a %(kind)s, which is no part of a picture model that is known here.")
            % {"path": shown(component.folder), "kind": f"{component.library}.{component.kind}"}
        )
    return cls


def place(pipeline: Any, plan: Plan, device: str) -> None:
    """Lay a pipeline into memory as planned. Raises OutOfMemory."""
    try:
        if plan.placement == "whole":
            pipeline.to(device)
        else:
            require("accelerate")
            if plan.placement == "parts":
                pipeline.enable_model_cpu_offload(device=device)
            else:
                pipeline.enable_sequential_cpu_offload(device=device)
    except Exception as error:
        if ran_out(error):
            raise OutOfMemory(
                _("There is not enough memory on %(device)s for this model.") % {"device": device}
            ) from error
        raise


def tile(pipeline: Any, wanted: bool) -> None:
    """Whether the autoencoder works on tiles."""
    vae = pipeline.vae
    if hasattr(vae, "enable_tiling"):
        (vae.enable_tiling if wanted else vae.disable_tiling)()


def economise(pipeline: Any, *, attention: bool = True) -> None:
    """The last resort after memory ran out: attention in slices, the autoencoder on tiles and picture by picture.

    ``attention``: False where something is laid into the attentions, which slices would put out in silence.
    """
    if attention and hasattr(pipeline, "enable_attention_slicing"):
        pipeline.enable_attention_slicing()
    for name in ("enable_tiling", "enable_slicing"):
        if hasattr(pipeline.vae, name):
            getattr(pipeline.vae, name)()


def splurge(pipeline: Any, *, attention: bool = True) -> None:
    """Undo :func:`economise`, but for tiles, which every run decides anew."""
    if attention and hasattr(pipeline, "disable_attention_slicing"):
        pipeline.disable_attention_slicing()
    if hasattr(pipeline.vae, "disable_slicing"):
        pipeline.vae.disable_slicing()


def _has(device: str) -> bool:
    import torch

    number = device.partition(":")[2]
    return not number or int(number) < torch.cuda.device_count()


def first_line(error: BaseException, folder: Path) -> str:
    """What a library said, without the path that leads to the model's folder."""
    text = str(error).strip().replace(f"{folder.parent}/", "")
    return text.splitlines()[0][:300] if text else type(error).__name__
