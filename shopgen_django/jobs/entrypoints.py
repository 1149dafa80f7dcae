"""What queued messages name. These dotted paths lie in messages that outlive a deploy: they never move.

A message is a doorbell. The worker that hears it takes the best ready job of that queue, which need not be the one
whose id the message carries; ringing twice, late or for a job that is done does nothing.
"""

from __future__ import annotations

import logging
import os
import time

from shopgen_django.conf import app_settings

from . import drain
from .device import device_to_itself
from .queue import BURST_SECONDS, QUEUE_VARIABLE, get_queue
from .runner import queue_of, run_next

logger = logging.getLogger(__name__)

_swept = time.monotonic()


def ring(job_id: str) -> None:
    """Run the best ready job of the queue of ``job_id``, and further ones while they are short."""
    _sweep_now_and_then()
    until = time.monotonic() + BURST_SECONDS
    queue = os.environ.get(QUEUE_VARIABLE, "") or queue_of(job_id)
    ran, outcome = 0, ""
    with device_to_itself(queue, give_up=_stopping) as free:
        while free and not _stopping():
            drain.sign_of_life()
            outcome = run_next(queue)
            if outcome in {"skipped", "released"}:
                break
            ran += 1
            if time.monotonic() >= until:
                break
    drain.sign_of_life()
    if outcome == "skipped" and ran != 1:
        _drop_surplus(queue)


def _drop_surplus(queue: str) -> None:
    """One ring ran several jobs, or one found none: others wait in vain as well."""
    try:
        get_queue().drop_surplus(queue)
    except Exception:
        logger.exception("Rings without a job could not be removed; they find nothing to do, one by one.")


def _stopping() -> bool:
    """Whether this worker should take no job: the rings it swallows are made good by the next sweep."""
    if drain.draining() or drain.orphaned():
        logger.info("Not taking a job: this worker is being stopped.")
        return True
    return False


def sweep() -> None:
    """A whole sweep, for shops that run django-q2's scheduler and no ``shopgen_worker``."""
    from .sweeper import sweep as sweep_all

    logger.info("Swept: %s", sweep_all())


def _sweep_now_and_then() -> None:
    """The quick part of the sweep when this process has not done it for a while: a last net under the others."""
    global _swept
    if time.monotonic() - _swept < float(app_settings.JOBS["SWEEP_SECONDS"]):
        return
    _swept = time.monotonic()
    from .sweeper import recover

    try:
        recover()
    except Exception:
        logger.exception("The sweep before a claim failed; the job is run all the same.")
