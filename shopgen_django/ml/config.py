"""Every option of a training run, declared once.

The fields of :class:`TrainConfig` are the source of the command-line options (:mod:`.options`), of ``config.json``
and of the comparison that decides whether a run may be resumed. ``None`` means "choose for me"; the choice is made by
:mod:`.recipe` and written to ``config.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from .errors import ConfigError
from .family_options import option
from .privacy_options import PrivacyOptions

GROUPS: dict[str, str] = {
    "data": "pictures",
    "model": "what is trained",
    "length": "how long",
    "privacy": "differential privacy",
    "machine": "where it runs",
    "output": "output folder",
    "expert": "fine tuning (the defaults follow the size of the pictures and the device)",
}

AUTO, BASE, SCRATCH = "auto", "base", "scratch"
"""Values of ``init`` that aren't a folder."""
MAX_SIZE = 1024
MIN_SIZE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig(PrivacyOptions):
    """Options of a run; the field's metadata holds the help text that ``--help`` prints."""

    source: str = option(
        "",
        group="data",
        kind=str,
        metavar="DIR",
        identity=False,
        help="a folder of pictures in any nesting (a first-level folder is a category; a labels.csv with the columns "
        "file,label goes before folders), or an .npz file with the arrays images and labels",
    )
    category: tuple[str, ...] = option(
        (),
        group="data",
        kind=str,
        metavar="NAME",
        many=True,
        help="use only these categories (repeat it, or list several)",
    )
    prepare: str = option(
        "none",
        group="data",
        choices=("none", "white"),
        help="white: cut each product out and put it on a plain white ground first; best for phone photos",
    )
    cutout: str = option(
        "",
        group="data",
        kind=str,
        metavar="DIR",
        identity=False,
        help="what finds the products for --prepare white: folder of a network, 'shipped' (the default), or "
        "'classical' for no network (train_gan takes what the shop's cut-outs use)",
    )
    doubtful: str = option(
        "leave-out",
        group="data",
        choices=("leave-out", "keep"),
        help="photos whose cut-out for --prepare white is doubtful: leave them out and list them in dataset.json "
        "(unless a category had none without them), or keep them",
    )
    fit: str = option(
        "pad",
        group="data",
        choices=("pad", "crop"),
        help="how a picture becomes square: pad with its border's colour, or crop the middle",
    )
    flip: bool = option(
        True,
        group="data",
        kind=bool,
        help="also show mirrored pictures; turn it off when logos or text must stay readable",
    )
    allow_bad_files: bool = option(
        False,
        group="data",
        kind=bool,
        identity=False,
        help="start even when more than 5%% of the pictures can't be read",
    )
    architecture: str = option(
        "modern",
        group="model",
        metavar="A",
        help="modern: relativistic pairing loss with R1 and R2, no normalisation; dcgan: the classic network of 2015; "
        "vae: redraws photos from few numbers; denoiser: takes noise out of photos",
    )
    size: int | None = option(
        None,
        group="model",
        kind=int,
        metavar="N",
        minimum=MIN_SIZE,
        help="side of the pictures in pixels: 28, 32, 64, 128 ...",
    )
    channels: int | None = option(
        None, group="model", kind=int, choices=(1, 3, 4), help="1 grey, 3 colour, 4 colour with transparency"
    )
    loss: str | None = option(
        None,
        group="model",
        metavar="L",
        help="modern: rp (default), ns, hinge, lsgan, wgan-gp. dcgan: ns (default: maximise log D(G(z))), minimax "
        "(minimise log(1 - D(G(z)))), lsgan (squared error), hinge, wgan-gp. denoiser: charbonnier (default), l1",
    )
    conditional: bool | None = option(
        None,
        group="model",
        kind=bool,
        help="learn the categories, so that they can be asked for; on when there are two or more",
    )
    augment: str = option(
        "auto",
        group="model",
        choices=("auto", "adaptive", "fixed", "off"),
        help="differentiable augmentation of real and made pictures. fixed: strength by the number of photos; "
        "adaptive: steered by photos that are held out; auto: adaptive when there are enough photos to hold some out",
    )
    init: str = option(
        AUTO,
        group="model",
        kind=str,
        metavar="NAME",
        help="what to begin with: base (the generator of clothes that ships), scratch, or an earlier model (its "
        "folder; with manage.py also its name); auto: base up to 2,000 photos, or when it knows their categories",
    )
    balance: str = option(
        "auto",
        group="data",
        choices=("auto", "on", "off"),
        help="show the photos of small categories more often (on); auto: when the largest has over four times as many "
        "as the smallest",
    )
    minutes: float | None = option(
        None,
        group="length",
        kind=float,
        metavar="M",
        minimum=0.01,
        identity=False,
        help="stop after this much training time, counted over all resumed parts",
    )
    images_seen: int | None = option(
        None,
        group="length",
        kind=int,
        metavar="N",
        minimum=1,
        identity=False,
        help="stop when the discriminator has been shown this many real pictures",
    )
    device: str = option(
        "auto",
        group="machine",
        choices=("auto", "cpu", "cuda", "mps"),
        identity=False,
        help="auto: an NVIDIA or AMD GPU (cuda) when there is one, else Apple's (mps), else the CPU",
    )
    precision: str = option(
        "auto",
        group="machine",
        choices=("auto", "fp32", "bf16"),
        help="auto: bf16 on a GPU that has it, fp32 elsewhere; penalties are computed in fp32 always",
    )
    threads: int | None = option(
        None,
        group="machine",
        kind=int,
        metavar="N",
        minimum=1,
        identity=False,
        help="CPU threads; default: OMP_NUM_THREADS, else the cores this process may use",
    )
    processes: int = option(
        1,
        group="machine",
        kind=int,
        metavar="N",
        minimum=1,
        maximum=64,
        identity=False,
        help="processes on this host that train together, sharing its cores or one GPU each; for several hosts use "
        "torchrun",
    )
    compile: str = option(
        "auto",
        group="machine",
        choices=("auto", "on", "off"),
        identity=False,
        help="let torch.compile translate the networks, which takes a minute or two first; steps with gradient "
        "penalties stay as they are. auto: off, as long as it has not been seen to pay",
    )
    micro_batch: int | None = option(
        None,
        group="machine",
        kind=int,
        metavar="N",
        minimum=1,
        identity=False,
        help="pictures that go through the networks at once; smaller needs less memory and gives the same result. "
        "Halved by itself when memory runs out",
    )
    output: str = option(
        "", group="output", kind=str, metavar="DIR", identity=False, help="folder for everything the run writes"
    )
    tick_seconds: float = option(
        5.0,
        group="output",
        kind=float,
        metavar="S",
        minimum=0,
        identity=False,
        help="seconds between two lines of progress",
    )
    snapshot_seconds: float = option(
        30.0,
        group="output",
        kind=float,
        metavar="S",
        minimum=0,
        identity=False,
        help="seconds between two snapshots: samples, model and state; a killed run loses at most this",
    )
    batch_size: int | None = option(None, group="expert", kind=int, metavar="B", minimum=2, help="pictures in a step")
    seed: int = option(
        0, group="expert", kind=int, metavar="S", minimum=0, help="same seed, same run (exactly, on one CPU)"
    )
    width: int | None = option(
        None, group="expert", kind=int, metavar="W", minimum=4, help="channels at the highest resolution"
    )
    latent: int | None = option(
        None, group="expert", kind=int, metavar="Z", minimum=2, help="length of the random vector"
    )
    lr: float | None = option(None, group="expert", kind=float, metavar="X", minimum=1e-8, help="learning rate")
    gamma: float | None = option(
        None, group="expert", kind=float, metavar="X", minimum=0, help="weight of R1 and R2 (modern)"
    )
    warm_images: int | None = option(
        None,
        group="expert",
        kind=int,
        metavar="N",
        minimum=0,
        help="modern: pictures of the warm start, in which the generator redraws photos; 0 leaves it out",
    )
    ema_images: int | None = option(
        None, group="expert", kind=int, metavar="N", minimum=1, help="half-life of the averaged generator, in pictures"
    )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    def identity(self) -> dict[str, Any]:
        """The values that a resumed run must share with the run that began the folder."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.metadata["identity"]}

    def filled(self, values: Mapping[str, Any]) -> TrainConfig:
        """A copy in which fields that were ``None`` take the value given."""
        return replace(self, **{name: value for name, value in values.items() if getattr(self, name) is None})


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def config_from_dict(values: Mapping[str, Any]) -> TrainConfig:
    """The inverse of :meth:`TrainConfig.as_dict`; unknown names are an error."""
    known = {f.name: f for f in fields(TrainConfig)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(f"Unknown training option: {', '.join(unknown)}.")
    settled: dict[str, Any] = {n: tuple(v) if known[n].metadata["many"] else v for n, v in values.items()}
    return TrainConfig(**settled)


def check_config(config: TrainConfig) -> None:
    """Refuse values outside their range or choices.

    Raises:
        ConfigError: with the option's name as it is typed and what it may be.
    """
    for f in fields(config):
        value, meta = getattr(config, f.name), f.metadata
        flag = "--" + f.name.replace("_", "-")
        if value is None:
            continue
        for one in value if meta["many"] else (value,):
            if meta["choices"] and one not in meta["choices"]:
                raise ConfigError(f"{flag} is {one!r}; it must be one of {', '.join(map(str, meta['choices']))}.")
        if meta["minimum"] is not None and not value >= meta["minimum"]:
            raise ConfigError(f"{flag} is {value}; it must be at least {meta['minimum']}.")
        if meta["maximum"] is not None and not value <= meta["maximum"]:
            raise ConfigError(f"{flag} is {value}; it must be at most {meta['maximum']}.")
    if not config.source:
        raise ConfigError("Say where the pictures are: --source DIR.")
    if not config.output:
        raise ConfigError("Say where the run goes: --output DIR.")
    if config.size is not None:
        base_side(config.size)


def base_side(size: int) -> tuple[int, int]:
    """Split a picture's side into ``(base, doublings)`` with base in 4..7 and ``base * 2**doublings == size``.

    Raises:
        ConfigError: when the side has no such form (28, 32, 40, 48, 56, 64, 96, 128, 256 ... have).
    """
    side, doublings = size, 0
    while side > 7 and side % 2 == 0:
        side //= 2
        doublings += 1
    if not (4 <= side <= 7 and MIN_SIZE <= size <= MAX_SIZE):
        near = sorted(b * 2**d for b in (4, 5, 6, 7) for d in range(2, 9) if MIN_SIZE <= b * 2**d <= MAX_SIZE)
        closest = sorted(near, key=lambda n: abs(n - size))[:2]
        raise ConfigError(
            f"--size {size} can't be built from 4 to 7 pixels by doubling; try {closest[0]} or {closest[1]} "
            f"(at most {MAX_SIZE})."
        )
    return side, doublings
