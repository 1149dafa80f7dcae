"""What lists can be narrowed by. A parameter that is not listed is an error, not silently everything."""

from __future__ import annotations

from typing import Any

import django_filters
from django import forms
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.settings import api_settings

from shopgen_django.models import (
    DigitalSource,
    ImageKind,
    ImageState,
    Job,
    JobQueue,
    JobState,
    ModelVersion,
    ProductImage,
    RunState,
    TextKind,
    TextState,
    TextSuggestion,
    TrainingRun,
)

from .pagination import PARAMETERS


class StrictFilterBackend(DjangoFilterBackend):
    """django-filter, refusing unknown parameters and values that don't fit."""

    raise_exception = True

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        known = {*PARAMETERS, api_settings.URL_FORMAT_OVERRIDE}
        filterset = getattr(view, "filterset_class", None)
        if filterset is not None:
            known |= set(filterset.base_filters)
        refuse_unknown(request.query_params, known)
        return super().filter_queryset(request, queryset, view)

    def to_html(self, request: Request, queryset: QuerySet[Any], view: Any) -> str:
        return ""


def refuse_unknown(given: Any, known: set[Any]) -> None:
    """Raises ValidationError naming every parameter that is not in ``known``."""
    unknown = sorted(str(name) for name in given if name not in known)
    if unknown:
        names = ", ".join(sorted(str(name) for name in known if name))
        text = _("Unknown parameter. Known are: %(names)s.") % {"names": names}
        raise ValidationError({name[:100]: [text] for name in unknown[:20]})


class _YesNoField(forms.NullBooleanField):
    widget = forms.TextInput

    def to_python(self, value: Any) -> bool | None:  # type: ignore[override]
        known = {"true": True, "false": False, "": None, None: None}
        if value not in known:
            raise DjangoValidationError(_("Give true or false."))
        return known[value]


class YesNo(django_filters.BooleanFilter):
    """``true`` or ``false``; django-filter's own reads anything else as "not given"."""

    field_class = _YesNoField


class AnyOf(django_filters.MultipleChoiceFilter):
    """One or several of the choices, ``?state=queued&state=running``.

    Most of the choices at once are asked for by leaving out the others: that keeps the database from collecting and
    sorting nearly all rows by an index on this column, where the newest rows are found in a few steps.
    """

    def filter(self, qs: QuerySet[Any], value: list[str]) -> QuerySet[Any]:
        if len(value) <= 3:
            return super().filter(qs, value)
        others = [choice for choice, _label in self.extra["choices"] if choice not in value]
        return qs.exclude(**{f"{self.field_name}__in": others}) if others else qs


class JobFilter(django_filters.FilterSet):
    state = AnyOf(choices=JobState.choices)
    operation = django_filters.CharFilter(max_length=64)
    queue = django_filters.ChoiceFilter(choices=JobQueue.choices)
    batch = django_filters.UUIDFilter()
    catalogue = django_filters.CharFilter(max_length=64)
    object_pk = django_filters.CharFilter(max_length=255)
    error_code = django_filters.CharFilter(max_length=64)
    created_after = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")
    mine = YesNo(method="only_mine", label="Only jobs of the caller.")

    class Meta:
        model = Job
        fields: list[str] = []

    def only_mine(self, queryset: QuerySet[Job], name: str, value: bool) -> QuerySet[Job]:
        """Jobs of the caller when true; no narrowing when false."""
        return queryset.filter(created_by=self.request.user) if value else queryset


class ImageFilter(django_filters.FilterSet):
    state = AnyOf(choices=ImageState.choices)
    kind = django_filters.ChoiceFilter(choices=ImageKind.choices)
    catalogue = django_filters.CharFilter(max_length=64)
    object_pk = django_filters.CharFilter(max_length=255)
    category = django_filters.CharFilter(max_length=100)
    operation = django_filters.CharFilter(max_length=64)
    digital_source = django_filters.ChoiceFilter(choices=[pair for pair in DigitalSource.choices if pair[0]])
    sha256 = django_filters.CharFilter(max_length=64)
    job = django_filters.UUIDFilter(field_name="job_id")
    batch = django_filters.UUIDFilter(field_name="job__batch")
    created_after = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = ProductImage
        fields: list[str] = []


class TextFilter(django_filters.FilterSet):
    state = AnyOf(choices=TextState.choices)
    kind = AnyOf(choices=TextKind.choices)
    language = django_filters.CharFilter(max_length=16)
    catalogue = django_filters.CharFilter(max_length=64)
    object_pk = django_filters.CharFilter(max_length=255)
    image = django_filters.UUIDFilter(field_name="image_id")
    job = django_filters.UUIDFilter(field_name="job_id")
    batch = django_filters.UUIDFilter(field_name="job__batch")

    class Meta:
        model = TextSuggestion
        fields: list[str] = []


class ModelFilter(django_filters.FilterSet):
    purpose = django_filters.CharFilter(max_length=64)
    category = django_filters.CharFilter(max_length=100)
    name = django_filters.CharFilter(max_length=100)
    is_active = YesNo()

    class Meta:
        model = ModelVersion
        fields: list[str] = []


class RunFilter(django_filters.FilterSet):
    state = AnyOf(choices=RunState.choices)
    name = django_filters.CharFilter(max_length=100)
    category = django_filters.CharFilter(max_length=100)

    class Meta:
        model = TrainingRun
        fields: list[str] = []
