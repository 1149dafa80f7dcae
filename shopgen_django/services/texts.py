"""Proposed texts: a person reads, changes and decides; an approved one goes into the shop and can be taken back.

Every change of state is one conditional UPDATE whose row count decides a race, in one transaction with the shop's own
change, as with pictures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from django.db import router, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from shopgen_django.catalogues import Catalogue
from shopgen_django.catalogues.base import Receipt, WithdrawOutcome
from shopgen_django.conf import app_settings
from shopgen_django.exceptions import (
    FileMissing,
    InvalidParameters,
    InvalidState,
    NotAllowed,
    NotFound,
    ProductNotFound,
    PublishError,
)
from shopgen_django.models import ProductImage, TextKind, TextState, TextSuggestion
from shopgen_django.operations.text_checks import LENGTHS
from shopgen_django.signals import text_published, text_withdrawn

from .publishing import catalogue_of, shop_errors, transactions
from .rows import shows_person

LONGEST: dict[str, int] = {kind: 2 * length for kind, length in LENGTHS.items()}
"""Characters of a text that a person has changed: more than is proposed, since people know what they do."""
_LARGEST_FILE = 64 << 20


def approve_text(*, suggestion: TextSuggestion, user: Any = None, text: str | None = None) -> TextSuggestion:
    """Approve a text that waits, as it stands or as ``text``.

    Raises NotAllowed (with FOUR_EYES also for what one asked for oneself), InvalidParameters for a text that can't be,
    InvalidState when somebody else was faster.
    """
    _need(user, "review_textsuggestion", _("You may not review texts."))
    mine = user is not None and user.pk and suggestion.created_by_id == user.pk
    if app_settings.REVIEW["FOUR_EYES"] and mine:
        raise NotAllowed(_("Somebody else has to review the texts that you asked for."), code="four_eyes")
    values = {} if text is None else {"text": _checked(suggestion.kind, text)}
    return _decide(suggestion, user, state=TextState.APPROVED, reason="", **values)


def reject_text(*, suggestion: TextSuggestion, user: Any = None, reason: str) -> TextSuggestion:
    """Reject a text that waits; the reason is kept. Raises NotAllowed, InvalidParameters, InvalidState."""
    _need(user, "review_textsuggestion", _("You may not review texts."))
    if not reason.strip():
        told = _("Say why the text is rejected.")
        raise InvalidParameters(told, fields={"reason": [told]})
    return _decide(suggestion, user, state=TextState.REJECTED, reason=reason.strip()[:500])


def reopen_text(*, suggestion: TextSuggestion, user: Any = None) -> TextSuggestion:
    """Put a decided or withdrawn text before the reviewers again. Raises NotAllowed, InvalidState."""
    _need(user, "review_textsuggestion", _("You may not review texts."))
    changed = TextSuggestion.objects.filter(
        pk=suggestion.pk, state__in=(TextState.APPROVED, TextState.REJECTED, TextState.WITHDRAWN)
    ).update(state=TextState.IN_REVIEW, reviewer=None, reviewed_at=None, reason="", receipt=None, updated_at=Now())
    reload_text(suggestion)
    if not changed:
        raise InvalidState(
            _("The text is %(state)s and can't be reviewed again.") % {"state": suggestion.get_state_display()}
        )
    return suggestion


def edit_text(*, suggestion: TextSuggestion, user: Any = None, text: str) -> TextSuggestion:
    """Change a text that waits for review. Raises NotAllowed, InvalidParameters, InvalidState."""
    _need(user, "review_textsuggestion", _("You may not review texts."))
    checked = _checked(suggestion.kind, text)
    changed = TextSuggestion.objects.filter(pk=suggestion.pk, state=TextState.IN_REVIEW).update(
        text=checked, updated_at=Now()
    )
    reload_text(suggestion)
    if not changed:
        raise _not_waiting(suggestion)
    return suggestion


def publish_text(*, suggestion: TextSuggestion, user: Any = None) -> TextSuggestion:
    """Put an approved text into the shop.

    A text alternative goes to our picture, and to the same picture in the shop where it stands there.

    Raises NotAllowed, InvalidState (not approved, or somebody else was faster), ProductNotFound, NotFound (the text
    is gone), PublishError (no product, no place for it in this shop, too long for its field, or the shop refused).
    """
    _need(user, "publish_textsuggestion", _("You may not put texts into the shop."))
    reload_text(suggestion)
    _refuse_unpublishable(suggestion)
    picture_only = suggestion.kind == TextKind.ALT_TEXT and not suggestion.has_product
    catalogue = None if picture_only else catalogue_of(suggestion.catalogue)
    with _together(catalogue), shop_errors(suggestion):
        if catalogue is not None:
            catalogue.lock(suggestion.object_pk)
        receipt = _write(catalogue, suggestion)
        changed = TextSuggestion.objects.filter(
            pk=suggestion.pk, state=TextState.APPROVED, product_deleted_at__isnull=True, text=suggestion.text
        ).update(
            state=TextState.PUBLISHED, receipt=receipt, published_at=Now(), published_by=_person(user),
            withdraw_outcome="", updated_at=Now(),
        )  # fmt: skip
        if not changed:  # undoes what the shop was given as well
            raise InvalidState(_("Somebody else has changed this text meanwhile. Nothing was changed in the shop."))
        _announce(text_published, suggestion=suggestion, user=user)
    reload_text(suggestion)
    return suggestion


def withdraw_text(*, suggestion: TextSuggestion, user: Any = None) -> TextSuggestion:
    """Take a text back; what stood there before comes back, unless somebody has changed it since.

    ``withdraw_outcome`` says which. Raises NotAllowed, InvalidState, PublishError.
    """
    _need(user, "withdraw_textsuggestion", _("You may not take texts back."))
    reload_text(suggestion)
    if suggestion.state != TextState.PUBLISHED:
        raise _not_published(suggestion)
    catalogue = catalogue_of(suggestion.catalogue) if suggestion.receipt.get("shop") else None
    with _together(catalogue), shop_errors(suggestion):
        if catalogue is not None:
            catalogue.lock(suggestion.object_pk)
        changed = TextSuggestion.objects.filter(pk=suggestion.pk, state=TextState.PUBLISHED).update(
            state=TextState.WITHDRAWN, published_at=None, updated_at=Now()
        )
        if not changed:
            raise _not_published(suggestion)
        # Read again: the receipt may have been laid on another predecessor while we waited for the lock.
        suggestion.refresh_from_db()
        outcome = _restore(catalogue, suggestion)
        _rebase(suggestion)
        TextSuggestion.objects.filter(pk=suggestion.pk).update(withdraw_outcome=outcome.value)
        _announce(text_withdrawn, suggestion=suggestion, outcome=outcome, user=user)
    reload_text(suggestion)
    return suggestion


def text_now(suggestion: TextSuggestion) -> str | None:
    """What the shop (for a picture without a product: our row) says now; None where there is no place for it."""
    if suggestion.kind == TextKind.ALT_TEXT:
        return suggestion.image.alt_text if suggestion.image is not None else None
    if not suggestion.has_product:
        return None
    try:
        return catalogue_of(suggestion.catalogue).read_text(suggestion.object_pk, suggestion.kind)
    except (PublishError, ProductNotFound):
        return None


def reload_text(suggestion: TextSuggestion) -> None:
    """Read the row again. Raises NotFound when it is gone."""
    try:
        suggestion.refresh_from_db()
    except TextSuggestion.DoesNotExist:
        raise NotFound(_("The text has been deleted meanwhile."), code="text_deleted") from None


def _need(user: Any, permission: str, message: str) -> None:
    if user is not None and not user.has_perm(f"shopgen.{permission}"):
        raise NotAllowed(message)


def _person(user: Any) -> Any:
    return user if getattr(user, "pk", None) else None


def _checked(kind: str, text: str) -> str:
    text = text.replace("\r\n", "\n").strip()
    if kind in (TextKind.TITLE, TextKind.ALT_TEXT):
        text = " ".join(text.split())
    elif kind == TextKind.TAGS:
        text = "\n".join(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    wrong = ""
    if not text or "\x00" in text:
        wrong = _("A text is needed.")
    elif len(text) > LONGEST[kind]:
        wrong = _("At most %(number)d characters.") % {"number": LONGEST[kind]}
    if wrong:
        raise InvalidParameters(wrong, fields={"text": [wrong]})
    return text


def _decide(suggestion: TextSuggestion, user: Any, **values: Any) -> TextSuggestion:
    changed = TextSuggestion.objects.filter(pk=suggestion.pk, state=TextState.IN_REVIEW).update(
        reviewer=_person(user), reviewed_at=Now(), updated_at=Now(), **values
    )
    reload_text(suggestion)
    if not changed:
        raise _not_waiting(suggestion)
    return suggestion


def _not_waiting(suggestion: TextSuggestion) -> InvalidState:
    return InvalidState(
        _("The text is %(state)s; only texts that wait for review can be decided on.")
        % {"state": suggestion.get_state_display()}
    )


def _not_published(suggestion: TextSuggestion) -> InvalidState:
    return InvalidState(
        _("The text is %(state)s; only texts that stand in the shop can be taken back.")
        % {"state": suggestion.get_state_display()}
    )


def _refuse_unpublishable(suggestion: TextSuggestion) -> None:
    if suggestion.state != TextState.APPROVED:
        raise InvalidState(
            _("The text is %(state)s; only approved texts can be put into the shop.")
            % {"state": suggestion.get_state_display()}
        )
    if suggestion.image is not None and shows_person(suggestion.image):
        raise PublishError(
            _("The text was written about a picture that shows a person; such texts are never published."),
            code="personal_picture",
        )
    if suggestion.product_deleted_at is not None:
        raise ProductNotFound(
            _("The product %(product)s has been deleted from the shop; there is nothing to give the text to.")
            % {"product": suggestion.product_label or suggestion.object_pk}, code="product_deleted",
        )  # fmt: skip
    has_place = suggestion.image is not None if suggestion.kind == TextKind.ALT_TEXT else suggestion.has_product
    if not has_place:
        raise PublishError(
            _("The text belongs to no product, so it has no place in the shop."), code="no_product"
        )


@contextmanager
def _together(catalogue: Catalogue | None) -> Iterator[None]:
    if catalogue is None:
        with transaction.atomic(using=router.db_for_write(TextSuggestion)):
            yield
        return
    with transactions(catalogue):
        yield


def _write(catalogue: Catalogue | None, suggestion: TextSuggestion) -> Receipt:
    """Receipt: ``shop``, what the catalogue did (absent when nothing), and ``picture``, our own row's former text."""
    if suggestion.kind != TextKind.ALT_TEXT:
        assert catalogue is not None
        return {"shop": catalogue.write_text(suggestion.object_pk, suggestion.kind, suggestion.text)}
    image = suggestion.image
    assert image is not None
    receipt: Receipt = {"picture": {"placed": suggestion.text[:500], "previous": image.alt_text}}
    key = "" if catalogue is None else _place_in_shop(catalogue, suggestion.object_pk, image)
    if catalogue is not None and key:
        receipt["shop"] = catalogue.write_text(suggestion.object_pk, suggestion.kind, suggestion.text, key)
    ProductImage.objects.filter(pk=image.pk).update(alt_text=suggestion.text[:500], updated_at=Now())
    return receipt


def _place_in_shop(catalogue: Catalogue, object_pk: str, image: ProductImage) -> str:
    """The key of the shop's picture that is this very file; "" when it doesn't stand there or has no text there."""
    if TextKind.ALT_TEXT not in catalogue.text_kinds:
        return ""
    wanted = {digest for digest in (image.origin_sha256, image.sha256) if digest}
    for picture in catalogue.pictures(object_pk):
        with suppress(FileMissing), catalogue.open_picture(object_pk, picture.key) as handle:
            digest, size = hashlib.sha256(), 0
            while (part := handle.read(1 << 20)) and size <= _LARGEST_FILE:
                digest.update(part)
                size += len(part)
            if digest.hexdigest() in wanted:
                return picture.key
    return ""


def _restore(catalogue: Catalogue | None, suggestion: TextSuggestion) -> WithdrawOutcome:
    receipt, outcome = suggestion.receipt, WithdrawOutcome.RESTORED
    if "picture" in receipt and suggestion.image_id:
        ours = receipt["picture"]
        changed = ProductImage.objects.filter(pk=suggestion.image_id, alt_text=ours["placed"]).update(
            alt_text=ours["previous"], updated_at=Now()
        )
        outcome = WithdrawOutcome.RESTORED if changed else WithdrawOutcome.KEPT_NEWER
    if catalogue is not None:
        outcome = catalogue.restore_text(suggestion.object_pk, receipt["shop"])
    return outcome


def _rebase(withdrawn: TextSuggestion) -> None:
    """Texts that were laid on the withdrawn one now lie on what it had been laid on."""
    others = TextSuggestion.objects.filter(
        kind=withdrawn.kind, catalogue=withdrawn.catalogue, object_pk=withdrawn.object_pk, state=TextState.PUBLISHED
    )
    if withdrawn.kind == TextKind.ALT_TEXT:
        others = others.filter(image=withdrawn.image_id)
    for other in others:
        receipt = {**other.receipt}
        for part, own in withdrawn.receipt.items():
            above = receipt.get(part)
            if above is not None and above.get("key") == own.get("key") and above["previous"] == own["placed"]:
                receipt[part] = {**above, "previous": own["previous"]}
        if receipt != other.receipt:
            TextSuggestion.objects.filter(pk=other.pk).update(receipt=receipt)


def _announce(signal: Any, **arguments: Any) -> None:
    send = partial(signal.send_robust, sender=TextSuggestion, **arguments)
    transaction.on_commit(send, using=router.db_for_write(TextSuggestion))


__all__ = [
    "approve_text", "edit_text", "publish_text", "reject_text", "reload_text", "reopen_text", "text_now",
    "withdraw_text",
]  # fmt: skip
