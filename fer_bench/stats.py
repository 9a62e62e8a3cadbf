"""What a difference on the board is worth: confidence intervals and paired tests. NumPy in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, variance
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fer_bench.errors import FerBenchError

# Under this many discordant pairs McNemar's statistic is not yet close to chi-squared.
EXACT_BELOW = 25


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class PairedBootstrap(NamedTuple):
    """`difference` is the accuracy of a minus that of b, `low` and `high` its interval, `p` two-sided.

    `drawn` is how many things a redrawn test set holds: images, or people or films.
    """

    difference: float
    low: float
    high: float
    p: float
    drawn: int


class McNemar(NamedTuple):
    """`b` images that only the first model gets right, `c` that only the second does, `p` two-sided."""

    b: int
    c: int
    p: float


def wilson_interval(successes: float, n: float, confidence: float = 0.95) -> Interval:
    """The interval of a proportion (Wilson 1927): inside 0..1 and sound for small n and extreme proportions.

    `successes` and `n` may be fractional: `accuracy_interval` passes an effective sample size.

    Raises:
        FerBenchError: n is not positive or the successes are outside 0..n.
    """
    if not (n > 0 and 0 <= successes <= n):
        raise FerBenchError(f"wilson_interval: expected 0 <= successes <= n and n > 0, got {successes} of {n}")
    z = _normal_quantile(confidence)
    p = successes / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    # At p = 0 and p = 1 the bound is exact; rounding must not move it.
    return Interval(0.0 if p == 0 else max(0.0, centre - half), 1.0 if p == 1 else min(1.0, centre + half))


def accuracy_interval(accuracies: Sequence[float], n: float, confidence: float = 0.95) -> Interval:
    """The interval of a row of the board: the mean accuracy of k seeds, each on the same n test images.

    Two sources of chance add up: which n images were drawn for the test, p(1 - p) / n, which more seeds do
    not lessen since they share the images; and which k seeds were run, s^2 / k, widened by Student's t for
    small k. The sum is expressed as the size of the test set that alone would be as uncertain, and goes
    through Wilson's formula. One seed gives Wilson's interval itself, which knows nothing of other seeds.

    Args:
        accuracies: fractions in 0..1, one a seed.
        n: the test images behind each of them, fewer where they are related (`design_effect`).
    """
    k, p = len(accuracies), fmean(accuracies)
    effective = float(n)
    if k > 1 and 0 < p < 1:
        widening = _t_quantile(confidence, k - 1) / _normal_quantile(confidence)
        effective = n / (1 + n * widening**2 * variance(accuracies) / (k * p * (1 - p)))
    return wilson_interval(p * effective, effective, confidence)


def design_effect(correct: npt.ArrayLike, clusters: npt.ArrayLike) -> float:
    """How many test images count as one, since images of one person or film are right and wrong together.

    The variance of the accuracy over clusters, divided by what it were if the images were independent (Kish 1965,
    Survey Sampling, section 5.4), at least 1. Where the images are all alike, nothing tells it: then a cluster counts
    as one.

    Args:
        correct: (N,) bool, the fraction of seeds that are right, or the difference of two models.
        clusters: (N,) what each image is of; N different ones give 1.
    """
    values = np.asarray(correct, dtype=np.float64)
    _, of = np.unique(clusters, return_inverse=True)
    n, count = len(values), int(of.max()) + 1
    deviations = values - values.mean()
    spread = np.sum(deviations**2)
    if count == n:
        return 1.0
    if count == 1 or spread < 1e-12:
        return n / count
    between = count / (count - 1) * np.sum(np.bincount(of, weights=deviations) ** 2)
    return max(1.0, float(between / (n / (n - 1) * spread)))


def paired_bootstrap(
    correct_a: npt.ArrayLike,
    correct_b: npt.ArrayLike,
    resamples: int = 10_000,
    seed: int = 0,
    confidence: float = 0.95,
    clusters: npt.ArrayLike | None = None,
) -> PairedBootstrap:
    """The difference in accuracy of two models on the same images, by drawing the images again.

    Args:
        correct_a, correct_b: (N,) bool, or the fraction of seeds that are right, in 0..1, image by image.
        resamples: the number of redrawn test sets.
        clusters: (N,) what each image is of, a person or a film: these are drawn, with all their images, where that
            is the larger source of chance (`design_effect`).

    Raises:
        FerBenchError: the two are not of one length, or are empty.
    """
    a, b = _pair(correct_a, correct_b)
    of = np.arange(len(a))
    if clusters is not None and design_effect(a - b, clusters) > 1:
        _, of = np.unique(clusters, return_inverse=True)
    sums, sizes = np.bincount(of, weights=a - b), np.bincount(of)
    if len(sums) == 1:  # nothing is known of another person or film
        return PairedBootstrap(float(a.mean() - b.mean()), -1.0, 1.0, 1.0, 1)
    # Few clusters differ in what they add, so redrawing them is redrawing how often each kind occurs.
    kinds, counts = np.unique(np.stack([sums, sizes]), axis=1, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(sums), counts / len(sums), size=resamples)
    draws = (drawn @ kinds[0]) / (drawn @ kinds[1])
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    tail = min(np.sum(draws <= 0), np.sum(draws >= 0))
    p = min(1.0, 2 * (tail + 1) / (resamples + 1))
    return PairedBootstrap(float(a.mean() - b.mean()), float(low), float(high), float(p), len(sums))


def mcnemar(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> McNemar:
    """McNemar's test on the images that exactly one of two models gets right.

    The exact binomial test under 25 such images, else chi-squared with continuity correction (Edwards 1948).

    Args:
        correct_a, correct_b: (N,) bool.

    Raises:
        FerBenchError: the two are not of one length, are empty, or hold more than right and wrong.
    """
    a, b = _pair(correct_a, correct_b)
    if not np.isin([a, b], [0, 1]).all():
        raise FerBenchError("mcnemar: expected right or wrong for each image, got fractions (one seed at a time)")
    only_a, only_b = int(np.sum(a > b)), int(np.sum(a < b))
    discordant = only_a + only_b
    if discordant < EXACT_BELOW:
        tail = sum(math.comb(discordant, k) for k in range(min(only_a, only_b) + 1)) / 2**discordant
        return McNemar(only_a, only_b, min(1.0, 2 * tail))
    statistic = max(abs(only_a - only_b) - 1, 0) ** 2 / discordant
    # The upper tail of chi-squared with one degree of freedom.
    return McNemar(only_a, only_b, math.erfc(math.sqrt(statistic / 2)))


def tied(
    correct_a: npt.ArrayLike,
    correct_b: npt.ArrayLike,
    confidence: float = 0.95,
    clusters: npt.ArrayLike | None = None,
) -> bool:
    """Whether two rows are equal within the noise of the test images.

    True where the paired bootstrap's interval of their difference holds 0. This is the sharper question than
    whether the rows' own intervals overlap: two models err on many of the same images.
    """
    result = paired_bootstrap(correct_a, correct_b, confidence=confidence, clusters=clusters)
    return result.low <= 0 <= result.high


def _pair(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], ...]:
    a, b = np.asarray(correct_a, dtype=np.float64), np.asarray(correct_b, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise FerBenchError(f"expected two models on the same images, got shapes {a.shape} and {b.shape}")
    return a, b


def _normal_quantile(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _t_quantile(confidence: float, freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + confidence) / 2, freedom))
