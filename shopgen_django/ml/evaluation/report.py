"""``report.html``: one file with everything in it, to be read offline and passed on."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shopgen_django.ml.folder import CURVES
from shopgen_django.ml.pictures import png_bytes, sheet, to_pillow

from .evaluate import Comparison
from .ladders import BLURS, NOISES, blurred, noisy
from .material import Material
from .results import Evaluation
from .spectrum import radial_power
from .words import ladder_words, rows

COLUMNS = 12
SHOWN = 72
STRIP = 8
SHOWN_SIDE = 64

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1.5rem; max-width: 62rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; color: #777; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8884; vertical-align: top; }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap; }
img { max-width: 100%; height: auto; image-rendering: pixelated; background: #fff; }
.pairs { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; } figcaption { font-size: .85rem; }
.note { border-left: 4px solid #c80; padding: .2rem .8rem; margin: .8rem 0; }
code { overflow-wrap: anywhere; font-size: .85em; }
"""


def write_report(found: Comparison, folder: Path | None = None) -> bytes:
    """The page. ``folder`` is the run's, for its curves."""
    evaluation = found.evaluation
    return page(evaluation.model, [
        f"<p>{evaluation.count} made pictures, compared with {evaluation.reference.count} real ones "
        f"({_kind(evaluation)}) at {evaluation.reference.size} px. {escape(ladder_words(evaluation))}</p>",
        *(f"<p class=note>{escape(note)}</p>" for note in evaluation.notes),
        _figures(evaluation),
        _pictures("Made pictures", "Not selected: the first ones of the seed, by category where there are any.",
                  found.made),
        _pictures("Real pictures", "As they come, for comparison.", found.real),
        _walks(found),
        _spectrum(found),
        _ladders(found),
        _neighbours(found),
        _categories(evaluation),
        _curves(folder),
        _small_print(evaluation),
    ])  # fmt: skip


def page(model: str, parts: Iterable[str]) -> bytes:
    """A page around parts that are HTML already; empty ones are left out."""
    name = escape(model)
    head = (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>Evaluation of {name}</title><style>{STYLE}</style></head><body><h1>Evaluation of {name}</h1>"
    )
    return "\n".join([head, *(part for part in parts if part), "</body></html>"]).encode()


def _kind(evaluation: Evaluation) -> str:
    return "the photos it was trained on" if evaluation.reference.kind == "train" else "another set"


def _figures(evaluation: Evaluation) -> str:
    lines = [
        (row.name, row.value, row.floor, row.meaning)
        for row in rows(evaluation)
    ]  # fmt: skip
    caption = (
        f"“Real” is what one half of the real pictures scores against the other ({evaluation.kid.count} a side): no "
        "model can be expected to do better."
    )
    return "<h2>Figures</h2>" + table(("Figure", "Model", "Real", "What it says"), lines, caption, numbers=(1, 2))


def _pictures(title: str, words: str, side: Material) -> str:
    picked = _first_of_each(side)
    return f"<h2>{title}</h2><p>{words}</p>{picture_sheet(side.images[picked], COLUMNS, title)}"


def _first_of_each(side: Material) -> NDArray[np.int64]:
    """The first pictures of each category in turn, a row a category; the first ones where there are none."""
    if side.labels is None:
        return np.arange(min(SHOWN, len(side)))
    picked: list[int] = []
    for number in range(len(side.names)):
        picked += np.flatnonzero(side.labels == number)[:COLUMNS].tolist()
    return np.array(picked or range(min(SHOWN, len(side))), dtype=np.int64)


def _walks(found: Comparison) -> str:
    if found.walks is None:
        return ""
    count, steps = found.walks.shape[:2]
    pictures = found.walks.reshape(count * steps, *found.walks.shape[2:])
    shown = picture_sheet(pictures, steps, "ways between made pictures")
    return (
        "<h2>From one to another</h2><p>Each row leads from one random vector to another. Smooth changes are good; a "
        f"picture that jumps into the next one was learnt by heart.</p>{shown}"
    )


def _spectrum(found: Comparison) -> str:
    real, made = radial_power(found.real.images), radial_power(found.made.images)
    curves = [("real", "#888", real), ("made", "#c33", made)]
    tops = np.log10(np.concatenate([real, made]) + 1e-12)
    low, high = float(tops.min()), float(tops.max()) + 1e-9
    width, height = 480, 180

    def line(colour: str, power: NDArray[np.float64]) -> str:
        points = " ".join(
            f"{width * index / max(1, len(power) - 1):.1f},{height * (high - value) / (high - low):.1f}"
            for index, value in enumerate(np.log10(power + 1e-12))
        )
        return f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>'

    legend = ", ".join(f'<span style="color:{colour}">■</span> {name}' for name, colour, _power in curves)
    return (
        "<h2>Fineness</h2><p>Power from coarse (left) to the finest detail (right), on a logarithmic scale. A curve "
        "that falls below the real one is soft; one that rises at the right end draws a pattern of its own.</p>"
        f'<svg role="img" aria-label="power spectrum" viewBox="-4 -4 {width + 8} {height + 8}" width="{width}">'
        f"{''.join(line(colour, power) for _name, colour, power in curves)}</svg><p>{legend}</p>"
    )


def _ladders(found: Comparison) -> str:
    evaluation = found.evaluation
    lines = [
        ({"blur": "blurred", "noise": "noise", "categories": "half of the categories"}[rung.ladder],
         f"{rung.amount:g}", f"{rung.kid:.4f}", f"{rung.fid:.2f}")
        for rung in evaluation.ladder
    ]  # fmt: skip
    lines.append(("the model", "", f"{evaluation.kid.value:.4f}", f"{evaluation.fid.value:.2f}"))
    few = found.real.images[np.linspace(0, len(found.real) - 1, STRIP).round().astype(int)]
    strips = [few, *(blurred(few, sigma) for sigma in BLURS), *(noisy(few, amount) for amount in NOISES)]
    caption = "Real pictures, spoilt on purpose, against other real ones: what the distances mean."
    figures = table(("Real pictures", "by", "KID", "FID"), lines, caption, numbers=(1, 2, 3))
    shown = picture_sheet(np.concatenate(strips), STRIP, "real pictures, blurred and noisy")
    return f"<h2>Ladders</h2>{figures}<p>Untouched, four steps of blur, four of noise:</p>{shown}"


def _neighbours(found: Comparison) -> str:
    memory = found.evaluation.memory
    if memory is None or found.train is None:
        return ""
    pairs = []
    for made, photo, distance in memory.nearest:
        both = np.stack([found.made.images[made], np.asarray(found.train.images[photo])])
        words = f"<figcaption>distance {distance:.2f}</figcaption>"
        pairs.append(f"<figure>{picture_sheet(both, 2, 'made and photo')}{words}</figure>")
    return (
        "<h2>Nearest photos</h2><p>The made pictures that lie closest to a training photo (made left, photo right; "
        "mirrored ones count as well). A distance of 1 is what photos usually have.</p>"
        f"<div class=pairs>{''.join(pairs)}</div>"
    )


def _categories(evaluation: Evaluation) -> str:
    if not evaluation.categories:
        return ""
    lines = [
        (c.name, str(c.real), str(c.made), _percent(c.recognised), _percent(c.useful), _percent(c.variety))
        for c in evaluation.categories
    ]
    heads = ("Category", "Real", "Made", "Recognised", "Useful", "Variety")
    return "<h2>Categories</h2>" + table(heads, lines, "See the table of figures for what these say.",
                                          numbers=range(1, 6))  # fmt: skip


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _curves(folder: Path | None) -> str:
    path = folder / CURVES if folder is not None else None
    if path is None or not path.is_file():
        return ""
    return f"<h2>Training</h2>{_image(path.read_bytes(), 'curves of the training run')}"


def _small_print(evaluation: Evaluation) -> str:
    return (
        "<h2>What these figures can be compared with</h2><p>Only with figures of the same extractor and the same real "
        f"pictures. Extractor: <code>{escape(evaluation.extractor['id'])}</code>. Real pictures: "
        f"<code>{escape(evaluation.reference.digest)}</code>. Model: <code>{escape(evaluation.model_sha256)}</code>, "
        f"seed {evaluation.seed}.</p>"
    )


def table(
    heads: Sequence[str], lines: Iterable[Sequence[str]], caption: str, *, numbers: Iterable[int]
) -> str:
    """Lines of text; ``numbers`` are the columns that hold figures."""
    right = set(numbers)
    body = "".join(
        "<tr>" + "".join(f"<td{' class=n' if n in right else ''}>{escape(text)}</td>" for n, text in enumerate(line))
        + "</tr>"
        for line in lines
    )  # fmt: skip
    head = "".join(f"<th scope=col>{escape(text)}</th>" for text in heads)
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def picture_sheet(pictures: NDArray[np.uint8], columns: int, words: str) -> str:
    """Pictures in rows; large ones are reduced, small ones enlarged by a whole factor."""
    shown = [to_pillow(np.ascontiguousarray(picture)) for picture in pictures]
    side = shown[0].width
    if side > SHOWN_SIDE:
        shown = [picture.resize((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.LANCZOS) for picture in shown]
    return _image(png_bytes(sheet(shown, columns=columns, scale=max(1, SHOWN_SIDE // side))), words)


def _image(png: bytes, words: str) -> str:
    return f'<img alt="{escape(words)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
