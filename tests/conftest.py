"""What the tests share: fabricated records, and the rule for tests that need the real data sets."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

from fer_bench.data.dataset import FaceDataset
from fer_bench.labels import get_labels
from fer_bench.protocols import get_protocol
from fer_bench.records import RunRecord, Workspace
from fer_bench.registry import get_spec, list_models
from fer_bench.specs import recipe_digest

# albumentations asks the network for a newer version otherwise, when a test imports it.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

# A busy machine is no failure; how long an example takes is not what these tests are about.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get("FER_BENCH_DATA"):
        skip = pytest.mark.skip(reason="needs the real data sets: set FER_BENCH_DATA to their folder")
        for item in items:
            if "data" in item.keywords:
                item.add_marker(skip)


@pytest.fixture
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data set but the test's own can be found; the Hub's client is not left to try again and again."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("FER_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FER_BENCH_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def fake_dataset(protocol: str) -> FaceDataset:
    """420 images of noise with the splits and groups that a protocol needs."""
    name = get_protocol(protocol).dataset
    labels = get_labels("fer2013" if name == "synthetic" else name)
    n = 420
    targets = np.arange(n) % len(labels)
    groups = {word: np.array([f"{word}{i // 7 % 30:02d}" for i in range(n)]) for word in ("subject", "movie")}
    # Whole subjects a part, as `synthetic` promises.
    parts = np.array(["train", "train", "select", "test"])[np.arange(n) // 7 % 30 % 4]
    return FaceDataset(
        name=name,
        labels=labels,
        images=np.random.default_rng(0).integers(0, 256, (n, 48, 48), dtype=np.uint8),
        targets=targets,
        ids=np.array([f"image{i:03d}" for i in range(n)]),
        fingerprint=f"fingerprint of {name}",
        layout="fabricated",
        source="a test",
        groups=groups,
        split=parts if name in ("fer2013", "synthetic") else None,
    )


def _probabilities(rng: np.random.Generator, targets: Any, classes: int, accuracy: float) -> Any:
    """(N, classes) float32 of which the given share, rounded, is right."""
    right = rng.permutation(len(targets)) < round(accuracy * len(targets))
    chosen = np.where(right, targets, (targets + rng.integers(1, classes, len(targets))) % classes)
    scores = rng.random((len(targets), classes)) + 2 * np.eye(classes)[chosen]
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


@cache
def _cost(model: str, classes: int) -> tuple[int, int]:
    from fer_bench.provenance import network_cost

    return network_cost(get_spec(model), classes, {})


MakeRecord = Callable[..., RunRecord]


@pytest.fixture
def make_record() -> MakeRecord:
    """make_record(workspace, model, recipe, protocol, seed, accuracy, **fields) writes a run.

    Its folds are the protocol's on `fake_dataset`, its predictions random with the given accuracy in each
    part and view, its numbers computed by `scoring`. `fields` replace fields of the record.
    """
    from fer_bench.data.near_copies import near_copies
    from fer_bench.records import arrays_digest, write_record
    from fer_bench.scoring import near_copy_free, score_arrays
    from fer_bench.specs import VIEWS

    def make(
        workspace: Workspace,
        model: str = "lin_shi",
        recipe: str = "paper",
        protocol: str = "fer2013",
        seed: int = 0,
        accuracy: float = 0.6,
        **fields: Any,
    ) -> RunRecord:
        dataset = fake_dataset(protocol)
        classes = dataset.labels.classes
        rng = np.random.default_rng([seed, *f"{model}.{recipe}".encode()])
        parts: list[dict[str, Any]] = []
        folds: list[dict[str, Any]] = []
        for number, fold in enumerate(get_protocol(protocol).folds(dataset)):
            arrays: dict[str, Any] = {}
            for part, indices in (("select", fold.select), ("test", fold.test)):
                arrays[f"{part}_ids"] = dataset.ids[indices]
                arrays[f"{part}_targets"] = dataset.targets[indices].astype(np.int8)
                arrays[f"{part}_fold"] = np.full(len(indices), number, dtype=np.int8)
                for view in VIEWS:
                    arrays[f"{part}_{view}"] = _probabilities(rng, dataset.targets[indices], len(classes), accuracy)
            parts.append(arrays)
            right = {
                part: arrays[f"{part}_plain"].argmax(1) == arrays[f"{part}_targets"] for part in ("select", "test")
            }
            selected = float(right["select"].mean()) if len(fold.select) else 0.5
            counts = {
                part: {word: int((dataset.targets[rows] == label).sum()) for label, word in enumerate(classes)}
                for part, rows in fold.parts().items()
            }
            folds.append(
                {
                    "digest": fold.digest(dataset),
                    "counts": counts,
                    "trained_on_select": False,
                    "epoch": 3,
                    "history": [{"epoch": 3, "seconds": 90.0, "select_accuracy": selected}],
                    "train_seconds": 90.0,
                    "predict_seconds": 1.0,
                    "test_accuracy": float(right["test"].mean()),
                    "weights_sha256": f"{model}.{recipe}.{protocol}.{seed}.{number}",
                }
            )
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if dataset.name == "fer2013":
            assert dataset.split is not None
            test, train = (dataset.images[dataset.split == part] for part in ("test", "train"))
            arrays["test_clean"] = ~near_copies(test, train)
        path = workspace.record_path(protocol, model, recipe, seed)
        values: dict[str, Any] = {
            "name": recipe,
            "epochs": 3,
            "select": "best_epoch",
            "pretrained": "none",
            "model_options": {},
        }
        if fields.get("external"):
            values = {}
        parameters, multiply_adds = _cost(model, len(classes)) if model in list_models() else (1_234_567, 30_000_000)
        record = RunRecord.model_validate(
            {
                "model": model,
                "model_revision": 1,
                "recipe_name": recipe,
                "recipe": values,
                "recipe_digest": recipe_digest(values),
                "protocol": protocol,
                "seed": seed,
                "data": {
                    "name": dataset.name,
                    "fingerprint": dataset.fingerprint,
                    "layout": dataset.layout,
                    "partial": False,
                    "counts": dataset.counts(),
                },
                "folds": folds,
                "classes": list(classes),
                "code": {
                    "version": "0",
                    "commit": "c" * 40,
                    "dirty": False,
                    "packages": {},
                    "python": "3.11",
                },
                "device": {"type": "cpu", "name": "A processor", "threads": [1], "precision": "float32"},
                "finished": f"2026-01-01T00:00:{seed:02d}+00:00",
                "pretrained": "none",
                "parameters": parameters,
                "multiply_adds": multiply_adds,
                "metrics": score_arrays(arrays),
                "near_copy_free": near_copy_free(arrays),
                "predictions": {"file": path.with_suffix(".npz").name, "sha256": arrays_digest(arrays)},
                **fields,
            }
        )
        write_record(path, record, arrays)
        return record

    return make


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return Workspace(tmp_path)
