"""Write docs/openapi.yaml anew: ``python -m tests.api.write_openapi``."""

from __future__ import annotations

import os
from pathlib import Path

import django
import yaml

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from shopgen_django.api.openapi import generate

    target = Path(__file__).resolve().parents[2] / "docs" / "openapi.yaml"
    text = yaml.safe_dump(generate(), sort_keys=False, allow_unicode=True, width=120)
    target.write_text(text, encoding="utf-8")
    print(f"{target}: {len(text.splitlines())} lines")
