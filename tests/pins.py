"""Print a constraints file from the report of ``pip install --dry-run --report`` (``make constraints``)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

HEAD = """\
# The versions that the demo, the tests and CI run with. Made by `make constraints`; do not edit by hand.
# pyproject.toml says what the package needs, this file which of it was tested together."""


def main(report: Path) -> None:
    rows = [entry["metadata"] for entry in json.loads(report.read_text(encoding="utf-8"))["install"]]
    print(HEAD)
    for row in sorted(rows, key=lambda row: row["name"].lower()):
        if row["name"] != "shopgen-django":
            # Without the local part ("+cpu"), so that the same pin takes the CPU and the CUDA build of torch.
            print(f"{row['name']}=={row['version'].split('+')[0]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
