"""The command line: one declaration of options, help that teaches, estimates, plain errors, lazy imports."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from shopgen_django.ml import train as command
from shopgen_django.ml.config import TrainConfig, check_config, config_from_dict
from shopgen_django.ml.errors import ConfigError
from shopgen_django.ml.options import add_options, config_from_options
from shopgen_django.ml.progress import ProgressView, clock
from tests.ml.photos import make_folder


def _parse(*arguments: str) -> TrainConfig:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return config_from_options(vars(parser.parse_args(list(arguments))))


def test_every_field_is_an_option_and_defaults_agree() -> None:
    assert _parse() == TrainConfig()
    assert config_from_dict(json.loads(json.dumps(TrainConfig(category=("a",)).as_dict()))) == TrainConfig(
        category=("a",)
    )
    text = command.build_parser().format_help()
    for field in fields(TrainConfig):
        assert "--" + field.name.replace("_", "-") in text
        assert field.metadata["help"]
    assert "examples:" in text


def test_options_reach_the_configuration() -> None:
    config = _parse(
        "--category", "a", "b", "--category", "c", "--size", "28", "--channels", "1", "--no-conditional",
        "--no-flip", "--minutes", "1.5", "--loss", "lsgan",
    )  # fmt: skip
    assert config.category == ("a", "b", "c")
    assert (config.size, config.channels, config.conditional, config.flip) == (28, 1, False, False)
    assert (config.minutes, config.loss) == (1.5, "lsgan")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-size", "1"], "at least 2"),
        (["--minutes", "soon"], "not a number"),
        (["--channels", "2"], "choose from 1, 3, 4"),
        (["--prepare", "black"], "none"),
    ],
)
def test_wrong_values_are_told_apart(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        _parse(*arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_values_that_do_not_come_from_the_command_line_are_checked_too() -> None:
    with pytest.raises(ConfigError, match="--channels is 2"):
        check_config(TrainConfig(source="a", output="b", channels=2))
    with pytest.raises(ConfigError, match="--minutes is nan"):
        check_config(TrainConfig(source="a", output="b", minutes=float("nan")))
    with pytest.raises(ConfigError, match="Unknown training option: colour"):
        config_from_dict({"colour": "red"})


def test_dry_run_of_a_run_that_begins_with_the_base(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the base knows of the categories is looked up by their names, also in the rehearsal."""
    arguments = ["--source", str(make_folder(tmp_path / "photos")), "--output", str(tmp_path / "run")]
    options = ["--init", "base", "--minutes", "2", "--batch-size", "4", "--threads", "1", "--dry-run"]
    assert command.main([*arguments, *options]) == 0
    assert '"init": "base"' in capsys.readouterr().out


def test_dry_run_settles_everything_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_folder(tmp_path / "photos")
    arguments = ["--source", str(source), "--output", str(tmp_path / "run"), "--size", "16", "--width", "4"]
    assert command.main([*arguments, "--minutes", "2", "--dry-run", "--batch-size", "4", "--threads", "1"]) == 0
    told = capsys.readouterr().out
    settled, _end = json.JSONDecoder().raw_decode(told)
    assert settled["loss"] == "rp"
    assert settled["minutes"] == 2.0
    assert "pictures     12" in told
    assert "time         2:00" in told
    assert "MFLOP" in told
    assert "MiB" in told
    assert not (tmp_path / "run").exists()


def test_errors_are_one_line_and_exit_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--source", str(tmp_path / "no"), "--output", str(tmp_path / "run")]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert "is not a folder" in told
    assert told.count("\n") == 1


def test_plain_lines_without_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_folder(tmp_path / "photos")
    arguments = ["--source", str(source), "--output", str(tmp_path / "run"), "--size", "16", "--width", "4"]
    more = ["--batch-size", "4", "--images-seen", "16", "--tick-seconds", "0", "--threads", "1", "--warm-images", "0"]
    assert command.main([*arguments, *more]) == 0
    told = capsys.readouterr().out
    assert "\r" not in told
    assert "12 pictures at 16 px, 2 categories, modern with loss rp" in told
    assert sum("pictures seen in" in line for line in told.splitlines()) >= 4
    assert told.splitlines()[-1].startswith("Done: 16 pictures seen")


def test_a_bar_on_a_terminal() -> None:
    stream = io.StringIO()
    view = ProgressView(stream, terminal=True)
    view.progress(0.25, 100, 30.0)
    view.tick(100, 30.0, 0.25, {"loss_d": 0.5})
    view.progress(0.5, 200, 60.0)
    view.line("a word")
    view.close()
    drawn = stream.getvalue()
    assert "[####" in drawn
    assert "25% 100 pictures, 0:30, 1:30 left" in drawn
    assert "D loss 0.500" in drawn
    assert drawn.endswith("a word\n")


def test_clock() -> None:
    assert [clock(s) for s in (5, 75, 3725)] == ["0:05", "1:15", "1:02:05"]


def test_importing_the_package_needs_neither_torch_nor_django() -> None:
    code = (
        "import sys\n"
        "import shopgen_django.ml, shopgen_django.ml.train, shopgen_django.ml.sample, shopgen_django.ml.options\n"
        "print([m for m in ('torch', 'django', 'cv2', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_training_needs_no_django() -> None:
    code = "import sys\nimport shopgen_django.ml.loop, shopgen_django.ml.estimate\nprint('django' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
