"""A folder of the transformers library read without loading anything: its kind, its size, whether it is safe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from django.utils.translation import gettext as _

from shopgen_django.engines.diffusers.folder import read_json, shown, weights_of
from shopgen_django.engines.errors import ModelMissing, UnsafeFile, WrongKind

from .families import ELSEWHERE, FAMILIES, WITH_CODE, Family, family_of

CONFIG = "config.json"
_MAY_NAME_CODE = (
    "tokenizer_config.json", "preprocessor_config.json", "processor_config.json", "generation_config.json",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFolder:
    """A folder that has passed every check which needs no library."""

    path: Path
    architecture: str
    """Its class, for example "BlipForConditionalGeneration"."""
    family: Family
    weights: tuple[Path, ...]
    variant: str
    numbers: int
    """How many numbers the weights consist of, whatever their precision."""

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.weights)


def is_text_folder(path: Path) -> bool:
    """Whether a folder looks like one of this library: a configuration that names its class."""
    return (path / CONFIG).is_file()


def read_text_folder(path: Path) -> TextFolder:
    """What lies in ``path``.

    Raises ModelMissing (no such folder), WrongKind (a network that is not known here), UnsafeFile (pickles, code),
    ModelCorrupt (missing or cut files).
    """
    if not path.is_dir() or not (path / CONFIG).is_file():
        raise ModelMissing(
            _("There is no model folder %(path)s: a folder with config.json and weights, as the transformers library "
              "saves it.") % {"path": shown(path)}
        )
    config = read_json(path / CONFIG)
    for name in _MAY_NAME_CODE:
        if (path / name).is_file() and "auto_map" in read_json(path / name):
            raise UnsafeFile(
                _("%(path)s asks for code from the model's folder (auto_map). That is never run.")
                % {"path": shown(path / name)}
            )
    named = config.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and len(named) == 1 else ""
    family = family_of(architecture)
    if architecture in WITH_CODE:
        raise UnsafeFile(
            _("%(path)s is a %(kind)s: such a folder brings code of its own, which is never run. Get the network as an "
              "ONNX file, or export it where that is safe, and add that: manage.py shopgen_model add FILE.onnx")
            % {"path": shown(path), "kind": architecture}
        )
    if family is None:
        told = _("%(path)s is a %(kind)s. Known are: %(known)s.") % {
            "path": shown(path), "kind": architecture or "?",
            "known": ", ".join(name for family in FAMILIES for name in family.classes),
        }
        if architecture in ELSEWHERE:
            told += " " + _("Its processor needs torchvision, which is not used here: let a server run it.")
        raise WrongKind(told)
    weights, variant, numbers = weights_of(path)
    return TextFolder(
        path=path, architecture=architecture, family=family, weights=weights, variant=variant, numbers=numbers
    )
