"""Decoding in a child process: the same answers, and walls that hold."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from shopgen_django.imaging.intake import IntakeError, IntakeLimits, normalise, normalise_bounded
from shopgen_django.imaging.intake.bounded import BoundedDecoder

from . import hostile as make

needs_limits = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="address-space limits need Linux")


@pytest.mark.parametrize(
    "data",
    [make.jpeg(exif=make.exif(6)), make.palette_png(clear=True), make.grey16_png(30000), make.webp()],
    ids=["jpeg", "palette png", "16-bit png", "webp"],
)
def test_the_child_gives_the_same_picture(data: bytes) -> None:
    assert normalise_bounded(data) == normalise(data)


def test_the_child_passes_refusals_on() -> None:
    with pytest.raises(IntakeError) as refusal:
        normalise_bounded(make.jpeg()[:-2])
    assert refusal.value.code == "corrupt"
    with pytest.raises(IntakeError) as refusal:
        normalise_bounded(make.jpeg(), IntakeLimits(max_bytes=100))
    assert refusal.value.code == "too_large"


def test_too_little_time_is_answered() -> None:
    with pytest.raises(IntakeError) as refusal:
        normalise_bounded(make.jpeg(), IntakeLimits(decode_seconds=0.001))
    assert refusal.value.code == "decode_limit"


@needs_limits
def test_too_little_memory_is_answered() -> None:
    """A picture of 36 megapixels needs over 100 MiB; a start of Python with Pillow needs less than is given here."""
    data = make.black_png(6000, 6000)
    with pytest.raises(IntakeError) as refusal:
        normalise_bounded(data, IntakeLimits(decode_bytes=100 * 2**20))
    assert refusal.value.code == "decode_limit"
    assert normalise_bounded(make.jpeg(), IntakeLimits(decode_bytes=100 * 2**20)).format == "JPEG"


@needs_limits
def test_the_largest_picture_allowed_fits_the_memory_given() -> None:
    result = normalise_bounded(make.black_png(7000, 7100))
    assert (result.width, result.height) == (4038, 4096)


def test_a_child_that_fails_for_its_own_reasons_says_so(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no module named so >&2\nexit 3\n")
    python.chmod(0o755)
    with pytest.raises(RuntimeError, match="status 3: no module named so"):
        normalise_bounded(make.jpeg(), executable=str(python))


def test_a_decoder_that_crashes_is_a_refusal(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -SEGV $$\n")
    python.chmod(0o755)
    with pytest.raises(IntakeError) as refusal:
        normalise_bounded(make.jpeg(), executable=str(python))
    assert refusal.value.code == "decode_limit"


def test_the_child_sees_no_secret_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "do not pass on")
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nenv >&2\nexit 3\n")
    python.chmod(0o755)
    with pytest.raises(RuntimeError) as failure:
        normalise_bounded(make.jpeg(), executable=str(python))
    assert "PYTHONPATH" in str(failure.value)
    assert "do not pass on" not in str(failure.value)


def test_many_files_share_a_child_and_get_the_same_answers() -> None:
    good = [make.jpeg(exif=make.exif(6)), make.palette_png(clear=True), make.webp()]
    with BoundedDecoder() as decoder:
        assert decoder.normalise(good[0]) == normalise(good[0])
        child = decoder._child
        with pytest.raises(IntakeError) as refusal:
            decoder.normalise(make.jpeg()[:-2])
        assert refusal.value.code == "corrupt"
        assert [decoder.normalise(data) for data in good] == [normalise(data) for data in good]
        assert decoder._child is child is not None and child.poll() is None
    assert child.poll() == 0, "it has ended by itself"


@needs_limits
def test_a_file_that_breaks_a_limit_costs_the_child_and_not_the_next_file() -> None:
    with BoundedDecoder(IntakeLimits(decode_bytes=100 * 2**20)) as decoder:
        assert decoder.normalise(make.jpeg()).format == "JPEG"
        first = decoder._child
        with pytest.raises(IntakeError) as refusal:
            decoder.normalise(make.black_png(6000, 6000))
        assert refusal.value.code == "decode_limit"
        assert decoder.normalise(make.jpeg()).format == "JPEG"
        assert decoder._child is not first


def test_a_shared_child_that_hangs_or_fails_is_told(tmp_path: Path) -> None:
    python = tmp_path / "python"
    for script, kind, words in (
        ("exec sleep 60", IntakeError, "longer than 0.3 seconds"), ("kill -SEGV $$", IntakeError, "signal 11"),
        ("echo no module named so >&2; exit 3", RuntimeError, "status 3: no module named so"),
    ):
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
        seconds = 0.3 if "sleep" in script else 30
        with BoundedDecoder(IntakeLimits(decode_seconds=seconds), executable=str(python)) as decoder:
            with pytest.raises(kind, match=words):
                decoder.normalise(make.jpeg())
            assert decoder._child is None


def test_looking_at_a_file_loads_no_heavy_library() -> None:
    """The web process inspects uploads: it must not pay for NumPy, OpenCV or Django to do so."""
    program = textwrap.dedent(
        """
        import sys
        from shopgen_django.imaging.intake import inspect
        inspect(sys.stdin.buffer)
        heavy = {"cv2", "numpy", "torch", "django", "multiprocessing"} & set(sys.modules)
        sys.exit(f"loaded {sorted(heavy)}" if heavy else 0)
        """
    )
    child = subprocess.run(
        [sys.executable, "-c", program],
        input=make.png(),
        capture_output=True,
        check=False,
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert child.returncode == 0, child.stderr.decode()


@needs_limits
def test_a_bomb_is_refused_within_little_memory() -> None:
    """Looking at a text bomb of 100 MB and at a header of 4 gigapixels succeeds in 100 MiB of address space."""
    program = textwrap.dedent(
        """
        import resource, sys
        from shopgen_django.imaging.intake import inspect, IntakeError
        resource.setrlimit(resource.RLIMIT_AS, (100 * 2**20, 100 * 2**20))
        try:
            inspect(sys.stdin.buffer)
        except IntakeError as refusal:
            print(refusal.code)
        """
    )
    bomb = make.with_png_chunks(make.chunk(b"zTXt", b"k\x00\x00" + make.zeros_packed(100 * 2**20)))
    for data, code in [(bomb, "corrupt"), (make.png_header(65535, 65535), "too_many_pixels")]:
        child = subprocess.run(
            [sys.executable, "-c", program],
            input=data,
            capture_output=True,
            check=True,
            cwd=Path(__file__).resolve().parents[2],
        )
        assert child.stdout.decode().strip() == code


@needs_limits
def test_an_endless_path_is_read_no_further_than_the_limit() -> None:
    program = textwrap.dedent(
        """
        import resource
        from shopgen_django.imaging.intake import inspect, IntakeError
        resource.setrlimit(resource.RLIMIT_AS, (200 * 2**20, 200 * 2**20))
        try:
            inspect("/dev/zero")
        except IntakeError as refusal:
            print(refusal.code)
        """
    )
    root = Path(__file__).resolve().parents[2]
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, cwd=root)
    assert child.stdout.decode().strip() == "too_large"
