"""LoRA files: checked like models, laid over a pipeline for one run, taken off whatever happens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from shopgen_django.engines.errors import BadRequest, LicenceRefused, ModelCorrupt, ModelMissing, UnsafeFile, WrongKind
from shopgen_django.engines.pictures import Lora
from shopgen_django.ml.files import sha256_file

from .folder import PICKLES, read_header, shown
from .install import require
from .loading import first_line

FILE = "pytorch_lora_weights.safetensors"
CARD = "model.json"
"""What a training here says of its LoRA, beside the file."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraCard:
    """What :mod:`shopgen_django.engines.lora_training` writes down beside a LoRA."""

    sha256: frozenset[str]
    """Of the file; two while it is being exchanged."""
    base: str
    """Name of the model that it was trained on."""
    base_sha256: str
    licence: str
    commercial: bool


def read_card(path: Path) -> LoraCard | None:
    """The card beside a LoRA's file; ``None`` for one that was not trained here. Raises ModelCorrupt."""
    card = path.with_name(CARD)
    if path.name != FILE or not card.is_file():
        return None
    try:
        value = json.loads(card.read_text(encoding="utf-8"))
        if value.get("kind") != "lora":
            return None
        return LoraCard(
            sha256=frozenset(str(value[name]) for name in ("sha256", "next_sha256") if name in value),
            base=str(value["base"]["name"]), base_sha256=str(value["base"]["sha256"]), licence=str(value["licence"]),
            commercial=value["commercial"] is True,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ModelCorrupt(_("%(path)s can't be read: %(why)s.") % {"path": shown(card), "why": why}) from error


def require_base(chosen: Sequence[tuple[LoraFile, float, str]], digest: str, *, other: bool) -> None:
    """Raises WrongKind for a LoRA that was trained here on a model with another SHA-256 than ``digest``, unless
    ``other``: laid over that one it fits by its shapes and makes worse pictures without a word."""
    for file, _weight, _digest in chosen:
        card = read_card(file.path)
        if card is not None and card.base_sha256 != digest and not other:
            raise WrongKind(
                _("The LoRA %(name)s was trained on another model (%(base)s, %(wanted)s, not %(found)s). Train it on "
                  "this one, or set the engine's option LORA_OTHER_BASE if you know that it suits.")
                % {"name": file.name, "base": card.base, "wanted": card.base_sha256[:12], "found": digest[:12]}
            )


def chosen_files(
    known: Mapping[str, LoraFile], wished: Sequence[Lora], *, noncommercial: bool = False
) -> list[tuple[LoraFile, float, str]]:
    """File, weight and SHA-256 of each wished LoRA, in order; those that ``known`` lists go before others.

    Raises BadRequest (not known), ModelMissing, UnsafeFile, ModelCorrupt, and LicenceRefused for one that was trained
    on a model which must not be used commercially, unless ``noncommercial``.
    """
    chosen = []
    for each in wished:
        file = known.get(each.name)
        if file is None and each.path is not None:
            file = LoraFile(name=each.name, path=each.path, sha256=each.sha256)
        if file is None:
            raise BadRequest(
                _("There is no LoRA %(name)s. Known are: %(known)s.")
                % {"name": each.name, "known": ", ".join(sorted(known)) or "-"}
            )
        digest = checked(file)
        card = read_card(file.path)
        if card is not None and digest not in card.sha256:
            raise ModelCorrupt(
                _("%(path)s is not the file that was trained: its SHA-256 is %(found)s.")
                % {"path": shown(file.path), "found": digest}
            )
        if card is not None and not card.commercial and not noncommercial:
            raise LicenceRefused(
                _("The LoRA %(name)s was trained on %(base)s, whose licence (%(licence)s) forbids commercial use. Set "
                  "SHOPGEN['ALLOW_NONCOMMERCIAL_MODELS'] if that is what you want.")
                % {"name": file.name, "base": card.base, "licence": card.licence or "?"}
            )
        chosen.append((file, each.weight, digest))
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
