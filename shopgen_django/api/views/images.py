"""Pictures: upload, look, decide, publish, take back."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Prefetch, QuerySet
from django.http import FileResponse, HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.response import Response

from shopgen_django.api.base import ApiViewSet, StrictJSONRenderer
from shopgen_django.api.errors import ApiError
from shopgen_django.api.filters import ImageFilter, StrictFilterBackend
from shopgen_django.api.lineage import lineage
from shopgen_django.api.parsers import StrictJSONParser, UploadParser, limit_upload
from shopgen_django.api.serializers.images import (
    ImageDetailSerializer,
    ImageSerializer,
    PublicationSerializer,
    PublishRequestSerializer,
    ReviewRequestSerializer,
    UploadSerializer,
    WithdrawRequestSerializer,
)
from shopgen_django.exceptions import FileMissing, InvalidParameters
from shopgen_django.models import DigitalSource, Job, ProductImage, Publication, Review, ReviewDecision
from shopgen_django.services.intake import submit_upload
from shopgen_django.services.publishing import publish_image, withdraw_image
from shopgen_django.services.review import approve, reject
from shopgen_django.storage import EXTENSIONS

from .jobs import accepted, idempotency_key


class ImageViewSet(ApiViewSet):
    """Callers see the pictures that they made; with ``view_productimage`` everybody's."""

    verbs = {
        "list": (),
        "retrieve": (),
        "lineage": (),
        "content": (),
        "create": ("add_productimage",),
        "review": ("review_productimage",),
        "publish": ("publish_productimage",),
        "withdraw": ("withdraw_productimage",),
    }
    scopes = {"create": "uploads"}
    serializer_class = ImageSerializer
    filter_backends = (StrictFilterBackend,)
    filterset_class = ImageFilter
    orderings = ("-created_at", "created_at")
    split_by = "state"

    def get_queryset(self) -> QuerySet[ProductImage]:
        if getattr(self, "swagger_fake_view", False):
            return ProductImage.objects.none()
        return image_rows(self.request.user, detail=self.action != "list")

    def get_parsers(self) -> list[Any]:
        # Asked for before the action is known; only the list address takes uploads.
        return [UploadParser()] if self._takes_uploads() else [StrictJSONParser()]

    def _takes_uploads(self) -> bool:
        actions = getattr(self, "action_map", None) or {}
        return actions.get("post") == "create"

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        made = super().initialize_request(request, *args, **kwargs)
        self._limited = not (self._takes_uploads() and request.method == "POST")
        return made

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if not self._limited:
            # Before the CSRF check of session authentication, which reads the form.
            limit_upload(request._request)
            self._limited = True
        super().initial(request, *args, **kwargs)

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        if self.action == "content":
            # "Accept: image/*" asks for the file itself; errors stay JSON.
            renderer = StrictJSONRenderer()
            return renderer, renderer.media_type
        return super().perform_content_negotiation(request, force)

    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def retrieve(self, request: Request, pk: UUID) -> HttpResponseBase:
        return self.conditional(self._shown(self.get_object()))

    def create(self, request: Request) -> Response:
        body = UploadSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        job, created = self._queued(body.validated_data, idempotency_key(request))
        return accepted(self, job, replayed=not created)

    def _queued(self, given: dict[str, Any], key: str) -> tuple[Job, bool]:
        from shopgen_django.imaging.intake import ERROR_CODES

        try:
            return submit_upload(
                source=given["file"].file,
                name=str(given["file"].name or ""),
                catalogue=given.get("catalogue", ""),
                object_pk=given.get("object_pk", ""),
                category=given.get("category", ""),
                alt_text=given.get("alt_text", ""),
                digital_source=given.get("digital_source", DigitalSource.UNKNOWN),
                user=self.request.user,
                idempotency_key=key,
            )
        except InvalidParameters as error:
            if error.code not in ERROR_CODES:
                raise
            # The request was well formed; it is the picture that can't be taken.
            status = 413 if error.code == "too_large" else 422
            raise ApiError(status, error.code, error.message, fields=error.fields) from error

    def lineage(self, request: Request, pk: UUID) -> Response:
        return Response(lineage(self.get_object(), request.user, self.link))

    def content(self, request: Request, pk: UUID) -> HttpResponseBase:
        image = self.get_object()
        tag = f'"{image.sha256}"'
        answer: Any = get_conditional_response(request._request, etag=tag)
        if answer is None:
            try:
                handle = image.file.storage.open(str(image.file.name), "rb")
            except FileNotFoundError as error:
                raise FileMissing(_("The stored file of this picture is missing.")) from error
            name = f"{image.pk}.{EXTENSIONS.get(image.format, 'bin')}"
            answer = FileResponse(handle, content_type=image.content_type_header, filename=name)
            answer["ETag"] = tag
        # Opened as a page of its own it may run nothing and fetch nothing, whatever it holds.
        answer["Content-Security-Policy"] = "default-src 'none'; sandbox"
        answer["Cross-Origin-Resource-Policy"] = "same-site"
        answer["Cache-Control"] = "private, no-store" if image.personal else "private, max-age=300"
        return answer

    def review(self, request: Request, pk: UUID) -> Response:
        given = self._body(ReviewRequestSerializer)
        image, reason = self.get_object(), given.get("reason", "")
        decide = approve if given["decision"] == ReviewDecision.APPROVED else reject
        decide(image=image, user=request.user, reason=reason)
        return Response(self._shown(self.get_object()))

    def publish(self, request: Request, pk: UUID) -> Response:
        given = self._body(PublishRequestSerializer)
        publication = publish_image(image=self.get_object(), user=request.user, placement=given["placement"])
        return Response(self._published(publication), status=201)

    def withdraw(self, request: Request, pk: UUID) -> Response:
        given = self._body(WithdrawRequestSerializer)
        publication = withdraw_image(image=self.get_object(), user=request.user, note=given.get("note", ""))
        return Response(self._published(publication))

    def _body(self, kind: type[Any]) -> dict[str, Any]:
        body = kind(data=self.request.data)
        body.is_valid(raise_exception=True)
        return dict(body.validated_data)

    def _shown(self, image: ProductImage) -> Any:
        return ImageDetailSerializer(image, context=self.get_serializer_context()).data

    def _published(self, publication: Publication) -> Any:
        return PublicationSerializer(publication, context=self.get_serializer_context()).data


def image_rows(user: Any, *, detail: bool = False) -> QuerySet[ProductImage]:
    """The pictures that ``user`` may see, with what their serializer reads, in a fixed number of queries."""
    rows = (
        ProductImage.objects.visible_to(user)
        .select_related("created_by")
        .prefetch_related(
            Prefetch("parents", queryset=ProductImage.objects.only("id").order_by()), "measurements"
        )
    )
    if detail:
        rows = rows.prefetch_related(
            Prefetch("reviews", queryset=Review.objects.select_related("reviewer")),
            Prefetch("publications", queryset=Publication.objects.select_related("published_by", "withdrawn_by")),
        )
    return rows
