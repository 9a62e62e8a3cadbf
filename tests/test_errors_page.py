"""The page of a run's mistakes: which pictures, where, and a clear word when they can't be had."""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeRecord, fake_dataset

from fer_bench import cli, data
from fer_bench.data.dataset import FaceDataset
from fer_bench.errors import FerBenchError
from fer_bench.leaderboard import errors_page
from fer_bench.leaderboard.errors_page import PER_CELL, confusions, find_run, page
from fer_bench.records import PROJECT_ROOT, Workspace

PICTURE = re.compile(r'data-id="([^"]+)" data-values="([^"]+)"><img alt="[^"]*" src="data:image/png;base64,([^"]+)"')


def _cells(html: str) -> dict[tuple[str, str], list[tuple[str, str, str]]]:
    """(id, probabilities, PNG) of each picture by (label, prediction), read from the page."""
    head, _, body = html.partition("<tbody>")
    columns = re.findall(r'scope="col"><i [^>]*></i>(\w+)<', head)
    cells = {}
    for row in re.findall(r"<tr>.*?</tr>", body):
        [label] = re.findall(r'scope="row"><i [^>]*></i>(\w+)<', row)
        for predicted, cell in zip(columns, re.findall(r"<td.*?</td>", row), strict=True):
            cells[label, predicted] = PICTURE.findall(cell)
    return cells


@pytest.mark.parametrize("protocol", ["fer2013", "ckplus_subject"])
def test_each_cell_has_its_most_confident_pictures(
    workspace: Workspace, make_record: MakeRecord, protocol: str
) -> None:
    from PIL import Image

    make_record(workspace, protocol=protocol, recipe="fer_bench", accuracy=0.3)
    dataset, run = fake_dataset(protocol), find_run(workspace, "lin_shi", protocol)
    cells = _cells(page(run, dataset))
    classes, arrays = dataset.labels.classes, run.arrays
    assert set(cells) == {(a, b) for a in classes for b in classes}
    predicted, confidence = arrays["test_plain"].argmax(axis=1), arrays["test_plain"].max(axis=1)
    for (label, guess), pictures in cells.items():
        inside = (arrays["test_targets"] == classes.index(label)) & (predicted == classes.index(guess))
        best = sorted(confidence[inside])[::-1][:PER_CELL]
        shown = [max(map(float, values.split(","))) for _, values, _ in pictures]
        assert shown == pytest.approx(best, abs=1e-3)
        for id_, _, png in pictures:
            assert id_ in arrays["test_ids"][inside]
            picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))
            np.testing.assert_array_equal(picture, dataset.images[dataset.ids == id_][0])
    assert len({id_ for pictures in cells.values() for id_, _, _ in pictures}) > 50


def test_it_is_local_and_says_what_it_holds(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace)
    html = page(find_run(workspace, "lin_shi", "fer2013"), fake_dataset("fer2013"))
    assert "pictures of real people" in html
    assert "do not publish it" in html
    assert "default-src 'none'" in html
    assert "http://" not in html
    assert "https://" not in html
    make_record(workspace, protocol="synthetic")
    drawn = page(find_run(workspace, "lin_shi", "synthetic"), fake_dataset("synthetic"))
    assert "real people" not in drawn


def test_names_from_files_are_escaped(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace)
    run, dataset = find_run(workspace, "lin_shi", "fer2013"), fake_dataset("fer2013")
    ids = np.array([f'{id_}"><script>alert(1)</script>' for id_ in dataset.ids])
    renamed = dict(zip(dataset.ids, ids, strict=True))
    run.arrays["test_ids"] = np.array([renamed[id_] for id_ in run.arrays["test_ids"]])
    assert "<script>alert" not in page(run, replace(dataset, ids=ids))


def test_large_colour_pictures_are_made_small(workspace: Workspace, make_record: MakeRecord) -> None:
    from PIL import Image

    make_record(workspace, protocol="sfew_2fold")
    dataset = fake_dataset("sfew_2fold")
    large = np.broadcast_to(dataset.images.repeat(6, axis=1)[..., None], (len(dataset), 288, 48, 3))
    cells = _cells(page(find_run(workspace, "lin_shi", "sfew_2fold"), replace(dataset, images=large)))
    for pictures in cells.values():
        for _, _, png in pictures:
            picture = Image.open(io.BytesIO(base64.b64decode(png)))
            assert picture.size == (round(48 / 288 * errors_page.LARGEST), errors_page.LARGEST)
            assert picture.mode == "RGB"


def test_confusions_are_counted(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace, accuracy=0.4)
    run = find_run(workspace, "lin_shi", "fer2013")
    found = confusions(run)
    targets, predicted = run.arrays["test_targets"], run.arrays["test_plain"].argmax(axis=1)
    assert sum(confusion.images for confusion in found) == (targets != predicted).sum()
    assert found[0].images == max(confusion.images for confusion in found)
    of_class = (targets == run.record.classes.index(found[0].label)).sum()
    assert found[0].share == pytest.approx(found[0].images / of_class)


def test_the_lowest_seed_is_shown(workspace: Workspace, make_record: MakeRecord) -> None:
    for seed in (10, 2, 3):
        make_record(workspace, seed=seed)
    assert find_run(workspace, "lin_shi", "fer2013").record.seed == 2


def test_a_seed_of_an_older_recipe_is_not_shown(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace, seed=0, recipe_digest="an older recipe", finished="2025-01-01")
    make_record(workspace, seed=1)
    assert find_run(workspace, "lin_shi", "fer2013").record.seed == 1


def test_another_data_set_is_refused(workspace: Workspace, make_record: MakeRecord) -> None:
    make_record(workspace)
    run, dataset = find_run(workspace, "lin_shi", "fer2013"), fake_dataset("fer2013")
    with pytest.raises(FerBenchError, match=r"has no 'image.*--data-dir"):
        page(run, replace(dataset, ids=np.char.add(dataset.ids, ".jpg")))
    with pytest.raises(FerBenchError, match=r"labels 'image.*--data-dir"):
        page(run, replace(dataset, targets=np.roll(dataset.targets, 1)))


@pytest.fixture
def project(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The workspace as the command line's own."""
    monkeypatch.setattr(Workspace, "__init__", lambda self: object.__setattr__(self, "root", workspace.root))
    return workspace


def test_command_writes_the_page(
    project: Workspace, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(*_: object, **__: object) -> FaceDataset:
        return fake_dataset("fer2013")

    monkeypatch.setattr(data, "load", load)
    make_record(project, accuracy=0.5)
    assert cli.main(["errors", "lin_shi"]) == 0
    assert "taken for" in capsys.readouterr().out
    assert not (project.root / "errors").exists()
    assert cli.main(["errors", "lin_shi", "--html"]) == 0
    out = project.root / "errors" / "fer2013.lin_shi.paper.html"
    assert str(out) in capsys.readouterr().out
    assert cli.main(["errors", "lin_shi", "--html", str(project.root / "mine.html")]) == 0
    assert (project.root / "mine.html").read_bytes() == out.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lin_shy"], "did you mean 'lin_shi'"),
        (["ranjan_1"], "no record of ranjan_1 on fer2013"),
        (["lin_shi"], "say --recipe fer_bench or paper"),
        (["lin_shi", "--recipe", "papr"], "did you mean 'paper'"),
        (["lin_shi", "--protocol", "fer2012"], "did you mean 'fer2013'"),
        (["lin_shi", "--recipe", "paper", "--html"], "fer2013.csv"),
        (["lin_shi", "--recipe", "paper", "--html", "--data-dir", "missing"], "missing"),
    ],
)
def test_bad_input_is_one_line(
    own_places: None,
    project: Workspace,
    make_record: MakeRecord,
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_record(project)
    make_record(project, recipe="fer_bench")
    assert cli.main(["errors", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_git_ignores_the_default_place() -> None:
    if shutil.which("git") is None or not (PROJECT_ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "check-ignore", "-q", "errors/fer2013.lin_shi.paper.html"]
    assert subprocess.run(command, cwd=PROJECT_ROOT).returncode == 0


@pytest.mark.browser
def test_a_click_shows_the_details(workspace: Workspace, make_record: MakeRecord, tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Chromium")
    make_record(workspace)
    run = find_run(workspace, "lin_shi", "fer2013")
    path = tmp_path / "page.html"
    path.write_text(page(run, fake_dataset("fer2013")))
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 390, "height": 844})
        problems: list[str] = []
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("console", lambda message: problems.append(message.text))
        tab.goto(path.as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        button = tab.locator("tbody tr").nth(0).locator("td").nth(4).locator("button").first
        button.click()
        dialog = tab.locator("dialog[open]")
        assert dialog.locator("b").inner_text() == "angry taken for sad"
        assert dialog.locator("small").inner_text() == button.get_attribute("data-id")
        assert dialog.locator("dt").count() == 7
        tab.keyboard.press("Escape")
        assert tab.locator("dialog[open]").count() == 0
        assert not problems
        browser.close()
