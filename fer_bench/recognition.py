"""A photo -> faces -> crops -> the same predictors that a run scores -> answers; for the app, batches and the shell."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fer_bench import faces
from fer_bench.data.dataset import UInt8Array
from fer_bench.faces import Detector, Face
from fer_bench.labels import DISPLAY_ORDER
from fer_bench.pictures import Frame
from fer_bench.predict import Predictor
from fer_bench.records import replacing
from fer_bench.transforms import Float32Array, prepare

FORMAT = "fer_bench/recognition/1"
LIMIT = 20
NO_FACE = "no face"
# Of a box whose colour nothing says.
BOX = "#ffd54a"


@dataclass(frozen=True)
class Opinion:
    """What one model says of one face.

    `probabilities` is (classes,), in the order of `classes`, the network's own; `milliseconds` is the face's
    share of the time for all faces of the picture.
    """

    model: str
    classes: tuple[str, ...]
    probabilities: Float32Array
    milliseconds: float

    @property
    def top(self) -> str:
        """The most probable class."""
        return self.classes[int(self.probabilities.argmax())]

    @property
    def confidence(self) -> float:
        """The probability of `top`."""
        return float(self.probabilities.max())

    def in_display_order(self) -> dict[str, float]:
        """Class -> probability, in the order in which people are shown the classes."""
        known = dict(zip(self.classes, map(float, self.probabilities), strict=True))
        return {name: known[name] for name in display_order(self.classes)}


@dataclass(frozen=True)
class Reading:
    """One face: its number from 1, where it is (None: the whole picture), its crop, an opinion a model."""

    number: int
    face: Face | None
    crop: UInt8Array
    opinions: tuple[Opinion, ...]


@dataclass(frozen=True)
class Recognition:
    """What was found in one picture.

    Attributes:
        size: of the picture, (width, height) in pixels.
        detector: its name; empty where the picture was taken whole.
        readings: the faces, largest first.
        left_out: how many more faces there were.
    """

    size: tuple[int, int]
    detector: str
    detection_ms: float
    readings: tuple[Reading, ...]
    left_out: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON values, without pixels; boxes are [x, y, width, height] in pixels."""
        return {
            "format": FORMAT,
            "width": self.size[0],
            "height": self.size[1],
            "detector": self.detector,
            "detection_ms": round(self.detection_ms, 2),
            "faces": [_reading_dict(reading) for reading in self.readings],
            "left_out": self.left_out,
        }


def _reading_dict(reading: Reading) -> dict[str, Any]:
    face = reading.face
    return {
        "number": reading.number,
        "box": None if face is None else [round(float(value), 1) for value in face.box],
        "score": None if face is None else round(float(face.score), 4),
        "opinions": [
            {
                "model": opinion.model,
                "prediction": opinion.top,
                "confidence": round(opinion.confidence, 6),
                "probabilities": {name: round(p, 6) for name, p in opinion.in_display_order().items()},
                "milliseconds": round(opinion.milliseconds, 2),
            }
            for opinion in reading.opinions
        ],
    }


def display_order(classes: Sequence[str]) -> tuple[str, ...]:
    """The classes of a network in the order in which people are shown them."""
    return tuple(sorted(classes, key=DISPLAY_ORDER.index))


def recognise(
    picture: UInt8Array, predictors: Mapping[str, Predictor], detector: Detector | None, limit: int = LIMIT
) -> Recognition:
    """Find the faces of a picture and classify them.

    A network that was trained on whole scenes (`Predictor.sees_faces`) is shown the whole picture for each face.

    Args:
        picture: (H, W, 3) uint8 RGB or (H, W) uint8 gray.
        predictors: by the name that their opinions get.
        detector: None takes the whole picture as one face.
        limit: at most this many faces, the largest.
    """
    started = time.perf_counter()
    found: list[Face | None] = [None] if detector is None else [*detector.detect(picture)]
    detection_ms = 0.0 if detector is None else 1000 * (time.perf_counter() - started)
    kept = found[:limit]
    crops = [picture if face is None else faces.crop(picture, face) for face in kept]
    opinions = [
        _opinions(name, predictor, crops if predictor.sees_faces else [picture] * len(crops))
        for name, predictor in (predictors.items() if crops else ())
    ]
    return Recognition(
        size=(picture.shape[1], picture.shape[0]),
        detector="" if detector is None else detector.name,
        detection_ms=detection_ms,
        readings=tuple(
            Reading(number, face, crop, tuple(of_model[number - 1] for of_model in opinions))
            for number, (face, crop) in enumerate(zip(kept, crops, strict=True), start=1)
        ),
        left_out=len(found) - len(kept),
    )


def _opinions(name: str, predictor: Predictor, crops: Sequence[UInt8Array]) -> list[Opinion]:
    """One model's opinions, from one batch; `prepare` is what the predictor itself starts with."""
    started = time.perf_counter()
    batch = np.concatenate([prepare(crop[None], predictor.size, predictor.channels) for crop in crops])
    probabilities = predictor.predict(batch)
    milliseconds = 1000 * (time.perf_counter() - started) / len(crops)
    return [Opinion(name, predictor.classes, row, milliseconds) for row in probabilities]


# pictures with boxes

# Left, top, right, bottom in pixels.
_Area = tuple[float, float, float, float]


def annotate(
    picture: UInt8Array,
    recognition: Recognition,
    selected: int | None = None,
    colours: Mapping[str, str] | None = None,
) -> UInt8Array:
    """The picture, (H, W, 3) uint8 RGB, with each face's box around it, number and first opinion.

    Where the opinions would cover each other or other faces, only the selected face has one, the others numbers.

    Args:
        selected: the number of the face whose box is thicker.
        colours: class -> colour as CSS writes it; by default one colour for all.
    """
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(picture).convert("RGB")
    draw = ImageDraw.Draw(image)
    size = max(12, image.width // 36, image.height // 24)  # legible where it is shown some 300 pixels high
    font = ImageFont.load_default(size)
    readings = recognition.readings
    frames = {reading.number: _frame(reading, max(2, size // 6), reading.number == selected) for reading in readings}

    def labels(full: Callable[[Reading], bool]) -> tuple[dict[int, tuple[str, _Area]], bool]:
        """Text and place by number, and whether none covers another one or another face; long ones come last."""
        found: dict[int, tuple[str, _Area]] = {}
        all_free = True
        for reading in sorted(readings, key=full):
            text = _label(reading) if full(reading) else str(reading.number)
            wide, high = (int(np.ceil(value)) for value in draw.textbbox((0, 0), text, font)[2:])
            places = _places(frames[reading.number][0], wide + size // 2, high + size // 4, image.size)
            taken = [outer for number, (outer, *_) in frames.items() if number != reading.number]
            taken += [area for _, area in found.values()]
            free = (place for place in places if not any(_meet(place, area) for area in taken))
            place = next(free, None)
            all_free &= place is not None
            found[reading.number] = text, place or places[0]
        return found, all_free

    placed, all_free = labels(lambda reading: True)
    if not all_free:
        placed, _ = labels(lambda reading: reading.number == selected)
    for reading in sorted(readings, key=lambda reading: reading.number == selected):
        text, area = placed[reading.number]
        colour, ink = _colours(reading, colours or {})
        outer, line, edge = frames[reading.number]
        if reading.face is not None:
            draw.rectangle(outer, outline=ink, width=line + edge)
            draw.rectangle(_grown(outer, -edge), outline=colour, width=line)
        draw.rectangle(area, fill=colour)
        draw.text((area[0] + size // 4, area[1] + size // 8), text, ink, font)
    return np.array(image)


def _label(reading: Reading) -> str:
    first = (f" {opinion.top} {100 * opinion.confidence:.0f}%" for opinion in reading.opinions[:1])
    return f"{reading.number}{''.join(first)}"


def _colours(reading: Reading, colours: Mapping[str, str]) -> tuple[str, str]:
    """Of the box, and of what stands on it or beside it."""
    from PIL import ImageColor

    colour = colours.get(reading.opinions[0].top, BOX) if reading.opinions else BOX
    red, green, blue = ImageColor.getrgb(colour)[:3]
    return colour, "black" if 0.213 * red + 0.715 * green + 0.072 * blue > 127 else "white"


def _grown(area: _Area, by: float) -> _Area:
    left, top, right, bottom = area
    return left - by, top - by, right + by, bottom + by


def _frame(reading: Reading, line: int, selected: bool) -> tuple[_Area, int, int]:
    """The outer border of a face's box, the thickness of its line and of the edge around that: the face stays free."""
    if reading.face is None:
        return (0.0, 0.0, 0.0, 0.0), 0, 0
    left, top, width, height = (float(value) for value in reading.face.box)
    line = min(line, max(1, int(min(width, height)) // 12))  # a thick line would hide the neighbours of a small face
    edge = max(1, line // 2)
    line *= 2 if selected else 1
    return _grown((left, top, left + width, top + height), line + edge), line, edge


def _places(frame: _Area, wide: int, high: int, size: tuple[int, int]) -> list[_Area]:
    """Where a label may go, best first: above the box or below it, else inside at its top; never out of the picture."""
    left, top, right, bottom = frame
    rows = [y for y in (top - high, bottom) if 0 <= y <= size[1] - high] or [min(max(0.0, top), max(0, size[1] - high))]
    columns = [min(max(0.0, x), max(0, size[0] - wide)) for x in (left, right - wide)]
    return [(x, y, x + wide, y + high) for x in columns for y in rows]


def _meet(one: _Area, other: _Area) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def write_annotated(folder: Path, number: int, frame: Frame, recognition: Recognition) -> Path:
    """Write a frame of a batch with its faces' boxes, as `<number>_<file's name>[_<seconds>s].jpg`.

    Raises:
        FerBenchError: the file can't be written.
    """
    from PIL import Image

    assert frame.picture is not None
    stem = re.sub(r"[^\w.-]+", "_", Path(frame.file).stem)[:60]  # the longest name is 255 bytes
    time_of_frame = "" if frame.seconds is None else f"_{frame.seconds:.1f}s"
    image = Image.fromarray(annotate(frame.picture, recognition))
    kind = "jpeg" if max(image.size) < 65_500 else "png"  # what a JPEG can hold
    path = folder / f"{number:05d}_{stem}{time_of_frame}.{kind.replace('jpeg', 'jpg')}"
    with replacing(path) as temporary:
        image.save(temporary, format=kind, quality=92)
    return path


# batches


@dataclass(frozen=True)
class BatchRow:
    """One face of one picture, or one picture without a face, or one file that could not be read.

    Attributes:
        file, seconds: as in `pictures.Frame`.
        face: the number in its picture; None in a row without a face.
        box, score: as in `faces.Face`; None where the picture was taken whole.
        opinion: None in a row without a face.
        note: "no face", the error, or how many faces the picture's last row leaves out.
    """

    file: str
    seconds: float | None
    face: int | None = None
    box: tuple[float, float, float, float] | None = None
    score: float | None = None
    opinion: Opinion | None = None
    note: str = ""


def batch_rows(
    frames: Iterable[Frame], name: str, predictor: Predictor, detector: Detector | None, limit: int = LIMIT
) -> Iterator[BatchRow]:
    """A row for every face of the frames, every frame without one and every error, as they come.

    Args:
        name: what the predictor is called.
    """
    for frame in frames:
        found = None if frame.picture is None else recognise(frame.picture, {name: predictor}, detector, limit)
        yield from rows_of(frame, found)


def rows_of(frame: Frame, recognition: Recognition | None) -> list[BatchRow]:
    """The rows of one frame; `recognition` is of one model, and None where the frame has an error."""
    if recognition is None:
        return [BatchRow(frame.file, frame.seconds, note=frame.error)]
    if not recognition.readings:
        return [BatchRow(frame.file, frame.seconds, note=NO_FACE)]
    rows = [
        BatchRow(
            frame.file,
            frame.seconds,
            reading.number,
            None if reading.face is None else reading.face.box,
            None if reading.face is None else reading.face.score,
            reading.opinions[0],
        )
        for reading in recognition.readings
    ]
    if recognition.left_out:
        rows[-1] = replace(rows[-1], note=f"{recognition.left_out} more faces left out")
    return rows


def csv_header(classes: Sequence[str]) -> tuple[str, ...]:
    """The columns of a batch's CSV; `classes` are the predictor's.

    file; seconds (in a video); face (its number, from 1); x, y, width, height (its box, pixels); score (the
    detector's, 0..1); prediction; probability (of the prediction); a probability for each class; note. What
    does not apply is empty.
    """
    return (
        *("file", "seconds", "face", "x", "y", "width", "height", "score", "prediction", "probability"),
        *display_order(classes),
        "note",
    )


def csv_row(row: BatchRow, classes: Sequence[str]) -> tuple[str, ...]:
    """A row's cells, one a column of `csv_header`."""
    opinion = row.opinion
    return (
        row.file,
        "" if row.seconds is None else f"{row.seconds:.2f}",
        "" if row.face is None else str(row.face),
        *(("",) * 4 if row.box is None else (f"{value:.1f}" for value in row.box)),
        "" if row.score is None else f"{row.score:.4f}",
        *(("", "") if opinion is None else (opinion.top, f"{opinion.confidence:.6f}")),
        *(("",) * len(classes) if opinion is None else (f"{p:.6f}" for p in opinion.in_display_order().values())),
        row.note,
    )


def csv_text(rows: Iterable[BatchRow], classes: Sequence[str]) -> str:
    """A whole CSV with its header."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(csv_header(classes))
    writer.writerows(csv_row(row, classes) for row in rows)
    return text.getvalue()
