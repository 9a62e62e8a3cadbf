"""The app launches, answers, and shows the board."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable

import pytest

from fer_bench import leaderboard, ui
from fer_bench.records import RunRecord, Workspace


def test_an_empty_board_is_no_error(workspace: Workspace) -> None:
    assert ui.board("fer2013", workspace).empty


def test_the_board_shows_one_protocol(workspace: Workspace, make_record: Callable[..., RunRecord]) -> None:
    make_record(workspace, "lin_shi", "paper", "fer2013", 0, 0.58)
    make_record(workspace, "ranjan_1", "paper", "ckplus_random", 0, 0.9)
    leaderboard.build(workspace)
    shown = ui.board("fer2013", workspace)
    assert shown["Model"].tolist() == ["lin_shi"]
    assert shown["Paper (%)"].tolist() == [58.6]


def test_the_app_serves_its_page(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    app = ui.create_app(workspace)
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    _, url, _ = app.launch(prevent_thread_lock=True, quiet=True)
    try:
        with urllib.request.urlopen(url, timeout=30) as page:
            assert b"fer_bench" in page.read()
    finally:
        app.close()
