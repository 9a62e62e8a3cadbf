"""One run: (model, recipe, protocol, seed) -> RunRecord, resumable at any instant."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import json
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch

import fer_bench
from fer_bench import data, metrics, registry, weights
from fer_bench.data import near_copies
from fer_bench.data.dataset import FaceDataset, IntArray
from fer_bench.errors import FerBenchError, UnknownNameError
from fer_bench.fit import CHECKPOINT_SECONDS, Compute, Progress, TrainingData, fit
from fer_bench.labels import LabelSet
from fer_bench.predict import Predictor
from fer_bench.protocols import Fold, Protocol, get_protocol
from fer_bench.records import (
    ANY_FLOAT,
    PROJECT_ROOT,
    CodeInfo,
    DataInfo,
    DeviceInfo,
    FoldInfo,
    NearCopyFree,
    PredictionsInfo,
    RunRecord,
    Workspace,
    arrays_digest,
    read_arrays,
    read_record,
    replacing,
    write_arrays,
    write_bytes,
    write_record,
)
from fer_bench.specs import VIEWS, ModelSpec, Recipe
from fer_bench.transforms import prepare

PACKAGES = ("torch", "timm", "numpy", "albumentations", "opencv-python-headless", "scikit-learn")


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What to run; plain values, so that it crosses process borders.

    Attributes:
        model: a registered name or "module:SPEC".
        quick: a few steps on a subset, to see that the row works; never on the board.
    """

    model: str
    recipe: str
    protocol: str
    seed: int = 0
    workspace: Workspace = field(default_factory=Workspace)
    data_dir: Path | None = None
    allow_partial: bool = False
    quick: bool = False

    @property
    def spec(self) -> ModelSpec:
        return registry.get_spec(self.model)

    @property
    def name(self) -> str:
        """How people read it."""
        return f"{self.model}.{self.recipe} on {self.protocol}, seed {self.seed}"

    def resolved_recipe(self) -> Recipe:
        """The recipe in full, cut short if the request is quick."""
        recipe = self.spec.recipe(self.recipe, get_protocol(self.protocol).dataset)
        return shortened(recipe) if self.quick else recipe

    @property
    def record_path(self) -> Path:
        return self.workspace.record_path(self.protocol, self.spec.name, self.recipe, self.seed)

    @property
    def folder(self) -> Path:
        return self.workspace.run_folder(self.protocol, self.spec.name, self.recipe, self.seed)


QUICK_STEPS = 3
QUICK_TRAIN, QUICK_TEST = 48, 32


def shortened(recipe: Recipe) -> Recipe:
    """A recipe cut to a few steps, everything else as it is."""
    import dataclasses

    return dataclasses.replace(
        recipe, epochs=None, steps=QUICK_STEPS, batch_size=min(recipe.batch_size, QUICK_TRAIN // 2)
    )


def quick_fold(fold: Fold, number: int) -> Fold:
    """A fold cut to a few images."""
    rng = np.random.default_rng(number)

    def some(indices: IntArray, n: int) -> IntArray:
        return np.sort(rng.permutation(indices)[:n])

    return Fold(some(fold.train, QUICK_TRAIN), some(fold.select, QUICK_TEST), some(fold.test, QUICK_TEST))


ProgressCallback = Callable[[int, int, Progress], None]
PhaseCallback = Callable[[str], None]


def done(request: RunRequest) -> RunRecord | None:
    """The record of a finished run: parses, complete, same recipe, protocol and model revision; else None.

    Whether the data are the same is known once they are loaded; `run` checks that.
    """
    if not request.record_path.exists():
        return None
    try:
        record = read_record(request.record_path)
        predictions = read_arrays(request.record_path.with_suffix(".npz"))
    except FerBenchError:
        return None
    same = (
        record.recipe_digest == request.resolved_recipe().digest()
        and record.model_revision == request.spec.revision
        and record.predictions.sha256 == arrays_digest(predictions)
    )
    return record if same else None


def folds_for(request: RunRequest, dataset: FaceDataset, protocol: Protocol) -> list[Fold]:
    """The protocol's folds as this run uses them."""
    folds = protocol.folds(dataset)
    if request.resolved_recipe().select == "last" and not protocol.names_select:
        folds = [fold.merged() for fold in folds]
    if request.quick:
        folds = [quick_fold(fold, number) for number, fold in enumerate(folds[:2])]
    return folds


def run(
    request: RunRequest,
    compute: Compute,
    *,
    progress: ProgressCallback | None = None,
    phase: PhaseCallback | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> RunRecord:
    """Run it, or go on with it, or return the record if it is done.

    Raises:
        FerBenchError: bad input, a diverged training, or another process at work on the same run.
    """
    say = phase or (lambda _: None)
    spec, recipe, protocol = request.spec, request.resolved_recipe(), get_protocol(request.protocol)
    request.folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(request.folder / "lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise FerBenchError(
            f"{request.name}: another process is at work on it; wait for it or stop it"
        ) from error
    with lock:
        say("reading data")
        dataset = data.load(protocol.dataset, request.data_dir, allow_partial=request.allow_partial)
        finished = done(request)
        if finished is not None and finished.data.fingerprint == dataset.fingerprint:
            _clean(request)
            return finished
        code = code_info()
        folds = folds_for(request, dataset, protocol)
        _begin(request, recipe, dataset, folds)
        outcomes = []
        for number, fold in enumerate(folds):
            outcome = _finished_fold(request.folder, number)
            if outcome is None:
                say(f"fold {number + 1} of {len(folds)}")
                outcome = _run_fold(
                    request, recipe, protocol, dataset, fold, number, compute,
                    None if progress is None else _bind(progress, number, len(folds)), checkpoint_seconds,
                )  # fmt: skip
            outcomes.append(outcome)
        say("scoring")
        record, arrays = _assemble(request, spec, recipe, protocol, dataset, compute, code, outcomes)
        write_record(request.record_path, record, arrays)
        _clean(request)
    return record


def _bind(progress: ProgressCallback, fold: int, folds: int) -> Callable[[Progress], None]:
    return lambda state: progress(fold, folds, state)


@functools.cache
def _imagenet_reachable(name: str) -> bool:
    """Whether timm's weights are in the Hub's cache or can be fetched."""
    import huggingface_hub

    repository, file = f"timm/{name}", "model.safetensors"
    if isinstance(huggingface_hub.try_to_load_from_cache(repository, file), str):
        return True
    try:
        huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(repository, file), timeout=5)
    except Exception:  # the errors of the Hub's client have no base in common over its versions
        return False
    return True


def pretrained_unavailable(spec: ModelSpec, recipe: Recipe) -> str:
    """Why a recipe's initial weights can't be had from outside, or an empty string."""
    if recipe.pretrained == "imagenet" and not _imagenet_reachable(spec.imagenet_weights):
        return f"its ImageNet weights (timm/{spec.imagenet_weights}) can't be reached on the Hub"
    return ""


def _initial_state(request: RunRequest, spec: ModelSpec, recipe: Recipe) -> dict[str, torch.Tensor] | None:
    """The weights that a transfer starts from; None for a random start."""
    if recipe.pretrained == "none":
        return None
    if recipe.pretrained == "imagenet":
        unavailable = pretrained_unavailable(spec, recipe)
        if unavailable:
            raise FerBenchError(
                f"{request.name}: {unavailable}; set HF_HOME to a cache that has them, or go online"
            )
        import timm

        return dict(timm.create_model(spec.imagenet_weights, pretrained=True).state_dict())
    source = published_path(request.workspace, spec.name, "fer_bench")
    if not source.exists():
        raise FerBenchError(
            f"{request.name} starts from {source.name}, which is not there: "
            f"run `python -m fer_bench run --model {spec.name} --protocol fer2013 --recipe fer_bench` first"
        )
    return dict(weights.load(source).network.state_dict())


def _begin(request: RunRequest, recipe: Recipe, dataset: FaceDataset, folds: list[Fold]) -> None:
    """Throw away what an earlier, different run left; keep what this run can go on from."""
    plan = json.dumps(
        {
            "recipe": recipe.digest(),
            "model_revision": request.spec.revision,
            "fingerprint": dataset.fingerprint,
            "folds": [fold.digest(dataset) for fold in folds],
        }
    ).encode()
    path = request.folder / "plan.json"
    if path.exists() and path.read_bytes() == plan:
        return
    # The plan goes first, so that what is left is never taken for its.
    path.unlink(missing_ok=True)
    for stale in request.folder.iterdir():
        if stale.name != "lock":
            stale.unlink()
    write_bytes(path, plan)


def _clean(request: RunRequest) -> None:
    """Leave of a finished run its networks, and nothing of those that were killed on the way."""
    temporary = request.record_path.parent.glob(f".{request.record_path.stem}.*")
    # Sorted, a fold's JSON goes before its arrays: if it is there, all is there.
    for leftover in sorted([*request.folder.iterdir(), *temporary]):
        if leftover.name not in ("lock", "plan.json") and leftover.suffix != ".safetensors":
            leftover.unlink()


def _finished_fold(folder: Path, number: int) -> tuple[FoldInfo, dict[str, ANY_FLOAT]] | None:
    """A fold's outcome from its files; the JSON is written last, so if it is there all is there."""
    path = folder / f"fold{number}.json"
    if not path.exists():
        return None
    return FoldInfo.model_validate_json(path.read_bytes()), read_arrays(path.with_suffix(".npz"))


def training_data(spec: ModelSpec, dataset: FaceDataset, fold: Fold) -> TrainingData:
    """A fold's images at the model's input size."""
    return TrainingData(
        train_images=prepare(dataset.images[fold.train], spec.size, spec.channels),
        train_targets=dataset.targets[fold.train],
        select_images=prepare(dataset.images[fold.select], spec.size, spec.channels),
        select_targets=dataset.targets[fold.select],
        classes=dataset.labels.classes,
    )


def _run_fold(
    request: RunRequest,
    recipe: Recipe,
    protocol: Protocol,
    dataset: FaceDataset,
    fold: Fold,
    number: int,
    compute: Compute,
    progress: Callable[[Progress], None] | None,
    checkpoint_seconds: float,
) -> tuple[FoldInfo, dict[str, ANY_FLOAT]]:
    spec = request.spec
    checkpoint = request.folder / f"checkpoint{number}.pt"
    fitted = fit(
        spec, recipe, training_data(spec, dataset, fold),
        seed=request.seed, fold=number, compute=compute, checkpoint=checkpoint, progress=progress,
        initial=_initial_state(request, spec, recipe),
        checkpoint_seconds=checkpoint_seconds,
    )  # fmt: skip
    fitted.predictor.metadata = {
        "model": request.model,
        "model_revision": spec.revision,
        "model_options": dict(recipe.model_options),
        "recipe": recipe.name,
        "protocol": protocol.name,
        "seed": request.seed,
        "fold": number,
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
    }
    network = request.folder / f"fold{number}.safetensors"
    digest = weights.save(fitted.predictor, network)
    # What is scored is what was saved: the rounding to half precision is inside every number on the board.
    predictor = weights.load(network, compute.device)
    started = time.monotonic()
    arrays: dict[str, ANY_FLOAT] = {}
    for part, indices in (("select", fold.select), ("test", fold.test)):
        images = dataset.images[indices]
        arrays[f"{part}_ids"] = dataset.ids[indices]
        arrays[f"{part}_targets"] = dataset.targets[indices].astype(np.int8)
        arrays[f"{part}_fold"] = np.full(len(indices), number, dtype=np.int8)
        for view in VIEWS:
            arrays[f"{part}_{view}"] = predictor.predict(images, view)
    info = _fold_info(
        fold,
        dataset,
        arrays,
        trained_on_select=recipe.select == "last" and not protocol.names_select,
        epoch=fitted.epoch,
        history=fitted.history,
        train_seconds=fitted.seconds,
        predict_seconds=time.monotonic() - started,
        weights_sha256=digest,
    )
    write_arrays(request.folder / f"fold{number}.npz", arrays)
    write_bytes(request.folder / f"fold{number}.threads", json.dumps(fitted.threads).encode())
    write_bytes(request.folder / f"fold{number}.json", info.model_dump_json().encode())
    checkpoint.unlink(missing_ok=True)
    return info, arrays


def _fold_info(fold: Fold, dataset: FaceDataset, arrays: dict[str, ANY_FLOAT], **trained: Any) -> FoldInfo:
    """What a fold held and how it scored; `trained` is how it was trained, where it was trained here."""
    return FoldInfo(
        digest=fold.digest(dataset),
        counts={
            part: {
                word: int(np.sum(dataset.targets[indices] == label))
                for label, word in enumerate(dataset.labels.classes)
            }
            for part, indices in fold.parts().items()
        },
        test_accuracy=float((arrays["test_plain"].argmax(axis=1) == arrays["test_targets"]).mean()),
        **trained,
    )


def _mark_clean(dataset: FaceDataset, arrays: dict[str, ANY_FLOAT]) -> None:
    """Mark the FER2013 test images that the near-copy-free column counts."""
    if dataset.name == "fer2013":
        near = near_copies.near_copy_mask(dataset)
        assert dataset.split is not None
        arrays["test_clean"] = np.isin(arrays["test_ids"], dataset.ids[dataset.split == "test"][~near])


def _data_info(dataset: FaceDataset) -> DataInfo:
    return DataInfo(
        name=dataset.name,
        fingerprint=dataset.fingerprint,
        layout=dataset.layout,
        partial=dataset.partial,
        counts=dataset.counts(),
    )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _assemble(
    request: RunRequest,
    spec: ModelSpec,
    recipe: Recipe,
    protocol: Protocol,
    dataset: FaceDataset,
    compute: Compute,
    code: CodeInfo,
    outcomes: list[tuple[FoldInfo, dict[str, ANY_FLOAT]]],
) -> tuple[RunRecord, dict[str, ANY_FLOAT]]:
    arrays = {
        name: np.concatenate([fold_arrays[name] for _, fold_arrays in outcomes]) for name in outcomes[0][1]
    }
    _mark_clean(dataset, arrays)
    parameters, multiply_adds = network_cost(spec, len(dataset.labels), dict(recipe.model_options))
    record = RunRecord(
        model=spec.name,
        model_revision=spec.revision,
        recipe_name=recipe.name,
        recipe=recipe.to_dict(),
        recipe_digest=recipe.digest(),
        protocol=protocol.name,
        seed=request.seed,
        data=_data_info(dataset),
        folds=[info for info, _ in outcomes],
        classes=list(dataset.labels.classes),
        code=code,
        device=DeviceInfo(
            type=torch.device(compute.device).type,
            name=device_name(compute),
            threads=_threads(request.folder, compute),
            precision="bfloat16 autocast" if compute.bf16 else "float32",
        ),
        finished=_now(),
        pretrained=recipe.pretrained,
        parameters=parameters,
        multiply_adds=multiply_adds,
        metrics=score_arrays(arrays),
        near_copy_free=near_copy_free(arrays),
        predictions=PredictionsInfo(
            file=request.record_path.with_suffix(".npz").name, sha256=arrays_digest(arrays)
        ),
    )
    return record, arrays


def _threads(folder: Path, compute: Compute) -> list[int]:
    used = {number for path in folder.glob("fold*.threads") for number in json.loads(path.read_bytes())}
    return sorted(used) or [compute.threads]


def score_arrays(arrays: dict[str, ANY_FLOAT]) -> dict[str, dict[str, dict[str, Any]]]:
    """Every metric of a record from its predictions alone: part -> view -> metrics."""
    return {
        part: {
            view: metrics.evaluate(
                arrays[f"{part}_targets"].astype(np.int64), arrays[f"{part}_{view}"]
            ).to_dict()
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


def network_cost(spec: ModelSpec, num_classes: int, options: dict[str, Any]) -> tuple[int, int]:
    """Parameters, and an image's multiply-adds in convolutions and matrix products, as torch counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.device("meta"), torch.no_grad():  # shapes only: nothing is drawn or computed
        network = registry.build(spec, num_classes, **options).eval()
        with counter:
            network(torch.zeros(1, spec.channels, spec.size, spec.size))
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2


def code_info() -> CodeInfo:
    """Versions of the code and of what decides numbers."""

    def git(*arguments: str) -> str:
        try:
            return subprocess.run(
                ["git", *arguments], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
            ).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return ""

    commit = git("rev-parse", "HEAD")
    return CodeInfo(
        version=fer_bench.__version__,
        commit=commit,
        dirty=bool(commit and git("status", "--porcelain", "--", "fer_bench", "requirements.txt")),
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
        python=sys.version.split()[0],
    )


def device_name(compute: Compute) -> str:
    """The processor's or GPU's own name."""
    if compute.device.startswith("cuda"):
        return torch.cuda.get_device_name(compute.device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")


def published_path(workspace: Workspace, model: str, recipe: str) -> Path:
    """Where the network of a FER2013 row is shipped."""
    return workspace.weights / f"{model}.{recipe}.safetensors"


def publish(record: RunRecord, workspace: Workspace) -> Path | None:
    """Copy a FER2013 network to `weights/` if its seed is the best of its row on `select`."""
    if record.protocol != "fer2013" or record.data.partial:
        return None
    folder = workspace.record_path(*record.row, record.seed).parent
    others = [read_record(path) for path in folder.glob("s*.json")]
    if any(other.accuracy(part="select") > record.accuracy(part="select") for other in others):
        return None
    source = workspace.run_folder(*record.row, record.seed) / "fold0.safetensors"
    target = published_path(workspace, record.model, record.recipe_name)
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
    return target


def load_published(workspace: Workspace, name: str) -> Predictor:
    """The shipped network of "model.recipe", or of "model" the recipe best on `select`.

    Raises:
        FerBenchError: no such network is shipped; the message says which are, or how to train it.
    """
    shipped = {
        path.name.removesuffix(".safetensors"): path for path in workspace.weights.glob("*.safetensors")
    }
    if name in shipped:
        return weights.load(shipped[name])
    rows = [row for row in shipped if row.rpartition(".")[0] == name]
    if rows:
        return weights.load(shipped[max(rows, key=lambda row: _published_accuracy(workspace, row))])
    if name in registry.list_models():
        raise FerBenchError(
            f"no weights of {name} are shipped: "
            f"`python -m fer_bench run --model {name} --protocol fer2013` trains it"
        )
    raise UnknownNameError("model", name, {*shipped, *registry.list_models()})


def _published_accuracy(workspace: Workspace, row: str) -> float:
    model, _, recipe = row.rpartition(".")
    records = workspace.record_path("fer2013", model, recipe, 0).parent.glob("s*.json")
    return max((read_record(path).accuracy(part="select") for path in records), default=0.0)


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
            class or one column `prediction` of class names; where the protocol has several folds also
            `fold`, from 0. Every test image of every fold must be there once.
        name: what to call the row.

    Raises:
        FerBenchError: anything else; the message names the first offender.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise FerBenchError(f"--name {name!r}: expected letters, digits, - and _ only")
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
                f"{path}: {len(absent)} test images of fold {number} are missing, first {absent[0]!r}"
            )
        arrays: dict[str, ANY_FLOAT] = {
            "test_ids": ids,
            "test_targets": dataset.targets[fold.test].astype(np.int8),
            "test_fold": np.full(len(ids), number, dtype=np.int8),
            "test_plain": np.stack([given[number, id_] for id_ in ids]).astype(np.float32),
        }
        outcomes.append((_fold_info(fold, dataset, arrays), arrays))
    known = sum(len(fold.test) for fold in folds)
    if len(given) > known:
        raise FerBenchError(f"{path}: {len(given) - known} rows are of no test image of {protocol_name}")
    arrays = {
        key: np.concatenate([fold_arrays[key] for _, fold_arrays in outcomes]) for key in outcomes[0][1]
    }
    _mark_clean(dataset, arrays)
    record = RunRecord(
        model=name,
        model_revision=1,
        recipe_name="external",
        recipe={},
        recipe_digest=weights.sha256(path)[:16],
        protocol=protocol.name,
        seed=0,
        data=_data_info(dataset),
        folds=[info for info, _ in outcomes],
        classes=list(dataset.labels.classes),
        code=code_info(),
        device=DeviceInfo(type="unknown", name="unknown", threads=[], precision="unknown"),
        finished=_now(),
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
        table = pd.read_csv(path, dtype={"id": str})
    except (OSError, ValueError) as error:
        raise FerBenchError(f"{path}: not a readable CSV ({error})") from error
    needed = ["id"] if folds == 1 else ["id", "fold"]
    for column in needed:
        if column not in table:
            raise FerBenchError(f"{path}: no column {column!r}; expected {', '.join(needed)} and the classes")
    if "prediction" in table:
        chosen = [labels.index(str(word)) for word in table["prediction"]]
        values = np.eye(len(labels))[chosen]
    else:
        absent = [word for word in labels.classes if word not in table]
        if absent:
            raise FerBenchError(
                f"{path}: no column {absent[0]!r}; expected {', '.join(labels.classes)} or `prediction`"
            )
        try:
            values = table[list(labels.classes)].to_numpy(dtype=np.float64)
        except ValueError as error:
            raise FerBenchError(f"{path}: a probability is not a number ({error})") from error
    wrong = ~np.isfinite(values).all(axis=1) | (values < 0).any(axis=1) | (abs(values.sum(axis=1) - 1) > 1e-3)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise FerBenchError(
            f"{path}: row {row + 2}: expected probabilities that sum to 1, got {values[row].tolist()}"
        )
    numbers = table["fold"] if folds > 1 else [0] * len(table)
    given: dict[tuple[int, str], ANY_FLOAT] = {}
    for row, (number, id_, probabilities) in enumerate(zip(numbers, table["id"], values, strict=True)):
        if (number, id_) in given:
            raise FerBenchError(f"{path}: row {row + 2}: {id_!r} is there twice")
        given[int(number), id_] = probabilities / probabilities.sum()
    return given
