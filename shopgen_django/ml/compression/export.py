"""A generator as ONNX, checked against PyTorch on the spot, and the folder that serves it."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shopgen_django.ml import files
from shopgen_django.ml.errors import ConfigError, MissingExtra
from shopgen_django.ml.families.base import Generator
from shopgen_django.ml.folder import to_safetensors
from shopgen_django.ml.sample import ONNX_RUNTIME

from .runtime import CODES, CODES_KEY, LABELS, LATENTS, NETWORK, PICTURES, onnx_session
from .teacher import Model, draw_material, pictures_of

OPSET = 17
TOLERANCE = 1e-4
"""Largest difference from PyTorch of any value of a picture in -1..1."""
CHECKED = 64
BATCHES = (1, 3, 16)


def import_onnx() -> Any:
    """The package onnx.

    Raises:
        MissingExtra: it isn't installed.
    """
    try:
        import onnx
    except ImportError:
        raise MissingExtra(
            "Exporting needs the packages onnx and onnxruntime. Install them: pip install 'shopgen-django[compression]'"
        ) from None
    return onnx


def to_onnx(model: Model) -> bytes:
    """The network with weights, any number of rows, input ``latents`` and ``labels``, output ``pictures``.

    Raises:
        ConfigError: the network can't be exported, or draws its vectors in a way that only PyTorch can.
        MissingExtra: onnx or onnxruntime isn't installed.
    """
    onnx = import_onnx()
    network = model.network
    if type(network).draw is not Generator.draw and type(network).latent_rule is Generator.latent_rule:
        raise ConfigError(f"The family {model.family.name} doesn't say how its random vectors are drawn elsewhere.")
    exportable = network.exportable().eval()
    reasons = []
    for way in (_traced, _captured):
        try:
            data = _plain(onnx, way(exportable, *_example(model)), _codes_sha256(network))
            difference = largest_difference(model, data)
        except MissingExtra:
            raise
        except Exception as error:  # the exporters and the runtime raise dozens of classes
            reasons.append(f"{type(error).__name__}: {str(error)[:200]}")
            continue
        if difference <= TOLERANCE:
            return data
        reasons.append(f"its pictures differ by {difference:.2g}")
    raise ConfigError(f"The family {model.family.name} can't be exported to ONNX ({'; '.join(reasons)}).")


def _example(model: Model) -> tuple[torch.Tensor, torch.Tensor]:
    return draw_material(model, seed=0, purpose="export", start=0, count=2)


def _traced(network: nn.Module, latents: torch.Tensor, labels: torch.Tensor) -> bytes:
    """PyTorch's first exporter: a second where the one that follows it takes half a minute, for the same file."""
    names = (LATENTS, LABELS, PICTURES)
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (latents, labels),
            buffer,  # type: ignore[arg-type]  # any writable file is taken
            dynamo=False,
            opset_version=OPSET,
            input_names=list(names[:2]),
            output_names=[PICTURES],
            dynamic_axes={name: {0: "n"} for name in names},
        )
    return buffer.getvalue()


def _captured(network: nn.Module, latents: torch.Tensor, labels: torch.Tensor) -> bytes:
    """PyTorch's present exporter (needs onnxscript), for networks that the first one fixes to one batch size."""
    rows = {0: torch.export.Dim.DYNAMIC}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (latents, labels),
            dynamo=True,
            dynamic_shapes=(rows, rows),
            input_names=[LATENTS, LABELS],
            output_names=[PICTURES],
            verbose=False,
        )
    assert program is not None
    data: bytes = program.model_proto.SerializeToString()
    return data


def _plain(onnx: Any, data: bytes, codes_sha256: str) -> bytes:
    """Without what exporters leave behind (file names and lines of this machine), with our own entry."""
    proto = onnx.load_model_from_string(data)
    del proto.metadata_props[:]
    for part in (proto, proto.graph, *proto.graph.node, *proto.graph.input, *proto.graph.output):
        part.ClearField("doc_string")
    for node in proto.graph.node:
        if "metadata_props" in node.DESCRIPTOR.fields_by_name:
            del node.metadata_props[:]
    if codes_sha256:
        entry = proto.metadata_props.add()
        entry.key, entry.value = CODES_KEY, codes_sha256
    serialised: bytes = proto.SerializeToString(deterministic=True)
    return serialised


def codes_file(network: Generator) -> bytes:
    """The codes of photos that vectors are blended from, as a safetensors file; empty when there are none."""
    if network.latent_rule()["kind"] != "blend":
        return b""
    buffers = dict(network.named_buffers())
    return to_safetensors({"codes": buffers["codes"].float(), "labels": buffers["code_labels"].long()}, {})


def _codes_sha256(network: Generator) -> str:
    data = codes_file(network)
    return files.sha256_bytes(data) if data else ""


def largest_difference(model: Model, data: bytes) -> float:
    """Largest absolute difference between PyTorch's and onnxruntime's pictures on 64 vectors, in three batch sizes."""
    latents, labels = draw_material(model, seed=0, purpose="export", start=0, count=CHECKED)
    wanted = pictures_of(model.network, latents, labels).numpy()
    session = onnx_session(data)
    names = {entry.name for entry in session.get_inputs()}
    worst = 0.0
    for batch in BATCHES:
        for start in range(0, CHECKED - batch + 1, batch):
            rows = slice(start, start + batch)
            given = {LATENTS: latents[rows].numpy(), LABELS: labels[rows].numpy()}
            made = session.run(None, {name: given[name] for name in names})[0]
            if made.shape != wanted[rows].shape:
                raise ConfigError(f"{batch} rows make an array of shape {made.shape}")
            worst = max(worst, float(abs(made - wanted[rows]).max()))
    return worst


def save_onnx(folder: Path, data: bytes, model: Model, more: Mapping[str, Any]) -> None:
    """Write an ONNX model so that a reader finds a matching pair of network and description at any moment.

    Args:
        folder: an existing folder.
        data: the network.
        model: what it was made from; gives the description and the codes.
        more: further entries of the description.
    """
    network, path = folder / NETWORK, folder / files.CARD
    sha256 = files.sha256_bytes(data)
    codes = codes_file(model.network)
    card = {
        **{k: v for k, v in model.card.items() if k not in ("next_sha256",)},
        **more,
        "runtime": ONNX_RUNTIME,
        "weights": NETWORK,
        "latents": model.network.latent_rule(),
        "sha256": sha256,
        "bytes": len(data),
    }
    temporary = files.write_beside(network, data)
    try:
        if codes:
            # The same teacher has the same codes; another teacher's model is refused by its hash for a moment.
            files.write_bytes(folder / CODES, codes)
        if network.exists() and path.exists():
            files.write_json(path, {**card, "sha256": files.sha256_file(network), "next_sha256": sha256})
        os.replace(temporary, network)
        files.write_json(path, card)
    finally:
        temporary.unlink(missing_ok=True)
