"""What a network looked at: Grad-CAM, and the maps of its convolutions.

Nothing here touches the predictor, which other threads may be using: the hooks are on a copy of the network's modules
that shares its weights and lives for one picture.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_bench.data.dataset import UInt8Array
from fer_bench.errors import FerBenchError
from fer_bench.models._layers import SpatialTransformer
from fer_bench.predict import Predictor
from fer_bench.transforms import Float32Array, prepare

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Mish)
COLOURS = "inferno"
# Of the colour where the heat is 1; the rest is the picture.
STRENGTH = 0.65
# Pixels a side that a map is enlarged to at least.
TILE = 64
GAP = 2

_Pair = npt.NDArray[np.float64]  # down, right


class _Cells(NamedTuple):
    """Where the cells of a map lie in the network's input: the first one's centre and the way to the next, in pixels.

    That is the centre of what the cell sees. Unpadded convolutions draw the cells together, away from the border, so
    a map must not simply be stretched over the picture.
    """

    first: _Pair
    step: _Pair

    def after(self, layer: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) -> _Cells:
        # A new size and a padding in words: it can only be "valid".
        padding = 0 if isinstance(layer.padding, str) else layer.padding
        reach = (np.asarray(layer.kernel_size) - 1) * getattr(layer, "dilation", 1)
        return _Cells(self.first + self.step * (reach / 2 - padding), self.step * layer.stride)


@dataclass
class _Trace:
    """What one forward pass left behind.

    Attributes:
        maps: name and output of each convolution with its activation, in forward order.
        cells: for each size of a map, where its cells lie.
        theta: (1, 6), what the localisation net of a spatial transformer answered.
        activated: the last map is complete; until then the next convolution or activation takes its place.
    """

    maps: list[tuple[str, Tensor]] = field(default_factory=list)
    cells: dict[tuple[int, int], _Cells] = field(default_factory=dict)
    theta: Tensor | None = None
    activated: bool = True

    def watch(self, network: nn.Module) -> None:
        """Register the hooks on every module but those of a localisation net, which sees no picture but its pose."""
        localisations = [module.localisation for module in network.modules() if isinstance(module, SpatialTransformer)]
        for localisation in localisations:
            localisation.register_forward_hook(self._on_localisation)
        apart = {module for localisation in localisations for module in localisation.modules()}
        for name, module in network.named_modules():
            if module in apart:
                continue
            if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
                module.register_forward_hook(self._on_step)
            if isinstance(module, (nn.Conv2d, *ACTIVATIONS)):
                module.register_forward_hook(lambda module, _, output, name=name: self._on_map(name, module, output))

    def _on_localisation(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        self.theta = output.detach()

    def _on_step(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)
        before, after = _size(inputs[0]), _size(output)
        if before in self.cells and after not in self.cells:
            self.cells[after] = self.cells[before].after(module)

    def _on_map(self, name: str, module: nn.Module, output: Tensor) -> None:
        if output.ndim != 4 or _size(output) == (1, 1):
            return
        convolves = isinstance(module, nn.Conv2d)
        if not convolves and self.activated:
            return
        if not self.activated:
            self.maps.pop()
        self.maps.append((name, output))
        self.activated = not convolves


def _size(maps: Tensor) -> tuple[int, int]:
    return maps.shape[-2], maps.shape[-1]


def _traced(predictor: Predictor, image: UInt8Array) -> tuple[Tensor, _Trace]:
    """The (1, classes) logits of a picture, and how they came about."""
    shared = itertools.chain(predictor.network.parameters(), predictor.network.buffers())
    network = copy.deepcopy(predictor.network, {id(tensor): tensor for tensor in shared})
    device = next(iter(network.state_dict().values())).device
    x = predictor.tensor(prepare(image[None], predictor.size, predictor.channels), device)
    x.requires_grad_(torch.is_grad_enabled())  # the weights of a frozen network have no gradient to lead to a map
    trace = _Trace()
    trace.cells[_size(x)] = _Cells(np.full(2, 0.5), np.ones(2))
    trace.watch(network)
    logits: Tensor = network(x)
    if not trace.maps:
        name = predictor.metadata.get("model", "this network")
        raise FerBenchError(f"{name} has no convolution: Grad-CAM needs one, and so do activation maps; choose a CNN")
    return logits, trace


def grad_cam(predictor: Predictor, image: UInt8Array, label: int | None = None) -> Float32Array:
    """Where the evidence for a class is (Selvaraju et al. 2017, arXiv 1610.02391).

    Taken from the last convolution, after the activation that follows it; from a ResNet that is its last block.

    Args:
        image: (H, W) uint8 gray or (H, W, 3) uint8 RGB, any size.
        label: the class to explain; None: the likeliest one.

    Returns:
        (H, W) float32, 0..1, over the given image, also where a spatial transformer looked at a part of it; all 0
        where nothing speaks for the class.

    Raises:
        FerBenchError: the network has no convolution, or none that its answer has a gradient to.
    """
    with torch.inference_mode(False), torch.enable_grad():
        logits, trace = _traced(predictor, image)
        _, maps = trace.maps[-1]
        if not logits.requires_grad:
            name = predictor.metadata.get("model", "this network")
            raise FerBenchError(f"{name} does not decide by its maps smoothly, which Grad-CAM needs; choose a CNN")
        chosen = int(logits.argmax()) if label is None else label
        (gradient,) = torch.autograd.grad(logits[0, chosen], maps)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    heat = functional.relu((weights * maps.detach()).sum(dim=1, keepdim=True)).float().cpu()
    heat = _over_picture(heat, trace, predictor.size, (image.shape[0], image.shape[1]))
    highest = heat.max()
    return (heat / highest if highest > 0 else heat).numpy()


def _over_picture(heat: Tensor, trace: _Trace, side: int, shape: tuple[int, int]) -> Tensor:
    """(1, 1, h, w) of a map -> (H, W) of the picture that was the input: bilinear, fading out past the last cells."""
    # From the picture to the map, as grid_sample counts: right before down, and -1..1 from edge to edge.
    view = np.eye(2, 3)
    if trace.theta is not None:
        theta = trace.theta.reshape(2, 3).double().cpu().numpy()
        back = np.linalg.pinv(theta[:, :2])  # a transformer may have shrunk its view to a line
        view = np.column_stack([back, -back @ theta[:, 2]])
    count = np.array(heat.shape[2:])
    stretched = _Cells(side / count / 2, side / count)
    first, step = trace.cells.get(_size(heat), stretched)
    view *= (side / (step * count))[::-1, None]
    view[:, 2] += ((side - 2 * first + step) / (step * count) - 1)[::-1]
    points = functional.affine_grid(torch.from_numpy(view).float()[None], [1, 1, *shape], align_corners=False)
    return functional.grid_sample(heat, points, align_corners=False)[0, 0]


def overlay(image: UInt8Array, heat: Float32Array) -> UInt8Array:
    """A picture with the heat over it, the more of its colour the hotter.

    Args:
        image: (H, W) uint8 gray or (H, W, 3) uint8 RGB.
        heat: (H, W), 0..1.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    import matplotlib

    colours = matplotlib.colormaps[COLOURS](heat)[..., :3] * 255
    picture = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    share = STRENGTH * heat[..., None]
    mixed: Float32Array = picture * (1 - share) + colours * share
    return np.rint(mixed).astype(np.uint8)


@dataclass(frozen=True)
class LayerMaps:
    """What a convolution made of a picture.

    Attributes:
        name: of the module in the network whose output this is.
        title: for people, "conv2d 3, 32 maps of 24x24".
        maps: (C, H, W) float32.
    """

    name: str
    title: str
    maps: Float32Array


def activation_maps(predictor: Predictor, image: UInt8Array) -> list[LayerMaps]:
    """The maps of each convolution after its activation, in forward order.

    Convolutions with no activation between them, such as a ResNet block's last one and its shortcut's, count as one.
    A spatial transformer's localisation net is left out.

    Args:
        image: (H, W) uint8 gray or (H, W, 3) uint8 RGB, any size.

    Raises:
        FerBenchError: the network has no convolution.
    """
    with torch.no_grad():
        _, trace = _traced(predictor, image)
    layers = []
    for number, (name, output) in enumerate(trace.maps, start=1):
        maps = output[0].float().cpu().numpy()
        count, height, width = maps.shape
        layers.append(LayerMaps(name, f"conv2d {number}, {count} maps of {width}x{height}", maps))
    return layers


def tile(maps: Float32Array, columns: int = 8, limit: int = 32) -> UInt8Array:
    """One picture of the maps with the most contrast, the strongest first, each from black to white in its own range.

    Args:
        maps: (C, H, W).
        columns: maps in a row.
        limit: maps in all.

    Returns:
        (height, width) uint8; a map is enlarged by a whole number until it has 64 pixels a side.
    """
    strongest = maps[np.argsort(-maps.std(axis=(1, 2)), kind="stable")[:limit]]
    low, high = (edge(axis=(1, 2), keepdims=True) for edge in (strongest.min, strongest.max))
    scaled = np.rint((strongest - low) / np.where(high > low, high - low, 1) * 255).astype(np.uint8)
    factor = -(-TILE // min(maps.shape[1:]))
    enlarged = scaled.repeat(factor, axis=1).repeat(factor, axis=2)
    count, height, width = enlarged.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    picture = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP), 255, dtype=np.uint8)
    for number, drawn in enumerate(enlarged):
        top, left = number // columns * (height + GAP), number % columns * (width + GAP)
        picture[top : top + height, left : left + width] = drawn
    return picture
