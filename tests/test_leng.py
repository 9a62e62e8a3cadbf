"""The networks on hand-crafted features: what they compute, and runs of them from the features to the record."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tiny
import torch
from conftest import fake_dataset
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.svm import SVC

from fer_bench import bench, data, leaderboard, registry, weights
from fer_bench.bench import RunRequest, run
from fer_bench.data import sfew
from fer_bench.errors import DataNotFoundError, FerBenchError
from fer_bench.features import PARTS, lpq_phog
from fer_bench.fit import TrainingData, fit
from fer_bench.models._features import BINS, Features, LengMlp, LengSvm, _row
from fer_bench.predict import Predictor
from fer_bench.recognition import recognise
from fer_bench.records import RunRecord, Workspace, read_arrays
from fer_bench.trainer import Compute

CPU = Compute(threads=1)
ADAM: dict[str, Any] = {"normalised": True, "optimizer": "adam", "lr": 0.01}


def cloud(per_class: int = 12, classes: int = 7, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, 10) features that hardly tell the classes apart, some missing, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(classes).repeat_interleave(per_class)
    x = torch.randn(len(targets), 10, generator=generator) + 0.7 * targets[:, None]
    x[3, 5:] = torch.nan
    return x, targets


def mlp(seed: int = 0, hidden: int = 20) -> LengMlp:
    torch.manual_seed(seed)
    return LengMlp(7, hidden)


# features


def test_own_features_are_the_first_components_of_each_part() -> None:
    images = tiny.dataset().images[:40]
    pixels = torch.from_numpy(images[:, None] / 255).float()
    features = Features()
    assert features.fit(pixels, normalised=False) == 0
    descriptors = lpq_phog(images).astype(np.float64)
    for part, ours in zip(PARTS.values(), features(pixels).numpy().reshape(40, 2, 5).swapaxes(0, 1), strict=True):
        theirs = PCA(5, svd_solver="full").fit_transform(descriptors[:, part])
        np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-6)
    normalised = Features()
    normalised.fit(pixels, normalised=True)
    np.testing.assert_allclose(normalised(pixels).std(dim=0, correction=0), 1, rtol=1e-4)


def test_few_faces_determine_few_components() -> None:
    pixels = torch.from_numpy(tiny.dataset().images[:3, None] / 255).float()
    features = Features()
    features.fit(pixels, normalised=True)
    assert features(pixels).isfinite().all()
    assert not features.axes[[2, 3, 4, 7, 8, 9]].any() and features.axes[[0, 1, 5, 6]].any(dim=1).all()


def test_what_is_missing_is_the_training_parts_mean() -> None:
    x, _ = cloud()
    features = Features()
    assert features.fit(x, normalised=False) == 5
    np.testing.assert_allclose(features(x)[3, 5:], np.nanmean(x[:, 5:], axis=0), rtol=1e-6)
    torch.testing.assert_close(features(x)[:3], x[:3])
    normalised = Features()
    normalised.fit(x, normalised=True)
    torch.testing.assert_close(normalised(torch.full((1, 10), torch.nan)), torch.zeros(1, 10), rtol=0, atol=1e-6)


# the MLP


def test_removal_by_hand_in_the_training_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds at epochs 4, 6 and 8: who goes follows from the errors at that epoch of a network trained alike."""
    x, targets = cloud()
    removal = {"start": 4, "every": 2, "alpha": 0.0, "stop_variance": 0.0}
    history = mlp().fit(x, targets, **ADAM, epochs=9, removal=removal)
    assert [row["epoch"] for row in history] == [4, 6, 8, 9]

    features = Features()
    features.fit(x, normalised=True)
    x = features(x)
    twin = mlp().layers
    step = torch.optim.Adam(twin.parameters(), lr=0.01)
    removed: list[int] = []
    for epoch in range(1, 9):
        step.zero_grad()
        torch.nn.functional.cross_entropy(twin(x), targets).backward()  # type: ignore[no-untyped-call]
        step.step()
        if epoch in (4, 6, 8):
            with torch.no_grad():
                chances = torch.softmax(twin(x), dim=1)[torch.arange(len(x)), targets]
            errors = -chances.log().double().numpy()
            row = history[len(removed)]
            assert row["train_loss"] == pytest.approx(errors.mean(), rel=1e-5)
            assert row["error_variance"] == pytest.approx(errors.var(), rel=1e-4)
            assert row["errors_max"] == pytest.approx(errors.max(), rel=1e-5)
            bins = [row[f"errors_{number:02d}"] for number in range(BINS)]
            assert sum(bins) == len(x) and bins[-1] >= 1
            candidates = errors[errors > errors.mean()]
            stay = torch.from_numpy(errors <= candidates.mean())
            removed.append(int((~stay).sum()))
            x, targets = x[stay], targets[stay]
            assert row["kept"] == len(x)
    assert [row["removed"] for row in history] == [*removed, 0] and min(removed) > 0


def test_removal_ends_the_training() -> None:
    x, targets = cloud()
    removal = {"start": 10, "every": 10, "alpha": 1.0, "stop_variance": 0.02}
    history = mlp().fit(x, targets, **ADAM, epochs=5000, removal=removal)
    *before, last = history
    assert last["epoch"] < 5000 and last["error_variance"] < 0.02 and last["removed"] == 0
    assert all(row["error_variance"] >= 0.02 for row in before if row["epoch"] % 10 == 0)
    assert last["imputed"] == 5 and "imputed" not in before[0]
    assert len(x) - sum(row["removed"] for row in before) == last["kept"]
    never = mlp().fit(x, targets, **ADAM, epochs=60, removal=removal | {"start_variance": 9.0})
    assert [row["epoch"] for row in never] == [10, 20, 30, 40, 50, 60] and never[-1]["kept"] == len(x)


@settings(max_examples=30)
@given(st.lists(st.floats(0, 30), min_size=1, max_size=40))
@example([5e-324])
@example([0.0])
def test_a_row_counts_every_error(errors: list[float]) -> None:
    row = _row(1, np.array(errors), 0.5, np.ones(len(errors), dtype=bool))
    assert sum(row[f"errors_{number:02d}"] for number in range(BINS)) == len(errors)


def test_a_training_that_diverges_is_one_line() -> None:
    x, targets = cloud()
    with pytest.raises(ValueError, match="the training diverged by epoch"):
        mlp().fit(x * 1e30, targets, normalised=False, optimizer="sgd", lr=1e30, epochs=100)


def test_the_seed_and_the_fold_draw_the_network() -> None:
    spec = registry.get_spec("leng_mlp")
    recipe = dataclasses.replace(spec.recipe("paper"), estimator={**ADAM, "epochs": 3})
    features = fake_features(fake_dataset("sfew_2fold"))
    given = TrainingData(
        features, fake_dataset("sfew_2fold").targets, features[:0], np.array([], dtype=np.int64), tuple("abcdefg")
    )

    def first(seed: int, fold: int) -> bytes:
        network: Any = fit(spec, recipe, given, seed=seed, fold=fold, compute=CPU).predictor.network
        return bytes(network.layers[0].weight.detach().numpy().tobytes())

    assert first(0, 0) == first(0, 0)
    assert len({first(0, 0), first(0, 1), first(1, 0)}) == 3


# the SVM


@pytest.mark.parametrize("classes", [7, 3, 2])
def test_the_svm_is_scikit_learns(classes: int) -> None:
    x, targets = cloud(classes=classes)
    targets = torch.tensor([1, 6, 3, 0, 2, 4, 5])[targets]
    network = LengSvm(7, 338)
    network.fit(x, targets, C=1.0, gamma=0.1)
    filled = network.features(x).numpy()
    model = SVC(C=1.0, gamma=0.1, break_ties=True).fit(filled, targets)
    others, _ = cloud(seed=1)
    others = others[~others.isnan().any(dim=1)]
    logits = network(others)
    np.testing.assert_array_equal(logits.argmax(dim=1), model.predict(others))
    if classes > 2:
        np.testing.assert_allclose(logits[:, model.classes_], model.decision_function(others), atol=1e-4)
    assert torch.isneginf(logits).sum(dim=1).eq(7 - classes).all()


# runs


def fake_features(dataset: Any) -> npt.NDArray[np.float64]:
    """As published, for any data set: clouds by class, and one frame without PHOG."""
    rng = np.random.default_rng(0)
    features: npt.NDArray[np.float64] = 0.01 * (rng.normal(size=(len(dataset), 10)) + dataset.targets[:, None])
    features[5, sfew.PUBLISHED_PARTS["phog"]] = np.nan
    return features


@pytest.fixture
def films(monkeypatch: pytest.MonkeyPatch) -> Any:
    """SFEW in 48-pixel noise."""
    dataset = fake_dataset("sfew_2fold")
    monkeypatch.setattr(data, "load", lambda *_, **__: dataset)
    monkeypatch.setattr(sfew, "published_features", fake_features)
    return dataset


def request_of(model: str, recipe: str, workspace: Workspace, **changes: Any) -> RunRequest:
    request = RunRequest(model=model, recipe=recipe, protocol="sfew_2fold", workspace=workspace)
    return dataclasses.replace(request, **changes)


def verified(workspace: Workspace, request: RunRequest, monkeypatch: pytest.MonkeyPatch, dataset: Any) -> list[str]:
    """What verify with weights says of a run."""
    status = data.DatasetStatus(dataset.name, True, "", None, "", "")
    monkeypatch.setattr(data, "status", lambda _: [status])
    [result] = [
        result for result in leaderboard.verify(workspace, with_weights=True) if result.path == request.record_path
    ]
    assert result.failures == []
    return result.notes


@pytest.mark.parametrize(("model", "recipe"), [("leng_svm", "paper"), ("leng_mlp", "paper_normalised_bdr")])
def test_a_run_on_published_features(
    model: str, recipe: str, workspace: Workspace, films: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_of(model, recipe, workspace)
    record: RunRecord = run(request, CPU)
    assert list(record.metrics) == ["test"] and list(record.metrics["test"]) == ["plain"]
    assert 0.3 < record.accuracy() < 1
    assert record.recipe["input"] == "published_features"
    assert len(request.record_path.read_bytes()) < 60_000
    arrays = read_arrays(request.record_path.with_suffix(".npz"))
    assert sorted(arrays["test_ids"]) == sorted(films.ids) and "test_flip" not in arrays
    for fold, info in enumerate(record.folds):
        assert info.epoch == info.history[-1]["epoch"]
        predictor = weights.load(request.folder / f"fold{fold}.safetensors")
        assert (predictor.input, predictor.crop, predictor.views) == ("published_features", "whole", ("plain",))
        mine = arrays["test_fold"] == fold
        of_fold = [films.ids.tolist().index(id_) for id_ in arrays["test_ids"][mine]]
        np.testing.assert_array_equal(predictor.predict(fake_features(films)[of_fold]), arrays["test_plain"][mine])
    if model == "leng_mlp":  # the missing features are in one of the halves
        assert sorted(info.history[-1]["imputed"] for info in record.folds) == [0, 5]
    assert "bit for bit" in verified(workspace, request, monkeypatch, films)[-1]
    board = leaderboard.build(workspace)
    assert board[["flip", "ten_crop"]].isna().all().all() and board["accuracy"].notna().all()

    again = run(request_of(model, recipe, Workspace(workspace.root / "again")), CPU)
    assert again.predictions.sha256 == record.predictions.sha256
    other = run(request_of(model, recipe, workspace, seed=1), CPU)
    assert (other.predictions.sha256 == record.predictions.sha256) == (model == "leng_svm")


def test_without_the_published_features_a_run_says_what_to_get(
    workspace: Workspace, films: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: object) -> None:
        raise DataNotFoundError("expected SFEW.xlsx")

    request = request_of("leng_svm", "paper", workspace)
    run(request, CPU)
    monkeypatch.setattr(sfew, "published_features", missing)
    assert verified(workspace, request, monkeypatch, films)[-1] == "leng_svm.paper not run: expected SFEW.xlsx"
    with pytest.raises(DataNotFoundError, match=r"expected SFEW\.xlsx"):
        run(dataclasses.replace(request, seed=1), CPU)


def test_a_run_on_other_published_features_is_not_done(
    workspace: Workspace, films: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def corrected(dataset: Any) -> npt.NDArray[np.float64]:
        features = fake_features(dataset)
        features[0, 0] += 0.5
        return features

    def damaged(_: object) -> None:
        raise FerBenchError("not a readable table of features")

    request = request_of("leng_svm", "paper", workspace)
    record = run(request, CPU)
    assert run(request, CPU).finished == record.finished
    # What is not at hand can't be another one.
    monkeypatch.setattr(sfew, "published_features", damaged)
    assert bench.done(request, films) is not None
    assert verified(workspace, request, monkeypatch, films)[-1] == (
        "leng_svm.paper not run: not a readable table of features"
    )

    monkeypatch.setattr(sfew, "published_features", corrected)
    assert bench.done(request, films) is None
    assert "published features of sfew at hand are others" in verified(workspace, request, monkeypatch, films)[-1]
    again = run(request, CPU)
    assert len({record.data.features, again.data.features, ""}) == 3
    assert "bit for bit" in verified(workspace, request, monkeypatch, films)[-1]

    # A run that goes on takes no fold of the other features.
    (request.folder / "fold0.json").write_text("{}")
    monkeypatch.setattr(sfew, "published_features", fake_features)
    request.record_path.unlink()
    assert run(request, CPU).predictions.sha256 == record.predictions.sha256


@pytest.mark.parametrize(("model", "recipe"), [("leng_svm", "own_features"), ("leng_mlp", "own_features_normalised")])
def test_a_quick_run_on_own_features_works_on_pixels(
    model: str, recipe: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "load", lambda *_, **__: tiny.dataset())
    request = request_of(model, recipe, workspace, protocol="synthetic", quick=True)
    record = run(request, CPU)
    assert list(record.metrics["test"]) == ["plain", "flip", "ten_crop"]
    predictor = weights.load(request.folder / "fold0.safetensors")
    assert predictor.crop == "viola_jones" and predictor.sees_faces
    picture = np.random.default_rng(0).integers(0, 256, (120, 100, 3), dtype=np.uint8)
    [reading] = recognise(picture, {model: predictor}, None).readings
    np.testing.assert_array_equal(reading.opinions[0].probabilities, predictor.predict(picture[None])[0])
    assert not weights.publish(record, request.place)


@pytest.mark.parametrize(
    "row",
    [row for row in registry.get_spec("leng_mlp").recipes if row.input == "published_features"],
    ids=lambda r: r.name,
)
def test_every_recipe_on_published_features_runs(row: Any, workspace: Workspace, films: Any) -> None:
    assert row.estimator is not None
    short = {**row.estimator, "epochs": 60}
    spec = registry.get_spec("leng_mlp")
    x, targets = cloud()
    network: Any = registry.build(spec, 7, **row.model_options)
    assert network.fit(x, targets, **short)[-1]["epoch"] <= 60
    assert json.loads(json.dumps(row.to_dict())) == row.to_dict()


def test_a_network_on_features_takes_no_pictures(workspace: Workspace, films: Any) -> None:
    request = request_of("leng_svm", "paper", workspace)
    run(request, CPU)
    predictor: Predictor = weights.load(request.folder / "fold0.safetensors")
    with pytest.raises(FerBenchError, match="takes SFEW's published features, not pictures"):
        predictor.predict(films.images[:2])
    with pytest.raises(FerBenchError, match=r"takes pictures; got an array of shape \(2, 10\)"):
        dataclasses.replace(predictor, input="pixels").predict(fake_features(films)[:2])


def test_they_are_not_shipped(workspace: Workspace) -> None:
    with pytest.raises(FerBenchError, match="no weights of leng_mlp are shipped: it is trained on SFEW alone"):
        weights.load_published(workspace, "leng_mlp")


@pytest.mark.data
def test_the_real_features_give_the_papers_baseline(tmp_path: Path) -> None:
    try:
        record = run(request_of("leng_svm", "paper", Workspace(tmp_path)), CPU)
    except DataNotFoundError as error:
        pytest.skip(str(error))
    assert record.accuracy() == pytest.approx(0.19, abs=0.01)
