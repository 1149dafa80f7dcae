"""A small HTTP client with cookies, as a program of the shop's staff would use it. Standard library only."""

from __future__ import annotations

import hashlib
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http.cookiejar import CookieJar
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    method: str
    url: str
    status: int
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode(errors="replace")

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


class ShopClient:
    """Talks to one web server; paths are given from its root."""

    def __init__(self, base: str) -> None:
        self.base = base
        self._cookies = CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),  # the server is on this machine
            urllib.request.HTTPCookieProcessor(self._cookies),
        )

    def cookie(self, name: str) -> str:
        return next((cookie.value or "" for cookie in self._cookies if cookie.name == name), "")

    def answers(self) -> bool:
        """Whether anything listens."""
        try:
            self.get("/")
        except (OSError, http.client.HTTPException):
            return False
        return True

    def get(self, path: str) -> Answer:
        return self._send("GET", path, None, {})

    def page(self, path: str) -> str:
        answer = self.get(path)
        if answer.status != 200:
            raise OSError(f"{answer.url} answered {answer.status}")
        return answer.text

    def form(self, path: str, fields: dict[str, str]) -> Answer:
        return self._send("POST", path, urllib.parse.urlencode(fields).encode(), {})

    def post(self, path: str, body: Any, *, idempotency_key: str = "") -> Answer:
        """Send JSON with the CSRF token of the session."""
        headers = {"Content-Type": "application/json", "X-CSRFToken": self.cookie("csrftoken")}
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        return self._send("POST", path, json.dumps(body).encode(), headers)

    def _send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        url = urllib.parse.urljoin(self.base, path)
        request = urllib.request.Request(
            url, data=body, method=method, headers={"Referer": self.base, "Accept-Language": "en", **headers}
        )
        try:
            with self._opener.open(request, timeout=60) as response:
                return Answer(method=method, url=url, status=response.status, content=response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(method=method, url=url, status=error.code, content=error.read())
