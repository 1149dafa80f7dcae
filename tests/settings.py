"""Settings of the test-suite: a small shop of its own, SQLite, jobs run by the tests themselves."""

from __future__ import annotations

import atexit
import os
import tempfile
from pathlib import Path

from tests.database import postgres_or

BASE_DIR = Path(__file__).resolve().parent
if os.environ.get("SHOPGEN_TEST_DIR"):
    WORK_DIR = Path(os.environ["SHOPGEN_TEST_DIR"])
else:
    _own = tempfile.TemporaryDirectory(prefix="shopgen-tests-", ignore_cleanup_errors=True)
    atexit.register(_own.cleanup)
    WORK_DIR = Path(_own.name)
SECRET_KEY = "tests-only"
DEBUG = False
ALLOWED_HOSTS = ["*"]
USE_TZ = True
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
ROOT_URLCONF = "tests.urls"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_filters",
    "rest_framework",
    "drf_spectacular",
    "django_q",
    "shopgen_django",
    "tests.testshop",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {
    "default": postgres_or({
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(WORK_DIR / "db.sqlite3"),
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode=WAL"},
        # A file: threads of one test share an in-memory database's table locks, which no real shop has.
        "TEST": {"NAME": str(WORK_DIR / "test.sqlite3")},
    })
}  # fmt: skip
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "/static/"
MEDIA_URL = "/media/"
MEDIA_ROOT = WORK_DIR / "media"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
Q_CLUSTER = {
    "name": "shopgen-tests",
    "orm": "default",
    "workers": 1,
    "queue_limit": 1,
    "bulk": 1,
    "timeout": 900,
    "retry": 3600,
    "max_attempts": 1,
    "ack_failures": True,
    "save_limit": -1,
    "catch_up": False,
    "ALT_CLUSTERS": {"gpu": {"workers": 1, "queue_limit": 1, "bulk": 1, "timeout": 900, "retry": 3600}},
}
SHOPGEN = {
    "ROOT": str(WORK_DIR / "shopgen"),
    "CATALOGUES": {
        "default": {
            "ADAPTER": "shopgen_django.catalogues.generic.GenericCatalogue",
            "OPTIONS": {"MODEL": "testshop.Product"},
        }
    },
    "QUEUE": {"BACKEND": "shopgen_django.jobs.queues.dummy.DummyQueue"},
}
