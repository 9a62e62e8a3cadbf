"""Hyperparameters as the papers chose theirs: a random search, scored on `select` or by cross-validation.

Lin & Shi drew Adam's rate, its betas "and other hyperparameters" at random; the report on attentional networks
cross-validated. Neither names ranges: those of `space` are ours. Optuna draws and stores the trials, so that a
search goes on where it was stopped. A trial is handed training and selection images of a protocol's first fold
only, never its test part; where other folds test what the first one trains on, the recipe that is written says so.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import filelock
import numpy as np

from fer_bench import bench, data
from fer_bench.data.dataset import FaceDataset
from fer_bench.errors import FerBenchError
from fer_bench.fit import DivergedError, TrainingData, fit
from fer_bench.inputs import features_digest, training_data
from fer_bench.protocols import SPLIT_SEED, Fold, Protocol, get_protocol
from fer_bench.provenance import network_cost
from fer_bench.records import write_bytes
from fer_bench.specs import ModelSpec, Recipe
from fer_bench.trainer import Compute, derived_seed

if TYPE_CHECKING:
    import optuna
    from rich.table import Table

FIRST_LINE = '"""Made by `python -m fer_bench tune`.'


@dataclass(frozen=True)
class Range:
    """Where a number is drawn: on a log scale or evenly; `to_one` draws the value's distance to 1."""

    low: float
    high: float
    log: bool = True
    to_one: bool = False

    def value(self, drawn: float) -> float:
        """What a drawn number stands for, to three digits."""
        short = float(f"{drawn:.3g}")
        return round(1 - short, 9) if self.to_one else short

    def __str__(self) -> str:
        low, high = sorted((self.value(self.low), self.value(self.high)))
        return f"{low:g} to {high:g}"


def space(spec: ModelSpec, recipe: Recipe) -> dict[str, Range]:
    """What is searched: rate, betas or momentum, weight decay, and dropout where the network lets it be set.

    That is where `build` takes a float as `dropout`, unless the recipe itself gives it one.

    Raises:
        FerBenchError: the recipe does not train a network from scratch, or there is no network.
    """
    optimizer = recipe.optimizer
    if optimizer is None or recipe.teachers or recipe.pretrained != "none":
        if optimizer is None:
            how = "is fitted in one go"
        else:
            how = "has teachers" if recipe.teachers else f"starts from {recipe.pretrained} weights"
        raise FerBenchError(f"{spec.name}.{recipe.name} {how}: tune takes recipes that train a network from scratch")
    network_cost(spec, 7, dict(recipe.model_options))
    ranges = {"lr": Range(optimizer.lr / 10, optimizer.lr * 10)}
    if optimizer.name == "sgd":
        ranges["momentum"] = Range(0.01, 0.5, to_one=True)
    else:
        ranges |= {"beta1": Range(0.02, 0.3, to_one=True), "beta2": Range(1e-4, 0.1, to_one=True)}
    # adamw's is multiplied by the rate; the others' is a part of the gradient.
    ranges["weight_decay"] = Range(1e-3, 0.1) if optimizer.name == "adamw" else Range(1e-6, 1e-3)
    module, _, function = spec.build.partition(":")
    option = inspect.signature(getattr(import_module(module), function)).parameters.get("dropout")
    if option is not None and "float" in str(option.annotation) and "dropout" not in recipe.model_options:
        ranges["dropout"] = Range(0.0, 0.7, log=False)
    return ranges


def changed(recipe: Recipe, values: Mapping[str, float]) -> Recipe:
    """The recipe with values of its `space`, everything else as it is; an L2 term in its loss is its weight decay."""
    assert recipe.optimizer is not None
    given: dict[str, Any] = dict(values)
    loss, options = recipe.loss, recipe.model_options
    if "beta1" in given:
        given["betas"] = (given.pop("beta1"), given.pop("beta2"))
    if "dropout" in given:
        options = {**options, "dropout": given.pop("dropout")}
    if loss.l2:
        loss = replace(loss, l2=given.pop("weight_decay"))
    return replace(recipe, optimizer=replace(recipe.optimizer, **given), loss=loss, model_options=options)


def parts(protocol: Protocol, dataset: FaceDataset, folds: int = 0) -> list[Fold]:
    """What each trial trains on and is scored on, all of the protocol's first fold, whose test part stays unseen.

    Args:
        folds: 0: its train and select as they are; 2 or more: its train in so many parts, each of which is
            `select` once, stratified, with no group in two where the protocol keeps groups apart.

    Raises:
        FerBenchError: the images of a class, or the groups, are too few for so many parts.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    first = protocol.folds(dataset)[0]
    if not folds:
        return [first]
    targets = dataset.targets[first.train]
    groups = None if protocol.disjoint is None else dataset.groups[protocol.disjoint][first.train]
    most = min(np.bincount(targets).min(), len(targets if groups is None else np.unique(groups)))
    if folds > most:
        raise FerBenchError(f"--folds {folds}: {protocol.name} allows {most} at most: its rarest class, or its groups")
    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    split = splitter(folds, shuffle=True, random_state=SPLIT_SEED).split(targets, targets, groups)
    return [Fold(first.train[train], first.train[held_out], first.test) for train, held_out in split]


@dataclass(frozen=True)
class Trial:
    """A finished trial: a number an epoch kept and an accuracy on `select` a part; `diverged` says why if it did."""

    number: int
    values: dict[str, float]
    accuracies: list[float]
    epochs: list[int]
    seconds: float
    diverged: str

    @property
    def accuracy(self) -> float:
        """The mean over the parts, 0 if it diverged."""
        return 0.0 if self.diverged else fmean(self.accuracies)


@dataclass(frozen=True)
class Search:
    """An open search, see `searching`.

    Attributes:
        data: all that its trials see, a part each.
        seen: the share of the protocol's test images, of all folds together, that are among it.
    """

    request: bench.RunRequest
    folds: int
    space: Mapping[str, Range]
    data: list[TrainingData]
    seen: float
    folder: Path
    study: optuna.Study

    @property
    def caveat(self) -> str:
        """What a score of the chosen recipe on the same protocol is not; empty if there is nothing to say."""
        if not self.seen:
            return ""
        return (
            f"The search saw {100 * self.seen:.0f}% of the images that {self.request.protocol} tests, those of other "
            "folds than the first: a score there is too good."
        )

    def trials(self) -> list[Trial]:
        """The finished ones, by number (from 1)."""
        from optuna.trial import TrialState

        ended = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        return [Trial(i, self._values(trial), **trial.user_attrs["outcome"]) for i, trial in enumerate(ended, start=1)]

    def ranked(self) -> list[Trial]:
        """The finished ones, the best first."""
        return sorted(self.trials(), key=lambda trial: (-trial.accuracy, trial.number))

    def run_next(self, compute: Compute, progress: bench.ProgressCallback | None = None) -> Trial:
        """Run the next trial, or go on with the one that was cut off.

        Its values follow from the search's seed and its number alone, so a search that was stopped ends as one
        that was not.
        """
        from optuna.samplers import RandomSampler
        from optuna.trial import TrialState

        number, seed = len(self.trials()) + 1, self.request.seed
        self.study.sampler = RandomSampler(derived_seed(seed, number))
        trial = self.study.ask()
        for name, where in self.space.items():
            trial.suggest_float(name, where.low, where.high, log=where.log)
        recipe = changed(self.request.resolved_recipe(), self._values(trial))
        outcome: dict[str, Any] = {"accuracies": [], "epochs": [], "seconds": 0.0, "diverged": ""}
        try:
            for part, images in enumerate(self.data):
                fitted = fit(
                    self.request.spec, recipe, images, seed=seed, fold=part, compute=compute,
                    checkpoint=self.folder / f"trial{number}.{part}.pt",
                    progress=progress and functools.partial(progress, part, len(self.data)),
                )  # fmt: skip
                outcome["accuracies"].append(fitted.history[fitted.epoch - 1]["select_accuracy"])
                outcome["epochs"].append(fitted.epoch)
                outcome["seconds"] += fitted.seconds
        except DivergedError as error:
            outcome["diverged"] = str(error)
        trial.set_user_attr("outcome", outcome)
        if outcome["diverged"]:
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, fmean(outcome["accuracies"]))
        for checkpoint in self.folder.glob("*.pt"):
            checkpoint.unlink()
        return self.trials()[-1]

    def _values(self, trial: optuna.Trial | optuna.trial.FrozenTrial) -> dict[str, float]:
        return {name: where.value(trial.params[name]) for name, where in self.space.items()}


@contextlib.contextmanager
def searching(
    request: bench.RunRequest, folds: int = 0, *, say: data.locate.Progress | None = None
) -> Iterator[Search]:
    """Open a search, or go on with it; its folder is `runs/tune/<protocol>/<model>.<recipe>/s<seed>[.k<folds>]`.

    Args:
        request: the recipe to start from; the seed draws the values and trains the networks.
        folds: as in `parts`.
        say: called with a line of text when something slow starts.

    Raises:
        FerBenchError: bad input, the trials of another search, or another process at work on this one.
    """
    spec, recipe, protocol = request.spec, request.resolved_recipe(), get_protocol(request.protocol)
    ranges = space(spec, recipe)
    dataset = data.load(protocol.dataset, request.data_dir, allow_partial=request.allow_partial, progress=say)
    searched = parts(protocol, dataset, folds)
    plan = {
        "model": f"{spec.name}, revision {spec.revision}",
        "recipe": recipe.digest(),
        "data": dataset.fingerprint,
        "folds": [fold.digest(dataset) for fold in searched],
        "space": {name: asdict(where) for name, where in ranges.items()},
        **({"features": features} if (features := features_digest(dataset, recipe.input)) else {}),
    }
    name = f"s{request.seed}" + (f".k{folds}" if folds else "")
    folder = request.workspace.root / "runs" / "tune" / protocol.name / f"{spec.name}.{recipe.name}" / name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = filelock.FileLock(folder / "lock").acquire(timeout=0)
    except filelock.Timeout as error:
        raise FerBenchError(f"{folder}: another process is at work on this search; wait for it or stop it") from error
    with lock:
        study = _study(folder, plan)
        images = [training_data(spec, dataset, fold, recipe) for fold in searched]
        visible = np.concatenate([indices for fold in searched for indices in (fold.train, fold.select)])
        tested = np.concatenate([fold.test for fold in protocol.folds(dataset)])
        yield Search(request, folds, ranges, images, float(np.isin(tested, visible).mean()), folder, study)


def _study(folder: Path, plan: Mapping[str, Any]) -> optuna.Study:
    """The stored study of a plan; a trial that was cut off is marked as failed, and so is not counted."""
    import optuna
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = folder / "trials.sqlite"
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{path}", study_name="tune", direction="maximize", load_if_exists=True
        )
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)
        stored = study.user_attrs.get("plan")
    except Exception as error:  # SQLite's, SQLAlchemy's and Optuna's alike mean: not a readable storage
        problem = str(error).partition("\n")[0]
        raise FerBenchError(f"{path}: not a readable search ({problem}); delete it to begin anew") from error
    if stored is None:
        for checkpoint in folder.glob("*.pt"):  # of a search whose trials were deleted
            checkpoint.unlink()
        study.set_user_attr("plan", plan)
    elif different := [key for key in plan if stored.get(key) != json.loads(json.dumps(plan[key]))]:
        words = ", ".join(different)
        raise FerBenchError(f"{path}: the trials of another search ({words} differ); delete it to begin anew")
    return study


def table(search: Search) -> Table:
    """The trials for a terminal of 80 columns, the best first."""
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, padding=(0, 1))
    for heading in ("trial", "select", *search.space, "epoch", "min"):
        grid.add_column(heading.replace("weight_", ""), justify="right", no_wrap=True)
    for trial in search.ranked():
        spread = f" ± {100 * stdev(trial.accuracies):.2f}" if len(trial.accuracies) > 1 else ""
        epochs = sorted({min(trial.epochs), max(trial.epochs)}) if trial.epochs else []
        grid.add_row(
            str(trial.number),
            "diverged" if trial.diverged else f"{100 * trial.accuracy:.2f}{spread}",
            *(f"{value:g}" for value in trial.values.values()),
            "\N{EN DASH}".join(map(str, epochs)),
            f"{trial.seconds / 60:.1f}",
        )
    return grid


def check_target(path: Path) -> None:
    """Refuse what `write_module` must not write: no module's name, or a file of someone else's.

    Raises:
        FerBenchError: as said.
    """
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise FerBenchError(f"{path}: expected a Python module's name like tuned.py")
    if path.exists() and FIRST_LINE not in path.read_text(encoding="utf-8", errors="replace"):
        raise FerBenchError(f"{path} is there and was not written by tune; choose another name")


def write_module(search: Search, path: Path) -> None:
    """Write the best trial as a module whose SPEC is the model with one recipe, "tuned", for `run --spec`."""
    check_target(path)
    best, trials, request = search.ranked()[0], search.trials(), search.request
    recipe = changed(request.resolved_recipe(), best.values)
    diverged = sum(bool(trial.diverged) for trial in trials)
    how = f"in {search.folds}-fold cross-validation" if search.folds else "on select"
    note = (
        f"{request.spec.name}.{recipe.name} but for what a random search on {request.protocol} chose: trial "
        f"{best.number} of {len(trials)} ({diverged} diverged), seed {request.seed}, {100 * best.accuracy:.2f}% {how}. "
        f"{search.caveat}"
    ).strip()
    text = f'''{FIRST_LINE}

python -m fer_bench run --spec {path.stem}:SPEC --protocol {request.protocol} --recipe tuned
"""

from dataclasses import replace

from fer_bench.registry import get_spec
from fer_bench.specs import Loss, Optimizer

BASE = get_spec({request.model!r})
RECIPE = replace(
    BASE.recipe({recipe.name!r}, {get_protocol(request.protocol).dataset!r}),
    name="tuned",
    note={note!r},
    optimizer={recipe.optimizer!r},
    loss={recipe.loss!r},
    model_options={dict(recipe.model_options)!r},
)
SPEC = replace(BASE, name={f"{request.spec.name}_tuned"!r}, recipes=(RECIPE,), reported=())
'''
    write_bytes(path, text.encode())
