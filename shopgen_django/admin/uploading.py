"""The page that takes photos from somebody's own computer: kept as they are, taken in by a worker."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from shopgen_django.conf import app_settings
from shopgen_django.exceptions import ShopgenError
from shopgen_django.services.intake import submit_upload

from .base import ShopgenAdmin
from .image_form import find_product
from .picking import usable_catalogues
from .status import worker_warnings

MAX_FILES = 100
"""As many as Django reads from one form (DATA_UPLOAD_MAX_NUMBER_FILES)."""


class FilesInput(forms.ClearableFileInput):
    allow_multiple_selected = True


class FilesField(forms.FileField):
    """One or more files; the cleaned value is a list."""

    widget = FilesInput(attrs={"accept": "image/jpeg,image/png,image/webp"})

    def clean(self, data: Any, initial: Any = None) -> list[UploadedFile]:
        # None where there is none, so that a required field says so.
        files = (data or [None]) if isinstance(data, list | tuple) else [data]
        return [super(FilesField, self).clean(file, initial) for file in files]


class UploadForm(forms.Form):
    """Photos of one product, or of none in particular."""

    files: Any = FilesField(
        label=gettext_lazy("Photos"), allow_empty_file=True,
        help_text=gettext_lazy("JPEG, PNG or WebP; several at once if you like."),
    )
    object_pk = forms.CharField(
        label=gettext_lazy("Product’s key"), required=False, max_length=255,
        help_text=gettext_lazy(
            "Primary key of the product in the shop, or a part of its title that no other has; empty: none."
        ),
    )
    catalogue = forms.ChoiceField(label=gettext_lazy("Catalogue"), required=False)
    category = forms.CharField(label=gettext_lazy("Category"), required=False, max_length=100)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        aliases = usable_catalogues()
        self.fields["catalogue"].choices = [(alias, alias) for alias in aliases]  # type: ignore[attr-defined]
        self.initial.setdefault("catalogue", aliases[0] if aliases else "")
        if len(aliases) < 2:
            self.fields["catalogue"].widget = forms.HiddenInput()
        if not aliases:
            del self.fields["object_pk"]

    def clean_files(self) -> list[UploadedFile]:
        files = list(self.cleaned_data["files"])
        if len(files) > MAX_FILES:
            raise forms.ValidationError(_("At most %(n)d photos at a time.") % {"n": MAX_FILES})
        return files

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        key = (cleaned.get("object_pk") or "").strip()
        if key and cleaned.get("catalogue"):
            try:
                cleaned["object_pk"] = find_product(cleaned["catalogue"], key)[1].pk
            except forms.ValidationError as error:
                self.add_error("object_pk", error)
        return cleaned


def upload_page(screens: ShopgenAdmin, request: HttpRequest) -> HttpResponse:
    """Ask for photos; keep what may be taken, say of the others why not."""
    if not screens.may(request, "add_productimage"):
        raise PermissionDenied
    back = screens.next_url(request, reverse("admin:shopgen_productimage_changelist"))
    given = {name: request.GET[name] for name in ("object_pk", "catalogue") if name in request.GET}
    form = UploadForm(request.POST or None, request.FILES or None, initial=given)
    problems: list[tuple[str, str]] = []
    if request.method == "POST" and form.is_valid():
        batch, kept, problems = _keep(request, form.cleaned_data)
        if kept:
            text = ngettext(
                "%(n)d photo is uploaded. It is listed here as soon as a worker has taken it in.",
                "%(n)d photos are uploaded. They are listed here as soon as a worker has taken them in.", kept,
            ) % {"n": kept}  # fmt: skip
            messages.success(request, text)
        if kept and not problems:
            return HttpResponseRedirect(reverse("admin:shopgen_job_changelist") + f"?batch={batch}")
    context = screens.page_context(
        request, _("Upload photos"), form=form, problems=problems, next=back, warnings=worker_warnings(),
        limit=int(app_settings.LIMITS["MAX_UPLOAD_BYTES"]),
    )
    return TemplateResponse(request, "shopgen_django/admin/upload.html", context)


def _keep(request: HttpRequest, given: dict[str, Any]) -> tuple[uuid.UUID, int, list[tuple[str, str]]]:
    """The batch of the uploads, how many there are, and what could not be taken (name, reason)."""
    user: Any = request.user
    batch, kept, problems = uuid.uuid4(), 0, []
    for file in given["files"]:
        name = str(file.name or "")
        try:
            submit_upload(
                source=file.file, name=name, catalogue=given.get("catalogue") or "",
                object_pk=given.get("object_pk") or "", category=given.get("category") or "", user=user, batch=batch,
            )
        except ShopgenError as error:
            problems.append((name, str(error)))
        else:
            kept += 1
    return batch, kept, problems
