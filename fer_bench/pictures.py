"""Pictures from stills, folders, zips and videos: upright RGB, one at a time, each or a readable reason why not."""

from __future__ import annotations

import contextlib
import io
import math
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from fer_bench.data.archive import located, readable, refuse_climbing
from fer_bench.data.dataset import UInt8Array
from fer_bench.errors import FerBenchError

if TYPE_CHECKING:
    import cv2
    from PIL.Image import Image, Transpose

PICTURE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".heic", ".heif", ".avif", ".jp2", ".ppm", ".pgm"),
)
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".3gp", ".avi", ".mkv", ".webm")
MAX_PIXELS = 50_000_000
MAX_BYTES = 500_000_000  # of one file: more than 50 megapixels need uncompressed
MAX_MEMBERS = 10_000
MAX_UNPACKED = 4_000_000_000
MAX_RATIO = 100  # pictures are compressed already; a zip bomb comes to 1,000
FRAME_INTERVAL = 0.5  # seconds between two frames taken from a video
MAX_VIDEO_SECONDS = 600

_ORIENTATION = 0x0112
_EMPTY = "empty (0 bytes)"
_TOO_LARGE = f"more than {MAX_PIXELS // 1_000_000} megapixels; make it smaller first"
_TOO_LONG = f"more than {MAX_BYTES // 1_000_000} MB; make it smaller first"
# What Pillow may try: some of its other formats start programs (EPS) or are no pictures of people.
_FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
# FFmpeg guesses by content and would follow a playlist; only real containers get there.
_VIDEO_STARTS = (b"RIFF", b"\x1aE\xdf\xa3")
_QUICKTIME_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


@dataclass(frozen=True)
class Frame:
    """One picture of a batch, or the reason why there is none.

    Attributes:
        file: as it was given; for what is inside a folder or a zip, with the path from there on.
        seconds: the time in a video.
        picture: (H, W, 3) uint8 RGB, upright.
        error: why there is no picture, without the file's name.
    """

    file: str
    seconds: float | None
    picture: UInt8Array | None
    error: str = ""


def read_picture(source: Path | bytes, name: str = "") -> UInt8Array:
    """A picture as (H, W, 3) uint8 RGB: upright as its EXIF says, of an animation the first frame, over white.

    Args:
        name: what messages call it; by default the path.

    Raises:
        FerBenchError: missing, empty, truncated, not a picture, of over 50 megapixels (found out before
            anything is decoded) or of over 16 bits a channel.
    """
    with located(name or (_shown(source) if isinstance(source, Path) else "the picture")):
        if isinstance(source, bytes):
            return _decode(source)
        with _opened(source) as file:
            if source.stat().st_size > MAX_BYTES:
                raise FerBenchError(_TOO_LONG)
            return _decode(file.read())


def pictures(paths: Sequence[Path]) -> Iterator[Frame]:
    """All pictures of files, folders, zips and videos, decoded one at a time.

    Folders are searched to any depth, in the order of the names, for pictures and videos; hidden files and
    all others are left out. Nothing of a zip is written to disk. A video gives two frames a second, of its
    first ten minutes. What can't be read gives a frame with an error, and the rest goes on.
    """
    for file in _files(paths):
        name = _shown(file)
        kind = file.suffix.lower()
        try:
            if file.is_dir():
                raise FerBenchError("no pictures or videos in this folder")
            if kind == ".zip":
                yield from _zip_frames(file, name)
            elif kind in VIDEO_SUFFIXES:
                yield from _video_frames(file, name)
            else:
                yield Frame(name, None, read_picture(file))
        except FerBenchError as error:
            yield _failed(name, error)


def count(paths: Sequence[Path]) -> int:
    """About how many frames `pictures` will give; reads directories and headers only."""
    total = 0
    for file in _files(paths):
        kind = file.suffix.lower()
        try:
            if kind == ".zip":
                with _open_zip(file, _shown(file)) as archive:
                    total += max(1, len(_members(archive)))
            elif kind in VIDEO_SUFFIXES:
                with _open_video(file) as capture:
                    total += _expected_frames(capture)
            else:
                total += 1
        except FerBenchError:
            total += 1  # the frame with the error
    return total


def _shown(path: Path) -> str:
    """The path as text that can be printed and encoded, even if its bytes are not UTF-8."""
    return os.fsencode(path).decode(errors="replace")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A file that is not empty, to be read; errors without its name."""
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise FerBenchError("not a file")
        with path.open("rb") as file:
            if not file.peek(1):
                raise FerBenchError(_EMPTY)
            yield file
    except FileNotFoundError as error:
        raise FerBenchError("no such file") from error
    except OSError as error:
        raise FerBenchError(f"can't be read ({error.strerror})") from error


def _failed(name: str, error: FerBenchError) -> Frame:
    return Frame(name, None, None, str(error).removeprefix(f"{name}: "))


def _files(paths: Sequence[Path]) -> list[Path]:
    """The paths with folders replaced by what is in them; a folder with nothing to read stays."""
    found = []
    for path in paths:
        inside = []
        for folder, folders, files in os.walk(path):
            folders[:] = [name for name in folders if name[0] != "."]
            inside += [Path(folder, name) for name in files if _is_wanted(name)]
        found += sorted(inside) or [path]
    return found


def _is_wanted(name: str) -> bool:
    """Whether a relative POSIX path is a picture or video that is not hidden; macOS's resource forks are."""
    hidden = any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
    return not hidden and name.lower().endswith((*PICTURE_SUFFIXES, *VIDEO_SUFFIXES))


# stills


def _decode(data: bytes) -> UInt8Array:
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise FerBenchError(_EMPTY)
    formats = _formats()
    if "HEIF" not in formats and data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        raise FerBenchError("a HEIC picture: `pip install pillow-heif` makes it readable, or save it as JPEG")
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            if image.width * image.height > MAX_PIXELS:
                raise FerBenchError(_TOO_LARGE)
            image.load()
            return _upright_rgb(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise FerBenchError(_TOO_LARGE) from error
    except UnidentifiedImageError as error:
        raise FerBenchError("not a readable image: in no known format") from error
    except FerBenchError:
        raise
    except Exception as error:  # a decoder raises whatever a damaged file makes it stumble over
        raise FerBenchError(f"not a readable image ({' '.join(str(error).split())})") from error


@cache
def _formats() -> tuple[str, ...]:
    """Those of `_FORMATS` that this installation can read."""
    import warnings

    from PIL import Image

    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    warnings.filterwarnings("ignore", module=r"PIL\.")  # damage and size are reported here, not on stderr
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _turns() -> dict[Any, Transpose]:
    """By EXIF's number, what makes a picture upright. Pillow's own `exif_transpose` fails where it can't write EXIF."""
    from PIL.Image import Transpose

    return {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }


def _upright_rgb(image: Image) -> UInt8Array:
    """A decoded image as (H, W, 3) uint8."""
    from PIL import Image

    # Some formats have no mode for 16 bits, and Pillow reads them with 32.
    sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    if image.mode in ("I", "F") and not sixteen:
        raise FerBenchError("expected 8 or 16 bits a channel, got 32; save it with 8")
    turn = None
    with contextlib.suppress(Exception):  # damaged EXIF does not spoil a picture
        turn = _turns().get(image.getexif().get(_ORIENTATION))
    if turn is not None:
        image = image.transpose(turn)
    if sixteen:  # Pillow's own conversion makes white of all over 255
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


# zips


def _zip_frames(path: Path, name: str) -> Iterator[Frame]:
    with _open_zip(path, name) as archive:
        members = _members(archive)
        if not members:
            raise FerBenchError("no pictures in this zip")
        for member in members:
            inner = f"{name}/{member.filename}"
            try:
                if member.filename.lower().endswith(VIDEO_SUFFIXES):
                    raise FerBenchError("a video inside a zip is not read; unpack it first")
                if member.file_size > MAX_BYTES:
                    raise FerBenchError(_TOO_LONG)
                with readable(inner):
                    data = archive.read(member)
                yield Frame(inner, None, read_picture(data, inner))
            except FerBenchError as error:
                yield _failed(inner, error)


@contextlib.contextmanager
def _open_zip(path: Path, name: str) -> Iterator[zipfile.ZipFile]:
    """A zip without a password, members that climb out of it, or more in it than fits its size.

    Sizes are what its directory states; the reader stops there, and finds the checksum wrong if that was a lie.
    """
    with _opened(path) as file:
        with readable(name):
            archive = zipfile.ZipFile(file)
        members = archive.infolist()
        unpacked = sum(member.file_size for member in members)
        if len(members) > MAX_MEMBERS:
            raise FerBenchError(f"more than {MAX_MEMBERS:,} files; unpack it and give the folder")
        if unpacked > MAX_UNPACKED:
            raise FerBenchError(f"more than {MAX_UNPACKED // 1_000_000_000} GB unpacked; unpack it and give the folder")
        if unpacked > MAX_RATIO * path.stat().st_size:
            raise FerBenchError(f"more than {MAX_RATIO} times its size unpacked: a zip bomb?")
        for member in members:
            refuse_climbing(Path(name), member.filename)
            if member.flag_bits & 1:
                raise FerBenchError(f"{member.filename!r} has a password; unpack the zip and give the folder")
        yield archive


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    wanted = (member for member in archive.infolist() if not member.is_dir() and _is_wanted(member.filename))
    return sorted(wanted, key=lambda member: member.filename)


# videos


def _video_frames(path: Path, name: str) -> Iterator[Frame]:
    import cv2

    with _open_video(path) as capture:
        step = 1 / _frames_per_second(capture)
        seconds, wanted, found = -step, 0.0, False
        while capture.grab():
            # The container's time where it tells one: the rate can vary.
            position = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            seconds = position if position > seconds else seconds + step
            if seconds >= MAX_VIDEO_SECONDS:
                yield Frame(name, seconds, None, f"what follows {MAX_VIDEO_SECONDS // 60} minutes is left out; cut it")
                return
            if seconds + step / 2 < wanted:  # so that the nearest frame is taken
                continue
            wanted = FRAME_INTERVAL * (1 + math.floor((seconds + step / 2) / FRAME_INTERVAL))
            decoded, image = capture.retrieve()
            if decoded:
                found = True
                yield Frame(name, seconds, cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False))
        if not found:
            raise FerBenchError("no frame of this video can be read; it is damaged, or its codec is unknown")


@contextlib.contextmanager
def _open_video(path: Path) -> Iterator[cv2.VideoCapture]:
    """A video, to be read with its rotation applied."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # a damaged one is reported here, not on stderr
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    with _opened(path) as file:
        start = file.read(12)
    if start[:4] not in _VIDEO_STARTS and start[4:8] not in _QUICKTIME_ATOMS:
        raise FerBenchError("not a video in a known format")
    capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG)
    try:
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        if capture.get(cv2.CAP_PROP_FRAME_WIDTH) * capture.get(cv2.CAP_PROP_FRAME_HEIGHT) > MAX_PIXELS:
            raise FerBenchError(_TOO_LARGE)
        yield capture
    finally:
        capture.release()


def _frames_per_second(capture: cv2.VideoCapture) -> float:
    import cv2

    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if 0 < rate <= 1000 else 25.0


def _expected_frames(capture: cv2.VideoCapture) -> int:
    import cv2

    seconds = capture.get(cv2.CAP_PROP_FRAME_COUNT) / _frames_per_second(capture)  # negative where unknown
    return max(1, math.ceil(min(seconds, MAX_VIDEO_SECONDS) / FRAME_INTERVAL))
