"""What shopgen does when the shop's own rows change: a deleted product leaves a tombstone on its pictures and texts,
a deleted user leaves jobs that belong to nobody."""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import models
from django.db.models.signals import post_delete, pre_delete
from django.utils import timezone

logger = logging.getLogger(__name__)

_connected: list[tuple[type[models.Model], str]] = []


def register() -> None:
    """Listen to deletions of every configured catalogue's products; called from ``AppConfig.ready``.

    Only the product models are listened to, so that other deletions of the shop cost nothing. A catalogue that can't
    be built is left to the system checks, which say what is wrong with it.
    """
    setting_changed.connect(_settings_changed, dispatch_uid="shopgen.signal_handlers.settings")
    pre_delete.connect(_forget_keys, sender=settings.AUTH_USER_MODEL, dispatch_uid="shopgen.signal_handlers.user")
    _connect()


def _connect() -> None:
    from .catalogues.registry import catalogue_aliases, get_catalogue

    while _connected:
        sender, uid = _connected.pop()
        post_delete.disconnect(sender=sender, dispatch_uid=uid)
    try:
        aliases = catalogue_aliases()
    except ImproperlyConfigured as error:
        logger.warning("Deleted products are not noticed: %s", error)
        return
    for alias in aliases:
        try:
            model = get_catalogue(alias).model
        except ImproperlyConfigured as error:
            logger.warning("Deleted products of catalogue %s are not noticed: %s", alias, error)
            continue
        for sender in _senders(model):
            uid = f"shopgen.tombstone.{alias}.{sender._meta.label_lower}"
            post_delete.connect(_Tombstone(alias), sender=sender, weak=False, dispatch_uid=uid)
            _connected.append((sender, uid))


def _senders(model: type[models.Model]) -> list[type[models.Model]]:
    """The model and its proxies: a row deleted through a proxy is announced under the proxy's name alone."""
    found = [model]
    for child in model.__subclasses__():
        if child._meta.proxy:
            found += _senders(child)
    return found


class _Tombstone:
    """Receiver of ``post_delete`` for one catalogue."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def __call__(self, *, instance: models.Model, **kwargs: Any) -> None:
        from .models import ProductImage, TextSuggestion

        mine = {"catalogue": self.alias, "object_pk": str(instance.pk), "product_deleted_at__isnull": True}
        for rows in (ProductImage.objects.filter(**mine), TextSuggestion.objects.filter(**mine)):
            nameless = rows.filter(product_label="")
            if nameless.exists():
                nameless.update(product_label=_name_of(instance))
            rows.update(product_deleted_at=timezone.now())


def _name_of(instance: models.Model) -> str:
    """The product's own text; a ``__str__`` that fails on a row that is going must not stop its deletion."""
    try:
        return str(instance)[:255]
    except Exception:
        logger.warning("The deleted %s %s has no readable name.", instance._meta.label, instance.pk, exc_info=True)
        return str(instance.pk)[:255]


def _forget_keys(*, instance: models.Model, using: str, **kwargs: Any) -> None:
    """Idempotency keys are unique per user; left behind by two users, the same key would belong to nobody twice."""
    from .models import Job

    Job.objects.using(using).filter(created_by=instance.pk).exclude(idempotency_key="").update(idempotency_key="")


def _settings_changed(*, setting: str, **kwargs: object) -> None:
    if setting == "SHOPGEN":
        _connect()
