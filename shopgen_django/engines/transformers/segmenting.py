"""Engine that finds products by a segmentation network of the transformers library.

Three kinds: networks that give every pixel a label (SegFormer, Xie et al. 2021; DPT, Ranftl et al. 2021), networks that
find what words name (CLIPSeg, Lüddecke and Ecker 2022), and networks that are shown where to look by a box and points
(SAM, Kirillov et al. 2023). Their belief goes the way of every finder's: hints of a person, edges at full size, own
colours, doubts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _

from shopgen_django.conf import app_settings
from shopgen_django.engines.cutout import CutoutEngine
from shopgen_django.engines.diffusers.folder import read_json, shown
from shopgen_django.engines.diffusers.manifest import read_manifest, require_licence
from shopgen_django.engines.errors import BadOutput, WrongKind

from .base import Held, ModelEngine, moved
from .families import Way
from .folder import CONFIG, TextFolder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from shopgen_django.imaging.cutout import Finder
    from shopgen_django.imaging.cutout.hints import Prompts

    ByteArray = NDArray[np.uint8]
    FloatArray = NDArray[np.float32]

GROUND = frozenset({
    "background", "unlabeled", "unlabelled", "void", "other", "wall", "floor", "flooring", "ceiling", "sky", "ground",
    "earth", "grass", "road", "route", "sidewalk", "pavement", "path", "sand", "field", "water", "sea", "carpet", "rug",
    "carpeting", "curtain", "drape", "windowpane", "window", "door", "building", "edifice", "tree", "plant", "mountain",
})  # fmt: skip
"""Labels, in small letters, that are no product unless the option LABELS names them."""

_WORDS = "product"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What a call of the finder brings."""

    device: str
    threads: int


class Segmenter(ModelEngine, CutoutEngine):
    """Finds products by SegFormer or DPT with labels, CLIPSeg with words, or SAM with a person's box and clicks.

    Options beside those of every engine of this library: ``LABELS``, which labels are product (none: all but
    backgrounds, walls, floors and the like, :data:`GROUND`); ``WORDS``, what CLIPSeg looks for.
    """

    alias = "cutout"
    ways: ClassVar[tuple[Way, ...]] = ("labels", "words", "marks")

    def __init__(self, *, LABELS: Sequence[str] = (), WORDS: str = _WORDS, **options: Any) -> None:
        super().__init__(**options)
        if isinstance(LABELS, str) or not all(isinstance(label, str) for label in LABELS):
            raise ImproperlyConfigured(f"The option LABELS is a list of labels, not {LABELS!r}.")
        if not WORDS.strip():
            raise ImproperlyConfigured("The option WORDS says what is looked for, for example “product”.")
        self._labels, self._words = tuple(LABELS), WORDS.strip()
        self._facts: Mapping[str, str] = {}

    def check(self) -> list[str]:
        return super().check() if self._model else [
            "No model is configured: SHOPGEN['ENGINES']['cutout'] = {'BACKEND': …, 'OPTIONS': {'MODEL': "
            "'/path/to/model'}}."
        ]

    def folder(self) -> TextFolder:
        folder = super().folder()
        if folder.family.way == "labels":
            product_labels(folder, self._labels)
        elif self._labels:
            raise WrongKind(
                _("%(path)s has no labels, so the option LABELS means nothing for it: leave it out.")
                % {"path": shown(folder.path)}
            )
        return folder

    def identity(self) -> str:
        told = ", ".join(self._labels or ([self._words] if self._words != _WORDS else []))
        return f"{super().identity()} ({told})" if told else super().identity()

    def finder(self, *, threads: int = 1, device: str = "cpu") -> Finder:
        folder = self.folder()
        require_licence(
            read_manifest(folder.path), folder.path, noncommercial=app_settings.ALLOW_NONCOMMERCIAL_MODELS
        )
        return _SegmentFinder(self, _Work(device=device, threads=threads), folder.family.way)

    def facts(self) -> Mapping[str, str]:
        return self._facts

    def processor(self, library: Any, folder: TextFolder) -> Any:
        if folder.family.way != "labels":
            return super().processor(library, folder)
        return library.AutoImageProcessor.from_pretrained(
            str(folder.path), local_files_only=True, trust_remote_code=False
        )

    def belief(self, work: _Work, rgb: ByteArray, prompts: Prompts | None) -> FloatArray:
        """(h, w, 3) uint8 -> (any height, any width) float32 in 0..1: how surely it is product, framed as ``rgb``.

        Raises the errors of ``engines.errors``.
        """
        import numpy as np
        import torch
        from PIL import Image

        torch.set_num_threads(max(1, work.threads))
        with self.borrowed(work, lambda: None) as held, torch.inference_mode():
            picture = Image.fromarray(rgb)
            asked: Mapping[str, Callable[..., Any]] = {
                "labels": self._by_labels, "words": self._by_words, "marks": self._by_marks
            }
            found = asked[held.folder.family.way](held, picture, prompts).float()
            if not bool(torch.isfinite(found).all()):
                raise BadOutput(
                    _("The model computed values that are no numbers (NaN). Its files may be damaged, or it may need "
                      "another precision: see the option DTYPE.")
                )
            self._facts = self._facts_of(held)
            return np.asarray(found.cpu().numpy(), np.float32)

    def _facts_of(self, held: Held) -> Mapping[str, str]:
        manifest, way = read_manifest(held.folder.path), held.folder.family.way
        told = {"labels": ", ".join(self._labels), "words": self._words, "marks": ""}[way]
        facts = {
            "cutout_model": Path(self._model).name, "cutout_model_kind": held.folder.architecture,
            "cutout_model_sha256": held.digest, "cutout_model_licence": manifest.licence if manifest else "",
            "cutout_looked_for": told,
        }
        return {name: value for name, value in facts.items() if value}

    def _by_labels(self, held: Held, picture: Any, _prompts: Prompts | None) -> Any:
        """The share of all labels' probability that those of products have."""
        inputs = held.processor(images=picture, return_tensors="pt")
        logits = held.network(pixel_values=moved(inputs["pixel_values"], held)).logits[0].float()
        return logits.softmax(0)[list(product_labels(held.folder, self._labels))].sum(0)

    def _by_words(self, held: Held, picture: Any, _prompts: Prompts | None) -> Any:
        inputs = held.processor(text=[self._words], images=[picture], padding=True, return_tensors="pt")
        logits = held.network(**{name: moved(value, held) for name, value in inputs.items()}).logits
        return logits.reshape(logits.shape[-2:]).float().sigmoid()

    def _by_marks(self, held: Held, picture: Any, prompts: Prompts | None) -> Any:
        """The best of the masks for the box and points; the whole picture's box without any."""
        told: dict[str, Any] = {}
        box = prompts.box if prompts is not None else (0.0, 0.0, float(picture.width), float(picture.height))
        if box is not None:
            told["input_boxes"] = [[[float(side) for side in box]]]
        points = [*prompts.keep, *prompts.drop] if prompts is not None else []
        if prompts is not None and points:
            told["input_points"] = [[[[x, y] for x, y in points]]]
            told["input_labels"] = [[[1] * len(prompts.keep) + [0] * len(prompts.drop)]]
        inputs = held.processor(images=picture, return_tensors="pt", **told)
        sizes = {name: inputs.pop(name) for name in ("original_sizes", "reshaped_input_sizes")}
        # A box leaves little doubt about what is meant; points alone may mean a part or the whole.
        answer = held.network(
            **{name: moved(value, held) for name, value in inputs.items()}, multimask_output=box is None
        )
        masks = held.processor.image_processor.post_process_masks(
            answer.pred_masks.float().cpu(), sizes["original_sizes"], sizes["reshaped_input_sizes"], binarize=False
        )[0][0]
        return masks[int(answer.iou_scores[0, 0].argmax())].sigmoid()


class _SegmentFinder:
    """The engine as the cut-out takes it. Holds no network: that lies on the workers' common shelf."""

    def __init__(self, engine: Segmenter, work: _Work, way: Way) -> None:
        self._engine, self._work = engine, work
        self.prompted = way == "marks"
        # Words and marks are answered on a coarse grid.
        self.coarse = way == "words"

    def __call__(self, rgb: ByteArray, prompts: Prompts | None = None) -> FloatArray:
        return self._engine.belief(self._work, rgb, prompts)


def product_labels(folder: TextFolder, wanted: Sequence[str]) -> tuple[int, ...]:
    """Numbers of the labels that are product: those that ``wanted`` names (whatever the case of their letters; of a
    label with several names any), else all but :data:`GROUND`.

    Raises WrongKind, with the model's labels, for one that it does not know, for labels without names, and when
    everything or nothing would be product.
    """
    names = read_json(folder.path / CONFIG).get("id2label")
    labels = {int(number): str(name) for number, name in names.items()} if isinstance(names, dict) and names else {
        0: "LABEL_0", 1: "LABEL_1"  # what the library takes for granted where a configuration says nothing
    }
    known = {number: _names(label) for number, label in labels.items()}
    listed = ", ".join(labels[number] for number in sorted(labels))
    path = shown(folder.path)
    unknown = [label for label in wanted if not any(label.casefold().strip() in own for own in known.values())]
    if unknown:
        raise WrongKind(
            _("%(path)s does not know the labels %(names)s. It knows: %(known)s.")
            % {"path": path, "names": ", ".join(unknown), "known": listed}
        )
    if not wanted and all(label.upper().startswith("LABEL_") for label in labels.values()):
        raise WrongKind(
            _("The labels of %(path)s have no names (%(known)s): say in the option LABELS which of them are product.")
            % {"path": path, "known": listed}
        )
    asked = {label.casefold().strip() for label in wanted}
    found = tuple(
        number for number, own in sorted(known.items()) if (own & asked if asked else not own & GROUND)
    )
    if not found or len(found) == len(labels):
        raise WrongKind(
            _("Of the labels of %(path)s all or none would be product (%(known)s): say in the option LABELS which are.")
            % {"path": path, "known": listed}
        )
    return found


def _names(label: str) -> frozenset[str]:
    """A label may be several names for one thing: "floor;flooring", "rug, carpet"."""
    parts = [label, *label.replace(";", ",").split(",")]
    return frozenset(part.casefold().strip() for part in parts if part.strip())
