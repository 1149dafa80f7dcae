"""Engine over a server that speaks OpenAI's shapes for pictures: one that the shop runs, or a provider's."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _

from shopgen_django.engines.errors import BadOutput, BadRequest, WrongKind
from shopgen_django.engines.pictures import Described, MadePicture, PictureEngine, PictureRequest, Task, seed_of
from shopgen_django.engines.spending import purse

from .client import Call, Client
from .dialects import DIALECTS, call_for
from .server import ServerEngine

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 4 << 20
MAX_BYTES = 64 << 20


class OpenAICompatible(ServerEngine, PictureEngine):
    """Text to picture, picture to picture and repainting by a server (vLLM-Omni, Ollama, LocalAI, a provider).

    Options: ``URL`` where its API begins; ``MODEL``, as the server calls it; ``DIALECT`` ("vllm", "ollama", "localai",
    "openai"); ``ALLOW_REMOTE``, without which nothing is sent to another machine; ``KEY_VARIABLE``, the environment
    variable with the key; ``SIZE`` (width, height) that the model likes; ``MULTIPLE`` of its sides; ``MAX_PIXELS``;
    ``MASK`` ("white" or "transparent": what is repainted); ``TIMEOUT`` seconds for a picture; ``RETRIES``;
    ``MAX_BYTES`` of an answer; ``LICENCE`` of the model, for the record.
    """

    def __init__(
        self, *, URL: str = "", MODEL: str = "", DIALECT: str = "vllm", ALLOW_REMOTE: bool = False,
        KEY_VARIABLE: str = "", SIZE: tuple[int, int] = (1024, 1024), MULTIPLE: int = 16, MAX_PIXELS: int = MAX_PIXELS,
        MASK: str = "", TIMEOUT: float = 300.0, RETRIES: int = 2, MAX_BYTES: int = MAX_BYTES, LICENCE: str = "",
        **options: Any,
    ) -> None:
        if options:
            raise ImproperlyConfigured(
                f"The engine OpenAICompatible has no options {', '.join(sorted(options))}. docs/large-models.md lists "
                "them."
            )
        if DIALECT not in DIALECTS:
            raise ImproperlyConfigured(f"The option DIALECT is one of {', '.join(DIALECTS)}, not {DIALECT!r}.")
        if MASK not in ("", "white", "transparent"):
            raise ImproperlyConfigured(f"The option MASK is white or transparent, not {MASK!r}.")
        super().__init__(
            url=URL, model=MODEL, remote=ALLOW_REMOTE, key_variable=KEY_VARIABLE, timeout=TIMEOUT, retries=RETRIES
        )
        self._dialect = DIALECTS[DIALECT]
        self._mask: Any = MASK or self._dialect.mask
        self._size = (int(SIZE[0]), int(SIZE[1]))
        self._multiple, self._max_pixels, self._max_bytes = int(MULTIPLE), int(MAX_PIXELS), int(MAX_BYTES)
        self._licence = LICENCE

    def describe(self, task: Task = "text") -> Described:
        self._server()
        if task not in self._dialect.tasks:
            raise WrongKind(
                _("A server of the kind %(dialect)s makes pictures from words and can't change pictures.")
                % {"dialect": self._dialect.name}
            )
        return Described(
            name=self._model or self._dialect.name, kind=f"OpenAI-compatible ({self._dialect.name})",
            tasks=self._dialect.tasks, multiple=self._multiple, size=self._size, max_pixels=self._max_pixels,
            in_channels=4, bytes=0, negative=self._dialect.negative, licence=self._licence,
            keeps_seed=self._dialect.seeds, mask_rule=f"{self._mask} is repainted",
        )

    def run(
        self, request: PictureRequest, *, on_step: Callable[[float], None] = lambda share: None,
        check: Callable[[], None] = lambda: None,
    ) -> Iterator[MadePicture]:
        client = self._server()
        self.describe(request.task).require_size(request.width, request.height)
        if request.loras or request.outlines is not None or request.scheduler:
            raise BadRequest(_("LoRAs, outlines and schedulers can't be chosen on a server; leave them out."))
        if request.reference is not None and request.reference_weight:
            self.require_reference(request.task)
        purse().begin(self.alias, requests=request.count, pictures=request.count)
        for number in range(request.count):
            check()
            seed = seed_of(request.seed, number)
            call = call_for(
                self._dialect, self._model, request, seed, mask=self._mask, limit=self._max_bytes
            )
            told = client.call(call, check, self.paying(pictures=1)).json()
            content, words = self._content(client, told, check)
            picture = _decoded(content, (request.width, request.height))
            on_step((number + 1) / request.count)
            yield MadePicture(
                image=picture, number=number, seed=seed, facts=self._facts(client, request, seed, words)
            )

    def _content(self, client: Client, told: Any, check: Callable[[], None]) -> tuple[bytes, str]:
        """The picture's bytes, and the words that the server has made of ours."""
        try:
            (first, *_rest) = told["data"]
            words = str(first.get("revised_prompt") or "")
            inline, url = first.get("b64_json"), first.get("url")
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise BadOutput(_("The server’s answer holds no picture.")) from error
        if isinstance(url, str) and url.startswith("data:"):
            inline, url = url.partition(",")[2], None
        if isinstance(inline, str) and inline:
            try:
                return base64.b64decode(inline, validate=True), words
            except binascii.Error as error:
                raise BadOutput(_("The server’s picture is not valid base64.")) from error
        if isinstance(url, str) and url:
            fetched = client.call(Call(method="GET", path=client.own_url(url), limit=self._max_bytes), check)
            return fetched.content, words
        raise BadOutput(_("The server’s answer holds no picture."))

    def _facts(self, client: Client, request: PictureRequest, seed: int, words: str) -> dict[str, str]:
        """How it was made, and what left this machine for it."""
        sent = ["words"] + (["picture"] if request.image is not None else [])
        sent += ["mask"] if request.mask is not None else []
        facts = {
            "prompt": request.prompt, "negative": request.negative if self._dialect.negative else "",
            "server": client.host, "dialect": self._dialect.name, "revised_prompt": words,
            "left_this_machine": "" if client.is_here else ", ".join(sent),
        }
        if self._dialect.seeds:
            facts |= {"seed": str(seed), "steps": str(request.steps), "guidance": f"{request.guidance:g}"}
        return {name: value for name, value in facts.items() if value}


def _decoded(content: bytes, size: tuple[int, int]) -> Image.Image:
    """RGB of ``size``. Raises BadOutput for what is no such picture."""
    from PIL import Image

    try:
        picture = Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP"))
        if picture.size != size:
            raise BadOutput(
                _("The server made a picture of %(got)s pixels, not of %(wanted)s. Set the option SIZE to one that it "
                  "can make.") % {"got": "×".join(map(str, picture.size)), "wanted": "×".join(map(str, size))}
            )
        made = picture.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadOutput(_("What the server sent is no PNG, JPEG or WebP picture.")) from error
    if not any(high for _low, high in made.getextrema()):  # type: ignore[misc]
        raise BadOutput(_("The server sent a picture that is black all over."))
    return made
