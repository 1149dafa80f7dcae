"""Latents and texts, computed once: after that neither autoencoder nor text encoders are needed to train.

They lie in ``material.safetensors`` of the output folder, bound to photos, base and options by a digest, so that a run
that goes on loads neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from shopgen_django.engines.diffusers.loading import load_part
from shopgen_django.engines.diffusers.memory import give_back
from shopgen_django.engines.diffusers.running import words_cut
from shopgen_django.ml import files
from shopgen_django.ml.errors import CheckpointError
from shopgen_django.ml.folder import from_safetensors, to_safetensors
from shopgen_django.ml.seeding import generator, normal

from .base import Base
from .config import LoraConfig
from .photos import Photos, square, time_ids

if TYPE_CHECKING:
    from torch import Tensor

FILE = "material.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What the network sees, on the processor.

    Attributes:
        mean, std: ``(n, 4, h, w)`` of the photos' latents, scaled as the network wants them.
        texts: words -> ``(tokens, width)``.
        pooled: words -> ``(width,)`` of the second text encoder; empty where there is none.
        negative: prompt of samples -> embedding and pooled embedding of what guidance leads away from.
        times: ``(n, 6)`` sizes that Stable Diffusion XL is told; ``(n, 0)`` elsewhere.
        notes: what a person should know about the words.
    """

    mean: Tensor
    std: Tensor
    texts: Mapping[str, Tensor]
    pooled: Mapping[str, Tensor]
    negative: tuple[Tensor, Tensor | None]
    times: Tensor
    notes: tuple[str, ...] = ()

    def latents(self, index: list[int], seed: int, *place: int | str) -> Tensor:
        """``(len(index), 4, h, w)`` drawn from the autoencoder's belief about these photos, a function of the rest."""
        noise = normal(generator(seed, "latents", *place), len(index), *self.mean.shape[1:])
        return self.mean[index] + self.std[index] * noise


def prepare(
    diffusers: Any, base: Base, photos: Photos, config: LoraConfig, *, size: int, device: str,
    check: Callable[[], None], on_progress: Callable[[int, int], None] | None = None,
) -> Material:
    """The material from the output folder, or made now and kept there. ``check`` is called at every photo.

    Raises:
        ModelCorrupt, OutOfMemory: as the engine does when it loads a part.
    """
    path = Path(config.output) / FILE
    words = _words(photos, config)
    digest = files.sha256_bytes(files.canonical_json(
        {"photos": photos.digest, "base": base.sha256, "size": size, "words": words, "format": 1}
    ))  # fmt: skip
    kept = _kept(path, digest)
    if kept is not None:
        return _material(*kept)
    texts, notes = _read_texts(diffusers, base, words, device, check)
    tensors = {**texts, **_encode(diffusers, base, photos, config, size, device, check, on_progress)}
    values = {"digest": digest, "words": words, "notes": notes}
    data = to_safetensors(tensors, values)
    files.write_bytes(path, data)
    return _material(*from_safetensors(data))


def _words(photos: Photos, config: LoraConfig) -> list[str]:
    plain = [photo.plain for photo in photos.photos] if config.prior else []
    return sorted({*(photo.caption for photo in photos.photos), *plain, *config.prompts})


def _kept(path: Path, digest: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    if not path.is_file():
        return None
    try:
        tensors, values = from_safetensors(path.read_bytes())
    except CheckpointError:  # cut off: it is made anew
        return None
    return (tensors, values) if values.get("digest") == digest else None


def _material(tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> Material:
    words = values["words"]
    pooled = {text: tensors[f"pooled/{n}"] for n, text in enumerate(words) if f"pooled/{n}" in tensors}
    return Material(
        mean=tensors["mean"], std=tensors["std"], times=tensors["times"], pooled=pooled,
        texts={text: tensors[f"text/{n}"] for n, text in enumerate(words)},
        negative=(tensors["negative"], tensors.get("negative_pooled")), notes=tuple(values["notes"]),
    )


def _read_texts(
    diffusers: Any, base: Base, words: list[str], device: str, check: Callable[[], None]
) -> tuple[dict[str, Tensor], list[str]]:
    """The embeddings that the pipeline itself makes of the words, in float32; the encoders are let go afterwards."""
    import torch

    parts = {}
    for name in ("tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2"):
        component = base.folder.component(name)
        if component is not None:
            check()
            part = load_part(diffusers, component, "float32")
            parts[name] = part.to(device) if name.startswith("text_encoder") else part
    pipeline = bare_pipeline(diffusers, base, **parts)
    tensors: dict[str, Tensor] = {}
    with torch.no_grad():
        for number, text in enumerate(words):
            check()
            found = pipeline.encode_prompt(
                prompt=text, device=device, num_images_per_prompt=1, do_classifier_free_guidance=number == 0
            )
            tensors[f"text/{number}"] = found[0][0]
            if base.xl:
                tensors[f"pooled/{number}"] = found[2][0]
            if number == 0:
                tensors["negative"] = found[1][0]
                if base.xl:
                    tensors["negative_pooled"] = found[3][0]
    cut = [(text, words_cut(SimpleNamespace(**parts), text, base.folder.family.words)) for text in words]
    notes = [f"{text[:60]!r} is longer than the model reads; it does not see {left!r}." for text, left in cut if left]
    tensors = {name: value.float().cpu() for name, value in tensors.items()}
    del pipeline, parts, part
    give_back(device)
    return tensors, notes[:5]


def _encode(
    diffusers: Any, base: Base, photos: Photos, config: LoraConfig, size: int, device: str, check: Callable[[], None],
    on_progress: Callable[[int, int], None] | None,
) -> dict[str, Tensor]:
    """Latents in float32: half precision is where this autoencoder is known to overflow."""
    import torch

    vae = load_vae(diffusers, base).to(device)
    scale, shift = float(vae.config.scaling_factor), float(getattr(vae.config, "shift_factor", None) or 0.0)
    means, stds, times = [], [], []
    with torch.no_grad():
        for done, photo in enumerate(photos.photos, start=1):
            check()
            pixels = torch.from_numpy(square(photo, config, size)).to(device).float().div(127.5).sub(1.0)[None]
            belief = vae.encode(pixels).latent_dist
            means.append((belief.mean - shift) * scale)
            stds.append(belief.std * scale)
            times.append(time_ids(photo, config, size) if base.xl else ())
            if on_progress is not None:
                on_progress(done, len(photos.photos))
    told = torch.tensor(times, dtype=torch.float32).reshape(len(times), -1)
    found = {"mean": torch.cat(means).cpu(), "std": torch.cat(stds).cpu(), "times": told}
    del vae, belief, means, stds
    give_back(device)
    return found


def load_vae(diffusers: Any, base: Base) -> Any:
    """The base's autoencoder, on the processor, in float32."""
    component = base.folder.component("vae")
    assert component is not None  # the folder was read: it has one
    return load_part(diffusers, component, "float32")


def bare_pipeline(diffusers: Any, base: Base, **parts: Any) -> Any:
    """The base's pipeline with these parts and none of the others."""
    import inspect

    cls = getattr(diffusers, base.folder.family.pipelines["text"])
    takes = inspect.signature(cls.__init__).parameters
    names = ("vae", "unet", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "safety_checker",
             "feature_extractor", "image_encoder")  # fmt: skip
    chosen: dict[str, Any] = {name: parts.get(name) for name in names if name in takes}
    for name in ("requires_safety_checker", "add_watermarker"):
        if name in takes:
            chosen[name] = False
    scheduler = parts.get("scheduler") or load_scheduler(diffusers, base)
    pipeline = cls(scheduler=scheduler, **chosen)
    # What the folder says about the pipeline itself, as loading it from there would set it.
    index = files.read_json(base.folder.path / "model_index.json")
    if "force_zeros_for_empty_prompt" in takes:
        pipeline.register_to_config(force_zeros_for_empty_prompt=index.get("force_zeros_for_empty_prompt", True))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def load_scheduler(diffusers: Any, base: Base) -> Any:
    """The base's own scheduler, fresh: they count steps in themselves."""
    component = base.folder.component("scheduler")
    assert component is not None
    return load_part(diffusers, component, "float32")
