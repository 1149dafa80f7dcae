"""Engine over models that write about pictures: captioners, and models that follow instructions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

from django.utils.translation import gettext as _

from shopgen_django.engines.errors import BadOutput, BadRequest, WrongKind
from shopgen_django.engines.texts import TextKind, TextRequest, Written
from shopgen_django.engines.wording import TOKENS, answer, question, tokens

from .base import FolderEngine, Held
from .families import Way
from .folder import TextFolder


class Transformers(FolderEngine):
    """Title, description, tags and alt text by a model of the transformers library.

    Captioners (BLIP, GIT, ViT with a text decoder, Florence-2, PaliGemma) write what they can; models that follow
    instructions (LLaVA, LLaVA-NeXT and OneVision, Idefics 3, SmolVLM, Gemma 3, Mistral 3) write everything. Decoding
    is greedy: the same model, pictures and words give the same text.
    """

    alias = "text"
    ways: ClassVar[tuple[Way, ...]] = ("caption", "prompt", "chat")

    def write(
        self, request: TextRequest, *, on_step: Callable[[float], None] = lambda share: None,
        check: Callable[[], None] = lambda: None,
    ) -> Written:
        with self.borrowed(request, check) as held:
            ask = _Asker(held, request, on_step, check)
            way = held.folder.family.way
            texts = ask.chat() if way == "chat" else ask.each(prompts=way == "prompt")
            return Written(texts=texts, facts=facts_of(held))

    def processor(self, library: Any, folder: TextFolder) -> Any:
        if folder.architecture == "VisionEncoderDecoderModel":
            # Such folders name no processor of their own: one half reads the picture, the other half writes.
            where: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
            return _Halves(
                library.AutoImageProcessor.from_pretrained(str(folder.path), **where),
                library.AutoTokenizer.from_pretrained(str(folder.path), **where),
            )
        found = super().processor(library, folder)
        if folder.family.way == "chat" and not getattr(found, "chat_template", None):
            raise WrongKind(
                _("%(path)s has no chat template (chat_template.jinja), so nobody knows how to ask it. Take the "
                  "“instruct” or “it” variant of the model.") % {"path": folder.path.name}
            )
        return found


class _Halves:
    """An image processor and a tokenizer in the shape of a processor."""

    def __init__(self, images: Any, words: Any) -> None:
        self._images, self._words = images, words

    def __call__(self, *, images: Any, return_tensors: str) -> Any:
        return self._images(images=images, return_tensors=return_tensors)

    def batch_decode(self, rows: Any, **options: Any) -> list[str]:
        return list(self._words.batch_decode(rows, **options))


class _Asker:
    """One request's questions to a loaded model."""

    def __init__(
        self, held: Held, request: TextRequest, on_step: Callable[[float], None], check: Callable[[], None]
    ) -> None:
        self.held, self.request, self.on_step, self.check = held, request, on_step, check
        self._done, self._parts = 0, 1

    def chat(self) -> Mapping[TextKind, str]:
        """All kinds in one answer; where that is no JSON, once more with what was wrong."""
        self._parts = 2
        asked = question(self.request)
        first = self._talk([("user", asked)])
        try:
            return answer(first, self.request)
        except BadOutput as error:
            again = f"{error} Answer again with the JSON object alone."
            return answer(self._talk([("user", asked), ("assistant", first), ("user", again)]), self.request)

    def _talk(self, turns: Sequence[tuple[str, str]]) -> str:
        messages: list[dict[str, Any]] = []
        for number, (role, text) in enumerate(turns):
            content: list[dict[str, Any]] = [{"type": "text", "text": text}]
            if number == 0:
                content = [{"type": "image", "image": image} for image in self.request.images] + content
            messages.append({"role": role, "content": content})
        inputs = self.held.processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        return self._generate(inputs, tokens(self.request), skip=int(inputs["input_ids"].shape[1]))

    def each(self, *, prompts: bool) -> Mapping[TextKind, str]:
        """One question for each kind, about the first picture: such models look at one."""
        self._parts = len(self.request.kinds)
        made: dict[TextKind, str] = {}
        for kind in self.request.kinds:
            words = self.held.folder.family.prompts.get(kind, "").format(language=self.request.language.split("-")[0])
            given: dict[str, Any] = {"text": words} if prompts else {}
            inputs = self.held.processor(images=self.request.images[0], return_tensors="pt", **given)
            skip = int(inputs["input_ids"].shape[1]) if prompts and self._continues() else 0
            made[kind] = self._generate(inputs, 2 * TOKENS[kind], skip=skip, no_repeat_ngram_size=5)
        return made

    def _continues(self) -> bool:
        """Whether the model's answer begins with the question: one without an encoder of its own for the words."""
        return not self.held.network.config.is_encoder_decoder

    def _separate(self, inputs: Any) -> bool:
        """Whether question and answer have places of their own."""
        return bool(self.held.network.config.is_encoder_decoder) or "input_ids" not in inputs

    def _generate(self, inputs: Any, room: int, *, skip: int, **options: Any) -> str:
        import torch

        held = self.held
        room = min(room, _positions(held.network.config) - (0 if self._separate(inputs) else skip) - 2)
        if room < 8:
            raise BadRequest(_("The question and the pictures are longer than this model can read."))
        moved = {
            name: value.to(held.device, getattr(torch, held.dtype) if value.is_floating_point() else value.dtype)
            for name, value in inputs.items() if hasattr(value, "is_floating_point")
        }  # fmt: skip
        began, parts = self._done / self._parts, self._parts
        watch = _watch(self.check, lambda share: self.on_step(began + share / parts), room)
        with torch.inference_mode():
            rows = held.network.generate(
                **moved, max_new_tokens=room, do_sample=False, num_beams=1, logits_processor=watch, **options
            )
        self._done += 1
        text = held.processor.batch_decode(rows[:, skip:], skip_special_tokens=True)[0]
        return str(text).strip()


def _positions(config: Any) -> int:
    """Tokens that the half of a model which writes has places for."""
    writer = config.get_text_config(decoder=True)
    found = getattr(writer, "max_position_embeddings", None) or getattr(writer, "n_positions", None)
    return int(found or 2048)


def _watch(check: Callable[[], None], on_step: Callable[[float], None], room: int) -> Any:
    """Looks on at every word: whether somebody wants it to stop, and whether the numbers are numbers."""
    import torch
    from transformers import LogitsProcessor, LogitsProcessorList

    class Watch(LogitsProcessor):
        steps = 0

        def __call__(self, input_ids: Any, scores: Any) -> Any:
            check()
            if bool(torch.isnan(scores).any()) or bool((scores == float("-inf")).all()):
                raise BadOutput(
                    _("The model computed values that are no numbers (NaN). Its files may be damaged, or it may need "
                      "another precision: see the option DTYPE.")
                )
            self.steps += 1
            on_step(min(1.0, self.steps / room))
            return scores

    return LogitsProcessorList([Watch()])


def facts_of(held: Held) -> dict[str, str]:
    """What is needed to make the same again."""
    return {"model_sha256": held.digest, "device": held.device, "precision": held.dtype, "versions": _versions()}


@cache
def _versions() -> str:
    """Kept, since reading a package's metadata takes milliseconds."""
    from importlib import metadata

    return ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers"))

