"""A shop with real workers: django-q2 on the ORM broker, short leases, operations that misbehave on purpose."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS, Q_CLUSTER, SHOPGEN

INSTALLED_APPS = [*INSTALLED_APPS, "tests.jobs.stubs"]
Q_CLUSTER = {**Q_CLUSTER, "workers": int(os.environ.get("SHOPGEN_TEST_WORKERS", "2")), "poll": 0.05}
if os.environ.get("SHOPGEN_TEST_QUIET"):
    Q_CLUSTER["log_level"] = "WARNING"
SHOPGEN = {
    **SHOPGEN,
    "QUEUE": {"BACKEND": "shopgen_django.jobs.queues.q2.Q2Queue", "OPTIONS": {"CPU": "default", "GPU": "gpu"}},
    "JOBS": {
        "LEASE_SECONDS": float(os.environ.get("SHOPGEN_TEST_LEASE", "6")),
        "HEARTBEAT_SECONDS": float(os.environ.get("SHOPGEN_TEST_HEARTBEAT", "1")),
        "BACKOFF_SECONDS": 1,
        "GRACE_SECONDS": float(os.environ.get("SHOPGEN_TEST_GRACE", "8")),
        "HARD_TIMEOUT_SECONDS": int(os.environ.get("SHOPGEN_TEST_HARD", "900")),
        "SWEEP_SECONDS": 5,
        "RERING_SECONDS": 5,
    },
}
