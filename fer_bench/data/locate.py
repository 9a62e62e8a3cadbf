"""Where a data set is: --data-dir, FER_BENCH_DATA, ./data, the user's cache, and for FER2013 the Hub."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from fer_bench.data.archive import FolderTree, Tree, open_tree
from fer_bench.data.source import DataSetSpec, Source
from fer_bench.errors import DataNotFoundError, FerBenchError

HUB_DATASET = "Aaryan333/fer2013_train_publicTest_privateTest"
HUB_REVISION = "435bbcb3c98581134be1b9db3f4c2b7e9a3a5faa"

Progress = Callable[[str], None]


def cache_root() -> Path:
    """The user's cache: FER_BENCH_CACHE, else fer_bench in XDG_CACHE_HOME or ~/.cache."""
    if chosen := os.environ.get("FER_BENCH_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fer_bench"


def roots(data_dir: Path | None) -> list[Path]:
    """The places to look, in order.

    Raises:
        DataNotFoundError: a place that the user named does not exist or is empty.
    """
    named = [] if data_dir is None else [("the data folder", Path(data_dir))]
    if variable := os.environ.get("FER_BENCH_DATA"):
        named.append(("FER_BENCH_DATA", Path(variable)))
    for what, path in named:
        if not path.exists():
            raise DataNotFoundError(f"{what} {str(path)!r}: no such file or folder; create it or name another")
        if path.is_dir() and not any(path.iterdir()):
            raise DataNotFoundError(
                f"{what} {str(path)!r} is empty: put a data set there; `data status` without it says what"
            )
    defaults = [path for path in (Path("data"), cache_root() / "data") if path.is_dir()]
    return [path for _, path in named] + defaults


def locate(spec: DataSetSpec, data_dir: Path | None) -> Source | None:
    """The data set in the first place that has it, or None.

    Raises:
        FerBenchError: a place that the user named is missing or empty; or the first thing that looks like
            the data set cannot be read.
    """
    return next(filter(None, (_search(spec, root) for root in roots(data_dir))), None)


def _search(spec: DataSetSpec, root: Path) -> Source | None:
    """The set in `root`: in a sub-folder named like it, else anywhere; broken zips matter if it is not."""
    broken: FerBenchError | None = None
    for path in _candidates(spec, root):
        try:
            with open_tree(path) as tree:
                if source := identify(spec, tree):
                    return source
        except FerBenchError as error:
            broken = broken or error
    if broken:
        raise broken
    return None


def _candidates(spec: DataSetSpec, root: Path) -> Iterator[Path]:
    """Folders named like the set, with the zips in them; then `root` itself, with its zips."""
    if root.is_file():
        yield root
        return
    bases = [
        path
        for path in sorted(root.iterdir())
        if path.is_dir() and "".join(filter(str.isalnum, path.name.lower())).startswith(spec.hints)
    ]
    for base in (*bases, root):
        yield base
        yield from sorted(path for path in base.iterdir() if path.suffix.lower() == ".zip" and path.is_file())


def identify(spec: DataSetSpec, tree: Tree) -> Source | None:
    """The data set in this very folder or zip, or None."""
    match = spec.recognise(tree.names())
    if match is None:
        return None
    zipped = {"folders": "zip of folders", "csv": "csv in a zip"}
    layout = zipped.get(match.layout, f"{match.layout} in a zip") if tree.zipped else match.layout
    path = tree.path.resolve()
    key = hashlib.sha256(f"{layout}\0{path}\0{tree.stamp(match.names)}".encode()).hexdigest()
    return Source(path=tree.path, match=match, layout=layout, key=key)


def hub_source(spec: DataSetSpec, progress: Progress | None = None) -> Source:
    """FER2013 from the Hub at the pinned revision: from the Hub's own cache if whole, else downloaded.

    Raises:
        DataNotFoundError: the Hub cannot be reached (HF_HUB_OFFLINE counts); the message says what to get.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    def fetch(*, local_only: bool) -> Source | None:
        folder = snapshot_download(
            HUB_DATASET,
            repo_type="dataset",
            revision=HUB_REVISION,
            allow_patterns="data/*.parquet",
            local_files_only=local_only,
        )
        return identify(spec, FolderTree(Path(folder)))

    with contextlib.suppress(LocalEntryNotFoundError):
        if source := fetch(local_only=True):
            return source
    if progress:
        progress(f"downloading {spec.name} from the Hub ({HUB_DATASET}); {spec.licence}")
    try:
        source = fetch(local_only=False)
    except Exception as error:  # its HTTP library's errors come through, and that library differs by version
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataNotFoundError(f"{not_found(spec)} (the Hub gave: {reason})") from error
    if source is None:
        raise DataNotFoundError(f"{not_found(spec)} (the Hub's {HUB_DATASET} has not the expected files)")
    return source


def not_found(spec: DataSetSpec) -> str:
    """What to get and where to put it."""
    return (
        f"{spec.name} was not found: put {spec.files} into ./data, {cache_root() / 'data'}, "
        f"or the folder that FER_BENCH_DATA or --data-dir names"
    )
