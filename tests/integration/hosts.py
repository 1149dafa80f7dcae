"""Two hosts on one machine: own process and host names, own folders; one PostgreSQL and one S3 between them.

Each host is a pair of namespaces (UTS and PID), so that neither sees the other's processes and a host can be lost
whole: killing the namespace's first process ends everything in it at once, as pulling the plug does.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

from .shop import REPOSITORY, Shop

BUCKET = "shop-private"
_ROOTS = ("--uts", "--pid", "--fork", "--kill-child", "--mount-proc")


@cache
def namespaces() -> list[str]:
    """The command that starts a host here; empty where this system lets nobody make namespaces."""
    if shutil.which("unshare") is None:
        return []
    for more in ([], ["--user", "--map-root-user"]):
        command = ["unshare", *more, *_ROOTS]
        if not subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
            return command
    return []


class ObjectStore:
    """An S3-compatible server in a process of its own; what is in it is gone when it stops."""

    def __init__(self, log: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        with log.open("wb") as handle:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
                stdout=handle, stderr=handle,
            )
        self.client = self._connected()
        self.client.create_bucket(Bucket=BUCKET)

    def _connected(self) -> object:
        import boto3
        from botocore.exceptions import BotoCoreError

        client = boto3.client(
            "s3", endpoint_url=self.address, aws_access_key_id="test", aws_secret_access_key="test",
            region_name="us-east-1",
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                client.list_buckets()
                return client
            except BotoCoreError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.2)

    def names(self, prefix: str = "") -> list[str]:
        """Every key under ``prefix``."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def freeze(self) -> None:
        """The server accepts connections and answers nothing, as one behind a broken network does."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self.thaw()
        self.process.kill()
        self.process.wait()


class Host(Shop):
    """A worker host: a folder and a name of its own, the database and the storage of all."""

    def __init__(self, name: str, folder: Path, *, dsn: str, store: ObjectStore) -> None:
        folder.mkdir(parents=True)
        super().__init__(
            folder, dsn=dsn, DJANGO_SETTINGS_MODULE="tests.integration.settings_hosts", SHOPGEN_TEST_S3=store.address,
            AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", SHOPGEN_TEST_WORKERS="1",
        )  # fmt: skip
        self.name = name

    def start_worker(self, *arguments: str) -> subprocess.Popen[bytes]:
        """The supervisor, as second process of the host."""
        script = f'hostname {self.name} && exec "$0" -m django shopgen_worker "$@"'
        with self.log_file.open("ab") as log:
            worker = subprocess.Popen(
                [*namespaces(), "sh", "-c", script, sys.executable, *arguments],
                env=self.env, cwd=self.folder, stdout=log, stderr=log, start_new_session=True,
            )
        self.workers.append(worker)
        return worker

    def lose(self) -> None:
        """The whole host at once, with no word from any of its processes."""
        for worker in self.workers:
            worker.kill()
            worker.wait()

    def python(self, script: str, *arguments: str) -> str:
        """What ``script`` prints, run with this host's settings."""
        done = subprocess.run(
            [sys.executable, "-c", f"import django; django.setup()\n{script}", *arguments], env=self.env,
            cwd=self.folder, text=True, capture_output=True, check=False, timeout=120,
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout


assert REPOSITORY.is_dir() and os.name == "posix"
