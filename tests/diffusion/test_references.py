"""A reference picture by an IP-Adapter: it does something, nothing at weight 0, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shopgen_django.engines.diffusers import Diffusers
from shopgen_django.engines.diffusers.manifest import write_manifest
from shopgen_django.engines.diffusers.shelf import SHELF
from shopgen_django.engines.errors import (
    BadOutput,
    BadRequest,
    LicenceRefused,
    ModelCorrupt,
    ModelMissing,
    OutOfMemory,
    UnsafeFile,
    WrongKind,
)
from shopgen_django.engines.pictures import Lora, PictureRequest
from shopgen_django.exceptions import JobCancelled
from tests.diffusion import tiny
from tests.diffusion.test_engine import half_mask, photo, pixels, request
from tests.diffusion.test_folder import flip


@pytest.fixture(scope="module")
def adapter(sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_adapter(tmp_path_factory.mktemp("references") / "adapter", sd)


@pytest.fixture(scope="module")
def engine(sd: Path, adapter: Path) -> Iterator[Diffusers]:
    made = Diffusers(MODEL=str(sd), REFERENCES=str(adapter))
    yield made
    made.free()


def look(colour: str = "orange") -> Image.Image:
    image = Image.new("RGB", (90, 50), colour)
    image.paste((20, 30, 160), (10, 5, 40, 45))
    return image


def wanted(task: str = "text", **changes: Any) -> PictureRequest:
    given: dict[str, Any] = {"task": task, "steps": 2, "image": None if task == "text" else photo()}
    if task == "inpaint":
        given["mask"] = half_mask()
    return request(**{**given, **changes})


@pytest.mark.parametrize("task", ["text", "image", "inpaint"])
def test_a_reference_counts_and_leaves_nothing_behind(engine: Diffusers, task: str) -> None:
    base = pixels(engine.run(wanted(task)))
    first = pixels(engine.run(wanted(task, reference=look())))
    assert pixels(engine.run(wanted(task))) == base != first
    assert pixels(engine.run(wanted(task, reference=look("green")))) != first
    if task == "text":
        assert pixels(engine.run(wanted(task, reference=look(), reference_weight=0.1))) != first
    assert pixels(engine.run(wanted(task, reference=look(), reference_weight=0.0))) == base
    assert pixels(engine.run(wanted(task, reference=look()))) == first
    # Without guidance the model is asked once a step, not twice: another way through the adapter.
    free, held = (
        pixels(engine.run(wanted(task, guidance=1.0, reference=each))) for each in (None, look())
    )
    assert free != held


def test_the_librarys_own_scale_of_nothing_is_the_base_as_well(engine: Diffusers, sd: Path, adapter: Path) -> None:
    from shopgen_django.engines.diffusers.reference import followed

    engine.run(wanted(reference=look()))
    (loaded,) = (entry for key, entry in SHELF._entries.items() if key in engine._keys)
    pipeline, found = loaded.pipelines["text"], loaded.adapter[1]
    base = pixels(engine.run(wanted()))
    with followed(pipeline, found, look(), weight=0.0, guided=True, device="cpu", stays=True) as embedded:
        import numpy as np
        import torch

        from shopgen_django.engines.pictures import seed_of

        pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
        made = pipeline(
            prompt="a red shirt", num_inference_steps=2, guidance_scale=7.0, width=64, height=64, output_type="np",
            ip_adapter_image_embeds=embedded, generator=[torch.Generator("cpu").manual_seed(seed_of(4, 0))],
        ).images[0]
    assert [np.rint(np.clip(made, 0, 1) * 255).astype(np.uint8).tobytes()] == base


def test_facts_say_what_was_followed(engine: Diffusers) -> None:
    (made,) = engine.run(wanted(reference=look(), reference_weight=0.8))
    assert made.facts["reference"] == "0.8" and len(made.facts["ip_adapter_sha256"]) == 64
    (plain,) = engine.run(wanted(reference=look(), reference_weight=0.0))
    assert not {"reference", "ip_adapter_sha256"} & set(plain.facts)


def test_each_variant_is_what_it_is_alone(engine: Diffusers) -> None:
    several = list(engine.run(wanted(reference=look(), count=2)))
    (alone,) = engine.run(wanted(reference=look(), count=1))
    assert pixels(several[:1]) == pixels([alone]) and pixels(several[1:]) != pixels([alone])


def test_threads_that_take_turns_do_not_mix(engine: Diffusers) -> None:
    import threading

    kinds = [wanted(seed=number, reference=look() if number % 2 else None) for number in range(4)]
    alone = [pixels(engine.run(each)) for each in kinds]
    found: dict[int, list[bytes]] = {}

    def work(numbers: range) -> None:
        for number in numbers:
            found[number] = pixels(engine.run(kinds[number]))

    threads = [threading.Thread(target=work, args=(range(first, 4, 2),)) for first in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(4)] == alone


def test_with_a_lora_and_outlines(sd: Path, adapter: Path, tmp_path: Path) -> None:
    lines = Image.new("L", (64, 64))
    lines.paste(255, (20, 0, 24, 64))
    engine = Diffusers(
        MODEL=str(sd), REFERENCES=str(adapter), LORAS={"house": tiny.make_lora(tmp_path / "house", sd)},
        OUTLINES=str(tiny.make_controlnet(tmp_path / "edges", sd)),
    )
    lora, held = {"loras": (Lora(name="house"),)}, {"outlines": lines}
    kinds: list[dict[str, Any]] = [lora, held, {**lora, **held}]
    without = [pixels(engine.run(wanted(**each))) for each in kinds]
    within = [pixels(engine.run(wanted(reference=look(), **each))) for each in kinds]
    assert len({tuple(each) for each in (*without, *within)}) == 6
    assert pixels(engine.run(wanted(**kinds[-1]))) == without[-1]
    engine.free()


def test_the_larger_kind_and_the_models_own_folder(sd: Path, copy: Callable[[Path], Path], tmp_path: Path) -> None:
    plus = tiny.make_adapter(tmp_path / "plus", sd, plus=True)
    engine = Diffusers(MODEL=str(sd), REFERENCES=plus / "ip-adapter.safetensors")
    base, held = (pixels(engine.run(wanted(reference=each))) for each in (None, look()))
    assert base != held != pixels(engine.run(wanted(reference=look("green"))))
    engine.free()
    folder = copy(sd)
    tiny.make_adapter(folder / "ip_adapter", sd)
    manifest = write_manifest(folder, licence="MIT", commercial=True)
    assert "ip_adapter/image_encoder/model.safetensors" in manifest.files
    own = Diffusers(MODEL=str(folder))
    own.require_reference()
    assert pixels(own.run(wanted(reference=look()))) != base
    own.free()


def test_a_model_that_only_repaints_follows_as_well(sd: Path, sd_inpaint: Path, adapter: Path) -> None:
    engine = Diffusers(MODEL=str(sd), INPAINT_MODEL=str(sd_inpaint), REFERENCES=str(adapter))
    engine.require_reference("inpaint")
    free, held, again = (pixels(engine.run(wanted("inpaint", reference=each))) for each in (None, look(), None))
    assert free == again != held
    engine.free()


def test_xl_follows_as_well(sdxl: Path, tmp_path: Path) -> None:
    engine = Diffusers(MODEL=str(sdxl), REFERENCES=str(tiny.make_adapter(tmp_path / "adapter", sdxl)))
    free, held, again = (pixels(engine.run(wanted(reference=each))) for each in (None, look(), None))
    assert free == again != held
    engine.free()


def test_cancelling_at_every_step_leaves_nothing_behind(engine: Diffusers) -> None:
    base = pixels(engine.run(wanted()))
    whole = pixels(engine.run(wanted(reference=look())))
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    assert pixels(engine.run(wanted(reference=look()), check=count)) == whole and calls >= 4
    for last in range(1, calls + 1):
        left = last

        def stop() -> None:
            nonlocal left
            left -= 1
            if not left:
                raise JobCancelled

        with pytest.raises(JobCancelled):
            engine.run(wanted(reference=look()), check=stop)
        assert pixels(engine.run(wanted())) == base
    assert pixels(engine.run(wanted(reference=look()))) == whole


def test_memory_that_runs_out_is_tried_again_with_the_reference(
    engine: Diffusers, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import StableDiffusionPipeline

    held = pixels(engine.run(wanted(reference=look())))
    real, failed = StableDiffusionPipeline.__call__, []

    def once(self: Any, *args: Any, **options: Any) -> Any:
        if not failed:
            failed.append(True)
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return real(self, *args, **options)

    once.__signature__ = __import__("inspect").signature(real)  # type: ignore[attr-defined]
    monkeypatch.setattr(StableDiffusionPipeline, "__call__", once)
    again = pixels(engine.run(wanted(reference=look())))
    assert failed and again == held


def broken(adapter: Path, place: Path, how: str) -> Any:
    """What REFERENCES names, damaged in one way."""
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(adapter, place / "adapter"))
    weights = folder / "ip-adapter.safetensors"
    tensors = load_file(str(weights))
    if how == "no encoder":
        shutil.rmtree(folder / "image_encoder")
    elif how == "pickle":
        weights.rename(folder / "ip-adapter.bin")
    elif how == "pickle by name":
        return folder / "ip-adapter.bin"
    elif how == "no weights":
        weights.unlink()
    elif how == "two":
        shutil.copy(weights, folder / "other.safetensors")
    elif how == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "something else":
        save_file({"a": torch.zeros(1)}, str(weights))
    elif how == "faces":
        moved = {name.replace("image_proj.proj.", "image_proj.proj.0."): value for name, value in tensors.items()}
        save_file(moved, str(weights))
    elif how == "other encoder":
        save_file({**tensors, "image_proj.proj.weight": torch.zeros(128, 24)}, str(weights))
    elif how == "fewer places":
        save_file({name: value for name, value in tensors.items() if ".1.to_" not in name}, str(weights))
    elif how == "other width":
        name = "ip_adapter.1.to_k_ip.weight"
        save_file({**tensors, name: torch.zeros(tensors[name].shape[0] + 8, tensors[name].shape[1])}, str(weights))
    elif how == "encoder cut":
        path = folder / "image_encoder" / "model.safetensors"
        save_file({name: value for name, value in load_file(str(path)).items() if "layers.1" not in name}, str(path),
                  metadata={"format": "pt"})
    elif how == "nan":
        path = folder / "image_encoder" / "model.safetensors"
        found = load_file(str(path))
        found["visual_projection.weight"].fill_(float("nan"))
        save_file(found, str(path), metadata={"format": "pt"})
    elif how == "flipped":
        write_manifest(folder, licence="MIT", commercial=True)
        flip(weights)
    elif how == "licence":
        write_manifest(folder, licence="CC-BY-NC-4.0", commercial=False)
    return folder


@pytest.mark.parametrize(
    ("how", "error", "seen_before"),
    [
        ("no encoder", ModelMissing, True), ("pickle", UnsafeFile, True), ("pickle by name", UnsafeFile, True),
        ("no weights", ModelMissing, True), ("two", WrongKind, True), ("cut", ModelCorrupt, True),
        ("something else", WrongKind, True), ("faces", WrongKind, True), ("other encoder", WrongKind, True),
        ("licence", LicenceRefused, True), ("fewer places", WrongKind, False), ("other width", WrongKind, False),
        ("encoder cut", ModelCorrupt, False), ("nan", BadOutput, False), ("flipped", ModelCorrupt, False),
    ],
)
def test_what_can_not_be_used_has_a_name(
    sd: Path, adapter: Path, tmp_path: Path, how: str, error: type[Exception], seen_before: bool
) -> None:
    engine = Diffusers(MODEL=str(sd), REFERENCES=broken(adapter, tmp_path, how))
    if seen_before:
        with pytest.raises(error):
            engine.require_reference()
        assert engine.check()
    else:
        engine.require_reference()
    with pytest.raises(error):
        engine.run(wanted(reference=look()))
    assert list(engine.run(wanted(steps=1))), "pictures without a reference are made all the same"


def test_models_that_can_not_follow_say_so(sd: Path, sdxl: Path, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="REFERENCES"):
        Diffusers(MODEL=str(sd)).require_reference()
    with pytest.raises(WrongKind, match="another kind of model"):
        Diffusers(MODEL=str(sdxl), REFERENCES=str(adapter)).require_reference()
    with pytest.raises(BadRequest, match="Flux"):
        Diffusers(MODEL=str(tiny.make_flux(tmp_path / "flux")), REFERENCES=str(adapter)).require_reference()
    with pytest.raises(ModelMissing):
        Diffusers(MODEL=str(sd), REFERENCES=str(tmp_path / "lost")).require_reference()
    from shopgen_django.engines.remote import OpenAICompatible

    with pytest.raises(BadRequest):
        OpenAICompatible(URL="http://127.0.0.1:1/v1", MODEL="m").require_reference()


def test_the_hash_that_is_asked_for_is_insisted_on(sd: Path, adapter: Path) -> None:
    engine = Diffusers(MODEL=str(sd), REFERENCES={"PATH": str(adapter), "SHA256": "0" * 64})
    with pytest.raises(ModelCorrupt):
        engine.run(wanted(reference=look()))
    engine.free()


def test_one_layer_at_a_time_is_refused_in_words(engine: Diffusers) -> None:
    from dataclasses import replace

    engine.run(wanted())
    (loaded,) = (entry for key, entry in SHELF._entries.items() if key in engine._keys)
    plan = loaded.plan
    loaded.plan = replace(plan, placement="layers")
    try:
        with pytest.raises(OutOfMemory, match="reference"):
            engine.run(wanted(reference=look()))
    finally:
        loaded.plan = plan
