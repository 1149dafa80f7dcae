"""Pictures from the folder of a training run: the newest sheet of samples, when this machine can see the folder."""

from __future__ import annotations

from pathlib import Path

from django.http import Http404, HttpResponse

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


def sheet_response(folder: str, named: str = "") -> HttpResponse:
    """The sheet itself. Raises Http404 when there is none here."""
    path = latest_sheet(folder, named)
    if path is None or path.stat().st_size > MAX_BYTES:
        raise Http404
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Http404 from error
    return picture_response(content, content_type="image/png", seconds=60)


def report_path(folder: str) -> Path | None:
    """The report of an evaluation in a model's folder; None when there is none here."""
    path = Path(folder) / "report.html" if folder else None
    return path if path is not None and path.is_file() else None


def report_response(folder: str) -> HttpResponse:
    """The report, shown without any right of this site: it can run nothing and load nothing. Raises Http404."""
    path = report_path(folder)
    if path is None or path.stat().st_size > MAX_BYTES:
        raise Http404
    try:
        answer = HttpResponse(path.read_bytes(), content_type="text/html; charset=utf-8")
    except OSError as error:
        raise Http404 from error
    answer["Content-Security-Policy"] = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Cache-Control"] = "private, no-cache"
    return answer
