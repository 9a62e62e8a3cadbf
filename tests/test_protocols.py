"""Folds are disjoint by construction, the same for everyone, and known by their digests."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fer_bench import data
from fer_bench.data.dataset import FaceDataset
from fer_bench.errors import DataNotFoundError, FerBenchError, UnknownNameError
from fer_bench.labels import get_labels
from fer_bench.protocols import PROTOCOLS, Fold, get_protocol

LABELS = {"fer2013": "fer2013", "ckplus": "ckplus", "sfew": "sfew", "synthetic": "fer2013"}


def face_dataset(name: str, targets: np.ndarray, people: np.ndarray) -> FaceDataset:
    """A data set without pixels; the official split, where a protocol asks for it, is by person."""
    groups = np.array([f"p{person}" for person in people])
    return FaceDataset(
        name=name,
        labels=get_labels(LABELS[name]),
        images=np.zeros((len(targets), 1, 1), dtype=np.uint8),
        targets=targets,
        ids=np.array([f"image {index}" for index in range(len(targets))]),
        fingerprint="",
        layout="memory",
        source="memory",
        groups={"subject": groups, "movie": groups},
        split=np.array(["train", "select", "test"])[people % 3] if name in ("fer2013", "synthetic") else None,
    )


def random_data(name: str, seed: int, evenness: float = 10.0) -> FaceDataset:
    """Random classes in random order; people of more or less even numbers of images."""
    rng = np.random.default_rng(seed)
    classes, people = rng.integers(2, 8), rng.integers(30, 60)
    n = rng.integers(max(30 * classes, 3 * people), 500)
    # Everyone at least once, and every class often enough to be stratified.
    person = np.concatenate(
        [np.arange(people), rng.choice(people, n - people, p=rng.dirichlet(np.full(people, evenness)))]
    )
    target = np.concatenate([np.tile(np.arange(classes), 20), rng.integers(0, classes, n - 20 * classes)])
    return face_dataset(name, rng.permutation(target), rng.permutation(person))


seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=20, deadline=None)


@pytest.mark.parametrize("name", PROTOCOLS)
@few
@given(seed=seeds)
def test_folds_are_disjoint_and_cover_everything(name: str, seed: int) -> None:
    protocol = get_protocol(name)
    dataset = random_data(protocol.dataset, seed)
    everything = np.arange(len(dataset))
    folds = protocol.folds(dataset)
    for fold in folds:
        parts = fold.parts()
        np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), everything)
        assert all(np.all(np.diff(part) > 0) for part in parts.values())
        assert len(fold.train) and len(fold.select) and len(fold.test)
        if protocol.disjoint:
            people = [set(dataset.groups[protocol.disjoint][part]) for part in parts.values()]
            assert not any(one & other for one, other in itertools.combinations(people, 2))
    if name in ("ckplus_subject", "sfew_2fold", "sfew_2fold_movie"):
        tested = np.sort(np.concatenate([fold.test for fold in folds]))
        np.testing.assert_array_equal(tested, everything)


@pytest.mark.parametrize("name", PROTOCOLS)
@few
@given(seed=seeds)
def test_folds_do_not_depend_on_global_state(name: str, seed: int) -> None:
    protocol = get_protocol(name)
    dataset = random_data(protocol.dataset, seed)
    np.random.seed(1)
    once = [fold.digest(dataset) for fold in protocol.folds(dataset)]
    np.random.seed(2)
    assert [fold.digest(dataset) for fold in protocol.folds(dataset)] == once
    assert len(set(once)) == len(once)


@few
@given(seed=seeds)
def test_ckplus_subject_selects_on_the_next_fold(seed: int) -> None:
    folds = get_protocol("ckplus_subject").folds(random_data("ckplus", seed))
    for fold, following in zip(folds, folds[1:] + folds[:1], strict=True):
        np.testing.assert_array_equal(fold.select, following.test)


@few
@given(seed=seeds)
def test_stratified_parts_have_the_classes_in_proportion(seed: int) -> None:
    dataset = random_data("sfew", seed)
    totals = np.bincount(dataset.targets)
    for fold in get_protocol("sfew_2fold").folds(dataset):
        tested, selected = (np.bincount(dataset.targets[part]) for part in (fold.test, fold.select))
        assert np.all(np.abs(tested - totals / 2) <= 1)
        assert np.all(np.abs(selected - 0.15 * (totals - tested)) <= 1.01)


@few
@given(seed=seeds)
def test_one_person_in_most_images_is_split_or_refused(seed: int) -> None:
    dataset = random_data("sfew", seed, evenness=0.03)
    try:
        folds = get_protocol("sfew_2fold_movie").folds(dataset)
    except FerBenchError as error:
        assert "\n" not in str(error)
    else:
        for fold in folds:
            fold.check_groups(dataset.groups["movie"])


@given(st.lists(st.integers(0, 30), min_size=1), st.lists(st.integers(0, 30)), st.lists(st.integers(0, 30)))
def test_a_fold_refuses_overlap(train: list[int], select: list[int], test: list[int]) -> None:
    assume(test)
    parts = [np.array(part, dtype=np.int64) for part in (train, select, test)]
    if len(set(train + select + test)) == len(train + select + test):
        Fold(*parts)
    else:
        with pytest.raises(FerBenchError, match="overlap"):
            Fold(*parts)


@pytest.mark.parametrize("empty", ["train", "test"])
def test_a_fold_refuses_an_empty_part(empty: str) -> None:
    parts = {"train": np.array([0, 1]), "select": np.array([2]), "test": np.array([3])}
    with pytest.raises(FerBenchError, match="images to train on and images to test on"):
        Fold(**parts | {empty: parts["select"][:0]})


def small() -> tuple[FaceDataset, Fold]:
    dataset = face_dataset("synthetic", np.arange(12) % 4, np.arange(12) % 6)
    [fold] = get_protocol("synthetic").folds(dataset)
    return dataset, fold


def test_a_group_in_two_parts_is_refused_and_named() -> None:
    dataset, fold = small()
    groups = dataset.groups["subject"].copy()
    fold.check_groups(groups)
    groups[fold.test[0]] = groups[fold.train[0]]
    with pytest.raises(FerBenchError, match="p0 stands both in train and in test"):
        fold.check_groups(groups)
    with pytest.raises(FerBenchError, match="stands both"):
        get_protocol("synthetic").folds(dataclasses.replace(dataset, groups={"subject": groups}))


def test_the_digest_knows_ids_labels_and_parts() -> None:
    dataset, fold = small()
    digests = {fold.digest(dataset)}
    for part in fold.parts().values():
        ids, targets = dataset.ids.copy(), dataset.targets.copy()
        ids[part[0]], targets[part[0]] = "other", (targets[part[0]] + 1) % 4
        digests.add(fold.digest(dataclasses.replace(dataset, ids=ids)))
        digests.add(fold.digest(dataclasses.replace(dataset, targets=targets)))
    digests.add(Fold(fold.train, fold.test, fold.select).digest(dataset))
    digests.add(Fold(fold.select, fold.train, fold.test).digest(dataset))
    digests.add(fold.merged().digest(dataset))
    assert len(digests) == 10


def test_the_digest_does_not_know_what_is_in_no_part() -> None:
    dataset, fold = small()
    less = Fold(fold.train[1:], fold.select, fold.test)
    ids = dataset.ids.copy()
    ids[fold.train[0]] = "other"
    assert less.digest(dataclasses.replace(dataset, ids=ids)) == less.digest(dataset) != fold.digest(dataset)


def test_merged_gives_select_to_train() -> None:
    _, fold = small()
    merged = fold.merged()
    np.testing.assert_array_equal(merged.train, np.union1d(fold.train, fold.select))
    assert len(merged.select) == 0
    np.testing.assert_array_equal(merged.test, fold.test)


def test_what_can_not_be_split_is_refused_in_one_line() -> None:
    with pytest.raises(FerBenchError, match="sfew_2fold needs sfew, got ckplus"):
        get_protocol("sfew_2fold").folds(face_dataset("ckplus", np.zeros(4, dtype=np.int64), np.arange(4)))
    lonely = face_dataset("ckplus", np.array([0, 1, 2, 3]), np.arange(4))
    for name in ("ckplus_random", "ckplus_subject"):
        with pytest.raises(FerBenchError, match=f"{name} can't split memory: ") as caught:
            get_protocol(name).folds(lonely)
        assert "\n" not in str(caught.value)
    unsplit = dataclasses.replace(face_dataset("fer2013", np.arange(4), np.arange(4)), split=None)
    with pytest.raises(FerBenchError, match="no official split"):
        get_protocol("fer2013").folds(unsplit)


def test_an_image_counts_alone_where_nothing_says_whose_it_is() -> None:
    ids = ["test/sad/PrivateTest_1.jpg", "test/sad/PrivateTest_2.jpg"]
    assert get_protocol("fer2013").clusters(ids) == ids
    assert get_protocol("ckplus_subject").clusters(["angry/S010_004_00000018.png"]) == ["S010"]
    assert get_protocol("sfew_2fold_movie").clusters(["sad/OceansThirteen-010619400_00000002.jpg"]) == [
        "OceansThirteen"
    ]


def test_an_unknown_protocol_gets_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'ckplus_subject'"):
        get_protocol("ckplus_subjects")


@pytest.mark.data
class TestRealData:
    """The folds of the real sets; the digests hold for the layouts of the image archives, named in ids."""

    @staticmethod
    def folds(name: str) -> tuple[FaceDataset, list[Fold]]:
        protocol = get_protocol(name)
        try:
            dataset = data.load(protocol.dataset)
        except DataNotFoundError as error:
            pytest.skip(str(error))
        return dataset, protocol.folds(dataset)

    @staticmethod
    def counts(dataset: FaceDataset, indices: np.ndarray) -> list[int]:
        return [int(np.sum(dataset.targets[indices] == label)) for label in range(len(dataset.labels))]

    def test_fer2013(self) -> None:
        dataset, [fold] = self.folds("fer2013")
        assert self.counts(dataset, fold.train) == [3995, 436, 4097, 7215, 4830, 3171, 4965]
        assert self.counts(dataset, fold.select) == [467, 56, 496, 895, 653, 415, 607]
        assert self.counts(dataset, fold.test) == [491, 55, 528, 879, 594, 416, 626]
        if all(id_.endswith(".jpg") for id_ in dataset.ids[:100]):
            assert fold.digest(dataset) == "59af5c36b55aa499"

    @pytest.mark.parametrize(
        ("name", "group"),
        [
            ("ckplus_random", "subject"),
            ("ckplus_subject", "subject"),
            ("sfew_2fold", "movie"),
            ("sfew_2fold_movie", "movie"),
        ],
    )
    def test_an_image_counts_with_those_of_its_person_or_film(self, name: str, group: str) -> None:
        dataset, _ = self.folds(name)
        assert get_protocol(name).clusters(dataset.ids) == dataset.groups[group].tolist()

    def test_ckplus_random(self) -> None:
        dataset, folds = self.folds("ckplus_random")
        assert [len(fold.test) for fold in folds] == [148] * 5
        assert all(self.counts(dataset, fold.test) == [20, 8, 27, 11, 31, 13, 38] for fold in folds)
        assert {(len(fold.train), len(fold.select)) for fold in folds} == {(708, 125)}
        assert " ".join(fold.digest(dataset) for fold in folds) == (
            "d1339bdb26edd224 2eecf23af2ee1c91 ee65abaedd4918e7 3160fed5bfcacdd0 98bde5291344227c"
        )

    def test_ckplus_subject(self) -> None:
        dataset, folds = self.folds("ckplus_subject")
        assert len(folds) == 10
        assert sum(len(fold.test) for fold in folds) == len(dataset) == 981
        tested = np.concatenate([fold.test for fold in folds])
        assert self.counts(dataset, tested) == [135, 54, 177, 75, 207, 84, 249]
        sequences = [set(dataset.groups["sequence"][fold.test]) for fold in folds]
        assert sum(map(len, sequences)) == len(set.union(*sequences)) == 327
        assert " ".join(fold.digest(dataset) for fold in folds) == (
            "008c8d926ea0823b 17f2a2b379047c9d 4f8ffda40dd2f176 17287602f5408a4a 2fe37aa9de80517c "
            "bf9d4354944d87f1 475335f11b11aec1 f6eef91d385646af f5433fb27f1f15cc d36b0e0a0ad46168"
        )

    def test_sfew(self) -> None:
        dataset, folds = self.folds("sfew_2fold")
        assert [len(fold.test) for fold in folds] == [338, 337]
        assert {tuple(self.counts(dataset, fold.test)) for fold in folds} == {
            (50, 38, 50, 50, 50, 50, 50),
            (50, 37, 50, 50, 50, 50, 50),
        }
        assert [fold.digest(dataset) for fold in folds] == ["d37096d157b30359", "a10aadcdb9cc56fc"]
        dataset, folds = self.folds("sfew_2fold_movie")
        assert sum(len(fold.test) for fold in folds) == 675
        assert all(min(self.counts(dataset, fold.test)) >= 25 for fold in folds)
        assert [fold.digest(dataset) for fold in folds] == ["c0c6006bd84f924e", "48ba7f8f0b2a24cd"]
