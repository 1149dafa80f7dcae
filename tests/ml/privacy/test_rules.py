"""Every combination that would void the guarantee is refused with the reason, before a picture is read."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shopgen_django.ml import loop
from shopgen_django.ml.config import TrainConfig
from shopgen_django.ml.errors import ConfigError
from shopgen_django.ml.options import add_options, config_from_options
from shopgen_django.ml.privacy.plan import default_delta, make_plan, plain_words
from shopgen_django.ml.privacy.rules import (
    EXAMINED,
    RULES,
    check_private,
    private_choices,
)
from shopgen_django.ml.privacy.units import Units
from tests.ml.photos import make_folder, tiny

OPTIONS = {f.name: f for f in fields(TrainConfig)}

VOIDS: list[tuple[dict[str, Any], str]] = [
    ({"loss": "rp"}, "generator's gradient would contain .* real photos"),
    ({"loss": "wgan-gp"}, "no sum over single pictures"),
    ({"architecture": "dcgan", "unroll": 5}, "pass through discriminator steps on real photos"),
    ({"architecture": "vae"}, "sees the photos itself"),
    ({"architecture": "denoiser"}, "sees the photos itself"),
    ({"gamma": 1.0}, "second gradient at real photos"),
    ({"warm_images": 20_000}, "shows photos and their principal components"),
    ({"augment": "adaptive"}, "steered by the discriminator's judgement"),
    ({"precision": "bf16"}, "fp32 only"),
    ({"processes": 2}, "one process"),
    ({"init": "base"}, "blends of the photos' own codes"),
    ({"init": "earlier"}, "learnt from the same photos"),
    ({"balance": "on"}, "read off the photos"),
    ({"micro_batch": 8}, "charged wrongly"),
]


def private(**values: Any) -> TrainConfig:
    return replace(TrainConfig(source="photos", output="run", dp_epsilon=8.0), **values)


@pytest.mark.parametrize(("values", "reason"), VOIDS, ids=lambda v: str(v) if isinstance(v, dict) else "")
def test_what_voids_the_guarantee_is_refused_with_the_reason(values: dict[str, Any], reason: str) -> None:
    flag = "--" + list(values)[-1].replace("_", "-")
    with pytest.raises(ConfigError, match=f"(?s){flag}.*can't go with --dp-epsilon.*{reason}"):
        check_private(private(**values))


def test_every_rule_about_an_option_that_exists_is_among_them() -> None:
    tested = {name for values, _reason in VOIDS for name in values}
    assert {rule.option for rule in RULES if rule.option in OPTIONS} <= tested


def test_an_option_that_nobody_examined_is_refused_as_soon_as_it_is_used() -> None:
    from dataclasses import dataclass

    from shopgen_django.ml.family_options import option

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Later(TrainConfig):
        look_at_photos: bool = option(False, group="expert", kind=bool, help="x")

    check_private(Later(source="photos", output="run", dp_epsilon=8.0))
    with pytest.raises(ConfigError, match=r"--look-at-photos can't go with --dp-epsilon: nobody has examined"):
        check_private(Later(source="photos", output="run", dp_epsilon=8.0, look_at_photos=True))


def test_examined_options_exist() -> None:
    assert OPTIONS.keys() >= EXAMINED


@pytest.mark.parametrize(
    "values", [{"dp_delta": 1e-6}, {"dp_noise": 1.0}, {"dp_clip": 2.0}, {"unsafe_metrics": True}], ids=str
)
def test_privacy_options_alone_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="does nothing without --dp-epsilon"):
        check_private(private(dp_epsilon=None, **values))


def test_minutes_alone_are_no_length() -> None:
    with pytest.raises(ConfigError, match="--images-seen N"):
        check_private(private(minutes=5.0))
    check_private(private(minutes=5.0, images_seen=1_000))


def test_the_open_choices_are_made_the_private_way() -> None:
    chosen = private_choices(private(), 900)
    check_private(chosen)
    assert (chosen.loss, chosen.gamma, chosen.warm_images, chosen.augment) == ("ns", 0.0, 0, "off")
    assert chosen.batch_size == 56


def test_the_command_line_has_the_options() -> None:
    import argparse

    parser = argparse.ArgumentParser()
    add_options(parser)
    options = parser.parse_args(
        ["--dp-epsilon", "2", "--dp-delta", "1e-6", "--dp-clip", "0.5", "--dp-noise", "3", "--unsafe-metrics"]
    )
    config = config_from_options(vars(options))
    assert (config.dp_epsilon, config.dp_delta, config.dp_clip, config.dp_noise) == (2.0, 1e-6, 0.5, 3.0)
    assert config.unsafe_metrics is True
    with pytest.raises(SystemExit):
        parser.parse_args(["--dp-epsilon", "1000"])


def test_a_refused_run_leaves_nothing_behind(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "photos")
    with pytest.raises(ConfigError, match="warm start"):
        loop.train(tiny(source, tmp_path / "run", dp_epsilon=8.0))
    assert not (tmp_path / "run").exists()


def test_metrics_are_refused_unless_somebody_knows_what_that_means() -> None:
    with pytest.raises(ConfigError, match="--metrics kid can't go with --dp-epsilon: metrics compare with real photos"):
        check_private(private(metrics="kid"))
    check_private(private(metrics="kid", unsafe_metrics=True))
    check_private(private())


def units(count: int, *, named: bool = True) -> Units:
    return Units(members=tuple(np.array([i]) for i in range(count)), named=named)


def plan_of(count: int, **values: Any) -> Any:
    return make_plan(private(**{"batch_size": 8, "images_seen": 400, "dp_noise": 2.0, **values}), units(count))


def test_a_delta_that_would_let_a_product_out_is_refused() -> None:
    with pytest.raises(ConfigError, match="publish one of the 100 products outright"):
        plan_of(100, dp_delta=0.01)
    assert plan_of(100, dp_delta=0.009).delta == 0.009
    assert default_delta(900) == 1e-5
    assert default_delta(1_000_000) == 5e-7


def test_a_batch_that_hides_nobody_is_refused() -> None:
    with pytest.raises(ConfigError, match="Use at most 7"):
        plan_of(15)


def test_noise_that_the_budget_cannot_pay_is_refused() -> None:
    with pytest.raises(ConfigError, match="first step already costs more"):
        plan_of(100, dp_noise=0.1, dp_epsilon=0.5)


def test_few_products_are_told_so_in_plain_words() -> None:
    words = "\n".join(plain_words(plan_of(100), 10_000))
    assert "far too few" in words
    assert "blobs" in words
    assert "25.0 times as strong" in words  # noise 2 in each of 10,000 directions against about 8 products
    assert "are few" in "\n".join(plain_words(plan_of(5_000), 10_000))
    assert "few" not in "\n".join(plain_words(plan_of(20_000), 10_000))
    alone = make_plan(private(batch_size=8, images_seen=400, dp_noise=2.0), units(100, named=False))
    assert "column product" in "\n".join(plain_words(alone, 10_000))
