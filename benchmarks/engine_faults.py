"""The engine under faults, with real workers: every job once, and how long until the work goes on.

    python -m benchmarks.engine_faults [--only NAME ...] [--database sqlite|postgres|both] [--write]

``busy``: 20 times kill -9 of a busy worker in 100 jobs, each time of another job. ``idle``: kill -9 of idle workers,
then jobs are queued. ``sigterm``: SIGTERM to the main process and to its process group while jobs run. ``stopped``: a
worker is stopped past its lease and continued (this is also how long it takes when a whole machine is lost: nobody can
see that its workers are dead, so the lease has to run out). ``killer``: a job kills its workers. Lease, heartbeat and
grace are the defaults (60 s, 10 s, 25 s). ``--write`` puts the figures into docs/benchmarks/engine.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.engine_report import machine, write_section
from tests.integration.shop import Shop, descendants, kill, still_alive
from tests.postgres import PrivatePostgres

DEFAULTS = {"SHOPGEN_TEST_LEASE": "60", "SHOPGEN_TEST_HEARTBEAT": "10", "SHOPGEN_TEST_GRACE": "25"}
JOBS, KILLS = 100, 20


def main() -> None:
    options = _options()
    # So that the workers and the database are ended on SIGTERM as well.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    rows: list[str] = []
    server = PrivatePostgres()
    server.start()
    try:
        for database in ("sqlite", "postgres") if options.database == "both" else (options.database,):
            for name in options.only or FAULTS:
                with tempfile.TemporaryDirectory(prefix="shopgen-faults-", ignore_cleanup_errors=True) as folder:
                    dsn = server.create_database(f"{database}_{name}") if database == "postgres" else None
                    shop = Shop(Path(folder), dsn=dsn, **DEFAULTS)
                    shop.migrate()
                    try:
                        for line in FAULTS[name](shop):
                            rows.append(f"| {database} | {line} |")
                            print(rows[-1], flush=True)
                    finally:
                        shop.close()
    finally:
        server.stop()
    if options.write:
        table = "\n".join(["| database | fault | outcome | time |", "|---|---|---|---|", *rows])
        write_section("faults", f"Lease 60 s, heartbeat 10 s, grace 25 s, two workers.\n\n{table}\n\n{machine()}")


def busy(shop: Shop) -> list[str]:
    """Kill whichever worker is busy, 20 times; each job makes a picture and leaves its notes."""
    shop.submit(JOBS, steps=10, pause=0.1, outputs=1)
    shop.start_worker("--verbosity", "0")
    chance, killed, recoveries = random.Random(7), [], []
    for _number in range(KILLS):
        victim = shop.wait(lambda: _worth_killing(shop, chance), seconds=200, what="a worker is busy", every=0.02)
        job, pid = victim
        kill(pid)
        began = time.monotonic()
        shop.wait(lambda job=job: _claimed_again(shop, job), seconds=200, what="the job runs again", every=0.05)
        recoveries.append(time.monotonic() - began)
        killed.append(job)
    shop.wait(lambda: shop.all_in("succeeded", "failed", "cancelled"), seconds=400, what="all jobs end", every=0.5)
    states = dict(shop.states())
    images = Counter(str(job) for (job,) in shop.sql("SELECT job_id FROM shopgen_productimage"))
    histories = [json.loads(text) if isinstance(text, str) else text for (text,) in shop.jobs("history")]
    once = sum([line["outcome"] for line in history].count("succeeded") == 1 for history in histories)
    lost = sum(line["outcome"] == "lost" for history in histories for line in history)
    assert set(images.values()) == {1}, images
    return [
        f"kill -9 of a busy worker, {KILLS} times in {JOBS} jobs | {states.get('succeeded', 0)} of {JOBS} succeeded, "
        f"{once} exactly once, {len(images)} with exactly one picture; {lost} attempts lost to the kills | the killed "
        f"job ran again after {statistics.median(recoveries):.1f} s (median), {max(recoveries):.1f} s (longest)"
    ]


def _worth_killing(shop: Shop, chance: random.Random) -> tuple[str, int] | None:
    """A running job that was not killed yet and its worker's process id."""
    rows = shop.sql("SELECT id, worker FROM shopgen_job WHERE state = 'running' AND attempt = 1")
    found = [(str(job), int(worker.split("/")[3])) for job, worker in rows]
    return chance.choice(found) if found else None


def _claimed_again(shop: Shop, job: str) -> bool:
    identifier = job.replace("-", "") if not shop.dsn else job
    [(attempt, state)] = shop.sql("SELECT attempt, state FROM shopgen_job WHERE id = %s", identifier)
    return attempt >= 2 or state == "succeeded"


def idle(shop: Shop) -> list[str]:
    """Bare django-q2 does nothing for ever after this."""
    shop.submit(1)
    worker = shop.start_worker("--verbosity", "0")
    shop.wait(lambda: shop.all_in("succeeded"), seconds=100, what="the first job ends")
    time.sleep(2)
    for pid in shop.idle_worker_pids(worker):
        kill(pid)
    shop.submit(3)
    began = time.monotonic()
    shop.wait(lambda: shop.all_in("succeeded"), seconds=300, what="jobs move again", every=0.2)
    took = time.monotonic() - began
    return [f"kill -9 of both idle workers, then 3 jobs queued | all succeeded, no person needed | {took:.1f} s"]


def sigterm(shop: Shop) -> list[str]:
    """Jobs of two minutes run; the grace of 25 s is not enough for them."""
    lines = []
    for name, send in (("main process", os.kill), ("process group", os.killpg)):
        shop.sql("DELETE FROM shopgen_job")
        shop.submit(3, steps=1200, pause=0.1)
        worker = shop.start_worker("--verbosity", "0")
        shop.wait(lambda: len(shop.busy_pids()) == 2, seconds=100, what="two jobs run")
        below = descendants(worker.pid)
        began = time.monotonic()
        send(worker.pid, signal.SIGTERM)
        code = worker.wait(120)
        took = time.monotonic() - began
        kept = sum(allowed - attempt == 3 for attempt, allowed in shop.jobs("attempt, max_attempts"))
        lines.append(
            f"SIGTERM to the {name}, two long jobs running | exit code {code}, {shop.states()['queued']} of 3 jobs "
            f"queued, {kept} of 3 with all attempts left, {len(still_alive(below))} processes left | {took:.1f} s"
        )
    return lines


def stopped(shop: Shop) -> list[str]:
    """SIGSTOP past the lease, then SIGCONT: the second attempt has the effect, the first writes nothing."""
    shop.submit(1, steps=40, pause=0.1, outputs=1)
    shop.start_worker()
    [victim] = shop.wait(shop.busy_pids, seconds=100, what="the job runs")
    began = time.monotonic()
    os.kill(victim, signal.SIGSTOP)
    shop.wait(lambda: shop.all_in("succeeded"), seconds=200, what="another worker does the job", every=0.2)
    took = time.monotonic() - began
    os.kill(victim, signal.SIGCONT)
    shop.wait(lambda: "attempt 1: lost" in shop.log(), seconds=100, what="the first one gives up")
    [(attempt,)] = shop.jobs("attempt")
    [(images,)] = shop.sql("SELECT count(*) FROM shopgen_productimage")
    files = len([path for path in (shop.folder / "shopgen" / "files" / "results").rglob("*") if path.is_file()])
    return [
        f"worker stopped past its lease, later continued | attempt {attempt} won; {images} picture, {files} "
        f"file; the late one wrote nothing | done {took:.1f} s after the stop"
    ]


def killer(shop: Shop) -> list[str]:
    """One job kills every worker that takes it; nine others are well."""
    shop.submit(1, mode="kill")
    shop.submit(9)
    began = time.monotonic()
    assert shop.start_worker("--verbosity", "0", "--until-idle").wait(200) == 0
    took = time.monotonic() - began
    [(code, attempt)] = shop.sql("SELECT error_code, attempt FROM shopgen_job WHERE state = 'failed'")
    return [
        f"a job that kills its worker, among 9 others | failed with {code} after {attempt} attempts, "
        f"{shop.states()['succeeded']} others succeeded | {took:.1f} s in all"
    ]


FAULTS: dict[str, Callable[[Shop], list[str]]] = {
    "busy": busy, "idle": idle, "sigterm": sigterm, "stopped": stopped, "killer": killer,
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=FAULTS)
    parser.add_argument("--database", choices=["sqlite", "postgres", "both"], default="both")
    parser.add_argument("--write", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
