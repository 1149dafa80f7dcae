"""One request on a loaded model: a scheduler of its own, a seed per picture, progress and cancel at every step."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _

from shopgen_django.engines.errors import BadOutput, BadRequest, Blocked, OutOfMemory
from shopgen_django.engines.pictures import MadePicture, PictureRequest, Task, seed_of

from .families import SCHEDULERS
from .install import versions
from .loading import economise, place, splurge, tile
from .lora import LoraFile, laid_over
from .memory import TILE_FROM, give_back, ran_out
from .reading import encoder_of, room, unread
from .reference import Adapter, followed
from .shelf import SHELF, Loaded

ChosenLoras = Sequence[tuple[LoraFile, float, str]]


@dataclass(slots=True, kw_only=True)
class _Progress:
    """Counts the calls of all batches: a scheduler may take more of them than there are steps."""

    pictures: int
    on_step: Callable[[float], None]
    check: Callable[[], None]
    done: int = 0
    """Pictures that are finished."""
    calls: int = 0

    def callback(self, batch: int) -> Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]:
        self.calls = 0

        def step(pipeline: Any, _index: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
            self.check()
            self.calls += 1
            share = min(1.0, self.calls / max(1, int(pipeline.num_timesteps)))
            # The last bit of a picture is its way through the autoencoder.
            self.on_step((self.done + 0.97 * batch * share) / self.pictures)
            return values

        return step


@dataclass(slots=True, kw_only=True)
class _Run:
    """What is the same for every batch of a request."""

    diffusers: Any
    loaded: Loaded
    request: PictureRequest
    loras: ChosenLoras
    adapter: Adapter | None
    progress: _Progress
    embedded: Any = None
    """The reference picture as the adapter reads it."""
    pictures: list[MadePicture] = field(default_factory=list)
    blocked: int = 0


def run_request(
    diffusers: Any, loaded: Loaded, request: PictureRequest, loras: ChosenLoras, *, control: Any = None,
    adapter: Adapter | None = None, on_step: Callable[[float], None], check: Callable[[], None],
) -> list[MadePicture]:
    """All pictures of a request. The caller holds ``loaded.lock``. ``control``: the loaded ControlNet that holds them
    to the request's outlines; ``adapter``: the one that follows the request's reference.

    Raises Blocked when a safety checker took every picture out, BadOutput for values that are no picture, OutOfMemory
    when memory ran out twice, and whatever ``check`` raises.
    """
    import torch

    torch.set_num_threads(max(1, request.threads))
    check()
    run = _Run(
        diffusers=diffusers, loaded=loaded, request=request, loras=loras, adapter=adapter,
        progress=_Progress(pictures=request.count, on_step=on_step, check=check),
    )
    pipeline = pipeline_of(diffusers, loaded, request.task, control)
    tile(pipeline, loaded.plan.tiling or request.width * request.height >= TILE_FROM)
    with _following(run, pipeline):
        _all_batches(run, pipeline)
    if not run.pictures:
        raise Blocked(
            _("The model's own safety check took out every picture. Change the words, or try another seed.")
        )
    check()
    return run.pictures


@contextmanager
def _following(run: _Run, pipeline: Any) -> Iterator[None]:
    """The reference picture's hold on the pipeline, for all batches: laying an adapter in copies all of it."""
    request, plan = run.request, run.loaded.plan
    if run.adapter is None or request.reference is None:
        yield
        return
    if plan.placement == "layers":
        raise OutOfMemory(
            _("A reference picture needs room for the model's largest part on %(device)s. Use a smaller model, or make "
              "the picture without it.") % {"device": run.loaded.device}
        )
    guided = request.guidance > 1.0 and pipeline.unet.config.time_cond_proj_dim is None
    with followed(
        pipeline, run.adapter, request.reference, weight=request.reference_weight, guided=guided,
        device=run.loaded.device, stays=plan.placement == "whole",
    ) as run.embedded:
        yield


def _all_batches(run: _Run, pipeline: Any) -> None:
    """Make all pictures; once more in small steps when memory runs out. Raises OutOfMemory when that is not enough."""
    request = run.request
    # Repainting draws from the first picture's generator for all of a batch: the others would depend on their number.
    batch, small = 1 if request.task == "inpaint" else min(run.loaded.plan.batch, request.count), False
    numbers = list(range(request.count))
    try:
        while numbers:
            ran_dry = False
            try:
                _batch(run, pipeline, numbers[:batch])
            except Exception as error:
                _let_go(pipeline, run.loaded)
                if not ran_out(error):
                    raise
                ran_dry = True
            # Only out here the failed attempt's tensors are let go: the exception held its frames.
            if not ran_dry:
                numbers = numbers[batch:]
            elif small:
                raise OutOfMemory(
                    _("The memory does not suffice for %(width)d × %(height)d pixels, not even in small steps. Make "
                      "smaller pictures, or give the worker more memory.")
                    % {"width": request.width, "height": request.height}
                )
            else:
                small, batch = True, 1
                SHELF.release()
                give_back(run.loaded.device, cycles=True)
                economise(pipeline, attention=run.adapter is None)
    finally:
        if small:
            splurge(pipeline, attention=run.adapter is None)


def pipeline_of(diffusers: Any, loaded: Loaded, task: Task, control: Any = None) -> Any:
    """The pipeline for a task, sharing all weights with those for the others."""
    name = task if control is None else f"{task} {id(control)}"
    pipeline = loaded.pipelines.get(name)
    if pipeline is None:
        family = loaded.folder.family
        cls = getattr(diffusers, (family.pipelines if control is None else family.outlined)[task])
        takes = inspect.signature(cls.__init__).parameters
        parts: dict[str, Any] = {part: value for part, value in loaded.parts.items() if part in takes}
        if control is not None:
            parts["controlnet"] = control
        if "requires_safety_checker" in takes and "safety_checker" not in parts:
            parts |= {"safety_checker": None, "requires_safety_checker": False}
        pipeline = cls.from_pretrained(str(loaded.folder.path), local_files_only=True, use_safetensors=True, **parts)
        pipeline.set_progress_bar_config(disable=True)
        loaded.pipelines[name] = pipeline
    if loaded.active != name:
        place(pipeline, loaded.plan, loaded.device)
        loaded.active = name
    return pipeline


def _batch(run: _Run, pipeline: Any, numbers: Sequence[int]) -> None:
    """Make the pictures of these numbers together and add them to the run."""
    import torch

    request = run.request
    seeds = [seed_of(request.seed, number) for number in numbers]
    pipeline.scheduler = scheduler_for(run.diffusers, run.loaded.parts["scheduler"], request.scheduler)
    values, ignored = _arguments(pipeline, request)
    if run.embedded is not None:
        values["ip_adapter_image_embeds"] = run.embedded
    with laid_over(pipeline, run.loras):
        # Seeds are drawn on the processor, so that they mean the same on every device.
        result = pipeline(
            **values, num_images_per_prompt=len(numbers), output_type="np",
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            callback_on_step_end=run.progress.callback(len(numbers)),
        )
    flagged = list(getattr(result, "nsfw_content_detected", None) or [False] * len(numbers))
    facts = _facts(run, pipeline, ignored, len(numbers))
    for number, seed, values_of, flag in zip(numbers, seeds, result.images, flagged, strict=True):
        if flag:
            run.blocked += 1
            continue
        picture = to_picture(values_of, dtype=run.loaded.dtype)
        run.pictures.append(
            MadePicture(
                image=picture, number=number, seed=seed,
                facts={**facts, "seed": str(request.seed), "picture": str(number), "picture_seed": str(seed)},
            )
        )
    run.progress.done += len(numbers)
    run.progress.on_step(run.progress.done / run.progress.pictures)


def to_picture(values: Any, *, dtype: str = "float32") -> Any:
    """An (h, w, 3) float array of 0..1 as an RGB picture. Raises BadOutput when it holds none."""
    import numpy as np
    from PIL import Image

    if not np.isfinite(values).all():
        raise BadOutput(
            _("The model computed values that are no numbers (NaN), so there is no picture. Its weights may be "
              "damaged, or the precision %(dtype)s may be too coarse: try the option DTYPE “bfloat16” or “float32”.")
            % {"dtype": dtype}
        )
    pixels = np.rint(np.clip(values, 0.0, 1.0) * 255.0).astype(np.uint8)
    if not pixels.any():
        raise BadOutput(
            _("The model made a picture that is black all over, though no safety check took it out. Its weights may be "
              "damaged, or belong to another scheduler.")
        )
    return Image.fromarray(pixels, "RGB")


def scheduler_for(diffusers: Any, base: Any, name: str) -> Any:
    """A fresh scheduler: they count steps in themselves, so none is ever used twice.

    Raises BadRequest for a name that isn't known or does not suit the model.
    """
    if not name:
        return type(base).from_config(base.config)
    if name not in SCHEDULERS:
        raise BadRequest(
            _("There is no scheduler %(name)s. Known are: %(known)s.") % {"name": name, "known": ", ".join(SCHEDULERS)}
        )
    kind, extra = SCHEDULERS[name]
    cls = getattr(diffusers, kind)
    # Distilled models keep the configuration of what they were distilled from, which does not name LCM.
    stands_for = diffusers.EulerDiscreteScheduler if name == "lcm" else cls
    if not {cls, stands_for} & {type(base), *base.compatibles}:
        raise BadRequest(
            _("The scheduler %(name)s does not suit this model, whose own is %(own)s.")
            % {"name": name, "own": type(base).__name__}
        )
    return cls.from_config(base.config, **extra)


def words_cut(pipeline: Any, prompt: str, limit: int, readers: Sequence[str] = ("tokenizer",)) -> str:
    """The end of a prompt that none of the ``readers`` of a loaded pipeline reads, each of which has room for ``limit``
    tokens; "" when all of it is read."""
    found = []
    for name in readers:
        each = getattr(pipeline, name, None)
        if each is None or getattr(pipeline, encoder_of(name), each) is None:
            continue
        tokenizer = each.backend_tokenizer
        tokenizer.no_truncation()  # the pipeline sets its own limit anew with every call
        tokenizer.no_padding()
        clip = "clip" in type(each).__name__.lower()
        found.append((tokenizer, room(limit, int(each.model_max_length), clip=clip)))
    return unread(found, prompt).cut


def _arguments(pipeline: Any, request: PictureRequest) -> tuple[dict[str, Any], list[str]]:
    """What the pipeline is called with, and which wishes it has no place for."""
    takes = inspect.signature(type(pipeline).__call__).parameters
    values: dict[str, Any] = {
        "prompt": request.prompt, "num_inference_steps": request.steps, "guidance_scale": request.guidance,
    }
    ignored = []
    if request.negative and request.guidance > 1.0 and "true_cfg_scale" not in takes:
        values["negative_prompt"] = request.negative
    elif request.negative:
        ignored.append("negative prompt")
    if request.task != "text":
        if int(request.steps * request.strength) < 1:
            raise BadRequest(
                _("%(steps)d steps at a strength of %(strength)s leave nothing to do: raise one of them.")
                % {"steps": request.steps, "strength": request.strength}
            )
        values |= {"image": request.image, "strength": request.strength}
    if request.outlines is not None:
        picture = "control_image" if "control_image" in takes else "image"
        values |= {picture: request.outlines.convert("RGB"), "controlnet_conditioning_scale": request.outlines_weight}
    if request.task == "inpaint":
        values["mask_image"] = request.mask
    if "height" in takes:
        values |= {"height": request.height, "width": request.width}
    return values, ignored


def _facts(run: _Run, pipeline: Any, ignored: Sequence[str], batch: int) -> dict[str, str]:
    """All that decides the bits of a picture, for its file and its row."""
    request, loaded = run.request, run.loaded
    facts: dict[str, str] = {
        "prompt": request.prompt, "negative_prompt": request.negative, "steps": str(request.steps),
        "guidance": f"{request.guidance:g}", "scheduler": type(pipeline.scheduler).__name__,
        "pipeline": type(pipeline).__name__, "made_size": f"{request.width}x{request.height}",
        "model_sha256": loaded.digest, "dtype": loaded.dtype, "device": _device_name(loaded.device),
        "threads": str(request.threads), "batch": str(batch), "versions": versions(),
    }
    if request.task != "text":
        facts["strength"] = f"{request.strength:g}"
    if request.outlines is not None:
        facts |= {"outlines": f"{request.outlines_weight:g}", "controlnet_sha256": loaded.controls[1]}
    if run.adapter is not None:
        facts |= {"reference": f"{request.reference_weight:g}", "ip_adapter_sha256": run.adapter.digest}
        if run.adapter.encoder_digest:
            facts["image_encoder_sha256"] = run.adapter.encoder_digest
    if run.loras:
        facts["loras"] = ", ".join(f"{file.name} x {weight:g} ({digest[:16]})" for file, weight, digest in run.loras)
    family = loaded.folder.family
    cut = words_cut(pipeline, request.prompt, family.words, family.readers)
    if cut:
        facts["prompt_not_read"] = cut
    if ignored:
        facts["not_used"] = ", ".join(ignored)
    return facts


def _device_name(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})"


def _let_go(pipeline: Any, loaded: Loaded) -> None:
    """After a failed or cancelled call: parts that were moved to the device go back, results stay nowhere."""
    if loaded.plan.placement != "whole" and hasattr(pipeline, "maybe_free_model_hooks"):
        pipeline.maybe_free_model_hooks()
