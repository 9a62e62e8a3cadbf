"""Figures and bars of one look, for the app's pages and for reports: numbers in, figures and markup out, no files.

Figures are drawn 360 units wide, a unit being a pixel on a phone, and scale from there. Their ink is the page's
own text colour, and their accent the page's, so one figure serves the light page and the dark one.
"""

from fer_bench.plots._drawing import svg
from fer_bench.plots.bars import Score, bars, class_counts, label_counts, recalls, scores
from fer_bench.plots.curves import Histogram, Line, calibration, histograms, learning_curves, lines
from fer_bench.plots.grids import confusion, pictures
from fer_bench.plots.markup import BARS_CSS, TIMELINE_SECONDS, compare_bars, probability_bars, timeline_svg
from fer_bench.plots.scatter import Point, scatter
from fer_bench.plots.style import ACCENT, ACCENT_DARK, CLASS_COLOURS, FULL_CELL, INK, MARK, TEXT, WIDTH

__all__ = [
    "ACCENT",
    "ACCENT_DARK",
    "BARS_CSS",
    "CLASS_COLOURS",
    "FULL_CELL",
    "INK",
    "MARK",
    "TEXT",
    "TIMELINE_SECONDS",
    "WIDTH",
    "Histogram",
    "Line",
    "Point",
    "Score",
    "bars",
    "calibration",
    "class_counts",
    "compare_bars",
    "confusion",
    "histograms",
    "label_counts",
    "learning_curves",
    "lines",
    "pictures",
    "probability_bars",
    "recalls",
    "scatter",
    "scores",
    "svg",
    "timeline_svg",
]
