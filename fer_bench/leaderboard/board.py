"""The files of the board: a pure function of the records, the latency measurement and the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fer_bench.errors import FerBenchError
from fer_bench.leaderboard.latency import read_latency
from fer_bench.leaderboard.rows import COLUMNS, Run, frame, read_rows
from fer_bench.protocols import PROTOCOLS, Protocol, get_protocol
from fer_bench.records import RunRecord, Workspace, list_records, read_record, write_bytes

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

START, END = "<!-- board:start -->", "<!-- board:end -->"


def build(workspace: Workspace) -> pd.DataFrame:
    """Write the CSV, the page, the manifest of the weights and, between its markers, the README's board.

    The same records give the same bytes; each file is written whole or not at all, and none if a record is
    bad.

    Returns:
        The board as the CSV has it; accuracies in percent.

    Raises:
        FerBenchError: a record, its predictions or the latency measurement can't be read; the message names
            the file.
    """
    board, files = render(workspace)
    files[manifest_path(workspace)] = manifest(workspace)
    for path, content in files.items():
        write_bytes(path, content)
    return board


def render(workspace: Workspace) -> tuple[pd.DataFrame, dict[Path, bytes]]:
    """The board and the content of every file that depends on nothing but the records and the latency.

    The README is one of them if it has the two markers; what stands outside them stays as it is.

    Raises:
        FerBenchError: as `build`, or the README is no text, or has a first marker without a last one.
    """
    from fer_bench.leaderboard.page import page

    board = compute(workspace)
    files = {
        workspace.leaderboard / "leaderboard.csv": board.to_csv(index=False, lineterminator="\n").encode(),
        workspace.leaderboard / "index.html": page(board, read_latency(workspace)).encode(),
    }
    readme = workspace.root / "README.md"
    if readme.exists():
        before, start, rest = _text(readme).partition(START)
        _, end, after = rest.partition(END)
        if start and not end:
            raise FerBenchError(f"{readme}: has {START} but no {END} after it; put it where the board is to end")
        if start:
            files[readme] = f"{before}{START}\n{_markdown(board)}\n{END}{after}".encode()
    return board, files


def compute(workspace: Workspace) -> pd.DataFrame:
    """The board as the CSV has it, from the records and the latency.

    Raises:
        FerBenchError: a record, its predictions or the latency measurement can't be read.
    """
    latency = read_latency(workspace)
    return frame(read_rows(workspace), latency["milliseconds"] if latency else {})


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()  # line ends as they are
    except UnicodeDecodeError as error:
        raise FerBenchError(f"{path}: expected UTF-8 text ({error.reason} at byte {error.start})") from error


def read_board(workspace: Workspace) -> pd.DataFrame:
    """The board as `build` wrote it; without rows if it never did.

    Raises:
        FerBenchError: the CSV is not one of ours.
    """
    import pandas as pd

    path = workspace.leaderboard / "leaderboard.csv"
    if not path.exists():
        return frame([], {})
    try:
        words = {name: "str" for name, kind in COLUMNS.items() if kind == "str"}
        board = pd.read_csv(path, dtype=words, keep_default_na=False, na_values=[""])
        return board[list(COLUMNS)].astype(COLUMNS)
    except (KeyError, TypeError, ValueError, OSError) as error:  # pandas' own errors are ValueErrors
        problem = " ".join(str(error).split())
        raise FerBenchError(
            f"{path.name} is not a readable board ({problem}); `python -m fer_bench leaderboard build` makes it anew"
        ) from error


# What a narrow terminal goes without, in this order, before a number is cut.
SPARED = ("parameters", "near-copy-free", "ten crops", "gap", "paper")


def show(board: pd.DataFrame, protocol: str | None = None, width: int | None = None) -> list[Table]:
    """The board for the terminal: a table for one protocol, or for each that has rows.

    Args:
        width: characters a line; a table that is wider goes without some columns, and says so below.

    Raises:
        UnknownNameError: no such protocol.
    """
    from fer_bench.leaderboard import text

    board = text.ranked(board)
    chosen = [name for name in PROTOCOLS if (board["protocol"] == name).any()] if protocol is None else [protocol]
    return [_fitting(get_protocol(name), board[board["protocol"] == name], width) for name in chosen]


def _fitting(protocol: Protocol, rows: pd.DataFrame, width: int | None) -> Table:
    """The table with as many columns as the width has room for."""
    from rich.console import Console

    console = Console(width=10_000)
    spared: list[str] = []
    table = _table(protocol, rows, spared)
    for heading in SPARED:
        if width is None or console.measure(table).maximum <= width:
            break
        spared.append(heading)
        table = _table(protocol, rows, spared)
    return table


def _table(protocol: Protocol, rows: pd.DataFrame, spared: Sequence[str]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from fer_bench.leaderboard import text

    result = Table(title=protocol.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    headings, lines = text.table(rows)
    if not lines:
        result.add_column("no records yet")
    kept = [at for at, heading in enumerate(headings) if heading not in spared]
    if len(kept) < len(headings):
        missing = ", ".join(heading for heading in headings if heading in spared)
        result.caption, result.caption_justify = f"a wider terminal also shows: {missing}", "left"
    for heading in (headings[at] for at in kept):
        justify: Literal["left", "right"] = "left" if heading in text.LEFT_ALIGNED else "right"
        result.add_column(heading, justify=justify, no_wrap=True)
    for line in lines:
        result.add_row(*(Text(line[at]) for at in kept))  # a name with brackets is no markup
    return result


def _markdown(board: pd.DataFrame) -> str:
    import pandas as pd

    from fer_bench.leaderboard import text

    parts = []
    for protocol in PROTOCOLS.values():
        rows = text.ranked(board[board["protocol"] == protocol.name])
        headings, lines = text.table(rows)
        if not lines:
            continue
        rule = [":--" if heading in text.LEFT_ALIGNED else "--:" for heading in headings]
        table = "\n".join(_markdown_line(line) for line in (headings, rule, *lines))
        averaged = "".join(
            f"\n`{row['model']}` is the mean of {row['members']}, chosen on the selection part.\n"
            for row in text.records(rows)
            if not pd.isna(row["members"])
        )
        parts.append(f"### `{protocol.name}`: {protocol.title}\n\n{protocol.caveat}\n\n{table}\n{averaged}")
    if not parts:
        return "\nNo records yet.\n"
    return "\n" + "\n".join([*parts, f"{text.ORIGIN} {text.TIES}\n"])


def _markdown_line(cells: list[str]) -> str:
    # A name made elsewhere must neither end its cell nor become markup.
    return f"| {' | '.join(escape(cell, quote=False).replace('|', '&#124;') for cell in cells)} |"


def manifest_path(workspace: Workspace) -> Path:
    """Where the list of the shipped networks lies."""
    from fer_bench.weights import MANIFEST

    return workspace.weights / MANIFEST


def manifest(workspace: Workspace, stated: Mapping[str, float] | None = None) -> bytes:
    """What lies in `weights/`, each file with the run that it comes from, found by its sha256.

    With the temperature that calibrates its probabilities, where the run has a selection part to fit it to. Of a
    network that no record here scored it is the one `stated` elsewhere, by sha256, or else what the manifest had.
    """
    from fer_bench.weights import sha256, temperatures

    stated = {**temperatures(manifest_path(workspace)), **(stated or {})}
    origin: dict[str, tuple[Path, RunRecord]] = {}
    for path in list_records(workspace):
        record = read_record(path)
        for fold in record.folds:
            origin.setdefault(fold.weights_sha256, (path, record))
    entries = []
    for file in sorted(workspace.weights.glob("*.safetensors")):
        digest = sha256(file)
        entry: dict[str, Any] = {
            "file": file.name,
            "sha256": digest,
            "bytes": file.stat().st_size,
            "record": None,
        }
        if digest in origin:
            path, record = origin[digest]
            entry |= {
                "record": path.relative_to(workspace.root).as_posix(),
                "model": record.model,
                "recipe": record.recipe_name,
                "protocol": record.protocol,
                "seed": record.seed,
                "select_accuracy": round(100 * record.accuracy(part="select"), 2)
                if "select" in record.metrics
                else None,
                "test_accuracy": round(100 * record.accuracy(), 2),
                "temperature": next((round(value, 3) for value in Run(path, record).temperatures), None),
            }
        else:
            entry["temperature"] = stated.get(digest)
        entries.append(entry)
    return json.dumps(entries, indent=1).encode() + b"\n"
