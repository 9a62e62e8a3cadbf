"""CK+48: the last three frames of each labelled sequence of CK+, 48x48 gray, seven expressions, no neutral.

Lucey et al., "The Extended Cohn-Kanade Dataset (CK+)" (CVPR workshops, 2010). A file's name has the subject,
the sequence and the frame (S132_006_00000023.png); a frame's neighbours in its sequence are almost the same
picture, so a split that parts them measures frame matching.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fer_bench.data.archive import Tree, class_folders, decode_members, located
from fer_bench.data.source import Contents, DataSetSpec, Match
from fer_bench.errors import FerBenchError
from fer_bench.labels import CKPLUS as LABELS

SHAPE = (48, 48)
COUNTS = {"all": (135, 54, 177, 75, 207, 84, 249)}

_FILE = re.compile(r"(?:.*/)?[^/]+/S\d+_\d{3}_\d{8}\.\w+")
_NAME = re.compile(r"(?P<subject>S\d+)_(?P<sequence>\d+)_\d+\.\w+")


def recognise(names: Sequence[str]) -> Match | None:
    """Folders named by expression with files named by subject, sequence and frame."""
    images = class_folders(names, _FILE)
    return Match("folders", images) if images else None


def read(tree: Tree, match: Match) -> Contents:
    """CK+48: (48, 48) uint8 images with the groups "subject" (S132) and "sequence" (S132_006).

    Raises:
        FerBenchError: a folder that is no expression, or a file name of another form.
    """
    rows = []
    for name in match.names:
        word, file = name.split("/")[-2:]
        with located(f"{tree.path}, {name!r}"):
            label = LABELS.index(word)
        parsed = _NAME.fullmatch(file)
        if parsed is None:
            raise FerBenchError(
                f"{tree.path}, {name!r}: expected <subject>_<sequence>_<frame>, as S132_006_00000023.png"
            )
        subject = parsed["subject"]
        rows.append((f"{LABELS.classes[label]}/{file}", label, subject, f"{subject}_{parsed['sequence']}", name))
    rows.sort()
    return Contents(
        ids=[row[0] for row in rows],
        targets=[row[1] for row in rows],
        groups={"subject": [row[2] for row in rows], "sequence": [row[3] for row in rows]},
        shape=SHAPE,
        images=lambda: decode_members(tree.path, [row[-1] for row in rows], SHAPE),
    )


SPEC = DataSetSpec(
    name="ckplus",
    labels=LABELS,
    counts=COUNTS,
    hints=("ck",),
    files="ckplus/ck48.zip (the CK+48 crops), or unpacked CK+48/<class>/S<subject>_<sequence>_<frame>.png",
    licence="CK+ is for non-commercial research under its authors' agreement; do not pass the pictures on",
    recognise=recognise,
    read=read,
)
