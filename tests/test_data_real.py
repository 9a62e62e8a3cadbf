"""The real data sets, where FER_BENCH_DATA names them."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest

from fer_bench import data
from fer_bench.data import near_copies
from fer_bench.data.dataset import FaceDataset
from fer_bench.errors import DataNotFoundError

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif("FER_BENCH_DATA" not in os.environ, reason="FER_BENCH_DATA names no real data"),
]


def _load(name: str) -> FaceDataset:
    try:
        return data.load(name)
    except DataNotFoundError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("name", "number"), [("fer2013", 35887), ("ckplus", 981), ("sfew", 675)])
def test_the_real_sets_have_the_published_counts(name: str, number: int) -> None:
    dataset = _load(name)
    assert len(dataset) == number and not dataset.partial
    assert len(set(dataset.ids)) == number
    assert data.check(name).fingerprint == dataset.fingerprint


def test_fer2013_has_the_known_near_copies() -> None:
    dataset = _load("fer2013")
    mask = near_copies.near_copy_mask(dataset)
    assert mask.shape == (3589,)
    if "folders" in dataset.layout:
        assert mask.sum() == 310
        assert dataset.images[0].std() > 0


def test_ckplus_has_its_subjects_and_sequences() -> None:
    groups = _load("ckplus").groups
    assert len(set(groups["subject"])) == 118
    assert len(set(groups["sequence"])) == 327
    assert all(number == 3 for number in np.unique(groups["sequence"], return_counts=True)[1])


def test_sfew_has_its_films_and_its_known_warts() -> None:
    dataset = _load("sfew")
    assert len(set(dataset.groups["movie"])) == 53
    assert all(re.fullmatch("[A-Za-z0-9]+", movie) for movie in dataset.groups["movie"])
    assert sum("byte for byte" in note for note in dataset.notes) == 1
    assert sum("malformed name" in note for note in dataset.notes) == 3
