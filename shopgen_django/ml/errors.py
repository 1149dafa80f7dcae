"""What training and sampling raise on purpose. Every message says what was wrong and what to do."""

from __future__ import annotations


class MLError(Exception):
    """Base of every expected error of :mod:`shopgen_django.ml`."""


class ConfigError(MLError):
    """An option, or a combination of options, that can't work."""


class DatasetError(MLError):
    """The pictures can't be trained on: none found, too many broken, unknown category."""


class RunLocked(MLError):
    """Another process is training into the same output folder."""


class ConfigChanged(MLError):
    """The output folder holds a run that was started with other options."""


class CheckpointError(MLError):
    """No saved state of the run can be read (all damaged or missing)."""


class StorageFull(MLError):
    """The disk has no room; what was saved before is still whole."""


class Diverged(MLError):
    """A loss or a weight is no longer a finite number; the last good state is kept."""


class OutOfMemory(MLError):
    """The device has too little memory for the networks and the batch."""


class ProcessLost(MLError):
    """Another process of the run has ended or is silent; the last good state is kept."""


class Collapsed(MLError):
    """The generator makes the same picture whatever it is asked; the files are kept for inspection."""


class ModelFileError(MLError):
    """A trained model's files are missing, damaged, changed or of another kind than they say."""


class UnknownCategory(MLError):
    """The model has no such category; the message lists those it has."""


class MissingExtra(MLError):
    """An optional package is needed; the message names the extra that brings it."""


class UnlikeFigures(MLError):
    """Figures from unlike extractors or reference sets, which can't be compared."""
