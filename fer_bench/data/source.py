"""What a data set's module must say of itself, and what was found on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fer_bench.data.archive import Tree
from fer_bench.data.dataset import UInt8Array
from fer_bench.labels import LabelSet


@dataclass(frozen=True)
class Match:
    """The files of a folder or zip that make up a data set, and the layout they are in."""

    layout: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """A data set found on disk. `key` changes when its files do."""

    path: Path
    match: Match
    layout: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A data set listed in its canonical order, its pixels not read yet.

    Attributes:
        shape: one image: (H, W) gray or (H, W, 3) RGB.
        images: yields one uint8 image of `shape` for each id, in order; may be called again.
    """

    ids: Sequence[str]
    targets: Sequence[int]
    shape: tuple[int, ...]
    images: Callable[[], Iterator[UInt8Array]]
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    split: Sequence[str] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DataSetSpec:
    """One data set: how to recognise it, how to read it, what must come out.

    Attributes:
        counts: published images per class, by split ("all" where there is none), in the order of `labels`.
        hints: what a folder's name starts with when it holds this set (lower case, letters and digits only).
        files: the files to get and where to put them, for the message when nothing is found.
        licence: the terms in a line.
        recognise: the relative names of a folder's or zip's files -> what of it is this set, or None.
        read: an open tree and the match in it -> the contents.
    """

    name: str
    labels: LabelSet
    counts: Mapping[str, tuple[int, ...]]
    hints: tuple[str, ...]
    files: str
    licence: str
    recognise: Callable[[Sequence[str]], Match | None]
    read: Callable[[Tree, Match], Contents]
