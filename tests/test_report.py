"""The papers' pages: numbers from the records, gaps with the command that fills them, the same bytes each time."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import MakeRecord

from fer_bench import cli, plots, registry, report
from fer_bench.errors import FerBenchError, UnknownNameError
from fer_bench.leaderboard.rows import Row, Run, read_rows
from fer_bench.records import Workspace
from fer_bench.report import figures, marrugat, measures
from fer_bench.report.paper import Figure, Finding, Ref, Table, variants
from fer_bench.report.render import READING, _Todo

PROJECT = Workspace()
LIN_SHI = Ref("lin_shi", "fer2013")


def page(workspace: Workspace, name: str) -> report.Page:
    return report.render(report.get_paper(name), report.evidence(workspace), workspace)


def table(markdown: str, title: str) -> list[list[str]]:
    """The cells of the table under a heading, by line."""
    lines = markdown.partition(f"## {title}\n\n")[2].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in [lines[0], *lines[2:]]]


def the_row(workspace: Workspace) -> Row:
    [row] = read_rows(workspace)
    return row


# pages


@pytest.mark.parametrize("name", report.PAPERS)
def test_committed_page_is_what_the_records_say(name: str) -> None:
    path = PROJECT.leaderboard / "papers" / f"{name}.md"
    if not path.exists():
        pytest.skip("no committed pages")
    fresh = page(PROJECT, name)
    assert path.read_text(encoding="utf-8") == fresh.markdown, f"`python -m fer_bench report {name}` makes it anew"
    assert {figure.name for figure in path.parent.glob(f"{name}-*.svg")} == set(fresh.figures)


def test_committed_goals_are_what_the_records_say() -> None:
    path = PROJECT.leaderboard / "goals.md"
    assert path.read_text(encoding="utf-8") == report.goals_page(PROJECT), "`python -m fer_bench report` makes it anew"


def test_a_goal_is_met_by_the_records_or_says_by_how_much_not(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace, "lin_shi", "paper", accuracy=0.9)
    missed = make_record(workspace, "lin_shi", "fer_bench", accuracy=0.5)
    make_record(workspace, "resnet18", "from_fer2013", "ckplus_subject", accuracy=0.95, pretrained="fer2013")
    fresh = make_record(workspace, "ranjan_1", "paper", "ckplus_subject", accuracy=0.9)
    cells = [line.strip("| ").split(" | ") for line in report.goals_page(workspace).splitlines() if line[:1] == "|"]
    said = {(cell[0], cell[1].split()[0]): cell[4:6] for cell in cells if len(cell) > 4}
    assert said["fer2013", "lin_shi.paper"][1] == "**the aim**"
    assert said["fer2013", "lin_shi.fer_bench"][1] == f"no, {63 - 100 * missed.accuracy():.2f} short"
    assert said["ckplus_subject", "resnet18.from_fer2013"][1] == "yes"
    # of those that start from random weights
    assert said["ckplus_subject", "ranjan_1.paper"] == [f"{100 * fresh.accuracy():.2f}", "yes"]
    assert said["fer2013", "ranjan_2.paper"][0] == "not run"


@pytest.mark.parametrize("name", report.PAPERS)
def test_without_its_records_a_page_says_what_makes_them(
    name: str, workspace: Workspace, make_record: MakeRecord
) -> None:
    make_record(workspace, "lin_shi", "fer_bench", "ckplus_subject")  # no page's
    written = page(workspace, name)
    assert not written.figures
    assert "none has been run here yet." in written.markdown and "## Made from" not in written.markdown
    assert "nan" not in written.markdown
    commands = re.findall(r"^(\d+)\. `python -m fer_bench (run [^`]+)`$", written.markdown, re.M)
    numbers = {int(n) for n, _ in commands}
    assert numbers == set(range(1, len(commands) + 1))
    for shown in re.findall(r"\[to run ([^\]]+)\]", written.markdown):
        assert {int(n) for n in re.findall(r"\d+", shown)} <= numbers
    parser, _ = cli._parser()
    for _, command in commands:
        options = parser.parse_args(shlex.split(command))
        registry.get_spec(options.model[0]).recipe(options.recipe)


def test_every_section_has_a_place_for_its_numbers() -> None:
    for name in report.PAPERS:
        paper = report.get_paper(name)
        titles = [section.title for section in paper.sections]
        assert len(set(titles)) == len(titles)
        files = [section.name for section in paper.sections if isinstance(section, Figure)]
        assert len(set(files)) == len(files)
        for section in paper.sections:
            if isinstance(section, Table):
                assert all(len(cells) == len(section.columns) for _, cells in section.rows)


def test_a_cell_has_the_papers_number_ours_and_the_difference(workspace: Workspace, make_record: MakeRecord) -> None:
    record = make_record(workspace, accuracy=0.8)
    heads, *rows = table(page(workspace, "lin_shi").markdown, "Section 5: the CNN and what it owes to its parts")
    assert heads[4:] == ["test: paper", "test: ours", "difference"]
    ours = 100 * record.accuracy()
    low, high = (100 * end for end in the_row(workspace).interval)
    shown = re.sub(r"[^\d.(]+", " ", rows[0][5])
    assert [float(n) for n in shown.replace("(", " ").split()] == pytest.approx([ours, low, high], abs=0.06)
    assert rows[0][4] == "58.60" and rows[0][6] == f"+{ours - 58.6:.2f}"
    assert rows[1][4:] == ["55.60", rows[1][5], ""] and "to run" in rows[1][5]
    assert "6 test accuracies; 1 has been run here: ours is higher." in page(workspace, "lin_shi").markdown


def test_a_papers_number_in_our_interval_is_a_tie(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace, accuracy=0.6)
    markdown = page(workspace, "lin_shi").markdown
    *_, difference = table(markdown, "Section 5: the CNN and what it owes to its parts")[1]
    assert difference.endswith("\N{ALMOST EQUAL TO}") and READING in markdown
    assert "1 has been run here: the paper's lies in our 95% interval." in markdown


def test_pages_fill_as_records_appear_and_stale_figures_go(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace)
    stale = workspace.leaderboard / "papers" / "lin_shi-stale.svg"
    other = workspace.leaderboard / "papers" / "leng-other.svg"
    stale.parent.mkdir(parents=True)
    stale.touch()
    other.touch()
    [(path, count)] = report.write(workspace, ["lin_shi"]).items()
    first = Path(path).read_text()
    assert not stale.exists() and other.exists()
    linked = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", first)
    assert len(linked) == count and all((stale.parent / name).stat().st_size < 100_000 for name in linked)
    before = {file: file.read_bytes() for file in stale.parent.iterdir()}
    report.write(workspace, ["lin_shi"])
    assert {file: file.read_bytes() for file in stale.parent.iterdir()} == before
    make_record(workspace, recipe="no_dropout", accuracy=0.4)
    report.write(workspace, ["lin_shi"])
    assert first.count("to run") > Path(path).read_text().count("to run")
    assert "Yes.** `lin_shi.paper`" in Path(path).read_text()


def test_times_of_different_devices_are_not_compared(workspace: Workspace, make_record: MakeRecord) -> None:
    def finding(*devices: str) -> Finding:
        rows = []
        for number, name in enumerate(devices, start=1):
            record = make_record(workspace, f"marrugat_{number}")
            device = record.device.model_copy(update={"name": name})
            changed = record.model_copy(update={"device": device, "recipe": {"steps": 10_000}})
            rows.append(Row((Run(workspace.root, changed),)))
        return marrugat._slower(*rows)

    apart = finding("one", "two", "two", "two")
    assert "Over model 2's 1.5 minutes for 10,000 iterations (two): model 3 1.00 and model 4 1.00" in apart.text
    assert "The time of model 1 is another device's" in apart.text and apart.holds is None
    assert finding("two", "two", "two", "two").holds is False
    assert "different devices" in finding("one", "two", "three", "four").text


def test_partial_and_outside_runs_are_no_evidence(workspace: Workspace, make_record: MakeRecord) -> None:
    record = make_record(workspace, "marrugat_1")
    make_record(workspace, data=record.data.model_copy(update={"partial": True}).model_dump())
    assert (("lin_shi", "fer2013", "paper") in report.evidence(workspace).rows) is False


# errors


def test_bad_input_is_one_line(workspace: Workspace, make_record: MakeRecord) -> None:
    with pytest.raises(UnknownNameError, match="unknown page 'lin_shy': did you mean 'lin_shi'"):
        report.write(workspace, ["lin_shy"])
    with pytest.raises(FerBenchError, match=r"no records in .*: `python -m fer_bench run --all` makes them"):
        report.write(workspace)
    make_record(workspace)
    path = workspace.record_path("fer2013", "lin_shi", "paper", 0)
    path.write_text(path.read_text()[:100])
    with pytest.raises(FerBenchError, match=r"s0\.json: not a record"):
        report.write(workspace)
    assert not (workspace.leaderboard / "papers").exists()


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "leng", "ranjam"]) == 2
    assert capsys.readouterr().err == "fer_bench: unknown page 'ranjam': did you mean 'ranjan'?\n"


# numbers


def test_shares_are_those_of_the_metrics(workspace: Workspace, make_record: MakeRecord) -> None:
    scores = make_record(workspace).metrics["test"]["plain"]
    row = the_row(workspace)
    for i, name in enumerate(row.first.classes):
        for measure, key in (
            (measures.share, "recall"),
            (measures.precision, "precision"),
            (measures.specificity, "specificity"),
        ):
            value = measure(row, name)
            assert value.value == pytest.approx(scores[key][i]) and value.low <= value.value <= value.high
    taken = [measures.share(row, "angry", name).value for name in row.first.classes]
    assert sum(taken) == pytest.approx(1)


def test_merged_classes_add_up_their_probabilities(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace, accuracy=0.5)
    row = the_row(workspace)
    single = {name: (name,) for name in row.first.classes}
    assert measures.merged(row, single).value == pytest.approx(row.accuracy)
    assert measures.merged(row, {"all": row.first.classes}).value == 1
    pair = {name: (name,) for name in row.first.classes if name != "disgust"} | {"angry": ("angry", "disgust")}
    probabilities, targets = row.runs[0].arrays["test_plain"].copy(), row.runs[0].arrays["test_targets"]
    probabilities[:, 0] += probabilities[:, 1]
    probabilities[:, 1] = 0
    right = probabilities.argmax(axis=1) == np.where(targets == 1, 0, targets)
    assert measures.merged(row, pair).value == pytest.approx(right.mean())


@pytest.mark.parametrize(("one", "other", "holds"), [(0.9, 0.3, True), (0.3, 0.9, False), (0.6, 0.6, "tie")])
def test_versus_knows_better_worse_and_tied(
    one: float, other: float, holds: Any, workspace: Workspace, make_record: MakeRecord
) -> None:
    make_record(workspace, "lin_shi", accuracy=one)
    make_record(workspace, "ranjan_1", accuracy=other)
    rows = {row.first.model: row for row in read_rows(workspace)}
    finding = measures.versus(rows["lin_shi"], rows["ranjan_1"])
    assert finding.holds == holds
    assert measures.ordered("a", "b")(rows["lin_shi"], rows["ranjan_1"]).holds == holds


@pytest.mark.parametrize(
    ("value", "shown"), [(1.234, "+1.23"), (-1.2, "\N{MINUS SIGN}1.20"), (-0.001, "0.00"), (0.0, "0.00")]
)
def test_signs(value: float, shown: str) -> None:
    assert measures.signed(value) == shown


def test_variants_differ_in_nothing_else() -> None:
    base = Ref("leng_mlp", "sfew_2fold", "paper_bdr", "0,1")
    found = {ref.recipe for ref in variants(base, "alpha")}
    assert "paper_bdr" in found and len(found) > 2
    assert not {"paper", "paper_normalised_bdr", "own_features_bdr"} & found
    assert {ref.seeds for ref in variants(base, "alpha")} == {"0,1"}
    assert {ref.recipe for ref in variants(LIN_SHI, "batch_norm")} == {"paper", "no_batch_norm"}


def test_numbers_of_commands_are_joined() -> None:
    todo = _Todo()
    refs = [Ref(f"model_{n}", "fer2013") for n in range(9)]
    assert "[to run 1\N{EN DASH}4]" in todo(*refs[:4])
    todo(*refs[4:])
    assert "[to run 1, 3\N{EN DASH}4, 9]" in todo(refs[0], refs[8], refs[3], refs[2])


def test_convolutions_are_counted_as_the_networks_are() -> None:
    from fer_bench.models.lin_shi import TABLE
    from fer_bench.report.lin_shi import VGG19, _convolutions

    assert _convolutions(TABLE)[0] == 480_192
    assert _convolutions(VGG19, channels=3)[0] == 20_024_384  # Keras' VGG19 without its top


# bimodal distribution removal


def bdr_history(variances: list[float], removed: list[int]) -> list[dict[str, float]]:
    history, kept = [], 337
    for n, (variance, gone) in enumerate(zip(variances, removed, strict=True)):
        kept -= gone
        row = {"epoch": 2000 + 50.0 * n, "train_loss": variance, "train_accuracy": 0.9, "error_variance": variance}
        bins = {f"errors_{i:02d}": float(20 - i) for i in range(20)}
        history.append(row | {"kept": float(kept), "removed": float(gone), "errors_max": 2.0, "seconds": 1.0} | bins)
    return history


def test_equal_losses_are_a_claim_that_a_tie_confirms(workspace: Workspace, make_record: MakeRecord) -> None:
    for recipe, accuracy in (("paper", 0.9), ("l2svm", 0.2)):
        make_record(workspace, "ranjan_1", recipe, accuracy=accuracy)
        make_record(workspace, "ranjan_1", recipe, "ckplus_random", accuracy=0.6)
    lines = page(workspace, "ranjan").markdown.splitlines()
    verdicts = [line.split(" | ")[1] for line in lines if line.startswith(("| Both losses", "| And model 1 on CK+"))]
    assert verdicts == ["no", "yes"]


def test_removal_is_counted_and_drawn(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace, "leng_mlp", "paper_bdr", "sfew_2fold", accuracy=0.3)
    record = the_row(workspace).first
    history = bdr_history([0.5, 0.2, 0.08, 0.03, 0.007], [40, 30, 35, 25, 0])
    folds = [{**fold.model_dump(), "history": history} for fold in record.folds]
    make_record(workspace, "leng_mlp", "paper_bdr", "sfew_2fold", accuracy=0.3, folds=folds)
    written = page(workspace, "leng")
    assert re.search(r"4 rounds\. \*\*Yes\.\*\* 130 of \d+ in the first 4\.0 rounds", written.markdown)
    assert "Below 0.01 in 2 of 2 trainings, after 4.0 rounds" in written.markdown
    root = ElementTree.fromstring(written.figures["leng-bdr-errors.svg"]())
    words = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert "epoch 2000, 40 removed" in words and "epoch 2200" in words


# figures


def texts(figure: Any) -> list[str]:
    root = ElementTree.fromstring(figures.file(figure, "x"))
    return [element.text or "" for element in root.iter() if element.tag.endswith("text")]


def test_each_image_is_counted_once() -> None:
    row = report.evidence(PROJECT).row(LIN_SHI)
    assert row is not None
    counts = [int(text.replace(",", "")) for text in texts(figures.class_counts([row])) if text[0].isdigit()]
    assert sum(counts) == 35_887


def test_a_constant_answer_is_that_of_the_part_in_the_plot() -> None:
    row = report.evidence(PROJECT).row(Ref("marrugat_1", "fer2013"))
    assert row is not None
    assert "always the same 24.9%" in texts(figures.over_steps([row])), "895 of PublicTest's 3589 are happy"


def test_lines_are_of_the_same_seeds(workspace: Workspace, make_record: MakeRecord) -> None:
    """A line of ten seeds beside one of three would differ where the trainings do not."""
    for seed, loss in ((0, 0.25), (1, 0.75)):
        record = make_record(workspace, "leng_mlp", "paper", "sfew_2fold", seed)
        history = [{"epoch": epoch, "train_loss": loss, "seconds": 1.0} for epoch in (1, 2)]
        folds = [{**fold.model_dump(), "history": history} for fold in record.folds]
        make_record(workspace, "leng_mlp", "paper", "sfew_2fold", seed, folds=folds)
        if not seed:
            make_record(workspace, "leng_mlp", "sgd", "sfew_2fold", seed, folds=folds)
    rows = sorted(read_rows(workspace), key=lambda row: row.name)
    drawn = texts(figures.over_epochs("train_loss", "loss", lambda row: row.first.recipe_name)(rows))
    assert {"paper 0.25", "sgd 0.25"} <= set(drawn)


def test_a_file_stands_alone_in_light_and_dark() -> None:
    figure = plots.scores([plots.Score("a & b", 0.5, 0.4, 0.6, 0.55)], {"human": 0.655})
    content = figures.file(figure, 'A "title" <with> signs').decode()
    root = ElementTree.fromstring(content)
    assert root.attrib["width"] == "540" and root.attrib["aria-label"] == 'A "title" <with> signs'
    assert "prefers-color-scheme: dark" in content and content.startswith("<svg xmlns=")
    assert not re.search(r"\d{4}-\d\d-\d\d", content)


@pytest.mark.parametrize("levels", [None, {"random guess": 0.143, "close to it": 0.15, "human": 0.655}])
def test_scores_write_their_numbers(levels: dict[str, float] | None) -> None:
    rows = [plots.Score("one", 0.61, 0.59, 0.63, 0.586), plots.Score("two", 0.34), plots.Score("none", math.nan)]
    words = plots.svg(plots.scores(rows, levels), "scores")
    assert "61.0%" in words and "58.6%" in words and "34.0%" in words
    assert all(f"{name} {100 * level:.1f}%" in words for name, level in (levels or {}).items())


def test_lines_and_histograms_take_the_least_there_is() -> None:
    point = plots.Line("one", [200.0], [0.25], [0.2], [0.3])
    assert "one 25.0%" in plots.svg(plots.lines([point], "units", "accuracy", percent=True, log_x=True), "lines")
    assert "one 0.25" in plots.svg(plots.lines([point], "epoch", "loss", levels={"stop": 0.01}), "lines")
    assert "epoch 100" in plots.svg(plots.histograms([plots.Histogram("epoch 100", [0.0] * 20, 1.0)], "error"), "h")


def test_pictures_are_embedded_as_they_are() -> None:
    picture = np.arange(64 * 200, dtype=np.uint32).reshape(64, 200).astype(np.uint8)
    drawn = plots.svg(plots.pictures([("a face", picture), ("wide", np.tile(picture, 3))]), "pictures")
    assert drawn.count("<image") == 2 and "a face" in drawn
