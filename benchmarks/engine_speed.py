"""1,000 stub jobs through the engine against the same work as bare django-q2 tasks, in the same run.

    python -m benchmarks.engine_speed [--jobs 1000] [--rounds 3] [--database sqlite|postgres|both] [--write]

Both arms use the same Q_CLUSTER (two workers), the same database and the same stub (which does nothing but append two
lines to a file); they take turns. Time runs from the first job's start to the last job's end, so that neither start-up
nor queueing counts. A second time runs until the queue holds no message any more: the engine's workers run several
short jobs per ring, so that rings are left over which find nothing to do. ``--write`` puts the figures into
docs/benchmarks/engine.md.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.engine_report import machine, write_section
from tests.integration.shop import Shop
from tests.postgres import PrivatePostgres

BAR, AIM = 1.6, 1.3
ENVIRONMENT = {"SHOPGEN_TEST_LEASE": "60", "SHOPGEN_TEST_HEARTBEAT": "10", "SHOPGEN_TEST_QUIET": "1"}


class Times(NamedTuple):
    """Seconds from the first job's start to the last job's end, and until no message was left in the queue."""

    jobs: float
    messages: float


def main() -> None:
    options = _options()
    # So that the workers and the database are ended on SIGTERM as well.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    lines = [
        "| database | bare django-q2 | engine | ratio of the medians | bar | aim | messages gone: bare, engine |",
        "|---|---|---|---|---|---|---|",
    ]
    server = PrivatePostgres()
    server.start()
    try:
        for database in ("sqlite", "postgres") if options.database == "both" else (options.database,):
            bare: list[Times] = []
            ours: list[Times] = []
            for number in range(options.rounds):
                for arm, times in ((_bare, bare), (_engine, ours)):
                    times.append(_measure(arm, options.jobs, database, server, f"{database}_{number}_{arm.__name__}"))
                    print(f"{database} {arm.__name__} round {number + 1}: {times[-1]}", flush=True)
            ratio = _median(ours) / _median(bare)
            print(f"{database}: ratio {ratio:.2f}", flush=True)
            lines.append(
                f"| {database} | {_spread(bare, options.jobs)} | {_spread(ours, options.jobs)} | {ratio:.2f} | {BAR} "
                f"| {AIM} | {_gone(bare)}, {_gone(ours)} |"
            )
    finally:
        server.stop()
    if options.write:
        intro = (
            f"{options.jobs:,} stub jobs, two workers, {options.rounds} rounds each in turn; median (all rounds) in "
            "seconds, jobs per second. The last column: seconds until the queue was empty as well."
        )
        write_section("speed", "\n\n".join([intro, "\n".join(lines), machine()]))


def _measure(
    arm: Callable[[Shop], subprocess.Popen[bytes]], jobs: int, database: str, server: PrivatePostgres, name: str
) -> Times:
    with tempfile.TemporaryDirectory(prefix="shopgen-speed-", ignore_cleanup_errors=True) as folder:
        dsn = server.create_database(name.lower()) if database == "postgres" else None
        shop = Shop(Path(folder), dsn=dsn, **ENVIRONMENT)
        shop.migrate()
        shop.submit(jobs, transport="bare" if arm is _bare else "stub")
        arm(shop)
        try:
            shop.wait(lambda: _ended(shop) >= jobs, seconds=600, what="all jobs end", every=0.25)
            shop.wait(lambda: _left(shop) == 0, seconds=600, what="the queue is empty", every=0.25)
            empty = time.time()
        finally:
            # By force: bare django-q2 now and then never ends when it is asked to.
            shop.close()
        notes = shop.notes()
        tags = sorted(note[0] for note in notes if note[1] == "end")
        assert tags == sorted(f"t{number}" for number in range(jobs)), "a job ran twice or not at all"
        if arm is _engine:
            assert shop.states() == {"succeeded": jobs}
        times = [float(note[3]) for note in notes]
        return Times(jobs=max(times) - min(times), messages=empty - min(times))


def _bare(shop: Shop) -> subprocess.Popen[bytes]:
    with shop.log_file.open("ab") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "django", "qcluster"], env=shop.env, cwd=shop.folder, stdout=log, stderr=log,
            start_new_session=True,
        )
    shop.workers.append(worker)
    return worker


def _engine(shop: Shop) -> subprocess.Popen[bytes]:
    return shop.start_worker("--verbosity", "0")


def _ended(shop: Shop) -> int:
    return sum(note[1] == "end" for note in shop.notes() if len(note) == 4)


def _left(shop: Shop) -> int:
    [(count,)] = shop.sql("SELECT count(*) FROM django_q_ormq")
    return int(count)


def _median(times: list[Times]) -> float:
    return statistics.median(time.jobs for time in times)


def _gone(times: list[Times]) -> str:
    return f"{statistics.median(time.messages for time in times):.1f}"


def _spread(times: list[Times], jobs: int) -> str:
    median = _median(times)
    return f"{median:.2f} ({', '.join(f'{time.jobs:.2f}' for time in times)}), {jobs / median:.0f}/s"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--database", choices=["sqlite", "postgres", "both"], default="both")
    parser.add_argument("--write", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
