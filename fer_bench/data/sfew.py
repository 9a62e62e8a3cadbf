"""SFEW v1: 675 frames of films, 720x576 colour, seven expressions.

Dhall et al., "Static Facial Expressions in Tough Conditions" (ICCV workshops, 2011). A file's name starts
with its film; one frame lies byte-identical under two expressions, so an id is class/name.
"""

from __future__ import annotations

import functools
import hashlib
import io
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from fer_bench.data.archive import Tree, class_folders, decode_members, located, open_tree, read_bytes
from fer_bench.data.dataset import FaceDataset
from fer_bench.data.source import Contents, DataSetSpec, Match
from fer_bench.errors import DataNotFoundError, FerBenchError
from fer_bench.labels import SFEW as LABELS

Float64Array = npt.NDArray[np.float64]

SHAPE = (576, 720, 3)
COUNTS = {"all": (100, 75, 100, 100, 100, 100, 100)}
FEATURES_FILE = "SFEW.xlsx"
# The first principal components of the detected faces' LPQ and PHOG.
PUBLISHED_PARTS = {"lpq": slice(0, 5), "phog": slice(5, 10)}

_FILE = re.compile(r"(?:.*/)?[^/]+/\w+[-_]\d{9}_+\d{8}\.\w+")
_WELL_FORMED = re.compile(r"\w*[A-Za-z0-9]_\d{9}_\d{8}\.\w+")


def recognise(names: Sequence[str]) -> Match | None:
    """Folders named by expression, files by film, time and frame; SFEW.xlsx anywhere belongs to it."""
    images = class_folders(names, _FILE)
    features = tuple(name for name in names if name.endswith(FEATURES_FILE))
    return Match("folders", images + features) if images else None


def read(tree: Tree, match: Match) -> Contents:
    """SFEW: (576, 720, 3) uint8 RGB images with the group "movie", what stands before the first `_` or `-`.

    Raises:
        FerBenchError: a folder that is no expression.
    """
    rows = []
    for name in match.names:
        if name.endswith(FEATURES_FILE):
            continue
        word, file = name.split("/")[-2:]
        with located(f"{tree.path}, {name!r}"):
            label = LABELS.index(word)
        rows.append((f"{LABELS.classes[label]}/{file}", label, re.split("[_-]", file)[0], name))
    rows.sort()
    return Contents(
        ids=[row[0] for row in rows],
        targets=[row[1] for row in rows],
        groups={"movie": [row[2] for row in rows]},
        shape=SHAPE,
        images=lambda: decode_members(tree.path, [row[-1] for row in rows], SHAPE),
        notes=tuple(_warts(tree, match, rows)),
    )


def _warts(tree: Tree, match: Match, rows: Sequence[tuple[str, int, str, str]]) -> Iterator[str]:
    # The same frame under two expressions has the same name, so only those few files are compared.
    repeated = {file for file, times in Counter(row[0].split("/")[1] for row in rows).items() if times > 1}
    same = defaultdict(list)
    for row in rows:
        if row[0].split("/")[1] in repeated:
            same[hashlib.sha256(read_bytes(tree, row[3])).hexdigest()].append(row[0])
    for ids in same.values():
        if len(ids) > 1:
            yield f"the same picture, byte for byte, is in {' and in '.join(ids)}"
    for row in rows:
        if not _WELL_FORMED.fullmatch(row[0].split("/")[1]):
            yield f"malformed name {row[0]}: the film is taken to be {row[2]}"
    for name in _workbooks(match.names):
        yield f"{FEATURES_FILE}, the published features of these frames, is there as {name}"


def _workbooks(names: Iterable[str]) -> list[str]:
    return [name for name in names if PurePosixPath(name).name == FEATURES_FILE]


def published_features(dataset: FaceDataset) -> Float64Array:
    """The features that the data set's authors published of its frames, in its order: (N, 10) float64.

    Columns as in `PUBLISHED_PARTS`; NaN where the file has no number: PHOG of one frame, whose first LPQ component
    is six times the next largest, as if no face had been found in it. The components were fitted on all 675
    frames, over which each column's mean is zero, so whatever is trained on them has seen the test half's pixels.

    Raises:
        DataNotFoundError: there is no SFEW.xlsx below the folder, or in the zip, that the frames are in.
        FerBenchError: there are several, or it is no such table, or its rows are not the frames' (names are not
            unique, so a row is a frame's by expression and name).
    """
    path = Path(dataset.source)
    with open_tree(path) as tree:
        found = _workbooks(tree.names())
        if not found:
            raise DataNotFoundError(
                f"{path}: expected {FEATURES_FILE}, the published features, with the frames; found none: put it there"
            )
        if len(found) > 1:
            raise FerBenchError(f"{path}: expected one {FEATURES_FILE}, found {' and '.join(found)}; remove the others")
        name = found[0]
        with located(f"{path}, {name!r}"):
            rows = _published_rows(read_bytes(tree, name))
            return _aligned(rows, dataset)


@functools.lru_cache(maxsize=1)  # a run asks for each part of each fold, and a workbook takes a second
def _published_rows(content: bytes) -> Mapping[str, Float64Array]:
    """Frames as class/name without a suffix -> (10,) float64."""
    import pandas as pd

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # openpyxl's, of an extension that it does not know
            table = pd.read_excel(io.BytesIO(content), header=None, skiprows=1, engine="openpyxl")
    except Exception as error:  # a damaged file makes openpyxl fail in any way, in the XML as in the zip
        raise FerBenchError(f"not a readable table of features ({error}); get it again") from error
    try:
        if table.shape[1] != 12:
            raise FerBenchError(f"expected 12 columns (name, label, 10 features), found {table.shape[1]}")
        if unknown := set(table[1]) - set(range(1, 8)):
            raise FerBenchError(f"expected labels from 1 to 7, found {unknown.pop()!r}")
        names = table[0].astype(str).str.removesuffix(".mat")
        words = [LABELS.classes[int(label) - 1] for label in table[1]]
        values = table.iloc[:, 2:].to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise FerBenchError(f"not a readable table of features ({error}); get it again") from error
    if (infinite := np.isinf(values).any(axis=1)).any():
        raise FerBenchError(f"expected numbers, found an infinite one for {names[infinite].iloc[0]!r}")
    keys = [f"{word}/{name}" for word, name in zip(words, names, strict=True)]
    if len(rows := dict(zip(keys, values, strict=True))) < len(keys):
        raise FerBenchError(f"two rows are both {Counter(keys).most_common(1)[0][0]!r}; get it again")
    return rows


def _aligned(rows: Mapping[str, Float64Array], dataset: FaceDataset) -> Float64Array:
    keys = [str(id_).rpartition(".")[0] for id_ in dataset.ids]
    if missing := [key for key in keys if key not in rows]:
        same_name = [key for key in rows if key.split("/")[1] == missing[0].split("/")[1]]
        hint = f" (it has {same_name[0]!r})" if same_name else ""
        raise FerBenchError(
            f"expected a row for each of {len(keys)} frames, found none for {len(missing)}, "
            f"the first {missing[0]!r}{hint}"
        )
    if len(rows) > len(keys) and not dataset.partial:
        raise FerBenchError(f"expected {len(keys)} rows, a frame each, found {len(rows)}")
    return np.stack([rows[key] for key in keys])


SPEC = DataSetSpec(
    name="sfew",
    labels=LABELS,
    counts=COUNTS,
    hints=("sfew",),
    files="sfew/Images/<Class>/<Movie>_<time>_<frame>.jpg (or .png) and, for its features, sfew/SFEW.xlsx",
    licence="SFEW is for academic research under its authors' agreement; do not pass the films' frames on",
    recognise=recognise,
    read=read,
)
