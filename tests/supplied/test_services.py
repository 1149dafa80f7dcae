"""Models that people without a shell add, have verified and remove; every file is touched by a worker alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from shopgen_django.engines.diffusers.manifest import hash_files, read_manifest
from shopgen_django.exceptions import InvalidParameters, InvalidState, JobCancelled, NotAllowed, NotFound
from shopgen_django.jobs.sweeper import recover
from shopgen_django.models import Job, JobState, ModelVersion, SuppliedModel
from shopgen_django.services.model_sources import find_folder, offered_folders, require_allowed
from shopgen_django.services.model_uses import Use, dependants_of
from shopgen_django.services.supplied import all_supplied, get_supplied, not_added
from shopgen_django.services.supplied_work import ask_addition, ask_look, ask_removal, ask_verification
from tests.diffusion.test_folder import UNET, flip
from tests.factories import make_user

from .conftest import LICENCE, SOURCE, addition, done

pytestmark = pytest.mark.django_db


def test_added_by_a_worker_and_shown_with_all_that_is_known(house: Path, root: Path, boss: Any) -> None:
    link = root / "models" / "house"
    assert link.is_symlink() and link.resolve() == house.resolve()
    manifest = read_manifest(house)
    assert manifest is not None and (manifest.licence, manifest.base, manifest.source) == (LICENCE, "SD 1.5", SOURCE)
    model = get_supplied("house")
    assert (model.state, model.kind, model.licence, model.commercial) == (
        "whole", "Stable Diffusion 1 or 2", LICENCE, True
    )  # fmt: skip
    assert model.sha256 == manifest.sha256 and model.added_by == model.checked_by == boss
    assert model.added_at is not None and timezone.now() - model.added_at < timedelta(minutes=5)
    assert (model.alias, model.uses) == ("diffusion", ()) and {"create", "scene", "inpaint"} <= set(model.serves)
    names = [each.name for each in all_supplied()]
    assert names == ["house", "cutout", "denoiser", "enlarge", "base_64", "features"]
    assert all(each.licence and each.bytes and not each.problem for each in all_supplied())
    assert [known.name for known in not_added()] == ["u2netp", "opennsfw", "ppocr"]


def test_nothing_is_hashed_before_a_worker_comes_and_two_clicks_are_one(incoming: Path, boss: Any) -> None:
    first = ask_addition(addition=addition(), user=boss)
    assert not (incoming / "shopgen.json").exists()
    assert ask_addition(addition=addition(), user=boss) == first
    with pytest.raises(InvalidState, match="something else with house"):
        ask_addition(addition=addition(licence="MIT"), user=boss)
    assert done(first).state == JobState.SUCCEEDED
    again = ask_verification(name="house", user=boss)
    assert ask_verification(name="house", user=boss) == again and Job.objects.count() == 2
    assert get_supplied("house").state == "working"
    with pytest.raises(InvalidState, match="something else with house"):
        ask_removal(name="house", user=boss)


def test_a_changed_file_is_named_and_a_good_one_clears_it(house: Path, boss: Any) -> None:
    flip(house / UNET)
    job = done(ask_verification(name="house", user=boss))
    assert (job.state, job.error_code, job.attempt) == (JobState.FAILED, "model_corrupt", 1)
    model = get_supplied("house")
    assert model.state == "bad" and "unet/diffusion_pytorch_model.safetensors" in model.fault
    assert model.request is None, "the row says it; the job need not say it again"
    flip(house / UNET)
    assert done(ask_verification(name="house", user=boss)).state == JobState.SUCCEEDED
    assert (get_supplied("house").state, get_supplied("house").fault) == ("whole", "")


def test_missing_files_are_seen_without_hashing(house: Path, boss: Any) -> None:
    (house / UNET).unlink()
    model = get_supplied("house")
    assert model.state == "bad" and "unet has no weights" in model.problem and model.licence == LICENCE
    (house / "model_index.json").unlink()
    assert "model_index.json" in get_supplied("house").problem
    shutil.rmtree(house)
    assert "is gone" in get_supplied("house").problem
    job = done(ask_removal(name="house", user=boss))
    assert job.state == JobState.SUCCEEDED
    with pytest.raises(NotFound):
        get_supplied("house")


def test_a_killed_worker_is_not_forgotten(house: Path, boss: Any) -> None:
    job = ask_verification(name="house", user=boss)
    for attempt in range(1, 4):  # each worker that takes it dies
        gone = timezone.now() - timedelta(minutes=5)
        Job.objects.filter(pk=job.pk).update(
            state=JobState.RUNNING, attempt=attempt, worker=f"w{attempt}", lease_until=gone, started_at=gone
        )
        assert get_supplied("house").state == "working"
        recover()
    job.refresh_from_db()
    assert (job.state, job.error_code) == (JobState.FAILED, "worker_lost")
    model = get_supplied("house")
    assert model.state == "whole" and model.request == job, "what was known stays, and that the last one failed is told"
    assert done(ask_verification(name="house", user=boss)).state == JobState.SUCCEEDED
    assert get_supplied("house").request is None


def test_a_model_that_was_added_anew_is_another_one(house: Path, boss: Any) -> None:
    from shopgen_django.services.large_models import add_model

    flip(house / UNET)
    done(ask_verification(name="house", user=boss))
    add_model(house, name="house", licence=LICENCE, commercial=True, source=SOURCE)
    assert (get_supplied("house").state, get_supplied("house").fault) == ("unchecked", "")


def test_removed_the_folder_stays(house: Path, root: Path, boss: Any) -> None:
    assert done(ask_removal(name="house", user=boss)).state == JobState.SUCCEEDED
    assert not (root / "models" / "house").is_symlink() and (house / UNET).is_file()
    assert not SuppliedModel.objects.exists()
    with pytest.raises(NotFound):
        ask_removal(name="house", user=boss)


def test_what_would_miss_it(house: Path, settings: Any, boss: Any) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "ENGINES": {
        "diffusion": {"OPTIONS": {"MODEL": "house", "INPAINT_MODEL": str(house)}},
        "far": {"BACKEND": "shopgen_django.engines.remote.OpenAICompatible", "OPTIONS": {"MODEL": "house"}},
    }}  # fmt: skip
    model = get_supplied("house")
    assert model.uses == (Use(alias="diffusion", option="MODEL"), Use(alias="diffusion", option="INPAINT_MODEL"))
    for name, sha256 in (("ours", model.sha256), ("theirs", "0" * 64)):
        ModelVersion.objects.create(
            name=name, version=1, purpose=f"lora:{name}", folder="x", weights_sha256="0" * 64, weights_bytes=1,
            config={"base": {"name": "house", "sha256": sha256}},
        )
    Job.objects.create(operation="create", params={})
    Job.objects.create(operation="fit", params={})
    Job.objects.create(operation="recipe", params={"steps": [{"operation": "restyle", "params": {}}]})
    told = dependants_of(name="house", folder=model.folder, sha256=model.sha256)
    assert (told.loras, told.jobs, len(told.engines)) == (("ours v1",), 2, 2)


def test_each_verb_needs_its_permission(house: Path) -> None:
    asks: dict[str, Callable[[Any], Job]] = {
        "add_suppliedmodel": lambda user: ask_addition(addition=addition(), user=user),
        "verify_suppliedmodel": lambda user: ask_verification(name="house", user=user),
        "delete_suppliedmodel": lambda user: ask_removal(name="house", user=user),
    }
    for needed, ask in asks.items():
        with pytest.raises(NotAllowed):
            ask(make_user(f"not-{needed}", *(each for each in asks if each != needed)))
        done(ask(make_user(needed, needed)))


def test_what_ships_is_neither_verified_nor_removed(boss: Any) -> None:
    for ask in (ask_verification, ask_removal):
        with pytest.raises(InvalidState, match="comes with the package"):
            ask(name="cutout", user=boss)


def test_who_may_no_longer_do_it_does_not(house: Path, root: Path) -> None:
    user = make_user("gone", "delete_suppliedmodel")
    job = ask_removal(name="house", user=user)
    user.user_permissions.clear()
    assert done(job).error_code == "not_allowed" and (root / "models" / "house").is_symlink()


def test_a_folder_that_cannot_be_written_to_is_told_without_where_it_lies(
    incoming: Path, root: Path, boss: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path, **values: Any) -> None:
        raise PermissionError(13, "Permission denied", str(folder / "shopgen.json"))

    monkeypatch.setattr("shopgen_django.services.large_models.write_manifest", refuse)
    job = done(ask_addition(addition=addition(), user=boss))
    assert job.state == JobState.FAILED and "tiny-sd/shopgen.json can't be written to" in job.error_detail
    assert str(root) not in job.error_detail


# -- which folders --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/etc", "..", "../models", "tiny-sd/../../models", ".", "", "/", "tiny-sd\0", "{root}/models/x",
             "{root}/incoming_models", "{root}/incoming_models/../models", "{root}/incoming_models_too/x"],
)  # fmt: skip
def test_a_path_outside_is_refused_by_its_words_alone(path: str, root: Path, boss: Any) -> None:
    with pytest.raises(InvalidParameters, match="below incoming_models"):
        ask_addition(addition=addition(path=path.format(root=root)), user=boss)
    assert not Job.objects.exists()


def test_links_that_lead_out_are_refused(root: Path, sd: Path, incoming: Path, boss: Any) -> None:
    (root / "incoming_models" / "out").symlink_to(sd)
    job = done(ask_addition(addition=addition(path="out"), user=boss))
    assert job.state == JobState.FAILED and "below incoming_models" in job.error_detail
    (incoming / "unet" / "stolen.json").symlink_to("/etc/hostname")
    job = done(ask_addition(addition=addition(), user=boss))
    assert job.state == JobState.FAILED and "unet/stolen.json leads out" in job.error_detail
    assert str(root) not in job.error_detail
    assert not (incoming / "shopgen.json").exists() and not (root / "models").exists()


def test_links_within_are_followed(root: Path, incoming: Path) -> None:
    """As the caches of hubs keep their files: each a link to a blob beside the folder."""
    blob = root / "incoming_models" / "blobs" / "a"
    blob.parent.mkdir()
    shutil.move(incoming / UNET, blob)
    (incoming / UNET).symlink_to(blob)
    (root / "incoming_models" / "latest").symlink_to(incoming)
    assert find_folder("latest") == incoming.resolve() == find_folder(str(incoming))
    assert str(root / "incoming_models" / "tiny-sd") in offered_folders()


def test_other_folders_by_the_setting(settings: Any, tmp_path: Path, incoming: Path) -> None:
    shelf = tmp_path / "shelf"
    shutil.copytree(incoming, shelf / "one")
    settings.SHOPGEN = {**settings.SHOPGEN, "MODEL_SOURCES": [shelf, "incoming_models"]}
    assert find_folder("one") == (shelf / "one").resolve() and find_folder("tiny-sd") == incoming.resolve()
    settings.SHOPGEN = {**settings.SHOPGEN, "MODEL_SOURCES": []}
    with pytest.raises(InvalidParameters, match="names no folder"):
        require_allowed("one")


@pytest.mark.parametrize(("path", "words"), [("nothing", "no folder nothing"), ("net.onnx", "is a file")])
def test_what_is_no_folder_is_told_by_the_worker(path: str, words: str, incoming: Path, boss: Any) -> None:
    (incoming.parent / "net.onnx").write_bytes(b"x")
    job = done(ask_addition(addition=addition(path=path), user=boss))
    assert job.state == JobState.FAILED and words in job.error_detail


# -- licences and pickles -------------------------------------------------------------------------


def test_pickles_are_refused_with_the_reason(incoming: Path, boss: Any) -> None:
    with pytest.raises(InvalidParameters, match="can run any program when it is opened") as told:
        ask_addition(addition=addition(path="tiny-sd/unet/weights.ckpt"), user=boss)
    assert told.value.code == "unsafe_file"
    weights = incoming / UNET
    weights.rename(weights.with_suffix(".bin"))
    job = done(ask_addition(addition=addition(), user=boss))
    assert (job.state, job.error_code) == (JobState.FAILED, "unsafe_file")
    assert "can run any program when they are opened" in " ".join(job.error_detail.split())


def test_non_commercial_ones_are_refused_unless_the_setting_allows(incoming: Path, settings: Any, boss: Any) -> None:
    with pytest.raises(InvalidState, match="ALLOW_NONCOMMERCIAL_MODELS"):
        ask_addition(addition=addition(commercial=False), user=boss)
    with pytest.raises(InvalidParameters, match="forbids commercial use by its name"):
        ask_addition(addition=addition(licence="CC-BY-NC-4.0"), user=boss)
    settings.SHOPGEN = {**settings.SHOPGEN, "ALLOW_NONCOMMERCIAL_MODELS": True}
    done(ask_addition(addition=addition(licence="CC-BY-NC-4.0", commercial=False), user=boss))
    assert (get_supplied("house").state, get_supplied("house").commercial) == ("whole", False)
    settings.SHOPGEN = {**settings.SHOPGEN, "ALLOW_NONCOMMERCIAL_MODELS": False}
    assert "forbids commercial use, so it is refused" in get_supplied("house").problem


@pytest.mark.parametrize(
    ("values", "field"),
    [({"name": "Ours!"}, "name"), ({"name": "auto"}, "name"), ({"licence": " "}, "licence"), ({"source": ""}, "source"),
     ({"licence": "x" * 101}, "licence"), ({"source": "x" * 501}, "source")],
)  # fmt: skip
def test_mistakes_are_told_under_their_names(values: dict[str, Any], field: str, boss: Any) -> None:
    with pytest.raises(InvalidParameters) as told:
        ask_addition(addition=addition(**values), user=boss)
    assert set(told.value.fields) == {field}


# -- several machines -----------------------------------------------------------------------------


def test_a_web_server_without_the_folder_shows_what_a_worker_reported(
    house: Path, root: Path, boss: Any, other_host: Callable[[str], None]
) -> None:
    shutil.move(root / "models", root / "elsewhere")
    other_host("web")
    model = get_supplied("house")
    assert model.folder is None and model.state == "whole" and model.bytes > 5e6 and model.licence == LICENCE
    assert model.host and model.host != "web" and model.checked_on == model.host
    # A worker whose machine lacks it says so, and what the other one found stays.
    job = done(ask_verification(name="house", user=boss))
    assert job.error_code == "not_found" and "web has no model house" in job.error_detail
    assert get_supplied("house").state == "whole" and get_supplied("house").request == job
    job = done(ask_removal(name="house", user=boss))
    assert job.state == JobState.FAILED and model.host in job.error_detail and SuppliedModel.objects.exists()


@pytest.mark.parametrize("what", ["read_manifest", "all_models"])
def test_a_web_server_that_may_not_read_the_folder(
    what: str, house: Path, boss: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(house))

    monkeypatch.setattr(f"shopgen_django.services.large_models.{what}", refuse)
    model = all_supplied()[0]
    assert (model.name, model.folder, model.state, model.licence) == ("house", None, "whole", LICENCE)
    if what == "read_manifest":
        SuppliedModel.objects.all().delete()
        assert all_supplied()[0].problem == "Its files can't be read here: Permission denied."
        with pytest.raises(NotFound):
            get_supplied("house")


def test_a_worker_says_what_its_machine_has(house: Path, root: Path, boss: Any) -> None:
    SuppliedModel.objects.all().delete()
    (root / "models" / "hand").symlink_to(house)
    assert done(ask_look(user=boss)).state == JobState.SUCCEEDED
    assert set(SuppliedModel.objects.values_list("name", flat=True)) == {"hand", "house"}
    assert get_supplied("house").state == "unchecked"
    (root / "models" / "hand").unlink()
    done(ask_look(user=boss))
    assert "no longer" in get_supplied("hand").problem


def test_large_models_are_looked_after_where_they_are_loaded(house: Path, settings: Any, boss: Any) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "ACCELERATED_QUEUE": "gpu"}
    assert ask_verification(name="house", user=boss).queue == "gpu"
    SuppliedModel.objects.create(name="net", small=True, kind="cut_out", sha256="0" * 64)
    assert ask_verification(name="net", user=boss).queue == "cpu"


# -- hashing --------------------------------------------------------------------------------------


def test_hashing_tells_how_far_it_is_and_stops_when_told(incoming: Path) -> None:
    shares: list[float] = []
    hashed = hash_files(incoming, threads=2, report=shares.append)
    assert hashed == hash_files(incoming) and shares == sorted(shares) and shares[-1] == 1.0

    def stop() -> None:
        raise JobCancelled("enough")

    with pytest.raises(JobCancelled, match="enough"):
        hash_files(incoming, threads=2, check=stop)
