"""LPQ against a loop over pixels that follows the paper's formulas, and the promise that blur changes little."""

from __future__ import annotations

import cmath
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve, gaussian_filter

from fer_bench.features.lpq import CORRELATION, codes, lpq

Float64Array = npt.NDArray[np.float64]


def textures(n: int = 4, height: int = 20, width: int = 24) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (n, height, width)).astype(np.uint8)


def transform(image: npt.NDArray[np.uint8], row: int, column: int, window: int) -> list[float]:
    """F(u, x) = sum over y of f(x - y) exp(-2 pi i u.y) at the four u: real parts, then imaginary ones."""
    half = window // 2
    values = []
    for u, v in ((1, 0), (0, 1), (1, 1), (1, -1)):
        total = 0j
        for down in range(-half, half + 1):
            for right in range(-half, half + 1):
                pixel = float(image[row - down, column - right])
                total += pixel * cmath.exp(-2j * math.pi * (u * right + v * down) / window)
        values.append(total)
    return [value.real for value in values] + [value.imag for value in values]


@pytest.mark.parametrize("window", [3, 5, 7])
def test_codes_are_the_signs_of_the_transform(window: int) -> None:
    image = textures(1)[0]
    half = window // 2
    expected = [
        [
            sum(2**bit for bit, value in enumerate(transform(image, row, column, window)) if value >= -1e-6)
            for column in range(half, image.shape[1] - half)
        ]
        for row in range(half, image.shape[0] - half)
    ]
    np.testing.assert_array_equal(codes(image, window, decorrelate=False), expected)


def test_decorrelation_whitens_the_pixels_that_it_assumes() -> None:
    """On images drawn with the assumed correlation, no two bits of a code tell of each other."""
    window = 7
    y, x = (axis.ravel() for axis in np.mgrid[:window, :window])
    covariance = CORRELATION ** np.hypot(x[:, None] - x, y[:, None] - y)
    rng = np.random.default_rng(1)
    stack = rng.multivariate_normal(np.zeros(window * window), covariance, 4000).reshape(-1, window)

    def worst(*, decorrelate: bool) -> float:
        bits = np.unpackbits(codes(stack, window, decorrelate=decorrelate)[::window], axis=1)
        return float(np.abs(np.corrcoef(bits.T) - np.eye(8)).max())

    assert worst(decorrelate=True) < 0.08 < 0.2 < worst(decorrelate=False)


@pytest.mark.parametrize("decorrelate", [False, True])
@settings(max_examples=40, deadline=None)
@given(
    cycles=st.tuples(st.floats(0.02, 0.14), st.floats(0.02, 0.14), st.sampled_from([-1, 1])),
    phase=st.floats(0, 6.28),
    kernel=st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_no_centrally_symmetric_blur_changes_the_codes_of_a_wave(
    decorrelate: bool, cycles: tuple[float, float, int], phase: float, kernel: list[float]
) -> None:
    """Such a blur only scales a wave, and these ones by more than zero."""
    y, x = np.mgrid[:40, :40]
    right, down, sign = cycles
    wave = 100 * np.cos(2 * np.pi * (right * x + sign * down * y) + phase)
    a, b, c, d = kernel
    symmetric = np.array([[a, b, c], [d, 8, d], [c, b, a]]) / (8 + 2 * (a + b + c + d))
    blurred = convolve(wave, symmetric, mode="wrap")[5:35, 5:35]
    sharp = codes(wave[5:35, 5:35], decorrelate=decorrelate)
    agreement = (sharp == codes(blurred, decorrelate=decorrelate)).mean()
    assert agreement > 0.999


def test_blur_changes_a_picture_less_than_a_shift_does() -> None:
    from skimage import color, data

    gray = color.rgb2gray(data.astronaut())[::3, ::3]
    picture = (gray * 255).astype(np.uint8)
    blurred = gaussian_filter(picture.astype(np.float64), 1.0).round().astype(np.uint8)
    shifted = np.roll(picture, 2, axis=1)

    def agreement(other: npt.NDArray[np.uint8]) -> float:
        same = ~(codes(picture, decorrelate=False) ^ codes(other, decorrelate=False))
        return float(np.unpackbits(same).mean())

    assert agreement(blurred) > 0.85 > 0.7 > agreement(shifted)


@pytest.mark.parametrize("decorrelate", [False, True])
def test_brightness_and_contrast_do_not_matter(decorrelate: bool) -> None:
    image = textures(1)[0] // 4
    np.testing.assert_array_equal(codes(image, decorrelate=decorrelate), codes(image * 3 + 50, decorrelate=decorrelate))


def test_histograms_sum_to_one_and_count_the_codes() -> None:
    images = textures()
    histograms = lpq(images, 5)
    assert histograms.shape == (4, 256) and histograms.dtype == np.float32
    np.testing.assert_allclose(histograms.sum(axis=1), 1, atol=1e-6)
    found = codes(images[2], 5)
    assert found.shape == (16, 20)
    assert histograms[2, found[0, 0]] == pytest.approx((found == found[0, 0]).mean())


@pytest.mark.parametrize("level", [0, 77, 255])
def test_a_flat_image_has_one_code(level: int) -> None:
    histogram = lpq(np.full((1, 9, 9), level, dtype=np.uint8))
    assert histogram[0, 255] == 1


@pytest.mark.parametrize(("shape", "window"), [((1, 9, 9, 3), 7), ((1, 6, 9), 7), ((1, 9, 9), 4), ((1, 9, 9), 1)])
def test_bad_input_is_refused(shape: tuple[int, ...], window: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        lpq(np.zeros(shape, dtype=np.uint8), window)


def test_no_images_no_histograms() -> None:
    assert lpq(textures(0)).shape == (0, 256)
