"""Engine over a server's vision-language model (chat completions): vLLM, Ollama, LocalAI, a provider."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _

from shopgen_django.engines.errors import BadOutput, Blocked
from shopgen_django.engines.spending import purse
from shopgen_django.engines.texts import KINDS, TextEngine, TextRequest, Writer, Written
from shopgen_django.engines.wording import answer, question, schema, tokens

from .client import Call, Client
from .server import ServerEngine

if TYPE_CHECKING:
    from PIL import Image

MAX_BYTES = 4 << 20
SIDE = 1024
"""Longest side of a picture that is sent, in pixels."""


class OpenAIVision(ServerEngine, TextEngine):
    """Title, description, tags and alt text by a model that a server runs.

    Options: ``URL`` where its API begins; ``MODEL``, as the server calls it; ``ALLOW_REMOTE``, without which nothing is
    sent to another machine; ``KEY_VARIABLE``, the environment variable with the key; ``STRUCTURED``, whether the server
    keeps to a JSON schema (``response_format``; vLLM, Ollama, LocalAI and OpenAI do); ``SIDE``, longest side in pixels
    of the pictures that are sent; ``PICTURES`` of a product at most; ``TOKENS_FIELD``, what the server calls the limit
    of an answer; ``TIMEOUT``, ``RETRIES``, ``MAX_BYTES`` of an answer; ``LICENCE`` of the model, for the record.
    """

    def __init__(
        self, *, URL: str = "", MODEL: str = "", ALLOW_REMOTE: bool = False, KEY_VARIABLE: str = "",
        STRUCTURED: bool = True, SIDE: int = SIDE, PICTURES: int = 4, TOKENS_FIELD: str = "max_tokens",
        TIMEOUT: float = 120.0, RETRIES: int = 2, MAX_BYTES: int = MAX_BYTES, LICENCE: str = "", **options: Any,
    ) -> None:
        if options:
            raise ImproperlyConfigured(
                f"The engine OpenAIVision has no options {', '.join(sorted(options))}. docs/large-models.md lists them."
            )
        super().__init__(
            url=URL, model=MODEL, remote=ALLOW_REMOTE, key_variable=KEY_VARIABLE, timeout=TIMEOUT, retries=RETRIES
        )
        self._licence, self._structured = LICENCE, bool(STRUCTURED)
        self._side, self._pictures, self._room = int(SIDE), max(1, int(PICTURES)), TOKENS_FIELD
        self._max_bytes = int(MAX_BYTES)

    def describe(self) -> Writer:
        self._server()
        return Writer(
            name=self._model or "the server’s model", model_kind="OpenAI-compatible (chat)", kinds=KINDS,
            licence=self._licence, pictures=self._pictures,
        )

    def write(
        self, request: TextRequest, *, on_step: Callable[[float], None] = lambda share: None,
        check: Callable[[], None] = lambda: None,
    ) -> Written:
        client = self._server()
        purse().begin(self.alias, requests=1)
        content: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": self._data_uri(image)}} for image in request.images
        ]
        messages: list[dict[str, Any]] = [
            {"role": "user", "content": [*content, {"type": "text", "text": question(request)}]}
        ]
        said = self._ask(client, messages, request, check)
        on_step(0.5)
        try:
            texts = answer(said, request)
        except BadOutput as error:
            messages += [
                {"role": "assistant", "content": said},
                {"role": "user", "content": f"{error} Answer again with the JSON object alone."},
            ]
            texts = answer(self._ask(client, messages, request, check), request)
        on_step(1.0)
        return Written(texts=texts, facts=self._facts(client, request))

    def _ask(
        self, client: Client, messages: list[dict[str, Any]], request: TextRequest, check: Callable[[], None]
    ) -> str:
        body: dict[str, Any] = {
            "model": self._model, "messages": messages, "temperature": 0, "stream": False, self._room: tokens(request),
        }
        if self._structured:
            wanted = {"name": "texts", "schema": schema(request), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": wanted}
        call = Call(method="POST", path="/chat/completions", json=body, limit=self._max_bytes)
        told = client.call(call, check, self.paying()).json()
        try:
            choice = told["choices"][0]
            message, why = choice["message"], choice.get("finish_reason")
            said, refused = message.get("content"), message.get("refusal")
        except (TypeError, KeyError, IndexError, AttributeError) as error:
            raise BadOutput(_("The server’s answer holds no text.")) from error
        if refused or why == "content_filter":
            raise Blocked(
                _("The server’s model refuses to write about this: %(why)s") % {"why": str(refused or why)[:300]}
            )
        if why == "length":
            raise BadOutput(_("The server’s model was cut off in the middle of its answer; its limit is too low."))
        if isinstance(said, list):  # parts, as some servers send them
            said = "".join(str(part.get("text", "")) for part in said if isinstance(part, Mapping))
        if not isinstance(said, str) or not said.strip():
            raise BadOutput(_("The server’s answer holds no text."))
        return said

    def _data_uri(self, image: Image.Image) -> str:
        """JPEG as a data URI: every server takes those, and none has to fetch anything from us."""
        picture = image.copy()
        picture.thumbnail((self._side, self._side))
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=90)
        return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()

    def _facts(self, client: Client, request: TextRequest) -> dict[str, str]:
        sent = ["words", f"{len(request.images)} pictures" if len(request.images) > 1 else "picture"]
        sent += ["product text"] if request.title or request.description else []
        facts = {"server": client.host, "left_this_machine": "" if client.is_here else ", ".join(sent)}
        return {name: value for name, value in facts.items() if value}
