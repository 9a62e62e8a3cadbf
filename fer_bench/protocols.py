"""The protocols: which images train, which select, which test. Folds are disjoint by construction.

The folds of a protocol are fixed: every model and seed meets the same ones, so that results pair up image by
image. A run's seed changes its training only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from fer_bench.data.dataset import FaceDataset, IntArray
from fer_bench.errors import FerBenchError, UnknownNameError

SPLIT_SEED = 2013
SELECT_SHARE = 0.15


@dataclass(frozen=True)
class Fold:
    """Indices into a data set; (n,) int64 each, sorted; `select` may be empty.

    Raises:
        FerBenchError: an image stands in two parts, or there is nothing to train on or to test on.
    """

    train: IntArray
    select: IntArray
    test: IntArray

    def __post_init__(self) -> None:
        both = np.concatenate([self.train, self.select, self.test])
        if len(np.unique(both)) != len(both):
            raise FerBenchError("a fold's train, select and test overlap")
        if not len(self.train) or not len(self.test):
            raise FerBenchError("a fold needs images to train on and images to test on")

    def parts(self) -> dict[str, IntArray]:
        """The three parts by name."""
        return {"train": self.train, "select": self.select, "test": self.test}

    def merged(self) -> Fold:
        """The same fold with `select` given to `train`, for a recipe that selects nothing."""
        return Fold(np.sort(np.concatenate([self.train, self.select])), self.select[:0], self.test)

    def check_groups(self, groups: np.ndarray) -> None:
        """Refuse a fold in which one of the (N,) `groups` stands in two parts."""
        for one, other in (("train", "select"), ("train", "test"), ("select", "test")):
            shared = np.intersect1d(groups[self.parts()[one]], groups[self.parts()[other]])
            if len(shared):
                raise FerBenchError(f"{shared[0]} stands both in {one} and in {other}")

    def digest(self, dataset: FaceDataset) -> str:
        """A hash of the ids and labels of each part, in order."""
        state = hashlib.sha256()
        for name, indices in self.parts().items():
            state.update(f"{name} {len(indices)}\n".encode())
            for id_, target in zip(dataset.ids[indices], dataset.targets[indices], strict=True):
                state.update(f"{id_}\t{target}\n".encode())
        return state.hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A data set and a way to split it.

    Attributes:
        name, dataset: the registered name and the data set's.
        title: what the number is, in a few words.
        caveat: what the number is not.
        names_select: the data set itself names its selection part, so it is never trained on.
        disjoint: the group no member of which may stand in two parts of a fold.
        related: whose images are no independent samples, "people" or "films"; an image's name starts with it.
        split: the rule.
    """

    name: str
    dataset: str
    title: str
    caveat: str
    split: Callable[[FaceDataset], list[Fold]]
    names_select: bool = False
    disjoint: str | None = None
    related: str | None = None

    def folds(self, dataset: FaceDataset) -> list[Fold]:
        """The protocol's folds on a loaded data set, checked.

        Raises:
            FerBenchError: the data set is another one, or too small or skewed to be split this way.
        """
        if dataset.name != self.dataset:
            raise FerBenchError(f"{self.name} needs {self.dataset}, got {dataset.name}")
        try:
            folds = self.split(dataset)
        except ValueError as error:
            raise FerBenchError(f"{self.name} can't split {dataset.source}: {error}") from error
        if self.disjoint is not None:
            for fold in folds:
                fold.check_groups(dataset.groups[self.disjoint])
        return folds

    def clusters(self, ids: Iterable[str]) -> list[str]:
        """What each image of these ids is drawn with as evidence: the person or film it is of, or it alone."""
        return [re.split("[_-]", id_.rpartition("/")[2])[0] if self.related else id_ for id_ in ids]


def _official(dataset: FaceDataset) -> list[Fold]:
    if dataset.split is None:
        raise ValueError("it has no official split")
    train, select, test = (np.flatnonzero(dataset.split == part) for part in ("train", "select", "test"))
    return [Fold(train, select, test)]


def _with_random_select(dataset: FaceDataset, rest: IntArray, test: IntArray) -> Fold:
    from sklearn.model_selection import train_test_split

    train, select = train_test_split(
        rest, test_size=SELECT_SHARE, stratify=dataset.targets[rest], random_state=SPLIT_SEED
    )
    return Fold(np.sort(train), np.sort(select), np.sort(test))


def _five_draws(dataset: FaceDataset) -> list[Fold]:
    from sklearn.model_selection import StratifiedShuffleSplit

    draws = StratifiedShuffleSplit(n_splits=5, test_size=0.15, random_state=SPLIT_SEED)
    return [
        _with_random_select(dataset, rest, test) for rest, test in draws.split(np.zeros(len(dataset)), dataset.targets)
    ]


def _halves(dataset: FaceDataset) -> list[Fold]:
    from sklearn.model_selection import StratifiedKFold

    halves = StratifiedKFold(2, shuffle=True, random_state=SPLIT_SEED)
    return [
        _with_random_select(dataset, rest, test) for rest, test in halves.split(np.zeros(len(dataset)), dataset.targets)
    ]


def _group_parts(targets: IntArray, groups: np.ndarray, parts: int) -> list[IntArray]:
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=SPLIT_SEED)
    return [part for _, part in splitter.split(np.zeros(len(targets)), targets, groups)]


def _subject_folds(dataset: FaceDataset) -> list[Fold]:
    parts = _group_parts(dataset.targets, dataset.groups["subject"], 10)
    folds = []
    for number, test in enumerate(parts):
        select = parts[(number + 1) % len(parts)]
        train = np.setdiff1d(np.arange(len(dataset)), np.concatenate([select, test]))
        folds.append(Fold(train, np.sort(select), np.sort(test)))
    return folds


def _movie_halves(dataset: FaceDataset) -> list[Fold]:
    movies = dataset.groups["movie"]
    folds = []
    for test in _group_parts(dataset.targets, movies, 2):
        rest = np.setdiff1d(np.arange(len(dataset)), test)
        # Whole films only: of seven balanced parts the one nearest to 15%, for some films are long.
        parts = _group_parts(dataset.targets[rest], movies[rest], round(1 / SELECT_SHARE))
        select = rest[min(parts, key=lambda part: abs(len(part) - SELECT_SHARE * len(rest)))]
        folds.append(Fold(np.setdiff1d(rest, select), np.sort(select), np.sort(test)))
    return folds


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="fer2013",
            dataset="fer2013",
            title="FER2013: train on Training, select on PublicTest, test on PrivateTest",
            caveat="Labels are noisy (people agree with them about 65% of the time), and 9% of the test "
            "images have a near copy in Training; the near-copy-free column leaves those out. One standard "
            "error is 0.7-0.8 points.",
            split=_official,
            names_select=True,
        ),
        Protocol(
            name="ckplus_random",
            dataset="ckplus",
            title="CK+48, stratified random 15% test, 5 draws, as the papers split it",
            caveat="Leaky: neighbouring frames of one sequence stand in training and test, and a pixel "
            "nearest neighbour scores 98.8%. This measures frame matching, not expression recognition.",
            split=_five_draws,
            related="people",
        ),
        Protocol(
            name="ckplus_subject",
            dataset="ckplus",
            title="CK+48, 10 folds with no subject in two; the next fold selects",
            caveat="Posed expressions of 118 people in a laboratory, three frames a sequence: 981 images that "
            "count as some 300 independent ones.",
            split=_subject_folds,
            names_select=True,
            disjoint="subject",
            related="people",
        ),
        Protocol(
            name="sfew_2fold",
            dataset="sfew",
            title="SFEW v1, stratified random halves: train on one, test on the other, then swap",
            caveat="Frames of one movie, often of one scene, stand in both halves: a net that sees the whole "
            "frame can recognise the scene. 675 images, but those of one film are right and wrong "
            "together: the 95% interval is four to seven points either way.",
            split=_halves,
            related="films",
        ),
        Protocol(
            name="sfew_2fold_movie",
            dataset="sfew",
            title="SFEW v1, two halves with no movie in both",
            caveat="675 images of 53 films, told apart by their names: all Harry Potter films but one count as one, "
            "that one and the three Ocean's films by themselves, so that these have actors in both halves. The 95% "
            "interval is three to six points either way.",
            split=_movie_halves,
            disjoint="movie",
            related="films",
        ),
        Protocol(
            name="synthetic",
            dataset="synthetic",
            title="Drawn faces, embedded: needs no download",
            caveat="Drawings, not people: it shows that the software works, and nothing about faces.",
            split=_official,
            names_select=True,
            disjoint="subject",
        ),
    )
}


def get_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        UnknownNameError: no such protocol; the message names the nearest one.
    """
    if not isinstance(name, str) or name not in PROTOCOLS:  # what a request calls one may be anything
        raise UnknownNameError("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
