"""What a fine-tuning needs from the shop: which base, whose photos, which titles; and the version that comes of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from shopgen_django.catalogues.base import Catalogue
from shopgen_django.conf import app_settings, usable_cores
from shopgen_django.engines import get_engine
from shopgen_django.engines.diffusers import Diffusers
from shopgen_django.engines.lora_training.base import Base, open_base
from shopgen_django.engines.lora_training.photos import TITLES_FILE
from shopgen_django.exceptions import InvalidParameters, ProductNotFound
from shopgen_django.ml.files import link, read_json, write_bytes
from shopgen_django.ml.sources import LABELS_FILE
from shopgen_django.models import ModelVersion, TrainingRun

from .large_models import models_folder
from .models import DESCRIPTION, LORA_WEIGHTS, MANIFEST, register_version
from .training import Export, export_photos

ENGINE = "diffusion"
VERSIONS, SAMPLES = "versions", "samples"


def find_base(name: str, *, check: Callable[[], None] = lambda: None) -> Base:
    """The base model: a folder, a name under ``ROOT/models``, or "" for the model of the engine ``diffusion``, hashed.

    Raises:
        InvalidParameters: nothing is named and the engine has no model of its own.
        PermanentError: what the engine raises for a folder that it would not use; WrongKind for a kind that can't be
            fine-tuned.
    """
    path = Path(name).expanduser()
    if not name:
        engine = get_engine(ENGINE)
        if not isinstance(engine, Diffusers) or not engine.model:
            raise InvalidParameters(
                _("Say which model to fine-tune: --base with a folder, or a name that shopgen_model lists.")
            )
        path = engine.folder_of(engine.model)
    elif not path.is_dir():
        path = models_folder() / path
    return open_base(
        path.resolve(), noncommercial=bool(app_settings.ALLOW_NONCOMMERCIAL_MODELS), threads=usable_cores(), check=check
    )


def refuse_taken_name(name: str) -> None:
    """Raises InvalidParameters for a name that the settings give to another file, or that a generator has."""
    engine = get_engine(ENGINE)
    if isinstance(engine, Diffusers) and name in engine.lora_names:
        raise InvalidParameters(
            _("The option LORAS of the engine has a LoRA %(name)s already, and that one would be used. Choose another "
              "name.") % {"name": name}
        )
    if ModelVersion.objects.filter(name=name).exclude(engine=ENGINE).exists():
        raise InvalidParameters(
            _("There is a model %(name)s that is no LoRA. Choose another name.") % {"name": name}
        )


def gather_photos(
    *, catalogue: Catalogue, folder: Path, categories: tuple[str, ...] = (), products: Iterable[str] = (),
    search: str = "", on_product: Callable[[], None] | None = None,
) -> Export:
    """The photos of the shop's products in ``folder``, with their titles for captions.

    Args:
        products: primary keys; with ``search`` (part of a title) those that it finds as well.

    Raises:
        InvalidParameters: no product is found, or they have no photos.
    """
    chosen = [str(key) for key in products]
    if search:
        chosen += [str(product.pk) for product in catalogue.products(search=search)]
        if not chosen:
            raise InvalidParameters(_("No product's title has “%(text)s” in it.") % {"text": search})
    for key in chosen:
        catalogue.get(key)  # a key that leads nowhere is told by itself, not as a lack of photos
    exported = export_photos(
        catalogue=catalogue, folder=folder, categories=categories, products=chosen, on_product=on_product
    )
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["file", "title"])
    with (folder / LABELS_FILE).open(encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            writer.writerow([row["file"], _title(catalogue, row["product"])])
    write_bytes(folder / TITLES_FILE, text.getvalue().encode())
    return exported


def register_lora(
    *, folder: Path, name: str, run: TrainingRun, activate: bool, metrics: dict[str, Any], user: Any = None
) -> ModelVersion:
    """Record what a fine-tuning made as the next version of ``name``, under its base's licence.

    The version has a folder of its own in the run's: a run that goes on, or begins anew, changes nothing that is in
    use. Raises what :func:`~shopgen_django.services.models.register_version` raises.
    """
    card = read_json(folder / DESCRIPTION)
    own = folder / VERSIONS / f"{int(card['steps']):07d}-{card['sha256'][:12]}"
    (own / SAMPLES).mkdir(parents=True, exist_ok=True)
    newest = sorted(path.name for path in (folder / SAMPLES).glob("*.png"))[-1:]
    for kept in (LORA_WEIGHTS, MANIFEST, DESCRIPTION, *(f"{SAMPLES}/{sheet}" for sheet in newest)):
        link(folder / kept, own / kept)
    return register_version(
        folder=own, name=name, run=run, activate=activate, metrics=metrics, user=user,
        licence=str(card["licence"])[:100],
    )


def _title(catalogue: Catalogue, key: str) -> str:
    try:
        return catalogue.get(key).title
    except ProductNotFound:  # deleted while we read
        return ""
