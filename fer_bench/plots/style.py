"""The look that all figures and bars share: colours, sizes, and how names and numbers are written."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fer_bench.errors import FerBenchError
from fer_bench.labels import DISPLAY_ORDER

FloatArray = npt.NDArray[np.float64]

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
# What follows it in an artist's `gid` is what `svg` lets the pointer say of it.
TITLED = "titled:"
QUIET, FAINT = 0.7, 0.14  # opacity of secondary text and of grid lines
FULL_CELL = 0.7  # opacity of a confusion cell that holds its whole row; the page's ink stays legible on it
WIDTH, TEXT, MARGIN = 360, 10, 4
LONGEST_NAME = 48  # letters on a line


def display_order(classes: Sequence[str]) -> list[int]:
    """The places of the classes, sorted as people are shown them."""
    for name in classes:
        if name not in DISPLAY_ORDER:
            raise FerBenchError(f"unknown class {name!r}: expected some of {', '.join(DISPLAY_ORDER)}")
    return sorted(range(len(classes)), key=lambda i: DISPLAY_ORDER.index(classes[i]))


def shaped(what: str, values: npt.ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    """The values as float64, refused unless they have that shape."""
    array = np.asarray(values, dtype=np.float64)
    if array.shape != shape:
        raise FerBenchError(f"{what}: expected shape {shape} like the classes, got {array.shape}")
    return array


def as_percent(fraction: float, digits: int = 0) -> str:
    """A fraction as 65%; a dash for none."""
    return f"{100 * fraction:.{digits}f}%" if math.isfinite(fraction) else "\N{EN DASH}"


def as_range(low: float, high: float) -> str:
    """The ends of an interval, fractions, as percents: 63-67; empty for none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"{100 * low:.0f}\N{EN DASH}{100 * high:.0f}"


def as_number(value: float) -> str:
    """Three digits: 0.95, 12.3, 1.24k, 25M; a dash for none."""
    if not math.isfinite(value):
        return "\N{EN DASH}"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:  # what three digits round up to it
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def one_line(name: str) -> str:
    """A name on one line, cut where it is too long for a phone."""
    plain = "".join(letter if letter.isprintable() else " " for letter in name)
    return plain if len(plain) <= LONGEST_NAME else plain[: LONGEST_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
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
