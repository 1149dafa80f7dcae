"""Budgets as callers see them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from shopgen_django.budgets import PERIODS, UNITS


class BudgetSerializer(serializers.Serializer[Any]):
    """What may be spent, and what of it is left."""

    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    unit = serializers.ChoiceField(
        choices=UNITS, help_text="Pictures asked of engines over a server, requests to such, seconds of workers, money."
    )
    period = serializers.ChoiceField(choices=PERIODS)
    each = serializers.BooleanField(help_text="Every user has it for themselves; the figures are the caller's.")
    engines = serializers.ListField(child=serializers.CharField(), help_text="Empty: all.")
    operations = serializers.ListField(child=serializers.CharField(), help_text="Empty: all.")
    limit = serializers.FloatField()
    used = serializers.FloatField(help_text="Since the period began.")
    held = serializers.FloatField(help_text="Set aside for jobs that wait or run.")
    left = serializers.FloatField(help_text="What more may be queued now.")
    began = serializers.DateTimeField()
    renews = serializers.DateTimeField(help_text="When the next period begins.")
