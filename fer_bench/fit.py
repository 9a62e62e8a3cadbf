"""The only training loop: CPU and CUDA, deterministic for a seed on the CPU, resumable at any instant.

Everything random is drawn from (seed, fold, epoch, step), never from a stream that a restart would lose:
weights, shuffling, augmentation, mixup and dropout alike.
"""

from __future__ import annotations

import functools
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from fer_bench import registry
from fer_bench.data.dataset import IntArray, UInt8Array
from fer_bench.errors import FerBenchError
from fer_bench.predict import Inputs, Predictor, on_device
from fer_bench.provenance import device_name
from fer_bench.records import replacing
from fer_bench.specs import ModelSpec, Recipe, View
from fer_bench.trainer import Compute, Trainer, derived_seed, learning_rate
from fer_bench.transforms import Augmenter, Float32Array, Normaliser, views

# A checkpoint costs a write of the network and the optimiser: often enough to lose little, not after each
# short epoch.
CHECKPOINT_SECONDS = 30.0


class DivergedError(FerBenchError):
    """The loss is not a number any more: the run has failed."""


@dataclass(frozen=True)
class TrainingData:
    """One fold's images at the model's size, or features, and labels, (N,); `select_*` may be empty.

    In place of labels `train_targets` may be distributions over the classes, (N, classes) float32.
    """

    train_images: Inputs
    train_targets: IntArray | Float32Array
    select_images: Inputs
    select_targets: IntArray
    classes: tuple[str, ...]


@dataclass
class Fitted:
    """A trained predictor, its history and the epoch that it was taken from (from 1).

    The history has a row an epoch, or the rows of the network's own `fit`. `threads` and `devices` hold more than one
    number or name if a resumed run was given others.
    """

    predictor: Predictor
    history: list[dict[str, float]]
    epoch: int
    seconds: float
    threads: list[int]
    devices: list[str]


@dataclass(frozen=True)
class Progress:
    """What a progress display is told after each step."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    images_per_s: float
    seconds_left: float


ProgressCallback = Callable[[Progress], None]


class _Batches(Dataset[tuple[UInt8Array, IntArray | Float32Array]]):
    """Augmented batches by (seed, indices): a batch does not depend on the process that makes it."""

    def __init__(self, images: UInt8Array, targets: IntArray | Float32Array, augmenter: Augmenter) -> None:
        self._images, self._targets, self._augmenter = images, targets, augmenter

    def __getitem__(self, item: tuple[int, IntArray]) -> tuple[UInt8Array, IntArray | Float32Array]:
        seed, indices = item
        return self._augmenter(self._images[indices], seed), self._targets[indices]


class _Plan(Sampler[tuple[int, IntArray]]):
    """The batches of all epochs from `start` on, one stream, so that workers never drain between epochs."""

    def __init__(self, n: int, batch_size: int, epochs: int, steps: int, seed: int, fold: int, start: int) -> None:
        self._args = (n, batch_size, epochs, steps, seed, fold, start)

    def __iter__(self) -> Iterator[tuple[int, IntArray]]:
        n, batch_size, epochs, steps, seed, fold, start = self._args
        per_epoch = steps_per_epoch(n, batch_size)
        for epoch in range(start, epochs):
            order = np.random.default_rng([seed, fold, epoch]).permutation(n)
            for step in range(min(per_epoch, steps - epoch * per_epoch)):
                yield (
                    derived_seed(seed, fold, epoch, step),
                    order[step * batch_size : (step + 1) * batch_size],
                )


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Batches an epoch; the rest counts as one unless it is a single image, which batch norm can't take."""
    return max(1, n // batch_size + (n % batch_size > 1))


@dataclass(frozen=True)
class _Images:
    """What the network is given: the training images, augmented, and those of `select` as they are."""

    recipe: Recipe
    data: TrainingData
    predictor: Predictor
    trainer: Trainer

    @property
    def augmented(self) -> UInt8Array:
        """What the augmenter changes, an image each."""
        return cast(UInt8Array, self.data.train_images)

    def inputs(self, batch: UInt8Array) -> Tensor:
        """What a step takes for an augmented batch."""
        return self.predictor.tensor(batch, self.trainer.device)

    def select_probabilities(self) -> Float32Array:
        """(N, classes), of the plain view."""
        return self.predictor.predict(self.data.select_images)


class _Features(_Images):
    """The same from what the last layer is given for each image and its mirror image, computed once."""

    @property
    def augmented(self) -> UInt8Array:
        """(N, 1, 2, 4): the two pixels of an image number its features and its mirror image's, four bytes each.

        Mirrored, they change places: the left one is right, whatever the augmenter draws.
        """
        numbers = np.arange(2 * len(self.data.train_targets), dtype=np.uint32).reshape(2, -1).T
        return np.ascontiguousarray(numbers)[:, None, :, None].view(np.uint8)

    def inputs(self, batch: UInt8Array) -> Tensor:
        numbers = np.ascontiguousarray(batch[:, 0, 0]).view(np.uint32)[:, 0]
        return self._train[torch.from_numpy(numbers.astype(np.int64))]

    def select_probabilities(self) -> Float32Array:
        return self.trainer.probabilities(self._select)

    @functools.cached_property
    def _train(self) -> Tensor:
        seen: View = "flip" if self.recipe.augmentation == "flip" else "plain"
        versions = views(cast(UInt8Array, self.data.train_images), seen)
        return torch.cat([self._features(version) for version in versions])

    @functools.cached_property
    def _select(self) -> Tensor:
        return self._features(self.data.select_images, to_score=True)

    def _features(self, images: Inputs, to_score: bool = False) -> Tensor:
        starts = range(0, len(images), size := cast(int, self.recipe.batch_size))
        batches = (self.predictor.tensor(images[start : start + size], self.trainer.device) for start in starts)
        return torch.cat([self.trainer.features(batch, to_score=to_score) for batch in batches])


def _given(recipe: Recipe, data: TrainingData, predictor: Predictor, trainer: Trainer) -> _Images:
    """Features if they are the same in every epoch, else images."""
    constant = not recipe.mixup and recipe.augmentation in ("none", "flip") and trainer.body_is_constant()
    return (_Features if constant else _Images)(recipe, data, predictor, trainer)


def _evaluate(probabilities: Float32Array, targets: IntArray) -> tuple[float, float]:
    """Cross-entropy and accuracy."""
    correct = probabilities[np.arange(len(targets)), targets]
    loss = float(-np.log(np.maximum(correct, np.finfo(np.float32).tiny)).mean())
    return loss, float((probabilities.argmax(axis=1) == targets).mean())


@dataclass
class _State:
    """All that a checkpoint holds; what is not here is derived from the seed."""

    epoch: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best: dict[str, Tensor] | None = None
    threads: list[int] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)

    def used(self, compute: Compute) -> None:
        """Note where it goes on."""
        self.threads = list(dict.fromkeys([*self.threads, compute.threads]))
        self.devices = list(dict.fromkeys([*self.devices, device_name(compute)]))


def _cpu_state(network: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}


def fit(
    spec: ModelSpec,
    recipe: Recipe,
    data: TrainingData,
    *,
    seed: int,
    fold: int = 0,
    compute: Compute,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    progress: ProgressCallback | None = None,
    initial: dict[str, Tensor] | None = None,
) -> Fitted:
    """Train a model by a recipe on one fold; a recipe with an estimator takes neither checkpoints nor steps.

    Args:
        checkpoint: where to save and look for the state; a run that was killed goes on from it and ends
            with the same weights. The file is the caller's to remove.
        initial: a state to start from (transfer); all of it but the last layer is taken.

    Raises:
        DivergedError: the training loss became NaN or infinite.
        FerBenchError: a recipe that selects on `select` got a fold without one, or an estimator got images
            that it can't be fitted to.
    """
    if recipe.select == "best_epoch" and not len(data.select_targets):
        raise FerBenchError(f"{spec.name}.{recipe.name} selects on `select`, and this fold has none")
    if recipe.estimator is not None:
        return _fit_at_once(spec, recipe, recipe.estimator, data, compute, derived_seed(seed, fold), initial)
    assert recipe.batch_size is not None and recipe.optimizer is not None
    trainer = Trainer(spec, recipe, len(data.classes), seed=seed, fold=fold, compute=compute, initial=initial)
    device = trainer.device
    predictor = _predictor(spec, recipe, data, trainer.scored)
    given = _given(recipe, data, predictor, trainer)

    n = len(data.train_targets)
    per_epoch = steps_per_epoch(n, recipe.batch_size)
    steps = recipe.steps if recipe.steps is not None else cast(int, recipe.epochs) * per_epoch
    epochs = math.ceil(steps / per_epoch)

    state = _State()
    if checkpoint is not None and checkpoint.exists():
        try:
            saved = torch.load(checkpoint, map_location=device, weights_only=True)
        except Exception as error:  # torch's, pickle's and zipfile's errors alike mean: not a readable file
            problem = str(error).partition("\n")[0]
            raise FerBenchError(
                f"{checkpoint}: can't be read ({problem}); delete it to train this fold from its start"
            ) from error
        try:
            state = _State(**saved["state"])
            trainer.load_state_dict(saved)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise FerBenchError(
                f"{checkpoint}: is of another network than {spec.name}.{recipe.name} has now; "
                "delete it to train this fold from its start"
            ) from error
    state.used(compute)

    cached = isinstance(given, _Features)
    workers = compute.workers if recipe.augmentation != "none" and not cached else 0
    loader = DataLoader(
        _Batches(given.augmented, data.train_targets, Augmenter(recipe.augmentation)),
        batch_size=None,
        sampler=_Plan(n, recipe.batch_size, epochs, steps, seed, fold, state.epoch),
        num_workers=workers,
        # Linux's default, which a run in a spawned process would not have: a spawned worker imports all anew.
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
        worker_init_fn=functools.partial(_start_worker, os.getpid()),
        collate_fn=_as_is,
        pin_memory=False,
    )
    batches: Iterator[tuple[UInt8Array, IntArray | Float32Array]] = (
        iter(()) if _finished(state, recipe, epochs) else iter(loader)
    )
    last_saved = time.monotonic()
    while not _finished(state, recipe, epochs):
        started = time.monotonic()
        epoch = state.epoch
        torch.manual_seed(derived_seed(seed, fold, epoch))  # dropout
        trainer.train()
        epoch_steps = min(per_epoch, steps - epoch * per_epoch)
        total_loss = torch.zeros((), device=device)
        total_correct = torch.zeros((), device=device)
        seen = 0
        rate = 0.0
        for step in range(epoch_steps):
            images, labels = next(batches)
            rate = learning_rate(recipe.schedule, recipe.optimizer.lr, epoch * per_epoch + step, steps, epoch)
            targets = on_device(labels, device)
            loss, logits = trainer.step(given.inputs(images), targets, rate, epoch, step, per_epoch)
            total_loss += loss * len(labels)
            labelled = targets if targets.ndim == 1 else targets.argmax(dim=1)
            total_correct += (logits.argmax(dim=1) == labelled).sum()
            seen += len(labels)
            # Reading the loss waits for the device; on a GPU only now and then.
            if step % (1 if device.type == "cpu" else 20) == 0 or step == epoch_steps - 1:
                mean_loss = float(total_loss) / seen
                if not math.isfinite(mean_loss):
                    raise DivergedError(
                        f"{spec.name}.{recipe.name} diverged: the loss is {mean_loss} "
                        f"in epoch {epoch + 1}, step {step + 1}"
                    )
                if progress is not None:
                    elapsed = max(time.monotonic() - started, 1e-9)
                    left = (steps - epoch * per_epoch - step - 1) * elapsed / (step + 1)
                    progress(
                        Progress(
                            epoch + 1, epochs, step + 1, epoch_steps, mean_loss,
                            float(total_correct) / seen, seen / elapsed, left,
                        )
                    )  # fmt: skip
        trained = time.monotonic() - started
        trainer.network.eval()
        row = {
            "epoch": epoch + 1,
            "lr": rate,
            "train_loss": float(total_loss) / seen,
            "train_accuracy": float(total_correct) / seen,
        }
        if not cached:  # else it says nothing of how long another run of this network takes
            row["images_per_s"] = seen / trained
        if len(data.select_targets):
            row["select_loss"], row["select_accuracy"] = _evaluate(given.select_probabilities(), data.select_targets)
        if recipe.select == "best_epoch" and (
            state.best is None or row["select_accuracy"] > state.history[state.best_epoch - 1]["select_accuracy"]
        ):
            state.best_epoch, state.best = epoch + 1, _cpu_state(predictor.network)
        row["seconds"] = time.monotonic() - started
        state.seconds += row["seconds"]
        state.history.append(row)
        state.epoch = epoch + 1
        over = _finished(state, recipe, epochs)
        if checkpoint is not None and (over or time.monotonic() - last_saved >= checkpoint_seconds):
            with replacing(checkpoint) as temporary:
                torch.save({"state": vars(state), **trainer.state_dict()}, temporary)
            last_saved = time.monotonic()

    if state.best is not None:
        predictor.network.load_state_dict(state.best)
    predictor.network.eval()
    return Fitted(
        predictor, state.history, state.best_epoch or state.epoch, state.seconds, state.threads, state.devices
    )


def _predictor(spec: ModelSpec, recipe: Recipe, data: TrainingData, network: nn.Module) -> Predictor:
    return Predictor(
        network=network,
        classes=data.classes,
        size=spec.size,
        channels=spec.channels,
        crop=recipe.crop,
        input=recipe.input,
        normaliser=Normaliser.fitted(recipe.normalisation, _pixels(data)),
    )


def _pixels(data: TrainingData) -> UInt8Array:
    """The training images; of features, which have no pixels to be normalised by, one black one."""
    images = data.train_images
    return np.zeros((1, 1, 1), dtype=np.uint8) if images.ndim == 2 else cast(UInt8Array, images)


def _fit_at_once(
    spec: ModelSpec,
    recipe: Recipe,
    estimator: Mapping[str, Any],
    data: TrainingData,
    compute: Compute,
    seed: int,
    initial: dict[str, Tensor] | None,
) -> Fitted:
    """What the network's own `fit` makes of it, on the processor; the history is its own, or has one row."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    torch.set_num_threads(compute.threads)
    torch.manual_seed(seed)
    network = registry.build(spec, len(data.classes), **recipe.model_options).eval()
    if initial is not None:
        cast(Any, network).start_from(initial)
    predictor = _predictor(spec, recipe, data, network)
    started = time.monotonic()
    images = predictor.tensor(data.train_images, torch.device("cpu"))
    try:
        with threadpool_limits(compute.threads):  # NumPy's and SciPy's own
            history = cast(Any, network).fit(images, torch.from_numpy(data.train_targets), **estimator)
    except ValueError as error:  # scikit-learn's words for images that it can't be fitted to
        raise FerBenchError(f"{spec.name}.{recipe.name} can't be fitted to these images: {error}") from error
    history = history or [{"epoch": 1.0}]
    row = history[-1]
    if len(data.select_targets):
        probabilities = predictor.predict(data.select_images)
        row["select_loss"], row["select_accuracy"] = _evaluate(probabilities, data.select_targets)
    seconds = (time.monotonic() - started) / len(history)  # it was timed as a whole
    for row in history:
        row["seconds"] = seconds
    return Fitted(
        predictor, history, int(row["epoch"]), sum(row["seconds"] for row in history),
        [compute.threads], [device_name(compute)],
    )  # fmt: skip


def _as_is(batch: Any) -> Any:
    return batch


def _start_worker(parent: int, _worker: int) -> None:
    """What a worker does first."""
    end_with(parent)
    if hasattr(os, "nice"):
        os.nice(10)  # it is batches ahead: it should fill the gaps of the training threads, not delay one of them


def end_with(parent: int) -> None:
    """End this process soon after its parent: it would wait for ever, or go on unseen and hold the run's lock."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _finished(state: _State, recipe: Recipe, epochs: int) -> bool:
    if state.epoch >= epochs:
        return True
    return recipe.patience is not None and state.epoch - state.best_epoch >= recipe.patience
