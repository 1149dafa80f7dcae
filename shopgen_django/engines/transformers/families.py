"""Which networks that look at pictures are known, and how each is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from shopgen_django.engines.texts import KINDS, TextKind

Way = Literal["caption", "prompt", "chat", "pairs", "labels", "words", "marks"]
"""caption: the picture alone; prompt: one fixed word for each kind; chat: instructions; pairs: picture against text;
and of those that say where things are, labels: of every pixel what it is; words: where what they name is; marks: what a
box and points are on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of network.

    ``prompts``: kind of text -> what it is asked for that ({language} is a code); ``languages``: those that it writes.
    """

    way: Way
    classes: tuple[str, ...]
    kinds: tuple[TextKind, ...]
    languages: tuple[str, ...] = ()
    prompts: Mapping[TextKind, str] = field(default_factory=dict)
    pictures: int = 1


CAPTIONERS = Family(
    way="caption",
    classes=("BlipForConditionalGeneration", "GitForCausalLM", "VisionEncoderDecoderModel"),
    kinds=("alt_text",), languages=("en",),
)
FLORENCE = Family(
    way="prompt", classes=("Florence2ForConditionalGeneration",), kinds=("description", "alt_text"), languages=("en",),
    prompts={"description": "<MORE_DETAILED_CAPTION>", "alt_text": "<CAPTION>"},
)
PALIGEMMA = Family(
    way="prompt", classes=("PaliGemmaForConditionalGeneration",), kinds=("alt_text",),
    prompts={"alt_text": "<image>caption {language}\n"},
)
CHAT = Family(
    way="chat",
    classes=(
        "LlavaForConditionalGeneration", "LlavaNextForConditionalGeneration", "LlavaOnevisionForConditionalGeneration",
        "Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration", "Gemma3ForConditionalGeneration",
        "Mistral3ForConditionalGeneration",
    ),
    kinds=KINDS, pictures=8,
)
PAIRS = Family(
    way="pairs", classes=("CLIPModel", "SiglipModel", "Siglip2Model"), kinds=("tags",), languages=("en",), pictures=8
)
LABELLED = Family(
    way="labels", classes=("SegformerForSemanticSegmentation", "DPTForSemanticSegmentation"), kinds=()
)
WORDED = Family(way="words", classes=("CLIPSegForImageSegmentation",), kinds=())
MARKED = Family(way="marks", classes=("SamModel",), kinds=())
FAMILIES = (CAPTIONERS, FLORENCE, PALIGEMMA, CHAT, PAIRS, LABELLED, WORDED, MARKED)
ELSEWHERE = ("Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration", "Qwen3VLForConditionalGeneration")
"""Networks whose processors can't be loaded without torchvision: for a server."""
WITH_CODE = ("BiRefNet", "BriaRMBG", "RMBG", "BEN_Base", "ISNet")
"""Cut-out networks that this library has no class for: their folders bring code of their own, which is never run."""


def family_of(architecture: str) -> Family | None:
    """The family that a class belongs to."""
    return next((family for family in FAMILIES if architecture in family.classes), None)
