"""What steps cost, against figures known beforehand, and how noise and steps are chosen from a budget."""

from __future__ import annotations

import math
import sys

import pytest

from shopgen_django.ml.errors import ConfigError
from shopgen_django.ml.privacy import accounting
from shopgen_django.ml.privacy.accounting import Ledger, affordable_steps, epsilon, noise_for

PHOTOS = 60_000
DELTA = 1e-5


@pytest.mark.parametrize(
    ("batch", "noise", "steps", "rdp", "prv"),
    [(128, 1.0, 450_000, 9.963, 9.282), (512, 2.0, 174_000, 9.995, 9.317), (512, 14.0, 165_000, 0.996, 0.921)],
)
def test_known_epsilons(batch: int, noise: float, steps: int, rdp: float, prv: float) -> None:
    history = [(noise, 1 / math.ceil(PHOTOS / batch), steps)]
    assert epsilon(history, DELTA, accountant="rdp") == pytest.approx(rdp, abs=0.01)
    # The answer is an upper bound that includes the numerical error asked for. Computed ten times less exactly, and the
    # difference of the two errors taken off again, it must be the known one: that costs a tenth of the time.
    assert epsilon(history, DELTA, error=0.1) - 0.09 == pytest.approx(prv, abs=0.01)


def test_a_gaussian_without_sampling_agrees_with_the_closed_form() -> None:
    """One step on everybody is the Gaussian mechanism, whose delta is known exactly (Balle and Wang 2018)."""
    noise, delta = 3.0, 1e-5

    def phi(x: float) -> float:
        return 0.5 * math.erfc(-x / math.sqrt(2.0))

    def exact_delta(eps: float) -> float:
        return phi(0.5 / noise - eps * noise) - math.exp(eps) * phi(-0.5 / noise - eps * noise)

    found = epsilon([(noise, 1.0, 1)], delta)
    assert exact_delta(found) <= delta
    assert exact_delta(found - 0.03) > delta


def test_nothing_spent_is_nothing() -> None:
    assert epsilon([], DELTA) == 0.0
    assert epsilon([(1.0, 0.1, 0)], DELTA) == 0.0


@pytest.mark.parametrize(("target", "rate", "steps"), [(10.0, 0.128, 400), (1.0, 0.1, 50), (4.0, 0.001, 2_000)])
def test_noise_is_the_least_that_fits(target: float, rate: float, steps: int) -> None:
    noise = noise_for(target, DELTA, rate, steps)
    assert epsilon([(noise, rate, steps)], DELTA, error=accounting.exactness(target)) <= target
    assert epsilon([(0.97 * noise, rate, steps)], DELTA) > target


def test_a_budget_that_nothing_fits_says_what_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounting, "MOST_NOISE", 8.0)
    with pytest.raises(ConfigError, match="larger --dp-epsilon"):
        noise_for(0.01, DELTA, 0.5, 100_000)


def test_steps_that_a_budget_pays_for() -> None:
    found = affordable_steps(2.0, DELTA, 1.0, 0.01, 10_000)
    assert 0 < found < 10_000
    assert epsilon([(1.0, 0.01, found)], DELTA) <= 2.0 < epsilon([(1.0, 0.01, int(found * 1.04))], DELTA)
    assert affordable_steps(2.0, DELTA, 1.0, 0.01, found // 2) == found // 2
    assert affordable_steps(0.05, DELTA, 0.3, 0.5, 10) == 0


def test_the_ledger_never_falls_and_stops_before_the_target() -> None:
    noise = 1.85
    ledger = Ledger(noise=noise, sample_rate=0.05, delta=DELTA, target=1.0, allowed=60)
    seen = [ledger.epsilon()]
    for _step in range(60):
        assert not ledger.spent
        ledger.charge()
        seen.append(ledger.epsilon())
    assert seen == sorted(seen)
    assert seen[0] == 0.0
    assert 0.8 < seen[-1] <= 1.0
    assert ledger.history == [(noise, 0.05, 60)]
    for steps in (7, 31):  # what is shown is never less than what was spent
        assert seen[steps] >= epsilon([(noise, 0.05, steps)], DELTA, error=0.02) - 0.02
    with pytest.raises(ConfigError, match="spent after 60 steps"):
        ledger.charge()


def test_without_opacus_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opacus", None)
    with pytest.raises(ConfigError, match=r"shopgen-django\[privacy\]"):
        epsilon([(1.0, 0.1, 10)], DELTA)
