"""What a person does with trainings, as a program: ``python -m tests.integration.trainings VERB [JSON]``.

Prints the run's primary key. Verbs: photos (fills the shop), plan, start, stop, resume.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import django

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.core.files.base import ContentFile  # noqa: E402
from django.core.management import call_command  # noqa: E402

from shopgen_django.models import TrainingRun  # noqa: E402
from shopgen_django.services import trainings  # noqa: E402
from tests.factories import picture_bytes  # noqa: E402
from tests.testshop.models import Category, Product  # noqa: E402


def photos() -> None:
    """Ten products with a photo in two categories, and the person who trains."""
    call_command("migrate", run_syncdb=True, verbosity=0)  # the shop's own app has no migrations
    get_user_model().objects.create_superuser("engineer")
    for number in range(10):
        category, _made = Category.objects.get_or_create(name=("bags", "hats")[number % 2])
        row = Product(name=f"product {number}", category=category)
        colour = f"#{40 + 20 * number:02x}8844"
        row.image.save(f"{number}.png", ContentFile(picture_bytes(colour=colour)), save=True)


def main(verb: str, given: dict[str, Any]) -> None:
    if verb == "photos":
        photos()
        return
    user = get_user_model().objects.get()
    if verb == "plan":
        start = given.pop("start", False)
        run = trainings.plan_training(order=trainings.Order(**given), user=user, start=start)
    else:
        run = TrainingRun.objects.get()
        getattr(trainings, f"{verb}_training")(run=run, user=user, **given)
    print(run.pk)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) > 2 else {})
