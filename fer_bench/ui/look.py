"""A visitor's photo, the faces in it, and what each model makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from fer_bench.data.dataset import UInt8Array
from fer_bench.errors import FerBenchError
from fer_bench.faces import Detector, Face
from fer_bench.plots import CLASS_COLOURS
from fer_bench.recognition import Reading, Recognition, annotate, recognise
from fer_bench.ui import messages

if TYPE_CHECKING:
    from fer_bench.predict import Predictor
    from fer_bench.ui.context import Context

# Pixels of the longer side of the picture with the boxes; larger ones are slow to send.
LARGEST, SMALLEST = 1024, 768


@dataclass(frozen=True)
class Look:
    """A photo and what was found in it; replaced, never changed, but for `heats`.

    Attributes:
        picture: (H, W, 3) uint8 RGB or (H, W) uint8 gray.
        selected: the number of the face that is shown.
        models: those that were asked, in this order.
        problems: why some of them can't answer, by model.
        heats: HTML by face and model: what Grad-CAM gave, as far as it ran. A look and those that replace it share it,
            so that Grad-CAM, which comes late, puts nothing else back to what it was.
    """

    picture: UInt8Array
    recognition: Recognition
    selected: int = 1
    models: tuple[str, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)
    heats: dict[tuple[int, str], str] = field(default_factory=dict)

    @property
    def reading(self) -> Reading | None:
        """The face that is shown; None if there is none."""
        return next((reading for reading in self.recognition.readings if reading.number == self.selected), None)

    @property
    def scale(self) -> float:
        """Of the shown picture over the photo."""
        longest: int = max(self.picture.shape[:2])
        return min(max(longest, SMALLEST), LARGEST) / longest


@dataclass(frozen=True)
class _Found:
    """A detector that has found its faces already."""

    name: str
    faces: list[Face]
    note: str = ""

    def detect(self, picture: UInt8Array) -> list[Face]:
        return self.faces


def named(models: Any) -> list[str]:
    """The models of a request, one name or several.

    Raises:
        FerBenchError: it is something else.
    """
    names = [models] if isinstance(models, str) else models or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FerBenchError('expected the names of models, such as ["lin_shi"]')
    return [name for name in names if name]


def asked(context: Context, models: Iterable[str]) -> dict[str, Predictor | str]:
    """The networks by their full names; for one that can't be had the reason."""
    found: dict[str, Predictor | str] = {}
    for model in models:
        name = model
        try:
            name = context.name(model)
            found[name] = context.predictor(name)
        except FerBenchError as error:
            found[name] = messages.public(error, context.workspace)
    return found


def look_at(context: Context, picture: UInt8Array, models: Sequence[str], whole: bool = False) -> Look:
    """Find the faces of a photo and ask the models."""
    return _look(context, picture, models, None if whole else context.detector)


def ask_others(context: Context, look: Look, models: Sequence[str]) -> Look:
    """The same faces, other models."""
    before = look.recognition
    faces = [reading.face for reading in before.readings if reading.face is not None]
    after = _look(context, look.picture, models, _Found("", faces) if before.detector else None)
    return replace(
        after,
        recognition=replace(before, readings=after.recognition.readings),
        selected=look.selected,
        heats=look.heats,
    )


def _look(context: Context, picture: UInt8Array, models: Sequence[str], detector: Detector | None) -> Look:
    found = asked(context, models)
    predictors = {name: predictor for name, predictor in found.items() if not isinstance(predictor, str)}
    problems = {name: problem for name, problem in found.items() if isinstance(problem, str)}
    return Look(picture, recognise(picture, predictors, detector), models=tuple(found), problems=problems)


def select(look: Look, number: int) -> Look:
    """Show another face; an unknown number changes nothing."""
    return replace(look, selected=number) if 1 <= number <= len(look.recognition.readings) else look


def face_at(look: Look, x: float, y: float) -> int | None:
    """The number of the smallest face at a point of the shown picture, None where there is none."""
    hits = []
    for reading in look.recognition.readings:
        if reading.face is not None:
            left, top, width, height = (float(value) * look.scale for value in reading.face.box)
            if left <= x <= left + width and top <= y <= top + height:
                hits.append((width * height, reading.number))
    return min(hits)[1] if hits else None


def shown(look: Look) -> UInt8Array:
    """The photo at the page's size, with its boxes."""
    import cv2

    height, width = (max(1, round(side * look.scale)) for side in look.picture.shape[:2])
    how = cv2.INTER_AREA if look.scale < 1 else cv2.INTER_CUBIC
    resized = cast(UInt8Array, cv2.resize(look.picture, (width, height), interpolation=how))
    readings = tuple(_scaled(reading, look.scale) for reading in look.recognition.readings)
    return annotate(resized, replace(look.recognition, readings=readings), look.selected, CLASS_COLOURS)


def _scaled(reading: Reading, scale: float) -> Reading:
    if reading.face is None:
        return reading
    left, top, width, height = (float(value) * scale for value in reading.face.box)
    return replace(reading, face=replace(reading.face, box=(left, top, width, height)))
