"""Pages made from the records alone: each paper beside our runs, with figures, and what was to be reached."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from fer_bench.errors import FerBenchError, UnknownNameError
from fer_bench.leaderboard.latency import read_latency
from fer_bench.leaderboard.rows import read_rows
from fer_bench.records import Workspace, write_bytes
from fer_bench.report import goals
from fer_bench.report.paper import Evidence, Paper
from fer_bench.report.render import Page, render

PAPERS = ("marrugat", "lin_shi", "ranjan", "leng", "attentional")
GOALS = "goals"
PAGES = (*PAPERS, GOALS)

__all__ = ["GOALS", "PAGES", "PAPERS", "Page", "evidence", "get_paper", "goals_page", "render", "write"]


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
    rows = [row for row in read_rows(workspace) if not row.partial and row.first.trained]
    if not rows:
        raise FerBenchError(f"no records in {workspace.records}: `python -m fer_bench run --all` makes them")
    return Evidence(
        rows={(row.first.model, row.first.protocol, row.first.recipe_name): row for row in rows},
        shipped=frozenset(path.name.removesuffix(".safetensors") for path in workspace.weights.glob("*.safetensors")),
        latency=read_latency(workspace),
    )


def goals_page(workspace: Workspace) -> str:
    """What was to be reached, and what was.

    Raises:
        FerBenchError: a record is corrupt; the message names the file.
    """
    return goals.page([row for row in read_rows(workspace) if not row.partial])


def write(workspace: Workspace, names: Sequence[str] = PAGES) -> dict[str, int]:
    """Write the pages and their figures; figures that a page no longer has go.

    The papers' pages go to `leaderboard/papers/`, the goals to `leaderboard/goals.md`.

    Returns:
        The number of figures by the page's path.

    Raises:
        UnknownNameError: no such page.
        FerBenchError: as `evidence`.
    """
    for name in names:
        if name not in PAGES:
            raise UnknownNameError("page", name, PAGES)
    papers = [get_paper(name) for name in dict.fromkeys(names) if name != GOALS]
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
    if GOALS in names:
        path = workspace.leaderboard / f"{GOALS}.md"
        write_bytes(path, goals_page(workspace).encode())
        written[str(path)] = 0
    return written
