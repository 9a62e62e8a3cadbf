"""Near copies of training images, and blanks, in a test part."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from drawn_data import ck_files, write_zip

from fer_bench import data
from fer_bench.data import near_copies
from fer_bench.data.dataset import FaceDataset
from fer_bench.data.fingerprint import fingerprint
from fer_bench.errors import FerBenchError
from fer_bench.labels import FER2013


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FER_BENCH_DATA", raising=False)


def _dataset() -> tuple[FaceDataset, list[bool]]:
    """Six test images, known to be near copies (or blank) or not, mixed with training and select images."""
    rng = np.random.default_rng(0)
    train = rng.integers(60, 180, (9, 48, 48)).astype(np.uint8)
    fresh = rng.integers(60, 180, (48, 48)).astype(np.uint8)
    mixed = (0.5 * train[3] + 0.5 * fresh).astype(np.uint8)  # correlation about 0.7
    barely = np.clip(train[4] + rng.normal(0, 9, (48, 48)), 0, 255).astype(np.uint8)  # about 0.97
    cases = [
        (train[0], True),
        ((train[1] * 0.8 + 40).astype(np.uint8), True),
        (fresh, False),
        (mixed, False),
        (barely, False),
        (255 - train[2], False),
        (np.full((48, 48), 128, dtype=np.uint8), True),
    ]
    select = rng.integers(0, 256, (2, 48, 48)).astype(np.uint8)
    images = np.concatenate([train[:4], [case for case, _ in cases], select, train[4:]])
    split = np.array(["train"] * 4 + ["test"] * len(cases) + ["select"] * 2 + ["train"] * 5)
    targets = np.zeros(len(images), dtype=np.int64)
    ids = np.array([f"{at}" for at in range(len(images))])
    dataset = FaceDataset(
        name="drawn",
        labels=FER2013,
        images=images,
        targets=targets,
        ids=ids,
        split=split,
        fingerprint=fingerprint(images, targets, ids, split),
        layout="",
        source="",
    )
    return dataset, [copy for _, copy in cases]


@pytest.mark.parametrize("chunk", [2, 2048])
def test_near_copies_and_blanks_are_found(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_copies, "_CHUNK", chunk)
    dataset, expected = _dataset()
    mask = near_copies.near_copy_mask(dataset)
    assert mask.dtype == np.bool_
    assert mask.tolist() == expected


def test_the_threshold_is_on_numpys_correlation() -> None:
    rng = np.random.default_rng(1)
    train = rng.integers(0, 256, (40, 48, 48)).astype(np.uint8)
    noise = rng.normal(0, np.linspace(0, 25, 40)[:, None, None], train.shape)
    test = np.clip(train + noise, 0, 255).astype(np.uint8)
    known = np.array(
        [np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] for ours, theirs in zip(test, train, strict=True)]
    )
    assert 5 < (known > 0.99).sum() < 35
    assert near_copies.near_copies(test, train).tolist() == (known > 0.99).tolist()


def test_the_mask_is_cached_by_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, expected = _dataset()
    first = near_copies.near_copy_mask(dataset)
    path = tmp_path / "cache" / "near_copies" / f"{dataset.fingerprint}.npy"
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with monkeypatch.context() as patch:
        patch.setattr(near_copies, "near_copies", lambda *_: pytest.fail("computed again"))
        assert np.array_equal(near_copies.near_copy_mask(dataset), first)
    path.write_bytes(b"damaged")
    assert near_copies.near_copy_mask(dataset).tolist() == expected
    other = dataclasses.replace(dataset, images=dataset.images[::-1], split=dataset.split, fingerprint="other")
    assert near_copies.near_copy_mask(other).tolist() != expected


def test_a_cache_that_cannot_be_written_is_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("FER_BENCH_CACHE", str(tmp_path / "file"))
    dataset, expected = _dataset()
    assert near_copies.near_copy_mask(dataset).tolist() == expected


def test_without_an_official_split_there_is_nothing_to_compare(tmp_path: Path) -> None:
    write_zip(tmp_path / "sets" / "ck48.zip", ck_files())
    with pytest.raises(FerBenchError, match="ckplus has no official split"):
        near_copies.near_copy_mask(data.load("ckplus", tmp_path / "sets", allow_partial=True))
