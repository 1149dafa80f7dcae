"""What is queued for pictures as soon as they are in: "fit these products", whose photos have to be imported first."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

from shopgen_django.exceptions import ShopgenError
from shopgen_django.jobs.sources import when_taken_in
from shopgen_django.models import Job, ProductImage
from shopgen_django.operations.arrivals import Refusal

from .submit import submit_job


def register() -> None:
    """Announce :func:`queue_next` to the workers; called from ``AppConfig.ready``."""
    when_taken_in(queue_next)


def queue_next(*, job: Job, images: Sequence[str]) -> list[Refusal]:
    """Queue ``job.params["then"]`` for each picture, on behalf of who asked for the import, in the import's batch.

    Called in the transaction that ends ``job``. Returns what stood in the way, picture by picture.
    """
    then = job.params["then"]
    found = ProductImage.objects.in_bulk(list(images))
    problems = []
    for key in images:
        image = next((row for pk, row in found.items() if str(pk) == key), None)
        if image is None:
            continue
        try:
            with transaction.atomic():
                submit_job(
                    operation=then["operation"], params=then["params"], inputs=[image], user=job.created_by,
                    priority=job.priority, batch=job.batch, counted=True,
                )
        except ShopgenError as error:
            problems.append(Refusal(item=image.object_pk, label=str(image), code=error.code, message=str(error)))
    return problems
