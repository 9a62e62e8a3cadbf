"""SFEW.xlsx, the published features: row by row beside the right frame, or a readable reason why not."""

from __future__ import annotations

import datetime
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from drawn_data import SFEW_WORDS, encoded, expect_counts, sfew_frame, write_folder, write_zip

from fer_bench import data, engine
from fer_bench.bench import RunRequest
from fer_bench.data.sfew import PUBLISHED_PARTS, published_features
from fer_bench.errors import DataNotFoundError, FerBenchError
from fer_bench.records import Workspace
from fer_bench.trainer import Compute

Row = list[Any]

NAMES = ("Airheads_000519240_00000005", "Harry_Potter_1_001610960_00000028")


def rows() -> list[Row]:
    """Two names, the same under each expression; numbered features, of one row without PHOG."""
    table: list[Row] = [
        [f"{name}.mat", label, *(100.0 * label + 10 * at + np.arange(10) / 16)]
        for label in range(1, 8)
        for at, name in enumerate(NAMES)
    ]
    table[4][7:] = ["NaN"] * 5
    return table


def xlsx(table: list[Row]) -> bytes:
    heading: Row = [
        None,
        "label",
        "First 5 ... (LPQ) features",
        *[None] * 4,
        "First 5 ... (PHOG) features",
        *[None] * 4,
    ]
    buffer = io.BytesIO()
    pd.DataFrame([heading[: len(table[0])], *table]).to_excel(buffer, header=False, index=False)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def frames() -> dict[str, bytes]:
    frame = encoded(sfew_frame(np.random.default_rng(0)), "jpg")
    return {f"Images/{word}/{name}.jpg": frame for word in reversed(SFEW_WORDS) for name in NAMES}


@pytest.fixture
def sfew(
    own_places: None, frames: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, dict[str, bytes]]:
    expect_counts(monkeypatch, "sfew", {"all": (2,) * 7})
    return tmp_path / "sfew", frames


@pytest.mark.parametrize("zipped", [False, True])
def test_each_frame_gets_its_row(sfew: tuple[Path, dict[str, bytes]], zipped: bool) -> None:
    root, frames = sfew
    table = rows()
    np.random.default_rng(1).shuffle(table)
    files = {**frames, "SFEW.xlsx": xlsx(table)}
    if zipped:
        write_zip(root / "sfew.zip", files)
    else:
        write_folder(root, files)
    dataset = data.load("sfew", root)
    features = published_features(dataset)
    assert features.shape == (14, 10) and features.dtype == np.float64
    # The file counts labels from 1 in the order of the data set's.
    second = np.array([str(id_).endswith(f"{NAMES[1]}.jpg") for id_ in dataset.ids])
    np.testing.assert_array_equal(features[:, 0], 100.0 * (dataset.targets + 1) + 10 * second)
    missing = np.zeros((14, 10), dtype=bool)
    missing[dataset.ids.tolist().index(f"fear/{NAMES[0]}.jpg"), PUBLISHED_PARTS["phog"]] = True
    np.testing.assert_array_equal(np.isnan(features), missing)


def _relabelled(table: list[Row]) -> list[Row]:
    """A name that `sad` alone has, filed under `happy`."""
    table[10][0], table[10][1] = "Other_000000001_00000001.mat", 4
    return table


def _with(row: int, column: int, value: Any) -> list[Row]:
    table = rows()
    table[row][column] = value
    return table


def _half_a_sheet() -> bytes:
    """A sound zip whose sheet ends in the middle of its XML."""
    whole, damaged = io.BytesIO(xlsx(rows())), io.BytesIO()
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(damaged, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, content[: len(content) // 2] if "sheet1" in name else content)
    return damaged.getvalue()


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not a readable table"),
    "not a workbook": (b"PK\x03\x04 and no more", "not a readable table"),
    "a row too few": (xlsx(rows()[:-1]), f"found none for 1, the first 'surprise/{NAMES[1]}'"),
    "a row too many": (xlsx([*rows(), ["Other.mat", 1, *range(10)]]), "expected 14 rows, a frame each, found 15"),
    "a row twice": (xlsx([*rows(), rows()[3]]), f"two rows are both 'disgust/{NAMES[1]}'"),
    "another label": (xlsx(_relabelled(rows())), rf"the first 'sad/{NAMES[0]}' \(it has"),
    "an unknown label": (xlsx(_with(0, 1, 8)), "expected labels from 1 to 7, found 8"),
    "a word for a number": (xlsx(_with(0, 5, "n/k")), "could not convert string to float: 'n/k'"),
    "a date for a number": (xlsx(_with(0, 5, datetime.date(2011, 11, 6))), "not a readable table"),
    "an infinite number": (xlsx(_with(0, 5, "inf")), "found an infinite one for"),
    "half a sheet": (_half_a_sheet(), "not a readable table"),
    "a column too few": (xlsx([row[:-1] for row in rows()]), "expected 12 columns .* found 11"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_does_not_fit_is_refused(sfew: tuple[Path, dict[str, bytes]], case: str) -> None:
    root, frames = sfew
    content, message = BROKEN[case]
    write_folder(root, {**frames, "SFEW.xlsx": content})
    dataset = data.load("sfew", root)
    with pytest.raises(FerBenchError, match=message) as caught:
        published_features(dataset)
    assert str(caught.value).startswith(f"{root}, 'SFEW.xlsx': ") and "\n" not in str(caught.value)


def test_a_file_of_a_similar_name_is_not_taken_and_two_are_refused(sfew: tuple[Path, dict[str, bytes]]) -> None:
    root, frames = sfew
    write_folder(root, {**frames, "SFEW.xlsx": xlsx(rows()), "OLD_SFEW.xlsx": b"another"})
    assert published_features(data.load("sfew", root)).shape == (14, 10)
    write_folder(root, {"old/SFEW.xlsx": b"another"})
    with pytest.raises(FerBenchError, match=r"expected one SFEW\.xlsx, found SFEW\.xlsx and old/SFEW\.xlsx"):
        published_features(data.load("sfew", root))


def test_a_part_of_the_frames_takes_its_part_of_the_rows(sfew: tuple[Path, dict[str, bytes]]) -> None:
    root, frames = sfew
    write_folder(root, {**dict(list(frames.items())[:5]), "SFEW.xlsx": xlsx(rows())})
    assert published_features(data.load("sfew", root, allow_partial=True)).shape == (5, 10)


def test_without_the_file_it_says_what_to_get(sfew: tuple[Path, dict[str, bytes]]) -> None:
    root, frames = sfew
    write_folder(root, frames)
    with pytest.raises(DataNotFoundError, match=r"expected SFEW\.xlsx"):
        published_features(data.load("sfew", root))


def test_what_is_trained_on_it_is_then_skipped(
    sfew: tuple[Path, dict[str, bytes]], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, files = sfew
    monkeypatch.setattr("fer_bench.bench.done", lambda *_: None)  # so few frames make no folds
    monkeypatch.setattr(engine, "_estimate", lambda *_: 1.0)
    write_folder(folder, files)
    request = RunRequest(
        model="leng_mlp", recipe="paper", protocol="sfew_2fold", workspace=workspace, data_dir=folder.parent
    )
    [item] = engine.plan([(request, "")], Compute(threads=1))
    assert item.state == "skipped" and "SFEW.xlsx, the published features" in item.reason
    write_folder(folder, {"SFEW.xlsx": xlsx(rows())})
    [item] = engine.plan([(request, "")], Compute(threads=1))
    assert item.state == "to do"


@pytest.mark.data
def test_the_real_file_fits_the_real_frames() -> None:
    try:
        dataset = data.load("sfew")
        features = published_features(dataset)
    except DataNotFoundError as error:
        pytest.skip(str(error))
    assert features.shape == (675, 10)
    broken = np.isnan(features).any(axis=1)
    assert dataset.ids[broken].tolist() == ["fear/Hangover_001949614_00000089.jpg"]
    # What the docstring says of how they were made: centred over all frames, components uncorrelated there.
    np.testing.assert_allclose(np.nanmean(features, axis=0), 0, atol=1e-7)
    for part in PUBLISHED_PARTS.values():
        correlation = np.corrcoef(features[~np.isnan(features[:, part]).any(axis=1)][:, part].T)
        np.testing.assert_allclose(correlation, np.eye(5), atol=1e-3)
