"""Lines over epochs and other axes, and distributions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fer_bench import metrics, stats
from fer_bench.plots._drawing import (
    LABEL_START,
    End,
    drawing,
    label_ends,
    log_ticks,
    new_axes,
    new_canvas,
    new_figure,
    percent_ticks,
    text_width,
    write_caption,
    write_heading,
)
from fer_bench.plots.style import FAINT, INK, MARGIN, MARK, QUIET, WIDTH, FloatArray, as_number, as_percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))


@drawing
def learning_curves(histories: Sequence[Sequence[Mapping[str, float]]]) -> Figure:
    """Accuracy and loss over the epochs; of several runs every one thinly, and their mean.

    Args:
        histories: one a fold or seed, entries as `records.FoldInfo.history`; `select_*` and whole runs may be
            missing. The mean ends with the shortest run.
    """
    from matplotlib.ticker import MaxNLocator

    runs = [history for history in histories if history]
    if not runs:
        figure = new_figure(24)
        new_canvas(figure).text(0, 12, "no epochs recorded", va="center", alpha=QUIET)
        return figure
    left, right, high = 34.0, 71 + LABEL_START, 116.0
    figure = new_figure(2 * (high + 22) + 30)
    for panel, what in enumerate(("accuracy", "loss")):
        top = 18 + panel * (high + 24)
        axes = new_axes(figure, left, top, WIDTH - left - right, high)
        write_heading(axes, what)
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
            value = as_percent(mean[-1], 1) if what == "accuracy" else f"{mean[-1]:.2f}"
            look = {"color": colour, "alpha": alpha, "linewidth": 1.8}
            ends.append(End(len(mean), float(mean[-1]), f"{part} {value}", look))
        if what == "accuracy":
            percent_ticks(axes)
        if not panel:
            axes.tick_params(labelbottom=False)
        longest = max(map(len, runs))
        if longest == 1:
            axes.set_xticks([1])
        else:
            axes.set_xlim(1, longest)
        label_ends(axes, ends)
    write_caption(axes, "epoch")
    return figure


def _curve(axes: Axes, line: FloatArray, colour: str, alpha: float, width: float) -> None:
    epochs = np.arange(1, len(line) + 1)
    dot = "o" if len(line) == 1 else None
    axes.plot(epochs, line, color=colour, alpha=alpha, linewidth=width, marker=dot, markersize=4, markeredgewidth=0)


@drawing
def calibration(
    probabilities: npt.ArrayLike,
    targets: npt.ArrayLike,
    after: npt.ArrayLike | None = None,
    design_effect: float = 1.0,
) -> Figure:
    """How often the most probable class is right, by how sure the model was, and how often it was how sure.

    The bins are those of the calibration error; a whisker is a bin's 95% interval.

    Args:
        probabilities: (N, K), N at least 1, rows that sum to 1.
        targets: (N,) integer labels.
        after: (N, K) for the same images after a correction such as temperature scaling.
        design_effect: how many images count as one, see `stats.design_effect`.
    """
    from matplotlib.ticker import FixedLocator, MaxNLocator, PercentFormatter

    left, wide, high, low = 40.0, WIDTH - 40.0 - 18, 220.0, 56.0
    figure = new_figure(18 + high + 34 + low + 30)
    upper = new_axes(figure, left, 18, wide, high)
    lower = new_axes(figure, left, 18 + high + 34, wide, low)
    upper.plot([0, 1], [0, 1], color=INK, alpha=0.4, linewidth=0.8)
    sets = [("", probabilities, MARK, 1.0)]
    if after is not None:
        sets = [("before: ", probabilities, INK, 0.55), ("after: ", after, MARK, 1.0)]
    for place, (word, given, colour, alpha) in enumerate(sets):
        error = metrics.evaluate(targets, given).calibration_error
        diagram = metrics.reliability(targets, given)
        full = diagram.count > 0
        x, y, n = diagram.confidence[full], diagram.accuracy[full], diagram.count[full]
        counted = n / design_effect
        ends = [stats.wilson_interval(right * size, size) for right, size in zip(y, counted, strict=True)]
        upper.vlines(x, *zip(*ends, strict=True), color=colour, alpha=0.5 * alpha, linewidth=1)
        upper.plot(x, y, color=colour, alpha=alpha, linewidth=1.4, marker="o", markersize=4, markeredgewidth=0)
        text = f"{word}calibration error {as_percent(error, 1)}"
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
        write_heading(axes, title)
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
    write_caption(lower, "probability of the predicted class")
    return figure


@dataclass(frozen=True)
class Line:
    """A line of `lines`; `low` and `high` are the ends of whiskers, or empty."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@drawing
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
        return f"{name} {as_percent(value, 1) if percent else as_number(value)}"

    ends = [(words(curve.name, curve.y[-1]), float(curve.y[-1])) for curve in curves]
    ends += [(words(name, level), level) for name, level in (levels or {}).items()]
    left, high = 38.0, max(150.0, 15.0 * len(ends))
    right = min(max(map(text_width, (text for text, _ in ends)), default=0.0) + LABEL_START + 3, 0.5 * WIDTH)
    figure = new_figure(18 + high + 34)
    axes = new_axes(figure, left, 18, WIDTH - left - right, high)
    write_heading(axes, y_title)
    axes.grid(axis="y", color=INK, alpha=FAINT, linewidth=0.8)
    axes.margins(x=0, y=0.08)
    labels = []
    for number, (curve, (text, end)) in enumerate(zip(curves, ends, strict=False)):
        colour, alpha = (INK, 0.6) if number % 2 else (MARK, 1.0)
        dots = "o" if len(curve.x) <= 12 else None
        look = {"color": colour, "alpha": alpha, "linewidth": 1.6, "linestyle": DASHES[number // 2 % len(DASHES)]}
        axes.plot(curve.x, curve.y, marker=dots, markersize=4, markeredgewidth=0, **look)
        if curve.low:
            axes.vlines(curve.x, curve.low, curve.high, color=colour, alpha=0.4 * alpha, linewidth=1)
        labels.append(End(curve.x[-1], end, text, look))
    for text, level in ends[len(curves) :]:
        look = {"color": INK, "alpha": 0.6, "linewidth": 1, "linestyle": (0, (3, 2))}
        axes.axhline(level, **look)
        labels.append(End(math.inf, level, text, look))
    if log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(log_ticks(*axes.get_xlim())))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: as_number(x)))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    if percent:
        percent_ticks(axes)
    label_ends(axes, labels)
    write_caption(axes, x_title)
    return figure


@dataclass(frozen=True)
class Histogram:
    """A panel of `histograms`: counts in equal bins from 0 to `end`."""

    title: str
    counts: Sequence[float]
    end: float


@drawing
def histograms(panels: Sequence[Histogram], x_title: str) -> Figure:
    """Distributions two a row, each on its own axes."""
    from matplotlib.ticker import MaxNLocator

    left, gap, high, pitch = 28.0, 34.0, 84.0, 132.0
    wide = (WIDTH - left - gap - MARGIN) / 2
    figure = new_figure(pitch * -(-len(panels) // 2) + MARGIN)
    for number, panel in enumerate(panels):
        row, column = divmod(number, 2)
        axes = new_axes(figure, left + column * (wide + gap), 18 + pitch * row, wide, high)
        write_heading(axes, panel.title)
        edges = np.linspace(0, panel.end, len(panel.counts) + 1)
        axes.bar(edges[:-1], panel.counts, np.diff(edges) * 0.9, align="edge", color=MARK, linewidth=0)
        axes.grid(axis="y", color=INK, alpha=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlim(0, panel.end)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
        write_caption(axes, x_title)
    return figure
