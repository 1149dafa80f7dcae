"""Folders of real classes that look at pictures, tiny and untrained: what they write is noise, every step is real."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.diffusion.tiny import text_config, tokenizer

os.environ.setdefault("HF_HUB_OFFLINE", "1")
VISION = {
    "hidden_size": 32, "intermediate_size": 37, "num_attention_heads": 4, "num_hidden_layers": 2, "image_size": 32,
    "patch_size": 8,
}
TEXT = {"hidden_size": 32, "intermediate_size": 37, "num_attention_heads": 4, "num_hidden_layers": 2}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS),
         "red", "blue", "shirt", "dress", "on", "the", "table"]  # fmt: skip
JSON_SIGNS = [*"▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,-:{}\"[]'?!()\n“”|<>_"]


def bert_tokenizer(folder: Path) -> Any:
    from transformers import BertTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "vocab.txt"
    path.write_text("\n".join(dict.fromkeys(WORDS)), encoding="utf-8")
    return BertTokenizer(str(path), model_max_length=64)


def clip_pictures(kind: str = "CLIPImageProcessor") -> Any:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    return CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def make_blip(folder: Path) -> Path:
    import torch
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipProcessor
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    torch.manual_seed(0)
    words = bert_tokenizer(folder)
    text = {**TEXT, "vocab_size": len(words), "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0,
            "sep_token_id": 3, "max_position_embeddings": 64, "encoder_hidden_size": 32}  # fmt: skip
    BlipForConditionalGeneration(
        BlipConfig(text_config=text, vision_config=VISION, projection_dim=16)
    ).save_pretrained(str(folder))
    BlipProcessor(BlipImageProcessorPil(size={"height": 32, "width": 32}), words).save_pretrained(str(folder))
    return folder


def make_git(folder: Path) -> Path:
    import torch
    from transformers import GitConfig, GitForCausalLM, GitProcessor

    torch.manual_seed(0)
    words = bert_tokenizer(folder)
    config = GitConfig(
        vision_config=VISION, **TEXT, vocab_size=len(words), bos_token_id=2, eos_token_id=3, pad_token_id=0,
        max_position_embeddings=64,
    )
    GitForCausalLM(config).save_pretrained(str(folder))
    GitProcessor(clip_pictures(), words).save_pretrained(str(folder))
    return folder


def make_vit_gpt2(folder: Path) -> Path:
    import torch
    from transformers import (
        GPT2Config,
        VisionEncoderDecoderConfig,
        VisionEncoderDecoderModel,
        ViTConfig,
    )
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    torch.manual_seed(0)
    words = bert_tokenizer(folder)
    decoder = GPT2Config(
        vocab_size=len(words), n_positions=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=2, eos_token_id=3,
        add_cross_attention=True, is_decoder=True,
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(**VISION), decoder)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 2, 0, 3
    model = VisionEncoderDecoderModel(config)
    model.generation_config.decoder_start_token_id, model.generation_config.pad_token_id = 2, 0
    model.save_pretrained(str(folder))
    words.save_pretrained(str(folder))
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(str(folder))
    return folder


def letters() -> Any:
    """A tokenizer of single signs that can write JSON."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    signs = [(sign, -3.0) for sign in JSON_SIGNS]
    made = Tokenizer(models.Unigram([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("<s>", 0.0), *signs], unk_id=2))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", bos_token="<s>",
        additional_special_tokens=["<image>"], model_max_length=4096,
    )


CHAT = (
    "{% for m in messages %}{{ m['role'] }}:{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def make_llava(folder: Path, *, template: bool = True) -> Path:
    import torch
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    torch.manual_seed(0)
    words = letters()
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION, projection_dim=16),
        text_config=LlamaConfig(**TEXT, num_key_value_heads=4, vocab_size=len(words), max_position_embeddings=4096,
                                bos_token_id=3, eos_token_id=1, pad_token_id=0),
        image_token_index=words.convert_tokens_to_ids("<image>"), vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )  # fmt: skip
    LlavaForConditionalGeneration(config).save_pretrained(str(folder))
    LlavaProcessor(
        clip_pictures(), words, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=CHAT if template else None,
    ).save_pretrained(str(folder))
    return folder


def make_clip(folder: Path) -> Path:
    import torch
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor

    torch.manual_seed(0)
    config = CLIPConfig(text_config=text_config().to_dict(), vision_config=VISION, projection_dim=16)
    CLIPModel(config).save_pretrained(str(folder))
    CLIPProcessor(clip_pictures(), tokenizer()).save_pretrained(str(folder))
    return folder


def make_siglip(folder: Path) -> Path:
    import torch
    from transformers import SiglipConfig, SiglipModel, SiglipProcessor
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    torch.manual_seed(0)
    words = letters()
    config = SiglipConfig(
        text_config={**TEXT, "vocab_size": len(words), "max_position_embeddings": 64, "bos_token_id": 3,
                     "eos_token_id": 1, "pad_token_id": 0, "projection_size": 32},
        vision_config=VISION,
    )  # fmt: skip
    SiglipModel(config).save_pretrained(str(folder))
    words.model_max_length = 64
    SiglipProcessor(SiglipImageProcessorPil(size={"height": 32, "width": 32}), words).save_pretrained(str(folder))
    return folder


def teach(folder: Path, image: Any, asked: str, answer: str) -> None:
    """Train a folder's model until it answers this very question so (about a hundred steps, four seconds)."""
    import torch
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    torch.set_num_threads(1)  # two on matrices this small wait for each other, beside other tests for minutes
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration.from_pretrained(str(folder))
    processor = AutoProcessor.from_pretrained(str(folder))
    turn = {"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": asked}]}
    inputs = processor.apply_chat_template(
        [turn], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    said = processor.tokenizer(f"{answer}</s>", add_special_tokens=False, return_tensors="pt").input_ids
    tokens = torch.cat([inputs["input_ids"], said], 1)
    labels = tokens.clone()
    labels[:, : inputs["input_ids"].shape[1]] = -100
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _step in range(300):
        loss = model(
            input_ids=tokens, attention_mask=torch.ones_like(tokens), pixel_values=inputs["pixel_values"], labels=labels
        ).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        if loss.item() < 0.005:
            break
    assert loss.item() < 0.05, "the tiny model did not learn its answer"
    model.save_pretrained(str(folder))
