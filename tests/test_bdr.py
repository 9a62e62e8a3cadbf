"""Bimodal distribution removal: the rule of the paper's section 2.4, by hand and by its properties."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fer_bench.models._bdr import BimodalRemoval, threshold

ERRORS = arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 20, allow_subnormal=False))


def removal(alpha: float = 1.0) -> BimodalRemoval:
    return BimodalRemoval(start=2000, every=50, alpha=alpha)


def test_by_hand() -> None:
    errors = np.array([0.0, 0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 6.0])
    # Mean 1.5; candidates 2, 2, 2, 6: mean 3, deviation sqrt(3).
    assert threshold(errors, 1) == pytest.approx(3 + 3**0.5)
    assert threshold(errors, 0) == pytest.approx(3)
    assert removal().kept(errors).tolist() == [True] * 7 + [False]


@settings(max_examples=50)
@given(ERRORS, st.floats(0, 1))
def test_only_the_worst_go_and_never_all(errors: np.ndarray, alpha: float) -> None:
    kept = removal(alpha).kept(errors)
    assert kept.any()
    assert kept[errors <= errors.mean()].all() or np.ptp(errors) < 1e-9
    if not kept.all():
        assert errors[kept].max() < errors[~kept].min()
        candidates = [error for error in errors if error > errors.mean()]
        assert errors[~kept].min() > statistics.fmean(candidates) - 1e-9


@settings(max_examples=50)
@given(ERRORS, st.floats(0, 1), st.floats(0, 1))
def test_a_larger_alpha_keeps_more(errors: np.ndarray, one: float, other: float) -> None:
    strict, mild = (removal(alpha).kept(errors) for alpha in sorted((one, other)))
    assert (mild | ~strict).all()


def test_equal_errors_stay() -> None:
    assert removal().kept(np.full(7, 0.1)).all()


def test_rounds_are_at_the_start_and_every_so_often() -> None:
    assert [epoch for epoch in range(1, 2151) if removal().is_due(epoch)] == [2000, 2050, 2100, 2150]
    assert not removal().is_due(0)


def test_it_is_over_below_the_stopping_variance() -> None:
    assert removal().has_begun([0.5])
    assert not removal().is_over([0.001, 0.0101])
    assert removal().is_over([0.5, 0.0099])


def test_the_original_starts_where_a_risen_variance_comes_back() -> None:
    original = BimodalRemoval(start=50, every=50, start_variance=0.1)
    for variances, begun in (
        ([0.0], False),
        ([0.0, 0.3, 0.2], False),
        ([0.0, 0.3, 0.1], True),
        ([0.3, 0.1, 0.2], True),
    ):
        assert original.has_begun(variances) == begun
    assert not original.is_over([0.001]) and original.is_over([0.2, 0.001])
