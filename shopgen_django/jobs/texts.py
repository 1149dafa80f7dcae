"""Texts that a job proposed: their rows and the job's state in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from shopgen_django.exceptions import PermanentError
from shopgen_django.models import TextKind, TextSuggestion
from shopgen_django.operations.base import TextOutput

from .lease import Lease, finish
from .outputs import product_columns


def write_texts(lease: Lease, texts: Sequence[TextOutput], measured: Mapping[str, Any]) -> bool:
    """The job's state and a suggestion for each text, or nothing.

    False: the lease is lost or the job was cancelled. Raises PermanentError when there is no text at all, or two of a
    kind.
    """
    if not texts:
        raise PermanentError(_("The model proposed no text for this picture."), code="no_text")
    kinds = [text.kind for text in texts]
    if len(set(kinds)) < len(kinds) or not set(kinds) <= set(TextKind.values):
        raise PermanentError(
            _("The operation proposed texts of the kinds %(kinds)s; each of %(known)s may come once.")
            % {"kinds": ", ".join(kinds), "known": ", ".join(TextKind.values)}, code="bad_output",
        )
    job = lease.job
    columns = product_columns(job)
    columns.pop("content_type")
    image = job.job_inputs.order_by("position").values_list("image_id", flat=True).first()
    rows = [
        TextSuggestion(
            kind=text.kind, text=text.text, proposed=text.text, language=text.language, doubts=list(text.doubts),
            facts=dict(text.facts), image_id=image, product_label=job.product_label, job=job,
            created_by_id=job.created_by_id, **columns,
        )
        for text in texts
    ]
    with transaction.atomic():
        # The fenced UPDATE comes first: it locks the row, so a sweep or a cancel waits or has already won.
        if not finish(lease, **measured):
            return False
        TextSuggestion.objects.bulk_create(rows)
    return True
