"""The losses against loops that spell out their equations, and their gradients against finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fer_bench.losses import add_l2_gradient, classification_loss, l2_svm
from fer_bench.specs import Loss


def samples(seed: int, n: int, classes: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(scale=2, size=(n, classes)))
    return logits, torch.from_numpy(rng.integers(0, classes, n))


cases = given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(2, 8))


@cases
def test_l2_svm_equals_a_scalar_loop(seed: int, n: int, classes: int) -> None:
    logits, targets = samples(seed, n, classes)
    for margin in (1.0, 0.5):
        total = 0.0
        for scores, target in zip(logits.tolist(), targets.tolist(), strict=True):
            for other, score in enumerate(scores):
                if other != target:
                    total += 0.5 * max(0.0, score - scores[target] + margin) ** 2
        assert float(l2_svm(logits, targets, margin)) == pytest.approx(total / n, rel=1e-5, abs=1e-6)


def test_l2_svm_is_zero_beyond_the_margin_and_known_at_equal_scores() -> None:
    assert float(l2_svm(torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([0]))) == 0
    # Six wrong classes, each violating the margin by 1.
    assert float(l2_svm(torch.zeros(4, 7), torch.tensor([0, 1, 2, 6]))) == 3


@pytest.mark.parametrize("loss", [Loss(name="l2_svm"), Loss(), Loss(smoothing=0.1)])
def test_gradients_equal_finite_differences(loss: Loss) -> None:
    logits, targets = samples(3, 5, 7)
    # Losses are float32 inside: wide steps, which a quadratic does not mind.
    assert torch.autograd.gradcheck(
        lambda scores: classification_loss(loss, scores, targets),
        (logits.requires_grad_(),),
        eps=1e-2,
        atol=1e-3,
        rtol=1e-2,
    )


@cases
def test_cross_entropy_with_smoothing_equals_its_formula(seed: int, n: int, classes: int) -> None:
    logits, targets = samples(seed, n, classes)
    for smoothing in (0.0, 0.1):
        total = 0.0
        for scores, target in zip(logits.tolist(), targets.tolist(), strict=True):
            norm = math.log(sum(math.exp(score) for score in scores))
            for other, score in enumerate(scores):
                share = smoothing / classes + (1 - smoothing) * (other == target)
                total -= share * (score - norm)
        value = float(classification_loss(Loss(smoothing=smoothing), logits, targets))
        assert value == pytest.approx(total / n, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("loss", [Loss(), Loss(name="l2_svm")])
def test_half_precision_logits_are_scored_in_single(loss: Loss) -> None:
    logits, targets = samples(0, 64, 7)
    half = logits.bfloat16()
    value = classification_loss(loss, half, targets)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, classification_loss(loss, half.float(), targets))


@pytest.mark.parametrize("frozen", [False, True])
def test_the_l2_gradient_is_that_of_half_the_trained_kernels_squared_norm(frozen: bool) -> None:
    first, last = nn.Conv2d(1, 2, 3), nn.Linear(8, 3)
    network = nn.Sequential(first, nn.BatchNorm2d(2), nn.Flatten(), last)
    first.requires_grad_(not frozen)
    trained = [layer.weight for layer in (first, last) if layer.weight.requires_grad]
    data = network(torch.rand(5, 1, 4, 4)).square().sum()
    penalty = 0.3 / 2 * torch.stack([kernel.square().sum() for kernel in trained]).sum()
    inputs = [p for p in network.parameters() if p.requires_grad]
    expected = torch.autograd.grad(data + penalty, inputs, retain_graph=True)

    torch.autograd.backward(data)
    add_l2_gradient(Loss(l2=0.3), network)
    torch.testing.assert_close([p.grad for p in inputs], list(expected))
    assert (first.weight.grad is None) is frozen


def test_without_an_l2_term_gradients_stay() -> None:
    layer = nn.Linear(4, 3)
    add_l2_gradient(Loss(l2=0.3), layer)  # before any backward pass there is nothing to add to
    torch.autograd.backward(layer(torch.rand(2, 4)).sum())
    assert layer.weight.grad is not None
    before = layer.weight.grad.clone()
    add_l2_gradient(Loss(), layer)
    assert torch.equal(layer.weight.grad, before)
