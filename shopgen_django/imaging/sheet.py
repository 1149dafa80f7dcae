"""Contact sheets: many pictures on one, for commands, benchmarks and the trainer's samples."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

__all__ = ["contact_sheet"]

_LABEL_HEIGHT = 14


def contact_sheet(
    images: Sequence[Image.Image],
    *,
    columns: int,
    cell: int,
    labels: Sequence[str] | None = None,
    gap: int = 2,
    background: tuple[int, int, int] = (236, 236, 236),
) -> Image.Image:
    """Lay ``images`` out in rows of ``columns`` square cells of ``cell`` pixels, each picture whole and centred.

    Pictures larger than a cell are shrunk; smaller ones are enlarged by a whole factor with hard pixels, so that 28-px
    samples can be judged. Transparent pictures show the background. ``labels`` (one per picture) are written under the
    cells and cut where they do not fit. Returns an RGB picture of
    ``columns * (cell + gap) + gap`` by ``rows * (cell + gap [+ 14]) + gap`` pixels.

    Raises ``ValueError`` for no pictures, for columns or cell under 1 and for a wrong number of labels.
    """
    if not images:
        raise ValueError("A contact sheet needs at least one picture.")
    if columns < 1 or cell < 1 or gap < 0:
        raise ValueError("Columns and cell size of a contact sheet must be at least 1 and the gap at least 0.")
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"{len(images)} pictures need as many labels, not {len(labels)}.")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    row_height = cell + gap + (_LABEL_HEIGHT if labels is not None else 0)
    sheet = Image.new("RGB", (columns * (cell + gap) + gap, rows * row_height + gap), background)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=11)
    for index, image in enumerate(images):
        left = gap + (index % columns) * (cell + gap)
        top = gap + (index // columns) * row_height
        picture = _fitted(image, cell)
        place = (left + (cell - picture.width) // 2, top + (cell - picture.height) // 2)
        sheet.paste(picture, place, picture if picture.mode == "RGBA" else None)
        if labels is not None:
            draw.text((left + 1, top + cell), _cut(labels[index], font, cell), fill=(40, 40, 40), font=font)
    return sheet


def _fitted(image: Image.Image, cell: int) -> Image.Image:
    has_alpha = "A" in image.getbands() or "transparency" in image.info
    picture = image.convert("RGBA" if has_alpha else "RGB")
    longest = max(picture.size)
    if longest > cell:
        factor = cell / longest
        size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
        return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    whole = cell // longest
    if whole > 1:
        return picture.resize((picture.width * whole, picture.height * whole), Image.Resampling.NEAREST)
    return picture


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    while text and font.getlength(text) > width:
        text = text[:-1]
    return text
