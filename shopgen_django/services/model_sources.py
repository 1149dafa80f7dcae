"""The folders of the server that models may be added from by people who have no shell on it.

Nobody who types a path may make the server read any other folder. A request is judged by its words alone, without a
look at the disk; the worker that does it then follows every link and refuses what leads out.
"""

from __future__ import annotations

import os
from pathlib import Path

from django.utils.translation import gettext as _

from shopgen_django.conf import app_settings
from shopgen_django.engines.diffusers.folder import PICKLES
from shopgen_django.exceptions import InvalidParameters

MOST_OFFERED = 100


def source_folders() -> list[Path]:
    """The folders of the setting ``MODEL_SOURCES``; they need not exist on this machine."""
    root = Path(app_settings.root)
    return [Path(os.path.normpath(root / Path(each).expanduser())) for each in app_settings.MODEL_SOURCES]


def offered_folders() -> list[str]:
    """Folders directly below the allowed ones, as this machine sees them, in the words that a request takes."""
    found: list[str] = []
    for source in source_folders():
        try:
            names = sorted(each.name for each in source.iterdir() if each.is_dir() and not each.name.startswith("."))
        except OSError:  # not on this machine, or not ours to read
            continue
        found += [str(source / name) for name in names]
    return found[:MOST_OFFERED]


def require_allowed(text: str) -> str:
    """The path of a request in the words that a worker gets. Looks at no file.

    Raises InvalidParameters when it does not lie below one of the allowed folders, or names a pickle.
    """
    text = text.strip()
    if Path(text).suffix.lower() in PICKLES:
        raise _refused(
            _("%(file)s is a pickle, which can run any program when it is opened. Get the model as safetensors, or "
              "convert it where that is safe.") % {"file": Path(text).name}, code="unsafe_file",
        )
    if not text or "\0" in text or not _candidates(text):
        raise _refused(_outside())
    return text


def find_folder(text: str) -> Path:
    """The real folder that a request means, on the machine that has it.

    Raises InvalidParameters: there is none, it is no folder, or it or a file in it leads out of the allowed folders.
    """
    require_allowed(text)
    real = [(place, source.resolve()) for place, source in _candidates(text) if place.exists()]
    if not real:
        raise _refused(_("There is no folder %(path)s on this worker’s machine.") % {"path": text})
    place, source = real[0]
    folder = place.resolve()
    inside = [each.resolve() for each in source_folders()]
    if not _below(folder, source) or folder == source:
        raise _refused(_outside())
    if not folder.is_dir():
        raise _refused(
            _("%(path)s is a file. Here a model is a folder; a network in one ONNX file is added with manage.py "
              "shopgen_model add, which asks how pictures go in.") % {"path": text}
        )
    for each in (*folder.glob("*"), *folder.glob("*/*")):
        if not any(_below(each.resolve(), allowed) for allowed in inside):
            raise _refused(
                _("%(file)s leads out of the folders that models may be added from.")
                % {"file": each.relative_to(folder).as_posix()}
            )
    return folder


def _candidates(text: str) -> list[tuple[Path, Path]]:
    """What the words may mean, with the allowed folder that each lies in by its words alone."""
    found = []
    for source in source_folders():
        place = Path(os.path.normpath(source / text))  # an absolute path replaces the source
        if _below(place, source) and place != source:
            found.append((place, source))
    return found


def _below(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents


def _outside() -> str:
    folders = ", ".join(str(each) for each in app_settings.MODEL_SOURCES)
    if not folders:
        return _("The setting MODEL_SOURCES names no folder, so models are added with manage.py shopgen_model alone.")
    return _(
        "Models may be added from folders below %(folders)s (the setting MODEL_SOURCES). Put it there, or add it with "
        "manage.py shopgen_model."
    ) % {"folders": folders}


def _refused(text: str, code: str = "invalid_parameters") -> InvalidParameters:
    return InvalidParameters(text, code=code, fields={"path": [text]})
