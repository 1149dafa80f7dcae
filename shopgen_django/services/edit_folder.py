"""A folder of pictures through a chain of operations: table, resuming, several processes, a page to look at."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from shopgen_django.conf import usable_cores
from shopgen_django.exceptions import InvalidParameters, InvalidState, PermanentError, ShopgenError

from .editing import Edited, Step, digest_of, edit_file

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
TABLE, SETTINGS = "results.csv", "edit.json"
COLUMNS = ("file", "output", "seconds", "uncertainty", "reason", "error", "measurements")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One picture's line of ``results.csv``."""

    file: str
    output: str = ""
    """Files made of it, relative to the output folder, separated by ``|``."""
    seconds: float = 0.0
    uncertainty: float | None = None
    reason: str = ""
    error: str = ""
    measurements: str = ""

    def row(self) -> dict[str, str]:
        return {
            "file": self.file, "output": self.output, "seconds": f"{self.seconds:.3f}",
            "uncertainty": "" if self.uncertainty is None else f"{self.uncertainty:.4f}",
            "reason": self.reason, "error": self.error, "measurements": self.measurements,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A picture to edit: where it lies, and its name (relative, with its suffix) in the table."""

    path: Path
    name: str
    stem: str
    """Where its results go, relative to the output folder, without suffix."""


def pictures_in(path: Path, *, output: Path | None = None) -> list[Item]:
    """The pictures of a folder in any nesting, or the one file, in a stable order.

    Hidden files are left out, and so is what lies in ``output``: results must not become sources.

    Two files that differ in their suffix only keep it in the result's name (``a_png.png``), so that none is lost.

    Raises InvalidParameters when there are none.
    """
    if path.is_file():
        return [Item(path=path, name=path.name, stem=path.stem)]
    if not path.is_dir():
        raise InvalidParameters(_("There is no file or folder %(path)s.") % {"path": path})
    inside = output.resolve() if output is not None and output.resolve() != path.resolve() else None
    found = sorted(
        file for file in path.rglob("*")
        if file.is_file() and file.suffix.lower() in PICTURES
        and (inside is None or not file.resolve().is_relative_to(inside))
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not found:
        raise InvalidParameters(_("There are no JPEG, PNG or WebP pictures in %(path)s.") % {"path": path})
    items: list[Item] = []
    taken: set[str] = set()
    for file in found:
        relative = file.relative_to(path)
        stem = relative.with_suffix("").as_posix()
        if stem.lower() in taken:
            stem = f"{stem}_{relative.suffix.lstrip('.').lower()}"
        taken.add(stem.lower())
        items.append(Item(path=file, name=relative.as_posix(), stem=stem))
    return items


class FolderRun:
    """An output folder and what it holds already. Made by :func:`open_run`."""

    def __init__(self, output: Path, lines: Sequence[Line]) -> None:
        self.output = output
        self.lines: dict[str, Line] = {line.file: line for line in lines}

    def done(self, item: Item) -> bool:
        """Whether the picture has been edited and its results are there; one that failed is tried again."""
        line = self.lines.get(item.name)
        return line is not None and not line.error and all((self.output / n).is_file() for n in line.output.split("|"))

    def store(self, item: Item, edited: Edited) -> Line:
        """Write the results beside their place, then rename; then the line."""
        names = []
        for number, (suffix, content) in enumerate(edited.results, start=1):
            name = item.stem + (f"-{number}" if len(edited.results) > 1 else "") + suffix
            _replace(self.output / name, content)
            names.append(name)
        measurements = {name: round(value, 5) for name, value in sorted(edited.measurements.items())}
        return self._append(
            Line(
                file=item.name, output="|".join(names), seconds=edited.seconds, uncertainty=edited.uncertainty,
                reason=edited.reason, measurements=json.dumps(measurements),
            )
        )

    def fail(self, item: Item, why: str) -> Line:
        return self._append(Line(file=item.name, error=why))

    def _append(self, line: Line) -> Line:
        self.lines[line.file] = line
        with (self.output / TABLE).open("a", encoding="utf-8", newline="") as handle:
            csv.DictWriter(handle, COLUMNS).writerow(line.row())
        return line

    def rewrite(self, order: Sequence[Item]) -> None:
        """The table anew, one line a picture in the order of the pictures: repeated tries leave one line."""
        names = [item.name for item in order]
        rest = [name for name in self.lines if name not in set(names)]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(self.lines[name].row() for name in [*names, *rest] if name in self.lines)
        _replace(self.output / TABLE, text.getvalue().encode())


def open_run(output: Path, steps: Sequence[Step], *, source: str, engine: str, fresh: bool = False) -> FolderRun:
    """Prepare the output folder, or go on with what it holds.

    Raises InvalidState when it holds results of other settings and ``fresh`` is not set, or is no folder of ours.
    """
    output.mkdir(parents=True, exist_ok=True)
    settings = {
        "format": 1, "source": source, "digest": digest_of(steps), "engine": engine,
        "steps": [{"operation": step.operation, "params": dict(step.params)} for step in steps],
    }
    known = _settings(output)
    if known is not None and not fresh and (known.get("digest"), known.get("engine")) != (settings["digest"], engine):
        raise InvalidState(
            _("%(folder)s holds results of other settings. Add --fresh to make them anew, or choose another --output.")
            % {"folder": output}
        )
    lines = [] if known is None or fresh else list(_read(output / TABLE))
    _replace(output / SETTINGS, (json.dumps(settings, indent=1, ensure_ascii=False, default=str) + "\n").encode())
    run = FolderRun(output, lines)
    run.rewrite([])
    return run


def edit_all(
    items: Sequence[Item],
    steps: Sequence[Step],
    run: FolderRun,
    *,
    workers: int | None = None,
    limits: Any = None,
    on_line: Callable[[Line], None] = lambda line: None,
) -> None:
    """Edit every picture that isn't done, in ``workers`` processes (default: one a core), and keep the table.

    A picture that can't be edited gets a line with the reason and the others go on. KeyboardInterrupt leaves a table
    that the next call continues.
    """
    waiting = [item for item in items if not run.done(item)]
    count = min(workers or usable_cores(), max(1, len(waiting)))
    threads = max(1, usable_cores() // count)
    try:
        for item, outcome in _outcomes(waiting, steps, count, threads, limits):
            line = run.store(item, outcome) if isinstance(outcome, Edited) else run.fail(item, outcome)
            on_line(line)
    finally:
        run.rewrite(items)


def _outcomes(
    items: Sequence[Item], steps: Sequence[Step], count: int, threads: int, limits: Any
) -> Iterator[tuple[Item, Edited | str]]:
    if count <= 1 or len(items) < 4:
        for item in items:
            yield item, _try(item.path, steps, threads, limits)
        return
    # Fresh processes: a forked one would inherit the thread pools and connections of this one.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(threads,)) as pool:
        queue = iter(items)
        running: dict[Future[Edited | str], Item] = {}
        try:
            while True:
                # A few ahead of the workers, so that ten thousand pictures don't wait in memory.
                for item in _some(queue, 2 * count - len(running)):
                    running[pool.submit(_try, item.path, steps, threads, limits)] = item
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        except BrokenProcessPool as error:
            raise PermanentError(
                _("A worker process was killed, probably for want of memory. Run it again with fewer --workers; it "
                  "goes on where it stopped."),
                code="worker_lost",
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _some(queue: Iterator[Item], count: int) -> Iterator[Item]:
    for _number in range(count):
        item = next(queue, None)
        if item is None:
            return
        yield item


def _begin(threads: int) -> None:
    """In each worker process, before its first picture."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import django

    django.setup()
    import cv2

    cv2.setNumThreads(threads)


def _try(path: Path, steps: Sequence[Step], threads: int, limits: Any) -> Edited | str:
    """The edited picture, or why there is none in plain words."""
    from shopgen_django.imaging.intake import IntakeError

    try:
        return edit_file(path, steps, threads=threads, limits=limits)
    except (IntakeError, ShopgenError) as error:
        return str(error)
    except OSError as error:
        return f"{path.name}: {error.strerror or error}"
    except MemoryError:
        return _("There was too little memory for this picture.")


def _settings(output: Path) -> Mapping[str, Any] | None:
    path = output / SETTINGS
    if not path.exists():
        strangers = [entry.name for entry in output.iterdir() if not entry.name.startswith(".")]
        if strangers:
            raise InvalidState(
                _("%(folder)s is not empty (%(name)s …) and was not made by this command. Choose an empty folder.")
                % {"folder": output, "name": sorted(strangers)[0]}
            )
        return None
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return known if isinstance(known, dict) else {}


def _read(path: Path) -> Iterator[Line]:
    if not path.exists():
        return
    with path.open(encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            if None in row or None in row.values():  # the line that a kill cut off
                continue
            try:
                yield Line(
                    file=row["file"], output=row["output"], seconds=float(row["seconds"]),
                    uncertainty=float(row["uncertainty"]) if row["uncertainty"] else None, reason=row["reason"],
                    error=row["error"], measurements=row["measurements"],
                )
            except (KeyError, ValueError):
                continue


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
