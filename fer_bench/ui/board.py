"""The leaderboard's tab: one protocol's rows, what they cost, and what is behind each."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import gradio as gr  # its events find their special arguments by annotations that this module can resolve
import pandas as pd

from fer_bench import plots
from fer_bench.errors import FerBenchError
from fer_bench.leaderboard import text
from fer_bench.protocols import PROTOCOLS, get_protocol
from fer_bench.ui import messages
from fer_bench.ui.details import details
from fer_bench.ui.table import SCRIPT, table

if TYPE_CHECKING:
    from fer_bench.ui.context import Context

CHOOSE = "Choose a row: how it errs, how it was trained, and the command that makes it again."
COSTS = (("parameters", "parameters"), ("cpu_ms", "CPU ms for an image"))

CSS = """
.fb-caption h2 { font-size: 1.1rem; font-weight: 650; margin: 0 0 0.35rem; }
.fb-tools { display: flex; flex-wrap: wrap; gap: 0.5rem 1rem; align-items: center; margin-bottom: 0.6rem; }
.fb-tools label { display: flex; gap: 0.4rem; align-items: center; color: var(--body-text-color-subdued); }
.fb-tools input, .fb-tools select { padding: 0.35rem 0.6rem; border: 1px solid var(--border-color-primary);
  border-radius: 6px; background: var(--input-background-fill); color: var(--body-text-color); font: inherit; }
.fb-tools select { appearance: auto; }
.fb-tools input::placeholder { color: var(--input-placeholder-color); opacity: 1; }
.fb-count { color: var(--body-text-color-subdued); font-variant-numeric: tabular-nums; }
.fb-tools .fb-download { margin-left: auto; }
.fb-download { padding-block: 0.2rem; color: var(--fb-accent); text-decoration: underline; text-underline-offset: 2px; }
.fb-rows { overflow: auto; max-height: 34rem; border: 1px solid var(--border-color-primary); border-radius: 8px; }
.fb-more { mask-image: linear-gradient(to left, transparent, black 4.5rem); }
.fb-rows[hidden], .fb-no-hit[hidden] { display: none; }
.fb-table { width: 100%; margin: 0; padding: 0; border-collapse: separate; border-spacing: 0; font-size: 0.875rem; }
.fb-table th, .fb-table td { padding: 0.45rem 0.7rem; border: 0; white-space: nowrap; font-weight: 400;
  text-align: left; vertical-align: middle; background: var(--body-background-fill);
  border-bottom: 1px solid var(--border-color-primary); }
.fb-table tbody tr:last-child th, .fb-table tbody tr:last-child td { border-bottom: 0; }
.fb-table .fb-number { text-align: right; }
.fb-table thead th { position: sticky; top: 0; z-index: 2; padding: 0; background: var(--background-fill-secondary); }
.fb-table button { padding: 0; border: 0; background: none; }
.fb-table thead button { width: 100%; padding: 0.5rem 0.7rem; text-align: inherit; font-size: 0.8rem;
  white-space: nowrap; color: var(--body-text-color-subdued); cursor: pointer; }
.fb-table thead button:focus-visible { outline-offset: -3px; }
.fb-table thead button:hover, .fb-table [aria-sort] button { color: var(--fb-accent); }
.fb-table [aria-sort=ascending] button::after { content: " \\2191"; }
.fb-table [aria-sort=descending] button::after { content: " \\2193"; }
.fb-table .fb-rank { position: sticky; left: 0; z-index: 1; width: 3.4rem; min-width: 3.4rem; max-width: 3.4rem;
  color: var(--body-text-color-subdued); }
.fb-table .fb-name { position: sticky; left: 3.4rem; z-index: 1; border-right: 1px solid var(--border-color-primary); }
.fb-table thead .fb-rank, .fb-table thead .fb-name { z-index: 3; }
.fb-table tbody tr[data-model] { cursor: pointer; }
.fb-table tbody tr:hover > * { background: var(--background-fill-secondary); }
.fb-table tbody tr[aria-current] > * {
  background: color-mix(in srgb, var(--fb-accent) 12%, var(--body-background-fill)); }
.fb-table [aria-current] .fb-recipe, .fb-table [aria-current] .fb-rank { color: var(--body-text-color); }
.fb-table tbody button { min-width: 24px; min-height: 24px; font: inherit; font-weight: 600; color: inherit;
  text-align: left; cursor: pointer; }
.fb-recipe { margin-left: 0.5rem;  color: var(--body-text-color-subdued); font-size: 0.8rem; }
.fb-remark { margin-left: 0.4rem; padding: 0 0.4rem; border-radius: 4px; font-size: 0.75rem;
  background: color-mix(in srgb, var(--fb-accent) 12%, transparent); }
.fb-table wbr { display: none; }
.fb-headline { font-weight: 650; }
.fb-none { opacity: 0.75; }
.fb-costs, .fb-figures { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.fb-plot { margin: 0; min-width: 0; padding: 0.9rem; border: 1px solid var(--border-color-primary);
  border-radius: 8px; }
.fb-plot h4 { margin: 0 0 0.6rem; font-size: 0.95rem; font-weight: 600; }
.fb-plot svg { margin-inline: auto; }
.fb-plot figcaption { margin-top: 0.5rem; font-size: 0.8rem; color: var(--body-text-color-subdued); }
#fb-board-heading h3 { margin: 0; font-size: 1.15rem; overflow-wrap: anywhere; }
#fb-board-heading h3 span { font-weight: 400; color: var(--body-text-color-subdued); }
.fb-summary { margin: 0.2rem 0; font-variant-numeric: tabular-nums; }
.fb-caveats { margin: 0.4rem 0 0; padding-left: 1.1rem; list-style: disc; color: var(--body-text-color-subdued); }
.fb-facts { display: grid; gap: 0.5rem 1.5rem; margin: 1.2rem 0 0.8rem; }
.fb-facts div { display: grid; grid-template-columns: 6rem minmax(0, 1fr); gap: 0.75rem; }
.fb-facts dt { color: var(--body-text-color-subdued); }
.fb-facts dd { margin: 0; overflow-wrap: anywhere; max-width: 75ch; }
#fb-board-command pre, #fb-board-command code { white-space: pre-wrap; overflow-wrap: anywhere; }
#fb-board-body summary { padding-block: 0.2rem; cursor: pointer; }
#fb-board-body pre { margin: 0.5rem 0 0; padding: 0.8rem; overflow: auto; font-size: 0.8rem; border-radius: 8px;
  background: var(--background-fill-secondary); }
@media (max-width: 40rem) {
  .fb-tools .fb-download { margin-left: 0; }
  .fb-tools input, .fb-tools select { font-size: 16px; min-width: 0; }
  .fb-table th, .fb-table td { padding-inline: 0.5rem; }
  .fb-table thead th { padding: 0; }
  .fb-table thead button { padding-inline: 0.5rem; }
  .fb-table .fb-rank { width: 2.8rem; min-width: 2.8rem; max-width: 2.8rem; }
  .fb-table .fb-name { left: 2.8rem; min-width: 8.8rem; max-width: 8.8rem; white-space: normal;
    overflow-wrap: anywhere; }
  .fb-table wbr { display: inline; }
  .fb-table tbody button { font-size: 0.8rem; }
  .fb-recipe { display: block; margin: 0; }
  .fb-remark { display: block; width: fit-content; margin: 0.1rem 0 0; }
  .fb-facts div { grid-template-columns: 1fr; gap: 0; }
  .fb-plot { padding: 0.9rem 0; border-width: 1px 0 0; border-radius: 0; }
  .fb-plot svg { overflow: visible; }
  .fb-figures .fb-plot svg text { font-size: 11.5px !important; }
}
"""

# After the answer to a click: on a phone it would otherwise stand unseen below the table.
SHOW_DETAILS = """() => document.getElementById("fb-board-heading").scrollIntoView({ block: "nearest" })"""


def build(context: Context) -> gr.Dropdown:
    """The tab; the picker of the protocol."""
    protocol = gr.Dropdown(list(PROTOCOLS), value=_first(context), label="Protocol", elem_id="fb-board-protocol")
    caption = gr.HTML(elem_id="fb-board-caption")
    rows = gr.HTML(js_on_load=SCRIPT, apply_default_css=False, elem_id="fb-board-table")
    heading = gr.HTML(messages.empty(CHOOSE), elem_id="fb-board-heading")
    with gr.Column(visible=False) as panel:
        command = gr.Markdown(padding=True, elem_id="fb-board-command")
        body = gr.HTML(elem_id="fb-board-body")
    plot = gr.HTML(elem_id="fb-board-costs")

    def on_protocol(name: str) -> tuple[Any, ...]:
        shown, costs = view(context, name)
        hint = messages.empty(CHOOSE) if costs else ""
        return caption_of(name), shown, costs, hint, gr.Column(visible=False)

    def on_row(name: str, event: gr.EventData) -> tuple[Any, ...]:
        try:
            found = details(context.workspace, one(context, name, event.model, event.recipe))
        except FerBenchError as error:
            return messages.warning(messages.public(error, context.workspace)), "", "", gr.Column(visible=False)
        again = f"Make this row again:\n```bash\n{found.command}\n```"
        return found.heading, again, found.body, gr.Column(visible=True)

    def leaderboard(protocol: str) -> list[dict[str, Any]]:
        """The rows of one protocol, best first: every column of the CSV, accuracies in percent, null where empty."""
        try:
            return json_rows(rows_of(context, protocol))
        except FerBenchError as error:
            raise gr.Error(messages.public(error, context.workspace), print_exception=False) from error

    # Without a trigger: when the page loads and when another protocol is picked.
    gr.on(
        None, on_protocol, protocol, [caption, rows, plot, heading, panel],
        api_visibility="private", show_progress="hidden",
    )  # fmt: skip
    chosen = rows.select(
        on_row, protocol, [heading, command, body, panel],
        api_visibility="private", show_progress="minimal", show_progress_on=heading, trigger_mode="always_last",
    )  # fmt: skip
    chosen.then(None, None, None, js=SHOW_DETAILS, api_visibility="private")
    names = ", ".join(PROTOCOLS)
    gr.Button(visible=False).click(
        leaderboard,
        gr.Textbox(value=next(iter(PROTOCOLS)), label=f"protocol, one of {names}", visible=False),
        gr.JSON(label="rows", visible=False),
        api_name="leaderboard",
    )
    return protocol


def rows_of(context: Context, protocol: str) -> pd.DataFrame:
    """The rows of one protocol as the CSV has them.

    Raises:
        UnknownNameError: no such protocol.
        FerBenchError: the board can't be read.
    """
    get_protocol(protocol)
    board = context.board()
    return board[board["protocol"] == protocol]


def one(context: Context, protocol: str, model: str, recipe: str) -> dict[str, Any]:
    """One row as the CSV has it.

    Raises:
        FerBenchError: as `rows_of`, or the board has no such row (any more).
    """
    for row in text.records(rows_of(context, protocol)):
        if (row["model"], row["recipe"]) == (model, recipe):
            return row
    raise FerBenchError(f"the board has no row {model}.{recipe} on {protocol} now; load the page again")


def json_rows(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Plain JSON values, None for an empty cell."""
    values: list[dict[str, Any]] = json.loads(rows.to_json(orient="records"))
    return values


def view(context: Context, protocol: str) -> tuple[str, str]:
    """The table and the plots of one protocol, or in place of the table why there is none and what makes one."""
    try:
        rows = rows_of(context, protocol)
    except FerBenchError as error:
        return messages.warning(messages.public(error, context.workspace)), ""
    rows = text.ranked(rows)
    if rows.empty:
        suggested = "run --all" if protocol != "synthetic" else "run --model lin_shi --protocol synthetic"
        return messages.empty(f"No runs on {protocol} yet. `python -m fer_bench {suggested}` makes them."), ""
    return table(rows, protocol), costs(rows)


def costs(rows: pd.DataFrame) -> str:
    """Accuracy against parameters and against latency, of each model the best row by name."""
    drawn, best = [], set(rows.groupby("model")["accuracy"].idxmax())
    for column, title in COSTS:
        points = (
            plots.Point(
                f"{row['model']}.{row['recipe']}",
                math.nan if pd.isna(row[column]) else float(row[column]),
                row["accuracy"] / 100,
                row["interval_low"] / 100,
                row["interval_high"] / 100,
                highlight=text.rank(row).rstrip("=") == "1",
                named=index in best,
            )
            for index, row in zip(rows.index, text.records(rows), strict=True)
        )
        drawn.append(
            f'<figure class="fb-plot"><h4>Accuracy against {title}</h4>{_scatter(tuple(points), title)}</figure>'
        )
    return (
        f'<div class="fb-costs">{"".join(drawn)}</div><p class="fb-quiet">Whiskers are 95% intervals; coloured are '
        "the rows that share the first rank; the line joins those that nothing cheaper beats. Named are these and the "
        "best row of each model.</p>"
    )


@lru_cache(maxsize=32)  # every visitor's first page has the same two
def _scatter(points: tuple[plots.Point, ...], title: str) -> str:
    return plots.svg(plots.scatter(points, title), f"Accuracy against {title}")


def caption_of(protocol: str) -> str:
    """What the protocol's number is and what it is not."""
    found = get_protocol(protocol)
    return f'<div class="fb-caption"><h2>{found.title}</h2>{messages.note(found.caveat)}</div>'


def _first(context: Context) -> str:
    """The first protocol that has rows."""
    try:
        filled = set(context.board()["protocol"])
    except FerBenchError:  # the tab says so
        filled = set()
    return next((name for name in PROTOCOLS if name in filled), next(iter(PROTOCOLS)))
