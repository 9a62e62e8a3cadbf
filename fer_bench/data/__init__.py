"""The data sets, found and read by name: `load("fer2013")`."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_bench.data import cache, ckplus, fer2013, locate, sfew
from fer_bench.data.dataset import FaceDataset
from fer_bench.data.fingerprint import fingerprint
from fer_bench.data.source import DataSetSpec
from fer_bench.errors import DataNotFoundError, FerBenchError, UnknownNameError

__all__ = [
    "DATASETS",
    "DatasetCheck",
    "DatasetStatus",
    "FaceDataset",
    "check",
    "found",
    "found_or_fetched",
    "load",
    "status",
]

_SPECS = {spec.name: spec for spec in (fer2013.SPEC, ckplus.SPEC, sfew.SPEC)}
_ON_HUB = frozenset({fer2013.SPEC.name})
DATASETS = (*_SPECS, "synthetic")


@dataclass(frozen=True)
class DatasetStatus:
    """What is known of a data set without reading it.

    Attributes:
        message: what was found and where, or exactly what to get and where to put it.
    """

    name: str
    found: bool
    layout: str | None
    source: Path | None
    message: str
    licence: str


@dataclass(frozen=True)
class DatasetCheck:
    """What a set holds: `counts` as in `FaceDataset.counts`, the fingerprint computed anew from pixels."""

    name: str
    layout: str
    source: str
    counts: dict[str, Any]
    fingerprint: str
    partial: bool
    notes: tuple[str, ...]


def load(
    name: str,
    data_dir: Path | None = None,
    *,
    allow_partial: bool = False,
    progress: locate.Progress | None = None,
) -> FaceDataset:
    """The data set of that name, memory-mapped from the cache; read into the cache first if need be.

    Args:
        name: one of `DATASETS`.
        data_dir: the first place to look: a folder of data sets, a data set's own folder, or its file.
        allow_partial: go on when the counts are not the published ones; the set is then marked `partial`.
        progress: called with a line of text when something slow starts.

    Raises:
        UnknownNameError: no such data set.
        DataNotFoundError: it is nowhere; the message says what to get and where to put it.
        FerBenchError: it is there and broken, or its counts are not the published ones.
    """
    if name == "synthetic":
        return _drawn()
    spec = _spec(name)
    source = locate.locate(spec, data_dir)
    if source is None:
        if name not in _ON_HUB:
            raise DataNotFoundError(locate.not_found(spec))
        return _load_from_hub(spec, progress)
    if progress:
        progress(f"reading {name} ({source.layout}) from {source.path}")
    return cache.read_cached(spec, source, allow_partial)


def _load_from_hub(spec: DataSetSpec, progress: locate.Progress | None) -> FaceDataset:
    """The Hub's copy; nobody vouches for it but the counts, so it is taken whole or not at all."""
    dataset = cache.read_cached(spec, locate.hub_source(spec, progress), allow_partial=True)
    if dataset.partial:
        wrong = cache.count_differences(spec, dataset.counts())
        raise DataNotFoundError(f"{locate.not_found(spec)} (the Hub's copy is refused, its counts differ: {wrong})")
    return dataset


@functools.cache
def _drawn() -> FaceDataset:
    """The embedded set; drawing it takes seconds, so once a process."""
    from fer_bench.data import synthetic

    return synthetic.load()


def status(data_dir: Path | None = None) -> list[DatasetStatus]:
    """What was found of every data set, and where; looks at names only and never at the network."""
    return [_status(name, data_dir) for name in DATASETS]


def found(data_dir: Path | None = None) -> list[str]:
    """The real data sets that are there, without reading them.

    Raises:
        FerBenchError: a place that the user named is missing or empty, or what looks like a data set is broken: a
            run must not quietly go on without it.
    """
    return [name for name, spec in _SPECS.items() if locate.locate(spec, data_dir) is not None]


def found_or_fetched(data_dir: Path | None = None, progress: locate.Progress | None = None) -> list[str]:
    """The real data sets that are there; where there is none, FER2013 if the Hub can be reached."""
    names = found(data_dir)
    if names:
        return names
    try:
        return [load(name, data_dir, progress=progress).name for name in _ON_HUB]
    except DataNotFoundError:
        return []


def _status(name: str, data_dir: Path | None) -> DatasetStatus:
    if name == "synthetic":
        return DatasetStatus(name, True, "embedded", None, "drawn when asked for; nothing to get", "ours (MIT)")
    spec = _spec(name)
    try:
        source = locate.locate(spec, data_dir)
    except FerBenchError as error:
        return DatasetStatus(name, False, None, None, str(error), spec.licence)
    if source is None:
        hub = f"; otherwise it is fetched from the Hub ({locate.HUB_DATASET}) when needed" if name in _ON_HUB else ""
        return DatasetStatus(name, False, None, None, locate.not_found(spec) + hub, spec.licence)
    found = f"{source.layout}, {len(source.match.names)} files, in {source.path}"
    return DatasetStatus(name, True, source.layout, source.path, found, spec.licence)


def check(
    name: str,
    data_dir: Path | None = None,
    *,
    allow_partial: bool = False,
    progress: locate.Progress | None = None,
) -> DatasetCheck:
    """Loads a data set, which verifies its counts, and computes its fingerprint from the pixels again.

    Raises:
        FerBenchError: as `load`; or the cached pixels are no longer those that were read.
    """
    dataset = load(name, data_dir, allow_partial=allow_partial, progress=progress)
    digest = fingerprint(dataset.images, dataset.targets, dataset.ids, dataset.split)
    if digest != dataset.fingerprint:
        raise FerBenchError(
            f"{name}: the cache has changed since it was written; delete {locate.cache_root() / 'datasets'}"
        )
    return DatasetCheck(
        name=name,
        layout=dataset.layout,
        source=dataset.source,
        counts=dataset.counts(),
        fingerprint=digest,
        partial=dataset.partial,
        notes=dataset.notes,
    )


def _spec(name: str) -> DataSetSpec:
    if name not in _SPECS:
        raise UnknownNameError("data set", name, DATASETS)
    return _SPECS[name]
