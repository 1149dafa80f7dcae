"""What can go wrong with an engine over large models, each with a stable code that jobs store and the API returns.

Cancelling is no error of an engine: what the caller's ``check`` raises passes through it unchanged.
"""

from __future__ import annotations

from shopgen_django.exceptions import PermanentError, TransientError


class NotInstalled(PermanentError):
    """A library is missing; the message names the extra."""

    code = "engine_not_installed"


class BrokenInstall(PermanentError):
    """A library is there and can't be imported (versions that don't fit each other)."""

    code = "engine_broken"


class DeviceMissing(PermanentError):
    """The device that was asked for is not there; nothing falls back to a slower one in silence."""

    code = "device_missing"


class ModelMissing(PermanentError):
    """No model is configured, or its folder does not exist."""

    code = "model_unavailable"


class ModelCorrupt(PermanentError):
    """Files are cut, changed, or do not hold what the model needs."""

    code = "model_corrupt"


class WrongKind(PermanentError):
    """The folder holds a model of another kind than the task needs."""

    code = "wrong_model"


class UnsafeFile(PermanentError):
    """A file could run code when it is opened."""

    code = "unsafe_file"


class LicenceRefused(PermanentError):
    """The model's licence forbids commercial use and the shop has not allowed that."""

    code = "licence_refused"


class BadRequest(PermanentError):
    """The model can't do what was asked for (size, scheduler, an empty mask)."""

    code = "bad_request"


class Blocked(PermanentError):
    """A safety check refused the prompt or every picture that was made."""

    code = "blocked"


class BadOutput(PermanentError):
    """The model computed values that are no picture (NaN, all black)."""

    code = "bad_output"


class OutOfMemory(TransientError):
    """Memory did not suffice, smaller steps included. Passing, since somebody else may have held it."""

    code = "out_of_memory"


class ServerRefused(PermanentError):
    """The server does not let us in, or the settings don't let anything go there."""

    code = "server_refused"


class ServerUnavailable(TransientError):
    """The server did not answer, not in time, or has too much to do."""

    code = "server_unavailable"
