"""The child of the bounded decoder: limits itself, and answers each file with one JSON line and the picture.

With the limits alone as its argument it takes one file from stdin, up to its end; with ``--many`` after them as many as
come, each after its length (8 bytes, big endian), with the length of the picture in each answer.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from typing import Any

from .bounded import _LENGTH_BYTES, _MANY, _OUT_OF_MEMORY
from .contracts import IntakeError, IntakeLimits
from .normalising import normalise


def main(arguments: list[str]) -> int:
    limits = IntakeLimits(**json.loads(arguments[0]))
    many = arguments[1:] == [_MANY]
    _limit_self(limits, cpu=not many)
    try:
        if many:
            while header := sys.stdin.buffer.read(_LENGTH_BYTES):
                _renew_cpu(limits)
                answer, picture = _answer(sys.stdin.buffer.read(int.from_bytes(header, "big")), limits)
                _write({**answer, "length": len(picture)}, picture)
        else:
            _write(*_answer(sys.stdin.buffer.read(), limits))
    except MemoryError:
        return _OUT_OF_MEMORY
    return 0


def _answer(data: bytes, limits: IntakeLimits) -> tuple[dict[str, Any], bytes]:
    try:
        result = normalise(data, limits)
    except IntakeError as error:
        return {"error": {"code": error.code, "message": error.message, "hint": error.hint}}, b""
    fields = asdict(result)
    return fields, fields.pop("data")


def _write(answer: dict[str, Any], picture: bytes) -> None:
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + picture)
    sys.stdout.buffer.flush()


def _limit_self(limits: IntakeLimits, *, cpu: bool) -> None:
    """Lower this process's own limits, never above what it was given; the platform may know neither."""
    try:
        import resource
    except ImportError:
        return
    seconds = math.ceil(limits.decode_seconds)
    # The second CPU value kills for good, one second after the first has asked.
    wanted = [(resource.RLIMIT_AS, limits.decode_bytes, limits.decode_bytes), (resource.RLIMIT_CORE, 0, 0)]
    if cpu:
        wanted.append((resource.RLIMIT_CPU, seconds, seconds + 1))
    for kind, soft, hard in wanted:
        ceiling = resource.getrlimit(kind)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        try:
            resource.setrlimit(kind, (soft, hard))
        except (ValueError, OSError) as error:
            print(f"Limit {kind} cannot be set here: {error}", file=sys.stderr)  # noqa: T201


def _renew_cpu(limits: IntakeLimits) -> None:
    """So much processor time for the next file, counted from now; what can be raised again is no hard limit."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    wanted = math.ceil(used.ru_utime + used.ru_stime + limits.decode_seconds)
    ceiling = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if ceiling == resource.RLIM_INFINITY or wanted < ceiling:
        resource.setrlimit(resource.RLIMIT_CPU, (wanted, ceiling))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
