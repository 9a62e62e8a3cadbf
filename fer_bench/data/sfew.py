"""SFEW v1: 675 frames of films, 720x576 colour, seven expressions.

Dhall et al., "Static Facial Expressions in Tough Conditions" (ICCV workshops, 2011). A file's name starts
with its film; one frame lies byte-identical under two expressions, so an id is class/name.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from fer_bench.data.archive import Tree, class_folders, decode_members, located, read_bytes
from fer_bench.data.source import Contents, DataSetSpec, Match
from fer_bench.labels import SFEW as LABELS

SHAPE = (576, 720, 3)
COUNTS = {"all": (100, 75, 100, 100, 100, 100, 100)}
FEATURES_FILE = "SFEW.xlsx"

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
    for name in match.names:
        if name.endswith(FEATURES_FILE):
            yield f"{FEATURES_FILE}, the published features of these frames, is there as {name}"


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
