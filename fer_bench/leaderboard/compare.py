"""Is one row better than another? Paired, image by image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fer_bench import stats
from fer_bench.errors import FerBenchError, UnknownNameError
from fer_bench.leaderboard.rows import Run, row_of
from fer_bench.protocols import get_protocol
from fer_bench.records import Workspace, list_records, read_record

SIGNIFICANCE = 0.05


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs on the same test images, plain view. Accuracies and differences are fractions in 0..1.

    Attributes:
        protocol: where both were run.
        a, b: "model.recipe@seed".
        n: test images, counted once a fold.
        drawn: what the bootstrap draws again, "3589 images" or, where those are related, "118 people".
        accuracy_a, accuracy_b: of each.
        difference, interval: accuracy of a minus that of b, and its 95% interval by paired bootstrap.
        bootstrap_p, mcnemar_p: two-sided.
        only_a, only_b: images that only the one gets right.
    """

    protocol: str
    a: str
    b: str
    n: int
    drawn: str
    accuracy_a: float
    accuracy_b: float
    difference: float
    interval: stats.Interval
    bootstrap_p: float
    mcnemar_p: float
    only_a: int
    only_b: int

    @property
    def significant(self) -> bool:
        """Both tests say that the difference is not the luck of the test images.

        McNemar's takes them as independent, so where they are not it is the bootstrap that decides.
        """
        return self.mcnemar_p < SIGNIFICANCE and not self.interval.low <= 0 <= self.interval.high

    @property
    def verdict(self) -> str:
        """One sentence."""
        low, high = 100 * self.interval.low, 100 * self.interval.high
        if self.significant:
            better, worse = (self.a, self.b) if self.difference > 0 else (self.b, self.a)
            ends = sorted((abs(low), abs(high)))
            return (
                f"{better} is better than {worse} on {self.protocol} by {100 * abs(self.difference):.2f} "
                f"points (95% interval {ends[0]:.2f} to {ends[1]:.2f})"
            )
        return (
            f"{self.n} predictions on {self.protocol} can't tell {self.a} and {self.b} apart: "
            f"{100 * self.difference:+.2f} points (95% interval {low:+.2f} to {high:+.2f})"
        )

    def __str__(self) -> str:
        width = max(len(self.a), len(self.b))
        return "\n".join(
            (
                f"{self.a:{width}}  {100 * self.accuracy_a:6.2f}%  alone right on {self.only_a}",
                f"{self.b:{width}}  {100 * self.accuracy_b:6.2f}%  alone right on {self.only_b}",
                f"McNemar p = {self.mcnemar_p:.3g}, paired bootstrap over {self.drawn} p = {self.bootstrap_p:.3g}",
                self.verdict,
            )
        )


def compare(workspace: Workspace, a: str, b: str, protocol: str) -> Comparison:
    """Compare two runs on the test images of a protocol.

    Args:
        workspace: where the records are.
        a, b: "model" if it has one recipe there, "model.recipe" or "model.recipe@seed". Where no seed is
            named it is the lowest that both have, or else each one's lowest.
        protocol: its name.

    Raises:
        UnknownNameError: no such protocol, or no such row on it.
        FerBenchError: a model with several recipes, a seed that was not run, or different test images.
    """
    related = get_protocol(protocol).related
    found: dict[str, list[Run]] = {}
    for path in list_records(workspace):
        if path.parts[-3] == protocol:
            run = Run(path, read_record(path))
            found.setdefault(f"{run.record.model}.{run.record.recipe_name}", []).append(run)
    rows = {name: {run.record.seed: run for run in row_of(runs).runs} for name, runs in found.items()}
    if not rows:
        raise FerBenchError(f"no records on {protocol} in {workspace.records}: run something on it first")
    name_a, runs_a = _choose(a, rows, protocol)
    name_b, runs_b = _choose(b, rows, protocol)
    common = set(runs_a) & set(runs_b)
    seed_a, seed_b = min(common or runs_a), min(common or runs_b)
    first, second = runs_a[seed_a].outcomes, runs_b[seed_b].outcomes
    if not (np.array_equal(first.keys, second.keys) and np.array_equal(first.targets, second.targets)):
        shared = len(np.intersect1d(first.keys, second.keys))
        raise FerBenchError(
            f"{name_a} and {name_b} were tested on different images or labels ({len(first.keys)} "
            f"and {len(second.keys)} predictions, {shared} of the same image): run one on the other's data"
        )
    bootstrap = stats.paired_bootstrap(first.correct, second.correct, clusters=first.clusters)
    mcnemar = stats.mcnemar(first.correct, second.correct)
    return Comparison(
        protocol=protocol,
        a=f"{name_a}@{seed_a}",
        b=f"{name_b}@{seed_b}",
        n=len(first.keys),
        drawn=f"{bootstrap.drawn} {related if related and bootstrap.drawn < len(first.keys) else 'images'}",
        accuracy_a=float(first.correct.mean()),
        accuracy_b=float(second.correct.mean()),
        difference=bootstrap.difference,
        interval=stats.Interval(bootstrap.low, bootstrap.high),
        bootstrap_p=bootstrap.p,
        mcnemar_p=mcnemar.p,
        only_a=mcnemar.b,
        only_b=mcnemar.c,
    )


def _choose(name: str, rows: dict[str, dict[int, Run]], protocol: str) -> tuple[str, dict[int, Run]]:
    """The row that a user's name means, and its runs by seed: the one seed if it was named."""
    row, _, seed = name.partition("@")
    if row not in rows:
        of_model = sorted(known for known in rows if known.rpartition(".")[0] == row)
        if len(of_model) > 1:
            raise FerBenchError(f"{row} has several recipes on {protocol}: say {' or '.join(of_model)}")
        if not of_model:
            models = {known.rpartition(".")[0] for known in rows}
            raise UnknownNameError(f"row on {protocol}", row, rows if "." in row else models | set(rows))
        row = of_model[0]
    runs = rows[row]
    if not seed:
        return row, runs
    chosen = {number: run for number, run in runs.items() if str(number) == seed}
    if not chosen:
        raise FerBenchError(f"{row} has no seed {seed!r} on {protocol}: it has {', '.join(map(str, sorted(runs)))}")
    return row, chosen
