"""Who may do what: one Django permission per verb, looked up by the view's action."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request


class VerbPermission(BasePermission):
    """Signed in, and holding one of the permissions that ``view.verbs`` names for the action.

    An action without an entry is refused: a new route is closed until somebody says who may use it. Which objects a
    permitted user sees is the queryset's business (``visible_to``).
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        user = request.user
        if not user or not user.is_authenticated or not user.is_active:
            return False
        if view.action is None:
            return True  # a method that the route does not have: 405, not 403
        needed = view.verbs.get(view.action)
        if needed is None:
            return False
        return not needed or any(user.has_perm(f"shopgen.{name}") for name in needed)


class StaffOnly(BasePermission):
    """For what tells about the machines rather than about pictures."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return bool(request.user and request.user.is_active and request.user.is_staff)
