"""Ranjan, "Facial Expression Recognition" (MTH392A report): two networks, two losses, with and without
augmentation.

The claim: on FER2013 62.16% (model 1) and 68.66% (model 2); augmentation is worth 4 points, cross-entropy
beats the L2 multi-class SVM loss (65.64%); on CK+, split at random, 93.92 and 97.97%.

Where the paper is silent or contradicts itself:
- Table 4.1's last row counts 71,655 weights for 1024 x 7 + 7 = 7,175, a misprint from which "0.88 M" comes,
  and the text's further dense layer is not in the table: the table is followed.
- Paddings follow the output shapes of Tables 4.1 and 4.2; a ReLU is a Keras layer's own, before the batch
  norm.
- Table 4.5 quotes model 2's validation accuracy (67.60) as its test accuracy; Table 4.3 has both.
- "Adam with a momentum of 0.9" is beta 1; the rate is not stated: Adam's default, 1e-3.
- "50 to 100 epochs", watching a validation set: at most 50, the best one kept, ended after 8 without a
  better one.
- CK+: batches of 7, no augmentation. No validation split is named: 50 epochs, the last one counts.
- "L2 regularization of the kernels" is described among the means but no strength is given: none.
- A random forest "drastically decreases the accuracy", by no stated number and on unstated features: the last
  hidden layer's.
- Weights have the deviation sqrt(2 / (2 n)) as printed: a variance of 1 / n.
- Keras' shift fills the border with the nearest pixel.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fer_bench.models._recipes import modern
from fer_bench.models._table import Conv, Dense, Dropout, Flatten, Norm, Pool, Relu, Table
from fer_bench.specs import Loss, ModelSpec, Optimizer, Recipe, Reported

if TYPE_CHECKING:
    from torch import nn

# Table 4.1. 48 -> 44 -> 22 -> 18 -> 9 -> 5 -> 2
TABLE_1: Table = (
    *(Conv(32, 3, "valid"), Relu(), Conv(32, 3, "valid"), Relu(), Norm(), Pool(), Dropout(0.25)),
    *(Conv(64, 3, "valid"), Relu(), Norm(), Conv(64, 3, "valid"), Relu(), Norm(), Pool(), Dropout(0.25)),
    *(Conv(128, 3, "valid"), Relu(), Norm(), Conv(128, 3, "valid"), Relu(), Norm(), Pool(), Dropout(0.25)),
    *(Flatten(), Dense(1024), Relu(), Norm(), Dropout(0.25)),
)
# Table 4.2. 48 -> 46 -> 23 -> 11 -> 5 -> 2
TABLE_2: Table = (
    *(Conv(32, 3, "valid"), Relu(), Conv(64), Relu(), Norm(), Pool(), Dropout(0.25)),
    *(Conv(128, 5), Relu(), Norm(), Pool(), Dropout(0.25)),
    *(Conv(512), Relu(), Norm(), Pool(), Dropout(0.25)),
    *(Conv(512), Relu(), Norm(), Pool(), Dropout(0.25)),
    *(Flatten(), Dense(256), Relu(), Norm(), Dropout(0.25)),
    *(Dense(512), Relu(), Norm(), Dropout(0.25)),
)


def build_1(num_classes: int = 7) -> nn.Module:
    """Model 1: (N, 1, 48, 48) -> (N, num_classes) logits."""
    from fer_bench.models._layers import sequential

    return sequential((*TABLE_1, Dense(num_classes)), channels=1, size=48)


def build_2(num_classes: int = 7) -> nn.Module:
    """Model 2: (N, 1, 48, 48) -> (N, num_classes) logits."""
    from fer_bench.models._layers import sequential

    return sequential((*TABLE_2, Dense(num_classes)), channels=1, size=48)


def build_2_forest(num_classes: int = 7) -> nn.Module:
    """A random forest on model 2's last hidden layer: (N, 1, 48, 48) -> (N, num_classes) logits."""
    from fer_bench.models._estimators import ForestOnFeatures
    from fer_bench.models._layers import sequential

    return ForestOnFeatures(sequential(TABLE_2, channels=1, size=48), num_classes)


PAPER = Recipe(
    name="paper",
    note="Adam, batches of 64, flips and shifts of 10%, weights of variance 1 / fan-in, dropout 0.25; 50 to "
    "100 epochs watching a validation set: at most 50, the best kept. Not stated, chosen: rate 1e-3, "
    "patience 8.",
    batch_size=64,
    epochs=50,
    optimizer=Optimizer(name="adam", lr=1e-3),
    augmentation="flip_shift",
    init="fan_in",
    select="best_epoch",
    patience=8,
)
PAPER_CKPLUS = replace(
    PAPER,
    note="Adam, batches of 7, no augmentation, weights of variance 1 / fan-in, dropout 0.25. 50 to 100 "
    "epochs and no validation split named: 50, the last one counts. Not stated, chosen: rate 1e-3.",
    batch_size=7,
    epochs=50,
    augmentation="none",
    select="last",
    patience=None,
    datasets=("ckplus",),
)
L2_SVM = (
    replace(PAPER, name="l2svm", loss=Loss(name="l2_svm")),
    replace(PAPER_CKPLUS, name="l2svm", loss=Loss(name="l2_svm")),
)
MODERN_CKPLUS = modern(epochs=30, lr=1e-3, batch_size=32, ema=0.98, datasets=("ckplus",))
_TITLE = "Ranjan, Facial Expression Recognition (report MTH392A, IIT Kanpur, 2023)"

SPECS: tuple[ModelSpec, ...] = (
    ModelSpec(
        name="ranjan_1",
        title="Ranjan, model 1",
        paper=_TITLE,
        build=f"{__name__}:build_1",
        recipes=(
            PAPER,
            PAPER_CKPLUS,
            *L2_SVM,
            modern(epochs=60, lr=3e-3, augmentation="modern_light"),
            MODERN_CKPLUS,
        ),
        parameters=821_799,
        keras_parameters=824_679,
        reported=(
            Reported(protocol="fer2013", recipe="paper", accuracy=62.16, source="Table 4.5"),
            Reported(protocol="ckplus_random", recipe="paper", accuracy=93.92, source="Table 4.5"),
        ),
    ),
    ModelSpec(
        name="ranjan_2",
        title="Ranjan, model 2",
        paper=_TITLE,
        build=f"{__name__}:build_2",
        recipes=(
            PAPER,
            PAPER_CKPLUS,
            replace(PAPER, name="no_augment", augmentation="none"),
            *L2_SVM,
            modern(epochs=50, lr=2e-3, mixup=0.1),
            MODERN_CKPLUS,
        ),
        parameters=3_837_575,
        keras_parameters=3_841_543,
        reported=(
            Reported(protocol="fer2013", recipe="paper", accuracy=67.60, source="Table 4.3", split="select"),
            Reported(protocol="fer2013", recipe="paper", accuracy=68.66, source="Table 4.3"),
            Reported(protocol="fer2013", recipe="no_augment", accuracy=63.59, source="Table 4.3", split="select"),
            Reported(protocol="fer2013", recipe="no_augment", accuracy=64.56, source="Table 4.3"),
            Reported(protocol="fer2013", recipe="l2svm", accuracy=65.64, source="Table 4.4"),
            Reported(protocol="ckplus_random", recipe="paper", accuracy=97.97, source="Table 4.4"),
            Reported(protocol="ckplus_random", recipe="l2svm", accuracy=93.55, source="Table 4.4"),
        ),
    ),
    ModelSpec(
        name="ranjan_2_forest",
        title="Ranjan, model 2 with a random forest",
        paper=_TITLE,
        build=f"{__name__}:build_2_forest",
        recipes=(
            Recipe(
                name="paper",
                note="The network of ranjan_2's paper recipe, its last layer replaced by a random forest on the 512 "
                "features below it. Nothing else is stated: scikit-learn's defaults.",
                estimator={"n_estimators": 100},
                pretrained="fer2013",
                datasets=("fer2013",),
            ),
        ),
        parameters=3_833_984,  # ranjan_2 without its last layer; the forest's thresholds are not counted
        source=("ranjan_2", "paper"),
        not_shipped="its forest is many times larger than the network below it",
    ),
)
