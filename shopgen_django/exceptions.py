"""The errors that shopgen raises on purpose.

Each carries a stable ``code`` (what the HTTP API returns and a job stores), a message in plain language that says
what was wrong and what to do, and optionally the fields it concerns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class ShopgenError(Exception):
    """Base of every expected error.

    ``code`` is a stable machine-readable word; ``fields`` maps a parameter's name to its messages.
    """

    code = "error"

    def __init__(
        self,
        message: object = "",
        *,
        code: str | None = None,
        fields: Mapping[str, Sequence[object]] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        self.fields: dict[str, list[object]] = {name: list(texts) for name, texts in (fields or {}).items()}

    def __str__(self) -> str:
        return str(self.message)


class InvalidParameters(ShopgenError):
    """The caller's parameters do not fit the operation; ``fields`` says which."""

    code = "invalid_parameters"


class NotFound(ShopgenError):
    """The object does not exist, or the caller may not know that it does."""

    code = "not_found"


class ProductNotFound(NotFound):
    """The shop has no product with this primary key."""

    code = "product_not_found"


class InvalidState(ShopgenError):
    """The object's state does not allow this change (somebody else may have been faster)."""

    code = "invalid_state"


class NotAllowed(ShopgenError):
    """The user lacks the permission for this verb."""

    code = "not_allowed"


class IdempotencyConflict(ShopgenError):
    """The same Idempotency-Key came with another body."""

    code = "idempotency_conflict"


class LimitExceeded(ShopgenError):
    """Too many jobs are waiting; try again after ``retry_after`` seconds."""

    code = "limit_exceeded"

    def __init__(self, message: object = "", *, retry_after: int = 30, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class BudgetSpent(LimitExceeded):
    """A budget of the shop does not pay for this; ``retry_after`` is when it renews.

    ``fields``: ``budget`` (its name), ``used``, ``limit``, ``unit`` and ``renews`` (ISO 8601), a text each.
    """

    code = "budget_spent"


class PublishError(ShopgenError):
    """The shop's catalogue did not take the picture; nothing was changed."""

    code = "publish_failed"


class StorageFull(ShopgenError):
    """The disk has no room for the file; nothing half-written is left."""

    code = "storage_full"


class FileMissing(ShopgenError):
    """A stored file is gone or differs from what was recorded."""

    code = "file_missing"


class ModelUnavailable(ShopgenError):
    """No usable model version for this purpose."""

    code = "model_unavailable"


class PermanentError(ShopgenError):
    """A job's work can't succeed however often it is tried: bad input, refused content."""

    code = "permanent_error"


class TransientError(ShopgenError):
    """A job's work failed for a passing reason; trying again later may help."""

    code = "transient_error"


class StorageUnavailable(TransientError, OSError):
    """The storage of private files did not answer, or refused; an OSError, so that whoever leaves a file to the sweep
    after a fault of the disk does so after this one."""

    code = "storage_unavailable"


class JobCancelled(ShopgenError):
    """Somebody cancelled the job; the work stops at its next step and stores nothing."""

    code = "cancelled"


class LeaseLost(ShopgenError):
    """Another worker has taken this job over; whatever this one made is thrown away."""

    code = "lease_lost"


class WorkerDraining(ShopgenError):
    """The worker is asked to stop: the job goes back to the queue without losing an attempt."""

    code = "worker_draining"
