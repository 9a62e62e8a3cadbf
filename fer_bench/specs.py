"""The nouns of the benchmark: models, recipes and what papers reported. No torch, no I/O.

Everything here is a frozen dataclass of plain values, so that a spec can be read, listed, hashed and
written into a record without importing a deep-learning library.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fer_bench.errors import FerBenchError, UnknownNameError

Normalisation = Literal["unit", "half", "standard", "mean_image", "imagenet"]
Augmentation = Literal["none", "flip", "flip_shift", "modern", "modern_light", "strong"]
View = Literal["plain", "flip", "ten_crop"]
VIEWS: tuple[View, ...] = ("plain", "flip", "ten_crop")
Input = Literal["pixels", "published_features"]
Crop = Literal["whole", "viola_jones", "yunet"]


def check_name(what: str, name: str) -> None:
    """Refuse a name that could not be a part of a file's name, or of "model.recipe".

    Raises:
        FerBenchError: the name has more than letters, digits, - and _.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise FerBenchError(f"{what} {name!r}: expected letters, digits, - and _ only")


def recipe_digest(values: Mapping[str, Any]) -> str:
    """A short hash of everything in a recipe's `to_dict` that decides the outcome (the note does not)."""
    decisive = {key: value for key, value in values.items() if key != "note"}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """`weight_decay` is decoupled for adamw and the gradient's L2 term for adam and sgd."""

    name: Literal["adam", "adamw", "sgd"]
    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate over the steps of a run.

    constant; one_cycle: linear rise over `warmup` of the steps, cosine fall to zero; step: times `gamma`
    at each epoch in `milestones`.
    """

    name: Literal["constant", "one_cycle", "step"] = "constant"
    warmup: float = 0.0
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Loss:
    """`l2` adds l2/2 times the squared norm of the kernels (not the biases or batch norms) to the loss."""

    name: Literal["cross_entropy", "l2_svm"] = "cross_entropy"
    smoothing: float = 0.0
    margin: float = 1.0
    l2: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained: every hyperparameter, none of which the command line can change.

    Attributes:
        epochs, steps: the length of the training.
        estimator: keyword arguments of the network's own `fit`, for a model that is fitted in one go and not
            trained in steps. Exactly one of epochs, steps and estimator is given; batch_size and optimizer
            go with the first two.
        input: pixels, or what the data set's authors published of each picture instead (with an estimator only).
        normalisation: unit: x / 255; half: (x / 255 - 0.5) / 0.5; standard: the training part's own mean and
            deviation, a scalar a channel; mean_image: x / 255 minus the training part's mean image;
            imagenet: ImageNet's channel means and deviations.
        init: weight initialisation: torch's own; keras: Glorot uniform, zero biases; he: zero-mean normal of
            variance 2 / fan-in, zero biases; fan_in: the same of variance 1 / fan-in.
        select: best_epoch keeps the epoch best on `select`; last trains for the fixed length.
        patience: epochs without a better `select` accuracy before an early stop (with best_epoch only).
        mixup: the alpha of the Beta distribution; 0 is off.
        ema: the decay a step of the averaged network; 0 is off.
        crop: what of a picture the model sees: all of it, or its largest face, found by OpenCV's Haar cascade
            (Viola and Jones) or by YuNet; all of it where no face is found.
        pretrained: where the initial weights come from.
        frozen: train the last layer only.
        teachers: shipped FER2013 networks, each "model.recipe", whose mean answer to a training image is learned beside
            its label (knowledge distillation, arXiv 1503.02531, at temperature 1); where the labels are FER2013's.
        taught: the teachers' share of the target, up to 0.5, so that the label is still the most of it.
        model_options: keyword arguments of the model's `build`, for variants that differ in one thing.
        datasets: the data sets it is meant for; empty is any. A paper that trains differently on two sets
            has two recipes of one name.
        note: what was published, what was chosen where the paper is silent.
    """

    name: str
    note: str
    batch_size: int | None = None
    optimizer: Optimizer | None = None
    epochs: int | None = None
    steps: int | None = None
    estimator: Mapping[str, Any] | None = None
    input: Input = "pixels"
    schedule: Schedule = Schedule()
    loss: Loss = Loss()
    normalisation: Normalisation = "unit"
    augmentation: Augmentation = "none"
    init: Literal["torch", "keras", "he", "fan_in"] = "torch"
    select: Literal["best_epoch", "last"] = "last"
    patience: int | None = None
    mixup: float = 0.0
    ema: float = 0.0
    clip_grad_norm: float | None = None
    crop: Crop = "whole"
    pretrained: Literal["none", "imagenet", "fer2013"] = "none"
    frozen: bool = False
    teachers: tuple[str, ...] = ()
    taught: float = 0.0
    model_options: Mapping[str, Any] = field(default_factory=dict)
    datasets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_name("recipe", self.name)
        if sum(length is not None for length in (self.epochs, self.steps, self.estimator)) != 1:
            raise ValueError(f"recipe {self.name}: give exactly one of epochs, steps and estimator")
        if any((value is None) != (self.estimator is not None) for value in (self.batch_size, self.optimizer)):
            raise ValueError(f"recipe {self.name}: batch_size and optimizer go with epochs or steps, and only there")
        if self.patience is not None and self.select != "best_epoch":
            raise ValueError(f"recipe {self.name}: patience needs select='best_epoch'")
        if self.input != "pixels" and (self.estimator is None or self.crop != "whole"):
            raise ValueError(f"recipe {self.name}: published features need an estimator, and have no crop")
        if not (0 < self.taught <= 0.5 if self.teachers else self.taught == 0):
            raise ValueError(f"recipe {self.name}: teachers and a share of them, over 0 and up to 0.5, go together")
        if not all(re.fullmatch(r"[\w-]+\.[\w-]+", teacher) for teacher in self.teachers):
            raise ValueError(f'recipe {self.name}: teachers are named "model.recipe"')
        if self.teachers and (self.loss.name != "cross_entropy" or self.estimator is not None):
            raise ValueError(f"recipe {self.name}: teachers need steps, and cross-entropy")
        if self.teachers and not {"fer2013", "synthetic"}.issuperset(self.datasets or ("any",)):
            raise ValueError(f"recipe {self.name}: teachers know FER2013's labels; expected datasets that have them")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, every field in full; the youngest ones only where they are not the default."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        defaults: dict[str, Any] = {"estimator": None, "input": "pixels", "teachers": [], "taught": 0.0}
        # Younger than the first records, which the digest without them must still find.
        return {key: value for key, value in values.items() if key not in defaults or value != defaults[key]}

    def digest(self) -> str:
        """See `recipe_digest`."""
        return recipe_digest(self.to_dict())


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A number that a paper states; shown beside ours, never as ours. Accuracies in percent."""

    protocol: str
    recipe: str
    accuracy: float
    source: str
    split: Literal["select", "test"] = "test"


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What is known of a model without building it.

    Attributes:
        name: the registered name.
        build: "package.module:function"; the function takes `num_classes` (int) and the recipe's
            `model_options` and returns a `torch.nn.Module` from (N, channels, size, size) float32 to
            (N, num_classes) logits. For recipes with an `estimator` the module has a method
            `fit(images, targets, **estimator)` that sets all its weights from such images and (N,) int64
            labels, the same each time after the same `torch.manual_seed`, also where some classes have none. It
            may return its history, a dict of floats a row, each with its "epoch". For recipes whose `input` are
            features it also takes those in place of images, (N, F) float32, where NaN is a missing value.
        size, channels: the input, in pixels a side and 1 (gray) or 3 (RGB).
        parameters: the learned numbers at seven classes with default options, running statistics excluded.
        keras_parameters: the same with batch norm's two running statistics, where a paper counts them.
        imagenet_weights: the name of timm's pretrained weights, for recipes that start from them.
        source: the model and the recipe whose shipped FER2013 network its recipes with `pretrained="fer2013"` start
            from; empty is its own `fer_bench`. A module with an estimator takes it by `start_from(state_dict)`.
        replayed: whether each of its training steps is the same kernels, so that a GPU may record one and replay it. A
            network that reads its numbers in its forward pass (`.item()`, `if tensor`), counts its steps in Python or
            draws random numbers elsewhere than on the device needs False.
        seeded: whether a run's seed changes its outcome; what is computed in closed form gives the same for each.
        not_shipped: why its networks never go into `weights/`; empty if they do.
        revision: raised by hand when the network changes; older records are then no longer "done".
    """

    name: str
    title: str
    paper: str
    build: str
    recipes: tuple[Recipe, ...]
    parameters: int
    size: int = 48
    channels: Literal[1, 3] = 1
    keras_parameters: int | None = None
    reported: tuple[Reported, ...] = ()
    imagenet_weights: str = ""
    source: tuple[str, str] | tuple[()] = ()
    replayed: bool = True
    seeded: bool = True
    not_shipped: str = ""
    revision: int = 1

    def __post_init__(self) -> None:
        check_name("model", self.name)

    def recipe(self, name: str, dataset: str | None = None) -> Recipe:
        """The recipe of that name; with a data set, the one for it before the one for any.

        Raises:
            UnknownNameError: the model has no such recipe; the message names the nearest one.
            FerBenchError: it has, but not for this data set.
        """
        named = [recipe for recipe in self.recipes if recipe.name == name]
        if not named:
            raise UnknownNameError(f"recipe of {self.name}", name, {recipe.name for recipe in self.recipes})
        if dataset is None:
            return named[0]
        fitting = [recipe for recipe in named if dataset in recipe.datasets or not recipe.datasets]
        if not fitting:
            known = ", ".join(sorted({known for recipe in named for known in recipe.datasets}))
            raise FerBenchError(f"recipe {name!r} of {self.name} is for {known}, not for {dataset}")
        return max(fitting, key=lambda recipe: dataset in recipe.datasets)
