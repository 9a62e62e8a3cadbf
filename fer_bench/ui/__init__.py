"""The Gradio app: for now, the board."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fer_bench.protocols import PROTOCOLS
from fer_bench.records import Workspace

if TYPE_CHECKING:
    import gradio
    import pandas as pd

COLUMNS = {
    "rank": "Rank",
    "model": "Model",
    "recipe": "Recipe",
    "accuracy": "Accuracy (%)",
    "interval_low": "95% from",
    "interval_high": "to",
    "near_copy_free": "Near-copy-free (%)",
    "ten_crop": "Ten crops (%)",
    "reported": "Paper (%)",
    "gap": "Gap",
    "parameters": "Parameters",
}


def board(protocol: str, workspace: Workspace | None = None) -> pd.DataFrame:
    """The rows of one protocol, best first; empty if nothing has been run."""
    import pandas as pd

    path = (workspace or Workspace()).leaderboard / "leaderboard.csv"
    if not path.exists():
        return pd.DataFrame(columns=list(COLUMNS.values()))
    frame = pd.read_csv(path)
    return frame[frame["protocol"] == protocol][list(COLUMNS)].rename(columns=COLUMNS)


def create_app(workspace: Workspace | None = None) -> gradio.Blocks:
    """The app; `launch` it."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio as gr

    app = gr.Blocks(title="fer_bench", analytics_enabled=False)
    with app:
        gr.Markdown("# fer_bench\nFacial-expression models under shared, honest protocols.")
        first = next(iter(PROTOCOLS))
        choice = gr.Dropdown([(p.title, p.name) for p in PROTOCOLS.values()], value=first, label="Protocol")
        caveat = gr.Markdown(PROTOCOLS[first].caveat)
        table = gr.Dataframe(board(first, workspace), interactive=False, label="Leaderboard")
        gr.Markdown("`python -m fer_bench run --all` makes the rows that are missing.")
        choice.change(
            lambda name: (PROTOCOLS[name].caveat, board(name, workspace)), choice, [caveat, table],
            api_name="leaderboard",
        )  # fmt: skip
    return app
