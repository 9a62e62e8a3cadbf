"""A run from the request to the record on the synthetic data, and when it counts as done."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from fer_bench import bench, data, faces, inputs, metrics, scoring, weights
from fer_bench.bench import RunRequest, run
from fer_bench.data.dataset import FaceDataset, UInt8Array
from fer_bench.errors import FerBenchError, UnknownNameError
from fer_bench.fit import Progress
from fer_bench.protocols import Fold, get_protocol
from fer_bench.provenance import device_name
from fer_bench.records import RunRecord, Workspace, arrays_digest, read_arrays, read_record, write_record
from fer_bench.specs import VIEWS, ModelSpec, Optimizer
from fer_bench.trainer import Compute
from fer_bench.transforms import prepare

COMPUTE = Compute(threads=1)


@pytest.fixture(autouse=True)
def small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "load", lambda *_, **__: tiny.dataset())


@pytest.fixture
def request_(workspace: Workspace) -> RunRequest:
    return RunRequest(model=tiny.NAME, recipe="plain", protocol="synthetic", workspace=workspace)


@pytest.fixture
def other_spec(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Change fields of the tiny model's spec."""

    def change(**fields: Any) -> ModelSpec:
        spec = dataclasses.replace(tiny.SPEC, **fields)
        monkeypatch.setattr(tiny, "SPEC", spec)
        return spec

    return change


def done(request: RunRequest) -> RunRecord | None:
    return bench.done(request, data.load(get_protocol(request.protocol).dataset))


def test_other_folds_make_a_run_undone(request_: RunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    run(request_, COMPUTE)
    assert done(request_)
    swapped = [Fold(fold.train, fold.test, fold.select) for fold in get_protocol("synthetic").folds(tiny.dataset())]
    monkeypatch.setattr(bench, "folds_for", lambda *_: swapped)
    assert done(request_) is None


def no_training(*_: object, **__: object) -> Any:
    raise AssertionError("it trained")


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_run_from_end_to_end(request_: RunRequest) -> None:
    steps: list[tuple[int, int, Progress]] = []
    phases: list[str] = []
    assert done(request_) is None
    record = run(request_, COMPUTE, progress=lambda *state: steps.append(state), phase=phases.append)

    assert phases == ["reading data", "fold 1 of 1", "scoring"]
    assert [(fold, folds) for fold, folds, _ in steps] == [(0, 1)] * 15
    path = request_.record_path
    root = request_.workspace.root
    assert path == root / "leaderboard/records/synthetic/tiny.plain/s0.json"
    assert files(root) == [
        "leaderboard/records/synthetic/tiny.plain/s0.json",
        "leaderboard/records/synthetic/tiny.plain/s0.npz",
        "runs/synthetic/tiny.plain/s0/fold0.safetensors",
        "runs/synthetic/tiny.plain/s0/lock",
        "runs/synthetic/tiny.plain/s0/plan.json",
    ]
    assert read_record(path).model_dump(mode="json") == record.model_dump(mode="json")
    assert done(request_) is not None

    assert (record.model, record.recipe_name, record.protocol, record.seed) == (
        "tiny",
        "plain",
        "synthetic",
        0,
    )
    assert record.recipe == tiny.PLAIN.to_dict() and record.recipe_digest == tiny.PLAIN.digest()
    assert record.parameters == tiny.SPEC.parameters
    # Two convolutions and a dense layer, at 24, 12 and 1 pixels a side.
    assert record.multiply_adds == 24**2 * 8 * 25 + 12**2 * 16 * 8 * 9 + 144 * 7
    assert record.device.type == "cpu" and record.device.threads == [1]
    assert record.device.precision == "float32"
    assert record.data.fingerprint == tiny.dataset().fingerprint
    assert record.data.counts["train"] == dict.fromkeys(record.classes, 20)
    [fold], [info] = get_protocol("synthetic").folds(tiny.dataset()), record.folds
    assert info.digest == fold.digest(tiny.dataset())
    assert info.counts["test"] == dict.fromkeys(record.classes, 6)
    assert not info.trained_on_select and info.epoch == len(info.history) == 3
    assert info.weights_sha256 == weights.sha256(request_.folder / "fold0.safetensors")
    assert info.test_accuracy == record.accuracy()


def test_every_number_follows_from_the_predictions_and_those_from_the_network(request_: RunRequest) -> None:
    record = run(request_, COMPUTE)
    arrays = read_arrays(request_.record_path.with_suffix(".npz"))
    predictor = weights.load(request_.folder / "fold0.safetensors")
    dataset = tiny.dataset()
    [fold] = get_protocol("synthetic").folds(dataset)
    assert record.predictions.sha256 == arrays_digest(arrays)
    for part, indices in (("select", fold.select), ("test", fold.test)):
        np.testing.assert_array_equal(arrays[f"{part}_ids"], dataset.ids[indices])
        np.testing.assert_array_equal(arrays[f"{part}_targets"], dataset.targets[indices])
        for view in VIEWS:
            predicted = predictor.predict(dataset.images[indices], view)
            np.testing.assert_array_equal(arrays[f"{part}_{view}"], predicted)
            expected = metrics.evaluate(dataset.targets[indices], predicted).to_dict()
            assert json.dumps(record.metrics[part][view]) == json.dumps(expected)
    assert record.near_copy_free is None
    assert predictor.metadata["model"] == tiny.NAME and predictor.metadata["protocol"] == "synthetic"


def test_a_finished_run_does_not_train_again(request_: RunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    record = run(request_, COMPUTE)
    before = request_.record_path.read_bytes()
    monkeypatch.setattr(bench, "fit", no_training)
    assert run(request_, COMPUTE).model_dump(mode="json") == record.model_dump(mode="json")
    assert request_.record_path.read_bytes() == before


def test_what_makes_a_run_undone(request_: RunRequest, other_spec: Any) -> None:
    run(request_, COMPUTE)
    assert done(request_)
    assert done(dataclasses.replace(request_, seed=1)) is None
    assert done(dataclasses.replace(request_, quick=True)) is None
    other_spec(revision=2)
    assert done(request_) is None
    faster = dataclasses.replace(tiny.PLAIN, optimizer=Optimizer(name="adam", lr=4e-3))
    other_spec(revision=1, recipes=(faster,))
    assert done(request_) is None
    other_spec(recipes=(dataclasses.replace(tiny.PLAIN, note="Said better."),))
    assert done(request_)


@pytest.mark.parametrize("suffix", [".json", ".npz"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "of another run"])
def test_a_damaged_record_is_not_done(request_: RunRequest, suffix: str, damage: str) -> None:
    run(request_, COMPUTE)
    path = request_.record_path.with_suffix(suffix)
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        other = dataclasses.replace(request_, seed=1)
        run(other, COMPUTE)
        path.write_bytes(other.record_path.with_suffix(suffix).read_bytes())
    assert done(request_) is None
    assert run(request_, COMPUTE) and done(request_)


def test_other_data_run_again(request_: RunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(request_, COMPUTE)
    changed = dataclasses.replace(tiny.dataset(), fingerprint="other")
    monkeypatch.setattr(data, "load", lambda *_, **__: changed)
    second = run(request_, COMPUTE)
    assert second.data.fingerprint == "other"
    assert second.predictions.sha256 == first.predictions.sha256
    assert second.folds[0].train_seconds != first.folds[0].train_seconds


def test_a_changed_recipe_starts_from_the_beginning(request_: RunRequest, other_spec: Any) -> None:
    class KilledError(Exception):
        pass

    def kill(_fold: int, _folds: int, state: Progress) -> None:
        if state.epoch == 3:
            raise KilledError

    def interrupted() -> list[str]:
        with pytest.raises(KilledError):
            run(request_, COMPUTE, progress=kill, checkpoint_seconds=0)
        return files(request_.folder)

    assert interrupted() == ["checkpoint0.pt", "lock", "plan.json"]
    other_spec(recipes=(dataclasses.replace(tiny.PLAIN, batch_size=16),))
    record = run(request_, COMPUTE)
    fresh = run(dataclasses.replace(request_, workspace=Workspace(request_.workspace.root / "fresh")), COMPUTE)
    assert record.predictions.sha256 == fresh.predictions.sha256


def test_several_folds_are_pooled_and_resumed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tiny.dataset()
    films = np.array([f"film {int(person[-2:]) % 9}" for person in source.groups["subject"]])
    films_set = dataclasses.replace(source, name="sfew", groups={"movie": films}, split=None)
    monkeypatch.setattr(data, "load", lambda *_, **__: films_set)
    request = RunRequest(model=tiny.NAME, recipe="plain", protocol="sfew_2fold", workspace=workspace)

    def kill(fold: int, _: int, state: Progress) -> None:
        if (fold, state.epoch) == (1, 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(request, COMPUTE, progress=kill, checkpoint_seconds=0)
    assert "fold0.json" in files(request.folder)
    monkeypatch.setattr("fer_bench.fit.device_name", lambda _: "another processor")
    seen: list[int] = []
    record = run(request, COMPUTE, progress=lambda fold, _, state: seen.append(fold))
    assert set(seen) == {1}
    assert record.device.name == f"{device_name(COMPUTE)} then another processor" and record.device.threads == [1]
    arrays = read_arrays(request.record_path.with_suffix(".npz"))
    assert sorted(arrays["test_ids"]) == sorted(films_set.ids)
    np.testing.assert_array_equal(arrays["test_fold"], [0] * 109 + [1] * 108)
    assert all(info.trained_on_select and not sum(info.counts["select"].values()) for info in record.folds)
    assert "select" not in record.metrics
    sizes = [109, 108]
    pooled = sum(info.test_accuracy * n for info, n in zip(record.folds, sizes, strict=True)) / 217
    assert record.accuracy() == pytest.approx(pooled)
    undisturbed = run(dataclasses.replace(request, workspace=Workspace(workspace.root / "undisturbed")), COMPUTE)
    assert record.predictions.sha256 == undisturbed.predictions.sha256
    assert [info.weights_sha256 for info in record.folds] == [info.weights_sha256 for info in undisturbed.folds]


def test_a_recipe_that_selects_does_not_train_on_select(workspace: Workspace) -> None:
    source = dataclasses.replace(tiny.dataset(), name="sfew", split=None)
    request = RunRequest(model=tiny.NAME, recipe="stopping", protocol="sfew_2fold", workspace=workspace)
    for recipe, selects in (("stopping", True), ("plain", False)):
        folds = bench.folds_for(dataclasses.replace(request, recipe=recipe), source, get_protocol("sfew_2fold"))
        assert [bool(len(fold.select)) for fold in folds] == [selects] * 2


def test_quick_runs_are_short(request_: RunRequest) -> None:
    quick = dataclasses.replace(request_, recipe="modern", quick=True)
    steps: list[Progress] = []
    record = run(quick, COMPUTE, progress=lambda _fold, _folds, state: steps.append(state))
    assert len(steps) == bench.QUICK_STEPS
    counts = {part: sum(of.values()) for part, of in record.folds[0].counts.items()}
    assert counts == {"train": bench.QUICK_TRAIN, "select": bench.QUICK_TEST, "test": bench.QUICK_TEST}
    assert done(quick) and not done(dataclasses.replace(quick, quick=False))


def test_a_quick_fold_is_a_part_of_the_fold() -> None:
    fold = Fold(np.arange(100), np.arange(100, 110), np.arange(110, 200))
    quick = bench.quick_fold(fold, 3)
    for name, part in quick.parts().items():
        assert set(part) <= set(fold.parts()[name]) and np.all(np.diff(part) > 0)
    assert [len(part) for part in quick.parts().values()] == [bench.QUICK_TRAIN, 10, bench.QUICK_TEST]
    np.testing.assert_array_equal(quick.train, bench.quick_fold(fold, 3).train)


LOCKED = """
import sys, filelock
with filelock.FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_run_at_work_elsewhere_is_left_alone(request_: RunRequest) -> None:
    request_.folder.mkdir(parents=True)
    command = [sys.executable, "-c", LOCKED, str(request_.folder / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(FerBenchError, match="another process is at work on it") as caught:
            run(request_, COMPUTE)
        assert "\n" not in str(caught.value) and "plain on synthetic, seed 0" in str(caught.value)
        assert files(request_.folder) == ["lock"]
        other.communicate("\n")
    assert run(request_, COMPUTE)


def test_a_lock_is_given_back_after_an_error(request_: RunRequest, other_spec: Any) -> None:
    other_spec(build="tiny:build_broken")
    kept = []  # as a notebook keeps the last exception, and with it all that stood on the stack
    for _ in range(2):
        with pytest.raises(FerBenchError, match="diverged") as caught:
            run(request_, COMPUTE)
        kept.append(caught)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"model": "lin_shy"}, "unknown model 'lin_shy': did you mean 'lin_shi'"),
        ({"model": "lin_shi", "recipe": "papr"}, "unknown recipe of lin_shi 'papr': did you mean 'paper'"),
        ({"protocol": "sinthetic"}, "unknown protocol 'sinthetic': did you mean 'synthetic'"),
    ],
)
def test_unknown_names(request_: RunRequest, changes: dict[str, str], match: str) -> None:
    with pytest.raises(UnknownNameError, match=match):
        run(dataclasses.replace(request_, **changes), COMPUTE)  # type: ignore[arg-type]
    assert files(request_.workspace.root) == []


def test_transfer_starts_from_the_shipped_network(workspace: Workspace, request_: RunRequest, other_spec: Any) -> None:
    transfer = dataclasses.replace(tiny.PLAIN, name="from_fer2013", pretrained="fer2013", frozen=True)
    other_spec(recipes=(*tiny.SPEC.recipes, transfer))
    request = dataclasses.replace(request_, recipe="from_fer2013")
    with pytest.raises(FerBenchError, match="run --model tiny --protocol fer2013 --recipe fer_bench` first"):
        run(request, COMPUTE)
    run(request_, COMPUTE)
    source = request_.folder / "fold0.safetensors"
    target = weights.published_path(workspace, "tiny", "fer_bench")
    target.parent.mkdir(parents=True)
    target.write_bytes(source.read_bytes())
    record = run(request, COMPUTE)
    assert record.pretrained == "fer2013" and record.pretrained_sha256 == weights.sha256(target)
    one, other = (weights.load(path).network for path in (source, request.folder / "fold0.safetensors"))
    for (name, before), after in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(before, after) != name.startswith("9."), name


def test_a_pupil_learns_its_teachers_answers(workspace: Workspace, request_: RunRequest, other_spec: Any) -> None:
    pupil = dataclasses.replace(
        tiny.PLAIN, name="distilled", datasets=("synthetic",), teachers=("tiny.plain", "tiny.modern"), taught=0.4
    )
    other_spec(recipes=(*tiny.SPEC.recipes, pupil))
    request = dataclasses.replace(request_, recipe="distilled")
    teachers = [weights.published_path(workspace, "tiny", recipe) for recipe in ("plain", "modern")]
    assert request.sources == (("fer2013", "tiny", "plain"), ("fer2013", "tiny", "modern"))
    teachers[0].parent.mkdir(parents=True)
    for path in teachers:
        with pytest.raises(FerBenchError, match=f"needs {path.name}, which is not there"):
            run(request, COMPUTE)
        taught = dataclasses.replace(request_, recipe=path.name.split(".")[1])
        run(taught, COMPUTE)
        path.write_bytes((taught.folder / "fold0.safetensors").read_bytes())

    fold, dataset = get_protocol("synthetic").folds(tiny.dataset())[0], tiny.dataset()
    targets = bench._taught(request, pupil, dataset, fold, 0, COMPUTE)
    np.testing.assert_array_equal(bench._taught(request, pupil, dataset, fold, 0, COMPUTE), targets)  # read back
    answers = np.mean([weights.load(path).predict(dataset.images[fold.train]) for path in teachers], axis=0)
    labels = dataset.targets[fold.train]
    np.testing.assert_allclose(targets, 0.6 * np.eye(7)[labels] + 0.4 * answers, atol=1e-6)
    np.testing.assert_array_equal(targets.argmax(axis=1), labels)

    record = run(request, COMPUTE)
    assert record.pretrained == "none" and len(record.pretrained_sha256) == 64
    alone = run(dataclasses.replace(request_, recipe="plain"), COMPUTE)
    assert record.folds[0].history[-1]["train_loss"] != alone.folds[0].history[-1]["train_loss"]
    assert done(request) is not None
    teachers[1].write_bytes(teachers[0].read_bytes())
    assert done(request) is None


def test_a_transfer_is_as_old_as_its_source(workspace: Workspace, request_: RunRequest, other_spec: Any) -> None:
    """Another source makes it undone, finished or half done; without one, what is finished stays."""
    transfer = dataclasses.replace(tiny.PLAIN, name="from_fer2013", pretrained="fer2013")
    other_spec(recipes=(*tiny.SPEC.recipes, transfer))
    request = dataclasses.replace(request_, recipe="from_fer2013")
    source = weights.published_path(workspace, "tiny", "fer_bench")
    source.parent.mkdir(parents=True)

    def ship(seed: int) -> None:
        other = dataclasses.replace(request_, seed=seed)
        run(other, COMPUTE)
        source.write_bytes((other.folder / "fold0.safetensors").read_bytes())

    def kill(_fold: int, _folds: int, state: Progress) -> None:
        if state.epoch == 2:
            raise KeyboardInterrupt

    def interrupt() -> None:
        with pytest.raises(KeyboardInterrupt):
            run(request, COMPUTE, progress=kill, checkpoint_seconds=0)
        assert "checkpoint0.pt" in files(request.folder)

    def first_epoch() -> int:
        epochs: list[int] = []
        record = run(request, COMPUTE, progress=lambda _fold, _folds, state: epochs.append(state.epoch))
        assert record.pretrained_sha256 == weights.sha256(source)
        return epochs[0]

    ship(0)
    assert run(request_, COMPUTE).pretrained_sha256 == ""
    interrupt()
    assert first_epoch() == 2
    assert done(request) is not None
    ship(1)
    assert done(request) is None
    interrupt()
    ship(2)
    assert first_epoch() == 1
    source.unlink()
    assert done(request) is not None


class _OneFace:
    """Finds the same face in every picture that is not black."""

    name, note = "YuNet", "a test's"

    def detect(self, picture: UInt8Array) -> list[faces.Face]:
        return [faces.Face((160.0, 40.0, 130.0, 130.0), 1.0)] if picture.any() else []


@pytest.fixture
def detectors() -> Iterator[None]:
    inputs._FOUND.clear()
    inputs.crop_detector.cache_clear()
    yield
    inputs._FOUND.clear()
    inputs.crop_detector.cache_clear()


@pytest.mark.usefixtures("detectors")
def test_a_crop_is_the_face_or_the_whole_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    from skimage.data import astronaut

    person = astronaut()
    black = np.zeros_like(person)
    frames = dataclasses.replace(tiny.dataset(), images=np.stack([black, person]), fingerprint="two frames")
    monkeypatch.setattr(faces, "find_detector", _OneFace)
    for crop, detector in (("viola_jones", faces.HaarCascade("")), ("yunet", _OneFace())):
        seen = inputs.inputs_for(frames, np.array([1, 0, 1]), 32, 1, crop)  # type: ignore[arg-type]
        face, *_ = detector.detect(person)
        assert seen.dtype == np.uint8 and seen.shape == (3, 32, 32)
        np.testing.assert_array_equal(seen[2], prepare(faces.crop(person, face)[None], 32, 1)[0])
        np.testing.assert_array_equal(seen[0], seen[2])
        np.testing.assert_array_equal(seen[1], prepare(black[None], 32, 1)[0])
        assert np.any(seen[0] != prepare(person[None], 32, 1)[0])
    assert inputs.inputs_for(frames, np.array([], dtype=np.int64), 32, 3, "yunet").shape == (0, 32, 32, 3)


@pytest.mark.usefixtures("detectors")
def test_without_yunet_a_row_says_so(request_: RunRequest, other_spec: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = dataclasses.replace(tiny.PLAIN, crop="yunet")
    spec = other_spec(recipes=(recipe,))
    monkeypatch.setattr(faces, "yunet_here", lambda: False)
    monkeypatch.setattr(faces, "find_detector", lambda: pytest.fail("asked the network"))
    assert "would be fetched" in bench.pretrained_unavailable(spec, recipe, fetch=False)
    monkeypatch.setattr(faces, "find_detector", lambda: faces.HaarCascade("less able"))
    assert "can't be had: the Haar cascade is less able" in bench.pretrained_unavailable(spec, recipe)
    with pytest.raises(FerBenchError, match=r"plain on synthetic, seed 0: YuNet.* can't be had"):
        run(request_, COMPUTE)
    monkeypatch.setattr(faces, "find_detector", _OneFace)
    assert bench.pretrained_unavailable(spec, recipe) == ""
    run(request_, COMPUTE)
    assert weights.load(request_.folder / "fold0.safetensors").crop == "yunet"
    monkeypatch.setattr(faces, "find_detector", lambda: pytest.fail("a finished run needs no faces"))
    run(request_, COMPUTE)


def test_a_damaged_fold_is_trained_again(request_: RunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_assemble", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(request_, COMPUTE)
    assert bench._finished_fold(request_.folder, 0) is not None
    for name in ("fold0.npz", "fold0.json"):
        (request_.folder / name).write_bytes(b"")
        assert bench._finished_fold(request_.folder, 0) is None


def test_the_network_that_is_best_on_select_is_published(
    workspace: Workspace, make_record: Any, other_spec: Any
) -> None:
    def write_network(path: Path, seed: int, model: str = "lin_shi") -> None:
        save_file({"seed": torch.tensor(seed)}, path, metadata={"fer_bench": json.dumps({"model": model})})

    def seed_of(path: Path) -> int:
        return int(load_file(path)["seed"])

    def finished(seed: int, accuracy: float, model: str = "lin_shi", **fields: Any) -> RunRecord:
        name = model.partition(":")[0]
        record: RunRecord = make_record(workspace, model=name, seed=seed, accuracy=accuracy, **fields)
        path = workspace.run_folder(*record.row, seed) / "fold0.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_network(path, seed, model)
        fold = record.folds[0].model_copy(update={"weights_sha256": weights.sha256(path)})
        return record.model_copy(update={"folds": [fold]})

    def better_on_test(record: RunRecord) -> RunRecord:
        metrics = {**record.metrics, "test": {"plain": {**record.metrics["test"]["plain"], "accuracy": 1.0}}}
        path = workspace.record_path(*record.row, record.seed)
        better = record.model_copy(update={"metrics": metrics})
        write_record(path, better, read_arrays(path.with_suffix(".npz")))
        return better

    target = workspace.weights / "lin_shi.paper.safetensors"
    assert weights.publish(finished(0, 0.6), workspace) == target
    assert weights.publish(better_on_test(finished(1, 0.5)), workspace) is None
    assert seed_of(target) == 0
    assert weights.publish(finished(2, 0.7), workspace) == target
    assert seed_of(target) == 2
    assert [path.name for path in workspace.weights.iterdir()] == [target.name]
    assert weights.publish(finished(3, 0.9, protocol="synthetic"), workspace) is None
    # Runs of another recipe do not count, and what lies in the run's folder must be this run's network.
    assert weights.publish(finished(4, 0.4, recipe_digest="another"), workspace) == target
    assert seed_of(target) == 4
    unfinished = finished(5, 0.8)
    write_network(workspace.run_folder(*unfinished.row, 5) / "fold0.safetensors", 6)  # of a later run that was killed
    assert weights.publish(unfinished, workspace) is None
    # What has no room stays where it is.
    best = finished(6, 0.9, recipe_digest="a third")
    said: list[str] = []
    for limit in ("LARGEST_FILE", "LARGEST_SUM"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(weights, limit, target.stat().st_size - 1)
            assert weights.publish(best, workspace, said.append) is None
    assert seed_of(target) == 4 and len(said) == 2 and all("the network is left in" in line for line in said)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "LARGEST_SUM", target.stat().st_size)
        assert weights.publish(best, workspace) == target, "in place of the one that is there"
    # A model that is not shipped, the benchmark's or someone else's.
    assert weights.publish(finished(0, 0.9, "nearest_neighbour"), workspace) is None
    assert weights.publish(finished(0, 0.9, tiny.NAME), workspace) is not None
    other_spec(not_shipped="it holds pictures")
    assert weights.publish(finished(1, 0.95, tiny.NAME), workspace) is None


def test_a_network_without_room_is_a_source_where_its_run_left_it(workspace: Workspace, make_record: Any) -> None:
    request = RunRequest(model="resnet18", recipe="from_fer2013", protocol="ckplus_subject", workspace=workspace)
    [row] = request.sources

    def finish(seed: int, accuracy: float, **fields: Any) -> Path:
        record: RunRecord = make_record(workspace, *row[1:], seed=seed, accuracy=accuracy, **fields)
        left = workspace.run_folder(*row, seed) / "fold0.safetensors"
        left.parent.mkdir(parents=True)
        left.write_bytes(bytes([seed]))
        fold = record.folds[0].model_copy(update={"weights_sha256": weights.sha256(left)})
        path = workspace.record_path(*row, seed)
        write_record(path, record.model_copy(update={"folds": [fold]}), read_arrays(path.with_suffix(".npz")))
        return left

    assert bench.missing_sources(request) == [row]
    best = finish(0, 0.6)
    finish(1, 0.5)
    partial = make_record(workspace, "lin_shi").data.model_copy(update={"partial": True})
    finish(2, 0.9, data=partial, recipe_digest="another")
    assert bench.missing_sources(request) == []
    assert bench._source_digest(request) == weights.sha256(best)
    best.write_bytes(b"of a later run that was killed")
    assert bench.missing_sources(request) == [row]
    damaged = workspace.record_path(*row, 3)
    damaged.write_text("{")
    assert bench.missing_sources(request) == [row]
    shipped = weights.published_path(workspace, *row[1:])
    shipped.parent.mkdir()
    shipped.write_bytes(b"shipped")
    assert bench._source_digest(request) == weights.sha256(shipped)


def test_near_copies_stay_out_of_their_column() -> None:
    arrays = {
        "test_targets": np.array([0, 1, 1], dtype=np.int8),
        "test_clean": np.array([True, True, False]),
        "test_plain": np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]], dtype=np.float32),
        "test_flip": np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9]], dtype=np.float32),
    }
    column = scoring.near_copy_free(arrays)
    assert column is not None and column.n == 2
    assert column.accuracy == {"plain": 0.5, "flip": 1.0}
    del arrays["test_clean"]
    assert scoring.near_copy_free(arrays) is None


def test_data_are_given_to_the_network_at_its_size() -> None:
    source: FaceDataset = tiny.dataset()
    [fold] = get_protocol("synthetic").folds(source)
    prepared = inputs.training_data(dataclasses.replace(tiny.SPEC, size=32, channels=3), source, fold, tiny.PLAIN)
    assert prepared.train_images.shape == (140, 32, 32, 3)
    assert prepared.select_images.shape == (35, 32, 32, 3)
    assert prepared.classes == source.labels.classes
