"""RunRecord <-> JSON: one immutable file a run, written atomically, read strictly.

A record is `leaderboard/records/<protocol>/<model>.<recipe>/s<seed>.json`, its predictions the `.npz` beside
it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from fer_bench.errors import FerBenchError
from fer_bench.metrics import Metrics

SCHEMA = 1
PROJECT_ROOT = Path(__file__).resolve().parent.parent
ANY_FLOAT = npt.NDArray[Any]
_METRICS = TypeAdapter(dict[str, dict[str, Metrics]], config=ConfigDict(allow_inf_nan=False))


@dataclass(frozen=True)
class Workspace:
    """The folder of `leaderboard/`, `weights/` and, ignored by git, `runs/`: by default the project's."""

    root: Path = PROJECT_ROOT

    @property
    def leaderboard(self) -> Path:
        return self.root / "leaderboard"

    @property
    def records(self) -> Path:
        return self.leaderboard / "records"

    @property
    def weights(self) -> Path:
        return self.root / "weights"

    def record_path(self, protocol: str, model: str, recipe: str, seed: int) -> Path:
        """Where a run's record is or will be."""
        return self.records / protocol / f"{model}.{recipe}" / f"s{seed}.json"

    def run_folder(self, protocol: str, model: str, recipe: str, seed: int) -> Path:
        """Where a run keeps its checkpoint, its networks and the folds that are finished."""
        return self.root / "runs" / protocol / f"{model}.{recipe}" / f"s{seed}"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DataInfo(_Strict):
    """The data set as the run met it; `counts` as `FaceDataset.counts`.

    `features` is the sha256 of the published features, where the recipe reads these, else empty.
    """

    name: str
    fingerprint: str
    layout: str
    partial: bool
    counts: dict[str, dict[str, int]]
    features: str = ""


class FoldInfo(_Strict):
    """One fold: what it held, how it was trained, and how the plain view scored on its own test part.

    `counts` is by part, then by class; `trained_on_select` says that `select` was given to training because
    the recipe selects nothing and the data set names no selection part.
    """

    digest: str
    counts: dict[str, dict[str, int]]
    test_accuracy: float
    trained_on_select: bool = False
    epoch: int = 0
    history: list[dict[str, float]] = []
    train_seconds: float = 0.0
    predict_seconds: float = 0.0
    weights_sha256: str = ""


# Between the names of the devices of a run that was resumed elsewhere.
THEN = " then "


class DeviceInfo(_Strict):
    """Where a run was trained; one that was resumed elsewhere has several `threads`, and a `name` like "A then B"."""

    type: str
    name: str
    threads: list[int]
    precision: str


class CodeInfo(_Strict):
    """`commit` is empty outside a git checkout; `dirty` says that the tree had changes."""

    version: str
    commit: str
    dirty: bool
    packages: dict[str, str]
    python: str


class NearCopyFree(_Strict):
    """Accuracy by view on the test images that are not blank and have no near copy in training."""

    n: int
    accuracy: dict[str, float]


class PredictionsInfo(_Strict):
    """`sha256` is over the arrays' content (names, dtypes, shapes, bytes), not the zip container."""

    file: str
    sha256: str


class Member(_Strict):
    """A run whose predictions are part of an ensemble, by what its record is called, and how many times it counts."""

    model: str
    recipe_name: str
    seed: int
    predictions_sha256: str
    times: int


class RunRecord(_Strict):
    """Everything about one run: (protocol, model, recipe, seed).

    `metrics` is by part ("select", "test"), then by view, as `metrics.Metrics.to_dict`, over all folds.
    `pretrained_sha256` is that of the shipped network's file that the run started from, or of its teachers' sums.
    `external` marks predictions made elsewhere (`score`), of which only the scores are known; `members` are the
    runs that an ensemble averages.
    """

    schema_version: Literal[1] = 1
    model: str
    model_revision: int
    recipe_name: str
    recipe: dict[str, Any]
    recipe_digest: str
    protocol: str
    seed: int
    data: DataInfo
    folds: list[FoldInfo]
    classes: list[str]
    code: CodeInfo
    device: DeviceInfo
    finished: str
    pretrained: str
    pretrained_sha256: str = ""
    parameters: int
    multiply_adds: int
    metrics: dict[str, dict[str, dict[str, Any]]]
    near_copy_free: NearCopyFree | None
    predictions: PredictionsInfo
    external: bool = False
    members: list[Member] = []

    @property
    def trained(self) -> bool:
        """Whether it trained networks of its own."""
        return not self.external and not self.members

    @cached_property
    def row(self) -> tuple[str, str, str]:
        """The board's row that this run belongs to."""
        return (self.protocol, self.model, self.recipe_name)

    @property
    def train_seconds(self) -> float:
        return sum(fold.train_seconds for fold in self.folds)

    def accuracy(self, view: str = "plain", part: str = "test") -> float:
        """Accuracy in 0..1, pooled over the folds."""
        return float(self.metrics[part][view]["accuracy"])


def arrays_digest(arrays: Mapping[str, ANY_FLOAT]) -> str:
    """sha256 over names, dtypes, shapes and bytes."""
    state = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        state.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        state.update(array.tobytes())
    return state.hexdigest()


@contextlib.contextmanager
def replacing(path: Path, displacing: Path | None = None) -> Iterator[Path]:
    """A temporary file's path, which takes the place of `path` at the end, or goes if anything went wrong.

    Args:
        path: the file to write.
        displacing: another file, which goes first: it would say something wrong beside the new one.

    Raises:
        FerBenchError: the file can't be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())  # or a power failure could leave the new name with nothing in it
        if displacing is not None:
            displacing.unlink(missing_ok=True)
        os.replace(temporary, path)
    except BrokenPipeError:  # of who reads what the caller prints
        raise
    except OSError as error:
        raise FerBenchError(f"can't write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_arrays(path: Path, arrays: Mapping[str, ANY_FLOAT], displacing: Path | None = None) -> None:
    """Write a compressed .npz whole or not at all; `displacing` as in `replacing`."""
    with replacing(path, displacing) as temporary, temporary.open("wb") as file:
        # mypy takes the arrays for `allow_pickle`, which numpy before 2.1 would store as one of them.
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_arrays(path: Path) -> dict[str, ANY_FLOAT]:
    """Read a .npz.

    Raises:
        FerBenchError: missing or corrupt.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # zipfile, zlib, OSError and ValueError alike mean: not a readable file
        raise FerBenchError(f"{path}: not a readable predictions file ({error}); run it again") from error


def write_record(path: Path, record: RunRecord, arrays: Mapping[str, ANY_FLOAT]) -> None:
    """Write a record and its predictions; the JSON comes last, so a record that is there is complete.

    An earlier record stays until both new files are written. A kill after that leaves none, which is run again, and
    never one beside predictions that are not its own.
    """
    text = json.dumps(record.model_dump(mode="json"), indent=1)
    with replacing(path) as waiting:
        waiting.write_bytes(text.encode() + b"\n")
        write_arrays(path.with_suffix(".npz"), arrays, displacing=path)


def read_record(path: Path) -> RunRecord:
    """Read a record strictly.

    Raises:
        FerBenchError: not JSON, a field too many or too few, another schema, scores that are missing or no
            numbers, or a place that its content contradicts.
    """
    try:
        record = RunRecord.model_validate_json(path.read_bytes())
        _METRICS.validate_json(json.dumps(record.metrics), strict=True)
    except OSError as error:
        raise FerBenchError(f"{path}: can't be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise FerBenchError(f"{path}: not a record of schema {SCHEMA}: {where}: {first['msg']}") from error
    expected = (record.protocol, f"{record.model}.{record.recipe_name}", f"s{record.seed}.json")
    if path.parts[-3:] != expected:
        raise FerBenchError(f"{path}: its content belongs at {'/'.join(expected)}")
    headlines: list[Mapping[str, Any]] = [record.metrics.get("test", {})]
    if record.near_copy_free is not None:
        headlines.append(record.near_copy_free.accuracy)
    if not record.folds or not all("plain" in views for views in headlines):
        raise FerBenchError(f"{path}: has no folds, or no scores of the test part's plain view")
    return record


def list_records(workspace: Workspace) -> list[Path]:
    """The paths of all records, sorted."""
    return sorted(workspace.records.glob("*/*/s*.json"))
