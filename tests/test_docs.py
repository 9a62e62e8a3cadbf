"""The README's commands are real: each parses, and those that only read are run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from fer_bench import cli
from fer_bench.errors import FerBenchError
from fer_bench.protocols import PROTOCOLS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [
    shlex.split(line, comments=True)[3:] for line in re.findall(r"^    (python -m fer_bench .*)$", README, re.M)
]


def test_the_readme_has_commands() -> None:
    assert len(COMMANDS) > 10


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_command_parses(arguments: list[str]) -> None:
    parser, names = cli._parser()
    assert arguments[0] in names
    try:
        parser.parse_args(arguments)
    except FerBenchError as error:
        pytest.fail(str(error))


@pytest.mark.parametrize("arguments", [["list"], ["data", "status"], ["leaderboard", "show"]], ids=" ".join)
def test_reading_command_runs(arguments: list[str]) -> None:
    result = subprocess.run([sys.executable, "-m", "fer_bench", *arguments], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert result.stdout


def test_every_protocol_is_explained() -> None:
    for name in PROTOCOLS:
        assert f"| `{name}` |" in README


def test_space_front_matter_is_complete() -> None:
    front = README.split("---")[1]
    for key in ("sdk: gradio", "python_version:", "app_file: app.py", "tags:"):
        assert key in front


def test_the_numbers_of_the_record_are_the_boards() -> None:
    """`docs/record.md` quotes runs; its table has to follow them."""
    board = pd.read_csv(ROOT / "leaderboard" / "leaderboard.csv").query("protocol == 'fer2013'")
    known = {
        f"{model}.{recipe}": (f"{select:.2f}", f"{test:.2f}")
        for model, recipe, select, test in zip(
            board["model"], board["recipe"], board["select_accuracy"], board["accuracy"], strict=True
        )
    }
    lines = re.findall(r"^\| `([\w.]+)` \| ([\d.]+) \| ([\d.]+) \|", (ROOT / "docs" / "record.md").read_text(), re.M)
    assert len(lines) > 3
    for name, select, test in lines:
        assert (select, test) == known[name], name
