"""The page that asks for a training: which photos, for how long, what it is begun with."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.catalogues import get_catalogue
from shopgen_django.conf import app_settings
from shopgen_django.exceptions import ShopgenError
from shopgen_django.ml.config import AUTO, BASE, SCRATCH
from shopgen_django.models import ModelVersion, TrainingRun
from shopgen_django.services.trainings import MAX_PRODUCTS, Order, may_start, plan_training

from .base import ShopgenAdmin
from .display import change_url
from .picking import usable_catalogues
from .subjects import Products

SHOWN_PRODUCTS = 24
FAMILIES = (
    ("modern", gettext_lazy("makes new pictures (recommended)")),
    ("dcgan", gettext_lazy("makes new pictures, the classic network of 2015")),
    ("vae", gettext_lazy("makes new pictures by redrawing photos: safe, but soft")),
    ("denoiser", gettext_lazy("takes noise out of photos")),
)
SIZES = tuple((str(side), f"{side} px") for side in (32, 64, 96, 128, 256))


class TrainingForm(forms.Form):
    """What a person decides; all the rest the trainer chooses by the photos and the machine."""

    name = forms.CharField(
        label=gettext_lazy("Name"), max_length=100, widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text=gettext_lazy("What the model will be called. A second training of that name is its next version."),
    )
    category = forms.MultipleChoiceField(
        label=gettext_lazy("Categories"), required=False, widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy("None ticked: all. A model of a single category serves that category only."),
    )
    minutes = forms.FloatField(
        label=gettext_lazy("Minutes"), min_value=0.1, initial=30,
        help_text=gettext_lazy("How long it trains. It can be stopped at any time, and trained further later."),
    )
    size = forms.TypedChoiceField(
        label=gettext_lazy("Size of the pictures"), required=False, coerce=int, empty_value=None,
        choices=[("", gettext_lazy("chosen for me")), *SIZES],
        help_text=gettext_lazy("Twice the size takes four times as long and more photos."),
    )
    prepare = forms.BooleanField(
        label=gettext_lazy("Put each product on white first"), required=False,
        help_text=gettext_lazy("For phone photos with all kinds of ground: such are much harder to learn."),
    )
    flip = forms.BooleanField(
        label=gettext_lazy("Also learn from mirrored photos"), required=False, initial=True,
        help_text=gettext_lazy("Not when lettering or logos must stay readable."),
    )
    architecture = forms.ChoiceField(label=gettext_lazy("What the model does"), choices=FAMILIES)
    init = forms.ChoiceField(
        label=gettext_lazy("Begin with"),
        help_text=gettext_lazy("An earlier model of the shop learns new photos in a fraction of the time."),
    )
    dp_epsilon = forms.FloatField(
        label=gettext_lazy("Privacy budget (epsilon)"), required=False, min_value=0.01,
        help_text=gettext_lazy(
            "Empty: no differential privacy. With it no photo can be told from the model, at a great cost in quality; "
            "it needs thousands of products."
        ),
    )
    seed = forms.IntegerField(
        label=gettext_lazy("Seed"), required=False, min_value=0, max_value=2**31,
        help_text=gettext_lazy("The same seed and photos give the same model on one processor."),
    )
    activate = forms.BooleanField(
        label=gettext_lazy("Use the model as soon as it is finished"), required=False,
        help_text=gettext_lazy("Otherwise somebody chooses it after looking at its pictures."),
    )

    def __init__(self, *args: Any, alias: str, may_activate: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.alias = alias
        categories = get_catalogue(alias).categories()
        if categories:
            _offer(self.fields["category"], [(name, name) for name in categories])
        else:
            del self.fields["category"]
        if not may_activate:
            del self.fields["activate"]
        ways = [(AUTO, _("chosen for me")), (BASE, _("the generator of clothes that ships")), (SCRATCH, _("nothing"))]
        _offer(self.fields["init"], [*ways, *((name, name) for name in _models())])
        self.fields["minutes"].widget.attrs["max"] = app_settings.TRAINING["MAX_MINUTES"]

    def order(self, products: tuple[str, ...]) -> Order:
        """What the filled-in form asks for."""
        values = dict(self.cleaned_data)
        name, activate = values.pop("name"), values.pop("activate", False)
        values["prepare"] = "white" if values.pop("prepare") else "none"
        return Order(name=name, options=values, catalogue=self.alias, products=products, activate=activate)


def _offer(field: forms.Field, choices: list[tuple[str, str]]) -> None:
    assert isinstance(field, forms.ChoiceField)
    field.choices = choices


def _models() -> list[str]:
    rows = ModelVersion.objects.filter(purpose="generate", engine="generator").order_by("name")
    return [name for name in rows.values_list("name", flat=True).distinct()[:100] if name not in (AUTO, BASE, SCRATCH)]


def training_page(
    screens: ShopgenAdmin, request: HttpRequest, *, alias: str = "", products: tuple[str, ...] = (),
    came_from: str = "", opened: bool = False,
) -> HttpResponse:
    """Show the form, or take what it asks for. ``opened``: this request is not from the form itself."""
    opened = opened or "token" not in request.POST
    if not may_start(request.user):
        raise PermissionDenied
    aliases = usable_catalogues()
    if not aliases:
        messages.error(request, _("There is no catalogue to learn from: SHOPGEN[\"CATALOGUES\"] is empty."))
        return screens.back(request)
    posted = {} if opened else request.POST
    alias = alias or request.POST.get("catalogue") or request.GET.get("catalogue") or aliases[0]
    if alias not in aliases:
        raise Http404(alias)
    if not products:
        products = tuple(request.POST.getlist("product")[:MAX_PRODUCTS])
    initial, products = _before(request, products)
    may_activate = screens.may(request, "activate_modelversion")
    asked = bool({"estimate", "start"} & posted.keys())
    form = TrainingForm(posted or None, initial=initial, alias=alias, may_activate=may_activate)
    if asked and form.is_valid():
        answer = _plan(screens, request, form, products)
        if answer is not None:
            return answer
    shown = Products(alias, list(products[:SHOWN_PRODUCTS])).products if products else ()
    context = screens.page_context(
        request, _("Train a model"), form=form, alias=alias, aliases=aliases, products=products, shown_products=shown,
        more_products=max(0, len(products) - SHOWN_PRODUCTS), token=_token(posted.get("token")),
        next=came_from or screens.next_url(request),
    )
    return TemplateResponse(request, "shopgen_django/admin/training.html", context)


def _plan(
    screens: ShopgenAdmin, request: HttpRequest, form: TrainingForm, products: tuple[str, ...]
) -> HttpResponse | None:
    try:
        run = plan_training(
            order=form.order(products), user=request.user, start="start" in request.POST,
            key=_token(request.POST.get("token")),
        )
    except ShopgenError as error:
        own = {name: texts for name, texts in error.fields.items() if name in form.fields}
        for name, texts in own.items():
            form.add_error(name, [str(text) for text in texts])
        if not own:
            form.add_error(None, str(error))
        return None
    screens.log_addition(request, run, [{"added": {}}])
    return HttpResponseRedirect(change_url(run))


def _before(request: HttpRequest, products: tuple[str, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The values and products of the run that is to be asked for again with changes (``?from=``)."""
    key = _key(request.GET.get("from"))
    run = TrainingRun.objects.filter(pk=key).first() if key else None
    if run is None or not run.order:
        return {}, products
    options: Mapping[str, Any] = run.order["options"]
    values = {**options, "name": run.name, "prepare": options.get("prepare") == "white"}
    return {**values, "activate": run.order["activate"]}, products or tuple(run.order["products"])


def _key(text: str | None) -> uuid.UUID | None:
    try:
        return uuid.UUID(text or "")
    except ValueError:
        return None


def _token(text: str | None) -> uuid.UUID:
    """One per opened page: it becomes the run's key, which makes pressing the button twice harmless."""
    return _key(text) or uuid.uuid4()
