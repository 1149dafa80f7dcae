"""Budgets: refused before anything is queued, kept while work runs, and sums that equal the rows they come from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.db.models import F, Sum
from django.utils import timezone
from rest_framework.test import APIClient

from shopgen_django import budget_checks
from shopgen_django.budgets import Budget, budgets
from shopgen_django.engines import reset_engines
from shopgen_django.exceptions import BudgetSpent
from shopgen_django.jobs import lease as leases
from shopgen_django.jobs.runner import run_job
from shopgen_django.jobs.usage import JobPurse, standings
from shopgen_django.models import Job, JobState, UsageEntry, UsageHold
from shopgen_django.operations.registry import get_operation
from shopgen_django.services.batch import BatchItem, submit_batch
from shopgen_django.services.budgets import budget_standings
from shopgen_django.services.jobs import cancel_job, retry_job
from shopgen_django.services.previews import submit_preview
from shopgen_django.services.retention import apply_retention
from shopgen_django.services.submit import submit_job
from tests.factories import make_image, make_user
from tests.remote.server import Told, running

pytestmark = pytest.mark.django_db(transaction=True)
MONTH = {"UNIT": "pictures", "LIMIT": 6, "PERIOD": "month"}


@pytest.fixture
def shop(settings: Any) -> Iterator[Callable[..., Told]]:
    """``shop(name={…})``: a server of pictures that costs 0.04 each, and these budgets."""
    with running() as (url, told):

        def opened(**wanted: Any) -> Told:
            engine = {
                "BACKEND": "shopgen_django.engines.remote.OpenAICompatible", "PRICE": "0.04",
                "OPTIONS": {"URL": url, "MODEL": "tiny", "SIZE": (64, 48), "RETRIES": 3},
            }
            settings.SHOPGEN = {
                **settings.SHOPGEN, "ENGINES": {"diffusion": engine}, "BUDGETS": wanted,
                "JOBS": {"BACKOFF_SECONDS": 0.001},
            }
            return told

        yield opened
        told.released.set()
        reset_engines()


def queue(count: int = 1, user: Any = None, **more: Any) -> Job:
    params = {"prompt": "a hat", "count": count}
    return submit_job(operation="create", params=params, user=user, **more)[0]


def ended(job: Job) -> Job:
    run_job(job.pk)
    job.refresh_from_db()
    return job


def stands(name: str, user: Any = None) -> tuple[float, float]:
    """Used and set aside."""
    (found,) = standings([budget for budget in budgets() if budget.name == name], user)
    return float(found.used), float(found.held)


# -- before anything is queued ---------------------------------------------------------------------


def test_what_waits_is_set_aside_and_more_is_refused(shop: Callable[..., Told]) -> None:
    shop(pictures=MONTH, others={**MONTH, "LIMIT": 1, "OPERATIONS": ["restyle"]})
    first = queue(4)
    assert stands("pictures") == (0, 4)
    with pytest.raises(BudgetSpent, match="“pictures” does not pay") as caught:
        queue(3)
    told = caught.value.fields
    assert (told["budget"], told["used"], told["held"], told["limit"]) == (["pictures"], ["0"], ["4"], ["6"])
    renews = datetime.fromisoformat(str(told["renews"][0]))
    assert renews > timezone.now() and renews.day == 1
    assert 0 < caught.value.retry_after <= 32 * 86400
    assert Job.objects.count() == 1 and UsageHold.objects.filter(engine="diffusion").count() == 1
    queue(2)
    cancel_job(job=first)
    assert stands("pictures") == (0, 2), "a cancelled job sets nothing aside"
    queue(4)


def test_a_batch_is_queued_whole_or_not_at_all(shop: Callable[..., Told]) -> None:
    shop(pictures=MONTH)
    user = make_user("maker", "submit_job")
    items = [BatchItem(name=str(number)) for number in range(4)]
    with pytest.raises(BudgetSpent):
        submit_batch(operation="create", params={"prompt": "a hat", "count": 2}, items=items, user=user)
    assert not Job.objects.exists() and not UsageHold.objects.exists()
    submit_batch(operation="create", params={"prompt": "a hat", "count": 2}, items=items[:3], user=user)
    assert stands("pictures") == (0, 6)


def test_the_same_request_again_is_no_new_one(shop: Callable[..., Told]) -> None:
    shop(pictures=MONTH)
    first = queue(6, idempotency_key="one")
    assert queue(6, idempotency_key="one") == first and stands("pictures") == (0, 6)


def test_previews_and_chains_are_paid_for_as_well(shop: Callable[..., Told]) -> None:
    shop(restyle={**MONTH, "OPERATIONS": ["restyle"]})
    image, user = make_image("approved"), make_user("maker", "submit_job")
    params = {"prompt": "linen", "count": 2}
    again = {"operation": "restyle", "params": params}
    steps = [again, {"operation": "fit"}, again]
    with pytest.raises(BudgetSpent):
        submit_job(operation="recipe", inputs=[image], params={"recipe": "own", "steps": [*steps, again]})
    submit_job(operation="recipe", inputs=[image], params={"recipe": "own", "steps": steps})
    assert stands("restyle") == (0, 6), "two, and of each of these two more"
    with pytest.raises(BudgetSpent):
        submit_preview(operation="restyle", params=params, inputs=[image], user=user)


def test_over_http(shop: Callable[..., Told]) -> None:
    shop(pictures={**MONTH, "LABEL": "Pictures of the month"})
    client = APIClient()
    client.force_login(make_user("maker", "submit_job"))
    body = {"operation": "create", "params": {"prompt": "a hat", "count": 7}}
    answer = client.post("/shopgen/api/v1/jobs/", body, format="json")
    assert answer.status_code == 429 and int(answer["Retry-After"]) > 0
    error = answer.json()["error"]
    assert error["code"] == "budget_spent" and "Pictures of the month" in error["message"]
    assert error["fields"]["limit"] == ["6"]
    queue(2)
    (told,) = client.get("/shopgen/api/v1/budgets/").json()["results"]
    assert (told["name"], told["limit"], told["used"], told["held"], told["left"]) == ("pictures", 6, 0, 2, 4)


# -- while work runs ------------------------------------------------------------------------------


def test_each_request_is_one_row_also_when_it_is_sent_again(
    shop: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shopgen_django.engines.remote.client.PAUSES", (0.0,))
    told = shop(pictures=MONTH, money={**MONTH, "UNIT": "money", "LIMIT": 1}, requests={**MONTH, "UNIT": "requests"})
    told.faults = ["busy", "broken"]
    job = ended(queue(2, make_user("maker", "submit_job")))
    assert job.state == JobState.SUCCEEDED, job.error_detail
    assert len(told.asked) == UsageEntry.objects.count() == 4
    entries = UsageEntry.objects.all()
    assert {(row.job_id, row.attempt, row.operation, row.engine, row.created_by_id) for row in entries} == {
        (job.pk, 1, "create", "diffusion", job.created_by_id)
    }
    for name, column in (("pictures", "pictures"), ("requests", "requests"), ("money", "money")):
        total = entries.aggregate(total=Sum(column))["total"]
        assert stands(name) == (float(total), 0)
    assert stands("money") == (0.16, 0)
    job.delete()
    assert stands("pictures") == (4, 0), "a job that is tidied away was paid for all the same"


def test_what_was_queued_before_does_not_overrun(shop: Callable[..., Told]) -> None:
    """Its budget was spent meanwhile (by retries, or a lower limit): it ends by name before anything is sent."""
    told = shop(pictures=MONTH)
    job = queue(4)
    entry = UsageEntry.objects.create(operation="create", engine="diffusion", requests=1, pictures=5)
    ended(job)
    assert (job.state, job.error_code) == (JobState.FAILED, "budget_spent") and "5 of 6" in job.error_detail
    assert not told.asked and job.attempt == 1, "waiting would not help, so it is not tried again by itself"
    with pytest.raises(BudgetSpent):
        retry_job(job=job)
    UsageEntry.objects.filter(pk=entry.pk).update(at=timezone.now() - timedelta(days=32))
    assert ended(retry_job(job=job)).state == JobState.SUCCEEDED
    assert len(told.asked) == 4 and stands("pictures") == (4, 0)


def test_a_retried_attempt_pays_again(shop: Callable[..., Told]) -> None:
    told = shop(pictures={**MONTH, "LIMIT": 5})
    told.faults = ["", "refuses"]
    job = ended(queue(3))
    assert job.state == JobState.FAILED and stands("pictures") == (2, 0)
    retry_job(job=job)
    assert stands("pictures") == (2, 3)
    assert ended(job).state == JobState.SUCCEEDED and stands("pictures") == (5, 0)
    assert set(UsageEntry.objects.values_list("attempt", flat=True)) == {1, 2}


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """What each call returned or raised, all begun together."""
    ready, found = threading.Barrier(len(calls)), [None] * len(calls)

    def run(number: int) -> None:
        ready.wait(30)
        try:
            found[number] = calls[number]()
        except BudgetSpent as error:
            found[number] = error  # type: ignore[call-overload]
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


def test_eight_at_once_queue_no_more_than_is_left(shop: Callable[..., Told]) -> None:
    shop(pictures=MONTH)
    found = at_once([lambda: queue(2)] * 8)
    assert sum(isinstance(each, Job) for each in found) == 3
    assert sum(isinstance(each, BudgetSpent) for each in found) == 5 and stands("pictures") == (0, 6)


def test_workers_at_once_send_no_more_than_is_left(shop: Callable[..., Told]) -> None:
    """Each request asks anew: one that was never set aside (a shop's own operation) is stopped as well."""
    shop(pictures=MONTH)
    operation = get_operation("create")
    params = operation.Parameters.parse({"prompt": "a hat"})
    jobs = [Job.objects.create(operation="create", params=params) for _number in range(4)]
    purses = [JobPurse(job, 1, operation, params) for job in jobs]

    def work(purse: JobPurse) -> int:
        sent = 0
        for _request in range(3):
            try:
                purse.spend("diffusion", pictures=1)
            except BudgetSpent:
                return sent
            sent += 1
        return sent

    found = at_once([lambda purse=purse: work(purse) for purse in purses])  # type: ignore[misc]
    assert sum(found) == UsageEntry.objects.count() == 6 and stands("pictures") == (6, 0)


def test_queueing_and_spending_at_once_finish(shop: Callable[..., Told]) -> None:
    """They take their locks in one order: rows that name a user are written while that user's batches are queued."""
    shop(pictures={**MONTH, "LIMIT": 1000})
    user = make_user("maker", "submit_job")
    operation = get_operation("create")
    job = queue(1, user)
    purse = JobPurse(job, 1, operation, job.params)
    items = [BatchItem(name=str(number)) for number in range(3)]

    def batch(key: str) -> str:
        params = {"prompt": "a hat"}
        submit_batch(operation="create", params=params, items=items, user=user, idempotency_key=key, request=key)
        return "queued"

    def spend() -> str:
        for _request in range(5):
            purse.spend("diffusion", pictures=1)
        return "spent"

    calls: list[Callable[[], str]] = []
    for number in range(4):
        calls += [lambda number=number: batch(f"key {number}"), spend]  # type: ignore[misc]
    assert at_once(calls) == ["queued", "spent"] * 4
    assert stands("pictures") == (20, 12)


def test_what_budgets_count_is_not_tidied_away(shop: Callable[..., Told], settings: Any) -> None:
    shop(pictures=MONTH)
    settings.SHOPGEN = {**settings.SHOPGEN, "RETENTION": {"USAGE_DAYS": 1}}
    rows = [UsageEntry.objects.create(operation="create", engine="diffusion", pictures=1) for _number in range(3)]
    for row, days in zip(rows, (0, 20, 40), strict=True):
        UsageEntry.objects.filter(pk=row.pk).update(at=timezone.now() - timedelta(days=days))
    assert apply_retention(dry_run=True).usage == 1 and apply_retention().usage == 1
    assert UsageEntry.objects.count() == 2


def test_an_attempt_that_has_begun_is_sure_of_its_part(shop: Callable[..., Told]) -> None:
    shop(pictures=MONTH)
    first, second = queue(4), queue(2)
    UsageHold.objects.update(pictures=5, requests=5)  # as if the limit had been lowered since
    held = leases.claim(worker="a", queue="cpu")
    other = leases.claim(worker="b", queue="cpu")
    assert held is not None and other is not None and {held.job, other.job} == {first, second}
    operation = get_operation("create")
    one, two = (JobPurse(each.job, each.token, operation, each.job.params) for each in (held, other))
    one.begin("diffusion", requests=4, pictures=4)
    with pytest.raises(BudgetSpent):
        two.begin("diffusion", requests=2, pictures=2)
    for _request in range(5):
        one.spend("diffusion", pictures=1)
    one.begin("diffusion", requests=1, pictures=1)
    one.spend("diffusion", pictures=1)
    with pytest.raises(BudgetSpent):
        one.spend("diffusion", pictures=1)
    assert stands("pictures")[0] == 6


def test_the_time_of_workers(shop: Callable[..., Told]) -> None:
    """Counted from each attempt's end; the estimate is set aside before."""
    shop(time={"UNIT": "seconds", "LIMIT": 1000, "PERIOD": "day"})
    job = queue(1)
    assert stands("time") == (0, pytest.approx(get_operation("create").estimate(job.params, 0).seconds))
    assert ended(job).state == JobState.SUCCEEDED
    entry = UsageEntry.objects.get(engine="")
    assert entry.seconds >= float(job.seconds or 0) > 0 and stands("time") == (entry.seconds, 0)
    lost = queue(1)
    assert leases.claim(worker="a", queue="cpu") is not None
    now = timezone.now()
    Job.objects.filter(pk=lost.pk).update(
        started_at=now - timedelta(seconds=90), heartbeat_at=now - timedelta(seconds=30), lease_until=now
    )
    assert leases.take_from_worker(Job.objects.get(pk=lost.pk)) == "requeued"
    assert UsageEntry.objects.get(job=lost).seconds == pytest.approx(60, abs=0.01)
    shop(time={"UNIT": "seconds", "LIMIT": 20, "PERIOD": "day"})
    with pytest.raises(BudgetSpent, match="20 seconds of work"):
        queue(1)


# -- whose, and when ------------------------------------------------------------------------------


def test_for_whom_a_budget_is(shop: Callable[..., Told]) -> None:
    shop(
        each={**MONTH, "LIMIT": 3, "EACH": True}, team={**MONTH, "LIMIT": 4, "GROUPS": ["trial"], "USERS": ["carol"]},
    )  # fmt: skip
    anna, bob, carol, dora = (make_user(name, "submit_job") for name in ("anna", "bob", "carol", "dora"))
    trial = Group.objects.create(name="trial")
    bob.groups.add(trial)
    queue(3, anna)
    with pytest.raises(BudgetSpent, match="“each”"):
        queue(1, anna)
    queue(2, bob)
    queue(2, carol)
    with pytest.raises(BudgetSpent, match="“team”"):
        queue(1, bob)
    queue(3, dora)
    queue(9)
    assert stands("each", bob) == (0, 2) and stands("team", anna) == (0, 4)
    assert [standing.budget.name for standing in budget_standings(anna)] == ["each"]
    assert [standing.budget.name for standing in budget_standings(carol)] == ["each", "team"]
    looks = make_user("looks", "view_job")
    assert [standing.budget.name for standing in budget_standings(looks)] == ["each", "team"]


@pytest.mark.parametrize(
    ("period", "now", "began", "renews"),
    [
        ("day", "2026-03-29T12:00+02:00", "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00"),
        ("day", "2026-10-24T22:30+00:00", "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00"),
        ("month", "2026-12-31T22:59+00:00", "2026-12-01T00:00+01:00", "2027-01-01T00:00+01:00"),
        ("month", "2026-12-31T23:01+00:00", "2027-01-01T00:00+01:00", "2027-02-01T00:00+01:00"),
        ("month", "2028-02-29T12:00+00:00", "2028-02-01T00:00+01:00", "2028-03-01T00:00+01:00"),
    ],
)
def test_a_period_begins_at_the_shops_midnight(settings: Any, period: str, now: str, began: str, renews: str) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    budget = Budget(name="a", label="a", unit="pictures", limit=Decimal(1), period=period)
    found = budget.bounds(datetime.fromisoformat(now).astimezone(ZoneInfo("Asia/Shanghai")))
    assert found == (datetime.fromisoformat(began), datetime.fromisoformat(renews))


def test_what_was_spent_before_the_period_does_not_count(shop: Callable[..., Told]) -> None:
    shop(day={**MONTH, "PERIOD": "day"}, month=MONTH)
    began, _renews = budgets()[0].bounds()
    for moment, pictures in ((began - timedelta(microseconds=1), 4), (began, 2)):
        row = UsageEntry.objects.create(operation="create", engine="diffusion", pictures=pictures)
        UsageEntry.objects.filter(pk=row.pk).update(at=moment)
    assert stands("day") == (2, 0)


def test_few_queries_however_many_budgets_and_jobs(
    shop: Callable[..., Told], django_assert_max_num_queries: Any
) -> None:
    shop(**{f"b{number}": {**MONTH, "LIMIT": 1000, "OPERATIONS": ["create"] * (number % 2)} for number in range(8)})
    user = make_user("maker", "submit_job", "view_job")
    user.has_perm("shopgen.view_job")
    with django_assert_max_num_queries(2):
        assert len(budget_standings(user)) == 8

    def number_of(count: int) -> int:
        from django.test.utils import CaptureQueriesContext

        items = [BatchItem(name=str(number)) for number in range(count)]
        with CaptureQueriesContext(connection) as seen:
            submit_batch(operation="create", params={"prompt": "a hat"}, items=items, user=user)
        return sum("shopgen_usage" in query["sql"] for query in seen.captured_queries)

    assert number_of(2) == number_of(12) <= 4


def test_without_budgets_nothing_is_set_aside_and_requests_are_written_down(shop: Callable[..., Told]) -> None:
    """So that a budget that is made in the middle of a month knows what was spent."""
    told = shop()
    assert ended(queue(2)).state == JobState.SUCCEEDED
    assert UsageEntry.objects.count() == len(told.asked) == 2
    assert not UsageHold.objects.exclude(requests=0, pictures=0).exists()


# -- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "words", "code"),
    [
        ({"UNIT": "tokens", "LIMIT": 1, "PERIOD": "day"}, "UNIT must be one of", "E022"),
        ({"UNIT": "pictures", "LIMIT": 0, "PERIOD": "day"}, "LIMIT must be a number above 0", "E022"),
        ({"UNIT": "pictures", "LIMIT": "nan", "PERIOD": "day"}, "LIMIT must be a number above 0", "E022"),
        ({"UNIT": "pictures", "LIMIT": True, "PERIOD": "day"}, "LIMIT must be a number above 0", "E022"),
        ({"UNIT": "pictures", "LIMIT": 1, "PERIOD": "week"}, "PERIOD must be one of day, month", "E022"),
        ({**MONTH, "ENGINES": "diffusion"}, "ENGINES must be a list of names", "E022"),
        ({**MONTH, "EACH": "yes"}, "EACH must be True or False", "E022"),
        ({**MONTH, "LIMITS": 3}, "unknown keys: LIMITS", "E022"),
        ({"UNIT": "seconds", "LIMIT": 1, "PERIOD": "day", "ENGINES": ["diffusion"]}, "for workers, not for", "E022"),
        (17, "must be a dict", "E022"), ({**MONTH, "LABEL": 3}, "LABEL must be a text", "E022"),
        ({**MONTH, "ENGINES": ["difusion"]}, "names difusion, which does not exist", "E023"),
        ({**MONTH, "OPERATIONS": ["creat"]}, "names creat, which does not exist", "E023"),
        ({**MONTH, "ENGINES": ["cutout"]}, "none of its engines asks a server", "W012"),
    ],
)
def test_settings_that_can_not_be_are_told(shop: Callable[..., Told], entry: Any, words: str, code: str) -> None:
    shop(wrong=entry)
    found = budget_checks.check_budgets()
    assert any(words in message.msg and message.id == f"shopgen.{code}" for message in found), found


def test_prices_are_checked_and_good_settings_say_nothing(shop: Callable[..., Told], settings: Any) -> None:
    shop(pictures=MONTH, money={**MONTH, "UNIT": "money"}, time={"UNIT": "seconds", "LIMIT": 1.5, "PERIOD": "day"})
    assert budget_checks.check_budgets() == []
    engine = settings.SHOPGEN["ENGINES"]["diffusion"]
    settings.SHOPGEN = {**settings.SHOPGEN, "ENGINES": {"diffusion": {**engine, "PRICE": "much"}}}
    assert [message.id for message in budget_checks.check_budgets()] == ["shopgen.E022"]
    settings.SHOPGEN = {**settings.SHOPGEN, "ENGINES": {"diffusion": {**engine, "PRICE": None}}}
    assert [message.id for message in budget_checks.check_budgets()] == ["shopgen.W012"]


def test_a_hold_never_falls_below_nothing(shop: Callable[..., Told]) -> None:
    shop(pictures={**MONTH, "LIMIT": 100})
    job = queue(1)
    lease = leases.claim(worker="a", queue="cpu")
    assert lease is not None
    purse = JobPurse(job, lease.token, get_operation("create"), job.params)
    for _request in range(3):
        purse.spend("diffusion", pictures=1)
    assert UsageHold.objects.filter(engine="diffusion", pictures=0, requests=0, money=0).count() == 1
    assert UsageHold.objects.filter(attempt=F("job__attempt")).count() == 0
