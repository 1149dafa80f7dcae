"""A private PostgreSQL for tests and benchmarks: own folder, own socket, no network, no regard for power cuts."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_SETTINGS = (
    "fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=100", "shared_buffers=64MB",
)


class PostgresMissing(RuntimeError):
    """There is no PostgreSQL server software on this machine."""


class PrivatePostgres:
    """``start()``, then ``create_database(name)`` gives a DSN; ``stop()`` removes everything."""

    def __init__(self) -> None:
        self._bin = _find_bin()
        # Short, because the path of a socket may not be longer than about 100 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="sgpg-", dir="/tmp"))
        self.socket = self._folder / "s"
        self.data = self._folder / "d"
        self._made: set[str] = set()

    def start(self) -> None:
        self.socket.mkdir()
        if os.getuid() == 0:
            for path in (self._folder, self.socket):
                shutil.chown(path, "postgres")
        self._run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        self._start_server()

    def _start_server(self) -> None:
        options = [f"-k {self.socket}", "-c listen_addresses=''", *(f"-c {setting}" for setting in _SETTINGS)]
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", str(self.data), "-w", "-t", "60", "-l", log, "-o", " ".join(options), "start")

    def crash(self) -> None:
        """Stop at once, as if the server's processes had been killed."""
        self._run("pg_ctl", "-D", str(self.data), "-m", "immediate", "-w", "stop")

    def come_back(self) -> None:
        """Start again after :meth:`crash`."""
        self._start_server()

    def stop(self) -> None:
        if (self.data / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", str(self.data), "-m", "immediate", "-w", "stop")
        shutil.rmtree(self._folder, ignore_errors=True)

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """A new database; its DSN in the form that ``SHOPGEN_TEST_POSTGRES`` takes."""
        import psycopg

        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.dsn(name)

    def dsn(self, name: str) -> str:
        return f"host={self.socket} port=5432 user=postgres dbname={name}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), *arguments]
        if os.getuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        # Into a file, not a pipe: the server inherits it and would keep the pipe open.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, cwd="/", check=False)
            output.seek(0)
            if done.returncode:
                raise RuntimeError(f"{program} failed ({done.returncode}): {output.read().decode(errors='replace')}")


def _find_bin() -> Path:
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not versions:
        raise PostgresMissing("No PostgreSQL server was found (initdb is neither on PATH nor in /usr/lib/postgresql).")
    return versions[-1].parent


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PrivatePostgres]:
    """One server for the whole session. Left out with a word where there is none; in CI that is a failure."""
    try:
        server = PrivatePostgres()
    except PostgresMissing as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgres_dsn(postgres_server: PrivatePostgres) -> str:
    """A database of its own for this session, as ``SHOPGEN_TEST_POSTGRES`` takes it."""
    return postgres_server.create_database("shopgen")
