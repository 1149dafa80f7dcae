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
