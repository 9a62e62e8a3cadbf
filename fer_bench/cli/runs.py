"""`run`, `status` and `tune`, with their plans and progress."""

from __future__ import annotations

import argparse
import fnmatch
import itertools
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fer_bench import registry
from fer_bench.errors import FerBenchError
from fer_bench.protocols import get_protocol

if TYPE_CHECKING:
    from fer_bench.bench import RunRequest
    from fer_bench.engine import PlanItem
    from fer_bench.fit import Progress
    from fer_bench.records import RunRecord
    from fer_bench.specs import ModelSpec
    from fer_bench.trainer import Compute


def run(options: argparse.Namespace) -> int:
    """Train and evaluate; skips what is done, goes on with what was cut off."""
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


def status(options: argparse.Namespace) -> int:
    """What is done, what is to do, and what is skipped and why."""
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


def search(options: argparse.Namespace) -> int:
    """Search hyperparameters at random, scored on select; goes on where it stopped."""
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


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
