"""A paper and the evidence -> a page: the one engine behind all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, groupby

from fer_bench import weights
from fer_bench.leaderboard.rows import Row
from fer_bench.protocols import PROTOCOLS
from fer_bench.records import Workspace
from fer_bench.report import figures
from fer_bench.report.measures import ACCURACY, between, signed, words
from fer_bench.report.paper import Cell, Claim, Claims, Evidence, Figure, Maps, Note, Number, Paper, Ref, Table, Value

READING = (
    "In the tables: the paper's number, ours, and ours minus the paper's. In brackets is our 95% interval, over test "
    "images (on CK+ people, on SFEW films, with all their images) and seeds; \N{ALMOST EQUAL TO} says that the "
    "paper's number lies in it, so that the two can't be told apart. Accuracies are in percent, one look at the "
    "whole picture. *To run* means that there is no record yet; the command that makes it stands at the end."
)
TO_RUN = "Still to run"
VERDICTS = {True: "yes", False: "no", "tie": "a tie", None: ""}
# A table of more columns of numbers than these writes the three under each other.
WIDE = 2


@dataclass(frozen=True)
class Page:
    """A page's Markdown, and what draws each of its figures, by file name."""

    markdown: str
    figures: Mapping[str, Callable[[], bytes]]


@dataclass
class _Todo:
    """The rows that a page lacks, in the order met."""

    refs: dict[Ref, int] = field(default_factory=dict)

    def __call__(self, *refs: Ref) -> str:
        numbers = sorted({self.refs.setdefault(ref, len(self.refs) + 1) for ref in refs})
        # Neighbours differ from their place by the same: 4 5 6 9 -> 4-6, 9.
        runs = (list(run) for _, run in groupby(enumerate(numbers), key=lambda item: item[1] - item[0]))
        shown = ", ".join(
            "\N{EN DASH}".join(str(n) for _, n in (run if len(run) == 1 else run[:: len(run) - 1])) for run in runs
        )
        return f"[to run {shown}](#{TO_RUN.lower().replace(' ', '-')})"

    def lines(self) -> list[str]:
        """The commands, in a list whose numbers are those that the page refers to."""
        return [f"## {TO_RUN}", "", *(f"{n}. {ref.command}" for ref, n in self.refs.items()), ""] if self.refs else []


def render(paper: Paper, evidence: Evidence, workspace: Workspace) -> Page:
    """The page; its figures are drawn when asked for."""
    evidence.used.clear()
    todo = _Todo()
    drawn: dict[str, Callable[[], bytes]] = {}
    found = _found(paper, evidence, todo)
    body: list[str] = []
    for section in paper.sections:
        body += [f"## {section.title}", ""]
        if isinstance(section, Table):
            body += _table(section, evidence, todo)
        elif isinstance(section, Claims):
            body += _claims(section, evidence, todo)
        elif isinstance(section, Note):
            body += [section.text, ""]
        else:
            body += _figure(section, f"{paper.name}-{section.name}.svg", evidence, todo, workspace, drawn)
    protocols = [name for name in PROTOCOLS if any(ref.protocol == name for ref in _refs(paper))]
    lines = [
        f"# {paper.title}",
        "",
        f"Computed from the records by `python -m fer_bench report {paper.name}`; only the paper's numbers and words "
        "are typed in.",
        "",
        "## What the paper claims",
        "",
        paper.claims,
        "",
        "## What we found",
        "",
        *found,
        "## What this is not",
        "",
        *(f"- {text}" for text in paper.is_not),
        *(f"- `{name}`: {PROTOCOLS[name].caveat}" for name in protocols),
        "",
        READING,
        "",
        *body,
        *todo.lines(),
        *_made_from(evidence),
    ]
    return Page("\n".join(lines), drawn)


def _refs(paper: Paper) -> Iterable[Ref]:
    """Every row that the page asks for, some of them again and again."""
    for section in paper.sections:
        if isinstance(section, Table):
            yield from (number.ref for number in _numbers(section))
        elif isinstance(section, Figure):
            yield from section.needs
        elif isinstance(section, Claims):
            yield from chain.from_iterable(claim.needs for claim in section.claims)
    yield from chain.from_iterable(claim.needs for claim in paper.findings)


def _numbers(table: Table) -> Iterable[Number]:
    return (cell for _, cells in table.rows for cell in cells if isinstance(cell, Number))


# what we found


def _found(paper: Paper, evidence: Evidence, todo: _Todo) -> list[str]:
    bullets = []
    for claim in paper.findings:
        verdict, text = _finding(claim, evidence, todo)
        bullets.append(f"- {claim.says} {f'**{verdict.capitalize()}.** ' if verdict else ''}{text}")
    return [_summary(paper, evidence), "", *bullets, ""]


def _summary(paper: Paper, evidence: Evidence) -> str:
    """How many of the paper's test accuracies were run, and where ours lie."""
    stated = {
        (number.ref, number.paper): number
        for section in paper.sections
        if isinstance(section, Table)
        for number in _numbers(section)
        if number.measure is ACCURACY and number.paper is not None
    }
    run = [(evidence.row(number.ref), paper) for (_, paper), number in stated.items()]
    ours = [(ACCURACY.of(row), paper / 100) for row, paper in run if row is not None and paper is not None]
    if not ours:
        return f"The paper states {_accuracies(len(stated))}; none has been run here yet."
    above, below = sum(value.low > paper for value, paper in ours), sum(value.high < paper for value, paper in ours)
    where = {
        "ours is higher": above,
        "ours is lower": below,
        "the paper's lies in our 95% interval": len(ours) - above - below,
    }
    found = [what for what, count in where.items() if count]
    if len(ours) > 1:
        found = [f"in {'each' if where[what] == len(ours) else where[what]} {what}" for what in found]
    if len(stated) == 1:
        been = "it has"
    else:
        been = f"{'all' if len(ours) == len(stated) else len(ours)} {'has' if len(ours) == 1 else 'have'}"
    return f"The paper states {_accuracies(len(stated))}; {been} been run here: {words(found)}."


def _accuracies(count: int) -> str:
    return f"{count} test accuracies" if count != 1 else "one test accuracy"


def _finding(claim: Claim, evidence: Evidence, todo: _Todo) -> tuple[str, str]:
    """The verdict and the words."""
    rows = [evidence.row(ref) for ref in claim.needs]
    if missing := [ref for ref, row in zip(claim.needs, rows, strict=True) if row is None]:
        return "", todo(*missing)
    if claim.latency and evidence.latency is None:
        return "", "to measure: `python -m fer_bench leaderboard measure`"
    finding = claim.found(*([evidence.latency["milliseconds"]] if claim.latency and evidence.latency else []), *rows)
    return VERDICTS[finding.holds], finding.text


# sections


def _claims(section: Claims, evidence: Evidence, todo: _Todo) -> list[str]:
    lines = ["| the paper says | holds | we find |", "|:--|:--|:--|"]
    for claim in section.claims:
        lines.append(f"| {' | '.join((claim.says, *_finding(claim, evidence, todo)))} |")
    return [*lines, ""]


def _table(table: Table, evidence: Evidence, todo: _Todo) -> list[str]:
    columns = [[cells[place] for _, cells in table.rows] for place in range(len(table.columns))]
    stacked = sum(any(isinstance(cell, Number) for cell in column) for column in columns) > WIDE
    heads: list[str] = []
    shown: list[list[str]] = []
    for title, column in zip(table.columns, columns, strict=True):
        numbers = [cell for cell in column if isinstance(cell, Number)]
        if stacked or not numbers:
            heads.append(title)
            shown.append(["<br>".join(filter(None, _cell(cell, evidence, todo, interval=False))) for cell in column])
            continue
        # A column of numbers becomes three, or one where the paper has none.
        parts = [_cell(cell, evidence, todo, interval=True) for cell in column]
        kept = (0, 1, 2) if any(number.paper is not None for number in numbers) else (1,)
        prefix = f"{title}: " if len(table.columns) > 1 else ""
        heads += [(f"{prefix}paper", f"{prefix}ours" if len(kept) > 1 else title, "difference")[k] for k in kept]
        shown += [[part[k] for part in parts] for k in kept]
    lines = [f"| {' | '.join((table.corner, *heads))} |", f"|:--|{'--:|' * len(heads)}"]
    for (name, _), cells in zip(table.rows, zip(*shown, strict=True), strict=True):
        lines.append(f"| {' | '.join((name, *cells))} |")
    return [*lines, "", " ".join((table.differs, *_widest(table, evidence, stacked))), ""]


def _cell(cell: Cell, evidence: Evidence, todo: _Todo, interval: bool) -> tuple[str, str, str]:
    """The paper's number, ours and the difference; words stand alone."""
    if isinstance(cell, str):
        return "", cell, ""
    measure = cell.measure
    paper = "\N{EN DASH}" if cell.paper is None else f"{cell.paper:.{measure.digits}f}"
    row = evidence.row(cell.ref)
    if row is None:
        return paper, todo(cell.ref), ""
    value = Value(*(measure.scale * end for end in measure.of(row)))
    ends = between(value.low, value.high) if interval else ""
    ours = f"**{value.value:.{measure.digits}f}**{ends}"
    if cell.paper is None:
        return paper, ours, ""
    same = "\N{NO-BREAK SPACE}\N{ALMOST EQUAL TO}" if value.low <= cell.paper <= value.high else ""
    return paper, ours, f"{signed(value.value - cell.paper, measure.digits)}{same}"


def _widest(table: Table, evidence: Evidence, stacked: bool) -> list[str]:
    """The uncertainty of a table too narrow for its intervals."""
    if not stacked:
        return []
    rows = [(number, evidence.row(number.ref)) for number in _numbers(table)]
    halves = [
        number.measure.scale * (value.high - value.low) / 2
        for number, row in rows
        if row is not None and math.isfinite((value := number.measure.of(row)).low)
    ]
    if not halves:
        return []
    middle = sorted(halves)[len(halves) // 2]
    return [f"The 95% intervals reach \N{PLUS-MINUS SIGN}{middle:.2f} in the median, at most "
            f"\N{PLUS-MINUS SIGN}{max(halves):.2f}."]  # fmt: skip


def _figure(
    section: Figure | Maps,
    file: str,
    evidence: Evidence,
    todo: _Todo,
    workspace: Workspace,
    drawn: dict[str, Callable[[], bytes]],
) -> list[str]:
    image = [f"![{section.title}]({file})", "", section.note, ""]
    if isinstance(section, Maps):
        if section.ref.name not in evidence.shipped:
            return [section.note, "", f"Its network is not in `weights/`: {todo(section.ref)}.", ""]
        drawn[file] = partial(_draw_maps, section, workspace)
        return image
    rows = {ref: evidence.row(ref) for ref in section.needs}
    found = [row for row in rows.values() if row is not None]
    missing = [ref for ref, row in rows.items() if row is None]
    if len(found) < (section.least or len(rows)):
        return [section.note, "", f"Not drawn yet: {todo(*missing)}.", ""]
    drawn[file] = partial(_draw, section, found)
    if not missing or section.least == 1:
        return image
    return [*image, f"Without {len(missing)} of {len(rows)} rows: {todo(*missing)}.", ""]


def _draw(section: Figure, rows: Sequence[Row]) -> bytes:
    return figures.file(section.draw(rows), f"{section.title}. {section.note}")


def _draw_maps(section: Maps, workspace: Workspace) -> bytes:
    predictor = weights.load_published(workspace, section.ref.name)
    return figures.file(figures.activation_maps(predictor), f"{section.title}. {section.note}")


def _made_from(evidence: Evidence) -> list[str]:
    if not evidence.used:
        return []
    lines = ["## Made from", "", "| record | seeds | trained on | minutes a seed |", "|:--|:--|:--|--:|"]
    for row in sorted(evidence.used.values(), key=lambda row: (row.first.protocol, row.name)):
        seeds = ", ".join(str(record.seed) for record in row.records)
        devices = " / ".join(dict.fromkeys(f"{r.device.name}, {r.device.precision}" for r in row.records))
        time = sum(record.train_seconds for record in row.records) / len(row.records) / 60
        lines.append(f"| {row.first.protocol}/{row.name} | {seeds} | {devices} | {time:.1f} |")
    return [*lines, ""]
