"""Intervals and paired tests against textbook values, scipy and properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from fer_bench.errors import FerBenchError
from fer_bench.stats import (
    accuracy_interval,
    design_effect,
    mcnemar,
    paired_bootstrap,
    tied,
    wilson_interval,
)


def outcomes(both: int, only_a: int, only_b: int, neither: int) -> tuple[list[bool], list[bool]]:
    """The two models' rights and wrongs with these counts."""
    pairs = [(True, True)] * both + [(True, False)] * only_a + [(False, True)] * only_b
    pairs += [(False, False)] * neither
    return [a for a, _ in pairs], [b for _, b in pairs]


def test_wilson_textbook_values() -> None:
    assert wilson_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson_interval(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    # FER2013's PrivateTest at 62%: about 1.6 points to either side.
    assert wilson_interval(2225, 3589) == pytest.approx((0.6039, 0.6357), abs=1e-4)


@given(st.integers(1, 10_000), st.data())
def test_wilson_equals_scipy(n: int, data: st.DataObject) -> None:
    successes, confidence = data.draw(st.integers(0, n)), data.draw(st.sampled_from([0.8, 0.95, 0.99]))
    expected = scipy_stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    low, high = wilson_interval(successes, n, confidence)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= low <= successes / n <= high <= 1


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 10), (11, 10), (float("nan"), 10)])
def test_wilson_refuses(successes: float, n: float) -> None:
    with pytest.raises(FerBenchError, match="0 <= successes <= n"):
        wilson_interval(successes, n)


def test_accuracy_interval_of_one_seed_is_wilsons() -> None:
    assert accuracy_interval([0.62], 1000) == wilson_interval(620, 1000)


def test_accuracy_interval_without_image_noise_is_students() -> None:
    accuracies = [0.60, 0.62, 0.61]
    expected = scipy_stats.t.interval(0.95, 2, loc=np.mean(accuracies), scale=scipy_stats.sem(accuracies))
    assert accuracy_interval(accuracies, 10**12) == pytest.approx(expected, abs=5e-4)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=5), st.integers(1, 5000))
def test_accuracy_interval_grows_with_the_spread_of_seeds(accuracies: list[float], n: int) -> None:
    low, high = accuracy_interval(accuracies, n)
    mean = sum(accuracies) / len(accuracies)
    calm_low, calm_high = accuracy_interval([mean] * len(accuracies), n)
    assert 0 <= low <= mean + 1e-9 and mean - 1e-9 <= high <= 1
    assert low <= calm_low + 1e-9 and high >= calm_high - 1e-9


def test_paired_bootstrap_near_the_normal_interval() -> None:
    a, b = outcomes(500, 120, 80, 300)
    result = paired_bootstrap(a, b)
    error = np.std(np.array(a, float) - np.array(b, float)) / np.sqrt(1000)
    assert result.difference == pytest.approx(0.04)
    assert (result.low, result.high) == pytest.approx((0.04 - 1.96 * error, 0.04 + 1.96 * error), abs=0.002)
    assert result.p == pytest.approx(2 * scipy_stats.norm.sf(0.04 / error), abs=0.003)


def test_the_p_of_the_paired_bootstrap_is_two_sided() -> None:
    a, b = outcomes(500, 110, 90, 300)
    error = np.std(np.array(a, float) - np.array(b, float)) / np.sqrt(1000)
    expected = 2 * scipy_stats.norm.sf(0.02 / error)
    assert 0.1 < expected < 0.2
    assert [paired_bootstrap(a, b).p, paired_bootstrap(b, a).p] == pytest.approx([expected] * 2, abs=0.02)


@given(st.tuples(*[st.integers(0, 30)] * 4).filter(any), st.integers(0, 100))
def test_paired_bootstrap_properties(counts: tuple[int, int, int, int], seed: int) -> None:
    a, b = outcomes(*counts)
    result = paired_bootstrap(a, b, resamples=200, seed=seed)
    assert result == paired_bootstrap(a, b, resamples=200, seed=seed)
    assert paired_bootstrap(b, a, resamples=200).difference == pytest.approx(-result.difference)
    assert -1 <= result.low <= result.high <= 1
    assert 0 < result.p <= 1


def test_paired_bootstrap_of_several_seeds() -> None:
    result = paired_bootstrap([1, 2 / 3, 1 / 3, 0], [1, 1, 0, 0])
    assert result.difference == pytest.approx(0, abs=1e-12)
    assert result.low < 0 < result.high


@pytest.mark.parametrize("counts", [(0, 0, 0, 5), (3, 1, 9, 3), (10, 7, 7, 0), (2, 24, 0, 0)])
def test_mcnemar_exact(counts: tuple[int, int, int, int]) -> None:
    a, b = outcomes(*counts)
    discordant = counts[1] + counts[2]
    expected = scipy_stats.binomtest(counts[1], discordant).pvalue if discordant else 1.0
    assert mcnemar(a, b) == pytest.approx((counts[1], counts[2], expected))


@pytest.mark.parametrize(("only_a", "only_b"), [(25, 0), (40, 60), (50, 50)])
def test_mcnemar_chi_squared(only_a: int, only_b: int) -> None:
    statistic = max(abs(only_a - only_b) - 1, 0) ** 2 / (only_a + only_b)
    result = mcnemar(*outcomes(100, only_a, only_b, 100))
    assert result == pytest.approx((only_a, only_b, scipy_stats.chi2.sf(statistic, 1)))


def test_mcnemar_refuses_fractions() -> None:
    with pytest.raises(FerBenchError, match="one seed at a time"):
        mcnemar([0.5, 1], [0, 1])


@pytest.mark.parametrize(("a", "b"), [([], []), ([1, 0], [1]), ([[1]], [[1]])])
def test_pairs_must_match(a: list[int], b: list[int]) -> None:
    for test in (paired_bootstrap, mcnemar, tied):
        with pytest.raises(FerBenchError, match="same images"):
            test(a, b)


def test_tied() -> None:
    assert tied(*outcomes(500, 105, 100, 295))
    assert not tied(*outcomes(500, 150, 80, 270))
    assert tied(*outcomes(10, 0, 0, 10))


# clusters


def of_people(seed: int, people: int = 60, images: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Right or wrong for each image, and whose it is: people differ in how often they are recognised."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), images)
    return rng.random(people * images) < rng.beta(2, 1, people)[person], person


def test_images_on_their_own_have_no_design_effect() -> None:
    correct = np.random.default_rng(0).random(200) < 0.7
    assert design_effect(correct, np.arange(200)) == 1
    a, b = outcomes(50, 20, 10, 20)
    assert paired_bootstrap(a, b, clusters=np.arange(100).astype(str)) == paired_bootstrap(a, b)


@given(st.integers(2, 6), st.integers(0, 100))
def test_copies_of_an_image_are_no_evidence(times: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.random(150) < 0.7, rng.random(150) < 0.6
    person = np.repeat(np.arange(150), times)
    assert design_effect(a.repeat(times), person) == pytest.approx(times, rel=0.01)
    copies = paired_bootstrap(a.repeat(times), b.repeat(times), clusters=person)
    assert copies == pytest.approx(paired_bootstrap(a, b)) and copies.drawn == 150


@pytest.mark.parametrize("seed", range(3))
def test_the_design_effect_is_that_of_drawing_people(seed: int) -> None:
    correct, person = of_people(seed)
    rng = np.random.default_rng(0)
    drawn = [np.concatenate([correct.reshape(60, 6)[rng.integers(0, 60, 60)]]).mean() for _ in range(4000)]
    independent = correct.mean() * (1 - correct.mean()) / len(correct)
    assert design_effect(correct, person) == pytest.approx(np.var(drawn) / independent, rel=0.1)


def test_the_bootstrap_draws_people_with_all_their_images() -> None:
    a, person = of_people(0)
    b, _ = of_people(1)
    images, people = paired_bootstrap(a, b), paired_bootstrap(a, b, clusters=person)
    sums = (a.astype(float) - b).reshape(60, 6).mean(axis=1)
    assert (people.high - people.low) / 2 == pytest.approx(1.96 * sums.std() / np.sqrt(60), rel=0.05)
    assert people.high - people.low > 1.2 * (images.high - images.low)
    assert people.difference == images.difference


def test_people_who_are_more_alike_than_chance_make_no_interval_narrower() -> None:
    a, b = np.tile([1, 0, 1, 0], 50), np.tile([0, 1, 1, 0], 50)
    person = np.arange(200) // 4
    assert design_effect(a, person) == 1 and design_effect(a - b, person) == 1
    assert paired_bootstrap(a, b, clusters=person) == paired_bootstrap(a, b)


def test_one_person_tells_nothing_of_others() -> None:
    result = paired_bootstrap([1, 1, 0, 1], [0, 0, 1, 0], clusters=list("aaaa"))
    assert (result.low, result.high, result.p) == (-1, 1, 1)


@pytest.mark.parametrize("correct", [[1] * 6, [0] * 6])
def test_where_all_are_alike_a_cluster_counts_as_one(correct: list[int]) -> None:
    assert design_effect(correct, list("aabbcc")) == 2
    assert design_effect([0, 1, 0, 1], list("aaaa")) == 4
