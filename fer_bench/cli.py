"""The command line: `python -m fer_bench`. All printing is here."""

from __future__ import annotations

import argparse
import fnmatch
import io
import itertools
import re
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fer_bench import registry, suite
from fer_bench.errors import FerBenchError, UnknownNameError
from fer_bench.protocols import PROTOCOLS, get_protocol

if TYPE_CHECKING:
    from fer_bench.bench import RunRequest
    from fer_bench.engine import PlanItem
    from fer_bench.fit import Progress
    from fer_bench.leaderboard import VerifyResult
    from fer_bench.pictures import Frame
    from fer_bench.recognition import BatchRow
    from fer_bench.records import RunRecord
    from fer_bench.specs import ModelSpec
    from fer_bench.trainer import Compute

# Of the board in a file or a pipe: room for every column.
PIPED_WIDTH = 200


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

    def add(
        name: str, command: Callable[[argparse.Namespace], int], summary: str, to: Any = commands
    ) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = to.add_parser(name, help=summary, description=summary)
        sub.set_defaults(command=command)
        return sub

    run = add("run", _run, "Train and evaluate; skips what is done, goes on with what was cut off.")
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

    tune = add("tune", _tune, "Search hyperparameters at random, scored on select; goes on where it stopped.")
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

    score = add("score", _score, "Score predictions made elsewhere as a row marked external.")
    score.add_argument("predictions", type=Path, help="CSV: id, then a probability for each class or one `prediction`")
    score.add_argument("--protocol", required=True, metavar="P")
    score.add_argument("--name", required=True, help="what to call the row")
    _add_data_options(score)

    ensemble = add("ensemble", _ensemble, "Average stored predictions of runs chosen on select, as a row.")
    ensemble.add_argument("--protocol", required=True, metavar="P")

    add("list", _list, "Models, their recipes and protocols.")
    status = add("status", _status, "What is done, what is to do, and what is skipped and why.")
    _add_data_options(status)

    data = add("data", _data, "What data were found, or what to get and where to put it.")
    data.add_argument("action", choices=("status", "check"))
    data.add_argument("names", nargs="*", metavar="NAME", help="data sets; default: all that are found")
    _add_data_options(data)

    def group(name: str, summary: str) -> Any:
        return commands.add_parser(name, help=summary, description=summary).add_subparsers(
            required=True, metavar="ACTION", parser_class=_Parser
        )

    actions = group("leaderboard", "Build, show or verify the board.")
    add("build", _leaderboard_build, "Make the board's files from the records.", actions)
    show = add("show", _leaderboard_show, "Print the board.", actions)
    show.add_argument("--protocol", metavar="P", help="this one only")
    verify = add("verify", _leaderboard_verify, "Compute every number again from the stored predictions.", actions)
    verify.add_argument("--weights", action="store_true", help="predict again with the shipped networks")
    verify.add_argument("--data-dir", type=Path, metavar="DIR", help="where the data sets are")
    add("measure", _leaderboard_measure, "Measure how long each network takes on this CPU, and build.", actions)

    actions = group("weights", "Check the shipped networks, or share them through a model repository on the Hub.")
    verify = add("verify", _weights_verify, "Predict again with the shipped files; compare with the records.", actions)
    verify.add_argument("names", nargs="*", metavar="NAME", help="model or model.recipe; default: all")
    verify.add_argument("--data-dir", type=Path, metavar="DIR", help="where the data sets are")
    push = add("push", _weights_push, "Upload the networks with a model card; only what is new is sent.", actions)
    push.add_argument("repo", metavar="REPO", help="USER/NAME; made if it is not there")
    pull = add("pull", _weights_pull, "Download the networks that are not here yet.", actions)
    pull.add_argument("repo", metavar="REPO", help="USER/NAME")
    pull.add_argument("--revision", metavar="R", help="a branch, tag or commit; default: main")

    export = add("export", _export, "Write a shipped network as a file that needs nothing of fer_bench.")
    export.add_argument("model", metavar="MODEL", help="model or model.recipe")
    export.add_argument("--format", choices=("onnx",), default="onnx", help="default: onnx")
    export.add_argument("--out", type=Path, metavar="FILE", help="default: MODEL.RECIPE.onnx")

    compare = add("compare", _compare, "Are two rows different? Paired bootstrap and McNemar's test.")
    compare.add_argument("a", metavar="A", help="model or model.recipe")
    compare.add_argument("b", metavar="B")
    compare.add_argument("--protocol", required=True, metavar="P")

    errors = add("errors", _errors, "What a run takes for what, and the faces themselves as a local page.")
    errors.add_argument("model", metavar="MODEL")
    errors.add_argument("--protocol", default="fer2013", metavar="P", help="default: fer2013")
    errors.add_argument("--recipe", metavar="R", help="where the model has several")
    errors.add_argument(
        "--html", nargs="?", type=Path, const=Path(), metavar="OUT",
        help="write a page with the pictures in it; default: errors/<protocol>.<model>.<recipe>.html",
    )  # fmt: skip
    errors.add_argument("--data-dir", type=Path, metavar="DIR", help="where the data sets are")

    report = add("report", _report, "Each paper's tables and figures beside our runs, as pages in leaderboard/papers.")
    report.add_argument(
        "pages", nargs="*", metavar="PAGE", help="marrugat, lin_shi, ranjan, leng, attentional, goals; default: all"
    )

    predict = add("predict", _predict, "Find the faces of pictures and videos and classify them.")
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


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


# run


def _run(options: argparse.Namespace) -> int:
    import shutil
    import time

    from fer_bench import data, engine, leaderboard, weights
    from fer_bench.bench import RunRequest
    from fer_bench.records import read_record
    from fer_bench.trainer import Compute

    models = [*options.model, *options.spec]
    if options.all == bool(models):
        raise FerBenchError("say what to run: --all, or --model NAME ... (see `fer_bench list`)")
    if options.all and (options.protocol or options.recipe):
        raise FerBenchError("--all runs the whole suite; --protocol and --recipe go with --model")
    for model in models:  # a wrong name is said before any data is fetched
        registry.get_spec(model)
    template = RunRequest(
        model="", recipe="", protocol="", data_dir=options.data_dir,
        allow_partial=options.allow_partial, quick=options.quick,
    )  # fmt: skip
    workspace = template.place
    protocols = options.protocol
    if not protocols:
        real = data.found(options.data_dir) if options.dry_run else data.found_or_fetched(options.data_dir, print)
        protocols = ["fer2013" if "fer2013" in real else "synthetic"]
        if not real:
            print(
                "no real data found: using the embedded drawings (`python -m fer_bench data status` says what to get)"
            )
    if options.all:
        requests = engine.suite_requests(template, options.seeds, bool(real))
    else:
        requests = _requests(template, models, protocols, options)
    compute = engine.slots(Compute.detect(options.device), options.jobs)
    if options.quick and not options.dry_run:
        # What an earlier trial of the same left is worth nothing; a network that they start from may be there.
        own = [folder for request, _ in requests for folder in (request.record_path.parent, request.folder)]
        for folder in [workspace.root] if options.all else own:
            shutil.rmtree(folder, ignore_errors=True)
    items = engine.plan(requests, compute, print, fetch=not options.dry_run)
    _print_plan(items, options.jobs)
    todo = [item for item in items if item.state == "to do"]
    if options.dry_run:
        return 0
    if not options.all and items and all(item.state == "skipped" for item in items):
        raise FerBenchError(f"{items[0].request.name} can't run: {items[0].reason}")
    for item in items:
        if item.state == "done":  # a run that was killed right after its record has not shipped its network
            weights.publish(read_record(item.request.record_path), workspace, print)
    started = time.monotonic()
    if options.quick:
        outcomes = engine.in_this_process(todo, compute, _work)
    else:
        outcomes = engine.in_processes(todo, compute, _work, options.jobs, options.budget)
    failed = skipped = well = 0
    for outcome in outcomes:
        if outcome.not_started:
            skipped += 1
            print(f"not started: {outcome.request.name}: {outcome.error}")
        elif outcome.error:
            failed += 1
            print(f"FAILED: {outcome.request.name}: {outcome.error}", file=sys.stderr)
        else:
            well += 1
    if workspace.records.exists():
        leaderboard.build(workspace)
    print(
        f"{well} finished, {failed} failed, {skipped} not started, in {_time(time.monotonic() - started)}; "
        f"the board is in {workspace.leaderboard}"
    )
    return 1 if failed else 0


def _requests(
    template: RunRequest, models: Sequence[str], protocols: Sequence[str], options: argparse.Namespace
) -> list[tuple[RunRequest, str]]:
    requests = []
    for model in models:
        spec = registry.get_spec(model)
        for protocol in protocols:
            recipes = _recipes(spec, get_protocol(protocol).dataset, options.recipe)
            for recipe, seed in itertools.product(recipes, options.seeds):
                requests.append((replace(template, model=model, recipe=recipe, protocol=protocol, seed=seed), ""))
    return list(dict.fromkeys(requests))  # a name given twice is one run


def _recipes(spec: ModelSpec, dataset: str, pattern: str | None) -> list[str]:
    """The recipe of that name, those that a pattern like no_* matches, or the default one."""
    if pattern is None:
        return [_default_recipe(spec, dataset)]
    if not set(pattern) & set("*?["):
        return [spec.recipe(pattern, dataset).name]
    if not (matching := fnmatch.filter(_fitting(spec, dataset), pattern)):
        raise FerBenchError(f"{spec.name} has no recipe like {pattern!r} for {dataset} (see `fer_bench list`)")
    return matching


def _default_recipe(spec: ModelSpec, dataset: str) -> str:
    fitting = _fitting(spec, dataset)
    if not fitting:
        raise FerBenchError(f"{spec.name} has no recipe for {dataset}")
    return next((recipe for recipe in ("paper", "fer_bench") if recipe in fitting), fitting[0])


def _fitting(spec: ModelSpec, dataset: str) -> list[str]:
    return [recipe.name for recipe in spec.recipes if not recipe.datasets or dataset in recipe.datasets]


def _print_plan(items: Sequence[PlanItem], jobs: int) -> None:
    skipped: dict[str, list[str]] = {}
    width = max((len(item.request.name) for item in items), default=0)
    for item in items:
        if item.state == "skipped":
            skipped.setdefault(item.reason, []).append(item.request.name)
        else:
            print(f"{item.state:6} {item.request.name:{width}} {_time(item.seconds):>8}")
    for reason, names in skipped.items():
        print(f"skipped, {reason}:")
        for name in names:
            print(f"       {name}")
    todo = [item for item in items if item.state == "to do"]
    done = sum(item.state == "done" for item in items)
    print(
        f"{done} done, {len(todo)} to do, {len(items) - done - len(todo)} skipped; "
        f"estimated time {_time(sum(item.seconds for item in todo) / jobs)}"
    )


def _work(request: RunRequest, compute: Compute, quiet: bool) -> RunRecord:
    """One run with a progress bar, or with a line an epoch where several run at once."""
    from fer_bench import bench, weights

    report = _Lines(request.name) if quiet or not sys.stdout.isatty() else _Bar(request.name)
    with report:
        record = bench.run(request, compute, progress=report.progress, phase=report.phase)
    weights.publish(record, request.place, print)
    print(f"{request.name}: {100 * record.accuracy():.2f}% on test in {_time(record.train_seconds)}", flush=True)
    return record


class _Lines:
    """A line an epoch."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def phase(self, text: str) -> None:
        """What the run does now."""

    def progress(self, fold: int, folds: int, state: Progress) -> None:
        """After each step; prints after an epoch's last."""
        if state.step == state.steps:
            print(f"{self._name}: {_progress_text(fold, folds, state)}", flush=True)


class _Bar(_Lines):
    """A live bar."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(TextColumn("{task.fields[name]}"), BarColumn(), TextColumn("{task.description}"))
        self._task = self._bar.add_task("", name=name, total=1)

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def phase(self, text: str) -> None:
        self._bar.update(self._task, description=text)

    def progress(self, fold: int, folds: int, state: Progress) -> None:
        total = state.epochs * state.steps
        self._bar.update(
            self._task,
            completed=(state.epoch - 1) * state.steps + state.step,
            total=total,
            description=_progress_text(fold, folds, state),
        )


def _progress_text(fold: int, folds: int, state: Progress) -> str:
    return (
        (f"fold {fold + 1}/{folds} " if folds > 1 else "")
        + f"epoch {state.epoch}/{state.epochs} loss {state.loss:.4f} accuracy {100 * state.accuracy:.1f}% "
        + f"{state.images_per_s:.0f} img/s, {_time(state.seconds_left)} left"
    )


def _tune(options: argparse.Namespace) -> int:
    import time

    from rich.console import Console

    from fer_bench import engine, tune
    from fer_bench.bench import RunRequest
    from fer_bench.trainer import Compute

    if options.budget == 0:
        raise FerBenchError("--budget: expected more than no time")
    if options.write is not None:
        tune.check_target(options.write)
    spec, protocol = registry.get_spec(options.model), get_protocol(options.protocol)
    request = RunRequest(
        model=options.model, recipe=options.recipe or _default_recipe(spec, protocol.dataset),
        protocol=options.protocol, seed=options.seed, data_dir=options.data_dir, allow_partial=options.allow_partial,
    )  # fmt: skip
    compute = engine.slots(Compute.detect(options.device), 1)
    started = time.monotonic()
    with tune.searching(request, options.folds, say=print) as search:
        print(f"searching {', '.join(f'{name} {where}' for name, where in search.space.items())}")
        if search.caveat:
            print(search.caveat)
        while len(trials := search.trials()) < options.trials:
            longest = max((trial.seconds for trial in trials), default=0.0)
            if options.budget is not None and time.monotonic() - started + longest > options.budget:
                print(f"{len(trials)} of {options.trials} trials: the next does not fit into the rest of the budget")
                break
            report = (_Bar if sys.stdout.isatty() else _Lines)(f"trial {len(trials) + 1} of {options.trials}")
            with report:
                trial = search.run_next(compute, report.progress)
            result = f"{100 * trial.accuracy:.2f}% on select in {_time(trial.seconds)}"
            print(f"trial {trial.number} of {options.trials}: {trial.diverged or result}", flush=True)
        Console().print(tune.table(search))
        if all(trial.diverged for trial in trials):
            print("no trial has ended well", file=sys.stderr)
            return 1
        best = search.ranked()[0]
        values = ", ".join(f"{name} {value:g}" for name, value in best.values.items())
        print(f"best: trial {best.number} with {100 * best.accuracy:.2f}% on select: {values}")
        if options.write is not None:
            tune.write_module(search, options.write)
            run = f"python -m fer_bench run --spec {options.write.stem}:SPEC --protocol {protocol.name}"
            print(f"{options.write}: `{run}` runs it (in the file's folder)")
    return 0


def _score(options: argparse.Namespace) -> int:
    from fer_bench import external, leaderboard
    from fer_bench.records import Workspace

    workspace = Workspace()
    record = external.score_external(
        options.predictions, options.name, options.protocol, workspace,
        data_dir=options.data_dir, allow_partial=options.allow_partial,
    )  # fmt: skip
    leaderboard.build(workspace)
    print(f"{options.name} on {options.protocol}: {100 * record.accuracy():.2f}% (external)")
    return 0


def _ensemble(options: argparse.Namespace) -> int:
    from fer_bench import ensemble, leaderboard
    from fer_bench.records import Workspace

    workspace = Workspace()
    record = ensemble.build(workspace, options.protocol)
    leaderboard.build(workspace)
    for member in record.members:
        print(f"{member.times} x {member.model}.{member.recipe_name}, seed {member.seed}")
    accuracies = (f"{100 * record.accuracy(part=part):.2f}% on {part}" for part in ("select", "test"))
    print(f"their mean on {record.protocol}: {', '.join(accuracies)}")
    return 0


# list, status, data


def _list(options: argparse.Namespace) -> int:
    rows: dict[str, dict[str, list[str]]] = {name: {} for name in registry.list_models()}
    for row in suite.rows():
        rows[row.model].setdefault(row.recipe, []).append(row.protocol)
    for name, recipes in rows.items():
        spec = registry.get_spec(name)
        print(f"{name}: {spec.title}; {spec.size}x{spec.size}, {spec.parameters:,} parameters")
        for recipe, where in recipes.items():
            print(f"    {recipe}: {', '.join(where)}")
        if others := [recipe for recipe in dict.fromkeys(r.name for r in spec.recipes) if recipe not in recipes]:
            print(f"    not in the suite: {', '.join(others)}")
    print(f"protocols: {', '.join(PROTOCOLS)}")
    return 0


def _status(options: argparse.Namespace) -> int:
    from fer_bench import data, engine
    from fer_bench.bench import RunRequest
    from fer_bench.trainer import Compute

    template = RunRequest(
        model="", recipe="", protocol="", data_dir=options.data_dir, allow_partial=options.allow_partial
    )
    compute = engine.slots(Compute.detect(), 1)
    requests = engine.suite_requests(template, (0,), bool(data.found(options.data_dir)))
    _print_plan(engine.plan(requests, compute, print, fetch=False), 1)
    return 0


def _data(options: argparse.Namespace) -> int:
    from fer_bench import data

    for name in options.names:
        if name not in data.DATASETS:
            raise UnknownNameError("data set", name, data.DATASETS)
    if options.action == "status":
        for status in data.status(options.data_dir):
            if not options.names or status.name in options.names:
                print(f"{status.name}: {'found' if status.found else 'not found'}: {status.message}")
                print(f"    {status.licence}")
        return 0
    for name in options.names or (*data.found(options.data_dir), "synthetic"):
        result = data.check(name, options.data_dir, allow_partial=options.allow_partial, progress=print)
        print(f"{result.name}: {result.layout} at {result.source}{' (PARTIAL)' if result.partial else ''}")
        for part, counts in result.counts.items():
            words = ", ".join(f"{word} {count}" for word, count in counts.items())
            print(f"    {part}: {sum(counts.values())} images: {words}")
        print(f"    fingerprint {result.fingerprint}")
        for note in result.notes:
            print(f"    note: {note}")
    return 0


# leaderboard, compare, predict


def _leaderboard_build(options: argparse.Namespace) -> int:
    from fer_bench import leaderboard
    from fer_bench.records import Workspace

    workspace = Workspace()
    rows = len(leaderboard.build(workspace))
    print(f"{rows} rows in {workspace.leaderboard / 'leaderboard.csv'}")
    return 0


def _leaderboard_measure(options: argparse.Namespace) -> int:
    from fer_bench import leaderboard
    from fer_bench.records import Workspace

    leaderboard.measure_latency(Workspace())
    return _leaderboard_build(options)


def _leaderboard_show(options: argparse.Namespace) -> int:
    from rich.console import Console

    from fer_bench import leaderboard
    from fer_bench.records import Workspace

    if options.protocol is not None:
        get_protocol(options.protocol)
    board = leaderboard.compute(Workspace())
    console = Console() if sys.stdout.isatty() else Console(width=PIPED_WIDTH)
    tables = leaderboard.show(board, options.protocol, console.width)
    for table in tables:
        console.print(table)
    if not tables:
        print("no rows yet: `python -m fer_bench run --all` makes them")
    return 0


def _leaderboard_verify(options: argparse.Namespace) -> int:
    from fer_bench import leaderboard
    from fer_bench.records import Workspace

    results = leaderboard.verify(
        Workspace(), with_weights=options.weights, data_dir=options.data_dir, report=_print_verified
    )
    return _verified(results)


def _print_verified(result: VerifyResult) -> None:
    print(f"{'ok' if result.ok else 'FAILED'}: {result.path}: {'; '.join(result.messages)}", flush=True)


def _verified(results: Sequence[VerifyResult]) -> int:
    failed = sum(not result.ok for result in results)
    unlabelled = sum(result.unlabelled for result in results)
    without = f"; {unlabelled} without the data set, by their stored labels alone" if unlabelled else ""
    print(f"{len(results) - failed} verified, {failed} failed{without}")
    return 1 if failed else 0


def _weights_verify(options: argparse.Namespace) -> int:
    from fer_bench import leaderboard
    from fer_bench.records import Workspace

    results = []
    for result in leaderboard.verify_weights(Workspace(), options.names, data_dir=options.data_dir):
        _print_verified(result)
        results.append(result)
    return _verified(results)


def _weights_push(options: argparse.Namespace) -> int:
    from fer_bench import hub
    from fer_bench.records import Workspace

    pushed = hub.push(options.repo, Workspace())
    print(f"{pushed.url}: {f'{pushed.networks} networks' if pushed.changed else 'nothing was new'}")
    return 0


def _weights_pull(options: argparse.Namespace) -> int:
    from fer_bench import hub
    from fer_bench.records import Workspace

    states = []
    for file in hub.pull(options.repo, Workspace(), options.revision):
        print(f"{file.state}: {file.name}{f' ({file.note})' if file.note else ''}", flush=True)
        states.append(file.state)
    new = sum(state in ("new", "replaced") for state in states)
    print(f"{new} of {len(states)} networks are new" if new else f"nothing new among {len(states)} networks")
    return 1 if "refused" in states else 0


def _export(options: argparse.Namespace) -> int:
    from fer_bench import export, weights
    from fer_bench.records import Workspace, write_bytes

    name = weights.published_name(Workspace(), options.model)
    if options.out is not None and options.out.is_dir():
        raise FerBenchError(f"{options.out}: a folder; --out takes a file's name")
    if options.out is not None and options.out.resolve().parent == Workspace().weights.resolve():
        raise FerBenchError(f"{options.out}: the folder of the shipped networks; --out takes another")
    predictor = weights.load_published(Workspace(), name)
    content = export.to_onnx(predictor)
    difference = export.largest_difference(content, predictor)
    print(f"onnxruntime's probabilities differ from ours by at most {difference:.1e}")
    if not difference <= export.TOLERANCE:  # nor is nan
        print(f"FAILED: expected at most {export.TOLERANCE:.0e}; nothing written", file=sys.stderr)
        return 1
    path = options.out or Path(f"{name}.{options.format}")
    write_bytes(path, content)
    print(f"{path}: {len(content) / 1e6:.1f} MB")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from fer_bench import leaderboard
    from fer_bench.records import Workspace

    get_protocol(options.protocol)
    print(leaderboard.compare(Workspace(), options.a, options.b, options.protocol))
    return 0


def _errors(options: argparse.Namespace) -> int:
    from fer_bench import data
    from fer_bench.leaderboard import errors_page
    from fer_bench.records import Workspace, write_bytes

    protocol = get_protocol(options.protocol)
    run = errors_page.find_run(Workspace(), options.model, protocol.name, options.recipe)
    for confusion in errors_page.confusions(run)[:10]:
        print(f"{confusion.images:5} {confusion.label} taken for {confusion.predicted} ({100 * confusion.share:.0f}%)")
    if options.html is not None:
        dataset = data.load(protocol.dataset, options.data_dir, allow_partial=True, progress=print)
        path = errors_page.default_path(Workspace(), run) if options.html == Path() else options.html
        write_bytes(path, errors_page.page(run, dataset).encode())
        print(f"{path}{'' if dataset.name == 'synthetic' else ': pictures of real people, do not publish it'}")
    return 0


def _report(options: argparse.Namespace) -> int:
    from fer_bench import report
    from fer_bench.records import Workspace

    for path, figures in report.write(Workspace(), options.pages or report.PAGES).items():
        print(f"{path}: {figures} figures")
    return 0


def _predict(options: argparse.Namespace) -> int:
    import contextlib
    import csv
    import os

    from fer_bench import faces, recognition, weights
    from fer_bench.records import Workspace, replacing

    name = weights.published_name(Workspace(), options.model)
    predictor = weights.load_published(Workspace(), name)
    for path in options.paths:
        if not path.exists():
            raise FerBenchError(f"{path}: no such file or folder")
    if options.csv is not None and options.csv.is_dir():
        raise FerBenchError(f"{options.csv}: a folder; --csv takes a file's name")
    if options.csv is not None and options.csv.resolve() in {path.resolve() for path in options.paths}:
        raise FerBenchError(f"{options.csv}: is to be read, and --csv would write over it; give another name")
    detector = None if options.whole else faces.find_detector()
    if detector is not None:
        print(f"faces: {detector.name} ({detector.note})", file=sys.stderr)
    readable, error = False, ""
    with contextlib.ExitStack() as stack:
        target = Path(os.devnull) if options.csv is None else stack.enter_context(replacing(options.csv))
        file = stack.enter_context(target.open("w", encoding="utf-8", newline=""))
        table = csv.writer(file)
        table.writerow(recognition.csv_header(predictor.classes))
        frames = stack.enter_context(contextlib.closing(_tracked(options.paths)))
        for number, frame in enumerate(frames, start=1):
            found = None
            if frame.picture is None:
                error = f"{frame.file}: {frame.error}"
            else:
                readable = True
                found = recognition.recognise(frame.picture, {name: predictor}, detector)
                if options.annotate is not None:
                    recognition.write_annotated(options.annotate, number, frame, found)
            for row in recognition.rows_of(frame, found):
                print(_row_text(row), flush=True)
                table.writerow(recognition.csv_row(row, predictor.classes))
        if not readable:
            raise FerBenchError(error)
    return 0


def _tracked(paths: Sequence[Path]) -> Generator[Frame]:
    """The pictures, with a progress bar where stderr is a terminal."""
    from fer_bench import pictures

    if not sys.stderr.isatty():
        yield from pictures.pictures(paths)
        return
    from rich.console import Console
    from rich.progress import Progress as RichProgress

    # Rows are printed above the bar; into a pipe they go as they are.
    with RichProgress(console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        yield from bar.track(pictures.pictures(paths), total=pictures.count(paths), description="pictures")


def _row_text(row: BatchRow) -> str:
    where = row.file if row.seconds is None else f"{row.file} at {row.seconds:.1f} s"
    if row.opinion is None:
        return f"{where}: {row.note}"
    face = "" if row.box is None else f", face {row.face}"
    note = f" ({row.note})" if row.note else ""
    return f"{where}{face}: {row.opinion.top} {100 * row.opinion.confidence:.1f}%{note}"
