"""The board: derived from the records alone, and verify notices when anything was touched."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import MakeRecord, fake_dataset

from fer_bench import cli, data, leaderboard, provenance, registry, stats
from fer_bench.data import DatasetStatus, near_copies
from fer_bench.errors import FerBenchError, UnknownNameError
from fer_bench.leaderboard import latency, rows, text
from fer_bench.leaderboard.board import END, START
from fer_bench.predict import Predictor
from fer_bench.protocols import PROTOCOLS
from fer_bench.records import Workspace, arrays_digest, read_arrays, read_record, write_arrays, write_record
from fer_bench.transforms import Normaliser


def by(column: str, board: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return {row[column]: row for row in text.records(board)}


def derived(workspace: Workspace) -> dict[Path, bytes]:
    paths = [
        *workspace.leaderboard.glob("*.*"),
        *workspace.weights.glob("*.json"),
        *workspace.root.glob("*.md"),
    ]
    return {path: path.read_bytes() for path in paths}


@pytest.fixture
def at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The fabricated data sets in the place of the real ones."""
    monkeypatch.setattr(
        data,
        "status",
        lambda _: [DatasetStatus(name, True, "fabricated", None, "", "") for name in data.DATASETS],
    )
    protocols = {protocol.dataset: name for name, protocol in PROTOCOLS.items()}
    monkeypatch.setattr(data, "load", lambda name, *_, **__: fake_dataset(protocols[name]))
    monkeypatch.setattr(near_copies, "cache_root", lambda: tmp_path / "cache")


@pytest.fixture
def nothing_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "status", lambda _: [])


# build


def test_sorted_by_protocol_then_accuracy_then_name(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace, "ranjan_1", protocol="ckplus_subject", accuracy=0.9)
    make_record(workspace, "marrugat_1", accuracy=0.3)
    make_record(workspace, "ranjan_1", accuracy=0.8)
    make_record(workspace, "lin_shi", accuracy=0.8)
    board = leaderboard.build(workspace)
    assert list(zip(board["protocol"], board["model"], board["rank"], board["tied"], strict=True)) == [
        ("fer2013", "lin_shi", 1, True),
        ("fer2013", "ranjan_1", 1, True),
        ("fer2013", "marrugat_1", 3, False),
        ("ckplus_subject", "ranjan_1", 1, False),
    ]


def test_csv_reads_back_as_the_frame(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace, protocol="ckplus_random", seed=0, accuracy=0.5)
    make_record(workspace, protocol="ckplus_random", seed=1, accuracy=0.7)
    make_record(workspace, accuracy=0.6)
    board = leaderboard.build(workspace)
    read = pd.read_csv(workspace.leaderboard / "leaderboard.csv", dtype=dict(board.dtypes))
    pd.testing.assert_frame_equal(read, board)


def test_twice_gives_the_same_bytes_and_keeps_the_rest_of_the_readme(
    workspace: Workspace, make_record: MakeRecord
) -> None:
    readme = workspace.root / "README.md"
    readme.write_text(f"# Title\n{START}\nstale rows\n{END}\nafter\n")
    make_record(workspace)
    make_record(workspace, protocol="sfew_2fold")
    leaderboard.build(workspace)
    first = derived(workspace)
    assert len(first) == 4
    leaderboard.build(workspace)
    assert derived(workspace) == first
    text = readme.read_text()
    assert text.startswith(f"# Title\n{START}\n") and text.endswith(f"{END}\nafter\n") and "stale" not in text
    assert "| 1 | lin_shi | paper |" in text and PROTOCOLS["sfew_2fold"].caveat in text


def test_readme_without_markers_is_left_alone(workspace: Workspace, make_record: MakeRecord) -> None:
    readme = workspace.root / "README.md"
    readme.write_text(f"no board {END}")
    make_record(workspace)
    leaderboard.build(workspace)
    assert readme.read_text() == f"no board {END}"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (f"{END} no board {START}".encode(), f"README.md: has {START} but no {END} after it"),
        (b"\xff" + START.encode(), "README.md: expected UTF-8 text (invalid start byte at byte 0)"),
    ],
)
def test_a_readme_that_can_not_hold_the_board_is_named(workspace: Workspace, content: bytes, problem: str) -> None:
    readme = workspace.root / "README.md"
    readme.write_bytes(content)
    with pytest.raises(FerBenchError, match=re.escape(problem)):
        leaderboard.build(workspace)
    assert readme.read_bytes() == content and not workspace.leaderboard.exists()


def test_line_ends_around_the_board_stay(workspace: Workspace, make_record: MakeRecord) -> None:
    readme = workspace.root / "README.md"
    readme.write_bytes(f"before\r\n{START}{END}\r\nafter\r\n".encode())
    make_record(workspace)
    leaderboard.build(workspace)
    content = readme.read_bytes()
    assert content.startswith(b"before\r\n") and content.endswith(b"\r\nafter\r\n")


def test_mean_and_deviation_over_seeds(workspace: Workspace, make_record: MakeRecord) -> None:
    accuracies = [make_record(workspace, seed=seed, accuracy=0.5 + seed / 10).accuracy() for seed in range(3)]
    row = leaderboard.build(workspace).iloc[0]
    assert row["seeds"] == 3
    assert row["accuracy"] == pytest.approx(100 * np.mean(accuracies), abs=0.005)
    assert row["deviation"] == pytest.approx(100 * np.std(accuracies, ddof=1), abs=0.005)
    assert row["interval_low"] < row["accuracy"] < row["interval_high"]


def test_only_the_newest_revision_of_a_row_is_averaged(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace, seed=0, accuracy=0.2, recipe_digest="an older recipe", finished="2025-01-01")
    newest = make_record(workspace, seed=1, accuracy=0.7)
    row = leaderboard.build(workspace).iloc[0]
    assert row["seeds"] == 1
    assert row["accuracy"] == pytest.approx(100 * newest.accuracy(), abs=0.005)


def test_intervals_draw_people_and_films_where_images_are_theirs() -> None:
    """Of the committed records: on FER2013 Wilson's interval, elsewhere that of fewer images."""
    for row in rows.read_rows(Workspace()):
        keys = row.runs[0].outcomes.keys
        wilson = stats.accuracy_interval([record.accuracy() for record in row.records], len(keys))
        if row.first.protocol == "fer2013":
            assert row.interval == wilson
        if row.name == "nearest_neighbour.paper" and row.first.protocol != "fer2013":
            assert row.interval.high - row.interval.low > 1.2 * (wilson.high - wilson.low)
        if row.first.protocol == "ckplus_subject":
            assert len(set(row.runs[0].outcomes.clusters)) == 118
            assert 2 < row.design_effect < 9, "three frames a sequence, and sequences of one person"


def test_the_papers_number_and_the_gap(workspace: Workspace, make_record: MakeRecord) -> None:
    spec = registry.get_spec("ranjan_2")
    stated = next(r for r in spec.reported if (r.protocol, r.recipe, r.split) == ("fer2013", "paper", "test"))
    make_record(workspace, "ranjan_2", "paper", accuracy=0.6)
    make_record(workspace, "ranjan_2", "fer_bench", accuracy=0.6)
    board = by("recipe", leaderboard.build(workspace))
    assert board["paper"]["reported"] == stated.accuracy
    assert board["paper"]["gap"] == pytest.approx(board["paper"]["accuracy"] - stated.accuracy)
    assert pd.isna(board["fer_bench"]["reported"]) and pd.isna(board["fer_bench"]["gap"])


def test_a_model_that_is_not_registered_has_no_paper(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace, "someone_elses")
    make_record(workspace, "lin_shi", "elsewhere", external=True)
    board = by("model", leaderboard.build(workspace))
    assert pd.isna(board["someone_elses"]["reported"]) and board["someone_elses"]["parameters"] == 1_234_567
    assert pd.isna(board["lin_shi"]["parameters"]) and board["lin_shi"]["external"]


def test_partial_data_are_shown_but_not_ranked(workspace: Workspace, make_record: MakeRecord) -> None:
    whole = make_record(workspace, "lin_shi", accuracy=0.5)
    partial = whole.data.model_copy(update={"partial": True}).model_dump()
    make_record(workspace, "ranjan_1", accuracy=0.9, data=partial)
    board = by("model", leaderboard.build(workspace))
    assert pd.isna(board["ranjan_1"]["rank"]) and board["ranjan_1"]["partial"]
    assert board["lin_shi"]["rank"] == 1


def test_a_run_without_a_selection_part_leaves_the_board_readable(
    workspace: Workspace, make_record: MakeRecord
) -> None:
    """As of FER2013 files that hold Training and PrivateTest alone."""
    make_record(workspace, "lin_shi")
    record = make_record(workspace, "ranjan_1")
    path = workspace.record_path(*record.row, 0)
    arrays = read_arrays(path.with_suffix(".npz"))
    arrays |= {name: array[:0] for name, array in arrays.items() if name.startswith("select_")}
    predictions = record.predictions.model_copy(update={"sha256": arrays_digest(arrays)})
    write_record(path, record.model_copy(update={"predictions": predictions}), arrays)
    board = by("model", leaderboard.build(workspace))
    assert pd.isna(board["ranjan_1"]["calibrated_error"]) and not pd.isna(board["lin_shi"]["calibrated_error"])


@pytest.mark.parametrize("damage", [b"{", b"{}", b'{"schema_version": 2}'])
def test_a_corrupt_record_is_named_and_nothing_is_written(
    workspace: Workspace, make_record: MakeRecord, damage: bytes
) -> None:
    make_record(workspace)
    path = workspace.record_path("fer2013", "ranjan_1", "paper", 0)
    path.parent.mkdir(parents=True)
    path.write_bytes(damage)
    with pytest.raises(FerBenchError, match=r"ranjan_1\.paper/s0\.json"):
        leaderboard.build(workspace)
    assert derived(workspace) == {}


def test_no_records_give_an_empty_board(workspace: Workspace) -> None:
    assert leaderboard.build(workspace).empty
    assert "No records yet" in (workspace.leaderboard / "index.html").read_text()
    assert json.loads((workspace.weights / "manifest.json").read_bytes()) == []


def test_manifest_finds_the_run_of_each_file(workspace: Workspace, make_record: MakeRecord) -> None:
    import hashlib

    workspace.weights.mkdir()
    (workspace.weights / "lin_shi.paper.safetensors").write_bytes(b"net")
    (workspace.weights / "stray.safetensors").write_bytes(b"whose?")
    record = make_record(workspace, seed=2)
    fold = record.folds[0].model_copy(update={"weights_sha256": hashlib.sha256(b"net").hexdigest()})
    make_record(workspace, seed=2, folds=[fold.model_dump()])
    leaderboard.build(workspace)
    known, stray = json.loads((workspace.weights / "manifest.json").read_bytes())
    assert known["record"] == "leaderboard/records/fer2013/lin_shi.paper/s2.json"
    assert (known["seed"], known["bytes"]) == (2, 3)
    assert known["test_accuracy"] == pytest.approx(100 * record.accuracy(), abs=0.005)
    assert stray["record"] is None


# page and terminal


class Outline(HTMLParser):
    """Tags that are open at the end, and everything that would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in ("meta", "input", "path", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("path", "circle"):
            assert self.open.pop() == tag


def test_page_is_well_formed_static_and_escaped(workspace: Workspace, make_record: MakeRecord) -> None:
    evil = '<img src=x onerror="alert(1)">&$style'
    make_record(workspace, evil, "r|ecipe", external=True)
    make_record(workspace, "lin_shi", seed=1)
    make_record(workspace, protocol="sfew_2fold")
    readme = workspace.root / "README.md"
    readme.write_text(f"{START}\n{END}")
    leaderboard.build(workspace)
    page = (workspace.leaderboard / "index.html").read_text()
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert outline.links == ["leaderboard.csv", "#fer2013", "#sfew_2fold"]
    assert outline.tags.count("table") == 2 and outline.tags.count("tr") == 2 + 3 and "img" not in outline.tags
    assert "http" not in page and PROTOCOLS["sfew_2fold"].caveat in page
    assert "<img" not in readme.read_text()
    lines = [line for line in readme.read_text().splitlines() if line.startswith("|")]
    first_table = lines[:4]
    assert "&lt;img" in "".join(first_table) and len({line.count("|") for line in first_table}) == 1


def test_show_has_a_line_a_row(workspace: Workspace, make_record: MakeRecord) -> None:
    from rich.console import Console

    make_record(workspace, "lin_shi", accuracy=0.8)
    make_record(workspace, "[bold]name", external=True, accuracy=0.3)
    board = leaderboard.build(workspace)

    def shown(protocol: str | None) -> str:
        console = Console(width=200, file=io.StringIO(), record=True)
        console.print(*leaderboard.show(board, protocol))
        return console.export_text()

    assert "lin_shi" in shown(None) and "[bold]name" in shown(None) and "58.60" in shown(None)
    assert shown("fer2013") == shown(None)
    assert "no records yet" in shown("synthetic")
    with pytest.raises(UnknownNameError, match="did you mean 'fer2013'"):
        leaderboard.show(board, "fer2012")


def test_a_narrow_terminal_spares_columns_and_cuts_no_number(workspace: Workspace, make_record: MakeRecord) -> None:
    from rich.console import Console

    row = make_record(workspace, "attentional_cnn_wide", accuracy=0.8)
    board = leaderboard.build(workspace)
    for width in (200, 62):
        console = Console(width=width, file=io.StringIO(), record=True)
        console.print(*leaderboard.show(board, "fer2013", width))
        shown = console.export_text()
        assert "attentional_cnn_wide" in shown and f"{100 * row.accuracy():.2f} (" in shown and "…" not in shown
        assert ("a wider terminal also shows" in shown) == (width == 62)


def test_latency_is_measured_for_every_registered_network(
    workspace: Workspace, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "list_models", lambda: ["lin_shi", "marrugat_1", "resnet18"])
    threads = torch.get_num_threads()
    measured = leaderboard.measure_latency(workspace)
    assert torch.get_num_threads() == threads
    one = {f"resnet18.{recipe}" for recipe in ("record", "from_fer2013", "from_fer2013_frozen")}
    variants = {"lin_shi.no_batch_norm", "lin_shi.no_dropout", *one}
    assert set(measured["milliseconds"]) == {"lin_shi", "marrugat_1", "resnet18", *variants}
    assert measured["threads"] == 1
    assert len({measured["milliseconds"][name] for name in one}) == 1  # noise does not rank recipes of one network
    make_record(workspace, "lin_shi")
    make_record(workspace, "lin_shi", "no_dropout", "synthetic")
    make_record(workspace, "ranjan_1")
    built = leaderboard.build(workspace)
    assert set(built["cpu_ms"].dropna()) == {
        measured["milliseconds"][name] for name in ("lin_shi", "lin_shi.no_dropout")
    }
    board = by("model", built[built["protocol"] == "fer2013"])
    assert board["lin_shi"]["cpu_ms"] == measured["milliseconds"]["lin_shi"] > 0
    assert pd.isna(board["ranjan_1"]["cpu_ms"])
    assert set(measured["multiply_adds"]) == set(measured["milliseconds"])
    (workspace.leaderboard / "latency.json").write_text('{"milliseconds": [1]}')
    with pytest.raises(FerBenchError, match=r"latency\.json: not a latency measurement"):
        leaderboard.build(workspace)


def test_the_committed_latencies_are_of_the_networks_of_today() -> None:
    """What is changed is to be measured again."""
    measured = latency.read_latency(Workspace())
    assert measured is not None
    networks = {name: one for model in registry.list_models() for name, one in latency._networks(model).items()}
    today = {name: provenance.network_cost(spec, 7, options)[1] for name, (spec, options) in networks.items()}
    assert measured["multiply_adds"] == today and set(measured["milliseconds"]) == set(today)
    alike: dict[tuple[str, str], set[float]] = {}
    for name, (spec, options) in networks.items():
        alike.setdefault((spec.name, json.dumps(options)), set()).add(measured["milliseconds"][name])
    assert all(len(numbers) == 1 for numbers in alike.values())


# verify


def failures(workspace: Workspace, with_weights: bool = False) -> list[str]:
    return [line for result in leaderboard.verify(workspace, with_weights=with_weights) for line in result.failures]


@pytest.mark.usefixtures("at_hand")
def test_verify_passes_on_untouched_records(workspace: Workspace, make_record: MakeRecord) -> None:
    for protocol in PROTOCOLS:
        make_record(workspace, protocol=protocol)
    make_record(workspace, "mine", "elsewhere", external=True)
    leaderboard.build(workspace)
    results = leaderboard.verify(workspace)
    assert [result.failures for result in results] == [[]] * (len(PROTOCOLS) + 4)
    assert all("folds and labels equal the data set's" in result.notes for result in results[:-3])


@pytest.mark.usefixtures("nothing_at_hand")
def test_verify_without_the_data_says_so_and_passes(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace)
    leaderboard.build(workspace)
    results = leaderboard.verify(workspace)
    assert all(result.ok for result in results)
    assert results[0].notes[-1] == "labels checked against the stored copy only: fer2013 is not at hand"


@pytest.mark.usefixtures("nothing_at_hand")
def test_verify_counts_what_no_data_set_could_tell(
    workspace: Workspace, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Workspace.__init__, "__defaults__", (workspace.root,))
    make_record(workspace)
    leaderboard.build(workspace)
    assert cli.main(["leaderboard", "verify"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "4 verified, 0 failed; 1 without the data set, by their stored labels alone"


@pytest.mark.usefixtures("nothing_at_hand")
def test_verify_notices_a_run_that_was_copied_as_another_seed(workspace: Workspace, make_record: MakeRecord) -> None:
    made = make_record(workspace)
    path = workspace.record_path("fer2013", "lin_shi", "paper", 0)
    arrays = read_arrays(path.with_suffix(".npz"))
    for seed in (0, 1):
        info = made.predictions.model_copy(update={"file": f"s{seed}.npz"})
        copy = made.model_copy(update={"seed": seed, "predictions": info})
        write_record(path.with_name(f"s{seed}.json"), copy, arrays)
    leaderboard.build(workspace)
    assert failures(workspace) == ["has the very predictions of s0.json: two seeds never agree like this"]


@pytest.mark.usefixtures("nothing_at_hand")
def test_verify_says_where_the_recipe_is_another_by_now(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace)
    make_record(workspace, recipe="forgotten")
    leaderboard.build(workspace)
    forgotten, paper, *_ = leaderboard.verify(workspace)
    assert paper.ok and "made by another paper than the model has now" in paper.notes
    assert forgotten.ok and "made by another forgotten than the model has now" in forgotten.notes


@pytest.mark.usefixtures("at_hand")
def test_verify_with_another_layout_says_so_and_passes(workspace: Workspace, make_record: MakeRecord) -> None:
    info = make_record(workspace).data.model_copy(update={"fingerprint": "of the CSV", "layout": "csv"})
    make_record(workspace, data=info.model_dump())
    leaderboard.build(workspace)
    (result, *_) = leaderboard.verify(workspace)
    assert result.ok and "another copy or layout (fabricated; the run had csv)" in result.notes[-1]


@pytest.mark.usefixtures("nothing_at_hand")
@pytest.mark.parametrize(
    ("keys", "value", "named"),
    [
        (("metrics", "test", "plain", "accuracy"), 0.99, "metrics.test.plain.accuracy"),
        (("metrics", "select", "ten_crop", "log_loss"), 0.1, "metrics.select.ten_crop.log_loss"),
        (("metrics", "test", "flip", "confusion", 0, 1), 77, "metrics.test.flip.confusion.0.1"),
        (("near_copy_free", "n"), 5, "near_copy_free.n"),
        (("folds", 0, "test_accuracy"), 0.9, "folds.0.test_accuracy"),
        (("folds", 0, "counts", "test", "happy"), 1, "folds.0.counts.test.happy"),
        (("predictions", "file"), "s1.npz", "predictions.file"),
        (("recipe", "select"), "last", "recipe_digest"),
        (("recipe_digest",), "0" * 16, "recipe_digest"),
        (("pretrained",), "imagenet", "pretrained"),
        (("external",), True, "external"),
        (("folds", 0, "epoch"), 2, "folds.0.epoch"),
        (("folds", 0, "history", 0, "select_accuracy"), 0.9, "folds.0: the stored predictions on select"),
        (("folds", 0, "train_seconds"), 60.0, "folds.0.train_seconds"),
        (("parameters",), 1, "parameters, multiply_adds.0"),
        (("multiply_adds",), 1, "parameters, multiply_adds.1"),
        (("data", "name"), "ckplus", "data.name"),
    ],
)
def test_verify_notices_an_edited_number(
    workspace: Workspace, make_record: MakeRecord, keys: tuple[str | int, ...], value: float | str, named: str
) -> None:
    make_record(workspace)
    path = workspace.record_path("fer2013", "lin_shi", "paper", 0)
    values = json.loads(path.read_bytes())
    place = values
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(values))
    leaderboard.build(workspace)
    assert any(named in line for line in failures(workspace))


@pytest.mark.usefixtures("nothing_at_hand")
def test_other_predictions_than_the_records_are_noticed(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace)
    path = workspace.record_path("fer2013", "lin_shi", "paper", 0).with_suffix(".npz")
    write_arrays(path, read_arrays(path) | {"test_fold": np.zeros(3)})
    with pytest.raises(FerBenchError, match=r"s0\.npz: not the predictions of the record"):
        leaderboard.build(workspace)
    assert any("sha256 differs" in line for line in failures(workspace))


def retouch(
    workspace: Workspace,
    protocol: str,
    drop: tuple[str, ...] = (),
    external: bool = False,
    **changed: np.ndarray,
) -> None:
    """Replace predictions and make every number of the record fit them, as a forger would."""
    from fer_bench.scoring import near_copy_free, score_arrays

    path = workspace.record_path(protocol, "lin_shi", "paper", 0)
    record, arrays = read_record(path), read_arrays(path.with_suffix(".npz"))
    arrays = {name: array for name, array in (arrays | changed).items() if name not in drop}

    def accuracy(part: str, number: int) -> float:
        mine = arrays[f"{part}_fold"] == number
        right = arrays[f"{part}_plain"][mine].argmax(axis=1) == arrays[f"{part}_targets"][mine]
        return float(right.mean())

    folds = []
    for number, fold in enumerate(record.folds):
        fitting: dict[str, Any] = {"test_accuracy": accuracy("test", number)}
        if "select_plain" in arrays:
            fitting["history"] = [{**fold.history[0], "select_accuracy": accuracy("select", number)}]
        folds.append(fold.model_copy(update=fitting))
    info = record.predictions.model_copy(update={"sha256": arrays_digest(arrays)})
    update = {"metrics": score_arrays(arrays), "near_copy_free": near_copy_free(arrays), "external": external}
    write_record(path, record.model_copy(update={**update, "folds": folds, "predictions": info}), arrays)


@pytest.mark.usefixtures("at_hand")
def test_verify_takes_the_labels_from_the_data_set(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace, protocol="sfew_2fold")
    path = workspace.record_path("sfew_2fold", "lin_shi", "paper", 0).with_suffix(".npz")
    arrays = read_arrays(path)
    # Two labels of one fold change places, so that the counts stay as they were.
    targets = arrays["test_targets"].copy()
    one, other = 0, int(np.flatnonzero(targets[arrays["test_fold"] == 0] != targets[0])[0])
    targets[[one, other]] = targets[[other, one]]
    retouch(workspace, "sfew_2fold", test_targets=targets)
    leaderboard.build(workspace)
    assert len(failures(workspace)) == 1 and "images or labels are not the protocol's" in failures(workspace)[0]


@pytest.mark.usefixtures("at_hand")
def test_predictions_made_elsewhere_need_one_view_and_no_selection_part(
    workspace: Workspace, make_record: MakeRecord
) -> None:
    make_record(workspace, protocol="sfew_2fold", external=True, pretrained="unknown")
    select = tuple(f"select_{name}" for name in ("ids", "fold", "targets", "plain", "flip", "ten_crop"))
    retouch(workspace, "sfew_2fold", drop=(*select, "test_flip", "test_ten_crop"), external=True)
    row = leaderboard.build(workspace).iloc[0]
    assert row["accuracy"] == pytest.approx(60, abs=1)
    assert row[["flip", "ten_crop", "select_accuracy", "training_minutes"]].isna().all()
    assert failures(workspace) == []
    retouch(workspace, "sfew_2fold", external=False)
    leaderboard.build(workspace)
    assert "record or predictions are not laid out as a run's: KeyError('select_targets')" in failures(workspace)


@pytest.mark.usefixtures("at_hand")
def test_verify_notices_another_near_copy_mask(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace)
    path = workspace.record_path("fer2013", "lin_shi", "paper", 0).with_suffix(".npz")
    clean = read_arrays(path)["test_clean"].copy()
    clean[:3] = ~clean[:3]
    retouch(workspace, "fer2013", test_clean=clean)
    leaderboard.build(workspace)
    assert failures(workspace) == ["test_clean: 3 images are marked otherwise than the pixels say"]


@pytest.mark.usefixtures("at_hand")
def test_verify_takes_the_counts_from_the_data_set(workspace: Workspace, make_record: MakeRecord) -> None:
    record = make_record(workspace)
    (fold,) = record.folds
    counts = {**fold.counts, "train": {**fold.counts["train"], "happy": 1}}
    make_record(
        workspace,
        folds=[fold.model_copy(update={"counts": counts}).model_dump()],
        data=record.data.model_copy(update={"partial": True}).model_dump(),
    )
    leaderboard.build(workspace)
    assert [line.partition(":")[0] for line in failures(workspace)] == ["data.partial", "folds.0.counts.train.happy"]


@pytest.mark.usefixtures("nothing_at_hand")
def test_verify_notices_a_fold_too_few(workspace: Workspace, make_record: MakeRecord) -> None:
    record = make_record(workspace, protocol="sfew_2fold")
    make_record(workspace, protocol="sfew_2fold", folds=[record.folds[0].model_dump()])
    leaderboard.build(workspace)
    assert failures(workspace) == ["folds: recorded 1, computed 2"]


@pytest.mark.usefixtures("at_hand")
def test_verify_notices_other_folds(workspace: Workspace, make_record: MakeRecord) -> None:
    record = make_record(workspace)
    folds = [fold.model_copy(update={"digest": "another"}).model_dump() for fold in record.folds]
    make_record(workspace, folds=folds)
    leaderboard.build(workspace)
    assert any(line.startswith("fold digests") for line in failures(workspace))


@pytest.mark.usefixtures("nothing_at_hand")
def test_verify_goes_on_after_a_broken_record(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace, "lin_shi")
    make_record(workspace, "ranjan_1")
    broken = workspace.record_path("fer2013", "lin_shi", "paper", 0)
    broken.with_suffix(".npz").write_bytes(b"PK")
    results = leaderboard.verify(workspace)
    assert [result.ok for result in results] == [False, True, False]
    arrays = read_arrays(workspace.record_path("fer2013", "ranjan_1", "paper", 0).with_suffix(".npz"))
    write_arrays(broken.with_suffix(".npz"), {"test_ids": arrays["test_ids"]})
    assert not leaderboard.verify(workspace)[0].ok


@pytest.mark.usefixtures("nothing_at_hand")
def test_verify_notices_an_edited_board(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace)
    (workspace.root / "README.md").write_text(f"{START}{END}")
    leaderboard.build(workspace)
    for name in ("leaderboard/leaderboard.csv", "leaderboard/index.html", "README.md"):
        path = workspace.root / name
        original = path.read_text()
        path.write_text(original.replace("58.6", "58.7"))
        (wrong,) = [result for result in leaderboard.verify(workspace) if not result.ok]
        assert wrong.path == path
        path.write_text(original)
    assert failures(workspace) == []


@pytest.mark.usefixtures("at_hand")
def test_verify_with_weights_predicts_again(
    workspace: Workspace, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fer_bench import weights
    from fer_bench.specs import VIEWS

    made = [make_record(workspace, model) for model in ("lin_shi", "ranjan_1")]
    cost = {record.model: (record.parameters, record.multiply_adds) for record in made}
    dataset = fake_dataset("fer2013")
    path = workspace.record_path("fer2013", "lin_shi", "paper", 0)
    record, arrays = read_record(path), read_arrays(path.with_suffix(".npz"))
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48 * 48, 7))
    monkeypatch.setattr(registry, "build", lambda *_: network)
    monkeypatch.setattr(provenance, "network_cost", lambda spec, *_: cost[spec.name])
    shipped = workspace.weights / "lin_shi.paper.safetensors"
    normaliser = Normaliser(np.zeros((1, 1, 1), dtype=np.float32), np.ones((1, 1, 1), dtype=np.float32))
    metadata = {"model": "lin_shi", "model_revision": 1, "model_options": {}}
    predictor = Predictor(network, dataset.labels.classes, 48, 1, normaliser, metadata=metadata)
    digest = weights.save(predictor, shipped)
    saved = weights.load(shipped)
    place = {id_: index for index, id_ in enumerate(dataset.ids)}
    changed = {
        f"{part}_{view}": saved.predict(dataset.images[[place[id_] for id_ in arrays[f"{part}_ids"]]], view)
        for part in ("select", "test")
        for view in VIEWS
    }
    folds = [record.folds[0].model_copy(update={"weights_sha256": digest})]
    write_record(path, record.model_copy(update={"folds": folds}), arrays)
    leaderboard.build(workspace)
    assert any("test plain accuracy is" in line for line in failures(workspace, with_weights=True))
    retouch(workspace, "fer2013", (), False, **changed)
    leaderboard.build(workspace)
    ours, other, *_ = leaderboard.verify(workspace, with_weights=True)
    assert ours.ok and "bit for bit" in ours.notes[-1]
    assert other.ok and other.notes[-1] == "no weights of this run here"
    shipped.write_bytes(shipped.read_bytes()[:-4] + bytes(4))
    other_bytes = "lin_shi.paper.safetensors is not as listed"
    unknown = "no record is of lin_shi.paper.safetensors: its sha256 is in none"
    assert failures(workspace, with_weights=True) == [other_bytes, unknown]
    leaderboard.build(workspace)
    assert failures(workspace, with_weights=True) == [unknown]
    assert failures(workspace) == [] and unknown in leaderboard.verify(workspace)[-1].notes
    shipped.unlink()
    absent = "lin_shi.paper.safetensors is not here"
    assert failures(workspace, with_weights=True) == [absent]
    assert failures(workspace) == [] and absent in leaderboard.verify(workspace)[-1].notes


# compare


def test_compare_tells_better_from_worse(workspace: Workspace, make_record: MakeRecord) -> None:
    better = make_record(workspace, "lin_shi", accuracy=0.9)
    worse = make_record(workspace, "ranjan_1", accuracy=0.4)
    result = leaderboard.compare(workspace, "lin_shi", "ranjan_1", "fer2013")
    assert result.difference == pytest.approx(better.accuracy() - worse.accuracy())
    assert (result.only_a - result.only_b) / result.n == pytest.approx(result.difference)
    assert result.significant and result.mcnemar_p < 0.001
    assert result.verdict.startswith("lin_shi.paper@0 is better than ranjan_1.paper@0 on fer2013 by ")
    assert str(result).endswith(result.verdict) and f"{100 * better.accuracy():.2f}%" in str(result)
    mirrored = leaderboard.compare(workspace, "ranjan_1", "lin_shi", "fer2013")
    assert mirrored.verdict.startswith("lin_shi.paper@0 is better than ranjan_1.paper@0")


def test_compare_with_itself_finds_nothing(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace)
    result = leaderboard.compare(workspace, "lin_shi", "lin_shi.paper", "fer2013")
    assert result.difference == 0 and not result.significant and "can't tell" in result.verdict


def test_compare_takes_the_lowest_common_seed(workspace: Workspace, make_record: MakeRecord) -> None:
    for model, seeds in (("lin_shi", (0, 2, 10)), ("ranjan_1", (2, 10))):
        for seed in seeds:
            make_record(workspace, model, seed=seed)

    def pair(a: str, b: str) -> tuple[str, str]:
        result = leaderboard.compare(workspace, a, b, "fer2013")
        return result.a.partition("@")[2], result.b.partition("@")[2]

    assert pair("lin_shi", "ranjan_1") == ("2", "2")
    assert pair("lin_shi@10", "ranjan_1") == ("10", "10")
    assert pair("lin_shi@0", "ranjan_1") == ("0", "2")


def test_compare_leaves_out_what_the_board_does(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace, seed=0, recipe_digest="an older recipe", finished="2025-01-01")
    make_record(workspace, seed=1)
    make_record(workspace, "ranjan_1")
    assert leaderboard.compare(workspace, "lin_shi", "ranjan_1", "fer2013").a == "lin_shi.paper@1"


@pytest.mark.parametrize(
    ("value", "words"),
    [(999, "999"), (999_499, "999k"), (999_600, "1M"), (1_240_000, "1.24M"), (999_999_999, "1G")],
)
def test_counts_are_written_in_three_digits(value: int, words: str) -> None:
    assert text.count(value) == words


@pytest.mark.parametrize(
    ("a", "message"),
    [
        ("lin_shy", "did you mean 'lin_shi'"),
        ("lin_shi.papper", "did you mean 'lin_shi.paper'"),
        ("lin_shi", "has several recipes on fer2013: say lin_shi.fer_bench or lin_shi.paper"),
        ("lin_shi.paper@7", "has no seed '7' on fer2013: it has 0"),
        ("lin_shi.paper@x", "has no seed 'x'"),
    ],
)
def test_compare_names_what_is_meant(workspace: Workspace, make_record: MakeRecord, a: str, message: str) -> None:
    make_record(workspace, "lin_shi", "paper")
    make_record(workspace, "lin_shi", "fer_bench")
    make_record(workspace, "ranjan_1")
    with pytest.raises(FerBenchError, match=message):
        leaderboard.compare(workspace, a, "ranjan_1", "fer2013")


def test_compare_refuses_different_test_images(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace, "lin_shi")
    make_record(workspace, "ranjan_1")
    arrays = read_arrays(workspace.record_path("fer2013", "lin_shi", "paper", 0).with_suffix(".npz"))
    retouch(workspace, "fer2013", (), False, **{name: array[1:] for name, array in arrays.items()})
    with pytest.raises(FerBenchError, match="tested on different images"):
        leaderboard.compare(workspace, "lin_shi", "ranjan_1", "fer2013")
    with pytest.raises(FerBenchError, match="no records on sfew_2fold"):
        leaderboard.compare(workspace, "lin_shi", "ranjan_1", "sfew_2fold")
