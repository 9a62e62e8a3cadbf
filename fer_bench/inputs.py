"""What a model sees of a data set's pictures: whole or the face in them, scaled, or what was published of them."""

from __future__ import annotations

import functools

import numpy as np

from fer_bench import faces
from fer_bench.data import sfew
from fer_bench.data.dataset import FaceDataset, IntArray, UInt8Array
from fer_bench.errors import DataNotFoundError
from fer_bench.fit import TrainingData
from fer_bench.predict import Inputs
from fer_bench.protocols import Fold
from fer_bench.records import arrays_digest
from fer_bench.specs import Crop, Input, ModelSpec, Recipe
from fer_bench.transforms import prepare


def inputs_for(
    dataset: FaceDataset, indices: IntArray, size: int, channels: int, crop: Crop = "whole", input: Input = "pixels"
) -> Inputs:
    """What a model sees of some pictures: (N, size, size[, 3]) uint8, or (N, F) float64 features.

    Args:
        crop, input: as in `Recipe`.

    Raises:
        DataNotFoundError: the data set has no published features, or YuNet is not to be had.
    """
    if input == "published_features":
        return sfew.published_features(dataset)[indices]
    if crop == "whole":
        return prepare(dataset.images[indices], size, channels)
    seen = [prepare(_face(dataset, int(index), crop)[None], size, channels) for index in indices]
    return np.concatenate([prepare(dataset.images[:0], size, channels), *seen])


def features_digest(dataset: FaceDataset, input: Input) -> str:
    """The sha256 of the published features, where they are what a model sees, else empty.

    Raises:
        FerBenchError: as `sfew.published_features`.
    """
    if input != "published_features":
        return ""
    return arrays_digest({"features": sfew.published_features(dataset)})


# Finding the face of a film's frame takes some 50 ms, and one fold trains on it and another tests on it.
_FOUND: dict[tuple[str, str, int], faces.Face | None] = {}


def _face(dataset: FaceDataset, index: int, crop: Crop) -> UInt8Array:
    """The largest face of a picture, or all of it where none is found."""
    picture = dataset.images[index]
    key = (dataset.fingerprint, crop, index)
    if key not in _FOUND:
        _FOUND[key] = next(iter(crop_detector(crop).detect(picture)), None)
    found = _FOUND[key]
    return picture if found is None else faces.crop(picture, found)


@functools.cache
def crop_detector(crop: Crop) -> faces.Detector:
    """The face detector that a crop names.

    Raises:
        DataNotFoundError: YuNet is not to be had.
    """
    if crop == "viola_jones":
        return faces.HaarCascade("bundled with OpenCV")
    detector = faces.find_detector()
    if detector.name != faces.YuNet.name:
        raise DataNotFoundError(f"YuNet, the face detector, can't be had: the {detector.name} is {detector.note}")
    return detector


def training_data(spec: ModelSpec, dataset: FaceDataset, fold: Fold, recipe: Recipe) -> TrainingData:
    """A fold as a model sees it by a recipe."""
    how = (spec.size, spec.channels, recipe.crop, recipe.input)
    return TrainingData(
        train_images=inputs_for(dataset, fold.train, *how),
        train_targets=dataset.targets[fold.train],
        select_images=inputs_for(dataset, fold.select, *how),
        select_targets=dataset.targets[fold.select],
        classes=dataset.labels.classes,
    )
