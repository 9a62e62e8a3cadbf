"""The app launches and serves its page."""

from __future__ import annotations

import os
import urllib.request

from fer_bench import ui
from fer_bench.records import Workspace


def test_the_app_serves_its_page(workspace: Workspace) -> None:
    app, url = ui.launch(workspace, prevent_thread_lock=True, quiet=True)
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    try:
        with urllib.request.urlopen(url, timeout=30) as page:
            assert b"fer_bench" in page.read()
    finally:
        app.close()
