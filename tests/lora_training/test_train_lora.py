"""``manage.py train_lora``: photos in, rows while it goes, a version whose name works in ``create``, plain errors."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from shopgen_django.engines.diffusers.manifest import write_manifest
from shopgen_django.exceptions import InvalidParameters
from shopgen_django.jobs.runner import run_job
from shopgen_django.ml import runtime
from shopgen_django.models import Job, MetricPoint, ModelVersion, ProductImage, TrainingRun
from shopgen_django.models.choices import RunState
from shopgen_django.services.loras import find_lora
from shopgen_django.services.models import activate_version, trainable_version, verify_version
from shopgen_django.services.submit import plan_job, submit_job
from tests.testshop.models import Category, Product

TINY: dict[str, Any] = {
    "size": 32, "rank": 4, "steps": 3, "batch": 1, "accumulate": 1, "lr": 0.05, "samples": 1, "sample_steps": 1,
    "device": "cpu", "tick_seconds": 0.0, "measure_every": 3, "sample_every": 3,
}  # fmt: skip
Run = Callable[..., str]


@pytest.fixture
def train() -> Run:
    def function(**options: Any) -> str:
        out = io.StringIO()
        call_command("train_lora", stdout=out, **{"name": "mug", **TINY, **options})
        return out.getvalue()

    return function


@pytest.fixture
def shop(photos: Path) -> list[Product]:
    """Five mugs with a photo each, and a hat with one."""
    mugs = Category.objects.create(name="Mugs")
    found = []
    for number in range(6):
        product = Product(name="Straw hat" if number == 5 else f"Red mug {number}", category=mugs)
        product.image.save(f"{number}.png", ContentFile((photos / f"{number}.png").read_bytes()), save=True)
        found.append(product)
    return found


@pytest.mark.django_db(transaction=True)
def test_the_shops_photos_become_a_lora_that_its_name_calls(
    sd: Path, copy: Callable[[Path], Path], use: Callable[..., None], shop: list[Product], train: Run
) -> None:
    base = copy(sd)
    write_manifest(base, licence="OpenRAIL-M", commercial=True, source="https://example.org")
    use(MODEL=str(base))
    told = train(search="red mug", trigger="zeni mug")
    assert "5 photos from the catalogue" in told and "zeni mug, Red mug" in told
    assert "Registered as mug v1 (not in use yet" in told and "loras = mug: 0.8" in told
    run = TrainingRun.objects.get()
    assert (run.name, run.state, run.photos, run.images_seen, run.progress) == ("mug", RunState.SUCCEEDED, 5, 3, 1.0)
    assert run.config["kind"] == "lora" and (Path(run.output_dir) / run.latest_sample).is_file()
    assert "loss_held_out" in MetricPoint.objects.filter(run=run).last().values  # type: ignore[union-attr]
    version = ModelVersion.objects.get()
    assert (version.licence, version.engine, version.purpose) == ("OpenRAIL-M", "diffusion", "lora:mug")
    assert version.photos == 5
    assert version.metrics["loss_held_out"] > 0 and len(version.manifest_sha256) == 64
    wish = {"prompt": "on a table", "steps": 2, "seed": 1, "width": 64, "height": 64}
    with pytest.raises(InvalidParameters) as caught:
        plan_job(operation="create", params={**wish, "loras": "mug: 0.8"})
    assert "made the active one" in caught.value.fields["loras"][0] and trainable_version(name="mug v1") is None
    activate_version(version=version)
    pictures = []
    for loras in ("mug: 0.8", "mug: 0", ""):
        job, _new = submit_job(operation="create", params={**wish, "loras": loras})
        assert run_job(job.pk) == "succeeded", Job.objects.get(pk=job.pk).error_detail
        pictures.append(ProductImage.objects.get(job=job))
    facts = [picture.params["made_with"] for picture in pictures]
    assert facts[0]["prompt"] == "zeni mug, on a table" and facts[1]["prompt"] == facts[2]["prompt"] == "on a table"
    assert facts[0]["loras"] == f"mug x 0.8 ({version.weights_sha256[:16]})"
    assert pictures[0].sha256 != pictures[2].sha256
    (Path(version.folder) / "pytorch_lora_weights.safetensors").write_bytes(b"cut")
    job, _new = submit_job(operation="create", params={**wish, "loras": "mug"})
    assert run_job(job.pk) == "failed" and Job.objects.get(pk=job.pk).error_code == "model_corrupt"


@pytest.mark.django_db
def test_a_stopped_run_goes_on_with_its_name_alone(
    sd: Path, photos: Path, train: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def stop_at_once(self: runtime.StopFlag) -> bool:
        asked.append(1)
        return TrainingRun.objects.filter(state=RunState.RUNNING, images_seen__gte=1).exists()

    with monkeypatch.context() as patched:
        patched.setattr(runtime.StopFlag, "__call__", stop_at_once)
        told = train(base=str(sd), photos=str(photos), trigger="zeni mug", activate=True)
    assert "Stopped and saved: 1 photos seen" in told and "not in use" in told and asked
    assert TrainingRun.objects.get().state == RunState.STOPPED
    out = io.StringIO()
    call_command("train_lora", name="mug", activate=True, stdout=out)
    run = TrainingRun.objects.get()
    assert (run.state, run.images_seen) == (RunState.SUCCEEDED, 3) and "going on after 1 photos" in out.getvalue()
    found = find_lora("mug")
    assert found is not None and found.trigger == "zeni mug"
    assert list(ModelVersion.objects.order_by("version").values_list("version", "is_active")) == [(1, False), (2, True)]
    for version in ModelVersion.objects.all():
        verify_version(version=version)  # a run that goes on leaves the versions before it as they are
    with pytest.raises(CommandError, match="--rank: 4 -> 8"):
        call_command("train_lora", name="mug", rank=8, stdout=io.StringIO())


@pytest.mark.django_db
@pytest.mark.parametrize(("options", "message"), [
    ({"photos": "nowhere"}, "no folder nowhere"), ({"search": "unicorn"}, "unicorn"), ({"products": ["999"]}, "999"),
    ({"base": "nowhere"}, "nowhere"), ({"base": ""}, "--base"), ({"search": "hat"}, "1 usable photos"),
    ({"photos": ".", "search": "mug"}, "not both"), ({"name": "taken"}, "LORAS"), ({"name": "a b"}, "no spaces"),
])  # fmt: skip
def test_errors_are_plain_words(
    sd: Path, use: Callable[..., None], shop: list[Product], train: Run, options: dict[str, Any], message: str
) -> None:
    use(LORAS={"taken": "somewhere.safetensors"})
    with pytest.raises(CommandError, match=message):
        train(**{"base": str(sd), **options})
    assert not TrainingRun.objects.exists() and not ModelVersion.objects.exists()


@pytest.mark.django_db
def test_a_name_that_a_generator_has(sd: Path, photos: Path, train: Run) -> None:
    ModelVersion.objects.create(name="mug", version=1, folder="x", weights_sha256="0" * 64, weights_bytes=1)
    with pytest.raises(CommandError, match="no LoRA"):
        train(base=str(sd), photos=str(photos))


@pytest.mark.django_db
def test_a_failed_run_says_why_on_its_row(
    sd: Path, photos: Path, train: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shopgen_django.engines.lora_training.learner import Learner

    def broken(self: Learner, number: int) -> Any:
        raise ValueError("something nobody thought of")

    monkeypatch.setattr(Learner, "step", broken)
    with pytest.raises(ValueError, match="nobody thought of"):
        train(base=str(sd), photos=str(photos))
    run = TrainingRun.objects.get()
    assert run.state == RunState.FAILED and "nobody thought of" in run.error


@pytest.mark.django_db
def test_dry_run_and_help_teach(
    sd: Path, photos: Path, train: Run, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    told = train(base=str(sd), photos=str(photos), dry_run=True)
    assert "6 at 32 px, 1 held out" in told and "a photo of mug" in told and "rank 4, 15,360 numbers" in told, told
    assert not TrainingRun.objects.exists() and not (Path(settings.SHOPGEN["ROOT"]) / "training" / "lora-mug").exists()
    with pytest.raises(SystemExit):
        call_command("train_lora", "--help")
    text = capsys.readouterr().out
    for words in ("examples:", "--trigger", "Ctrl-C saves", "Stable Diffusion 1, 2 or XL"):
        assert words in text, words


@pytest.mark.django_db
def test_runs_and_versions_show_in_the_admin(learnt: Path, client: Client) -> None:
    from shopgen_django.services.fine_tuning import register_lora

    run = TrainingRun.objects.create(
        name="mug", state=RunState.STOPPED, output_dir=str(learnt), config={"kind": "lora"}, images_seen=12, photos=8,
        latest={"loss": 0.9, "loss_held_out": 1.1, "loss_base": 1.2, "best_step": 6.0},
    )
    for seen in (6, 12):
        MetricPoint.objects.create(
            run=run, images_seen=seen, seconds=seen, values={"loss_held_out": 1.2 - seen / 100, "loss_known": 1.1}
        )
    metrics = json.loads((learnt / "model.json").read_text())["metrics"]
    version = register_lora(folder=learnt, name="mug", run=run, activate=True, metrics=metrics)
    client.force_login(get_user_model().objects.create_superuser("root", password="x"))
    page = client.get(reverse("admin:shopgen_trainingrun_change", args=[run.pk])).content.decode()
    for text in ("manage.py train_lora --name mug", "loss on photos held out", "1.1000", "held out, and on known ones"):
        assert text in page, text
    page = client.get(reverse("admin:shopgen_modelversion_change", args=[version.pk])).content.decode()
    for text in ("zeni mug", "tiny-sd", "mug: 0.8", "lora:mug", "Below: with it", "/samples/"):
        assert text in page, text
    assert "evaluate_model" not in page
    assert client.get(reverse("admin:shopgen_modelversion_samples", args=[version.pk])).status_code == 200
