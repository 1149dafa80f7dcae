"""Questions asked of the rows. Nothing here writes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from .choices import ACTIVE_JOB_STATES, FINISHED_JOB_STATES, ImageKind, ImageState, JobState, TextState

if TYPE_CHECKING:
    from .images import ProductImage  # noqa: F401
    from .jobs import Job  # noqa: F401
    from .texts import TextSuggestion  # noqa: F401


class JobQuerySet(models.QuerySet["Job"]):
    """Times are compared with the database's clock, so that a worker's wrong clock steals nothing."""

    def ready(self, queue: str | None = None) -> JobQuerySet:
        """Jobs that a worker may claim now, in the order in which it should."""
        rows = self.filter(
            state=JobState.QUEUED,
            not_before__lte=Now(),
            cancel_requested_at__isnull=True,
            attempt__lt=F("max_attempts"),
        )
        if queue is not None:
            rows = rows.filter(queue=queue)
        return rows.order_by("-priority", "created_at", "id")

    def active(self) -> JobQuerySet:
        """Queued or running."""
        return self.filter(state__in=ACTIVE_JOB_STATES)

    def finished(self) -> JobQuerySet:
        """In a state that no worker changes any more."""
        return self.filter(state__in=FINISHED_JOB_STATES)

    def leased(self) -> JobQuerySet:
        """Running under a lease that still holds."""
        return self.filter(state=JobState.RUNNING, lease_until__gte=Now())

    def expired(self) -> JobQuerySet:
        """Running, but the lease has run out: the worker is lost or hangs."""
        return self.filter(state=JobState.RUNNING, lease_until__lt=Now())

    def stale_rings(self, seconds: float) -> JobQuerySet:
        """Ready jobs whose last ring is older than ``seconds``: ring again, the message may be lost."""
        return self.ready().filter(
            Q(rung_at__isnull=True) | Q(rung_at__lt=Now() - timedelta(seconds=seconds))
        )

    def visible_to(self, user: Any) -> JobQuerySet:
        """Jobs that ``user`` may see: all with the view permission, else their own."""
        if user.has_perm("shopgen.view_job"):
            return self.all()
        if not getattr(user, "pk", None):
            return self.none()
        return self.filter(created_by=user)


class ImageQuerySet(models.QuerySet["ProductImage"]):
    def sources(self) -> ImageQuerySet:
        return self.filter(kind=ImageKind.SOURCE)

    def results(self) -> ImageQuerySet:
        return self.filter(kind=ImageKind.RESULT)

    def waiting(self) -> ImageQuerySet:
        """Pictures waiting for a person, the oldest first."""
        return self.filter(state=ImageState.IN_REVIEW).order_by("created_at", "id")

    def of_product(self, catalogue: str, object_pk: object) -> ImageQuerySet:
        return self.filter(catalogue=catalogue, object_pk=str(object_pk))

    def visible_to(self, user: Any) -> ImageQuerySet:
        """Pictures that ``user`` may see: all with the view permission, else those they made."""
        if user.has_perm("shopgen.view_productimage"):
            return self.all()
        if not getattr(user, "pk", None):
            return self.none()
        return self.filter(created_by=user)


class TextQuerySet(models.QuerySet["TextSuggestion"]):
    def waiting(self) -> TextQuerySet:
        """Texts waiting for a person, the oldest first."""
        return self.filter(state=TextState.IN_REVIEW).order_by("created_at", "id")

    def visible_to(self, user: Any) -> TextQuerySet:
        """Texts that ``user`` may see: all with the view permission, else those they asked for."""
        if user.has_perm("shopgen.view_textsuggestion"):
            return self.all()
        if not getattr(user, "pk", None):
            return self.none()
        return self.filter(created_by=user)
