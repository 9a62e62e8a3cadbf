"""What every data set becomes: images, labels and everything that honest splits need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_bench.labels import LabelSet

UInt8Array = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]
StrArray = npt.NDArray[np.str_]


@dataclass(frozen=True)
class FaceDataset:
    """A data set in memory or memory-mapped.

    Attributes:
        name: "fer2013", "ckplus", "sfew" or "synthetic".
        labels: the label set, which gives `targets` their meaning.
        images: (N, H, W) uint8 gray or (N, H, W, 3) uint8 RGB; may be a read-only memory map.
        targets: (N,) int64 labels.
        ids: (N,) str, unique: the file or row each image came from.
        groups: (N,) str arrays by name ("subject", "sequence", "movie"): what must not be split.
        split: (N,) str of "train", "select" and "test" where the data set has an official split.
        fingerprint: sha256 (hex) over pixels, labels, ids and split; equal for equal content in one layout.
        layout, source: how and where it was found.
        partial: the counts do not match the published ones and the user allowed that.
        notes: what the loader met and survived, one line each.
    """

    name: str
    labels: LabelSet
    images: UInt8Array
    targets: IntArray
    ids: StrArray
    fingerprint: str
    layout: str
    source: str
    groups: Mapping[str, StrArray] = field(default_factory=dict)
    split: StrArray | None = None
    partial: bool = False
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.targets)

    def counts(self) -> dict[str, Any]:
        """Images per class, by split where there is an official one: {"all": {"angry": 1, ...}, "train": ...}."""
        parts = {"all": np.ones(len(self), dtype=bool)}
        if self.split is not None:
            parts |= {name: self.split == name for name in ("train", "select", "test")}
        return {
            part: {word: int(np.sum(self.targets[mask] == label)) for label, word in enumerate(self.labels.classes)}
            for part, mask in parts.items()
        }
