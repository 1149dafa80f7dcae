"""The final words of work that is not yet queued."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.response import Response

from shopgen_django.api.errors import ApiError
from shopgen_django.api.serializers.batch import SELECTIONS
from shopgen_django.api.serializers.words import WordsRequestSerializer
from shopgen_django.operations.base import Words
from shopgen_django.operations.words import Passage
from shopgen_django.services.batch import BatchItem, plan_batch
from shopgen_django.services.submit import choosable, plan_job, require_permission
from shopgen_django.services.words import words_of

from .batch import BatchViewSet, shown_problems
from .jobs import visible_images


class WordsViewSet(BatchViewSet):
    """Presets, placeholders and trigger words in their places, and what the model would not read. Writes nothing."""

    verbs = {"create": ("submit_job",)}
    scopes = {"create": "writes"}
    serializer_class = WordsRequestSerializer

    def create(self, request: Request, name: str = "") -> Response:
        chosen = choosable(name)
        require_permission(chosen, request.user)
        body = WordsRequestSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        given = {**body.validated_data, "operation": name}
        if body.validated_data.get("operation", name) != name:
            text = _("The address names another operation.")
            raise ApiError(400, "invalid_parameters", text, fields={"operation": [text]})
        params = given.get("params")
        for part in chosen.parts(chosen.clean(chosen.Parameters.parse(params))):
            require_permission(part, request.user)
        if any(selection in given for selection in SELECTIONS):
            items, problems = self._items(given)
            plan = plan_batch(operation=name, params=params, items=items)
            named, planned, problems = list(plan.items), list(plan.planned), problems + list(plan.problems)
        else:
            named, problems = [BatchItem(name=given.get("object_pk", ""))], []
            planned = [
                plan_job(
                    operation=name, params=params, inputs=visible_images(request.user, given.get("inputs", ())),
                    catalogue=given.get("catalogue", ""), object_pk=given.get("object_pk", ""),
                )
            ]
        found = words_of(planned)
        targets = [
            {"item": item.name, "words": [_shown(each) for each in words]}
            for item, words in zip(named, found, strict=True)
        ]
        cut = sum(any(each.is_cut for each in words) for words in found)
        return Response({"targets": targets, "cut": cut, "problems": shown_problems(problems)})


def _shown(words: Words) -> dict[str, Any]:
    return {
        "step": str(words.step), "prompt": _passage(words.prompt), "negative": _passage(words.negative),
        "negative_heeded": words.negative_heeded, "untold": words.untold,
    }


def _passage(passage: Passage) -> dict[str, str | None]:
    left = passage.unread
    return {
        "text": passage.text, "cut": None if left is None else left.cut, "partly": None if left is None else left.partly
    }
