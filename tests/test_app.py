"""The app launches and serves its page."""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request

import pytest

from fer_bench import ui
from fer_bench.records import Workspace
from fer_bench.ui import about


def test_the_app_serves_its_page_and_the_papers_figures(workspace: Workspace) -> None:
    papers = workspace.leaderboard / "papers"
    papers.mkdir(parents=True)
    (papers / "some.md").write_text("# Some paper\n\n![A figure](some-figure.svg) [to run 1](#still-to-run)\n")
    (papers / "some-figure.svg").write_text("<svg/>")
    (workspace.leaderboard / "other.svg").write_text("<svg/>")
    title, body = about.report(papers / "some.md")
    assert title == "Some paper" and "to run 1" in body and "#still" not in body
    [figure] = re.findall(r"!\[A figure\]\((/.*)\)", body)
    app, url = ui.launch(workspace, prevent_thread_lock=True, quiet=True)
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    try:
        with urllib.request.urlopen(url, timeout=30) as page:
            assert b"fer_bench" in page.read()
        with urllib.request.urlopen(url.rstrip("/") + figure, timeout=30) as served:
            assert served.read() == b"<svg/>"
        with pytest.raises(urllib.error.HTTPError):  # and nothing else is served
            urllib.request.urlopen(url.rstrip("/") + figure.replace("papers/some-figure", "other"), timeout=30)
    finally:
        app.close()
