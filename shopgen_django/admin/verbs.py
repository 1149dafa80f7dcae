"""What a person can do to pictures, one entry each: who may, to which, with which words, by which service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.utils.html import format_html
from django.utils.translation import gettext, gettext_lazy, ngettext
from django.utils.translation import gettext_lazy as _

from shopgen_django.models import ImageState, ProductImage
from shopgen_django.services.publishing import publish_image, withdraw_image
from shopgen_django.services.review import approve, reject, send_to_review

from .reasons import RejectForm
from .shop_pictures import product_link

Values = Mapping[str, Any]


class PublishForm(forms.Form):
    placement = forms.ChoiceField(
        label=_("Where"), initial="main", widget=forms.RadioSelect,
        choices=[("main", _("as the product's main picture")), ("gallery", _("after the pictures it has"))],
    )


class WithdrawForm(forms.Form):
    note = forms.CharField(
        label=_("Note"), required=False, max_length=500, widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text=_("Kept with the publication: why the picture was taken back."),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A message about one picture; ``level`` is one of Django's."""

    level: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """``act(image, user, values)`` changes one picture through a service; what it returns is told."""

    name: str
    permission: str
    label: Any
    """On the list's menu and on buttons."""
    title: Any
    """Heading of the page that asks."""
    button: Callable[[int], str]
    done: Callable[[int], str]
    log: Any
    states: tuple[str, ...]
    act: Callable[[ProductImage, Any, Values], Told | None]
    form: type[forms.Form] = forms.Form
    destructive: bool = False
    limit: int = 200
    """Pictures at a time: each is looked at, and the request has to end."""


def _approve(image: ProductImage, user: Any, values: Values) -> None:
    approve(image=image, user=user)


def _reject(image: ProductImage, user: Any, values: Values) -> None:
    reject(image=image, user=user, reason=values["reason"])


def _review(image: ProductImage, user: Any, values: Values) -> None:
    send_to_review(image=image, user=user)


def _publish(image: ProductImage, user: Any, values: Values) -> Told | None:
    publish_image(image=image, user=user, placement=values["placement"])
    link = product_link(image)
    if link is None or not (link.public_url or link.url):
        return None
    text = format_html('{}: <a href="{}">{}</a>', link.label, link.public_url or link.url, gettext("see the product"))
    return Told(level=messages.INFO, text=text)


def _withdraw(image: ProductImage, user: Any, values: Values) -> Told | None:
    from shopgen_django.catalogues.base import WithdrawOutcome

    publication = withdraw_image(image=image, user=user, note=values.get("note", ""))
    outcome = publication.withdraw_outcome
    if outcome in WithdrawOutcome.values and outcome != WithdrawOutcome.RESTORED:
        text = gettext("%(picture)s: %(outcome)s.") % {"picture": image, "outcome": WithdrawOutcome(outcome).label}
        return Told(level=messages.WARNING, text=text)
    return None


VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            name="approve", permission="review_productimage",
            label=_("Approve"), title=_("Approve pictures"),
            button=lambda n: ngettext("Approve %(n)d picture", "Approve %(n)d pictures", n) % {"n": n},
            done=lambda n: ngettext("%(n)d picture was approved.", "%(n)d pictures were approved.", n) % {"n": n},
            log=_("Approved."), states=(ImageState.IN_REVIEW,), act=_approve,
        ),
        Verb(
            name="reject", permission="review_productimage",
            label=_("Reject …"), title=_("Reject pictures"),
            button=lambda n: ngettext("Reject %(n)d picture", "Reject %(n)d pictures", n) % {"n": n},
            done=lambda n: ngettext("%(n)d picture was rejected.", "%(n)d pictures were rejected.", n) % {"n": n},
            log=_("Rejected: %(reason)s"), states=(ImageState.IN_REVIEW,), act=_reject, form=RejectForm,
            destructive=True,
        ),
        Verb(
            name="publish", permission="publish_productimage",
            label=_("Publish in the shop …"), title=_("Publish pictures in the shop"),
            button=lambda n: ngettext("Publish %(n)d picture", "Publish %(n)d pictures", n) % {"n": n},
            done=lambda n: ngettext("%(n)d picture was published.", "%(n)d pictures were published.", n) % {"n": n},
            log=_("Published (%(placement)s)."), states=(ImageState.APPROVED,), act=_publish, form=PublishForm,
            limit=50,
        ),
        Verb(
            name="withdraw", permission="withdraw_productimage",
            label=_("Withdraw from the shop …"), title=_("Take pictures back from the shop"),
            button=lambda n: ngettext("Withdraw %(n)d picture", "Withdraw %(n)d pictures", n) % {"n": n},
            done=lambda n: ngettext("%(n)d picture was taken back.", "%(n)d pictures were taken back.", n) % {"n": n},
            log=_("Withdrawn. %(note)s"), states=(ImageState.PUBLISHED,), act=_withdraw, form=WithdrawForm,
            destructive=True, limit=50,
        ),
        Verb(
            name="review", permission="review_productimage",
            label=gettext_lazy("Send to review"), title=_("Send pictures to review"),
            button=lambda n: ngettext("Send %(n)d picture to review", "Send %(n)d pictures to review", n) % {"n": n},
            done=lambda n: ngettext(
                "%(n)d picture now waits for review.", "%(n)d pictures now wait for review.", n
            ) % {"n": n},
            log=_("Sent to review."), states=(ImageState.DRAFT, ImageState.REJECTED, ImageState.WITHDRAWN),
            act=_review,
        ),
    )
}  # fmt: skip
