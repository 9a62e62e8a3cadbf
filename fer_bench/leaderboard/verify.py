"""Recompute what the records say, from the stored predictions, the data sets and the shipped weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_bench import registry
from fer_bench.errors import DataNotFoundError, FerBenchError
from fer_bench.leaderboard.board import manifest, manifest_path, render
from fer_bench.leaderboard.rows import seeded, superseded
from fer_bench.protocols import get_protocol
from fer_bench.records import (
    ANY_FLOAT,
    RunRecord,
    Workspace,
    arrays_digest,
    list_records,
    read_arrays,
    read_record,
)
from fer_bench.specs import recipe_digest

if TYPE_CHECKING:
    from fer_bench.data.dataset import FaceDataset
    from fer_bench.predict import Predictor

PARTS = ("select", "test")
# Sums in another order differ in the last bits.
TOLERANCE = 1e-9
# Another processor, or a GPU, rounds differently; more than this is another network.
ACCURACY_TOLERANCE = 0.001

# What reading a record's arrays comes to where they are not a run's.
LAID_OUT_OTHERWISE = (KeyError, IndexError, ValueError, TypeError)

Arrays = dict[str, ANY_FLOAT]
Entries = dict[str, dict[str, Any]]


@dataclass
class VerifyResult:
    """What was found about one file.

    Attributes:
        path: a record or a file derived from the records.
        failures: one line for each difference; empty if all is well.
        notes: what was checked, and what could not be.
        unlabelled: of a record, that no data set at hand could tell whether its images and labels are the right ones.
    """

    path: Path
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unlabelled: bool = False

    @property
    def ok(self) -> bool:
        return not self.failures

    @property
    def messages(self) -> list[str]:
        return self.failures + self.notes


def verify(
    workspace: Workspace,
    *,
    with_weights: bool = False,
    data_dir: Path | None = None,
    report: Callable[[VerifyResult], None] = lambda _: None,
) -> list[VerifyResult]:
    """Check every record, then that the board is what the records make of it.

    Args:
        workspace: where the records are.
        with_weights: predict again with the networks in `weights/` and, of protocols that ship none, in `runs/`.
        data_dir: where to look for the data sets first.
        report: called with each result as soon as it is there: with the weights, all take minutes.

    Returns:
        One result a record and one a file of the board. A data set or a network that is not at hand is a
        note; any difference is a failure.

    Raises:
        FerBenchError: `data_dir` is not there, empty or broken.
    """
    from fer_bench import data

    if data_dir is not None:
        data.found(data_dir)
    dataset_of = cache(partial(_dataset, data_dir=data_dir))
    results: list[VerifyResult] = []
    twins: dict[tuple[object, ...], Path] = {}
    for path in list_records(workspace):
        result = VerifyResult(path)
        try:
            record, arrays = read_record(path), read_arrays(path.with_suffix(".npz"))
            _check_numbers(record, arrays, result)
            _check_description(record, arrays, path, result)
            if record.model in registry.list_models() and seeded(record):
                twin = twins.setdefault((*record.row, record.predictions.sha256), path)
                if twin != path:
                    result.failures.append(f"has the very predictions of {twin.name}: two seeds never agree like this")
            dataset = _same_data(record, dataset_of(record.data.name))
            if isinstance(dataset, str):
                result.unlabelled = True
                result.notes.append(f"labels checked against the stored copy only: {dataset}")
            else:
                _check_labels(record, arrays, dataset, result)
            if record.members:
                _check_ensemble(workspace, record, result)
            if with_weights and record.trained:
                _check_weights(workspace, record, arrays, dataset, result)
        except FerBenchError as error:
            result.failures.append(str(error))
        except LAID_OUT_OTHERWISE as error:
            result.failures.append(f"record or predictions are not laid out as a run's: {error!r}")
        report(result)
        results.append(result)
    for result in _check_board(workspace, with_weights):
        report(result)
        results.append(result)
    return results


def verify_weights(
    workspace: Workspace, names: Sequence[str] = (), *, data_dir: Path | None = None
) -> Iterator[VerifyResult]:
    """Check shipped networks: that the manifest lists them, their size, their records, and what they predict.

    Args:
        workspace: where they are.
        names: "model" or "model.recipe"; none is all of them, and the manifest as a whole.
        data_dir: where to look for the data sets first.

    Yields:
        One result a file, as soon as it is there.

    Raises:
        FerBenchError: no such network is shipped, a record or the manifest can't be read, or the data set that a
            network was tested on is not at hand.
    """
    from fer_bench import weights

    rows = [weights.published_name(workspace, name) for name in names]
    path = manifest_path(workspace)
    listed, computed = _entries(path.read_bytes() if path.exists() else b"[]"), _entries(manifest(workspace))
    dataset_of = cache(partial(_dataset, data_dir=data_dir))
    if not names:
        rows = [file.removesuffix(".safetensors") for file in computed]
        yield _check_manifest(path, listed, computed)
    for row in dict.fromkeys(rows):
        yield _check_file(workspace, row, listed, computed, dataset_of)


def _entries(content: bytes) -> Entries:
    """The manifest's entries by the names of their files."""
    try:
        return {entry["file"]: dict(entry) for entry in json.loads(content)}
    except (ValueError, TypeError, KeyError) as error:
        raise FerBenchError(
            "weights/manifest.json is not a readable manifest: `python -m fer_bench leaderboard build` makes it anew"
        ) from error


def _check_manifest(path: Path, listed: Entries, computed: Entries) -> VerifyResult:
    """It lists nothing that is not there, and all is not too much; that it lists a file is checked with the file."""
    from fer_bench import weights

    size = sum(entry["bytes"] for entry in computed.values())
    result = VerifyResult(path, notes=[f"{len(computed)} networks, {size / 1e6:.1f} MB"])
    result.failures += [f"lists {file}, which is not there" for file in listed if file not in computed]
    if size > weights.LARGEST_SUM:
        result.failures.append(f"all networks are {size:,} bytes; expected at most {weights.LARGEST_SUM:,}")
    return result


def _check_file(
    workspace: Workspace,
    row: str,
    listed: Entries,
    computed: Entries,
    dataset_of: Callable[[str], FaceDataset | str],
) -> VerifyResult:
    """One shipped network."""
    from fer_bench import weights

    result = VerifyResult(workspace.weights / f"{row}.safetensors")
    entry = computed[result.path.name]
    if result.path.name not in listed:
        result.failures.append("manifest.json does not list it: build the leaderboard again")
    else:
        result.failures += differences("manifest.json", listed[result.path.name], entry)
    if entry["bytes"] > weights.LARGEST_FILE:
        result.failures.append(f"{entry['bytes']:,} bytes; expected at most {weights.LARGEST_FILE:,}")
    if entry["record"] is None:
        result.failures.append("no record is of this network: its sha256 is in none")
        return result
    path = workspace.root / entry["record"]
    record = read_record(path)
    if record.row != ("fer2013", *row.rsplit(".", 1)):
        result.failures.append(f"is the network of {entry['record']}")
        return result
    if (best := weights.better_seed(record, workspace)) is not None:
        result.failures.append(f"is the network of seed {record.seed}, but seed {best} is better on select")
    dataset = _same_data(record, dataset_of(record.data.name))
    if isinstance(dataset, str):
        raise FerBenchError(f"{row} can't predict again: {dataset} (see `python -m fer_bench data status`)")
    try:
        _check_predictions(
            [weights.load(result.path, trusted=True)], record, read_arrays(path.with_suffix(".npz")), dataset, result
        )
    except DataNotFoundError:
        raise
    except FerBenchError as error:
        result.failures.append(str(error))
    except LAID_OUT_OTHERWISE as error:
        result.failures.append(f"its predictions are not laid out as a run's: {error!r}")
    return result


def _check_numbers(record: RunRecord, arrays: Arrays, result: VerifyResult) -> None:
    """Every number that follows from the predictions alone."""
    from fer_bench.scoring import near_copy_free, score_arrays

    if record.predictions.sha256 != arrays_digest(arrays):
        result.failures.append("the predictions are not those of the record: their sha256 differs")
    clean, recorded = near_copy_free(arrays), record.near_copy_free
    result.failures += differences("metrics", record.metrics, score_arrays(arrays))
    result.failures += differences("near_copy_free", recorded and recorded.model_dump(), clean and clean.model_dump())
    result.failures += differences("folds", len(record.folds), len(np.unique(arrays["test_fold"])))
    for number, fold in enumerate(record.folds):
        tested = arrays["test_fold"] == number
        right = arrays["test_plain"][tested].argmax(axis=1) == arrays["test_targets"][tested]
        result.failures += differences(f"folds.{number}.test_accuracy", fold.test_accuracy, float(right.mean()))
        for part in PARTS:
            if record.external and part == "select":
                continue  # what was predicted elsewhere need not have it
            targets = arrays[f"{part}_targets"][arrays[f"{part}_fold"] == number]
            counts = np.bincount(targets, minlength=len(record.classes)).tolist()
            result.failures += differences(
                f"folds.{number}.counts.{part}",
                fold.counts[part],
                dict(zip(record.classes, counts, strict=True)),
            )
    if result.ok:
        result.notes.append("every number recomputed from the predictions")


def _check_description(record: RunRecord, arrays: Arrays, path: Path, result: VerifyResult) -> None:
    """What the record says twice, and what the registered model says of its network."""
    from fer_bench.provenance import network_cost

    file, dataset = path.with_suffix(".npz").name, get_protocol(record.protocol).dataset
    result.failures += differences("predictions.file", record.predictions.file, file)
    result.failures += differences("data.name", record.data.name, dataset)
    result.failures += differences("external or an ensemble", not record.trained, not record.recipe)
    if not record.trained:
        return
    recipe = record.recipe
    result.failures += differences("recipe_digest", record.recipe_digest, recipe_digest(recipe))
    result.failures += differences("recipe_name", record.recipe_name, recipe["name"])
    result.failures += differences("pretrained", record.pretrained, recipe["pretrained"])
    reads_features = recipe.get("input") == "published_features"
    result.failures += differences("data.features stated", bool(record.data.features), reads_features)
    for number, fold in enumerate(record.folds):
        last = fold.history[-1]
        kept = max(fold.history, key=lambda row: row["select_accuracy"]) if recipe["select"] == "best_epoch" else last
        seconds = sum(row["seconds"] for row in fold.history)
        result.failures += differences(f"folds.{number}.epoch", fold.epoch, int(kept["epoch"]))
        result.failures += differences(f"folds.{number}.train_seconds", fold.train_seconds, seconds)
        mine = arrays["select_fold"] == number
        if mine.any() and "select_accuracy" in kept:
            # While it trained the network was not yet rounded to half precision, which may turn an answer.
            right = arrays["select_plain"][mine].argmax(axis=1) == arrays["select_targets"][mine]
            change = float(right.mean()) - kept["select_accuracy"]
            if abs(change) > ACCURACY_TOLERANCE + 1 / len(right):
                result.failures.append(
                    f"folds.{number}: the stored predictions on select are {100 * change:+.2f} points off those of "
                    f"epoch {fold.epoch}, whose network should have made them"
                )
    if record.model not in registry.list_models():
        result.notes.append(f"parameters and multiply-adds not recomputed: {record.model} is not registered here")
        return
    spec = registry.get_spec(record.model)
    if record.model_revision != spec.revision:
        result.notes.append(f"made with revision {record.model_revision} of the model, which is at {spec.revision}")
        return
    if superseded(record):
        result.notes.append(f"made by another {record.recipe_name} than the model has now")
    cost = network_cost(spec, len(record.classes), recipe["model_options"])
    result.failures += differences("parameters, multiply_adds", (record.parameters, record.multiply_adds), cost)


def _check_ensemble(workspace: Workspace, record: RunRecord, result: VerifyResult) -> None:
    """Choose and average again: all but the time and the code must come out the same."""
    from fer_bench import ensemble

    own = {"code", "finished"}
    again, _ = ensemble.compute(workspace, record.protocol)
    different = differences("ensemble", record.model_dump(exclude=own), again.model_dump(exclude=own))
    if different:
        result.failures.append(
            f"the runs there are make another one ({different[0]}): "
            f"`python -m fer_bench ensemble --protocol {record.protocol}` makes it anew"
        )
    else:
        result.notes.append(f"chosen again, the mean of the same {len(record.members)} runs")


def differences(name: str, recorded: Any, computed: Any) -> list[str]:
    """One line for each plain value that differs, by its dotted name; floats may differ by `TOLERANCE`."""
    if isinstance(recorded, Mapping) and isinstance(computed, Mapping):
        keys = dict.fromkeys([*recorded, *computed])
        return [line for key in keys for line in differences(f"{name}.{key}", recorded.get(key), computed.get(key))]
    if isinstance(recorded, list | tuple) and isinstance(computed, list | tuple) and len(recorded) == len(computed):
        return [
            line
            for number, pair in enumerate(zip(recorded, computed, strict=True))
            for line in differences(f"{name}.{number}", *pair)
        ]
    if isinstance(recorded, float) and isinstance(computed, float):
        same = abs(recorded - computed) <= TOLERANCE
    else:
        same = recorded == computed
    return [] if same else [f"{name}: recorded {recorded}, computed {computed}"]


def _dataset(name: str, data_dir: Path | None) -> FaceDataset | str:
    """The data set, whole or partial, if it is on this machine, else why it is not."""
    from fer_bench import data

    here = {status.name: status.found for status in data.status(data_dir)}
    if not here.get(name, False):
        return f"{name} is not at hand"
    try:
        return data.load(name, data_dir, allow_partial=True)
    except FerBenchError as error:
        return f"{name} can't be read ({error})"


def _same_data(record: RunRecord, found: FaceDataset | str) -> FaceDataset | str:
    """The data set if it is the one that the record met, else why it is not.

    Published features are compared where they are at hand.
    """
    from fer_bench.inputs import features_digest

    if isinstance(found, str):
        return found
    if found.fingerprint != record.data.fingerprint:
        return (
            f"{record.data.name} at hand is another copy or layout ({found.layout}; the run had {record.data.layout})"
        )
    if record.data.features:
        try:
            features = features_digest(found, "published_features")
        except DataNotFoundError:
            return found
        except FerBenchError as error:
            return str(error)
        if features != record.data.features:
            return f"the published features of {record.data.name} at hand are others than the run's"
    return found


def _check_labels(record: RunRecord, arrays: Arrays, dataset: FaceDataset, result: VerifyResult) -> None:
    """The folds, which images were predicted, and their labels, from the data set itself."""
    from fer_bench.data import near_copies
    from fer_bench.scoring import fold_counts

    before = len(result.failures)
    result.failures += differences("classes", record.classes, list(dataset.labels.classes))
    result.failures += differences("data.counts", record.data.counts, dataset.counts())
    result.failures += differences("data.partial", record.data.partial, dataset.partial)
    folds = get_protocol(record.protocol).folds(dataset)
    # As in the run: a recipe that selects nothing also trains on a `select` that the data set does not name.
    if all(fold.trained_on_select for fold in record.folds):
        folds = [fold.merged() for fold in folds]
    result.failures += differences(
        "fold digests", [fold.digest for fold in record.folds], [fold.digest(dataset) for fold in folds]
    )
    for number, (recorded, fold) in enumerate(zip(record.folds, folds, strict=False)):
        result.failures += differences(f"folds.{number}.counts", recorded.counts, fold_counts(fold, dataset))
    for part in PARTS:
        if record.external and part == "select":
            continue
        expected = sorted(
            (number, str(dataset.ids[index]), int(dataset.targets[index]))
            for number, fold in enumerate(folds)
            for index in fold.parts()[part]
        )
        stored = sorted(
            (int(number), str(id_), int(target))
            for number, id_, target in zip(
                arrays[f"{part}_fold"], arrays[f"{part}_ids"], arrays[f"{part}_targets"], strict=True
            )
        )
        if stored != expected:
            first = min(set(stored).symmetric_difference(expected), default="a repeated one")
            result.failures.append(
                f"{part}: images or labels are not the protocol's ({len(stored)} stored, {len(expected)} "
                f"expected; the first that differs, as fold, id, label: {first})"
            )
    if dataset.name == "fer2013":
        near = near_copies.near_copy_mask(dataset)
        clean_ids = dataset.ids[dataset.split == "test"][~near]
        wrong_marks = int(np.sum(arrays["test_clean"] != np.isin(arrays["test_ids"], clean_ids)))
        if wrong_marks:
            result.failures.append(f"test_clean: {wrong_marks} images are marked otherwise than the pixels say")
    if len(result.failures) == before:
        result.notes.append("folds and labels equal the data set's")


def _check_weights(
    workspace: Workspace, record: RunRecord, arrays: Arrays, dataset: FaceDataset | str, result: VerifyResult
) -> None:
    """Predict again with this run's networks, if they are at hand."""
    from fer_bench import weights

    networks = [path for fold in range(len(record.folds)) if (path := _network(workspace, record, fold)) is not None]
    if len(networks) < len(record.folds):
        result.notes.append("no weights of this run here")
        return
    name = f"{record.model}.{record.recipe_name}"
    if isinstance(dataset, str):
        result.notes.append(f"{name} not run: {dataset}")
        return
    try:
        _check_predictions([weights.load(path, trusted=True) for path in networks], record, arrays, dataset, result)
    except DataNotFoundError as error:
        result.notes.append(f"{name} not run: {error}")


def _check_predictions(
    predictors: Sequence[Predictor], record: RunRecord, arrays: Arrays, dataset: FaceDataset, result: VerifyResult
) -> None:
    """Predict again with the folds' networks, and compare the accuracy of each part and view with the record's."""
    name = f"{record.model}.{record.recipe_name}"
    again = _predicted_again(predictors, arrays, dataset)
    largest, switched = 0.0, 0
    for key, predicted in again.items():
        part, _, view = key.partition("_")
        stored = arrays[key]
        largest = max(largest, float(np.abs(stored - predicted).max()))
        switched += int(np.sum(stored.argmax(axis=1) != predicted.argmax(axis=1)))
        accuracy = float((predicted.argmax(axis=1) == arrays[f"{part}_targets"]).mean())
        change = accuracy - record.accuracy(view, part)
        if abs(change) > ACCURACY_TOLERANCE:
            result.failures.append(f"{name}: {part} {view} accuracy is {100 * change:+.2f} points off the record's")
    result.notes.append(
        f"{name} gives the same probabilities, bit for bit"
        if all(np.array_equal(arrays[key], predicted) for key, predicted in again.items())
        else f"{name} predicted again: {switched} classes differ, probabilities by at most {largest:.1e}"
    )


def _network(workspace: Workspace, record: RunRecord, fold: int) -> Path | None:
    """The file of a fold's network: the shipped one, or the one that the run left."""
    from fer_bench import weights

    paths = [workspace.run_folder(*record.row, record.seed) / f"fold{fold}.safetensors"]
    if record.protocol == "fer2013":
        paths.insert(0, weights.published_path(workspace, record.model, record.recipe_name))
    return next((path for path in paths if weights.scored_by(record, fold, path)), None)


def _predicted_again(predictors: Sequence[Predictor], arrays: Arrays, dataset: FaceDataset) -> Arrays:
    """The arrays of each part and view that the folds' networks predict."""
    from fer_bench.inputs import inputs_for

    place = {str(id_): index for index, id_ in enumerate(dataset.ids)}
    again = {}
    for part in PARTS:
        if not len(arrays[f"{part}_ids"]):
            continue
        for view in predictors[0].views:
            again[f"{part}_{view}"] = np.empty_like(arrays[f"{part}_{view}"])
        for fold, predictor in enumerate(predictors):
            own = arrays[f"{part}_fold"] == fold
            indices = np.array([place[str(id_)] for id_ in arrays[f"{part}_ids"][own]], dtype=np.int64)
            seen = inputs_for(dataset, indices, predictor.size, predictor.channels, predictor.crop, predictor.input)
            for view in predictor.views:
                again[f"{part}_{view}"][own] = predictor.predict(seen, view)
    return again


def _check_board(workspace: Workspace, with_weights: bool) -> list[VerifyResult]:
    """The CSV, the page and the README are what `build` would write, the manifest what lies beside it."""
    try:
        _, files = render(workspace)
        shipped = _entries(manifest(workspace))
    except FerBenchError as error:
        return [VerifyResult(workspace.leaderboard / "leaderboard.csv", [f"can't be built: {error}"])]
    results = []
    for path, content in files.items():
        same = path.exists() and path.read_bytes() == content
        failures = [] if same else ["is not what the records say: build the leaderboard again"]
        results.append(VerifyResult(path, failures, ["equals what the records say"] if same else []))
    return [*results, *_check_listing(workspace, shipped, with_weights)]


def _check_listing(workspace: Workspace, shipped: Entries, with_weights: bool) -> list[VerifyResult]:
    """The manifest says of each network that is here what is true; that all are here, and scored, the weights ask."""
    path = manifest_path(workspace)
    if not (path.exists() or shipped):
        return []
    listed = _entries(path.read_bytes()) if path.exists() else {}
    result = VerifyResult(path)
    result.failures += [f"{file} is not as listed" for file, entry in shipped.items() if listed.get(file) != entry]
    missing = [f"{file} is not here" for file in listed if file not in shipped]
    missing += [f"no record is of {file}: its sha256 is in none" for file, e in shipped.items() if e["record"] is None]
    (result.failures if with_weights else result.notes).extend(missing)
    result.notes.append("build the leaderboard again" if result.failures else f"{len(shipped)} networks as listed")
    return [result]
