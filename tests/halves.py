"""The whole test-suite in two processes at a time, a core each: ``python -m tests.halves [OPTION ...]``.

About half the work trains, draws, measures or keeps a shop's contract; it runs beside the others, whose real workers
and browsers mind each other. With a path among the options there is one process, as with pytest itself. Each half has
databases and folders of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

BESIDE = (
    "tests/ml", "tests/imaging", "tests/diffusion", "tests/catalogues", "tests/operations", "tests/remote",
    "tests/texts", "tests/lora_training", "tests/segmenting", "tests/services", "tests/supplied",
)  # fmt: skip


def main(options: list[str]) -> int:
    pytest = [sys.executable, "-m", "pytest"]
    if any(not option.startswith("-") for option in options):
        return subprocess.call([*pytest, *options])
    with tempfile.TemporaryFile() as output:
        beside = subprocess.Popen(
            [*pytest, *BESIDE, "-p", "no:cacheprovider", *options], stdout=output, stderr=subprocess.STDOUT
        )
        try:
            first = subprocess.call([*pytest, *(f"--ignore={path}" for path in BESIDE), *options])
            print(f"\nWaiting for the other half: {', '.join(BESIDE)}", flush=True)
            second = beside.wait()
        except BaseException:
            beside.terminate()
            beside.wait()
            raise
        output.seek(0)
        sys.stdout.buffer.write(output.read())
        sys.stdout.flush()
    return first or second


if __name__ == "__main__":
    assert all(Path(path).is_dir() for path in BESIDE), "run it where the tests are"
    raise SystemExit(main(sys.argv[1:]))
