"""What is behind a row of the board: how it errs, how it was trained, and the command that makes it again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from fer_bench import plots, registry, scoring, stats
from fer_bench.errors import FerBenchError
from fer_bench.leaderboard import text
from fer_bench.leaderboard.rows import Row, Run, row_of, seeded, superseded
from fer_bench.protocols import get_protocol
from fer_bench.records import RunRecord, Workspace, read_record
from fer_bench.ui import messages
from fer_bench.weights import published_path


@dataclass(frozen=True)
class Details:
    """HTML above the command, the command, HTML below it."""

    heading: str
    command: str
    body: str


def details(workspace: Workspace, cells: Mapping[str, Any]) -> Details:
    """Everything about one row.

    Args:
        workspace: where its records lie.
        cells: the row as the CSV has it.

    Raises:
        FerBenchError: a record is missing or can't be read.
    """
    row = read_row(workspace, cells["protocol"], cells["model"], cells["recipe"])
    stamp = tuple((run.path, _changed(run.path), _changed(run.path.with_suffix(".npz"))) for run in row.runs)
    remarks = "".join(f"<li>{escape(remark)}</li>" for remark in caveats(row))
    shipped = published_path(workspace, row.first.model, row.first.recipe_name)
    tried = row.first.protocol == "fer2013" and shipped.exists()
    name = quote(shipped.name.removesuffix(".safetensors"))
    link = f' <a class="fb-download" href="?tab=try&amp;model={name}">Try it on a face</a>' if tried else ""
    heading = (
        f"<h3>{escape(row.first.model)} <span>{escape(row.first.recipe_name)}</span></h3>"
        f'<p class="fb-summary">{_summary(cells)}{link}</p><ul class="fb-caveats">{remarks}</ul>'
    )
    body = messages.public(_figures(stamp) + _facts(workspace, row), workspace)
    return Details(heading, command(row), body)


def read_row(workspace: Workspace, protocol: str, model: str, recipe: str) -> Row:
    """The runs behind a row of the board.

    Raises:
        FerBenchError: there are none, or a record can't be read.
    """
    folder = workspace.record_path(protocol, model, recipe, 0).parent
    runs = [Run(path, read_record(path)) for path in sorted(folder.glob("s*.json"))]
    if not runs:
        raise FerBenchError(
            f"the board has a row {model}.{recipe} on {protocol}, but there is no record of it; "
            "`python -m fer_bench leaderboard build` makes the board anew"
        )
    return row_of(runs)


def command(row: Row) -> str:
    """The shell command that makes the row again."""
    first = row.first
    if first.external:
        return f"python -m fer_bench score predictions.csv --protocol {first.protocol} --name {first.model}"
    if first.members:
        return f"python -m fer_bench ensemble --protocol {first.protocol}"
    chosen = f"--model {first.model}" if first.model in registry.list_models() else "--spec MODULE:SPEC"
    seeds = ",".join(str(record.seed) for record in row.records)
    partial = " --allow-partial" if row.partial else ""
    return (
        f"python -m fer_bench run {chosen} --protocol {first.protocol} --recipe {first.recipe_name} "
        f"--seeds {seeds}{partial}"
    )


def caveats(row: Row) -> list[str]:
    """What to keep in mind when reading the row, the protocol's own caveat last."""
    first = row.first
    return [
        *(
            sentence
            for true, sentence in (
                (
                    first.external,
                    "Predicted elsewhere: the scores are ours, how the predictions came about is not known.",
                ),
                (
                    bool(first.members),
                    "An ensemble: the mean of stored predictions, calibrated and chosen on the selection part.",
                ),
                (
                    first.trained and first.model not in registry.list_models(),
                    "Someone else's model: MODULE:SPEC in the command stands for where its spec is.",
                ),
                (superseded(first), "The recipe or the network has changed since: the command runs the new one."),
                (row.partial, "Partial data: its test images are not those of the other rows, so it has no rank."),
                (
                    any(fold.trained_on_select for record in row.records for fold in record.folds),
                    "Trained on train + select: its recipe selects nothing.",
                ),
                (
                    first.pretrained not in ("none", "unknown"),
                    f"Started from weights trained on {_data_name(first.pretrained)}.",
                ),
                (
                    len(row.runs) == 1 and seeded(first),
                    "One seed: the interval is over test images only, another seed may differ by more.",
                ),
                (any(record.code.dirty for record in row.records), "The code had changes that are in no commit."),
            )
            if true
        ),
        get_protocol(first.protocol).caveat,
    ]


def _summary(cells: Mapping[str, Any]) -> str:
    spread = text.percent(cells["deviation"])
    paper = text.percent(cells["reported"])
    parts = [
        f"<b>{text.percent(cells['accuracy'])}%</b>"
        + (f" \N{PLUS-MINUS SIGN} {spread} over {cells['seeds']} seeds" if spread else ""),
        f"95% interval {text.interval(cells)}",
        f"the paper's {paper}, gap {text.signed(cells['gap'])}" if paper else "",
    ]
    return ", ".join(part for part in parts if part)


def _data_name(pretrained: str) -> str:
    return {"imagenet": "ImageNet", "fer2013": "FER2013"}.get(pretrained, pretrained)


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


# The figures of a row take tenths of a second; the time of change in the key makes a new run a new entry.
@lru_cache(maxsize=64)
def _figures(stamp: tuple[tuple[Path, int, int], ...]) -> str:
    row = Row(tuple(Run(path, read_record(path)) for path, _, _ in stamp))
    parts = (
        _figure(title, draw, row)
        for title, draw in (
            ("Which class was taken for which", _confusion),
            ("How many of each class were found", _recalls),
            ("Training", _curves),
            ("Do its probabilities hold?", _calibration),
        )
    )
    return f'<div class="fb-figures">{"".join(parts)}</div>'


def _figure(title: str, draw: Callable[[Row], tuple[str, str]], row: Row) -> str:
    """A figure under its title, or why there is none."""
    try:
        picture, remark = draw(row)
    except FerBenchError as error:
        picture, remark = messages.warning(str(error)), ""
    return (
        f'<figure class="fb-plot"><h4>{escape(title)}</h4>{picture}<figcaption>{escape(remark)}</figcaption></figure>'
    )


def _confusion(row: Row) -> tuple[str, str]:
    matrix = np.sum([record.metrics["test"]["plain"]["confusion"] for record in row.records], axis=0)
    drawn = plots.svg(plots.confusion(matrix, row.first.classes), f"Confusion matrix of {row.name}, counts")
    over = [
        f"{count} {noun}" for count, noun in ((len(row.first.folds), "folds"), (len(row.runs), "seeds")) if count > 1
    ]
    return drawn, "Test images, plain view" + (f", summed over {' and '.join(over)}." if over else ".")


def _recalls(row: Row) -> tuple[str, str]:
    support = np.bincount(row.runs[0].outcomes.targets, minlength=len(row.first.classes))
    ends = np.full((3, len(row.first.classes)), np.nan)
    for label, images in enumerate(support):
        if images:
            found = [record.metrics["test"]["plain"]["recall"][label] for record in row.records]
            interval = stats.accuracy_interval(found, images / row.design_effect)
            ends[:, label] = np.mean(found), interval.low, interval.high
    drawn = plots.svg(
        plots.recalls(ends[0], ends[1], ends[2], row.first.classes), f"Recall of each class of {row.name}"
    )
    mean = ", the mean over seeds" if len(row.runs) > 1 else ""
    return drawn, f"Recall with its 95% interval{mean}. The fewer test images a class has, the wider."


def _curves(row: Row) -> tuple[str, str]:
    histories = [fold.history for record in row.records for fold in record.folds if fold.history]
    if not histories or row.first.recipe.get("estimator"):
        if row.first.external:
            return messages.empty("Predicted elsewhere: nothing is known of a training."), ""
        if row.first.members:
            return messages.empty("Nothing was trained for it."), ""
        return messages.empty("Fitted in one go: there are no epochs."), ""
    drawn = plots.svg(plots.learning_curves(histories), f"Accuracy and loss of {row.name} over the epochs")
    several = f"{len(histories)} trainings (folds, seeds) thinly, their mean boldly. " if len(histories) > 1 else ""
    kept = sorted({fold.epoch for record in row.records for fold in record.folds})
    which = f"Epoch {kept[0]}" if len(kept) == 1 else f"Epochs {kept[0]} to {kept[-1]}"
    mixup = row.first.recipe.get("mixup")
    blended = " Training images were blended in pairs (mixup), so the training accuracy reads low." if mixup else ""
    return drawn, f"{several}{which} predicted the test images.{blended}"


def _calibration(row: Row) -> tuple[str, str]:
    arrays = row.runs[0].arrays
    probabilities = arrays["test_plain"]
    if np.isin(probabilities, (0, 1)).all():
        return messages.empty("It names classes and gives no probabilities."), ""
    by_fold = row.runs[0].temperatures
    after = scoring.calibrated(arrays, by_fold) if by_fold else None
    drawn = plots.svg(
        plots.calibration(probabilities, arrays["test_targets"], after, row.design_effect),
        f"Calibration of {row.name} on the test images",
    )
    seed = f" Seed {row.first.seed}." if len(row.runs) > 1 else ""
    fitted = f" After: logits divided by {_span(by_fold)}, fitted on the selection part." if by_fold else ""
    return (
        drawn,
        f"How often it is right, by how sure it says it is; on the line it is as good as its word.{fitted}{seed}",
    )


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high} (by fold)"


def _facts(workspace: Workspace, row: Row) -> str:
    shown = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts(row) if value
    )
    files = ", ".join(run.path.relative_to(workspace.root).as_posix() for run in row.runs)
    recipe = ""
    if row.first.recipe:
        values = {key: value for key, value in row.first.recipe.items() if key != "note"}
        recipe = (
            "<details><summary>Every setting of the recipe</summary>"
            f"<pre>{escape(json.dumps(values, indent=1))}</pre></details>"
        )
    return f'<dl class="fb-facts">{shown}<div><dt>Record</dt><dd>{escape(files)}</dd></div></dl>{recipe}'


def facts(row: Row) -> Iterator[tuple[str, str]]:
    """What the row was made with, in words; a value is empty where it is not known."""
    records, first = row.records, row.first

    def every(words: Callable[[RunRecord], str]) -> str:
        return " / ".join(dict.fromkeys(words(record) for record in records))

    yield "Recipe", str(first.recipe.get("note", ""))
    images = sum(first.data.counts.get("all", {}).values())
    yield (
        "Data",
        f"{first.data.name}, {images:,} images, {first.data.layout}, fingerprint {first.data.fingerprint[:12]}",
    )
    yield "Folds", _folds(first)
    yield (
        "Members",
        ", ".join(
            f"{member.model}.{member.recipe_name} (seed {member.seed}) x {member.times}" for member in first.members
        ),
    )
    yield "Seeds", ", ".join(str(record.seed) for record in records) if first.trained else ""
    if first.trained:
        minutes = [record.train_seconds / 60 for record in records]
        yield "Training", f"{np.mean(minutes):.1f} min a seed, all folds"
        yield "Device", every(_device)
        yield "Network", f"{first.parameters:,} parameters, {text.count(first.multiply_adds)} multiply-adds an image"
    yield "Code", every(_code)
    yield "Finished", every(lambda record: record.finished[:10])


def _folds(record: RunRecord) -> str:
    sizes = {
        part: sorted({sum(fold.counts.get(part, {}).values()) for fold in record.folds})
        for part in ("train", "select", "test")
    }
    shown = ", ".join(
        f"{part} {numbers[0]:,}" + (f"\N{EN DASH}{numbers[-1]:,}" if len(numbers) > 1 else "")
        for part, numbers in sizes.items()
    )
    count = len(record.folds)
    return f"{count} fold{'s' if count > 1 else ''} of {shown} images; digest {record.folds[0].digest}"


def _device(record: RunRecord) -> str:
    device = record.device
    threads = " then ".join(map(str, device.threads))
    return f"{device.name}, {device.precision}" + (f", {threads} thread{'s' * (threads != '1')}" if threads else "")


def _code(record: RunRecord) -> str:
    code = record.code
    commit = f"commit {code.commit[:10]}{'-dirty' * code.dirty}" if code.commit else "outside a git checkout"
    packages = ", ".join(f"{name} {version}" for name, version in code.packages.items())
    return f"fer_bench {code.version}, {commit}, Python {code.python}" + (f", {packages}" if packages else "")
