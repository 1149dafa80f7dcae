"""The settings of a new Wagtail project, and what shopgen adds to them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.database import postgres_or

BASE_DIR = Path(tempfile.mkdtemp(prefix="shopgen-wagtail-"))
SECRET_KEY = "tests-only"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
ROOT_URLCONF = "tests.catalogues.wagtail_project.urls"
INSTALLED_APPS = [
    "tests.catalogues.wagtail_project.shop",
    "wagtail.contrib.redirects",
    "wagtail.embeds",
    "wagtail.sites",
    "wagtail.users",
    "wagtail.snippets",
    "wagtail.documents",
    "wagtail.images",
    "wagtail.search",
    "wagtail.admin",
    "wagtail",
    "modelcluster",
    "taggit",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
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
    "wagtail.contrib.redirects.middleware.RedirectMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [str(Path(__file__).parent / "templates")],
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
DATABASES = {"default": postgres_or({"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"})}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "/static/"
MEDIA_URL = "/media/"
MEDIA_ROOT = str(BASE_DIR / "media")
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
WAGTAIL_SITE_NAME = "Shop"
WAGTAILADMIN_BASE_URL = "http://shop.example"

# What shopgen adds
SHOPGEN = {
    "ROOT": str(BASE_DIR / "shopgen"),
    "CATALOGUES": {
        "default": {
            "ADAPTER": "shopgen_django.catalogues.wagtail.WagtailCatalogue",
            "OPTIONS": {"MODEL": "shop.ProductPage", "COLLECTION": "Product pictures"},
        }
    },
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
