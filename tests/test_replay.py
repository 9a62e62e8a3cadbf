"""A training step that is recorded and replayed on a GPU does what it does without."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from fer_bench import registry
from fer_bench.errors import FerBenchError
from fer_bench.replay import Replayed
from fer_bench.specs import Optimizer
from fer_bench.trainer import Compute, Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

STEPS = 12
SMALLER = (1, 7)  # steps of another batch size, before and after recording


def losses(optimizer: Optimizer, *, replayed: bool, dropout: bool = False) -> tuple[list[float], nn.Module]:
    """The losses of a few steps of mixup at a changing rate, and the network then."""
    spec = registry.get_spec("marrugat_1")
    recipe = replace(spec.recipe("fer_bench"), optimizer=optimizer)
    trainer = Trainer(spec, recipe, 7, seed=0, fold=0, compute=Compute("cuda"))
    trainer.train()
    if not dropout:
        for layer in trainer.network.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0
    if not replayed:
        trainer._replayed = None
    generator = torch.Generator().manual_seed(0)
    found = []
    for step in range(STEPS):
        n = 5 if step in SMALLER else 16
        images = torch.rand(n, 1, 48, 48, generator=generator).cuda()
        targets = torch.randint(0, 7, (n,), generator=generator).cuda()
        rate = 0.0 if dropout else 1e-3 * (step + 1)
        found.append(float(trainer.step(images, targets, rate, 0, step, STEPS)[0]))
    return found, trainer.network


@pytest.mark.parametrize(
    "optimizer",
    [Optimizer(name="sgd", lr=1e-2, momentum=0.9, nesterov=True, weight_decay=5e-4), Optimizer(name="sgd", lr=1e-2)],
)
def test_a_replayed_step_is_the_step(optimizer: Optimizer) -> None:
    one, network = losses(optimizer, replayed=True)
    other, expected = losses(optimizer, replayed=False)
    assert one == pytest.approx(other, abs=1e-4)
    for weight, wanted in zip(network.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(weight, wanted, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_learns_at_the_rate_of_each_step(name: str) -> None:
    # Its first steps are signs of gradients, which rounding turns: only the course is compared.
    one, _ = losses(Optimizer(name=name, lr=1e-3), replayed=True)  # type: ignore[arg-type]
    other, _ = losses(Optimizer(name=name, lr=1e-3), replayed=False)  # type: ignore[arg-type]
    assert one[:5] == pytest.approx(other[:5], rel=0.05)


def test_dropout_is_drawn_anew_in_each_replay() -> None:
    update_network = nn.Dropout(0.5)

    def update(images: Tensor) -> tuple[Tensor, Tensor]:
        dropped = update_network(images)
        return dropped.sum(), dropped.clone()

    replayed = Replayed()
    ones = torch.ones(1000, device="cuda")
    answers = [replayed(update, ones)[1].clone() for _ in range(6)]
    assert not any(torch.equal(one, other) for one, other in itertools.pairwise(answers))


def test_a_network_that_reads_its_numbers_is_refused() -> None:
    def update(images: Tensor) -> tuple[Tensor, Tensor]:
        return (images if images.sum().item() > 0 else -images).sum(), images

    replayed = Replayed()
    with pytest.raises(FerBenchError, match=r"`replayed=False` in its spec"):
        for _ in range(5):
            replayed(update, torch.ones(4, device="cuda"))
