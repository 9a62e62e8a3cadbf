"""Accuracy against a cost, each dot named where there is room."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fer_bench.plots._drawing import (
    drawing,
    log_ticks,
    new_axes,
    new_figure,
    percent_ticks,
    text_width,
    write_caption,
    write_heading,
)
from fer_bench.plots.style import (
    FAINT,
    INK,
    MARGIN,
    MARK,
    QUIET,
    TITLED,
    WIDTH,
    as_number,
    as_percent,
    one_line,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_Region = tuple[float, float, float, float]  # left, bottom, right, top

CROSSING = 9  # a name goes that many units further off rather than cross a line
NOTE_LENGTH = 56  # letters on a line


@dataclass(frozen=True)
class Point:
    """A dot of `scatter`: `y` with its 95% interval in 0..1, NaN where there is none.

    One that is not `named` gets its name only on the front.
    """

    name: str
    x: float
    y: float
    low: float = math.nan
    high: float = math.nan
    highlight: bool = False
    named: bool = True


@drawing
def scatter(points: Sequence[Point], x_title: str, y_title: str = "accuracy") -> Figure:
    """Accuracy against a cost on a logarithmic scale: a dot a row, named where there is room, and the front.

    The line joins the points that no other beats at lower cost. A point without a positive cost is named
    under the plot. Highlighted points are named first.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter

    shown = [point for point in points if point.x > 0 and math.isfinite(point.x) and math.isfinite(point.y)]
    missing = [one_line(point.name) for point in points if point not in shown]
    left, high = 34.0, float(min(210 + 7 * sum(point.named for point in shown), 420))
    notes = textwrap.wrap(f"not shown, no {x_title}: {', '.join(missing)}", NOTE_LENGTH) if missing else []
    figure = new_figure(18 + high + 36 + 14 * len(notes) + 6 * bool(notes))
    axes = new_axes(figure, left, 18, WIDTH - left - MARGIN, high)
    write_heading(axes, y_title)
    axes.set_xscale("log")
    if shown:
        logs = np.log10([point.x for point in shown])
        pad = max(0.1 * (logs.max() - logs.min()), 0.2)
        axes.set_xlim(10 ** (logs.min() - pad), 10 ** (logs.max() + pad))
        heights = [value for point in shown for value in (point.low, point.y, point.high) if math.isfinite(value)]
        room = max(0.08 * (max(heights) - min(heights)), 0.01)
        axes.set_ylim(max(min(heights) - room, -0.01), min(max(heights) + room, 1.01))
    axes.xaxis.set_major_locator(FixedLocator(log_ticks(*axes.get_xlim())))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: as_number(x)))
    axes.xaxis.set_minor_locator(FixedLocator([]))
    percent_ticks(axes)
    axes.grid(color=INK, alpha=FAINT, linewidth=0.8)
    front = _front(shown)
    axes.step([p.x for p in front], [p.y for p in front], where="post", color=INK, alpha=0.35, linewidth=0.9)
    for point in shown:
        colour, alpha, size = (MARK, 1.0, 7) if point.highlight else (INK, 0.9 if point in front else 0.5, 5)
        if point.low < point.high:
            axes.vlines(point.x, point.low, point.high, color=colour, alpha=0.4 * alpha, linewidth=1)
        said = f"{TITLED}{one_line(point.name)}: {as_percent(point.y, 1)}, {as_number(point.x)} {x_title}"
        axes.plot(point.x, point.y, marker="o", markersize=size, color=colour, alpha=alpha, markeredgewidth=0, gid=said)
    _name_points(axes, shown, front)
    write_caption(axes, x_title)
    for line, text in enumerate(notes):
        figure.text(
            left / WIDTH, (10 + 14 * (len(notes) - 1 - line)) / (72 * figure.get_figheight()), text, alpha=QUIET
        )
    return figure


def _front(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats at lower or equal cost, cheapest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, -p.y)):
        if not front or point.y > front[-1].y:
            front.append(point)
    return front


def _name_points(axes: Axes, points: Sequence[Point], front: Sequence[Point]) -> None:
    """Write each point's name beside it where nothing else is, with a line to it where that is not close.

    A name may cross whiskers and the front if it must, but no dot and no other name; without room it is left
    out. Highlighted points and high ones choose first.
    """
    to_units = axes.transData.transform
    place = {id(point): to_units((point.x, point.y)) for point in points}
    frame = axes.get_window_extent()
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in place.values()]
    ways = [((p.x, p.low), (p.x, p.high)) for p in points if p.low < p.high]
    for before, after in itertools.pairwise(front):
        corner = (after.x, before.y)
        ways += [((before.x, before.y), corner), (corner, (after.x, after.y))]
    lines = [(x0 - 1, y0 - 1, x1 + 1, y1 + 1) for (x0, y0), (x1, y1) in ((to_units(a), to_units(b)) for a, b in ways)]

    def options(point: Point, wide: float) -> Iterator[_Region]:
        x, y = place[id(point)]
        for reach in (7, 14, 22, 32, 44):
            sides = itertools.product((0, 0.7, -0.7, 1.2, -1.2), (x + reach, x - reach - wide))
            middle = min(max(x - wide / 2, frame.x0), frame.x1 - wide)
            for lift, left in (*sides, (1.5, middle), (-1.5, middle)):
                bottom = y + lift * reach - 5.5
                if left >= frame.x0 and left + wide <= frame.x1 and bottom >= frame.y0 and bottom + 11 <= frame.y1:
                    yield left, bottom, left + wide, bottom + 11

    named = [point for point in points if point.named or point in front]
    for point in sorted(named, key=lambda point: (not point.highlight, -point.y, point.name)):
        name, (x, y) = one_line(point.name), place[id(point)]
        wide = text_width(name) * (1.15 if point.highlight else 1)
        free = []
        for box in options(point, wide):
            if not any(_overlap(box, other) for other in taken):
                near = min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])
                crossed = sum(_overlap(box, line) for line in lines)
                free.append((math.dist(near, (x, y)) + CROSSING * crossed, box, near))
        if not free:
            continue
        _, box, near = min(free)
        taken.append(box)
        if math.dist(near, (x, y)) > 12:
            ends = axes.transData.inverted().transform([(x, y), near])
            axes.plot(*zip(*ends, strict=True), color=INK, alpha=0.35, linewidth=0.7)
        on_left = box[2] <= x  # right-aligned there, so that another font keeps the distance
        axes.annotate(
            name,
            (point.x, point.y),
            ((box[2] if on_left else box[0]) - x, (box[1] + box[3]) / 2 - y),
            textcoords="offset points",
            ha="right" if on_left else "left",
            va="center",
            weight="bold" if point.highlight else "normal",
            alpha=1 if point.highlight else 0.85,
        )


def _overlap(a: _Region, b: _Region) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
