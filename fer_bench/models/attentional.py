"""The attentional CNN and the CNN that also sees HOG features (the report without authors; paper 4 of the
benchmark).

The claims: a spatial transformer lets "neural networks with less than 10 layers" compete with much deeper
ones, 70.02% on FER2013; a CNN whose dense layers also read the HOG of the face is explored
without a number.

The text joins two earlier ones, arXiv 1902.01019 (Deep-Emotion, the attentional network) and arXiv 1704.06756
(Alizadeh & Fazel, the HOG network), and its silences are filled from them:
- `attentional_cnn`: no widths are stated. Public implementations of Deep-Emotion use 10 filters everywhere,
  one batch norm after the fourth convolution and 50 dense units, 66,877 weights; their users report 47 to
  55%.
- `attentional_cnn_wide`: ours, the same idea with the width and the batch norms that the small one lacks:
  pairs of 32, 64, 128 and 256 filters and a dense layer of 128.
- `hog_cnn_2`, `hog_cnn_4`: "CNNs with variable depths", no widths stated; the first is Alizadeh & Fazel's
  shallow network, the second goes on from it, twice the filters after each pooling, to their four convolutions. (Their
  own deep network, of 64, 128, 512 and 512 filters, asks eight times as much of a CPU.) HOG: 9 orientations, 8x8 pixels
  a cell, 2x2 cells a block.
- The rate of Adam (1e-3), the batch size (128), the strength of the L2 term (1e-4) and the number of epochs
  (at most 40; 25 for `hog_cnn_4`) are not stated.
- The "saturation" step does nothing to a gray image.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fer_bench.models._recipes import modern
from fer_bench.models._table import Conv, Dense, Dropout, Flatten, Norm, Pool, Relu, Table
from fer_bench.specs import Loss, ModelSpec, Optimizer, Recipe, Reported

if TYPE_CHECKING:
    from torch import nn

# 48 -> 42 -> 21 -> 17 -> 8; 640 -> 32 -> the 6 numbers of an affine map
LOCALISATION: Table = (
    *(Conv(8, 7, "valid"), Pool(), Relu()),
    *(Conv(10, 5, "valid"), Pool(), Relu()),
    *(Flatten(), Dense(32), Relu(), Dense(6)),
)
# 48 -> 46 -> 44 -> 22 -> 20 -> 18 -> 9; 810 -> 50
ATTENTIONAL: Table = (
    *(Conv(10, 3, "valid"), Relu(), Conv(10, 3, "valid"), Pool(), Relu()),
    *(Conv(10, 3, "valid"), Relu(), Conv(10, 3, "valid"), Norm(), Pool(), Relu()),
    *(Dropout(0.5), Flatten(), Dense(50), Relu()),
)
# 48 -> 24 -> 12 -> 6 -> 3; 2304 -> 128
ATTENTIONAL_WIDE: Table = (
    *(Conv(32), Norm(), Relu(), Conv(32), Norm(), Pool(), Relu()),
    *(Conv(64), Norm(), Relu(), Conv(64), Norm(), Pool(), Relu()),
    *(Conv(128), Norm(), Relu(), Conv(128), Norm(), Pool(), Relu()),
    *(Conv(256), Norm(), Relu(), Conv(256), Norm(), Pool(), Relu()),
    *(Dropout(0.5), Flatten(), Dense(128), Norm(), Relu()),
)
# 48 -> 24; 36,864 (+ 900 of HOG) -> 512
HOG_2: Table = (
    *(Conv(32), Norm(), Relu(), Dropout(0.25)),
    *(Conv(64), Norm(), Relu(), Pool(), Dropout(0.25)),
    *(Flatten(), Dense(512), Norm(), Relu(), Dropout(0.5)),
)
# 48 -> 24 -> 12 -> 6 -> 3; 2304 (+ 900 of HOG) -> 512
HOG_4: Table = (
    *(Conv(32), Norm(), Pool(), Relu(), Dropout(0.25)),
    *(Conv(64), Norm(), Pool(), Relu(), Dropout(0.25)),
    *(Conv(128), Norm(), Pool(), Relu(), Dropout(0.25)),
    *(Conv(256), Norm(), Pool(), Relu(), Dropout(0.25)),
    *(Flatten(), Dense(512), Norm(), Relu(), Dropout(0.5)),
)


def _attentional(table: Table, num_classes: int, transformer: bool) -> nn.Module:
    from torch import nn

    from fer_bench.models._layers import SpatialTransformer, sequential

    network = sequential((*table, Dense(num_classes)), channels=1, size=48)
    if not transformer:
        return network
    localisation = sequential(LOCALISATION, channels=1, size=48)
    return nn.Sequential(SpatialTransformer(localisation), *network)


def build_attentional(num_classes: int = 7, *, transformer: bool = True) -> nn.Module:
    """(N, 1, 48, 48) -> (N, num_classes) logits; without its transformer it is a plain CNN, the control."""
    return _attentional(ATTENTIONAL, num_classes, transformer)


def build_attentional_wide(num_classes: int = 7, *, transformer: bool = True) -> nn.Module:
    """(N, 1, 48, 48) -> (N, num_classes) logits; without its transformer it is a plain CNN, the control."""
    return _attentional(ATTENTIONAL_WIDE, num_classes, transformer)


def _hog(table: Table, num_classes: int, hog: bool) -> nn.Module:
    from fer_bench.features.hog import length
    from fer_bench.models._layers import JoinHog, sequential

    joined = Flatten(length(48) if hog else 0)
    flatten = table.index(Flatten())
    network = sequential((*table[:flatten], joined, *table[flatten + 1 :], Dense(num_classes)), channels=1, size=48)
    return JoinHog(network[: flatten + 1], network[flatten + 1 :]) if hog else network


def build_hog_2(num_classes: int = 7, *, hog: bool = True) -> nn.Module:
    """Two convolutions: (N, 1, 48, 48) -> (N, num_classes) logits; without HOG it is the control."""
    return _hog(HOG_2, num_classes, hog)


def build_hog_4(num_classes: int = 7, *, hog: bool = True) -> nn.Module:
    """Four convolutions: (N, 1, 48, 48) -> (N, num_classes) logits; without HOG it is the control."""
    return _hog(HOG_4, num_classes, hog)


PAPER = Recipe(
    name="paper",
    note="Adam on cross-entropy and an L2 term, the training set's mean image subtracted, mirroring. Not "
    "stated, chosen: rate 1e-3, batches of 128, L2 of 1e-4, dropout 0.5, at most 40 epochs with a patience "
    "of 8, the epoch best on the validation set.",
    batch_size=128,
    epochs=40,
    optimizer=Optimizer(name="adam", lr=1e-3),
    loss=Loss(l2=1e-4),
    normalisation="mean_image",
    augmentation="flip",
    select="best_epoch",
    patience=8,
)
NO_TRANSFORMER = replace(PAPER, name="no_transformer", model_options={"transformer": False})
PAPER_HOG = replace(
    PAPER,
    note="Adam on cross-entropy and an L2 term, batch norm, dropout, mirroring. Pixels are divided by 255 "
    "and no mean image is subtracted as the paper does, because the network takes the HOG of its own input. "
    "Not stated, chosen: rate 1e-3, batches of 128, L2 of 1e-4, dropout 0.25 and 0.5, at most 40 epochs "
    "with a patience of 10, the epoch best on the validation set.",
    epochs=40,
    normalisation="unit",
    patience=10,
)
NO_HOG = replace(
    PAPER_HOG,
    name="no_hog",
    note="As paper in all but the HOG: the dense layers see the convolutions' maps alone.",
    model_options={"hog": False},
)


def _in_25_epochs(recipe: Recipe) -> Recipe:
    return replace(recipe, epochs=25, note=recipe.note.replace("40 epochs", "25 epochs"))


OWN = modern(epochs=60, lr=1e-2, augmentation="flip")
DISTILLED = replace(
    OWN,
    name="distilled",
    note="As fer_bench in half of its epochs, but half of each target is the mean answer of three networks, twelve to "
    "sixty times larger.",
    epochs=30,
    datasets=("fer2013", "synthetic"),
    teachers=("attentional_cnn_wide.fer_bench", "lin_shi.fer_bench", "ranjan_2.fer_bench"),
    taught=0.5,
)

_PAPER = "Facial Expression Recognition with an Attentional CNN and with HOG features (no authors stated)"

SPECS: tuple[ModelSpec, ...] = (
    ModelSpec(
        name="attentional_cnn",
        title="Attentional CNN",
        paper=_PAPER,
        build=f"{__name__}:build_attentional",
        recipes=(
            PAPER,
            NO_TRANSFORMER,
            OWN,
            DISTILLED,
        ),
        # transformer 23,120 (400 + 2010 + 20,512 + 198) + convolutions 2830 + norm 20 + dense 40,550 + 357
        parameters=66_877,
        reported=(Reported(protocol="fer2013", recipe="paper", accuracy=70.02, source="section 5"),),
    ),
    ModelSpec(
        name="attentional_cnn_wide",
        title="Attentional CNN, wide (ours)",
        paper=_PAPER,
        build=f"{__name__}:build_attentional_wide",
        recipes=(PAPER, NO_TRANSFORMER, modern(epochs=50, lr=3e-3)),
        parameters=1_492_919,
    ),
    ModelSpec(
        name="hog_cnn_2",
        title="CNN with HOG, 2 convolutions",
        paper=_PAPER,
        build=f"{__name__}:build_hog_2",
        # Its dense layer reads 24x24 pixels of 64 filters: twelve epochs are two hours of a processor.
        recipes=(PAPER_HOG, NO_HOG, modern(epochs=12, lr=1e-3, mixup=0.1, augmentation="modern_light")),
        parameters=19_359_303,
    ),
    ModelSpec(
        name="hog_cnn_4",
        title="CNN with HOG, 4 convolutions",
        paper=_PAPER,
        build=f"{__name__}:build_hog_4",
        recipes=(_in_25_epochs(PAPER_HOG), _in_25_epochs(NO_HOG), modern(epochs=30, lr=1e-3, mixup=0.1)),
        parameters=2_034_375,
    ),
)
