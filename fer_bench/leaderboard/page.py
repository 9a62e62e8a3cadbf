"""The board as one static page: no network, sortable, searchable, light and dark."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from string import Template
from typing import Any

import pandas as pd

from fer_bench.leaderboard import text
from fer_bench.leaderboard.assets import PAGE, SCRIPT, STYLE
from fer_bench.protocols import PROTOCOLS, Protocol

Cells = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column of the page: its heading, what it means, the CSV column it sorts by, how a cell reads.

    The first click on its heading brings the best row up; `less_is_better` says which that is.
    """

    title: str
    meaning: str
    value: str
    show: Callable[[Cells], str]
    less_is_better: bool = False

    @property
    def attributes(self) -> str:
        """Of its heading, in HTML."""
        first = ' data-first="ascending"' if self.less_is_better else ""
        return f'title="{escape(self.meaning)}"{first}{" aria-sort=descending" * (self.value == "accuracy")}'


def _percent(name: str) -> Callable[[Cells], str]:
    return lambda row: text.percent(row[name])


def _plain(name: str, digits: int) -> Callable[[Cells], str]:
    return lambda row: text.percent(row[name], digits)


COLUMNS = (
    Column(
        "Accuracy",
        "Percent of the test images, plain view, mean over seeds",
        "accuracy",
        _percent("accuracy"),
    ),
    Column("95% interval", "Over test images and seeds", "interval_low", text.interval),
    Column(
        "Paper",
        "What the paper states for this protocol and recipe, percent",
        "reported",
        _percent("reported"),
    ),
    Column("Gap", "Ours minus the paper's, points", "gap", lambda row: text.signed(row["gap"])),
    Column(
        "Near-copy-free",
        "Accuracy on the test images without a near copy in training, percent",
        "near_copy_free",
        _percent("near_copy_free"),
    ),
    Column("Flip", "Accuracy with the mean over an image and its mirror, percent", "flip", _percent("flip")),
    Column("Ten crops", "Accuracy with the mean over ten crops, percent", "ten_crop", _percent("ten_crop")),
    Column("Select", "Accuracy on the selection part, percent", "select_accuracy", _percent("select_accuracy")),
    Column("Macro F1", "Mean F1 over the classes, percent", "macro_f1", _percent("macro_f1")),
    Column("Mean recall", "Mean recall over the classes, percent", "mean_recall", _percent("mean_recall")),
    Column("Log-loss", "Mean negative log-likelihood, nats", "log_loss", _plain("log_loss", 3), True),
    Column("Calibration error", "Expected, 15 bins, percent", "calibration_error", _percent("calibration_error"), True),
    Column(
        "Calibrated",
        "The same with a temperature fitted on the selection part, percent",
        "calibrated_error",
        _percent("calibrated_error"),
        True,
    ),
    Column("Parameters", "Weights of the network", "parameters", lambda row: text.count(row["parameters"]), True),
    Column("Multiply-adds", "For one image", "multiply_adds", lambda row: text.count(row["multiply_adds"]), True),
    Column("CPU, ms", "One image, one thread, float32, median", "cpu_ms", _percent("cpu_ms"), True),
    Column(
        "Training, min",
        "All folds of one seed, mean over seeds",
        "training_minutes",
        _plain("training_minutes", 1),
        True,
    ),
)


def page(board: pd.DataFrame, latency: Mapping[str, Any] | None) -> str:
    """The whole page.

    Args:
        board: as the CSV has it.
        latency: what the latency was measured on, as `read_latency` gives it.
    """
    board = text.ranked(board)
    shown = [
        (protocol, board[board["protocol"] == name])
        for name, protocol in PROTOCOLS.items()
        if (board["protocol"] == name).any()
    ]
    return Template(PAGE).substitute(
        style=STYLE,
        script=SCRIPT,
        count=_plural(len(board), "row"),
        protocols=_plural(len(shown), "protocol"),
        links="".join(f'<a href="#{name}">{name}</a>' for name in (escape(protocol.name) for protocol, _ in shown)),
        sections="\n".join(_section(protocol, rows) for protocol, rows in shown) or "<p>No records yet.</p>",
        origin=escape(text.ORIGIN),
        ties=escape(text.TIES),
        latency=_latency(latency),
    )


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _latency(latency: Mapping[str, Any] | None) -> str:
    if latency is None:
        return ""
    return escape(
        f"CPU latency was measured on {latency.get('cpu')} with torch {latency.get('torch')}, "
        f"{latency.get('date')}: one image at a time, one thread, the network alone."
    )


def _section(protocol: Protocol, rows: pd.DataFrame) -> str:
    columns = [column for column in COLUMNS if rows[column.value].notna().any()]
    # The scale of the little interval plots: all rows of the section share it.
    ends = rows[["interval_low", "interval_high", "reported"]]
    low, high = float(ends.min().min()), float(ends.max().max())
    headings = "".join(
        f'<th scope="col" class="number" {column.attributes}><button type="button">{escape(column.title)}</button></th>'
        for column in columns
    )
    body = "\n".join(_row(row, columns, low, high) for row in text.records(rows))
    name = escape(protocol.name)
    return f"""<section id="{name}" aria-labelledby="{name}-title">
<h2 id="{name}-title">{escape(protocol.title)}</h2>
<p class="caveat">{escape(protocol.caveat)}</p>
<div class="scroll" tabindex="0" role="region" aria-labelledby="{name}-title">
<table>
<thead><tr><th scope="col" class="name"><button type="button">Model</button></th>{headings}\
<th scope="col"><button type="button">Trained on</button></th></tr></thead>
<tbody>
{body}
</tbody>
</table>
</div>
<p class="none" hidden>No row matches.</p>
</section>"""


def _row(row: Cells, columns: list[Column], low: float, high: float) -> str:
    remarks = "".join(f'<span class="remark">{escape(remark)}</span>' for remark in text.remarks(row))
    tie = ' title="Can\'t be told apart from the best row of this rank"' if row["tied"] else ""
    cells = "".join(_cell(row, column, low, high) for column in columns)
    device, precision = escape(row["device"]), escape(row["precision"])
    words = escape(f"{row['model']} {row['recipe']} {row['protocol']} {row['pretrained']}".lower())
    return (
        f'<tr data-words="{words}"><th scope="row" class="name" data-value="{escape(row["model"])}">'
        f'<span><span class="rank"{tie}>{text.rank(row)}</span><span class="who">{escape(row["model"])}'
        f'<span class="recipe">{escape(row["recipe"])}{remarks}</span></span></span></th>{cells}'
        f'<td class="device" data-value="{device}">{device}'
        f'<span class="precision">{precision}</span></td></tr>'
    )


def _cell(row: Cells, column: Column, low: float, high: float) -> str:
    value = row[column.value]
    sort: str = "" if pd.isna(value) else f' data-value="{value}"'
    kind = {"accuracy": " headline", "interval_low": " interval"}.get(column.value, "")
    shown = escape(column.show(row)) or '<span class="empty">\N{EN DASH}</span>'
    if column.value == "interval_low":
        shown += _whisker(row, low, high)
    return f'<td class="number{kind}"{sort}>{shown}</td>'


def _whisker(row: Cells, low: float, high: float) -> str:
    """The interval, our accuracy in it and the paper's, on the section's scale, drawn 100 units wide."""

    def place(value: float) -> float:
        return round(4 + 92 * (value - low) / max(high - low, 1e-9), 1)

    left, right, middle = (place(row[name]) for name in ("interval_low", "interval_high", "accuracy"))
    paper: str = "" if pd.isna(row["reported"]) else f'<path class="paper" d="M{place(row["reported"])} 0v10"/>'
    return (
        '<svg viewBox="0 0 100 10" aria-hidden="true"><path class="track" d="M0 5h100"/>'
        f'<path class="range" d="M{left} 5H{right}"/>{paper}<circle cx="{middle}" cy="5" r="2.6"/></svg>'
    )
