"""Ensembles without training: the mean of stored predictions, calibrated and chosen greedily on `select`."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fer_bench import metrics, registry, scoring
from fer_bench.errors import FerBenchError
from fer_bench.leaderboard.rows import Run, every, image_keys, read_rows
from fer_bench.protocols import get_protocol
from fer_bench.provenance import code_info, now
from fer_bench.records import (
    ANY_FLOAT,
    DeviceInfo,
    FoldInfo,
    Member,
    PredictionsInfo,
    RunRecord,
    Workspace,
    arrays_digest,
    write_record,
)
from fer_bench.scoring import near_copy_free, score_arrays
from fer_bench.specs import VIEWS

MODEL, RECIPE = "ensemble", "greedy"
# Members may come in again, which is how weights arise; the best gain early, and later picks fit `select`'s noise.
PICKS = 20

Arrays = dict[str, ANY_FLOAT]


def candidates(workspace: Workspace, protocol_name: str) -> list[Run]:
    """The runs that an ensemble may choose from: trained here, never on `select`, on the very same folds.

    Of models that are never shipped none, since the faces that a nearest neighbour keeps would make their near copies
    look easy. Where runs met different copies of a data set, those that go with the run best on `select` count.
    """
    unfit = {name for name in registry.list_models() if registry.get_spec(name).not_shipped}
    runs = [
        run
        for row in read_rows(workspace)
        if row.first.protocol == protocol_name and not row.partial and row.first.model not in unfit
        for run in row.runs
        if run.record.trained and run.temperatures
    ]
    if not runs:
        return []

    def met(run: Run) -> tuple[str, list[str]]:
        return run.record.data.fingerprint, [fold.digest for fold in run.record.folds]

    same = met(max(runs, key=lambda run: run.record.accuracy(part="select")))
    return [run for run in runs if met(run) == same]


def choose(targets: npt.ArrayLike, probabilities: Sequence[npt.ArrayLike], picks: int = PICKS) -> list[int]:
    """Which to average, a repeated one counting twice: greedy forward selection with replacement.

    Each pick is the one whose addition makes the true classes likeliest, and the shortest best prefix of the picks is
    kept (Caruana et al. 2004, Ensemble Selection from Libraries of Models). By accuracy, a step function, the choice
    follows the noise of single images: see `docs/record.md`.

    Args:
        targets: (N,) integer labels.
        probabilities: (N, classes) of each candidate.
    """
    truth = np.asarray(targets)
    given = [np.asarray(values, dtype=np.float64) for values in probabilities]
    rows = np.arange(len(truth))

    def score(total: ANY_FLOAT, count: int) -> float:
        likelihood = np.maximum(total[rows, truth] / count, metrics.SMALLEST_PROBABILITY)
        return float(np.log(likelihood).mean())

    chosen: list[int] = []
    scores: list[float] = []
    total = np.zeros_like(given[0])
    for count in range(1, picks + 1):
        best = max(range(len(given)), key=lambda index: score(total + given[index], count))
        total = total + given[best]
        chosen.append(best)
        scores.append(score(total, count))
    return chosen[: scores.index(max(scores)) + 1]


def calibrated(run: Run) -> Arrays:
    """A run's predictions with the probabilities of every part and view at its temperatures."""
    changed = dict(run.arrays)
    for part, view in itertools.product(("select", "test"), VIEWS):
        if (name := f"{part}_{view}") in changed:
            changed[name] = scoring.calibrated(run.arrays, run.temperatures, part, view)
    return changed


def average(members: Sequence[tuple[Arrays, int]]) -> Arrays:
    """The predictions of an ensemble, in the images' order of the first member.

    Args:
        members: each member's stored predictions and how many times they count.

    Raises:
        FerBenchError: the members predicted different images.
    """
    first, _ = members[0]
    weights = sum(times for _, times in members)
    averaged = {key: value for key, value in first.items() if not key.endswith(VIEWS)}
    for part in ("select", "test"):
        orders = [np.argsort(image_keys(arrays, part)) for arrays, _ in members]
        keys = [image_keys(arrays, part)[order] for (arrays, _), order in zip(members, orders, strict=True)]
        if not all(np.array_equal(keys[0], other) for other in keys):
            raise FerBenchError(f"the members of the ensemble predicted different {part} images")
        for view in VIEWS:
            name = f"{part}_{view}"
            if all(name in arrays for arrays, _ in members):
                total = np.zeros(first[name].shape)
                for (arrays, times), order in zip(members, orders, strict=True):
                    total[orders[0]] += times * arrays[name][order]
                averaged[name] = (total / weights).astype(np.float32)
    return averaged


def build(workspace: Workspace, protocol_name: str) -> RunRecord:
    """Choose the ensemble of a protocol, and write its record in place of an earlier one.

    Raises:
        FerBenchError: as `compute`.
    """
    record, arrays = compute(workspace, protocol_name)
    write_record(workspace.record_path(protocol_name, MODEL, RECIPE, 0), record, arrays)
    return record


def compute(workspace: Workspace, protocol_name: str) -> tuple[RunRecord, Arrays]:
    """The ensemble that the runs of a protocol make: its record and its predictions.

    Raises:
        FerBenchError: there are fewer than two runs to choose from, or what one fold selects on another one tests.
    """
    get_protocol(protocol_name)
    runs = candidates(workspace, protocol_name)
    if len(runs) < 2:
        raise FerBenchError(
            f"an ensemble on {protocol_name} needs two runs or more that were not trained on its select part; "
            f"there {'is one' if runs else 'are none'}: run more models first"
        )
    views = [calibrated(run) for run in runs]
    if np.isin(views[0]["select_ids"], views[0]["test_ids"]).any():
        raise FerBenchError(
            f"no ensemble on {protocol_name}: what one of its folds selects on another one tests, so that one choice "
            "for all folds would have seen the test images"
        )
    order = np.argsort(image_keys(views[0], "select"))
    targets = views[0]["select_targets"][order]
    picks = choose(targets, [arrays["select_plain"][np.argsort(image_keys(arrays, "select"))] for arrays in views])
    times = Counter(picks)
    members = [(runs[index], count) for index, count in times.items()]
    arrays = average([(views[index], count) for index, count in times.items()])
    records = [run.record for run, _ in members]
    first = records[0]
    record = RunRecord(
        model=MODEL,
        model_revision=1,
        recipe_name=RECIPE,
        recipe={},
        recipe_digest="",
        protocol=protocol_name,
        seed=0,
        data=first.data,
        folds=[_fold(number, records, arrays) for number in range(len(first.folds))],
        classes=first.classes,
        code=code_info(),
        device=DeviceInfo(
            type=every(record.device.type for record in records),
            name=every(record.device.name for record in records),
            threads=sorted({number for record in records for number in record.device.threads}),
            precision=every(record.device.precision for record in records),
        ),
        finished=now(),
        pretrained="none",
        parameters=sum(record.parameters for record in records),
        multiply_adds=sum(record.multiply_adds for record in records),
        metrics=score_arrays(arrays),
        near_copy_free=near_copy_free(arrays),
        predictions=PredictionsInfo(file="s0.npz", sha256=arrays_digest(arrays)),
        members=[
            Member(
                model=run.record.model,
                recipe_name=run.record.recipe_name,
                seed=run.record.seed,
                predictions_sha256=run.record.predictions.sha256,
                times=count,
            )
            for run, count in members
        ],
    )
    return record, arrays


def _fold(number: int, records: Sequence[RunRecord], arrays: Arrays) -> FoldInfo:
    """A fold as all members met it; its time is theirs together."""
    own = arrays["test_fold"] == number
    right = arrays["test_plain"][own].argmax(axis=1) == arrays["test_targets"][own]
    met = records[0].folds[number]
    return FoldInfo(
        digest=met.digest,
        counts=met.counts,
        test_accuracy=float(right.mean()),
        train_seconds=sum(record.folds[number].train_seconds for record in records),
        predict_seconds=sum(record.folds[number].predict_seconds for record in records),
    )
