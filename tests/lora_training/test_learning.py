"""The trainer: it learns, goes on bit-equal, saves what the engine loads to the bit, and refuses what it can't do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shopgen_django.engines.diffusers import Diffusers
from shopgen_django.engines.diffusers.install import load_libraries
from shopgen_django.engines.diffusers.manifest import write_manifest
from shopgen_django.engines.errors import LicenceRefused, ModelCorrupt, WrongKind
from shopgen_django.engines.lora_training.base import open_base
from shopgen_django.engines.lora_training.learner import Learner
from shopgen_django.engines.lora_training.loop import LoraCallbacks, StoppedEarly
from shopgen_django.engines.lora_training.material import load_scheduler, prepare
from shopgen_django.engines.lora_training.objective import Objective
from shopgen_django.engines.lora_training.output import FILE
from shopgen_django.engines.lora_training.photos import read_photos
from shopgen_django.engines.lora_training.sampling import picture_of
from shopgen_django.engines.pictures import Lora, PictureRequest, seed_of
from shopgen_django.ml.errors import ConfigChanged, ConfigError, DatasetError, Diverged
from shopgen_django.ml.files import sha256_file
from shopgen_django.ml.folder import RunFolder
from tests.diffusion.tiny import make_sd3
from tests.lora_training.photos import TRIGGER, config, killed_at, learn, make_photos

PROMPT = f"a photo of {TRIGGER}"


def made(base: Path, *, size: int = 32, loras: dict[str, Any] | None = None, weight: float | None = None) -> bytes:
    """Pixels of the engine's picture of the prompt, with the LoRA "mug" at ``weight``."""
    engine = Diffusers(MODEL=str(base), LORAS=loras or {})
    chosen = () if weight is None else (Lora(name="mug", weight=weight),)
    try:
        wanted = PictureRequest(
            task="text", prompt=PROMPT, width=size, height=size, steps=2, guidance=3.0, seed=0, loras=chosen
        )
        return next(engine.run(wanted)).image.tobytes()
    finally:
        engine.free()


def trained(base_folder: Path, photos: Path, run: Path, **values: Any) -> tuple[Any, Any, Any, Any]:
    """The libraries, the base, and the network in memory as the run's saved state has it."""
    diffusers, base = load_libraries(), open_base(base_folder, noncommercial=False)
    settled = config(base_folder, photos, run, **values).settled(precision="fp32")
    read = read_photos(settled, size=32)
    material = prepare(diffusers, base, read, settled, size=32, device="cpu", check=lambda: None)
    objective = Objective(diffusers, load_scheduler(diffusers, base), prediction=base.prediction, min_snr=5.0)
    learner = Learner(diffusers, base, read, material, settled, objective)
    state = RunFolder(run).load_state()
    assert state is not None
    learner.restore(state.tensors)
    return diffusers, base, learner, material


def test_it_learns_photos_that_it_was_never_shown(sd: Path, photos: Path, tmp_path: Path) -> None:
    """The one photo held out is foretold better than by the base, with noise that is always the same."""
    result = learn(sd, photos, tmp_path / "run", steps=30, lr=0.03, measure_every=30)
    lines = RunFolder(tmp_path / "run").read_stats()
    assert lines[-1]["step"] == 30 and result.latest["loss_base"] == lines[0]["loss_held_out"]
    assert lines[-1]["loss_held_out"] < 0.95 * lines[-1]["loss_base"]
    assert lines[-1]["loss_known"] < 0.95 * lines[0]["loss_known"] and lines[-1]["best_step"] == 30
    quarters = [lines[-1][f"loss_held_out_{number}"] for number in range(1, 5)]
    assert sum(quarters) / 4 == pytest.approx(lines[-1]["loss_held_out"], rel=1e-4)


def test_a_killed_run_goes_on_to_the_very_same_bytes(sd: Path, photos: Path, learnt: Path, tmp_path: Path) -> None:
    output = tmp_path / "killed"
    assert killed_at(sd, photos, output, 4) == -9
    assert json.loads((output / "model.json").read_text())["steps"] == 3, "killed before the fourth step was saved"
    told: list[str] = []
    learn(sd, photos, output, callbacks=LoraCallbacks(on_start=lambda info: told.append(str(info.resumed_at))))
    assert told == ["6"] and (output / FILE).read_bytes() == (learnt / FILE).read_bytes()
    assert [line["step"] for line in RunFolder(output).read_stats()][:4] == [1, 2, 3, 4]


def test_the_saved_file_makes_the_very_picture_of_the_network_in_memory(sd: Path, photos: Path, learnt: Path) -> None:
    diffusers, base, learner, material = trained(sd, photos, learnt)
    here = picture_of(
        diffusers, base, learner.unet, material, prompt=PROMPT, seed=seed_of(0, 0), size=32, steps=2, guidance=3.0
    ).tobytes()
    loras = {"mug": str(learnt)}
    assert made(sd, loras=loras, weight=1.0) == here
    without = made(sd)
    assert here != without and made(sd, loras=loras, weight=0.0) == without


def test_two_text_encoders_sizes_and_an_alpha_other_than_the_rank(sdxl: Path, photos: Path, tmp_path: Path) -> None:
    run, ways = tmp_path / "run", {"alpha": 6.0, "prior": 0.5, "checkpointing": True, "accumulate": 2, "batch": 1}
    learn(sdxl, photos, run, steps=2, lr=0.05, **ways)
    diffusers, base, learner, material = trained(sdxl, photos, run, alpha=6.0)
    assert material.times.tolist()[0] == [40, 48, 0, 3, 32, 32], "height, width, what was cut off, the square"
    here = picture_of(
        diffusers, base, learner.unet, material, prompt=PROMPT, seed=seed_of(0, 0), size=32, steps=2, guidance=3.0
    ).tobytes()
    assert made(sdxl, loras={"mug": str(run)}, weight=1.0) == here != made(sdxl)


def test_half_precision_trains_in_whole_numbers(sd: Path, photos: Path, tmp_path: Path) -> None:
    learn(sd, photos, tmp_path / "run", steps=2, precision="bf16", samples=1, sample_steps=1)
    state = RunFolder(tmp_path / "run").load_state()
    assert state is not None
    assert {str(value.dtype) for name, value in state.tensors.items() if "lora/" in name} == {"torch.float32"}


def test_a_stop_saves_and_the_same_call_goes_on(sd: Path, photos: Path, learnt: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    callbacks = LoraCallbacks(on_tick=lambda tick: seen.append(tick.step), should_stop=lambda: 2 in seen)
    stopped = learn(sd, photos, tmp_path / "run", callbacks=callbacks, samples=2)
    assert (stopped.outcome, stopped.images_seen) == ("stopped", 4)
    assert not list((tmp_path / "run" / "samples").iterdir()), "nobody waits for samples"
    assert learn(sd, photos, tmp_path / "run").outcome == "finished"
    assert (tmp_path / "run" / FILE).read_bytes() == (learnt / FILE).read_bytes()
    with pytest.raises(StoppedEarly):
        learn(sd, photos, tmp_path / "new", callbacks=LoraCallbacks(should_stop=lambda: True))


def test_other_options_photos_or_kinds_of_run_are_not_gone_on_with(
    sd: Path, photos: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    own = make_photos(tmp_path / "own")
    learn(sd, own, run, steps=1)
    with pytest.raises(ConfigChanged, match="--rank: 4 -> 8"):
        learn(sd, own, run, rank=8)
    make_photos(tmp_path / "own", 7)
    with pytest.raises(ConfigChanged, match="the photos or their captions"):
        learn(sd, own, run)
    learn(sd, own, run, rank=8, steps=1, fresh=True)
    (run / "config.json").write_text(json.dumps({"config": {"architecture": "modern"}}))
    with pytest.raises(ConfigChanged, match="train_gan"):
        learn(sd, own, run)


def test_bases_that_cannot_be_fine_tuned(
    sd: Path, sd_inpaint: Path, copy: Callable[[Path], Path], tmp_path: Path
) -> None:
    with pytest.raises(WrongKind, match="Stable Diffusion 3"):
        open_base(make_sd3(tmp_path / "sd3"), noncommercial=False)
    with pytest.raises(WrongKind, match="repainting"):
        open_base(sd_inpaint, noncommercial=False)
    folder = copy(sd)
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prediction_type": "sample"}))
    with pytest.raises(WrongKind, match="foretell"):
        open_base(folder, noncommercial=False)
    path.write_text(json.dumps({**json.loads(path.read_text()), "prediction_type": "v_prediction"}))
    assert open_base(folder, noncommercial=False).prediction == "v_prediction"
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelCorrupt, match="cut"):
        open_base(folder, noncommercial=False)


def test_the_licence_is_taken_over_and_heeded(
    sd: Path, copy: Callable[[Path], Path], photos: Path, tmp_path: Path, settings: Any
) -> None:
    folder, run = copy(sd), tmp_path / "run"
    write_manifest(folder, licence="CC-BY-NC-4.0", commercial=False, source="https://example.org")
    with pytest.raises(LicenceRefused, match="CC-BY-NC"):
        learn(folder, photos, run)
    from shopgen_django.engines.lora_training.loop import train_lora

    train_lora(config(folder, photos, run, steps=1), open_base(folder, noncommercial=True))
    card = json.loads((run / "model.json").read_text())
    assert (card["licence"], card["commercial"], card["base"]["source"]) == (
        "CC-BY-NC-4.0", False, "https://example.org"
    )
    with pytest.raises(LicenceRefused, match="mug"):
        made(sd, loras={"mug": str(run)}, weight=1.0)


def test_the_card_says_what_was_learnt_from_what(sd: Path, photos: Path, learnt: Path) -> None:
    card = json.loads((learnt / "model.json").read_text())
    assert card["base"]["sha256"] == open_base(sd, noncommercial=False).sha256
    assert (card["rank"], card["alpha"], card["trigger"], card["steps"], card["photos"], card["held_out"]) == (
        4, 4.0, TRIGGER, 6, 6, 1
    )
    assert sorted(card["photos_sha256"]) == sorted(sha256_file(path) for path in photos.glob("*.png"))
    assert card["sha256"] == sha256_file(learnt / FILE) and card["purpose"] == "lora:mug"
    assert len(list((learnt / "samples").glob("*.png"))) == 2 and (learnt / "without.png").is_file()


def test_the_engine_refuses_a_changed_file_and_another_base(
    sd: Path, copy: Callable[[Path], Path], learnt: Path, tmp_path: Path
) -> None:
    import shutil

    other = copy(sd)
    (other / "scheduler" / "extra.json").write_text("{}")
    with pytest.raises(WrongKind, match="LORA_OTHER_BASE"):
        made(other, loras={"mug": str(learnt)}, weight=1.0)
    engine = Diffusers(MODEL=str(other), LORAS={"mug": str(learnt)}, LORA_OTHER_BASE=True)
    wanted = PictureRequest(task="text", prompt="a", width=32, height=32, steps=1, loras=(Lora(name="mug"),))
    assert len(list(engine.run(wanted))) == 1
    engine.free()
    changed = Path(shutil.copytree(learnt, tmp_path / "changed"))
    data = bytearray((changed / FILE).read_bytes())
    data[-5] ^= 1
    (changed / FILE).write_bytes(bytes(data))
    with pytest.raises(ModelCorrupt, match="not the file that was trained"):
        made(sd, loras={"mug": str(changed)}, weight=1.0)
    (changed / FILE).write_bytes(bytes(data[:-10]))
    with pytest.raises(ModelCorrupt, match="cut"):
        made(sd, loras={"mug": str(changed)}, weight=1.0)


def test_a_loss_that_is_no_number_keeps_the_last_state(
    sd: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(sd, photos, tmp_path / "run", steps=2)
    good = (tmp_path / "run" / FILE).read_bytes()
    real = Objective.weight
    monkeypatch.setattr(Objective, "weight", lambda self, times: real(self, times) * float("nan"))
    with pytest.raises(Diverged, match="step 2"):
        learn(sd, photos, tmp_path / "run", steps=4)
    assert (tmp_path / "run" / FILE).read_bytes() == good


@pytest.mark.parametrize("change", [
    {"name": "blue mug"}, {"trigger": ""}, {"trigger": "a{b"}, {"caption": "{price}"}, {"rank": 0}, {"lr": 0.0},
    {"size": 36}, {"size": 8}, {"prior": 1.0, "caption": "a mug"}, {"alpha": -1.0}, {"hold_out": 0}, {"fit": "bend"},
    {"caption": "{title}"},
])  # fmt: skip
def test_options_that_cannot_work(sd: Path, photos: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        learn(sd, photos, tmp_path / "run", **change)


def test_few_broken_and_double_photos(sd: Path, tmp_path: Path) -> None:
    folder = make_photos(tmp_path / "few", 4)
    (folder / "broken.png").write_bytes(b"not a picture")
    (folder / "twice.png").write_bytes((folder / "0.png").read_bytes())
    with pytest.raises(DatasetError, match=r"4 usable photos.*at least 5.*Passed over"):
        learn(sd, folder, tmp_path / "run")
    make_photos(folder, 6)
    (folder / "1.txt").write_text("{trigger} from the side", encoding="utf-8")
    settled = replace(config(sd, folder, tmp_path / "run"), caption="{category} {trigger}, on a table")
    with pytest.raises(ConfigError, match="category"):
        read_photos(settled, size=32)
    read = read_photos(config(sd, folder, tmp_path / "run"), size=32)
    captions = {photo.name: photo.caption for photo in read.photos}
    assert captions["1.png"] == f"{TRIGGER} from the side" and captions["2.png"] == PROMPT
    assert {each["file"] for each in read.manifest["skipped"]} == {"broken.png", "twice.png"}
    with pytest.raises(DatasetError, match="hold-out"):
        read_photos(replace(config(sd, folder, tmp_path / "run"), hold_out=3), size=32)
