"""``manage.py shopgen_edit``: an operation or a recipe on a folder of pictures, or on a shop's products."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from shopgen_django.catalogues import get_catalogue
from shopgen_django.conf import app_settings
from shopgen_django.exceptions import ShopgenError
from shopgen_django.ml.errors import MLError
from shopgen_django.ml.files import folder_lock
from shopgen_django.ml.progress import ProgressView
from shopgen_django.operations.chains import Step, parse_steps
from shopgen_django.operations.registry import public_operations
from shopgen_django.services.edit_folder import Line, edit_all, open_run
from shopgen_django.services.edit_items import Item, pictures_in, pictures_of
from shopgen_django.services.edit_report import write_report
from shopgen_django.services.recipes import Recipe, get_recipe, read_recipe, recipe_names

EXAMPLES = """examples:
  cut out every photo of a folder (transparent PNG, same size), look at out/report.html:
      manage.py shopgen_edit cut_out photos --output out
  a marketplace's white square for the dresses of the catalogue:
      manage.py shopgen_edit marketplace-white --products category:Dress --output dresses
  with parameters of your own (see the operation's page in the documentation):
      manage.py shopgen_edit background photos --output grey --set ground=colour --set colour=#eeeeee --set shadow=keep
  a recipe from a file:
      manage.py shopgen_edit my-recipe.json photos --output done
"""


class Command(BaseCommand):
    help = (
        "Edit pictures in a folder with the operations that the shop's jobs use, without rows and review. Run it again "
        "to go on where it stopped; results.csv says what became of each picture, report.html shows it."
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs |= {"epilog": EXAMPLES, "formatter_class": argparse.RawDescriptionHelpFormatter}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "what", metavar="OPERATION|RECIPE",
            help="an operation (cut_out, background …), a recipe that was saved in the admin, a built-in one "
            f"({', '.join(recipe_names(rows=False))}), or a recipe's JSON file",
        )
        parser.add_argument("path", nargs="?", metavar="PATH", help="a picture, or a folder in any nesting")
        parser.add_argument(
            "--products", metavar="QUERY",
            help="the main pictures of products instead: all, category:NAME, pk:1,2,3, or words of the title",
        )
        parser.add_argument("--catalogue", default="default", help="alias of the catalogue (default: default)")
        parser.add_argument("--output", required=True, metavar="DIR", help="folder for results, table and report")
        parser.add_argument(
            "--set", action="append", default=[], metavar="NAME=VALUE", dest="values",
            help="a parameter of the operation; numbers, true, false and JSON are understood (repeat it)",
        )
        parser.add_argument("--params", metavar="JSON", help="all parameters of the operation as one JSON object")
        parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one a core)")
        parser.add_argument("--fresh", action="store_true", help="make everything anew")
        parser.add_argument("--no-report", action="store_true", help="leave report.html out")

    def handle(self, *args: Any, **options: Any) -> None:
        view = ProgressView(self.stdout, terminal=self.stdout.isatty() and options["verbosity"] > 0)
        try:
            self._edit(options, view)
        except (ShopgenError, MLError, ImproperlyConfigured) as error:
            view.close()
            raise CommandError(str(error)) from error
        except OSError as error:
            view.close()
            raise CommandError(f"{error.filename or options['output']}: {error.strerror or error}") from error
        except KeyboardInterrupt:
            view.close()
            raise CommandError("Interrupted; run it again to go on.", returncode=130) from None

    def _edit(self, options: dict[str, Any], view: ProgressView) -> None:
        if bool(options["path"]) == bool(options["products"]):
            raise CommandError("Give the path of pictures, or --products, and not both.")
        if options["workers"] is not None and options["workers"] < 1:
            raise CommandError("--workers is at least 1.")
        steps = self._steps(options)
        output = Path(options["output"])
        if options["path"]:
            items = pictures_in(Path(options["path"]), output=output)
        else:
            items = pictures_of(get_catalogue(options["catalogue"]), options["products"])
        output.mkdir(parents=True, exist_ok=True)
        with folder_lock(output):
            run = open_run(output, steps, fresh=options["fresh"])
            follow = _Follow(view, len(items))
            try:
                edit_all(items, steps, run, workers=options["workers"], limits=_limits(), on_line=follow)
            finally:
                view.close()
            if follow.before:
                view.line(f"{follow.before} of {len(items)} were done already.")
            if not options["no_report"]:
                page = write_report(run, items, title=f"{options['what']}: {options['path'] or options['products']}")
                view.line(f"Look at {page}")
        self._conclude(run.lines, items, view, output)

    def _conclude(self, lines: dict[str, Line], items: list[Item], view: ProgressView, output: Path) -> None:
        ours = [lines[item.name] for item in items if item.name in lines]
        failed = [line for line in ours if line.error]
        doubtful = sum(bool(line.reason) for line in ours)
        view.line(f"{len(ours) - len(failed)} pictures edited, {doubtful} of them to look at; {output / 'results.csv'}")
        if failed:
            examples = "; ".join(f"{line.file}: {line.error}" for line in failed[:3])
            raise CommandError(f"{len(failed)} pictures could not be edited. {examples}")

    def _steps(self, options: dict[str, Any]) -> tuple[Step, ...]:
        what = options["what"]
        params = _params(options["params"], options["values"])
        if what in {operation.name for operation in public_operations()}:
            return parse_steps([{"operation": what, "params": params}])
        if params:
            raise CommandError("--set and --params are for a single operation; a recipe holds its own parameters.")
        path = Path(what)
        return (read_recipe(path) if path.suffix == ".json" else self._recipe(what)).steps

    def _recipe(self, name: str) -> Recipe:
        """Folders need no database: where there is none, or none with our tables, built-in recipes still work."""
        try:
            return get_recipe(name)
        except DatabaseError as error:
            self.stderr.write(f"The shop's own recipes can't be read ({error}); only built-in ones are known.")
            return get_recipe(name, rows=False)


class _Follow:
    """A bar on a terminal, a line now and then elsewhere."""

    def __init__(self, view: ProgressView, total: int) -> None:
        self._view, self._total = view, total
        self._done = self.before = 0

    def __call__(self, line: Line, was_done: bool) -> None:
        self._done += 1
        self.before += was_done
        self._view.counting(self._done, self._total, "pictures")
        if line.error:
            self._view.line(f"{line.file}: {line.error}")


def _limits() -> Any:
    """The shop's limits, but without shrinking: a folder's results have the pictures' own size."""
    from shopgen_django.imaging.intake import IntakeLimits

    limits = app_settings.LIMITS
    return IntakeLimits(
        max_bytes=max(limits["MAX_UPLOAD_BYTES"], 200 * 2**20), max_pixels=limits["MAX_PIXELS"],
        max_side=limits["MAX_SIDE"], min_side=min(16, limits["MIN_SIDE"]), working_side=limits["MAX_SIDE"],
    )


def _params(text: str | None, values: list[str]) -> dict[str, Any]:
    try:
        params = json.loads(text) if text else {}
    except ValueError as error:
        raise CommandError(f"--params is not valid JSON: {error}") from error
    if not isinstance(params, dict):
        raise CommandError('--params is an object, for example {"ground": "white"}.')
    for given in values:
        name, sep, value = given.partition("=")
        if not sep or not name:
            raise CommandError(f"--set takes NAME=VALUE, not {given!r}.")
        try:
            params[name] = json.loads(value)
        except ValueError:
            params[name] = value
    return params
