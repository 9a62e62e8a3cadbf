"""Every layout in which a user may have FER2013, CK+48 or SFEW gives the same content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawn_data import (
    SMALL_FER,
    SPLITS,
    ck_files,
    encoded,
    expect_counts,
    fer_csv,
    fer_files,
    fer_rows,
    pictures,
    sfew_files,
    sfew_frame,
    write_folder,
    write_parquet,
    write_tar,
    write_zip,
)

from fer_bench import data
from fer_bench.data.fingerprint import fingerprint
from fer_bench.labels import FER2013

ALPHABETICAL = tuple(sorted(FER2013.classes))


pytestmark = pytest.mark.usefixtures("own_places")


def _wrapped() -> dict[str, bytes]:
    return {f"archive/fer/{name}": content for name, content in fer_files().items()}


def _text(*, spaced: bool = False) -> bytes:
    return fer_csv(fer_rows(), spaced=spaced).encode()


LOSSLESS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "folders": ("folders", lambda root: write_folder(root, fer_files())),
    "folders below others": ("folders", lambda root: write_folder(root, _wrapped())),
    "zip": ("zip of folders", lambda root: write_zip(root / "archive.zip", fer_files())),
    "zip below a name": ("zip of folders", lambda root: write_zip(root / "any.zip", _wrapped())),
    "csv": ("csv", lambda root: write_folder(root, {"fer2013.csv": _text()})),
    "csv with spaces": ("csv", lambda root: write_folder(root, {"icml_face_data.csv": _text(spaced=True)})),
    "csv with byte order mark, CRLF and an empty line": (
        "csv",
        lambda root: write_folder(root, {"fer2013.csv": b"\xef\xbb\xbf" + _text().replace(b"\n", b"\r\n") + b"\r\n"}),
    ),
    "csv in a zip": ("csv in a zip", lambda root: write_zip(root / "a.zip", {"x/fer2013.csv": _text()})),
    "csv with spaces in a zip": (
        "csv in a zip",
        lambda root: write_zip(root / "a.zip", {"icml_face_data.csv": _text(spaced=True)}),
    ),
    "csv in a tar.gz": (
        "csv in a tar.gz",
        lambda root: write_tar(root / "fer2013.tar.gz", {"fer2013/README": b"read me", "fer2013/fer2013.csv": _text()}),
    ),
    "parquet": ("parquet", lambda root: write_parquet(root / "data", fer_rows())),
    "parquet with names": (
        "parquet",
        lambda root: write_parquet(root / "data", fer_rows(), ALPHABETICAL, structs=False),
    ),
}


@pytest.mark.parametrize("layout", LOSSLESS)
def test_fer2013_is_the_same_in_every_layout(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expect_counts(monkeypatch, "fer2013", SMALL_FER)
    name, build = LOSSLESS[layout]
    root = tmp_path / "fer2013"
    root.mkdir()
    build(root)
    dataset = data.load("fer2013", tmp_path)
    assert dataset.layout == name
    assert pictures(dataset) == Counter((SPLITS[row.usage], row.label, row.image.tobytes()) for row in fer_rows())
    assert not dataset.partial
    assert dataset.images.shape == (42, 48, 48)
    assert dataset.images.dtype == np.uint8
    assert dataset.targets.dtype == np.int64
    assert not dataset.images.flags.writeable
    assert len(set(dataset.ids)) == 42
    assert dataset.fingerprint == fingerprint(dataset.images, dataset.targets, dataset.ids, dataset.split)
    assert data.check("fer2013", root).fingerprint == dataset.fingerprint  # its own folder does as well


def test_fer2013_jpegs_are_read_as_they_decode(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", fer_files("jpg"))
    dataset = data.load("fer2013", tmp_path / "a.zip", allow_partial=True)
    by_file = {name.split("/")[-1]: image for name, image in zip(dataset.ids, dataset.images, strict=True)}
    for at, row in enumerate(fer_rows()):
        image = by_file[f"{row.usage}_{at}.jpg"].astype(int)
        assert np.abs(image - row.image).mean() < 8, at


def test_fer2013_folders_and_zip_share_a_fingerprint_whatever_the_order(tmp_path: Path) -> None:
    files = fer_files()
    write_folder(tmp_path / "one", files)
    write_zip(tmp_path / "two" / "a.zip", dict(reversed(files.items())))
    one = data.load("fer2013", tmp_path / "one", allow_partial=True)
    two = data.load("fer2013", tmp_path / "two", allow_partial=True)
    assert one.fingerprint == two.fingerprint
    assert one.ids.tolist() == two.ids.tolist() == sorted(one.ids)
    assert one.partial and two.partial


def test_fer2013_ids_name_the_file_or_the_row(tmp_path: Path) -> None:
    write_folder(tmp_path / "one", fer_files())
    write_folder(tmp_path / "two", {"fer2013.csv": _text()})
    files = data.load("fer2013", tmp_path / "one", allow_partial=True)
    rows = data.load("fer2013", tmp_path / "two", allow_partial=True)
    assert set(files.ids) == set(fer_files())
    assert rows.ids.tolist() == [f"row {at}" for at in range(1, 43)]  # 2 before 10
    assert rows.targets.tolist() == [row.label for row in fer_rows()]


def test_a_fingerprint_depends_on_every_part() -> None:
    images = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4)
    targets = np.array([0, 1])
    base = fingerprint(images, targets, ["a", "b"], ["train", "test"])
    assert base == fingerprint(images.copy(), targets.copy(), ["a", "b"], ["train", "test"])
    others = [
        fingerprint(images + 1, targets, ["a", "b"], ["train", "test"]),
        fingerprint(images.reshape(2, 2, 8), targets, ["a", "b"], ["train", "test"]),
        fingerprint(images, targets[::-1], ["a", "b"], ["train", "test"]),
        fingerprint(images, targets, ["a", "c"], ["train", "test"]),
        fingerprint(images, targets, ["a", "b"], ["test", "train"]),
        fingerprint(images, targets, ["a", "b"]),
        fingerprint(images, targets, ["a,b", ""], ["train", "test"]),
    ]
    assert len({base, *others}) == len(others) + 1


CK_LAYOUTS: dict[str, Callable[[Path], object]] = {
    "zip": lambda root: write_zip(root / "ckplus" / "ck48.zip", ck_files()),
    "folder": lambda root: write_folder(root / "ckplus", ck_files()),
    "folder at the top": lambda root: write_folder(root, ck_files()),
    "other spellings": lambda root: write_folder(
        root / "CK+48",
        {
            name.replace("CK+48/", "")
            .replace("anger", "Angry")
            .replace("happy", "happiness")
            .replace("sadness", "sad"): content
            for name, content in ck_files().items()
        },
    ),
}


@pytest.mark.parametrize("layout", CK_LAYOUTS)
def test_ckplus_is_the_same_in_every_layout(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expect_counts(monkeypatch, "ckplus", {"all": (6,) * 7})
    write_zip(tmp_path / "reference" / "a.zip", ck_files())
    reference = data.load("ckplus", tmp_path / "reference")
    (tmp_path / "sets").mkdir()
    CK_LAYOUTS[layout](tmp_path / "sets")
    dataset = data.load("ckplus", tmp_path / "sets")
    assert dataset.fingerprint == reference.fingerprint
    assert dataset.split is None
    assert dataset.ids[0] == "angry/S005_001_00000009.png"
    assert dataset.groups["subject"][0] == "S005"
    assert dataset.groups["sequence"][0] == "S005_001"
    assert len(set(dataset.groups["subject"])) == 2
    assert len(set(dataset.groups["sequence"])) == 14
    assert dataset.counts()["all"] == dict.fromkeys(dataset.labels.classes, 6)


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_sfew_is_colour_with_films(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expect_counts(monkeypatch, "sfew", {"all": (2,) * 7})
    write_folder(tmp_path / "sfew", sfew_files(kind))
    dataset = data.load("sfew", tmp_path)
    assert dataset.images.shape == (14, 576, 720, 3)
    assert isinstance(dataset.images, np.memmap)
    assert dataset.ids[0] == f"angry/Airheads_000519240_00000005.{kind}"
    assert dataset.groups["movie"].tolist() == ["Airheads", "Harry"] * 7
    assert dataset.notes == ()
    first = sfew_frame(np.random.default_rng(2)).astype(int)
    assert np.abs(dataset.images[0] - first).mean() <= (0 if kind == "png" else 8)


def test_sfew_warts_are_survived_and_reported(tmp_path: Path) -> None:
    frame = encoded(sfew_frame(np.random.default_rng(3)))
    files = {
        "Fear/HarryPotter_Deathly_1_001610960_00000028.png": frame,
        "Surprise/HarryPotter_Deathly_1_001610960_00000028.png": frame,
        "Disgust/OceansThirteen-010619400_00000087.png": frame,
        "Sad/IAmSam_013827920__00000055.png": frame,
    }
    write_folder(tmp_path / "sfew" / "Images", files)
    write_folder(tmp_path / "sfew", {"SFEW.xlsx": b""})
    dataset = data.load("sfew", tmp_path, allow_partial=True)
    assert dataset.groups["movie"].tolist() == ["OceansThirteen", "HarryPotter", "IAmSam", "HarryPotter"]
    same, *malformed, features = dataset.notes
    assert "is in fear/Harry" in same and "and in surprise/Harry" in same
    assert [note.split(":")[0] for note in malformed] == [
        "malformed name disgust/OceansThirteen-010619400_00000087.png",
        "malformed name sad/IAmSam_013827920__00000055.png",
    ]
    assert "SFEW.xlsx" in features


def test_the_sets_are_told_apart_in_one_folder(tmp_path: Path) -> None:
    for files in (ck_files(), sfew_files(), fer_files()):
        write_folder(tmp_path / "all", files)
    for name, number in (("fer2013", 42), ("ckplus", 42), ("sfew", 14)):
        assert len(data.load(name, tmp_path / "all", allow_partial=True)) == number
