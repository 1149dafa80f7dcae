"""Which pipelines are known, what belongs to them, and what their folders must hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shopgen_django.engines.pictures import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of model and the classes that run it."""

    name: str
    pipelines: Mapping[Task, str]
    core: str
    """Its main network: "unet" or "transformer"."""
    needs: tuple[str, ...]
    outlined: Mapping[Task, str] = field(default_factory=dict)
    """Pipelines that heed a ControlNet; for tasks that are not named there is none."""
    references: bool = False
    """Whether IP-Adapters for it are known here."""
    patch: int = 1
    """Width and height are multiples of the autoencoder's scale times this."""
    size: int = 0
    """Side in pixels that it was trained for, where its configuration does not say so."""
    channels: frozenset[int] = field(default_factory=frozenset)
    """Input channels of a core that does every task; empty: whatever it has."""
    negative: bool = True
    words: int = 77
    """Tokens of a prompt that are heeded."""
    readers: tuple[str, ...] = ("tokenizer",)
    """Tokenizers of the text encoders that read a prompt word by word."""


SD = Family(
    name="Stable Diffusion 1 or 2",
    pipelines={
        "text": "StableDiffusionPipeline", "image": "StableDiffusionImg2ImgPipeline",
        "inpaint": "StableDiffusionInpaintPipeline",
    },
    outlined={"text": "StableDiffusionControlNetPipeline", "image": "StableDiffusionControlNetImg2ImgPipeline"},
    core="unet", needs=("vae", "text_encoder", "tokenizer", "unet", "scheduler"), channels=frozenset({4}),
    references=True,
)
SDXL = Family(
    name="Stable Diffusion XL",
    pipelines={
        "text": "StableDiffusionXLPipeline", "image": "StableDiffusionXLImg2ImgPipeline",
        "inpaint": "StableDiffusionXLInpaintPipeline",
    },
    outlined={"text": "StableDiffusionXLControlNetPipeline", "image": "StableDiffusionXLControlNetImg2ImgPipeline"},
    core="unet",
    needs=("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "scheduler"),
    channels=frozenset({4}), references=True, readers=("tokenizer", "tokenizer_2"),
)
SD3 = Family(
    name="Stable Diffusion 3",
    pipelines={
        "text": "StableDiffusion3Pipeline", "image": "StableDiffusion3Img2ImgPipeline",
        "inpaint": "StableDiffusion3InpaintPipeline",
    },
    core="transformer",
    needs=("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "transformer", "scheduler"),
    patch=2, channels=frozenset({16}), words=256, readers=("tokenizer", "tokenizer_2", "tokenizer_3"),
)
FLUX = Family(
    name="Flux",
    pipelines={"text": "FluxPipeline", "image": "FluxImg2ImgPipeline", "inpaint": "FluxInpaintPipeline"},
    core="transformer",
    needs=("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "transformer", "scheduler"),
    # Its CLIP encoder gives one vector for the whole; the words are read by the other one.
    patch=2, size=1024, negative=False, words=512, readers=("tokenizer_2",),
)
FAMILIES = (SD, SDXL, SD3, FLUX)

INPAINT_CHANNELS = 9
"""Input channels of a UNet that was made for repainting and does nothing else."""

SCHEDULERS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "dpm++": ("DPMSolverMultistepScheduler", {}),
    "dpm++_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "ddim": ("DDIMScheduler", {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "heun": ("HeunDiscreteScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "flow_euler": ("FlowMatchEulerDiscreteScheduler", {}),
}
"""Name in requests -> class of diffusers, and what is set beside the model's own configuration."""


def family_of(kind: str) -> Family | None:
    """The family that a folder's class belongs to."""
    for family in FAMILIES:
        if kind in family.pipelines.values():
            return family
    return None
