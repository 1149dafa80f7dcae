"""Engine behind ``tags`` that knows its labels by itself: a labelling network of the shop's own, on onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _

from shopgen_django.engines.errors import BadOutput, ModelMissing
from shopgen_django.engines.texts import TextEngine, TextRequest, Writer, Written
from shopgen_django.exceptions import PermanentError

from .networks import HeldNetwork, folder_of, identity_of, is_added, problems_of

PART = "labels"


class OnnxTags(TextEngine):
    """Tags by a network with labels of its own (``shopgen_model add FILE --purpose tags``).

    ``MODEL``: its name. ``MINIMUM``: the score, 0 to 1, from which a label becomes a tag. ``TAGS``: tag of each label
    ("" leaves a label out); a label that is not listed is its own tag. When a request lists tags, only those are given.
    """

    def __init__(
        self, *, MODEL: str = "", MINIMUM: float = 0.5, TAGS: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        super().__init__(MODEL=MODEL, **options)
        if not 0.0 <= float(MINIMUM) <= 1.0:
            raise ImproperlyConfigured(f"The option MINIMUM is 0 to 1, not {MINIMUM!r}.")
        self._model, self._minimum, self._tags = MODEL, float(MINIMUM), dict(TAGS or {})
        self._held: HeldNetwork[Any] = HeldNetwork(PART, _load)

    def check(self) -> list[str]:
        return problems_of(self._model, PART) if self._model else []

    def identity(self) -> str:
        return identity_of(self._model, PART) if self._model else ""

    def describe(self) -> Writer:
        if not self._model or not is_added(self._model):
            raise ModelMissing(
                _("No labelling network is configured: name one that was added in ENGINES['tags']['OPTIONS']['MODEL'].")
            )
        from shopgen_django.imaging.network_card import NetworkError, read_card

        try:
            card = read_card(folder_of(self._model), PART)
        except NetworkError as error:
            raise ModelMissing(str(error)) from error
        return Writer(
            name=self._model, model_kind="ONNX", kinds=("tags",), licence=str(card.get("licence") or ""),
            sha256=str(card["sha256"]), bytes=int(card.get("bytes") or 0), heeds_instructions=False,
        )

    def write(
        self, request: TextRequest, *, on_step: Callable[[float], None] = lambda share: None,
        check: Callable[[], None] = lambda: None,
    ) -> Written:
        from shopgen_django.imaging.network_card import NetworkError

        described = self.describe()
        network = self._held.get(self._model, threads=request.threads)
        found: dict[str, float] = {}
        for number, image in enumerate(request.images, start=1):
            check()
            try:
                scores = network(image)
            except NetworkError as error:
                raise PermanentError(str(error), code="bad_output") from error
            for label, score in scores.items():
                tag = self._tags.get(label, label)
                # What one picture of a product shows clearly, another may hide.
                found[tag] = max(found.get(tag, 0.0), score)
            on_step(number / len(request.images))
        wanted = {tag.casefold() for tag in request.tags}
        ranked = sorted(
            ((tag, score) for tag, score in found.items() if tag and (not wanted or tag.casefold() in wanted)),
            key=lambda pair: -pair[1],
        )
        chosen = [(tag, score) for tag, score in ranked if score >= self._minimum][: request.max_tags]
        if not chosen:
            raise BadOutput(
                _("None of the tags fits: the nearest is “%(tag)s” with %(score)d %%.")
                % {"tag": ranked[0][0] if ranked else "-", "score": round(100 * ranked[0][1]) if ranked else 0}
            )
        return Written(
            texts={"tags": "\n".join(tag for tag, _score in chosen)},
            facts={
                "model_sha256": described.sha256,
                "scores": ", ".join(f"{tag} {score:.2f}" for tag, score in chosen),
            },
        )

    def free(self) -> None:
        self._held.free()


def _load(folder: Any, *, threads: int) -> Any:
    from shopgen_django.imaging.onnx_labels import OnnxLabels

    return OnnxLabels(folder, threads=threads)
