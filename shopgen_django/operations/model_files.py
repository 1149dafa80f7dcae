"""``model_files``: add, verify or remove a model's files on the machine that loads them, or list what is there.

Hashing gigabytes is no work for a web process, which may not even have the folder that the workers load from. What is
done to files and rows is a service's business, which tells :data:`desk` about itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy

from .base import Estimate, Operation, OperationContext, Output
from .parameters import Parameters
from .registry import get_operation, register

VERBS = (
    ("add", gettext_lazy("add")), ("verify", gettext_lazy("verify")), ("remove", gettext_lazy("remove")),
    ("look", gettext_lazy("look what is there")),
)
_BYTES_PER_SECOND = 400e6
_SERVED_BY = "create"
"""An operation that large models serve: their files are those that its workers load."""

Work = Callable[..., None]


class Desk:
    """Where the service that does the work announces itself."""

    def __init__(self) -> None:
        self.work: Work = _nobody


def _nobody(params: Mapping[str, Any], *, report: Callable[..., None], check: Callable[[], None]) -> None:
    raise RuntimeError("No service has announced itself; the app is not set up.")


desk = Desk()


class ModelFilesParameters(Parameters):
    verb = forms.ChoiceField(label=gettext_lazy("What to do"), choices=VERBS)
    name = forms.CharField(label=gettext_lazy("Name"), max_length=64, required=False)
    path = forms.CharField(label=gettext_lazy("Folder"), max_length=1000, required=False)
    licence = forms.CharField(label=gettext_lazy("Licence"), max_length=100, required=False)
    commercial = forms.BooleanField(label=gettext_lazy("Commercial use"), required=False)
    source = forms.CharField(label=gettext_lazy("Source"), max_length=500, required=False)
    base = forms.CharField(label=gettext_lazy("Base model"), max_length=200, required=False)
    small = forms.BooleanField(label=gettext_lazy("Small network"), required=False)
    bytes = forms.IntegerField(label=gettext_lazy("Size in bytes"), required=False)
    asked_by = forms.CharField(label=gettext_lazy("Asked for by"), max_length=64, required=False)


@register
class ModelFiles(Operation):
    name = "model_files"
    label = gettext_lazy("Look after a model’s files")
    description = gettext_lazy("Adds, verifies or removes a model on the machine of the workers that load it.")
    Parameters = ModelFilesParameters
    hidden_params = ("path", "small", "bytes", "asked_by")
    public = False

    def estimate(self, params: Mapping[str, Any], inputs: int) -> Estimate:
        return Estimate(seconds=1.0 + int(params.get("bytes") or 0) / _BYTES_PER_SECOND, outputs=0)

    def parts(self, params: Mapping[str, Any]) -> tuple[Operation, ...]:
        """A large model is looked after where the operations run that load it: on the queue for accelerated work."""
        return (self,) if params.get("small") else (self, get_operation(_SERVED_BY))

    def run(self, context: OperationContext) -> Iterator[Output]:
        desk.work(context.params, report=context.report, check=context.check)
        yield from ()
