"""Pictures of training runs and their models: from the folder, when this machine can see it, else as shared by another
host."""

from __future__ import annotations

from pathlib import Path

from django.http import Http404, HttpResponse
from django.urls import reverse

from shopgen_django.jobs.version_files import REPORT, SHEET, is_shared, shared
from shopgen_django.models import ModelVersion, TrainingRun

from .thumbnails import picture_response

MAX_BYTES = 20 * 1024 * 1024


def latest_sheet(folder: str, named: str = "") -> Path | None:
    """The newest ``samples/*.png``, or the file that the run names, when it lies in the folder; else None."""
    if not folder:
        return None
    root = Path(folder)
    if named:
        wanted = (root / named).resolve()
        if wanted.suffix == ".png" and wanted.is_file() and wanted.is_relative_to(root.resolve()):
            return wanted
    try:
        sheets = [(path.stat().st_mtime, path) for path in (root / "samples").glob("*.png")]
    except OSError:
        return None
    return max(sheets)[1] if sheets else None


def sample_url(of: ModelVersion | TrainingRun) -> str:
    """Address of the sheet of a version or run; "" when this machine can't have it. It changes with the sheet."""
    kind = "modelversion" if isinstance(of, ModelVersion) else "trainingrun"
    sheet = _sheet(of)
    if sheet is not None:
        told = str(int(sheet.stat().st_mtime))
    elif is_shared(of, SHEET):
        told = of.weights_sha256[:12] if isinstance(of, ModelVersion) else of.latest_sample
    else:
        return ""
    return reverse(f"admin:shopgen_{kind}_samples", args=[of.pk], query={"of": told})


def sheet_response(of: ModelVersion | TrainingRun) -> HttpResponse:
    """The sheet itself. Raises Http404 when this machine can't have it."""
    return picture_response(_content(of, _sheet(of), SHEET), content_type="image/png", seconds=60)


def report_url(version: ModelVersion) -> str:
    """Address of the report of a version's evaluation; "" when this machine can't have it."""
    if not _report(version).is_file() and not is_shared(version, REPORT):
        return ""
    return reverse("admin:shopgen_modelversion_report", args=[version.pk])


def report_response(version: ModelVersion) -> HttpResponse:
    """The report, shown without any right of this site: it can run nothing and load nothing. Raises Http404."""
    path = _report(version)
    content = _content(version, path if path.is_file() else None, REPORT)
    answer = HttpResponse(content, content_type="text/html; charset=utf-8")
    answer["Content-Security-Policy"] = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Cache-Control"] = "private, no-cache"
    return answer


def _sheet(of: ModelVersion | TrainingRun) -> Path | None:
    if isinstance(of, ModelVersion):
        return latest_sheet(of.folder)
    return latest_sheet(of.output_dir, of.latest_sample)


def _report(version: ModelVersion) -> Path:
    return Path(version.folder) / REPORT


def _content(of: ModelVersion | TrainingRun, path: Path | None, name: str) -> bytes:
    try:
        if path is not None and path.stat().st_size > MAX_BYTES:
            raise Http404
        content = shared(of, name) if path is None else path.read_bytes()
    except OSError as error:
        raise Http404 from error
    if content is None or len(content) > MAX_BYTES:
        raise Http404
    return content
