"""What the app costs the shop's web process: start-up time and memory, with it and without it, in the same run.

    python benchmarks/web_footprint.py [--rounds 15] [--output docs/benchmarks/web_footprint.md]

Both processes are the example shop with Django's admin and Django REST framework installed and used in its URLconf. One
of them also has ``shopgen_django`` with what it brings along (django-q2, drf-spectacular, django-filter) and its API.
Each start is a fresh interpreter that builds the WSGI application, loads the URLconf, answers one request for the
admin's login page and one for the shop's own page, and then reports. The schema class of the shop's own API views is
DRF's default in both (drf-spectacular there would be the shop's choice; the app does not need it). With and without
take turns, so that a busy moment of the machine hits both; medians are compared. Memory is the process's proportional
set size where the kernel tells it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OURS = ("shopgen_django", "django_q", "drf_spectacular", "django_filters")
BAR = {"seconds": 0.5, "megabytes": 30.0}
FIGURES = ("seconds", "processor", "megabytes", "modules")
AIM = {"seconds": 0.3, "megabytes": 15.0}

SETTINGS = """
from example_project.settings import *
ROOT_URLCONF = "footprint_urls"
DEBUG = False
ALLOWED_HOSTS = ["localhost"]
WITH = {with_app!r}
REST_FRAMEWORK = {{}}
if not WITH:
    INSTALLED_APPS = [name for name in INSTALLED_APPS if name not in {ours!r}]
"""

URLS = """
from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from rest_framework import routers, serializers, viewsets
from example_project.shop.models import Product

class ProductSerializer(serializers.ModelSerializer):
    class Meta:
        model = Product
        fields = ["id", "title"]

class ProductViewSet(viewsets.ModelViewSet):
    queryset = Product.objects.all()
    serializer_class = ProductSerializer

router = routers.DefaultRouter()
router.register("products", ProductViewSet)
urlpatterns = [path("admin/", admin.site.urls), path("api/", include(router.urls))]
if settings.WITH:
    urlpatterns.append(path("shopgen/api/", include("shopgen_django.api.urls")))
urlpatterns.append(path("", include("example_project.shop.urls")))
"""

PROCESS = """
import time
started = time.perf_counter()
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
from io import BytesIO
def get(path):
    answers = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "SERVER_NAME": "localhost", "SERVER_PORT": "80",
               "HTTP_HOST": "localhost", "wsgi.input": BytesIO(), "wsgi.url_scheme": "http", "SCRIPT_NAME": ""}
    body = application(environ, lambda status, headers, *rest: answers.append(status))
    b"".join(body)
    assert answers[0].startswith("200"), (path, answers)
get("/admin/login/")
get("/")
seconds = time.perf_counter() - started
processor = time.process_time()
import json, sys
def memory():
    try:
        with open("/proc/self/smaps_rollup") as handle:
            for line in handle:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
print(json.dumps({"seconds": seconds, "processor": processor, "megabytes": memory(), "modules": len(sys.modules),
                  "heavy": [name for name in ("torch", "cv2", "numpy") if name in sys.modules]}))
"""


def environment(folder: Path, with_app: bool) -> dict[str, str]:
    name = "footprint_with" if with_app else "footprint_without"
    (folder / f"{name}.py").write_text(SETTINGS.format(with_app=with_app, ours=OURS), encoding="utf-8")
    (folder / "footprint_urls.py").write_text(URLS, encoding="utf-8")
    return {
        **os.environ, "DJANGO_SETTINGS_MODULE": name, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
        "SHOPGEN_DEMO_VAR": str(folder / "var"), "OMP_NUM_THREADS": "1",
    }  # fmt: skip


def once(env: dict[str, str], *command: str) -> str:
    done = subprocess.run([sys.executable, *command], env=env, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)[:80]} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout


def measure(rounds: int) -> dict[str, list[dict[str, float]]]:
    """Reports of the starts: ``with`` and ``without``."""
    found: dict[str, list[dict[str, float]]] = {"without": [], "with": []}
    with tempfile.TemporaryDirectory(prefix="shopgen-footprint-") as name:
        folder = Path(name)
        envs = {"without": environment(folder, False), "with": environment(folder, True)}
        once(envs["with"], "-m", "django", "migrate", "--verbosity", "0")
        for kind, env in envs.items():  # bytecode and file cache are warm afterwards, as on a server that restarts
            once(env, "-c", PROCESS)
            found[kind].clear()
        for number in range(rounds):
            for kind in ("without", "with") if number % 2 else ("with", "without"):
                found[kind].append(json.loads(once(envs[kind], "-c", PROCESS)))
    return found


def report(found: dict[str, list[dict[str, float]]]) -> tuple[str, bool]:
    """A table in Markdown, and whether the bar was kept."""
    middle = {
        kind: {key: statistics.median(run[key] for run in runs) for key in FIGURES}
        for kind, runs in found.items()
    }
    heavy = sorted({name for run in found["with"] for name in run["heavy"]})  # type: ignore[attr-defined]
    extra = {key: middle["with"][key] - middle["without"][key] for key in ("seconds", "megabytes")}
    lines = [
        "| | without | with | more | aim | bar |", "|---|---|---|---|---|---|",
        f"| start-up, s | {middle['without']['seconds']:.2f} | {middle['with']['seconds']:.2f} "
        f"| {extra['seconds']:+.2f} | +{AIM['seconds']} | +{BAR['seconds']} |",
        f"| processor time of the start, s | {middle['without']['processor']:.2f} | {middle['with']['processor']:.2f} "
        f"| {middle['with']['processor'] - middle['without']['processor']:+.2f} | | |",
        f"| memory, MB | {middle['without']['megabytes']:.1f} | {middle['with']['megabytes']:.1f} "
        f"| {extra['megabytes']:+.1f} | +{AIM['megabytes']:.0f} | +{BAR['megabytes']:.0f} |",
        f"| modules | {middle['without']['modules']:.0f} | {middle['with']['modules']:.0f} "
        f"| {middle['with']['modules'] - middle['without']['modules']:+.0f} | | |",
        "",
        f"Medians of {len(found['with'])} starts each, taking turns. Processor time is the whole process's "
        "and does not depend on what else the machine is doing. Loaded of torch, OpenCV and NumPy: "
        f"{', '.join(heavy) or 'none'}. Command: `python benchmarks/web_footprint.py`.",
        "",
    ]
    return "\n".join(lines), all(extra[key] <= BAR[key] for key in extra) and not heavy


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    text, kept = report(measure(options.rounds))
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
