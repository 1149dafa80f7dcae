"""Taking pictures in: uploads, and the photos that products have in the shop. Decoded by workers, never by the web."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shopgen_django.conf import app_settings
from shopgen_django.exceptions import FileMissing, PermanentError, ProductNotFound, TransientError

from .arrivals import Arrival, Known, Outcome, Refusal, Source
from .base import Estimate, Operation, OperationContext
from .parameters import Parameters
from .registry import register

if TYPE_CHECKING:
    from shopgen_django.imaging.intake import IntakeLimits, NormalisedImage

SECONDS_PER_PICTURE = 0.3
"""Reading, decoding, encoding and writing a photo of 1 to 2 megapixels; for an upload also the start of a child."""


def intake_limits() -> IntakeLimits:
    """The upload limits of ``SHOPGEN["LIMITS"]`` as the intake reads them."""
    from shopgen_django.imaging.intake import IntakeLimits

    limits = app_settings.LIMITS
    return IntakeLimits(
        max_bytes=limits["MAX_UPLOAD_BYTES"], max_pixels=limits["MAX_PIXELS"],
        max_side=limits["MAX_SIDE"], min_side=limits["MIN_SIDE"],
    )


def take_in(arrival: Arrival, decode: Callable[[bytes], NormalisedImage] | None = None) -> Source | Known:
    """Read one picture and make it anew, unless exactly this file has been taken in for this product before.

    ``decode``: by default in a child process of its own. Raises IntakeError for what is refused, and what
    ``arrival.read`` raises.
    """
    from shopgen_django.imaging.intake import normalise_bounded

    limits = intake_limits()
    content = arrival.read(limits.max_bytes + 1)
    origin = hashlib.sha256(content).hexdigest()
    known = arrival.known(origin)
    if known:
        return Known(arrival=arrival, id=known)
    picture = decode(content) if decode is not None else normalise_bounded(content, limits)
    return Source(
        arrival=arrival, data=picture.data, format=picture.format, width=picture.width, height=picture.height,
        sha256=picture.sha256, origin_sha256=origin,
        digital_source=arrival.digital_source or picture.inspection.digital_source_type,
    )


class UploadParameters(Parameters):
    name = forms.CharField(label=gettext_lazy("File name"), required=False, max_length=255)
    alt_text = forms.CharField(label=gettext_lazy("Alt text"), required=False, max_length=500)
    category = forms.CharField(label=gettext_lazy("Category"), required=False, max_length=100)
    digital_source = forms.CharField(label=gettext_lazy("Origin"), required=False, max_length=48)


@register
class Upload(Operation):
    """One uploaded file, which lies in the private storage until the job has ended."""

    name = "upload"
    label = gettext_lazy("Take in an upload")
    description = gettext_lazy("Checks an uploaded photo, encodes it anew and lists it under product pictures.")
    Parameters = UploadParameters
    hidden_params = ("file", "sha256")
    permission = "add_productimage"
    takes_in = True
    public = False

    def estimate(self, params: Mapping[str, Any], inputs: int) -> Estimate:
        return Estimate(seconds=SECONDS_PER_PICTURE, outputs=1)

    def run(self, context: OperationContext) -> Iterator[Any]:
        for arrival in context.arrivals:
            context.check()
            if isinstance(arrival, Refusal):
                raise PermanentError(arrival.message, code=arrival.code)
            yield take_in(arrival)


class ImportParameters(Parameters):
    category = forms.CharField(
        label=gettext_lazy("Category"), required=False, max_length=100,
        help_text=gettext_lazy("Only products of exactly this category; empty: of every one."),
    )
    search = forms.CharField(
        label=gettext_lazy("Title"), required=False, max_length=100,
        help_text=gettext_lazy("Only products with this text in their title; empty: all."),
    )


@register
class ImportPhotos(Operation):
    """The photos of one product, of chosen products, or of all that are on offer.

    A job for more products than :data:`shopgen_django.jobs.sources.PRODUCTS_PER_JOB` only lists them and queues jobs
    for parts of the list, in its own batch: so every worker helps, and a catalogue of any size gets in.
    """

    name = "import_photos"
    label = gettext_lazy("Import photos")
    description = gettext_lazy(
        "Copies the pictures that products have in the shop, checked and encoded anew. Without a product: of every "
        "product on offer. A photo that is there already is not copied again. The shop is not changed."
    )
    Parameters = ImportParameters
    hidden_params = ("products", "then")
    permission = "add_productimage"
    takes_in = True

    def estimate(self, params: Mapping[str, Any], inputs: int) -> Estimate:
        products = max(1, len(params.get("products") or ()))
        return Estimate(seconds=SECONDS_PER_PICTURE * products, outputs=products)

    def run(self, context: OperationContext) -> Iterator[Any]:
        from shopgen_django.imaging.intake.bounded import BoundedDecoder

        # All of them are the shop's own files, so they may share a child: starting one costs more than a photo does.
        with BoundedDecoder(intake_limits()) as decoder:
            for arrival in context.arrivals:
                context.check()
                yield arrival if isinstance(arrival, Refusal) else _imported(arrival, decoder.normalise)


def _imported(arrival: Arrival, decode: Callable[[bytes], NormalisedImage]) -> Outcome:
    """What became of one of many: a picture that can't be read or is refused keeps no other out."""
    from shopgen_django.imaging.intake import IntakeError

    try:
        return take_in(arrival, decode)
    except IntakeError as error:
        return refused(arrival, error.code, f"{error.message} {error.hint}".strip())
    except (FileMissing, ProductNotFound) as error:
        return refused(arrival, error.code, str(error))
    except TransientError:
        raise  # the shop's storage is away for a moment: the whole job is tried again
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE}:
            raise  # this machine's trouble, not the picture's
        return refused(
            arrival, "file_unreadable",
            _("The shop's file could not be read (%(kind)s).") % {"kind": error.strerror or type(error).__name__},
        )


def refused(arrival: Arrival, code: str, message: str) -> Refusal:
    """``arrival`` with the reason why it does not come in."""
    return Refusal(item=arrival.item, label=arrival.label, code=code, message=message)
