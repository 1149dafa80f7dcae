"""Sheets of samples: the same prompts and seeds every time, without the LoRA above and with it below."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shopgen_django.engines.diffusers.memory import give_back
from shopgen_django.engines.diffusers.running import to_picture
from shopgen_django.engines.pictures import seed_of
from shopgen_django.ml import files
from shopgen_django.ml.folder import REALS
from shopgen_django.ml.pictures import png_bytes, sheet, to_pillow

from .base import Base
from .config import LoraConfig
from .learner import Learner
from .material import Material, bare_pipeline, load_scheduler, load_vae
from .photos import Photos, square

if TYPE_CHECKING:
    from PIL import Image

WITHOUT = "without.png"
"""The row of the base alone, made once."""
SHOWN_SIDE = 384
"""Longest side of a picture on a sheet, in pixels."""
REALS_SHOWN = 16


class Samples:
    """Draws the sheets of one run."""

    def __init__(
        self, diffusers: Any, base: Base, learner: Learner, config: LoraConfig, *, size: int,
        check: Callable[[], None],
    ) -> None:
        self._diffusers, self._base, self._learner, self._config = diffusers, base, learner, config
        self._size, self._check = size, check
        self._without = Path(config.output) / WITHOUT

    def draw(self) -> bytes:
        """The sheet as PNG. Raises BadOutput when the network makes no picture any more."""
        upper = self._base_row()
        lower = self._row()
        together = sheet([*upper, *lower], columns=len(lower))
        return png_bytes(together)

    def _base_row(self) -> list[Image.Image]:
        """The base's own pictures, kept in the folder: they stay what they are."""
        from PIL import Image

        count, gap = self._config.samples, 2
        if self._without.is_file():
            with Image.open(self._without) as kept:
                side, rest = divmod(kept.width - gap, count)
                whole = kept.convert("RGB")
            if not rest and side > gap and whole.height == side + gap:
                return [whole.crop((gap + n * side, gap, (n + 1) * side, side)) for n in range(count)]
        unet = self._learner.unet
        unet.disable_adapters()
        try:
            row = self._row()
        finally:
            unet.enable_adapters()
        files.write_bytes(self._without, png_bytes(sheet(row, columns=count, gap=gap)))
        return row

    def _row(self) -> list[Image.Image]:
        prompts = self._config.prompts
        made = []
        for number in range(self._config.samples):
            picture = picture_of(
                self._diffusers, self._base, self._learner.unet, self._learner.material,
                prompt=prompts[number % len(prompts)], seed=seed_of(self._config.seed, number), size=self._size,
                steps=self._config.sample_steps, guidance=self._config.guidance, check=self._check,
            )
            picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
            made.append(picture)
        return made


def picture_of(
    diffusers: Any, base: Base, unet: Any, material: Material, *, prompt: str, seed: int, size: int, steps: int,
    guidance: float, check: Callable[[], None] = lambda: None,
) -> Image.Image:
    """One RGB picture of a prompt whose embedding is in the material, as the engine would make it.

    The autoencoder is loaded for it and let go: it need not lie beside what trains.
    """
    import torch

    # Without one the pipeline works where its only network lies, and must be told the scale.
    pipeline = bare_pipeline(diffusers, base, unet=unet, scheduler=load_scheduler(diffusers, base))
    pipeline.vae_scale_factor = base.folder.multiple

    def step(_pipeline: Any, _index: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
        check()
        return values

    device, dtype = unet.device, torch.bfloat16 if _half(unet) else torch.float32
    negative, negative_pooled = material.negative
    words = {"prompt_embeds": material.texts[prompt], "negative_prompt_embeds": negative}
    if base.xl:
        assert negative_pooled is not None
        words |= {"pooled_prompt_embeds": material.pooled[prompt], "negative_pooled_prompt_embeds": negative_pooled}
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=dtype is torch.bfloat16):
        latents = pipeline(
            **{name: value[None].to(device=device, dtype=dtype) for name, value in words.items()}, height=size,
            width=size, num_inference_steps=steps, guidance_scale=guidance, output_type="latent",
            generator=torch.Generator("cpu").manual_seed(seed), callback_on_step_end=step,
        ).images
    vae = load_vae(diffusers, base).to(device)
    with torch.no_grad():
        shift = float(getattr(vae.config, "shift_factor", None) or 0.0)
        values = vae.decode(latents.float() / vae.config.scaling_factor + shift, return_dict=False)[0]
        pixels = (values * 0.5 + 0.5).clamp(0, 1)[0].permute(1, 2, 0).cpu().numpy()
    del pipeline, vae
    give_back(str(device))
    return to_picture(pixels, dtype=str(dtype).removeprefix("torch."))


def save_reals(photos: Photos, config: LoraConfig, size: int) -> None:
    """``reals.png``: photos as the network sees them, those held out last."""
    chosen = [to_pillow(square(photo, config, size)) for photo in photos.photos[-REALS_SHOWN:]]
    for picture in chosen:
        picture.thumbnail((SHOWN_SIDE // 2, SHOWN_SIDE // 2))
    files.write_bytes(Path(config.output) / REALS, png_bytes(sheet(chosen)))


def _half(unet: Any) -> bool:
    """Whether the frozen weights are of half precision (the LoRA's own never are)."""
    return any(value.dtype.itemsize == 2 for value in unet.parameters())
