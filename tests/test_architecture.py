"""The layering that the README draws: imports point down, and each concern stays in its place."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "fer_bench"
LAYERS = (
    {"specs", "labels", "errors", "metrics", "stats"},
    {"registry", "records"},
    {"data", "models", "features", "affine", "transforms", "losses", "replay"},
    {
        "protocols",
        "trainer",
        "fit",
        "inputs",
        "predict",
        "faces",
        "explain",
        "pictures",
        "weights",
        "scoring",
        "provenance",
    },
    {
        "bench",
        "ensemble",
        "export",
        "external",
        "hub",
        "suite",
        "engine",
        "leaderboard",
        "recognition",
        "plots",
        "report",
        "tune",
    },
    {"cli", "ui"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem[0] != "_")


def _part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> Iterator[str]:
    """Dotted names of everything a module imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_readme_draws_these_layers() -> None:
    table = (ROOT / "README.md").read_text().partition("| layer | modules |")[2].partition("\n\n")[0]
    drawn = [set(re.findall(r"`(\w+)`", line)) for line in table.splitlines()[2:]]
    assert drawn == list(LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    part = _part(path)
    for name in _imports(path):
        if name.startswith("fer_bench."):
            imported = name.split(".")[1]
            if imported in LEVEL:
                assert LEVEL[imported] <= LEVEL[part], f"{part} imports {name}"
            if part == "models":
                assert imported != "data", "a model knows nothing of data sets"
        top = name.partition(".")[0]
        assert top != "gradio" or part == "ui"
        assert top not in ("argparse", "typer") or part == "cli"


@pytest.mark.parametrize(
    "path", [p for p in MODULES if _part(p) != "cli"], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_only_the_command_line_prints(path: Path) -> None:
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    assert not any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls)


def test_import_and_list_are_light() -> None:
    code = (
        "import sys; from fer_bench import cli; cli.main(['list']); "
        "heavy = {'torch', 'timm', 'pandas', 'sklearn', 'skimage', 'cv2', 'PIL', 'gradio', 'albumentations'}; "
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert "lin_shi" in result.stdout


def test_app_is_short() -> None:
    assert len((ROOT / "app.py").read_text().splitlines()) < 20
