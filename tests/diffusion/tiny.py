"""Model folders of the real classes, tiny and untrained: what they make is noise, but every step is the real one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
START, END = "<|startoftext|>", "<|endoftext|>"


def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The 256 byte signs of a byte-level tokenizer, each alone and at a word's end, and a few merges."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    signs = [chr(byte) for byte in plain] + [chr(256 + number) for number in range(len(others))]
    merges = [("r", "e"), ("re", "d</w>"), ("s", "h")]
    words = [*signs, *(f"{sign}</w>" for sign in signs), *("".join(pair) for pair in merges), START, END]
    return {word: number for number, word in enumerate(words)}, merges


def tokenizer() -> Any:
    from transformers import CLIPTokenizer

    vocab, merges = vocabulary()
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)


def text_config(**changes: Any) -> Any:
    from transformers import CLIPTextConfig

    vocab, _merges = vocabulary()
    return CLIPTextConfig(**{
        "vocab_size": len(vocab), "hidden_size": 32, "intermediate_size": 37, "num_attention_heads": 4,
        "num_hidden_layers": 2, "max_position_embeddings": 77, "bos_token_id": vocab[START],
        "eos_token_id": vocab[END], "pad_token_id": vocab[END], **changes,
    })  # fmt: skip


def unet(**changes: Any) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(**{
        "block_out_channels": (32, 64), "layers_per_block": 1, "sample_size": 8, "in_channels": 4, "out_channels": 4,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "cross_attention_dim": 32,
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), "attention_head_dim": 8, "norm_num_groups": 8,
        **changes,
    })  # fmt: skip


def vae(**changes: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(**{
        "block_out_channels": (16, 16, 32, 32), "in_channels": 3, "out_channels": 3, "latent_channels": 4,
        "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
        "norm_num_groups": 8, "layers_per_block": 1, "sample_size": 64, **changes,
    })  # fmt: skip


def scheduler() -> Any:
    from diffusers import PNDMScheduler

    return PNDMScheduler(
        skip_prk_steps=True, steps_offset=1, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
    )


def make_sd(folder: Path, *, in_channels: int = 4, checker: bool = False) -> Path:
    """A Stable Diffusion 1 folder, 5 MB; ``in_channels`` 9: one for repainting."""
    import torch
    from diffusers import StableDiffusionInpaintPipeline, StableDiffusionPipeline
    from transformers import CLIPTextModel

    torch.manual_seed(0)
    cls = StableDiffusionPipeline if in_channels == 4 else StableDiffusionInpaintPipeline
    guard = safety_checker() if checker else (None, None)
    cls(
        vae=vae(), text_encoder=CLIPTextModel(text_config()), tokenizer=tokenizer(),
        unet=unet(in_channels=in_channels), scheduler=scheduler(), safety_checker=guard[0],
        feature_extractor=guard[1], requires_safety_checker=checker,
    ).save_pretrained(str(folder))
    return folder


def safety_checker() -> tuple[Any, Any]:
    """One that takes out every picture: its thresholds lie under anything that a cosine can be."""
    import torch
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    vision = {
        "hidden_size": 32, "intermediate_size": 37, "num_attention_heads": 4, "num_hidden_layers": 1,
        "image_size": 32, "patch_size": 8, "projection_dim": 16,
    }
    guard = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=16))
    with torch.no_grad():
        guard.concept_embeds_weights.fill_(-2.0)
        guard.special_care_embeds_weights.fill_(2.0)
    size = {"height": 32, "width": 32}
    return guard, CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size)


def make_sdxl(folder: Path) -> Path:
    """A Stable Diffusion XL folder, 7 MB."""
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(0)
    config = text_config(hidden_act="gelu", projection_dim=32)
    StableDiffusionXLPipeline(
        vae=vae(), text_encoder=CLIPTextModel(config), text_encoder_2=CLIPTextModelWithProjection(config),
        tokenizer=tokenizer(), tokenizer_2=tokenizer(),
        unet=unet(
            addition_embed_type="text_time", addition_time_embed_dim=8, transformer_layers_per_block=(1, 1),
            projection_class_embeddings_input_dim=6 * 8 + 32, cross_attention_dim=64, use_linear_projection=True,
        ),
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        add_watermarker=False,
    ).save_pretrained(str(folder))
    return folder


def t5() -> tuple[Any, Any]:
    """A text encoder of the T5 kind and its tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=64, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    signs = [(sign, -3.0) for sign in "▁abcdefghijklmnopqrstuvwxyz0123456789.,-"]
    words = Tokenizer(models.Unigram([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *signs], unk_id=2))
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return T5EncoderModel(config), PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )


def make_sd3(folder: Path) -> Path:
    """A Stable Diffusion 3 folder, 2 MB."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
    from transformers import CLIPTextModelWithProjection

    torch.manual_seed(0)
    reader, words = t5()
    config = text_config(hidden_act="gelu", projection_dim=32)
    StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=8, patch_size=2, in_channels=16, out_channels=16, num_layers=2, attention_head_dim=8,
            num_attention_heads=4, caption_projection_dim=32, joint_attention_dim=32, pooled_projection_dim=64,
            pos_embed_max_size=32,
        ),
        vae=vae(latent_channels=16, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06),
        text_encoder=CLIPTextModelWithProjection(config), text_encoder_2=CLIPTextModelWithProjection(config),
        text_encoder_3=reader, tokenizer=tokenizer(), tokenizer_2=tokenizer(), tokenizer_3=words,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    ).save_pretrained(str(folder))
    return folder


def make_flux(folder: Path) -> Path:
    """A Flux folder, 2 MB."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTextModel

    torch.manual_seed(0)
    reader, words = t5()
    FluxPipeline(
        transformer=FluxTransformer2DModel(
            patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8),
            guidance_embeds=True,
        ),
        vae=vae(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06),
        text_encoder=CLIPTextModel(text_config()), text_encoder_2=reader, tokenizer=tokenizer(), tokenizer_2=words,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
    ).save_pretrained(str(folder))
    return folder


def make_controlnet(folder: Path, model: Path) -> Path:
    """A ControlNet for the folder's unet. Fresh ones add nothing (their last layers are zero), so it is shaken."""
    import torch
    from diffusers import ControlNetModel, UNet2DConditionModel

    torch.manual_seed(0)
    network = ControlNetModel.from_unet(
        UNet2DConditionModel.from_pretrained(str(model / "unet"), local_files_only=True),
        conditioning_embedding_out_channels=(16, 16, 32, 32),
    )
    with torch.no_grad():
        for name, value in network.named_parameters():
            if "controlnet_" in name or "conv_out" in name:
                value.normal_(0.0, 0.3)
    network.save_pretrained(str(folder))
    return folder


def make_adapter(folder: Path, model: Path, *, plus: bool = False) -> Path:
    """An IP-Adapter for the folder's unet, with its image encoder beside it, 200 KB; random, so it does a lot."""
    import torch
    from diffusers import UNet2DConditionModel
    from safetensors.torch import save_file
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    network = UNet2DConditionModel.from_pretrained(str(model / "unet"), local_files_only=True)
    words = int(network.config.cross_attention_dim)
    encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(
        hidden_size=32, intermediate_size=37, num_attention_heads=4, num_hidden_layers=2, image_size=32, patch_size=8,
        projection_dim=16,
    ))  # fmt: skip
    encoder.save_pretrained(str(folder / "image_encoder"))
    tensors = {}
    places = [name for name in network.attn_processors if name.endswith("attn2.processor")]
    for number, name in enumerate(places):
        width = dict(network.named_modules())[name.removesuffix(".processor")].to_k.weight.shape[0]
        for which in ("to_k_ip", "to_v_ip"):
            tensors[f"ip_adapter.{2 * number + 1}.{which}.weight"] = torch.randn(width, words)
    projection = resampler(words) if plus else {
        "proj.weight": torch.randn(4 * words, 16), "proj.bias": torch.zeros(4 * words),
        "norm.weight": torch.ones(words), "norm.bias": torch.zeros(words),
    }
    tensors |= {f"image_proj.{name}": value for name, value in projection.items()}
    save_file(tensors, str(folder / "ip-adapter.safetensors"))
    return folder


def resampler(words: int) -> dict[str, Any]:
    """The projection of an IP-Adapter Plus, of four layers, under the names that such files have."""
    import torch

    inner = 64
    found = {
        "latents": torch.randn(1, 4, inner), "proj_in.weight": torch.randn(inner, 32) / 6,
        "proj_in.bias": torch.zeros(inner), "proj_out.weight": torch.randn(words, inner) / 8,
        "proj_out.bias": torch.zeros(words), "norm_out.weight": torch.ones(words), "norm_out.bias": torch.zeros(words),
    }
    for layer in range(4):
        name = f"layers.{layer}"
        found |= {
            f"{name}.0.to_q.weight": torch.randn(inner, inner) / 8,
            f"{name}.0.to_kv.weight": torch.randn(2 * inner, inner) / 8,
            f"{name}.0.to_out.weight": torch.randn(inner, inner) / 8,
            f"{name}.1.1.weight": torch.randn(4 * inner, inner) / 8,
            f"{name}.1.3.weight": torch.randn(inner, 4 * inner) / 16,
        }
        for norm in ("0.norm1", "0.norm2", "1.0"):
            found |= {f"{name}.{norm}.weight": torch.ones(inner), f"{name}.{norm}.bias": torch.zeros(inner)}
    return found


def make_lora(folder: Path, model: Path, *, seed: int = 1) -> Path:
    """A LoRA for the folder's unet that changes what it makes by a lot."""
    import torch
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    network = UNet2DConditionModel.from_pretrained(str(model / "unet"), local_files_only=True)
    network.add_adapter(LoraConfig(r=4, target_modules=["to_k", "to_q", "to_v", "to_out.0"]))
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if "lora_" in name:
                value.normal_(0.0, 0.5)
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(network))
    StableDiffusionPipeline.save_lora_weights(str(folder), unet_lora_layers=layers)
    return folder / "pytorch_lora_weights.safetensors"
