"""The command line: `python -m fer_bench`. All printing is in this package."""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from fer_bench.cli import board, networks, overview, runs
from fer_bench.errors import FerBenchError, UnknownNameError


class _Parser(argparse.ArgumentParser):
    """Errors in one line and exit code 2, like all bad input."""

    def error(self, message: str) -> NoReturn:
        raise FerBenchError(f"{message} (see `{self.prog} --help`)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code: 0 well, 1 something failed, 2 bad input."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal without our dashes, a file name that is no text
        sys.stdout.reconfigure(errors="replace")
    try:
        parser, commands = _parser()
        if arguments and not arguments[0].startswith("-") and arguments[0] not in commands:
            raise UnknownNameError("command", arguments[0], commands)
        options = parser.parse_args(arguments)
        command: Callable[[argparse.Namespace], int] = options.command
        return command(options)
    except KeyboardInterrupt:
        goes_on = "; the same command goes on from where it was" if arguments[:1] in (["run"], ["tune"]) else ""
        print(f"fer_bench: stopped{goes_on}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `fer_bench list | head`
        sys.stderr.close()
        return 1
    except (FerBenchError, OSError) as error:
        # What a library says may have several lines.
        print("fer_bench:", " ".join(str(error).split()), file=sys.stderr)
        return 2


def _parser() -> tuple[argparse.ArgumentParser, set[str]]:
    parser = _Parser(prog="fer_bench", description="Facial-expression models under shared, honest protocols.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def add(name: str, command: Callable[[argparse.Namespace], int], to: Any = commands) -> argparse.ArgumentParser:
        summary = command.__doc__
        sub: argparse.ArgumentParser = to.add_parser(name, help=summary, description=summary)
        sub.set_defaults(command=command)
        return sub

    run = add("run", runs.run)
    run.add_argument("--all", action="store_true", help="every row of the suite")
    run.add_argument("--model", nargs="+", metavar="M", default=[], help="models by name (see `list`)")
    run.add_argument("--spec", nargs="+", metavar="MODULE:SPEC", default=[], help="your own models, no fork needed")
    run.add_argument("--protocol", nargs="+", metavar="P", help="default: fer2013, or synthetic without real data")
    run.add_argument("--recipe", metavar="R", help="or a pattern like 'no_*'; default: paper, else fer_bench")
    run.add_argument("--seeds", type=_seeds, default=(0,), metavar="0,1,2")
    run.add_argument("--quick", action="store_true", help="a few steps on a subset, into quick/, to see that it works")
    run.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    run.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1; default: a GPU if there is one")
    run.add_argument("--jobs", type=_positive, default=1, metavar="N", help="runs at a time; they share the cores")
    run.add_argument("--budget", type=_duration, metavar="2h", help="start no run that would end after this time")
    _add_data_options(run)

    tune = add("tune", runs.search)
    tune.add_argument("model", metavar="MODEL", help="a model by name, or your own as MODULE:SPEC")
    tune.add_argument("--protocol", required=True, metavar="P", help="of several folds the first is used")
    tune.add_argument("--trials", required=True, type=_positive, metavar="N", help="finished trials wanted, in all")
    tune.add_argument("--recipe", metavar="R", help="where to start; default: paper where there is one, else fer_bench")
    tune.add_argument("--folds", type=_folds, default=0, metavar="K", help="cross-validate in the training part")
    tune.add_argument("--seed", type=_seed, default=0, metavar="S", help="of the values and of the trainings")
    tune.add_argument("--write", type=Path, metavar="FILE.py", help="write the best trial there, for `run --spec`")
    tune.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1; default: a GPU if there is one")
    tune.add_argument("--budget", type=_duration, metavar="2h", help="start no trial that would end after this time")
    _add_data_options(tune)

    score = add("score", board.score)
    score.add_argument("predictions", type=Path, help="CSV: id, then a probability for each class or one `prediction`")
    score.add_argument("--protocol", required=True, metavar="P")
    score.add_argument("--name", required=True, help="what to call the row")
    _add_data_options(score)

    ensemble = add("ensemble", board.average)
    ensemble.add_argument("--protocol", required=True, metavar="P")

    add("list", overview.models)
    status = add("status", runs.status)
    _add_data_options(status)

    data = add("data", overview.data_sets)
    data.add_argument("action", choices=("status", "check"))
    data.add_argument("names", nargs="*", metavar="NAME", help="data sets; default: all that are found")
    _add_data_options(data)

    def group(name: str, summary: str) -> Any:
        return commands.add_parser(name, help=summary, description=summary).add_subparsers(
            required=True, metavar="ACTION", parser_class=_Parser
        )

    actions = group("leaderboard", "Build, show or verify the board.")
    add("build", board.build, actions)
    show = add("show", board.show, actions)
    show.add_argument("--protocol", metavar="P", help="this one only")
    verify = add("verify", board.verify, actions)
    verify.add_argument("--weights", action="store_true", help="predict again with the shipped networks")
    verify.add_argument("--data-dir", type=Path, metavar="DIR", help="where the data sets are")
    add("measure", board.measure, actions)

    actions = group("weights", "Check the shipped networks, or share them through a model repository on the Hub.")
    verify = add("verify", networks.verify, actions)
    verify.add_argument("names", nargs="*", metavar="NAME", help="model or model.recipe; default: all")
    verify.add_argument("--data-dir", type=Path, metavar="DIR", help="where the data sets are")
    push = add("push", networks.push, actions)
    push.add_argument("repo", metavar="REPO", help="USER/NAME; made if it is not there")
    pull = add("pull", networks.pull, actions)
    pull.add_argument("repo", metavar="REPO", help="USER/NAME")
    pull.add_argument("--revision", metavar="R", help="a branch, tag or commit; default: main")

    export = add("export", networks.export_file)
    export.add_argument("model", metavar="MODEL", help="model or model.recipe")
    export.add_argument("--format", choices=("onnx",), default="onnx", help="default: onnx")
    export.add_argument("--out", type=Path, metavar="FILE", help="default: MODEL.RECIPE.onnx")

    compare = add("compare", board.compare)
    compare.add_argument("a", metavar="A", help="model or model.recipe")
    compare.add_argument("b", metavar="B")
    compare.add_argument("--protocol", required=True, metavar="P")

    errors = add("errors", board.errors)
    errors.add_argument("model", metavar="MODEL")
    errors.add_argument("--protocol", default="fer2013", metavar="P", help="default: fer2013")
    errors.add_argument("--recipe", metavar="R", help="where the model has several")
    errors.add_argument(
        "--html", nargs="?", type=Path, const=Path(), metavar="OUT",
        help="write a page with the pictures in it; default: errors/<protocol>.<model>.<recipe>.html",
    )  # fmt: skip
    errors.add_argument("--data-dir", type=Path, metavar="DIR", help="where the data sets are")

    report = add("report", board.pages)
    report.add_argument(
        "pages", nargs="*", metavar="PAGE", help="marrugat, lin_shi, ranjan, leng, attentional, goals; default: all"
    )

    predict = add("predict", networks.classify)
    predict.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="pictures, videos, folders, zips")
    predict.add_argument("--model", required=True, metavar="M", help="model or model.recipe")
    predict.add_argument("--csv", type=Path, metavar="OUT", help="write all probabilities there")
    predict.add_argument("--annotate", type=Path, metavar="DIR", help="write the pictures with their faces there")
    predict.add_argument("--whole", action="store_true", help="each picture is one face, already cropped")
    return parser, set(commands.choices)


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where the data sets are")
    parser.add_argument(
        "--allow-partial", action="store_true", help="accept other counts than the published ones; marks the record"
    )


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number, got {text!r}")
    return int(text)


def _folds(text: str) -> int:
    if not text.isdecimal() or int(text) == 1:
        raise argparse.ArgumentTypeError(f"expected 2 or more, or 0 for the protocol's own select, got {text!r}")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number like 0, got {text!r}")
    return int(text)


def _seeds(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise argparse.ArgumentTypeError(f"expected whole numbers like 0,1,2, got {text!r}")
    return tuple(dict.fromkeys(int(part) for part in text.split(",")))


def _duration(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected a time like 90s, 30m or 2h, got {text!r}")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]
