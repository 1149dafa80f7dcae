"""The whole cut-out: find, heed the person's hints, follow the edges, own colours, doubts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .alpha import full_alpha, shrunk
from .classical import Found, find, follow_colours, ramp
from .colours import foreground
from .doubts import confidence_of, network_doubts
from .hints import Hints, box_of, prompts_of, with_hints
from .views import look

__all__ = ["CutOut", "Finder", "cut_out", "on_white"]

FIND_SIDE = 512
"""Longest side, in pixels, of the copy that a finder is given."""
_BOX_ROOM = 0.06

ByteArray = NDArray[np.uint8]
FloatArray = NDArray[np.float32]

Finder = Callable[[ByteArray], FloatArray]
"""(h, w, 3) uint8 sRGB, at most :data:`FIND_SIDE` pixels a side -> belief float32 0..1 of any size, same framing. One
with a true attribute ``coarse`` knows outlines only roughly: the colours are asked about them. One with a true
attribute ``prompted`` is told as a second argument where to look (:class:`~.hints.Prompts`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutOut:
    """A product cut out of a photo.

    ``alpha`` is uint8 (h, w), ``colours`` uint8 (h, w, 3), both of the photo's size; where ``alpha`` is 255 the colours
    are the photo's own bytes. ``confidence`` is in 0..1: under 0.5 the outline is probably wrong. ``doubts`` holds the
    single scores, each 0..1, 1 = no doubt; ``weakest`` names the lowest.
    """

    alpha: ByteArray
    colours: ByteArray
    confidence: float
    doubts: Mapping[str, float]

    @property
    def weakest(self) -> str:
        return min(self.doubts, key=lambda name: self.doubts[name]) if self.doubts else ""

    def picture(self) -> Image.Image:
        """RGBA of the photo's size."""
        return Image.fromarray(np.dstack([self.colours, self.alpha]), "RGBA")


def cut_out(
    image: Image.Image,
    *,
    finder: Finder | None = None,
    hints: Hints | None = None,
    check: Callable[[], None] | None = None,
) -> CutOut:
    """Cut the product out of a photo of any Pillow mode, already upright.

    Without ``finder`` the classical one works alone; with one, the classical one is its second opinion. A picture that
    brings real transparency keeps its alpha (confidence 1) unless there are ``hints``. ``check`` is called at every
    step and may raise. Deterministic: the same pixels give the same answer.

    Raises ``ValueError`` for a picture under 8 pixels on a side.
    """
    if min(image.size) < 8:
        raise ValueError("A cut-out needs a picture of at least 8 x 8 pixels.")
    hints = hints or Hints()
    step = check or (lambda: None)
    own = own_alpha(image)
    if own is not None and hints.box is None and not hints.marks:
        return CutOut(alpha=own, colours=_own_colours(image, own), confidence=1.0, doubts={"own_alpha": 1.0})
    rgb = on_white(image)
    small = shrunk(rgb, FIND_SIDE)
    step()
    belief, doubts = _believed(small, finder, hints, step)
    step()
    alpha = full_alpha(rgb, belief, step)
    step()
    return CutOut(alpha=alpha, colours=foreground(rgb, alpha), confidence=confidence_of(doubts), doubts=doubts)


def own_alpha(image: Image.Image) -> ByteArray | None:
    """The picture's own alpha (uint8) when at least one pixel in a hundred is clear, else None."""
    if not image.has_transparency_data:
        return None
    alpha = np.asarray(image.convert("RGBA").getchannel("A"), np.uint8)
    return alpha if float((alpha < 128).mean()) >= 0.01 else None


def _own_colours(image: Image.Image, alpha: ByteArray) -> ByteArray:
    """The colours that the file holds wherever something is seen: they are mixed with no ground. Clear pixels, whose
    colours may be anything, get the nearest product colour."""
    colours = foreground(on_white(image), alpha)
    seen = alpha > 0
    colours[seen] = np.asarray(image.convert("RGBA"))[..., :3][seen]
    return colours


def on_white(image: Image.Image) -> Image.Image:
    """RGB, as it is seen on a white page: colours hidden under clear pixels don't come through."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _believed(
    small: ByteArray, finder: Finder | None, hints: Hints, step: Callable[[], None]
) -> tuple[FloatArray, dict[str, float]]:
    """Belief (float 0..1) at the size of ``small``, and the doubts about it."""
    import cv2

    high, wide = small.shape[:2]
    left, top, right, bottom = _roomy(box_of(hints, (wide, high)), (wide, high)) if hints.box else (0, 0, wide, high)
    part = np.ascontiguousarray(small[top:bottom, left:right])
    classical: Found = find(part)
    step()
    if finder is None:
        belief, doubts = classical.belief, dict(classical.doubts)
    else:
        told = None
        if getattr(finder, "prompted", False):
            told = prompts_of(hints, (wide, high), (left, top, right, bottom), classical.belief)
        belief, steadiness = look(part, finder, step, told)
        if getattr(finder, "coarse", False):
            belief = follow_colours(part, belief)
            step()
        doubts = network_doubts(part, belief, steadiness, classical)
    framed = np.zeros((high, wide), np.float32)
    framed[top:bottom, left:right] = cv2.resize(belief, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    if hints.box is not None:
        x0, y0, x1, y1 = box_of(hints, (wide, high))
        inside = np.zeros((high, wide), bool)
        inside[y0:y1, x0:x1] = True
        framed[~inside] = 0.0
    if hints.marks:
        framed = with_hints(small, framed, hints)
        # A person has looked: what is left to doubt is whether anything at all, or everything, is left now.
        share = float((framed > 0.5).mean())
        doubts = {"area": min(ramp(share, 0.0, 0.005), ramp(share, 1.0, 0.98)), "person": 1.0}
    return framed, doubts


def _roomy(box: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box with some ground around it, which a finder needs to see, and at least 8 pixels a side."""
    left, top, right, bottom = box
    room_x, room_y = max(4, round(_BOX_ROOM * (right - left))), max(4, round(_BOX_ROOM * (bottom - top)))
    return (max(0, left - room_x), max(0, top - room_y), min(size[0], right + room_x), min(size[1], bottom + room_y))
