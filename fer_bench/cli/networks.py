"""What is done with shipped networks: `weights`, `export` and `predict`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fer_bench.cli.board import exit_code, print_verified
from fer_bench.errors import FerBenchError

if TYPE_CHECKING:
    from fer_bench.pictures import Frame
    from fer_bench.recognition import BatchRow


def verify(options: argparse.Namespace) -> int:
    """Predict again with the shipped files; compare with the records."""
    from fer_bench import leaderboard
    from fer_bench.records import Workspace

    results = []
    for result in leaderboard.verify_weights(Workspace(), options.names, data_dir=options.data_dir):
        print_verified(result)
        results.append(result)
    return exit_code(results)


def push(options: argparse.Namespace) -> int:
    """Upload the networks with a model card; only what is new is sent."""
    from fer_bench import hub
    from fer_bench.records import Workspace

    pushed = hub.push(options.repo, Workspace())
    print(f"{pushed.url}: {f'{pushed.networks} networks' if pushed.changed else 'nothing was new'}")
    return 0


def pull(options: argparse.Namespace) -> int:
    """Download the networks that are not here yet."""
    from fer_bench import hub
    from fer_bench.records import Workspace

    states = []
    for file in hub.pull(options.repo, Workspace(), options.revision):
        print(f"{file.state}: {file.name}{f' ({file.note})' if file.note else ''}", flush=True)
        states.append(file.state)
    new = sum(state in ("new", "replaced") for state in states)
    print(f"{new} of {len(states)} networks are new" if new else f"nothing new among {len(states)} networks")
    return 1 if "refused" in states else 0


def export_file(options: argparse.Namespace) -> int:
    """Write a shipped network as a file that needs nothing of fer_bench."""
    from fer_bench import export, weights
    from fer_bench.records import Workspace, write_bytes

    name = weights.published_name(Workspace(), options.model)
    if options.out is not None and options.out.is_dir():
        raise FerBenchError(f"{options.out}: a folder; --out takes a file's name")
    if options.out is not None and options.out.resolve().parent == Workspace().weights.resolve():
        raise FerBenchError(f"{options.out}: the folder of the shipped networks; --out takes another")
    _say_which(name, options.model)
    predictor = weights.load_published(Workspace(), name)
    content = export.to_onnx(predictor)
    difference = export.largest_difference(content, predictor)
    print(f"onnxruntime's probabilities differ from ours by at most {difference:.1e}")
    if not difference <= export.TOLERANCE:  # nor is nan
        print(f"FAILED: expected at most {export.TOLERANCE:.0e}; nothing written", file=sys.stderr)
        return 1
    path = options.out or Path(f"{name}.{options.format}")
    write_bytes(path, content)
    print(f"{path}: {len(content) / 1e6:.1f} MB")
    return 0


def classify(options: argparse.Namespace) -> int:
    """Find the faces of pictures and videos and classify them."""
    import contextlib
    import csv
    import os

    from fer_bench import faces, recognition, weights
    from fer_bench.records import Workspace, replacing

    name = weights.published_name(Workspace(), options.model)
    predictor = weights.load_published(Workspace(), name)
    for path in options.paths:
        if not path.exists():
            raise FerBenchError(f"{path}: no such file or folder")
    if options.csv is not None and options.csv.is_dir():
        raise FerBenchError(f"{options.csv}: a folder; --csv takes a file's name")
    if options.csv is not None and options.csv.resolve() in {path.resolve() for path in options.paths}:
        raise FerBenchError(f"{options.csv}: is to be read, and --csv would write over it; give another name")
    _say_which(name, options.model)
    detector = None if options.whole else faces.find_detector()
    if detector is not None:
        print(f"faces: {detector.name} ({detector.note})", file=sys.stderr)
    readable, error = False, ""
    with contextlib.ExitStack() as stack:
        target = Path(os.devnull) if options.csv is None else stack.enter_context(replacing(options.csv))
        file = stack.enter_context(target.open("w", encoding="utf-8", newline=""))
        table = csv.writer(file)
        table.writerow(recognition.csv_header(predictor.classes))
        frames = stack.enter_context(contextlib.closing(_tracked(options.paths)))
        for number, frame in enumerate(frames, start=1):
            found = None
            if frame.picture is None:
                error = f"{frame.file}: {frame.error}"
            else:
                readable = True
                found = recognition.recognise(frame.picture, {name: predictor}, detector)
                if options.annotate is not None:
                    recognition.write_annotated(options.annotate, number, frame, found)
            for row in recognition.rows_of(frame, found):
                print(_row_text(row), flush=True)
                table.writerow(recognition.csv_row(row, predictor.classes))
        if not readable:
            raise FerBenchError(error)
    return 0


def _say_which(name: str, asked: str) -> None:
    """Of a model that was asked for without a recipe, which of its networks is at work."""
    if name != asked:
        print(f"model: {name}", file=sys.stderr)


def _tracked(paths: Sequence[Path]) -> Generator[Frame]:
    """The pictures, with a progress bar where stderr is a terminal."""
    from fer_bench import pictures

    if not sys.stderr.isatty():
        yield from pictures.pictures(paths)
        return
    from rich.console import Console
    from rich.progress import Progress as RichProgress

    # Rows are printed above the bar; into a pipe they go as they are.
    with RichProgress(console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        yield from bar.track(pictures.pictures(paths), total=pictures.count(paths), description="pictures")


def _row_text(row: BatchRow) -> str:
    where = row.file if row.seconds is None else f"{row.file} at {row.seconds:.1f} s"
    if row.opinion is None:
        return f"{where}: {row.note}"
    face = "" if row.box is None else f", face {row.face}"
    note = f" ({row.note})" if row.note else ""
    return f"{where}{face}: {row.opinion.top} {100 * row.opinion.confidence:.1f}%{note}"
