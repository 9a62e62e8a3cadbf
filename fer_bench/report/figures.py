"""The papers' figures from our rows, and SVG files that stand alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from fer_bench import plots
from fer_bench.leaderboard.rows import Row
from fer_bench.report import measures
from fer_bench.report.measures import History, confusion, histories
from fer_bench.report.paper import Ref, settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fer_bench.predict import Predictor

Draw = Callable[[Sequence[Row]], "Figure"]

SVG = "http://www.w3.org/2000/svg"
SCALE = 1.5  # pixels a unit of `plots`
# A picture in a page can't take the page's colours, so it brings its own, and its own ground.
LOOK = (
    "svg { color: #1f2328; background: #ffffff; font-family: system-ui, sans-serif; }"
    "@media (prefers-color-scheme: dark) { svg { color: #e6edf3; background: #0d1117; --fb-accent: #5eead4; } }"
)
MAPS_A_LAYER = 8


def file(figure: Figure, title: str) -> bytes:
    """A figure as an SVG file: legible in light and in dark, of a size of its own, the same bytes every time."""
    ElementTree.register_namespace("", SVG)
    root = ElementTree.fromstring(plots.svg(figure, title))
    width, height = (SCALE * float(side) for side in root.attrib["viewBox"].split()[2:])
    root.attrib |= {"width": f"{width:g}", "height": f"{height:g}", "style": "stroke-linejoin: round"}
    style = ElementTree.Element(f"{{{SVG}}}style")
    style.text = LOOK
    root.insert(0, style)
    return ElementTree.tostring(root, encoding="unicode").encode() + b"\n"


def normalised_confusion(rows: Sequence[Row]) -> Figure:
    """Of one row, in percent of each true class."""
    [row] = rows
    return plots.confusion(confusion(row), row.first.classes, normalised=True)


def label_counts(rows: Sequence[Row]) -> Figure:
    """How often one row predicts each class, and how often it is true; the mean over seeds."""
    [row] = rows
    matrix = confusion(row) / len(row.runs)
    return plots.label_counts(matrix.sum(axis=1), matrix.sum(axis=0), row.first.classes)


def learning_curves(rows: Sequence[Row]) -> Figure:
    """Accuracy and loss of one row over its epochs."""
    [row] = rows
    return plots.learning_curves(histories(row))


def scores(names: Mapping[str, str], levels: Mapping[str, float] | None = None) -> Draw:
    """Test accuracies beside the paper's, each row by the name given for its "model.recipe"."""

    def draw(rows: Sequence[Row]) -> Figure:
        bars = []
        for row in rows:
            paper = Ref(row.first.model, row.first.protocol, row.first.recipe_name).reported()
            stated = float("nan") if paper is None else paper / 100
            bars.append(plots.Score(names.get(row.name, row.name), *measures.accuracy(row), paper=stated))
        return plots.scores(bars, levels)

    return draw


def merged_scores(groups: Mapping[str, Mapping[str, Sequence[str]]]) -> Draw:
    """One row's accuracy as it is and with classes joined, by the name of the grouping."""

    def draw(rows: Sequence[Row]) -> Figure:
        [row] = rows
        joined = {name: measures.merged(row, grouping) for name, grouping in groups.items()}
        bars = {"seven classes": measures.accuracy(row), **joined}
        return plots.scores([plots.Score(name, *value) for name, value in bars.items()])

    return draw


def minutes(rows: Sequence[Row]) -> Figure:
    """Training time by model, of those on one device: hours on a processor tell nothing of minutes on a GPU."""
    alike, device = measures.on_one_device(rows)
    return plots.bars({row.first.model: measures.train_minutes(row).value for row in alike}, unit=f"minutes, {device}")


def over_steps(rows: Sequence[Row]) -> Figure:
    """Accuracy on the selection part against the optimiser's steps."""

    def line(row: Row) -> plots.Line:
        [fold] = row.first.folds
        recipe, images = row.first.recipe, sum(fold.counts["train"].values())
        batches = -(-images // recipe["batch_size"])
        steps = [min(entry["epoch"] * batches, recipe["steps"] or np.inf) for entry in fold.history]
        return plots.Line(row.first.model, steps, [entry["select_accuracy"] for entry in fold.history])

    support = rows[0].first.folds[0].counts["select"].values()
    level = {"always the same": max(support) / sum(support)}
    return plots.lines([line(row) for row in rows], "iterations", "accuracy on PublicTest", percent=True, levels=level)


def over_epochs(
    key: str, title: str, name: Callable[[Row], str], levels: Mapping[str, float] | None = None, since: int = 0
) -> Draw:
    """What the histories say under a key, a line a row: the mean over folds and over the seeds that all rows have.

    Args:
        key: of the history's rows.
        title: what it is.
        name: of a row's line.
        levels: lines across, by name.
        since: the first epoch shown.
    """

    def draw(rows: Sequence[Row]) -> Figure:
        seeds = set.intersection(*({record.seed for record in row.records} for row in rows))
        return plots.lines([line(row, seeds) for row in rows], "epoch", title, levels=levels)

    def line(row: Row, seeds: set[int]) -> plots.Line:
        runs = [
            {entry["epoch"]: entry[key] for entry in history if key in entry and entry["epoch"] >= since}
            for history in histories(row, seeds)
        ]
        epochs = sorted(set.intersection(*map(set, runs)))
        return plots.Line(name(row), epochs, [float(np.mean([run[epoch] for run in runs])) for epoch in epochs])

    return draw


def setting(row: Row, key: str) -> float:
    """A number of the row's recipe, by its dotted key."""
    return float(settings(row.first.recipe)[key])


def over_setting(key: str, title: str, by: str) -> Draw:
    """Test accuracy against a number in the recipe, with 95% intervals; a line for each value of another one."""

    def draw(rows: Sequence[Row]) -> Figure:
        curves = []
        for value in sorted({setting(row, by) for row in rows}):
            chosen = sorted((row for row in rows if setting(row, by) == value), key=lambda row: setting(row, key))
            y, low, high = zip(*(measures.accuracy(row) for row in chosen), strict=True)
            name = f"{by.rpartition('.')[2]} {value:g}:"
            curves.append(plots.Line(name, [setting(row, key) for row in chosen], y, low, high))
        return plots.lines(curves, title, "test accuracy", percent=True, log_x=True)

    return draw


def error_histograms(chosen: Callable[[History], Sequence[dict[str, float]]]) -> Draw:
    """Distributions of the training errors in the first fold of the first seed, at some rows of its history."""

    def draw(rows: Sequence[Row]) -> Figure:
        [row] = rows
        return plots.histograms([panel(entry) for entry in chosen(histories(row)[0])], "cross-entropy")

    def panel(entry: Mapping[str, float]) -> plots.Histogram:
        counts = [entry[key] for key in sorted(entry) if key.startswith("errors_") and key != "errors_max"]
        removed = f", {entry['removed']:.0f} removed" if entry["removed"] else ""
        return plots.Histogram(f"epoch {entry['epoch']:.0f}{removed}", counts, entry["errors_max"])

    return draw


def activation_maps(predictor: Predictor) -> Figure:
    """The maps of each convolution of a network, on a drawn face."""
    from fer_bench.data import synthetic
    from fer_bench.explain import activation_maps as maps_of
    from fer_bench.explain import tile

    face = synthetic.draw_face("happy", np.random.default_rng(7), predictor.size)
    layers = [(layer.title, tile(layer.maps, MAPS_A_LAYER, MAPS_A_LAYER)) for layer in maps_of(predictor, face)]
    shown = np.kron(face, np.ones((2, 2), dtype=np.uint8)) if predictor.size < 100 else face
    return plots.pictures([("a drawn face", shown), *layers])


def class_counts(rows: Sequence[Row]) -> Figure:
    """How many images of each class the data set of the first row has."""
    record = rows[0].first
    return plots.class_counts([record.data.counts["all"][name] for name in record.classes], record.classes)
