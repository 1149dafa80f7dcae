"""One server, asked carefully: time limits, retries, a cap on every answer, no other host, no redirect, a key that
stays in the environment, and a way to stop while it thinks."""

from __future__ import annotations

import ipaddress
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _

from shopgen_django.engines.errors import (
    BadOutput,
    BadRequest,
    ModelMissing,
    NotInstalled,
    ServerRefused,
    ServerUnavailable,
)

EXTRA = "pip install 'shopgen-django[remote]'"
CHUNK = 1 << 16
POLL = 0.2
PAUSES = (0.5, 2.0, 8.0)
LONGEST_PAUSE = 60.0
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer, within its limits."""

    status: int
    content: bytes
    headers: Mapping[str, str]

    def json(self) -> Any:
        """Raises BadOutput when it is no JSON."""
        try:
            return json.loads(self.content)
        except ValueError as error:
            start = self.content[:80].decode("utf-8", "replace")
            raise BadOutput(_("The server’s answer is not JSON: %(start)s") % {"start": start}) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request. ``files`` are (field, name, bytes, type) of a multipart body, ``data`` its other fields."""

    method: str
    path: str
    json: Mapping[str, Any] | None = None
    data: Mapping[str, str] | None = None
    files: tuple[tuple[str, str, bytes, str], ...] = ()
    limit: int = 64 << 20


@dataclass(slots=True)
class _Heard:
    answer: Answer | None = None
    error: BaseException | None = None
    done: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)


class Client:
    """Calls to one server.

    Args:
        url: where the API begins, for example "http://127.0.0.1:8000/v1".
        remote: whether a server that is not this machine may be asked at all.
        key_variable: the environment variable that holds the key; "" for none.
        timeout: seconds for one answer, all of it.
        retries: how often a passing failure is tried again.

    Raises ImproperlyConfigured for a URL that can't be used.
    """

    def __init__(
        self, url: str, *, remote: bool = False, key_variable: str = "", timeout: float = 300.0, retries: int = 2
    ) -> None:
        self._base = _checked(url)
        self._remote, self._key_variable = remote, key_variable
        self._timeout, self._retries = float(timeout), int(retries)

    @property
    def host(self) -> str:
        """Name and port of the server."""
        return self._base.netloc.rpartition("@")[2]

    @property
    def is_here(self) -> bool:
        """Whether the server is this very machine."""
        return _is_loopback(self._base.hostname or "")

    def problems(self) -> list[str]:
        """What stands in the way before anything is sent."""
        found = []
        if find_spec("requests") is None:
            found.append(f"The package requests is missing: {EXTRA}.")
        if not self.is_here and not self._remote:
            found.append(f"{self.host} is another machine. Set the option ALLOW_REMOTE to let pictures go there.")
        if not self.is_here and self._base.scheme != "https" and self._key_variable:
            found.append("The key would travel unencrypted: use an https address.")
        if self._key_variable and not os.environ.get(self._key_variable):
            found.append(f"The environment variable {self._key_variable}, which holds the key, is empty.")
        return found

    def require(self) -> None:
        """Raises NotInstalled or ServerRefused when nothing may or can be sent."""
        problems = self.problems()
        if problems and find_spec("requests") is None:
            raise NotInstalled(problems[0])
        if problems:
            raise ServerRefused(" ".join(problems))

    def own_url(self, url: str) -> str:
        """``url`` as a path of this server. Raises BadOutput for another host: nobody sends us elsewhere."""
        parts = urlsplit(urljoin(self._base.geturl() + "/", url))
        if (parts.scheme, parts.hostname, parts.port) != (self._base.scheme, self._base.hostname, self._base.port):
            raise BadOutput(
                _("The server points to another host (%(host)s) for its picture; nothing is fetched from there.")
                % {"host": parts.hostname or "?"}
            )
        return parts.geturl()

    def call(self, wanted: Call, check: Callable[[], None], pay: Callable[[], None] = lambda: None) -> Answer:
        """The answer with status 200. ``check`` is called several times a second, and what it raises passes through.

        ``pay`` is called before each time that the request is sent; what it raises passes through and nothing is sent.

        Raises the errors of ``engines.errors``.
        """
        self.require()
        for attempt in range(self._retries + 1):
            pay()
            try:
                answer = self._once(wanted, check)
            except ServerUnavailable:
                if attempt == self._retries:
                    raise
                _wait(PAUSES[min(attempt, len(PAUSES) - 1)], check)
                continue
            if answer.status == 200:
                return answer
            if answer.status not in _AGAIN or attempt == self._retries:
                raise _refusal(answer, self.host)
            _wait(_pause(answer, attempt), check)
        raise AssertionError("unreachable")

    def _once(self, wanted: Call, check: Callable[[], None]) -> Answer:
        heard = _Heard()
        thread = threading.Thread(target=self._ask, args=(wanted, heard), daemon=True)
        thread.start()
        deadline = time.monotonic() + self._timeout
        try:
            while not heard.done.wait(POLL):
                check()
                if time.monotonic() > deadline:  # also for a server that sends a byte now and then
                    raise self._too_slow()
        except BaseException:
            heard.stop.set()  # the thread ends at its next byte, or at its time limit
            raise
        if heard.error is not None:
            raise heard.error
        assert heard.answer is not None
        return heard.answer

    def _ask(self, wanted: Call, heard: _Heard) -> None:
        try:
            heard.answer = self._exchange(wanted, heard.stop)
        except BaseException as error:
            heard.error = error
        finally:
            heard.done.set()

    def _exchange(self, wanted: Call, stop: threading.Event) -> Answer:
        import requests

        headers = {"Accept": "*/*", "User-Agent": "shopgen-django"}
        if self._key_variable:
            headers["Authorization"] = f"Bearer {os.environ[self._key_variable]}"
        url = wanted.path if "://" in wanted.path else self._base.geturl() + wanted.path
        try:
            with requests.Session() as session:
                session.trust_env = False  # no proxy and no netrc of the environment: one host, and only that
                with session.request(
                    wanted.method, url, json=wanted.json, data=wanted.data, headers=headers, stream=True,
                    files=[(name, (file, content, kind)) for name, file, content, kind in wanted.files] or None,
                    allow_redirects=False, timeout=(min(10.0, self._timeout), self._timeout),
                ) as answer:
                    return Answer(
                        status=answer.status_code, headers=dict(answer.headers),
                        content=self._body(answer, wanted.limit, stop),
                    )
        except requests.RequestException as error:
            raise ServerUnavailable(
                _("The server %(host)s does not answer: %(why)s") % {"host": self.host, "why": _short(error)}
            ) from error

    def _too_slow(self) -> ServerUnavailable:
        return ServerUnavailable(
            _("The server %(host)s took longer than %(seconds)g seconds.")
            % {"host": self.host, "seconds": self._timeout}
        )

    def _body(self, answer: Any, limit: int, stop: threading.Event) -> bytes:
        parts, size = [], 0
        for chunk in answer.iter_content(CHUNK):
            size += len(chunk)
            if size > limit:
                raise BadOutput(
                    _("The server’s answer is larger than %(limit)d MB; it is not read further.")
                    % {"limit": limit >> 20}
                )
            if stop.is_set():
                raise self._too_slow()
            parts.append(chunk)
        return b"".join(parts)


def _checked(url: str) -> SplitResult:
    parts = urlsplit(url.rstrip("/"))
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ImproperlyConfigured(
            f"URL is the address where the API begins, like http://127.0.0.1:8000/v1, not {url!r}."
        )
    if parts.username or parts.password:
        raise ImproperlyConfigured("Keys don't belong into the URL: name an environment variable as KEY_VARIABLE.")
    return parts


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _wait(seconds: float, check: Callable[[], None]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        check()
        time.sleep(min(POLL, left))


def _pause(answer: Answer, attempt: int) -> float:
    """Seconds to wait: what the server asks for, within reason."""
    wanted = answer.headers.get("Retry-After") or answer.headers.get("retry-after") or ""
    if wanted.isdigit():
        return min(float(wanted), LONGEST_PAUSE)
    return PAUSES[min(attempt, len(PAUSES) - 1)]


def _refusal(answer: Answer, host: str) -> Exception:
    """The error for an answer that is none."""
    why = _words(answer)
    told = {"host": host, "status": answer.status, "why": why}
    if answer.status in (401, 403):
        return ServerRefused(_("The server %(host)s does not let us in (%(status)d): %(why)s") % told)
    if answer.status == 404:
        return ModelMissing(_("The server %(host)s has no such model or service: %(why)s") % told)
    if 300 <= answer.status < 400:
        return ServerRefused(
            _("The server %(host)s sends us elsewhere (%(status)d); redirects are not followed. Is the URL right?")
            % told
        )
    if answer.status in _AGAIN:
        return ServerUnavailable(_("The server %(host)s can't do it now (%(status)d): %(why)s") % told)
    return BadRequest(_("The server %(host)s refuses this (%(status)d): %(why)s") % told)


def _words(answer: Answer) -> str:
    """What the server says is wrong: ``{"error": {"message"}}``, ``{"error": text}``, ``{"detail": text or list}``."""
    try:
        told = json.loads(answer.content)
    except ValueError:
        return answer.content[:200].decode("utf-8", "replace").strip() or "—"
    found = told.get("error", told.get("detail", told)) if isinstance(told, dict) else told
    if isinstance(found, dict):
        found = found.get("message", found)
    if isinstance(found, list):
        found = "; ".join(str(each.get("msg", each)) if isinstance(each, dict) else str(each) for each in found)
    return str(found)[:300]


def _short(error: BaseException) -> str:
    cause = error
    while cause.__context__ is not None and cause.__context__ is not cause:
        cause = cause.__context__
    return str(cause)[:200] or type(error).__name__
