"""One job from claim to end, inside a worker. Whatever happens to the job, the worker goes on.

The order of things is what makes the effects happen exactly once: claim (counts the attempt), work, files, and then
one transaction that first checks that the attempt is still the current one. An attempt that lost removes its files.
"""

from __future__ import annotations

import hashlib
import logging
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.db import InterfaceError, OperationalError, connection
from django.utils.translation import gettext as _

from shopgen_django.catalogues import get_catalogue
from shopgen_django.conf import app_settings
from shopgen_django.engines.spending import paid_by
from shopgen_django.exceptions import JobCancelled, LeaseLost, NotFound, WorkerDraining
from shopgen_django.models import Job, JobQueue
from shopgen_django.operations.base import InputImage, ModelFiles, Operation, OperationContext
from shopgen_django.operations.registry import get_operation
from shopgen_django.storage import read_image

from .failures import Failure, classify
from .heartbeat import JobMonitor, beating
from .identity import worker_name
from .lease import Lease, cancelled, claim, fail_or_requeue, has_won, release
from .outputs import remove_unrecorded, store_output, write_results
from .queue import get_queue
from .rings import hard_timeout
from .sources import PRODUCTS_PER_JOB, arrivals, gather, product_keys, remove_upload, write_parts, write_sources
from .subject import product_category
from .texts import write_texts
from .usage import JobPurse, record_time
from .version_files import local_folder

logger = logging.getLogger(__name__)

FINISH_PATIENCE = 120.0
"""Seconds that a finished job waits for a database that is away before its work is given up."""


@dataclass(slots=True)
class _Usage:
    """What an attempt has used so far."""

    began: float
    cpu: float

    @classmethod
    def start(cls) -> _Usage:
        return cls(time.monotonic(), time.process_time())

    def columns(self) -> dict[str, Any]:
        """Columns of the job row: wall-clock seconds, processor seconds, the process's peak memory in bytes."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            "seconds": time.monotonic() - self.began,
            "device_seconds": time.process_time() - self.cpu,
            "peak_memory": peak if sys.platform == "darwin" else peak * 1024,
        }


def run_next(queue: str) -> str:
    """Claim and run the best ready job of ``queue``.

    Returns "skipped" when there is none (a ring too many does no harm), else how it ended: succeeded, failed,
    requeued, released, cancelled, lost. Raises nothing but KeyboardInterrupt.
    """
    if not queue:
        return "skipped"
    try:
        lease = claim(worker=worker_name(), queue=queue)
    except KeyboardInterrupt:
        raise
    except BaseException:
        logger.exception("No job could be claimed; the sweeper rings again.")
        connection.close()
        return "skipped"
    if lease is None:
        return "skipped"
    return run_lease(lease)


def run_job(job_id: str | UUID) -> str:
    """Like :func:`run_next`, for the queue that the job ``job_id`` belongs to."""
    return run_next(queue_of(job_id))


def queue_of(job_id: str | UUID) -> str:
    """The queue of a job; "" when there is no such job or the database is away."""
    try:
        return Job.objects.filter(pk=job_id).values_list("queue", flat=True).first() or ""
    except KeyboardInterrupt:
        raise
    except BaseException:
        logger.exception("The queue of job %s could not be read; the sweeper rings again.", job_id)
        connection.close()
        return ""


def run_lease(lease: Lease) -> str:
    """Run the claimed job to one of its ends. Raises nothing but KeyboardInterrupt."""
    stored: list[Any] = []
    usage = _Usage.start()
    try:
        try:
            won = _work(lease, stored, usage)
            outcome = "succeeded" if won else _why_not(lease)
        except BaseException as error:
            outcome = _settle(lease, error, usage)
            if isinstance(error, KeyboardInterrupt):
                raise
    except KeyboardInterrupt:
        raise
    except BaseException:
        # The database is away, or the queue's time limit struck twice: the lease runs out and the sweeper decides.
        logger.exception("Job %s: how it ended could not be written down.", lease.job.pk)
        connection.close()
        outcome = "lost"
    if outcome != "lost":  # the time of one that is taken away is written by whoever takes it
        _count_time(lease, usage)
    _clean_up(lease, [] if outcome == "succeeded" else stored)
    logger.info("Job %s (%s), attempt %d: %s", lease.job.pk, lease.job.operation, lease.token, outcome)
    return outcome


def _work(lease: Lease, stored: list[Any], usage: _Usage) -> bool:
    """Do the work and record it; False when the lease was lost or the job cancelled meanwhile."""
    job = lease.job
    operation = get_operation(job.operation)
    get_queue().limit_job(hard_timeout(job))
    params = dict(job.params)
    if job.params_version != operation.Parameters.version:
        params = operation.Parameters.upgrade(params, job.params_version)
    seed = seed_of(job.pk) if params.get("seed") is None else int(params["seed"])
    monitor = JobMonitor(lease)
    with beating(monitor), paid_by(JobPurse(job, lease.token, operation, params)):
        context = _context(job, operation, params, seed, monitor)
        if operation.takes_in:
            return _take_in(lease, operation, context, stored, usage)
        if operation.makes_texts:
            return _write(lease, operation, context, usage)
        for index, output in enumerate(operation.run(context)):
            monitor.check()
            stored.append(store_output(lease, index, output, operation))
        monitor.check()
        recorded = {**params, "seed": seed} if "seed" in params else params
        return _persistently(
            lease,
            lambda: write_results(
                lease, stored, operation=operation, params=recorded, measured=usage.columns()
            ),
        )


def _take_in(
    lease: Lease, operation: Operation, context: OperationContext, stored: list[Any], usage: _Usage
) -> bool:
    """Take pictures in, or queue that for parts of them; False as :func:`_work`."""
    params = context.params
    keys = product_keys(lease.job, params, context)
    if keys is not None and "products" not in params and len(keys) > PRODUCTS_PER_JOB:
        return _persistently(lease, lambda: write_parts(lease, keys, usage.columns()))
    context = replace(context, arrivals=arrivals(lease.job, params, keys, context.report))
    gathered = gather(operation.run(context), stored, context.check)
    context.check()
    return _persistently(lease, lambda: write_sources(lease, gathered, usage.columns()))


def _write(lease: Lease, operation: Operation, context: OperationContext, usage: _Usage) -> bool:
    """Have texts proposed; False as :func:`_work`."""
    if context.product_title:
        context = replace(context, product_description=_description(lease.job))
    texts = []
    for text in operation.run(context):
        context.check()
        texts.append(text)
    context.check()
    return _persistently(lease, lambda: write_texts(lease, texts, usage.columns()))


def _persistently(lease: Lease, write: Callable[[], bool]) -> bool:
    """``write``, again while the database is away: the work is done, so patience is cheaper than doing it twice."""
    gives_up = time.monotonic() + FINISH_PATIENCE
    pause, again = 0.5, False
    while True:
        try:
            # A commit whose answer got lost shows as "not ours any more": then our own success is on the row.
            return write() or (again and has_won(lease))
        except (OperationalError, InterfaceError):
            if connection.in_atomic_block or time.monotonic() + pause > gives_up:
                raise
            logger.warning("Job %s is done, but the database is away; trying again.", lease.job.pk, exc_info=True)
            connection.close()
            again = True
            time.sleep(pause)
            pause = min(10.0, pause * 2)


def _settle(lease: Lease, error: BaseException, usage: _Usage) -> str:
    """Record how an attempt that raised has ended."""
    if isinstance(error, LeaseLost):
        return "lost"
    if isinstance(error, JobCancelled):
        return "cancelled" if cancelled(lease) else "lost"
    if isinstance(error, (WorkerDraining, KeyboardInterrupt)):
        return release(lease) or "lost"
    failure: Failure = classify(error)
    if failure.unexpected:
        logger.error("Job %s failed unexpectedly.", lease.job.pk, exc_info=error)
    else:
        logger.warning("Job %s: %s (%s)", lease.job.pk, failure.detail, failure.code)
    if isinstance(error, (OperationalError, InterfaceError)) and not connection.in_atomic_block:
        connection.close()
    outcome = fail_or_requeue(
        lease, code=failure.code, detail=failure.detail, permanent=failure.permanent, **usage.columns()
    )
    return outcome or "lost"


def _why_not(lease: Lease) -> str:
    """A finish that changed nothing: cancelled at the last moment, or the lease was lost."""
    return "cancelled" if cancelled(lease) else "lost"


def _count_time(lease: Lease, usage: _Usage) -> None:
    """For budgets; what became of the job is settled, so a fault here changes nothing of it."""
    try:
        record_time(lease.job, lease.token, usage.columns()["seconds"])
    except KeyboardInterrupt:
        raise
    except BaseException:
        logger.exception("The time of job %s, attempt %d was not counted.", lease.job.pk, lease.token)
        connection.close()


def _clean_up(lease: Lease, stored: list[Any]) -> None:
    try:
        remove_unrecorded(written.name for written in stored)
        remove_upload(lease.job)
    except KeyboardInterrupt:
        raise
    except BaseException:
        logger.exception("Files of job %s, attempt %d were left to the sweeper.", lease.job.pk, lease.token)


def seed_of(job_id: UUID) -> int:
    """The seed of a job that names none: drawn from its id, so every attempt makes the same pictures (0..2^31-1)."""
    return int.from_bytes(hashlib.sha256(job_id.bytes).digest()[:4], "big") & 0x7FFFFFFF


def _context(
    job: Job, operation: Operation, params: Mapping[str, Any], seed: int, monitor: JobMonitor
) -> OperationContext:
    named = list(dict.fromkeys(operation.pictures(params).values()))
    held = _inputs(job) if operation.max_inputs or named else ()
    # Pictures that parameters name come after the inputs.
    inputs, beside = held[: len(held) - len(named)], held[len(held) - len(named) :]
    return OperationContext(
        params=params, inputs=inputs, pictures={image.id: image for image in beside}, model=_model_files(job),
        product_title=job.product_label,
        category=_category(job, inputs), seed=seed, threads=prepare_threads(), device=_device(job.queue),
        report=monitor.report, check=monitor.check,
    )


def _inputs(job: Job) -> tuple[InputImage, ...]:
    rows = job.job_inputs.select_related("image").order_by("position")
    return tuple(
        InputImage(
            id=str(row.image.pk), content=read_image(row.image), sha256=row.image.sha256, width=row.image.width,
            height=row.image.height, format=row.image.format, category=row.image.category,
            alt_text=row.image.alt_text,
        )
        for row in rows
    )


def _model_files(job: Job) -> ModelFiles | None:
    model = job.model_version
    if model is None:
        return None
    return ModelFiles(
        id=str(model.pk), name=str(model), engine=model.engine, folder=local_folder(model),
        weights_sha256=model.weights_sha256, categories=tuple(model.config.get("categories") or ()),
    )


def _category(job: Job, inputs: tuple[InputImage, ...]) -> str:
    return inputs[0].category if inputs and inputs[0].category else product_category(job.catalogue, job.object_pk)


def _description(job: Job) -> str:
    if not (job.catalogue and job.object_pk):
        return ""
    try:
        return get_catalogue(job.catalogue).get(job.object_pk).description
    except NotFound:
        return ""


def prepare_threads() -> int:
    """Threads for the work in this process; torch is told when it is already loaded (its environment says the rest)."""
    threads = int(app_settings.threads)
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    return threads


def _device(queue: str) -> str:
    """"cuda" on a GPU worker that sees one, else "cpu". torch is first touched here, after the fork."""
    if queue != JobQueue.GPU:
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    logger.warning(_("This worker serves the GPU queue but sees no GPU; it works on the processor."))
    return "cpu"
