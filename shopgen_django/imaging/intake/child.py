"""The child of ``normalise_bounded``: limits itself, reads a file from stdin, writes one JSON line and the picture."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from typing import Any

from .bounded import _OUT_OF_MEMORY
from .contracts import IntakeError, IntakeLimits
from .normalising import normalise


def main(arguments: list[str]) -> int:
    limits = IntakeLimits(**json.loads(arguments[0]))
    _limit_self(limits)
    data = sys.stdin.buffer.read()
    answer: dict[str, Any]
    picture = b""
    try:
        result = normalise(data, limits)
    except IntakeError as error:
        answer = {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
    except MemoryError:
        return _OUT_OF_MEMORY
    else:
        answer = asdict(result)
        picture = answer.pop("data")
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + picture)
    sys.stdout.buffer.flush()
    return 0


def _limit_self(limits: IntakeLimits) -> None:
    """Lower this process's own limits, never above what it was given; the platform may know neither."""
    try:
        import resource
    except ImportError:
        return
    seconds = math.ceil(limits.decode_seconds)
    # The second CPU value kills for good, one second after the first has asked.
    wanted = [
        (resource.RLIMIT_AS, limits.decode_bytes, limits.decode_bytes),
        (resource.RLIMIT_CPU, seconds, seconds + 1),
        (resource.RLIMIT_CORE, 0, 0),
    ]
    for kind, soft, hard in wanted:
        ceiling = resource.getrlimit(kind)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        try:
            resource.setrlimit(kind, (soft, hard))
        except (ValueError, OSError) as error:
            print(f"Limit {kind} cannot be set here: {error}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
