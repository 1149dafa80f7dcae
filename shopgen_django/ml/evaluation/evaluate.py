"""One model against one set of real pictures: all figures, their floors and ladders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shopgen_django.ml import files
from shopgen_django.ml.data import Pictures
from shopgen_django.ml.errors import ConfigError, DatasetError
from shopgen_django.ml.folder import CARD, CONFIG
from shopgen_django.ml.metrics import (
    Features,
    doubles,
    frechet_distance,
    frechet_is_fair,
    kid,
    kid_estimate,
    manifold,
    nearest,
    nearest_of_own,
    pair_distance,
)
from shopgen_django.ml.sample import Sampler

from .classifier import accuracies, balanced, fit_classifier
from .extractors import Extractor, load_extractor
from .ladders import climb, read_off
from .material import (
    Material,
    given_pictures,
    is_model,
    load_model,
    made_by_model,
    made_in_folder,
    real_material,
    training_pictures,
    ways_between,
    without_averaging,
)
from .results import CategoryFigures, Evaluation, Floored, Memory, Reference
from .spectrum import fine_detail, radial_power

FEWEST = 16
MOST_ON_LADDER = 500
NEIGHBOURS = 5
CLOSEST = 8
DOUBLES_AMONG = 1_000
WALKS, WALK_STEPS = 6, 12
Say = Callable[[str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What an evaluation looked at, for the report."""

    evaluation: Evaluation
    real: Material
    made: Material
    train: Material | None
    """The training photos that ``evaluation.memory`` names; None when they aren't at hand."""
    walks: NDArray[np.uint8] | None = None
    """Ways between two made pictures, ``(n, WALK_STEPS, c, s, s)``; None where the model can't be asked for them."""


def evaluate(
    folder: str | Path,
    *,
    source: str | Path | None = None,
    count: int = 1_000,
    seed: int = 0,
    extractor: Extractor | None = None,
    device: str = "cpu",
    say: Say | None = None,
) -> Comparison:
    """Compare a model, or a folder of made pictures, with real pictures.

    Args:
        folder: output folder of a run, or a folder (or ``.npz``) of pictures that something else made.
        source: real pictures, a folder or an ``.npz``; None: those that the model was trained on.
        count: pictures to make (or to take from the folder), at least 16.
        seed: of the random vectors.
        extractor: what turns pictures into features; None: the network that ships.
        device: where the generator runs.
        say: called with a line whenever something longer begins.

    Raises:
        MLError: no whole model, no pictures, too few of them.
    """
    if count < FEWEST:
        raise ConfigError(f"--count {count}: at least {FEWEST} pictures are needed to say anything.")
    told = say or (lambda text: None)
    path = Path(folder)
    extractor = extractor or load_extractor(device=device)
    if is_model(path):
        generator, card = load_model(path, device)
        trained = _trained(path)
        pictures = _real(path, source, trained, card)
        real = real_material(pictures)
        told(f"making {count} pictures")
        made = made_by_model(generator, real, count=count, seed=seed)
        raw = without_averaging(path, generator)
        walks = ways_between(generator, WALKS, WALK_STEPS, seed=seed)
        sha256, size = str(card["sha256"]), generator.size
    else:
        if source is None:
            raise ConfigError(f"{path} holds no model. To judge a folder of pictures say what is real: --source DIR.")
        trained, size = None, 64
        pictures = given_pictures(Path(source), size=size, channels=3, prepare="none", fit="pad")
        real = real_material(pictures)
        made = made_in_folder(path, real, size=size, channels=3, count=count)
        sha256, raw, walks = files.sha256_bytes(made.images.tobytes()), None, None
    _enough(real, made)
    reference = Reference(
        digest=pictures.digest, count=len(real), kind="given" if source is not None else "train", size=size
    )
    told(f"features of {len(real)} real and {len(made)} made pictures")
    train = Material(images=np.asarray(trained.images), labels=None, names=()) if trained is not None else None
    evaluation = _figures(
        _Sides(real=real, made=made, trained=trained, extractor=extractor, raw=raw), told,
        model=path.name, sha256=sha256, seed=seed, reference=reference,
    )  # fmt: skip
    return Comparison(evaluation=evaluation, real=real, made=made, train=train, walks=walks)


def refuse_private(folder: Path) -> None:
    """Raises ConfigError for a privately trained model: its photos may be looked at by its training only."""
    if not is_model(folder):
        return
    spent = files.read_json(folder / CARD).get("metrics", {}).get("epsilon")
    asked = files.read_json(folder / CONFIG)["config"].get("dp_epsilon") if (folder / CONFIG).is_file() else None
    if spent is not None or asked is not None:
        raise ConfigError(
            f"{folder.name} was trained with differential privacy. Figures that compare it with its photos tell "
            "something about them and are outside of the promise. If you compare with pictures that are public "
            "(--source), or will keep the figures to yourself, add --unsafe-metrics."
        )


def purpose_of(folder: Path) -> str:
    """What a folder's model is for; pictures that something made count as a generator's."""
    return str(files.read_json(folder / CARD).get("purpose", "generate")) if is_model(folder) else "generate"


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanPictures:
    """Pictures for a denoiser to restore; ``held_out``: it was not trained on them, as far as can be known."""

    images: NDArray[np.uint8]
    digest: str
    held_out: bool


def clean_pictures(folder: Path, source: str | Path | None, *, count: int) -> CleanPictures:
    """Up to ``count`` pictures, evenly chosen: of ``source``, else those held out, else the training photos."""
    trained = _trained(folder)
    pictures = _real(folder, source, trained, files.read_json(folder / CARD))
    held = source is None and len(pictures.held_out) >= FEWEST
    among = pictures.held_out if held else np.arange(len(pictures.images))
    some = among[_spread(len(among), min(count, len(among)))]
    return CleanPictures(
        images=np.ascontiguousarray(pictures.images[some]), digest=pictures.digest, held_out=held or source is not None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sides:
    real: Material
    made: Material
    trained: Pictures | None
    extractor: Extractor
    raw: Sampler | None
    """The generator without averaging."""


def _figures(
    sides: _Sides, told: Say, *, model: str, sha256: str, seed: int, reference: Reference
) -> Evaluation:
    real, made, extractor = sides.real, sides.made, sides.extractor
    f_real, f_made = extractor.features(real.images), extractor.features(made.images)
    one, other = _halves(len(real), seed)
    size = min(len(one), len(f_made))
    halves = f_real[one][:size], f_real[other][:size]
    few = f_made[_spread(len(f_made), size)]
    estimate = kid_estimate(f_real, f_made, seed=seed)
    told("ladders")
    some = other[:MOST_ON_LADDER]
    rungs = climb(
        f_real[one][:MOST_ON_LADDER], real.images[some], real.labels[some] if real.labels is not None else None,
        extractor.features,
    )  # fmt: skip
    whole, between, beside = (manifold(a, b, neighbours=NEIGHBOURS) for a, b in
                              ((f_real, f_made), halves, (halves[0], few)))  # fmt: skip
    spread = {
        name: Floored(value=getattr(whole, name), floor=getattr(between, name), at_floor=getattr(beside, name),
                      count=size)
        for name in ("precision", "recall", "density", "coverage")
    }  # fmt: skip
    power = radial_power(real.images)
    by_half = [radial_power(real.images[half]) for half in (one, other)]
    detail = fine_detail(radial_power(made.images), power)
    told("categories, neighbours, doubles")
    by_category, accuracy_real, accuracy_made, reverse = _categories(real, made, f_real, f_made, (one, other))
    limit = float(np.percentile(nearest_of_own(f_real), 1)) * 0.999
    among = min(DOUBLES_AMONG, len(f_made), len(f_real))
    found = doubles(f_made[_spread(len(f_made), among)], closer_than=limit)
    usual = doubles(f_real[_spread(len(f_real), among)], closer_than=limit)
    return Evaluation(
        model=model, model_sha256=sha256, count=len(made), seed=seed, extractor=extractor.identity.as_dict(),
        reference=reference,
        kid=Floored(value=estimate.value, floor=kid(*halves), at_floor=kid(halves[0], few), count=size),
        kid_error=estimate.error,
        fid=Floored(value=frechet_distance(f_real, f_made), floor=frechet_distance(*halves),
                    at_floor=frechet_distance(halves[0], few), count=size),
        fid_fair=frechet_is_fair(extractor.identity.dimension, len(real), len(made)),
        **spread,
        variety=_variety(real, made, f_real, f_made),
        detail=Floored(value=detail, floor=fine_detail(by_half[1], by_half[0]), at_floor=detail, count=size),
        kid_raw=_kid_raw(sides, halves[0], seed),
        memory=_memory(sides, f_made), double_pairs=found.pairs, double_pairs_real=usual.pairs, support=found.support,
        accuracy_real=accuracy_real, accuracy_made=accuracy_made, accuracy_reverse=reverse, categories=by_category,
        ladder=rungs, like_blur=read_off(rungs, "blur", estimate.value),
        like_noise=read_off(rungs, "noise", estimate.value), notes=_notes(sides, reference),
    )  # fmt: skip


def _trained(folder: Path) -> Pictures | None:
    try:
        return training_pictures(folder)
    except DatasetError:
        return None


def _real(folder: Path, source: str | Path | None, trained: Pictures | None, card: dict[str, object]) -> Pictures:
    if source is None:
        return trained if trained is not None else training_pictures(folder)  # the second says why there are none
    fit = str(trained.manifest.get("fit", "pad")) if trained is not None else "pad"
    return given_pictures(
        Path(source), size=int(str(card["size"])), channels=int(str(card["channels"])),
        prepare=str(card.get("prepare") or "none"), fit=fit,
    )  # fmt: skip


def _enough(real: Material, made: Material) -> None:
    for name, side in (("real", real), ("made", made)):
        if len(side) < FEWEST:
            raise DatasetError(f"Only {len(side)} {name} pictures; at least {FEWEST} are needed to say anything.")


def _halves(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two random halves of equal length."""
    order = np.random.default_rng([seed, count]).permutation(count)
    return order[: count // 2], order[count // 2 : 2 * (count // 2)]


def _spread(count: int, wanted: int) -> NDArray[np.int64]:
    """``wanted`` of ``count`` positions, evenly (made pictures lie sorted by category)."""
    return np.linspace(0, count - 1, wanted).round().astype(np.int64)


def _kid_raw(sides: _Sides, f_real: Features, seed: int) -> float | None:
    if sides.raw is None:
        return None
    made = made_by_model(sides.raw, sides.real, count=max(FEWEST, len(f_real)), seed=seed)
    return kid(f_real, sides.extractor.features(made.images))


def _variety(real: Material, made: Material, f_real: Features, f_made: Features) -> float:
    """Mean pair distance of the made pictures over that of the real ones, within categories where there are any."""
    if real.labels is None or made.labels is None:
        return pair_distance(f_made) / max(1e-12, pair_distance(f_real))
    ratios = [
        pair_distance(f_made[made.labels == number]) / max(1e-12, pair_distance(f_real[real.labels == number]))
        for number in range(len(real.names))
        if (made.labels == number).sum() > 1 and (real.labels == number).sum() > 1
    ]
    return float(np.mean(ratios)) if ratios else 0.0


def _categories(
    real: Material, made: Material, f_real: Features, f_made: Features,
    halves: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> tuple[tuple[CategoryFigures, ...], float | None, float | None, float | None]:  # fmt: skip
    """Figures of each category, and the three accuracies (mean over categories)."""
    if real.labels is None or made.labels is None:
        return (), None, None, None
    count = len(real.names)
    one, other = halves
    half = fit_classifier(f_real[one], real.labels[one], count)
    on_real = accuracies(half.classify(f_real[other]), real.labels[other], count)
    recognised = accuracies(fit_classifier(f_real, real.labels, count).classify(f_made), made.labels, count)
    useful = accuracies(fit_classifier(f_made, made.labels, count).classify(f_real), real.labels, count)
    figures = []
    for number, name in enumerate(real.names):
        mine, theirs = f_made[made.labels == number], f_real[real.labels == number]
        figures.append(
            CategoryFigures(
                name=name, real=len(theirs), made=len(mine), recognised=recognised[number], useful=useful[number],
                variety=pair_distance(mine) / max(1e-12, pair_distance(theirs))
                if min(len(mine), len(theirs)) > 1 else None,
            )
        )
    return tuple(figures), balanced(on_real), balanced(recognised), balanced(useful)


def _memory(sides: _Sides, f_made: Features) -> Memory | None:
    """Distances to the training photos (and their mirror images, since training mirrors)."""
    if sides.trained is None:
        return None
    trained = sides.trained
    extract = sides.extractor.features
    photos = np.ascontiguousarray(trained.images[trained.trained_on])
    f_photos, f_mirrored = extract(photos), extract(np.ascontiguousarray(photos[..., ::-1]))
    index, distance = nearest(f_made, f_photos)
    mirrored_index, mirrored = nearest(f_made, f_mirrored)
    index, distance = np.where(mirrored < distance, mirrored_index, index), np.minimum(distance, mirrored)
    if len(trained.held_out) >= FEWEST:
        f_held = extract(np.ascontiguousarray(trained.images[trained.held_out]))
        yardstick, usual = "held_out", np.minimum(nearest(f_held, f_photos)[1], nearest(f_held, f_mirrored)[1])
    else:
        yardstick, usual = "leave_one_out", nearest_of_own(f_photos)
    middle = max(1e-12, float(np.median(usual)))
    closest = np.argsort(distance)[:CLOSEST]
    return Memory(
        ratio=float(np.median(distance)) / middle, yardstick=yardstick,
        close=float((distance < np.percentile(usual, 5)).mean()),
        nearest=tuple((int(i), int(trained.trained_on[index[i]]), float(distance[i]) / middle) for i in closest),
    )  # fmt: skip


def _notes(sides: _Sides, reference: Reference) -> tuple[str, ...]:
    notes = []
    dimension = sides.extractor.identity.dimension
    least = min(len(sides.real), len(sides.made))
    if not frechet_is_fair(dimension, least):
        notes.append(
            f"{least} pictures a side are too few for the Fréchet distance ({10 * dimension} are needed): read KID."
        )
    if reference.kind == "train":
        notes.append(
            "Compared with the photos that the model was trained on. A model that copies them does well here: look at "
            "the nearest photos, or compare with photos it has never seen (--source)."
        )
    if sides.made.labels is None and sides.real.labels is not None:
        notes.append("The model does not know the categories of the real pictures: there are no figures by category.")
    return tuple(notes)
