"""PHOG against a loop over edge pixels, and what a histogram of directions must and must not notice."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import gaussian_filter

from fer_bench.features import PARTS, lpq_phog
from fer_bench.features.phog import edges, length, phog


def shapes() -> npt.NDArray[np.uint8]:
    """A disc, a tilted square, smooth noise: of sides that no power of two divides."""
    y, x = np.mgrid[:45, :38]
    disc = np.hypot(x - 20, y - 15) < 11
    square = abs(x - 18) + 0.5 * abs(y - 24) < 9
    noise = gaussian_filter(np.random.default_rng(0).normal(size=y.shape), 2)
    return np.stack([disc * 200 + 20, 230 - square * 150, (noise - noise.min()) * 400]).astype(np.uint8)


def at(image: npt.NDArray[np.uint8], row: int, column: int) -> float:
    height, width = image.shape
    return float(image[min(max(row, 0), height - 1), min(max(column, 0), width - 1)])


def direct(image: npt.NDArray[np.uint8], levels: int, bins: int, angle: int) -> list[float]:
    """The descriptor by its definition, level by level and pixel by pixel."""
    height, width = image.shape
    found = edges(image)
    values: list[float] = []
    for level in range(levels + 1):
        cells = 2**level
        votes = [0.0] * (cells * cells * bins)
        for row in range(height):
            for column in range(width):
                if not found[row, column]:
                    continue
                right = down = 0.0
                for step, weight in ((-1, 1), (0, 2), (1, 1)):
                    right += weight * (at(image, row + step, column + 1) - at(image, row + step, column - 1))
                    down += weight * (at(image, row + 1, column + step) - at(image, row - 1, column + step))
                direction = math.degrees(math.atan2(down, right)) % angle
                cell = (row * cells // height) * cells + column * cells // width
                votes[cell * bins + int(direction // (angle / bins)) % bins] += math.hypot(right, down)
        values += votes
    total = sum(values)
    return [value / total for value in values]


@pytest.mark.parametrize(("levels", "bins", "angle"), [(0, 8, 360), (2, 9, 180), (3, 8, 360), (1, 20, 360)])
def test_equals_the_definition(levels: int, bins: int, angle: Literal[180, 360]) -> None:
    images = shapes()
    values = phog(images, levels, bins, angle)
    assert values.shape == (3, length(levels, bins)) == (3, bins * sum(4**level for level in range(levels + 1)))
    assert values.dtype == np.float32
    np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(values, [direct(image, levels, bins, angle) for image in images], atol=1e-6)


def test_a_vertical_edge_votes_for_its_direction_in_its_cells() -> None:
    x = np.arange(32)
    image = np.tile(np.where(x < 5, 40, 200), (32, 1)).astype(np.uint8)  # in the left column of 4 cells
    levels = np.split(phog(image[None], levels=2)[0], [8, 40])
    assert [np.flatnonzero(level.reshape(-1, 8).sum(axis=0)).tolist() for level in levels] == [[0]] * 3
    cells = levels[2].reshape(4, 4, 8).sum(axis=2)
    assert (cells[:, 0] > 0).all() and not cells[:, 1:].any()


def test_inversion_shows_in_360_degrees_and_not_in_180() -> None:
    image = shapes()[:1]
    inverted = 255 - image
    np.testing.assert_allclose(phog(image, 2, 9, 180), phog(inverted, 2, 9, 180), atol=1e-6)
    assert np.abs(phog(image, 2, 8, 360) - phog(inverted, 2, 8, 360)).sum() > 0.5


def test_contrast_does_not_matter() -> None:
    image = shapes()[:1] // 4
    np.testing.assert_allclose(phog(image), phog(image * 3 + 20), atol=1e-6)


def test_no_edges_no_votes() -> None:
    assert not phog(np.full((1, 24, 24), 99, dtype=np.uint8)).any()
    assert phog(shapes()[:0]).shape == (0, 680)


def test_only_gray_images() -> None:
    with pytest.raises(ValueError, match=r"expected \(N, H, W\) gray images"):
        phog(np.zeros((1, 24, 24, 3), dtype=np.uint8))


def test_both_descriptors_side_by_side() -> None:
    values = lpq_phog(shapes())
    assert values.shape == (3, 936) and values.dtype == np.float32
    np.testing.assert_array_equal(values[:, PARTS["phog"]], phog(shapes()))
    np.testing.assert_allclose(values[:, PARTS["lpq"]].sum(axis=1), 1, atol=1e-6)
