"""Cells and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fer_bench.plots._drawing import draw_box, drawing, new_axes, new_canvas, new_figure
from fer_bench.plots.style import ACCENT, FAINT, FULL_CELL, INK, MARGIN, QUIET, WIDTH, display_order, shaped

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@drawing
def confusion(matrix: npt.ArrayLike, classes: Sequence[str], normalised: bool = False) -> Figure:
    """A confusion matrix, coloured by the share of each row.

    Args:
        matrix: (K, K) counts, rows the true class, columns the predicted one, in the order of `classes`.
        normalised: write percents of the row in the cells, and each row's images under its name, not counts.
    """
    order = display_order(classes)
    counts = shaped("matrix", matrix, (len(order), len(order)))[np.ix_(order, order)]
    left, right, top, high, gap = 68.0, 16.0, 54.0, 30.0, 1.0
    wide = (WIDTH - left - right) / len(order)
    figure = new_figure(top + high * len(order) + MARGIN)
    axes = new_canvas(figure)
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
            draw_box(axes, *box, INK, FAINT / 3)
            if share:
                draw_box(axes, *box, ACCENT, FULL_CELL * share)
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


@drawing
def pictures(rows: Sequence[tuple[str, npt.NDArray[np.uint8]]]) -> Figure:
    """Gray (H, W) pictures under each other, each as wide as the figure or at most at its own size, with a title."""
    fits = [min(1.0, (WIDTH - 2 * MARGIN) / picture.shape[1]) for _, picture in rows]
    heights = [picture.shape[0] * fit for (_, picture), fit in zip(rows, fits, strict=True)]
    figure = new_figure(sum(heights) + 24 * len(rows) + MARGIN)
    canvas, top = new_canvas(figure), 0.0
    for (title, picture), fit, high in zip(rows, fits, heights, strict=True):
        canvas.text(MARGIN, top + 12, title, va="center")
        axes = new_axes(figure, MARGIN, top + 22, picture.shape[1] * fit, high)
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="none", aspect="auto")
        axes.set_axis_off()
        top += 24 + high
    return figure
