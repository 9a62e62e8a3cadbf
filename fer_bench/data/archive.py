"""Folders, zips and tars, read in place; nothing is unpacked, and a broken one is reported in one line."""

from __future__ import annotations

import contextlib
import hashlib
import io
import lzma
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, Self

import numpy as np

from fer_bench.data.dataset import UInt8Array
from fer_bench.errors import FerBenchError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
SUFFIXES = (*IMAGE_SUFFIXES, ".csv", ".zip", ".tar.gz", ".tgz", ".parquet", ".xlsx")
MAX_DEPTH = 4
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    EOFError,
    OSError,
    RuntimeError,
    NotImplementedError,
    UnicodeDecodeError,
)


@contextlib.contextmanager
def readable(what: str) -> Iterator[None]:
    """Turns what a truncated, locked or damaged file raises into one line that names it."""
    try:
        yield
    except _BROKEN as error:
        raise FerBenchError(f"{what}: not readable, perhaps truncated or damaged ({error}); get it again") from error


@contextlib.contextmanager
def located(where: str) -> Iterator[None]:
    """Puts the place before the message of an error about what is there."""
    try:
        yield
    except FerBenchError as error:
        raise FerBenchError(f"{where}: {error}") from error


class Tree(Protocol):
    """Files below a folder or inside a zip, named by their relative POSIX path."""

    path: Path
    zipped: bool

    def names(self) -> list[str]:
        """The relevant files (by `SUFFIXES`), sorted; hidden ones and macOS's resource forks left out."""

    def open(self, name: str) -> IO[bytes]:
        """The file as a stream of bytes."""

    def stamp(self, names: Iterable[str]) -> str:
        """Changes when one of the files does: from sizes and times, without reading them."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


def _relevant(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _stat_stamp(paths: Iterable[tuple[str, Path]]) -> str:
    digest = hashlib.sha256()
    for name, path in paths:
        stat = path.stat()
        digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


class FolderTree:
    """A folder to a depth of `MAX_DEPTH`, or a single file as a folder that holds nothing else."""

    zipped = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._base = path.parent if path.is_file() else path

    def names(self) -> list[str]:
        """See `Tree.names`."""
        if self.path.is_file():
            return [self.path.name]
        found = []
        with readable(str(self.path)):
            for folder, folders, files in os.walk(self.path, followlinks=True):
                inner = Path(folder).relative_to(self.path).as_posix()
                prefix = "" if inner == "." else f"{inner}/"
                folders[:] = [] if prefix.count("/") >= MAX_DEPTH else [f for f in folders if f[0] != "."]
                found += [prefix + file for file in files if _relevant(prefix + file)]
        return sorted(found)

    def open(self, name: str) -> IO[bytes]:
        """See `Tree.open`."""
        with readable(str(self._base / name)):
            return (self._base / name).open("rb")

    def stamp(self, names: Iterable[str]) -> str:
        """See `Tree.stamp`."""
        with readable(str(self.path)):
            return _stat_stamp((name, self._base / name) for name in sorted(names))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        return None


class ZipTree:
    """A zip, open as long as the `with` block.

    Raises:
        FerBenchError: it is truncated, locked with a password, or has a member outside of its folder.
    """

    zipped = True

    def __init__(self, path: Path) -> None:
        self.path = path
        with readable(str(path)):
            self._zip = zipfile.ZipFile(path)
        try:
            for member in self._zip.infolist():
                refuse_climbing(path, member.filename)
                if member.flag_bits & 1:
                    raise FerBenchError(
                        f"{path}: {member.filename!r} has a password; unpack the zip and give the folder"
                    )
        except FerBenchError:
            self._zip.close()
            raise

    def names(self) -> list[str]:
        """See `Tree.names`."""
        return sorted(name for name in self._zip.namelist() if _relevant(name))

    def open(self, name: str) -> IO[bytes]:
        """See `Tree.open`."""
        with readable(f"{self.path}, member {name!r}"):
            return self._zip.open(name)

    def stamp(self, names: Iterable[str]) -> str:
        """See `Tree.stamp`; the zip's own size and time stand for all members."""
        with readable(str(self.path)):
            return _stat_stamp([("", self.path)])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._zip.close()


def open_tree(path: Path) -> Tree:
    """The zip, the folder or the single file at `path`."""
    return ZipTree(path) if path.suffix.lower() == ".zip" and path.is_file() else FolderTree(path)


def refuse_climbing(archive: Path, member: str) -> None:
    """Refuses an archive with a member that is absolute or climbs out with '..': no data set has one."""
    name = PurePosixPath(member.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or (name.parts and name.parts[0].endswith(":")):
        raise FerBenchError(f"{archive}: member {member!r} points outside of the archive; refused, get it elsewhere")


def read_bytes(tree: Tree, name: str) -> bytes:
    """One whole file.

    Raises:
        FerBenchError: it cannot be read, or its checksum in the zip is wrong.
    """
    with tree.open(name) as stream, readable(f"{tree.path}, {name!r}"):
        return stream.read()


@contextlib.contextmanager
def open_in_tar(tree: Tree, name: str, wanted: Sequence[str]) -> Iterator[IO[bytes]]:
    """The first member of a tar.gz whose base name is one of `wanted`, as a stream.

    Raises:
        FerBenchError: the tar is damaged, climbs out of its folder, or has no such member.
    """
    with (
        tree.open(name) as raw,
        readable(f"{tree.path}, {name!r}"),
        tarfile.open(fileobj=raw, mode="r:gz") as tar,
    ):
        for member in tar:
            refuse_climbing(tree.path, member.name)
            if PurePosixPath(member.name).name in wanted and (stream := tar.extractfile(member)) is not None:
                yield stream
                return
        raise FerBenchError(f"{tree.path}, {name!r}: expected a member named {' or '.join(wanted)}, found none")


def decode_image(data: bytes, name: str, shape: tuple[int, ...]) -> UInt8Array:
    """An encoded image as uint8 of exactly `shape`: (H, W) gray or (H, W, 3) RGB.

    Pillow rather than OpenCV: OpenCV returns a truncated JPEG with its rest filled in and raises nothing.

    Raises:
        FerBenchError: not an image, truncated, damaged or of another size; the message has `name`.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            if (image.height, image.width) != shape[:2]:
                raise FerBenchError(
                    f"{name}: expected {shape[1]}x{shape[0]} pixels, found {image.width}x{image.height}"
                )
            if image.mode.startswith(("I", "F")):  # Pillow would make white of all over 255
                raise FerBenchError(f"{name}: expected 8 bits a channel, found {image.mode}; save it with 8")
            return np.asarray(image.convert("RGB" if len(shape) == 3 else "L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FerBenchError(f"{name}: not a readable image ({error}); replace it or get the set again") from error


def decode_members(path: Path, names: Sequence[str], shape: tuple[int, ...]) -> Iterator[UInt8Array]:
    """The images of those names in the folder or zip at `path`, decoded one by one, each of `shape`.

    Raises:
        FerBenchError: one of them cannot be read; the message names it.
    """
    with open_tree(path) as tree:
        for name in names:
            yield decode_image(read_bytes(tree, name), f"{path}, {name!r}", shape)


def class_folders(names: Sequence[str], example: re.Pattern[str]) -> tuple[str, ...]:
    """The images in the folders beside that of the first one whose whole name matches `example`.

    Images of other names in those folders are in, so that they are reported and not silently left out.
    """
    images = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
    first = next((name for name in images if example.fullmatch(name)), None)
    if first is None:
        return ()
    parts = first.split("/")
    prefix = "".join(f"{part}/" for part in parts[:-2])
    return tuple(name for name in images if name.startswith(prefix) and name.count("/") == len(parts) - 1)
