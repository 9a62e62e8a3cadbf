"""Rows of bars with the numbers at their ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy.typing as npt

from fer_bench.plots._drawing import draw_box, draw_stroke, drawing, new_canvas, new_figure, text_width
from fer_bench.plots.style import (
    CLASS_COLOURS,
    FAINT,
    INK,
    MARGIN,
    MARK,
    QUIET,
    WIDTH,
    as_percent,
    as_range,
    display_order,
    one_line,
    shaped,
    spread,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class _Bar:
    """A row of `_bar_rows`: a bar, the numbers at its end, and maybe a stroke across it or an interval."""

    name: str
    value: float
    colour: str
    numbers: tuple[str, ...]
    mark: float = math.nan
    low: float = math.nan
    high: float = math.nan


def _bar_rows(
    rows: Sequence[_Bar], heads: Sequence[str], limit: float | None = None, names_above: bool = False
) -> Figure:
    """Horizontal bars with columns of numbers at the right; the last head is the key of the strokes."""
    lengths = [value for row in rows for value in (row.value, row.mark) if math.isfinite(value)]
    limit = limit or max([*lengths, 0.0]) or 1.0
    top, pitch = (18.0 if heads else 0.0), (33.0 if names_above else 22.0)
    columns = list(zip(heads or [""], *(row.numbers for row in rows), strict=False))
    widths = [max(map(text_width, column)) for column in columns]
    left = 0.0 if names_above else 8 + MARGIN + max((text_width(row.name) for row in rows), default=0.0)
    wide = WIDTH - MARGIN - left - sum(widths) - 12 * len(widths)
    figure = new_figure(top + pitch * max(len(rows), 1) + MARGIN)
    axes = new_canvas(figure)
    ends = [left + wide + sum(widths[: i + 1]) + 12 * (i + 1) for i in range(len(widths))]
    for end, head in zip(ends, heads, strict=False):
        axes.text(end, 8, head, ha="right", va="center", alpha=QUIET)
    if any(math.isfinite(row.mark) for row in rows):
        draw_stroke(axes, ends[-1] - text_width(heads[-1]) - 5, 8, 10)
    for place, row in enumerate(rows):
        y = top + pitch * (place + 0.5)
        if names_above:
            axes.text(0, y - 8, row.name, va="center")
            y += 7
        else:
            axes.text(left - 8, y, row.name, ha="right", va="center")
        draw_box(axes, left, y - 5, wide, 10, INK, FAINT / 2)
        if math.isfinite(row.value):
            draw_box(axes, left, y - 5, wide * row.value / limit, 10, row.colour, 1)
        if math.isfinite(row.mark):
            draw_stroke(axes, left + wide * row.mark / limit, y, 16)
        if math.isfinite(row.low) and math.isfinite(row.high):
            axes.plot(
                [left + wide * row.low, left + wide * row.high], [y, y], color=INK, linewidth=1.2, solid_capstyle="butt"
            )
        for column, (end, number) in enumerate(zip(ends, row.numbers, strict=True)):
            axes.text(end, y, number, ha="right", va="center", alpha=1 if not column else QUIET)
    return figure


@drawing
def recalls(recall: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike, classes: Sequence[str]) -> Figure:
    """The recall of every class with its 95% interval, each (K,) in 0..1; NaN for a class without images."""
    shape = (len(classes),)
    values, lows, highs = (
        shaped(what, array, shape) for what, array in (("recall", recall), ("low", low), ("high", high))
    )
    return _bar_rows(
        [
            _Bar(
                classes[i],
                values[i],
                CLASS_COLOURS[classes[i]],
                (as_percent(values[i]), as_range(lows[i], highs[i])),
                low=lows[i],
                high=highs[i],
            )
            for i in display_order(classes)
        ],
        heads=("recall", "95%"),
        limit=1.0,
    )


@drawing
def label_counts(true: npt.ArrayLike, predicted: npt.ArrayLike, classes: Sequence[str]) -> Figure:
    """How often each class was predicted (bars) and how often it was true (strokes); both (K,) counts."""
    trues, predictions = (
        shaped(what, array, (len(classes),)) for what, array in (("true", true), ("predicted", predicted))
    )
    return _bar_rows(
        [
            _Bar(
                classes[i],
                predictions[i],
                CLASS_COLOURS[classes[i]],
                (f"{predictions[i]:,.0f}", f"{trues[i]:,.0f}"),
                mark=trues[i],
            )
            for i in display_order(classes)
        ],
        heads=("predicted", "true"),
    )


@drawing
def class_counts(counts: npt.ArrayLike, classes: Sequence[str]) -> Figure:
    """Images of each class, (K,)."""
    values = shaped("counts", counts, (len(classes),))
    bars = [
        _Bar(classes[i], values[i], CLASS_COLOURS[classes[i]], (f"{values[i]:,.0f}",)) for i in display_order(classes)
    ]
    return _bar_rows(bars, heads=("images",))


@drawing
def bars(values: Mapping[str, float], paper: Mapping[str, float] | None = None, unit: str = "") -> Figure:
    """A value by name, and by the same names the paper's as a stroke across the bar; NaN where there is none."""
    heads = (f"ours, {unit}" if unit else "ours",) if paper is not None else (unit,) if unit else ()
    marks = {name: math.nan if paper is None else paper.get(name, math.nan) for name in values}
    largest = max((abs(number) for number in (*values.values(), *marks.values()) if math.isfinite(number)), default=0)
    digits = next((digits for limit, digits in ((10_000, 0), (10, 1), (1, 2)) if largest >= limit), 3)

    def number(value: float) -> str:
        return f"{value:,.{digits}f}" if math.isfinite(value) else "\N{EN DASH}"

    rows = []
    for name, value in values.items():
        numbers = (number(value),) if paper is None else (number(value), number(marks[name]))
        rows.append(_Bar(one_line(name), value, MARK, numbers, mark=marks[name]))
    return _bar_rows(rows, heads if paper is None else (*heads, "paper"), names_above=True)


@dataclass(frozen=True)
class Score:
    """A row of `scores`: `value` with its 95% interval and the paper's number, all in 0..1, NaN where there is none."""

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    paper: float = math.nan


@drawing
def scores(rows: Sequence[Score], levels: Mapping[str, float] | None = None) -> Figure:
    """Fractions as bars, the paper's as strokes, and levels across all of them, such as a random guess's."""
    levels = levels or {}
    ends = [value for row in rows for value in (row.high, row.value, row.paper)]
    limit = min(1.08 * max((value for value in (*ends, *levels.values()) if math.isfinite(value)), default=1.0), 1.0)
    top, pitch, wide = 18.0 * (1 + bool(levels)), 33.0, float(WIDTH - 2 * MARGIN)
    figure = new_figure(top + pitch * max(len(rows), 1) + MARGIN)
    axes = new_canvas(figure)
    right = WIDTH - MARGIN
    papers = [as_percent(row.paper, 1) for row in rows]
    column = max(map(text_width, papers), default=0.0) if any(math.isfinite(row.paper) for row in rows) else 0.0
    if column:
        axes.text(right, 8, "paper", ha="right", va="center", alpha=QUIET)
        draw_stroke(axes, right - text_width("paper") - 5, 8, 10)
        column += 12
    axes.text(right - column, 8, "ours, 95%", ha="right", va="center", alpha=QUIET)
    places = {name: MARGIN + wide * level / limit for name, level in levels.items()}
    words = [f"{name} {as_percent(level, 1)}" for name, level in levels.items()]
    half = max(map(text_width, words), default=0.0) / 2
    apart = spread(list(places.values()), 2 * half + 8, half, WIDTH - half)
    for text, x, place in zip(words, places.values(), apart, strict=True):
        for number in range(len(rows)):  # across the bars, not across the words between them
            y = top + pitch * (number + 0.5) + 7
            axes.plot([x, x], [y - 8, y + 8], color=INK, alpha=0.7, linewidth=1, linestyle=(0, (2, 1.5)))
        axes.text(place, top - 10, text, ha="center", va="center", alpha=QUIET)
    for number, row in enumerate(rows):
        y = top + pitch * (number + 0.5)
        interval = as_range(row.low, row.high)
        axes.text(MARGIN, y - 8, one_line(row.name), va="center")
        axes.text(right - column, y - 8, f"{as_percent(row.value, 1)}  {interval}".strip(), ha="right", va="center")
        if column:
            axes.text(right, y - 8, papers[number], ha="right", va="center", alpha=QUIET)
        y += 7
        draw_box(axes, MARGIN, y - 5, wide, 10, INK, FAINT / 2)
        if math.isfinite(row.value):
            draw_box(axes, MARGIN, y - 5, wide * row.value / limit, 10, MARK, 1)
        if row.low < row.high:
            whisker = [MARGIN + wide * end / limit for end in (row.low, row.high)]
            axes.plot(whisker, [y, y], color=INK, linewidth=1.2, solid_capstyle="butt")
        if math.isfinite(row.paper):
            draw_stroke(axes, MARGIN + wide * row.paper / limit, y, 16)
    return figure
