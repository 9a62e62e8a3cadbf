"""Bad input: its own clear line each, and nothing half-written."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawn_data import (
    SMALL_FER,
    ck_files,
    encoded,
    expect_counts,
    fer_csv,
    fer_files,
    fer_rows,
    sfew_files,
    write_folder,
    write_parquet,
    write_tar,
    write_zip,
)

from fer_bench import data
from fer_bench.errors import DataNotFoundError, FerBenchError, UnknownNameError

pytestmark = pytest.mark.usefixtures("own_places")


def _csv(old: str, new: str, row: int = 5) -> dict[str, bytes]:
    """A good CSV with `old` replaced in one row (0: the heading)."""
    lines = fer_csv(fer_rows()).splitlines()
    assert old in lines[row]
    lines[row] = lines[row].replace(old, new, 1)
    return {"fer2013.csv": "\n".join(lines).encode()}


def _usage_of(row: int) -> str:
    return fer_rows()[row - 1].usage


def _first_pixel(row: int) -> str:
    return f",{fer_rows()[row - 1].image.flat[0]} "


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def _locked(path: Path) -> None:
    """Sets the flag of a password on every member, in both of the zip's headers."""
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(signature)
        while at >= 0:
            content[at + offset] |= 1
            at = content.find(signature, at + 4)
    path.write_bytes(content)


def _flipped(path: Path, member: str) -> None:
    """Damages the content of a stored member, so that its checksum is wrong."""
    with zipfile.ZipFile(path) as archive:
        content = archive.read(member)
    whole = path.read_bytes()
    at = whole.index(content) + len(content) // 2
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])


def _truncated_zip(root: Path) -> None:
    _truncated(write_zip(root / "archive.zip", fer_files()))


def _locked_zip(root: Path) -> None:
    _locked(write_zip(root / "archive.zip", fer_files()))


def _flipped_zip(root: Path) -> None:
    _flipped(write_zip(root / "archive.zip", fer_files()), next(iter(fer_files())))


def _truncated_tar(root: Path) -> None:
    _truncated(write_tar(root / "fer2013.tar.gz", {"fer2013/fer2013.csv": fer_csv(fer_rows()).encode()}))


def _with(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda root: write_zip(root / "archive.zip", fer_files() | {name: content})


def _rows(files: dict[str, bytes]) -> Callable[[Path], object]:
    return lambda root: write_folder(root, files)


GOOD = encoded(np.zeros((48, 48), dtype=np.uint8))
NOISE = np.random.default_rng(9).integers(0, 256, (48, 48)).astype(np.uint8)
BAD_FER: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated zip": (_truncated_zip, r"archive\.zip: not readable, perhaps truncated"),
    "no zip at all": (lambda r: (r / "a.zip").write_bytes(b"<html>"), r"a\.zip: not readable, .*not a zip"),
    "locked zip": (_locked_zip, r"'t.*\.png' has a password"),
    "wrong checksum": (_flipped_zip, r"archive\.zip, 't.*_0\.png': not readable, .*CRC"),
    "climbing member": (_with("../../etc/x.png", GOOD), r"'\.\./\.\./etc/x\.png' points outside"),
    "absolute member": (_with("/etc/x.png", GOOD), r"'/etc/x\.png' points outside"),
    "climbing member of Windows": (_with("..\\x.png", GOOD), r"points outside"),
    "drive of Windows": (_with("C:/x.png", GOOD), r"points outside"),
    "climbing member of a tar": (
        lambda root: write_tar(root / "fer2013.tar.gz", {"../fer2013.csv": b"emotion,pixels,Usage\n"}),
        r"'\.\./fer2013\.csv' points outside",
    ),
    "truncated tar": (_truncated_tar, r"fer2013\.tar\.gz.*not readable, perhaps truncated"),
    "tar without the CSV": (
        lambda root: write_tar(root / "fer2013.tar.gz", {"README": b""}),
        r"expected a member named fer2013\.csv",
    ),
    "missing column": (
        _rows(_csv("emotion", "feeling", 0)),
        r"columns emotion, pixels, Usage; emotion is missing",
    ),
    "2303 pixels": (_rows(_csv(_first_pixel(5), ",")), r"row 5: expected 2304 pixels, found 2303"),
    "2305 pixels": (_rows(_csv(_first_pixel(5), ",1 2 ")), r"row 5: expected 2304 pixels, found 2305"),
    "pixel of 256": (_rows(_csv(_first_pixel(5), ",256 ")), r"row 5: pixel '256' is not a whole number"),
    "pixel of -1": (_rows(_csv(_first_pixel(5), ",-1 ")), r"row 5: pixel '-1'"),
    "pixel abc": (_rows(_csv(_first_pixel(5), ",abc ")), r"row 5: pixel 'abc'"),
    "label of 7": (
        _rows(_csv(f"{fer_rows()[4].label},", "7,")),
        r"row 5: unknown label '7', expected 0 to 6",
    ),
    "label in a word": (_rows(_csv(f"{fer_rows()[4].label},", "sad,")), r"row 5: unknown label 'sad'"),
    "unknown Usage": (
        _rows(_csv(_usage_of(5), "Testing")),
        r"row 5: unknown Usage 'Testing', expected Training",
    ),
    "row cut short": (
        _rows({"fer2013.csv": fer_csv(fer_rows()).encode()[:-6000]}),
        r"row 42: expected 3 values",
    ),
    "not text": (_rows({"fer2013.csv": b"\xff\xfe\x00\x01" * 99}), r"not a readable CSV"),
    "empty CSV": (_rows({"fer2013.csv": b""}), r"emotion, pixels, Usage is missing"),
    "CSV of a heading": (_rows({"fer2013.csv": b"emotion,pixels,Usage\n"}), r"expected images, found none"),
    "unknown label": (_with("train/bored/Training_99.png", GOOD), r"bored.*unknown label 'bored'"),
    "unknown usage": (_with("train/sad/Holdout_99.png", GOOD), r"found usage 'Holdout'"),
    "image in no class": (_with("train/Training_99.png", GOOD), r"expected train/<class>/Training"),
    "no image": (
        _with("test/sad/PublicTest_99.png", b"no image"),
        r"PublicTest_99\.png': not a readable image",
    ),
    "truncated png": (
        _with("test/sad/PublicTest_99.png", encoded(NOISE)[:-900]),
        r"PublicTest_99\.png': not a read",
    ),
    "truncated jpg": (
        _with("test/sad/PublicTest_99.jpg", encoded(NOISE, "jpg")[:-300]),
        r"PublicTest_99\.jpg': not a readable image",
    ),
    "16 bits a pixel": (
        _with("test/sad/PublicTest_99.png", encoded(NOISE.astype(np.uint16) * 257)),
        r"PublicTest_99\.png': expected 8 bits a channel, found I;16",
    ),
    "empty image": (_with("test/sad/PublicTest_99.png", b""), r"PublicTest_99\.png': not a readable image"),
    "wrong size": (
        _with("test/sad/PublicTest_99.png", encoded(np.zeros((48, 47), dtype=np.uint8))),
        r"PublicTest_99\.png': expected 48x48 pixels, found 47x48",
    ),
    "broken parquet": (
        lambda root: _truncated(write_parquet(root, fer_rows()) / "privateTest-00000-of-00001.parquet"),
        r"privateTest-00000-of-00001\.parquet': not a readable parquet file",
    ),
}


@pytest.mark.parametrize("case", BAD_FER)
def test_bad_fer2013_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    build, message = BAD_FER[case]
    root = tmp_path / "sets" / "fer2013"
    root.mkdir(parents=True)
    build(root)
    with pytest.raises(FerBenchError, match=message) as caught:
        data.load("fer2013", tmp_path / "sets", allow_partial=True)
    assert "\n" not in str(caught.value)
    cached = tmp_path / "cache" / "datasets"
    assert not cached.exists() or not [path for path in cached.iterdir() if path.is_dir()]
    assert not (tmp_path / "etc").exists()


def test_one_picture_too_few_is_refused_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expect_counts(monkeypatch, "fer2013", SMALL_FER)
    files = fer_files()
    lost = next(name for name in files if name.startswith("train/fear"))
    del files[lost]
    write_zip(tmp_path / "a.zip", files)
    with pytest.raises(FerBenchError, match=r"train fear 2 \(expected 3\); get it again, or .*--allow-partial"):
        data.load("fer2013", tmp_path / "a.zip")
    assert data.load("fer2013", tmp_path / "a.zip", allow_partial=True).partial
    # What was cached with leave is not given without it.
    with pytest.raises(FerBenchError, match="train fear 2"):
        data.load("fer2013", tmp_path / "a.zip")


def test_swapped_public_and_private_test_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expect_counts(monkeypatch, "fer2013", SMALL_FER)
    swap = {"PublicTest": "PrivateTest", "PrivateTest": "PublicTest"}
    rows = [row._replace(usage=swap.get(row.usage, row.usage)) for row in fer_rows()]
    write_folder(tmp_path / "fer2013", {"fer2013.csv": fer_csv(rows).encode()})
    with pytest.raises(FerBenchError, match=r"select angry 1 \(expected 2\).* and 10 more"):
        data.load("fer2013", tmp_path)


def test_the_published_counts_tell_public_from_private_test() -> None:
    counts = data.fer2013.COUNTS
    assert counts["select"] != counts["test"]
    assert [sum(counts[part]) for part in ("train", "select", "test")] == [28709, 3589, 3589]
    assert sum(data.ckplus.COUNTS["all"]) == 981
    assert sum(data.sfew.COUNTS["all"]) == 675


def test_named_folders_that_are_missing_or_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataNotFoundError, match="nowhere': no such file or folder"):
        data.load("ckplus", tmp_path / "nowhere")
    with pytest.raises(DataNotFoundError, match="empty' is empty: put a data set there"):
        data.load("ckplus", tmp_path / "empty")
    monkeypatch.setenv("FER_BENCH_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataNotFoundError, match=r"FER_BENCH_DATA .*no such"):
        data.load("ckplus")


@pytest.mark.parametrize("name", ["ckplus", "sfew"])
def test_what_is_nowhere_is_told_with_what_to_get(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=rf"{name} was not found: put {name}/.* into \./data"):
        data.load(name)


def test_an_unknown_name_gets_a_hint() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'fer2013'"):
        data.load("fer2031")


@pytest.mark.parametrize(
    ("name", "files", "bad", "message"),
    [
        ("ckplus", ck_files, "CK+48/bored/S001_001_00000001.png", "unknown label 'bored' for ckplus"),
        ("ckplus", ck_files, "CK+48/neutral/S001_001_00000001.png", "unknown label 'neutral' for ckplus"),
        ("ckplus", ck_files, "CK+48/happy/me.png", r"me\.png': expected <subject>_<sequence>_<frame>"),
        (
            "sfew",
            sfew_files,
            "Images/Bored/Airheads_000519240_00000001.png",
            "unknown label 'Bored' for sfew",
        ),
        (
            "sfew",
            sfew_files,
            "Images/Sad/Airheads_000519240_00000001.png",
            "expected 720x576 pixels, found 48x48",
        ),
    ],
)
def test_bad_files_of_the_other_sets(
    name: str, files: Callable[[], dict[str, bytes]], bad: str, message: str, tmp_path: Path
) -> None:
    write_zip(tmp_path / "sets" / "a.zip", files() | {bad: GOOD})
    with pytest.raises(FerBenchError, match=message):
        data.load(name, tmp_path / "sets", allow_partial=True)


def test_a_zip_with_a_damaged_name_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "sets" / "ck48.zip", ck_files() | {"CK+48/anger/S001_001_0000000\u00e9.png": GOOD})
    path.write_bytes(path.read_bytes().replace("\u00e9".encode(), b"\xff\xfe"))
    with pytest.raises(FerBenchError, match=r"ck48\.zip"):
        data.load("ckplus", tmp_path / "sets", allow_partial=True)


def test_the_same_picture_id_twice_is_refused(tmp_path: Path) -> None:
    for word in ("anger", "angry"):
        write_folder(tmp_path / "sets", {f"CK+48/{word}/S001_001_00000001.png": GOOD})
    with pytest.raises(FerBenchError, match=r"two images are both 'angry/S001_001_00000001\.png'"):
        data.load("ckplus", tmp_path / "sets", allow_partial=True)
