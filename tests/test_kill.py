"""SIGKILL at any instant: the run goes on and ends with the undisturbed run's predictions, bit for bit.

Each attempt is a process of its own, forked from a server that has imported all it needs, and the leader of a
session, so that what it leaves behind can be counted.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import tiny

from fer_bench.bench import RunRequest, run
from fer_bench.fit import Progress
from fer_bench.records import RunRecord, Workspace, arrays_digest, read_arrays, read_record
from fer_bench.trainer import Compute

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")

RECIPE = "modern"
# No instant of a run takes this long; a child that does has hung.
PATIENCE = 120


def _stop(flag: Path) -> NoReturn:
    """Tell the parent that the place is reached, and wait there for the end."""
    flag.touch()
    while True:
        time.sleep(60)


def _stop_while_reading(flag: Path) -> None:
    from fer_bench import data

    data.load = lambda *_, **__: _stop(flag)


def _stop_in_step(epoch: int, step: int, flag: Path) -> Callable[[int, int, Progress], None]:
    return lambda _fold, _folds, state: _stop(flag) if (state.epoch, state.step) == (epoch, step) else None


def _stop_in_half_a_checkpoint(flag: Path) -> None:
    """The second one is half written."""
    import torch

    save, saved = torch.save, []

    def half(content: object, path: Path) -> None:
        save(content, path)
        saved.append(path)
        if len(saved) == 2:
            os.truncate(path, path.stat().st_size // 2)
            _stop(flag)

    torch.save = half  # type: ignore[assignment]


def _stop_at_file(name: str, after: bool, flag: Path) -> None:
    """Before or after a file takes its place; of the checkpoints, one an epoch, it is the second."""
    replace, place = os.replace, [2 if name.startswith("checkpoint") else 1]

    def replacing(source: Any, target: Any) -> None:
        place[0] -= Path(target).name == name
        here = Path(target).name == name and place[0] == 0
        if here and not after:
            _stop(flag)
        replace(source, target)
        if here:
            _stop(flag)

    os.replace = replacing  # type: ignore[assignment]


def child(root: Path, workers: int, hook: Callable[[Path], Any] | None) -> None:
    """One attempt at the run, which stops where the hook says."""
    os.setsid()
    from fer_bench import data

    data.load = lambda *_, **__: tiny.dataset()
    progress = None
    if hook is not None:
        progress = hook(root / "reached")
    run(request(root), Compute(threads=1, workers=workers), progress=progress, checkpoint_seconds=0)


def request(root: Path) -> RunRequest:
    return RunRequest(model=tiny.NAME, recipe=RECIPE, protocol="synthetic", workspace=Workspace(root / "work"))


@pytest.fixture(scope="module")
def server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["albumentations", "timm.utils.model_ema", "fer_bench.bench"])
    return context


Start = Callable[..., ForkServerProcess]


@pytest.fixture
def start(server: ForkServerContext, monkeypatch: pytest.MonkeyPatch) -> Any:
    """start(root, hook=None, workers=0): an attempt in a process of its own."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    processes = []

    def start(root: Path, hook: Callable[[Path], Any] | None = None, workers: int = 0) -> ForkServerProcess:
        root.mkdir(exist_ok=True)
        process = server.Process(target=child, args=(root, workers, hook))
        process.start()
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.join()
        no_process_left(process)


def no_process_left(leader: ForkServerProcess) -> None:
    """Nobody is left of its session; workers look for their parent every second."""
    assert leader.pid is not None
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(leader.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(leader.pid, signal.SIGKILL)
    pytest.fail("a killed run left a process behind")


def finish(process: ForkServerProcess) -> None:
    process.join(PATIENCE)
    assert process.exitcode == 0


def wait_for(flag: Path, process: ForkServerProcess) -> None:
    deadline = time.monotonic() + PATIENCE
    while not flag.exists():
        assert process.is_alive() and time.monotonic() < deadline, "it did not get where it was to be killed"
        time.sleep(0.005)


def outcome(root: Path) -> tuple[RunRecord, dict[str, Any]]:
    path = request(root).record_path
    return read_record(path), read_arrays(path.with_suffix(".npz"))


def assert_as_undisturbed(root: Path, undisturbed: Path) -> None:
    (record, arrays), (expected, expected_arrays) = outcome(root), outcome(undisturbed)
    assert arrays.keys() == expected_arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected_arrays[name], err_msg=name)
    assert record.predictions.sha256 == expected.predictions.sha256 == arrays_digest(arrays)
    assert json.dumps(record.metrics) == json.dumps(expected.metrics)
    timings = {"train_seconds", "predict_seconds", "history"}
    for fold, other in zip(record.folds, expected.folds, strict=True):
        assert fold.model_dump(exclude=timings) == other.model_dump(exclude=timings)
        for row, same in zip(fold.history, other.history, strict=True):
            assert row | {"seconds": 0, "images_per_s": 0} == same | {"seconds": 0, "images_per_s": 0}
    assert record.device == expected.device
    files = [
        {path.relative_to(folder).as_posix() for path in (folder / "work").rglob("*") if path.is_file()}
        for folder in (root, undisturbed)
    ]
    assert files[0] == files[1]


@pytest.fixture(scope="module")
def undisturbed(server: ForkServerContext, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The folder of a run that nobody killed, and the seconds that it took once the server was up."""
    seconds = 0.0
    root = tmp_path_factory.mktemp("undisturbed")
    for attempt in ("cold", "warm"):
        process = server.Process(target=child, args=(root / attempt, 0, None))
        started = time.monotonic()
        process.start()
        finish(process)
        seconds = time.monotonic() - started
    return root / "warm", seconds


@pytest.mark.parametrize("workers", [0, 1])
def test_runs_repeat_themselves(workers: int, start: Start, undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    finish(start(tmp_path, workers=workers))
    assert_as_undisturbed(tmp_path, undisturbed[0])


HOOKS: dict[str, Callable[[Path], Any]] = {
    "reading": _stop_while_reading,
    "first step": partial(_stop_in_step, 1, 1),
    "training": partial(_stop_in_step, 2, 3),
    "last step": partial(_stop_in_step, 3, 5),
    "half a checkpoint": _stop_in_half_a_checkpoint,
    "a checkpoint not in place": partial(_stop_at_file, "checkpoint0.pt", False),
    "a checkpoint in place": partial(_stop_at_file, "checkpoint0.pt", True),
    "the plan": partial(_stop_at_file, "plan.json", False),
    "the network": partial(_stop_at_file, "fold0.safetensors", False),
    "the fold's predictions": partial(_stop_at_file, "fold0.npz", True),
    "the fold": partial(_stop_at_file, "fold0.json", False),
    "the fold in place": partial(_stop_at_file, "fold0.json", True),
    "the record's predictions": partial(_stop_at_file, "s0.npz", False),
    "the record": partial(_stop_at_file, "s0.json", False),
    "the record in place": partial(_stop_at_file, "s0.json", True),
}


@pytest.mark.parametrize("phase", HOOKS)
def test_killed_in_each_phase(phase: str, start: Start, undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    process = start(tmp_path, HOOKS[phase])
    wait_for(tmp_path / "reached", process)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert request(tmp_path).record_path.exists() == (phase == "the record in place")
    finish(start(tmp_path))
    assert_as_undisturbed(tmp_path, undisturbed[0])


def test_killed_with_a_worker_at_work(start: Start, undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    process = start(tmp_path, HOOKS["training"], workers=1)
    wait_for(tmp_path / "reached", process)
    process.kill()
    process.join()
    # At once: the orphaned worker must not hold the run's lock.
    finish(start(tmp_path, workers=1))
    assert_as_undisturbed(tmp_path, undisturbed[0])
    no_process_left(process)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
def test_killed_at_a_random_instant(number: int, start: Start, undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    expected, seconds = undisturbed
    rng = np.random.default_rng(number)
    # Twice, so that what goes on from a checkpoint is killed as well.
    for _ in range(2):
        process = start(tmp_path)
        process.join(rng.uniform(0, seconds))
        process.kill()
        process.join()
    finish(start(tmp_path))
    assert_as_undisturbed(tmp_path, expected)
