"""Training runs as rows: what the admin shows while ``train_gan`` works, and the shop's photos as a folder.

The trainer keeps its state in the output folder and knows nothing of the database; these functions follow it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from django.db import DatabaseError, connections, transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from shopgen_django.catalogues.base import Catalogue, Product
from shopgen_django.exceptions import FileMissing, InvalidParameters, ProductNotFound, ShopgenError
from shopgen_django.jobs.identity import worker_name
from shopgen_django.jobs.version_files import share_sample
from shopgen_django.ml.files import write_bytes
from shopgen_django.ml.sources import UNCATEGORISED
from shopgen_django.models import MetricPoint, ProductImage, TrainingRun
from shopgen_django.models.choices import ImageKind, RunState

from .figures import finite

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from shopgen_django.ml.loop import Tick

log = logging.getLogger(__name__)

POINT_SECONDS = 5.0
POINT_SHARE = 1 / 400
HEARTBEAT_SECONDS = 5.0
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What :func:`export_photos` wrote: pictures, products that had none or lost theirs, pictures left out because
    they were made by a model."""

    folder: Path
    photos: int
    categories: dict[str, int]
    without_picture: int
    missing: int
    made: int


def export_photos(
    *, catalogue: Catalogue, folder: Path, categories: tuple[str, ...] = (), products: Iterable[str] = (),
    on_product: Callable[[], None] | None = None,
) -> Export:
    """Bring ``folder`` up to date with the shop's photos: one file per content, and a ``labels.csv``.

    Its column ``product`` says which photos belong together: those of one product, and those of products that show the
    same photo. Private training protects such a group as a whole.

    Files are named after their content, so that a second export writes only what is new and a run resumes on the same
    data; what an export beside this one has written already takes no room twice, where the disk knows links. Pictures
    that this product made and the shop published are left out: a model must not learn from itself.

    Args:
        categories: only products of these; empty for all.
        products: primary keys; only these products; empty for all.
        on_product: called before each product is read.

    Raises:
        InvalidParameters: the shop has no photos (in these categories, of these products).
    """
    chosen = {str(key) for key in products}
    folder.mkdir(parents=True, exist_ok=True)
    made = set(ProductImage.objects.filter(kind=ImageKind.RESULT).values_list("sha256", flat=True))
    labels: dict[str, str] = {}
    owners: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    for product in catalogue.products():
        if (categories and product.category not in categories) or (chosen and str(product.pk) not in chosen):
            continue
        if on_product is not None:
            on_product()
        for suffix, content in _photos_of(catalogue, product, counts):
            sha256 = hashlib.sha256(content).hexdigest()
            if sha256 in made:
                counts["made"] += 1
                continue
            name = sha256[:40] + suffix
            labels.setdefault(name, product.category or UNCATEGORISED)
            owners.setdefault(name, []).append(str(product.pk))
            if not (folder / name).exists():
                _link_or_write(folder / name, content)
    if not labels:
        raise InvalidParameters(_no_photos(catalogue, categories, chosen))
    for path in folder.iterdir():
        if path.is_file() and path.name not in labels and not path.name.startswith("."):
            path.unlink()
    write_bytes(folder / "labels.csv", _labels_csv(labels, _groups(owners)))
    return Export(
        folder=folder,
        photos=len(labels),
        categories=dict(sorted(Counter(labels.values()).items())),
        without_picture=counts["without"],
        missing=counts["missing"],
        made=counts["made"],
    )


def _photos_of(catalogue: Catalogue, product: Product, counts: Counter[str]) -> Iterator[tuple[str, bytes]]:
    """Suffix and bytes of each of a product's own photos; what is not there is counted."""
    try:
        pictures = [p for p in catalogue.pictures(product.pk) if not p.inherited]
    except ProductNotFound:  # deleted while we read
        return
    counts["without"] += not pictures
    for picture in pictures:
        try:
            with catalogue.open_picture(product.pk, picture.key) as handle:
                content = handle.read()
        except (FileMissing, ProductNotFound):
            counts["missing"] += 1
            continue
        yield _suffix(picture.name), content


def _labels_csv(labels: dict[str, str], groups: dict[str, str]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["file", "label", "product"])
    writer.writerows((name, label, groups[name]) for name, label in sorted(labels.items()))
    return text.getvalue().encode()


def _groups(owners: dict[str, list[str]]) -> dict[str, str]:
    """{file: product}, with one product standing for all that are linked by shared files."""
    stands_for: dict[str, str] = {}

    def first(product: str) -> str:
        while stands_for.get(product, product) != product:
            product = stands_for[product]
        return product

    for products in owners.values():
        low, *others = sorted({first(product) for product in products})
        for product in others:
            stands_for[product] = low
    return {name: first(products[0]) for name, products in owners.items()}


def _no_photos(catalogue: Catalogue, categories: tuple[str, ...], chosen: set[str]) -> str:
    if chosen:
        return _("The products that were chosen have no photos.")
    if not categories:
        return _(
            "The catalogue has no product with a photo. Add photos to products, or train on a folder: --source DIR."
        )
    return _("The catalogue has no photos in %(wanted)s. It has the categories: %(known)s.") % {
        "wanted": ", ".join(categories),
        "known": ", ".join(catalogue.categories()) or "-",
    }


def _suffix(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if suffix in _SUFFIXES else ".jpg"  # the trainer looks at the content, not at the name


def _link_or_write(path: Path, content: bytes) -> None:
    """One file for all exports of a photo: its name says what it holds, and it is never written again."""
    for other in path.parent.parent.glob(f"*/{path.name}"):
        try:
            os.link(other, path)
        except OSError:  # another disk, or one without links
            break
        return
    write_bytes(path, content)


class RunOptions(Protocol):
    """The options of a run as its row shows them."""

    @property
    def device(self) -> str: ...
    @property
    def images_seen(self) -> int | None: ...
    def as_dict(self) -> dict[str, Any]: ...


class Started(Protocol):
    """What a trainer tells before its first step: that of generators (``ml.events.RunInfo``), that of LoRAs."""

    @property
    def config(self) -> RunOptions: ...
    @property
    def dataset(self) -> dict[str, Any]: ...
    @property
    def folder(self) -> Path: ...
    @property
    def resumed_at(self) -> int: ...


def begin_run(
    *, name: str, category: str = "", info: Started, user: Any = None, ordered: TrainingRun | None = None
) -> TrainingRun:
    """The row of a run that starts or goes on. Call it while the trainer holds the output folder.

    ``ordered``: the row of a run that was asked for from a page; it has this run's name and owner already.

    A run that goes on keeps its row and the points up to where it takes up. A row that still says "running" belongs to
    a process that is gone, since the folder is ours. Raises InvalidParameters for a text that is too long.
    """
    config, dataset = info.config.as_dict(), dict(info.dataset)
    dataset.pop("files", None)  # the whole list is in dataset.json
    values: dict[str, Any] = {
        "name": name,
        "state": RunState.RUNNING,
        "category": category,
        "config": finite(config),
        "dataset": finite({
            **dataset, "skipped": dataset.get("skipped", [])[:50], "left_out": dataset.get("left_out", [])[:50],
            "left_out_count": len(dataset.get("left_out", [])),
        }),
        "photos": int(info.dataset["count"]),
        "images_seen": info.resumed_at,
        "images_total": info.config.images_seen,
        "device": info.config.device,
        "host": socket.gethostname()[:128],
        "pid": os.getpid(),
        "process": worker_name(),
        "stage": "",
        "error": "",
        "heartbeat_at": Now(),
        "finished_at": None,
    }
    folder = str(info.folder.resolve())
    for field, text in (("name", name), ("category", category), ("output_dir", folder)):
        limit = getattr(TrainingRun._meta.get_field(field), "max_length", None)
        if limit is not None and len(text) > limit:
            message = _("At most %(limit)d characters.") % {"limit": limit}
            raise InvalidParameters(f"{field}: {message}", fields={field: [message]})
    with transaction.atomic():
        rows = TrainingRun.objects.select_for_update().filter(output_dir=folder)
        row = ordered or (rows.order_by("-started_at").first() if info.resumed_at else None)
        others = rows.exclude(pk=ordered.pk) if ordered is not None else rows
        others.filter(state=RunState.RUNNING).update(state=RunState.LOST, finished_at=Now())
        if row is None:
            owner = user if getattr(user, "pk", None) else None
            row = TrainingRun.objects.create(output_dir=folder, created_by=owner, **values)
        else:
            if ordered is None:
                values["stop_asked_at"] = None  # that was said to the part before this one
            TrainingRun.objects.filter(pk=row.pk).update(output_dir=folder, **values)
            MetricPoint.objects.filter(run=row, images_seen__gt=info.resumed_at).delete()
    row.refresh_from_db()
    return row


def record_tick(*, run: TrainingRun, tick: Tick, point: bool) -> None:
    """Figures of a tick and a sign of life; with ``point`` also a row of the curve."""
    values = finite(tick.as_dict())
    with transaction.atomic():
        TrainingRun.objects.filter(pk=run.pk).update(
            images_seen=tick.images_seen,
            progress=min(1.0, max(0.0, tick.progress)),
            latest=values,
            heartbeat_at=Now(),
            state=RunState.RUNNING,
        )
        if point:
            MetricPoint.objects.update_or_create(
                run=run, images_seen=tick.images_seen, defaults={"seconds": tick.seconds, "values": values}
            )


def record_sample(*, run: TrainingRun, path: Path) -> None:
    """Where the newest sheet of samples lies, relative to the output folder."""
    relative = path.resolve().relative_to(Path(run.output_dir)).as_posix()
    TrainingRun.objects.filter(pk=run.pk).update(latest_sample=relative, heartbeat_at=Now())
    try:
        share_sample(run, path)
    except OSError:
        logger.warning("Run %s: its samples could not be shared with other hosts.", run.pk, exc_info=True)


def finish_run(*, run: TrainingRun, state: str, images_seen: int | None = None, error: str = "") -> TrainingRun:
    """How the run ended. A failed one needs a reason."""
    values: dict[str, Any] = {
        "state": state, "error": error, "finished_at": Now(), "heartbeat_at": Now(), "process": "", "stage": "",
    }  # fmt: skip
    if images_seen is not None:
        values["images_seen"] = images_seen
    if state == RunState.SUCCEEDED:
        values["progress"] = 1.0
    TrainingRun.objects.filter(pk=run.pk).update(**values)
    run.refresh_from_db()
    return run


class RunStopped(ShopgenError):
    """Somebody asked the run to stop before its first step."""

    code = "stopped"


class RunFollower:
    """The trainer's callbacks, writing rows. A database that is away for a moment doesn't stop the training: what
    couldn't be written is logged, and the next tick tries again.

    ``stop_asked`` becomes true soon after somebody asked for a stop on the run's page.
    """

    def __init__(
        self, *, name: str, category: str = "", user: Any = None, ordered: TrainingRun | None = None
    ) -> None:
        self.run: TrainingRun | None = ordered
        self.ordered = ordered
        self.stop_asked = False
        self._name, self._category, self._user = name, category, user
        self._next_point = 0.0
        self._next_beat = timezone.now().timestamp()

    def on_start(self, info: Started) -> None:
        """Make or take up the row. Here a database error does stop the run: nothing is lost yet."""
        self.run = begin_run(
            name=self._name, category=self._category, info=info, user=self._user, ordered=self.ordered
        )

    def on_tick(self, tick: Tick) -> None:
        """Write a tick; points of the curve get rarer as the run gets longer."""
        if self.run is None:
            return
        point = tick.seconds >= self._next_point or tick.progress >= 1.0
        with _database_may_be_away():
            record_tick(run=self.run, tick=tick, point=point)
            self._listen()
            if point:
                self._next_point = tick.seconds + max(POINT_SECONDS, tick.seconds * POINT_SHARE)

    def on_sample(self, path: Path, images_seen: int) -> None:
        """Write where the newest sheet is."""
        if self.run is not None:
            with _database_may_be_away():
                record_sample(run=self.run, path=path)

    def on_progress(self, share: float, images_seen: int, seconds: float) -> None:
        """A sign of life between ticks that are far apart."""
        self._beat({})

    def before_start(self, stage: str) -> None:
        """A sign of life while photos are collected and read, which may take long. Raises RunStopped."""
        self._beat({"stage": stage[:100]}, reading=True)
        if self.stop_asked:
            raise RunStopped(_("Stopped before the first step."))

    def _beat(self, values: dict[str, Any], *, reading: bool = False) -> None:
        now = timezone.now().timestamp()
        if self.run is None or now < self._next_beat:
            return
        self._next_beat = now + HEARTBEAT_SECONDS
        with _database_may_be_away(reading=reading):
            TrainingRun.objects.filter(pk=self.run.pk).update(heartbeat_at=Now(), **values)
            self._listen()

    def _listen(self) -> None:
        assert self.run is not None
        asked = TrainingRun.objects.filter(pk=self.run.pk).values_list("stop_asked_at", flat=True).first()
        self.stop_asked = self.stop_asked or asked is not None


class _database_may_be_away:  # noqa: N801 - reads as a phrase in a with statement
    def __init__(self, *, reading: bool = False) -> None:
        self._reading = reading
        """Somebody is in the middle of a query's rows."""

    def __enter__(self) -> None:
        if self._reading:
            return
        # Hours may pass between two writes: a connection that has died meanwhile is opened anew.
        for connection in connections.all(initialized_only=True):
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        if isinstance(error, DatabaseError):
            log.warning("The training run's row could not be written; the training goes on: %s", error)
            return True
        return False
