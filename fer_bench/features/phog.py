"""Pyramid histograms of oriented gradients: the directions of an image's edges, by place, from coarse to fine."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

# Where papers that use it are silent: 8 bins over 360 degrees, 3 levels below the whole image.
LEVELS = 3
BINS = 8
ANGLE: Literal[180, 360] = 360
# Canny's, for edges in faces lit in any way: thresholds are quantiles of the image's own gradients.
SIGMA = 2**0.5
LOW, HIGH = 0.4, 0.7

BoolArray = npt.NDArray[np.bool_]


def length(levels: int = LEVELS, bins: int = BINS) -> int:
    """The descriptor's length: `bins` for each of 1 + 4 + ... + 4**levels cells, 680 by default."""
    return bins * sum(int(4**level) for level in range(levels + 1))


def phog(
    images: npt.NDArray[np.uint8], levels: int = LEVELS, bins: int = BINS, angle: Literal[180, 360] = ANGLE
) -> npt.NDArray[np.float32]:
    """The PHOG of gray images: (N, H, W) uint8 -> (N, D) float32, each summing to one, or zeros without edges.

    Bosch, Zisserman and Munoz, "Representing Shape with a Spatial Pyramid Kernel" (CIVR 2007): Canny's edges
    vote with the Sobel gradient's magnitude for its direction (hard bins), in the whole image, then in 2x2
    cells, 4x4 and so on. Level by level from the whole image, a level's cells row by row.

    Args:
        levels: how often the image is halved; 0 is one histogram of the whole image.
        angle: 360 tells dark to light from light to dark; 180 does not.

    Raises:
        ValueError: not gray images.
    """
    if images.ndim != 3:
        raise ValueError(f"expected (N, H, W) gray images, got shape {images.shape}")
    rows = [_descriptor(image, levels, bins, angle) for image in images]
    return np.array(rows, dtype=np.float32).reshape(len(images), length(levels, bins))


def edges(image: npt.NDArray[np.uint8]) -> BoolArray:
    """Where a gray (H, W) image has Canny's edges; anywhere in a flat one, as its quantiles are those of rounding."""
    from skimage.feature import canny

    pixels = image.astype(np.float64)
    found: BoolArray = canny(pixels, sigma=SIGMA, low_threshold=LOW, high_threshold=HIGH, use_quantiles=True)
    return found


def _descriptor(image: npt.NDArray[np.uint8], levels: int, bins: int, angle: int) -> npt.NDArray[np.float64]:
    from scipy.ndimage import sobel

    pixels = image.astype(np.float64)
    y, x = edges(image).nonzero()
    down, right = (sobel(pixels, axis=axis)[y, x] for axis in (0, 1))
    direction = np.floor(np.degrees(np.arctan2(down, right)) * bins / angle).astype(np.int64) % bins
    cells = 2**levels
    place = (y * cells // image.shape[0]) * cells + x * cells // image.shape[1]
    votes = np.bincount(place * bins + direction, weights=np.hypot(down, right), minlength=cells * cells * bins)
    # Cells nest, so each level is the sum of the next finer one's.
    pyramid = [votes.reshape(cells, cells, bins)]
    for _ in range(levels):
        finer = pyramid[0]
        half = len(finer) // 2
        pyramid.insert(0, finer.reshape(half, 2, half, 2, bins).sum(axis=(1, 3)))
    values = np.concatenate([level.ravel() for level in pyramid])
    total = values.sum()
    return values / total if total > 0 else values
