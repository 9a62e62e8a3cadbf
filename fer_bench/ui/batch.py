"""Batch: many pictures, a zip or a video in; a table and a CSV out. The command line's `predict` does the same."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench import pictures
from fer_bench.errors import FerBenchError
from fer_bench.labels import DISPLAY_ORDER
from fer_bench.recognition import NO_FACE, BatchRow, batch_rows, csv_text
from fer_bench.ui import messages

if TYPE_CHECKING:
    import gradio

    from fer_bench.ui.context import Context

HEADERS = ("File", "Second", "Face", "Expression", "Probability", "Note")
# The page shows the first rows, the CSV has all.
SHOWN = 500
UPDATE_EVERY = 20
WAITING = "Pictures, a zip of them or a video: every face gets a row, and so does every picture without one."


def build(context: Context) -> None:
    """The tab."""
    import gradio as gr

    default = context.default
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            files = gr.File(
                label="Pictures, zips, videos", file_count="multiple", type="filepath", elem_id="fb-batch-files"
            )
            model = gr.Dropdown(
                [(choice.label, choice.name) for choice in context.choices],
                value=None if default is None else default.name,
                label="Model",
                elem_id="fb-batch-model",
            )
            whole = gr.Checkbox(
                label="Each picture is one face already: take it whole", value=False, elem_id="fb-batch-whole"
            )
            with gr.Row():
                run = gr.Button("Classify", variant="primary", elem_id="fb-batch-run")
                stop = gr.Button("Stop", elem_id="fb-batch-stop")
            gr.HTML(
                '<p class="fb-quiet">Videos are sampled twice a second. At home: '
                "<code>python -m fer_bench predict PATHS --model M --csv OUT</code></p>"
            )
        with gr.Column(scale=3, min_width=300):
            summary = gr.HTML(messages.empty(WAITING), elem_id="fb-batch-summary")
            table = gr.Dataframe(
                headers=list(HEADERS),
                datatype=["str", "number", "number", "str", "number", "str"],
                interactive=False,
                visible=False,
                label="Results",
                show_search="filter",
                pinned_columns=1,
                wrap=True,
                column_widths=["24%", "12%", "10%", "16%", "16%", "22%"],
                elem_id="fb-batch-table",
            )

    def classify(
        files: list[str] | None, model: str | None, whole: bool, progress: gradio.Progress = gr.Progress()
    ) -> Iterator[tuple[str, Any]]:
        if not files:
            yield messages.warning("Choose files first: pictures, zips or videos."), gr.skip()
            return
        if not model:
            yield messages.warning("Choose a model first."), gr.skip()
            return
        try:
            predictor = context.predictor(model)
            detector = None if whole else context.detector
        except FerBenchError as error:
            yield messages.warning(str(error)), gr.skip()
            return
        paths = [Path(file) for file in files]
        expected = pictures.count(paths)
        rows: list[BatchRow] = []
        seen: set[tuple[str, float | None]] = set()
        for row in batch_rows(_frames(paths), model, predictor, detector):
            rows.append(row)
            seen.add((row.file, row.seconds))
            progress((len(seen), max(expected, len(seen))), unit="pictures")
            if len(rows) % UPDATE_EVERY == 0:
                yield summarise(rows), gr.Dataframe(_cells(rows), visible=True)
        link = messages.download("fer_bench.csv", csv_text(rows, predictor.classes), "text/csv", "Download CSV")
        yield f"{summarise(rows)}{link}", gr.Dataframe(_cells(rows), visible=True)

    running = run.click(
        classify, [files, model, whole], [summary, table], api_visibility="private", show_progress_on=summary
    )
    stop.click(None, cancels=running)


def _frames(paths: Sequence[Path]) -> Iterator[pictures.Frame]:
    """The frames under the names that the visitor knows, not where the uploads lie."""
    for path in paths:
        folder = f"{path.parent}/"
        yield from (replace(frame, file=frame.file.removeprefix(folder)) for frame in pictures.pictures([path]))


def _cells(rows: Sequence[BatchRow]) -> list[list[Any]]:
    return [
        [
            row.file,
            None if row.seconds is None else round(row.seconds, 1),
            row.face,
            "" if row.opinion is None else row.opinion.top,
            None if row.opinion is None else round(row.opinion.confidence, 3),
            row.note,
        ]
        for row in itertools.islice(rows, SHOWN)
    ]


def summarise(rows: Sequence[BatchRow]) -> str:
    """What came out, in two lines of HTML."""
    pictures_read = len({(row.file, row.seconds) for row in rows if row.opinion is not None or row.note == NO_FACE})
    tops = Counter(row.opinion.top for row in rows if row.opinion is not None)
    faceless = sum(row.note == NO_FACE for row in rows)
    failed = sum(row.opinion is None and row.note != NO_FACE for row in rows)
    parts = [f"{pictures_read} pictures", f"{tops.total()} faces"]
    if faceless:
        parts.append(f"{faceless} without a face")
    if failed:
        parts.append(f"{failed} could not be read")
    counts = ", ".join(f"{name} {tops[name]}" for name in DISPLAY_ORDER if tops[name])
    more = f" The table shows the first {SHOWN} of {len(rows)} rows; the CSV has all." if len(rows) > SHOWN else ""
    return messages.note(f"{', '.join(parts)}. {counts}.{more}" if counts else f"{', '.join(parts)}.{more}")
