"""Local phase quantisation: codes of the local phase at low frequencies, which blur leaves as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

WINDOW = 7
BINS = 256
# Of two neighbouring pixels, as the paper assumes it; it falls with the power of their distance.
CORRELATION = 0.9
# Responses this near to zero count as zero, so that a flat region has one code whatever the rounding.
_ZERO = 1e-6

Float64Array = npt.NDArray[np.float64]


def lpq(images: npt.NDArray[np.uint8], window: int = WINDOW, *, decorrelate: bool = True) -> npt.NDArray[np.float32]:
    """The LPQ histograms of gray images: (N, H, W) uint8 -> (N, 256) float32, each summing to one.

    Ojansivu and Heikkila, "Blur Insensitive Texture Classification Using Local Phase Quantization" (ICISP
    2008): the short-term Fourier transform over a square uniform window at the four lowest frequencies, its
    real and imaginary parts decorrelated, their signs one code a pixel.

    Args:
        window: the window's side in pixels, odd.
        decorrelate: whiten the eight responses before their signs are taken, as the paper recommends.

    Raises:
        ValueError: not gray images, smaller than the window, or an even window.
    """
    rows = [np.bincount(codes(image, window, decorrelate=decorrelate).ravel(), minlength=BINS) for image in images]
    counts: Float64Array = np.array(rows, dtype=np.float64).reshape(len(images), BINS)
    shares: npt.NDArray[np.float32] = (counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def codes(
    image: npt.NDArray[np.integer[Any]] | npt.NDArray[np.floating[Any]],
    window: int = WINDOW,
    *,
    decorrelate: bool = True,
) -> npt.NDArray[np.uint8]:
    """The LPQ code of each pixel that has its whole window in the image: (H, W) -> (H - w + 1, W - w + 1) uint8.

    Bit j is set where response j is not negative. Without decorrelation bits 0 to 3 are the real parts at
    the frequencies (1, 0), (0, 1), (1, 1) and (1, -1), bits 4 to 7 the imaginary ones.
    """
    if image.ndim != 2 or min(image.shape) < window:
        raise ValueError(f"expected gray images of at least {window}x{window} pixels, got shape {image.shape}")
    patches = np.lib.stride_tricks.sliding_window_view(image.astype(np.float64), (window, window))
    responses = patches.reshape(-1, window * window) @ _filters(window, decorrelate).T
    bits = np.packbits(responses >= -_ZERO, axis=1, bitorder="little")
    return bits.reshape(patches.shape[:2])


def _filters(window: int, decorrelate: bool) -> Float64Array:
    """The eight filters over a flattened window, (8, window * window)."""
    if window < 3 or window % 2 == 0:
        raise ValueError(f"expected an odd window of at least 3 pixels, got {window}")
    half = window // 2
    y, x = (axis.ravel() for axis in np.mgrid[-half : half + 1, -half : half + 1])
    # As (x, y), in units of one cycle a window.
    frequencies = np.array([(1, 0), (0, 1), (1, 1), (1, -1)])
    # A convolution looks at f(x - y), so its filter read from the upper left is conjugate to the transform's.
    waves = np.exp(2j * np.pi / window * (frequencies @ np.stack([x, y])))
    filters = np.concatenate([waves.real, waves.imag])
    return _whitening(filters, x, y) @ filters if decorrelate else filters


def _whitening(filters: Float64Array, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> Float64Array:
    """The rotation (8, 8) after which the responses of pixels with `CORRELATION` are uncorrelated."""
    distances = np.hypot(x[:, None] - x, y[:, None] - y)
    covariance = filters @ CORRELATION**distances @ filters.T
    # By symmetry some eigenvalues are equal, and their eigenvectors would be any rotation of one another: scales
    # that differ a little fix them.
    scales = 1 + 1e-6 * np.arange(7, -1, -1)
    _, vectors = np.linalg.eigh(covariance * np.outer(scales, scales))
    rotation = vectors.T[::-1]  # the largest variance first
    # An eigenvector's sign is arbitrary.
    largest = np.abs(rotation).argmax(axis=1)
    signs: Float64Array = np.sign(rotation[np.arange(8), largest])
    return rotation * signs[:, None]
