"""The blocks that the papers' networks share. Imported inside `build` functions only, for it imports torch.

Batch norms keep PyTorch's momentum (0.1) and epsilon (1e-5) everywhere. Keras' own (0.01 in PyTorch's terms,
and 1e-3) move the running statistics so slowly that the evaluation of the first epochs would measure them and
not the network.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_bench.features.hog import BLOCK, CELL, CLIP, EPSILON, ORIENTATIONS
from fer_bench.models._table import Conv, Dense, Dropout, Flatten, Layer, Norm, Pool, Relu


def sequential(table: Iterable[Layer], channels: int, size: int) -> nn.Sequential:
    """The network of a table for a (N, channels, size, size) input."""
    modules: list[nn.Module] = []
    features = 0  # after a Flatten; 0 while the data is a map
    for layer in table:
        match layer:
            case Conv(filters, kernel, padding):
                pad = kernel // 2 if padding == "same" else 0
                modules.append(nn.Conv2d(channels, filters, kernel, padding=pad))
                channels, size = filters, size + 2 * pad - kernel + 1
            case Norm():
                modules.append(nn.BatchNorm1d(features) if features else nn.BatchNorm2d(channels))
            case Relu():
                modules.append(nn.ReLU(inplace=True))
            case Pool():
                modules.append(nn.MaxPool2d(2))
                size //= 2
            case Dropout(rate):
                modules.append(nn.Dropout(rate))
            case Flatten(joined):
                modules.append(nn.Flatten())
                features = channels * size * size + joined
            case Dense(units):
                modules.append(nn.Linear(features, units))
                features = units
    return nn.Sequential(*modules)


class SpatialTransformer(nn.Module):
    """Warps a map by the affine transformation that a localisation net reads from it (arXiv 1506.02025).

    Args:
        localisation: (N, channels, size, size) -> (N, 6), ending in a linear layer, which is set to answer
            the identity, so that an untrained transformer changes nothing.
    """

    def __init__(self, localisation: nn.Sequential) -> None:
        super().__init__()
        self.localisation = localisation
        self.start_as_identity()

    def start_as_identity(self) -> None:
        """Make the last layer answer the identity; `trainer.initialise` calls it again after drawing weights."""
        last = self.localisation[-1]
        assert isinstance(last, nn.Linear) and last.out_features == 6
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            last.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, size, size) -> the same shape."""
        theta = self.localisation(x).float().view(-1, 2, 3)  # half precision would move the sampling points
        grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
        return functional.grid_sample(x, grid, align_corners=False)


class Hog(nn.Module):
    """`fer_bench.features.hog.hog` as a layer, so that it sees each batch after its augmentation.

    (N, 1, size, size) -> (N, D). The values are scikit-image's (a test compares them). HOG cancels a shift
    and a scale that all pixels share, so any scalar normalisation of the input will do; a mean image won't.
    """

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """The descriptors, without a gradient: nothing before them learns."""
        image = x[:, 0].float()
        rows, columns = torch.zeros_like(image), torch.zeros_like(image)
        rows[:, 1:-1] = image[:, 2:] - image[:, :-2]
        columns[:, :, 1:-1] = image[:, :, 2:] - image[:, :, :-2]
        degrees = torch.rad2deg(torch.atan2(rows, columns)) % 180
        bins = (degrees * (ORIENTATIONS / 180)).long()
        one_hot = bins[:, None] == torch.arange(ORIENTATIONS, device=x.device)[:, None, None]
        cells = functional.avg_pool2d(one_hot * torch.hypot(rows, columns)[:, None], CELL)
        # (N, orientations, R, C, block, block) -> (N, R, C, block * block * orientations), as scikit-image
        blocks = cells.unfold(2, BLOCK, 1).unfold(3, BLOCK, 1).permute(0, 2, 3, 4, 5, 1).flatten(3)
        blocks = _unit_norm(_unit_norm(blocks).clamp(max=CLIP))
        return blocks.flatten(1)


def _unit_norm(blocks: Tensor) -> Tensor:
    return blocks / torch.sqrt(blocks.square().sum(-1, keepdim=True) + EPSILON**2)


class JoinHog(nn.Module):
    """The features of a network and the HOG of its input, side by side before the dense layers.

    Args:
        features: (N, 1, size, size) -> (N, F).
        head: (N, F + D) -> (N, classes), where D is the length of the HOG.
    """

    def __init__(self, features: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.hog = Hog()
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, size, size) -> (N, classes) logits."""
        logits: Tensor = self.head(torch.cat([self.features(x), self.hog(x)], dim=1))
        return logits
