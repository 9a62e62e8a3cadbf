"""Lin & Shi, "Facial Expression Recognition with Deep Convolutional Neural Networks": a light VGG.

The claim: nine small convolutions with batch normalisation and dropout reach 58.6% on FER2013 (57.6% on the
validation set), against 35% of linear classifiers on pixels; without batch normalisation 3 points less,
without dropout 51%. Convolutions hold 480,192 weights and biases, "less than 1%" of VGG19's 20.0 million (it
is 2.4%).

Where the paper is silent or unclear:
- Padding: "same", for without it the last map is 1x1 before the last pooling.
- Fig. 2 gives the dropout 32 filters of 3x3, a slip of the table; the text says rate 0.5.
- Adam with "randomized learning rate" and no value for the best: Adam's default 1e-3, batches of 128.
- Augmentation is not mentioned. Horizontal flips are used here: the paper's training curve, which is still
  rising linearly after 32 epochs, does not fit a network that sees the same 28,709 images every time.
- Neither normalisation nor initialisation is stated.
- Its curves follow the validation set, so the epoch best on it is kept.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fer_bench.models._recipes import modern
from fer_bench.models._table import Conv, Dense, Dropout, Flatten, Norm, Pool, Relu, Table
from fer_bench.specs import ModelSpec, Optimizer, Recipe, Reported

if TYPE_CHECKING:
    from torch import nn

# Fig. 2. 48x48x1 -> 24x24x32 -> 12x12x64 -> 6x6x128 -> 4608 -> 64
TABLE: Table = (
    *(Conv(32), Relu(), Conv(32), Relu(), Conv(32), Relu(), Norm(), Pool()),
    *(Conv(64), Relu(), Conv(64), Relu(), Conv(64), Relu(), Norm(), Pool()),
    *(Conv(128), Relu(), Conv(128), Relu(), Conv(128), Relu(), Norm(), Pool()),
    *(Flatten(), Dense(64), Relu(), Dropout(0.5)),
)


def build(num_classes: int = 7, *, batch_norm: bool = True, dropout: bool | float = True) -> nn.Module:
    """(N, 1, 48, 48) -> (N, num_classes) logits; the paper's two ablations, and a rate of dropout of one's own."""
    from fer_bench.models._layers import sequential

    without = (() if batch_norm else (Norm,)) + (() if dropout else (Dropout,))
    layers = (layer for layer in TABLE if not isinstance(layer, without))
    table = (Dropout(dropout) if dropout is not True and isinstance(layer, Dropout) else layer for layer in layers)
    return sequential((*table, Dense(num_classes)), channels=1, size=48)


PAPER = Recipe(
    name="paper",
    note="Adam, at most 32 epochs, the epoch best on the validation set, ended after 5 without a better "
    "one. Not stated, chosen: rate 1e-3, batches of 128, flips (the paper's training accuracy still rises "
    "after 32 epochs, which fits some augmentation), pixels standardised, PyTorch's own initialisation (with "
    "Glorot's and pixels in 0..1 it learned at a third of the pace).",
    batch_size=128,
    epochs=32,
    optimizer=Optimizer(name="adam", lr=1e-3),
    normalisation="standard",
    augmentation="flip",
    select="best_epoch",
    patience=5,
)

OWN = modern(epochs=50, lr=2e-3, augmentation="modern_light")
DISTILLED = replace(
    OWN,
    name="distilled",
    note="As fer_bench, but half of each target is the mean answer of three networks, two to fifty times larger.",
    datasets=("fer2013", "synthetic"),
    teachers=("resnet18.record", "marrugat_4.fer_bench", "attentional_cnn_wide.fer_bench"),
    taught=0.5,
)

SPECS: tuple[ModelSpec, ...] = (
    ModelSpec(
        name="lin_shi",
        title="Lin & Shi, light VGG",
        paper="Lin & Shi, Facial Expression Recognition with Deep Convolutional Neural Networks",
        build=f"{__name__}:build",
        recipes=(
            PAPER,
            replace(PAPER, name="no_batch_norm", model_options={"batch_norm": False}),
            replace(PAPER, name="no_dropout", model_options={"dropout": False}),
            OWN,
            DISTILLED,
            modern(epochs=30, lr=1e-3, batch_size=32, ema=0.98, datasets=("ckplus",)),
        ),
        # convolutions 480,192 + batch norms 448 + dense 294,976 + 455; their running statistics are 448 more
        parameters=776_071,
        keras_parameters=776_519,
        reported=(
            Reported(protocol="fer2013", recipe="paper", accuracy=57.6, source="section 5", split="select"),
            Reported(protocol="fer2013", recipe="paper", accuracy=58.6, source="section 5"),
            Reported(
                protocol="fer2013",
                recipe="no_batch_norm",
                accuracy=55.6,
                source='section 5: "3% higher than model without batch normalization"',
            ),
            Reported(protocol="fer2013", recipe="no_dropout", accuracy=51.0, source="section 5"),
        ),
    ),
)
