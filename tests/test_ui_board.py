"""The leaderboard's and the about tab: the table says what the CSV says, and a row says what its records say."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from test_ui_try import publish

from fer_bench import leaderboard
from fer_bench.errors import FerBenchError
from fer_bench.protocols import PROTOCOLS
from fer_bench.records import RunRecord, Workspace
from fer_bench.registry import list_models
from fer_bench.ui import Link, about, board, details, read_link, table
from fer_bench.ui.context import Context

MakeRecord = Callable[..., RunRecord]
ROWS = leaderboard.read_board(Workspace()).to_dict("records")


@pytest.fixture
def context(workspace: Workspace) -> Context:
    return Context(workspace)


def cells(html: str) -> list[list[tuple[str, str]]]:
    """Each row's cells as (what it sorts by, what it shows)."""
    found = []
    for row in re.findall(r"<tr data-model.*?</tr>", html, re.S):
        parts = re.findall(r"<(t[dh])\b([^>]*)>(.*?)</\1>", row, re.S)
        found.append(
            [
                ("".join(re.findall(r'data-value="(.*?)"', attributes)), re.sub(r"<.*?>", "", content))
                for _, attributes, content in parts
            ]
        )
    return found


@pytest.mark.parametrize("protocol", sorted({row["protocol"] for row in ROWS}))
def test_the_table_has_every_row_and_number_of_the_csv(protocol: str) -> None:
    rows = board.rows_of(Context(), protocol)
    shown = cells(table.table(rows, protocol))
    assert len(shown) == len(rows) > 0
    for row, line in zip(rows.to_dict("records"), shown, strict=True):
        sorts_by = [value for value, _ in line]
        assert sorts_by[0] == ("" if pd.isna(row["rank"]) else str(row["rank"]))
        assert sorts_by[1] == f"{row['model']} {row['recipe']}"
        for value, column in zip(sorts_by[2:], table.columns(rows), strict=True):
            assert value == ("" if pd.isna(row[column.value]) else str(row[column.value]))


def test_numbers_sort_as_numbers_whatever_they_look_like() -> None:
    html = table.table(board.rows_of(Context(), "fer2013"), "fer2013")
    assert 'data-value="776071">776k<' in html and 'data-value="149594560">150M<' in html


def test_ties_seeds_and_partial_data_are_marked(context: Context, make_record: MakeRecord) -> None:
    for seed in (0, 1):
        make_record(context.workspace, "lin_shi", seed=seed, accuracy=0.6 + 0.1 * seed)
    make_record(context.workspace, "ranjan_1", accuracy=0.64)
    part = {"name": "fer2013", "fingerprint": "f", "layout": "l", "partial": True, "counts": {}}
    make_record(context.workspace, "ranjan_2", accuracy=0.9, data=part)
    leaderboard.build(context.workspace)
    rows = board.rows_of(context, "fer2013")
    shown = {line[1][0]: [text for _, text in line] for line in cells(table.table(rows, "fer2013"))}
    assert shown["lin_shi paper"][0] == shown["ranjan_1 paper"][0] == "1="
    assert "\N{PLUS-MINUS SIGN}" in shown["lin_shi paper"][2] and shown["lin_shi paper"][-1] == "2"
    assert shown["ranjan_2 paper"][0] == "\N{EN DASH}" and "partial data" in shown["ranjan_2 paper"][1]


def test_the_download_is_the_csv() -> None:
    name = ROWS[0]["protocol"]
    rows = board.rows_of(Context(), name)
    link = re.search(r'download="(.*?)" href="data:text/csv;base64,(.*?)"', table.table(rows, name))
    assert link is not None and link[1] == f"{name}.csv"
    text = base64.b64decode(link[2]).decode()
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(text)), pd.read_csv(io.StringIO(table.csv(rows))))
    lines = (Workspace().leaderboard / "leaderboard.csv").read_text().splitlines()
    assert text.splitlines() == [lines[0], *(line for line in lines if line.startswith(f"{name},"))]


def test_names_are_text_not_markup() -> None:
    rows = board.rows_of(Context(), ROWS[0]["protocol"]).assign(model='<b>"x"')
    assert "<b>" not in table.table(rows, "fer2013")
    assert "<b>" not in board.costs(rows)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['protocol']}/{row['model']}.{row['recipe']}")
def test_every_row_of_the_board_has_its_records(row: dict[str, Any]) -> None:
    found = details.read_row(Workspace(), row["protocol"], row["model"], row["recipe"])
    assert len(found.runs) == row["seeds"]
    assert f"--protocol {row['protocol']}" in details.command(found)
    known = {name for name, value in details.facts(found) if value}
    assert known >= {"Data", "Folds", "Code"}
    assert found.first.trained == ({"Recipe", "Seeds", "Training", "Device", "Network"} <= known)
    assert details.caveats(found)[-1] == PROTOCOLS[row["protocol"]].caveat


@pytest.mark.parametrize("row", {row["protocol"]: row for row in ROWS}.values(), ids=lambda row: str(row["protocol"]))
def test_a_row_of_every_protocol_is_drawn(row: dict[str, Any]) -> None:
    found = details.details(Workspace(), row)
    assert found.body.count("<svg") >= 3 and "fb-warning" not in found.body
    assert row["recipe"] in found.heading and str(Workspace().root) not in found.body


def test_mixup_is_told_beside_the_curve_that_it_lowers() -> None:
    for recipe, told in (("fer_bench", True), ("paper", False)):
        found = details.details(Workspace(), board.one(Context(), "fer2013", "ranjan_2", recipe))
        assert ("blended in pairs" in found.body) == told


def test_details_of_seeds_are_summed_and_name_them_all(context: Context, make_record: MakeRecord) -> None:
    records = [make_record(context.workspace, seed=seed, accuracy=0.5) for seed in (0, 3)]
    leaderboard.build(context.workspace)
    found = details.details(context.workspace, board.one(context, "fer2013", "lin_shi", "paper"))
    hits = sum(record.metrics["test"]["plain"]["confusion"][0][0] for record in records)
    assert f">{hits}</text>" in found.body and "summed over 2 seeds" in found.body
    assert found.command.endswith("--seeds 0,3")
    assert "s0.json" in found.body and "s3.json" in found.body


def test_predictions_made_elsewhere_have_no_training(context: Context, make_record: MakeRecord) -> None:
    record = make_record(context.workspace, "theirs", "external", external=True)
    path = context.workspace.record_path("fer2013", "theirs", "external", 0)
    values = record.model_dump(mode="json")
    values["folds"][0] |= {"history": [], "epoch": 0}
    path.write_text(json.dumps(values))
    leaderboard.build(context.workspace)
    found = details.details(context.workspace, board.one(context, "fer2013", "theirs", "external"))
    assert "nothing is known of a training" in found.body
    assert found.command == "python -m fer_bench score predictions.csv --protocol fer2013 --name theirs"
    assert "Predicted elsewhere" in found.heading and "Training</dt>" not in found.body


def test_a_row_is_caught_with_what_can_mislead(context: Context, make_record: MakeRecord) -> None:
    part = {"name": "ckplus", "fingerprint": "f", "layout": "l", "partial": True, "counts": {}}
    make_record(context.workspace, "theirs", "mine", "ckplus_random", data=part, pretrained="imagenet")
    row = details.read_row(context.workspace, "ckplus_random", "theirs", "mine")
    said = " ".join(details.caveats(row))
    for words in ("Partial data", "ImageNet", "One seed", "MODULE:SPEC", "Leaky"):
        assert words in said
    assert "--spec MODULE:SPEC" in details.command(row) and "--allow-partial" in details.command(row)


def test_what_no_seed_changes_is_not_said_to_differ_by_seed() -> None:
    for model, said in (("lda", False), ("ranjan_2_forest", True), ("lin_shi", True)):
        row = details.read_row(Workspace(), "fer2013", model, "paper")
        assert any("One seed" in caveat for caveat in details.caveats(row)) == said


def test_a_row_with_a_shipped_network_leads_to_trying_it() -> None:
    context = Context()
    for protocol, shipped in (("fer2013", True), ("ckplus_subject", False)):
        found = details.details(context.workspace, board.one(context, protocol, "lin_shi", "fer_bench"))
        assert ('href="?tab=try&amp;model=lin_shi.fer_bench"' in found.heading) == shipped


def test_a_lost_or_damaged_record_says_so(context: Context, make_record: MakeRecord) -> None:
    make_record(context.workspace)
    leaderboard.build(context.workspace)
    row = board.one(context, "fer2013", "lin_shi", "paper")
    path = context.workspace.record_path("fer2013", "lin_shi", "paper", 0)
    path.with_suffix(".npz").write_bytes(b"not a zip")
    half = details.details(context.workspace, row).body
    assert half.count("fb-warning") == 2 and half.count("<svg") == 2  # what needs no predictions is still there
    path.write_text("{")
    with pytest.raises(FerBenchError, match="not a record"):
        details.details(context.workspace, row)
    path.unlink()
    with pytest.raises(FerBenchError, match="no record of it"):
        details.details(context.workspace, row)


def test_a_new_run_replaces_what_was_drawn(context: Context, make_record: MakeRecord) -> None:
    bodies = []
    for accuracy in (0.3, 0.9):
        make_record(context.workspace, accuracy=accuracy)
        leaderboard.build(context.workspace)
        bodies.append(details.details(context.workspace, board.one(context, "fer2013", "lin_shi", "paper")).body)
    assert bodies[0] != bodies[1]


def test_without_a_board_the_page_says_how_to_make_one(context: Context) -> None:
    for name in PROTOCOLS:
        shown, plots = board.view(context, name)
        assert "python -m fer_bench run" in shown and not plots


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\x00" * 40, b"protocol,rank\nfer2013,x,y,z\n"])
def test_a_corrupt_board_is_a_message(context: Context, content: bytes) -> None:
    path = context.workspace.leaderboard / "leaderboard.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    shown, plots = board.view(context, "fer2013")
    assert "fb-warning" in shown and "leaderboard build" in shown and not plots


def test_a_link_opens_what_it_names_and_says_what_it_does_not(context: Context) -> None:
    publish(context.workspace, "lin_shi.paper")
    assert read_link(context, {"protocol": "sfew_2fold"}) == Link("leaderboard", "", "sfew_2fold", ())
    assert read_link(context, {"tab": "live", "model": "lin_shi"}) == Link("live", "lin_shi.paper", "", ())
    assert read_link(context, {"tab": "batch", "protocol": "synthetic"}) == Link("batch", "", "synthetic", ())
    wrong = read_link(context, {"tab": "bord", "model": "ranjan_1", "protocol": "../etc"})
    assert not (wrong.tab or wrong.model or wrong.protocol)
    protocol, tab, model = wrong.problems
    assert "unknown protocol '../etc'" in protocol and "unknown tab 'bord'" in tab
    assert "python -m fer_bench run --model ranjan_1" in model


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with gr.Blocks(analytics_enabled=False) as app:
        board.build(Context())
    _, url, _ = app.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False)
    yield Client(url, verbose=False, download_files=str(tmp_path_factory.mktemp("client")))
    app.close()


def test_the_api_answers_with_the_rows(client: Client) -> None:
    [(name, about)] = client.view_api(return_format="dict", print_info=False)["named_endpoints"].items()
    assert name == "/leaderboard" and about["description"].startswith("The rows of one protocol")
    [given], [returned] = about["parameters"], about["returns"]
    assert given["parameter_name"] == "protocol" and all(name in given["label"] for name in PROTOCOLS)
    assert returned["label"] == "rows"
    for name in PROTOCOLS:
        answer = client.predict(name, api_name="/leaderboard")
        assert answer == board.json_rows(board.rows_of(Context(), name))
    rows = client.predict("fer2013", api_name="/leaderboard")
    assert [row["accuracy"] for row in rows] == sorted((row["accuracy"] for row in rows), reverse=True)
    assert any(row["reported"] is None for row in rows)


def test_the_api_says_what_was_meant(client: Client) -> None:
    with pytest.raises(AppError, match="did you mean 'fer2013'"):
        client.predict("fer2031", api_name="/leaderboard")
    for odd in (None, 7, ["fer2013"], {"a": 1}):
        with pytest.raises(AppError, match="unknown protocol"):
            client.predict(odd, api_name="/leaderboard")


def test_about_names_every_model_and_protocol(context: Context, tmp_path: Path) -> None:
    papers, protocols = about.papers(), about.protocols()
    assert all(f"`{name}`" in papers for name in list_models())
    assert all(f"`{protocol.name}`" in protocols and protocol.caveat in protocols for protocol in PROTOCOLS.values())
    (context.workspace.leaderboard / "papers").mkdir(parents=True)
    (context.workspace.leaderboard / "papers" / "lin_shi.md").write_text("# Lin & Shi\n\nAs claimed.\n")
    with gr.Blocks(analytics_enabled=False) as app:
        about.build(context)
    shown = json.dumps(app.get_config_file(), default=str)
    assert "Lin & Shi" in shown and "As claimed." in shown
    assert "no basis for a decision about anyone" in shown
