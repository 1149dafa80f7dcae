"""``manage.py demo_load``: fill the example shop with 240 second-hand products, one per photo."""

from __future__ import annotations

import csv
import random
from argparse import ArgumentParser
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils.text import slugify

from example_project.shop.models import Category, Product

PHOTOS = Path(settings.PROJECT_DIR) / "data" / "clothing_cc0"
NAMES = {"Longsleeve": "Long sleeve", "Outwear": "Outerwear"}
OPENINGS = {
    Product.Condition.NEW: ["Never worn", "Brand-new", "Unworn"],
    Product.Condition.HARDLY_WORN: ["Hardly worn", "Like-new", "Worn-twice"],
    Product.Condition.GOOD: ["Pre-loved", "Well-kept", "Everyday", "Weekend", "Favourite"],
    Product.Condition.WORN: ["Well-travelled", "Much-loved", "Broken-in"],
}
NOTES = [
    "Washed and checked by us.", "From a smoke-free home.", "One owner, looked after well.",
    "Small traces of wear inside.", "Photographed by the seller.", "Goes with nearly everything.",
]


class Command(BaseCommand):
    help = "Fill the example shop with its 240 products and make the login admin / admin (only with DEBUG)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--no-login", action="store_true", help="make no admin user")

    def handle(self, *, no_login: bool, **options: Any) -> None:
        rows = self._rows()
        with transaction.atomic():
            made = sum(self._load(number, row) for number, row in rows)
        self.stdout.write(f"{len(rows)} products in {Category.objects.count()} categories ({made} new).")
        if not no_login:
            self._login()

    def _rows(self) -> list[tuple[int, dict[str, str]]]:
        """The photos in an order of their own per category, numbered from 1 within it."""
        try:
            with (PHOTOS / "labels.csv").open(encoding="utf-8", newline="") as handle:
                rows = sorted(csv.DictReader(handle), key=lambda row: (row["label"], row["file"]))
        except FileNotFoundError as error:
            raise CommandError(
                f"The example photos are missing: {error.filename}. Clone the repository again."
            ) from None
        counts: dict[str, int] = {}
        numbered = []
        for row in rows:
            counts[row["label"]] = counts.get(row["label"], 0) + 1
            numbered.append((counts[row["label"]], row))
        return numbered

    def _load(self, number: int, row: dict[str, str]) -> int:
        """Make one product unless it is there; 1 when it is new. What staff have changed since is left alone."""
        name = NAMES.get(row["label"], row["label"])
        category, _ = Category.objects.get_or_create(slug=slugify(name), defaults={"name": name})
        sku = f"{slugify(name)}-{number:02d}"
        if Product.objects.filter(sku=sku).exists():
            return 0
        rng = random.Random(row["file"])  # the same shop on every machine
        condition = rng.choices(list(Product.Condition), weights=[1, 3, 4, 2])[0]
        size = rng.choice(["36", "38", "40", "42", "44"] if name == "Shoes" else ["XS", "S", "M", "L", "XL"])
        kind = name[0].lower() + name[1:] if name != "T-Shirt" else "T-shirt"
        product = Product(
            sku=sku,
            title=f"{rng.choice(OPENINGS[condition])} {kind}, no. {number}",
            description=" ".join(rng.sample(NOTES, 2)),
            category=category,
            condition=condition,
            size="" if name == "Hat" else size,
            price=Decimal(rng.randrange(400, 4500, 50)) / 100,
            image_alt=f"Photo by the seller: {kind}",
        )
        photo = PHOTOS / "images" / row["file"]
        product.image.save(f"{sku}.jpg", ContentFile(photo.read_bytes()), save=False)
        product.save()
        return 1

    def _login(self) -> None:
        if not settings.DEBUG:
            self.stdout.write("No admin user was made: admin / admin is for a demo with DEBUG only.")
            return
        users = get_user_model().objects
        if not users.filter(username="admin").exists():
            users.create_superuser("admin", "admin@example.com", "admin")
        self.stdout.write("Login: admin / admin (unless you have changed it)")
