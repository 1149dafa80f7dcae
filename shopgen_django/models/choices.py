"""States and kinds, with the groups that code asks for."""

from __future__ import annotations

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


class ImageKind(TextChoices):
    """Where a picture came from."""

    SOURCE = "source", _("source")
    """A photo of the shop, imported or uploaded."""
    RESULT = "result", _("result")
    """Made by a job."""


class ImageState(TextChoices):
    """Life of a picture: draft -> in_review -> approved | rejected; approved -> published -> withdrawn."""

    DRAFT = "draft", _("draft")
    """Not shown to reviewers: a source photo, or a result that failed a gate."""
    IN_REVIEW = "in_review", _("waiting for review")
    APPROVED = "approved", _("approved")
    REJECTED = "rejected", _("rejected")
    PUBLISHED = "published", _("published")
    """Stands in the shop's own catalogue."""
    WITHDRAWN = "withdrawn", _("withdrawn")
    """Was published and has been taken back."""


APPROVED_STATES = (ImageState.APPROVED, ImageState.PUBLISHED, ImageState.WITHDRAWN)
UNAPPROVED_STATES = (ImageState.DRAFT, ImageState.IN_REVIEW, ImageState.REJECTED)


class DigitalSource(TextChoices):
    """IPTC DigitalSourceType code of a picture, written into its XMP."""

    TRAINED = "trainedAlgorithmicMedia", _("made by a trained model")
    COMPOSITE = "compositeWithTrainedAlgorithmicMedia", _("photo with parts made by a trained model")
    ENHANCED = "algorithmicallyEnhanced", _("photo changed by an algorithm")
    CAPTURE = "digitalCapture", _("photo")
    UNKNOWN = "", _("unknown")


class JobState(TextChoices):
    """queued -> running -> succeeded | failed | cancelled; running -> queued again when a lease is lost."""

    QUEUED = "queued", _("queued")
    RUNNING = "running", _("running")
    SUCCEEDED = "succeeded", _("succeeded")
    FAILED = "failed", _("failed")
    CANCELLED = "cancelled", _("cancelled")


ACTIVE_JOB_STATES = (JobState.QUEUED, JobState.RUNNING)
FINISHED_JOB_STATES = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class JobQueue(TextChoices):
    """Kind of worker that a job needs; SHOPGEN["QUEUE"]["OPTIONS"] maps it to a cluster's name."""

    CPU = "cpu", _("CPU")
    GPU = "gpu", _("GPU")


class ReviewDecision(TextChoices):
    APPROVED = "approved", _("approved")
    REJECTED = "rejected", _("rejected")


class TextKind(TextChoices):
    """What a proposed text is for."""

    TITLE = "title", _("title")
    DESCRIPTION = "description", _("description")
    TAGS = "tags", _("tags")
    ALT_TEXT = "alt_text", _("alt text")


class TextState(TextChoices):
    """Life of a proposed text: in_review -> approved | rejected; approved -> published -> withdrawn."""

    IN_REVIEW = "in_review", _("waiting for review")
    APPROVED = "approved", _("approved")
    REJECTED = "rejected", _("rejected")
    PUBLISHED = "published", _("in the shop")
    WITHDRAWN = "withdrawn", _("withdrawn")


class RunState(TextChoices):
    """Life of a training run: estimating -> planned -> queued -> running -> succeeded | stopped | failed | lost.

    The first three are those of a run that was asked for from a page or over HTTP; the command starts with running.
    """

    ESTIMATING = "estimating", _("being estimated")
    PLANNED = "planned", _("planned")
    QUEUED = "queued", _("waiting to start")
    RUNNING = "running", _("running")
    SUCCEEDED = "succeeded", _("finished")
    STOPPED = "stopped", _("stopped, can be resumed")
    FAILED = "failed", _("failed")
    LOST = "lost", _("lost: its process went away, can be resumed")


RESUMABLE_RUN_STATES = (RunState.STOPPED, RunState.LOST, RunState.FAILED)
ACTIVE_RUN_STATES = (RunState.ESTIMATING, RunState.QUEUED, RunState.RUNNING)
"""A process works on it or will."""
