"""The HOG layer gives scikit-image's numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fer_bench import registry
from fer_bench.features.hog import hog, length
from fer_bench.models._layers import Hog


def pictures(size: int = 48) -> npt.NDArray[np.uint8]:
    """Noise, a ramp in four directions, a disc, a step edge, nearly flat, flat."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    disc = np.hypot(x - size / 2, y - size / 2) < size / 3
    images = [
        *generator.integers(0, 256, (4, size, size)),
        *(x * 4, x[:, ::-1] * 4, y * 4, (x + y) * 2),
        disc * 200 + generator.integers(0, 20, (size, size)),
        (x > size // 2) * 255,
        100 + (generator.random((size, size)) < 0.02),
        np.full((size, size), 128),
    ]
    return np.stack(images).astype(np.uint8)


def layer(images: npt.NDArray[np.uint8], scale: float = 1.0, shift: float = 0.0) -> npt.NDArray[np.float32]:
    pixels = torch.from_numpy(images).float()[:, None]
    values: npt.NDArray[np.float32] = Hog()((pixels - shift) / scale).numpy()
    return values


@pytest.mark.parametrize("size", [48, 32, 50])
def test_layer_equals_scikit_image(size: int) -> None:
    images = pictures(size)
    expected = hog(images)
    assert expected.shape == (len(images), length(size)) and expected.dtype == np.float32
    np.testing.assert_allclose(layer(images), expected, atol=1e-5)


def test_a_scalar_normalisation_does_not_matter() -> None:
    images = pictures()[:-2]  # in a nearly flat block the norm's epsilon shows
    np.testing.assert_allclose(layer(images, scale=255), hog(images), atol=1e-4)
    np.testing.assert_allclose(layer(images, scale=60, shift=130), hog(images), atol=1e-4)


def test_a_flat_image_has_no_gradients() -> None:
    assert not hog(pictures()[-1:]).any()
    assert not layer(pictures()[-1:]).any()


def test_only_gray_images() -> None:
    with pytest.raises(ValueError, match=r"expected \(N, H, W\) gray images"):
        hog(np.zeros((1, 48, 48, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", ["hog_cnn_2", "hog_cnn_4"])
def test_the_network_reads_the_hog(name: str) -> None:
    network = registry.create_model(name).eval()
    x = torch.from_numpy(pictures()).float()[:, None] / 255
    with torch.no_grad():
        logits = network(x)
        network.hog = ZeroHog()
        assert not torch.allclose(network(x), logits)


class ZeroHog(torch.nn.Module):
    """A descriptor that says nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 1, 48, 48) -> (N, 900) zeros."""
        return torch.zeros(len(x), length(48))
