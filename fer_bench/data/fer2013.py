"""FER2013: 35,887 gray faces of 48x48, seven expressions, three official splits.

Goodfellow et al., "Challenges in Representation Learning: a report on three contests" (ICONIP, 2013).
Read as Kaggle's folders of images (unpacked or in their zip), as the original CSV (plain, in a zip, in
fer2013.tar.gz) or as the Hub's parquet files. Training is "train", PublicTest "select", PrivateTest "test".
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import IO, Any

import numpy as np

from fer_bench.data.archive import (
    IMAGE_SUFFIXES,
    Tree,
    decode_image,
    decode_members,
    located,
    open_in_tar,
    read_bytes,
    readable,
)
from fer_bench.data.dataset import UInt8Array
from fer_bench.data.source import Contents, DataSetSpec, Match
from fer_bench.errors import FerBenchError
from fer_bench.labels import FER2013 as LABELS

SHAPE = (48, 48)
SPLITS = {"Training": "train", "PublicTest": "select", "PrivateTest": "test"}
COUNTS = {
    "train": (3995, 436, 4097, 7215, 4830, 3171, 4965),
    "select": (467, 56, 496, 895, 653, 415, 607),
    "test": (491, 55, 528, 879, 594, 416, 626),
}
CSV_NAMES = ("fer2013.csv", "icml_face_data.csv")
TAR_NAMES = ("fer2013.tar.gz", "fer2013.tgz")
COLUMNS = ("emotion", "pixels", "Usage")
LICENCE = (
    "FER2013 was collected for a Kaggle contest from web images, for research; "
    "the pictures belong to their owners, do not pass them on"
)

_FOLDERS = re.compile(r"(?P<prefix>(?:.*/)?)(?:train|test)/[^/]+/(?:Training|PublicTest|PrivateTest)_[^/]+")
_PARQUET = re.compile(r"(?:.*/)?(?P<split>train|publicTest|privateTest)-\d+-of-(?P<of>\d+)(?:-[0-9a-f]+)?\.parquet")
_PARQUET_SPLITS = {"train": "train", "publicTest": "select", "privateTest": "test"}
_PIXEL = {str(value): value for value in range(256)}


def recognise(names: Sequence[str]) -> Match | None:
    """Folders of images first, then a CSV, a tar.gz, parquet files."""
    images = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
    first = next(filter(None, map(_FOLDERS.fullmatch, images)), None)
    if first:
        parts = tuple(first["prefix"] + part for part in ("train/", "test/"))
        return Match("folders", tuple(name for name in images if name.startswith(parts)))
    for layout, wanted in (("csv", CSV_NAMES), ("csv in a tar.gz", TAR_NAMES)):
        for name in names:
            if PurePosixPath(name).name in wanted:
                return Match(layout, (name,))
    shards = [match for match in map(_PARQUET.fullmatch, names) if match]
    return Match("parquet", tuple(match[0] for match in shards)) if _complete(shards) else None


def _complete(shards: Sequence[re.Match[str]]) -> bool:
    """Whether every split has as many files as their names promise: a broken download has not."""
    by_split = {split: [int(m["of"]) for m in shards if m["split"] == split] for split in _PARQUET_SPLITS}
    return all(totals and len(totals) == totals[0] for totals in by_split.values())


def read(tree: Tree, match: Match) -> Contents:
    """FER2013 in any of its layouts; (48, 48) uint8 images with the official split.

    Raises:
        FerBenchError: an unknown label or usage, a bad row, a missing column; the message says where.
    """
    if match.layout == "folders":
        return _read_folders(tree, match)
    if match.layout == "parquet":
        return _read_parquet(tree, match)
    return _read_csv(tree, match)


def _read_folders(tree: Tree, match: Match) -> Contents:
    rows = []
    for name in match.names:
        part, word, file = name.split("/")[-3:] if name.count("/") >= 2 else ("", "", name)
        usage = file.split("_")[0]
        if part not in ("train", "test") or usage not in SPLITS:
            raise FerBenchError(
                f"{tree.path}, {name!r}: expected train/<class>/Training_*.jpg or "
                f"test/<class>/PublicTest_*.jpg and PrivateTest_*.jpg, found usage {usage!r}"
            )
        with located(f"{tree.path}, {name!r}"):
            label = LABELS.index(word)
        rows.append((f"{part}/{LABELS.classes[label]}/{file}", label, SPLITS[usage], name))
    rows.sort()
    return Contents(
        ids=[row[0] for row in rows],
        targets=[row[1] for row in rows],
        split=[row[2] for row in rows],
        shape=SHAPE,
        images=lambda: decode_members(tree.path, [row[3] for row in rows], SHAPE),
    )


@contextlib.contextmanager
def _open_csv(tree: Tree, match: Match) -> Iterator[IO[bytes]]:
    name = match.names[0]
    opened = open_in_tar(tree, name, CSV_NAMES) if match.layout == "csv in a tar.gz" else tree.open(name)
    with opened as stream, readable(f"{tree.path}, {name!r}"):
        yield stream


def _read_csv(tree: Tree, match: Match) -> Contents:
    """The rows in the file's order; an id is the row's number, from 1 after the heading."""
    where = f"{tree.path}, {match.names[0]!r}" if match.names[0] != tree.path.name else str(tree.path)
    targets, split, pixels = [], [], []
    with _open_csv(tree, match) as stream:
        try:
            lines = csv.reader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""))
            heading = [word.strip() for word in next(lines, [])]
            missing = [column for column in COLUMNS if column not in heading]
            if missing:
                raise FerBenchError(
                    f"{where}: expected the columns {', '.join(COLUMNS)}; {', '.join(missing)} is missing"
                )
            at = [heading.index(column) for column in COLUMNS]
            for row, values in enumerate(filter(None, lines), start=1):
                if len(values) != len(heading):
                    raise FerBenchError(f"{where}, row {row}: expected {len(heading)} values, found {len(values)}")
                emotion, text, usage = (values[column].strip() for column in at)
                if emotion not in map(str, range(len(LABELS))):
                    raise FerBenchError(
                        f"{where}, row {row}: unknown label {emotion!r}, expected 0 to {len(LABELS) - 1}"
                    )
                if usage not in SPLITS:
                    raise FerBenchError(f"{where}, row {row}: unknown Usage {usage!r}, expected {', '.join(SPLITS)}")
                targets.append(int(emotion))
                split.append(SPLITS[usage])
                pixels.append(_parse_pixels(text, f"{where}, row {row}"))
        except (csv.Error, UnicodeDecodeError) as error:
            raise FerBenchError(f"{where}: not a readable CSV ({error})") from error
    return Contents(
        ids=[f"row {row}" for row in range(1, len(targets) + 1)],
        targets=targets,
        split=split,
        shape=SHAPE,
        images=lambda: (np.frombuffer(row, dtype=np.uint8).reshape(SHAPE) for row in pixels),
    )


def _parse_pixels(text: str, where: str) -> bytes:
    values = text.split()
    if len(values) != SHAPE[0] * SHAPE[1]:
        raise FerBenchError(f"{where}: expected {SHAPE[0] * SHAPE[1]} pixels, found {len(values)}")
    try:
        return bytes(map(_PIXEL.__getitem__, values))
    except KeyError as error:
        raise FerBenchError(f"{where}: pixel {error.args[0]!r} is not a whole number from 0 to 255") from error


def _read_parquet(tree: Tree, match: Match) -> Contents:
    """The Hub's usual form: columns `image` (encoded bytes) and `label`, one or more files a split."""
    ids: list[str] = []
    targets: list[int] = []
    split: list[str] = []
    encoded: list[bytes] = []
    for name in match.names:
        shard = _PARQUET.fullmatch(name)
        assert shard is not None  # `recognise` matched it
        part = _PARQUET_SPLITS[shard["split"]]
        where = f"{tree.path}, {name!r}"
        images, labels = _parquet_columns(read_bytes(tree, name), where)
        start = split.count(part)
        ids += [f"{part} row {start + row}" for row in range(1, len(labels) + 1)]
        targets += labels
        split += [part] * len(labels)
        encoded += images

    def decoded() -> Iterator[UInt8Array]:
        for row, data in zip(ids, encoded, strict=True):
            yield decode_image(data, f"{tree.path}, {row}", SHAPE)

    return Contents(ids=ids, targets=targets, split=split, shape=SHAPE, images=decoded)


def _parquet_columns(data: bytes, where: str) -> tuple[list[bytes], list[int]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise FerBenchError(f"{where}: not a readable parquet file ({error})") from error
    missing = [column for column in ("image", "label") if column not in table.column_names]
    if missing:
        raise FerBenchError(f"{where}: expected the columns image, label; {', '.join(missing)} is missing")
    words = _class_names(table.schema.metadata or {})
    images: list[Any] = table["image"].to_pylist()
    labels = []
    for row, value in enumerate(table["label"].to_pylist(), start=1):
        with located(f"{where}, row {row}"):
            is_number = isinstance(value, int) and 0 <= value < len(words)
            labels.append(LABELS.index(words[value] if is_number else str(value)))
    return [_encoded(image, f"{where}, row {row}") for row, image in enumerate(images, start=1)], labels


def _encoded(image: object, where: str) -> bytes:
    data = image.get("bytes") if isinstance(image, dict) else image
    if not isinstance(data, bytes):
        raise FerBenchError(f"{where}: expected the bytes of an image, found {type(data).__name__}")
    return data


def _class_names(metadata: dict[bytes, bytes]) -> Sequence[str]:
    """The names behind the numbers in `label`, where the file has them; else FER2013's own order."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        names = [str(name) for name in features["label"]["names"]]
    except (KeyError, TypeError, ValueError):
        return LABELS.classes
    return LABELS.classes if set(names) <= set(_PIXEL) else names


SPEC = DataSetSpec(
    name="fer2013",
    labels=LABELS,
    counts=COUNTS,
    hints=("fer",),
    files=(
        "fer2013/archive.zip (Kaggle msambare/fer2013), or its unpacked folders train/ and test/, or "
        "fer2013.csv or icml_face_data.csv (plain or zipped) or fer2013.tar.gz"
    ),
    licence=LICENCE,
    recognise=recognise,
    read=read,
)
