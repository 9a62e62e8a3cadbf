"""The classical models say what scikit-learn's say, also where classes are missing, and hide no path of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import tiny
import torch
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fer_bench import bench, data, leaderboard, registry, weights
from fer_bench.bench import RunRequest, run
from fer_bench.errors import FerBenchError
from fer_bench.fit import Fitted, TrainingData, fit
from fer_bench.labels import FER2013
from fer_bench.models._estimators import ForestOnFeatures, LinearClassifier, NearestNeighbour, Qda
from fer_bench.records import Workspace, read_arrays
from fer_bench.trainer import Compute

NAMES = ("nearest_neighbour", "lda", "qda", "logreg")
CPU = Compute(threads=1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """scikit-learn's own threads would fight with those of the other tests."""
    with threadpool_limits(1):
        yield


def noise(per_class: tuple[int, ...], seed: int = 0) -> TrainingData:
    """Noise with a blob of its own for each class; as many images of each class as said, the same to select on."""
    rng = np.random.default_rng(seed)
    targets = np.repeat(np.arange(len(per_class)), per_class)
    images = rng.integers(0, 200, (len(targets), 48, 48), dtype=np.uint8)
    for image, target in zip(images, targets, strict=True):
        image[6 * target : 6 * target + 6, :20] += 20
    return TrainingData(images, targets, images[::-1], targets[::-1], FER2013.classes)


def fitted(name: str, given: TrainingData) -> Fitted:
    spec = registry.get_spec(name)
    return fit(spec, spec.recipe("paper"), given, seed=0, compute=CPU)


def flat(images: Any) -> npt.NDArray[np.float64]:
    result: npt.NDArray[np.float64] = images.reshape(len(images), -1) / 255
    return result


def as_input(images: Any) -> torch.Tensor:
    return torch.from_numpy(images[:, None] / 255).float()


def logits(network: Any, given: TrainingData, **options: Any) -> torch.Tensor:
    """Of `OTHERS`, by a network fitted to the given images."""
    network.fit(as_input(given.train_images), torch.from_numpy(given.train_targets), **options)
    with torch.no_grad():
        result: torch.Tensor = network(as_input(OTHERS))
    return result


def probabilities(model: Any, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """An estimator's, with a column for each of the seven classes."""
    result = np.zeros((len(points), 7))
    result[:, model.classes_] = model.predict_proba(points)
    return result


FEW, OTHERS = noise((12,) * 7), noise((5,) * 7, seed=1).train_images
FIVE, TWO = (3, 0, 5, 1, 4, 3, 0), (0, 0, 4, 0, 0, 5, 0)


@pytest.mark.parametrize("per_class", [(12,) * 7, FIVE, TWO], ids=["seven", "five", "two"])
@pytest.mark.parametrize("name", ["lda", "softmax"])
def test_linear_classifiers_are_scikit_learns(name: Any, per_class: tuple[int, ...]) -> None:
    given = noise(per_class)
    mean, std = flat(given.train_images).mean(axis=0), flat(given.train_images).std(axis=0)
    options: dict[str, Any] = {"solver": "svd"} if name == "lda" else {"C": 1e-2}
    model = (LinearDiscriminantAnalysis if name == "lda" else LogisticRegression)(**options)
    model.fit((flat(given.train_images) - mean) / std, given.train_targets)
    ours = torch.softmax(logits(LinearClassifier(7, name), given, **options), dim=1)
    np.testing.assert_allclose(ours.numpy(), probabilities(model, (flat(OTHERS) - mean) / std), atol=2e-3)


def test_qda_is_scikit_learns_on_principal_components() -> None:
    given = noise((40,) * 7)
    pca = PCA(6, whiten=True, svd_solver="full").fit(flat(given.train_images))
    model = QuadraticDiscriminantAnalysis(reg_param=0.3).fit(
        pca.transform(flat(given.train_images)), given.train_targets
    )
    ours = torch.softmax(logits(Qda(7, 6), given, reg_param=0.3), dim=1)
    # Its releases divide a covariance by n or by n - 1.
    np.testing.assert_allclose(ours.numpy(), model.predict_proba(pca.transform(flat(OTHERS))), atol=0.03)


@pytest.mark.parametrize("per_class", [(12,) * 7, FIVE, TWO], ids=["seven", "five", "two"])
def test_the_forest_is_scikit_learns(per_class: tuple[int, ...], tmp_path: Path) -> None:
    given = noise(per_class)
    torch.manual_seed(3)
    model = RandomForestClassifier(20, random_state=int(torch.randint(2**31, ())))
    model.fit(flat(given.train_images).astype(np.float32), given.train_targets)
    torch.manual_seed(3)
    ours = torch.softmax(logits(network := ForestOnFeatures(torch.nn.Flatten(), 7), given, n_estimators=20), dim=1)
    np.testing.assert_allclose(ours.numpy(), probabilities(model, flat(OTHERS)), atol=1e-6)
    again = ForestOnFeatures(torch.nn.Flatten(), 7)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(as_input(OTHERS)), network(as_input(OTHERS)))


def test_a_forest_stands_on_the_network_that_it_starts_from() -> None:
    source = registry.build(registry.get_spec("ranjan_2"), 7).eval()
    forest = cast(Any, registry.build(registry.get_spec("ranjan_2_forest"), 7).eval())
    forest.start_from(source.state_dict())
    with torch.no_grad():
        seen = forest.body(as_input(OTHERS))
        assert seen.shape == (len(OTHERS), 512)
        assert torch.equal(cast(Any, source)[-1](seen), source(as_input(OTHERS)))


def test_the_nearest_neighbour_is_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer_bench.models._estimators.CHUNK", 5)
    model = KNeighborsClassifier(1).fit(flat(FEW.train_images), FEW.train_targets)
    ours = logits(NearestNeighbour(7, 0), FEW)
    np.testing.assert_array_equal(ours.argmax(dim=1).numpy(), model.predict(flat(OTHERS)))
    assert set(ours.flatten().tolist()) == {0, 10} and (ours.sum(dim=1) == 10).all()


def test_of_equally_near_faces_the_first_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer_bench.models._estimators.CHUNK", 5)
    face: Any = FEW.train_images[:1]
    twins = dataclasses.replace(FEW, train_images=np.repeat(face, 20, axis=0), train_targets=np.arange(20) % 7)
    twins.train_targets[0] = 4
    predictor = fitted("nearest_neighbour", twins).predictor
    assert predictor.predict(np.repeat(face, 3, axis=0)).argmax(axis=1).tolist() == [4, 4, 4]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("per_class", [FIVE, TWO], ids=["five", "two"])
def test_missing_classes_keep_their_columns_and_never_win(name: str, per_class: tuple[int, ...]) -> None:
    """A quick run's few images: fewer than the components, too, and a class with a single one."""
    outcome = fitted(name, noise(per_class))
    for images in (noise(per_class).train_images, OTHERS):
        predicted = outcome.predictor.predict(images)
        assert predicted.shape == (len(images), 7)
        np.testing.assert_allclose(predicted.sum(axis=1), 1, rtol=1e-5)
        assert predicted[:, np.array(per_class) == 0].max() < 1e-4
    if name in ("qda", "nearest_neighbour"):
        assert outcome.history[0]["select_accuracy"] == 1


def test_what_scikit_learn_refuses_is_one_line() -> None:
    with pytest.raises(FerBenchError, match=r"logreg.paper can't be fitted to these images: .*class") as caught:
        fitted("logreg", noise((9,)))
    assert "\n" not in str(caught.value)


def request_of(name: str, workspace: Workspace, **changes: Any) -> RunRequest:
    request = RunRequest(model=name, recipe="paper", protocol="synthetic", workspace=workspace)
    return dataclasses.replace(request, **changes)


@pytest.fixture
def small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "load", lambda *_, **__: tiny.dataset())


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_a_run_as_any(name: str, workspace: Workspace, small_data: None) -> None:
    """The same bytes each time, scored as they were saved, verified as any, and on the processor."""
    request = request_of(name, workspace)
    record = run(request, Compute(bf16=True, threads=1))
    assert (record.device.type, record.device.precision, record.device.threads) == ("cpu", "float32", [1])
    assert record.parameters == registry.get_spec(name).parameters
    [info] = record.folds
    assert [row["epoch"] for row in info.history] == [info.epoch] == [1]
    assert info.history[0]["select_accuracy"] == pytest.approx(record.accuracy(part="select"), abs=0.03)
    assert {result.path: result.failures for result in leaderboard.verify(workspace)}[request.record_path] == []

    arrays = read_arrays(request.record_path.with_suffix(".npz"))
    predictor = weights.load(request.folder / "fold0.safetensors")
    dataset = tiny.dataset()
    place = {id_: index for index, id_ in enumerate(dataset.ids)}
    images = dataset.images[[place[id_] for id_ in arrays["test_ids"]]]
    np.testing.assert_array_equal(arrays["test_flip"], predictor.predict(images, "flip"))

    again = run(request_of(name, Workspace(workspace.root / "again")), CPU)
    assert again.folds[0].weights_sha256 == info.weights_sha256
    assert again.predictions.sha256 == record.predictions.sha256


def test_as_many_faces_come_back_as_were_kept(tmp_path: Path) -> None:
    predictor = fitted("nearest_neighbour", FEW).predictor
    predictor.metadata = {"model": "nearest_neighbour", "model_revision": 1, "model_options": {}}
    weights.save(predictor, tmp_path / "net.safetensors")
    network = weights.load(tmp_path / "net.safetensors").network
    np.testing.assert_array_equal(cast(Any, network).faces, FEW.train_images.reshape(84, -1).astype(int) - 128)
    np.testing.assert_array_equal(cast(Any, network).labels, FEW.train_targets)


@pytest.mark.parametrize("name", NAMES)
def test_a_quick_run_is_of_a_few_images(name: str, workspace: Workspace, small_data: None) -> None:
    request = request_of(name, workspace, quick=True)
    record = run(request, CPU)
    assert sum(record.folds[0].counts["train"].values()) == bench.QUICK_TRAIN
    assert read_arrays(request.record_path.with_suffix(".npz"))["test_plain"].shape == (bench.QUICK_TEST, 7)


def test_training_faces_are_never_shipped(workspace: Workspace) -> None:
    with pytest.raises(FerBenchError, match="nearest_neighbour are shipped: its weights are the training faces"):
        weights.load_published(workspace, "nearest_neighbour")
