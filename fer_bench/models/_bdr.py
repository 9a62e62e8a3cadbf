"""Bimodal distribution removal: training samples whose error stays high are left out, round by round."""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    start: int
    every: int
    alpha: float = 1.0
    stop_variance: float = 0.01

    def is_due(self, epoch: int) -> bool:
        """Whether there is a round after this epoch."""
        return epoch >= self.start and (epoch - self.start) % self.every == 0

    def is_over(self, errors: Errors) -> bool:
        """Whether the errors of the samples still in, (N,), lie so close together that the training ends."""
        return bool(np.var(errors) < self.stop_variance)

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
