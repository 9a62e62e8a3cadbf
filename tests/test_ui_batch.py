"""The Batch tab's table and summary; the tab itself is tried in a browser."""

from __future__ import annotations

import base64
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from fer_bench.recognition import NO_FACE, BatchRow, Opinion
from fer_bench.ui import batch

HAPPY = Opinion("a.b", ("happy", "sad"), np.array([0.75, 0.25], dtype=np.float32), 1.0)


def test_uploads_are_named_as_the_visitor_named_them(tmp_path: Path) -> None:
    paths = [tmp_path / "upload1" / "a.png", tmp_path / "upload2" / "notes.png"]
    for path in paths:
        path.parent.mkdir()
    cv2.imwrite(str(paths[0]), np.zeros((8, 8, 3), dtype=np.uint8))
    paths[1].write_text("words")
    faces = tmp_path / "upload2" / "faces.zip"
    with zipfile.ZipFile(faces, "w") as archive:
        archive.write(paths[0], "in/b.png")
    named = ["a f\u00e4ce!.png", "notes.png", "my faces.zip"]  # Gradio keeps letters and digits
    frames = list(batch._frames(list(zip([*paths, faces], named, strict=True))))
    assert [frame.file for frame in frames] == ["a f\u00e4ce!.png", "notes.png", "my faces.zip/in/b.png"]
    assert frames[0].picture is not None
    assert "upload2" not in frames[1].error


def shown(rows: Sequence[BatchRow]) -> list[list[str]]:
    """The table's cells, heads first."""
    lines = re.findall(r"<tr>(.*?)</tr>", batch.rows_table(rows), re.S)
    return [[re.sub("<.*?>", "", cell) for cell in re.findall(r"<t[hd]\b.*?</t[hd]>", line, re.S)] for line in lines]


def test_summary_counts_pictures_faces_and_failures() -> None:
    rows = [
        BatchRow("two.png", None, 1, (0, 0, 9, 9), 0.9, HAPPY),
        BatchRow("two.png", None, 2, (9, 0, 9, 9), 0.8, HAPPY),
        BatchRow("video.mp4", 0.5, note=NO_FACE),
        BatchRow("<b>.png", None, note="not a readable image"),
    ]
    text = batch.summarise(
        [*rows, BatchRow("long.mp4", 600.0, note="what follows 10 minutes is left out")], "By a model"
    )
    for part in ("2 pictures", "2 faces", "1 without a face", "1 file could not be read", "happy 2"):
        assert part in text
    none = "\N{EN DASH}"
    assert shown(rows) == [
        ["File", "Face", "Expression", "Probability", "Note"],
        ["two.png", "1", "happy", "75.0%", none],
        ["two.png", "2", "happy", "75.0%", none],
        ["video.mp4 0.5 s", none, none, none, NO_FACE],
        ["&lt;b&gt;.png", none, none, none, "not a readable image"],
    ]
    assert batch.summarise(rows[:1], "By a model") == "1 picture, 1 face. happy 1. By a model."
    assert shown(rows[:1])[0] == ["File", "Face", "Expression", "Probability"]


def test_the_page_shows_a_part_of_many_rows_and_says_so() -> None:
    rows = [BatchRow(f"{number}.png", None, note=NO_FACE) for number in range(batch.SHOWN + 1)]
    assert len(shown(rows)) == batch.SHOWN + 1  # with the heads
    assert f"the first {batch.SHOWN} of {batch.SHOWN + 1} rows" in batch.summarise(rows, "By a model")


def test_a_stopped_batch_has_the_rows_so_far() -> None:
    classes = HAPPY.classes
    stopped = batch.finished(
        batch.Job([BatchRow("a.png", None, 1, opinion=HAPPY)], "lda.paper", "Marks", classes, stopped=True)
    )
    assert "Stopped. 1 picture, 1 face." in stopped
    assert "By lda.paper; faces found by Marks." in stopped and 'download="fer_bench.lda.paper.csv"' in stopped
    link = re.search(r'base64,(.*?)"', stopped)
    assert link is not None and base64.b64decode(link[1]).decode().splitlines()[1].startswith("a.png,,1,")
    assert "download" not in batch.finished(batch.Job([], classes=classes, stopped=True))


def test_progress_never_passes_its_end() -> None:
    assert "0 of 1 picture<" in batch.progress(0, 1)
    assert '5 of 5 pictures</span><progress max="5" value="5"' in batch.progress(5, 3)
