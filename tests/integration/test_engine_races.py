"""Several processes at once, on both databases: whatever the interleaving, each row is won by one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from .shop import REPOSITORY, Shop

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def run_at_once(shop: Shop, *kinds: str) -> list[list[str]]:
    """Start these processes, let them begin together, and give what each of them won."""
    begin = str(time.time() + 4)
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.integration.races", kind, begin], env=shop.env, cwd=shop.folder,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for kind in kinds
    ]
    won = []
    for process in processes:
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        won.append(json.loads(out))
    return won


def test_each_job_is_claimed_once(shop: Shop) -> None:
    ids = shop.submit(120)
    won = run_at_once(shop, "claim", "claim", "claim", "claim")
    assert sorted(job for part in won for job in part) == sorted(ids)
    assert shop.states() == {"succeeded": 120}
    assert Counter(attempt for (attempt,) in shop.jobs("attempt")) == {1: 120}


def test_each_expired_lease_is_swept_once(shop: Shop) -> None:
    ids = shop.submit(60)
    shop.sql(
        "UPDATE shopgen_job SET state = 'running', attempt = 1, worker = 'gone', lease_until = '2020-01-01 00:00:00'"
        + ("" if not shop.dsn else "::timestamptz")
    )
    won = run_at_once(shop, "sweep", "sweep", "sweep")
    assert sorted(job for part in won for job in part) == sorted(ids)
    histories = [json.loads(text) if isinstance(text, str) else text for (text,) in shop.jobs("history")]
    assert [len(history) for history in histories] == [1] * 60


def test_cancel_against_finish(shop: Shop) -> None:
    """A job that succeeded was not cancelled and the other way round; none is left in between."""
    ids = shop.submit(120)
    finished, asked = run_at_once(shop, "claim", "cancel")
    states = shop.states()
    assert set(states) <= {"succeeded", "cancelled"} and sum(states.values()) == len(ids)
    assert states["succeeded"] == len(finished)
    assert len(set(finished) & set(asked)) == 0


@pytest.mark.postgres
def test_whole_job_suite_on_postgresql(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The tests of tests/jobs, on the other database."""
    dsn = request.getfixturevalue("postgres_server").create_database("engine_suite")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/jobs", "-q", "-p", "no:cacheprovider", "--create-db"],
        cwd=REPOSITORY, env={**os.environ, "SHOPGEN_TEST_POSTGRES": dsn, "SHOPGEN_TEST_DIR": str(tmp_path)},
        capture_output=True, text=True, timeout=300, check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
