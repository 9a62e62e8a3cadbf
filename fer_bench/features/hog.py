"""Histograms of oriented gradients, by scikit-image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

ORIENTATIONS = 9
CELL = 8
BLOCK = 2
# L2-Hys: normalise a block, clip, normalise again. scikit-image fixes both values.
CLIP = 0.2
EPSILON = 1e-5


def length(size: int) -> int:
    """The descriptor's length for a size x size image: 48 pixels give 5*5 blocks of 2*2*9 values, 900."""
    blocks = size // CELL - BLOCK + 1
    return blocks * blocks * BLOCK * BLOCK * ORIENTATIONS


def hog(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The HOG of gray images: (N, H, W) uint8 -> (N, D) float32, D 900 for 48x48.

    Nine unsigned orientations, cells of 8x8 pixels, blocks of 2x2 cells normalised by L2-Hys, no gamma (Dalal
    and Triggs, CVPR 2005, with scikit-image's hard binning).
    """
    from skimage.feature import hog as skimage_hog

    if images.ndim != 3:
        raise ValueError(f"expected (N, H, W) gray images, got shape {images.shape}")
    return np.stack(
        [
            skimage_hog(
                image,
                orientations=ORIENTATIONS,
                pixels_per_cell=(CELL, CELL),
                cells_per_block=(BLOCK, BLOCK),
                block_norm="L2-Hys",
            )
            for image in images
        ]
    ).astype(np.float32)
