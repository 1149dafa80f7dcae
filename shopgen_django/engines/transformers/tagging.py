"""Engine that chooses tags for a picture among given ones, by a network that compares pictures with texts.

CLIP (Radford et al. 2021, section 3.1: zero-shot by comparing embeddings) and SigLIP (Zhai et al. 2023). A tag is kept
when the picture is nearer to it than to words that fit any picture: the networks' own scores depend on how many tags
are compared, this does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _

from shopgen_django.engines.errors import BadOutput, BadRequest
from shopgen_django.engines.texts import TextRequest, Written

from .base import FolderEngine, Held, moved
from .families import Way
from .writing import facts_of

_NEUTRAL = ("a photo", "a product photo", "a thing", "an item in a shop")
_AT_ONCE = 32


class ZeroShotTags(FolderEngine):
    """Tags by a CLIP or SigLIP model.

    Options beside those of every engine of this library: ``WORDS``, how a tag is put to the model ("a photo of {tag}");
    ``MINIMUM``, how sure it has to be that a tag fits better than no tag, 0 to 1.
    """

    alias = "tags"
    ways: ClassVar[tuple[Way, ...]] = ("pairs",)

    def __init__(self, *, WORDS: str = "a photo of {tag}", MINIMUM: float = 0.5, **options: Any) -> None:
        super().__init__(**options)
        if "{tag}" not in WORDS:
            raise ImproperlyConfigured(f"The option WORDS holds {{tag}}, where the tag stands; not {WORDS!r}.")
        self._words, self._minimum = WORDS, float(MINIMUM)

    def write(
        self, request: TextRequest, *, on_step: Callable[[float], None] = lambda share: None,
        check: Callable[[], None] = lambda: None,
    ) -> Written:
        if not request.tags:
            raise BadRequest(_("This model chooses among tags that you give it. Write some."))
        with self.borrowed(request, check) as held:
            scores = self.scores(held, request, on_step, check)
            ranked = sorted(zip(request.tags, scores, strict=True), key=lambda pair: -pair[1])
            chosen = [(tag, score) for tag, score in ranked if score >= self._minimum][: request.max_tags]
            if not chosen:
                raise BadOutput(
                    _("None of the tags fits: the nearest is “%(tag)s” with %(score)d %%.")
                    % {"tag": ranked[0][0], "score": round(100 * ranked[0][1])}
                )
            told = ", ".join(f"{tag} {score:.2f}" for tag, score in chosen)
            texts = "\n".join(tag for tag, _score in chosen)
            return Written(texts={"tags": texts}, facts={**facts_of(held), "scores": told})

    def scores(
        self, held: Held, request: TextRequest, on_step: Callable[[float], None], check: Callable[[], None]
    ) -> list[float]:
        """For each tag how sure it is, 0..1, that the tag fits the pictures better than neutral words do."""
        import torch

        with torch.inference_mode():
            pictures = []
            for image in request.images:
                check()
                inputs = held.processor(images=image, return_tensors="pt")
                pixels = {name: moved(value, held) for name, value in inputs.items()}
                pictures.append(_unit(held.network.get_image_features(**pixels)))
            picture = torch.nn.functional.normalize(torch.cat(pictures).mean(0, keepdim=True), dim=-1)
            words = [self._words.format(tag=tag) for tag in request.tags]
            texts = self._texts(held, [*_NEUTRAL, *words], on_step, check)
            scale = held.network.logit_scale.exp().float()
            logits = (scale * picture @ texts.T)[0]
            neutral = logits[: len(_NEUTRAL)].logsumexp(0) - torch.tensor(float(len(_NEUTRAL))).log()
            sure = torch.sigmoid(logits[len(_NEUTRAL) :] - neutral)
            if not bool(torch.isfinite(sure).all()):
                raise BadOutput(
                    _("The model computed values that are no numbers (NaN). Its files may be damaged, or it may need "
                      "another precision: see the option DTYPE.")
                )
            return [float(each) for each in sure]

    def _texts(
        self, held: Held, words: Sequence[str], on_step: Callable[[float], None], check: Callable[[], None]
    ) -> Any:
        """Embeddings of all words, of length 1; a shop's list is the same for all its products, so it is kept."""
        import torch

        key = hashlib.sha256("\0".join(words).encode()).hexdigest()
        if held.known.get("key") != key:
            parts = []
            padding = "max_length" if held.folder.architecture.startswith("Siglip") else True
            for start in range(0, len(words), _AT_ONCE):
                check()
                inputs = held.processor(
                    text=list(words[start : start + _AT_ONCE]), padding=padding, truncation=True, return_tensors="pt"
                )
                parts.append(_unit(held.network.get_text_features(**{k: moved(v, held) for k, v in inputs.items()})))
                on_step(min(1.0, (start + _AT_ONCE) / len(words)))
            held.known = {"key": key, "texts": torch.cat(parts)}
        return held.known["texts"]


def _unit(features: Any) -> Any:
    """Embeddings as float32 of length 1; today's library wraps them, earlier ones did not."""
    import torch

    found = getattr(features, "pooler_output", features)
    return torch.nn.functional.normalize(found.float(), dim=-1)
