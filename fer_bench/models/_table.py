"""The words in which an architecture is written down as a table: plain values, no torch.

`_layers.sequential` turns a table into a network.
"""

from __future__ import annotations

from typing import NamedTuple


class Conv(NamedTuple):
    """A convolution of stride 1 with biases; "same" keeps the map's size, "valid" loses kernel - 1."""

    filters: int
    kernel: int = 3
    padding: str = "same"


class Norm(NamedTuple):
    """Batch normalisation."""


class Relu(NamedTuple):
    """max(x, 0)."""


class Pool(NamedTuple):
    """A 2x2 max pooling of stride 2; an odd last row or column is dropped."""


class Dropout(NamedTuple):
    """Each element is zero with this probability in training."""

    rate: float


class Flatten(NamedTuple):
    """(N, channels, size, size) -> (N, channels * size * size); `joined` features more come with it."""

    joined: int = 0


class Dense(NamedTuple):
    """A fully connected layer with biases."""

    units: int


Layer = Conv | Norm | Relu | Pool | Dropout | Flatten | Dense
Table = tuple[Layer, ...]
