"""The alarms' rules on planted figures: each goes off when it should, and not otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from shopgen_django.ml.alarms import MENDED, NAMES, WORDS, Seen, Watch, alarms_in


def seen(at: int, **values: Any) -> Seen:
    sound = {"kid": 0.1, "kid_error": 0.005, "coverage": 0.6, "variety": 0.8, "memory": 1.1}
    return Seen(images_seen=at, **{**sound, **values})


def watch(loss: str = "rp") -> Watch:
    return Watch(loss=loss)


def test_a_sound_run_has_no_alarm_and_its_best_snapshot_is_the_one_with_the_lowest_kid() -> None:
    found = watch()
    marks = [found.snapshot(seen(at, kid=kid)) for at, kid in ((1, 0.5), (2, 0.3), (3, 0.31), (4, 0.2))]
    assert marks == [True, True, False, True]
    found.tick({"loss_d": 0.6, "accuracy_d": 0.7, "overfit_d": 0.3}, step=10, images_seen=5)
    assert (found.figures(), found.wants_back()) == ({}, "")
    assert (found.best_kid, found.best_at) == (0.2, 4)


@pytest.mark.parametrize("gone", [{"variety": 0.05}, {"coverage": 0.01}])
def test_a_collapse_is_told_at_once_and_goes_back_at_the_second_snapshot(gone: dict[str, float]) -> None:
    found = watch()
    found.snapshot(seen(100))
    assert found.snapshot(seen(200, kid=0.01, **gone)) is False
    assert alarms_in(found.figures()) == {"collapse": 200}
    assert found.wants_back() == ""
    found.snapshot(seen(300, **gone))
    assert found.wants_back() == "collapse"
    found.mend("collapse", 300)
    assert alarms_in(found.figures()) == {}
    assert alarms_in(found.figures(), MENDED) == {"collapse": 300}
    assert found.wants_back() == ""


def test_a_generator_before_its_first_steps_is_no_collapse() -> None:
    found = watch()
    for at in (100, 200, 300):
        found.snapshot(seen(at, variety=0.02, coverage=0.0))
    assert found.figures() == {}
    found.snapshot(seen(30_000, variety=0.02, coverage=0.0))
    assert alarms_in(found.figures()) == {"collapse": 30_000}


def test_a_discriminator_that_has_won_for_500_steps_is_told() -> None:
    won = {"loss_d": 0.01, "accuracy_d": 1.0}
    found = watch()
    found.tick(won, step=100, images_seen=1)
    found.tick(won, step=599, images_seen=2)
    assert found.figures() == {}
    found.tick(won, step=600, images_seen=3)
    assert alarms_in(found.figures()) == {"d_won": 3}
    assert found.wants_back() == "d_won"
    found.tick({"loss_d": 0.3, "accuracy_d": 0.8}, step=700, images_seen=4)
    assert found.figures() == {}
    # Losses without that level say nothing by it.
    other = watch("wgan-gp")
    for step in (0, 600, 1200):
        other.tick({"loss_d": -5.0, "accuracy_d": 1.0}, step=step, images_seen=step)
    assert other.figures() == {}


def test_a_discriminator_that_learns_by_heart_is_told_until_it_no_longer_does() -> None:
    found = watch()
    for number in range(2):
        found.tick({"overfit_d": 0.9}, step=number, images_seen=number)
    assert found.figures() == {}
    found.tick({"overfit_d": 0.7}, step=2, images_seen=2)
    found.tick({"overfit_d": 0.55}, step=3, images_seen=3)
    assert alarms_in(found.figures()) == {"d_overfit": 2}
    assert found.wants_back() == ""  # augmentation mends it
    found.tick({"overfit_d": 0.4}, step=4, images_seen=4)
    assert found.figures() == {}


def test_copying_is_told_and_is_never_the_best() -> None:
    found = watch()
    assert found.snapshot(seen(1, kid=0.3))
    assert found.snapshot(seen(2, kid=0.05, memory=0.2)) is False
    assert alarms_in(found.figures()) == {"memorised": 2}
    assert found.last_is_worse(seen(2, kid=0.05, memory=0.2))
    assert found.best_at == 1


def test_three_much_worse_snapshots_in_a_row_are_a_divergence() -> None:
    found = watch()
    found.snapshot(seen(1, kid=0.1))
    for at, kid in ((2, 0.4), (3, 0.12), (4, 0.4), (5, 0.5)):
        found.snapshot(seen(at, kid=kid))
    assert found.wants_back() == ""
    found.snapshot(seen(6, kid=0.6))
    assert alarms_in(found.figures()) == {"diverged": 6}
    assert found.wants_back() == "diverged"


def test_noise_around_a_good_figure_is_no_divergence() -> None:
    found = watch()
    found.snapshot(seen(1, kid=0.001, kid_error=0.004))
    for at in (2, 3, 4, 5):
        found.snapshot(seen(at, kid=0.01, kid_error=0.004))
    assert found.figures() == {}


def test_of_states_that_are_alike_the_last_one_is_served() -> None:
    found = watch()
    found.snapshot(seen(1, kid=0.100, kid_error=0.01))
    assert found.last_is_worse(seen(2, kid=0.12, kid_error=0.01)) is False
    assert found.last_is_worse(seen(2, kid=0.14, kid_error=0.01)) is True
    assert watch().last_is_worse(seen(2)) is False


def test_what_is_known_outlasts_a_pause() -> None:
    found = watch()
    found.snapshot(seen(1, kid=0.1))
    found.snapshot(seen(2, variety=0.0))
    found.tick({"loss_d": 0.0, "accuracy_d": 1.0}, step=7, images_seen=2)
    again = watch()
    again.load_state(found.state())
    assert again == found
    assert again.figures() == found.figures()


def test_every_alarm_has_words() -> None:
    assert set(WORDS) == set(NAMES)
