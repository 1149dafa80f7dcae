from __future__ import annotations

from django.apps import AppConfig


class StubsConfig(AppConfig):
    name = "tests.jobs.stubs"
    label = "stubs"
