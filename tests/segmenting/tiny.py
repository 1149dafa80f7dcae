"""Folders of segmentation networks of the real classes, tiny; one is taught to find something in a few seconds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from tests.diffusion.tiny import text_config, tokenizer

os.environ.setdefault("HF_HUB_OFFLINE", "1")
SIDE = 64
LABELS = {0: "wall", 1: "floor;flooring", 2: "bag"}


def scene(seed: int, size: tuple[int, int] = (SIDE, SIDE)) -> tuple[Image.Image, np.ndarray]:
    """A wall, a floor below it, and a bright warm bag before them (RGB); and its mask (bool)."""
    rng = np.random.default_rng(seed)
    width, height = size
    image = Image.new("RGB", size, tuple(int(each) for each in rng.integers(60, 130, 3)))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, int(height * 0.7), width, height), fill=tuple(int(each) for each in rng.integers(10, 60, 3)))
    left, top = rng.uniform(0.1, 0.4), rng.uniform(0.1, 0.3)
    right, bottom = left + rng.uniform(0.3, 0.5), top + rng.uniform(0.4, 0.6)
    box = tuple(int(each) for each in (left * width, top * height, right * width, bottom * height))
    draw.rectangle(box, fill=(int(rng.integers(225, 255)), int(rng.integers(180, 220)), int(rng.integers(90, 150))))
    mask = np.zeros((height, width), bool)
    mask[box[1] : box[3] + 1, box[0] : box[2] + 1] = True
    noise = rng.normal(0, 4, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)), mask


def make_segformer(folder: Path, *, taught: bool = False, labels: dict[int, str] | None = None) -> Path:
    import torch
    from transformers import SegformerConfig, SegformerForSemanticSegmentation
    from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

    torch.manual_seed(0)
    names = labels or LABELS
    network = SegformerForSemanticSegmentation(SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[16, 32], patch_sizes=[3, 3],
        strides=[2, 2], num_attention_heads=[1, 2], mlp_ratios=[2, 2], decoder_hidden_size=32,
        id2label=names, label2id={name: number for number, name in names.items()},
    ))  # fmt: skip
    processor = SegformerImageProcessorPil(size={"height": SIDE, "width": SIDE})
    if taught:
        teach(network, processor)
    network.save_pretrained(str(folder))
    processor.save_pretrained(str(folder))
    return folder


def teach(network: Any, processor: Any, steps: int = 40) -> None:
    """Wall, floor and bag on made-up scenes, on one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    network.train()
    for step in range(steps):
        scenes = [scene(1000 + 8 * step + number) for number in range(8)]
        pixels = processor(images=[image for image, _mask in scenes], return_tensors="pt")["pixel_values"]
        floor = np.zeros((SIDE, SIDE), np.int64)
        floor[int(SIDE * 0.7) :] = 1
        wanted = torch.from_numpy(np.stack([np.where(mask, 2, floor) for _image, mask in scenes]))
        loss = network(pixel_values=pixels, labels=wanted).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    torch.set_num_threads(threads)


def make_dpt(folder: Path) -> Path:
    import torch
    from transformers import DPTConfig, DPTForSemanticSegmentation
    from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

    torch.manual_seed(0)
    DPTForSemanticSegmentation(DPTConfig(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=37, image_size=SIDE, patch_size=8,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[16] * 4, fusion_hidden_size=16, is_hybrid=False,
        id2label=LABELS, label2id={name: number for number, name in LABELS.items()},
    )).save_pretrained(str(folder))  # fmt: skip
    DPTImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(str(folder))
    return folder


def make_clipseg(folder: Path) -> Path:
    import torch
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPSegProcessor
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    torch.manual_seed(0)
    vision = {
        "hidden_size": 32, "intermediate_size": 37, "num_attention_heads": 4, "num_hidden_layers": 3, "image_size": 32,
        "patch_size": 8,
    }
    network = CLIPSegForImageSegmentation(CLIPSegConfig(
        text_config=text_config(projection_dim=16).to_dict(), vision_config=vision, projection_dim=16, reduce_dim=16,
        extract_layers=[0, 1, 2], decoder_num_attention_heads=4, decoder_intermediate_size=37, conditional_layer=0,
    ))  # fmt: skip
    with torch.no_grad():  # fresh ones hardly heed the words
        for name, value in network.named_parameters():
            if "film" in name:
                value.normal_(0.0, 1.0)
    network.save_pretrained(str(folder))
    CLIPSegProcessor(ViTImageProcessorPil(size={"height": 32, "width": 32}), tokenizer()).save_pretrained(str(folder))
    return folder


def make_sam(folder: Path) -> Path:
    import torch
    from transformers import (
        SamConfig,
        SamMaskDecoderConfig,
        SamModel,
        SamProcessor,
        SamPromptEncoderConfig,
        SamVisionConfig,
    )
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    torch.manual_seed(0)
    square = {"height": SIDE, "width": SIDE}
    SamModel(SamConfig(
        vision_config=SamVisionConfig(
            hidden_size=16, output_channels=16, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE,
            patch_size=8, mlp_dim=32, window_size=4, global_attn_indexes=[1], num_pos_feats=8,
        ),
        prompt_encoder_config=SamPromptEncoderConfig(
            hidden_size=16, image_size=SIDE, patch_size=8, mask_input_channels=4
        ),
        mask_decoder_config=SamMaskDecoderConfig(
            hidden_size=16, mlp_dim=32, num_hidden_layers=2, num_attention_heads=2, attention_downsample_rate=2,
            iou_head_hidden_dim=16,
        ),
    )).save_pretrained(str(folder))  # fmt: skip
    SamProcessor(SamImageProcessorPil(
        size={"longest_edge": SIDE}, pad_size=square, mask_size={"longest_edge": SIDE}, mask_pad_size=square
    )).save_pretrained(str(folder))  # fmt: skip
    return folder
