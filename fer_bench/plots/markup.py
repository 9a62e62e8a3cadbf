"""Bars and timelines written without matplotlib, quick enough to be made for every frame."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from fer_bench.labels import DISPLAY_ORDER
from fer_bench.plots.style import (
    CLASS_COLOURS,
    FAINT,
    QUIET,
    TEXT,
    WIDTH,
    FloatArray,
    as_percent,
    display_order,
    shaped,
    spread,
)

TIMELINE_SECONDS = 30.0

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
    order = display_order(classes)
    times = np.asarray(seconds, dtype=np.float64)
    values = shaped("probabilities", probabilities, (len(times), len(order)))
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
    places = spread([float(ys[-1, i]) for i in named], 12.0, top, top + high)
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


def probability_bars(probabilities: npt.ArrayLike, classes: Sequence[str]) -> str:
    """One opinion, (K,) in the order of `classes`, as an HTML table of bars; its look is `BARS_CSS`."""
    order = display_order(classes)
    values = shaped("probabilities", probabilities, (len(order),))
    top = order[int(values[order].argmax())]
    rows = "".join(
        f'<tr{TOP if i == top else ""}><th scope="row">{classes[i]}</th>'
        f"<td>{_html_bar(classes[i], values[i])}</td></tr>"
        for i in order
    )
    summary = f"Most probable: {classes[top]}, {as_percent(values[top], 1)}"
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
        values = shaped(f"probabilities of {model}", probabilities, (len(classes),))
        tables[model] = {classes[i]: float(values[i]) for i in display_order(classes)}
    tops = {model: max(table, key=lambda name: table[name]) for model, table in tables.items()}
    (winner, votes), *others = Counter(tops.values()).most_common() or [("", 0)]
    agreed = winner if not others or others[0][1] < votes else ""
    width = 99 / max(len(tops), 1)  # alike, so that bars can be compared; the classes have the rest
    heads = "".join(
        f'<th scope="col" style="width: {width:.1f}%">{_breakable(model)}'
        f'<span class="fb-says" style="--fb-class: var(--fb-{top})"><span class="fb-dot"></span>{top}'
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
        f'<span class="fb-percent">{as_percent(value, 1)}</span></div>'
    )
