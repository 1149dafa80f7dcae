"""Settings of the example shop: SQLite, local files, nothing else to install.

Everything that the shop writes lies in ``example_project/var`` (or in the folder of ``SHOPGEN_DEMO_VAR``).
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parent
BASE_DIR = Path(os.environ.get("SHOPGEN_DEMO_VAR") or PROJECT_DIR / "var").resolve()
BASE_DIR.mkdir(parents=True, exist_ok=True)


def _secret_key() -> str:
    """A key of this installation's own, made on the first start; none is written into the source."""
    path = BASE_DIR / "secret_key"
    try:
        with path.open("x", encoding="ascii") as handle:
            path.chmod(0o600)
            handle.write(secrets.token_urlsafe(50))
    except FileExistsError:
        pass
    return path.read_text(encoding="ascii")


SECRET_KEY = os.environ.get("SHOPGEN_DEMO_SECRET_KEY") or _secret_key()
DEBUG = os.environ.get("SHOPGEN_DEMO_DEBUG", "1") == "1"
ALLOWED_HOSTS = os.environ.get("SHOPGEN_DEMO_HOSTS", "localhost,127.0.0.1,[::1]").split(",")

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
    "example_project.shop",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "example_project.urls"
WSGI_APPLICATION = "example_project.wsgi.application"
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

# Web server and workers write at the same time: without IMMEDIATE transactions SQLite answers "database is locked".
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(BASE_DIR / "shop.sqlite3"),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}
# Seen by every process, which the default cache (memory of one process) is not.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": str(BASE_DIR / "cache"),
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_PASSWORD_VALIDATORS: list[dict[str, str]] = []  # a demo on one's own machine: admin / admin

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "static"
MEDIA_URL = "/media/"
MEDIA_ROOT = BASE_DIR / "media"
LOGIN_URL = "admin:login"

Q_CLUSTER = {
    "name": "example-shop",
    "orm": "default",
    "workers": 2,
    "queue_limit": 2,
    "bulk": 1,
    "timeout": 900,
    "retry": 3600,
    "max_attempts": 1,
    "ack_failures": True,
    "save_limit": -1,
    "catch_up": False,
    "recycle": 500,
    "guard_cycle": 0.5,
    "poll": 0.5,
    "label": "django-q2",
    "ALT_CLUSTERS": {
        "gpu": {"workers": 1, "queue_limit": 1, "bulk": 1, "timeout": 900, "retry": 3600, "scheduler": False},
    },
}

SHOPGEN = {
    "ROOT": str(BASE_DIR / "shopgen"),
    "CATALOGUES": {
        "default": {
            "ADAPTER": "shopgen_django.catalogues.generic.GenericCatalogue",
            "OPTIONS": {"MODEL": "shop.Product"},
        }
    },
}
