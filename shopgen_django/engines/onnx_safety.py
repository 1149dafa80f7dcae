"""Engine behind ``safety``: whether a picture that a model made may be shown at all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _

from shopgen_django.exceptions import PermanentError

from .base import Engine
from .networks import HeldNetwork, identity_of, problems_of
from .onnx_tags import PART, _load

if TYPE_CHECKING:
    from PIL import Image


class SafetyEngine(Engine, ABC):
    """Judges pictures."""

    @abstractmethod
    def reason_against(self, image: Image.Image) -> str:
        """Why the picture may not be shown; "" when nothing speaks against it.

        Raises PermanentError when it can't be judged: then it may not be shown either.
        """


class OnnxSafety(SafetyEngine):
    """A labelling network whose scores for some labels must stay low.

    ``MODEL``: its name (``shopgen_model add opennsfw``). ``LIMITS``: label to the score, 0 to 1, from which a picture
    is refused.
    """

    def __init__(self, *, MODEL: str = "", LIMITS: Mapping[str, float] | None = None, **options: Any) -> None:
        super().__init__(MODEL=MODEL, **options)
        self._model, self._limits = MODEL, dict(LIMITS or {"nsfw": 0.5})
        if not all(0.0 < limit <= 1.0 for limit in self._limits.values()):
            raise ImproperlyConfigured("The option LIMITS maps labels to scores over 0, up to 1.")
        self._held: HeldNetwork[Any] = HeldNetwork(PART, _load)

    def check(self) -> list[str]:
        return problems_of(self._model, PART) if self._model else []

    def identity(self) -> str:
        return identity_of(self._model, PART) if self._model else ""

    def reason_against(self, image: Image.Image) -> str:
        from shopgen_django.imaging.network_card import NetworkError

        if not self._model:
            raise PermanentError(
                _("No network judges pictures: name one in ENGINES['safety']['OPTIONS']['MODEL'], for example after "
                  "“manage.py shopgen_model add opennsfw”."), code="model_unavailable",
            )  # fmt: skip
        network = self._held.get(self._model)
        unknown = sorted(set(self._limits) - set(network.spec.labels))
        if unknown:
            raise PermanentError(
                _("The network %(name)s has no label %(labels)s; it knows %(known)s.")
                % {"name": self._model, "labels": ", ".join(unknown), "known": ", ".join(network.spec.labels)},
                code="model_unavailable",
            )
        try:
            scores = network(image)
        except NetworkError as error:
            raise PermanentError(str(error), code="bad_output") from error
        over = [(label, scores[label]) for label, limit in self._limits.items() if scores[label] >= limit]
        if not over:
            return ""
        label, score = max(over, key=lambda pair: pair[1])
        return _("The picture looks unsafe to the network %(name)s (%(label)s %(score)d %%).") % {
            "name": self._model, "label": label, "score": round(100 * score),
        }  # fmt: skip

    def free(self) -> None:
        self._held.free()
