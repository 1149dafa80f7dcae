"""Run as ``python -m tests.integration.races KIND SECONDS``: one of several processes that go for the same rows.

Prints one JSON list of what this process won. KIND ``claim``: claim and finish until nothing is ready. ``sweep``: take
expired jobs. ``cancel``: cancel whatever runs or waits, while others finish.
"""

from __future__ import annotations

import json
import sys
import time

import django


def main() -> None:
    django.setup()
    import logging

    logging.disable(logging.CRITICAL)
    kind, begin = sys.argv[1], float(sys.argv[2])
    time.sleep(max(0.0, begin - time.time()))
    print(json.dumps({"claim": _claim, "sweep": _sweep, "cancel": _cancel}[kind]()))


def _claim() -> list[str]:
    from shopgen_django.jobs.identity import worker_name
    from shopgen_django.jobs.lease import cancelled, claim, finish

    won: list[str] = []
    while lease := claim(worker=worker_name(), queue="cpu"):
        if finish(lease):
            won.append(str(lease.job.pk))
        else:
            cancelled(lease)
    return won


def _sweep() -> list[str]:
    from shopgen_django.jobs.lease import take_from_worker
    from shopgen_django.models import Job

    return [str(job.pk) for job in Job.objects.expired() if take_from_worker(job, expired=True)]


def _cancel() -> list[str]:
    from shopgen_django.exceptions import InvalidState
    from shopgen_django.models import ACTIVE_JOB_STATES, Job
    from shopgen_django.services.jobs import cancel_job

    asked: list[str] = []
    for job in Job.objects.filter(state__in=ACTIVE_JOB_STATES).order_by("-created_at"):
        try:
            cancel_job(job=job)
            asked.append(str(job.pk))
        except InvalidState:
            continue
    return asked


if __name__ == "__main__":
    main()
