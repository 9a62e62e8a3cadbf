"""Drawn faces: seven expressions, no download, no real person; the tests' data and the default without any.

A face is a list of filled polygons and lines in face units (the origin between the eyes and the nose, the
picture's edges at -1 and 1), whose points are complex numbers: x to the right, y down. Three things decide
it: a `Person` (who), an `Expression` (what, a row of a table) and a pose. `load` then photographs it: light,
contrast, blur, noise, something in the way. Pose and light are what a linear classifier on raw pixels cannot
undo.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fer_bench.data.dataset import FaceDataset, UInt8Array
from fer_bench.data.fingerprint import fingerprint
from fer_bench.errors import UnknownNameError
from fer_bench.labels import FER2013

Points = npt.NDArray[np.complexfloating[Any, Any]]
Lengths = npt.NDArray[np.floating[Any]]

SIZE = 48
# Images of each class, by split; every subject gives one.
PER_CLASS = {"train": 500, "select": 100, "test": 100}
_SPLITS = ("train", "select", "test")

_SUPERSAMPLING = 4
# Polygons are handed to OpenCV as integers in 1/16 of a supersampled pixel.
_SHIFT = 4
# Clockwise, and open just above the right ear: `y > -0.2` is one piece of it.
_CIRCLE: Points = np.exp(1j * math.pi / 20 * np.arange(-2, 38))
_RING: Points = np.append(_CIRCLE, _CIRCLE[:1])
# Along a lid, a lip or a brow, from its left end to its right one.
_ALONG = np.linspace(-1, 1, 13)
# Lines on the skin, over its tone.
_SHADE = 0.62

# Radians clockwise, turn to the side and nod, shift to the right and down, zoom.
_POSE_LOW = (-0.26, -0.14, -0.07, -0.16, -0.14, 0.92)
_POSE_HIGH = (0.26, 0.14, 0.07, 0.16, 0.14, 1.20)
# Light across and down, contrast, mean gray level, blur's neighbour weight, noise's deviation in gray levels.
_CAMERA_LOW = (-0.5, -0.4, 0.45, 60, 0.0, 2)
_CAMERA_HIGH = (0.5, 0.4, 1.1, 195, 0.28, 14)


class Person(NamedTuple):
    """Who: tones are gray levels, lengths are in face units.

    `lip` is over the skin's tone, `jaw` the chin's width over the face's; long_hair, glasses and moustache,
    in 0..1, are worn from a threshold on.
    """

    skin: float
    hair: float
    lip: float
    iris: float
    face_width: float
    jaw: float
    hairline: float
    hair_width: float
    brow_height: float
    brow_weight: float
    eye_spacing: float
    eye_width: float
    nose_length: float
    nose_width: float
    mouth_height: float
    mouth_width: float
    long_hair: float
    parting: float
    glasses: float
    moustache: float


# skin hair lip iris | width jaw | hairline, width | brow | eyes | nose | mouth | traits
_PERSON_LOW = Person(
    125, 15, 0.55, 20, 0.58, 0.76, 0.55, 0.03, 0.24, 0.030, 0.26, 0.135, 0.24, 0.09, 0.42, 0.20, 0, 0, 0, 0
)
_PERSON_HIGH = Person(
    228, 105, 0.80, 75, 0.70, 0.95, 0.68, 0.10, 0.29, 0.055, 0.32, 0.170, 0.32, 0.14, 0.48, 0.25, 1, 1, 1, 1
)


class Expression(NamedTuple):
    """What the face does, as displacements in face units (up is positive) and 0..1 strengths.

    Attributes:
        inner, outer, arch: how far the brow's ends and its middle rise.
        frown: how far the brows move together, with the furrow between them.
        upper_lid, lower_lid: the eye's opening above and below its corners, over its half-width.
        slope: how far the eye's inner corner rises over the outer one.
        corner: how far the corners of the mouth rise over its middle.
        upper, lower: the mouth's opening above and below its middle.
        width: the mouth's width over the person's.
        square: 0 is a lens, 1 a box.
        teeth: the part of the opening that they fill.
        wrinkle: of the nose, which also lifts the upper lip.
        fold: from the nose to the corners of the mouth.
    """

    inner: float
    outer: float
    arch: float
    frown: float
    upper_lid: float
    lower_lid: float
    slope: float
    corner: float
    upper: float
    lower: float
    width: float
    square: float
    teeth: float
    wrinkle: float
    fold: float


# fmt: off
EXPRESSIONS = {
    # brow: inner, outer, arch, frown; eye: upper, lower, slope; mouth: corner to teeth; nose: wrinkle, fold
    "angry":    Expression(-.10,  .08, .00, 1.0,  .40, .26, -.04,  -.05, .05, .06,  .95, 1.0, 1.0,  0.0, 0.2),
    "disgust":  Expression(-.05, -.03, .02, 0.4,  .25, .08,  .00,  -.12, .10, .00,  .85, 0.3, 0.6,  1.0, 1.0),
    "fear":     Expression( .13,  .00, .00, 0.7,  .85, .50,  .03,  -.05, .07, .11, 1.15, 0.8, 0.35, 0.0, 0.0),
    "happy":    Expression( .03,  .02, .05, 0.0,  .42, .05,  .00,   .14, .00, .16, 1.35, 0.1, 0.6,  0.0, 0.8),
    "sad":      Expression( .11, -.07, .00, 0.4,  .30, .28,  .06,  -.12, .01, .01,  .85, 0.0, 0.0,  0.0, 0.3),
    "surprise": Expression( .13,  .11, .07, 0.0,  .90, .55,  .00,   .00, .11, .22,  .70, 0.1, 0.0,  0.0, 0.0),
    "neutral":  Expression( .00,  .00, .03, 0.0,  .50, .32,  .00,   .00, .01, .01, 1.00, 0.0, 0.0,  0.0, 0.0),
}
_JITTER = Expression(       .015, .015, .01, 0.1, .06, .04,  .01,   .02, .01, .01,  .06, 0.1, 0.1,  0.0, 0.2)
# fmt: on


class _Stroke(NamedTuple):
    """A filled polygon, or where it has a width, an open line."""

    points: Points
    tone: float
    width: float = 0.0

    def mirrored(self) -> _Stroke:
        return self._replace(points=-self.points.conj())


def draw_person(rng: np.random.Generator) -> Person:
    """Someone new."""
    return Person(*rng.uniform(_PERSON_LOW, _PERSON_HIGH).tolist())


def draw_face(expression: str, rng: np.random.Generator, size: int = SIZE, person: Person | None = None) -> UInt8Array:
    """A clean picture of a drawn face in a random pose.

    Args:
        expression: one of the seven classes of FER2013.
        rng: decides the pose, the strength of the expression and, where `person` is None, the person.
        size: pixels a side.

    Returns:
        (size, size) uint8 gray.

    Raises:
        UnknownNameError: no such expression.
    """
    if expression not in EXPRESSIONS:
        raise UnknownNameError("expression", expression, EXPRESSIONS)
    person = person or draw_person(rng)
    neutral = np.array(EXPRESSIONS["neutral"])
    acted = neutral + rng.uniform(0.75, 1.15) * (np.array(EXPRESSIONS[expression]) - neutral)
    acted += np.array(_JITTER) * rng.uniform(-1, 1, len(acted))
    gaze = complex(*rng.uniform((-0.3, -0.1), (0.3, 0.1)))
    background = rng.uniform(20, 235)
    return _render(_strokes(person, Expression(*acted.tolist()), gaze), background, rng, size)


def load(seed: int = 0, per_class: Mapping[str, int] = PER_CLASS) -> FaceDataset:
    """The data set: every person, in one split only, shows each of the seven expressions once.

    Args:
        seed: another seed is another data set.
        per_class: images of each class by split; fewer are the first ones of more.

    Returns:
        (N, 48, 48) uint8 images with the labels of FER2013, the group "subject" and an official split.
    """
    images, ids, subjects, splits = [], [], [], []
    for split, people in per_class.items():
        for number in range(people):
            subject = f"{split}-{number:04d}"
            person = draw_person(_generator(seed, split, number, len(FER2013)))
            for label, expression in enumerate(FER2013.classes):
                rng = _generator(seed, split, number, label)
                images.append(_photograph(draw_face(expression, rng, SIZE, person), rng))
                ids.append(f"{subject}/{expression}")
            subjects += [subject] * len(FER2013)
            splits += [split] * len(FER2013)
    pixels = np.array(images, dtype=np.uint8).reshape(-1, SIZE, SIZE)
    targets = np.tile(np.arange(len(FER2013), dtype=np.int64), sum(per_class.values()))
    return FaceDataset(
        name="synthetic",
        labels=FER2013,
        images=pixels,
        targets=targets,
        ids=np.array(ids),
        groups={"subject": np.array(subjects)},
        split=np.array(splits),
        fingerprint=fingerprint(pixels, targets, ids, splits),
        layout="embedded",
        source="drawn",
    )


def _render(strokes: list[_Stroke], background: float, rng: np.random.Generator, size: int) -> UInt8Array:
    """The strokes in a random pose, drawn at four times the size."""
    import cv2

    angle, yaw, pitch, shift_x, shift_y, zoom = rng.uniform(_POSE_LOW, _POSE_HIGH)
    block = _SUPERSAMPLING
    half = size * block / 2
    points = np.concatenate([stroke.points for stroke in strokes])
    # Turning the head moves what is near its middle more than its outline.
    points += np.maximum(0, 1 - (points.real**2 + points.imag**2) / 0.9) * complex(yaw, pitch)
    points *= zoom * complex(math.cos(angle), math.sin(angle))
    points = (points + complex(1 + shift_x, 1 + shift_y)) * half * 2**_SHIFT
    corners = np.rint(points.view(np.float64)).astype(np.int32).reshape(-1, 2)

    pixels = np.full((size * block, size * block), round(background), dtype=np.uint8)
    end = 0
    for stroke in strokes:
        start, end = end, end + len(stroke.points)
        tone = round(stroke.tone)
        if stroke.width:
            thickness = max(1, round(stroke.width * zoom * half))
            cv2.polylines(pixels, [corners[start:end]], False, tone, thickness, cv2.LINE_8, _SHIFT)
        else:
            cv2.fillPoly(pixels, [corners[start:end]], tone, cv2.LINE_8, _SHIFT)
    # The mean of each block in integers, the same on every machine.
    rows = pixels.reshape(size, block, size * block).sum(axis=1, dtype=np.uint16)
    sums = rows.reshape(size, size, block).sum(axis=2, dtype=np.uint16)
    means: UInt8Array = ((sums + block**2 // 2) // block**2).astype(np.uint8)
    return means


def _strokes(person: Person, face: Expression, gaze: complex) -> list[_Stroke]:
    """The face from back to front."""
    return [
        *_head(person),
        *(stroke.mirrored() for stroke in _eye(person, face, -gaze.conjugate())),
        *_eye(person, face, gaze),
        *_both(_brow(person, face)),
        *_both(_nostril(person, face)),
        _bridge(person),
        *_mouth(person, face),
        *_both(_glass(person)),
    ]


def _both(strokes: Iterable[_Stroke]) -> Iterator[_Stroke]:
    """What is on the right, on both sides."""
    for stroke in strokes:
        yield stroke
        yield stroke.mirrored()


def _head(person: Person) -> Iterator[_Stroke]:
    x, y = _CIRCLE.real, _CIRCLE.imag
    width = person.face_width + person.hair_width
    hair: Points = x * width + 1j * (y * (0.84 + person.hair_width) - 0.04)
    if person.long_hair > 0.6:
        below = y > 0
        hair[below] = np.sign(x[below]) * width + 1j * (0.5 + 0.4 * y[below])
    yield _Stroke(hair, person.hair)
    yield _Stroke(x * 0.30 + 1j * (y * 0.6 + 0.9), person.skin * 0.80)
    yield _Stroke(x + 1j * (y * 0.35 + 1.35), person.hair * 0.5 + 60)
    ear: Points = x * 0.08 + person.face_width + 0.01 + 1j * (y * 0.13 + 0.02)
    yield from _both([_Stroke(ear, person.skin * 0.85)])
    # The chin narrows the lower half, the hairline cuts the upper one.
    narrowed = person.face_width * np.where(y > 0, 1 - (1 - person.jaw) * y**2, 1)
    hairline = -person.hairline - 0.10 * (1 - x**2) + 0.12 * (person.parting - 0.5) * x
    face: Points = x * narrowed + 1j * np.maximum(y * 0.84, hairline)
    yield _Stroke(face, person.skin)
    yield _Stroke(face[y > -0.2], person.skin * _SHADE, 0.012)


def _eye(person: Person, face: Expression, gaze: complex) -> Iterator[_Stroke]:
    """The right one."""
    centre, width = complex(person.eye_spacing, -0.08), person.eye_width
    above, below = max(face.upper_lid, 0.04) * width, max(face.lower_lid, 0.02) * width

    def lid(t: Lengths, height: float) -> Lengths:
        return face.slope * t + height * (1 - t**2)

    upper = centre + _ALONG * width + 1j * lid(_ALONG, -above)
    lower = centre + _ALONG * width + 1j * lid(_ALONG, below)
    yield _Stroke(np.concatenate([upper, lower[::-1]]), 245)
    for radius, tone in ((0.50, person.iris + 25), (0.26, 8)):
        iris = _CIRCLE * radius + gaze
        # The lids cut it: each point is moved between them at its own x.
        y = np.clip(iris.imag * width, lid(iris.real, -above), lid(iris.real, below))
        yield _Stroke(centre + iris.real * width + 1j * y, tone)
    yield _Stroke(upper, person.skin * 0.25, 0.024)
    yield _Stroke(lower, person.skin * 0.60, 0.012)


def _brow(person: Person, face: Expression) -> Iterator[_Stroke]:
    inwards = (1 - _ALONG) / 2
    x = person.eye_spacing + 0.19 * _ALONG - 0.05 * face.frown * inwards
    rise = face.inner * inwards + face.outer * (1 - inwards) + face.arch * (1 - _ALONG**2)
    brow = x - 1j * (0.08 + person.brow_height + rise)
    half = 1j * person.brow_weight * (0.45 + 0.55 * inwards)
    yield _Stroke(np.concatenate([brow - half, (brow + half)[::-1]]), min(person.hair, person.skin * 0.45))
    if face.frown > 0.5:
        top = -0.10 - person.brow_height - face.inner
        yield _Stroke(np.array([complex(0.05, top), complex(0.04, top + 0.14)]), person.skin * _SHADE, 0.016)


def _bridge(person: Person) -> _Stroke:
    """The nose's shadow, on one side only."""
    tip = 1j * person.nose_length
    return _Stroke(np.array([0.03 - 0.05j, 0.05 - 0.06j + tip, 0.04 + tip]), person.skin * 0.82, 0.022)


def _nostril(person: Person, face: Expression) -> Iterator[_Stroke]:
    """The right one, and what a lifted nose folds."""
    shade = person.skin * _SHADE
    tip = 1j * (person.nose_length - 0.04 * face.wrinkle)
    width = person.nose_width * (1 + 0.25 * face.wrinkle)
    yield _Stroke(0.035 * _CIRCLE.real + 0.022j * _CIRCLE.imag + width * 0.5 + tip, person.skin * 0.4)
    yield _Stroke(np.array([0.9 * width - 0.06j, width, 0.7 * width + 0.02j]) + tip, shade, 0.016)
    if face.wrinkle > 0.5:
        for height in (-0.10, -0.04, 0.02):
            yield _Stroke(np.array([0.02 + 0.02j, 0.10 - 0.02j]) + 1j * height, shade, 0.016)
    if face.fold > 0.25:
        start, end = width + 0.04 + tip, person.mouth_width * face.width + 0.07 + 0.40j
        yield _Stroke(np.array([start, (start + end) / 2 + 0.06 - 0.02j, end]), shade, 0.018)


def _mouth(person: Person, face: Expression) -> Iterator[_Stroke]:
    middle = person.mouth_height - 0.05 * face.wrinkle + 0.5 * face.corner
    line = _ALONG * person.mouth_width * face.width + 1j * (middle - face.corner * _ALONG**2)
    profile = 1j * (1 - np.abs(_ALONG) ** (2 + 6 * max(face.square, 0)))
    upper, lower = line - max(face.upper, 0) * profile, line + max(face.lower, 0) * profile
    if person.moustache > 0.85:
        yield _Stroke(upper - 0.08j, person.hair, 0.07)
    yield _Stroke(np.concatenate([upper, lower[::-1]]), 25)
    teeth = upper + min(max(face.teeth, 0), 1) * (lower - upper)
    yield _Stroke(np.concatenate([upper, teeth[::-1]]), 240)
    lip = person.skin * person.lip
    yield _Stroke(upper, lip, 0.045)
    yield _Stroke(lower, lip, 0.055)
    if face.upper + face.lower < 0.06:
        yield _Stroke((upper + lower) / 2, person.skin * 0.3, 0.02)


def _glass(person: Person) -> Iterator[_Stroke]:
    if person.glasses > 0.8:
        yield _Stroke(_RING * 0.21 + complex(person.eye_spacing, -0.07), 30, 0.022)
        yield _Stroke(np.array([-0.09j, person.eye_spacing - 0.21 - 0.09j]), 30, 0.022)


def _photograph(face: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Light from one side, contrast, blur, noise and, now and then, something in the way."""
    ramp = np.linspace(-1, 1, len(face))
    across, down, contrast, brightness, blur, grain = rng.uniform(_CAMERA_LOW, _CAMERA_HIGH)
    picture = face * (1 + across * ramp[None, :] + down * ramp[:, None])
    if rng.random() < 0.35:
        x, y, half_width, half_height = rng.uniform((-0.9, -0.9, 0.1, 0.1), (0.9, 0.9, 0.22, 0.22))
        hidden = (np.abs(ramp[None, :] - x) < half_width) & (np.abs(ramp[:, None] - y) < half_height)
        picture[hidden] = rng.uniform(0, 255)
    picture = (picture - picture.mean()) * contrast + brightness
    picture = np.pad(picture, 1, mode="edge")
    picture = (1 - 2 * blur) * picture[1:-1] + blur * (picture[:-2] + picture[2:])
    picture = (1 - 2 * blur) * picture[:, 1:-1] + blur * (picture[:, :-2] + picture[:, 2:])
    picture += grain * rng.standard_normal(face.shape)
    shot: UInt8Array = np.rint(np.clip(picture, 0, 255)).astype(np.uint8)
    return shot


def _generator(seed: int, split: str, person: int, label: int) -> np.random.Generator:
    """One for every image, so that no image depends on how many others are drawn."""
    return np.random.Generator(np.random.PCG64([seed, _SPLITS.index(split), person, label]))
