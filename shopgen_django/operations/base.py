"""What a job can do: an operation declares its parameters and runs on plain values.

Adding one is one module in an installed app: subclass :class:`Operation`, decorate it with ``@register`` and put it
where :func:`shopgen_django.operations.registry.autodiscover` looks (a module named ``shopgen_operations``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from django.utils.functional import Promise

from .arrivals import Incoming
from .parameters import Parameters
from .words import Words

if TYPE_CHECKING:
    from PIL import Image

Text = str | Promise


@dataclass(frozen=True, slots=True, kw_only=True)
class InputImage:
    """One input picture, its bytes already checked against their SHA-256."""

    id: str
    content: bytes
    sha256: str
    width: int
    height: int
    format: str
    category: str = ""
    alt_text: str = ""

    def open(self) -> Image.Image:
        """The decoded picture, pixels loaded."""
        from io import BytesIO

        from PIL import Image

        image = Image.open(BytesIO(self.content), formats=("PNG", "JPEG", "WEBP"))
        image.load()
        return image


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """A model version as operations see it: where it lies and what it must hash to."""

    id: str
    name: str
    engine: str
    folder: Path
    weights_sha256: str
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One picture that an operation made."""

    image: Image.Image
    format: str = "PNG"
    """"PNG", "JPEG" or "WEBP"."""
    alt_text: str = ""
    category: str = ""
    measurements: Mapping[str, float] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    """Ids of the inputs that this picture was made from."""
    held_back: str = ""
    """A reason why this result must not enter review by itself (for example high uncertainty)."""
    made_from: tuple[int, ...] = ()
    """Numbers of this run's earlier results that this one was made from, beside ``parents``."""
    digital_source: str = ""
    """IPTC code of this result where it isn't the operation's own."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """How it was made beyond the parameters (the model's hash, versions): written into the file and kept with the row.
    Names are simple: letters, digits, underscores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextOutput:
    """One text that an operation with ``makes_texts`` proposes; a person reads it before it goes anywhere."""

    kind: str
    """"title", "description", "tags" (one a line) or "alt_text"."""
    text: str
    language: str = ""
    doubts: tuple[str, ...] = ()
    """What a reader should look at twice, in plain words."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """How it was made: the model, its licence and hash, what left the machine."""


def _ignore_progress(share: float, stage: str = "") -> None:
    """Nobody listens."""


def _never_cancelled() -> None:
    """Nothing can cancel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationContext:
    """All that :meth:`Operation.run` may use. Holds values, never model rows."""

    params: Mapping[str, Any]
    inputs: tuple[InputImage, ...] = ()
    pictures: Mapping[str, InputImage] = field(default_factory=dict)
    """Pictures that parameters name beside the inputs, by their id."""
    arrivals: Iterable[Incoming] = ()
    """What an operation with ``takes_in`` is to take in, read one by one."""
    model: ModelFiles | None = None
    product_title: str = ""
    product_description: str = ""
    """What the shop says of the product; read only for an operation that ``makes_texts``."""
    category: str = ""
    seed: int = 0
    """Set when the parameters name none: drawn once per job, so that a second attempt makes the same pictures."""
    threads: int = 1
    device: str = "cpu"
    report: Callable[..., None] = _ignore_progress
    """``report(share, stage="")``: progress in 0..1; call it often, it is throttled."""
    check: Callable[[], None] = _never_cancelled
    """Raises JobCancelled, LeaseLost or WorkerDraining when the work should stop; call it at every step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a job will probably take."""

    seconds: float
    outputs: int


class Operation(ABC):
    """One thing that a job can do."""

    name: ClassVar[str]
    """Stable word used in rows, addresses and messages."""
    label: ClassVar[Text]
    description: ClassVar[Text] = ""
    icon: ClassVar[str] = ""
    Parameters: ClassVar[type[Parameters]] = Parameters

    min_inputs: ClassVar[int] = 0
    max_inputs: ClassVar[int] = 0
    together: ClassVar[Text] = ""
    """What several pictures in one job mean, where an operation takes one as well as several; "" where people can't
    choose it on the page that queues work."""
    second_is_mask: ClassVar[bool] = False
    """Whether the second of two pictures is a mask that marks are painted over."""
    accelerated: ClassVar[bool] = False
    """Whether a GPU speeds it up; then SHOPGEN["ACCELERATED_QUEUE"] says where it runs."""
    engines: ClassVar[tuple[str, ...]] = ()
    """Aliases of the engines whose choice changes its results (a model version names its own)."""
    model_purpose: ClassVar[str] = ""
    """Purpose of the ModelVersion it needs ("" for none)."""
    model_optional: ClassVar[bool] = False
    """Whether it works without one as well: the active one is used when there is one."""
    digital_source: ClassVar[str] = "algorithmicallyEnhanced"
    """IPTC DigitalSourceType code of its results."""
    max_attempts: ClassVar[int | None] = None
    hard_timeout: ClassVar[int | None] = None
    public: ClassVar[bool] = True
    """Whether people and programs may choose it; False for what only a service of its own queues."""
    permission: ClassVar[str] = ""
    """Codename of a permission that queueing it needs beside ``submit_job``."""
    hidden_params: ClassVar[tuple[str, ...]] = ()
    """Entries of a job's ``params`` that services write and nobody is shown."""
    is_chain: ClassVar[bool] = False
    """Whether it runs other operations, so that it can't be a step of a chain itself."""
    takes_in: ClassVar[bool] = False
    """Whether it takes pictures in: it gets ``context.arrivals`` and yields an ``arrivals.Outcome`` for each."""
    makes_texts: ClassVar[bool] = False
    """Whether it makes texts about its pictures instead of pictures: it yields a ``TextOutput`` for each."""

    def estimate(self, params: Mapping[str, Any], inputs: int) -> Estimate:
        """Seconds on one ordinary core, and how many pictures will come out."""
        return Estimate(seconds=1.0 * max(1, inputs), outputs=max(1, inputs))

    def demand(self, params: Mapping[str, Any], inputs: int) -> Mapping[str, int]:
        """Requests to each engine (alias) that a job would make if that engine stood behind a server: what budgets set
        aside for it. {} where nobody knows; what is sent is counted all the same."""
        return {}

    def parts(self, params: Mapping[str, Any]) -> tuple[Operation, ...]:
        """The operations whose work, hardware and permissions a job with these parameters needs: itself, and for a
        chain those of its steps."""
        return (self,)

    def pictures(self, params: Mapping[str, Any]) -> dict[str, str]:
        """The pictures that parameters name beside the inputs: field -> id. They come as ``context.pictures``."""
        return self.Parameters.pictures(params)
    def words(self, params: Mapping[str, Any], *, title: str = "", category: str = "") -> tuple[Words, ...]:
        """What models would get to read for a product of this title and category, in the order of their work; () for an
        operation without words. Reads small files at most and imports nothing heavy.

        ``params`` were parsed and cleaned. What can't be told is said in ``Words.untold`` and raises nothing.
        """
        return ()

    def clean(self, params: dict[str, Any]) -> dict[str, Any]:
        """Hook: adjust or refuse (InvalidParameters) parsed parameters."""
        return params

    @abstractmethod
    def run(self, context: OperationContext) -> Iterable[Any]:
        """Do the work and yield the results one by one: an Output each (where it ``takes_in``: an Outcome per arrival;
        where it ``makes_texts``: a TextOutput each).

        Raise ``PermanentError`` for what can't succeed however often it is tried, ``TransientError`` for what may.
        """


__all__ = [
    "Estimate",
    "InputImage",
    "ModelFiles",
    "Operation",
    "OperationContext",
    "Output",
    "Parameters",
    "Text",
    "TextOutput",
    "Words",
]
