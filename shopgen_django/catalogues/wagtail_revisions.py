"""Changing one thing on a Wagtail object, live and in its draft, without publishing what an editor hasn't published.

A page has up to two faces: what is live (its row) and the latest revision that an editor works on. A change of the
picture goes to both, each by a revision of its own, so that it is in the history, and so that publishing the draft
later doesn't bring the old picture back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.utils.translation import gettext as _

from shopgen_django.exceptions import PublishError


def refuse_locked(item: Any) -> None:
    """Raise PublishError when a change now would override a decision of an editor.

    Publishing a revision cancels a moderation in progress and forgets a scheduled publication, and a lock is a
    person's word that nobody else edits.
    """
    values = {"item": str(item)}
    if getattr(item, "alias_of_id", None):
        raise PublishError(_("“%(item)s” is an alias; publish to the page that it mirrors.") % values)
    if getattr(item, "locked", False):
        raise PublishError(_("“%(item)s” is locked in Wagtail. Unlock it, then try again.") % values)
    if getattr(item, "workflow_in_progress", False):
        raise PublishError(_("“%(item)s” is in moderation in Wagtail. Finish or cancel that, then try again.") % values)
    if getattr(item, "approved_schedule", False):
        raise PublishError(
            _("“%(item)s” has a scheduled publication in Wagtail. Cancel it, or wait for it, then try again.") % values
        )


def has_draft_state(item: Any) -> bool:
    """Whether the object can be live or not: a page, or a snippet with DraftStateMixin."""
    from wagtail.models import DraftStateMixin

    return isinstance(item, DraftStateMixin)


def draft_of(item: Any) -> Any | None:
    """The object as its latest revision holds it, when that differs from what is live; else None."""
    if not has_draft_state(item) or item.latest_revision is None:
        return None
    if item.live and not item.has_unpublished_changes:
        return None
    return item.latest_revision.as_object()


def shown(item: Any) -> Any:
    """The face that counts: what is live, or the draft of what isn't."""
    if has_draft_state(item) and not item.live:
        return draft_of(item) or item
    return item


def change(item: Any, mutate: Callable[[Any], None], columns: list[str]) -> None:
    """Apply ``mutate`` to the live object and to its draft.

    ``item`` is the row as the database has it, ``columns`` what ``mutate`` sets. What is live stays live with only
    this change, what isn't stays unpublished, and a draft stays the latest revision, unpublished.
    """
    from wagtail.models import RevisionMixin

    if not isinstance(item, RevisionMixin):
        mutate(item)
        item.save(update_fields=columns)
        return
    if not has_draft_state(item):
        mutate(item)
        item.save(update_fields=columns)
        item.save_revision(clean=False, log_action=True)
        return
    draft = item.latest_revision if draft_of(item) is not None else None
    if not item.live:
        target = draft_of(item) or item
        mutate(target)
        target.save_revision(user=draft.user if draft else None, clean=False, log_action=True)
        return
    mutate(item)
    revision = item.save_revision(clean=False)
    revision.publish()
    if draft is not None:
        _lay_draft_on_top(type(item)._base_manager.get(pk=item.pk), draft, mutate)


def _lay_draft_on_top(item: Any, draft: Any, mutate: Callable[[Any], None]) -> None:
    """Make the editor's draft the latest revision again, in the editor's name, with the change in it."""
    again = item.with_content_json(draft.content)
    mutate(again)
    again.save_revision(user=draft.user, clean=False)
