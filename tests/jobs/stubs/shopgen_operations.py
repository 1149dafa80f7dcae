"""``stub``: an operation that does as its parameters say, and leaves a line behind each time it runs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from django import forms
from PIL import Image, ImageDraw

from shopgen_django.exceptions import PermanentError, TransientError
from shopgen_django.operations.base import Operation, OperationContext, Output
from shopgen_django.operations.parameters import Parameters
from shopgen_django.operations.registry import register

MODES = ("ok", "kill", "exit", "memory", "permanent", "transient", "bug", "hang", "deaf", "interrupt", "disk")


class StubParameters(Parameters):
    mode = forms.ChoiceField(choices=[(mode, mode) for mode in MODES], initial="ok")
    steps = forms.IntegerField(min_value=0, max_value=100_000, initial=1)
    pause = forms.FloatField(min_value=0, max_value=600, initial=0.0)
    outputs = forms.IntegerField(min_value=0, max_value=20, initial=0)
    silent = forms.BooleanField(required=False, initial=False)
    tag = forms.CharField(max_length=64, required=False)
    seed = forms.IntegerField(min_value=0, max_value=2**31 - 1, required=False)


@register
class Stub(Operation):
    name = "stub"
    label = "Stub"
    Parameters = StubParameters

    def run(self, context: OperationContext) -> Iterator[Output]:
        params = context.params
        note(f"{params['tag']} start")
        _misbehave(params["mode"])
        for step in range(params["steps"]):
            if not params["silent"]:
                context.check()
                context.report((step + 1) / params["steps"], "work")
            if params["pause"]:
                time.sleep(params["pause"])
        for index in range(params["outputs"]):
            yield Output(image=drawing(context.seed + index), alt_text=f"stub {index}")
        note(f"{params['tag']} end")


@register
class StubCopy(Operation):
    """Gives its input pictures back, darker."""

    name = "stub_copy"
    label = "Stub that takes pictures"
    min_inputs = 1
    max_inputs = 4

    def run(self, context: OperationContext) -> Iterator[Output]:
        for given in context.inputs:
            image = given.open().convert("RGB").point(lambda value: value * 3 // 4)
            yield Output(image=image, parents=(given.id,), measurements={"given": float(len(context.inputs))})


class SlowParameters(Parameters):
    tag = forms.CharField(max_length=64, required=False)
    pause = forms.FloatField(min_value=0, max_value=60, initial=0.0)


@register
class StubSlow(Operation):
    """Gives its picture back after a while: a step of a chain that can be killed in the middle."""

    name = "stub_slow"
    label = "Stub that takes its time"
    Parameters = SlowParameters
    min_inputs = max_inputs = 1

    def run(self, context: OperationContext) -> Iterator[Output]:
        note(f"{context.params['tag']} start")
        time.sleep(context.params["pause"])
        (given,) = context.inputs
        yield Output(image=given.open().convert("RGB"), parents=(given.id,))
        note(f"{context.params['tag']} end")


def _misbehave(mode: str) -> None:
    if mode == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "exit":
        raise SystemExit(3)
    if mode == "memory":
        raise MemoryError
    if mode == "permanent":
        raise PermanentError("This can't work.", code="refused")
    if mode == "transient":
        raise TransientError("Not now.", code="not_now")
    if mode == "bug":
        raise ZeroDivisionError("secret detail")
    if mode == "interrupt":
        raise KeyboardInterrupt
    if mode == "disk":
        raise OSError(28, "No space left on device")
    if mode == "deaf":
        # As a call that never comes back from a driver: the time limit's alarm can't interrupt it.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    if mode in {"hang", "deaf"}:
        time.sleep(3600)


def drawing(seed: int) -> Image.Image:
    """A picture that depends on the seed and is not blank."""
    image = Image.new("RGB", (32, 32), "#ffffff")
    ImageDraw.Draw(image).ellipse((seed % 8, 4, 24, 28), fill=(seed % 200, (seed // 200) % 200, 90))
    return image


def note(line: str) -> None:
    """One line in the file that the test reads, appended whole."""
    target = os.environ.get("SHOPGEN_STUB_NOTES")
    if target:
        with Path(target).open("ab", buffering=0) as handle:
            handle.write(f"{line} {os.getpid()} {time.time():.3f}\n".encode())
