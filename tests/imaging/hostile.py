"""Odd, broken and hostile picture files, made on the spot."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageCms

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PHP = b"<?php system($_GET['c']); ?>"


def scene(width: int = 320, height: int = 240, mode: str = "RGB") -> Image.Image:
    """A picture with gradients, an edge and a little texture; its left half is redder than its right."""
    y, x = np.mgrid[0:height, 0:width]
    texture = 20 * ((x // 9 + y // 7) % 2)
    pixels = np.stack([np.where(x < width / 2, 200, 60), 40 + 150 * y / height, np.full_like(x, 90)], axis=2)
    pixels += texture[..., None]
    return Image.fromarray(pixels.astype(np.uint8)).convert(mode)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def jpeg(width: int = 320, height: int = 240, **options: object) -> bytes:
    return encoded(scene(width, height), "JPEG", **{"quality": 90, **options})


def png(width: int = 320, height: int = 240, **options: object) -> bytes:
    return encoded(scene(width, height), "PNG", **options)


def webp(width: int = 320, height: int = 240, **options: object) -> bytes:
    return encoded(scene(width, height), "WEBP", **options)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(
    width: int,
    height: int,
    *,
    bits: int = 8,
    colour: int = 2,
    data: bytes | None = None,
    before: Iterable[bytes] = (),
    compress: int = 9,
) -> bytes:
    """A PNG from its parts; black where no ``data`` (unpacked scan lines) is given."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    if data is None:
        data = bytes((1 + (width * bits * channels + 7) // 8) * height)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = [PNG_SIGNATURE, chunk(b"IHDR", header), *before]
    return b"".join([*parts, chunk(b"IDAT", zlib.compress(data, compress)), chunk(b"IEND", b"")])


def black_png(width: int, height: int, *, bits: int = 8, colour: int = 2) -> bytes:
    """As ``png_of`` for large sizes, packed line by line so that the test needs little memory."""
    channels = {0: 1, 2: 3}[colour]
    packer = zlib.compressobj(1)
    line = bytes(1 + (width * bits * channels + 7) // 8)
    data = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def png_header(width: int, height: int) -> bytes:
    return png_of(width, height, data=b"\x00" * 64)


def zeros_packed(size: int) -> bytes:
    packer = zlib.compressobj(9)
    block = bytes(2**20)
    parts = [packer.compress(block[: min(2**20, size - at)]) for at in range(0, size, 2**20)]
    return b"".join(parts) + packer.flush()


def with_png_chunks(*chunks: bytes) -> bytes:
    """A good PNG with ``chunks`` right after its header."""
    data = png()
    return data[:33] + b"".join(chunks) + data[33:]


def zipped(name: str = "shell.php", body: bytes = PHP) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(name, body)
    return out.getvalue()


def with_jpeg_segment(marker: int, body: bytes, data: bytes | None = None) -> bytes:
    """A JPEG with one more segment right after its start."""
    data = jpeg() if data is None else data
    return data[:2] + bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body + data[2:]


def jpeg_with_size(width: int, height: int) -> bytes:
    """A JPEG of 320 x 240 whose header claims another size."""
    data = jpeg()
    at = data.index(b"\xff\xc0")
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def scan_bomb(extra: int, width: int = 2000, height: int = 1500) -> bytes:
    """A progressive JPEG with ``extra`` further refining scans that change nothing."""
    data = encoded(Image.new("RGB", (width, height), (120, 90, 60)), "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    return data[:-2] + data[at:-2] * extra + data[-2:]


def exif(orientation: int = 1, *, gps: bool = False, make: str = "") -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    if make:
        tags[0x010F] = make
    if gps:
        tags.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)})
    return tags.tobytes()


def looping_exif() -> bytes:
    """EXIF whose sub-directories and next directory all point back at the first."""
    entries = [struct.pack("<HHII", tag, 4, 1, 8) for tag in (0x8769, 0x8825, 0xA005)]
    return b"Exif\x00\x00II*\x00" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + struct.pack("<I", 8)


def apng(frames: int = 50) -> bytes:
    pictures = [scene(80, 80).rotate(number * 7) for number in range(frames)]
    return encoded(pictures[0], "PNG", save_all=True, append_images=pictures[1:])


def animated(kind: str, frames: int = 5) -> bytes:
    pictures = [scene(80, 80).rotate(number * 17) for number in range(frames)]
    return encoded(pictures[0], kind, save_all=True, append_images=pictures[1:])


def mpo() -> bytes:
    return encoded(scene(), "MPO", save_all=True, append_images=[scene().rotate(180)])


def cmyk_jpeg(ink: tuple[int, int, int, int], *, inverted: bool = True) -> bytes:
    """Flat ink amounts (0..255). Pillow writes Adobe's inverted values with Adobe's marker."""
    data = encoded(Image.new("CMYK", (96, 96), ink), "JPEG", quality=95)
    assert b"Adobe" in data
    if inverted:
        return data
    # Without the marker decoders keep the convention; only the colour transform is then guessed from it.
    at = data.index(b"\xff\xee")
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]


def ycck_jpeg(ink: tuple[int, int, int, int]) -> bytes:
    """The same inks in Adobe's YCCK: the CMY part as YCbCr, the marker's transform set to 2."""
    luma = Image.new("RGB", (1, 1), ink[:3]).convert("YCbCr").getpixel((0, 0))
    # Pillow inverts each of the four planes while writing, so hand it the inverse of what shall be stored.
    stored = Image.new("CMYK", (96, 96), (*(255 - value for value in luma), ink[3]))
    data = bytearray(encoded(stored, "JPEG", quality=95))
    at = data.index(b"\xff\xee")
    assert bytes(data[at + 4 : at + 9]) == b"Adobe"
    data[at + 15] = 2
    return bytes(data)


def grey16_png(value: int, width: int = 96, height: int = 96) -> bytes:
    line = b"\x00" + struct.pack(">H", value) * width
    return png_of(width, height, bits=16, colour=0, data=line * height)


def rgb16_png(value: tuple[int, int, int], width: int = 96, height: int = 96) -> bytes:
    line = b"\x00" + struct.pack(">HHH", *value) * width
    return png_of(width, height, bits=16, colour=2, data=line * height)


def palette_png(*, clear: bool) -> bytes:
    image = scene(96, 96).quantize(16)
    return encoded(image, "PNG", transparency=bytes([0, 128] + [255] * 14)) if clear else encoded(image, "PNG")


def lab_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def heic_header(brand: bytes = b"heic") -> bytes:
    return struct.pack(">I", 24) + b"ftyp" + brand + b"\x00\x00\x00\x00" + b"mif1" + brand + bytes(200)


def many_png_chunks(count: int) -> bytes:
    one = chunk(b"tEXt", b"a\x00")
    data = png()
    return data[:33] + one * count + data[33:]


def webp_riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        kind + struct.pack("<I", len(content)) + content + b"\x00" * (len(content) % 2) for kind, content in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    b'<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><svg>&c;</svg>'
)
HTML = b"<!DOCTYPE html><html><script>alert(1)</script></html>"
PDF = b"%PDF-1.7\n1 0 obj\n<</Type /Catalog>>\nendobj\n%%EOF\n"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\nshowpage\n%%EOF\n"
FITS = gzip.compress(b"SIMPLE  =                    T" + b" " * 2850)
PSD = b"8BPS\x00\x01" + bytes(6) + struct.pack(">HIIHH", 3, 100, 100, 8, 3) + bytes(100)
MCIDAS = bytes(4) + b"\x00\x00\x00\x04" + bytes(256)
XBM = b"#define a_width 100\n#define a_height 100\nstatic char a_bits[] = {\n0x00};\n"
GIF_HUGE = b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(20)
