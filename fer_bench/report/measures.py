"""Rows in, numbers and findings out: everything on the pages that is computed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_bench import stats
from fer_bench.leaderboard.rows import Row, every
from fer_bench.report.paper import Finding, Measure, Number, Ref, Value

Counts = npt.NDArray[np.int64]
History = list[dict[str, float]]

CHANCE = 1 / 7
# Goodfellow et al. 2013 (arXiv 1307.0414), on FER2013; Lin & Shi quote it.
HUMAN = 0.655
LEVELS = {"random guess": CHANCE, "human": HUMAN}


# one row


def confusion(row: Row) -> Counts:
    """(K, K) test images by true and predicted class, plain view, summed over seeds."""
    matrices = np.array([record.metrics["test"]["plain"]["confusion"] for record in row.records], dtype=np.int64)
    total: Counts = matrices.sum(axis=0)
    return total


def histories(row: Row, seeds: Collection[int] | None = None) -> list[History]:
    """The epochs of every fold of every seed, or of these seeds."""
    return [fold.history for record in row.records if seeds is None or record.seed in seeds for fold in record.folds]


def accuracy(row: Row) -> Value:
    """On the test part, plain view, mean over seeds."""
    return Value(row.accuracy, *row.interval)


def select_accuracy(row: Row) -> Value:
    """On the selection part."""
    values = [record.accuracy(part="select") for record in row.records]
    images = row.first.metrics["select"]["plain"]["n"]
    return Value(fmean(values), *stats.accuracy_interval(values, images / row.design_effect))


def share(row: Row, name: str, taken_for: str = "") -> Value:
    """Of the test images of a class the part that is taken for a class, or for its own: a recall."""
    matrix, classes = confusion(row), row.first.classes
    i, j = classes.index(name), classes.index(taken_for or name)
    return _proportion(row, matrix[i, j], matrix[i].sum())


def precision(row: Row, name: str) -> Value:
    """Of the test images taken for a class the part that is of it."""
    matrix, i = confusion(row), row.first.classes.index(name)
    return _proportion(row, matrix[i, i], matrix[:, i].sum())


def specificity(row: Row, name: str) -> Value:
    """Of the test images of other classes the part that is not taken for the class."""
    matrix, i = confusion(row), row.first.classes.index(name)
    others = np.delete(matrix, i, axis=0)
    return _proportion(row, others.sum() - others[:, i].sum(), others.sum())


def _proportion(row: Row, hits: Any, total: Any) -> Value:
    """Seeds share their test images, so the interval is that of one seed's; 0 of 0 is 0, as in `metrics`."""
    if not total:
        return Value(0.0)
    counted = len(row.runs) * row.design_effect
    return Value(float(hits / total), *stats.wilson_interval(float(hits / counted), float(total / counted)))


def merged(row: Row, groups: Mapping[str, Sequence[str]]) -> Value:
    """The accuracy with classes joined into groups: probabilities are added up, the most probable group counts."""
    classes = row.first.classes
    member = np.array([[name in group for name in classes] for group in groups.values()], dtype=np.float64)
    group_of = member.argmax(axis=0)
    values = [
        float(np.mean((run.arrays["test_plain"] @ member.T).argmax(axis=1) == group_of[run.arrays["test_targets"]]))
        for run in row.runs
    ]
    n = len(row.runs[0].outcomes.keys)
    return Value(fmean(values), *stats.accuracy_interval(values, n / row.design_effect))


def most_frequent(row: Row, groups: Mapping[str, Sequence[str]] | None = None) -> float:
    """The accuracy of always answering the test part's most frequent class, or group."""
    support = dict(zip(row.first.classes, confusion(row).sum(axis=1), strict=True))
    groups = groups or {name: (name,) for name in support}
    return float(max(sum(support[name] for name in group) for group in groups.values()) / sum(support.values()))


def epoch_seconds(row: Row) -> Value:
    """The median over all epochs; a busy machine makes some of them long."""
    return Value(float(np.median([entry["seconds"] for history in histories(row) for entry in history])))


def on_one_device(rows: Sequence[Row]) -> tuple[list[Row], str]:
    """Those rows whose times can be compared: of the device that most were trained on, the first if it is a draw."""
    devices = [every(record.device.name for record in row.records) for row in rows]
    device = max(dict.fromkeys(devices), key=devices.count)
    return [row for row, own in zip(rows, devices, strict=True) if own == device], device


def train_minutes(row: Row) -> Value:
    """Of one seed, all folds."""
    return Value(fmean(record.train_seconds for record in row.records) / 60)


def last(row: Row, key: str) -> float:
    """The mean over all runs of what their last epoch says, NaN where it does not."""
    return float(np.mean([history[-1].get(key, np.nan) for history in histories(row)]))


# cells

ACCURACY = Measure(accuracy, scale=100)
SELECT = Measure(select_accuracy, scale=100)


def tested(ref: Ref, paper: float | None = None) -> Number:
    """The accuracy on the test part; the paper's is the spec's, or else the one given as printed."""
    return Number(ref, ACCURACY, ref.reported() if paper is None else paper)


def selected(ref: Ref) -> Number:
    """The accuracy on the selection part."""
    return Number(ref, SELECT, ref.reported("select"))


# findings


def percent(value: Value | float) -> str:
    """58.60%, with its interval in brackets."""
    if not isinstance(value, Value):
        return f"{100 * value:.2f}%"
    return f"{100 * value.value:.2f}%{between(100 * value.low, 100 * value.high)}"


def between(low: float, high: float) -> str:
    """An interval in brackets that stays with its number on one line, or nothing."""
    return f"\N{NO-BREAK SPACE}({low:.1f}\N{EN DASH}\N{WORD JOINER}{high:.1f})" if low <= high else ""


def signed(value: float, digits: int = 2) -> str:
    """With a sign, and a real minus; what rounds to zero has none."""
    text = f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return text if any(digit in text for digit in "123456789") else text[1:]


def words(names: Sequence[str]) -> str:
    """a, b and c; none."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:]))) or "none"


def versus(better: Row, worse: Row) -> Finding:
    """Whether the one row is better than the other, paired image by image where they met the same images."""
    difference = 100 * (better.accuracy - worse.accuracy)
    mine, theirs = better.correct, worse.correct
    same = better.first.protocol == worse.first.protocol
    names = [f"`{row.name}`{'' if same else f' on `{row.first.protocol}`'}" for row in (better, worse)]
    text = f"{names[0]} {percent(better.accuracy)} against {names[1]} {percent(worse.accuracy)}"
    if mine is None or theirs is None or not np.array_equal(mine.keys, theirs.keys):
        tied = better.tied_with(worse)
        low = high = difference
        ends = ""
    else:
        result = stats.paired_bootstrap(mine.correct, theirs.correct, clusters=mine.clusters)
        low, high = 100 * result.low, 100 * result.high
        tied = low <= 0 <= high
        ends = f" (95% interval {signed(low)} to {signed(high)})"
    text += f": {signed(difference)} points{ends}"
    if tied:
        return Finding(f"{text}; these test images can't tell them apart.", "tie")
    return Finding(f"{text}.", low > 0)


def ordered(*names: str) -> Callable[..., Finding]:
    """Whether each row is better than the next one; the rows come in the order of their names."""

    def found(*rows: Row) -> Finding:
        named = list(zip(names, rows, strict=True))
        shown = ", ".join(f"{name} {percent(row.accuracy)}" for name, row in named)
        ties, against = [], []
        for (name, row), (other_name, other) in itertools.pairwise(named):
            if row.tied_with(other):
                ties.append(f"{name} and {other_name}")
            elif other.accuracy > row.accuracy:
                against.append(f"{other_name} beats {name}")
        text = f"{shown}." + "".join(
            f" {what}: {'; '.join(pairs)}." for what, pairs in (("Against it", against), ("Ties", ties)) if pairs
        )
        return Finding(text, False if against else "tie" if ties else True)

    return found
