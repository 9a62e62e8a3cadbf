"""Faces are found at any size, by many threads at once; crops are framed as FER2013 frames faces."""

from __future__ import annotations

import hashlib
import importlib
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_bench import data, faces
from fer_bench.data.dataset import UInt8Array
from fer_bench.errors import FerBenchError
from fer_bench.faces import Detector, Face, HaarCascade

ROOT = Path(__file__).parent.parent
DETECTORS = ("YuNet", "Haar cascade")


@cache
def astronaut() -> UInt8Array:
    import skimage.data

    picture: UInt8Array = skimage.data.astronaut()
    return picture


@cache
def detector(name: str) -> Detector:
    if name == HaarCascade.name:
        return HaarCascade("a test")
    found = faces.find_detector()
    if found.name != name:
        pytest.skip(f"no {name} here: {found.note}")
    return found


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No YuNet is at hand; the folder in which it would be kept."""
    from huggingface_hub import constants

    monkeypatch.setenv("FER_BENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("FER_BENCH_YUNET", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: None)
    faces._fetched.cache_clear()
    yield tmp_path / "models"
    faces._fetched.cache_clear()


def turned(picture: UInt8Array, degrees: float) -> UInt8Array:
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)


def alike(one: UInt8Array, other: UInt8Array) -> float:
    """The correlation of two crops at 48 pixels, slightly blurred."""
    small = [
        cv2.GaussianBlur(cv2.resize(crop, (48, 48), interpolation=cv2.INTER_AREA), (5, 5), 0) for crop in (one, other)
    ]
    return float(np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1])


@pytest.mark.parametrize("name", DETECTORS)
def test_finds_the_astronaut(name: str) -> None:
    first = detector(name).detect(astronaut())[0]
    x, y, width, height = first.box
    assert x < 224 < x + width and y < 115 < y + height, "the tip of her nose"
    assert 60 < width < 140 and 60 < height < 160
    assert 0 < first.score <= 1
    if name == "YuNet":
        assert first.landmarks is not None and first.landmarks.dtype == np.float32
        (right_eye, left_eye, nose, right_mouth, left_mouth) = first.landmarks
        assert right_eye[0] < nose[0] < left_eye[0] and right_mouth[0] < left_mouth[0]
        assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])
    else:
        assert first.landmarks is None


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("factor", [2, 6])
def test_boxes_are_in_the_pictures_own_pixels(name: str, factor: int) -> None:
    small = detector(name).detect(astronaut())[0]
    picture = cv2.resize(astronaut(), None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    large = detector(name).detect(picture)[0]
    np.testing.assert_allclose(np.array(large.box) / factor, small.box, atol=6)
    if small.landmarks is not None and large.landmarks is not None:
        np.testing.assert_allclose(large.landmarks / factor, small.landmarks, atol=3)


@pytest.mark.parametrize("name", DETECTORS)
def test_gray_pictures_and_those_that_are_one_face(name: str) -> None:
    gray = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2GRAY).astype(np.uint8)
    colour = detector(name).detect(astronaut())[0]
    first = detector(name).detect(gray)[0]
    np.testing.assert_allclose(first.box, colour.box, atol=6)
    crop = faces.crop(gray, first)
    assert crop.ndim == 2
    # A crop of FER2013's size is enlarged until its face is found.
    tiny = cv2.resize(crop, (48, 48), interpolation=cv2.INTER_AREA).astype(np.uint8)
    x, y, width, height = detector(name).detect(tiny)[0].box
    assert abs(x + width / 2 - 24) < 6 and abs(y + height / 2 - 24) < 6 and 24 < width < 60


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (1, 3000, 3), (40_000, 2), (7, 5, 3)])
def test_pictures_without_a_face(name: str, shape: tuple[int, ...]) -> None:
    assert detector(name).detect(np.full(shape, 90, dtype=np.uint8)) == []


@pytest.mark.parametrize("name", DETECTORS)
def test_the_largest_comes_first(name: str) -> None:
    large = astronaut()[:256, 104:360]
    page = np.full((256, 440, 3), 128, dtype=np.uint8)
    page[:180, :180] = cv2.resize(large, (180, 180), interpolation=cv2.INTER_AREA)
    page[:, 184:] = large
    found = detector(name).detect(page)
    areas = [face.box[2] * face.box[3] for face in found]
    assert len(found) >= 2 and areas == sorted(areas, reverse=True)
    assert found[0].box[0] > 184


@pytest.mark.parametrize("name", DETECTORS)
def test_many_threads_get_what_one_gets(name: str) -> None:
    pictures = [astronaut()[: 512 - 40 * cut, cut * 10 :] for cut in range(4)] * 4
    alone = [detector(name).detect(picture) for picture in pictures[:4]] * 4
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(detector(name).detect, pictures))
    assert [[face.box for face in found] for found in together] == [[face.box for face in found] for found in alone]
    assert all(together)


@pytest.mark.parametrize("degrees", [-20, -10, 10, 20])
def test_a_turned_face_is_cropped_upright(degrees: float) -> None:
    picture = turned(astronaut(), degrees)
    upright = faces.crop(astronaut(), detector("YuNet").detect(astronaut())[0])
    first = detector("YuNet").detect(picture)[0]
    assert alike(faces.crop(picture, first), upright) > 0.9
    assert alike(faces.crop(picture, Face(first.box, 1.0)), upright) < 0.87, "or the test would show nothing"


def test_framing_is_fer2013s() -> None:
    """A face that stands where it stands in FER2013's pictures is cropped to the whole picture, pixel by pixel."""
    picture = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    for landmarks in (False, True):
        typical = faces.typical_face(landmarks)
        x, y, width, height = (100 * value for value in typical.box)
        points = None if typical.landmarks is None else 100 * typical.landmarks
        crop = faces.crop(picture, Face((x, y, width, height), 1.0, points))
        assert crop.shape == picture.shape
        assert np.abs(crop.astype(int) - picture).max() <= 3


@given(st.tuples(*[st.floats(-60, 110)] * 2), st.floats(0.2, 400), st.floats(0, 7), st.booleans())
def test_crops_of_any_face_are_square(at: tuple[float, float], size: float, angle: float, landmarks: bool) -> None:
    picture = np.full((40, 50, 3), (10, 120, 240), dtype=np.uint8)
    typical = faces.typical_face(landmarks)
    box = (at[0], at[1], size * typical.box[2], size * typical.box[3])
    points = None
    if typical.landmarks is not None:
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        points = (size * typical.landmarks @ turn + at).astype(np.float32)
    crop = faces.crop(picture, Face(box, 1.0, points))
    assert crop.dtype == np.uint8 and crop.shape[0] == crop.shape[1] and crop.shape[2] == 3
    assert abs(crop.shape[0] - max(size, faces.SMALLEST_CROP)) <= 1
    assert (crop == (10, 120, 240)).all(), "beyond the edge the border goes on"


def test_a_huge_face_is_reduced_without_aliasing() -> None:
    stripes = np.zeros((3000, 40000), dtype=np.uint8)
    stripes[:, ::2] = 255
    crop = faces.crop(stripes, Face((30000.0, 300.0, 2400.0, 2400.0), 1.0))
    assert crop.shape == (faces.LARGEST_CROP, faces.LARGEST_CROP)
    assert np.ptp(crop[10:-10, 10:-10].astype(int)) < 60, "alternate columns average out"


def test_the_framing_is_measured_and_shipped() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert faces.FACE_CROP.name in project["tool"]["setuptools"]["package-data"]["fer_bench"]
    measured = json.loads(faces.FACE_CROP.read_bytes())
    assert measured["data"]["name"] == "fer2013" and len(measured["data"]["fingerprint"]) == 64
    assert set(DETECTORS) < set(measured)
    for name in DETECTORS:
        entry = measured[name]
        assert entry["images"] >= 2000 and 0.5 < entry["found"] <= 1
        assert entry["PrivateTest"]["images"] >= 1000
        # What is used is as good on PublicTest as any way that was tried, within a standard error.
        ways = entry["PublicTest"]["accuracy"]
        means = {way: np.mean([score["all"] for score in ways[way].values()]) for way in ways if way != "whole"}
        assert max(means.values()) - means[entry["framing"]] < 0.9
        typical = faces.typical_face(name == "YuNet")
        x, y, width, height = typical.box
        assert abs(x + width / 2 - 0.5) < 0.03 and abs(y + height / 2 - 0.5) < 0.03, "FER2013 centres its faces"
        assert typical.landmarks is None or ((typical.landmarks > 0.2) & (typical.landmarks < 0.8)).all()


@pytest.mark.data
@pytest.mark.parametrize("name", DETECTORS)
def test_the_framing_can_be_measured_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    face_crop = importlib.import_module("face_crop")
    dataset = data.load("fer2013")
    found = face_crop.largest(detector(name), face_crop.fer2013_part(dataset, "train", 150).pictures)
    again = face_crop.calibrate(found, dataset.images.shape[1])
    recorded = json.loads(faces.FACE_CROP.read_bytes())[name]
    assert abs(again["found"] - recorded["found"]) < 0.1
    np.testing.assert_allclose(again["box"], recorded["box"], atol=0.05)
    if name == "YuNet":
        np.testing.assert_allclose(again["landmarks"], recorded["landmarks"], atol=0.03)


# which detector


def test_a_named_file_must_be_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FerBenchError, match=r"none\.onnx: expected YuNet's ONNX file \(No such file"):
        faces.find_detector(tmp_path / "none.onnx")
    with pytest.raises(FerBenchError, match="expected YuNet's ONNX file"):
        faces.find_detector(tmp_path)
    (tmp_path / "junk.onnx").write_bytes(b"no network at all")
    with pytest.raises(FerBenchError, match=r"expected YuNet's ONNX file; OpenCV") as caught:
        faces.find_detector(tmp_path / "junk.onnx")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["junk.onnx", "none.onnx"])
def test_where_the_environment_names_no_network_the_cascade_works(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"no network at all")
    monkeypatch.setenv("FER_BENCH_YUNET", str(tmp_path / name))
    found = faces.find_detector()
    assert found.name == "Haar cascade" and "FER_BENCH_YUNET names no file" in found.note
    assert str(tmp_path) not in found.note, "visitors of the app read it"


def test_without_the_hub_the_cascade_works_and_says_why(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def unreachable(url: str) -> bytes:
        asked.append(url)
        raise OSError("Name or service not known")

    monkeypatch.setattr(faces, "_download", unreachable)
    found = faces.find_detector()
    assert found.name == "Haar cascade"
    assert "Name or service not known" in found.note and "FER_BENCH_YUNET" in found.note
    assert faces.find_detector().detect(astronaut())
    assert len(asked) == 1 and faces.HUB_REVISION in asked[0], "the Hub is asked once"


def test_offline_the_hub_is_not_asked(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(faces, "_download", lambda url: pytest.fail("asked the Hub"))
    assert "HF_HUB_OFFLINE" in faces.find_detector().note


def test_another_files_content_is_refused(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere.mkdir()
    (nowhere / faces.HUB_FILE).write_bytes(b"half a file")
    monkeypatch.setattr(faces, "_download", lambda url: b"an error page")
    found = faces.find_detector()
    assert found.name == "Haar cascade" and "sha256" in found.note


def test_what_was_fetched_is_kept(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = b"the network"
    monkeypatch.setattr(faces, "HUB_SHA256", hashlib.sha256(network).hexdigest())
    monkeypatch.setattr(faces, "_download", lambda url: network)
    assert not faces.yunet_here()
    fetched, note = faces._fetched()
    assert fetched == network and faces.HUB_MODEL in note
    assert faces.yunet_here()
    assert (nowhere / faces.HUB_FILE).read_bytes() == network
    faces._fetched.cache_clear()
    monkeypatch.setattr(faces, "_download", lambda url: pytest.fail("asked the Hub again"))
    assert faces._fetched()[0] == network
    (nowhere / faces.HUB_FILE).write_bytes(b"half a file")
    assert not faces.yunet_here()
    monkeypatch.setenv("FER_BENCH_YUNET", "named.onnx")
    assert faces.yunet_here()


def test_a_slow_hub_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes the connection and never answers
        port = server.getsockname()[1]
        monkeypatch.setattr(faces, "FETCH_SECONDS", 0.3)
        with pytest.raises(TimeoutError, match="nothing within"):
            faces._download(f"http://127.0.0.1:{port}/file")
