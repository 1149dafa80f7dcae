"""Mutated files: an IntakeError or a good result, and nothing else whatever the bytes."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shopgen_django.imaging.intake import IntakeError, IntakeLimits, NormalisedImage, inspect, normalise

from . import hostile as make

GOOD = {
    "jpeg": make.jpeg(96, 72),
    "progressive jpeg": make.jpeg(96, 72, progressive=True),
    "jpeg with exif and profile": make.jpeg(96, 72, exif=make.exif(6, gps=True), icc_profile=make.lab_profile()),
    "cmyk jpeg": make.cmyk_jpeg((10, 200, 30, 40)),
    "mpo": make.mpo(),
    "png": make.png(96, 72),
    "palette png": make.palette_png(clear=True),
    "16-bit png": make.grey16_png(1234),
    "png with profile": make.png(96, 72, icc_profile=make.lab_profile()),
    "webp": make.webp(96, 72),
    "webp with exif": make.webp(96, 72, lossless=True, exif=make.exif(3)),
}
LIMITS = IntakeLimits(max_pixels=2_000_000, max_side=4000)
"""Small, so that a mutated size cannot make the test slow."""

Mutation = tuple[str, float, bytes]
mutations = st.lists(
    st.tuples(st.sampled_from(["set", "insert", "cut", "double"]), st.floats(0, 1), st.binary(min_size=1, max_size=6)),
    min_size=1,
    max_size=6,
)


def mutated(data: bytes, steps: list[Mutation]) -> bytes:
    changed = bytearray(data)
    for how, where, content in steps:
        at = int(where * len(changed))
        if how == "set":
            changed[at : at + len(content)] = content
        elif how == "insert":
            changed[at:at] = content
        elif how == "cut":
            del changed[at : at + 7 * len(content)]
        else:
            changed[at:at] = changed[at : at + 40 * len(content)]
    return bytes(changed)


def with_right_checksums(data: bytes) -> bytes:
    """A PNG whose chunks carry checksums of what they now hold, so that damage gets past the first wall."""
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 12 + length
        if end > len(data):
            break
        out += data[at : end - 4] + zlib.crc32(data[at + 4 : end - 4]).to_bytes(4, "big")
        at = end
    return bytes(out) + data[at:]


def answered(data: bytes) -> NormalisedImage | None:
    """The result, or None for a refusal; what ``inspect`` refuses ``normalise`` must refuse alike."""
    try:
        inspection = inspect(data, LIMITS)
    except IntakeError as refusal:
        with pytest.raises(IntakeError) as again:
            normalise(data, LIMITS)
        assert again.value.code == refusal.code
        return None
    try:
        result = normalise(data, LIMITS)
    except IntakeError:
        return None
    assert result.inspection == inspection
    return result


@pytest.mark.parametrize("name", GOOD)
def test_the_unchanged_files_are_taken(name: str) -> None:
    assert answered(GOOD[name]) is not None


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from(sorted(GOOD)), steps=mutations, repair=st.booleans())
def test_mutations_are_refused_or_taken(name: str, steps: list[Mutation], repair: bool) -> None:
    data = mutated(GOOD[name], steps)
    answered(with_right_checksums(data) if repair else data)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=200, deadline=None, derandomize=True)
@given(start=st.sampled_from([b"\xff\xd8\xff", make.PNG_SIGNATURE, b"RIFF\x40\x00\x00\x00WEBP"]), rest=st.binary())
def test_any_bytes_after_a_known_start(start: bytes, rest: bytes) -> None:
    assert answered(start + rest) is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", GOOD)
def test_five_hundred_random_mutations_of_each(name: str) -> None:
    random_source = random.Random(f"mutations of {name}")
    data = GOOD[name]
    for _ in range(500):
        steps = [
            (
                random_source.choice(["set", "insert", "cut", "double"]),
                random_source.random(),
                random_source.randbytes(3),
            )
            for _ in range(random_source.randint(1, 4))
        ]
        changed = mutated(data, steps)
        answered(with_right_checksums(changed) if random_source.random() < 0.5 else changed)
