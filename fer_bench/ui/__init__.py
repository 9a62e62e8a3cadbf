"""The Gradio app: try a face on any model, live, in batches, and read the board."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr  # its events find their special arguments by annotations that this module can resolve

from fer_bench.errors import FerBenchError, UnknownNameError
from fer_bench.protocols import get_protocol
from fer_bench.records import Workspace

if TYPE_CHECKING:
    from fer_bench.ui.context import Context

TABS = {"try": "Try it", "live": "Live", "batch": "Batch", "leaderboard": "Leaderboard", "about": "About"}
# Nothing uploaded is kept: each minute, what is older than five goes.
DELETE_CACHE = (60, 300)
MAX_UPLOAD = "100mb"
# Two networks at once, a thread each, fill two cores; more would only make each other wait.
AT_ONCE = 2
QUEUE = 64
# Of so many pages Gradio remembers the last answer, faces and all; its own default is 10,000.
SESSIONS = 256


@dataclass(frozen=True)
class Link:
    """What an address asks for; what it does not name, or wrongly, is empty."""

    tab: str
    model: str
    protocol: str
    problems: tuple[str, ...]


def read_link(context: Context, query: Mapping[str, str]) -> Link:
    """Read `?tab=`, `?model=` and `?protocol=`; a protocol alone opens its board."""
    from fer_bench.ui import messages

    problems = []

    def known(key: str, find: Callable[[str], str]) -> str:
        try:
            return find(query[key]) if query.get(key) else ""
        except FerBenchError as error:
            problems.append(messages.public(error, context.workspace))
            return ""

    protocol = known("protocol", lambda name: get_protocol(name).name)
    tab = known("tab", _tab) or ("leaderboard" if protocol else "")
    return Link(tab, known("model", context.name), protocol, tuple(problems))


def _tab(name: str) -> str:
    if name not in TABS:
        raise UnknownNameError("tab", name, TABS)
    return name


def create_app(workspace: Workspace | None = None) -> gr.Blocks:
    """The app; `launch` serves it."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from fer_bench.ui import about, batch, board, live, messages, try_it
    from fer_bench.ui.context import Context
    from fer_bench.ui.theme import HEADER

    context = Context(workspace or Workspace())
    app = gr.Blocks(title="fer_bench", analytics_enabled=False, delete_cache=DELETE_CACHE)
    with app:
        gr.HTML(HEADER)
        linked = gr.HTML(visible=False, elem_id="fb-linked")
        with gr.Tabs(elem_id="fb-tabs") as tabs:
            with gr.Tab(TABS["try"], id="try"):
                picker = try_it.build(context)
            with gr.Tab(TABS["live"], id="live"):
                live_model = live.build(context)
            with gr.Tab(TABS["batch"], id="batch"):
                batch_model = batch.build(context)
            with gr.Tab(TABS["leaderboard"], id="leaderboard"):
                protocol = board.build(context)
            with gr.Tab(TABS["about"], id="about"):
                about.build(context)

        def follow_link(request: gr.Request) -> tuple[Any, ...]:
            link = read_link(context, request.query_params)
            problems = "".join(map(messages.warning, link.problems))

            def pick(name: str) -> Any:  # a new update for each picker: Gradio empties what it is given
                return gr.update(value=name) if name else gr.skip()

            return (
                gr.Tabs(selected=link.tab) if link.tab else gr.skip(),
                try_it.linked(context, link.model),
                pick(link.model),
                pick(link.model),
                pick(link.protocol),
                gr.HTML(problems, visible=bool(problems)),
            )

        app.load(
            follow_link, None, [tabs, picker, live_model, batch_model, protocol, linked],
            api_visibility="private", show_progress="hidden",
        )  # fmt: skip
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
        "state_session_capacity": SESSIONS,
        "max_file_size": MAX_UPLOAD,
        "ssr_mode": False,
        "show_error": True,
    }
    _, url, _ = app.launch(**{**settings, **options})
    return app, url
