"""Leng, "Towards Facial Expression Recognition: Neural Networks with Bimodal Distribution Removal and CNNs".

The claim: end to end beats hand-crafted features 1.63 times on SFEW (2 folds): the self-designed CNN,
`leng_cnn`, 37.03%, against 27.45% for the best MLP on LPQ and PHOG and 44.74% for a fine-tuned ResNet-50
(`timm_resnets.py`).

Where the paper is silent or unclear:
- Dropout "with probability p" after each pooling and between the dense layers, p not stated: 0.25 and 0.5.
- The first dense layer's width: 128.
- "padding and stride are 1"; convolution, batch norm, ReLU in that order.
- Fig. 3 calls the two dense layers "the linear classifier", so there is no ReLU between them. With one, the first
  steps at 1e-3 kill all 128 units and the loss stays at that of a constant answer.
- The whole frame is the input, faces are not cut out; `face_crop` is our control for that.
- Flips are described for the transferred networks' training images; this one gets "the same transformation"
  in training and test: none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fer_bench.models._table import Conv, Dense, Dropout, Flatten, Norm, Pool, Relu, Table
from fer_bench.specs import ModelSpec, Optimizer, Recipe, Reported

if TYPE_CHECKING:
    from torch import nn

# Fig. 3. 160x160x3 -> 80x80x32 -> 40x40x64 -> 20x20x128 -> 51,200 -> 128
TABLE: Table = (
    *(Conv(32), Norm(), Relu(), Conv(32), Norm(), Relu(), Pool(), Dropout(0.25)),
    *(Conv(64), Norm(), Relu(), Conv(64), Norm(), Relu(), Pool(), Dropout(0.25)),
    *(Conv(128), Norm(), Relu(), Conv(128), Norm(), Relu(), Pool(), Dropout(0.25)),
    *(Flatten(), Dense(128), Dropout(0.5)),
)


def build(num_classes: int = 7) -> nn.Module:
    """(N, 3, 160, 160) -> (N, num_classes) logits."""
    from fer_bench.models._layers import sequential

    return sequential((*TABLE, Dense(num_classes)), channels=3, size=160)


PAPER = Recipe(
    name="paper",
    note="Adam at 1e-3, batches of 8, 50 epochs, whole frames at 160x160 normalised by 0.5 / 0.5, no "
    "augmentation. Not stated, chosen: dropout 0.25 after the poolings and 0.5 in the classifier, 128 dense "
    "units. No validation split: the last epoch counts.",
    batch_size=8,
    epochs=50,
    optimizer=Optimizer(name="adam", lr=1e-3),
    normalisation="half",
)

SPECS: tuple[ModelSpec, ...] = (
    ModelSpec(
        name="leng_cnn",
        title="Leng, 6-layer CNN",
        paper="Leng, Towards Facial Expression Recognition: Neural Networks with Bimodal Distribution "
        "Removal and Convolutional Neural Networks",
        build=f"{__name__}:build",
        recipes=(
            PAPER,
            replace(PAPER, name="face_crop", note="The paper's recipe on detected faces.", crop="face"),
        ),
        # convolutions and their norms 287,904 + dense 6,553,728 + 903
        parameters=6_842_535,
        size=160,
        channels=3,
        reported=(Reported(protocol="sfew_2fold", recipe="paper", accuracy=37.03, source="Table 1"),),
    ),
)
