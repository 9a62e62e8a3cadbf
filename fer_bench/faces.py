"""Faces in a photo, and each one cut out as FER2013 frames its faces.

YuNet (Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023) finds boxes and five landmarks; where
its file is not to be had, OpenCV's bundled Haar cascade (Viola and Jones, 2001) finds boxes. Where FER2013's pictures
have the face was measured by `benchmarks/face_crop.py` and is read from `face_crop.json`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from fer_bench.data.dataset import UInt8Array
from fer_bench.data.locate import cache_root
from fer_bench.errors import FerBenchError
from fer_bench.records import write_bytes
from fer_bench.transforms import Float32Array

HUB_MODEL = "opencv/face_detection_yunet"
HUB_FILE = "face_detection_yunet_2023mar.onnx"
HUB_REVISION = "3cc26e7f1014a5ee5d74a42acee58bafc9d0a310"
HUB_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
# Seconds for an answer of the Hub, and for everything (0.2 MB): an app must not wait long for its first face.
ANSWER_SECONDS, FETCH_SECONDS = 3.0, 8.0

# A picture's longer side while detecting: a larger picture is reduced to the first, a smaller one enlarged to the
# second. Of every tenth SFEW frame YuNet finds a face in 67 of 68 at 320 pixels and in all from 352 on; of 48-pixel
# crops in 78% as they are and in 97% at 192 pixels.
DETECTION_WIDTH, SMALLEST_WIDTH = 384, 192
YUNET_SCORE, YUNET_OVERLAP = 0.6, 0.3
# At a second look at a face alone the picture has this side, which is that many times the box's. Where a face is small,
# YuNet hardly sees its turn: of 20 degrees about 4 in a face of 80 pixels, and 15 at the second look.
LOOK_WIDTH, LOOK_REACH = 256, 1.5
# This cascade finds a face in 51 of those frames and has 2 boxes that are none; `frontalface_default` in 50, and 13.
# Faces under 32 pixels would double the time and add none.
HAAR_CASCADE = "haarcascade_frontalface_alt2.xml"
HAAR_STEP, HAAR_NEIGHBOURS, HAAR_SMALLEST = 1.1, 3, 32
# The sides of a crop. A smaller face is enlarged while it is turned: taken at its 48 pixels and then resized to a
# network's 48, it would be blurred twice, for 1 to 2 points of accuracy.
SMALLEST_CROP, LARGEST_CROP = 96, 1024

FACE_CROP = Path(__file__).with_name("face_crop.json")

_Finder = TypeVar("_Finder")


@dataclass(frozen=True)
class Face:
    """A face in a picture, in its pixels.

    Attributes:
        box: (x, y, width, height); may reach over the picture's edge.
        score: the detector's, 0..1; a Haar cascade has none, and 1.0 stands in.
        landmarks: (5, 2) float32 x and y of the right eye, the left eye, the tip of the nose, the right and the left
            corner of the mouth, where the right is the person's, on the picture's left; None from a Haar cascade.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: Float32Array | None = None


class Detector(Protocol):
    """Finds faces; many threads may use one at once.

    `name` says what is at work, `note` where it comes from and, if it is the second choice, why.
    """

    @property
    def name(self) -> str: ...

    @property
    def note(self) -> str: ...

    def detect(self, picture: UInt8Array) -> list[Face]:
        """The faces of (H, W, 3) uint8 RGB or (H, W) uint8 gray, the largest first."""
        ...


class _Pool(Generic[_Finder]):
    """OpenCV's detectors keep state while they work: as many are made as are ever at work at once."""

    def __init__(self, make: Callable[[], _Finder]) -> None:
        self._make = make
        self._idle: deque[_Finder] = deque()

    @contextlib.contextmanager
    def borrow(self) -> Iterator[_Finder]:
        try:
            finder = self._idle.pop()
        except IndexError:
            finder = self._make()
        yield finder
        self._idle.append(finder)


class YuNet:
    """YuNet from the bytes of its ONNX file.

    Raises:
        FerBenchError: they are something else; the message starts with `note`.
    """

    name = "YuNet"

    def __init__(self, network: bytes, note: str) -> None:
        import cv2

        self.note = note
        content = np.frombuffer(network, dtype=np.uint8)
        nothing = np.empty(0, dtype=np.uint8)
        make = functools.partial(
            cv2.FaceDetectorYN.create, "onnx", content, nothing, (32, 32), YUNET_SCORE, YUNET_OVERLAP
        )
        # Two pools: another size of input costs milliseconds, and a camera's frames are all of one.
        self._first, self._second = _Pool(make), _Pool(make)
        try:
            self.detect(np.zeros((32, 32), dtype=np.uint8))
        except cv2.error as error:
            raise FerBenchError(
                f"{note}: expected YuNet's ONNX file; OpenCV: {' '.join(str(error).split())}"
            ) from error

    def detect(self, picture: UInt8Array) -> list[Face]:
        """As `Detector.detect`."""
        small, scale = _scaled(picture)
        # On absurdly long pictures it gives boxes of no size, or far outside.
        height, width = picture.shape[:2]
        found = [face for face in _yunet(self._first, small, scale) if _within(face, width, height)]
        return [self._look_closer(picture, face) for face in sorted(found, key=_area, reverse=True)]

    def _look_closer(self, picture: UInt8Array, face: Face) -> Face:
        """The face with the landmarks that a second look at it alone, turned upright, finds."""
        assert face.landmarks is not None
        right, left = _complex(face.landmarks[:2])
        edge = LOOK_REACH * max(face.box[2:]) * np.exp(1j * np.angle(left - right))
        corner = _centre(face) - edge * (0.5 + 0.5j)
        look = cut(picture, corner, edge, LOOK_WIDTH)
        for seen in _yunet(self._second, look, 1 / LOOK_WIDTH):
            if seen.landmarks is not None and abs(_centre(seen) - (0.5 + 0.5j)) < 0.25:  # else it is a neighbour
                points = corner + edge * _complex(seen.landmarks)
                return replace(face, landmarks=np.stack([points.real, points.imag], axis=1).astype(np.float32))
        return face


def _yunet(pool: _Pool[Any], picture: UInt8Array, scale: Any) -> list[Face]:
    """The faces of a picture as it is; what is measured in it is multiplied by `scale`, one factor or one an axis."""
    import cv2

    coloured = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR if picture.ndim == 2 else cv2.COLOR_RGB2BGR)
    with pool.borrow() as finder:
        finder.setInputSize((picture.shape[1], picture.shape[0]))
        found = finder.detect(coloured)[1]
    rows = np.empty((0, 15), dtype=np.float32) if found is None else found
    points = rows[:, :14].reshape(-1, 7, 2) * scale  # corner, size, five landmarks
    return [
        Face(_box(at[:2]), min(1.0, float(row[14])), at[2:].astype(np.float32))
        for row, at in zip(rows, points, strict=True)
    ]


class HaarCascade:
    """OpenCV's bundled cascade for frontal faces."""

    name = "Haar cascade"

    def __init__(self, note: str) -> None:
        import cv2
        from cv2.data import haarcascades

        self.note = note
        path = os.path.join(haarcascades, HAAR_CASCADE)
        self._pool = _Pool(lambda: cv2.CascadeClassifier(path))

    def detect(self, picture: UInt8Array) -> list[Face]:
        """As `Detector.detect`."""
        import cv2

        small, scale = _scaled(picture)
        gray = small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        with self._pool.borrow() as finder:
            found = finder.detectMultiScale(gray, HAAR_STEP, HAAR_NEIGHBOURS, minSize=(HAAR_SMALLEST, HAAR_SMALLEST))
        faces = [Face(_box(np.reshape(row, (2, 2)) * scale), 1.0) for row in found]
        return sorted(faces, key=_area, reverse=True)


def _scaled(picture: UInt8Array) -> tuple[UInt8Array, Any]:
    """The picture at the size for detection, and the (2,) factors that lead back to its own x and y."""
    import cv2

    height, width = picture.shape[:2]
    longer = max(height, width)
    factor = min(max(longer, SMALLEST_WIDTH), DETECTION_WIDTH) / longer
    size = max(1, round(width * factor)), max(1, round(height * factor))
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    small = np.ascontiguousarray(picture) if factor == 1 else cv2.resize(picture, size, interpolation=interpolation)
    return small.astype(np.uint8, copy=False), np.array([width, height]) / size


def _box(corner_and_size: Any) -> tuple[float, float, float, float]:
    x, y, width, height = map(float, np.ravel(corner_and_size))
    return x, y, width, height


def _within(face: Face, width: int, height: int) -> bool:
    """Whether the middle of a box of some size is in the picture."""
    x, y, wide, high = face.box
    return wide >= 1 and high >= 1 and 0 <= x + wide / 2 <= width and 0 <= y + high / 2 <= height


def _area(face: Face) -> float:
    return face.box[2] * face.box[3]


# which detector


def find_detector(path: Path | None = None) -> Detector:
    """YuNet from `path`, from the file that FER_BENCH_YUNET names, or from the Hub; else the Haar cascade.

    What the Hub gave is kept in the user's cache; it is asked once a process, and not where HF_HUB_OFFLINE is set.
    Where the environment names no usable file, the cascade is at work and its note says why. Notes hold no path:
    visitors of the app read them.

    Raises:
        FerBenchError: `path` is missing or is not YuNet.
    """
    if path is not None:
        return _from_file(path)
    if named := os.environ.get("FER_BENCH_YUNET"):
        try:
            return _from_file(Path(named))
        except FerBenchError:
            return HaarCascade("less able than YuNet: FER_BENCH_YUNET names no file of YuNet's")
    with _FETCHING:
        fetched, note = _fetched()
    return HaarCascade(note) if fetched is None else YuNet(fetched, note)


def _from_file(path: Path) -> YuNet:
    try:
        network = path.read_bytes()
    except OSError as error:
        raise FerBenchError(f"{path}: expected YuNet's ONNX file ({error.strerror})") from error
    return YuNet(network, f"from {path.name}")


_FETCHING = threading.Lock()


@functools.cache
def _fetched() -> tuple[bytes | None, str]:
    """YuNet from our cache, the Hub's cache or the Hub, and a note: whence, or why not."""
    from huggingface_hub import constants, hf_hub_url

    note = f"from the Hub's {HUB_MODEL}"
    if (cached := _cached()) is not None:
        return cached, note
    without = "less able than YuNet, which was not found in the cache or named by FER_BENCH_YUNET"
    if constants.HF_HUB_OFFLINE:
        return None, f"{without}; HF_HUB_OFFLINE is set"
    try:
        network = _download(hf_hub_url(HUB_MODEL, HUB_FILE, revision=HUB_REVISION))
    except Exception as error:  # no network, no name, no answer, half an answer: each has its own kind
        return None, f"{without}; the Hub gave: {' '.join(str(error).split()) or type(error).__name__}"
    if not _genuine(network):
        return None, f"{without}; what the Hub gave has not the expected sha256"
    with contextlib.suppress(FerBenchError):  # a cache that can't be written
        write_bytes(_kept(), network)
    return network, note


def yunet_here() -> bool:
    """Whether `find_detector` takes YuNet from this machine: it is in a cache, or FER_BENCH_YUNET says where."""
    return bool(os.environ.get("FER_BENCH_YUNET")) or _cached() is not None


def _cached() -> bytes | None:
    """YuNet from our cache or the Hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    for path in (_kept(), try_to_load_from_cache(HUB_MODEL, HUB_FILE, revision=HUB_REVISION)):
        if isinstance(path, str | Path):  # else the Hub's cache knows nothing of the file
            with contextlib.suppress(OSError):
                if _genuine(network := Path(path).read_bytes()):
                    return network
    return None


def _kept() -> Path:
    return cache_root() / "models" / HUB_FILE


def _genuine(network: bytes) -> bool:
    return hashlib.sha256(network).hexdigest() == HUB_SHA256


def _download(url: str) -> bytes:
    """The content of `url` within FETCH_SECONDS; the Hub's own client tries again for half a minute.

    In a thread, as looking up a name or trying one address after another obeys no time limit.
    """
    import urllib.request

    answers: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()

    def fetch() -> None:
        try:
            request = urllib.request.Request(url, headers={"User-Agent": "fer_bench"})
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response:
                answers.put(response.read())
        except Exception as error:
            answers.put(error)

    threading.Thread(target=fetch, daemon=True).start()
    try:
        answer = answers.get(timeout=FETCH_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"nothing within {FETCH_SECONDS:.0f} seconds") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


# crops


def crop(picture: UInt8Array, face: Face) -> UInt8Array:
    """The face as FER2013 frames it: square, and upright if the face has landmarks.

    Args:
        picture: (H, W, 3) or (H, W) uint8.

    Returns:
        (S, S, 3) or (S, S) uint8 at the face's own resolution, from SMALLEST_CROP to LARGEST_CROP; beyond the
        picture's edge its border goes on.
    """
    return cut(picture, *frame(face, typical_face(face.landmarks is not None)))


@functools.cache
def typical_face(landmarks: bool) -> Face:
    """Where FER2013's pictures have the face, as YuNet or, without landmarks, the cascade sees it; their side is 1."""
    measured = json.loads(FACE_CROP.read_bytes())["YuNet" if landmarks else "Haar cascade"]
    x, y, width, height = measured["box"]
    points = np.array(measured["landmarks"], dtype=np.float32) if landmarks else None
    return Face((x, y, width, height), 1.0, points)


def frame(face: Face, typical: Face) -> tuple[complex, complex]:
    """The square that shows `face` as the unit square shows `typical`: its upper left corner and its upper edge.

    Both are complex numbers x + iy in pixels. With landmarks the square is turned and centred by the similarity that
    fits all five best, and its size is the geometric mean of that fit's and the box's: an open mouth changes the one,
    a turned head the other. `face_crop.json` has what this and other ways do to the accuracy.
    """
    size = math.sqrt(_area(face) / _area(typical))
    if face.landmarks is None or typical.landmarks is None:
        return _centre(face) - size * _centre(typical), complex(size)
    points, model = (_complex(landmarks) for landmarks in (face.landmarks, typical.landmarks))
    deviations = model - model.mean()
    fit = complex(np.vdot(deviations, points) / np.vdot(deviations, deviations))
    edge = fit * math.sqrt(size / abs(fit))
    return complex(points.mean()) - edge * complex(model.mean()), edge


def _centre(face: Face) -> complex:
    x, y, width, height = face.box
    return complex(x + width / 2, y + height / 2)


def _complex(points: Float32Array) -> Any:
    """(N, 2) -> (N,) x + iy."""
    return points[:, 0] + 1j * points[:, 1].astype(np.float64)


def cut(picture: UInt8Array, corner: complex, edge: complex, side: int | None = None) -> UInt8Array:
    """The square of a picture with that upper left corner and upper edge, as complex numbers x + iy in pixels.

    Args:
        side: of the result; by default its own resolution, within limits, as in `crop`.
    """
    import cv2

    side = side or min(max(SMALLEST_CROP, round(abs(edge))), LARGEST_CROP)
    corners = [corner + edge * point for point in (0, 1, 1j, 1 + 1j)]
    # Only the part that is needed: OpenCV warps no picture of more than 32,767 pixels a side.
    left, right = _span([point.real for point in corners], picture.shape[1])
    top, bottom = _span([point.imag for point in corners], picture.shape[0])
    part: Any = picture[top:bottom, left:right]
    scale = np.ones(2)
    if abs(edge) > side:  # reduced before it is turned, as warping does not average
        factor = side / abs(edge)
        size = max(1, round(part.shape[1] * factor)), max(1, round(part.shape[0] * factor))
        scale = np.array(size) / (part.shape[1], part.shape[0])
        part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    # Pixel (i, j) of the crop has its centre at (i + 0.5, j + 0.5), in the crop as in the picture.
    step = edge / side
    start = corner + step * (0.5 + 0.5j) - complex(left, top)
    matrix = np.array([[step.real, -step.imag, start.real], [step.imag, step.real, start.imag]])
    matrix *= scale[:, None]
    matrix[:, 2] -= 0.5
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(part, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return warped.astype(np.uint8, copy=False)


def _span(positions: list[float], size: int) -> tuple[int, int]:
    """The pixels that hold the positions, with two more to interpolate; at least one that is in the picture."""
    first = min(max(0, math.floor(min(positions)) - 2), size - 1)
    return first, max(first + 1, min(size, math.ceil(max(positions)) + 2))
