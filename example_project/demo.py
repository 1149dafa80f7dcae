"""``make demo``: the whole loop on the example shop, from its photos to a published picture and back.

    python -m example_project.demo            train, generate, then serve the shop until Ctrl-C
    python -m example_project.demo --check    the same unattended, through approve, publish and withdraw

Everything after the training goes the way that a shop's own software would go: over HTTP, through the queue and a
real worker. It writes into ``example_project/var`` and nowhere else.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from example_project import demo_steps as steps
from example_project.demo_steps import API, LOGIN, MANAGE, PROJECT, SKU, Demo, StepFailed, tail
from example_project.processes import ChildEnded, Children, free_port

PREPARE: list[tuple[str, Callable[[Demo], str]]] = [
    ("database", steps.migrate),
    ("load the shop", steps.load_shop),
    ("train", steps.train),
    ("contact sheet", steps.draw_sheet),
    ("cut-out network", steps.fetch_network),
    ("web server", steps.start_web),
    ("worker", steps.start_worker),
    ("log in", steps.log_in),
    ("look at the shop", steps.find_product),
    ("active model", steps.look_at_model),
    ("queue a job", steps.queue_generate),
    ("generate", steps.wait_for_job),
    ("open a picture", steps.look_at_picture),
]
CHECK: list[tuple[str, Callable[[Demo], str]]] = [
    ("approve", steps.approve),
    ("publish", steps.publish),
    ("withdraw", steps.withdraw),
]


def run_step(demo: Demo, label: str, step: Callable[[Demo], str]) -> bool:
    """One line: what it was, whether it worked, how long it took."""
    print(f"{label:<17} ", end="", flush=True)
    started = time.monotonic()
    try:
        detail, word = step(demo), "ok"
    except (StepFailed, ChildEnded) as error:
        detail, word = str(error), "failed"
    except Exception:  # an answer of another shape than expected: told like every other failure, with the place
        detail, word = f"unexpected:\n{tail(traceback.format_exc())}", "failed"
    print(f"{word:<7}{time.monotonic() - started:6.1f} s  {detail}", flush=True)
    return word == "ok"


@contextmanager
def stopping(demo: Demo) -> Iterator[None]:
    """Whatever happens, nothing that was started stays behind."""

    def leave(signum: int, frame: object) -> None:
        raise SystemExit(128 + signum)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    try:
        yield
    finally:
        demo.children.stop()


def run(demo: Demo) -> int:
    with stopping(demo):
        for label, step in [*PREPARE, *(CHECK if demo.check else [])]:
            if not run_step(demo, label, step):
                run_step(demo, "stop", steps.stop)
                return 1
        if demo.check:
            if not run_step(demo, "stop", steps.stop):
                return 1
            print(f"All steps worked. Contact sheet: {demo.sheet}")
            return 0
        serve(demo)
    return 0


def serve(demo: Demo) -> None:
    user, password = LOGIN
    base = demo.client.base
    print(
        f"\nThe shop        {base}/product/{SKU}/\n"
        f"The admin       {base}/admin/     login {user} / {password}\n"
        f"To review       {base}/admin/shopgen/review/\n"
        f"The HTTP API    {base}{API}/schema/\n"
        f"Contact sheet   {demo.sheet}\n\n"
        "Ctrl-C stops the web server and the worker. make demo starts them again, without training anew.",
        flush=True,
    )
    try:
        while True:
            demo.children.require_running()
            time.sleep(1)
    except KeyboardInterrupt:
        print("\nStopping (a job that runs is finished or handed back first) ...", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo ARGS=...", description="The example shop in one go.")
    parser.add_argument("--check", action="store_true", help="unattended, through approve, publish and withdraw")
    parser.add_argument("--minutes", type=float, default=2.0, help="how long to train (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="of the web server (%(default)s, or a free one)")
    parser.add_argument("--keep", action="store_true", help="with --check: go on with the files of the last check")
    parser.add_argument("--fresh", action="store_true", help="forget the demo's shop and model and begin anew")
    options = parser.parse_args()
    # The shop that one opens and the one that is only checked don't mix.
    var = PROJECT / "var" / "check" if options.check else PROJECT / "var"
    if options.fresh or (options.check and not options.keep):
        shutil.rmtree(var, ignore_errors=True)
    var.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "SHOPGEN_DEMO_VAR": str(var), "DJANGO_SETTINGS_MODULE": "example_project.settings"}
    demo = Demo(
        var=var, port=free_port(options.port), minutes=options.minutes, check=options.check, env=env,
        children=Children(env=env, cwd=MANAGE.parent),
    )  # fmt: skip
    try:
        return run(demo)
    except KeyboardInterrupt:
        print("\nStopped. What was trained so far is kept; make demo goes on with it.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
