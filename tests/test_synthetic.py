"""The drawn data set: reproducible, split by person, and hard for a linear classifier only."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_bench.data import synthetic
from fer_bench.data.dataset import FaceDataset
from fer_bench.data.fingerprint import fingerprint
from fer_bench.errors import UnknownNameError
from fer_bench.labels import FER2013

SMALL = {"train": 6, "select": 2, "test": 3}


@pytest.fixture(scope="module")
def small() -> FaceDataset:
    return synthetic.load(per_class=SMALL)


def part(dataset: FaceDataset, split: str) -> tuple[np.ndarray, np.ndarray]:
    assert dataset.split is not None
    return dataset.images[dataset.split == split], dataset.targets[dataset.split == split]


def test_arrays(small: FaceDataset) -> None:
    n = 7 * sum(SMALL.values())
    assert (small.name, small.labels) == ("synthetic", FER2013)
    assert small.images.shape == (n, 48, 48) and small.images.dtype == np.uint8
    assert small.targets.shape == (n,) and small.targets.dtype == np.int64
    assert len(set(small.ids)) == n
    counts = small.counts()
    assert {split: set(counts[split].values()) for split in SMALL} == {k: {v} for k, v in SMALL.items()}
    assert all(name.endswith(FER2013.classes[target]) for name, target in zip(small.ids, small.targets, strict=True))


def test_default_size() -> None:
    assert synthetic.PER_CLASS == {"train": 500, "select": 100, "test": 100}


def test_nobody_is_in_two_splits(small: FaceDataset) -> None:
    assert small.split is not None
    people = {split: set(small.groups["subject"][small.split == split]) for split in SMALL}
    assert {split: len(names) for split, names in people.items()} == SMALL
    assert len(set.union(*people.values())) == sum(SMALL.values())


def test_no_picture_occurs_twice(small: FaceDataset) -> None:
    assert len({image.tobytes() for image in small.images}) == len(small)


def test_the_fingerprint_is_the_contents(small: FaceDataset) -> None:
    assert small.split is not None
    expected = fingerprint(small.images, small.targets, small.ids.tolist(), small.split.tolist())
    assert small.fingerprint == expected


def test_a_seed_decides_everything(small: FaceDataset) -> None:
    assert synthetic.load(per_class=SMALL).fingerprint == small.fingerprint
    other = synthetic.load(seed=1, per_class=SMALL)
    assert not (other.images == small.images).all(axis=(1, 2)).any()


def test_fewer_are_the_first_of_more(small: FaceDataset) -> None:
    fewer = synthetic.load(per_class={"test": 2})
    np.testing.assert_array_equal(fewer.images, part(small, "test")[0][:14])


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(FER2013.classes), st.integers(0, 2**32), st.sampled_from([16, 48, 97]))
def test_draw_face(expression: str, seed: int, size: int) -> None:
    face = synthetic.draw_face(expression, np.random.default_rng(seed), size)
    assert face.shape == (size, size) and face.dtype == np.uint8
    assert face.std() > 5
    np.testing.assert_array_equal(face, synthetic.draw_face(expression, np.random.default_rng(seed), size))


@pytest.mark.parametrize("expression", FER2013.classes)
def test_a_large_picture_is_the_small_one_in_detail(expression: str) -> None:
    small = synthetic.draw_face(expression, np.random.default_rng(3), 48)
    large = synthetic.draw_face(expression, np.random.default_rng(3), 240)
    shrunk = large.reshape(48, 5, 48, 5).mean(axis=(1, 3))
    assert np.abs(shrunk - small).mean() < 3


def test_expressions_of_one_person_differ() -> None:
    person = synthetic.draw_person(np.random.default_rng(0))
    faces = [synthetic.draw_face(word, np.random.default_rng(1), person=person) for word in FER2013.classes]
    # In the same pose and light, all that is left is the expression.
    changed = [np.mean(np.abs(np.subtract(a, b, dtype=int)) > 20) for i, a in enumerate(faces) for b in faces[:i]]
    assert 0.02 < min(changed) <= max(changed) < 0.5


def test_unknown_expression() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'happy'"):
        synthetic.draw_face("hapy", np.random.default_rng(0))


def lda_accuracy(dataset: FaceDataset) -> float:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    images, targets = part(dataset, "train")
    classifier = LinearDiscriminantAnalysis().fit(images.reshape(len(images), -1) / 255, targets)
    images, targets = part(dataset, "test")
    return float(classifier.score(images.reshape(len(images), -1) / 255, targets))


def test_hard_for_a_linear_classifier() -> None:
    assert lda_accuracy(synthetic.load(per_class={"train": 60, "test": 40})) <= 0.60


@pytest.mark.slow
def test_a_network_learns_what_a_linear_classifier_cannot() -> None:
    from fer_bench.fit import TrainingData, fit
    from fer_bench.registry import get_spec
    from fer_bench.trainer import Compute

    dataset = synthetic.load()
    spec = get_spec("lin_shi")
    recipe = spec.recipe("fer_bench", "synthetic")
    data = TrainingData(*part(dataset, "train"), *part(dataset, "select"), FER2013.classes)
    fitted = fit(spec, recipe, data, seed=0, compute=Compute.detect())
    images, targets = part(dataset, "test")
    assert np.mean(fitted.predictor.predict(images).argmax(axis=1) == targets) >= 0.90
    assert lda_accuracy(dataset) <= 0.60
