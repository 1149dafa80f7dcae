"""Recipes: read them, save them, send them elsewhere."""

from __future__ import annotations

from typing import Any

from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.response import Response

from shopgen_django import models
from shopgen_django.api.base import ApiViewSet
from shopgen_django.api.pagination import WholeList
from shopgen_django.api.serializers.recipes import RecipeChangeSerializer, RecipeCreateSerializer, RecipeSerializer
from shopgen_django.exceptions import InvalidParameters, InvalidState
from shopgen_django.services.recipes import (
    Recipe,
    all_recipes,
    create_recipe,
    delete_recipe,
    get_recipe,
    saved_recipe,
    update_recipe,
)

_NEEDED = ("submit_job", "view_recipe", "add_recipe", "change_recipe", "delete_recipe")


class RecipeViewSet(ApiViewSet):
    """The shop's recipes and the built-in ones. Whoever may queue jobs may read them."""

    verbs = {
        "list": _NEEDED, "retrieve": _NEEDED, "create": ("add_recipe",), "update": ("change_recipe",),
        "destroy": ("delete_recipe",),
    }
    serializer_class = RecipeSerializer
    pagination_class = WholeList

    def list(self, request: Request) -> Response:
        return self.get_paginated_response([self._shown(recipe) for recipe in all_recipes()])

    def retrieve(self, request: Request, name: str) -> HttpResponseBase:
        return self.conditional(self._shown(get_recipe(name)))

    def create(self, request: Request) -> Response:
        given = self._given(RecipeCreateSerializer)
        given.pop("version", None)
        shown = self._shown(create_recipe(**given, user=request.user))
        return Response(shown, status=201, headers={"Location": shown["url"]})

    def update(self, request: Request, name: str) -> Response:
        row = self._row(name)
        given = self._given(RecipeChangeSerializer, name=name)
        return Response(self._shown(update_recipe(recipe=row, **given, user=request.user)))

    def destroy(self, request: Request, name: str) -> Response:
        delete_recipe(recipe=self._row(name), user=request.user)
        return Response(status=204)

    def _given(self, kind: Any, *, name: str = "") -> dict[str, Any]:
        data = self.request.data
        if name and isinstance(data, dict) and "name" in data:
            if data["name"] != name:
                text = _("The name of a recipe can't be changed. Save it under the new name, then delete this one.")
                raise InvalidParameters(text, fields={"name": [text]})
            data = {key: value for key, value in data.items() if key != "name"}
        body = kind(data=data)
        body.is_valid(raise_exception=True)
        return dict(body.validated_data)

    def _row(self, name: str) -> models.Recipe:
        row = saved_recipe(name)
        if row is None:
            get_recipe(name)  # 404 unless it is a built-in one
            raise InvalidState(_("A built-in recipe can't be changed. Save a copy under a name of your own."))
        return row

    def _shown(self, recipe: Recipe) -> dict[str, Any]:
        row = recipe.row
        values: dict[str, Any] = {
            **recipe.as_dict(), "built_in": recipe.built_in, "version": 0, "created_by": None, "created_at": None,
            "updated_at": None, "url": self.link("recipe-detail", name=recipe.name),
        }
        if row is not None:
            values |= {name: getattr(row, name) for name in ("version", "created_by", "created_at", "updated_at")}
        return dict(self.get_serializer(values).data)
