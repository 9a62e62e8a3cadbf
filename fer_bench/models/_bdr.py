"""Bimodal distribution removal: training samples whose error stays high are left out, round by round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import dropwhile

import numpy as np
import numpy.typing as npt

Errors = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class BimodalRemoval:
    """When samples are removed and when the training ends (Slade and Gedeon, IWANN 1993; Leng, section 2.4).

    Attributes:
        start, every: the epoch of the first round (epochs are counted from 1) and the epochs between two.
        alpha: 0 removes all above the mean error of the candidates; more leaves more in.
        stop_variance: a round at which the errors' variance is below it ends the training.
        start_variance: the original's start: nothing is removed until the errors' variance, small while the network
            knows nothing, has risen above it and come back.
    """

    start: int
    every: int
    alpha: float = 1.0
    stop_variance: float = 0.01
    start_variance: float | None = None

    def is_due(self, epoch: int) -> bool:
        """Whether there is a round after this epoch."""
        return epoch >= self.start and (epoch - self.start) % self.every == 0

    def has_begun(self, variances: Sequence[float]) -> bool:
        """Whether samples are removed yet, by the errors' variances at all rounds up to now."""
        start = self.start_variance
        return start is None or any(v <= start for v in dropwhile(lambda v: v <= start, variances))

    def is_over(self, variances: Sequence[float]) -> bool:
        """Whether the errors lie so close together that the training ends; arguments as `has_begun`."""
        return self.has_begun(variances) and variances[-1] < self.stop_variance

    def kept(self, errors: Errors) -> npt.NDArray[np.bool_]:
        """Which of the samples still in stay in, (N,) bool, by their errors, (N,)."""
        return errors <= threshold(errors, self.alpha)


def threshold(errors: Errors, alpha: float) -> float:
    """The error above which a sample is an outlier.

    Candidates are the samples above the mean error; the threshold is their mean plus alpha times their
    deviation (equation 6). Without candidates, all errors are equal, and nothing is above it.
    """
    candidates = errors[errors > errors.mean()]
    if not len(candidates):
        return float(errors.max())
    # A mean of equal errors can round to below them.
    return float(max(candidates.mean() + alpha * candidates.std(), errors.min()))
