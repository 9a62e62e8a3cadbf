"""Read once, then memory-mapped: a folder of .npy for every source that was ever read."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fer_bench.data.archive import open_tree
from fer_bench.data.dataset import FaceDataset, UInt8Array
from fer_bench.data.fingerprint import Fingerprint
from fer_bench.data.locate import cache_root
from fer_bench.data.source import Contents, DataSetSpec, Source
from fer_bench.errors import FerBenchError

FORMAT = 1  # raised when the files below or the reading of any layout change


def read_cached(spec: DataSetSpec, source: Source, allow_partial: bool) -> FaceDataset:
    """The data set from its cache, which is written first if need be; in memory if it cannot be.

    Raises:
        FerBenchError: the source is broken, or its counts are not the published ones and may not be partial.
    """
    folder = cache_root() / "datasets" / f"{spec.name}-{source.key[:16]}-{FORMAT}"
    if (dataset := _open(spec, source, folder)) is None:
        with open_tree(source.path) as tree:
            contents = spec.read(tree, source.match)
        _refuse_duplicates(source, contents)
        _require_counts(spec, source, _counts(spec, contents), allow_partial)
        try:
            with _locked(folder):
                # Another process may have written it while this one waited.
                if (dataset := _open(spec, source, folder)) is None:
                    _write(contents, folder)
                    dataset = _open(spec, source, folder)
        except OSError as error:
            dataset = _in_memory(spec, source, contents, f"not cached in {folder.parent} ({error.strerror or error})")
    if dataset is None:
        raise FerBenchError(f"{folder}: the cache was written and cannot be read; delete the folder and try again")
    _require_counts(spec, source, dataset.counts(), allow_partial)
    return dataset


def count_differences(spec: DataSetSpec, counts: dict[str, Any]) -> str:
    """Where the images per class and split are not the published ones, in a phrase; empty if nowhere."""
    wrong = [
        f"{part} {word} {counts[part][word]} (expected {expected})"
        for part, row in spec.counts.items()
        for word, expected in zip(spec.labels.classes, row, strict=True)
        if counts[part][word] != expected
    ]
    return ", ".join(wrong[:4]) + (f" and {len(wrong) - 4} more" if len(wrong) > 4 else "")


def _require_counts(spec: DataSetSpec, source: Source, counts: dict[str, Any], allow_partial: bool) -> None:
    if not allow_partial and (wrong := count_differences(spec, counts)):
        raise FerBenchError(
            f"{spec.name} in {source.path}: the counts are not the published ones: {wrong}; "
            f"get it again, or go on with --allow-partial"
        )


def _counts(spec: DataSetSpec, contents: Contents) -> dict[str, Any]:
    parts = ["all"] * len(contents.ids) if contents.split is None else contents.split
    counts = {part: dict.fromkeys(spec.labels.classes, 0) for part in spec.counts}
    for part, target in zip(parts, contents.targets, strict=True):
        counts[part][spec.labels.classes[target]] += 1
    return counts


def _refuse_duplicates(source: Source, contents: Contents) -> None:
    if not contents.ids:
        raise FerBenchError(f"{source.path}: expected images, found none")
    for one, other in zip(sorted(contents.ids), sorted(contents.ids)[1:], strict=False):
        if one == other:
            raise FerBenchError(f"{source.path}: two images are both {one!r}; keep one of them")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        yield


def _write(contents: Contents, folder: Path) -> None:
    """Streams the images into a temporary folder beside `folder`, then renames it into place.

    A plain file, not a memory map: a full disk is then an error and not a killed process.
    """
    temporary = folder.with_name(folder.name + ".tmp")
    for stale in (temporary, folder):  # what a killed process or a broken cache left behind; the lock is ours
        shutil.rmtree(stale, ignore_errors=True)
    temporary.mkdir()
    try:
        shape = (len(contents.ids), *contents.shape)
        fingerprint = Fingerprint(shape)
        with (temporary / "images.npy").open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for image in contents.images():
                fingerprint.add(image)
                file.write(image.tobytes())
        arrays = _arrays(contents)
        np.savez(temporary / "arrays.npz", **arrays)
        meta = {
            "fingerprint": fingerprint.finish(arrays["targets"], contents.ids, contents.split),
            "notes": contents.notes,
        }
        (temporary / "meta.json").write_text(json.dumps(meta))
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _arrays(contents: Contents) -> dict[str, Any]:
    arrays = {
        "targets": np.array(contents.targets, dtype=np.int64),
        "ids": np.array(contents.ids, dtype=np.str_),
    }
    if contents.split is not None:
        arrays["split"] = np.array(contents.split, dtype=np.str_)
    return arrays | {f"group_{name}": np.array(of, dtype=np.str_) for name, of in contents.groups.items()}


def _open(spec: DataSetSpec, source: Source, folder: Path) -> FaceDataset | None:
    """The data set in a cache folder; None if there is none or it is damaged."""
    try:
        images: UInt8Array = np.load(folder / "images.npy", mmap_mode="r")
        meta = json.loads((folder / "meta.json").read_text())
        with np.load(folder / "arrays.npz") as stored:
            arrays = dict(stored)
        return _dataset(spec, source, images, arrays, meta["fingerprint"], tuple(meta["notes"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _in_memory(spec: DataSetSpec, source: Source, contents: Contents, note: str) -> FaceDataset:
    arrays = _arrays(contents)
    images = np.empty((len(contents.ids), *contents.shape), dtype=np.uint8)
    fingerprint = Fingerprint(images.shape)
    for at, image in enumerate(contents.images()):
        images[at] = image
        fingerprint.add(image)
    images.flags.writeable = False  # as a memory map is
    digest = fingerprint.finish(arrays["targets"], contents.ids, contents.split)
    return _dataset(spec, source, images, arrays, digest, (*contents.notes, note))


def _dataset(
    spec: DataSetSpec,
    source: Source,
    images: UInt8Array,
    arrays: dict[str, Any],
    fingerprint: str,
    notes: tuple[str, ...],
) -> FaceDataset:
    dataset = FaceDataset(
        name=spec.name,
        labels=spec.labels,
        images=images,
        targets=arrays["targets"],
        ids=arrays["ids"],
        split=arrays.get("split"),
        groups={name.removeprefix("group_"): of for name, of in arrays.items() if name.startswith("group_")},
        fingerprint=fingerprint,
        layout=source.layout,
        source=str(source.path),
        notes=notes,
    )
    return dataclasses.replace(dataset, partial=bool(count_differences(spec, dataset.counts())))
