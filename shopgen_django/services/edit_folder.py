"""A folder of pictures through a chain of operations: table, resuming, several processes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from shopgen_django.conf import usable_cores
from shopgen_django.exceptions import InvalidState, PermanentError, ShopgenError
from shopgen_django.ml import files
from shopgen_django.operations.chains import Step

from .edit_items import SETTINGS, TABLE, Item
from .editing import Edited, digest_of, edit_picture, engines_of

SMALL = "report"
"""Folder of the small pictures that the report shows."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One picture's line of ``results.csv``; its columns are these, in this order, as text."""

    file: str
    output: str = ""
    """Files made of it, relative to the output folder, separated by ``|``."""
    seconds: str = ""
    uncertainty: str = ""
    reason: str = ""
    error: str = ""
    measurements: str = ""
    """JSON."""
    sha256: str = ""
    """Of the picture's file: a name says too little about what was edited."""


COLUMNS = tuple(column.name for column in fields(Line))


class FolderRun:
    """An output folder and what it holds already. Made by :func:`open_run`."""

    def __init__(self, output: Path, lines: Sequence[Line]) -> None:
        self.output = output
        self.lines: dict[str, Line] = {line.file: line for line in lines}

    def done(self, item: Item, sha256: str) -> bool:
        """Whether this very content has been edited and its results are there; one that failed is tried again."""
        line = self.lines.get(item.name)
        return (
            line is not None and not line.error and line.sha256 == sha256 and bool(line.output)
            and all(item.may_be_called(name) and (self.output / name).is_file() for name in line.output.split("|"))
        )

    def store(self, item: Item, sha256: str, edited: Edited) -> Line:
        """Write the results, each whole or not at all; then the line."""
        names = []
        _write(self.output / SMALL / "before" / f"{item.stem}.webp", edited.before)
        for number, (suffix, content) in enumerate(edited.results, start=1):
            name = item.stem + (f"-{number}" if len(edited.results) > 1 else "") + suffix
            _write(self.output / name, content)
            _write(self.output / SMALL / "after" / f"{name}.webp", edited.after[number - 1])
            names.append(name)
        measurements = {name: round(value, 5) for name, value in sorted(edited.measurements.items())}
        return self._append(
            Line(
                file=item.name, output="|".join(names), seconds=f"{edited.seconds:.3f}",
                uncertainty="" if edited.uncertainty is None else f"{edited.uncertainty:.4f}",
                reason=edited.reason, measurements=json.dumps(measurements), sha256=sha256,
            )
        )

    def fail(self, item: Item, sha256: str, why: str) -> Line:
        return self._append(Line(file=item.name, error=why, sha256=sha256))

    def _append(self, line: Line) -> Line:
        self.lines[line.file] = line
        with (self.output / TABLE).open("a", encoding="utf-8", newline="") as handle:
            csv.DictWriter(handle, COLUMNS).writerow(asdict(line))
        return line

    def rewrite(self, order: Sequence[Item]) -> None:
        """The table anew, one line a picture in the order of the pictures: repeated tries leave one line."""
        names = [item.name for item in order]
        ours = set(names)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        chosen = [*names, *(name for name in self.lines if name not in ours)]
        writer.writerows(asdict(self.lines[name]) for name in chosen if name in self.lines)
        _write(self.output / TABLE, text.getvalue().encode())


def open_run(output: Path, steps: Sequence[Step], *, fresh: bool = False) -> FolderRun:
    """Prepare the output folder, or go on with what it holds. Call it while holding ``ml.files.folder_lock(output)``.

    Raises InvalidState when it holds results of other settings and ``fresh`` is not set, or is no folder of ours.
    """
    files.remove_leftovers(output)
    settings = {
        "format": 1, "digest": digest_of(steps), "engines": engines_of(steps),
        "steps": [{"operation": step.operation, "params": dict(step.params)} for step in steps],
    }
    known = _settings(output)
    unlike = known is not None and any(known.get(name) != settings[name] for name in ("digest", "engines"))
    if unlike and not fresh:
        raise InvalidState(
            _("%(folder)s holds results of other settings. Add --fresh to make them anew, or choose another --output.")
            % {"folder": output}
        )
    lines = [] if known is None or fresh else list(_read(output / TABLE))
    files.write_json(output / SETTINGS, settings)
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
    on_line: Callable[[Line, bool], None] = lambda line, was_done: None,
) -> None:
    """Edit every picture that isn't done, in ``workers`` processes (default: one a core), and keep the table.

    ``on_line`` is told each picture's line and whether it had been done before. A picture that can't be edited gets a
    line with the reason and the others go on. KeyboardInterrupt leaves a table that the next call continues.
    """
    count = min(workers or usable_cores(), max(1, len(items)))
    if count > 1 and len(items) < 4:
        count = 1
    threads = max(1, usable_cores() // count)

    def waiting() -> Iterator[tuple[Item, bytes, str]]:
        """What is to be done, read when its turn comes: ten thousand pictures don't wait in memory."""
        for item in items:
            try:
                content = item.read()
            except (OSError, ShopgenError) as error:
                on_line(run.fail(item, "", getattr(error, "strerror", None) or str(error)), False)
                continue
            sha256 = hashlib.sha256(content).hexdigest()
            if run.done(item, sha256):
                on_line(run.lines[item.name], True)
                continue
            yield item, content, sha256

    try:
        for item, sha256, outcome in _outcomes(waiting(), steps, count, threads, limits):
            made = isinstance(outcome, Edited)
            line = run.store(item, sha256, outcome) if made else run.fail(item, sha256, outcome)
            on_line(line, False)
    finally:
        run.rewrite(items)


def _outcomes(
    waiting: Iterator[tuple[Item, bytes, str]], steps: Sequence[Step], count: int, threads: int, limits: Any
) -> Iterator[tuple[Item, str, Any]]:
    """(item, hash, :class:`Edited` or a reason) as they are finished."""
    if count <= 1:
        for item, content, sha256 in waiting:
            yield item, sha256, _try(content, item.stem, steps, threads, limits)
        return
    # Fresh processes: a forked one would inherit the thread pools and connections of this one.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(threads,)) as pool:
        running: dict[Future[Edited | str], tuple[Item, str]] = {}
        try:
            while True:
                while len(running) < 2 * count and (following := next(waiting, None)) is not None:
                    item, content, sha256 = following
                    running[pool.submit(_try, content, item.stem, steps, threads, limits)] = (item, sha256)
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    item, sha256 = running.pop(future)
                    yield item, sha256, future.result()
        except BrokenProcessPool as error:
            raise PermanentError(
                _("A worker process was killed, probably for want of memory. Run it again with fewer --workers; it "
                  "goes on where it stopped."),
                code="worker_lost",
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin(threads: int) -> None:
    """In each worker process, before its first picture."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import django

    django.setup()
    import cv2

    cv2.setNumThreads(threads)


def _try(content: bytes, name: str, steps: Sequence[Step], threads: int, limits: Any) -> Edited | str:
    """The edited picture, or why there is none."""
    from shopgen_django.imaging.intake import IntakeError

    try:
        return edit_picture(content, steps, name=name, threads=threads, limits=limits)
    except (IntakeError, ShopgenError) as error:
        return str(error)
    except MemoryError:
        return _("There was too little memory for this picture.")
    except Exception as error:
        # A picture or an operation that nobody foresaw must not take ten thousand others along; the log has the rest.
        logger.exception("%s could not be edited.", name)
        return f"{type(error).__name__}: {error}"


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
        known = files.read_json(path)
    except ValueError:
        return {}
    return known if isinstance(known, dict) else {}


def _read(path: Path) -> Iterator[Line]:
    if not path.exists():
        return
    with path.open(encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            if set(row) == set(COLUMNS) and None not in row.values():  # not the line that a kill cut off
                yield Line(**row)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, content)
