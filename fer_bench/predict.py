"""Predictor: the one object that turns pixels into probabilities, in a run, in the app and in a shell."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from fer_bench.data.dataset import UInt8Array
from fer_bench.specs import View
from fer_bench.transforms import Float32Array, Normaliser, prepare, views


def to_input(images: UInt8Array, normaliser: Normaliser, device: torch.device) -> Tensor:
    """(N, S, S[, 3]) uint8 -> (N, C, S, S) float32, normalised, channels last in memory."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device, non_blocking=True)
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    mean = torch.from_numpy(normaliser.mean).to(device)
    std = torch.from_numpy(normaliser.std).to(device)
    scaled = (pixels.to(torch.float32) / 255 - mean) / std
    return scaled.contiguous(memory_format=torch.channels_last)


@dataclass
class Predictor:
    """A trained network with all that is needed to use it.

    Attributes:
        network: in evaluation mode, (N, C, size, size) float32 -> (N, classes) logits.
        classes: the class names, in the order of the probabilities.
        size, channels, normaliser, crop: how a picture becomes the network's input.
        metadata: where it comes from: model, recipe, protocol, seed and so on, as stored with the weights.
    """

    network: nn.Module
    classes: tuple[str, ...]
    size: int
    channels: int
    normaliser: Normaliser
    crop: Literal["whole", "face"] = "whole"
    metadata: dict[str, Any] = field(default_factory=dict)

    def predict(self, images: UInt8Array, view: View = "plain", batch_size: int = 256) -> Float32Array:
        """Class probabilities, in float32 arithmetic whatever the training's precision was.

        Args:
            images: (N, H, W) uint8 gray or (N, H, W, 3) uint8 RGB, any size.
            view: plain, flip (mean over the image and its mirror) or ten_crop.

        Returns:
            (N, classes) float32; rows sum to one.
        """
        device = next(iter(self.network.state_dict().values())).device
        batches = []
        with torch.inference_mode():
            for start in range(0, len(images), batch_size):
                batch = prepare(images[start : start + batch_size], self.size, self.channels)
                total: Tensor | None = None
                count = 0
                for version in views(batch, view):
                    logits = self.network(to_input(version, self.normaliser, device))
                    probabilities = torch.softmax(logits.float(), dim=1)
                    total = probabilities if total is None else total + probabilities
                    count += 1
                assert total is not None
                batches.append((total / count).cpu().numpy())
        if not batches:
            return np.empty((0, len(self.classes)), dtype=np.float32)
        return np.concatenate(batches)
