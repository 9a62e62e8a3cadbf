"""Figures and bars of one look, for the app's pages and for reports: numbers in, figures and markup out, no files.

Figures are drawn 360 units wide, a unit being a pixel on a phone, and scale from there. Their ink is the page's
own text colour, and their accent the page's, so one figure serves the light page and the dark one.
"""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import math
import re
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from fer_bench import metrics, stats
from fer_bench.errors import FerBenchError
from fer_bench.labels import DISPLAY_ORDER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FloatArray = npt.NDArray[np.float64]
P = ParamSpec("P")
T = TypeVar("T")
_Region = tuple[float, float, float, float]  # left, bottom, right, top

# Found by search: hues near what people expect of each word, every pair told apart with normal sight and without
# any one kind of cone, at least 3:1 against a white and a near-black page.
CLASS_COLOURS: dict[str, str] = {
    "angry": "#c42520",
    "disgust": "#62904e",
    "fear": "#7a4aa6",
    "happy": "#d77e0f",
    "sad": "#2c56d2",
    "surprise": "#05a1bc",
    "neutral": "#ab898c",
    "contempt": "#954d7c",
}
# ACCENT on a light page, ACCENT_DARK on a dark one; behind text ACCENT on both.
ACCENT = "#0f766e"
ACCENT_DARK = "#5eead4"

# `svg` turns these two, and no other colour, into the page's own: its text colour, and `--fb-accent` where it has one.
INK, MARK = "#010203", "#010204"
QUIET, FAINT = 0.7, 0.14  # opacity of secondary text and of grid lines
FULL_CELL = 0.7  # opacity of a confusion cell that holds its whole row; the page's ink stays legible on it
WIDTH, TEXT, MARGIN = 360, 10, 4
LONGEST_NAME, NOTE_LENGTH = 48, 56  # letters on a line
CROSSING = 9  # a name goes that many units further off rather than cross a line
TIMELINE_SECONDS = 30.0
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fer_bench",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib; its letters are wide, so the page's own fit too
    "font.size": TEXT,
    "text.color": INK,
    "text.parse_math": False,  # a name with dollar signs is a name
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "path.simplify": False,
}
_DRAWING = threading.RLock()  # matplotlib's settings belong to the process, the app's threads share them


@dataclass(frozen=True)
class Point:
    """A dot of `scatter`: `y` with its 95% interval in 0..1, NaN where there is none."""

    name: str
    x: float
    y: float
    low: float = math.nan
    high: float = math.nan
    highlight: bool = False


# figures


def _drawing(draw: Callable[P, T]) -> Callable[P, T]:
    """Run a function with matplotlib's settings as ours, alone."""

    @functools.wraps(draw)
    def alone(*args: P.args, **kwargs: P.kwargs) -> T:
        import matplotlib

        with _DRAWING, matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return alone


@_drawing
def svg(figure: Figure, title: str) -> str:
    """A figure as an inline SVG that scales with its place and takes the page's text colour and font.

    The same figure and title give the same bytes; ids are prefixed by a digest of both, so several figures can
    stand on one page.

    Args:
        figure: from a function of this module.
        title: what the figure shows and says, for those who can't see it.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    content = buffer.getvalue()
    prefix = f"fb{hashlib.sha256(content + title.encode()).hexdigest()[:10]}-"
    root = ElementTree.fromstring(content)
    for parent in list(root.iter()):
        for child in list(parent):
            # A style sheet inside an inline SVG would apply to the whole page.
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    used = set(re.findall(rb"#(\w+)[\")]", content))
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        if element.tag != "text":
            element.text = None
        element.tail = None
        element.attrib = {
            name.rpartition("}")[2]: _page_style(value) if name == "style" else _own_id(name, value, prefix)
            for name, value in element.attrib.items()
            if name != "id" or value.encode() in used
        }
    width, height = figure.get_size_inches() * 72
    root.attrib = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": f"0 0 {width:g} {height:g}",
        "role": "img",
        "aria-label": title,
        "style": f"display: block; width: 100%; height: auto; max-width: {1.6 * width:g}px; "
        "stroke-linejoin: round; stroke-linecap: butt",
    }
    return ElementTree.tostring(root, encoding="unicode")


def _page_style(style: str) -> str:
    """A style in the page's ink and font; matplotlib 3.9 writes the font as one declaration."""

    def size_alone(font: re.Match[str]) -> str:
        weight, size = font.groups()
        return (f"font-weight: {weight}; " if weight else "") + (f"font-size: {size}; " if size else "")

    style = re.sub(r"font(?:-family)?: (?:(\d+) )?(?:([\d.]+px) )?[^;]+(?:; |$)", size_alone, style)
    return style.replace(INK, "currentColor").replace(MARK, f"var(--fb-accent, {ACCENT})")


def _own_id(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return prefix + value
    if name.endswith("href") or value.startswith("url(#"):
        return value.replace("#", f"#{prefix}", 1)
    return " ".join(value.split())


@_drawing
def confusion(matrix: npt.ArrayLike, classes: Sequence[str], normalised: bool = False) -> Figure:
    """A confusion matrix, coloured by the share of each row.

    Args:
        matrix: (K, K) counts, rows the true class, columns the predicted one, in the order of `classes`.
        normalised: write percents of the row in the cells, and each row's images under its name, not counts.
    """
    order = _order(classes)
    counts = _shaped("matrix", matrix, (len(order), len(order)))[np.ix_(order, order)]
    left, right, top, high, gap = 68.0, 16.0, 54.0, 30.0, 1.0
    wide = (WIDTH - left - right) / len(order)
    figure = _figure(top + high * len(order) + MARGIN)
    axes = _canvas(figure)
    axes.text(left - 8, top - 24, "predicted \N{RIGHTWARDS ARROW}", ha="right", va="center", alpha=QUIET)
    axes.text(left - 8, top - 9, "true \N{DOWNWARDS ARROW}", ha="right", va="center", alpha=QUIET)
    for row, index in enumerate(order):
        x, y = left + wide * row, top + high * row
        name, support = classes[index], int(counts[row].sum())
        axes.text(x + wide / 2 - 4, top - 5, name, rotation=45, rotation_mode="anchor")
        lift = 6 if normalised else 0
        axes.text(left - 8, y + high / 2 - lift, name, ha="right", va="center")
        if normalised:
            axes.text(left - 8, y + high / 2 + lift, f"{support:,}", ha="right", va="center", alpha=QUIET)
        for column, number in enumerate(counts[row]):
            share = number / support if support else 0.0
            box = (left + wide * column + gap, y + gap, wide - 2 * gap, high - 2 * gap)
            _box(axes, *box, INK, FAINT / 3)
            if share:
                _box(axes, *box, ACCENT, FULL_CELL * share)
            axes.text(
                left + wide * (column + 0.5),
                y + high / 2,
                _cell(int(number), share, normalised),
                ha="center",
                va="center",
                weight="bold" if row == column and number else "normal",
                alpha=1 if number else QUIET,
            )
    return figure


def _cell(number: int, share: float, normalised: bool) -> str:
    if not number:
        return "\N{MIDDLE DOT}"
    if not normalised:
        return f"{number:,}" if number < 10_000 else f"{number / 1000:.0f}k"
    return "<1" if share < 0.005 else f"{100 * share:.0f}"


@_drawing
def recalls(recall: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike, classes: Sequence[str]) -> Figure:
    """The recall of every class with its 95% interval, each (K,) in 0..1; NaN for a class without images."""
    shape = (len(classes),)
    values, lows, highs = (
        _shaped(what, array, shape) for what, array in (("recall", recall), ("low", low), ("high", high))
    )
    return _bar_rows(
        [
            _Bar(
                classes[i],
                values[i],
                CLASS_COLOURS[classes[i]],
                (_percent(values[i]), _range(lows[i], highs[i])),
                low=lows[i],
                high=highs[i],
            )
            for i in _order(classes)
        ],
        heads=("recall", "95%"),
        limit=1.0,
    )


@_drawing
def label_counts(true: npt.ArrayLike, predicted: npt.ArrayLike, classes: Sequence[str]) -> Figure:
    """How often each class was predicted (bars) and how often it was true (strokes); both (K,) counts."""
    trues, predictions = (
        _shaped(what, array, (len(classes),)) for what, array in (("true", true), ("predicted", predicted))
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
            for i in _order(classes)
        ],
        heads=("predicted", "true"),
    )


@_drawing
def class_counts(counts: npt.ArrayLike, classes: Sequence[str]) -> Figure:
    """Images of each class, (K,)."""
    values = _shaped("counts", counts, (len(classes),))
    bars = [_Bar(classes[i], values[i], CLASS_COLOURS[classes[i]], (f"{values[i]:,.0f}",)) for i in _order(classes)]
    return _bar_rows(bars, heads=("images",))


@_drawing
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
        rows.append(_Bar(_name(name), value, MARK, numbers, mark=marks[name]))
    return _bar_rows(rows, heads if paper is None else (*heads, "paper"), names_above=True)


@_drawing
def learning_curves(histories: Sequence[Sequence[Mapping[str, float]]]) -> Figure:
    """Accuracy and loss over the epochs; of several runs every one thinly, and their mean.

    Args:
        histories: one a fold or seed, entries as `records.FoldInfo.history`; `select_*` and whole runs may be
            missing. The mean ends with the shortest run.
    """
    from matplotlib.ticker import MaxNLocator

    runs = [history for history in histories if history]
    if not runs:
        figure = _figure(24)
        _canvas(figure).text(0, 12, "no epochs recorded", va="center", alpha=QUIET)
        return figure
    left, right, high = 34.0, 78.0, 116.0
    figure = _figure(2 * (high + 22) + 30)
    for panel, what in enumerate(("accuracy", "loss")):
        top = 18 + panel * (high + 24)
        axes = _axes(figure, left, top, WIDTH - left - right, high)
        _heading(axes, what)
        axes.grid(axis="y", color=INK, alpha=FAINT, linewidth=0.8)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.margins(x=0, y=0.08)
        ends = []
        for part, colour, alpha in (("train", INK, 0.6), ("select", MARK, 1.0)):
            key = f"{part}_{what}"
            lines = [np.array([entry[key] for entry in run], float) for run in runs if all(key in e for e in run)]
            if not lines:
                continue
            lines = [np.where(np.isfinite(line), line, np.nan) for line in lines]
            if len(lines) > 1:
                for line in lines:
                    _curve(axes, line, colour, 0.3 * alpha, 0.8)
            mean = np.mean([line[: min(map(len, lines))] for line in lines], axis=0)
            _curve(axes, mean, colour, alpha, 1.8)
            value = _percent(mean[-1], 1) if what == "accuracy" else f"{mean[-1]:.2f}"
            ends.append((float(mean[-1]), f"{part} {value}", colour, alpha))
        if what == "accuracy":
            _percent_ticks(axes)
        if not panel:
            axes.tick_params(labelbottom=False)
        longest = max(map(len, runs))
        if longest == 1:
            axes.set_xticks([1])
        else:
            axes.set_xlim(1, longest)
        _end_labels(axes, ends)
    _caption(axes, "epoch")
    return figure


@_drawing
def calibration(probabilities: npt.ArrayLike, targets: npt.ArrayLike, after: npt.ArrayLike | None = None) -> Figure:
    """How often the most probable class is right, by how sure the model was, and how often it was how sure.

    The bins are those of the calibration error; a whisker is a bin's 95% interval.

    Args:
        probabilities: (N, K), N at least 1, rows that sum to 1.
        targets: (N,) integer labels.
        after: (N, K) for the same images after a correction such as temperature scaling.
    """
    from matplotlib.ticker import FixedLocator, MaxNLocator, PercentFormatter

    left, wide, high, low = 40.0, WIDTH - 40.0 - 18, 220.0, 56.0
    figure = _figure(18 + high + 34 + low + 30)
    upper = _axes(figure, left, 18, wide, high)
    lower = _axes(figure, left, 18 + high + 34, wide, low)
    upper.plot([0, 1], [0, 1], color=INK, alpha=0.4, linewidth=0.8)
    sets = [("", probabilities, MARK, 1.0)]
    if after is not None:
        sets = [("before: ", probabilities, INK, 0.55), ("after: ", after, MARK, 1.0)]
    for place, (word, given, colour, alpha) in enumerate(sets):
        error = metrics.evaluate(targets, given).calibration_error
        diagram = metrics.reliability(targets, given)
        full = diagram.count > 0
        x, y, n = diagram.confidence[full], diagram.accuracy[full], diagram.count[full]
        ends = [stats.wilson_interval(round(right * size), size) for right, size in zip(y, n, strict=True)]
        upper.vlines(x, *zip(*ends, strict=True), color=colour, alpha=0.5 * alpha, linewidth=1)
        upper.plot(x, y, color=colour, alpha=alpha, linewidth=1.4, marker="o", markersize=4, markeredgewidth=0)
        text = f"{word}calibration error {_percent(error, 1)}"
        upper.plot(0.035, 0.955 - 0.07 * place, color=colour, alpha=alpha, marker="o", markersize=5)
        upper.text(0.07, 0.955 - 0.07 * place, text, va="center")
        share = diagram.count / diagram.count.sum()
        if place == len(sets) - 1:
            edges = diagram.edges
            lower.bar(edges[:-1], share, np.diff(edges) * 0.92, align="edge", color=colour, alpha=0.8, linewidth=0)
        else:
            lower.stairs(share, diagram.edges, color=colour, alpha=alpha, linewidth=1.2, zorder=3)
    upper.text(0.98, 0.05, "too sure", ha="right", alpha=QUIET)
    upper.text(0.05, 0.66, "not sure enough", alpha=QUIET)
    for axes, title in ((upper, "accuracy"), (lower, "images")):
        _heading(axes, title)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(axis="y", color=INK, alpha=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
    upper.set_ylim(0, 1)
    upper.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    lower.yaxis.set_major_locator(MaxNLocator(nbins=3, steps=[1, 2, 5, 10]))
    upper.tick_params(labelbottom=False)
    _caption(lower, "probability of the predicted class")
    return figure


@_drawing
def scatter(points: Sequence[Point], x_title: str, y_title: str = "accuracy") -> Figure:
    """Accuracy against a cost on a logarithmic scale: a dot a row, named where there is room, and the front.

    The line joins the points that no other beats at lower cost. A point without a positive cost is named
    under the plot. Highlighted points are named first.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter

    shown = [point for point in points if point.x > 0 and math.isfinite(point.x) and math.isfinite(point.y)]
    missing = [_name(point.name) for point in points if point not in shown]
    left, high = 34.0, float(min(210 + 7 * len(shown), 420))
    notes = textwrap.wrap(f"not shown, no {x_title}: {', '.join(missing)}", NOTE_LENGTH) if missing else []
    figure = _figure(18 + high + 36 + 14 * len(notes) + 6 * bool(notes))
    axes = _axes(figure, left, 18, WIDTH - left - MARGIN, high)
    _heading(axes, y_title)
    axes.set_xscale("log")
    if shown:
        logs = np.log10([point.x for point in shown])
        pad = max(0.1 * (logs.max() - logs.min()), 0.2)
        axes.set_xlim(10 ** (logs.min() - pad), 10 ** (logs.max() + pad))
        heights = [value for point in shown for value in (point.low, point.y, point.high) if math.isfinite(value)]
        room = max(0.08 * (max(heights) - min(heights)), 0.01)
        axes.set_ylim(max(min(heights) - room, -0.01), min(max(heights) + room, 1.01))
    axes.xaxis.set_major_locator(FixedLocator(_log_ticks(*axes.get_xlim())))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _number(x)))
    axes.xaxis.set_minor_locator(FixedLocator([]))
    _percent_ticks(axes)
    axes.grid(color=INK, alpha=FAINT, linewidth=0.8)
    front = _front(shown)
    axes.step([p.x for p in front], [p.y for p in front], where="post", color=INK, alpha=0.35, linewidth=0.9)
    for point in shown:
        colour, alpha, size = (MARK, 1.0, 7) if point.highlight else (INK, 0.9 if point in front else 0.5, 5)
        if point.low < point.high:
            axes.vlines(point.x, point.low, point.high, color=colour, alpha=0.4 * alpha, linewidth=1)
        axes.plot(point.x, point.y, marker="o", markersize=size, color=colour, alpha=alpha, markeredgewidth=0)
    _name_points(axes, shown, front)
    _caption(axes, x_title)
    for line, text in enumerate(notes):
        figure.text(
            left / WIDTH, (10 + 14 * (len(notes) - 1 - line)) / (72 * figure.get_figheight()), text, alpha=QUIET
        )
    return figure


@dataclass(frozen=True)
class Score:
    """A row of `scores`: `value` with its 95% interval and the paper's number, all in 0..1, NaN where there is none."""

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    paper: float = math.nan


@_drawing
def scores(rows: Sequence[Score], levels: Mapping[str, float] | None = None) -> Figure:
    """Fractions as bars, the paper's as strokes, and levels across all of them, such as a random guess's."""
    levels = levels or {}
    ends = [value for row in rows for value in (row.high, row.value, row.paper)]
    limit = min(1.08 * max((value for value in (*ends, *levels.values()) if math.isfinite(value)), default=1.0), 1.0)
    top, pitch, wide = 18.0 * (1 + bool(levels)), 33.0, float(WIDTH - 2 * MARGIN)
    figure = _figure(top + pitch * max(len(rows), 1) + MARGIN)
    axes = _canvas(figure)
    right = WIDTH - MARGIN
    papers = [_percent(row.paper, 1) for row in rows]
    column = max(map(_width, papers), default=0.0) if any(math.isfinite(row.paper) for row in rows) else 0.0
    if column:
        axes.text(right, 8, "paper", ha="right", va="center", alpha=QUIET)
        _stroke(axes, right - _width("paper") - 5, 8, 10)
        column += 12
    axes.text(right - column, 8, "ours, 95%", ha="right", va="center", alpha=QUIET)
    places = {name: MARGIN + wide * level / limit for name, level in levels.items()}
    words = [f"{name} {_percent(level, 1)}" for name, level in levels.items()]
    half = max(map(_width, words), default=0.0) / 2
    apart = _spread(list(places.values()), 2 * half + 8, half, WIDTH - half)
    for text, x, place in zip(words, places.values(), apart, strict=True):
        for number in range(len(rows)):  # across the bars, not across the words between them
            y = top + pitch * (number + 0.5) + 7
            axes.plot([x, x], [y - 8, y + 8], color=INK, alpha=0.7, linewidth=1, linestyle=(0, (2, 1.5)))
        axes.text(place, top - 10, text, ha="center", va="center", alpha=QUIET)
    for number, row in enumerate(rows):
        y = top + pitch * (number + 0.5)
        interval = _range(row.low, row.high)
        axes.text(MARGIN, y - 8, _name(row.name), va="center")
        axes.text(right - column, y - 8, f"{_percent(row.value, 1)}  {interval}".strip(), ha="right", va="center")
        if column:
            axes.text(right, y - 8, papers[number], ha="right", va="center", alpha=QUIET)
        y += 7
        _box(axes, MARGIN, y - 5, wide, 10, INK, FAINT / 2)
        if math.isfinite(row.value):
            _box(axes, MARGIN, y - 5, wide * row.value / limit, 10, MARK, 1)
        if row.low < row.high:
            whisker = [MARGIN + wide * end / limit for end in (row.low, row.high)]
            axes.plot(whisker, [y, y], color=INK, linewidth=1.2, solid_capstyle="butt")
        if math.isfinite(row.paper):
            _stroke(axes, MARGIN + wide * row.paper / limit, y, 16)
    return figure


@dataclass(frozen=True)
class Line:
    """A line of `lines`; `low` and `high` are the ends of whiskers, or empty."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@_drawing
def lines(
    curves: Sequence[Line],
    x_title: str,
    y_title: str,
    percent: bool = False,
    log_x: bool = False,
    levels: Mapping[str, float] | None = None,
) -> Figure:
    """Curves over a common axis, each named at its end; few points are marked. Levels are dashed lines across."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    def words(name: str, value: float) -> str:
        return f"{name} {_percent(value, 1) if percent else _number(value)}"

    ends = [(words(curve.name, curve.y[-1]), float(curve.y[-1])) for curve in curves]
    ends += [(words(name, level), level) for name, level in (levels or {}).items()]
    left, high = 38.0, max(150.0, 15.0 * len(ends))
    right = min(max(map(_width, (text for text, _ in ends)), default=0.0) + 10, 0.45 * WIDTH)
    figure = _figure(18 + high + 34)
    axes = _axes(figure, left, 18, WIDTH - left - right, high)
    _heading(axes, y_title)
    axes.grid(axis="y", color=INK, alpha=FAINT, linewidth=0.8)
    axes.margins(x=0, y=0.08)
    labels = []
    for number, (curve, (text, end)) in enumerate(zip(curves, ends, strict=False)):
        colour, alpha = (INK, 0.6) if number % 2 else (MARK, 1.0)
        dots = "o" if len(curve.x) <= 12 else None
        axes.plot(
            curve.x, curve.y, color=colour, alpha=alpha, linewidth=1.6, marker=dots, markersize=4, markeredgewidth=0,
            linestyle=("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))[number // 2 % 4],
        )  # fmt: skip
        if curve.low:
            axes.vlines(curve.x, curve.low, curve.high, color=colour, alpha=0.4 * alpha, linewidth=1)
        labels.append((end, text, colour, alpha))
    for text, level in ends[len(curves) :]:
        axes.axhline(level, color=INK, alpha=0.6, linewidth=1, linestyle=(0, (3, 2)))
        labels.append((level, text, INK, 0.6))
    if log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(_log_ticks(*axes.get_xlim())))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _number(x)))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    if percent:
        _percent_ticks(axes)
    _end_labels(axes, labels)
    _caption(axes, x_title)
    return figure


@dataclass(frozen=True)
class Histogram:
    """A panel of `histograms`: counts in equal bins from 0 to `end`."""

    title: str
    counts: Sequence[float]
    end: float


@_drawing
def histograms(panels: Sequence[Histogram], x_title: str) -> Figure:
    """Distributions two a row, each on its own axes."""
    from matplotlib.ticker import MaxNLocator

    left, gap, high, pitch = 28.0, 34.0, 84.0, 132.0
    wide = (WIDTH - left - gap - MARGIN) / 2
    figure = _figure(pitch * -(-len(panels) // 2) + MARGIN)
    for number, panel in enumerate(panels):
        row, column = divmod(number, 2)
        axes = _axes(figure, left + column * (wide + gap), 18 + pitch * row, wide, high)
        _heading(axes, panel.title)
        edges = np.linspace(0, panel.end, len(panel.counts) + 1)
        axes.bar(edges[:-1], panel.counts, np.diff(edges) * 0.9, align="edge", color=MARK, linewidth=0)
        axes.grid(axis="y", color=INK, alpha=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlim(0, panel.end)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
        _caption(axes, x_title)
    return figure


@_drawing
def pictures(rows: Sequence[tuple[str, npt.NDArray[np.uint8]]]) -> Figure:
    """Gray (H, W) pictures under each other, each as wide as the figure or at most at its own size, with a title."""
    fits = [min(1.0, (WIDTH - 2 * MARGIN) / picture.shape[1]) for _, picture in rows]
    heights = [picture.shape[0] * fit for (_, picture), fit in zip(rows, fits, strict=True)]
    figure = _figure(sum(heights) + 24 * len(rows) + MARGIN)
    canvas, top = _canvas(figure), 0.0
    for (title, picture), fit, high in zip(rows, fits, heights, strict=True):
        canvas.text(MARGIN, top + 12, title, va="center")
        axes = _axes(figure, MARGIN, top + 22, picture.shape[1] * fit, high)
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="none", aspect="auto")
        axes.set_axis_off()
        top += 24 + high
    return figure


# markup that needs no matplotlib, quick enough to be made for every frame


def timeline_svg(
    seconds: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    classes: Sequence[str],
    title: str = "Probability of each expression over the last seconds",
) -> str:
    """The last 30 seconds of a live reading as an inline SVG; classes over 10% are named at the line's end.

    Args:
        seconds: (T,) rising, of any origin; the last one is now.
        probabilities: (T, K); a row of NaN, where there was no face, is a gap.
        classes: the K names.
        title: what the figure shows, for those who can't see it.
    """
    order = _order(classes)
    times = np.asarray(seconds, dtype=np.float64)
    values = _shaped("probabilities", probabilities, (len(times), len(order)))
    left, right, top, high = 38.0, 84.0, 8.0, 120.0
    wide = WIDTH - left - right
    recent = times > times[-1] - TIMELINE_SECONDS if len(times) else np.zeros(0, bool)
    times, values = times[recent], values[recent]
    now = times[-1] if len(times) else 0.0
    xs = left + wide * (1 - (now - times) / TIMELINE_SECONDS)
    seen = np.flatnonzero(np.diff(np.floor(xs), append=np.inf))  # one reading a unit, the last one too
    xs, values = xs[seen], values[seen]
    ys = top + high * (1 - np.clip(values, 0, 1))
    last = {i: float(values[-1, i]) for i in order} if len(values) and np.isfinite(values[-1]).all() else {}
    named = sorted((i for i in last if last[i] >= 0.1), key=lambda i: -last[i])

    parts = []
    for share in (0.0, 0.5, 1.0):
        y = top + high * (1 - share)
        parts.append(f'<path d="M{left:g} {y:g}h{wide:g}" stroke="currentColor" opacity="{FAINT}"/>')
        parts.append(_svg_text(left - 6, y, f"{100 * share:.0f}%", "end", QUIET))
    for age in (30, 20, 10, 0):
        x = left + wide * (1 - age / TIMELINE_SECONDS)
        words = "now" if not age else f"\N{MINUS SIGN}{age} s"
        parts.append(_svg_text(x, top + high + 12, words, "middle", QUIET))
    for i in order:
        path = _path(xs, ys[:, i])
        look = 'stroke-width="2"' if i in named else 'stroke-width="1.2" opacity="0.65"'
        parts.append(f'<path d="{path}" fill="none" stroke="{CLASS_COLOURS[classes[i]]}" {look}/>')
    places = _spread([float(ys[-1, i]) for i in named], 12.0, top, top + high)
    for i, y in zip(named, places, strict=True):
        colour, x = CLASS_COLOURS[classes[i]], left + wide + 6
        parts.append(f'<circle cx="{x + 3:g}" cy="{y:.1f}" r="3" fill="{colour}"/>')
        parts.append(_svg_text(x + 10, y, f"{classes[i]} {100 * last[i]:.0f}%", "start", 1))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top + high + 20:g}" role="img" '
        f'aria-label="{escape(title)}" style="display: block; width: 100%; height: auto; '
        f'max-width: {1.6 * WIDTH:g}px; font-size: {TEXT}px; stroke-linejoin: round">{"".join(parts)}</svg>'
    )


def _svg_text(x: float, y: float, words: str, anchor: str, opacity: float) -> str:
    return (
        f'<text x="{x:.1f}" y="{y + 0.35 * TEXT:.1f}" text-anchor="{anchor}" fill="currentColor" '
        f'opacity="{opacity:g}">{words}</text>'
    )


def _path(xs: FloatArray, ys: FloatArray) -> str:
    """A line through the points, lifted over those that are NaN."""
    parts, pen = [], "M"
    for x, y in zip(xs.tolist(), ys.tolist(), strict=True):
        if y == y:  # not NaN
            parts.append(f"{pen}{x:.1f} {y:.1f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(parts)


# Flat rules, no nesting and no lists in `:is()`: Gradio rewrites what it is given as `css`.
BARS_CSS = f""":root {{
  {" ".join(f"--fb-{name}: {colour};" for name, colour in CLASS_COLOURS.items())}
}}
.fb-bars, .fb-compare {{
  width: 100%; margin: 0; border: 0; border-collapse: collapse; color: inherit; font-size: 0.875rem;
  line-height: 1.3; font-variant-numeric: tabular-nums;
}}
.fb-bars tr, .fb-compare tr {{ border: 0; background: none; }}
.fb-bars th, .fb-bars td, .fb-compare th, .fb-compare td {{
  padding: 0.28rem 0; border: 0; background: none; color: inherit; font-weight: 400; text-align: left;
  vertical-align: middle;
}}
.fb-bars th, .fb-compare tbody th {{ width: 1%; padding-right: 0.75rem; white-space: nowrap; }}
.fb-cell {{ display: flex; align-items: center; gap: 0.6rem; }}
.fb-track {{
  flex: 1 1 0; height: 0.6rem; min-width: 2rem; border-radius: 0.2rem; overflow: hidden;
  background: color-mix(in srgb, currentColor 9%, transparent);
}}
.fb-fill {{ display: block; height: 100%; min-width: 1px; background: var(--fb-class); opacity: 0.85; }}
.fb-percent {{ flex: none; min-width: 3.4em; text-align: right; opacity: 0.8; }}
.fb-bars .fb-top th, .fb-bars .fb-top .fb-percent, .fb-compare .fb-top .fb-percent {{
  font-weight: 650; opacity: 1;
}}
.fb-top .fb-fill {{ opacity: 1; }}
.fb-scroll {{ overflow-x: auto; }}
.fb-verdict {{ margin: 0 0 0.5rem; font-size: 0.875rem; }}
.fb-compare td, .fb-compare thead th {{ min-width: 7.5rem; padding-left: 1rem; }}
.fb-compare thead th {{
  padding-bottom: 0.4rem; border-bottom: 1px solid color-mix(in srgb, currentColor 18%, transparent);
  font-weight: 600; vertical-align: bottom; overflow-wrap: anywhere;
}}
.fb-compare thead td {{ min-width: 0; padding: 0; }}
.fb-says {{ display: flex; align-items: center; gap: 0.35rem; font-weight: 400; }}
.fb-dot {{ flex: none; width: 0.6rem; height: 0.6rem; border-radius: 50%; background: var(--fb-class); }}
.fb-differs {{
  padding: 0 0.35rem; border: 1px solid currentColor; border-radius: 0.3rem; font-size: 0.75rem;
}}
.fb-compare .fb-none {{ text-align: right; opacity: 0.7; }}
@media (max-width: 40rem) {{
  .fb-compare td, .fb-compare thead th {{ min-width: 5.2rem; padding-left: 0.75rem; }}
  .fb-compare thead th {{ font-size: 0.8rem; }}
  .fb-compare .fb-cell {{ flex-direction: column-reverse; align-items: stretch; gap: 0.1rem; }}
  .fb-compare .fb-track {{ flex: none; height: 0.35rem; }}
  .fb-says {{ flex-wrap: wrap; }}
}}
"""


TOP = ' class="fb-top"'


def probability_bars(probabilities: npt.ArrayLike, classes: Sequence[str]) -> str:
    """One opinion, (K,) in the order of `classes`, as an HTML table of bars; its look is `BARS_CSS`."""
    order = _order(classes)
    values = _shaped("probabilities", probabilities, (len(order),))
    top = order[int(values[order].argmax())]
    rows = "".join(
        f'<tr{TOP if i == top else ""}><th scope="row">{classes[i]}</th>'
        f"<td>{_html_bar(classes[i], values[i])}</td></tr>"
        for i in order
    )
    summary = f"Most probable: {classes[top]}, {_percent(values[top], 1)}"
    return f'<table class="fb-bars" aria-label="{summary}"><tbody>{rows}</tbody></table>'


def compare_bars(opinions: Mapping[str, tuple[Sequence[str], npt.ArrayLike]]) -> str:
    """Several models' opinions on one crop as an HTML table: a row a class, a column a model.

    A model whose most probable class is not the one that most models name is marked; where two classes are
    named equally often, every model is.

    Args:
        opinions: by the model's name, its classes and its (K,) probabilities.
    """
    tables = {}
    for model, (classes, probabilities) in opinions.items():
        values = _shaped(f"probabilities of {model}", probabilities, (len(classes),))
        tables[model] = {classes[i]: float(values[i]) for i in _order(classes)}
    tops = {model: max(table, key=lambda name: table[name]) for model, table in tables.items()}
    (winner, votes), *others = Counter(tops.values()).most_common() or [("", 0)]
    agreed = winner if not others or others[0][1] < votes else ""
    heads = "".join(
        f'<th scope="col">{_breakable(model)}<span class="fb-says" style="--fb-class: var(--fb-{top})">'
        f'<span class="fb-dot"></span>{top}'
        + ("" if top == agreed else '<span class="fb-differs">differs</span>')
        + "</span></th>"
        for model, top in tops.items()
    )
    rows = "".join(
        f'<tr><th scope="row">{name}</th>' + "".join(_opinion(name, table, tops[m]) for m, table in tables.items())
        for name in DISPLAY_ORDER
        if any(name in table for table in tables.values())
    )
    return (
        f'<p class="fb-verdict">{_verdict(Counter(tops.values()))}</p>'
        '<div class="fb-scroll" role="region" tabindex="0" aria-label="Opinions by model">'
        f'<table class="fb-compare"><thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _breakable(name: str) -> str:
    """A name that may break after its dots and underscores, escaped."""
    return re.sub(r"([._])", r"\1<wbr>", escape(name))


def _verdict(votes: Counter[str]) -> str:
    if len(votes) > 1:
        said = [f"{number} {'says' if number == 1 else 'say'} {name}" for name, number in votes.most_common()]
        return f"The models differ: {', '.join(said)}."
    total = votes.total()
    who = {1: "The model says", 2: "Both models say"}.get(total, f"All {total} models say")
    return "".join(f"{who} {name}." for name in votes)


def _opinion(name: str, table: Mapping[str, float], top: str) -> str:
    if name not in table:
        return '<td class="fb-none" title="not a class of this model">\N{EN DASH}</td>'
    return f"<td{TOP if name == top else ''}>{_html_bar(name, table[name])}</td>"


def _html_bar(name: str, value: float) -> str:
    return (
        f'<div class="fb-cell" style="--fb-class: var(--fb-{name})"><span class="fb-track" aria-hidden="true">'
        f'<span class="fb-fill" style="width: {100 * value:.1f}%"></span></span>'
        f'<span class="fb-percent">{_percent(value, 1)}</span></div>'
    )


# words and numbers


def _order(classes: Sequence[str]) -> list[int]:
    """The places of the classes, sorted as people are shown them."""
    for name in classes:
        if name not in DISPLAY_ORDER:
            raise FerBenchError(f"unknown class {name!r}: expected some of {', '.join(DISPLAY_ORDER)}")
    return sorted(range(len(classes)), key=lambda i: DISPLAY_ORDER.index(classes[i]))


def _shaped(what: str, values: npt.ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != shape:
        raise FerBenchError(f"{what}: expected shape {shape} like the classes, got {array.shape}")
    return array


def _percent(fraction: float, digits: int = 0) -> str:
    return f"{100 * fraction:.{digits}f}%" if math.isfinite(fraction) else "\N{EN DASH}"


def _range(low: float, high: float) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"{100 * low:.0f}\N{EN DASH}{100 * high:.0f}"


def _number(value: float) -> str:
    """Three digits: 0.95, 12.3, 1.24k, 25M; a dash for none."""
    if not math.isfinite(value):
        return "\N{EN DASH}"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _name(name: str) -> str:
    """A name on one line, cut where it is too long for a phone."""
    plain = "".join(letter if letter.isprintable() else " " for letter in name)
    return plain if len(plain) <= LONGEST_NAME else plain[: LONGEST_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The places moved as little as it takes to stand `gap` apart, between `low` and `high` if they fit."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    for before, i in zip([None, *order], order, strict=False):
        moved[i] = max(moved[i], low if before is None else moved[before] + gap)
    limit = high
    for i in reversed(order):
        moved[i] = min(moved[i], limit)
        limit = moved[i] - gap
    return moved


# pieces of figures


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
    widths = [max(map(_width, column)) for column in columns]
    left = 0.0 if names_above else 8 + max((_width(row.name) for row in rows), default=0.0)
    wide = WIDTH - MARGIN - left - sum(widths) - 12 * len(widths)
    figure = _figure(top + pitch * max(len(rows), 1) + MARGIN)
    axes = _canvas(figure)
    ends = [left + wide + sum(widths[: i + 1]) + 12 * (i + 1) for i in range(len(widths))]
    for end, head in zip(ends, heads, strict=False):
        axes.text(end, 8, head, ha="right", va="center", alpha=QUIET)
    if any(math.isfinite(row.mark) for row in rows):
        _stroke(axes, ends[-1] - _width(heads[-1]) - 5, 8, 10)
    for place, row in enumerate(rows):
        y = top + pitch * (place + 0.5)
        if names_above:
            axes.text(0, y - 8, row.name, va="center")
            y += 7
        else:
            axes.text(left - 8, y, row.name, ha="right", va="center")
        _box(axes, left, y - 5, wide, 10, INK, FAINT / 2)
        if math.isfinite(row.value):
            _box(axes, left, y - 5, wide * row.value / limit, 10, row.colour, 1)
        if math.isfinite(row.mark):
            _stroke(axes, left + wide * row.mark / limit, y, 16)
        if math.isfinite(row.low) and math.isfinite(row.high):
            axes.plot(
                [left + wide * row.low, left + wide * row.high], [y, y], color=INK, linewidth=1.2, solid_capstyle="butt"
            )
        for column, (end, number) in enumerate(zip(ends, row.numbers, strict=True)):
            axes.text(end, y, number, ha="right", va="center", alpha=1 if not column else QUIET)
    return figure


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

    for point in sorted(points, key=lambda point: (not point.highlight, -point.y, point.name)):
        name, (x, y) = _name(point.name), place[id(point)]
        wide = _width(name) * (1.15 if point.highlight else 1)
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


def _front(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats at lower or equal cost, cheapest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, -p.y)):
        if not front or point.y > front[-1].y:
            front.append(point)
    return front


def _percent_ticks(axes: Axes) -> None:
    """Mark whole percents up the axis, or with as many decimals as the step between two marks has."""
    from matplotlib.ticker import FixedLocator, MaxNLocator, PercentFormatter

    low, high = axes.get_ylim()
    ticks = MaxNLocator(nbins=6, steps=[1, 2, 5, 10]).tick_values(low, high)
    decimals = max(0, -math.floor(math.log10(100 * (ticks[1] - ticks[0])) + 1e-9))
    axes.yaxis.set_major_locator(
        FixedLocator([tick for tick in ticks if max(low, 0) <= tick + 1e-9 and tick - 1e-9 <= min(high, 1)])
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=decimals))


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers within the limits, three or more where there are any."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), range(1, 10)):
        ticks = [step * 10.0**power for power in decades for step in steps if low <= step * 10.0**power <= high]
        if len(ticks) >= 3:
            break
    return ticks


def _curve(axes: Axes, line: FloatArray, colour: str, alpha: float, width: float) -> None:
    epochs = np.arange(1, len(line) + 1)
    dot = "o" if len(line) == 1 else None
    axes.plot(epochs, line, color=colour, alpha=alpha, linewidth=width, marker=dot, markersize=4, markeredgewidth=0)


def _end_labels(axes: Axes, ends: Sequence[tuple[float, str, str, float]]) -> None:
    """Name the lines at the right of the plot, each at the height of its end."""
    ends = [end for end in ends if math.isfinite(end[0])]
    low, high = axes.get_ylim()
    tall = axes.get_window_extent().height
    places = _spread([tall * (end[0] - low) / (high - low) for end in ends], 13, 0, tall)
    for (_, words, colour, alpha), place in zip(ends, places, strict=True):
        axes.plot(
            1,
            place / tall,
            transform=axes.transAxes,
            color=colour,
            alpha=alpha,
            clip_on=False,
            marker="o",
            markersize=5,
        )
        axes.annotate(
            words, (1, place / tall), (7, 0), xycoords="axes fraction", textcoords="offset points", va="center"
        )


def _figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH / 72, height / 72), dpi=72)


def _axes(figure: Figure, left: float, top: float, wide: float, high: float) -> Axes:
    """Bare axes, placed in units from the top left corner."""
    whole = 72 * figure.get_figheight()
    axes = figure.add_axes((left / WIDTH, 1 - (top + high) / whole, wide / WIDTH, high / whole))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, pad=5, labelsize=TEXT, labelcolor=(INK, QUIET))
    return axes


def _canvas(figure: Figure) -> Axes:
    """Axes over the whole figure whose coordinates are units from the top left corner."""
    high = 72 * figure.get_figheight()
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(high, 0)
    axes.set_axis_off()
    return axes


def _heading(axes: Axes, words: str) -> None:
    """What the vertical axis counts, above it."""
    axes.set_title(words, loc="left", fontsize=TEXT, pad=7, x=0)


def _caption(axes: Axes, words: str) -> None:
    axes.set_xlabel(words, loc="left", labelpad=5, alpha=QUIET)


def _box(axes: Axes, x: float, y: float, wide: float, high: float, colour: str, alpha: float) -> None:
    from matplotlib.patches import Rectangle

    axes.add_artist(Rectangle((x, y), wide, high, facecolor=colour, alpha=alpha, linewidth=0))


def _stroke(axes: Axes, x: float, y: float, high: float) -> None:
    axes.plot([x, x], [y - high / 2, y + high / 2], color=INK, linewidth=1.8, solid_capstyle="butt")


def _width(text: str) -> float:
    """The width of a text in units."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    return float(text_to_path.get_text_width_height_descent(text, FontProperties(size=TEXT), ismath=False)[0])
