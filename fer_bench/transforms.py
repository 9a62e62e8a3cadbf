"""Named augmentations (albumentations), normalisation, and test-time views.

Augmentations work on uint8 images before normalisation; views and normalisation on what a network is fed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_bench.data.dataset import UInt8Array
from fer_bench.specs import Augmentation, Normalisation, View

Float32Array = npt.NDArray[np.float32]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Ten crops of 11/12 of a side (44 of 48 pixels), enlarged back: dense layers fix a net's input size.
CROP_FRACTION = 11 / 12


class Augmenter:
    """Applies one of the named augmentations to a batch; the same seed gives the same batch.

    none; flip: horizontal mirror; flip_shift: mirror and shifts up to 10% (Ranjan, section 4.3.1);
    modern: mirror, scale 0.85-1.15, shift 10%, rotation 12 degrees, brightness and contrast, erasing;
    modern_light: mirror and smaller shifts and rotations, for a short budget; strong: mirror, scale 0.8-1.2, shift
    15%, rotation 15 degrees, more brightness and contrast, and erasing every other time, for a long one.
    """

    def __init__(self, name: Augmentation) -> None:
        # Must be set before the import: albumentations asks the network for a newer version otherwise.
        os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
        import albumentations as A
        import cv2

        from fer_bench.affine import ImageAffine

        cv2.setNumThreads(0)  # images are small: cv2's threads would only fight with torch's
        edge = cv2.BORDER_REPLICATE
        steps = {
            "none": [],
            "flip": [A.HorizontalFlip(p=0.5)],
            "flip_shift": [
                A.HorizontalFlip(p=0.5),
                ImageAffine(translate_percent=(-0.1, 0.1), border_mode=edge, p=1.0),
            ],
            "modern_light": [
                A.HorizontalFlip(p=0.5),
                ImageAffine(scale=(0.9, 1.1), translate_percent=(-0.06, 0.06), rotate=(-8, 8), border_mode=edge, p=0.8),
                A.Erasing(scale=(0.02, 0.12), p=0.2),
            ],
            "modern": [
                A.HorizontalFlip(p=0.5),
                ImageAffine(
                    scale=(0.85, 1.15),
                    translate_percent=(-0.1, 0.1),
                    rotate=(-12, 12),
                    border_mode=edge,
                    p=0.9,
                ),
                A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.5),
                A.Erasing(scale=(0.02, 0.15), p=0.3),
            ],
            "strong": [
                A.HorizontalFlip(p=0.5),
                ImageAffine(
                    scale=(0.8, 1.2),
                    translate_percent=(-0.15, 0.15),
                    rotate=(-15, 15),
                    border_mode=edge,
                    p=0.95,
                ),
                A.RandomBrightnessContrast(brightness_limit=0.3, contrast_limit=0.3, p=0.6),
                A.Erasing(scale=(0.02, 0.25), p=0.5),
            ],
        }[name]
        self._compose = A.Compose(steps) if steps else None

    def __call__(self, images: UInt8Array, seed: int) -> UInt8Array:
        """(N, H, W[, 3]) uint8 -> the same shape, augmented."""
        if self._compose is None:
            return images
        self._compose.set_random_seed(seed)
        return np.stack([self._compose(image=image)["image"] for image in images])


def prepare(images: UInt8Array, size: int, channels: int) -> UInt8Array:
    """Resize to (N, size, size) gray or (N, size, size, 3) RGB uint8: what augmentation and networks work on.

    Gray is Rec. 709 luminosity (0.213 R + 0.715 G + 0.072 B, paper 004, section 3).
    """
    import cv2

    shape = (len(images), size, size) if channels == 1 else (len(images), size, size, 3)
    if images.shape == shape:
        return images
    prepared = np.empty(shape, dtype=np.uint8)
    for index, image in enumerate(images):
        if image.ndim == 3 and channels == 1:
            image = np.rint(image @ np.array([0.213, 0.715, 0.072], dtype=np.float32)).astype(np.uint8)
        elif image.ndim == 2 and channels == 3:
            image = np.repeat(image[:, :, None], 3, axis=2)
        if image.shape[:2] != (size, size):
            shrinks = image.shape[0] > size
            image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        prepared[index] = image
    return prepared


@dataclass(frozen=True)
class Normaliser:
    """x -> (x / 255 - mean) / std, with mean and std as (C, 1, 1) or (C, H, W) float32."""

    mean: Float32Array
    std: Float32Array

    @classmethod
    def fitted(cls, kind: Normalisation, images: UInt8Array) -> Normaliser:
        """The normaliser of that kind; what depends on data is computed from `images`, the training part."""
        channels = 1 if images.ndim == 3 else images.shape[3]
        zeros = np.zeros((channels, 1, 1), dtype=np.float32)
        if kind == "unit":
            return cls(zeros, zeros + 1)
        if kind == "half":
            return cls(zeros + 0.5, zeros + 0.5)
        if kind == "imagenet":
            pick = slice(channels)
            return cls(
                np.array(IMAGENET_MEAN[pick], dtype=np.float32).reshape(-1, 1, 1),
                np.array(IMAGENET_STD[pick], dtype=np.float32).reshape(-1, 1, 1),
            )
        stacked = images.reshape(*images.shape[:3], channels)
        if kind == "mean_image":
            mean_image = stacked.mean(axis=0, dtype=np.float64).transpose(2, 0, 1) / 255
            return cls(mean_image.astype(np.float32), zeros + 1)
        # Exact and without a float copy of the training set: moments from the histogram of each channel.
        values = np.arange(256) / 255
        histograms = np.stack(
            [np.bincount(stacked[..., channel].ravel(), minlength=256) for channel in range(channels)]
        )
        weights = histograms / histograms.sum(axis=1, keepdims=True)
        mean = weights @ values
        std = np.sqrt(np.maximum(weights @ values**2 - mean**2, 1e-6))
        return cls(mean.astype(np.float32).reshape(-1, 1, 1), std.astype(np.float32).reshape(-1, 1, 1))


def views(images: UInt8Array, view: View) -> Iterator[UInt8Array]:
    """The versions of a batch of (N, S, S[, 3]) images whose probabilities are averaged."""
    if view == "plain":
        yield images
        return
    mirrored = np.ascontiguousarray(images[:, :, ::-1])
    if view == "flip":
        yield from (images, mirrored)
        return
    import cv2

    size = images.shape[1]
    crop = round(size * CROP_FRACTION)
    far, middle = size - crop, (size - crop) // 2
    for source in (images, mirrored):
        for top, left in ((0, 0), (0, far), (far, 0), (far, far), (middle, middle)):
            cut = source[:, top : top + crop, left : left + crop]
            yield np.stack([cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR) for image in cut]).astype(
                np.uint8, copy=False
            )
