"""Who was trained on? An attack on a finished run, to compare with what its epsilon promises.

The attacker holds a picture and wants to know whether the run has seen it. Three scores, each larger for pictures that
the run knows:

* ``judged``: the discriminator's logit (the attacker has the whole state; with the loss ``ns`` this is the threshold
  on the loss of Yeom et al. 2018);
* ``compared``: the same minus the logit of a shadow run that was trained on third pictures (difficulty taken out). A
  shadow that has seen the outsiders or the members would itself give the answer away, and is refused;
* ``near``: minus the distance to the nearest of many samples (the attacker has the generator only).

What epsilon promises about any attack whatever: its advantage, the largest difference of hit rate and false-alarm rate,
is at most ``(e^epsilon - 1 + 2 delta) / (e^epsilon + 1)``. The other way round, an attack that guesses well proves that
epsilon is at least so and so much (auditing in one run, Steinke, Nasr and Jagielski 2023).

``python -m shopgen_django.ml.privacy.membership RUN --outsiders DIR [--shadow RUN]``
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shopgen_django.ml import files
from shopgen_django.ml.config import config_from_dict
from shopgen_django.ml.data import CACHE_FILE, Pictures, load_pictures, open_source
from shopgen_django.ml.errors import CheckpointError, MLError
from shopgen_django.ml.families import get_family
from shopgen_django.ml.families.adversarial import AdversarialLearner
from shopgen_django.ml.families.base import DataFacts
from shopgen_django.ml.folder import CARD, CONFIG, DATASET, PRIVATE, RunFolder
from shopgen_django.ml.sample import load_generator

from .accounting import require_opacus

Scores = NDArray[np.float64]

GUESS_SHARE = 0.25
"""Share of all pictures that the audit calls in, and the same share out; settled before looking."""
CHUNK = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How well one score tells members from outsiders.

    Attributes:
        auc: chance that a member scores higher than an outsider; 0.5 is guessing.
        advantage: largest difference of hit rate and false-alarm rate over all thresholds (chosen afterwards, so a few
            percent are found by chance: about ``1 / sqrt(n)``).
        hits_at_1_percent: hit rate at the threshold where one outsider in a hundred is called a member.
        least_epsilon: what epsilon must at least have been, with 95 % confidence; 0 proves nothing.
    """

    auc: float
    advantage: float
    hits_at_1_percent: float
    least_epsilon: float


def most_advantage(epsilon: float, delta: float) -> float:
    """The largest advantage that any attack can have against (epsilon, delta)."""
    return min(1.0, (math.exp(epsilon) - 1.0 + 2.0 * delta) / (math.exp(epsilon) + 1.0))


def judge(members: Scores, outsiders: Scores, *, delta: float) -> Finding:
    """What scores give away. Ties count half."""
    order = np.sort(outsiders)
    below, up_to = np.searchsorted(order, members, "left"), np.searchsorted(order, members, "right")
    thresholds = np.unique(np.concatenate([members, outsiders]))
    hits = 1.0 - np.searchsorted(np.sort(members), thresholds, "left") / len(members)
    alarms = 1.0 - np.searchsorted(order, thresholds, "left") / len(outsiders)
    allowed = alarms <= 0.01
    return Finding(
        auc=float((below + up_to).mean() / 2.0 / len(outsiders)),
        advantage=float(max(0.0, (hits - alarms).max())),
        hits_at_1_percent=float(hits[allowed].max()) if allowed.any() else 0.0,
        least_epsilon=least_epsilon(members, outsiders, delta=delta),
    )


def least_epsilon(members: Scores, outsiders: Scores, *, delta: float, confidence: float = 0.95) -> float:
    """The largest epsilon that these guesses refute. Valid where each picture was put in by a coin of its own.

    The top :data:`GUESS_SHARE` of all scores is called in, the bottom one out. Under (epsilon, delta) no more of the
    guesses are right than a coin gives that falls right with probability ``e^epsilon / (1 + e^epsilon)``, up to a
    correction for delta.
    """
    scores = np.concatenate([members, outsiders])
    inside = np.concatenate([np.ones(len(members), bool), np.zeros(len(outsiders), bool)])
    each = int(GUESS_SHARE * len(scores))
    order = np.argsort(scores, kind="stable")
    right = int(inside[order[len(order) - each :]].sum() + (~inside[order[:each]]).sum())
    low, high = 0.0, 50.0
    if _chance(0.0, len(scores), 2 * each, right, delta) > 1.0 - confidence:
        return 0.0
    for _round in range(40):
        middle = (low + high) / 2.0
        refuted = _chance(middle, len(scores), 2 * each, right, delta) <= 1.0 - confidence
        low, high = (middle, high) if refuted else (low, middle)
    return low


def _chance(epsilon: float, pictures: int, guesses: int, right: int, delta: float) -> float:
    """Upper bound of the chance that an attack on (epsilon, delta) gets ``right`` or more of its guesses right."""
    require_opacus()  # which brings SciPy
    from scipy.stats import binom

    coin = 1.0 / (1.0 + math.exp(-epsilon))
    tail = float(binom.sf(right - 1, guesses, coin))
    # With chance delta for each picture the mechanism may give it away: the worst that this can add to the tail.
    fewer = np.cumsum(binom.pmf(np.arange(right - 1, -1, -1), guesses, coin)) / np.arange(1, right + 1)
    return min(1.0, tail + 2.0 * delta * pictures * float(fewer.max(initial=0.0)))


# -- scores of a run ---------------------------------------------------------------------------


def judged(run: Path, pictures: Pictures) -> Scores:
    """The discriminator's logits, larger where it believes in a photo."""
    discriminator = load_discriminator(run)
    parts = []
    with torch.no_grad():
        for start in range(0, len(pictures.images), CHUNK):
            rows = slice(start, start + CHUNK)
            some = torch.from_numpy(np.ascontiguousarray(pictures.images[rows])).float().div_(127.5).sub_(1.0)
            parts.append(discriminator(some, torch.from_numpy(pictures.labels[rows].copy())).numpy())
    return np.concatenate(parts).astype(np.float64)


def near(run: Path, pictures: Pictures, *, samples: int = 1_000) -> Scores:
    """Minus the distance (root mean square over pixels, 0..1) to the nearest of so many samples."""
    model = load_generator(run)
    made = np.stack([np.asarray(image, dtype=np.float32).ravel() for image in model.sample(samples)]) / 255.0
    given = pictures.images.transpose(0, 2, 3, 1).reshape(len(pictures.images), -1).astype(np.float32) / 255.0
    squared = (given**2).sum(1)[:, None] + (made**2).sum(1)[None] - 2.0 * given @ made.T
    return np.asarray(-np.sqrt(np.maximum(squared.min(axis=1), 0.0) / given.shape[1]), dtype=np.float64)


def load_discriminator(run: Path) -> torch.nn.Module:
    """The discriminator of a run's newest state.

    Raises:
        CheckpointError: there is no state, or the run had no discriminator.
    """
    state = RunFolder(run).load_state()
    if state is None:
        raise CheckpointError(f"There is no training state in {run}.")
    card, config = files.read_json(run / CARD), config_from_dict(files.read_json(run / CONFIG)["config"])
    facts = DataFacts(
        count=int(card["photos"]), size=card["size"], channels=card["channels"], categories=len(card["categories"])
    )
    shape = (0, facts.channels, facts.size, facts.size)
    nothing = Pictures(
        images=np.zeros(shape, dtype=np.uint8),
        labels=np.zeros(0, dtype=np.int64),
        categories=(),
        manifest={"digest": ""},
    )
    plain = replace(config, warm_images=0, init="scratch", augment="off", precision="fp32")
    game = get_family(config.architecture).create(plain, facts, torch.device("cpu"), nothing)
    prefix = "module/discriminator/"
    tensors = {n.removeprefix(prefix): t for n, t in state.tensors.items() if n.startswith(prefix)}
    if not isinstance(game, AdversarialLearner) or not tensors:
        raise CheckpointError(f"The run in {run} has no discriminator to attack.")
    game.discriminator.load_state_dict(tensors)
    return game.discriminator.eval()


def members_of(run: Path) -> Pictures:
    """The pictures that a run was trained on, from its folder.

    Raises:
        CheckpointError: they aren't there any more.
    """
    for folder in (run / PRIVATE, run):
        if (folder / CACHE_FILE).exists():
            manifest = files.read_json(folder / DATASET)
            return _labelled(np.load(folder / CACHE_FILE), manifest, files.read_json(run / CARD))
    raise CheckpointError(f"{run} no longer holds the pictures it was trained on.")


def outsiders_for(run: Path, source: str) -> Pictures:
    """Pictures that a run has not seen, made ready in the same way.

    Raises:
        MLError: they can't be read.
    """
    config = replace(config_from_dict(files.read_json(run / CONFIG)["config"]), source=source, dp_epsilon=None)
    with tempfile.TemporaryDirectory(prefix="outsiders-") as temporary:
        found = load_pictures(open_source(config), config, Path(temporary))
        return _labelled(np.array(found.images), found.manifest, files.read_json(run / CARD))


def _labelled(images: NDArray[np.uint8], manifest: dict[str, Any], card: dict[str, Any]) -> Pictures:
    numbers = {name: index for index, name in enumerate(card["categories"])}
    known = [item["category"] in numbers or not numbers for item in manifest["files"]]
    labels = [numbers.get(item["category"], 0) for item in manifest["files"]]
    return Pictures(
        images=images[known],
        labels=np.array(labels, dtype=np.int64)[known],
        categories=tuple(card["categories"]),
        manifest=manifest,
    )


def attack(run: Path, outsiders: Pictures, *, shadow: Path | None = None, samples: int = 1_000) -> dict[str, Finding]:
    """All attacks on a run, by name.

    Raises:
        CheckpointError: a folder lacks what is needed, or the shadow was trained on some of the pictures asked about.
    """
    members = members_of(run)
    if shadow is not None:
        _refuse_knowing(shadow, members, outsiders)
    delta = float(files.read_json(run / CARD).get("privacy", {}).get("delta", 0.0))
    of_members, of_others = judged(run, members), judged(run, outsiders)
    scores = {"judged": (of_members, of_others)}
    if shadow is not None:
        scores["compared"] = (of_members - judged(shadow, members), of_others - judged(shadow, outsiders))
    scores["near"] = (near(run, members, samples=samples), near(run, outsiders, samples=samples))
    return {name: judge(inside, outside, delta=delta) for name, (inside, outside) in scores.items()}


def _refuse_knowing(shadow: Path, *asked: Pictures) -> None:
    seen = {files.sha256_bytes(image.tobytes()) for image in members_of(shadow).images}
    for pictures in asked:
        known = sum(files.sha256_bytes(image.tobytes()) in seen for image in pictures.images)
        if known:
            raise CheckpointError(
                f"The shadow {shadow} was trained on {known} of the pictures that it is asked about, so it knows the "
                "answer. Train it on third pictures of the same kind."
            )


def report(run: Path, findings: dict[str, Finding]) -> list[str]:
    """The findings beside what was promised, a line each."""
    promise = files.read_json(run / CARD).get("privacy")
    lines = []
    if promise:
        bound = most_advantage(float(promise["epsilon"]), float(promise["delta"]))
        lines.append(f"promised: epsilon {promise['epsilon']:.3g}, so no attack has an advantage over {bound:.1%}")
    for name, finding in findings.items():
        lines.append(
            f"{name:9} area {finding.auc:.3f}, advantage {finding.advantage:.1%}, hits at 1 % false alarms "
            f"{finding.hits_at_1_percent:.1%}, proves epsilon >= {finding.least_epsilon:.2f}"
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0, or 1 with a message on standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m shopgen_django.ml.privacy.membership",
        description="Try to tell which pictures a run was trained on, and compare with what its epsilon promises.",
    )
    parser.add_argument(
        "run", metavar="RUN", type=Path, help="output folder of a training run, as it lies in the house"
    )
    parser.add_argument(
        "--outsiders", metavar="DIR", required=True, help="pictures of the same kind that were not trained on"
    )
    parser.add_argument("--shadow", metavar="RUN", type=Path, help="a run of the same kind, trained on third pictures")
    parser.add_argument("--samples", type=int, default=1_000, metavar="N", help="samples drawn (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        others = outsiders_for(options.run, options.outsiders)
        findings = attack(options.run, others, shadow=options.shadow, samples=options.samples)
    except (MLError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write("\n".join(report(options.run, findings)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
