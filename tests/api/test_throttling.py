"""Limits that parallel requests can't get past."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, connections
from django.test import Client
from rest_framework.test import APIClient

from shopgen_django.models import Job, RateWindow
from shopgen_django.services import throttling
from shopgen_django.services.throttling import BlockCounter, take
from tests.api.conftest import BASE
from tests.factories import make_user


class Clock:
    """A time that only the test moves."""

    def __init__(self, monkeypatch: Any) -> None:
        self.now = 6000.0
        monkeypatch.setattr(throttling.time, "time", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: Any) -> Clock:
    return Clock(monkeypatch)


def together(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Run ``work`` in so many threads that start at once; their results."""
    results: list[Any] = []
    start = threading.Barrier(count)

    def run(number: int) -> None:
        start.wait()
        try:
            results.append(work(number))
        except Exception as error:
            results.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.django_db
def test_a_window_holds_its_limit_and_then_opens_again(clock: Clock) -> None:
    taken = [take(scope="jobs", key="u", limit=3) for _ in range(5)]
    assert [(answer.allowed, answer.remaining) for answer in taken] == [
        (True, 2), (True, 1), (True, 0), (False, 0), (False, 0)
    ]
    assert 1 <= taken[0].reset <= 61
    assert take(scope="jobs", key="other", limit=3).allowed
    assert take(scope="writes", key="u", limit=3).allowed
    clock.now += 60
    assert take(scope="jobs", key="u", limit=3).remaining == 2
    assert RateWindow.objects.filter(scope="jobs", key="u").count() == 1, "old windows leave no rows"


@pytest.mark.django_db
def test_an_amount_is_taken_whole_or_not_at_all(clock: Clock) -> None:
    assert take(scope="jobs", key="u", limit=10, amount=7).remaining == 3
    refused = take(scope="jobs", key="u", limit=10, amount=4)
    assert (refused.allowed, refused.remaining) == (False, 3)
    assert take(scope="jobs", key="u", limit=10, amount=3).allowed
    assert not take(scope="new", key="u", limit=10, amount=11).allowed


@pytest.mark.django_db
def test_a_clock_that_lags_behind_opens_no_old_window(clock: Clock) -> None:
    clock.now += 60
    assert take(scope="jobs", key="u", limit=2, amount=2).allowed
    clock.now -= 30
    assert not take(scope="jobs", key="u", limit=2).allowed


@pytest.mark.django_db(transaction=True)
def test_forty_threads_get_just_as_many_as_there_are(clock: Clock) -> None:
    answers = together(40, lambda number: take(scope="jobs", key="u", limit=15))
    assert sum(answer.allowed for answer in answers) == 15
    assert RateWindow.objects.get().count == 15


@pytest.mark.django_db(transaction=True)
def test_blocks_of_many_processes_never_exceed_the_limit(clock: Clock) -> None:
    """Four counters stand for four processes."""
    counters = [BlockCounter() for _ in range(4)]

    def read(number: int) -> int:
        return sum(counters[number % 4].take(scope="reads", key="u", limit=600).allowed for _ in range(120))

    allowed = together(8, read)
    assert sum(allowed) <= 600
    assert sum(allowed) >= 600 - 4 * 10, "at most one block per process is left over"


@pytest.mark.django_db
def test_a_block_saves_writes(clock: Clock, django_assert_num_queries: Any) -> None:
    counter = BlockCounter()
    first = counter.take(scope="reads", key="u", limit=6000)
    assert first.remaining == 5999
    with django_assert_num_queries(0):
        last = [counter.take(scope="reads", key="u", limit=6000) for _ in range(49)][-1]
    assert last.remaining == 5950
    clock.now += 60
    assert counter.take(scope="reads", key="u", limit=6000).remaining == 5999, "an old block is worth nothing"


@pytest.mark.django_db(transaction=True)
def test_parallel_posts_queue_no_more_jobs_than_allowed(model: Any, settings: Any, clock: Clock) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "API": {"JOBS_PER_MINUTE": 7}}
    user = make_user("anna", "submit_job")
    clients = [Client() for _ in range(24)]
    for client in clients:
        client.force_login(user)

    def post(number: int) -> int:
        return clients[number].post(
            f"{BASE}/jobs/", {"operation": "generate"}, content_type="application/json",
            headers={"x-forwarded-for": f"10.0.0.{number}"},
        ).status_code

    statuses = together(24, post)
    assert (statuses.count(202), statuses.count(429)) == (7, 17)
    assert Job.objects.count() == 7


def test_headers_tell_where_one_stands(staff: APIClient, model: Any, settings: Any, clock: Clock) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "API": {"JOBS_PER_MINUTE": 2, "READS_PER_MINUTE": 3}}
    answers = [staff.post(f"{BASE}/jobs/", {"operation": "generate"}, format="json") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert [answer.headers["RateLimit-Limit"] for answer in answers] == ["2", "2", "2"]
    assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
    refused = answers[-1]
    assert refused.json()["error"]["code"] == "rate_limited"
    assert 1 <= int(refused.headers["Retry-After"]) <= 61
    assert refused.headers["RateLimit-Reset"] == refused.headers["Retry-After"]
    assert staff.get(f"{BASE}/jobs/").status_code == 200, "reading has a counter of its own"


def test_reads_are_limited_too(staff: APIClient, settings: Any, clock: Clock) -> None:
    settings.SHOPGEN = {**settings.SHOPGEN, "API": {"READS_PER_MINUTE": 3}}
    assert [staff.get(f"{BASE}/jobs/").status_code for _ in range(4)] == [200, 200, 200, 429]
    clock.now += 60
    assert staff.get(f"{BASE}/jobs/").status_code == 200


def test_requests_that_are_refused_anyway_cost_the_caller_nothing(client_of: Any, db: None) -> None:
    for client in (APIClient(), client_of("plain", is_staff=False)):
        client.post(f"{BASE}/jobs/", {"operation": "generate"}, format="json")
    assert connection.vendor
    assert not RateWindow.objects.exists()
