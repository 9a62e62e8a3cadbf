"""Batch: many pictures, a zip or a video in; a table and a CSV out. The command line's `predict` does the same."""

from __future__ import annotations

import itertools
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from fer_bench import pictures
from fer_bench.errors import FerBenchError
from fer_bench.labels import DISPLAY_ORDER
from fer_bench.leaderboard.assets import SORT
from fer_bench.recognition import NO_FACE, BatchRow, batch_rows, csv_text
from fer_bench.ui import messages, uploads
from fer_bench.ui.table import EDGE, NONE

if TYPE_CHECKING:
    from fer_bench.ui.context import Context

# The page shows the first rows, the CSV has all.
SHOWN = 500
UPDATE_EVERY = 0.5  # seconds
WAITING = "Pictures, a zip of them or a video: every face gets a row, and so does every picture without one."

CSS = """
#fb-batch-files .file-preview { table-layout: auto; }
#fb-batch-files .file-preview-holder { scrollbar-gutter: stable; }
.fb-progress { display: grid; gap: 0.4rem; margin: 0; font-variant-numeric: tabular-nums; }
.fb-progress progress { width: 100%; height: 0.6rem; border: 0; border-radius: 0.3rem; overflow: hidden;
  accent-color: var(--fb-accent); appearance: none; background: var(--background-fill-secondary); }
.fb-progress progress::-webkit-progress-bar { background: color-mix(in srgb, currentColor 9%, transparent); }
.fb-progress progress::-webkit-progress-value { background: var(--fb-accent); }
.fb-progress progress::-moz-progress-bar { background: var(--fb-accent); }
#fb-batch-summary .fb-download { display: inline-block; margin-top: 0.6rem; }
.fb-table .fb-file { position: sticky; left: 0; z-index: 1; min-width: 7rem; max-width: 16rem; white-space: normal;
  overflow-wrap: break-word; border-right: 1px solid var(--border-color-primary); }
.fb-table thead .fb-file { z-index: 3; }
@media (max-width: 40rem) {
  .fb-table .fb-file { max-width: 8.5rem; }
}
.fb-table .fb-words { min-width: 13rem; white-space: normal; }
"""

# The table inside `element` is replaced while it grows, so all is heard from the outside.
SCRIPT = f"""{SORT}{EDGE}
element.addEventListener("click", event => {{
  const heading = event.target.closest("thead th");
  if (heading) sort(heading);
}});
"""


@dataclass
class Job:
    """A visitor's last batch; the run adds to it, and ends where it is stopped."""

    rows: list[BatchRow] = field(default_factory=list)
    model: str = ""
    detector: str = ""
    classes: tuple[str, ...] = ()
    running: bool = False
    stopped: bool = False


def build(context: Context) -> gr.Dropdown:
    """The tab; the picker of the model."""
    default = context.default
    job = gr.State(Job(), time_to_live=uploads.KEPT)
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            files = gr.File(
                label="Pictures, zips, videos",
                file_count="multiple",
                type="filepath",
                height=200,
                elem_id="fb-batch-files",
            )
            with gr.Row():
                run = gr.Button("Classify", variant="primary", min_width=100, elem_id="fb-batch-run")
                stop = gr.Button("Stop", min_width=100, elem_id="fb-batch-stop")
            model = gr.Dropdown(
                [(choice.label, choice.name) for choice in context.choices],
                value=None if default is None else default.name,
                label=f"Model: {context.measures}",
                elem_id="fb-batch-model",
            )
            whole = gr.Checkbox(
                label="Each picture is one face already: take it whole", value=False, elem_id="fb-batch-whole"
            )
            gr.HTML(
                '<p class="fb-quiet">Videos are sampled twice a second. At home: '
                "<code>python -m fer_bench predict PATHS --model M --csv OUT</code></p>"
            )
        with gr.Column(scale=3, min_width=300):
            summary = gr.HTML(messages.empty(WAITING), elem_id="fb-batch-summary")
            table = gr.HTML(js_on_load=SCRIPT, apply_default_css=False, elem_id="fb-batch-table")

    def classify(
        job: Job, files: list[Mapping[str, Any]] | None, model: str | None, whole: bool
    ) -> Iterator[tuple[str, str]]:
        try:
            found = [uploads.find(file) for file in files or ()]
            if not found:
                raise FerBenchError("Choose files first: pictures, zips or videos.")
            if not model:
                raise FerBenchError("Choose a model first.")
            name = context.name(model)
            predictor = context.predictor(name)
        except FerBenchError as error:
            yield messages.warning(messages.public(error, context.workspace)), ""
            return
        detector = None if whole else context.detector
        job.model, job.detector = name, "" if detector is None else detector.name
        job.classes, job.running = predictor.classes, True
        expected = pictures.count([path for path, _ in found])
        seen: set[tuple[str, float | None]] = set()
        yield progress(0, expected), ""
        shown = time.monotonic()
        try:
            for row in batch_rows(_frames(found), name, predictor, detector):
                if job.stopped:
                    break
                job.rows.append(row)
                seen.add((row.file, row.seconds))
                if time.monotonic() - shown > UPDATE_EVERY:
                    yield progress(len(seen), expected), rows_table(job.rows)
                    shown = time.monotonic()
        finally:  # the visitor may be gone
            job.running = False
        yield finished(job), rows_table(job.rows)

    def start(job: Job) -> tuple[Any, Any]:
        if job.running:
            return gr.skip(), gr.skip()
        job.rows, job.stopped = [], False
        return messages.note("Waiting for a turn."), ""

    def halt(job: Job) -> None:
        job.stopped = True

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    # Without preprocessing, in which Gradio leaves an empty temporary file for each upload.
    run.click(start, job, [summary, table], queue=False, **private).then(
        classify, [job, files, model, whole], [summary, table], preprocess=False, **private
    )
    stop.click(halt, job, queue=False, **private)
    return model


def _frames(found: Sequence[tuple[Path, str]]) -> Iterator[pictures.Frame]:
    """The frames of uploads under the names that the visitor knows, not Gradio's nor where they lie."""
    for path, name in found:
        for frame in pictures.pictures([path]):
            yield replace(frame, file=f"{name}{frame.file.removeprefix(str(path))}")


def progress(done: int, expected: int) -> str:
    """How far a batch is, in HTML; `expected` is a guess for a video."""
    words = f"{done} of {_many(max(expected, done), 'picture')}"
    return (
        f'<div class="fb-progress"><span>{words}</span>'
        f'<progress max="{max(expected, done, 1)}" value="{done}" aria-label="Pictures classified"></progress></div>'
    )


def finished(job: Job) -> str:
    """What came out of a batch, and its CSV."""
    first = "Stopped. " if job.stopped else ""
    if not job.rows:
        return messages.note(f"{first}Nothing was classified.")
    by = f"By {job.model}; {f'faces found by {job.detector}' if job.detector else 'pictures taken whole'}"
    link = messages.download(f"fer_bench.{job.model}.csv", csv_text(job.rows, job.classes), "text/csv", "Download CSV")
    return f"{messages.note(first + summarise(job.rows, by))}{link}"


def rows_table(rows: Sequence[BatchRow]) -> str:
    """The first rows as an HTML table; the notes are left out where there are none."""
    shown = list(itertools.islice(rows, SHOWN))
    columns = _COLUMNS if any(row.note for row in shown) else _COLUMNS[:-1]
    heads = "".join(
        f'<th scope="col" class="{kind}"><button type="button">{title}</button></th>' for title, kind, _ in columns
    )
    body = "\n".join(f"<tr>{''.join(_cell(kind, show(row)) for _, kind, show in columns)}</tr>" for row in shown)
    return f"""<div class="fb-rows" tabindex="0" role="region" aria-label="Results">
<table class="fb-table">
<thead><tr>{heads}</tr></thead>
<tbody>
{body}
</tbody>
</table>
</div>"""


def _expression(row: BatchRow) -> str:
    return "" if row.opinion is None else row.opinion.top


_COLUMNS: tuple[tuple[str, str, Callable[[BatchRow], str]], ...] = (
    ("File", "fb-file", lambda row: row.file if row.seconds is None else f"{row.file} {row.seconds:.1f} s"),
    ("Face", "fb-number", lambda row: "" if row.face is None else str(row.face)),
    ("Expression", "", _expression),
    ("Probability", "fb-number", lambda row: "" if row.opinion is None else f"{row.opinion.confidence:.1%}"),
    ("Note", "fb-words", lambda row: row.note),
)


def _cell(kind: str, shown: str) -> str:
    value = f' data-value="{escape(shown.rstrip("%"))}"' if shown else ""
    if kind == "fb-file":
        broken = re.sub(r"([/._-])", r"\1<wbr>", escape(shown))
        return f'<th scope="row" class="{kind}"{value}>{broken}</th>'
    content = escape(shown) or NONE
    if shown and not kind:
        content = (
            f'<span class="fb-says" style="--fb-class: var(--fb-{shown})"><span class="fb-dot"></span>{shown}</span>'
        )
    return f'<td class="{kind}"{value}>{content}</td>'


def summarise(rows: Sequence[BatchRow], by: str) -> str:
    """What came out, in a few sentences; `by` is the one that says how."""
    pictures_read = len({(row.file, row.seconds) for row in rows if row.opinion is not None or row.note == NO_FACE})
    tops = Counter(_expression(row) for row in rows if row.opinion is not None)
    faceless = sum(row.note == NO_FACE for row in rows)
    # A row of a video's moment that is neither is what follows the longest that is read.
    failed = sum(row.opinion is None and row.note != NO_FACE and row.seconds is None for row in rows)
    parts = [_many(pictures_read, "picture"), _many(tops.total(), "face")]
    if faceless:
        parts.append(f"{faceless} without a face")
    sentences = [
        ", ".join(parts),
        ", ".join(f"{name} {tops[name]}" for name in DISPLAY_ORDER if tops[name]),
        by,
        f"{_many(failed, 'file')} could not be read" if failed else "",
        f"The table shows the first {SHOWN} of {len(rows)} rows; the CSV has all" if len(rows) > SHOWN else "",
    ]
    return " ".join(f"{sentence}." for sentence in sentences if sentence)


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
