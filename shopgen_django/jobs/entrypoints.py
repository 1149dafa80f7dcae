"""What queued messages name. These dotted paths lie in messages that outlive a deploy: they never move.

A message is a doorbell. The worker that hears it takes the best ready job of that queue, which need not be the one
whose id the message carries; ringing twice, late or for a job that is done does nothing.
"""

from __future__ import annotations

import logging

from . import drain
from .runner import run_job

logger = logging.getLogger(__name__)


def ring(job_id: str) -> None:
    """Run one ready job of the queue of ``job_id``, if there is one."""
    drain.sign_of_life()
    if drain.draining() or drain.orphaned():
        # The rings that a stopping worker has swallowed are made good by the next sweep.
        logger.info("Not taking a job: this worker is being stopped.")
        return
    run_job(job_id)
    drain.sign_of_life()
