"""The command line on the embedded data: one line and exit code 2 for bad input, never a traceback."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import MakeRecord

from fer_bench import bench, cli, records, registry
from fer_bench.data import synthetic
from fer_bench.labels import FER2013
from fer_bench.records import Workspace, read_record


@pytest.fixture
def workspace(own_places: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A project folder of the test's own, and no real data anywhere."""
    monkeypatch.setattr(Workspace, "__init__", _rooted(tmp_path / "project"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # for the processes that a run starts
    return Workspace()


def _rooted(root: Path) -> object:
    """Workspace.__init__ with another default."""

    def init(self: Workspace, folder: Path = root) -> None:
        object.__setattr__(self, "root", folder)

    return init


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rnu"], "did you mean 'run'"),
        (["run"], "say what to run"),
        (["run", "--model", "lin_shy"], "did you mean 'lin_shi'"),
        (["run", "--model", "lin_shi", "--recipe", "papr"], "did you mean 'paper'"),
        (["run", "--model", "lin_shi", "--protocol", "fer2012"], "did you mean 'fer2013'"),
        (["run", "--all", "--model", "lin_shi"], "say what to run"),
        (["run", "--all", "--recipe", "paper"], "go with --model"),
        (["run", "--all", "--jobs", "0"], "positive whole number"),
        (["run", "--all", "--seeds", "one"], "0,1,2"),
        (["run", "--all", "--budget", "soon"], "2h"),
        (["run", "--spec", "nowhere:SPEC"], "nowhere"),
        (["run", "--spec", "json:dumps"], "expected a ModelSpec"),
        (["run", "--spec", "raises:SPEC"], "RuntimeError: at import, in two lines"),
        (["run", "--spec", ":SPEC"], "Empty module name"),
        (["run", "--spec", "raises:SPEC", "--dry-run"], "in two lines"),
        (["run", "--spec", "outside:TAKEN"], "a model of the benchmark is called 'lin_shi'"),
        (["run", "--spec", "outside:UNBUILDABLE", "--recipe", "paper"], "gives no network"),
        (["run", "--model", "lin_shi", "--device", "tpu"], "tpu"),
        (["run", "--model", "lin_shi", "--device", "meta"], "meta"),
        (["data", "check", "--data-dir", "missing"], "missing"),
        (["leaderboard", "verify", "--data-dir", "missing"], "missing"),
        (["run", "--all", "--data-dir", "missing"], "missing"),
        (["data", "check", "fer2014"], "did you mean 'fer2013'"),
        (["data", "check", "ckplus"], "ckplus"),
        (["leaderboard", "show", "--protocol", "ckplus"], "did you mean"),
        (["leaderboard", "build", "--weights"], "unrecognized arguments: --weights"),
        (["leaderboard"], "ACTION"),
        (["compare", "lin_shi", "ranjan_1", "--protocol", "synthetic"], "run something on it first"),
        (["predict", "face.png", "--model", "lin_shi"], "no weights of lin_shi"),
        (["predict", "face.png", "--model", "nobody"], "nobody"),
        (["score", "missing.csv", "--protocol", "synthetic", "--name", "mine"], "missing.csv"),
        (["score", "missing.csv", "--protocol", "synthetic", "--name", "../x"], "letters"),
        (["run", "--model", "lin_shi", "--no-such-flag"], "--no-such-flag"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "raises.py").write_text('raise RuntimeError("at import,\\nin two lines")\n')
    (tmp_path / "outside.py").write_text(
        "from dataclasses import replace\n"
        "from fer_bench.registry import get_spec\n"
        "TAKEN = replace(get_spec('lin_shi'), revision=2)\n"
        "UNBUILDABLE = replace(TAKEN, name='mine', build='nowhere:build')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert "Traceback" not in error


def test_quick_run_is_kept_apart_from_the_board(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--model", "attentional_cnn", "--quick"]) == 0
    out = capsys.readouterr().out
    assert "using the embedded drawings" in out
    assert "1 finished, 0 failed" in out
    quick = Workspace(workspace.root / "quick")
    record = read_record(quick.record_path("synthetic", "attentional_cnn", "paper", 0))
    assert sum(record.folds[0].counts["train"].values()) == bench.QUICK_TRAIN
    assert not workspace.leaderboard.exists()


def test_quick_run_keeps_the_networks_that_it_starts_from(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = Workspace(workspace.root / "quick")
    source = quick.weights / "lin_shi.fer_bench.safetensors"
    source.parent.mkdir(parents=True)
    source.write_bytes(b"of an earlier trial")
    record = quick.record_path("synthetic", "attentional_cnn", "paper", 0)
    record.parent.mkdir(parents=True)
    record.write_text("of an earlier trial")
    assert cli.main(["run", "--model", "attentional_cnn", "--quick"]) == 0
    assert "1 finished" in capsys.readouterr().out
    assert source.exists()


def test_a_failed_run_does_not_stop_the_rest(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = bench.run

    def flawed(request: bench.RunRequest, *args: object, **kwargs: object) -> records.RunRecord:
        if request.model == "ranjan_1":
            raise RuntimeError("broken on purpose")
        return run(request, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(bench, "run", flawed)
    assert cli.main(["run", "--model", "ranjan_1", "attentional_cnn", "--quick"]) == 1
    captured = capsys.readouterr()
    assert "RuntimeError: broken on purpose" in captured.err
    assert "1 finished, 1 failed" in captured.out


def test_dry_run_writes_nothing(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--model", "lin_shi", "--seeds", "0,1", "--dry-run"]) == 0
    assert "2 to do" in capsys.readouterr().out
    assert not workspace.root.exists()


def test_a_run_named_twice_is_one(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--model", "lin_shi", "lin_shi", "--seeds", "0,0", "--dry-run"]) == 0
    assert "1 to do" in capsys.readouterr().out


def test_showing_the_board_writes_nothing(workspace: Workspace) -> None:
    assert cli.main(["leaderboard", "show"]) == 0
    assert not workspace.root.exists()


def test_a_terminal_that_knows_no_dash_gets_the_board_all_the_same(
    workspace: Workspace, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_record(workspace)
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", terminal)
    assert cli.main(["leaderboard", "show"]) == 0
    terminal.seek(0)
    assert "lin_shi" in terminal.read()


def test_list_names_every_recipe_and_status_what_is_skipped(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["list"]) == 0
    out = capsys.readouterr().out
    for spec in map(registry.get_spec, registry.list_models()):
        assert spec.title in out and all(recipe.name in out for recipe in spec.recipes)
    assert "not in the suite: hidden_10_lr_0_001, " in out
    assert cli.main(["status"]) == 0
    assert "skipped" in capsys.readouterr().out


def test_a_pattern_runs_several_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--dry-run", "--model", "lin_shi", "--protocol", "synthetic", "--recipe", "no_*"]) == 0
    out = capsys.readouterr().out
    assert "no_batch_norm" in out and "no_dropout" in out and "fer_bench on" not in out
    assert cli.main(["run", "--dry-run", "--model", "lin_shi", "--protocol", "synthetic", "--recipe", "x*"]) == 2
    assert "lin_shi has no recipe like 'x*' for synthetic" in capsys.readouterr().err


def test_data_status_says_what_to_get(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "status"]) == 0
    out = capsys.readouterr().out
    assert "fer2013: not found" in out
    assert "fer2013.csv" in out


def _predictions(path: Path, change: str = "") -> Path:
    dataset = synthetic.load()
    assert dataset.split is not None
    test = np.flatnonzero(dataset.split == "test")
    lines = ["id," + ",".join(dataset.labels.classes)]
    for index in test:
        row = np.full(len(dataset.labels), 0.05)
        row[dataset.targets[index]] = 0.7
        lines.append(f"{dataset.ids[index]}," + ",".join(f"{value:.2f}" for value in row))
    if change == "missing":
        del lines[1]
    elif change == "twice":
        lines.append(lines[1])
    elif change == "stranger":
        lines.append(lines[1].replace(str(dataset.ids[test[0]]), "stranger"))
    elif change == "sum":
        lines[1] = lines[1].replace("0.70", "0.90")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_score_adds_an_external_row(workspace: Workspace, tmp_path: Path) -> None:
    path = _predictions(tmp_path / "mine.csv")
    assert cli.main(["score", str(path), "--protocol", "synthetic", "--name", "mine"]) == 0
    record = read_record(workspace.record_path("synthetic", "mine", "external", 0))
    assert record.external
    assert record.accuracy() == 1.0
    board = (workspace.leaderboard / "leaderboard.csv").read_text()
    assert "mine" in board


def test_score_takes_probabilities_before_predictions(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The most probable class alone, as a certainty, would spoil the log-loss."""
    path = _predictions(tmp_path / "mine.csv")
    score = ["score", str(path), "--protocol", "synthetic", "--name", "mine"]
    place = workspace.record_path("synthetic", "mine", "external", 0)
    assert cli.main(score) == 0
    alone = read_record(place).predictions.sha256
    table = pd.read_csv(path, dtype={"id": str})
    classes = list(table.columns[1:])
    table["prediction"] = table[classes].idxmax(axis=1)
    table.to_csv(path, index=False)
    assert cli.main(score) == 0
    assert read_record(place).predictions.sha256 == alone
    table.loc[3, "prediction"] = next(word for word in classes if word != table.loc[3, "prediction"])
    table.to_csv(path, index=False)
    assert cli.main(score) == 2
    assert "row 5: the prediction is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [("missing", "missing"), ("twice", "twice"), ("stranger", "no test image"), ("sum", "sum to 1")],
)
def test_score_refuses_wrong_predictions(
    workspace: Workspace, tmp_path: Path, change: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _predictions(tmp_path / "mine.csv", change)
    assert cli.main(["score", str(path), "--protocol", "synthetic", "--name", "mine"]) == 2
    assert words in capsys.readouterr().err
    assert not workspace.leaderboard.exists()


@pytest.mark.parametrize("name", ["mine.zip", "mine.csv.xz", "mine.tar", "mine.csv"])
def test_score_refuses_what_is_no_csv(
    workspace: Workspace, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    text = _predictions(tmp_path / "right.csv").read_text()
    path.write_text(text.replace("0.70", "9" * 400) if name == "mine.csv" else "\x00\x01 nothing")
    assert cli.main(["score", str(path), "--protocol", "synthetic", "--name", "mine"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"fer_bench: {path}: ") and error.count("\n") == 1
    assert not workspace.leaderboard.exists()


def test_predict_names_the_class_and_writes_a_csv(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    assert cli.main(["run", "--model", "attentional_cnn", "--protocol", "synthetic", "--quick"]) == 0
    source = Workspace(workspace.root / "quick").run_folder("synthetic", "attentional_cnn", "paper", 0)
    workspace.weights.mkdir(parents=True)
    (source / "fold0.safetensors").rename(workspace.weights / "attentional_cnn.paper.safetensors")
    picture = tmp_path / "drawn.png"
    Image.fromarray(synthetic.draw_face("happy", np.random.default_rng(0), size=96)).save(picture)
    out = tmp_path / "out.csv"
    arguments = ["predict", str(picture), "--whole", "--model", "attentional_cnn", "--csv", str(out)]
    assert cli.main(arguments) == 0
    [row] = csv.DictReader(out.open())
    assert row["file"] == str(picture)
    assert abs(sum(float(row[name]) for name in FER2013.classes) - 1) < 1e-4
    assert f"{picture}: {row['prediction']} " in capsys.readouterr().out


def test_record_is_readable_json(workspace: Workspace) -> None:
    assert cli.main(["run", "--model", "attentional_cnn", "--quick"]) == 0
    path = Workspace(workspace.root / "quick").record_path("synthetic", "attentional_cnn", "paper", 0)
    content = json.loads(path.read_text())
    assert content["recipe"]["optimizer"]["name"] == "adam"
    assert str(Path.home()) not in path.read_text()


@pytest.mark.usefixtures("own_places")
def test_a_run_asked_for_by_name_that_cannot_start_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["run", "--model", "ranjan_1", "--protocol", "ckplus_subject", "--recipe", "paper", "--device", "cpu"]
    assert cli.main([*wanted, "--dry-run"]) == 0
    assert cli.main(wanted) == 2
    assert "ranjan_1.paper on ckplus_subject, seed 0 can't run: ckplus was not found" in capsys.readouterr().err
