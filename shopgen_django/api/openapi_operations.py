"""The operations of the API in words: one entry per route and method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter

from .serializers.batch import BatchAnswerSerializer, BatchPlanSerializer, BatchSerializer
from .serializers.budgets import BudgetSerializer
from .serializers.images import (
    ImageDetailSerializer,
    ImageSerializer,
    LineageSerializer,
    PublicationSerializer,
    PublishRequestSerializer,
    ReviewRequestSerializer,
    UploadSerializer,
    WithdrawRequestSerializer,
)
from .serializers.jobs import JobCreateSerializer, JobSerializer
from .serializers.large_models import LargeModelCreateSerializer, LargeModelSerializer, ModelRequestSerializer
from .serializers.models import (
    HealthSerializer,
    MetricPointSerializer,
    ModelSerializer,
    OperationSerializer,
    TrainingRunSerializer,
)
from .serializers.recipes import RecipeChangeSerializer, RecipeCreateSerializer, RecipeSerializer
from .serializers.suggestions import SuggestionSerializer, TextChangeSerializer, TextDecisionSerializer
from .serializers.trainings import TrainingCreateSerializer, TrainingResumeSerializer
from .serializers.words import WordsAnswerSerializer, WordsRequestSerializer

_JSON = ("application/json",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One operation. ``responses``: status -> (serializer or None, text); ``errors``: further statuses."""

    id: str
    tag: str
    summary: str
    responses: Mapping[int, tuple[Any, str]]
    description: str = ""
    request: Any = None
    errors: tuple[int, ...] = ()
    parameters: tuple[OpenApiParameter, ...] = ()
    headers: tuple[str, ...] = ()
    paged: bool = False
    media_types: tuple[str, ...] = field(default=_JSON)


_COMMON = (401, 403, 429)
_OBJECT = (401, 403, 404, 429)


def _list(name: str, tag: str, summary: str, kind: Any, description: str = "", **more: Any) -> Described:
    more.setdefault("errors", (400, *_COMMON))
    return Described(
        id=name, tag=tag, summary=summary, description=description, responses={200: (kind, "One page.")}, paged=True,
        **more,
    )


def _detail(name: str, tag: str, summary: str, kind: Any, description: str = "") -> Described:
    return Described(
        id=name, tag=tag, summary=summary, description=description, headers=("ETag",), errors=_OBJECT,
        responses={200: (kind, ""), 304: (None, "Not changed since the ETag in If-None-Match.")},
    )


_KEY = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER,
    description="1 to 255 printable characters of the client's choice. Sent again with the same body it gives the "
    "same answer and queues nothing; with another body it is refused (409).",
)
_NAME = OpenApiParameter("name", str, OpenApiParameter.PATH, description="The operation's name.")
_RECIPE = OpenApiParameter("name", str, OpenApiParameter.PATH, description="The recipe's name.")
_MODEL = OpenApiParameter("name", str, OpenApiParameter.PATH, description="The model's name.")
_AFTER = OpenApiParameter(
    "after", {"type": "integer", "minimum": 0}, description="Only points beyond this number of images seen."
)

OPERATIONS: dict[tuple[str, str], Described] = {
    ("OperationViewSet", "list"): _list(
        "operations_list", "operations", "What a job can do", OperationSerializer(many=True), errors=_COMMON
    ),
    ("OperationViewSet", "retrieve"): Described(
        id="operations_retrieve", tag="operations", summary="One operation with the JSON schema of its parameters",
        responses={200: (OperationSerializer, "")}, errors=_OBJECT, parameters=(_NAME,),
    ),
    ("WordsViewSet", "create"): Described(
        id="operations_words", tag="operations", summary="What a model would read, before anything is queued",
        description="Takes the body with which the work would be queued and answers, for each job, the words with "
        "presets, placeholders and trigger words in their places, and their end that the model would not read. Nothing "
        "is written.",
        request=WordsRequestSerializer, responses={200: (WordsAnswerSerializer, "")}, parameters=(_NAME,),
        errors=(400, *_OBJECT, 409, 413, 422),
    ),
    ("RecipeViewSet", "list"): _list(
        "recipes_list", "recipes", "Chains of operations under a name", RecipeSerializer(many=True),
        "The shop's own and those that come with the app (`built_in`, which can't be changed). Queue one as "
        '`{"operation": "recipe", "params": {"recipe": NAME}}`.', errors=_COMMON,
    ),
    ("RecipeViewSet", "create"): Described(
        id="recipes_create", tag="recipes", summary="Save a recipe", request=RecipeCreateSerializer,
        responses={201: (RecipeSerializer, "Saved.")}, errors=(400, *_COMMON, 409, 413), headers=("Location",),
        description="Each step is checked by its operation. What another shop's `GET` has answered is taken as it is.",
    ),
    ("RecipeViewSet", "retrieve"): Described(
        id="recipes_retrieve", tag="recipes", summary="One recipe as JSON, to keep or to send elsewhere",
        responses={200: (RecipeSerializer, ""), 304: (None, "Not changed since the ETag in If-None-Match.")},
        errors=_OBJECT, parameters=(_RECIPE,), headers=("ETag",),
    ),
    ("RecipeViewSet", "update"): Described(
        id="recipes_update", tag="recipes", summary="Change a recipe", request=RecipeChangeSerializer,
        description="With `version`, the one that was read, a change that somebody else has made since is not "
        "overwritten (409). Jobs that wait keep the steps that they were queued with.",
        responses={200: (RecipeSerializer, "")}, errors=(400, *_OBJECT, 409, 413), parameters=(_RECIPE,),
    ),
    ("RecipeViewSet", "destroy"): Described(
        id="recipes_delete", tag="recipes", summary="Delete a recipe", responses={204: (None, "Gone.")},
        errors=(*_OBJECT, 409), parameters=(_RECIPE,),
    ),
    ("ImageViewSet", "list"): _list(
        "images_list", "images", "Pictures", ImageSerializer(many=True),
        "Callers see the pictures that they made; with the permission `view_productimage` everybody's.",
    ),
    ("ImageViewSet", "create"): Described(
        id="images_upload", tag="images", summary="Upload a photo", request={"multipart/form-data": UploadSerializer},
        description="The file is examined without being decoded; one that can't be taken is refused at once and leaves "
        "nothing behind. A worker then decodes it within a time and a memory limit and encodes it anew without "
        "metadata: follow `status_url` until the job has succeeded; its `images` holds the picture's id. The same "
        "picture for the same product is stored once: the id of the existing one comes back.",
        responses={202: (JobSerializer, "Kept, and queued to be taken in.")},
        errors=(400, *_OBJECT, 409, 413, 422, 507), parameters=(_KEY,), headers=("Location",),
    ),
    ("ImageViewSet", "retrieve"): _detail(
        "images_retrieve", "images", "One picture with its reviews and publications", ImageDetailSerializer
    ),
    ("ImageViewSet", "lineage"): Described(
        id="images_lineage", tag="images", summary="What it was made from, and what was made from it",
        responses={200: (LineageSerializer, "")}, errors=_OBJECT,
    ),
    ("ImageViewSet", "content"): Described(
        id="images_content", tag="images", summary="The picture file itself",
        responses={200: (OpenApiTypes.BINARY, "The bytes."), 304: (None, "Not changed.")}, errors=(*_OBJECT, 410),
        headers=("ETag",), media_types=("image/png", "image/jpeg", "image/webp"),
    ),
    ("ImageViewSet", "review"): Described(
        id="images_review", tag="images", summary="Approve or reject a picture that waits for review",
        request=ReviewRequestSerializer, responses={200: (ImageDetailSerializer, "")}, errors=(400, *_OBJECT, 409),
    ),
    ("ImageViewSet", "publish"): Described(
        id="images_publish", tag="images", summary="Put an approved picture into the shop",
        request=PublishRequestSerializer, responses={201: (PublicationSerializer, "It stands in the shop.")},
        errors=(400, *_OBJECT, 409, 410, 422, 507),
    ),
    ("ImageViewSet", "withdraw"): Described(
        id="images_withdraw", tag="images", summary="Take a published picture back",
        description="What stood there before comes back; `withdraw_outcome` says what happened to the shop.",
        request=WithdrawRequestSerializer, responses={200: (PublicationSerializer, "")},
        errors=(400, *_OBJECT, 409, 422),
    ),
    ("SuggestionViewSet", "list"): _list(
        "suggestions_list", "suggestions", "Texts that models have proposed", SuggestionSerializer(many=True),
        "Made by jobs of the operation `describe`. Callers see those that they asked for; with the permission "
        "`view_textsuggestion` everybody's.",
    ),
    ("SuggestionViewSet", "retrieve"): _detail(
        "suggestions_retrieve", "suggestions", "One proposed text", SuggestionSerializer
    ),
    ("SuggestionViewSet", "partial_update"): Described(
        id="suggestions_change", tag="suggestions", summary="Change a text that waits for review",
        request=TextChangeSerializer, responses={200: (SuggestionSerializer, "")}, errors=(400, *_OBJECT, 409, 413),
    ),
    ("SuggestionViewSet", "review"): Described(
        id="suggestions_review", tag="suggestions", summary="Approve or reject a text, and put it into the shop",
        request=TextDecisionSerializer, responses={200: (SuggestionSerializer, "")},
        errors=(400, *_OBJECT, 409, 413, 422),
    ),
    ("SuggestionViewSet", "publish"): Described(
        id="suggestions_publish", tag="suggestions", summary="Put an approved text into the shop",
        responses={200: (SuggestionSerializer, "It stands in the shop.")}, errors=(*_OBJECT, 409, 422),
    ),
    ("SuggestionViewSet", "withdraw"): Described(
        id="suggestions_withdraw", tag="suggestions", summary="Take a text back from the shop",
        description="What stood there before comes back, unless somebody has changed it since: see "
        "`withdraw_outcome`.",
        responses={200: (SuggestionSerializer, "")}, errors=(*_OBJECT, 409, 422),
    ),
    ("JobViewSet", "list"): _list(
        "jobs_list", "jobs", "Jobs", JobSerializer(many=True),
        "Callers see their own jobs; with the permission `view_job` everybody's.",
    ),
    ("JobViewSet", "create"): Described(
        id="jobs_create", tag="jobs", summary="Queue a job", request=JobCreateSerializer,
        description="`params` is a free object here: its JSON schema depends on the operation and stands under "
        "`/operations/{name}/`.",
        responses={202: (JobSerializer, "Queued; follow `status_url`.")}, errors=(400, *_OBJECT, 409, 413),
        parameters=(_KEY,), headers=("Location",),
    ),
    ("BatchViewSet", "create"): Described(
        id="jobs_batch", tag="jobs", summary="Queue one operation over many pictures or products",
        request=BatchSerializer, parameters=(_KEY,), headers=("Location",),
        description="With `dry_run` nothing is written: the answer counts the jobs, estimates them and names every "
        "item that can't be queued. Without it all jobs are queued or none.",
        responses={200: (BatchPlanSerializer, "A dry run."), 202: (BatchAnswerSerializer, "Queued.")},
        errors=(400, *_OBJECT, 409, 413, 422),
    ),
    ("JobViewSet", "retrieve"): _detail(
        "jobs_retrieve", "jobs", "One job", JobSerializer,
        "Poll with If-None-Match: 304 costs little and says that nothing has changed.",
    ),
    ("JobViewSet", "cancel"): Described(
        id="jobs_cancel", tag="jobs", summary="Cancel a job",
        responses={200: (JobSerializer, "Cancelled."), 202: (JobSerializer, "Running: it stops at its next step.")},
        errors=(*_OBJECT, 409),
    ),
    ("JobViewSet", "retry"): Described(
        id="jobs_retry", tag="jobs", summary="Queue a failed or cancelled job again",
        responses={202: (JobSerializer, "Queued.")}, errors=(*_OBJECT, 409), headers=("Location",),
    ),
    ("BudgetViewSet", "list"): _list(
        "budgets_list", "jobs", "What may be spent, and what is left of it", BudgetSerializer(many=True),
        "Those that pay for the caller's work; with the permission `view_job` all. A request that a budget does not "
        "pay for gets 429 with the code `budget_spent`, `Retry-After` until it renews, and its figures in `fields`.",
        errors=_COMMON,
    ),
    ("ModelViewSet", "list"): _list("models_list", "models", "Model versions", ModelSerializer(many=True)),
    ("ModelViewSet", "retrieve"): _detail("models_retrieve", "models", "One model version", ModelSerializer),
    ("ModelViewSet", "activate"): Described(
        id="models_activate", tag="models", summary="Make it the active version of its purpose and category",
        responses={200: (ModelSerializer, "")}, errors=(*_OBJECT, 409),
    ),
    ("LargeModelViewSet", "list"): _list(
        "large_models_list", "large models", "Large models and networks", LargeModelSerializer(many=True),
        "Those that the shop has added and those that ship. What other machines have is told as they reported it.",
        errors=_COMMON,
    ),
    ("LargeModelViewSet", "create"): Described(
        id="large_models_add", tag="large models", summary="Add a model from a folder of the server",
        request=LargeModelCreateSerializer, errors=(400, *_COMMON, 409, 413), headers=("Location",),
        description="A worker looks at the files, refuses what could run code, hashes the rest and gives the folder "
        "its name. The same request while the first is under way gives the same answer.",
        responses={202: (ModelRequestSerializer, "A worker is asked; follow `status_url`.")},
    ),
    ("LargeModelViewSet", "retrieve"): Described(
        id="large_models_retrieve", tag="large models", summary="One model",
        responses={200: (LargeModelSerializer, ""), 304: (None, "Not changed since the ETag in If-None-Match.")},
        errors=_OBJECT, parameters=(_MODEL,), headers=("ETag",),
    ),
    ("LargeModelViewSet", "verify"): Described(
        id="large_models_verify", tag="large models", summary="Hash its files and compare them",
        responses={202: (ModelRequestSerializer, "A worker is asked; the model shows the result.")},
        errors=(*_OBJECT, 409), parameters=(_MODEL,), headers=("Location",),
    ),
    ("LargeModelViewSet", "destroy"): Described(
        id="large_models_remove", tag="large models", summary="Take its name away; a large model's folder stays",
        responses={202: (ModelRequestSerializer, "A worker is asked.")},
        errors=(*_OBJECT, 409), parameters=(_MODEL,), headers=("Location",),
    ),
    ("HealthViewSet", "retrieve"): Described(
        id="health_retrieve", tag="service", summary="Whether jobs are being worked on (staff only)",
        responses={200: (HealthSerializer, "")}, errors=_COMMON,
    ),
    ("TrainingRunViewSet", "list"): _list(
        "training_runs_list", "training runs", "Training runs", TrainingRunSerializer(many=True)
    ),
    ("TrainingRunViewSet", "retrieve"): _detail(
        "training_runs_retrieve", "training runs", "One training run", TrainingRunSerializer
    ),
    ("TrainingRunViewSet", "create"): Described(
        id="training_runs_create", tag="training runs", summary="Ask for a training", request=TrainingCreateSerializer,
        description="A worker estimates it (`estimate`, state `planned`); then start it. With `start` it "
        "trains at once.",
        responses={202: (TrainingRunSerializer, "Taken.")}, errors=(400, *_COMMON, 413), headers=("Location",),
    ),
    ("TrainingRunViewSet", "start"): Described(
        id="training_runs_start", tag="training runs", summary="Start a planned training",
        responses={202: (TrainingRunSerializer, "It starts as soon as a worker is free.")}, errors=(*_OBJECT, 409),
        headers=("Location",),
    ),
    ("TrainingRunViewSet", "stop"): Described(
        id="training_runs_stop", tag="training runs", summary="Save and stop, on whatever machine it runs",
        responses={202: (TrainingRunSerializer, "It stops within seconds.")}, errors=(*_OBJECT, 409),
        headers=("Location",),
    ),
    ("TrainingRunViewSet", "resume"): Described(
        id="training_runs_resume", tag="training runs", summary="Go on from the last snapshot, or train further",
        request=TrainingResumeSerializer, errors=(400, *_OBJECT, 409, 413), headers=("Location",),
        responses={202: (TrainingRunSerializer, "It goes on as soon as a worker is free.")},
    ),
    ("TrainingRunViewSet", "destroy"): Described(
        id="training_runs_discard", tag="training runs", summary="Discard a run with its files",
        responses={204: (None, "Gone.")}, errors=(*_OBJECT, 409),
    ),
    ("TrainingRunViewSet", "points"): _list(
        "training_runs_points", "training runs", "Its figures over time", MetricPointSerializer(many=True),
        parameters=(_AFTER,), errors=(400, *_OBJECT),
    ),
}
