"""The settings of Oscar's own documentation, and what shopgen adds to them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import oscar
from oscar.defaults import *  # noqa: F403

from tests.database import postgres_or

BASE_DIR = Path(tempfile.mkdtemp(prefix="shopgen-oscar-"))
SECRET_KEY = "tests-only"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
SITE_ID = 1
ROOT_URLCONF = "tests.catalogues.oscar_project.urls"
INSTALLED_APPS = [
    *oscar.INSTALLED_APPS,
    "sorl.thumbnail",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "django_q",
    "shopgen_django",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "oscar.apps.basket.middleware.BasketMiddleware",
    "django.contrib.flatpages.middleware.FlatpageFallbackMiddleware",
]
AUTHENTICATION_BACKENDS = [
    "oscar.apps.customer.auth_backends.EmailBackend",
    "django.contrib.auth.backends.ModelBackend",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.template.context_processors.static",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "oscar.apps.search.context_processors.search_form",
                "oscar.apps.checkout.context_processors.checkout",
                "oscar.apps.communication.notifications.context_processors.notifications",
                "oscar.core.context_processors.metadata",
            ]
        },
    }
]
DATABASES = {
    "default": {
        **postgres_or({"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}),
        "ATOMIC_REQUESTS": True,
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
HAYSTACK_CONNECTIONS = {"default": {"ENGINE": "haystack.backends.simple_backend.SimpleEngine"}}
STATIC_URL = "/static/"
MEDIA_URL = "/media/"
MEDIA_ROOT = str(BASE_DIR / "media")
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# What shopgen adds
SHOPGEN = {
    "ROOT": str(BASE_DIR / "shopgen"),
    "CATALOGUES": {"default": {"ADAPTER": "shopgen_django.catalogues.oscar.OscarCatalogue"}},
    "QUEUE": {"BACKEND": "shopgen_django.jobs.queues.dummy.DummyQueue"},
}
Q_CLUSTER = {
    "name": "shop",
    "orm": "default",
    "workers": 1,
    "queue_limit": 1,
    "bulk": 1,
    "timeout": 900,
    "retry": 3600,
    "max_attempts": 1,
    "ack_failures": True,
}
