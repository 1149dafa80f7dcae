"""A server of its own on this machine that speaks OpenAI's shapes for pictures, with faults when told so."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image


def png(size: tuple[int, int], colour: str = "#4488cc") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


class Told:
    """What the server was asked (``asked``), and what it does wrong next (``faults``, one per request)."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.faults: list[str] = []
        self.reply = "b64_json"
        self.url = ""
        self.texts: dict[str, Any] = {"title": "Red hat", "alt_text": "A red hat"}
        self.released = threading.Event()


class Handler(BaseHTTPRequestHandler):
    told: Told

    def log_message(self, *args: Any) -> None:
        """Nothing on the terminal."""

    def do_GET(self) -> None:
        self.told.asked.append({"path": self.path, "headers": dict(self.headers)})
        self._send(200, png((64, 48)), "image/png")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = {"path": self.path, "headers": dict(self.headers), **self._read(body)}
        self.told.asked.append(asked)
        fault = self.told.faults.pop(0) if self.told.faults else ""
        if fault:
            getattr(self, f"_{fault}")(asked)
        elif self.path.endswith("/chat/completions"):
            self._chat(asked)
        else:
            self._picture(asked)

    def _read(self, body: bytes) -> dict[str, Any]:
        kind = self.headers["Content-Type"]
        if kind.startswith("application/json"):
            return {"json": json.loads(body)}
        message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
        fields = {}
        for part in message.iter_parts():
            name = part.get_param("name", header="content-disposition")
            content = part.get_payload(decode=True)
            fields[str(name)] = content if part.get_filename() else content.decode()
        return {"fields": fields}

    def _chat(self, asked: dict[str, Any], content: Any = None, **choice: Any) -> None:
        if content is None:
            content = json.dumps(self.told.texts)
        message = {"role": "assistant", "content": content}
        self._json(200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}]})

    def _picture(self, asked: dict[str, Any], content: bytes | None = None) -> None:
        size = asked.get("json", asked.get("fields", {})).get("size", "64x48")
        width, height = map(int, size.split("x"))
        made = content if content is not None else png((width, height))
        first: dict[str, Any] = {"b64_json": base64.b64encode(made).decode()}
        if self.told.reply == "url":
            first = {"url": self.told.url or "/generated-images/one.png", "revised_prompt": "a nicer hat"}
        self._json(200, {"created": 1, "data": [first]})

    def _json(self, status: int, value: Any, **headers: str) -> None:
        self._send(status, json.dumps(value).encode(), "application/json", **headers)

    def _send(self, status: int, content: bytes, kind: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    # -- faults -----------------------------------------------------------------------------------

    def _busy(self, asked: Any) -> None:
        self._json(429, {"error": {"message": "too many requests", "code": 429}}, Retry_After="0")

    def _broken(self, asked: Any) -> None:
        self._send(500, b"<h1>oops</h1>", "text/html")

    def _refuses(self, asked: Any) -> None:
        self._json(422, {"detail": [{"loc": ["size"], "msg": "size must be a multiple of 32"}]})

    def _bad_request(self, asked: Any) -> None:
        self._json(400, {"error": {"message": "no such scheduler", "type": "invalid_request_error"}})

    def _locked(self, asked: Any) -> None:
        self._json(401, {"error": "missing key"})

    def _unknown(self, asked: Any) -> None:
        self._json(404, {"error": {"message": "model not found"}})

    def _elsewhere(self, asked: Any) -> None:
        self._send(302, b"", "text/plain", Location="http://example.org/")

    def _no_json(self, asked: Any) -> None:
        self._send(200, b"hello", "application/json")

    def _no_picture(self, asked: Any) -> None:
        self._json(200, {"created": 1, "data": []})

    def _not_base64(self, asked: Any) -> None:
        self._json(200, {"data": [{"b64_json": "%%%"}]})

    def _not_a_picture(self, asked: Any) -> None:
        self._picture(asked, b"GIF89a no picture")

    def _wrong_size(self, asked: Any) -> None:
        self._picture(asked, png((32, 32)))

    def _black(self, asked: Any) -> None:
        self._picture(asked, png((64, 48), "black"))

    def _huge(self, asked: Any) -> None:
        self._send(200, b"x" * (3 << 20), "application/json")

    def _hang(self, asked: Any) -> None:
        self.told.released.wait(20)
        self._picture(asked)

    def _chatty(self, asked: Any) -> None:
        self._chat(asked, "I see a hat.")

    def _fenced(self, asked: Any) -> None:
        self._chat(asked, f"Of course!\n```json\n{json.dumps(self.told.texts)}\n```")

    def _in_parts(self, asked: Any) -> None:
        self._chat(asked, [{"type": "text", "text": json.dumps(self.told.texts)}])

    def _too_long(self, asked: Any) -> None:
        self._chat(asked, '{"title": "Re', finish_reason="length")

    def _unwilling(self, asked: Any) -> None:
        self._chat(asked, "", finish_reason="content_filter")

    def _no_choices(self, asked: Any) -> None:
        self._json(200, {"choices": []})

    def _drip(self, asked: Any) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        for _byte in range(40):
            if self.told.released.wait(0.1):
                return
            self.wfile.write(b"x" * 5)
            self.wfile.flush()

    def _cut(self, asked: Any) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"{")


@contextmanager
def running() -> Iterator[tuple[str, Told]]:
    """The server's address (with /v1) and what it was told."""
    told = Told()
    handler = type("OwnHandler", (Handler,), {"told": told})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", told
    finally:
        told.released.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
