"""The Gradio app: try a face on any model, live, in batches, and read the board."""

from __future__ import annotations

import os
from typing import Any

import gradio as gr  # its events find their special arguments by annotations that this module can resolve

from fer_bench.records import Workspace

TABS = {"try": "Try it", "live": "Live", "batch": "Batch", "leaderboard": "Leaderboard", "about": "About"}
# Nothing uploaded is kept: each minute, what is older than five goes.
DELETE_CACHE = (60, 300)
MAX_UPLOAD = "100mb"
# Two networks at once, a thread each, fill two cores; more would only make each other wait.
AT_ONCE = 2
QUEUE = 64


def create_app(workspace: Workspace | None = None) -> gr.Blocks:
    """The app; `launch` serves it."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from fer_bench.ui import about, batch, board, live, try_it
    from fer_bench.ui.context import Context
    from fer_bench.ui.theme import HEADER

    context = Context(workspace or Workspace())
    app = gr.Blocks(title="fer_bench", analytics_enabled=False, delete_cache=DELETE_CACHE)
    with app:
        gr.HTML(HEADER)
        with gr.Tabs(elem_id="fb-tabs") as tabs:
            with gr.Tab(TABS["try"], id="try"):
                picker = try_it.build(context)
            with gr.Tab(TABS["live"], id="live"):
                live.build(context)
            with gr.Tab(TABS["batch"], id="batch"):
                batch.build(context)
            with gr.Tab(TABS["leaderboard"], id="leaderboard"):
                protocol = board.build(context)
            with gr.Tab(TABS["about"], id="about"):
                about.build(context)

        def follow_link(request: gr.Request) -> tuple[Any, Any, Any]:
            """`?tab=`, `?model=` and `?protocol=`; what is unknown is passed over."""
            query = request.query_params
            return (
                gr.Tabs(selected=query["tab"]) if query.get("tab") in TABS else gr.skip(),
                try_it.linked(context, query.get("model", "")),
                board.linked(query.get("protocol", "")),
            )

        app.load(follow_link, None, [tabs, picker, protocol], api_visibility="private", show_progress="hidden")
    app.queue(max_size=QUEUE, default_concurrency_limit=AT_ONCE)
    return app


def launch(workspace: Workspace | None = None, **options: Any) -> tuple[gr.Blocks, str]:
    """Serve the app, `options` as Gradio's `launch` takes them; the app and its address."""
    import torch

    from fer_bench.ui.theme import CSS, HEAD, theme

    # A face is little work: two threads on cores that other visitors keep busy take a hundred times longer than one.
    torch.set_num_threads(1)

    app = create_app(workspace)
    settings: dict[str, Any] = {
        "theme": theme(),
        "css": CSS,
        "head": HEAD,
        "footer_links": ["api"],
        "run_history": False,  # faces are no history
        "max_file_size": MAX_UPLOAD,
        "ssr_mode": False,
        "show_error": True,
    }
    _, url, _ = app.launch(**{**settings, **options})
    return app, url
