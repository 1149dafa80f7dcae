"""Rows and the rules that the database keeps. Services are the only code that changes their state."""

from __future__ import annotations

from .choices import (
    ACTIVE_JOB_STATES,
    ACTIVE_RUN_STATES,
    APPROVED_STATES,
    FINISHED_JOB_STATES,
    RESUMABLE_RUN_STATES,
    DigitalSource,
    ImageKind,
    ImageState,
    JobQueue,
    JobState,
    ReviewDecision,
    RunState,
    TextKind,
    TextState,
)
from .images import Measurement, ProductImage, Publication, Review
from .jobs import Job, JobInput
from .presets import Preset
from .recipes import Recipe
from .supplied import SuppliedModel
from .texts import TextSuggestion
from .throttling import RateWindow
from .training import MetricPoint, ModelVersion, TrainingRun
from .usage import UsageEntry, UsageHold
from .workers import UnreadableMessage, WorkerBeat

__all__ = [
    "ACTIVE_JOB_STATES",
    "ACTIVE_RUN_STATES",
    "APPROVED_STATES",
    "FINISHED_JOB_STATES",
    "RESUMABLE_RUN_STATES",
    "DigitalSource",
    "ImageKind",
    "ImageState",
    "Job",
    "JobInput",
    "JobQueue",
    "JobState",
    "Measurement",
    "MetricPoint",
    "ModelVersion",
    "Preset",
    "ProductImage",
    "Publication",
    "RateWindow",
    "Recipe",
    "Review",
    "ReviewDecision",
    "RunState",
    "SuppliedModel",
    "TextKind",
    "TextState",
    "TextSuggestion",
    "TrainingRun",
    "UnreadableMessage",
    "UsageEntry",
    "UsageHold",
    "WorkerBeat",
]
