"""Command-line options made from :class:`~shopgen_django.ml.config.TrainConfig`, for every entry point."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from .config import GROUPS, TrainConfig, config_from_dict

_NO_CHOICE = (None, "", (), True, False)


def add_options(
    parser: argparse.ArgumentParser, *, leave_out: Iterable[str] = (), required: Iterable[str] = ()
) -> None:
    """Add the options of a run to ``parser``, grouped as ``--help`` shows them."""
    skip, needed = set(leave_out), set(required)
    groups = {name: parser.add_argument_group(title) for name, title in GROUPS.items()}
    for f in fields(TrainConfig):
        if f.name in skip:
            continue
        meta = f.metadata
        flag = "--" + f.name.replace("_", "-")
        text = meta["help"]
        if f.default not in _NO_CHOICE:
            text += f" (default: {f.default})"
        keywords: dict[str, Any] = {"dest": f.name, "default": f.default, "help": text}
        if meta["kind"] is bool:
            keywords["action"] = argparse.BooleanOptionalAction
            keywords["help"] = meta["help"]
        else:
            keywords |= {"choices": meta["choices"], "required": f.name in needed}
            if meta["metavar"]:
                keywords["metavar"] = meta["metavar"]
            if meta["kind"] in (int, float):
                keywords["type"] = _number(meta["kind"], meta["minimum"], meta["maximum"])
        if meta["many"]:
            keywords |= {"action": "extend", "nargs": "+", "default": None}
        groups[meta["group"]].add_argument(flag, **keywords)


def config_from_options(options: Mapping[str, Any], **overrides: Any) -> TrainConfig:
    """The configuration that parsed options describe; ``overrides`` go before them."""
    values: dict[str, Any] = {}
    for f in fields(TrainConfig):
        if f.name in overrides:
            values[f.name] = overrides[f.name]
        elif f.name in options:
            value = options[f.name]
            values[f.name] = (value or ()) if f.metadata["many"] else value
    return config_from_dict(values)


def _number(kind: type, minimum: float | None, maximum: float | None) -> Any:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        if minimum is not None and not value >= minimum:
            raise argparse.ArgumentTypeError(f"{text} is too small; at least {minimum:g} is needed")
        if maximum is not None and not value <= maximum:
            raise argparse.ArgumentTypeError(f"{text} is too large; at most {maximum:g} is allowed")
        return value

    parse.__name__ = kind.__name__
    return parse
