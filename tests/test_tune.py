"""The search: what it draws, what it may see, that it goes on where it stopped, and what it writes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from conftest import fake_dataset
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fer_bench import cli, data, registry, tune
from fer_bench.bench import RunRequest
from fer_bench.data.dataset import FaceDataset
from fer_bench.errors import FerBenchError
from fer_bench.fit import Progress
from fer_bench.protocols import get_protocol
from fer_bench.records import Workspace
from fer_bench.specs import ModelSpec, Optimizer, Recipe
from fer_bench.trainer import Compute

CPU = Compute()
SEARCHABLE = [
    (spec, recipe)
    for spec in map(registry.get_spec, registry.list_models())
    for recipe in spec.recipes
    if recipe.optimizer is not None and recipe.pretrained == "none" and not recipe.teachers
]


@pytest.fixture(autouse=True)
def drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every data set is the same few drawings."""

    def load(*_: object, **__: object) -> FaceDataset:
        return tiny.dataset()

    monkeypatch.setattr(data, "load", load)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A folder of the test's own, from where modules are imported, too."""

    def init(self: Workspace, root: Path = tmp_path) -> None:
        object.__setattr__(self, "root", root)

    monkeypatch.setattr(Workspace, "__init__", init)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return Workspace()


def _request(workspace: Workspace, model: str = tiny.NAME, recipe: str = "plain", seed: int = 0) -> RunRequest:
    return RunRequest(model=model, recipe=recipe, protocol="synthetic", seed=seed, workspace=workspace)


def _outside(folder: Path, name: str, **fields: str) -> str:
    """A module beside the tests with the tiny model changed."""
    changes = ", ".join(f"{field}={value}" for field, value in fields.items())
    lines = ("from dataclasses import replace", "from tiny import PLAIN, SPEC")
    (folder / f"{name}.py").write_text("\n".join((*lines, f"SPEC = replace(SPEC, name={name!r}, {changes})\n")))
    return f"{name}:SPEC"


# what is drawn


@pytest.mark.parametrize(("spec", "recipe"), SEARCHABLE, ids=lambda value: value.name)
def test_only_what_is_searched_changes(spec: ModelSpec, recipe: Recipe) -> None:
    space = tune.space(spec, recipe)
    for end in ("low", "high"):
        values = {name: where.value(getattr(where, end)) for name, where in space.items()}
        new = tune.changed(recipe, values)
        assert new.optimizer is not None
        assert recipe.optimizer is not None
        assert replace(new, optimizer=recipe.optimizer, loss=recipe.loss, model_options=recipe.model_options) == recipe
        assert replace(new.loss, l2=recipe.loss.l2) == recipe.loss
        assert new.optimizer.lr == values["lr"]
        assert sorted((new.loss.l2, new.optimizer.weight_decay)) == [0, values["weight_decay"]]
        assert bool(new.loss.l2) == bool(recipe.loss.l2)
        if recipe.optimizer.name == "sgd":
            assert new.optimizer.momentum == values["momentum"]
            assert new.optimizer.betas == recipe.optimizer.betas
        else:
            assert new.optimizer.betas == (values["beta1"], values["beta2"])
            assert new.optimizer.momentum == recipe.optimizer.momentum


@given(st.data())
def test_values_stay_in_their_range_and_are_short(drawn: st.DataObject) -> None:
    for where in (tune.Range(3e-4, 0.03), tune.Range(1e-4, 0.1, to_one=True), tune.Range(0, 0.7, log=False)):
        value = where.value(drawn.draw(st.floats(where.low, where.high)))
        low, high = sorted((where.value(where.low), where.value(where.high)))
        assert low <= value <= high
        drawn_again = 1 - value if where.to_one else value
        assert float(f"{drawn_again:.3g}") == pytest.approx(drawn_again, rel=1e-9)


def test_dropout_is_searched_where_it_can_be_set() -> None:
    spec = registry.get_spec("lin_shi")
    assert "dropout" in tune.space(spec, spec.recipe("paper"))
    assert "dropout" not in tune.space(spec, spec.recipe("no_dropout"))
    assert "dropout" not in tune.space(tiny.SPEC, tiny.PLAIN)
    network = registry.create_model("lin_shi", dropout=0.25)
    assert [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)] == [0.25]
    assert network.state_dict().keys() == registry.create_model("lin_shi").state_dict().keys()


@pytest.mark.parametrize(("model", "words"), [("lda", "fitted in one go"), ("resnet18_224", "imagenet weights")])
def test_what_is_not_trained_from_scratch_is_refused(model: str, words: str) -> None:
    spec = registry.get_spec(model)
    with pytest.raises(FerBenchError, match=words):
        tune.space(spec, spec.recipes[0])


# what a trial sees


@pytest.mark.parametrize("folds", [0, 3])
def test_a_trial_never_sees_the_test_part(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folds: int
) -> None:
    """The images of the test part can't be read, and its labels don't matter."""
    dataset = tiny.dataset()
    [fold] = get_protocol("synthetic").folds(dataset)

    class Guarded(np.ndarray):
        def __getitem__(self, index: Any) -> Any:
            read = np.arange(len(self))[index]
            assert not np.isin(read, fold.test).any(), "the test part was read"
            return np.asarray(self)[index]

    targets = dataset.targets.copy()
    targets[fold.test] = 0
    guarded = replace(dataset, images=dataset.images.view(Guarded), targets=targets)
    with pytest.raises(AssertionError, match="was read"):
        guarded.images[fold.test[:1]]
    outcomes = []
    for number, used in enumerate((dataset, guarded)):
        monkeypatch.setattr(data, "load", lambda *_, used=used, **__: used)
        with tune.searching(_request(Workspace(tmp_path / str(number))), folds) as search:
            assert not any(isinstance(value, FaceDataset) for value in vars(search).values())
            outcomes.append(search.run_next(CPU))
    assert outcomes[0].accuracies == outcomes[1].accuracies
    assert len(outcomes[0].accuracies) == (folds or 1)


@pytest.mark.parametrize("protocol", ["fer2013", "ckplus_subject", "sfew_2fold_movie"])
def test_cross_validation_stays_in_the_training_part(protocol: str) -> None:
    dataset = fake_dataset(protocol)
    whole = get_protocol(protocol).folds(dataset)[0]
    folds = tune.parts(get_protocol(protocol), dataset, 3)
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.select for fold in folds])), whole.train)
    for fold in folds:
        np.testing.assert_array_equal(np.union1d(fold.train, fold.select), whole.train)
        counts = np.bincount(dataset.targets[fold.select], minlength=len(dataset.labels))
        assert counts.max() - counts.min() <= (1 if protocol == "fer2013" else 4)
        if (group := get_protocol(protocol).disjoint) is not None:
            fold.check_groups(dataset.groups[group])
    with pytest.raises(FerBenchError, match="--folds 100"):
        tune.parts(get_protocol(protocol), dataset, 100)


@pytest.mark.parametrize(("protocol", "folds"), [("synthetic", 1), ("ckplus_subject", 10), ("sfew_2fold", 2)])
def test_what_other_folds_test_is_said(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, protocol: str, folds: int
) -> None:
    monkeypatch.setattr(data, "load", lambda *_, **__: fake_dataset(protocol))
    request = replace(_request(workspace, "ranjan_1", "paper"), protocol=protocol)
    with tune.searching(request) as search:
        # Each image is tested once, and the trials see all but those of the first fold.
        assert search.seen == pytest.approx(1 - 1 / folds if folds > 1 else 0, abs=0.02)
        assert search.caveat.startswith(f"The search saw {100 * search.seen:.0f}% of the images" if folds > 1 else "")
        assert bool(search.caveat) == (folds > 1)


# going on


def _without_time(trials: list[tune.Trial]) -> list[tune.Trial]:
    return [replace(trial, seconds=0.0) for trial in trials]


@pytest.mark.parametrize(("recipe", "folds"), [("modern", 0), ("plain", 2)])
def test_a_stopped_search_ends_as_one_that_was_not(tmp_path: Path, recipe: str, folds: int) -> None:
    undisturbed = _request(Workspace(tmp_path / "one"), recipe=recipe)
    with tune.searching(undisturbed, folds) as search:
        for _ in range(3):
            search.run_next(CPU)
        expected = _without_time(search.trials())
    assert len({tuple(trial.values.values()) for trial in expected}) == 3

    def stop(part: int, parts: int, state: Progress) -> None:
        if part == parts - 1 and state.epoch == 2:
            raise KeyboardInterrupt

    stopped = _request(Workspace(tmp_path / "two"), recipe=recipe)
    for number in range(3):
        with pytest.raises(KeyboardInterrupt), tune.searching(stopped, folds) as search:
            search.run_next(CPU, stop)
        with tune.searching(stopped, folds) as search:
            assert len(search.trials()) == number
            search.run_next(CPU)
    with tune.searching(stopped, folds) as search:
        assert _without_time(search.trials()) == expected
        assert not list(search.folder.glob("*.pt"))


def test_another_seed_draws_other_values(workspace: Workspace) -> None:
    drawn = []
    for seed in (0, 1):
        with tune.searching(_request(workspace, seed=seed)) as search:
            drawn.append(search.run_next(CPU).values)
    assert drawn[0] != drawn[1]


def test_a_diverged_trial_counts_and_comes_last(project: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    model = _outside(project.root, "broken", build="'tiny:build_broken'")
    assert cli.main(["tune", model, "--protocol", "synthetic", "--recipe", "plain", "--trials", "2"]) == 1
    captured = capsys.readouterr()
    assert "trial 2 of 2: broken.plain diverged" in captured.out
    assert "no trial has ended well" in captured.err
    with tune.searching(_request(project, model)) as search:
        assert [bool(trial.diverged) for trial in search.ranked()] == [True, True]
        assert "diverged" in search.trials()[0].diverged


# what is on the disk


def _corrupt(path: Path) -> None:
    path.write_bytes(b"this is not a database, however long one looks at it" * 40)


def test_a_corrupt_storage_is_named(workspace: Workspace) -> None:
    with tune.searching(_request(workspace)) as search:
        path = search.folder / "trials.sqlite"
    _corrupt(path)
    with pytest.raises(FerBenchError, match=r"trials.sqlite: not a readable search .*delete it"):
        tune.searching(_request(workspace)).__enter__()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("data", "data differ"),
        ("recipe", "recipe"),
        ("revision", "model differ"),
        ("labels", "folds differ"),
        ("space", "space differ"),
    ],
)
def test_the_trials_of_another_search_are_refused(
    project: Workspace, monkeypatch: pytest.MonkeyPatch, change: str, words: str
) -> None:
    with tune.searching(_request(project)):
        pass
    spec, dataset = tiny.SPEC, tiny.dataset()
    if change == "data":
        dataset = replace(dataset, fingerprint="another")
    elif change == "labels":
        dataset = replace(dataset, targets=np.roll(dataset.targets, 1))
    elif change == "recipe":
        spec = replace(spec, recipes=(replace(tiny.PLAIN, optimizer=Optimizer(name="adam", lr=1e-2)),))
    elif change == "revision":
        spec = replace(spec, revision=2)
    else:
        monkeypatch.setattr(tune, "space", lambda *_: {"lr": tune.Range(1.0, 2.0)})
    monkeypatch.setattr(tiny, "SPEC", spec)
    monkeypatch.setattr(data, "load", lambda *_, **__: dataset)
    with pytest.raises(FerBenchError, match=f"another search.*{words}.*delete it"):
        tune.searching(_request(project)).__enter__()


def test_one_process_at_a_time(workspace: Workspace) -> None:
    with tune.searching(_request(workspace)), pytest.raises(FerBenchError, match="another process"):
        tune.searching(_request(workspace)).__enter__()


# the command


@pytest.fixture
def command() -> list[str]:
    return ["tune", tiny.NAME, "--protocol", "synthetic", "--recipe", "plain"]


def test_the_best_trial_becomes_a_recipe_that_runs(
    project: Workspace, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*command, "--trials", "1"]) == 0
    assert cli.main([*command, "--trials", "3", "--write", "tuned_tiny.py"]) == 0
    out = capsys.readouterr().out
    assert "searching lr 0.0003 to 0.03, beta1 0.7 to 0.98" in out
    assert out.count("trial 1 of 3") == 0  # it was there
    with tune.searching(_request(project)) as search:
        best = search.ranked()[0]
        assert len(search.trials()) == 3
    assert best.accuracy == max(trial.accuracy for trial in search.trials())
    recipe = registry.get_spec("tuned_tiny:SPEC").recipe("tuned", "synthetic")
    assert recipe == replace(tune.changed(tiny.PLAIN, best.values), name="tuned", note=recipe.note)
    assert f"trial {best.number} of 3 (0 diverged), seed 0, {100 * best.accuracy:.2f}% on select" in recipe.note
    assert "tiny.plain but for what a random search on synthetic chose" in recipe.note
    assert cli.main(["run", "--spec", "tuned_tiny:SPEC", "--protocol", "synthetic", "--quick"]) == 0
    assert cli.main([*command, "--trials", "3", "--write", "tuned_tiny.py"]) == 0  # its own file may be replaced


def test_cross_validation_is_said(project: Workspace, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*command, "--trials", "1", "--folds", "2", "--write", "tuned_folds.py"]) == 0
    out = capsys.readouterr().out
    assert "±" in out
    assert "\N{HORIZONTAL ELLIPSIS}" not in out  # nothing is cut off at 80 columns
    assert "2-fold cross-validation" in registry.get_spec("tuned_folds:SPEC").recipes[0].note


def test_the_budget_starts_no_trial_too_many(
    project: Workspace, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*command, "--trials", "1"]) == 0
    assert cli.main([*command, "--trials", "2", "--budget", "0.001s"]) == 0
    assert "1 of 2 trials: the next does not fit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lin_shy", "--protocol", "fer2013", "--trials", "1"], "did you mean 'lin_shi'"),
        (["lin_shi", "--protocol", "fer2012", "--trials", "1"], "did you mean 'fer2013'"),
        (["lin_shi", "--protocol", "fer2013", "--recipe", "papr", "--trials", "1"], "did you mean 'paper'"),
        (["lin_shi", "--protocol", "fer2013"], "--trials"),
        (["lin_shi", "--protocol", "fer2013", "--trials", "0"], "positive whole number"),
        (["lin_shi", "--protocol", "fer2013", "--trials", "-3"], "positive whole number"),
        (["lin_shi", "--protocol", "fer2013", "--trials", "1", "--budget", "0s"], "--budget"),
        (["lin_shi", "--protocol", "fer2013", "--trials", "1", "--budget", "-5m"], "--budget"),
        (["lin_shi", "--protocol", "fer2013", "--trials", "1", "--folds", "1"], "2 or more"),
        (["lin_shi", "--protocol", "fer2013", "--trials", "1", "--seed", "x"], "whole number"),
        (["lin_shi", "--protocol", "fer2013", "--trials", "1", "--device", "tpu"], "tpu"),
        (["lin_shi", "--protocol", "fer2013", "--trials", "1", "--write", "best.txt"], "tuned.py"),
        (["lin_shi", "--protocol", "fer2013", "--trials", "1", "--write", "mine.py"], "not written by tune"),
        (["lda", "--protocol", "fer2013", "--trials", "1"], "fitted in one go"),
        (["unbuildable:SPEC", "--protocol", "synthetic", "--recipe", "plain", "--trials", "1"], "gives no network"),
        (["tiny:SPEC", "--protocol", "synthetic", "--recipe", "plain", "--trials", "1", "--folds", "99"], "--folds 99"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_bad_input_is_one_line(
    project: Workspace, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.root / "mine.py").write_text("KEEP = 1\n")
    _outside(project.root, "unbuildable", build="'nowhere:build'")
    assert cli.main(["tune", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert (project.root / "mine.py").read_text() == "KEEP = 1\n"


def test_ctrl_c_is_one_line(
    project: Workspace, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tune, "fit", interrupted)
    assert cli.main([*command, "--trials", "1"]) == 130
    error = capsys.readouterr().err
    assert "the same command goes on" in error
    assert error.count("\n") == 1


@pytest.fixture
def long_search(tmp_path: Path, command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A search in a process of its own, in the middle of its second trial."""
    code = (
        "import sys; from pathlib import Path; import tiny; from fer_bench import cli, data, tune; "
        "from fer_bench.records import Workspace; "
        f"Workspace.__init__ = lambda self: object.__setattr__(self, 'root', Path({str(tmp_path)!r})); "
        "data.load = lambda *_, **__: tiny.dataset(); "
        f"sys.exit(cli.main({[*command, '--trials', '999']}))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("trial 2 of 999: epoch 2"):
            break
    yield process
    process.kill()
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_search_that_is_ended_from_outside_goes_on(
    long_search: subprocess.Popen[str], tmp_path: Path, how: signal.Signals
) -> None:
    long_search.send_signal(how)
    _, error = long_search.communicate(timeout=60)
    if how == signal.SIGINT:
        assert long_search.returncode == 130
        assert error.count("\n") == 1
        assert "the same command goes on" in error
    with tune.searching(_request(Workspace(tmp_path))) as search:
        before = len(search.trials())
        assert before >= 1
        assert search.run_next(CPU).number == before + 1
