"""One hash for the content of a data set, in the data set's canonical order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

from fer_bench.data.dataset import IntArray, UInt8Array


class Fingerprint:
    """sha256 over image shape and pixels, labels, ids and split, fed image by image to save memory."""

    def __init__(self, shape: Sequence[int]) -> None:
        """Starts a hash of images of `shape`, (N, H, W) or (N, H, W, 3)."""
        self._hash = hashlib.sha256(json.dumps([int(side) for side in shape]).encode())

    def add(self, images: UInt8Array) -> None:
        """Feeds the next image or images; only the order counts, not how they are cut into calls."""
        self._hash.update(images.tobytes())

    def finish(self, targets: IntArray, ids: Iterable[str], split: Iterable[str] | None) -> str:
        """The hex digest; call once, after the last image."""
        self._hash.update(targets.astype("<i8").tobytes())
        for texts in (ids, [] if split is None else split):
            self._hash.update(json.dumps([str(text) for text in texts]).encode())
        return self._hash.hexdigest()


def fingerprint(images: UInt8Array, targets: IntArray, ids: Iterable[str], split: Iterable[str] | None = None) -> str:
    """The fingerprint of whole arrays: (N, H, W[, 3]) uint8, (N,) int64, N and N texts; read in slices."""
    whole = Fingerprint(images.shape)
    for start in range(0, len(images), 64):
        whole.add(images[start : start + 64])
    return whole.finish(targets, ids, split)
