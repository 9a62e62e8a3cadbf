"""Predictions -> the numbers of a record; nothing here trains or predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_bench import metrics
from fer_bench.data import near_copies
from fer_bench.data.dataset import FaceDataset
from fer_bench.protocols import Fold
from fer_bench.records import ANY_FLOAT, DataInfo, FoldInfo, NearCopyFree
from fer_bench.specs import VIEWS, View


def score_arrays(arrays: dict[str, ANY_FLOAT]) -> dict[str, dict[str, dict[str, Any]]]:
    """Every metric of a record from its predictions alone: part -> view -> metrics."""
    return {
        part: {
            view: metrics.evaluate(arrays[f"{part}_targets"].astype(np.int64), arrays[f"{part}_{view}"]).to_dict()
            for view in VIEWS
            if f"{part}_{view}" in arrays
        }
        for part in ("select", "test")
        if len(arrays.get(f"{part}_targets", ()))
    }


def near_copy_free(arrays: dict[str, ANY_FLOAT]) -> NearCopyFree | None:
    """The near-copy-free column from the predictions, where they mark the clean images."""
    if "test_clean" not in arrays:
        return None
    clean = arrays["test_clean"]
    targets = arrays["test_targets"][clean]
    return NearCopyFree(
        n=int(clean.sum()),
        accuracy={
            view: float((arrays[f"test_{view}"][clean].argmax(axis=1) == targets).mean())
            for view in VIEWS
            if f"test_{view}" in arrays
        },
    )


def temperatures(arrays: Mapping[str, ANY_FLOAT]) -> list[float]:
    """Each fold's temperature, fitted to its own `select`; of a network that was not trained on that."""
    folds = np.unique(arrays["test_fold"])
    own = [arrays["select_fold"] == fold for fold in folds]
    return [metrics.fit_temperature(arrays["select_targets"][mine], arrays["select_plain"][mine]) for mine in own]


def calibrated(
    arrays: Mapping[str, ANY_FLOAT], by_fold: Sequence[float], part: str = "test", view: View = "plain"
) -> npt.NDArray[np.float64]:
    """A part's probabilities in a view after each fold's temperature, (N, classes)."""
    given = arrays[f"{part}_{view}"]
    scaled = np.empty(given.shape)
    for fold, temperature in zip(np.unique(arrays["test_fold"]), by_fold, strict=True):
        own = arrays[f"{part}_fold"] == fold
        scaled[own] = metrics.tempered(given[own], temperature)
    return scaled


def mark_clean(dataset: FaceDataset, arrays: dict[str, ANY_FLOAT]) -> None:
    """Mark the FER2013 test images that the near-copy-free column counts."""
    if dataset.name == "fer2013":
        near = near_copies.near_copy_mask(dataset)
        assert dataset.split is not None
        arrays["test_clean"] = np.isin(arrays["test_ids"], dataset.ids[dataset.split == "test"][~near])


def fold_counts(fold: Fold, dataset: FaceDataset) -> dict[str, dict[str, int]]:
    """Images by part, then by class."""
    return {
        part: {
            word: int(np.sum(dataset.targets[indices] == label)) for label, word in enumerate(dataset.labels.classes)
        }
        for part, indices in fold.parts().items()
    }


def fold_info(fold: Fold, dataset: FaceDataset, arrays: dict[str, ANY_FLOAT], **trained: Any) -> FoldInfo:
    """What a fold held and how it scored; `trained` is how it was trained, where it was trained here."""
    return FoldInfo(
        digest=fold.digest(dataset),
        counts=fold_counts(fold, dataset),
        test_accuracy=float((arrays["test_plain"].argmax(axis=1) == arrays["test_targets"]).mean()),
        **trained,
    )


def data_info(dataset: FaceDataset, features: str = "") -> DataInfo:
    """What a record says of its data set; `features` as in `DataInfo`."""
    return DataInfo(
        name=dataset.name,
        fingerprint=dataset.fingerprint,
        layout=dataset.layout,
        partial=dataset.partial,
        counts=dataset.counts(),
        features=features,
    )
