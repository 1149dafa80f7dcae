"""What engines over a server share: the client, whether it can be asked, what it is called in records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.utils.translation import gettext as _

from shopgen_django.engines.base import Engine
from shopgen_django.engines.errors import ModelMissing
from shopgen_django.engines.spending import purse

from .client import Client


class ServerEngine(Engine):
    """Base. Options: ``URL``, ``MODEL``, and those of :class:`Client`.

    A subclass calls ``purse().begin`` before the first request of a piece of work and gives :meth:`paying` to each call
    that asks the server to work.
    """

    metered = True

    def __init__(
        self, *, url: str, model: str, remote: bool, key_variable: str, timeout: float, retries: int, **options: Any
    ) -> None:
        super().__init__(URL=url, MODEL=model, **options)
        self._model = model
        self._client = Client(
            url, remote=bool(remote), key_variable=key_variable, timeout=timeout, retries=retries
        ) if url else None

    def check(self) -> list[str]:
        return [] if self._client is None else self._client.problems()

    def identity(self) -> str:
        if self._client is None:
            return "no server"
        return f"{self._model or 'the server’s model'} at {self._client.host}"

    def paying(self, *, pictures: int = 0) -> Callable[[], None]:
        """What writes a request down just before it is sent, each time that it is tried again as well."""

        def pay() -> None:
            purse().spend(self.alias, pictures=pictures)

        return pay

    def _server(self) -> Client:
        """The client. Raises ModelMissing when no server is configured."""
        if self._client is None:
            raise ModelMissing(
                _("No server is configured: give its address as the option URL. The page “Large models” of the "
                  "documentation says more.")
            )
        return self._client
