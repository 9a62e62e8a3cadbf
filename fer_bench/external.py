"""Predictions made elsewhere, scored as a row marked external."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fer_bench import data, registry
from fer_bench.data.archive import located
from fer_bench.errors import FerBenchError
from fer_bench.labels import LabelSet
from fer_bench.protocols import get_protocol
from fer_bench.provenance import code_info, now
from fer_bench.records import (
    ANY_FLOAT,
    DeviceInfo,
    PredictionsInfo,
    RunRecord,
    Workspace,
    arrays_digest,
    write_record,
)
from fer_bench.scoring import data_info, fold_info, mark_clean, near_copy_free, score_arrays
from fer_bench.specs import check_name
from fer_bench.weights import sha256


def score_external(
    path: Path,
    name: str,
    protocol_name: str,
    workspace: Workspace,
    *,
    data_dir: Path | None = None,
    allow_partial: bool = False,
) -> RunRecord:
    """Score predictions made elsewhere as a row marked external.

    Args:
        path: a CSV with a column `id` (as the data set names its images), and a probability column for each
            class or one column `prediction` of class names (with both the probabilities count, and must agree);
            where the protocol has several folds also `fold`, from 0. Every test image of every fold must be there
            once.
        name: what to call the row.

    Raises:
        FerBenchError: anything else; the message names the first offender.
    """
    check_name("--name", name)
    if name in registry.list_models():
        raise FerBenchError(f"--name {name}: a model of the benchmark is called that; choose another name")
    protocol = get_protocol(protocol_name)
    dataset = data.load(protocol.dataset, data_dir, allow_partial=allow_partial)
    folds = protocol.folds(dataset)
    given = _read_predictions(path, dataset.labels, len(folds))
    outcomes = []
    for number, fold in enumerate(folds):
        ids = dataset.ids[fold.test]
        absent = [id_ for id_ in ids if (number, id_) not in given]
        if absent:
            raise FerBenchError(
                f"{path}: {len(absent)} test images of fold {number} are missing, first {str(absent[0])!r}"
            )
        arrays: dict[str, ANY_FLOAT] = {
            "test_ids": ids,
            "test_targets": dataset.targets[fold.test].astype(np.int8),
            "test_fold": np.full(len(ids), number, dtype=np.int8),
            "test_plain": np.stack([given[number, id_] for id_ in ids]).astype(np.float32),
        }
        outcomes.append((fold_info(fold, dataset, arrays), arrays))
    known = sum(len(fold.test) for fold in folds)
    if len(given) > known:
        raise FerBenchError(f"{path}: {len(given) - known} rows are of no test image of {protocol_name}")
    arrays = {key: np.concatenate([fold_arrays[key] for _, fold_arrays in outcomes]) for key in outcomes[0][1]}
    mark_clean(dataset, arrays)
    record = RunRecord(
        model=name,
        model_revision=1,
        recipe_name="external",
        recipe={},
        recipe_digest=sha256(path)[:16],
        protocol=protocol.name,
        seed=0,
        data=data_info(dataset),
        folds=[info for info, _ in outcomes],
        classes=list(dataset.labels.classes),
        code=code_info(),
        device=DeviceInfo(type="unknown", name="unknown", threads=[], precision="unknown"),
        finished=now(),
        pretrained="unknown",
        parameters=0,
        multiply_adds=0,
        metrics=score_arrays(arrays),
        near_copy_free=near_copy_free(arrays),
        predictions=PredictionsInfo(file="s0.npz", sha256=arrays_digest(arrays)),
        external=True,
    )
    write_record(workspace.record_path(protocol.name, name, "external", 0), record, arrays)
    return record


def _read_predictions(path: Path, labels: LabelSet, folds: int) -> dict[tuple[int, str], ANY_FLOAT]:
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype={"id": str, "fold": str}, compression=None)
    except (OSError, ValueError) as error:
        raise FerBenchError(f"{path}: not a readable CSV ({error})") from error
    needed = ["id"] if folds == 1 else ["id", "fold"]
    for column in needed:
        if column not in table:
            raise FerBenchError(f"{path}: no column {column!r}; expected {', '.join(needed)} and the classes")
    chosen = []
    for row, word in enumerate(table.get("prediction", ()), start=2):
        with located(f"{path}: row {row}"):
            chosen.append(labels.index(str(word)))
    absent = [word for word in labels.classes if word not in table]
    if absent and "prediction" not in table:
        raise FerBenchError(f"{path}: no column {absent[0]!r}; expected {', '.join(labels.classes)} or `prediction`")
    if absent:
        values = np.eye(len(labels))[chosen]
    else:
        try:
            values = table[list(labels.classes)].to_numpy(dtype=np.float64)
        except (OverflowError, ValueError) as error:
            raise FerBenchError(f"{path}: a probability is not a number ({error})") from error
    wrong = ~np.isfinite(values).all(axis=1) | (values < 0).any(axis=1) | (abs(values.sum(axis=1) - 1) > 1e-3)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise FerBenchError(f"{path}: row {row + 2}: expected probabilities that sum to 1, got {values[row].tolist()}")
    for row, label in enumerate(chosen):
        if values[row, label] < values[row].max():
            raise FerBenchError(
                f"{path}: row {row + 2}: the prediction is {labels.classes[label]!r}, but the highest probability "
                f"is that of {labels.classes[int(values[row].argmax())]!r}; leave one of the two out"
            )
    numbers = table["fold"] if folds > 1 else ["0"] * len(table)
    known = {str(number): number for number in range(folds)}
    given: dict[tuple[int, str], ANY_FLOAT] = {}
    for row, (number, id_, probabilities) in enumerate(zip(numbers, table["id"], values, strict=True), start=2):
        if number not in known:
            raise FerBenchError(f"{path}: row {row}: expected a fold from 0 to {folds - 1}, got {number}")
        if (known[number], id_) in given:
            raise FerBenchError(f"{path}: row {row}: {id_!r} is there twice")
        given[known[number], id_] = probabilities / probabilities.sum()
    return given
