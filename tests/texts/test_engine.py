"""The engines over the transformers library, with tiny models of the real classes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from shopgen_django.engines import errors
from shopgen_django.engines.diffusers.manifest import write_manifest
from shopgen_django.engines.transformers import Transformers, ZeroShotTags
from tests.texts import tiny

from .conftest import picture, request


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / "model"))


def changed(folder: Path, name: str, **values: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return folder


def test_a_model_that_follows_instructions_writes_what_it_was_taught(llava: Path) -> None:
    engine = Transformers(MODEL=llava)
    described = engine.describe()
    assert described.kinds == ("title", "description", "tags", "alt_text") and described.heeds_instructions
    shares: list[float] = []
    made = engine.write(request(), on_step=shares.append)
    assert made.texts == {"title": "Red shirt", "alt_text": "A red shirt on a table"}
    assert engine.write(request()).texts == made.texts, "greedy decoding repeats"
    assert shares == sorted(shares) and 0 < shares[-1] <= 1
    assert len(made.facts["model_sha256"]) == 64 and "transformers" in made.facts["versions"]
    engine.free()


def test_an_answer_that_is_no_json_is_asked_for_once_more_and_then_an_error(llava: Path) -> None:
    with pytest.raises(errors.BadOutput, match=r"JSON|has no text"):
        Transformers(MODEL=llava).write(request(kinds=("description",), title="never seen"))


@pytest.mark.parametrize("kind", ["git", "vit_gpt2"])
def test_captioners_write_a_text_alternative(tmp_path: Path, kind: str) -> None:
    engine = Transformers(MODEL=getattr(tiny, f"make_{kind}")(tmp_path / kind))
    assert engine.describe().kinds == ("alt_text",) and engine.describe().languages == ("en",)
    made = engine.write(request(kinds=("alt_text",)))
    assert made.texts["alt_text"]
    engine.free()


def test_cancelling_stops_at_the_next_word_and_the_next_run_is_whole(blip: Path) -> None:
    engine = Transformers(MODEL=blip)
    whole = engine.write(request(kinds=("alt_text",))).texts
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        engine.write(request(kinds=("alt_text",)), check=check)
    assert calls == 3
    assert engine.write(request(kinds=("alt_text",))).texts == whole


def test_tags_are_those_that_fit_better_than_no_tag(clip: Path) -> None:
    engine = ZeroShotTags(MODEL=clip, MINIMUM=0.0)
    asked = request(kinds=("tags",), tags=("red shirt", "blue dress", "table"), max_tags=2)
    made = engine.write(asked)
    chosen = made.texts["tags"].split("\n")
    assert len(chosen) == 2 and set(chosen) <= {"red shirt", "blue dress", "table"}
    assert made.facts["scores"].startswith(f"{chosen[0]} ")
    assert engine.write(asked).texts == made.texts
    with pytest.raises(errors.BadOutput, match="nearest is"):
        ZeroShotTags(MODEL=clip, MINIMUM=1.01).write(asked)
    with pytest.raises(errors.BadRequest, match="Write some"):
        engine.write(request(kinds=("tags",)))


def test_scores_agree_with_the_networks_own_comparison(clip: Path) -> None:
    """Against logits computed by the library itself: the same order, for one picture."""
    import torch
    from transformers import CLIPModel, CLIPProcessor

    words = ["a photo of red shirt", "a photo of blue dress", "a photo of table"]
    model, processor = CLIPModel.from_pretrained(str(clip)), CLIPProcessor.from_pretrained(str(clip))
    with torch.inference_mode():
        own = model(**processor(text=words, images=picture(), return_tensors="pt", padding=True)).logits_per_image[0]
    engine = ZeroShotTags(MODEL=clip, MINIMUM=0.0)
    made = engine.write(request(kinds=("tags",), tags=("red shirt", "blue dress", "table"), max_tags=3))
    ranked = [f"a photo of {tag}" for tag in made.texts["tags"].split("\n")]
    assert ranked == [words[int(index)] for index in own.argsort(descending=True)]


def test_siglip_chooses_as_well(tmp_path: Path) -> None:
    engine = ZeroShotTags(MODEL=tiny.make_siglip(tmp_path / "siglip"), MINIMUM=0.0)
    assert engine.write(request(kinds=("tags",), tags=("a", "b"), images=(picture(), picture()))).texts["tags"]


def test_nothing_configured_and_missing_folders_say_what_to_do(tmp_path: Path) -> None:
    for engine in (Transformers(), ZeroShotTags()):
        with pytest.raises(errors.ModelMissing, match="No model is configured"):
            engine.describe()
        assert engine.check() == [] and engine.identity() == "no model"
    with pytest.raises(errors.ModelMissing, match="no model folder"):
        Transformers(MODEL=tmp_path / "gone").describe()
    with pytest.raises(ImproperlyConfigured, match="no options TEMPERATURE"):
        Transformers(TEMPERATURE=1)


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def lacking(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors.pop(next(name for name in tensors if "vision" in name))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def nan(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = {name: tensor * float("nan") for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(("damage", "error", "told"), [
    (pickled, errors.UnsafeFile, "pickle"),
    (cut, errors.ModelCorrupt, "cut or has grown"),
    (lacking, errors.ModelCorrupt, "tensors are missing"),
    (nan, errors.BadOutput, "no numbers"),
    (lambda folder: changed(folder, "config.json", auto_map={"AutoModel": "evil.Model"}), errors.UnsafeFile, "code"),
    (lambda folder: changed(folder, "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", None]}),
     errors.UnsafeFile, "code"),
    (lambda folder: changed(folder, "config.json", architectures=["LlamaForCausalLM"]), errors.WrongKind, "Known are"),
    (lambda folder: changed(folder, "config.json", architectures=["Qwen2VLForConditionalGeneration"]),
     errors.WrongKind, "torchvision"),
    (lambda folder: (folder / "config.json").write_text("{"), errors.ModelCorrupt, "JSON"),
])  # fmt: skip
def test_a_damaged_folder_is_a_named_error(
    blip: Path, tmp_path: Path, damage: Callable[[Path], Any], error: type[Exception], told: str
) -> None:
    folder = copied(blip, tmp_path)
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    damage(folder)
    with pytest.raises(error, match=told):
        Transformers(MODEL=folder).write(request(kinds=("alt_text",)))
    assert not (tmp_path / "ran").exists()


def test_a_changed_byte_and_a_licence_are_noticed(blip: Path, tmp_path: Path, settings: Any) -> None:
    folder = copied(blip, tmp_path)
    write_manifest(folder, licence="CC-BY-NC-4.0", commercial=False, source="https://example.org")
    with pytest.raises(errors.LicenceRefused, match="CC-BY-NC"):
        Transformers(MODEL=folder).describe()
    settings.SHOPGEN = {**settings.SHOPGEN, "ALLOW_NONCOMMERCIAL_MODELS": True}
    assert Transformers(MODEL=folder).describe().licence == "CC-BY-NC-4.0"
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 0x40
    path.write_bytes(bytes(content))
    with pytest.raises(errors.ModelCorrupt, match="changed, missing or new"):
        Transformers(MODEL=folder).write(request(kinds=("alt_text",)))


def test_a_model_without_a_chat_template_and_one_for_the_other_engine_are_refused(
    clip: Path, tmp_path: Path
) -> None:
    bare = tiny.make_llava(tmp_path / "bare", template=False)
    with pytest.raises(errors.WrongKind, match="chat template"):
        Transformers(MODEL=bare).write(request())
    with pytest.raises(errors.WrongKind, match="can't use"):
        Transformers(MODEL=clip).describe()


def test_a_device_that_is_missing_is_never_replaced_in_silence(blip: Path) -> None:
    with pytest.raises(errors.DeviceMissing):
        Transformers(MODEL=blip).write(request(kinds=("alt_text",), device="cuda"))
    assert Transformers(MODEL=blip, ALLOW_CPU=True).write(request(kinds=("alt_text",), device="cuda")).texts
