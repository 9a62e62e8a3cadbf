"""A network, recipes and data small enough to test the training loop and whole runs in seconds."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from torch import nn

from fer_bench import inputs
from fer_bench.data import synthetic
from fer_bench.data.dataset import FaceDataset
from fer_bench.fit import TrainingData
from fer_bench.models._recipes import modern
from fer_bench.protocols import get_protocol
from fer_bench.specs import ModelSpec, Optimizer, Recipe, Schedule

# By the name under which the registry imports it in any process that has this folder on its path.
NAME = "tiny:SPEC"

PLAIN = Recipe(
    name="plain",
    note="Nothing but Adam.",
    batch_size=32,
    epochs=3,
    optimizer=Optimizer(name="adam", lr=3e-3),
    normalisation="standard",
)
# Momentum, milestones and an early stop's bookkeeping: what the modern recipe does not have.
STOPPING = replace(
    PLAIN,
    name="stopping",
    epochs=4,
    optimizer=Optimizer(name="sgd", lr=0.05, momentum=0.9, weight_decay=1e-3),
    schedule=Schedule(name="step", milestones=(1, 3)),
    augmentation="flip_shift",
    select="best_epoch",
    patience=4,
)
# EMA, mixup, one cycle, label smoothing, clipping.
MODERN = replace(modern(epochs=3, lr=1e-2, batch_size=32, mixup=0.2, ema=0.9), name="modern")

SPEC = ModelSpec(
    name="tiny",
    title="Two convolutions",
    paper="none",
    build="tiny:build",
    recipes=(PLAIN, STOPPING, MODERN),
    parameters=2_407,
)


def build(num_classes: int = 7, *, drops: bool = True) -> nn.Module:
    """(N, 1, 48, 48) -> (N, num_classes) logits, with the layers that a resumed run could get wrong."""
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 5, stride=2, padding=2), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(3)),
        *(nn.Flatten(), nn.Dropout(0.1 * drops), nn.Linear(144, num_classes)),
    )


class _Broken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 7)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layer(images.mean(dim=(2, 3))) * float("nan")
        return logits


def build_broken(num_classes: int = 7) -> nn.Module:
    """A network whose logits are not numbers."""
    return _Broken()


@cache
def dataset() -> FaceDataset:
    """A corner of the synthetic data: 140 images to train on, 35 to select, 42 to test."""
    return synthetic.load(per_class={"train": 20, "select": 5, "test": 6})


@cache
def training_data() -> TrainingData:
    """The same as arrays for `fit`."""
    [fold] = get_protocol("synthetic").folds(dataset())
    return inputs.training_data(SPEC, dataset(), fold, PLAIN)
