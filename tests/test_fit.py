"""The training loop learns, repeats itself, and goes on where it was killed as if nothing had been."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from fer_bench import fit as fit_module
from fer_bench import registry
from fer_bench import trainer as trainer_module
from fer_bench.errors import FerBenchError
from fer_bench.fit import DivergedError, Fitted, Progress, TrainingData, fit, steps_per_epoch
from fer_bench.models.attentional import build_attentional
from fer_bench.provenance import device_name
from fer_bench.specs import Loss, Optimizer, Recipe, Schedule
from fer_bench.trainer import Compute, Trainer, derived_seed, initialise, learning_rate

ONE_THREAD = Compute(threads=1)
# Of which the body makes the same of an image each time: it has no dropout, and all else is frozen.
FROZEN = replace(
    tiny.MODERN, name="frozen", augmentation="flip", mixup=0.0, frozen=True, model_options={"drops": False}
)


class KilledError(Exception):
    """Stands for whatever ends a run in the middle."""


def run(recipe: Recipe, seed: int = 0, compute: Compute = ONE_THREAD, **options: Any) -> Fitted:
    return fit(tiny.SPEC, recipe, tiny.training_data(), seed=seed, compute=compute, **options)


def history(fitted: Fitted) -> list[dict[str, float]]:
    timings = ("seconds", "images_per_s")
    return [{key: value for key, value in row.items() if key not in timings} for row in fitted.history]


def assert_equal(one: Fitted, other: Fitted) -> None:
    """Bit for bit, timings aside."""
    assert history(one) == history(other)
    assert one.epoch == other.epoch
    states = [fitted.predictor.network.state_dict() for fitted in (one, other)]
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key
    images = tiny.training_data().select_images
    for view in ("plain", "flip"):
        first, second = (fitted.predictor.predict(images, view) for fitted in (one, other))
        np.testing.assert_array_equal(first, second)


def easy(n: int = 280) -> TrainingData:
    """Seven classes told apart by where bright squares are, also in a mirror; the last has none."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (n, 48, 48), dtype=np.uint8)
    targets = np.arange(n) % 7
    for image, target in zip(images, targets, strict=True):
        row, sides = divmod(int(target), 2)
        for left in (2, 34) if sides else (18,):
            image[16 * row : 16 * row + 12, left : left + 12] += 150
    half = n // 2
    classes = tiny.dataset().labels.classes
    return TrainingData(images[:half], targets[:half], images[half:], targets[half:], classes)


def test_one_cycle_rises_and_falls_over_all_steps() -> None:
    cycle = Schedule(name="one_cycle", warmup=0.2)
    rates = [learning_rate(cycle, 2.0, step, 100, epoch=0) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(1.0)
    assert rates[19] == rates[20] == max(rates) == 2.0
    assert rates[60] == pytest.approx(1.0)
    assert 0 < rates[-1] < 0.001
    assert rates == sorted(rates[:20]) + sorted(rates[20:], reverse=True)


def test_step_and_constant_schedules() -> None:
    steps = Schedule(name="step", milestones=(100, 120), gamma=0.1)
    for epoch, expected in ((0, 1.0), (99, 1.0), (100, 0.1), (119, 0.1), (120, 0.01), (149, 0.01)):
        assert learning_rate(steps, 1.0, 7, 10, epoch) == pytest.approx(expected)
    assert learning_rate(Schedule(), 0.3, 7, 10, epoch=5) == 0.3


def test_the_schedule_reaches_the_optimiser() -> None:
    rows = history(run(tiny.STOPPING))
    assert [row["lr"] for row in rows] == pytest.approx([0.05, 0.005, 0.005, 0.0005])


@given(st.integers(1, 300), st.integers(1, 64))
def test_every_image_comes_once_an_epoch_but_a_single_last_one(n: int, batch_size: int) -> None:
    per_epoch = steps_per_epoch(n, batch_size)
    plan = list(fit_module._Plan(n, batch_size, 2, 2 * per_epoch, 3, 0, 0))
    assert len(plan) == 2 * per_epoch
    epochs = [np.concatenate([indices for _, indices in plan[at : at + per_epoch]]) for at in (0, per_epoch)]
    dropped = n % batch_size == 1 and n > 1 and batch_size > 1
    for indices in epochs:
        assert len(set(indices.tolist())) == len(indices) == n - dropped
    assert len({seed for seed, _ in plan}) == len(plan)
    if n > 20:
        assert not np.array_equal(epochs[0], epochs[1])


@given(st.integers(2, 100), st.integers(1, 32), st.integers(0, 2))
def test_a_plan_that_starts_later_is_the_rest_of_the_plan(n: int, batch_size: int, start: int) -> None:
    per_epoch = steps_per_epoch(n, batch_size)
    whole = list(fit_module._Plan(n, batch_size, 3, 3 * per_epoch, 5, 1, 0))
    rest = list(fit_module._Plan(n, batch_size, 3, 3 * per_epoch, 5, 1, start))
    assert len(rest) == (3 - start) * per_epoch
    for (seed, indices), (same_seed, same_indices) in zip(whole[start * per_epoch :], rest, strict=True):
        assert seed == same_seed
        np.testing.assert_array_equal(indices, same_indices)


def test_derived_seeds_are_pinned() -> None:
    # Changing them would change every number on the board.
    assert [derived_seed(0), derived_seed(1, 2), derived_seed(1, 2, 3, 4)] == [
        2968811710,
        1596810411,
        4251844491,
    ]


@pytest.mark.parametrize(("kind", "variance"), [("he", 2 / 200), ("fan_in", 1 / 200), ("keras", 2 / 1800)])
def test_initialisation(kind: str, variance: float) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 64, 5)  # 200 weights in, 1600 out
    initialise(nn.Sequential(layer), kind)
    if kind == "keras":  # uniform, the others are normal
        assert float(layer.weight.detach().abs().max()) <= (3 * variance) ** 0.5
    assert float(layer.weight.detach().var()) == pytest.approx(variance, rel=0.05)
    assert layer.bias is not None and not layer.bias.any()


@pytest.mark.parametrize("kind", ["torch", "keras", "he", "fan_in"])
def test_a_spatial_transformer_starts_as_the_identity(kind: str) -> None:
    torch.manual_seed(0)
    network = build_attentional()
    initialise(network, kind)
    images = torch.rand(2, 1, 48, 48)
    transformer = next(layer for layer in network.modules() if hasattr(layer, "start_as_identity"))
    torch.testing.assert_close(transformer(images), images, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("recipe", [tiny.PLAIN, tiny.MODERN, replace(tiny.PLAIN, loss=Loss(name="l2_svm"))])
def test_it_learns(recipe: Recipe) -> None:
    fitted = fit(tiny.SPEC, replace(recipe, epochs=8), easy(), seed=0, compute=ONE_THREAD)
    assert fitted.history[-1]["select_accuracy"] > 0.9
    assert fitted.history[-1]["train_loss"] < fitted.history[0]["train_loss"]
    assert len(fitted.history) == 8 and fitted.seconds > 0 and fitted.threads == [1]


def test_the_history_is_that_of_the_predictor() -> None:
    data, fitted = tiny.training_data(), run(tiny.PLAIN)
    probabilities, targets = fitted.predictor.predict(data.select_images), data.select_targets
    accuracy = (probabilities.argmax(axis=1) == targets).mean()
    loss = -np.log(probabilities[np.arange(len(targets)), targets]).mean()
    assert fitted.history[-1]["select_accuracy"] == pytest.approx(accuracy)
    assert fitted.history[-1]["select_loss"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("recipe", tiny.SPEC.recipes, ids=lambda recipe: recipe.name)
def test_a_seed_decides_everything(recipe: Recipe) -> None:
    once = run(recipe)
    torch.manual_seed(99)
    np.random.seed(99)
    assert_equal(run(recipe), once)
    assert history(run(recipe, seed=1)) != history(once)
    assert history(run(recipe, fold=1)) != history(once)


@pytest.mark.parametrize("recipe", [tiny.STOPPING, tiny.MODERN], ids=lambda recipe: recipe.name)
def test_workers_do_not_change_the_outcome(recipe: Recipe) -> None:
    assert_equal(run(recipe, compute=Compute(workers=1)), run(recipe))


def test_steps_end_a_run_within_an_epoch() -> None:
    seen: list[Progress] = []
    fitted = run(replace(tiny.PLAIN, epochs=None, steps=7), progress=seen.append)
    assert steps_per_epoch(140, 32) == 5
    assert [(progress.epoch, progress.step) for progress in seen] == [
        *((1, step) for step in range(1, 6)),
        *((2, step) for step in range(1, 3)),
    ]
    assert (fitted.epoch, seen[-1].epochs, seen[-1].steps, seen[-1].seconds_left) == (2, 2, 2, 0)
    assert all(progress.images_per_s > 0 and 0 <= progress.accuracy <= 1 for progress in seen)


Scores = Callable[..., tuple[float, float]]


def scripted(accuracies: list[float]) -> Scores:
    """`select` accuracies in a given order."""
    rest = iter(accuracies)
    return lambda *_: (1.0, next(rest))


def test_patience_stops_early_and_the_best_epoch_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(tiny.STOPPING, epochs=9, patience=2)
    monkeypatch.setattr(fit_module, "_evaluate", scripted([0.1, 0.5, 0.4, 0.5, 0.6, 0.7, 0.8]))
    fitted = run(recipe)
    # Equal is not better: the second epoch stays the best, the fourth is the last.
    assert (len(fitted.history), fitted.epoch) == (4, 2)
    # A run of two epochs is the same up to there.
    monkeypatch.setattr(fit_module, "_evaluate", scripted([0.1, 0.5]))
    short = run(replace(recipe, epochs=2))
    state, other = (one.predictor.network.state_dict() for one in (fitted, short))
    assert all(torch.equal(state[key], other[key]) for key in state)


def test_select_last_keeps_the_last_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module, "_evaluate", scripted([0.9, 0.5, 0.1]))
    fitted = run(tiny.PLAIN)
    assert fitted.epoch == 3
    monkeypatch.undo()
    data = tiny.training_data()
    blind = replace(data, select_images=data.select_images[:0], select_targets=data.select_targets[:0])
    other = fit(tiny.SPEC, tiny.PLAIN, blind, seed=0, compute=ONE_THREAD)
    state, same = (one.predictor.network.state_dict() for one in (fitted, other))
    assert all(torch.equal(state[key], same[key]) for key in state)
    assert "select_accuracy" not in other.history[0]


def test_a_recipe_that_selects_needs_a_select_part() -> None:
    data = tiny.training_data()
    blind = replace(data, select_images=data.select_images[:0], select_targets=data.select_targets[:0])
    with pytest.raises(FerBenchError, match=r"tiny\.stopping selects on `select`, and this fold has none"):
        fit(tiny.SPEC, tiny.STOPPING, blind, seed=0, compute=ONE_THREAD)


def test_divergence_is_an_error() -> None:
    wild = replace(tiny.PLAIN, optimizer=Optimizer(name="sgd", lr=1e30))
    with pytest.raises(DivergedError, match=r"tiny\.plain diverged: the loss is (nan|inf) in epoch 1, step \d+"):
        run(wild)
    broken = replace(tiny.SPEC, build="tiny:build_broken")
    with pytest.raises(DivergedError, match="the loss is nan in epoch 1, step 1"):
        fit(broken, tiny.PLAIN, tiny.training_data(), seed=0, compute=ONE_THREAD)


def test_an_unknown_device_is_a_clear_error() -> None:
    with pytest.raises(FerBenchError, match="device 'quantum': expected cpu"):
        Compute.detect("quantum")
    assert Compute.detect("cpu", threads=2).threads == 2


def killed_at(epoch: int, step: int) -> Callable[[Progress], None]:
    def progress(state: Progress) -> None:
        if (state.epoch, state.step) == (epoch, step):
            raise KilledError

    return progress


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("recipe", [*tiny.SPEC.recipes, FROZEN], ids=lambda recipe: recipe.name)
def test_a_killed_run_ends_as_an_undisturbed_one(recipe: Recipe, workers: int, tmp_path: Path) -> None:
    undisturbed = run(recipe)
    compute = Compute(workers=workers)
    for epoch in range(1, len(undisturbed.history) + 1):
        checkpoint = tmp_path / f"{epoch}.pt"
        saved: dict[str, Any] = {"checkpoint": checkpoint, "checkpoint_seconds": 0.0, "compute": compute}
        with pytest.raises(KilledError):
            run(recipe, progress=killed_at(epoch, 2), **saved)
        assert checkpoint.exists() == (epoch > 1)
        assert_equal(run(recipe, **saved), undisturbed)
    assert not list(tmp_path.glob(".*"))


def test_a_run_killed_in_every_epoch_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    saved: dict[str, Any] = {"checkpoint": tmp_path / "checkpoint.pt", "checkpoint_seconds": 0.0}
    for epoch in (1, 2, 3):
        with pytest.raises(KilledError):
            run(tiny.MODERN, progress=killed_at(epoch, 5), **saved)
    fitted = run(tiny.MODERN, **saved)
    assert_equal(fitted, run(tiny.MODERN))
    assert fitted.seconds == pytest.approx(sum(row["seconds"] for row in fitted.history))


def test_a_finished_run_is_taken_from_its_checkpoint(tmp_path: Path) -> None:
    # However rare checkpoints are, the end is one.
    saved: dict[str, Any] = {"checkpoint": tmp_path / "checkpoint.pt", "checkpoint_seconds": 1e9}
    once = run(tiny.STOPPING, **saved)

    def fail(_: Progress) -> None:
        raise AssertionError("it trained again")

    assert_equal(run(tiny.STOPPING, progress=fail, **saved), once)


def test_an_early_stop_is_still_a_stop_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(tiny.STOPPING, epochs=9, patience=2)
    saved: dict[str, Any] = {"checkpoint": tmp_path / "checkpoint.pt", "checkpoint_seconds": 0.0}
    monkeypatch.setattr(fit_module, "_evaluate", scripted([0.5, 0.4, 0.3]))
    assert len(run(recipe, **saved).history) == 3
    assert run(recipe, **saved).epoch == 1


def test_another_device_or_number_of_threads_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: dict[str, Any] = {"checkpoint": tmp_path / "checkpoint.pt", "checkpoint_seconds": 0.0}
    with pytest.raises(KilledError):
        run(tiny.PLAIN, progress=killed_at(2, 1), **saved)
    monkeypatch.setattr(fit_module, "device_name", lambda _: "another processor")
    fitted = run(tiny.PLAIN, compute=Compute(threads=2), **saved)
    assert fitted.threads == [1, 2]
    assert fitted.devices == [device_name(ONE_THREAD), "another processor"]


def test_a_damaged_checkpoint_is_an_error_and_no_fresh_start(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(b"PK")
    with pytest.raises(FerBenchError, match="delete it"):
        fit(tiny.SPEC, tiny.PLAIN, tiny.training_data(), seed=0, compute=Compute(), checkpoint=checkpoint)


@pytest.mark.parametrize(
    "changed",
    [{"spec": replace(tiny.SPEC, build="tiny:build_broken")}, {"recipe": tiny.MODERN}],
    ids=["network", "average"],
)
def test_a_checkpoint_of_another_network_is_an_error_of_one_line(changed: dict[str, Any], tmp_path: Path) -> None:
    saved: dict[str, Any] = {"checkpoint": tmp_path / "checkpoint.pt", "checkpoint_seconds": 0.0}
    with pytest.raises(KilledError):
        run(tiny.PLAIN, progress=killed_at(2, 1), **saved)
    arguments: dict[str, Any] = {"spec": tiny.SPEC, "recipe": tiny.PLAIN, "data": tiny.training_data()} | changed
    with pytest.raises(FerBenchError, match=r"^\S+checkpoint\.pt: .*another.* delete it to train .*$"):
        fit(seed=0, compute=ONE_THREAD, **arguments, **saved)


def test_a_failed_checkpoint_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: dict[str, Any] = {"checkpoint": tmp_path / "checkpoint.pt", "checkpoint_seconds": 0.0}
    with pytest.raises(KilledError):
        run(tiny.PLAIN, progress=killed_at(2, 1), **saved)
    before = saved["checkpoint"].read_bytes()

    def full(_: object, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(FerBenchError, match="No space left on device"):
            run(tiny.PLAIN, **saved)
    assert saved["checkpoint"].read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert_equal(run(tiny.PLAIN, **saved), run(tiny.PLAIN))


def test_transfer_takes_all_but_the_last_layer() -> None:
    torch.manual_seed(7)
    source = registry.build(tiny.SPEC, num_classes=3)
    frozen = replace(tiny.PLAIN, frozen=True, epochs=1)
    fitted = run(frozen, initial=dict(source.state_dict()))
    parameters = dict(fitted.predictor.network.named_parameters())
    for name, value in source.named_parameters():
        if name.startswith("9."):
            assert parameters[name].shape[0] == 7
        else:
            assert torch.equal(parameters[name], value), name


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_what_is_frozen_does_not_move(ema: float) -> None:
    """Running statistics neither: they would follow the new pictures under weights that can't."""
    torch.manual_seed(7)
    source = dict(registry.build(tiny.SPEC).state_dict())
    source["1.running_mean"] += 0.5
    state = run(replace(tiny.PLAIN, frozen=True, ema=ema), initial=source).predictor.network.state_dict()
    changed = {key for key, value in source.items() if not torch.equal(state[key], value)}
    assert changed == {"9.weight", "9.bias"}


@pytest.fixture
def bodies() -> Iterator[list[int]]:
    """How many images each pass through the tiny network's first layer had."""
    passed = []

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, nn.Conv2d) and module.in_channels == 1:
            passed.append(len(inputs[0]))

    hook = nn.modules.module.register_module_forward_pre_hook(count)
    yield passed
    hook.remove()


@pytest.mark.parametrize("compute", [ONE_THREAD, Compute(workers=1, bf16=True)], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(
    "recipe",
    [FROZEN, replace(FROZEN, ema=0.0, clip_grad_norm=None), replace(FROZEN, augmentation="none", loss=Loss(l2=0.01))],
    ids=["flip", "no average", "no flip"],
)
def test_a_constant_body_is_passed_once_and_nothing_else_changes(
    recipe: Recipe, compute: Compute, bodies: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = run(recipe, compute=compute)
    versions = 1 if recipe.augmentation == "none" else 2
    assert sum(bodies) == versions * 140 + 35 + 2 * trainer_module.TRIED
    bodies.clear()
    monkeypatch.setattr(Trainer, "body_is_constant", lambda _: False)
    other = run(recipe, compute=compute)
    assert sum(bodies) == 3 * (140 + 35)
    for row, same in zip(history(fitted), history(other), strict=True):
        assert row == pytest.approx(same, rel=1e-4)
    state, expected = (one.predictor.network.state_dict() for one in (fitted, other))
    for key in state:
        torch.testing.assert_close(state[key], expected[key], rtol=1e-3, atol=1e-4)
    assert fitted.epoch == other.epoch


@pytest.mark.parametrize(
    "changed",
    [{"frozen": False}, {"model_options": {}}, {"mixup": 0.2}, {"augmentation": "flip_shift"}],
    ids=["trained", "dropout", "mixup", "shifts"],
)
def test_what_changes_from_epoch_to_epoch_is_not_computed_once(changed: dict[str, Any], bodies: list[int]) -> None:
    run(replace(FROZEN, **changed))
    assert sum(bodies) >= 3 * (140 + 35)


class _Apart(nn.Module):
    """Logits by a last layer after, and before, something of one's own."""

    def __init__(
        self,
        before: Callable[[torch.Tensor], torch.Tensor],
        after: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.layer = nn.Linear(48 * 48, 7)
        self.before, self.after = before, after

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layer(self.before(images).flatten(1))
        return logits if self.after is None else self.after(logits)


@pytest.mark.parametrize(
    ("network", "constant"),
    [
        (_Apart(nn.Identity()), True),
        (_Apart(nn.BatchNorm2d(1)), True),
        (_Apart(nn.BatchNorm2d(1, track_running_stats=False)), False),
        (_Apart(nn.Dropout(0.01)), False),
        (_Apart(functional.dropout), False),
        (_Apart(lambda images: images - images.mean(dim=0)), False),
        (_Apart(nn.Identity(), nn.LogSoftmax(dim=1)), False),
    ],
)
def test_a_body_is_constant(network: nn.Module, constant: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "build", lambda *_, **__: network)
    trainer = Trainer(tiny.SPEC, FROZEN, 7, seed=0, fold=0, compute=ONE_THREAD)
    assert trainer.body_is_constant() == constant


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_weight_decay_is_for_kernels_only(optimizer: Any) -> None:
    recipe = replace(tiny.PLAIN, optimizer=Optimizer(name=optimizer, lr=0.1, weight_decay=0.5))
    network = tiny.build()
    for group in trainer_module._optimizer(recipe, network).param_groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.5 if parameter.ndim > 1 else 0.0)


def test_the_mean_image_is_that_of_the_training_part() -> None:
    fitted = run(replace(tiny.PLAIN, normalisation="mean_image", epochs=1))
    expected = tiny.training_data().train_images.mean(axis=0) / 255
    np.testing.assert_allclose(fitted.predictor.normaliser.mean[0], expected, atol=1e-6)


def test_tiny_is_what_its_spec_says() -> None:
    assert sum(p.numel() for p in tiny.build().parameters()) == tiny.SPEC.parameters
    assert registry.get_spec(tiny.NAME) is tiny.SPEC


@pytest.mark.parametrize("recipe", [tiny.PLAIN, tiny.STOPPING], ids=["adam", "sgd"])
def test_a_checkpoint_of_another_device_does_not_say_how_this_one_computes(recipe: Recipe) -> None:
    """On a GPU Adam's step can be recorded, and a run may go on elsewhere."""
    here, there = (Trainer(tiny.SPEC, recipe, 7, seed=0, fold=0, compute=ONE_THREAD) for _ in range(2))
    flags = {"fused", "capturable"} & set(here._optimizer.param_groups[0])
    expected = [{flag: group[flag] for flag in flags} for group in here._optimizer.param_groups]
    there._optimizer.param_groups[0].update({flag: not expected[0][flag] for flag in flags})
    here.load_state_dict(there.state_dict())
    assert flags
    assert [{flag: group[flag] for flag in flags} for group in here._optimizer.param_groups] == expected
