"""Beginning with what another model has learned: ``--init base``, ``--init FOLDER``.

The base generator that ships knows the shapes of clothes. A run that begins with it takes over every layer of generator
and discriminator, matches the categories by name, and describes the shop's own photos in the base's terms. Of the
photos that the base was trained on nothing is taken over: random vectors are blends of the own photos' codes only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from . import files
from .config import AUTO, BASE, SCRATCH, TrainConfig
from .data import Pictures
from .errors import CheckpointError, ConfigError, ModelFileError
from .families.base import DataFacts, Learner
from .families.modern import ModernGenerator, ModernLearner, code_photos
from .folder import RunFolder, from_safetensors
from .synonyms import find
from .warm import SIDE, Describer

BASE_FOLDER = Path(__file__).resolve().parents[1] / "weights" / "base_64"
COMPANIONS = "companions.safetensors"
"""Discriminator and describer beside a model that was made to begin with."""
WARM_IMAGES = 6_000
FEW = 2_000
"""Up to so many photos the base is taken without being asked for, whatever they show: measured on groceries, of which
it knows none, it is ahead of a beginning from nothing, and no clothes show through."""
FAMILIAR_SHARE = 0.5
"""Beyond, the share of the photos whose category the base has to know."""
TRUST = 8.0
"""A category's mean picture of the base counts like this many photos."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A model to begin with. ``discriminator`` and ``describer`` are empty where they weren't kept."""

    name: str
    card: Mapping[str, Any]
    generator: Mapping[str, Tensor]
    discriminator: Mapping[str, Tensor]
    describer: Mapping[str, Tensor]

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories that it knows."""
        return tuple(self.card["categories"])


def origin_folder(init: str) -> Path:
    """The folder that ``--init`` means.

    Raises:
        ConfigError: there is no model in it.
    """
    folder = BASE_FOLDER if init == BASE else Path(init)
    if not (folder / "model.json").is_file():
        raise ConfigError(
            f"--init {init}: there is no trained model. Give a training run's output folder, the name of a registered "
            f"model (with manage.py train_gan), '{BASE}' for the one that ships, or '{SCRATCH}'."
        )
    return folder


def read_origin(init: str) -> Origin:
    """Load a model to begin with, weights compared with their SHA-256.

    Raises:
        ConfigError: no model there, or a damaged one.
    """
    from .sample import load_network

    folder = origin_folder(init)
    try:
        network, card, _device = load_network(folder)
        beside = _companions(folder)
    except (ModelFileError, CheckpointError) as error:
        raise ConfigError(f"--init {init}: {error}") from None
    return Origin(
        name=init,
        card=card,
        generator=network.state_dict(),
        discriminator=_under(beside, "module/discriminator/"),
        describer=_under(beside, "module/describer/"),
    )


def _companions(folder: Path) -> Mapping[str, Tensor]:
    path = folder / COMPANIONS
    if path.is_file():
        data = path.read_bytes()
        if files.sha256_bytes(data) != files.read_json(folder / "model.json").get("companions_sha256"):
            raise ModelFileError(f"{path} is not the file that model.json describes (its SHA-256 differs).")
        return from_safetensors(data)[0]
    state = RunFolder(folder).load_state()
    return {} if state is None else state.tensors


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


# -- options -----------------------------------------------------------------------------------


def settle(config: TrainConfig, facts: DataFacts, categories: Mapping[str, int]) -> TrainConfig:
    """``config`` with ``init`` decided and the options that follow from it.

    Args:
        config: as given; ``init`` may be ``auto``.
        facts: of the photos.
        categories: photos in each category; empty when they have none.

    Raises:
        ConfigError: the model can't be begun with; the message says what would have to be different.
    """
    if config.init == AUTO:
        config = replace(config, init=BASE if _base_fits(config, facts, categories) else SCRATCH)
    if config.init == SCRATCH:
        return config
    folder = origin_folder(config.init)
    if folder.resolve() == Path(config.output).resolve():
        raise ConfigError(f"--init {config.init} is where this run writes to. Give another --output or --name.")
    card = files.read_json(folder / "model.json")
    reason = _misfit(config, facts, card)
    if reason:
        raise ConfigError(f"--init {config.init}: {reason}")
    network = card["network"]
    return config.filled({"width": network["plan"][-1], "latent": network["latent"], "warm_images": WARM_IMAGES})


def _base_fits(config: TrainConfig, facts: DataFacts, categories: Mapping[str, int]) -> bool:
    """Whether the base is the better beginning: it fits, and the photos are few or of kinds that it knows."""
    private = getattr(config, "dp_epsilon", None) is not None
    if private or config.warm_images == 0 or not (BASE_FOLDER / "model.json").is_file():
        return False
    card = files.read_json(BASE_FOLDER / "model.json")
    if _misfit(config, facts, card):
        return False
    if facts.count <= FEW:
        return True
    familiar = sum(count for name, count in categories.items() if find(name, card["categories"]) is not None)
    return familiar >= FAMILIAR_SHARE * max(1, sum(categories.values()))


def _misfit(config: TrainConfig, facts: DataFacts, card: Mapping[str, Any]) -> str:
    """Why a model can't be begun with; empty when it can."""
    network = card["network"]
    if card["architecture"] != config.architecture:
        return f"it is a model of --architecture {card['architecture']}, not {config.architecture}."
    if config.architecture != "modern":
        return "only models of --architecture modern can be begun with."
    if card["size"] != facts.size:
        return f"it makes pictures of {card['size']} px, this run {facts.size}; use --size {card['size']}."
    if facts.channels != card["channels"] and not (facts.channels == 1 and card["channels"] == 3):
        return f"it makes pictures with {card['channels']} channels, this run with {facts.channels}."
    for name, has in (("width", network["plan"][-1]), ("latent", network["latent"])):
        if getattr(config, name) not in (None, has):
            return f"it has --{name} {has}; leave the option out."
    return ""


# -- networks ----------------------------------------------------------------------------------


def begin(learner: Learner, config: TrainConfig, pictures: Pictures) -> tuple[str, ...]:
    """Take over what fits from the model that ``config.init`` names. Call it before the first step.

    Returns the own categories that the model doesn't know; the learner tells a person about them.

    Raises:
        ConfigError: the model is damaged or not of this kind.
    """
    if not isinstance(learner, ModernLearner) or not isinstance(learner.generator, ModernGenerator):
        raise ConfigError(f"--init {config.init}: only models of --architecture modern can be begun with.")
    origin = read_origin(config.init)
    own = pictures.categories
    conditional = learner.generator.embed is not None
    rows = [find(name, origin.categories) for name in own] if conditional else [_only(own, origin.categories)]
    generator, discriminator = learner.generator, learner.discriminator
    if origin.discriminator:
        _take(discriminator, origin.discriminator, rows, conditional)
        _fold_projection(discriminator, origin.discriminator, rows, conditional)
    _take(generator, origin.generator, rows, conditional)
    _fold_embedding(generator, origin.generator, rows, conditional)
    if learner.describer is not None and generator.start is not None:
        _describe_own(learner.describer, generator, origin, rows, pictures)
    strangers = tuple(name for name, row in zip(own, rows, strict=False) if row is None) if conditional else ()
    learner.origin = {"name": Path(origin.name).name, "sha256": origin.card["sha256"]}
    learner.told = (
        f"begins with {'the base generator' if origin.name == BASE else origin.name}"
        + (f"; it doesn't know: {', '.join(strangers)}" if strangers else ""),
    )
    return strangers


def _only(own: Sequence[str], known: Sequence[str]) -> int | None:
    return find(own[0], known) if len(own) == 1 else None


@torch.no_grad()
def _take(target: nn.Module, origin: Mapping[str, Tensor], rows: Sequence[int | None], conditional: bool) -> None:
    """Copy every tensor that fits; rows of categories as matched, channels of grey pictures from those of colour."""
    per_category = {
        f"{name}.weight" for name, module in target.named_modules() if isinstance(module, nn.Embedding)
    }
    for name, mine in target.state_dict().items():
        theirs = origin.get(name)
        if theirs is None or name in ("codes", "code_labels"):
            continue
        if name in per_category:
            theirs = _matched(theirs, rows)
        if theirs.shape != mine.shape:
            theirs = _grey(name, theirs, mine)
        if theirs is not None:
            mine.copy_(theirs)


def _matched(values: Tensor, rows: Sequence[int | None]) -> Tensor:
    """Rows of the origin's categories in the order of the own ones; an unknown one gets their mean."""
    mean = values.mean(dim=0)
    return torch.stack([mean if row is None else values[row] for row in rows])


def _grey(name: str, theirs: Tensor, mine: Tensor) -> Tensor | None:
    """Weights of a colour layer for grey pictures, or None when the shapes differ in another way.

    A grey picture is a colour one with three equal channels: inputs are summed, outputs averaged.
    """
    for axis in range(min(2, theirs.dim())):
        if theirs.dim() == mine.dim() and theirs.shape[axis] == 3 * mine.shape[axis]:
            cut = theirs.reshape(*theirs.shape[:axis], 3, mine.shape[axis], *theirs.shape[axis + 1 :])
            takes_pictures = name in ("see.weight", "downs.0.weight", "basis")
            folded = cut.sum(dim=axis) if takes_pictures else cut.mean(dim=axis)
            if folded.shape == mine.shape:
                return folded
    return None


@torch.no_grad()
def _fold_embedding(
    target: ModernGenerator, origin: Mapping[str, Tensor], rows: Sequence[int | None], conditional: bool
) -> None:
    """The first layer when only one side has categories: a fixed category is a constant, which the bias takes."""
    theirs, latent = origin["first.weight"], target.latent
    target.first.weight[:, :latent].copy_(theirs[:, :latent])
    if not conditional and "embed.weight" in origin:
        category = _matched(origin["embed.weight"], rows)[0]
        target.first.bias.copy_(origin["first.bias"] + theirs[:, latent:] @ category)


@torch.no_grad()
def _fold_projection(
    target: nn.Module, origin: Mapping[str, Tensor], rows: Sequence[int | None], conditional: bool
) -> None:
    """The discriminator's projection on a category that is always the same is a part of its last layer."""
    if conditional or "project.weight" not in origin:
        return
    category = _matched(origin["project.weight"], rows)[0]
    weight = target.get_parameter("logit.weight")
    weight.add_(category[None].to(weight.device) * weight.shape[1] ** -0.5)


@torch.no_grad()
def _describe_own(
    describer: Describer, generator: ModernGenerator, origin: Origin, rows: Sequence[int | None], pictures: Pictures
) -> None:
    """Own photos in the origin's terms: its components, its mean picture of the categories that it knows.

    ``describer`` comes with the means of the own photos; they stay for unknown categories.
    """
    device = generator.codes.device
    describer.cpu()
    known = dict(origin.describer) or _describer_of(origin.generator, describer)
    basis = known["basis"]
    describer.basis.copy_(basis if basis.shape == describer.basis.shape else _grey_rows(basis))
    means = known["mean"]
    if means.shape[1] != describer.mean.shape[1]:
        means = _grey_rows(means.T, mean=True).T
    for row, found in enumerate(rows):
        if found is not None and found < len(means):
            describer.mean[row] = means[found]
    some = code_photos(pictures, len(generator.codes))
    labels = generator.code_labels.cpu()
    codes = describer.codes(pictures.images[some], labels)
    generator.codes.copy_(codes)
    assert generator.start is not None
    photos = torch.from_numpy(pictures.images[some]).float().div(127.5).sub(1.0)
    wanted = adaptive_avg_pool2d(photos, generator.start.shape[1:]).flatten(1)
    rest = wanted - codes @ generator.start.sum.weight.cpu().T
    for row, found in enumerate(rows):
        mine = rest[labels == row]
        trust = TRUST if found is not None else 0.0
        if len(mine):
            before = generator.start.mean.weight[row].cpu()
            generator.start.mean.weight[row] = ((mine.sum(dim=0) + trust * before) / (len(mine) + trust)).to(device)
    describer.to(device)


def _describer_of(generator: Mapping[str, Tensor], like: Describer) -> dict[str, Tensor]:
    """The describer that fits a generator whose own was not kept: what turns its blurred pictures back into codes."""
    pixels, components = generator["start.sum.weight"].shape
    channels = max(1, len(like.mean[0]) // SIDE**2)
    channels = 3 if pixels % 3 == 0 and channels == 1 else channels
    side = round((pixels / channels) ** 0.5)

    def small(flat: Tensor) -> Tensor:
        return adaptive_avg_pool2d(flat.view(-1, channels, side, side), SIDE).flatten(1)

    drawn = small(generator["start.sum.weight"].T.contiguous()).double()
    basis = torch.linalg.pinv(drawn).float()
    return {"basis": basis.reshape(-1, components), "mean": small(generator["start.mean.weight"])}


def _grey_rows(values: Tensor, *, mean: bool = False) -> Tensor:
    """``(3 * pixels, k)`` for colour -> ``(pixels, k)`` for grey."""
    cut = values.reshape(3, -1, values.shape[1])
    return cut.mean(dim=0) if mean else cut.sum(dim=0)
