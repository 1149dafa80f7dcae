"""A shop on several hosts: each with a folder of its own, the private files in an S3-compatible server."""

from __future__ import annotations

import os

from botocore.config import Config

from tests.integration.settings import *  # noqa: F403
from tests.settings import STATIC_URL as STATIC_URL

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "shopgen": {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": "shop-private",
            "endpoint_url": os.environ["SHOPGEN_TEST_S3"],
            "region_name": "us-east-1",
            "client_config": Config(connect_timeout=2, read_timeout=2, retries={"max_attempts": 1}),
        },
    },
}
