"""Signals that a shop may listen to. Each is sent after the transaction has committed.

A receiver that raises is logged and does not undo what happened (``send_robust``).
"""

from __future__ import annotations

from django.dispatch import Signal

image_published = Signal()
"""A picture now stands in the shop. Arguments: ``image`` (ProductImage), ``publication``, ``user``."""

image_withdrawn = Signal()
"""A picture was taken back. Arguments: ``image``, ``publication``, ``outcome`` (a WithdrawOutcome), ``user``."""

text_published = Signal()
"""A proposed text now stands in the shop. Arguments: ``suggestion`` (TextSuggestion), ``user``."""

text_withdrawn = Signal()
"""A text was taken back. Arguments: ``suggestion``, ``outcome`` (a WithdrawOutcome), ``user``."""

__all__ = ["image_published", "image_withdrawn", "text_published", "text_withdrawn"]
