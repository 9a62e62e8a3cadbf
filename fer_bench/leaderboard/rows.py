"""Records -> rows: one (protocol, model, recipe) each, the mean over its seeds, ranked in its protocol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fer_bench import metrics, registry, scoring, stats, suite
from fer_bench.errors import FerBenchError, UnknownNameError
from fer_bench.leaderboard.latency import milliseconds_of
from fer_bench.protocols import PROTOCOLS, Protocol
from fer_bench.records import (
    ANY_FLOAT,
    Member,
    RunRecord,
    Workspace,
    arrays_digest,
    list_records,
    read_arrays,
    read_record,
)
from fer_bench.specs import View

if TYPE_CHECKING:
    import pandas as pd

# The CSV's columns in order, each with the pandas type that keeps an empty cell apart from a zero.
COLUMNS = {
    "protocol": "str",
    "rank": "Int64",
    "tied": "bool",
    "model": "str",
    "recipe": "str",
    "seeds": "int64",
    "accuracy": "float64",
    "deviation": "float64",
    "interval_low": "float64",
    "interval_high": "float64",
    "flip": "float64",
    "ten_crop": "float64",
    "near_copy_free": "float64",
    "select_accuracy": "float64",
    "macro_f1": "float64",
    "mean_recall": "float64",
    "log_loss": "float64",
    "calibration_error": "float64",
    "calibrated_error": "float64",
    "reported": "float64",
    "gap": "float64",
    "parameters": "Int64",
    "multiply_adds": "Int64",
    "cpu_ms": "float64",
    "training_minutes": "float64",
    "device": "str",
    "precision": "str",
    "pretrained": "str",
    "partial": "bool",
    "external": "bool",
    "trained_on_select": "bool",
    "sweep": "bool",
    "members": "str",
    "commit": "str",
}

NEEDED = ("test_fold", "test_ids", "test_targets", "test_plain")


class Outcomes(NamedTuple):
    """The plain view of a run's test images, sorted by `keys`.

    Attributes:
        keys: (N,) str, "fold/id".
        targets: (N,) integer labels.
        correct: (N,) bool.
        clusters: (N,) str, what the image counts as evidence with, see `Protocol.clusters`.
    """

    keys: npt.NDArray[np.str_]
    targets: npt.NDArray[np.integer[Any]]
    correct: npt.NDArray[np.bool_]
    clusters: npt.NDArray[np.str_]


def outcomes(arrays: Mapping[str, ANY_FLOAT], protocol: Protocol) -> Outcomes:
    """Which test images the plain view got right, ready to be paired with another run's."""
    keys = image_keys(arrays, "test")
    order = np.argsort(keys)
    targets = arrays["test_targets"]
    correct = arrays["test_plain"].argmax(axis=1) == targets
    clusters = np.array(protocol.clusters(arrays["test_ids"]))
    return Outcomes(keys[order], targets[order], correct[order], clusters[order])


def image_keys(arrays: Mapping[str, ANY_FLOAT], part: str) -> npt.NDArray[np.str_]:
    """What an image of a part is paired by, (N,): "fold/id"."""
    return np.char.add(np.char.add(arrays[f"{part}_fold"].astype(np.str_), "/"), arrays[f"{part}_ids"])


def every(words: Iterable[str]) -> str:
    """Different words once each: what the runs of a row, or the members of an ensemble, do not have in common."""
    return " / ".join(dict.fromkeys(words))


@dataclass(frozen=True)
class Run:
    """A record and where it lies; the predictions are read when first needed."""

    path: Path
    record: RunRecord

    @cached_property
    def arrays(self) -> dict[str, ANY_FLOAT]:
        path = self.path.with_suffix(".npz")
        arrays = read_arrays(path)
        if arrays_digest(arrays) != self.record.predictions.sha256:
            raise FerBenchError(
                f"{path}: not the predictions of the record beside it, their sha256 differs; run it again"
            )
        if missing := [name for name in NEEDED if name not in arrays]:
            raise FerBenchError(f"{path}: has no {', '.join(missing)}; run it again")
        return arrays

    @cached_property
    def outcomes(self) -> Outcomes:
        return outcomes(self.arrays, PROTOCOLS[self.record.protocol])

    @cached_property
    def temperatures(self) -> list[float]:
        """Each fold's, see `scoring.temperatures`; empty where there is no `select` that training did not see."""
        unseen = not any(fold.trained_on_select for fold in self.record.folds)
        if not (unseen and len(self.arrays.get("select_plain", ()))):  # partial data may have no such part
            return []
        return scoring.temperatures(self.arrays)

    @cached_property
    def calibrated_error(self) -> float | None:
        """The test part's calibration error after the temperatures; None where there are none."""
        if not self.temperatures:
            return None
        after = scoring.calibrated(self.arrays, self.temperatures)
        return metrics.evaluate(self.arrays["test_targets"].astype(np.int64), after).calibration_error


@dataclass(frozen=True)
class Row:
    """The runs of one (protocol, model, recipe), by seed."""

    runs: tuple[Run, ...]

    @property
    def records(self) -> list[RunRecord]:
        return [run.record for run in self.runs]

    @property
    def first(self) -> RunRecord:
        return self.runs[0].record

    @property
    def name(self) -> str:
        return f"{self.first.model}.{self.first.recipe_name}"

    @property
    def partial(self) -> bool:
        return any(record.data.partial for record in self.records)

    @cached_property
    def sweep(self) -> bool:
        """Whether it is one point of a sweep: of a model of the suite, by a recipe that is not in it.

        Such rows are in the CSV and on the paper's page; among the others they would only crowd the board.
        """
        recipes = [row.recipe for row in suite.rows() if row.model == self.first.model]
        return bool(recipes) and self.first.recipe_name not in recipes

    @cached_property
    def accuracy(self) -> float:
        """Plain view, in 0..1, the mean over seeds."""
        return fmean(record.accuracy() for record in self.records)

    @cached_property
    def interval(self) -> stats.Interval:
        """95% interval of `accuracy`."""
        n = len(self.runs[0].outcomes.keys)
        return stats.accuracy_interval([record.accuracy() for record in self.records], n / self.design_effect)

    @cached_property
    def design_effect(self) -> float:
        """How many test images count as one, see `stats.design_effect`; the mean over seeds."""
        return fmean(stats.design_effect(run.outcomes.correct, run.outcomes.clusters) for run in self.runs)

    @cached_property
    def correct(self) -> Outcomes | None:
        """Image by image the fraction of seeds that are right; None where the seeds met different images."""
        first, *others = (run.outcomes for run in self.runs)
        if not all(np.array_equal(first.keys, other.keys) for other in others):
            return None
        return first._replace(correct=np.mean([first.correct, *(other.correct for other in others)], axis=0))

    def tied_with(self, other: Row) -> bool:
        """Whether the test images can't tell the two apart.

        Paired image by image (`stats.tied`); rows that met different images, such as those of two layouts of
        a data set, can't be paired and are tied if their intervals overlap.
        """
        mine, theirs = self.correct, other.correct
        if mine is not None and theirs is not None and np.array_equal(mine.keys, theirs.keys):
            return stats.tied(mine.correct, theirs.correct, clusters=mine.clusters)
        return self.interval.low <= other.interval.high and other.interval.low <= self.interval.high


def read_rows(workspace: Workspace) -> list[Row]:
    """All rows, protocols in the order of `PROTOCOLS`, then by accuracy (best first), then by name.

    Seeds that were run before the recipe or the network changed are left out of their row: it averages what
    the newest of its records describes.

    Raises:
        FerBenchError: a record is corrupt, or its protocol not registered; the message names the file.
    """
    grouped: dict[tuple[str, str, str], list[Run]] = {}
    for path in list_records(workspace):
        record = read_record(path)
        if record.protocol not in PROTOCOLS:
            raise FerBenchError(f"{path}: {UnknownNameError('protocol', record.protocol, PROTOCOLS)}")
        grouped.setdefault(record.row, []).append(Run(path, record))
    order = list(PROTOCOLS)
    rows = [row_of(runs) for runs in grouped.values()]
    return sorted(rows, key=lambda row: (order.index(row.first.protocol), -row.accuracy, row.name))


def row_of(runs: list[Run]) -> Row:
    """The row that runs of one name make: those of the newest run's recipe and network."""

    def revision(run: Run) -> tuple[str, int]:
        return run.record.recipe_digest, run.record.model_revision

    newest = revision(max(runs, key=lambda run: run.record.finished))
    alike = [run for run in runs if revision(run) == newest]
    return Row(tuple(sorted(alike, key=lambda run: run.record.seed)))


def superseded(record: RunRecord) -> bool:
    """Whether the recipe or the network has changed since, so that the same command would make another run."""
    if not record.trained or record.model not in registry.list_models():
        return False
    spec = registry.get_spec(record.model)
    try:
        recipe = spec.recipe(record.recipe_name, PROTOCOLS[record.protocol].dataset)
    except FerBenchError:  # the recipe is gone
        return True
    return (recipe.digest(), spec.revision) != (record.recipe_digest, record.model_revision)


def seeded(record: RunRecord) -> bool:
    """Whether another seed would give other predictions; of a model that is not registered here it is taken for so."""
    known = record.model in registry.list_models()
    return record.trained and (not known or registry.get_spec(record.model).seeded)


def ranks(rows: Sequence[Row]) -> list[int | None]:
    """The rank of each of one protocol's rows, best first: 1 1 3 ... where the first two are tied.

    A row shares the rank of the row that leads the group above it if the two are tied, else it leads a new
    group. Rows on partial data have no rank, for their test set is another one, nor have the points of a sweep.
    """
    result: list[int | None] = []
    leader: Row | None = None
    rank = place = 0
    for row in rows:
        if row.partial or row.sweep:
            result.append(None)
            continue
        place += 1
        if leader is None or not row.tied_with(leader):
            leader, rank = row, place
        result.append(rank)
    return result


def frame(rows: Sequence[Row], milliseconds: Mapping[str, float]) -> pd.DataFrame:
    """The board as the CSV has it.

    Args:
        rows: as `read_rows` sorts them.
        milliseconds: measured CPU latency, as `latency.milliseconds_of` reads it.
    """
    import pandas as pd

    values = []
    for protocol in PROTOCOLS:
        own = [row for row in rows if row.first.protocol == protocol]
        own_ranks = ranks(own)
        for row, rank in zip(own, own_ranks, strict=True):
            tied = rank is not None and own_ranks.count(rank) > 1
            values.append({"rank": rank, "tied": tied, **_values(row, milliseconds)})
    return pd.DataFrame(values, columns=list(COLUMNS)).astype(COLUMNS)


def _values(row: Row, milliseconds: Mapping[str, float]) -> dict[str, Any]:
    records, first = row.records, row.first
    accuracy, reported = _percent(row.accuracy), _reported(first)
    clean = [record.near_copy_free.accuracy["plain"] for record in records if record.near_copy_free is not None]

    def mean(metric: str, view: View = "plain", part: str = "test") -> float | None:
        try:
            return fmean(record.metrics[part][view][metric] for record in records)
        except KeyError:  # external predictions need not hold every view and part
            return None

    return {
        "protocol": first.protocol,
        "model": first.model,
        "recipe": first.recipe_name,
        "seeds": len(records),
        "accuracy": accuracy,
        "deviation": _percent(stdev(record.accuracy() for record in records)) if len(records) > 1 else None,
        "interval_low": _percent(row.interval.low),
        "interval_high": _percent(row.interval.high),
        "flip": _percent(mean("accuracy", "flip")),
        "ten_crop": _percent(mean("accuracy", "ten_crop")),
        "near_copy_free": _percent(fmean(clean)) if clean else None,
        "select_accuracy": _percent(mean("accuracy", part="select")),
        "macro_f1": _percent(mean("macro_f1")),
        "mean_recall": _percent(mean("mean_recall")),
        "log_loss": _rounded(mean("log_loss"), 3),
        "calibration_error": _percent(mean("calibration_error")),
        "calibrated_error": _percent(_mean([run.calibrated_error for run in row.runs])),
        "reported": reported,
        "gap": None if reported is None or accuracy is None else round(accuracy - reported, 2),
        "parameters": None if first.external else first.parameters,
        "multiply_adds": None if first.external else first.multiply_adds,
        "cpu_ms": None if first.external else _milliseconds(first, milliseconds),
        "training_minutes": None
        if first.external
        else round(fmean(record.train_seconds for record in records) / 60, 1),
        "device": every([record.device.name for record in records]),
        "precision": every([record.device.precision for record in records]),
        "pretrained": first.pretrained,
        "partial": row.partial,
        "external": first.external,
        "trained_on_select": any(fold.trained_on_select for record in records for fold in record.folds),
        "sweep": row.sweep,
        "members": " + ".join(_member(member) for member in first.members) or None,
        "commit": every([_commit(record) for record in records]),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _milliseconds(record: RunRecord, measured: Mapping[str, float]) -> float | None:
    """The measured latency; an ensemble's is that of all its members."""
    rows = [(member.model, member.recipe_name) for member in record.members] or [(record.model, record.recipe_name)]
    known = [milliseconds_of(measured, *row) for row in rows]
    return None if None in known else round(sum(value for value in known if value is not None), 2)


def _member(member: Member) -> str:
    """model.recipe, with its seed if that is not the first, and how often it counts if more than once."""
    seed = f" s{member.seed}" if member.seed else ""
    times = f" x{member.times}" if member.times > 1 else ""
    return f"{member.model}.{member.recipe_name}{seed}{times}"


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else round(100 * fraction, 2)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _commit(record: RunRecord) -> str:
    return record.code.commit[:10] + ("-dirty" if record.code.dirty else "")


def _reported(record: RunRecord) -> float | None:
    """The paper's test accuracy in percent; None too for a model that is not registered here."""
    if record.external or record.model not in registry.list_models():
        return None
    return next(
        (
            reported.accuracy
            for reported in registry.get_spec(record.model).reported
            if (reported.protocol, reported.recipe, reported.split) == (record.protocol, record.recipe_name, "test")
        ),
        None,
    )
