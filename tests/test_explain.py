"""The heat lies where the evidence is, of every registered model, and looking leaves no trace."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fer_bench import registry, weights
from fer_bench.data.dataset import UInt8Array
from fer_bench.data.synthetic import EXPRESSIONS, draw_face
from fer_bench.errors import FerBenchError
from fer_bench.explain import activation_maps, grad_cam, overlay, tile
from fer_bench.labels import FER2013
from fer_bench.models._layers import SpatialTransformer
from fer_bench.predict import Predictor
from fer_bench.specs import ModelSpec
from fer_bench.transforms import Float32Array, Normaliser

SIZE = 48
WEIGHTS = Path(__file__).parent.parent / "weights" / "lin_shi.fer_bench.safetensors"
SPECS = [registry.get_spec(name) for name in registry.list_models()]
# A recipe with an estimator belongs to a model that is no network of convolutions, or decides by a forest on one. The
# other two for 224 pixels differ from this one in depth only.
FITTED = [spec for spec in SPECS if spec.recipes[0].estimator is not None]
NETWORKS = [spec for spec in SPECS if spec not in FITTED and spec.name not in ("resnet50_224", "resnet101_224")]


def predictor(network: nn.Module, size: int = SIZE, channels: int = 1, classes: int = 2) -> Predictor:
    zeros = np.zeros((channels, 1, 1), dtype=np.float32)
    names = tuple(f"class {number}" for number in range(classes))
    return Predictor(network.eval(), names, size, channels, Normaliser(zeros, zeros + 1), metadata={"model": "toy"})


@cache
def trained() -> Predictor:
    return weights.load(WEIGHTS)


def faces(count: int) -> list[UInt8Array]:
    rng = np.random.default_rng(0)
    return [draw_face(list(EXPRESSIONS)[number % 7], rng) for number in range(count)]


def blob(x: float, y: float, width: int = SIZE, height: int = SIZE) -> UInt8Array:
    """Black, but for a bright spot at a place in -1..1, from edge to edge."""
    across = (np.arange(width) + 0.5) / width * 2 - 1 - x
    down = (np.arange(height) + 0.5) / height * 2 - 1 - y
    light: Float32Array = 255 * np.exp(-(across**2 + down[:, None] ** 2) / 0.005)
    return np.rint(light).astype(np.uint8)


def peak(heat: Float32Array) -> tuple[float, float]:
    """Where the heat is greatest, as x and y in -1..1; the middle of the places where there are several."""
    rows, columns = np.nonzero(heat > 0.98 * heat.max())
    return (columns.mean() + 0.5) / heat.shape[1] * 2 - 1, (rows.mean() + 0.5) / heat.shape[0] * 2 - 1


def detector(*layers: nn.Module) -> nn.Sequential:
    """Sees bright things: averaging convolutions, class 0 their spatial mean, class 1 its opposite."""
    last = nn.Linear(1, 2, bias=False)
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)
    with torch.no_grad():
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                assert layer.bias is not None
                layer.weight.fill_(1 / layer.weight[0].numel())
                layer.bias.zero_()
        last.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    return network


def conv(kernel: int, stride: int = 1, padding: int | str = 0) -> nn.Conv2d:
    return nn.Conv2d(1, 1, kernel, stride, padding)


@pytest.fixture(params=NETWORKS, ids=lambda spec: spec.name)
def untrained(request: pytest.FixtureRequest) -> Predictor:
    spec: ModelSpec = request.param
    torch.manual_seed(0)
    return predictor(registry.build(spec, 7), spec.size, spec.channels, classes=7)


def test_every_model_can_be_explained(untrained: Predictor) -> None:
    network = untrained.network
    noise = np.random.default_rng(0).integers(0, 256, (60, 75, 3), dtype=np.uint8)
    top = int(untrained.predict(noise[None])[0].argmax())
    likeliest = grad_cam(untrained, noise)
    np.testing.assert_array_equal(grad_cam(untrained, noise, top), likeliest)
    for heat in (likeliest, grad_cam(untrained, noise[..., 0], 3)):
        assert heat.shape == (60, 75) and heat.dtype == np.float32
        assert heat.min() >= 0 and heat.max() in (0, 1)

    for layer in activation_maps(untrained, noise):
        count, height, width = layer.maps.shape
        assert layer.maps.dtype == np.float32 and layer.maps.min() >= 0, "before its activation"
        assert layer.title.endswith(f", {count} maps of {width}x{height}")
        assert "localisation" not in layer.name and layer.name in dict(network.named_modules())

    assert not any(module._forward_hooks for module in network.modules())
    assert all(weight.grad is None and weight.requires_grad for weight in network.parameters())


@pytest.mark.parametrize("spec", FITTED, ids=lambda spec: spec.name)
def test_what_has_no_map_to_follow_says_so(spec: ModelSpec) -> None:
    fitted = predictor(registry.build(spec, 7), spec.size, spec.channels, classes=7)
    with pytest.raises(FerBenchError, match="choose a CNN"):
        grad_cam(fitted, np.zeros((60, 75, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    "layers",
    [
        pytest.param(lambda: [conv(3, padding=1), nn.ReLU(), nn.MaxPool2d(2), conv(3, padding="same")], id="padded"),
        pytest.param(
            lambda: [
                *(conv(3), nn.ReLU(), conv(3, padding="valid"), nn.ReLU(), nn.AvgPool2d(2)),
                *(conv(3), nn.ReLU(), conv(3), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
            ],
            id="unpadded",
        ),
        pytest.param(lambda: [conv(3, stride=2, padding=1), nn.ReLU(), conv(3, stride=2, padding=1)], id="strided"),
        pytest.param(lambda: [conv(3), nn.MaxPool2d(3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(4)], id="pool_first"),
    ],
)
@given(x=st.floats(-0.6, 0.6), y=st.floats(-0.6, 0.6))
@settings(max_examples=15)
def test_the_peak_is_at_the_blob(layers: Callable[[], list[nn.Module]], x: float, y: float) -> None:
    toy = predictor(detector(*layers()))
    image = blob(x, y, width=96, height=144)
    assert peak(grad_cam(toy, image)) == pytest.approx((x, y), abs=2.5 / 24)  # 2.5 of 48 pixels
    assert not grad_cam(toy, image, 1).any(), "nothing speaks for class 1"


@given(
    angle=st.floats(-math.pi, math.pi),
    zoom=st.floats(0.5, 1.0),
    shift=st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)),
    seen=st.tuples(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6)),
)
@settings(max_examples=25)
def test_the_heat_comes_back_through_a_transformer(
    angle: float, zoom: float, shift: tuple[float, float], seen: tuple[float, float]
) -> None:
    turned = zoom * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    # What the transformer shows at `seen` it takes from here (arXiv 1506.02025, equation 1).
    x, y = turned @ seen + shift
    toy = transforming(np.column_stack([turned, shift]))
    assert peak(grad_cam(toy, blob(x, y))) == pytest.approx((x, y), abs=2.5 / 24)


def transforming(theta: npt.NDArray[np.float64]) -> Predictor:
    pose = nn.Linear(46 * 46, 6)
    transformer = SpatialTransformer(nn.Sequential(conv(3), nn.ReLU(), nn.Flatten(), pose))
    with torch.no_grad():
        pose.bias.copy_(torch.from_numpy(theta).flatten())
    return predictor(nn.Sequential(transformer, *detector(conv(3, padding=1), nn.ReLU())))


def test_a_transformer_that_sees_a_line_only() -> None:
    heat = grad_cam(transforming(np.array([[1.0, 0, 0], [0, 0, 0]])), blob(0.5, 0))
    assert heat.max() == 1 and np.isfinite(heat).all()
    assert peak(heat)[0] == pytest.approx(0.5, abs=0.1)


def test_classes_are_explained_differently() -> None:
    face = draw_face("surprise", np.random.default_rng(1))
    heats = [grad_cam(trained(), face, label) for label in range(len(FER2013))]
    for number, heat in enumerate(heats):
        assert all(np.abs(heat - other).max() > 0.1 for other in heats[:number])


def test_a_frozen_network_is_explained_too() -> None:
    frozen = weights.load(WEIGHTS)
    frozen.network.requires_grad_(False)
    face = faces(1)[0]
    np.testing.assert_array_equal(grad_cam(frozen, face), grad_cam(trained(), face))


def test_maps_of_lin_shi() -> None:
    layers = activation_maps(trained(), faces(1)[0])
    convolutions = [module for module in trained().network.modules() if isinstance(module, nn.Conv2d)]
    sides = [48] * 3 + [24] * 3 + [12] * 3
    expected = [(convolution.out_channels, side, side) for convolution, side in zip(convolutions, sides, strict=True)]
    assert [layer.maps.shape for layer in layers] == expected
    assert layers[2].title == "conv2d 3, 32 maps of 48x48"


def test_maps_are_the_networks_own() -> None:
    network = detector(conv(3), nn.BatchNorm2d(1), nn.ReLU(inplace=True), nn.MaxPool2d(2), conv(5))
    image = faces(1)[0]
    first, second = activation_maps(predictor(network), image)
    with torch.no_grad():
        x = torch.from_numpy(image)[None, None] / 255
        torch.testing.assert_close(torch.from_numpy(first.maps), network[:3](x)[0])
        torch.testing.assert_close(torch.from_numpy(second.maps), network[:5](x)[0])
    assert (first.name, second.name) == ("2", "4")


@pytest.mark.parametrize("explain", [grad_cam, activation_maps])
def test_a_network_without_convolution_is_refused(explain: Callable[[Predictor, UInt8Array], object]) -> None:
    linear = predictor(nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 2)))
    with pytest.raises(FerBenchError, match="toy has no convolution: Grad-CAM needs one"):
        explain(linear, faces(1)[0])


def test_threads_do_not_see_each_other() -> None:
    shared, images = trained(), faces(16)

    def look(image: UInt8Array) -> tuple[Float32Array, ...]:
        with torch.inference_mode():  # as a caller may
            return grad_cam(shared, image), activation_maps(shared, image)[-1].maps, shared.predict(image[None])

    serial = [look(image) for image in images]
    with ThreadPoolExecutor(8) as pool:
        for one, other in zip(serial, pool.map(look, images), strict=True):
            for expected, got in zip(one, other, strict=True):
                np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_overlay() -> None:
    rng = np.random.default_rng(0)
    heat = np.zeros((40, 50), dtype=np.float32)
    heat[10:20, 10:20] = 1
    for image in (rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((40, 50), (40, 50, 3))):
        drawn = overlay(image, heat)
        assert drawn.shape == (40, 50, 3) and drawn.dtype == np.uint8
        picture = image if image.ndim == 3 else np.stack([image] * 3, axis=2)
        np.testing.assert_array_equal(drawn[heat == 0], picture[heat == 0])
        hot, below = (colours[heat == 1].astype(float) for colours in (drawn, picture))
        assert hot[:, 0].mean() > below[:, 0].mean() + 30, "red and yellow"
        assert np.corrcoef(hot[:, 0], below[:, 0])[0, 1] > 0.9, "the picture shows through"


def test_tile() -> None:
    maps = np.zeros((5, 6, 8), dtype=np.float32)
    for strength, index in enumerate((3, 0, 4, 1), start=1):  # 2 has one value only
        maps[index, 0, index] = strength
    drawn = tile(maps, columns=3, limit=4)
    # 6 pixels times 11 are the first over 64; gaps of 2
    assert drawn.shape == (2 * 66 + 2, 3 * 88 + 2 * 2) and drawn.dtype == np.uint8
    cells = [drawn[top : top + 66, left : left + 88] for top in (0, 68) for left in (0, 90, 180)]
    assert [int(cell[0].argmax()) // 11 for cell in cells[:4]] == [1, 4, 0, 3]
    assert all(cell.min() == 0 and cell.max() == 255 for cell in cells[:4])
    assert (cells[4] == 255).all()
    assert tile(maps[2:3]).shape == (66, 88) and not tile(maps[2:3]).any()
