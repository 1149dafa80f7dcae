"""How far a batch is, what came of it, and what could not be done, product by product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Count, QuerySet, Sum

from shopgen_django.models import FINISHED_JOB_STATES, Job, JobState, ProductImage

LISTED = 200
SHOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSummary:
    """Counts of jobs and of pictures, and the problems that were met."""

    jobs: int
    finished: int
    failed: int
    percent: int
    takes_in: bool
    new: int
    known: int
    problems: tuple[tuple[str, str], ...]
    """Product and reason, the first :data:`LISTED`."""
    more_problems: int

    @property
    def active(self) -> bool:
        """Whether anything will still change."""
        return self.finished < self.jobs


def batch_summary(jobs: QuerySet[Job]) -> BatchSummary | None:
    """The state of these jobs; None when there are none. Two queries."""
    rows = jobs.order_by()
    counts = {
        row["state"]: row for row in rows.values("state").annotate(number=Count("pk"), share=Sum("progress"))
    }
    number = sum(row["number"] for row in counts.values())
    if not number:
        return None
    failures = counts.get(JobState.FAILED)
    finished = sum(row["number"] for state, row in counts.items() if state in FINISHED_JOB_STATES)
    under_way = sum(row["share"] or 0.0 for state, row in counts.items() if state not in FINISHED_JOB_STATES)
    results = list(
        rows.filter(operation__in=("upload", "import_photos")).exclude(result={}).values_list("result", flat=True)
    )
    problems = [_problem(row) for result in results for row in result.get("problems") or ()]
    failed = rows.filter(state=JobState.FAILED).values_list("product_label", "error_detail", "error_code")
    problems += [(label or "—", detail or code) for label, detail, code in failed[:LISTED]]
    return BatchSummary(
        jobs=number, finished=finished, failed=failures["number"] if failures else 0,
        percent=round(100 * (finished + under_way) / number), takes_in=bool(results),
        new=sum(result.get("new") or 0 for result in results),
        known=sum(result.get("known") or 0 for result in results),
        problems=tuple(problems[:LISTED]), more_problems=max(0, len(problems) - LISTED),
    )


def _problem(row: dict[str, Any]) -> tuple[str, str]:
    return str(row.get("label") or row.get("item") or "—"), str(row.get("message") or row.get("code"))


def outputs_of(job: Job) -> list[ProductImage]:
    """The pictures that the job made, and those that it found to be there already."""
    made = list(job.images.defer("params").order_by("index")[:SHOWN])
    have = {str(image.pk) for image in made}
    others = [key for key in job.result.get("images") or () if key not in have][: SHOWN - len(made)]
    return made + list(ProductImage.objects.defer("params").filter(pk__in=others))
