"""Run where only the wheel is installed (``.ci/run``): an empty project installs the app and looks at every part."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

APPS = [
    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
    "django.contrib.messages", "django.contrib.staticfiles", "django_filters", "rest_framework", "drf_spectacular",
    "django_q", "shopgen_django",
]  # fmt: skip
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]  # fmt: skip


def configure(folder: Path) -> None:
    from django.conf import settings

    settings.configure(
        SECRET_KEY="only for this run", ALLOWED_HOSTS=["testserver"], ROOT_URLCONF="wheel_urls", BASE_DIR=folder,
        INSTALLED_APPS=APPS, MIDDLEWARE=MIDDLEWARE, STATIC_URL="static/", USE_TZ=True,
        LANGUAGES=[("en", "English"), ("zh-hans", "简体中文")],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3", "NAME": folder / "db.sqlite3",
                "OPTIONS": {"transaction_mode": "IMMEDIATE"},
            }
        },
        TEMPLATES=[{
            "BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
            "OPTIONS": {"context_processors": [
                "django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]},
        }],
        Q_CLUSTER={"name": "wheel", "orm": "default", "workers": 1, "queue_limit": 1, "bulk": 1, "timeout": 900,
                   "retry": 3600, "max_attempts": 1, "ack_failures": True, "catch_up": False},
    )  # fmt: skip


def urls() -> ModuleType:
    from django.contrib import admin
    from django.urls import include, path

    module = ModuleType("wheel_urls")
    module.urlpatterns = [  # type: ignore[attr-defined]
        path("admin/", admin.site.urls), path("shopgen/api/", include("shopgen_django.api.urls"))
    ]
    return module


def look_at_every_part() -> None:
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.test import Client
    from django.utils import translation

    import shopgen_django
    from shopgen_django.models import ProductImage

    call_command("migrate", verbosity=0)
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("admin", "a@example.com", "x"))
    package = Path(shopgen_django.__file__).parent
    assert "site-packages" in package.parts, package
    for address in ["/admin/shopgen/productimage/", "/admin/shopgen/job/", "/shopgen/api/v1/operations/"]:
        answer = client.get(address)
        assert answer.status_code == 200, (address, answer.status_code)
    assert list(package.glob("static/**/*.*")), "no static files in the wheel"
    with translation.override("zh-hans"):
        assert str(ProductImage._meta.verbose_name) != "product picture", "no Chinese texts in the wheel"
    print("The installed wheel migrates, serves its admin and API, and speaks Chinese.")


def main() -> None:
    with TemporaryDirectory() as folder:
        configure(Path(folder))
        import django

        django.setup()
        sys.modules["wheel_urls"] = urls()
        look_at_every_part()
        from django.db import connection

        connection.close()


if __name__ == "__main__":
    main()
