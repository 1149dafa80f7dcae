"""What servers of OpenAI's shapes want to hear: each with its own names, masks and limits.

vLLM-Omni, Ollama and LocalAI as their sources had it in 2026; ``openai`` as its reference describes it. What a server
does otherwise is set by the engine's options (``MASK``, ``REPLY``).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from shopgen_django.engines.pictures import PictureRequest, Task

from .client import Call

if TYPE_CHECKING:
    from PIL import Image

MaskRule = Literal["white", "transparent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One server's ways."""

    name: str
    tasks: tuple[Task, ...]
    seeds: bool
    """Whether the server takes a seed, so that a picture can be made again."""
    negative: bool
    mask: MaskRule = "white"
    reply: str = "b64_json"
    """``response_format``; "" where the server has no such field."""


DIALECTS: Mapping[str, Dialect] = {
    each.name: each
    for each in (
        Dialect(name="vllm", tasks=("text", "image", "inpaint"), seeds=True, negative=True),
        Dialect(name="ollama", tasks=("text",), seeds=False, negative=False),
        Dialect(name="localai", tasks=("text", "image", "inpaint"), seeds=False, negative=True),
        Dialect(
            name="openai", tasks=("text", "image", "inpaint"), seeds=False, negative=False, mask="transparent", reply=""
        ),
    )
}


def call_for(dialect: Dialect, model: str, request: PictureRequest, seed: int, *, mask: MaskRule, limit: int) -> Call:
    """The request for one picture."""
    if request.task == "text":
        body = _generation(dialect, model, request, seed)
        return Call(method="POST", path="/images/generations", json=body, limit=limit)
    assert request.image is not None
    if dialect.name == "localai" and request.task == "image":
        body = {**_generation(dialect, model, request, seed), "file": _base64(_png(request.image))}
        return Call(method="POST", path="/images/generations", json=body, limit=limit)
    fields = {"prompt": request.prompt, "size": _size(request), "n": "1", "model": model}
    fields = {name: value for name, value in fields.items() if value}
    files = [("image", "image.png", _png(request.image), "image/png")]
    path = "/images/edits"
    if dialect.name == "vllm":
        fields |= {
            "seed": str(seed), "num_inference_steps": str(request.steps), "guidance_scale": f"{request.guidance:g}",
            "output_format": "png", "response_format": dialect.reply,
        }  # fmt: skip
        fields |= {"negative_prompt": request.negative} if request.negative else {}
    if request.task == "inpaint":
        assert request.mask is not None
        field = "mask_image" if dialect.name == "vllm" else "mask"
        files.append((field, "mask.png", _mask(request.mask, mask), "image/png"))
        if dialect.name == "localai":
            path = "/images/inpainting"
            fields |= {"steps": str(request.steps)}
    return Call(method="POST", path=path, data=fields, files=tuple(files), limit=limit)


def _generation(dialect: Dialect, model: str, request: PictureRequest, seed: int) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "prompt": request.prompt, "size": _size(request)}
    if dialect.reply:
        body["response_format"] = dialect.reply
    if dialect.name != "ollama":
        body["n"] = 1
    if dialect.name == "vllm":
        body |= {"seed": seed, "num_inference_steps": request.steps, "guidance_scale": request.guidance}
    if dialect.name == "localai":
        body["step"] = request.steps
    if request.negative and dialect.negative:
        body["negative_prompt"] = request.negative
    return {name: value for name, value in body.items() if value not in ("", None)}


def _size(request: PictureRequest) -> str:
    return f"{request.width}x{request.height}"


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _mask(mask: Image.Image, rule: MaskRule) -> bytes:
    """White is repainted; or, where the server wants it so, what is transparent."""
    from PIL import Image, ImageOps

    if rule == "white":
        return _png(mask.convert("L"))
    clear = Image.new("RGBA", mask.size, (0, 0, 0, 255))
    clear.putalpha(ImageOps.invert(mask.convert("L")))
    return _png(clear)


def _base64(content: bytes) -> str:
    import base64

    return base64.b64encode(content).decode("ascii")
