"""Hand-crafted image features."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fer_bench.features import lpq, phog

# Where each descriptor lies in its vector.
PARTS = {"lpq": slice(0, lpq.BINS), "phog": slice(lpq.BINS, lpq.BINS + phog.length())}


def lpq_phog(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """LPQ and PHOG of gray images, side by side: (N, H, W) uint8 -> (N, 936) float32, parts as in `PARTS`."""
    return np.concatenate([lpq.lpq(images), phog.phog(images)], axis=1)
