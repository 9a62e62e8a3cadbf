"""Which test images of FER2013 a network may have seen: near copies of training images, and blanks.

Two images are near copies when the Pearson correlation of their pixels is above `THRESHOLD`, so a copy that
was made brighter or given more contrast counts too: 310 of FER2013's 3589 test images (296 above 0.999).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_bench.data.dataset import FaceDataset, UInt8Array
from fer_bench.data.locate import cache_root
from fer_bench.errors import FerBenchError

THRESHOLD = 0.99
BLANK_DEVIATION = 1.0  # gray levels: JPEG leaves less than this on a picture of one gray
_CHUNK = 2048

BoolArray = npt.NDArray[np.bool_]


def near_copy_mask(dataset: FaceDataset) -> BoolArray:
    """(n_test,) bool: test images, in the data set's order, that are near copies or blank; cached on disk.

    Raises:
        FerBenchError: the data set has no official split.
    """
    if dataset.split is None:
        raise FerBenchError(
            f"{dataset.name} has no official split, so no test images to compare with its training images"
        )
    test = dataset.split == "test"
    path = cache_root() / "near_copies" / f"{dataset.fingerprint}.npy"
    try:
        cached: BoolArray = np.load(path)
        if cached.shape == (int(test.sum()),) and cached.dtype == np.bool_:
            return cached
    except (OSError, ValueError, EOFError):
        pass  # not computed yet, or damaged: computed below
    mask = near_copies(dataset.images[test], dataset.images[dataset.split == "train"])
    with contextlib.suppress(OSError):  # a cache that cannot be written only costs the time again
        _save(path, mask)
    return mask


def near_copies(test: UInt8Array, train: UInt8Array) -> BoolArray:
    """(n_test,) bool: which of (n_test, H, W) uint8 are blank or near copies of any of (n_train, H, W) uint8.

    Computed in chunks: some tens of MiB beside the standardised test images, however many `train` has.
    """
    ours, blank = _standardise(test)
    highest = np.full(len(test), -1.0, dtype=np.float32)
    for start in range(0, len(train), _CHUNK):
        theirs, _ = _standardise(train[start : start + _CHUNK])
        for at in range(0, len(test), _CHUNK):
            part = slice(at, at + _CHUNK)
            np.maximum(highest[part], (ours[part] @ theirs.T).max(axis=1), out=highest[part])
    return blank | (highest > THRESHOLD)


def _standardise(images: UInt8Array) -> tuple[npt.NDArray[np.float32], BoolArray]:
    """Rows of zero mean and unit length, whose dot products are correlations; a blank image's row is zero."""
    rows = images.reshape(len(images), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    blank = rows.std(axis=1) < BLANK_DEVIATION
    rows[blank] = 0
    rows[~blank] /= np.linalg.norm(rows[~blank], axis=1, keepdims=True)
    return rows, blank


def _save(path: Path, mask: BoolArray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            np.save(file, mask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
