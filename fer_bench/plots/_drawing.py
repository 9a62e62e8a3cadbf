"""What figures are made of: bare axes placed in units, texts, boxes and ticks, and the SVG that comes of them."""

from __future__ import annotations

import functools
import hashlib
import io
import math
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from xml.etree import ElementTree

from fer_bench.plots.style import ACCENT, INK, MARK, QUIET, TEXT, TITLED, WIDTH, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
T = TypeVar("T")

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


def drawing(draw: Callable[P, T]) -> Callable[P, T]:
    """Run a function with matplotlib's settings as ours, alone."""

    @functools.wraps(draw)
    def alone(*args: P.args, **kwargs: P.kwargs) -> T:
        import matplotlib

        with _DRAWING, matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return alone


@drawing
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
    for element in list(root.iter()):
        _, titled, said = element.get("id", "").partition(TITLED)
        element.tag = element.tag.rpartition("}")[2]
        if element.tag != "text":
            element.text = None
        element.tail = None
        element.attrib = {
            name.rpartition("}")[2]: _page_style(value) if name == "style" else _own_id(name, value, prefix)
            for name, value in element.attrib.items()
            if name != "id" or value.encode() in used
        }
        if titled:
            tip = ElementTree.Element("title")
            tip.text = said
            element.insert(0, tip)
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


def new_figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH / 72, height / 72), dpi=72)


def new_axes(figure: Figure, left: float, top: float, wide: float, high: float) -> Axes:
    """Bare axes, placed in units from the top left corner."""
    whole = 72 * figure.get_figheight()
    axes = figure.add_axes((left / WIDTH, 1 - (top + high) / whole, wide / WIDTH, high / whole))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, pad=5, labelsize=TEXT, labelcolor=(INK, QUIET))
    return axes


def new_canvas(figure: Figure) -> Axes:
    """Axes over the whole figure whose coordinates are units from the top left corner."""
    high = 72 * figure.get_figheight()
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(high, 0)
    axes.set_axis_off()
    return axes


def write_heading(axes: Axes, words: str) -> None:
    """What the vertical axis counts, above it."""
    axes.set_title(words, loc="left", fontsize=TEXT, pad=7, x=0)


def write_caption(axes: Axes, words: str) -> None:
    axes.set_xlabel(words, loc="left", labelpad=5, alpha=QUIET)


def draw_box(axes: Axes, x: float, y: float, wide: float, high: float, colour: str, alpha: float) -> None:
    from matplotlib.patches import Rectangle

    axes.add_artist(Rectangle((x, y), wide, high, facecolor=colour, alpha=alpha, linewidth=0))


def draw_stroke(axes: Axes, x: float, y: float, high: float) -> None:
    axes.plot([x, x], [y - high / 2, y + high / 2], color=INK, linewidth=1.8, solid_capstyle="butt")


def text_width(text: str) -> float:
    """The width of a text in units."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    return float(text_to_path.get_text_width_height_descent(text, FontProperties(size=TEXT), ismath=False)[0])


def percent_ticks(axes: Axes) -> None:
    """Mark whole percents up the axis, or with as many decimals as the step between two marks has."""
    from matplotlib.ticker import FixedLocator, MaxNLocator, PercentFormatter

    low, high = axes.get_ylim()
    ticks = MaxNLocator(nbins=6, steps=[1, 2, 5, 10]).tick_values(low, high)
    decimals = max(0, -math.floor(math.log10(100 * (ticks[1] - ticks[0])) + 1e-9))
    axes.yaxis.set_major_locator(
        FixedLocator([tick for tick in ticks if max(low, 0) <= tick + 1e-9 and tick - 1e-9 <= min(high, 1)])
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=decimals))


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers within the limits, three or more where there are any."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), range(1, 10)):
        ticks = [step * 10.0**power for power in decades for step in steps if low <= step * 10.0**power <= high]
        if len(ticks) >= 3:
            break
    return ticks


@dataclass(frozen=True)
class End:
    """Where a line of a plot ends (`x` infinite if it runs across), what it is called there, and how it is drawn."""

    x: float
    y: float
    words: str
    look: Mapping[str, Any]


# Beside a plot: a gap that leaders cross, a sample of the line, its name.
_LEADER, _SAMPLE = 8.0, 20.0
LABEL_START = _LEADER + _SAMPLE + 4


def label_ends(axes: Axes, ends: Sequence[End]) -> None:
    """Name the lines at the right of the plot beside a sample of each, as near the height of its end as there is room.

    A thin leader joins a sample to its line's end. Without one a name that moved would look like a value.
    """
    ends = [end for end in ends if math.isfinite(end.y)]
    frame = axes.get_window_extent()
    (_, right), _ = axes.get_xlim(), axes.get_ylim()  # asking settles what the lines did to the limits
    to_frame = axes.transData + axes.transAxes.inverted()
    tips = [to_frame.transform((min(end.x, right), end.y)) for end in ends]
    places = spread([frame.height * tip[1] for tip in tips], 13, 0, frame.height)
    for end, tip, place in zip(ends, tips, places, strict=True):
        height = place / frame.height
        start, stop = 1 + _LEADER / frame.width, 1 + (_LEADER + _SAMPLE) / frame.width
        beside = {"transform": axes.transAxes, "clip_on": False, "color": end.look["color"]}
        axes.plot([tip[0], start], [tip[1], height], alpha=0.4, linewidth=0.7, **beside)
        axes.plot([start, stop], [height, height], **(dict(end.look) | beside))
        axes.annotate(
            end.words, (1, height), (LABEL_START, 0), xycoords="axes fraction", textcoords="offset points", va="center"
        )
