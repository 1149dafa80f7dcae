"""Routes. Every address is under ``v1/``; a change that breaks clients gets a ``v2/`` beside it."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path, re_path

from .views.batch import BatchViewSet
from .views.budgets import BudgetViewSet
from .views.fallback import UnknownRoute
from .views.images import ImageViewSet
from .views.jobs import JobViewSet
from .views.large_models import LargeModelViewSet
from .views.models import ModelViewSet, TrainingRunViewSet
from .views.operations import OperationViewSet
from .views.recipes import RecipeViewSet
from .views.service import HealthViewSet, SchemaViewSet
from .views.suggestions import SuggestionViewSet
from .views.words import WordsViewSet

app_name = "shopgen-api"

v1: list[URLPattern | URLResolver] = [
    path("operations/", OperationViewSet.as_view({"get": "list"}), name="operation-list"),
    path("operations/<slug:name>/", OperationViewSet.as_view({"get": "retrieve"}), name="operation-detail"),
    path("operations/<slug:name>/words/", WordsViewSet.as_view({"post": "create"}), name="operation-words"),
    path("recipes/", RecipeViewSet.as_view({"get": "list", "post": "create"}), name="recipe-list"),
    path(
        "recipes/<slug:name>/",
        RecipeViewSet.as_view({"get": "retrieve", "put": "update", "delete": "destroy"}), name="recipe-detail",
    ),
    path("images/", ImageViewSet.as_view({"get": "list", "post": "create"}), name="image-list"),
    path("images/<uuid:pk>/", ImageViewSet.as_view({"get": "retrieve"}), name="image-detail"),
    path("images/<uuid:pk>/lineage/", ImageViewSet.as_view({"get": "lineage"}), name="image-lineage"),
    path("images/<uuid:pk>/content/", ImageViewSet.as_view({"get": "content"}), name="image-content"),
    path("images/<uuid:pk>/review/", ImageViewSet.as_view({"post": "review"}), name="image-review"),
    path("images/<uuid:pk>/publish/", ImageViewSet.as_view({"post": "publish"}), name="image-publish"),
    path("images/<uuid:pk>/withdraw/", ImageViewSet.as_view({"post": "withdraw"}), name="image-withdraw"),
    path("suggestions/", SuggestionViewSet.as_view({"get": "list"}), name="suggestion-list"),
    path(
        "suggestions/<uuid:pk>/", SuggestionViewSet.as_view({"get": "retrieve", "patch": "partial_update"}),
        name="suggestion-detail",
    ),
    path("suggestions/<uuid:pk>/review/", SuggestionViewSet.as_view({"post": "review"}), name="suggestion-review"),
    path("suggestions/<uuid:pk>/publish/", SuggestionViewSet.as_view({"post": "publish"}), name="suggestion-publish"),
    path(
        "suggestions/<uuid:pk>/withdraw/", SuggestionViewSet.as_view({"post": "withdraw"}), name="suggestion-withdraw"
    ),
    path("jobs/", JobViewSet.as_view({"get": "list", "post": "create"}), name="job-list"),
    path("jobs/batch/", BatchViewSet.as_view({"post": "create"}), name="job-batch"),
    path("jobs/<uuid:pk>/", JobViewSet.as_view({"get": "retrieve"}), name="job-detail"),
    path("jobs/<uuid:pk>/cancel/", JobViewSet.as_view({"post": "cancel"}), name="job-cancel"),
    path("jobs/<uuid:pk>/retry/", JobViewSet.as_view({"post": "retry"}), name="job-retry"),
    path("budgets/", BudgetViewSet.as_view({"get": "list"}), name="budget-list"),
    path("models/", ModelViewSet.as_view({"get": "list"}), name="model-list"),
    path("models/<uuid:pk>/", ModelViewSet.as_view({"get": "retrieve"}), name="model-detail"),
    path("models/<uuid:pk>/activate/", ModelViewSet.as_view({"post": "activate"}), name="model-activate"),
    path("large-models/", LargeModelViewSet.as_view({"get": "list", "post": "create"}), name="large-model-list"),
    path(
        "large-models/<str:name>/", LargeModelViewSet.as_view({"get": "retrieve", "delete": "destroy"}),
        name="large-model-detail",
    ),
    path("large-models/<str:name>/verify/", LargeModelViewSet.as_view({"post": "verify"}), name="large-model-verify"),
    path("training-runs/", TrainingRunViewSet.as_view({"get": "list", "post": "create"}), name="run-list"),
    path(
        "training-runs/<uuid:pk>/", TrainingRunViewSet.as_view({"get": "retrieve", "delete": "destroy"}),
        name="run-detail",
    ),
    path("training-runs/<uuid:pk>/start/", TrainingRunViewSet.as_view({"post": "start"}), name="run-start"),
    path("training-runs/<uuid:pk>/stop/", TrainingRunViewSet.as_view({"post": "stop"}), name="run-stop"),
    path("training-runs/<uuid:pk>/resume/", TrainingRunViewSet.as_view({"post": "resume"}), name="run-resume"),
    path("training-runs/<uuid:pk>/points/", TrainingRunViewSet.as_view({"get": "points"}), name="run-points"),
    path("health/", HealthViewSet.as_view({"get": "retrieve"}), name="health"),
    path("schema/", SchemaViewSet.as_view({"get": "retrieve"}), name="schema"),
    re_path(r"", UnknownRoute.as_view(dict.fromkeys(UnknownRoute.methods, "unknown")), name="unknown"),
]

urlpatterns: list[URLPattern | URLResolver] = [path("v1/", include(v1))]
