"""LoRA files: checked like models, laid over a pipeline for one run, taken off whatever happens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from shopgen_django.engines.errors import BadRequest, ModelCorrupt, ModelMissing, UnsafeFile, WrongKind
from shopgen_django.engines.pictures import Lora
from shopgen_django.ml.files import sha256_file

from .folder import PICKLES, read_header, shown
from .install import require
from .loading import first_line

FILE = "pytorch_lora_weights.safetensors"
_MATRICES = (".lora_A.", ".lora_B.", ".lora_down.", ".lora_up.", ".lora.down.", ".lora.up.", "_lora.down.", "_lora.up.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraFile:
    """A LoRA as the options name it; ``sha256`` "" where the options state none."""

    name: str
    path: Path
    sha256: str = ""


def lora_files(options: Mapping[str, Any]) -> dict[str, LoraFile]:
    """The option LORAS: name -> path, or name -> {"PATH": path, "SHA256": digest}; a folder means its usual file."""
    found = {}
    for name, entry in options.items():
        given = entry if isinstance(entry, Mapping) else {"PATH": entry}
        path = Path(given["PATH"])
        found[name] = LoraFile(
            name=name, path=path / FILE if path.is_dir() else path, sha256=str(given.get("SHA256") or "").lower()
        )
    return found


def chosen_files(known: Mapping[str, LoraFile], wished: Sequence[Lora]) -> list[tuple[LoraFile, float, str]]:
    """File, weight and SHA-256 of each wished LoRA, in order.

    Raises BadRequest (not known), ModelMissing, UnsafeFile, ModelCorrupt.
    """
    chosen = []
    for each in wished:
        file = known.get(each.name)
        if file is None:
            raise BadRequest(
                _("There is no LoRA %(name)s. Known are: %(known)s.")
                % {"name": each.name, "known": ", ".join(sorted(known)) or "-"}
            )
        chosen.append((file, each.weight, checked(file)))
    return chosen


def checked(file: LoraFile) -> str:
    """Look at a file before anything opens it; returns its SHA-256."""
    if file.path.suffix.lower() != ".safetensors":
        pickled = file.path.suffix.lower() in PICKLES
        raise UnsafeFile(
            _("%(path)s is a pickle and could run any program when it is opened. LoRAs are taken as safetensors.")
            % {"path": shown(file.path)} if pickled else
            _("%(path)s is no safetensors file.") % {"path": shown(file.path)}
        )
    if not file.path.is_file():
        raise ModelMissing(_("There is no file %(path)s.") % {"path": shown(file.path)})
    read_header(file.path)
    digest = sha256_file(file.path)
    if file.sha256 and digest != file.sha256:
        raise ModelCorrupt(
            _("%(path)s has the SHA-256 %(found)s; the setting SHA256 says %(expected)s.")
            % {"path": shown(file.path), "found": digest, "expected": file.sha256}
        )
    return digest


@contextmanager
def laid_over(pipeline: Any, chosen: Sequence[tuple[LoraFile, float, str]]) -> Iterator[None]:
    """The pipeline with these LoRAs while the block runs, and without any afterwards.

    Raises WrongKind when a file has tensors for which the model has no place: the library would leave them out in
    silence, all of them if need be.
    """
    if not chosen:
        yield
        return
    require("peft")
    try:
        for number, (file, _weight, _digest) in enumerate(chosen):
            _load(pipeline, file, f"shopgen{number}")
        pipeline.set_adapters(
            [f"shopgen{number}" for number in range(len(chosen))], adapter_weights=[weight for _f, weight, _d in chosen]
        )
        yield
    finally:
        pipeline.unload_lora_weights()


def _load(pipeline: Any, file: LoraFile, adapter: str) -> None:
    wanted = sum(any(mark in name for mark in _MATRICES) for name in read_header(file.path))
    try:
        pipeline.load_lora_weights(
            str(file.path.parent), weight_name=file.path.name, adapter_name=adapter, local_files_only=True,
            use_safetensors=True,
        )
    except (RuntimeError, ValueError, KeyError, TypeError, OSError) as error:
        raise WrongKind(
            _("The LoRA %(path)s does not fit this model: %(why)s")
            % {"path": shown(file.path), "why": first_line(error, file.path.parent)}
        ) from error
    placed = _placed(pipeline, adapter)
    if not placed or placed < wanted:
        raise WrongKind(
            _("The LoRA %(path)s does not fit this model: %(placed)d of its %(wanted)d matrices have a place there.")
            % {"path": shown(file.path), "placed": placed, "wanted": wanted}
        )


def _placed(pipeline: Any, adapter: str) -> int:
    """Matrices of an adapter that lie somewhere in the pipeline."""
    import torch

    return sum(
        f".{adapter}." in f".{name}." and "lora_" in name
        for part in pipeline.components.values() if isinstance(part, torch.nn.Module)
        for name, _parameter in part.named_parameters()
    )
