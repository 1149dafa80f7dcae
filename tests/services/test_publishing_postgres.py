"""The same promises and races on PostgreSQL, with its row locks, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgres import postgres_dsn, postgres_server

__all__ = ["postgres_dsn", "postgres_server"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.integration
@pytest.mark.postgres
def test_publishing_holds_on_postgresql(postgres_dsn: str, tmp_path: Path) -> None:
    names = ("test_publishing", "test_publishing_races", "test_deletions", "test_submit", "test_intake",
             "test_budgets")  # fmt: skip
    files = [f"tests/services/{name}.py" for name in names]
    files.append("tests/catalogues/test_generic_contract.py")
    command = [sys.executable, "-m", "pytest", *files, "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'pg'}"]
    environment = {**os.environ, "SHOPGEN_TEST_POSTGRES": postgres_dsn, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    environment.pop("SHOPGEN_TEST_DIR", None)
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=540, check=False)
    output = run.stdout + run.stderr
    assert run.returncode == 0, output[-6000:]
    passed = re.search(r"(\d+) passed", output)
    assert passed and int(passed[1]) > 80, output[-2000:]
