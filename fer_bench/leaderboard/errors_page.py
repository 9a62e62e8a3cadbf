"""A run's mistakes by true and predicted class, as in Lin & Shi's Fig. 7: a local page with the pictures in it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import numpy as np

from fer_bench import registry
from fer_bench.data.dataset import FaceDataset, IntArray, UInt8Array
from fer_bench.errors import FerBenchError, UnknownNameError
from fer_bench.labels import DISPLAY_ORDER
from fer_bench.leaderboard.rows import Run, row_of
from fer_bench.plots import ACCENT, ACCENT_DARK, CLASS_COLOURS
from fer_bench.records import Workspace, list_records, read_record

PER_CELL = 6
LARGEST = 128  # pixels a side: what the page shows of a film's frame


class Confusion(NamedTuple):
    """`images` of the test part, of class `label`, a `share` (0..1) of that class, were taken for `predicted`."""

    label: str
    predicted: str
    images: int
    share: float


def find_run(workspace: Workspace, model: str, protocol: str, recipe: str | None = None) -> Run:
    """The run of a row with the lowest seed; the recipe may be left out where there is one.

    Raises:
        UnknownNameError: no such model or recipe.
        FerBenchError: it was not run, several recipes were, or its files can't be read.
    """
    rows: dict[str, list[Path]] = {}
    for path in list_records(workspace):
        if path.parts[-3] == protocol:
            rows.setdefault(path.parts[-2], []).append(path)
    recipes = sorted(row.rpartition(".")[2] for row in rows if row.rpartition(".")[0] == model)
    if not recipes:
        known = {row.rpartition(".")[0] for row in rows} | set(registry.list_models())
        if model not in known:
            raise UnknownNameError("model", model, known)
        run = f"python -m fer_bench run --model {model} --protocol {protocol}"
        raise FerBenchError(f"no record of {model} on {protocol}: `{run}` makes one")
    if recipe is None and len(recipes) > 1:
        raise FerBenchError(f"{model} has several recipes on {protocol}: say --recipe {' or '.join(recipes)}")
    if recipe is not None and recipe not in recipes:
        raise UnknownNameError(f"recipe of {model} with a record on {protocol}", recipe, recipes)
    runs = [Run(path, read_record(path)) for path in rows[f"{model}.{recipe or recipes[0]}"]]
    return row_of(runs).runs[0]


def default_path(workspace: Workspace, run: Run) -> Path:
    """Where the page goes unless told otherwise: a folder that git ignores."""
    return workspace.root / "errors" / f"{'.'.join(run.record.row)}.html"


def confusions(run: Run) -> list[Confusion]:
    """Every pair of classes of which the plain view took the one for the other, the most frequent first."""
    classes, targets = run.record.classes, run.arrays["test_targets"]
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (targets, run.arrays["test_plain"].argmax(axis=1)), 1)
    found = [
        Confusion(label, predicted, int(counts[i, j]), float(counts[i, j] / counts[i].sum()))
        for i, label in enumerate(classes)
        for j, predicted in enumerate(classes)
        if i != j and counts[i, j]
    ]
    return sorted(found, key=lambda confusion: -confusion.images)


def page(run: Run, dataset: FaceDataset) -> str:
    """The whole page: the labels are its rows, the predictions its columns, the most confident pictures come first.

    Args:
        run: whose plain view it shows.
        dataset: where the pictures are taken from, by their ids.

    Raises:
        FerBenchError: the data set is not the one that was predicted.
    """
    record, probabilities = run.record, run.arrays["test_plain"]
    places = _places(run, dataset)
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    targets = run.arrays["test_targets"].astype(np.int64)
    order = [record.classes.index(name) for name in DISPLAY_ORDER if name in record.classes]
    names = [record.classes[i] for i in order]

    def cells(label: int) -> Iterator[str]:
        for guess in order:
            inside = np.flatnonzero((targets == label) & (predicted == guess))
            shown = inside[np.argsort(-confidence[inside], kind="stable")][:PER_CELL]
            pictures = "".join(
                _picture(dataset.images[places[i]], str(dataset.ids[places[i]]), probabilities[i][order], names)
                for i in shown
            )
            share = len(inside) / max(1, int((targets == label).sum()))
            kind, word = (' class="right"', ", right") if guess == label else ("", "")
            percent = f"{100 * share:.0f}%" if share >= 0.005 else "&lt;1%"
            head = f"<b>{len(inside)}</b> {percent}{word}" if len(inside) else ""
            yield f'<td{kind} style="--share: {100 * share:.0f}%"><p>{head}</p><div>{pictures}</div></td>'

    rows = "".join(
        f"<tr>{_head('row', record.classes[i], int((targets == i).sum()), 'labelled')}{''.join(cells(i))}</tr>"
        for i in order
    )
    heads = "".join(_head("col", record.classes[i], int((predicted == i).sum()), "predicted") for i in order)
    wrong = int((targets != predicted).sum())
    people = "" if dataset.name == "synthetic" else f'<p class="warning">{escape(_warning(dataset))}</p>'
    return Template(PAGE).substitute(
        title=escape(f"Mistakes of {record.model}.{record.recipe_name} on {record.protocol}"),
        summary=f"{wrong:,} of {len(targets):,} test images wrong ({100 * wrong / len(targets):.1f}%), "
        f"seed {record.seed}, plain view.",
        people=people,
        per_cell=PER_CELL,
        heads=heads,
        rows=rows,
        colours=" ".join(f"--{name}: {CLASS_COLOURS[name]};" for name in names),
        accent=ACCENT,
        accent_dark=ACCENT_DARK,
        names=json.dumps(names),
    )


def _places(run: Run, dataset: FaceDataset) -> IntArray:
    """Where each test image of the run stands in the data set."""
    index = {str(id_): place for place, id_ in enumerate(dataset.ids)}
    ids = run.arrays["test_ids"].astype(str)
    places = np.array([index.get(id_, -1) for id_ in ids], dtype=np.int64)
    name = f"{run.record.model}.{run.record.recipe_name}"
    hint = f"name the copy that the run had ({run.record.data.layout}) with --data-dir"
    if (missing := places < 0).any():
        raise FerBenchError(
            f"{dataset.source} has no {str(ids[missing][0])!r}, one of {missing.sum()} test images of {name} that are "
            f"not there: {hint}"
        )
    labels = [dataset.labels.classes[target] for target in dataset.targets[places]]
    other = np.array([run.record.classes[target] for target in run.arrays["test_targets"]]) != labels
    if other.any():
        raise FerBenchError(f"{dataset.source} labels {str(ids[other][0])!r} otherwise than {name} met it: {hint}")
    return places


def _warning(dataset: FaceDataset) -> str:
    return (
        f"This page holds pictures of real people, from {dataset.name}. It is for your own eyes: do not publish it, "
        "pass it on or commit it."
    )


def _head(scope: str, name: str, count: int, verb: str) -> str:
    return f'<th scope="{scope}"><i style="background: var(--{name})"></i>{name}<small>{count:,} {verb}</small></th>'


def _picture(image: UInt8Array, id_: str, probabilities: Any, names: list[str]) -> str:
    top = int(probabilities.argmax())
    values = ",".join(f"{value:.3f}" for value in probabilities)
    words = escape(f"{names[top]} {100 * probabilities[top]:.0f}%, {id_}")
    return (
        f'<button type="button" title="{words}" data-id="{escape(id_)}" data-values="{values}">'
        f'<img alt="{words}" src="data:image/png;base64,{_png(image)}"></button>'
    )


def _png(image: UInt8Array) -> str:
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((LARGEST, LARGEST))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex, noarchive, noimageindex">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>$title</title>
<style>
:root {
  color-scheme: light dark; $colours
  --accent: $accent; --page: #ffffff; --ink: #14171f; --muted: #5d6573; --line: #e4e7ec;
}
@media (prefers-color-scheme: dark) {
  :root { --accent: $accent_dark; --page: #0e1117; --ink: #e8eaf0; --muted: #9aa3b2; --line: #2a313d; }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem clamp(1rem, 3vw, 2.5rem); max-width: 96rem; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
h1 { margin: 0; font-size: 1.5rem; letter-spacing: -.01em; line-height: 1.25; }
p { max-width: 80ch; margin: .4rem 0; }
.quiet, small { color: var(--muted); }
.warning { margin: 1rem 0; padding: .5rem .9rem; border-left: 3px solid #b45309; font-weight: 600; }
.scroll { overflow: auto; max-height: 92vh; margin-top: 1.25rem; border: 1px solid var(--line); border-radius: .6rem; }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-variant-numeric: tabular-nums; }
th, td { border: solid var(--line); border-width: 0 1px 1px 0; vertical-align: top; }
tr > :last-child { border-right: 0; }
tbody tr:last-child > * { border-bottom: 0; }
th {
  position: sticky; z-index: 1; padding: .5rem .6rem; background: var(--page); font-weight: 600; text-align: left;
  white-space: nowrap;
}
thead th { top: 0; }
tbody th { left: 0; }
thead th:first-child { left: 0; z-index: 2; font-weight: 400; font-size: .8rem; color: var(--muted); }
th i { display: inline-block; width: .6rem; height: .6rem; margin-right: .4rem; border-radius: 50%; }
small { display: block; font-size: .78rem; font-weight: 400; }
td {
  padding: .35rem .45rem .5rem; min-width: 10.4rem;
  background: color-mix(in srgb, var(--accent) calc(var(--share) * .55), var(--page));
}
td.right { background: none; }
td p { min-height: 1.5em; margin: 0 0 .25rem; font-size: .8rem; }
td > div { display: grid; grid-template-columns: repeat(3, 3rem); gap: .15rem; }
td.right img { opacity: .72; }
button { width: 3rem; height: 3rem; padding: 0; border: 0; border-radius: .25rem; background: none; cursor: zoom-in; }
button img { display: block; width: 100%; height: 100%; border-radius: inherit; object-fit: cover; }
button:hover img { opacity: 1; outline: 2px solid var(--accent); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
dialog {
  width: min(24rem, 92vw); padding: 1.25rem; border: 1px solid var(--line); border-radius: .8rem;
  background: var(--page); color: var(--ink);
}
dialog::backdrop { background: rgb(0 0 0 / .55); }
dialog img { display: block; width: 100%; border-radius: .4rem; }
dialog p { overflow-wrap: anywhere; }
dialog dl {
  display: grid; grid-template-columns: auto 1fr 3rem; gap: .2rem .6rem; align-items: center; margin: .8rem 0 0;
  font-size: .87rem; font-variant-numeric: tabular-nums;
}
dd { margin: 0; text-align: right; }
dd i { display: block; height: .6rem; border-radius: 1rem; }
</style>
</head>
<body>
<header>
<h1>$title</h1>
<p>$summary</p>
$people
<p class="quiet">A row is what the data set calls a face, a column what the network says. A cell shows up to $per_cell \
faces, the most confident answers first; the more of its row it holds, the stronger its tint. On the diagonal the two \
agree. Labels are people's guesses too: a confident mistake may be a wrong label. Select a face for the details.</p>
</header>
<div class="scroll" tabindex="0" role="region" aria-label="Faces by label and prediction">
<table>
<thead><tr><th scope="col">label<br>&#8600; prediction</th>$heads</tr></thead>
<tbody>
$rows
</tbody>
</table>
</div>
<dialog aria-labelledby="says"><img alt=""><p><b id="says"></b><br><small id="file"></small></p><dl></dl></dialog>
<script>
const names = $names, dialog = document.querySelector("dialog"), list = dialog.querySelector("dl");
document.querySelector("tbody").addEventListener("click", event => {
  const button = event.target.closest("button");
  if (!button) return;
  const cell = button.closest("td"), values = button.dataset.values.split(",").map(Number);
  const label = names[cell.parentElement.rowIndex - 1], answer = names[cell.cellIndex - 1];
  dialog.querySelector("img").src = button.firstElementChild.src;
  document.getElementById("says").textContent = label === answer ? "Rightly " + label : label + " taken for " + answer;
  document.getElementById("file").textContent = button.dataset.id;
  list.replaceChildren(...names.flatMap((name, i) => {
    const [term, track, percent] = ["dt", "dd", "dd"].map(tag => document.createElement(tag));
    const bar = track.appendChild(document.createElement("i"));
    term.textContent = name + (name === label ? " (label)" : "");
    bar.style.width = 100 * values[i] + "%";
    bar.style.background = "var(--" + name + ")";
    percent.textContent = (100 * values[i]).toFixed(1) + "%";
    return [term, track, percent];
  }));
  dialog.showModal();
});
dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
</script>
</body>
</html>
"""
