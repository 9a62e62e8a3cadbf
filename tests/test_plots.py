"""Figures and bars: what they say, that they fit any page, and that the colours can be told apart."""

from __future__ import annotations

import itertools
import math
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fer_bench import plots, stats
from fer_bench.errors import FerBenchError
from fer_bench.labels import CKPLUS, DISPLAY_ORDER, FER2013
from fer_bench.plots import Point
from fer_bench.records import Workspace, list_records, read_arrays, read_record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]
NAN = math.nan
SEVEN = FER2013.classes
HOSTILE = '<img src=x onerror=alert(1)>"&\'$a$ \x00#010203 id="p1"'


def words(svg: str) -> list[str]:
    """The texts of an SVG, parsed: whatever is not well-formed fails here."""
    root = ElementTree.fromstring(svg)
    return [element.text or "" for element in root.iter() if element.tag.endswith("text")]


def draw(figure: Figure) -> list[str]:
    return words(plots.svg(figure, "a figure"))


# colours


def linear(colour: str) -> Array:
    encoded = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.asarray(np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4))


TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
# The cones of Smith and Pokorny, as Vienot, Brettel and Mollon 1999 use them.
TO_LMS = np.array([[0.15514, 0.54312, -0.03286], [-0.15514, 0.45684, 0.03286], [0.0, 0.0, 0.01608]]) @ TO_XYZ


def without_cone(cone: int) -> Array:
    """Linear sRGB as seen without a kind of cone: along its axis onto the plane of white and a hue seen alike."""
    anchor = [0.0, 0.0, 1.0] if cone < 2 else [1.0, 0.0, 0.0]
    normal = np.cross(TO_LMS @ np.ones(3), TO_LMS @ anchor)
    project = np.eye(3)
    project[cone] = -normal / normal[cone]
    project[cone, cone] = 0
    return np.asarray(np.linalg.inv(TO_LMS) @ project @ TO_LMS)


def lab(rgb: Array) -> Array:
    x, y, z = np.cbrt(np.maximum(TO_XYZ @ np.clip(rgb, 0, 1) / TO_XYZ.sum(axis=1), 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one: Array, other: Array) -> float:
    low, high = sorted(float(TO_XYZ[1] @ rgb) for rgb in (one, other))
    return (high + 0.05) / (low + 0.05)


SIGHTS = {
    "normal": np.eye(3),
    "protanopia": without_cone(0),
    "deuteranopia": without_cone(1),
    "tritanopia": without_cone(2),
}


@pytest.mark.parametrize("sight", SIGHTS)
def test_class_colours_can_be_told_apart(sight: str) -> None:
    seen = {name: lab(SIGHTS[sight] @ linear(colour)) for name, colour in plots.CLASS_COLOURS.items()}
    distance, pair = min((float(np.linalg.norm(seen[a] - seen[b])), (a, b)) for a, b in itertools.combinations(seen, 2))
    assert distance >= 20, pair


def test_the_simulation_confuses_what_it_should() -> None:
    # A pair of equal lightness that differs by one cone only looks alike without that cone, and only then.
    for cone, sight in enumerate(("protanopia", "deuteranopia", "tritanopia")):
        gray, shift = np.full(3, 0.3), np.zeros(3)
        shift[cone] = 0.01 if cone < 2 else 0.003
        other = np.linalg.inv(TO_LMS) @ (TO_LMS @ gray + shift)
        seen = {name: np.linalg.norm(lab(matrix @ gray) - lab(matrix @ other)) for name, matrix in SIGHTS.items()}
        assert seen[sight] < 0.01
        assert min(value for name, value in seen.items() if name != sight) > 2


@pytest.mark.parametrize("page", ["#ffffff", "#0b0f19"])
def test_colours_stand_out_from_both_pages(page: str) -> None:
    accent = {"#ffffff": plots.ACCENT, "#0b0f19": plots.ACCENT_DARK}[page]
    for colour in (*plots.CLASS_COLOURS.values(), plots.ACCENT, accent):
        assert contrast(linear(colour), linear(page)) >= 3, colour


def test_accents_are_legible_as_text() -> None:
    assert contrast(linear(plots.ACCENT), linear("#ffffff")) >= 4.5
    assert contrast(linear(plots.ACCENT_DARK), linear("#0b0f19")) >= 4.5


@pytest.mark.parametrize(("page", "ink"), [("#ffffff", "#14171f"), ("#0b0f19", "#e8eaf0")])
def test_numbers_are_legible_on_a_full_confusion_cell(page: str, ink: str) -> None:
    channels = ((int(plots.ACCENT[i : i + 2], 16), int(page[i : i + 2], 16)) for i in (1, 3, 5))
    share = plots.FULL_CELL
    mixed = "#" + "".join(f"{round(share * over + (1 - share) * under):02x}" for over, under in channels)
    assert contrast(linear(mixed), linear(ink)) >= 4.5


def test_every_class_has_its_colour() -> None:
    assert set(plots.CLASS_COLOURS) == set(DISPLAY_ORDER)


# what an SVG is


def small_confusion(seed: int = 0, classes: tuple[str, ...] = SEVEN) -> Figure:
    counts = np.random.default_rng(seed).integers(0, 900, (len(classes), len(classes)))
    return plots.confusion(counts, classes)


def small_scatter() -> Figure:
    return plots.scatter([Point("a.paper", 1e5, 0.6, 0.58, 0.62), Point("b.paper", 1e6, 0.7, 0.68, 0.72)], "parameters")


def test_svg_takes_the_pages_ink_and_font_and_scales() -> None:
    text = plots.svg(small_scatter(), 'said "so" & <so>')
    root = ElementTree.fromstring(text)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == 'said "so" & <so>'
    assert root.attrib["viewBox"].startswith("0 0 360 ")
    assert "width: 100%" in root.attrib["style"] and "width" not in root.attrib
    assert "currentColor" in text
    for absent in (plots.INK, plots.MARK, "#000000", "#ffffff", "font-family", "DejaVu", "<style", "<metadata"):
        assert absent not in text
    assert "a.paper" in words(text)
    sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", text)]
    assert sizes and min(sizes) * 330 / plots.WIDTH >= 9  # a phone's 390 pixels less the page's margins


def test_svg_is_deterministic() -> None:
    assert plots.svg(small_scatter(), "x") == plots.svg(small_scatter(), "x")
    figure = small_confusion()
    assert plots.svg(figure, "x") == plots.svg(figure, "x")


def test_svg_is_deterministic_in_threads() -> None:
    def one(seed: int) -> str:
        return plots.svg(small_confusion(seed % 2), "x")

    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(one, range(4)))
    assert drawn[::2] == [one(0)] * 2
    assert drawn[1::2] == [one(1)] * 2


def test_ids_of_two_svgs_do_not_clash() -> None:
    pages = [plots.svg(small_scatter(), title) for title in ("one", "two")]
    pages.append(plots.svg(plots.learning_curves([[{"train_loss": 1.0}, {"train_loss": 0.5}]]), "one"))
    ids = [re.findall(r' id="([^"]+)"', page) for page in pages]
    assert all(ids)
    everything = [name for page in ids for name in page]
    assert len(everything) == len(set(everything))
    for page, own in zip(pages, ids, strict=True):
        referred = re.findall(r'(?:url\(#|href="#)([^")]+)', page)
        assert referred and set(referred) <= set(own)


# what the figures say


def test_confusion_sorts_classes_by_name() -> None:
    counts = np.arange(49).reshape(7, 7)
    shown = draw(plots.confusion(counts, CKPLUS.classes))
    numbers = [text for text in shown if text.isdigit() or text == "\N{MIDDLE DOT}"]
    places = [CKPLUS.classes.index(name) for name in DISPLAY_ORDER if name in CKPLUS.classes]
    assert numbers == [str(n) if n else "\N{MIDDLE DOT}" for n in counts[np.ix_(places, places)].ravel()]
    names = [text for text in shown if text in DISPLAY_ORDER]
    assert names == [name for name in DISPLAY_ORDER if name in CKPLUS.classes for _ in range(2)]


def test_confusion_in_percent_says_how_many() -> None:
    shown = draw(plots.confusion([[299, 1], [0, 0]], ("happy", "sad"), normalised=True))
    assert {"300", "100", "<1", "0"} <= set(shown)
    assert "299" not in shown


def test_recalls_with_intervals_and_a_class_without_images() -> None:
    shown = draw(plots.recalls([0.5, NAN], [0.4, NAN], [0.63, NAN], ("sad", "happy")))
    assert shown.index("happy") < shown.index("sad")
    assert {"50%", "40\N{EN DASH}63", "\N{EN DASH}"} <= set(shown)


def test_label_counts_and_bars_write_their_numbers() -> None:
    assert {"1,234", "56", "predicted", "true"} <= set(draw(plots.label_counts([56, 0], [1234, 0], ("sad", "happy"))))
    shown = draw(plots.bars({"a": 12.34, "b": NAN}, {"a": 60.0}, unit="%"))
    assert {"a", "b", "12.3", "60.0", "ours, %", "paper", "\N{EN DASH}"} <= set(shown)
    assert "paper" not in draw(plots.bars({"a": 1.0}))


def test_learning_curves_name_the_ends_of_their_mean() -> None:
    def run(*accuracies: float) -> list[dict[str, float]]:
        return [{"epoch": e, "train_accuracy": a, "train_loss": 1 - a} for e, a in enumerate(accuracies, 1)]

    shown = draw(plots.learning_curves([run(0.2, 0.4, 0.9), [], run(0.4, 0.6)]))
    assert {"train 50.0%", "train 0.50", "epoch"} <= set(shown)
    assert not any("select" in text for text in shown)


def test_calibration_states_the_error() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1]])
    assert "calibration error 40.0%" in draw(plots.calibration(probabilities, [0, 1]))
    shown = draw(plots.calibration(probabilities, [0, 1], after=np.full((2, 2), 0.5)))
    assert {"before: calibration error 40.0%", "after: calibration error 0.0%"} <= set(shown)


def test_a_dot_says_what_it_is() -> None:
    root = ElementTree.fromstring(plots.svg(small_scatter(), "x"))
    tips = [element.text for element in root.iter() if element.tag.rpartition("}")[2] == "title"]
    assert tips == ["a.paper: 60.0%, 100k parameters", "b.paper: 70.0%, 1M parameters"]


def test_scatter_names_points_without_overlap() -> None:
    rng = np.random.default_rng(1)
    points = [Point(f"some_model_{i}", 10 ** rng.uniform(4, 7), rng.uniform(0.4, 0.7)) for i in range(30)]
    points[7] = Point("the_highlight", points[7].x, points[7].y, highlight=True)
    root = ElementTree.fromstring(plots.svg(plots.scatter(points, "parameters"), "x"))
    boxes = []
    for element in root.iter():
        if element.tag.endswith("text") and (name := element.text or "").startswith(("some_model", "the_")):
            wide = 0.5 * plots.TEXT * len(name)
            x, y = float(element.attrib["x"]), float(element.attrib["y"])
            left = x - wide if "text-anchor: end" in element.attrib["style"] else x
            boxes.append((left, y - 7, left + wide, y + 2))
            assert left >= 0 and left + wide <= plots.WIDTH
    assert len(boxes) >= 20
    assert "the_highlight" in "".join(root.itertext())
    for a, b in itertools.combinations(boxes, 2):
        assert not (a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])


def test_the_best_point_takes_the_pages_accent() -> None:
    points = [Point("a", 1, 0.5, 0.4, 0.6, highlight=True), Point("b", 2, 0.6)]
    text = plots.svg(plots.scatter(points, "ms"), "x")
    assert text.count(f"fill: var(--fb-accent, {plots.ACCENT})") == 1


@given(low=st.floats(0.0, 0.99), span=st.floats(0.001, 0.9), cost=st.floats(0.001, 1e9), costs=st.floats(1, 1e4))
@example(low=0.277, span=0.07, cost=6.8e6, costs=1.0)
@settings(deadline=None, max_examples=40)
def test_a_scatters_ticks_are_where_they_say(low: float, span: float, cost: float, costs: float) -> None:
    high = min(low + span, 1.0)
    figure = plots.scatter([Point("a", cost, low, low, high), Point("b", cost * costs, high)], "ms")
    (axes,) = figure.axes
    texts = axes.yaxis.get_major_formatter().format_ticks(list(axes.get_yticks()))
    assert len(texts) >= 2
    for text, tick in zip(texts, axes.get_yticks(), strict=True):
        assert float(text.rstrip("%")) == pytest.approx(100 * tick, abs=1e-6)
    units = {"k": 1e3, "M": 1e6, "G": 1e9}
    texts = axes.xaxis.get_major_formatter().format_ticks(list(axes.get_xticks()))
    for text, tick in zip(texts, axes.get_xticks(), strict=True):
        assert float(text.rstrip("kMG")) * units.get(text[-1], 1) == pytest.approx(tick)


def test_scatter_names_who_asks_and_the_front() -> None:
    points = [Point("front", 1, 0.6, named=False), Point("behind", 2, 0.5, named=False), Point("asks", 3, 0.4)]
    shown = " ".join(draw(plots.scatter(points, "ms")))
    assert "front" in shown and "asks" in shown and "behind" not in shown


def test_scatter_says_what_it_cannot_show() -> None:
    shown = draw(plots.scatter([Point("a", 1, 0.5), Point("b", NAN, 0.5), Point("c", 0, 0.4)], "ms"))
    assert "not shown, no ms: b, c" in shown
    assert "a" in shown


@pytest.mark.parametrize("k", [1, 2, 5, 8])
def test_every_figure_takes_any_subset_of_classes(k: int) -> None:
    rng = np.random.default_rng(k)
    classes = tuple(rng.permutation(DISPLAY_ORDER)[:k])
    counts = rng.integers(0, 3, (k, k)) * rng.integers(0, 2, (k, 1))
    draw(plots.confusion(counts, classes, normalised=bool(k % 2)))
    draw(plots.label_counts(counts.sum(1), counts.sum(0), classes))
    probabilities = rng.dirichlet(np.ones(k), 5)
    draw(plots.calibration(probabilities, rng.integers(0, k, 5)))
    words(plots.timeline_svg(np.arange(5.0), probabilities, classes))
    table = ElementTree.fromstring(plots.probability_bars(probabilities[0], classes))
    shown = [element.text for element in table.iter("th")]
    assert shown == [name for name in DISPLAY_ORDER if name in classes]


@pytest.mark.parametrize(
    "figure",
    [
        lambda: plots.learning_curves([]),
        lambda: plots.learning_curves([[{"train_loss": NAN, "train_accuracy": 0.5, "select_loss": math.inf}]]),
        lambda: plots.scatter([], "ms"),
        lambda: plots.scatter([Point("one", 5, 0.5, 0.5, 0.5, highlight=True)], "ms"),
        lambda: plots.scatter([Point("none", NAN, NAN)], "ms"),
        lambda: plots.scatter([Point("a", 5, 1.0), Point("a", 5, 1.0), Point("b", 5, 0.0)], "ms"),
        lambda: plots.bars({}),
        lambda: plots.bars({"a": 0.0, "b": NAN}, {}, unit="min"),
        lambda: plots.recalls([NAN], [NAN], [NAN], ("sad",)),
        lambda: plots.label_counts([0, 0], [0, 0], ("sad", "fear")),
        lambda: plots.confusion(np.zeros((8, 8), int), DISPLAY_ORDER),
        lambda: plots.confusion(np.full((8, 8), 123_456), DISPLAY_ORDER),
        lambda: plots.calibration([[1.0]], [0]),
    ],
)
def test_degenerate_figures_are_drawn(figure: Callable[[], Figure]) -> None:
    with np.errstate(all="raise"):
        draw(figure())


def test_hostile_names_stay_text() -> None:
    for figure in (plots.scatter([Point(HOSTILE, 1, 0.5)], "ms"), plots.bars({HOSTILE: 1.0}, {HOSTILE: 2.0})):
        text = plots.svg(figure, HOSTILE.replace("\x00", ""))
        assert "<img" not in text
        (shown,) = (word for word in words(text) if word.startswith("<img"))
        assert shown.startswith("<img src=x onerror=alert(1)>\"&'$a$  #010203")  # no mathematics, no page's ink
    compared = plots.compare_bars({HOSTILE: (SEVEN, np.full(7, 1 / 7)), "b": (SEVEN, np.full(7, 1 / 7))})
    assert "<img" not in compared


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: plots.confusion(np.zeros((2, 3)), ("sad", "happy")),
        lambda: plots.probability_bars([0.5, 0.5], ("sad", "<b>")),
        lambda: plots.timeline_svg([0.0], [[0.5, 0.5]], ("sad",)),
        lambda: plots.compare_bars({"a": (("sad",), [0.5, 0.5])}),
    ],
)
def test_wrong_shapes_and_classes_are_refused(wrong: Callable[[], Any]) -> None:
    with pytest.raises(FerBenchError, match="expected"):
        wrong()


# live


def test_timeline_shows_the_last_seconds_with_gaps() -> None:
    seconds = np.arange(0, 60, 0.5)
    probabilities = np.tile([0.85, 0.15, 0.0], (len(seconds), 1))
    probabilities[-10:-5] = NAN
    text = plots.timeline_svg(seconds, probabilities, ("sad", "happy", "fear"))
    assert {"sad 85%", "happy 15%", "now", "\N{MINUS SIGN}30 s", "100%"} <= set(words(text))
    assert "fear" not in text
    lines = re.findall(r'<path d="(M[^"]+)" fill="none"', text)
    assert [line.count("M") for line in lines] == [2, 2, 2]
    assert all(38 <= float(x) <= plots.WIDTH for line in lines for x in re.findall(r"[ML]([\d.]+) ", line))
    assert "nan" not in text


def test_timeline_without_a_face_or_a_reading() -> None:
    assert words(plots.timeline_svg([], np.zeros((0, 2)), ("sad", "happy")))
    text = plots.timeline_svg([3.0, 4.0], np.full((2, 2), NAN), ("sad", "happy"))
    assert "sad" not in text and "nan" not in text


def test_timeline_is_quick() -> None:
    seconds = np.arange(0, 30, 1 / 30)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(8), len(seconds))
    best = math.inf
    for _ in range(10):
        started = time.perf_counter()
        plots.timeline_svg(seconds, probabilities, DISPLAY_ORDER)
        best = min(best, time.perf_counter() - started)
    assert best < 0.015


def test_probability_bars_emphasise_the_top() -> None:
    text = plots.probability_bars([0.2, 0.7, 0.1], ("sad", "happy", "contempt"))
    table = ElementTree.fromstring(text)
    rows = [("".join(row.itertext()), row.get("class")) for row in table.iter("tr")]
    assert rows == [("happy70.0%", "fb-top"), ("sad20.0%", None), ("contempt10.0%", None)]
    assert table.attrib["aria-label"] == "Most probable: happy, 70.0%"


def test_compare_bars_marks_the_one_that_differs() -> None:
    happy, sad = (("happy", "sad"), [0.9, 0.1]), (("sad", "contempt"), [0.8, 0.2])
    text = plots.compare_bars({"a": happy, "b": happy, "c.paper": sad})
    assert "The models differ: 2 say happy, 1 says sad." in text
    heads = re.findall(r'<th scope="col" style="width: (.*?)%">(.*?)</th>', text)
    assert ["differs" in head for _, head in heads] == [False, False, True]
    assert {width for width, _ in heads} == {"33.0"}  # so that bars can be compared across models
    assert text.count("not a class of this model") == 3  # contempt of a and b, happy of c
    assert plots.compare_bars({"a": happy, "b": sad}).count("fb-differs") == 2
    agreed = plots.compare_bars({"a": happy, "b": happy})
    assert "Both models say happy." in agreed and "fb-differs" not in agreed


def test_bars_css_names_every_class_used() -> None:
    text = plots.compare_bars({"a": (SEVEN, np.eye(7)[0]), "b": (CKPLUS.classes, np.eye(7)[0])})
    text += plots.compare_bars({"a": (SEVEN, np.eye(7)[0]), "b": (SEVEN, np.eye(7)[1])}) + plots.probability_bars(
        [1.0], ("sad",)
    )
    for name in set(" ".join(re.findall(r'class="?([\w -]+)', text)).split()):
        assert f".{name}" in plots.BARS_CSS
    for name, colour in plots.CLASS_COLOURS.items():
        assert f"--fb-{name}: {colour};" in plots.BARS_CSS


# real records


@pytest.mark.parametrize("path", list_records(Workspace()), ids=lambda path: f"{path.parts[-3]}-{path.parts[-2]}")
def test_committed_records_can_be_drawn(path: Any) -> None:
    record, arrays = read_record(path), read_arrays(path.with_suffix(".npz"))
    counts = np.array(record.metrics["test"]["plain"]["confusion"])
    support, hits = counts.sum(axis=1), counts.diagonal()
    ends = [stats.wilson_interval(h, n) if n else (NAN, NAN) for h, n in zip(hits, support, strict=True)]
    recall = [h / n if n else NAN for h, n in zip(hits, support, strict=True)]
    low, high = zip(*ends, strict=True)
    shown = draw(plots.confusion(counts, record.classes))
    assert {f"{n:,}" for n in counts.ravel() if 0 < n < 10_000} <= set(shown)
    assert set(record.classes) <= set(draw(plots.recalls(recall, low, high, record.classes)))
    assert {f"{n:,}" for n in support} <= set(draw(plots.label_counts(support, counts.sum(axis=0), record.classes)))
    draw(plots.learning_curves([fold.history for fold in record.folds]))
    error = record.metrics["test"]["plain"]["calibration_error"]
    shown = draw(plots.calibration(arrays["test_plain"], arrays["test_targets"]))
    assert f"calibration error {100 * error:.1f}%" in shown
    point = Point(f"{record.model}.{record.recipe_name}", record.parameters, record.accuracy())
    assert any(point.name in text for text in draw(plots.scatter([point], "parameters")))
    assert words(plots.timeline_svg(np.arange(60.0), arrays["test_plain"][:60], record.classes))
