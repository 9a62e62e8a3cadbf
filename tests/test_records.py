"""Records are written whole or not at all, and read strictly."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MakeRecord
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from fer_bench import leaderboard
from fer_bench.errors import FerBenchError
from fer_bench.records import (
    PROJECT_ROOT,
    RunRecord,
    Workspace,
    arrays_digest,
    list_records,
    read_arrays,
    read_record,
    replacing,
    write_arrays,
    write_bytes,
    write_record,
)

ARRAYS = {
    "test_ids": np.array(["a", "b", "cc"]),
    "test_targets": np.array([0, 1, 2], dtype=np.int8),
    "test_plain": np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4),
}


@pytest.fixture
def written(make_record: MakeRecord, workspace: Workspace) -> tuple[RunRecord, Path]:
    record = make_record(workspace, seed=2)
    return record, workspace.record_path("fer2013", "lin_shi", "paper", 2)


def change(path: Path, at: tuple[str | int, ...], value: Any) -> None:
    """Set a field of the JSON, however deep, or delete it (None)."""
    content: Any = json.loads(path.read_bytes())
    place = content
    for key in at[:-1]:
        place = place[key]
    if value is None:
        del place[at[-1]]
    else:
        place[at[-1]] = value
    path.write_text(json.dumps(content))


def refused(path: Path, match: str) -> None:
    with pytest.raises(FerBenchError, match=match) as caught:
        read_record(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_record_survives_the_way_through_its_files(written: tuple[RunRecord, Path]) -> None:
    record, path = written
    assert read_record(path).model_dump(mode="json") == record.model_dump(mode="json")
    assert arrays_digest(read_arrays(path.with_suffix(".npz"))) == record.predictions.sha256
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["s2.json", "s2.npz"]
    assert record.row == ("fer2013", "lin_shi", "paper")
    assert record.accuracy() == record.metrics["test"]["plain"]["accuracy"]
    assert record.accuracy("flip", "select") == record.metrics["select"]["flip"]["accuracy"]
    assert record.train_seconds == 90.0


def test_a_record_from_before_a_field_came_is_read(written: tuple[RunRecord, Path]) -> None:
    change(written[1], ("pretrained_sha256",), None)
    assert read_record(written[1]).pretrained_sha256 == ""


def test_a_record_can_not_be_changed(written: tuple[RunRecord, Path]) -> None:
    with pytest.raises(ValueError, match="frozen"):
        written[0].seed = 1


def test_a_reader_that_left_is_not_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """`predict --csv out.csv | head` prints while it writes."""
    with pytest.raises(BrokenPipeError), replacing(tmp_path / "out.csv"):
        raise BrokenPipeError(32, "Broken pipe")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("at", "value", "match"),
    [
        (("accuracy",), 0.99, "accuracy: Extra inputs are not permitted"),
        (("folds", 0, "lucky"), True, r"folds\.0\.lucky: Extra inputs are not permitted"),
        (("data", "fingerprint"), None, r"data\.fingerprint: Field required"),
        (("predictions",), None, "predictions: Field required"),
        (("schema_version",), 2, "not a record of schema 1: schema_version"),
        (("seed",), "two", "seed: Input should be a valid integer"),
        (("metrics",), [], "metrics: Input should be an object"),
        (("metrics",), {}, "no scores of the test part's plain view"),
        (("metrics", "test", "plain"), None, "no scores of the test part's plain view"),
        (("metrics", "test", "plain", "accuracy"), None, r"test\.plain\.accuracy: Field required"),
        (("metrics", "select", "flip", "log_loss"), "low", r"select\.flip\.log_loss: Input should be a valid number"),
        (("metrics", "test", "plain", "accuracy"), "0.5", r"test\.plain\.accuracy: Input should be a valid number"),
        (("metrics", "test", "plain", "log_loss"), float("nan"), r"test\.plain\.log_loss: Input should be a finite"),
        (("metrics", "test", "plain", "f1", 0), float("inf"), r"test\.plain\.f1\.0: Input should be a finite"),
        (("near_copy_free", "accuracy", "plain"), None, "no scores of the test part's plain view"),
        (("folds",), [], "has no folds"),
    ],
)
def test_strict_parsing(written: tuple[RunRecord, Path], at: tuple[str | int, ...], value: Any, match: str) -> None:
    change(written[1], at, value)
    refused(written[1], match)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"null"])
def test_what_is_no_record(written: tuple[RunRecord, Path], content: bytes) -> None:
    written[1].write_bytes(content)
    refused(written[1], "not a record of schema 1")


def test_a_record_that_is_not_there(tmp_path: Path) -> None:
    refused(tmp_path / "s0.json", "No such file")


@pytest.mark.parametrize("name", ["s3.json", "s2.copy.json"])
def test_a_record_in_another_place(written: tuple[RunRecord, Path], name: str) -> None:
    other = written[1].rename(written[1].with_name(name))
    refused(other, r"its content belongs at fer2013/lin_shi\.paper/s2\.json")


@pytest.mark.parametrize("field", ["protocol", "model", "recipe_name"])
def test_a_record_of_another_run(written: tuple[RunRecord, Path], field: str) -> None:
    change(written[1], (field,), "other")
    refused(written[1], "its content belongs at .*other")


def test_records_are_listed_in_order(make_record: MakeRecord, workspace: Workspace) -> None:
    for seed, model in ((1, "lin_shi"), (0, "lin_shi"), (0, "ranjan_1")):
        make_record(workspace, model=model, seed=seed)
    paths = list_records(workspace)
    assert [path.relative_to(workspace.records).as_posix() for path in paths] == [
        "fer2013/lin_shi.paper/s0.json",
        "fer2013/lin_shi.paper/s1.json",
        "fer2013/ranjan_1.paper/s0.json",
    ]


def test_the_project_is_the_default_workspace() -> None:
    assert Workspace().leaderboard == PROJECT_ROOT / "leaderboard"
    assert (PROJECT_ROOT / "fer_bench" / "records.py").exists()


def test_a_digest_knows_names_types_shapes_and_bytes() -> None:
    digest = arrays_digest(ARRAYS)
    assert arrays_digest(dict(reversed(ARRAYS.items()))) == digest
    plain = ARRAYS["test_plain"]
    changed = plain.copy()
    changed[2, 3] = np.nextafter(changed[2, 3], np.float32(2))
    others = [
        {"other": plain},
        {"test_plain": changed},
        {"test_plain": plain.reshape(4, 3)},
        {"test_plain": plain.astype(np.float64)},
        {"test_plain": plain[::-1]},
        {"test_targets": ARRAYS["test_targets"].astype(np.uint8)},
        {"test_ids": np.array(["a", "b", "cd"])},
    ]
    assert len({digest, *(arrays_digest(ARRAYS | other) for other in others)}) == 1 + len(others)
    # Memory order is not content.
    assert arrays_digest(ARRAYS | {"test_plain": np.asfortranarray(plain)}) == digest


@given(
    arrays_of.arrays(
        dtype=st.sampled_from(["<f4", "|i1", "|b1", "<U5"]).map(np.dtype),
        shape=arrays_of.array_shapes(min_side=0, max_side=4),
    )
)
def test_arrays_keep_their_digest_through_a_file(array: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arrays.npz"
        write_arrays(path, {"array": array})
        stored = read_arrays(path)
    assert list(stored) == ["array"]
    assert arrays_digest(stored) == arrays_digest({"array": array})


def test_the_same_arrays_give_the_same_file(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_arrays(tmp_path / f"{name}.npz", ARRAYS)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "other.npz").read_bytes()


@pytest.mark.parametrize("keep", [0, 10, 100, -3])
def test_a_broken_predictions_file(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "arrays.npz"
    write_arrays(path, ARRAYS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FerBenchError, match="not a readable predictions file") as caught:
        read_arrays(path)
    assert "\n" not in str(caught.value)


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    np.savez(path, array=np.array([{"a": 1}], dtype=object))
    with pytest.raises(FerBenchError, match="not a readable predictions file"):
        read_arrays(path)


def fail(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("broken", ["os.replace", "os.fsync"])
def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, old: bool
) -> None:
    path = tmp_path / "file"
    if old:
        path.write_bytes(b"old")
    monkeypatch.setattr(broken, fail)
    with pytest.raises(FerBenchError, match=r"can't write .*file: No space left on device"):
        write_bytes(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == (["file"] if old else [])
    assert not old or path.read_bytes() == b"old"


def test_a_failed_record_is_no_record(
    make_record: MakeRecord, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = make_record(workspace)
    path = workspace.record_path("lin_shi", "lin_shi", "paper", 1)
    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(FerBenchError, match="No space left on device"):
        write_record(path, record, ARRAYS)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("broken", ["os.fsync", "numpy.savez_compressed"])
def test_no_room_for_a_record_leaves_the_earlier_one(
    make_record: MakeRecord, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    earlier = make_record(workspace, accuracy=0.5)
    monkeypatch.setattr(broken, fail)
    with pytest.raises(FerBenchError, match="No space left on device"):
        make_record(workspace, accuracy=0.9)
    monkeypatch.undo()
    path = workspace.record_path("fer2013", "lin_shi", "paper", 0)
    assert read_record(path).predictions == earlier.predictions
    assert arrays_digest(read_arrays(path.with_suffix(".npz"))) == earlier.predictions.sha256
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["s0.json", "s0.npz"]


def test_a_kill_between_a_records_two_files_leaves_no_record(
    make_record: MakeRecord, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather than one beside predictions that are not its own, with which the board could not be built."""
    make_record(workspace, accuracy=0.5)
    replace = os.replace

    def killed(source: Path, target: Path) -> None:
        replace(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        make_record(workspace, accuracy=0.9)
    monkeypatch.undo()
    assert list_records(workspace) == []
    make_record(workspace, accuracy=0.9)
    assert len(leaderboard.build(workspace)) == 1


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_arrays(tmp_path / "arrays.npz", ARRAYS)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_can_not_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FerBenchError, match="can't write"):
        write_bytes(tmp_path / "file" / "record.json", b"{}")
