"""Scores against hand-computed examples, scikit-learn and properties."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from fer_bench import metrics
from fer_bench.errors import FerBenchError
from fer_bench.metrics import evaluate, reliability

Predictions = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]


@st.composite
def predictions(draw: st.DrawFn) -> Predictions:
    """Targets (some classes may be missing) and confident or hesitant probabilities."""
    n, classes = draw(st.integers(1, 40)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    targets = rng.integers(0, draw(st.integers(1, classes)), n)
    return targets, rng.dirichlet(np.full(classes, draw(st.sampled_from([0.05, 0.5, 5.0]))), n)


def test_a_hand_computed_example() -> None:
    # Predicted 0, 0, 1, 0: one of class 1 is taken for class 0; class 2 never occurs.
    targets = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1, 0.0], [0.5, 0.3, 0.2], [0.2, 0.8, 0.0], [0.7, 0.3, 0.0]])
    scores = evaluate(targets, probabilities)
    assert scores.n == 4
    assert scores.accuracy == 0.75
    assert scores.confusion == ((2, 0, 0), (1, 1, 0), (0, 0, 0))
    assert scores.support == (2, 2, 0)
    assert scores.precision == pytest.approx((2 / 3, 1, 0))
    assert scores.recall == pytest.approx((1, 0.5, 0))
    assert scores.specificity == pytest.approx((0.5, 1, 1))
    assert scores.f1 == pytest.approx((0.8, 2 / 3, 0))
    assert scores.mean_recall == pytest.approx(0.75)
    assert scores.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)
    assert scores.log_loss == pytest.approx(-np.log([0.9, 0.5, 0.8, 0.3]).mean())
    # Four images in four bins: |1 - .9|, |1 - .5|, |1 - .8|, |0 - .7|.
    assert scores.calibration_error == pytest.approx((0.1 + 0.5 + 0.2 + 0.7) / 4)


@pytest.mark.filterwarnings("ignore:A single label was found")
@given(predictions())
def test_equal_to_scikit_learn(example: Predictions) -> None:
    targets, probabilities = example
    labels, predicted = np.arange(probabilities.shape[1]), probabilities.argmax(axis=1)
    scores = evaluate(targets, probabilities)
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        targets, predicted, labels=labels, zero_division=0
    )
    assert scores.accuracy == pytest.approx(sk.accuracy_score(targets, predicted))
    assert scores.precision == pytest.approx(precision)
    assert scores.recall == pytest.approx(recall)
    assert scores.f1 == pytest.approx(f1)
    assert scores.support == tuple(support)
    np.testing.assert_array_equal(scores.confusion, sk.confusion_matrix(targets, predicted, labels=labels))
    present = np.unique(targets)
    macro = {"labels": present, "average": "macro", "zero_division": 0}
    assert scores.macro_f1 == pytest.approx(sk.f1_score(targets, predicted, **macro))
    assert scores.mean_recall == pytest.approx(sk.recall_score(targets, predicted, **macro))


@pytest.mark.filterwarnings("ignore:The y_prob values do not sum to one")
def test_log_loss_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    targets, probabilities = rng.integers(0, 7, 200), rng.dirichlet(np.full(7, 0.02), 200).astype(np.float32)
    expected = sk.log_loss(targets, probabilities, labels=np.arange(7))
    assert evaluate(targets, probabilities).log_loss == pytest.approx(expected, abs=1e-6)


@given(predictions())
def test_properties(example: Predictions) -> None:
    targets, probabilities = example
    scores = evaluate(targets, probabilities)
    confusion = np.array(scores.confusion)
    assert confusion.sum() == scores.n
    assert 0 <= scores.calibration_error <= 1
    assert all(0 <= value <= 1 for value in scores.precision + scores.recall + scores.specificity + scores.f1)
    order = np.random.default_rng(0).permutation(len(targets))
    assert evaluate(targets[order], probabilities[order]).confusion == scores.confusion


def test_all_right_and_all_wrong() -> None:
    targets = np.arange(7)
    right = evaluate(targets, np.eye(7))
    assert (right.accuracy, right.macro_f1, right.log_loss, right.calibration_error) == (1, 1, 0, 0)
    wrong = evaluate(targets, np.eye(7)[(targets + 1) % 7])
    assert (wrong.accuracy, wrong.macro_f1, wrong.calibration_error) == (0, 0, 1)
    assert wrong.log_loss == pytest.approx(-np.log(np.finfo(np.float32).eps))


def test_reliability_bins() -> None:
    # 0.75 is the upper edge of the third of four bins, exactly, and belongs to it.
    diagram = reliability([0, 1, 0], [[0.75, 0.25], [0.55, 0.45], [0.95, 0.05]], bins=4)
    assert diagram.count.tolist() == [0, 0, 2, 1]
    assert diagram.accuracy[[2, 3]].tolist() == [0.5, 1]
    assert diagram.confidence[[2, 3]] == pytest.approx([0.65, 0.95])
    assert np.isnan(diagram.accuracy[[0, 1]]).all()
    # Guo et al. (ICML 2017), whose numbers ours are to be compared with.
    assert len(reliability([0], [[0.75, 0.25]]).count) == 15


@pytest.mark.parametrize(
    ("targets", "probabilities", "message"),
    [
        ([0], [0.5, 0.5], "expected shape \\(images, classes\\)"),
        ([], np.empty((0, 2)), "expected shape \\(images, classes\\)"),
        ([0, 1], [[0.5, 0.5]], "expected shape \\(1,\\)"),
        ([0.0], [[0.5, 0.5]], "integer labels"),
        ([2], [[0.5, 0.5]], "expected labels 0 to 1, got 2 to 2"),
        ([-1], [[0.5, 0.5]], "expected labels 0 to 1, got -1 to -1"),
        ([0, 0], [[0.5, 0.5], [np.nan, 0.5]], "1 of 2 do not, the first is row 1"),
        ([0], [[1.5, -0.5]], "at least 0"),
        ([0], [[0.5, 0.4]], "sum to 1"),
    ],
)
def test_bad_input_is_named(targets: Any, probabilities: Any, message: str) -> None:
    with pytest.raises(FerBenchError, match=message):
        evaluate(np.array(targets), np.array(probabilities))


# temperature


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.4, 0.8, 1.0, 1.7, 4.0]))
def test_the_temperature_that_the_probabilities_were_spoilt_with_is_found(seed: int, spoilt: float) -> None:
    rng = np.random.default_rng(seed)
    honest = rng.dirichlet(np.ones(4), 4000)
    truth = np.array([rng.choice(4, p=row) for row in honest])
    found = metrics.fit_temperature(truth, metrics.tempered(honest, 1 / spoilt))
    assert found == pytest.approx(spoilt, rel=0.15)


def test_tempered_is_softmax_of_divided_logits_and_keeps_the_order() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 7))
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = np.exp(logits / 2.5) / np.exp(logits / 2.5).sum(axis=1, keepdims=True)
    scaled = metrics.tempered(softmax, 2.5)
    np.testing.assert_allclose(scaled, expected, rtol=1e-9)
    np.testing.assert_array_equal(scaled.argsort(axis=1), logits.argsort(axis=1))


def test_a_probability_of_nothing_does_not_set_the_temperature() -> None:
    """Some answers are stored as exactly 0, and a few of them are wrong."""
    rng = np.random.default_rng(0)
    sure = np.eye(7, dtype=np.float32)[rng.integers(0, 7, 400)]
    truth = np.where(rng.random(400) < 0.8, sure.argmax(axis=1), rng.integers(0, 7, 400))
    least = np.finfo(np.float32).eps
    found = metrics.fit_temperature(truth, sure)
    assert found == pytest.approx(metrics.fit_temperature(truth, np.where(sure == 1, 1 - 6 * least, least)), rel=1e-3)
    calibrated = metrics.tempered(sure, found)
    assert calibrated.max(axis=1) == pytest.approx(np.mean(sure.argmax(axis=1) == truth), abs=0.02)


def test_answers_that_are_all_right_say_nothing_of_a_temperature() -> None:
    truth = np.array([0, 1, 2, 2])
    assert metrics.fit_temperature(truth, np.full((4, 3), 0.2) + 0.4 * np.eye(3)[truth]) == 1


def test_certain_probabilities_can_be_tempered() -> None:
    truth = np.array([0, 1, 1, 1])
    hard = np.eye(2)[[0, 1, 1, 0]]
    scaled = metrics.tempered(hard, metrics.fit_temperature(truth, hard))
    np.testing.assert_allclose(scaled.max(axis=1), 0.75, atol=0.01)
