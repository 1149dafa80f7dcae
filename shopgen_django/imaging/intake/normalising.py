"""Decode an accepted file once and make it anew: upright, sRGB, 8 bits, without a byte of the original's metadata."""

from __future__ import annotations

import hashlib
import io

from PIL import Image, ImageCms

from .contracts import IntakeLimits, NormalisedImage, Source
from .inspecting import inspect_bytes, open_image, read_source
from .structure import Structure, corrupt

__all__ = ["decode", "normalise"]

_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PROFILE_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}


def normalise(source: Source, limits: IntakeLimits | None = None) -> NormalisedImage:
    """Inspect, decode and re-encode a picture: a JPEG, or a PNG when some pixel is see-through.

    The result is upright (the camera's rotation applied), at most ``limits.working_side`` pixels on its longer side,
    in sRGB at 8 bits per channel, and carries no metadata. Of several pictures in one file the first is taken.
    Deterministic for one Pillow version. Raises :class:`IntakeError` for content; ``MemoryError`` when the process may
    not have the memory (see ``normalise_bounded``, which answers that, and endless decoding, with ``decode_limit``).
    """
    limits = limits or IntakeLimits()
    inspection, structure = inspect_bytes(read_source(source, limits), limits)
    changes: list[str] = []
    image = _pixels(structure, limits, changes)
    data, kind = _encoded(image, limits)
    return NormalisedImage(
        data=data,
        format=kind,
        mode=image.mode if kind == "PNG" else "RGB",
        width=image.width,
        height=image.height,
        sha256=hashlib.sha256(data).hexdigest(),
        inspection=inspection,
        changes=tuple(dict.fromkeys(changes)),
    )


def decode(source: Source, limits: IntakeLimits | None = None) -> Image.Image:
    """The pixels that :func:`normalise` would encode: RGB or RGBA, upright, sRGB, 8 bits; for work that follows here.

    Raises what :func:`normalise` raises.
    """
    limits = limits or IntakeLimits()
    _inspection, structure = inspect_bytes(read_source(source, limits), limits)
    return _pixels(structure, limits, [])


def _pixels(structure: Structure, limits: IntakeLimits, changes: list[str]) -> Image.Image:
    image, orientation = _decoded(structure, limits)
    profile = image.info.get("icc_profile")
    image = _shrunk(_eight_bit(image, changes), limits.working_side, changes)
    image = _to_srgb(image, profile, changes)
    if orientation in _TURNS:
        image = image.transpose(_TURNS[orientation])
        changes.append("rotated")
    return image


def _decoded(structure: Structure, limits: IntakeLimits) -> tuple[Image.Image, int]:
    """All pixels, and the EXIF orientation (1 when there is none that can be read)."""
    image = open_image(structure, b"".join(structure.stream))
    if structure.format == "JPEG":
        factor = limits.working_side / max(image.size)
        if factor < 1:
            # Decodes at 1/2, 1/4 or 1/8 where that is still large enough: a quarter of the memory or less.
            image.draft(None, (max(1, round(image.width * factor)), max(1, round(image.height * factor))))
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:
        # Hostile bytes make decoders raise nearly anything; to the sender it all means a damaged file.
        raise corrupt("is damaged: the picture cannot be decoded") from error
    return image, _orientation(image)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        # Broken EXIF is common and harmless: the picture is taken as it lies.
        return 1
    return value if isinstance(value, int) else 1


def _eight_bit(image: Image.Image, changes: list[str]) -> Image.Image:
    """One of the modes L, RGB, RGBA, CMYK with the same colours; 16-bit greys are scaled with rounding."""
    clear = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    if image.mode.startswith("I"):
        changes.append("mode_converted")
        return _narrowed(image)
    wanted = "RGBA" if clear else image.mode if image.mode in ("L", "CMYK") else "RGB"
    if wanted != image.mode:
        changes.append("mode_converted")
        image = image.convert(wanted)
    if wanted == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    return image


def _narrowed(image: Image.Image) -> Image.Image:
    """16-bit grey to 8 bits, rounded, in bands of rows so that no wide copy of the whole picture is needed."""
    import numpy as np

    wide = np.asarray(image)
    narrow = np.empty(wide.shape, np.uint8)
    for top in range(0, len(wide), 256):
        band = np.clip(wide[top : top + 256], 0, 65535).astype(np.uint32)
        narrow[top : top + 256] = (band * 255 + 32767) // 65535
    return Image.fromarray(narrow)


def _shrunk(image: Image.Image, side: int, changes: list[str]) -> Image.Image:
    longest = max(image.size)
    if longest <= side:
        return image
    changes.append("shrunk")
    size = (max(1, round(image.width * side / longest)), max(1, round(image.height * side / longest)))
    if image.mode == "RGBA":
        # Premultiplied, so that the colour hidden under clear pixels does not bleed into the edge.
        return image.convert("RGBa").resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0).convert("RGBA")
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _to_srgb(image: Image.Image, profile: bytes | None, changes: list[str]) -> Image.Image:
    """Convert by the embedded profile if it fits the picture's mode; drop it if it does not."""
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    colours = image.convert("RGB") if alpha is not None else image
    converted = _by_profile(colours, profile) if profile else None
    if converted is not None:
        changes.append("profile_converted")
    else:
        if profile:
            changes.append("profile_dropped")
        if colours.mode != "RGB":
            changes.append("mode_converted")
        converted = colours.convert("RGB")
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def _by_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        if space != _PROFILE_SPACES[image.mode] or source.profile.device_class not in ("scnr", "mntr", "prtr", "spac"):
            return None
        return ImageCms.profileToProfile(
            image,
            source,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        # A profile that LittleCMS cannot use says nothing about the colours; viewers ignore such profiles as well.
        return None


def _encoded(image: Image.Image, limits: IntakeLimits) -> tuple[bytes, str]:
    """Copy the pixels into a picture that knows nothing else, and encode that."""
    fresh = Image.new(image.mode, image.size)
    fresh.paste(image)
    out = io.BytesIO()
    if fresh.mode == "RGBA":
        fresh.save(out, "PNG", compress_level=3)
        return out.getvalue(), "PNG"
    fresh.save(out, "JPEG", quality=limits.jpeg_quality, subsampling="4:4:4")
    return out.getvalue(), "JPEG"
