"""Marrugat, "Facial Expressions and CNN": four plain networks, one change at a time.

The claim: more filters help a little and more layers would help most, but time forbids it: accuracies of
36.24, 35.43, 36.96 and 26.60% on FER2013 after 10,000 steps, the last after about a third of them.

Where the paper is silent or unclear:
- "stride 2 in both cases" beside "the output has the same size as the input": the stride is the pooling's, as
  in TensorFlow's MNIST tutorial, whose network the first one is (5x5 convolutions of 32 and 64 filters, 1024
  units, dropout 0.4 before the output, plain gradient descent at 1e-3, batches of 100).
- The optimiser, its rate and the batch size are that tutorial's; so is the Glorot uniform initialisation.
- In model 4 two convolutions come before each pooling, each with its own ReLU.
- Which of the two test sets is meant; the numbers stand beside PrivateTest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fer_bench.models._recipes import modern
from fer_bench.models._table import Conv, Dense, Dropout, Flatten, Pool, Relu, Table
from fer_bench.specs import ModelSpec, Optimizer, Recipe, Reported

if TYPE_CHECKING:
    from torch import nn

# 48x48x1 -> 24x24x32 -> 12x12x64 -> 9216 -> 1024
TABLE_1: Table = (
    *(Conv(32, 5), Relu(), Pool()),
    *(Conv(64, 5), Relu(), Pool()),
    *(Flatten(), Dense(1024), Relu(), Dropout(0.4)),
)
TABLE_2: Table = (
    *(Conv(64, 5), Relu(), Pool()),
    *(Conv(64, 5), Relu(), Pool()),
    *(Flatten(), Dense(1024), Relu(), Dropout(0.4)),
)
TABLE_3: Table = (
    *(Conv(64, 5), Relu(), Pool()),
    *(Conv(128, 5), Relu(), Pool()),
    *(Flatten(), Dense(2048), Relu(), Dropout(0.4)),
)
TABLE_4: Table = (
    *(Conv(32, 5), Relu(), Conv(64, 5), Relu(), Pool()),
    *(Conv(128, 5), Relu(), Conv(256, 5), Relu(), Pool()),
    *(Flatten(), Dense(1024), Relu(), Dropout(0.4)),
)
TABLES = {1: TABLE_1, 2: TABLE_2, 3: TABLE_3, 4: TABLE_4}


def build(variant: int, num_classes: int) -> nn.Module:
    """(N, 1, 48, 48) -> (N, num_classes) logits; `variant` is the paper's model number."""
    from fer_bench.models._layers import sequential

    return sequential((*TABLES[variant], Dense(num_classes)), channels=1, size=48)


def build_1(num_classes: int = 7) -> nn.Module:
    """The paper's model 1."""
    return build(1, num_classes)


def build_2(num_classes: int = 7) -> nn.Module:
    """Model 2: the first convolution has 64 filters."""
    return build(2, num_classes)


def build_3(num_classes: int = 7) -> nn.Module:
    """Model 3: 64 and 128 filters, 2048 units."""
    return build(3, num_classes)


def build_4(num_classes: int = 7) -> nn.Module:
    """Model 4: two convolutions before each pooling, 32 to 256 filters."""
    return build(4, num_classes)


def _paper(steps: int, note: str) -> Recipe:
    return Recipe(
        name="paper",
        note=f"Pixels divided by 255, dropout 0.4, {note}. Not stated, from TensorFlow's tutorial: plain SGD "
        "at 1e-3, batches of 100, Glorot uniform initialisation. No selection: the last step counts.",
        batch_size=100,
        steps=steps,
        optimizer=Optimizer(name="sgd", lr=1e-3),
        init="keras",
    )


def _spec(variant: int, parameters: int, accuracy: float, paper: Recipe) -> ModelSpec:
    return ModelSpec(
        name=f"marrugat_{variant}",
        title=f"Marrugat, model {variant}",
        paper="Marrugat, Facial Expressions and CNN",
        build=f"{__name__}:build_{variant}",
        recipes=(paper, modern(epochs=50, lr=1e-3, mixup=0.2)),
        parameters=parameters,
        reported=(Reported(protocol="fer2013", recipe="paper", accuracy=accuracy, source="Fig. 7"),),
    )


_FULL = _paper(10_000, "10,000 iterations")
_THIRD = _paper(3_333, "10,000 iterations planned but nearly 3 times fewer made")

# 832 + 51,264 + 9,438,208 + 7,175 = 9,497,479 for model 1
SPECS: tuple[ModelSpec, ...] = (
    _spec(1, 9_497_479, 36.24, _FULL),
    _spec(2, 9_549_511, 35.43, _FULL),
    _spec(3, 37_971_719, 36.96, _FULL),
    _spec(4, 38_833_415, 26.60, _THIRD),
)
