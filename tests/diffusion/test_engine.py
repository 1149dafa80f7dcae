"""The engine on tiny models of the real classes: seeds, threads, progress, cancel, memory, what is no picture."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.exceptions import ImproperlyConfigured
from PIL import Image

from shopgen_django.engines.diffusers import Diffusers
from shopgen_django.engines.diffusers.running import to_picture, words_cut
from shopgen_django.engines.diffusers.shelf import SHELF
from shopgen_django.engines.errors import (
    BadOutput,
    BadRequest,
    Blocked,
    DeviceMissing,
    LicenceRefused,
    ModelMissing,
    OutOfMemory,
    WrongKind,
)
from shopgen_django.engines.pictures import MadePicture, PictureRequest
from shopgen_django.exceptions import JobCancelled, TransientError
from tests.diffusion import tiny


def request(**changes: Any) -> PictureRequest:
    values: dict[str, Any] = {"task": "text", "prompt": "a red shirt", "width": 64, "height": 64, "steps": 3, "seed": 4}
    return PictureRequest(**{**values, **changes})


def photo(width: int = 64, height: int = 64) -> Image.Image:
    rows = np.linspace(0, 255, height, dtype=np.uint8)[:, None]
    columns = np.linspace(0, 255, width, dtype=np.uint8)[None]
    return Image.fromarray(np.dstack([rows + 0 * columns, 0 * rows + columns, 128 + 0 * rows + 0 * columns]), "RGB")


def half_mask(width: int = 64, height: int = 64) -> Image.Image:
    mask = Image.new("L", (width, height))
    mask.paste(255, (0, 0, width // 2, height))
    return mask


def pixels(pictures: Any) -> list[bytes]:
    return [picture.image.tobytes() for picture in pictures]


def near(made: list[MadePicture], wanted: list[MadePicture]) -> bool:
    """The same pictures but for last bits: kernels for several pictures add up in another order."""
    return all(
        np.abs(np.asarray(a.image, np.float32) - np.asarray(b.image, np.float32)).mean() < 0.1
        for a, b in zip(made, wanted, strict=True)
    )


@pytest.fixture(scope="module")
def shared(sd: Path) -> Iterator[Diffusers]:
    made = Diffusers(MODEL=str(sd))
    yield made
    made.free()


@pytest.fixture
def engine(shared: Diffusers) -> Iterator[Diffusers]:
    """Loaded once for all tests; those that look at the shelf find it there alone, and those that damage it free it."""
    yield shared
    SHELF.release(lambda key: key not in shared._keys)


def test_what_a_folder_says_is_read_without_loading_it(engine: Diffusers) -> None:
    described = engine.describe()
    assert described.kind == "StableDiffusionPipeline" and described.tasks == ("text", "image", "inpaint")
    assert (described.multiple, described.size, described.in_channels) == (8, (64, 64), 4)
    assert 5_000_000 < described.bytes < 6_000_000 and described.negative


def test_the_same_seed_makes_the_same_pictures_alone_or_together(sd: Path, engine: Diffusers) -> None:
    one_by_one = list(engine.run(request(count=3)))
    assert len(set(pixels(one_by_one))) == 3
    assert pixels(engine.run(request(count=2))) == pixels(one_by_one)[:2]
    assert pixels(engine.run(request(count=3, seed=5))) != pixels(one_by_one)
    together = Diffusers(MODEL=str(sd), BATCH=3)
    engine.free()
    made = list(together.run(request(count=3)))
    assert made[0].facts["batch"] == "3" and near(made, one_by_one)
    together.free()
    engine.free()
    assert not len(SHELF)
    assert pixels(Diffusers(MODEL=str(sd)).run(request(count=3))) == pixels(one_by_one), "loaded anew"


@pytest.mark.parametrize("task", ["image", "inpaint"])
def test_pictures_from_pictures_in_batches(engine: Diffusers, task: Any) -> None:
    wanted = request(task=task, image=photo(), mask=half_mask() if task == "inpaint" else None, strength=0.7, count=2)
    singles = list(engine.run(wanted))
    (entry,) = SHELF._entries.values()
    entry.plan = replace(entry.plan, batch=2)
    assert near(list(engine.run(wanted)), singles)
    entry.plan = replace(entry.plan, batch=1)
    assert singles[0].image.size == (64, 64) and singles[0].facts["strength"] == "0.7"


def test_sizes_are_those_of_the_request(engine: Diffusers) -> None:
    """The library's own default is the size of its training, whatever the picture's."""
    for task in ("text", "image", "inpaint"):
        made = next(engine.run(request(task=task, width=96, height=64, image=photo(96, 64), mask=half_mask(96, 64))))
        assert made.image.size == (96, 64)


def test_words_guidance_and_schedulers_count(engine: Diffusers) -> None:
    base = pixels(engine.run(request()))
    for changes in ({"prompt": "a blue hat"}, {"negative": "shirt"}, {"guidance": 2.0}, {"steps": 4}):
        assert pixels(engine.run(request(**changes))) != base, changes
    free = next(engine.run(request(guidance=1.0, negative="shirt")))
    assert free.facts["not_used"] == "negative prompt"
    for name in ("euler", "euler_a", "dpm++", "dpm++_karras", "ddim", "heun", "unipc", "lcm"):
        made = next(engine.run(request(scheduler=name)))
        assert made.facts["scheduler"].lower().startswith(name[:3]), name
    with pytest.raises(BadRequest, match="does not suit"):
        engine.run(request(scheduler="flow_euler"))
    with pytest.raises(BadRequest, match="Known are"):
        engine.run(request(scheduler="magic"))
    assert pixels(engine.run(request())) == base


def test_four_threads_share_a_model_without_harm(engine: Diffusers) -> None:
    """One pipeline counts its steps in itself: shared without a lock, threads break or, worse, mix their pictures."""
    wanted = {
        (number, name): request(seed=number, scheduler=name, steps=2, width=32, height=32)
        for number in range(8) for name in ("euler", "dpm++", "", "ddim")
    }
    serial = {key: pixels(engine.run(each)) for key, each in wanted.items()}
    found: dict[Any, list[bytes]] = {}
    errors: list[BaseException] = []

    def work(mine: list[Any]) -> None:
        try:
            for key in mine:
                found[key] = pixels(engine.run(wanted[key]))
        except BaseException as error:
            errors.append(error)

    keys = list(wanted)
    threads = [threading.Thread(target=work, args=(keys[first::4],)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not errors and len(found) == 32 and found == serial
    assert len(SHELF) == 1


def test_progress_rises_to_one(engine: Diffusers) -> None:
    """Heun takes seven calls for four steps, PNDM's indexes repeat: calls are counted."""
    for name in ("heun", "pndm", "euler"):
        shares: list[float] = []
        list(engine.run(request(steps=4, scheduler=name, count=2), on_step=shares.append))
        assert shares == sorted(shares) and len(shares) >= 10 and shares[-1] == 1.0 and shares[0] < 0.2


def test_cancel_stops_within_a_step_and_the_next_run_is_whole(engine: Diffusers) -> None:
    whole = pixels(engine.run(request(steps=6)))
    shares: list[float] = []

    def check() -> None:
        if len(shares) >= 2:
            raise JobCancelled("stop")

    with pytest.raises(JobCancelled):
        engine.run(request(steps=6), on_step=shares.append, check=check)
    assert len(shares) == 2
    assert pixels(engine.run(request(steps=6))) == whole


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 65536, "height": 65536}, {"width": 70}, {"width": 0}, {"height": 4},
    ],
)
def test_sizes_are_checked_before_anything_is_loaded(
    engine: Diffusers, changes: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shopgen_django.engines.diffusers.engine.load_libraries", None)
    with pytest.raises(BadRequest):
        engine.run(request(**changes))


def test_a_strength_that_leaves_no_step_is_told(engine: Diffusers) -> None:
    with pytest.raises(BadRequest, match="nothing to do"):
        engine.run(request(task="image", image=photo(), steps=10, strength=0.05))


def test_a_long_prompt_is_cut_and_says_where(engine: Diffusers) -> None:
    made = next(engine.run(request(prompt="a red shirt " * 13 + "on marble")))
    assert made.facts["prompt_not_read"].endswith("on marble")
    assert "prompt_not_read" not in next(engine.run(request())).facts

    class Pipeline:
        tokenizer = tiny.tokenizer()

    assert words_cut(Pipeline(), "x" * 75, 77) == "" and words_cut(Pipeline(), "x" * 77, 77) != ""


def break_vae(value: float) -> None:
    import torch

    (entry,) = SHELF._entries.values()
    with torch.no_grad():
        entry.parts["vae"].decoder.conv_out.weight.fill_(0.0)
        entry.parts["vae"].decoder.conv_out.bias.fill_(value)


def test_what_is_no_number_is_no_picture(engine: Diffusers) -> None:
    list(engine.run(request()))
    break_vae(float("nan"))
    with pytest.raises(BadOutput, match="NaN"):
        engine.run(request())
    break_vae(-9.0)
    with pytest.raises(BadOutput, match="black all over"):
        engine.run(request())
    engine.free()
    assert to_picture(np.full((8, 8, 3), 0.5, np.float32)).getpixel((0, 0)) == (128, 128, 128)


def test_a_safety_checker_that_fires_is_another_error(tmp_path: Path) -> None:
    folder = tiny.make_sd(tmp_path / "guarded", checker=True)
    engine = Diffusers(MODEL=str(folder))
    with pytest.raises(Blocked, match="safety check"):
        engine.run(request(count=2))
    unguarded = Diffusers(MODEL=str(folder), SAFETY_CHECKER=False)
    assert len(list(unguarded.run(request(count=2)))) == 2
    engine.free()
    unguarded.free()


def fail_once(monkeypatch: pytest.MonkeyPatch, engine: Diffusers, times: int, error: BaseException) -> list[int]:
    list(engine.run(request()))
    (entry,) = SHELF._entries.values()
    vae, calls = entry.parts["vae"], []
    decode = vae.decode

    def failing(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return decode(*args, **kwargs)

    monkeypatch.setattr(vae, "decode", failing)
    return calls


def test_out_of_memory_is_tried_once_more_in_small_steps(
    engine: Diffusers, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = np.asarray(next(engine.run(request())).image, np.int16)
    fail_once(monkeypatch, engine, 1, RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    made = next(engine.run(request()))
    assert np.abs(np.asarray(made.image, np.int16) - whole).max() <= 1


def test_out_of_memory_twice_fails_by_name_and_the_next_run_works(
    engine: Diffusers, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    fail_once(monkeypatch, engine, 2, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(OutOfMemory, match="64 × 64") as caught:
        engine.run(request())
    assert isinstance(caught.value, TransientError) and caught.value.code == "out_of_memory"
    assert not len(SHELF), "the next job finds the memory free"
    assert len(list(engine.run(request()))) == 1


def test_other_errors_are_not_taken_for_memory(engine: Diffusers, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_once(monkeypatch, engine, 1, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        engine.run(request())


def test_a_device_that_is_missing_is_an_error_unless_allowed(sd: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(DeviceMissing, match="ALLOW_CPU"):
        Diffusers(MODEL=str(sd), DEVICE="cuda").run(request())
    with pytest.raises(DeviceMissing):
        Diffusers(MODEL=str(sd)).run(request(device="cuda"))
    allowed = Diffusers(MODEL=str(sd), DEVICE="cuda", ALLOW_CPU=True)
    assert next(allowed.run(request())).facts["device"] == "cpu"
    allowed.free()


def test_sixteen_bit_works_and_is_written_down(sd: Path) -> None:
    engine = Diffusers(MODEL=str(sd), DTYPE="bfloat16")
    made = next(engine.run(request()))
    assert made.facts["dtype"] == "bfloat16"
    engine.free()


def test_sdxl_does_every_task(sdxl: Path) -> None:
    engine = Diffusers(MODEL=str(sdxl))
    for task in ("text", "image", "inpaint"):
        made = next(engine.run(request(task=task, image=photo(), mask=half_mask(), negative="text")))
        assert made.image.size == (64, 64) and "SchedulerXL" not in made.facts["scheduler"]
    engine.free()


@pytest.mark.parametrize("make", [tiny.make_sd3, tiny.make_flux])
def test_transformers_do_every_task(make: Callable[[Path], Path], tmp_path: Path) -> None:
    engine = Diffusers(MODEL=str(make(tmp_path / "newer")))
    described = engine.describe()
    assert described.multiple == 16 and described.tasks == ("text", "image", "inpaint")
    for task in ("text", "image", "inpaint"):
        wanted = request(task=task, image=photo(), mask=half_mask(), negative="text", prompt="a red shirt " * 14)
        first, again = next(engine.run(wanted)), next(engine.run(wanted))
        assert first.image.size == (64, 64) and first.image.tobytes() == again.image.tobytes()
        assert "prompt_not_read" not in first.facts, "the second reader takes more words"
        assert ("not_used" in first.facts) == (not described.negative)
    with pytest.raises(BadRequest, match="does not suit"):
        engine.run(request(scheduler="ddim"))
    with pytest.raises(BadRequest, match="multiples of 16"):
        engine.run(request(width=72))
    engine.free()


def test_a_model_for_repainting_does_nothing_else(sd: Path, sd_inpaint: Path) -> None:
    alone = Diffusers(MODEL=str(sd_inpaint))
    assert alone.describe("inpaint").in_channels == 9
    with pytest.raises(WrongKind, match="INPAINT_MODEL"):
        alone.run(request())
    both = Diffusers(MODEL=str(sd), INPAINT_MODEL=str(sd_inpaint))
    made = next(both.run(request(task="inpaint", image=photo(), mask=half_mask())))
    assert isinstance(made, MadePicture) and both.describe("inpaint").name == "tiny-inpaint"
    alone.free()
    both.free()


def test_nothing_configured_and_names_that_lead_nowhere(settings: Any, tmp_path: Path, sd: Path) -> None:
    assert Diffusers().check() == [] and Diffusers().identity() == "no model"
    with pytest.raises(ModelMissing, match="MODEL"):
        Diffusers().describe()
    missing = Diffusers(MODEL="nowhere")
    assert "nowhere" in missing.check()[0]
    with pytest.raises(ModelMissing, match="nowhere"):
        missing.describe()
    with pytest.raises(ModelMissing, match="ALLOW_HUB"):
        Diffusers(MODEL="somebody/some-model").run(request())
    with pytest.raises(ImproperlyConfigured, match="MODLE"):
        Diffusers(MODLE="x")
    with pytest.raises(ImproperlyConfigured, match="DTYPE"):
        Diffusers(DTYPE="int4")
    home = Path(settings.SHOPGEN["ROOT"]) / "models"
    home.mkdir(parents=True)
    (home / "ours").symlink_to(sd)
    assert Diffusers(MODEL="ours").describe().name == "ours" and Diffusers(MODEL="ours").check() == []


def test_a_hub_id_that_is_in_the_cache_works_offline(
    sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "models--shop--tiny"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("a" * 40)
    (kept / "snapshots").mkdir()
    (kept / "snapshots" / ("a" * 40)).symlink_to(sd)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    engine = Diffusers(MODEL="shop/tiny")
    assert len(list(engine.run(request()))) == 1
    engine.free()


def test_a_licence_that_forbids_selling_is_refused(
    sd: Path, copy: Callable[[Path], Path], settings: Any
) -> None:
    from shopgen_django.engines.diffusers.manifest import write_manifest

    folder = copy(sd)
    write_manifest(folder, licence="CC-BY-NC-4.0", commercial=False)
    with pytest.raises(LicenceRefused, match="CC-BY-NC"):
        Diffusers(MODEL=str(folder)).run(request())
    settings.SHOPGEN = {**settings.SHOPGEN, "ALLOW_NONCOMMERCIAL_MODELS": True}
    engine = Diffusers(MODEL=str(folder))
    assert engine.describe().licence == "CC-BY-NC-4.0" and len(list(engine.run(request()))) == 1
    engine.free()
