"""One run: (model, recipe, protocol, seed) -> RunRecord, resumable at any instant."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import filelock
import numpy as np
import numpy.typing as npt
import torch

from fer_bench import data, faces, registry, weights
from fer_bench.data.dataset import FaceDataset, IntArray
from fer_bench.errors import DataNotFoundError, FerBenchError
from fer_bench.fit import CHECKPOINT_SECONDS, Progress, fit
from fer_bench.inputs import crop_detector, features_digest, inputs_for, training_data
from fer_bench.protocols import Fold, Protocol, get_protocol
from fer_bench.provenance import code_info, device_name, network_cost, now
from fer_bench.records import (
    ANY_FLOAT,
    THEN,
    CodeInfo,
    DeviceInfo,
    FoldInfo,
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
from fer_bench.replay import WARM_UP
from fer_bench.scoring import data_info, fold_info, mark_clean, near_copy_free, score_arrays
from fer_bench.specs import ModelSpec, Recipe
from fer_bench.trainer import Compute


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
    def row(self) -> tuple[str, str, str]:
        """As `RunRecord.row`."""
        return (self.protocol, self.spec.name, self.recipe)

    @property
    def sources(self) -> tuple[tuple[str, str, str], ...]:
        """The rows whose networks it starts from or learns from."""
        recipe = self.resolved_recipe()
        starts = [self.spec.source or (self.spec.name, "fer_bench")] if recipe.pretrained == "fer2013" else []
        teachers = [teacher.split(".") for teacher in recipe.teachers]
        return tuple(("fer2013", model, name) for model, name in (*starts, *teachers))

    @property
    def name(self) -> str:
        """How people read it."""
        return f"{self.model}.{self.recipe} on {self.protocol}, seed {self.seed}"

    def resolved_recipe(self) -> Recipe:
        """The recipe in full, cut short if the request is quick."""
        recipe = self.spec.recipe(self.recipe, get_protocol(self.protocol).dataset)
        return shortened(recipe) if self.quick else recipe

    @property
    def place(self) -> Workspace:
        """Where it writes: the workspace, or a folder in it that is apart from the board if it is quick."""
        return Workspace(self.workspace.root / "quick") if self.quick else self.workspace

    @property
    def record_path(self) -> Path:
        return self.place.record_path(self.protocol, self.spec.name, self.recipe, self.seed)

    @property
    def folder(self) -> Path:
        return self.place.run_folder(self.protocol, self.spec.name, self.recipe, self.seed)


QUICK_STEPS = WARM_UP + 1  # on a GPU the last one is replayed
QUICK_TRAIN, QUICK_TEST = 32, 14


def shortened(recipe: Recipe) -> Recipe:
    """A recipe cut to a few steps, everything else as it is; an estimator is quick where images are few."""
    if recipe.batch_size is None:
        return recipe
    return replace(recipe, epochs=None, steps=QUICK_STEPS, batch_size=min(recipe.batch_size, QUICK_TRAIN // 2))


def quick_fold(fold: Fold, number: int) -> Fold:
    """A fold cut to a few images."""
    rng = np.random.default_rng(number)

    def some(indices: IntArray, n: int) -> IntArray:
        return np.sort(rng.permutation(indices)[:n])

    return Fold(some(fold.train, QUICK_TRAIN), some(fold.select, QUICK_TEST), some(fold.test, QUICK_TEST))


ProgressCallback = Callable[[int, int, Progress], None]
PhaseCallback = Callable[[str], None]


def done(request: RunRequest, dataset: FaceDataset) -> RunRecord | None:
    """The record of a finished run: parses, complete, same recipe, model revision, data and folds; else None.

    The networks that it started from or learned from must be those that are here now, if all are, and the
    published features that it read those that are at hand, if any are.
    """
    if not request.record_path.exists():
        return None
    try:
        record = read_record(request.record_path)
        predictions = read_arrays(request.record_path.with_suffix(".npz"))
    except FerBenchError:
        return None
    folds = folds_for(request, dataset, get_protocol(request.protocol))
    same = (
        record.recipe_digest == request.resolved_recipe().digest()
        and record.data.fingerprint == dataset.fingerprint
        and [fold.digest for fold in record.folds] == [fold.digest(dataset) for fold in folds]
        and record.model_revision == request.spec.revision
        and record.predictions.sha256 == arrays_digest(predictions)
        and _source_digest(request) in ("", record.pretrained_sha256)
        and _features_at_hand(request, dataset) in ("", record.data.features)
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
    if recipe.estimator is not None:
        compute = replace(compute, device="cpu", bf16=False)  # where scikit-learn works; the record says so
    request.folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = filelock.FileLock(request.folder / "lock").acquire(timeout=0)
    except filelock.Timeout as error:
        raise FerBenchError(f"{request.name}: another process is at work on it; wait for it or stop it") from error
    with lock:
        say("reading data")
        dataset = data.load(protocol.dataset, request.data_dir, allow_partial=request.allow_partial, progress=phase)
        finished = done(request, dataset)
        if finished is not None:
            _clean(request)
            return finished
        code = code_info()
        folds = folds_for(request, dataset, protocol)
        if unavailable := pretrained_unavailable(spec, recipe):
            raise FerBenchError(f"{request.name}: {unavailable}; go online, or bring the Hub's cache (HF_HOME)")
        if missing_sources(request):
            raise FerBenchError(f"{request.name} {how_to_get(request)}")
        source, initial = _source_digest(request), _initial_state(request, spec, recipe)
        features = features_digest(dataset, recipe.input)
        _begin(request, recipe, dataset, folds, source, features)
        outcomes = []
        for number, fold in enumerate(folds):
            outcome = _finished_fold(request.folder, number)
            if outcome is None:
                say(f"fold {number + 1} of {len(folds)}")
                outcome = _run_fold(
                    request, recipe, protocol, dataset, fold, number, compute, initial,
                    None if progress is None else _bind(progress, number, len(folds)), checkpoint_seconds, say,
                )  # fmt: skip
            outcomes.append(outcome)
        say("scoring")
        record, arrays = _assemble(request, spec, recipe, protocol, dataset, compute, code, source, features, outcomes)
        write_record(request.record_path, record, arrays)
        _clean(request)
    return record


def _bind(progress: ProgressCallback, fold: int, folds: int) -> Callable[[Progress], None]:
    return lambda state: progress(fold, folds, state)


_TIMM_FILE = "model.safetensors"


def _imagenet_cached(name: str) -> bool:
    """Whether timm's weights are in the Hub's cache."""
    import huggingface_hub

    return isinstance(huggingface_hub.try_to_load_from_cache(f"timm/{name}", _TIMM_FILE), str)


@functools.cache
def _imagenet_reachable(name: str) -> bool:
    """Whether timm's weights can be fetched."""
    import huggingface_hub

    try:
        huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(f"timm/{name}", _TIMM_FILE), timeout=5)
    except Exception:  # the errors of the Hub's client have no base in common over its versions
        return False
    return True


def pretrained_unavailable(spec: ModelSpec, recipe: Recipe, *, fetch: bool = True) -> str:
    """Why a recipe's initial weights or its face detector can't be had from outside, or an empty string.

    Without `fetch` nobody asks the network, and what is not here can't be had.
    """
    if recipe.pretrained == "imagenet" and not _imagenet_cached(spec.imagenet_weights):
        name = f"its ImageNet weights (timm/{spec.imagenet_weights})"
        if not fetch:
            return f"{name} are not here and would be fetched from the Hub"
        if not _imagenet_reachable(spec.imagenet_weights):
            return f"{name} can't be reached on the Hub"
    if recipe.crop == "yunet" and not faces.yunet_here():
        if not fetch:
            return "YuNet, its face detector, is not here and would be fetched from the Hub"
        try:
            crop_detector("yunet")
        except DataNotFoundError as error:
            return str(error)
    return ""


def _source_paths(request: RunRequest) -> list[Path]:
    return [weights.row_path(request.place, model, recipe) for _, model, recipe in request.sources]


def _source_digest(request: RunRequest) -> str:
    """The sha256 of the network that it needs, or of all their sums; empty if it needs or has none."""
    paths = _source_paths(request)
    if not paths or not all(path.exists() for path in paths):
        return ""
    sums = [weights.sha256(path) for path in paths]
    return sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest()


def missing_sources(request: RunRequest) -> list[tuple[str, str, str]]:
    """The rows whose networks it needs and that are not here."""
    return [row for row, path in zip(request.sources, _source_paths(request), strict=True) if not path.exists()]


def how_to_get(request: RunRequest) -> str:
    """What makes or fetches the first network that it needs and that is not here."""
    protocol, model, recipe = missing_sources(request)[0]
    run = (
        f"`python -m fer_bench run --model {model} --protocol {protocol} --recipe {recipe}"
        f"{' --quick' if request.quick else ''}`"
    )
    folder = request.place.record_path(protocol, model, recipe, 0).parent
    how = f"{weights.FETCH}; {run} makes it anew once {folder} is deleted" if folder.exists() else f"run {run} first"
    return f"needs {model}.{recipe}.safetensors, which is not there: {how}"


def _initial_state(request: RunRequest, spec: ModelSpec, recipe: Recipe) -> dict[str, torch.Tensor] | None:
    """The weights that a transfer starts from; None for a random start."""
    if recipe.pretrained == "none":
        return None
    if recipe.pretrained == "imagenet":
        import timm

        return dict(timm.create_model(spec.imagenet_weights, pretrained=True).state_dict())
    return dict(weights.load(_source_paths(request)[0]).network.state_dict())


def _taught(
    request: RunRequest, recipe: Recipe, dataset: FaceDataset, fold: Fold, number: int, compute: Compute
) -> IntArray | npt.NDArray[np.float32]:
    """The labels of a fold's training images, (N,); with teachers the distributions to learn, (N, classes) float32."""
    targets = dataset.targets[fold.train]
    if not recipe.teachers:
        return targets
    path = request.folder / f"teachers{number}.npy"  # a run that goes on does not ask them again
    if not path.exists():
        teachers = _source_paths(request)[-len(recipe.teachers) :]
        torch.set_num_threads(compute.threads)
        answers = [weights.load(teacher, compute.device).predict(dataset.images[fold.train]) for teacher in teachers]
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, np.mean(answers, axis=0, dtype=np.float32))
    labels = np.eye(len(dataset.labels), dtype=np.float32)[targets]
    taught: npt.NDArray[np.float32] = np.load(path)
    return (1 - recipe.taught) * labels + recipe.taught * taught


def _begin(
    request: RunRequest, recipe: Recipe, dataset: FaceDataset, folds: list[Fold], source: str, features: str
) -> None:
    """Throw away what an earlier, different run left; keep what this run can go on from."""
    plan = json.dumps(
        {
            "recipe": recipe.digest(),
            "model_revision": request.spec.revision,
            "fingerprint": dataset.fingerprint,
            "folds": [fold.digest(dataset) for fold in folds],
            **({"source": source} if source else {}),
            **({"features": features} if features else {}),
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
    try:
        return FoldInfo.model_validate_json(path.read_bytes()), read_arrays(path.with_suffix(".npz"))
    except (FileNotFoundError, ValueError, FerBenchError):  # not there yet, or damaged: it is trained again
        return None


def _features_at_hand(request: RunRequest, dataset: FaceDataset) -> str:
    """As `features_digest`; empty as well where there are no features that can be read."""
    with contextlib.suppress(FerBenchError):
        return features_digest(dataset, request.resolved_recipe().input)
    return ""


def _run_fold(
    request: RunRequest,
    recipe: Recipe,
    protocol: Protocol,
    dataset: FaceDataset,
    fold: Fold,
    number: int,
    compute: Compute,
    initial: dict[str, torch.Tensor] | None,
    progress: Callable[[Progress], None] | None,
    checkpoint_seconds: float,
    say: PhaseCallback,
) -> tuple[FoldInfo, dict[str, ANY_FLOAT]]:
    spec = request.spec
    checkpoint = request.folder / f"checkpoint{number}.pt"
    seen = training_data(spec, dataset, fold, recipe)
    if recipe.teachers:
        say("asking the teachers")
    seen = replace(seen, train_targets=_taught(request, recipe, dataset, fold, number, compute))
    fitted = fit(
        spec, recipe, seen,
        seed=request.seed, fold=number, compute=compute, checkpoint=checkpoint, progress=progress,
        initial=initial,
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
        images = inputs_for(dataset, indices, spec.size, spec.channels, recipe.crop, recipe.input)
        arrays[f"{part}_ids"] = dataset.ids[indices]
        arrays[f"{part}_targets"] = dataset.targets[indices].astype(np.int8)
        arrays[f"{part}_fold"] = np.full(len(indices), number, dtype=np.int8)
        for view in predictor.views:
            arrays[f"{part}_{view}"] = predictor.predict(images, view)
    info = fold_info(
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
    write_bytes(request.folder / f"fold{number}.device", json.dumps([fitted.threads, fitted.devices]).encode())
    write_bytes(request.folder / f"fold{number}.json", info.model_dump_json().encode())
    checkpoint.unlink(missing_ok=True)
    return info, arrays


def _assemble(
    request: RunRequest,
    spec: ModelSpec,
    recipe: Recipe,
    protocol: Protocol,
    dataset: FaceDataset,
    compute: Compute,
    code: CodeInfo,
    source: str,
    features: str,
    outcomes: list[tuple[FoldInfo, dict[str, ANY_FLOAT]]],
) -> tuple[RunRecord, dict[str, ANY_FLOAT]]:
    arrays = {name: np.concatenate([fold_arrays[name] for _, fold_arrays in outcomes]) for name in outcomes[0][1]}
    mark_clean(dataset, arrays)
    parameters, multiply_adds = network_cost(spec, len(dataset.labels), dict(recipe.model_options))
    threads, devices = _used(request.folder, compute)
    record = RunRecord(
        model=spec.name,
        model_revision=spec.revision,
        recipe_name=recipe.name,
        recipe=recipe.to_dict(),
        recipe_digest=recipe.digest(),
        protocol=protocol.name,
        seed=request.seed,
        data=data_info(dataset, features),
        folds=[info for info, _ in outcomes],
        classes=list(dataset.labels.classes),
        code=code,
        device=DeviceInfo(
            type=torch.device(compute.device).type,
            name=THEN.join(devices),
            threads=threads,
            precision=compute.precision,
        ),
        finished=now(),
        pretrained=recipe.pretrained,
        pretrained_sha256=source,
        parameters=parameters,
        multiply_adds=multiply_adds,
        metrics=score_arrays(arrays),
        near_copy_free=near_copy_free(arrays),
        predictions=PredictionsInfo(file=request.record_path.with_suffix(".npz").name, sha256=arrays_digest(arrays)),
    )
    return record, arrays


def _used(folder: Path, compute: Compute) -> tuple[list[int], list[str]]:
    """The numbers of threads and the devices that the folds were trained with, each once."""
    files = [json.loads(path.read_bytes()) for path in sorted(folder.glob("fold*.device"))]
    used = zip(*(files or [([compute.threads], [device_name(compute)])]), strict=True)
    threads, devices = (dict.fromkeys(itertools.chain.from_iterable(lists)) for lists in used)
    return sorted(threads), list(devices)
