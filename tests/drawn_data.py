"""Small data sets of drawn noise in every layout, for the tests of `fer_bench.data`. No real people."""

from __future__ import annotations

import dataclasses
import io
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from fer_bench import data
from fer_bench.data.dataset import FaceDataset, UInt8Array
from fer_bench.labels import FER2013

SPLITS = {"Training": "train", "PublicTest": "select", "PrivateTest": "test"}
CK_WORDS = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
SFEW_WORDS = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")


class Row(NamedTuple):
    """One picture of the small FER2013."""

    usage: str
    label: int
    image: UInt8Array


def blocks(rng: np.random.Generator, side: int = 48) -> UInt8Array:
    """(side, side) uint8: 4x4 gray squares, so that JPEG changes them little."""
    return np.kron(rng.integers(0, 256, (4, 4)), np.ones((side // 4, side // 4), dtype=int)).astype(np.uint8)


def fer_rows() -> list[Row]:
    """Three Training, two PublicTest and one PrivateTest picture of each class, in a mixed order."""
    rng = np.random.default_rng(0)
    rows = [
        Row(usage, label, blocks(rng))
        for usage, number in (("Training", 3), ("PublicTest", 2), ("PrivateTest", 1))
        for label in range(7)
        for _ in range(number)
    ]
    return [rows[at] for at in rng.permutation(len(rows))]


def encoded(image: npt.NDArray[np.uint8 | np.uint16], kind: str = "png") -> bytes:
    """The image as PNG, of 8 or 16 bits, or as JPEG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, {"png": "PNG", "jpg": "JPEG"}[kind], quality=95)
    return buffer.getvalue()


def fer_files(kind: str = "png") -> dict[str, bytes]:
    """The small FER2013 as the folders of Kaggle's archive."""
    files = {}
    for at, row in enumerate(fer_rows()):
        part = "train" if row.usage == "Training" else "test"
        files[f"{part}/{FER2013.classes[row.label]}/{row.usage}_{at}.{kind}"] = encoded(row.image, kind)
    return files


def fer_csv(rows: Iterable[Row], *, spaced: bool = False) -> str:
    """fer2013.csv, or with `spaced` icml_face_data.csv."""
    lines = ["emotion, Usage, pixels" if spaced else "emotion,pixels,Usage"]
    for row in rows:
        pixels = " ".join(map(str, row.image.ravel()))
        values = (row.label, row.usage, pixels) if spaced else (row.label, pixels, row.usage)
        lines.append(",".join(map(str, values)))
    return "\n".join(lines) + "\n"


def ck_files() -> dict[str, bytes]:
    """Two subjects, of each expression one sequence of three frames."""
    rng = np.random.default_rng(1)
    return {
        f"CK+48/{word}/S{subject:03}_{sequence:03}_{frame:08}.png": encoded(blocks(rng))
        for subject in (5, 132)
        for sequence, word in enumerate(CK_WORDS, start=1)
        for frame in (9, 10, 11)
    }


def sfew_files(kind: str = "png") -> dict[str, bytes]:
    """Two films, of each expression one frame."""
    rng = np.random.default_rng(2)
    return {
        f"Images/{word}/{film}_00051924{at}_00000005.{kind}": encoded(sfew_frame(rng), kind)
        for at, word in enumerate(SFEW_WORDS)
        for film in ("Airheads", "Harry_Potter")
    }


def sfew_frame(rng: np.random.Generator) -> UInt8Array:
    """(576, 720, 3) uint8, three bands of colour."""
    return np.repeat(rng.integers(0, 256, (3, 1, 3)), 192, axis=0).repeat(720, axis=1).astype(np.uint8)


def write_folder(root: Path, files: Mapping[str, bytes]) -> Path:
    """Writes the files below `root`."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    """Writes the files into a zip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    """Writes the files into a tar.gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_parquet(
    folder: Path, rows: Iterable[Row], names: tuple[str, ...] | None = None, *, structs: bool = True
) -> Path:
    """The Hub's three files; with `names`, the order of the numbers in `label`, told in the metadata."""
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    rows = list(rows)
    for split, usage in (("train", "Training"), ("publicTest", "PublicTest"), ("privateTest", "PrivateTest")):
        part = [row for row in rows if row.usage == usage]
        words = [FER2013.classes[row.label] for row in part]
        numbers = [names.index(word) for word in words] if names else [row.label for row in part]
        images = [{"bytes": encoded(row.image), "path": None} if structs else encoded(row.image) for row in part]
        table = pa.table({"image": images, "label": numbers})
        if names:
            features = {"info": {"features": {"label": {"names": list(names), "_type": "ClassLabel"}}}}
            table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    return folder


def pictures(dataset: FaceDataset) -> Counter[tuple[str, int, bytes]]:
    """What the data set holds, whatever its ids and order."""
    assert dataset.split is not None
    return Counter(
        (str(split), int(target), image.tobytes())
        for split, target, image in zip(dataset.split, dataset.targets, dataset.images, strict=True)
    )


def expect_counts(monkeypatch: pytest.MonkeyPatch, name: str, counts: Mapping[str, tuple[int, ...]]) -> None:
    """Makes a small data set the whole one."""
    specs: dict[str, Any] = data._SPECS
    monkeypatch.setitem(specs, name, dataclasses.replace(specs[name], counts=counts))


SMALL_FER = {"train": (3,) * 7, "select": (2,) * 7, "test": (1,) * 7}
