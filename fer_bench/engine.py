"""Plans runs and executes them on this machine, each in a process of its own, in a fixed number of slots."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Literal, cast

from fer_bench import bench, data, provenance, suite
from fer_bench.data import sfew
from fer_bench.data.dataset import FaceDataset
from fer_bench.errors import DataNotFoundError, FerBenchError
from fer_bench.fit import end_with, steps_per_epoch
from fer_bench.protocols import get_protocol
from fer_bench.records import THEN, RunRecord, Workspace, list_records, read_record
from fer_bench.specs import ModelSpec, Recipe
from fer_bench.trainer import Compute

# What a thread of a server processor trains, in multiply-adds a second, where no record says better.
MULTIPLY_ADDS_PER_S = {"bfloat16 autocast": 50e9, "float32": 12.5e9}
# A training step costs about three forward passes; predicting every view of the test part is another dozen each.
STEP_COST = 3
# An estimator's fit, in products of all images' covariance: LDA's decomposition and some hundred steps of L-BFGS alike.
FIT_COST = 20


# Multiply-adds of images trained in a second, by a thread or by a GPU: by model, kind of device and precision.
Rates = dict[tuple[str, str, str], float]


@dataclass(frozen=True)
class PlanItem:
    """One run of a plan: its state, why it is skipped, and how long it should take."""

    request: bench.RunRequest
    state: Literal["done", "to do", "skipped"]
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended; `error` is empty if it ended well."""

    request: bench.RunRequest
    error: str = ""
    not_started: bool = False


def suite_requests(
    template: bench.RunRequest, seeds: Sequence[int], real_data: bool
) -> list[tuple[bench.RunRequest, str]]:
    """The suite's rows as requests with the reason why one can't run; the synthetic rows if there is no real data."""
    rows = suite.rows() if real_data else suite.synthetic_rows()
    return [
        (replace(template, model=row.model, recipe=row.recipe, protocol=row.protocol, seed=seed), row.missing)
        for row in rows
        for seed in seeds
    ]


def plan(
    requests: Sequence[tuple[bench.RunRequest, str]],
    compute: Compute,
    say: Callable[[str], None] | None = None,
    *,
    fetch: bool = True,
) -> list[PlanItem]:
    """What is done, what is to do in which order, and what is skipped and why.

    To-do runs come cheapest first, those that need another run's network after the rest.

    Args:
        say: called with a line of text when a data set is read or fetched.
        fetch: fetch what is not here; else the network is left alone, and what needs it is skipped.
    """
    loaded: dict[str, FaceDataset | str] = {}
    rates = _measured_rates(requests[0][0].place if requests else Workspace())
    items = [_plan_one(request, missing, compute, loaded, rates, say, fetch) for request, missing in requests]
    items = _with_sources(items)
    order = {"done": 0, "to do": 1, "skipped": 2}
    return sorted(items, key=lambda item: (order[item.state], _transfers(item), item.seconds))


def _with_sources(items: list[PlanItem]) -> list[PlanItem]:
    """What needs a network that is neither here nor made by another item of the plan is skipped."""
    made = {item.request.row for item in items if item.state == "to do"}
    held_up = [
        item
        for item in items
        if item.state == "to do" and (lacking := bench.missing_sources(item.request)) and not made.issuperset(lacking)
    ]
    if not held_up:
        return items
    return _with_sources(
        [
            replace(item, state="skipped", reason=bench.how_to_get(item.request)) if item in held_up else item
            for item in items
        ]
    )


def _transfers(item: PlanItem) -> bool:
    if item.state != "to do":
        return False
    return bool(item.request.sources) or item.request.resolved_recipe().pretrained != "none"


def _plan_one(
    request: bench.RunRequest,
    missing: str,
    compute: Compute,
    loaded: dict[str, FaceDataset | str],
    rates: Rates,
    say: Callable[[str], None] | None,
    fetch: bool,
) -> PlanItem:
    if missing:
        return PlanItem(request, "skipped", missing)
    protocol = get_protocol(request.protocol)
    recipe = request.resolved_recipe()
    if protocol.dataset not in loaded:
        try:
            loaded[protocol.dataset] = data.load(
                protocol.dataset,
                request.data_dir,
                allow_partial=request.allow_partial,
                progress=say if fetch else _no_download(protocol.dataset, request, say),
            )
        except DataNotFoundError as error:
            loaded[protocol.dataset] = str(error)
    dataset = loaded[protocol.dataset]
    if isinstance(dataset, str):
        return PlanItem(request, "skipped", dataset)
    record = bench.done(request, dataset)
    if record is not None:
        return PlanItem(request, "done", seconds=record.train_seconds)
    if unavailable := bench.pretrained_unavailable(request.spec, recipe, fetch=fetch):
        return PlanItem(request, "skipped", unavailable)
    if recipe.input == "published_features" and (reason := _no_features(dataset, loaded)):
        return PlanItem(request, "skipped", reason)
    return PlanItem(request, "to do", seconds=_estimate(request, recipe, dataset, compute, rates))


def _no_features(dataset: FaceDataset, loaded: dict[str, FaceDataset | str]) -> str:
    """Why a data set's published features can't be had, or an empty string; asked once a plan."""
    key = f"{dataset.name}'s features"
    if key not in loaded:
        try:
            sfew.published_features(dataset)
            loaded[key] = ""
        except FerBenchError as error:
            loaded[key] = str(error)
    return cast(str, loaded[key])


def _no_download(
    dataset: str, request: bench.RunRequest, say: Callable[[str], None] | None
) -> Callable[[str], None] | None:
    """A `progress` for `data.load` that ends it where it would download."""
    (status,) = (status for status in data.status(request.data_dir) if status.name == dataset)
    if status.found:
        return say

    def refuse(_: str) -> None:  # of a set that is nowhere, the download is the first thing that is slow
        raise DataNotFoundError(status.message)

    return refuse


def _measured_rates(workspace: Workspace) -> Rates:
    """The rates of the records there are.

    In multiply-adds, as by a recipe's options a model may cost several times as much as by another's.
    """
    rates = {}
    for path in list_records(workspace):
        try:
            record = read_record(path)
        except FerBenchError:
            continue  # `leaderboard verify` is where a broken record is reported
        if THEN in record.device.name:
            continue  # its epochs' pace is that of two devices
        seen = [row["images_per_s"] for fold in record.folds for row in fold.history if "images_per_s" in row]
        if seen:
            device = record.device
            pace = record.multiply_adds * sum(seen) / len(seen)
            threads = max(device.threads) if device.type == "cpu" else 1
            rates[record.model, device.type, device.precision] = pace / threads
    return rates


def _estimate(
    request: bench.RunRequest,
    recipe: Recipe,
    dataset: FaceDataset,
    compute: Compute,
    rates: Rates,
) -> float:
    spec = request.spec
    folds = bench.folds_for(request, dataset, get_protocol(request.protocol))
    kind = compute.device.partition(":")[0]
    threads = compute.threads if kind == "cpu" else 1
    pace = MULTIPLY_ADDS_PER_S[compute.precision] * threads
    images = fits = 0.0
    for fold in folds:
        if recipe.batch_size is None:
            fits += FIT_COST * len(fold.train) * (spec.channels * spec.size**2) ** 2
        else:
            per_epoch = steps_per_epoch(len(fold.train), recipe.batch_size)
            steps = recipe.steps if recipe.steps is not None else (recipe.epochs or 0) * per_epoch
            # Of a frozen body every image and its mirror image are computed once, whatever the epochs.
            images += 2 / STEP_COST * len(fold.train) if recipe.frozen else steps * recipe.batch_size
        # Scoring: each of the thirteen versions of a test image is one forward pass.
        images += 13 / STEP_COST * (len(fold.test) + len(fold.select))
    if not images:
        return fits / pace
    _, multiply_adds = _cost(spec, recipe)
    measured = rates.get((spec.name, kind, compute.precision))
    rate = pace / STEP_COST if measured is None else measured * threads
    return images * multiply_adds / rate + fits / pace


def _cost(spec: ModelSpec, recipe: Recipe) -> tuple[int, int]:
    return provenance.network_cost(spec, 7, dict(recipe.model_options))


def budgeted(seconds: float | None, started: float) -> Callable[[PlanItem], bool]:
    """Whether the next run's estimate still fits; without a budget everything does."""
    return lambda item: seconds is None or time.monotonic() - started + item.seconds <= seconds


Worker = Callable[[bench.RunRequest, Compute, bool], RunRecord]
# Why what needs a row's network can't start, by that row.
Stopped = dict[tuple[str, str, str], str]
FAILED, NOT_STARTED = "its source failed", "its source was not started"
CIRCLE = "what it starts from or learns from needs it first"


def _held_up(item: PlanItem, stopped: Stopped) -> str:
    """Why an item can't start, or an empty string."""
    return next((stopped[source] for source in item.request.sources if source in stopped), "")


def in_this_process(items: Sequence[PlanItem], compute: Compute, worker: Worker) -> Iterator[Outcome]:
    """One after the other in their order, for runs of seconds."""
    stopped: Stopped = {}
    for item in items:
        if reason := _held_up(item, stopped):
            yield Outcome(item.request, reason, not_started=True)
            continue
        error = ""
        try:
            worker(item.request, compute, False)
        except FerBenchError as problem:
            error = str(problem)
        except Exception as problem:  # a bug in one row must not hide the others
            error = f"{type(problem).__name__}: {problem}"
        if error:
            stopped[item.request.row] = FAILED
        yield Outcome(item.request, error)


def in_processes(
    items: Sequence[PlanItem], compute: Compute, worker: Worker, jobs: int, budget: float | None
) -> Iterator[Outcome]:
    """Each run in a process of its own, `jobs` at a time; yields as they end, goes on after a failure.

    A run that starts from another run's network waits for every run of that row, and is not started if one of
    them did not end well.
    """
    context = multiprocessing.get_context("spawn")
    waiting = list(items)
    running: dict[Connection, tuple[bench.RunRequest, SpawnProcess]] = {}
    stopped: Stopped = {}
    fits = budgeted(budget, time.monotonic())
    try:
        while waiting or running:
            while len(running) < jobs:
                ahead = {request.row for request, _ in running.values()} | {item.request.row for item in waiting}
                item = next((item for item in waiting if ahead.isdisjoint(item.request.sources)), None)
                if item is None:
                    break
                waiting.remove(item)
                unfit = "" if fits(item) else "does not fit into the rest of the budget"
                if reason := _held_up(item, stopped) or unfit:
                    stopped[item.request.row] = NOT_STARTED
                    yield Outcome(item.request, reason, not_started=True)
                    continue
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(
                    target=_child, args=(sender, os.getpid(), worker, item.request, compute, jobs > 1)
                )
                process.start()
                sender.close()
                running[receiver] = (item.request, process)
            if waiting and not running:
                yield from (Outcome(item.request, CIRCLE, not_started=True) for item in waiting)
                break
            for ended in cast(list[Connection], wait(list(running))) if running else ():
                request, process = running.pop(ended)
                try:
                    error = ended.recv()
                except EOFError:
                    process.join()
                    error = f"its process ended with {_exit_name(process.exitcode)} before it could report"
                process.join()
                if error:
                    stopped[request.row] = FAILED
                yield Outcome(request, error)
    finally:
        for _, process in running.values():
            process.terminate()


def _exit_name(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _child(
    sender: Connection, parent: int, worker: Worker, request: bench.RunRequest, compute: Compute, quiet: bool
) -> None:
    # Ctrl-C reaches every process of the terminal; this one is ended by its parent, without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(parent)
    try:
        worker(request, compute, quiet)
        sender.send("")
    except FerBenchError as error:
        sender.send(str(error))
    except Exception as error:
        sender.send(f"{type(error).__name__}: {error}")


def slots(compute: Compute, jobs: int) -> Compute:
    """The share of the processor's cores that each of `jobs` slots gets, for its threads and for its workers."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = max(1, cores // jobs)
    return replace(compute, threads=share, workers=min(compute.workers, share))
