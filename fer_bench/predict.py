"""Predictor: the one object that turns pixels into probabilities, in a run, in the app and in a shell."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fer_bench.data.dataset import UInt8Array
from fer_bench.errors import FerBenchError
from fer_bench.specs import VIEWS, Crop, Input, View
from fer_bench.transforms import Float32Array, Normaliser, prepare, views

# (N, H, W[, 3]) uint8 images or (N, F) float64 features.
Inputs = UInt8Array | npt.NDArray[np.float64]


def on_device(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """An array as a tensor there; on a GPU without waiting for what it has still to do."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def float32() -> AbstractContextManager[None]:
    """Convolutions in float32 on a GPU too, and not in its shorter TF32: what counts is the same everywhere."""
    exact: AbstractContextManager[None] = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    return exact


@dataclass
class Predictor:
    """A trained network with all that is needed to use it.

    Attributes:
        network: in evaluation mode, (N, C, size, size) float32 -> (N, classes) logits.
        classes: the class names, in the order of the probabilities.
        size, channels, normaliser, crop, input: how a picture becomes the network's input.
        temperature: what the logits are divided by, so that the probabilities are as good as their word; a run
            predicts with 1, and its board row says what one fitted on `select` changes.
        metadata: where it comes from: model, recipe, protocol, seed and so on, as stored with the weights.
    """

    network: nn.Module
    classes: tuple[str, ...]
    size: int
    channels: int
    normaliser: Normaliser
    crop: Crop = "whole"
    input: Input = "pixels"
    temperature: float = 1.0
    metadata: dict[str, Any] = field(default_factory=dict)
    _on: dict[torch.device, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False)

    @property
    def views(self) -> tuple[View, ...]:
        """What `predict` can average over: features have no mirror image and no crops."""
        return VIEWS if self.input == "pixels" else ("plain",)

    @property
    def sees_faces(self) -> bool:
        """Whether it was trained on faces, not on whole scenes; a picture of the other data sets is a face."""
        return self.crop != "whole" or self.metadata.get("dataset") != "sfew"

    def tensor(self, batch: Inputs, device: torch.device) -> Tensor:
        """The network's input.

        Args:
            batch: (N, size, size[, 3]) uint8 images at its size, or the features that it takes, (N, F).

        Returns:
            (N, C, size, size) float32, normalised, channels last in memory; or (N, F) float32.
        """
        given = on_device(batch, device)
        if self.input != "pixels":
            return given.to(torch.float32)
        pixels = given[:, None] if given.ndim == 3 else given.permute(0, 3, 1, 2)
        mean, std = self._moments(device)
        return ((pixels.to(torch.float32) / 255 - mean) / std).contiguous(memory_format=torch.channels_last)

    def _moments(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The normaliser's mean and deviation, kept where they are needed for every batch."""
        if device not in self._on:
            normaliser = self.normaliser
            self._on[device] = (
                torch.from_numpy(normaliser.mean).to(device),
                torch.from_numpy(normaliser.std).to(device),
            )
        return self._on[device]

    def predict(self, images: Inputs, view: View = "plain", batch_size: int = 256) -> Float32Array:
        """Class probabilities, in float32 arithmetic whatever the training's precision was.

        Args:
            images: (N, H, W) uint8 gray or (N, H, W, 3) uint8 RGB, any size; or the features that it takes, (N, F).
            view: plain, flip (mean over the image and its mirror) or ten_crop; one of `views`.

        Returns:
            (N, classes) float32; rows sum to one.

        Raises:
            FerBenchError: images for a network that takes features, or the other way round.
        """
        if (images.ndim == 2) != (self.input == "published_features"):
            taken = "pictures" if self.input == "pixels" else "SFEW's published features, not pictures"
            raise FerBenchError(f"this network takes {taken}; got an array of shape {images.shape}")
        device = next(iter(self.network.state_dict().values())).device
        batches = []
        with torch.inference_mode(), float32():
            for start in range(0, len(images), batch_size):
                total: Tensor | None = None
                count = 0
                for version in self._versions(images[start : start + batch_size], view):
                    logits = self.network(self.tensor(version, device))
                    probabilities = torch.softmax(logits.float() / self.temperature, dim=1)
                    total = probabilities if total is None else total + probabilities
                    count += 1
                assert total is not None
                batches.append((total / count).cpu().numpy())
        if not batches:
            return np.empty((0, len(self.classes)), dtype=np.float32)
        return np.concatenate(batches)

    def _versions(self, batch: Inputs, view: View) -> Iterable[Inputs]:
        """What the probabilities of a view are averaged over."""
        if self.input == "pixels":
            return views(prepare(cast(UInt8Array, batch), self.size, self.channels), view)
        assert view in self.views
        return (batch,)
