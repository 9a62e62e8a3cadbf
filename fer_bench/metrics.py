"""Targets and probabilities in, numbers out: every score of a record. Arrays only, all fractions in 0..1."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_bench.errors import FerBenchError

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

CALIBRATION_BINS = 15
# Half-precision probabilities of a few classes still pass.
SUM_TOLERANCE = 1e-3
# Predictions are stored as float32, where a probability under this one is rounding.
SMALLEST_PROBABILITY = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """The scores of one set of predictions, as plain values.

    A quotient without a denominator counts as 0 (scikit-learn's `zero_division=0`). A class without samples
    stays out of `macro_f1` and `mean_recall`: what is not tested is neither rewarded nor punished.

    Attributes:
        n: the number of images.
        accuracy: the fraction of images whose most probable class is the true one (the first of equals).
        macro_f1: the mean F1 over the classes that have samples.
        mean_recall: the mean recall over the same classes (balanced accuracy).
        precision, recall, specificity, f1: per class; specificity is true negatives over all negatives.
        support: images per true class.
        log_loss: the mean of -ln(probability of the true class), the probability at least float32's epsilon.
        calibration_error: expected calibration error of the most probable class, 15 bins of equal width
            (Guo et al. 2017, On Calibration of Modern Neural Networks, equation 3).
        confusion: images by true class (rows) and predicted class (columns).
    """

    n: int
    accuracy: float
    macro_f1: float
    mean_recall: float
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    specificity: tuple[float, ...]
    f1: tuple[float, ...]
    support: tuple[int, ...]
    log_loss: float
    calibration_error: float
    confusion: tuple[tuple[int, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, in the order of the fields."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Reliability:
    """How often the most probable class is right, by how probable it was said to be.

    Attributes:
        edges: (bins + 1,) float64, 0 to 1; a bin holds its upper edge.
        count: (bins,) int64 images.
        confidence, accuracy: (bins,) float64 means over the bin's images, NaN where there are none.
    """

    edges: FloatArray
    count: IntArray
    confidence: FloatArray
    accuracy: FloatArray


def evaluate(targets: npt.ArrayLike, probabilities: npt.ArrayLike) -> Metrics:
    """Every score of one set of predictions.

    Args:
        targets: (N,) integer labels, N at least 1.
        probabilities: (N, C) floats; each row sums to 1.

    Raises:
        FerBenchError: a wrong shape, a label outside 0..C-1, NaN, a negative probability or a row that does
            not sum to 1.
    """
    truth, probs = _validated(targets, probabilities)
    n, classes = probs.shape
    confusion = np.bincount(truth * classes + probs.argmax(axis=1), minlength=classes**2).reshape(classes, classes)
    hits = confusion.diagonal()
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall = _ratio(hits, predicted), _ratio(hits, support)
    f1 = _ratio(2 * hits, support + predicted)
    specificity = _ratio(n - support - predicted + hits, n - support)
    tested = support > 0
    likelihood = np.maximum(probs[np.arange(n), truth], SMALLEST_PROBABILITY)
    return Metrics(
        n=n,
        accuracy=float(hits.sum() / n),
        macro_f1=float(f1[tested].mean()),
        mean_recall=float(recall[tested].mean()),
        precision=tuple(precision.tolist()),
        recall=tuple(recall.tolist()),
        specificity=tuple(specificity.tolist()),
        f1=tuple(f1.tolist()),
        support=tuple(support.tolist()),
        log_loss=float(-np.log(likelihood).mean()),
        calibration_error=_calibration_error(truth, probs),
        confusion=_tuples(confusion.tolist()),
    )


def reliability(targets: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = CALIBRATION_BINS) -> Reliability:
    """The reliability diagram of the most probable class; arguments and errors as in `evaluate`."""
    truth, probs = _validated(targets, probabilities)
    confidence, correct = probs.max(axis=1), probs.argmax(axis=1) == truth
    edges = np.linspace(0, 1, bins + 1)
    place = np.searchsorted(edges[1:-1], confidence)
    count = np.bincount(place, minlength=bins)
    empty_as_nan = np.where(count, count, np.nan)
    return Reliability(
        edges=edges,
        count=count,
        confidence=np.bincount(place, weights=confidence, minlength=bins) / empty_as_nan,
        accuracy=np.bincount(place, weights=correct, minlength=bins) / empty_as_nan,
    )


def fit_temperature(targets: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """The temperature that makes `tempered` probabilities likeliest (Guo et al. 2017, section 4.2).

    Arguments and errors as in `evaluate`; the result is between 0.01 and 100. Where every answer is right it is 1: the
    likelihood only grows as the temperature falls, so the images can't tell it.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    truth, probs = _validated(targets, probabilities)
    if np.array_equal(probs.argmax(axis=1), truth):
        return 1.0
    logits = _logits(probs)

    def loss(log_temperature: float) -> float:
        likelihoods = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(likelihoods[np.arange(len(truth)), truth].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-np.log(100), np.log(100)), method="bounded").x))


def tempered(probabilities: npt.ArrayLike, temperature: float) -> FloatArray:
    """Softmax probabilities as they had been with logits divided by `temperature`: (N, C) -> (N, C) float64.

    Above 1 they come closer to each other; their order stays.
    """
    from scipy.special import softmax

    scaled: FloatArray = softmax(_logits(np.asarray(probabilities, dtype=np.float64)) / temperature, axis=1)
    return scaled


def _logits(probabilities: FloatArray) -> FloatArray:
    """Up to a constant a row. The floor is the log-loss's: one certain mistake is not to set the temperature."""
    logits: FloatArray = np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))
    return logits


def _calibration_error(truth: IntArray, probs: FloatArray) -> float:
    diagram = reliability(truth, probs)
    gaps = np.abs(diagram.accuracy - diagram.confidence)
    return float(np.nansum(diagram.count * gaps) / len(truth))


def _ratio(numerator: IntArray, denominator: IntArray) -> FloatArray:
    """Element by element, 0 where there is nothing to divide by."""
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1), 0.0)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _validated(targets: npt.ArrayLike, probabilities: npt.ArrayLike) -> tuple[IntArray, FloatArray]:
    truth, probs = np.asarray(targets), np.asarray(probabilities, dtype=np.float64)
    if probs.ndim != 2 or 0 in probs.shape:
        raise FerBenchError(f"probabilities: expected shape (images, classes), got {probs.shape}")
    if truth.shape != probs.shape[:1]:
        raise FerBenchError(f"targets: expected shape ({len(probs)},) like the probabilities, got {truth.shape}")
    if not np.issubdtype(truth.dtype, np.integer):
        raise FerBenchError(f"targets: expected integer labels, got {truth.dtype}")
    if truth.min() < 0 or truth.max() >= probs.shape[1]:
        raise FerBenchError(f"targets: expected labels 0 to {probs.shape[1] - 1}, got {truth.min()} to {truth.max()}")
    sums = probs.sum(axis=1)
    # `not (...)` rather than its opposite: a comparison with NaN is false.
    wrong = ~((np.abs(sums - 1) <= SUM_TOLERANCE) & (probs >= 0).all(axis=1))
    if wrong.any():
        row = int(wrong.argmax())
        raise FerBenchError(
            f"probabilities: expected rows of at least 0 that sum to 1; {wrong.sum()} of {len(probs)} do "
            f"not, the first is row {row}: {np.array2string(probs[row], precision=4, threshold=10)}"
        )
    return truth.astype(np.int64), probs
