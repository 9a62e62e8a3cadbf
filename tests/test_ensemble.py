"""Ensembles: the mean of stored predictions, chosen on `select` and on nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import MakeRecord
from hypothesis import given
from hypothesis import strategies as st

from fer_bench import cli, data, ensemble, leaderboard, metrics
from fer_bench.errors import FerBenchError, UnknownNameError
from fer_bench.records import FoldInfo, Workspace, arrays_digest, read_arrays, write_record


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """The records are fabricated: the real data sets have nothing to say about them."""
    monkeypatch.setattr(data, "status", lambda _: [])


def ensemble_failures(workspace: Workspace) -> list[str]:
    (result,) = (result for result in leaderboard.verify(workspace) if result.path == path_of(workspace))
    return result.failures


def path_of(workspace: Workspace, protocol: str = "fer2013") -> Path:
    return workspace.record_path(protocol, "ensemble", "greedy", 0)


def test_two_that_err_differently_are_better_together() -> None:
    truth = np.array([0, 0, 1, 1])
    first = [[0.9, 0.1], [0.4, 0.6], [0.1, 0.9], [0.1, 0.9]]
    second = [[0.4, 0.6], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9]]
    useless = [[0.5, 0.5]] * 4
    assert sorted(set(ensemble.choose(truth, [useless, first, second]))) == [1, 2]


def test_one_that_is_never_wrong_and_always_sure_stays_alone() -> None:
    truth = np.array([0, 1, 1])
    assert ensemble.choose(truth, [[[0.5, 0.5]] * 3, np.eye(2)[truth]]) == [1]


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_what_is_chosen_is_never_less_likely_than_the_best_alone(seed: int, members: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, 30)
    values = rng.dirichlet(np.ones(3), (members, 30))
    picks = ensemble.choose(truth, list(values), picks=6)
    together = metrics.evaluate(truth, np.mean([values[pick] for pick in picks], axis=0)).log_loss
    assert together <= min(metrics.evaluate(truth, one).log_loss for one in values) + 1e-12
    assert 1 <= len(picks) <= 6


def test_a_row_with_its_members(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace, "lin_shi", accuracy=0.6)
    make_record(workspace, "ranjan_1", accuracy=0.6)
    record = ensemble.build(workspace, "fer2013")
    weights = sum(member.times for member in record.members)
    arrays = {run.record.model: ensemble.calibrated(run) for run in ensemble.candidates(workspace, "fer2013")}
    for view in ("test_plain", "test_ten_crop", "select_flip"):
        expected = sum(member.times * arrays[member.model][view] for member in record.members) / weights
        np.testing.assert_allclose(read_arrays(path_of(workspace).with_suffix(".npz"))[view], expected, atol=1e-6)
    row = leaderboard.build(workspace).query("model == 'ensemble'").iloc[0]
    assert all(member.model in row["members"] for member in record.members)
    assert all(result.ok for result in leaderboard.verify(workspace)), "numbers and mean are recomputed"


def test_images_are_paired_by_fold_and_name(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace, "lin_shi", accuracy=0.6)
    make_record(workspace, "ranjan_1", accuracy=0.6)
    one, other = (run.arrays for run in ensemble.candidates(workspace, "fer2013"))
    rng = np.random.default_rng(0)
    orders = {part: rng.permutation(len(other[f"{part}_ids"])) for part in ("select", "test")}
    shuffled = {key: value[orders[key.partition("_")[0]]] for key, value in other.items()}
    expected, found = ensemble.average([(one, 2), (other, 1)]), ensemble.average([(one, 2), (shuffled, 1)])
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    with pytest.raises(FerBenchError, match="different test images"):
        ensemble.average([(one, 1), (other | {"test_ids": np.char.add(other["test_ids"], "x")}, 1)])


def test_where_one_fold_selects_on_what_another_tests_there_is_none(
    workspace: Workspace, make_record: MakeRecord
) -> None:
    make_record(workspace, "lin_shi", protocol="ckplus_subject")
    make_record(workspace, "ranjan_1", protocol="ckplus_subject")
    with pytest.raises(FerBenchError, match="no ensemble on ckplus_subject: what one of its folds selects on"):
        ensemble.build(workspace, "ckplus_subject")


def test_members_that_saw_select_come_from_elsewhere_or_are_never_shipped_are_no_candidates(
    workspace: Workspace, make_record: MakeRecord
) -> None:
    honest = make_record(workspace, "lin_shi")
    seen = [FoldInfo.model_validate(fold.model_dump() | {"trained_on_select": True}) for fold in honest.folds]
    make_record(workspace, "ranjan_1", folds=[fold.model_dump() for fold in seen], accuracy=0.99)
    make_record(workspace, "resnet18", "fer_bench", external=True, accuracy=0.99)
    make_record(workspace, "nearest_neighbour", accuracy=0.99)
    assert [run.record.model for run in ensemble.candidates(workspace, "fer2013")] == ["lin_shi"]
    with pytest.raises(FerBenchError, match="there is one: run more"):
        ensemble.build(workspace, "fer2013")


def test_an_ensemble_is_no_member_of_the_next(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace, "lin_shi")
    make_record(workspace, "ranjan_1")
    first = ensemble.build(workspace, "fer2013")
    assert ensemble.build(workspace, "fer2013").predictions == first.predictions


def test_another_choice_is_noticed(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace, "lin_shi", accuracy=0.5)
    make_record(workspace, "ranjan_1", accuracy=0.6)
    ensemble.build(workspace, "fer2013")
    assert not ensemble_failures(workspace)
    make_record(workspace, "ranjan_2", accuracy=0.95)
    (failure,) = ensemble_failures(workspace)
    assert "another one" in failure and "ensemble --protocol fer2013" in failure


@pytest.mark.parametrize("field", ["parameters", "multiply_adds"])
def test_what_is_not_its_members_is_noticed(workspace: Workspace, make_record: MakeRecord, field: str) -> None:
    make_record(workspace, "lin_shi")
    make_record(workspace, "ranjan_1")
    record = ensemble.build(workspace, "fer2013")
    arrays = read_arrays(path_of(workspace).with_suffix(".npz"))
    write_record(path_of(workspace), record.model_copy(update={field: 5}), arrays)
    assert any(field in failure for failure in ensemble_failures(workspace))


def test_predictions_that_are_not_the_mean_are_noticed(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace, "lin_shi")
    make_record(workspace, "ranjan_1")
    record = ensemble.build(workspace, "fer2013")
    arrays = read_arrays(path_of(workspace).with_suffix(".npz"))
    arrays["test_plain"] = arrays["test_plain"][:, ::-1].copy()
    predictions = record.predictions.model_copy(update={"sha256": arrays_digest(arrays)})
    write_record(path_of(workspace), record.model_copy(update={"predictions": predictions}), arrays)
    assert any("another one (ensemble." in failure for failure in ensemble_failures(workspace))


def test_command(
    workspace: Workspace, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = workspace.root
    monkeypatch.setattr(Workspace, "__init__", lambda self, root=root: object.__setattr__(self, "root", root))
    assert cli.main(["ensemble", "--protocol", "fer2013"]) == 2
    assert "there are none" in capsys.readouterr().err
    make_record(workspace, "lin_shi")
    make_record(workspace, "ranjan_1")
    assert cli.main(["ensemble", "--protocol", "fer2013"]) == 0
    assert "their mean on fer2013" in capsys.readouterr().out
    with pytest.raises(UnknownNameError):
        ensemble.build(workspace, "fer2014")
