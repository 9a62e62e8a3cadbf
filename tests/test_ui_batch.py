"""The Batch tab's table and summary; the tab itself is tried in a browser."""

from __future__ import annotations

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
    frames = list(batch._frames(paths))
    assert [frame.file for frame in frames] == ["a.png", "notes.png"]
    assert frames[0].picture is not None
    assert "upload2" not in frames[1].error


def test_summary_counts_pictures_faces_and_failures() -> None:
    rows = [
        BatchRow("two.png", None, 1, (0, 0, 9, 9), 0.9, HAPPY),
        BatchRow("two.png", None, 2, (9, 0, 9, 9), 0.8, HAPPY),
        BatchRow("video.mp4", 0.5, note=NO_FACE),
        BatchRow("<b>.png", None, note="not a readable image"),
    ]
    text = batch.summarise(rows)
    for part in ("2 pictures", "2 faces", "1 without a face", "1 could not be read", "happy 2"):
        assert part in text
    assert [cells[:5] for cells in batch._cells(rows)] == [
        ["two.png", None, 1, "happy", 0.75],
        ["two.png", None, 2, "happy", 0.75],
        ["video.mp4", 0.5, None, "", None],
        ["<b>.png", None, None, "", None],
    ]


def test_the_page_shows_a_part_of_many_rows_and_says_so() -> None:
    rows = [BatchRow(f"{number}.png", None, note=NO_FACE) for number in range(batch.SHOWN + 1)]
    assert len(batch._cells(rows)) == batch.SHOWN
    assert f"the first {batch.SHOWN} of {batch.SHOWN + 1} rows" in batch.summarise(rows)
