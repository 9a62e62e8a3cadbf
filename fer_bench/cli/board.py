"""What makes, shows and explains the board: `score`, `ensemble`, `leaderboard`, `compare`, `errors`, `report`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fer_bench.protocols import get_protocol

if TYPE_CHECKING:
    from fer_bench.leaderboard import VerifyResult

# Of the board in a file or a pipe: room for every column.
PIPED_WIDTH = 200


def score(options: argparse.Namespace) -> int:
    """Score predictions made elsewhere as a row marked external."""
    from fer_bench import external, leaderboard
    from fer_bench.records import Workspace

    workspace = Workspace()
    record = external.score_external(
        options.predictions, options.name, options.protocol, workspace,
        data_dir=options.data_dir, allow_partial=options.allow_partial,
    )  # fmt: skip
    leaderboard.build(workspace)
    print(f"{options.name} on {options.protocol}: {100 * record.accuracy():.2f}% (external)")
    return 0


def average(options: argparse.Namespace) -> int:
    """Average stored predictions of runs chosen on select, as a row."""
    from fer_bench import ensemble, leaderboard
    from fer_bench.records import Workspace

    workspace = Workspace()
    record = ensemble.build(workspace, options.protocol)
    leaderboard.build(workspace)
    for member in record.members:
        print(f"{member.times} x {member.model}.{member.recipe_name}, seed {member.seed}")
    accuracies = (f"{100 * record.accuracy(part=part):.2f}% on {part}" for part in ("select", "test"))
    print(f"their mean on {record.protocol}: {', '.join(accuracies)}")
    return 0


def build(options: argparse.Namespace) -> int:
    """Make the board's files from the records."""
    from fer_bench import leaderboard
    from fer_bench.records import Workspace

    workspace = Workspace()
    rows = len(leaderboard.build(workspace))
    print(f"{rows} rows in {workspace.leaderboard / 'leaderboard.csv'}")
    return 0


def measure(options: argparse.Namespace) -> int:
    """Measure how long each network takes on this CPU, and build."""
    from fer_bench import leaderboard
    from fer_bench.records import Workspace

    leaderboard.measure_latency(Workspace())
    return build(options)


def show(options: argparse.Namespace) -> int:
    """Print the board."""
    from rich.console import Console

    from fer_bench import leaderboard
    from fer_bench.records import Workspace

    if options.protocol is not None:
        get_protocol(options.protocol)
    board = leaderboard.compute(Workspace())
    console = Console() if sys.stdout.isatty() else Console(width=PIPED_WIDTH)
    tables = leaderboard.show(board, options.protocol, console.width)
    for table in tables:
        console.print(table)
    if not tables:
        print("no rows yet: `python -m fer_bench run --all` makes them")
    return 0


def verify(options: argparse.Namespace) -> int:
    """Compute every number again from the stored predictions."""
    from fer_bench import leaderboard
    from fer_bench.records import Workspace

    results = leaderboard.verify(
        Workspace(), with_weights=options.weights, data_dir=options.data_dir, report=print_verified
    )
    return exit_code(results)


def print_verified(result: VerifyResult) -> None:
    """A line for each that was checked."""
    print(f"{'ok' if result.ok else 'FAILED'}: {result.path}: {'; '.join(result.messages)}", flush=True)


def exit_code(results: Sequence[VerifyResult]) -> int:
    """Print how many are well: 0 if all are, else 1."""
    failed = sum(not result.ok for result in results)
    unlabelled = sum(result.unlabelled for result in results)
    without = f"; {unlabelled} without the data set, by their stored labels alone" if unlabelled else ""
    print(f"{len(results) - failed} verified, {failed} failed{without}")
    return 1 if failed else 0


def compare(options: argparse.Namespace) -> int:
    """Are two rows different? Paired bootstrap and McNemar's test."""
    from fer_bench import leaderboard
    from fer_bench.records import Workspace

    get_protocol(options.protocol)
    print(leaderboard.compare(Workspace(), options.a, options.b, options.protocol))
    return 0


def errors(options: argparse.Namespace) -> int:
    """What a run takes for what, and the faces themselves as a local page."""
    from fer_bench import data
    from fer_bench.leaderboard import errors_page
    from fer_bench.records import Workspace, write_bytes

    protocol = get_protocol(options.protocol)
    run = errors_page.find_run(Workspace(), options.model, protocol.name, options.recipe)
    for confusion in errors_page.confusions(run)[:10]:
        print(f"{confusion.images:5} {confusion.label} taken for {confusion.predicted} ({100 * confusion.share:.0f}%)")
    if options.html is not None:
        dataset = data.load(protocol.dataset, options.data_dir, allow_partial=True, progress=print)
        path = errors_page.default_path(Workspace(), run) if options.html == Path() else options.html
        write_bytes(path, errors_page.page(run, dataset).encode())
        print(f"{path}{'' if dataset.name == 'synthetic' else ': pictures of real people, do not publish it'}")
    return 0


def pages(options: argparse.Namespace) -> int:
    """Each paper's tables and figures beside our runs, as pages in leaderboard/papers."""
    from fer_bench import report
    from fer_bench.records import Workspace

    for path, figures in report.write(Workspace(), options.pages or report.PAGES).items():
        print(f"{path}: {figures} figures")
    return 0
