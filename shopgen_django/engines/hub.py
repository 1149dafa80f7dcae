"""Models by their hub id ("organisation/name"): the copy in the hub's cache on this machine, fetched on request."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from django.utils.translation import gettext as _

from shopgen_django.engines.errors import ModelMissing, NotInstalled

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_WANTED = ("*.json", "*.txt", "*.model", "*.safetensors")
"""What is fetched: no pickle and no code."""


def snapshot_of(name: str, *, revision: str = "main", fetch: bool, how: str) -> Path:
    """The folder of a model with this hub id.

    Args:
        revision: branch, tag or commit; only a commit stays what it is.
        fetch: whether a server may be asked; else only the cache is looked into.
        how: what to do when it is not there and may not be fetched, as a sentence.

    Raises NotInstalled; ModelMissing when it isn't there or can't be fetched.
    """
    if find_spec("huggingface_hub") is None:
        raise NotInstalled(
            _("huggingface_hub is not installed; it comes with pip install 'shopgen-django[diffusers]'.")
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(name, revision=revision, local_files_only=not fetch, allow_patterns=list(_WANTED))
        )
    except (OSError, ValueError) as error:
        if fetch:
            raise ModelMissing(
                _("The model %(name)s could not be fetched: %(why)s")
                % {"name": name, "why": str(error).strip().splitlines()[0][:300]}
            ) from error
        raise ModelMissing(
            _("The model %(name)s is not on this machine. %(how)s") % {"name": name, "how": how}
        ) from error
