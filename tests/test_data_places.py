"""Where data sets are looked for, the Hub's copy, and the cache."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_data import (
    SMALL_FER,
    SPLITS,
    ck_files,
    encoded,
    expect_counts,
    fer_csv,
    fer_files,
    fer_rows,
    pictures,
    write_folder,
    write_parquet,
    write_zip,
)

from fer_bench import data
from fer_bench.data import locate
from fer_bench.errors import DataNotFoundError, FerBenchError

pytestmark = pytest.mark.usefixtures("own_places")


def _cached(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache" / "datasets").iterdir() if path.is_dir()]


# Where


def test_the_search_goes_from_the_named_folder_to_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [tmp_path / place for place in ("named", "variable", "data", "cache/data")]
    for place in places:
        write_zip(place / "ckplus" / "ck48.zip", ck_files())
    monkeypatch.setenv("FER_BENCH_DATA", str(places[1]))
    sources = []
    for place in places:
        named = places[0] if places[0].exists() else None
        sources.append((tmp_path / data.load("ckplus", named, allow_partial=True).source).parents[1])
        shutil.rmtree(place)
        if place == places[1]:
            monkeypatch.delenv("FER_BENCH_DATA")
    assert sources == places
    with pytest.raises(DataNotFoundError):
        data.load("ckplus")


def test_a_named_folder_without_the_set_leaves_the_search_going(tmp_path: Path) -> None:
    write_zip(tmp_path / "named" / "archive.zip", fer_files())
    write_zip(tmp_path / "data" / "ck48.zip", ck_files())
    assert data.load("ckplus", tmp_path / "named", allow_partial=True).source == str(Path("data/ck48.zip"))


def test_a_linked_folder_is_followed(tmp_path: Path) -> None:
    write_folder(tmp_path / "elsewhere", ck_files())
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "CK+48").symlink_to(tmp_path / "elsewhere" / "CK+48")
    assert len(data.load("ckplus", tmp_path / "sets", allow_partial=True).ids) == len(ck_files())


def test_status_says_what_is_where_and_what_to_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("status asked the Hub"))
    write_zip(tmp_path / "data" / "ck48.zip", ck_files())
    (tmp_path / "data" / "sfew").mkdir()
    (tmp_path / "data" / "sfew" / "sfew.zip").write_bytes(b"PK")
    status = {one.name: one for one in data.status()}
    assert tuple(status) == data.DATASETS
    assert status["ckplus"].found and status["ckplus"].layout == "zip of folders"
    assert status["ckplus"].message == f"zip of folders, 42 files, in {Path('data/ck48.zip')}"
    assert not status["fer2013"].found
    assert "put fer2013/archive.zip" in status["fer2013"].message and "the Hub" in status["fer2013"].message
    assert not status["sfew"].found and "not readable" in status["sfew"].message
    assert status["synthetic"].found
    assert all(one.licence for one in status.values())
    assert not (tmp_path / "cache").exists()


def test_status_of_a_missing_folder_is_an_answer(tmp_path: Path) -> None:
    messages = [one.message for one in data.status(tmp_path / "nowhere") if one.name != "synthetic"]
    assert len(messages) == 3 and all("no such file or folder" in message for message in messages)


def test_synthetic_needs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_BENCH_DATA", str(tmp_path / "nowhere"))
    drawn = data.load("synthetic")
    assert drawn.layout == "embedded"
    assert data.load("synthetic") is drawn  # drawn once a process


# The Hub


@contextlib.contextmanager
def _hub(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[list[str]]:
    """A stand-in for the Hub, which its real client downloads from; yields the paths asked for."""
    revision = locate.HUB_REVISION
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, *, body: bool) -> None:
            asked.append(self.path)
            path = self.path.split("?")[0]
            headers = {"X-Repo-Commit": revision, "Content-Type": "application/json"}
            name = path.rsplit(f"/resolve/{revision}/", 1)[-1]
            if "/tree/" in path:
                content = json.dumps(
                    [{"type": "file", "path": name, "size": len(files[name]), "oid": "0"} for name in files]
                ).encode()
            elif path.startswith("/api/"):
                siblings = [{"rfilename": name} for name in files]
                content = json.dumps({"id": locate.HUB_DATASET, "sha": revision, "siblings": siblings}).encode()
            elif name in files:
                content = files[name]
                headers["ETag"] = f'"{abs(hash(content))}"'
            else:
                self.send_error(404)
                return
            self.send_response(200)
            for key, value in (headers | {"Content-Length": str(len(content))}).items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _client(monkeypatch, cache, f"http://127.0.0.1:{server.server_port}")
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()


def _client(monkeypatch: pytest.MonkeyPatch, cache: Path, endpoint: str) -> None:
    """Points the Hub's client, which reads its variables once, to another server and cache."""
    import huggingface_hub

    real = huggingface_hub.snapshot_download

    def elsewhere(*args: Any, **kwargs: Any) -> str:
        return str(real(*args, **kwargs, cache_dir=cache, endpoint=endpoint))

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", elsewhere)


def _parquet_files(tmp_path: Path) -> dict[str, bytes]:
    folder = write_parquet(tmp_path / "made", fer_rows())
    return {f"data/{path.name}": path.read_bytes() for path in folder.iterdir()}


def test_fer2013_comes_from_the_hub_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expect_counts(monkeypatch, "fer2013", SMALL_FER)
    said: list[str] = []
    with _hub(_parquet_files(tmp_path) | {"x.bin": b""}, monkeypatch, tmp_path / "hub") as asked:
        dataset = data.load("fer2013", progress=said.append)
        assert dataset.layout == "parquet"
        assert pictures(dataset) == Counter((SPLITS[row.usage], row.label, row.image.tobytes()) for row in fer_rows())
        assert len(said) == 1 and "Hub" in said[0] and "belong to their owners" in said[0]
        assert any(locate.HUB_REVISION in path for path in asked)
        assert not any("x.bin" in path for path in asked)
        asked.clear()
        again = data.load("fer2013", progress=said.append)
        assert again.fingerprint == dataset.fingerprint
        assert not asked and len(said) == 1


def test_the_hubs_copy_is_refused_when_its_counts_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expect_counts(monkeypatch, "fer2013", SMALL_FER | {"test": (2,) * 7})
    with (
        _hub(_parquet_files(tmp_path), monkeypatch, tmp_path / "hub"),
        pytest.raises(DataNotFoundError, match=r"copy is refused, its counts differ: test angry 1 \(expected 2\)"),
    ):
        data.load("fer2013", allow_partial=True)


def test_a_hub_without_the_files_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        _hub({"data/other.parquet": b""}, monkeypatch, tmp_path / "hub"),
        pytest.raises(DataNotFoundError, match="has not the expected files"),
    ):
        data.load("fer2013")


def test_half_a_download_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    files = _parquet_files(tmp_path)
    write_folder(tmp_path / "half", {name: files[name] for name in list(files)[:2]})
    assert locate.locate(data.fer2013.SPEC, tmp_path / "half") is None


def test_without_the_hub_the_message_says_what_to_get(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unreachable(*_: object, local_files_only: bool, **__: object) -> str:
        if local_files_only:
            raise LocalEntryNotFoundError("not cached")
        raise RuntimeError("Connection refused\nand more lines")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(DataNotFoundError, match=r"fer2013 was not found: put fer2013/archive\.zip") as caught:
        data.load("fer2013")
    assert str(caught.value).endswith("(the Hub gave: Connection refused)")


def test_offline_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _hub(_parquet_files(tmp_path), monkeypatch, tmp_path / "hub") as asked:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(DataNotFoundError, match="fer2013 was not found"):
            data.load("fer2013")
        assert not asked


def test_the_hub_is_not_asked_for_what_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked the Hub"))
    write_zip(tmp_path / "data" / "archive.zip", fer_files())
    assert len(data.load("fer2013", allow_partial=True)) == 42
    (tmp_path / "data" / "archive.zip").write_bytes(b"PK")
    with pytest.raises(FerBenchError, match="not readable"):
        data.load("fer2013")


# The cache


def test_the_second_time_comes_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_zip(tmp_path / "data" / "ck48.zip", ck_files())
    first = data.load("ckplus", allow_partial=True)
    monkeypatch.setattr("fer_bench.data.archive.decode_image", lambda *_: pytest.fail("read again"))
    second = data.load("ckplus", allow_partial=True)
    assert isinstance(second.images, np.memmap)
    assert np.array_equal(first.images, second.images)
    for name in ("ids", "targets"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
    assert {name: group.tolist() for name, group in first.groups.items()} == {
        name: group.tolist() for name, group in second.groups.items()
    }
    assert (first.fingerprint, first.notes, first.layout) == (second.fingerprint, second.notes, second.layout)


@pytest.mark.parametrize("packed", [True, False])
def test_a_changed_source_is_read_again(packed: bool, tmp_path: Path) -> None:
    def write(files: dict[str, bytes]) -> None:
        if packed:
            write_zip(tmp_path / "data" / "ck48.zip", files)
        else:
            write_folder(tmp_path / "data", files)

    files = ck_files()
    write(files)
    before = data.load("ckplus", allow_partial=True)
    files[next(iter(files))] = encoded(np.full((48, 48), 7, dtype=np.uint8))
    write(files)
    after = data.load("ckplus", allow_partial=True)
    assert before.fingerprint != after.fingerprint
    assert (after.images == 7).all(axis=(1, 2)).sum() == 1


@pytest.mark.parametrize("file", ["images.npy", "arrays.npz", "meta.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_cache_is_written_anew(file: str, damage: str, tmp_path: Path) -> None:
    write_zip(tmp_path / "data" / "ck48.zip", ck_files())
    before = data.load("ckplus", allow_partial=True).fingerprint
    (folder,) = _cached(tmp_path)
    if damage == "cut":
        os.truncate(folder / file, (folder / file).stat().st_size // 2)
    else:
        (folder / file).unlink()
    assert data.check("ckplus", allow_partial=True).fingerprint == before
    assert _cached(tmp_path) == [folder]


def test_changed_pixels_in_the_cache_are_found_by_check(tmp_path: Path) -> None:
    write_zip(tmp_path / "data" / "ck48.zip", ck_files())
    data.load("ckplus", allow_partial=True)
    (folder,) = _cached(tmp_path)
    content = bytearray((folder / "images.npy").read_bytes())
    content[-1] ^= 1
    (folder / "images.npy").write_bytes(content)
    with pytest.raises(FerBenchError, match="the cache has changed since it was written; delete"):
        data.check("ckplus", allow_partial=True)


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    write_zip(tmp_path / "data" / "ck48.zip", ck_files())
    before = data.load("ckplus", allow_partial=True).fingerprint
    (folder,) = _cached(tmp_path)
    folder.rename(folder.with_name(f"{folder.name}.tmp"))
    (folder.with_name(f"{folder.name}.tmp") / "images.npy").write_bytes(b"half")
    assert data.check("ckplus", allow_partial=True).fingerprint == before
    assert _cached(tmp_path) == [folder]


def test_a_cache_that_cannot_be_written_is_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_zip(tmp_path / "data" / "ck48.zip", ck_files())
    cached = data.load("ckplus", allow_partial=True)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("FER_BENCH_CACHE", str(tmp_path / "file" / "below"))
    dataset = data.load("ckplus", allow_partial=True)
    assert dataset.fingerprint == cached.fingerprint
    assert np.array_equal(dataset.images, cached.images) and not dataset.images.flags.writeable
    assert [note.startswith("not cached in") for note in dataset.notes] == [True]


def test_a_full_disk_is_survived(tmp_path: Path) -> None:
    write_zip(tmp_path / "data" / "ck48.zip", ck_files())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # 42 images take 96,768 bytes
    try:
        dataset = data.load("ckplus", allow_partial=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "not cached in" in dataset.notes[-1]
    assert not _cached(tmp_path)
    assert data.check("ckplus", allow_partial=True).fingerprint == dataset.fingerprint


def test_many_may_read_at_once(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", {"fer2013.csv": fer_csv(fer_rows()).encode()})
    with ThreadPoolExecutor(4) as pool:
        sets = list(pool.map(lambda _: data.load("fer2013", allow_partial=True), range(4)))
    assert len({dataset.fingerprint for dataset in sets}) == 1
    assert all(isinstance(dataset.images, np.memmap) and not dataset.notes for dataset in sets)
