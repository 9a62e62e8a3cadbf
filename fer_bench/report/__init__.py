"""Each paper beside our runs: `leaderboard/papers/<paper>.md` and its figures, made from the records alone."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from fer_bench.errors import FerBenchError, UnknownNameError
from fer_bench.leaderboard.latency import read_latency
from fer_bench.leaderboard.rows import read_rows
from fer_bench.records import Workspace, write_bytes
from fer_bench.report.paper import Evidence, Paper
from fer_bench.report.render import Page, render

PAPERS = ("marrugat", "lin_shi", "ranjan", "leng", "attentional")

__all__ = ["PAPERS", "Page", "evidence", "get_paper", "render", "write"]


def get_paper(name: str) -> Paper:
    """The paper of that name.

    Raises:
        UnknownNameError: no such paper.
    """
    if name not in PAPERS:
        raise UnknownNameError("paper", name, PAPERS)
    paper: Paper = import_module(f"fer_bench.report.{name}").PAPER
    return paper


def evidence(workspace: Workspace) -> Evidence:
    """What a workspace has to report on.

    Raises:
        FerBenchError: there is no record, or one is corrupt; the message names the file.
    """
    rows = [row for row in read_rows(workspace) if not row.partial and not row.first.external]
    if not rows:
        raise FerBenchError(f"no records in {workspace.records}: `python -m fer_bench run --all` makes them")
    return Evidence(
        rows={(row.first.model, row.first.protocol, row.first.recipe_name): row for row in rows},
        shipped=frozenset(path.name.removesuffix(".safetensors") for path in workspace.weights.glob("*.safetensors")),
        latency=read_latency(workspace),
    )


def write(workspace: Workspace, names: Sequence[str] = PAPERS) -> dict[str, int]:
    """Write the pages and their figures; figures that a page no longer has go.

    Returns:
        The number of figures by the page's path.

    Raises:
        UnknownNameError: no such paper.
        FerBenchError: as `evidence`.
    """
    papers = [get_paper(name) for name in dict.fromkeys(names)]
    found = evidence(workspace)
    folder = workspace.leaderboard / "papers"
    written = {}
    for paper in papers:
        page = render(paper, found, workspace)
        files = {name: draw() for name, draw in page.figures.items()}
        path = folder / f"{paper.name}.md"
        for name, content in {**files, path.name: page.markdown.encode()}.items():
            write_bytes(folder / name, content)
        for stale in set(folder.glob(f"{paper.name}-*.svg")) - {folder / name for name in files}:
            stale.unlink()
        written[str(path)] = len(files)
    return written
