"""Where do FER2013's pictures have the face, and what does cutting it out anew cost? `python benchmarks/face_crop.py`

Writes `fer_bench/face_crop.json`, from which `faces.crop` takes its framing, for YuNet and for the Haar cascade:

- the median box and landmarks in a sample of Training, in units of a picture's side. Pictures are enlarged and get a
  border that goes on as their edge does, so that a detector sees the whole face;
- the accuracy of shipped networks on PublicTest, whole and cut out anew in each of several ways (FRAMINGS); then on
  PrivateTest in the one way that was chosen. Where no face is found the whole picture is used. A face that was framed
  more tightly than most gets that border here, and in a photo its real surroundings;
- the same on SFEW's frames, if they are there: whole scenes, of films.

`faces.frame` was chosen by PublicTest, where the three ways that look at more than the eyes or the box alone differ by
0.2 points, less than a standard error; of those it is the one that is best on SFEW, where heads are turned.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from fer_bench import data, faces, weights
from fer_bench.data.dataset import FaceDataset, UInt8Array
from fer_bench.faces import Detector, Face, HaarCascade, YuNet
from fer_bench.labels import FER2013, label_map
from fer_bench.predict import Predictor
from fer_bench.records import Workspace, write_bytes
from fer_bench.transforms import prepare

SEED = 0
ENLARGED, BORDER = 4, 12
NETWORKS = (("lin_shi", "fer_bench"), ("lin_shi", "paper"))

Framing = Callable[[Face, Face], tuple[complex, complex]]
Found = Sequence[Face | None]


# where FER2013 has the face


@dataclass(frozen=True)
class Part:
    """Pictures to find faces in, what a network is given without that, and FER2013's labels."""

    pictures: Sequence[UInt8Array]
    wholes: UInt8Array
    targets: Any


def fer2013_part(dataset: FaceDataset, split: str, size: int) -> Part:
    """A random part of a split, in order."""
    assert dataset.split is not None
    indices = np.flatnonzero(dataset.split == split)
    indices = np.sort(np.random.default_rng(SEED).choice(indices, min(size, len(indices)), replace=False))
    images = dataset.images[indices]
    return Part([as_photo(image) for image in images], images, dataset.targets[indices])


def as_photo(image: UInt8Array) -> UInt8Array:
    """A (48, 48) picture with a border, enlarged."""
    bordered = cv2.copyMakeBorder(image, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REPLICATE)
    return cv2.resize(bordered, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def largest(detector: Detector, pictures: Sequence[UInt8Array]) -> list[Face | None]:
    """The largest face of each picture."""
    return [next(iter(detector.detect(picture)), None) for picture in pictures]


def calibrate(found: Found, side: int) -> dict[str, Any]:
    """Medians over the faces in `as_photo` pictures, in units of the picture before that, of `side` pixels."""
    known = [face for face in found if face is not None]
    unit, border = ENLARGED * side, BORDER / side
    boxes = np.array([face.box for face in known]) / unit - (border, border, 0, 0)
    result: dict[str, Any] = {
        "images": len(found),
        "found": round(len(known) / len(found), 4),
        "box": np.median(boxes, axis=0).round(4).tolist(),
    }
    if landmarks := [face.landmarks for face in known if face.landmarks is not None]:
        medians = np.median(landmarks, axis=0).astype(np.float64) / unit - border
        result["landmarks"] = medians.round(4).tolist()
    return result


# ways of framing


def by_box(face: Face, typical: Face) -> tuple[complex, complex]:
    """Place and size from the box; never turned."""
    return faces.frame(Face(face.box, 1.0), typical)


def by_eyes(face: Face, typical: Face) -> tuple[complex, complex]:
    """Place, turn and size from the eyes."""
    eyes, model = points(face)[:2], points(typical)[:2]
    edge = (eyes[1] - eyes[0]) / (model[1] - model[0])
    return eyes.mean() - edge * model.mean(), edge


def by_eyes_and_box(face: Face, typical: Face) -> tuple[complex, complex]:
    """Place and turn from the eyes, size from the box."""
    turn = by_eyes(face, typical)[1]
    edge = turn / abs(turn) * by_box(face, typical)[1]
    return points(face)[:2].mean() - edge * points(typical)[:2].mean(), edge


def by_five(face: Face, typical: Face) -> tuple[complex, complex]:
    """Place, turn and size from the similarity that fits all five landmarks best."""
    model = points(typical) - points(typical).mean()
    edge = np.vdot(model, points(face)) / np.vdot(model, model)
    return points(face).mean() - edge * points(typical).mean(), edge


def points(face: Face) -> Any:
    """(5,) x + iy."""
    assert face.landmarks is not None
    return face.landmarks.astype(np.float64) @ (1, 1j)


FRAMINGS: Mapping[str, Framing] = {
    "box": by_box,
    "eyes": by_eyes,
    "eyes and box": by_eyes_and_box,
    "five points": by_five,
    "five points and box": faces.frame,
}


# the effect on accuracy


def sfew_part() -> Part:
    """All frames."""
    dataset = data.load("sfew")
    labels = np.array(label_map(dataset.labels, FER2013))
    return Part(list(dataset.images), dataset.images, labels[dataset.targets])


def effect(
    networks: Mapping[str, Predictor], part: Part, found: Found, framings: Mapping[str, Framing], typical: Face
) -> dict[str, Any]:
    """{"images", "found", "accuracy": {way: {network: {"all", "detected"}}}}; accuracy is in percent.

    A way is "whole" or a framing.
    """
    has = np.array([face is not None for face in found])
    table: dict[str, dict[str, dict[str, float]]] = {}
    for way in ("whole", *framings):
        table[way] = {}
        for name, network in networks.items():
            crops = part.wholes if way == "whole" else recropped(part, found, framings[way], typical, network)
            right = network.predict(crops).argmax(axis=1) == part.targets
            table[way][name] = {"all": percent(right), "detected": percent(right[has])}
        print(f"  {way}: {table[way]}", flush=True)
    return {"images": len(found), "found": round(float(has.mean()), 4), "accuracy": table}


def recropped(part: Part, found: Found, framing: Framing, typical: Face, network: Predictor) -> UInt8Array:
    """(N, S, S[, 3]): the faces as the network takes them, and where none is, the whole picture."""
    crops = [
        whole if face is None else faces.cut(picture, *framing(face, typical))
        for picture, whole, face in zip(part.pictures, part.wholes, found, strict=True)
    ]
    return np.concatenate([prepare(crop[None], network.size, network.channels) for crop in crops])


def percent(right: Any) -> float:
    """The share that is right."""
    return round(100 * float(np.mean(right)), 2)


def measure(detector: Detector, dataset: FaceDataset, size: int) -> dict[str, Any]:
    """What `face_crop.json` holds of a detector."""
    print(f"{detector.name}: calibration on Training", flush=True)
    training = fer2013_part(dataset, "train", size)
    result = calibrate(largest(detector, training.pictures), dataset.images.shape[1])
    print(f"  {result}", flush=True)
    landmarks = np.array(result["landmarks"], dtype=np.float32) if "landmarks" in result else None
    typical = Face(result["box"], 1.0, landmarks)
    framings = {"box": by_box} if landmarks is None else FRAMINGS
    used = "box" if landmarks is None else "five points and box"
    networks = {
        f"{model}.{recipe}": weights.load_published(Workspace(), f"{model}.{recipe}") for model, recipe in NETWORKS
    }

    def report(title: str, part: Part, ways: Mapping[str, Framing]) -> dict[str, Any]:
        print(f"{detector.name}: {title}", flush=True)
        return effect(networks, part, largest(detector, part.pictures), ways, typical)

    result["framing"] = used
    result["PublicTest"] = report("PublicTest", fer2013_part(dataset, "select", size), framings)
    result["PrivateTest"] = report("PrivateTest", fer2013_part(dataset, "test", size), {used: faces.frame})
    if "sfew" in data.found():
        result["SFEW"] = report("SFEW", sfew_part(), framings)
    return result


def main() -> None:
    """Both detectors."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=3000, help="of each part of FER2013 (default: %(default)s)")
    options = parser.parse_args()
    yunet = faces.find_detector()
    if not isinstance(yunet, YuNet):
        sys.exit(f"needs YuNet: {yunet.note}")
    detectors = (yunet, HaarCascade("bundled with OpenCV"))
    dataset = data.load("fer2013")
    workspace = Workspace()
    result: dict[str, Any] = {
        "data": {"name": dataset.name, "layout": dataset.layout, "fingerprint": dataset.fingerprint},
        "pictures": {"seed": SEED, "enlarged": ENLARGED, "border": BORDER},
        "networks": {
            f"{model}.{recipe}": weights.sha256(weights.published_path(workspace, model, recipe))
            for model, recipe in NETWORKS
        },
    }
    for detector in detectors:
        result[detector.name] = measure(detector, dataset, options.images)
    write_bytes(faces.FACE_CROP, json.dumps(result, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main()
