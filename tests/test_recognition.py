"""From a photo to answers: the crop a run would score, all faces at once, rows and boxes that say what was found."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageColor

from fer_bench import cli, faces, recognition, weights
from fer_bench.data.dataset import UInt8Array
from fer_bench.data.synthetic import draw_face
from fer_bench.faces import Face
from fer_bench.labels import CKPLUS, DISPLAY_ORDER, FER2013, LABEL_SETS
from fer_bench.pictures import Frame
from fer_bench.predict import Predictor
from fer_bench.recognition import Opinion, Reading, Recognition, annotate, batch_rows, csv_text, recognise
from fer_bench.records import PROJECT_ROOT, Workspace

SHIPPED = ("attentional_cnn.paper", "lin_shi.paper")
MODEL = SHIPPED[0]


@cache
def shipped(name: str = MODEL) -> Predictor:
    return weights.load(PROJECT_ROOT / "weights" / f"{name}.safetensors")


def drawn(expression: str = "happy", size: int = 48, seed: int = 0) -> UInt8Array:
    """(size, size) uint8 gray."""
    face: UInt8Array = draw_face(expression, np.random.default_rng(seed), size=size)
    return face if face.ndim == 2 else face[..., 0]


def colour(gray: UInt8Array) -> UInt8Array:
    return np.repeat(gray[:, :, None], 3, axis=2)


@dataclass
class Finder:
    """A detector that finds the same faces in every picture."""

    faces: Sequence[Face] = ()
    name: str = "finder"
    note: str = "finds what it is told"

    def detect(self, picture: UInt8Array) -> list[Face]:
        return list(self.faces)


def finder(*boxes: tuple[float, float, float, float]) -> Any:
    return Finder([Face(box, 0.9, None) for box in boxes])


@dataclass
class Counting:
    """A predictor that counts its calls."""

    inner: Predictor
    calls: list[int] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def predict(self, images: UInt8Array) -> Any:
        self.calls.append(len(images))
        return self.inner.predict(images)


PAGE = colour(np.hstack([drawn("happy", 160, 1), drawn("sad", 160, 2), drawn("surprise", 160, 3)]))  # 160 x 480
BOXES = ((10.0, 10.0, 140.0, 140.0), (170.0, 10.0, 140.0, 140.0), (330.0, 10.0, 120.5, 120.5))


# recognise


@pytest.mark.parametrize("name", SHIPPED)
def test_one_crop_to_both(name: str) -> None:
    predictor = shipped(name)
    for seed, expression in enumerate(("happy", "sad", "neutral")):
        gray = drawn(expression, 48, seed)
        expected = predictor.predict(gray[None])[0]
        for picture in (gray, colour(gray)):
            [reading] = recognise(picture, {name: predictor}, None).readings
            assert reading.face is None
            np.testing.assert_array_equal(reading.opinions[0].probabilities, expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 130), st.integers(1, 130), st.booleans())
def test_one_crop_of_any_size_to_both(height: int, width: int, gray: bool) -> None:
    shape = (height, width) if gray else (height, width, 3)
    crop = np.random.default_rng(height).integers(0, 256, shape, dtype=np.uint8)
    [reading] = recognise(crop, {MODEL: shipped()}, None).readings
    np.testing.assert_array_equal(reading.opinions[0].probabilities, shipped().predict(crop[None])[0])


def test_a_network_of_whole_scenes_is_shown_the_picture() -> None:
    of_faces = shipped()
    of_scenes = replace(of_faces, metadata=of_faces.metadata | {"dataset": "sfew"})
    of_crops = replace(of_scenes, crop="viola_jones")
    assert [predictor.sees_faces for predictor in (of_faces, of_scenes, of_crops)] == [True, False, True]
    networks = {"faces": of_faces, "scenes": of_scenes, "crops": of_crops}
    for reading in recognise(PAGE, networks, finder(*BOXES)).readings:
        on_face, on_scene, on_crop = (opinion.probabilities for opinion in reading.opinions)
        np.testing.assert_array_equal(on_crop, on_face)
        np.testing.assert_allclose(on_scene, of_scenes.predict(PAGE[None])[0], atol=1e-5)
        assert np.abs(on_scene - on_face).max() > 0.01


def test_a_found_face_is_cropped_and_predicted_as_the_evaluator_would() -> None:
    recognised = recognise(PAGE, {name: shipped(name) for name in SHIPPED}, finder(*BOXES))
    assert recognised.size == (480, 160)
    assert recognised.detector == "finder"
    assert [reading.number for reading in recognised.readings] == [1, 2, 3]
    for reading, box in zip(recognised.readings, BOXES, strict=True):
        assert reading.face is not None and reading.face.box == box
        np.testing.assert_array_equal(reading.crop, faces.crop(PAGE, reading.face))
        assert [opinion.model for opinion in reading.opinions] == list(SHIPPED)
        for opinion in reading.opinions:
            # Not bit for bit: a batch of three is added up in another order than one.
            alone = shipped(opinion.model).predict(reading.crop[None])[0]
            np.testing.assert_allclose(opinion.probabilities, alone, atol=1e-5)
            assert opinion.top == FER2013.classes[int(alone.argmax())]
            assert opinion.confidence == pytest.approx(alone.max(), abs=1e-5)


def test_all_faces_are_one_batch() -> None:
    predictor = Counting(shipped())
    recognise(PAGE, {MODEL: predictor}, finder(*BOXES))  # type: ignore[dict-item]
    assert predictor.calls == [3]
    nothing = recognise(PAGE, {MODEL: predictor}, finder())  # type: ignore[dict-item]
    assert nothing.readings == ()
    assert predictor.calls == [3]


def test_more_faces_than_the_limit_are_counted() -> None:
    recognised = recognise(PAGE, {MODEL: shipped()}, finder(*BOXES), limit=2)
    assert len(recognised.readings) == 2
    assert recognised.left_out == 1


def test_json() -> None:
    recognised = recognise(PAGE, {name: shipped(name) for name in SHIPPED}, finder(*BOXES[:2]))
    found = json.loads(json.dumps(recognised.to_dict(), allow_nan=False))
    assert found["format"] == recognition.FORMAT
    assert (found["width"], found["height"], found["detector"], found["left_out"]) == (480, 160, "finder", 0)
    assert [face["box"] for face in found["faces"]] == [list(box) for box in BOXES[:2]]
    assert "crop" not in str(found)
    for face in found["faces"]:
        for opinion in face["opinions"]:
            assert list(opinion["probabilities"]) == list(DISPLAY_ORDER[:7])
            assert opinion["probabilities"][opinion["prediction"]] == max(opinion["probabilities"].values())
            assert opinion["confidence"] == max(opinion["probabilities"].values())
    whole = recognise(PAGE, {MODEL: shipped()}, None).to_dict()
    assert whole["detector"] == ""
    assert whole["faces"][0]["box"] is None and whole["faces"][0]["score"] is None


@pytest.mark.parametrize("labels", LABEL_SETS.values(), ids=lambda labels: labels.name)
def test_every_label_set_is_shown_in_one_order(labels: Any) -> None:
    probabilities = np.arange(len(labels), dtype=np.float32)
    shown = Opinion("m", labels.classes, probabilities, 0.0).in_display_order()
    assert list(shown) == [name for name in DISPLAY_ORDER if name in labels.classes]
    assert shown == {name: float(number) for number, name in enumerate(labels.classes)}


# annotate


def recognised_at(size: tuple[int, int], boxes: Sequence[tuple[float, float, float, float] | None]) -> Recognition:
    opinion = Opinion("m", FER2013.classes, np.eye(7, dtype=np.float32)[3] * np.float32(0.87), 1.0)
    blank = np.zeros((48, 48), np.uint8)
    readings = [
        Reading(number, None if box is None else Face(box, 0.9, None), blank, (opinion,))
        for number, box in enumerate(boxes, start=1)
    ]
    return Recognition(size, "finder", 1.0, tuple(readings))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.lists(st.none() | st.tuples(*[st.floats(-400, 400)] * 2, *[st.floats(0, 400)] * 2), max_size=3),
    st.sampled_from([None, 1, 9]),
)
def test_any_box_can_be_drawn(
    height: int, width: int, boxes: list[tuple[float, float, float, float] | None], selected: int | None
) -> None:
    picture = np.full((height, width, 3), 128, np.uint8)
    out = annotate(picture, recognised_at((width, height), boxes), selected)
    assert out.shape == picture.shape and out.dtype == np.uint8
    assert (picture == 128).all()
    if not boxes:
        assert (out == picture).all()


@pytest.mark.parametrize("high", [120, 200])
@pytest.mark.parametrize("scale", [1, 4, 20])
def test_boxes_and_text_grow_with_the_picture(scale: int, high: int) -> None:
    picture = np.full((high * scale, 160 * scale, 3), 128, np.uint8)
    x, y, width, height = (value * scale for value in (40, 50, 60, 60))
    recognised = recognised_at((160 * scale, high * scale), [(x, y, width, height)])
    colours = {"happy": "#00c800", "sad": "#0000ff"}
    out = annotate(picture, recognised, colours=colours)
    green = (out == ImageColor.getrgb("#00c800")).all(axis=2)
    rows = np.flatnonzero(green.any(axis=1))
    assert y - rows[0] >= max(12, 160 * scale // 36, high * scale // 24)  # the label's height, above the box
    assert green[y + height // 2].any() and green[:, x + width // 2].any()
    assert not green[y + 15 * scale : y + 45 * scale, x + 15 * scale : x + 45 * scale].any()
    selected = annotate(picture, recognised, selected=1, colours=colours)
    thicker = (selected == ImageColor.getrgb("#00c800")).all(axis=2)
    assert thicker.sum() > green.sum()
    # Text differs from its ground, whatever the colour.
    for ground in ("#ffffff", "#000000", "#ff0000", "#ffff00", "#0000ff"):
        out = annotate(picture, recognised, colours={"happy": ground})
        label = out[rows[0] : y - 1, x : x + width].astype(float) @ [0.213, 0.715, 0.072]
        assert label.max() - label.min() > 40


def test_a_label_stays_inside() -> None:
    picture = np.full((200, 200, 3), 128, np.uint8)
    for box in ((0, 0, 50, 50), (180, 180, 20, 20), (150, 0, 50, 50), (0, 190, 30, 30)):
        out = annotate(picture, recognised_at((200, 200), [box]), colours={"happy": "#00c800"})
        green = (out == ImageColor.getrgb("#00c800")).all(axis=2)
        assert (green.sum(axis=1) >= 40).sum() >= 8  # a bar as wide as "1 happy 87%" and as high as its letters


def test_the_box_lies_around_the_face(seed: int = 0) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (400, 600, 3), dtype=np.uint8)
    for side in (16, 32, 150):
        for selected in (None, 1):
            out = annotate(picture, recognised_at((600, 400), [(300, 200, side, side)]), selected)
            face = np.s_[201 : 199 + side, 301 : 299 + side]
            np.testing.assert_array_equal(out[face], picture[face])
            assert (
                out[200 + side // 2, 300 + side : 330 + side] != picture[200 + side // 2, 300 + side : 330 + side]
            ).any()


def test_a_crowd_has_numbers_and_the_selected_face_an_opinion(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import ImageDraw

    written: list[str] = []
    write = ImageDraw.ImageDraw.text

    def text(self: Any, xy: Any, text: str, *args: Any, **options: Any) -> None:
        written.append(text)
        write(self, xy, text, *args, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    picture = np.full((400, 800, 3), 128, np.uint8)
    few = [(100.0, 150.0, 80.0, 80.0), (500.0, 150.0, 80.0, 80.0)]
    crowd = [(60.0 * x + 10, 150.0, 30.0, 30.0) for x in range(12)]
    annotate(picture, recognised_at((800, 400), few), 2)
    assert written == ["1 happy 87%", "2 happy 87%"]
    written.clear()
    annotate(picture, recognised_at((800, 400), crowd), 7)
    assert sorted(written) == sorted([*(str(n) for n in range(1, 13) if n != 7), "7 happy 87%"])
    assert written[-1] == "7 happy 87%"
    written.clear()
    annotate(picture, recognised_at((800, 400), crowd))
    assert written == [str(n) for n in range(1, 13)]


# batches


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_rows_for_faces_for_none_and_for_errors() -> None:
    class Changing:
        name, note = "changing", ""
        found = iter([[Face(box, 0.75, None) for box in BOXES], [], [Face(BOXES[0], 0.5, None)]])

        def detect(self, picture: UInt8Array) -> list[Face]:
            return next(self.found)

    frames = [
        Frame("a.jpg", None, PAGE),
        Frame("b.jpg", None, None, "not a readable image"),
        Frame("c.jpg", None, PAGE),
        Frame("clip.mp4", 1.5, PAGE),
    ]
    rows = list(batch_rows(iter(frames), MODEL, shipped(), Changing(), limit=2))
    lines = table(csv_text(rows, shipped().classes))
    assert list(lines[0]) == [
        *("file", "seconds", "face", "x", "y", "width", "height", "score", "prediction", "probability"),
        *(*FER2013.classes, "note"),
    ]
    assert [line["file"] for line in lines] == ["a.jpg", "a.jpg", "b.jpg", "c.jpg", "clip.mp4"]
    assert [line["face"] for line in lines] == ["1", "2", "", "", "1"]
    assert [line["note"] for line in lines] == ["", "1 more faces left out", "not a readable image", "no face", ""]
    assert [line["seconds"] for line in lines] == ["", "", "", "", "1.50"]
    assert [lines[1][key] for key in ("x", "y", "width", "height", "score")] == [
        *("170.0", "10.0", "140.0", "140.0", "0.7500")
    ]
    for line in lines:
        values = [line[name] for name in FER2013.classes]
        if line["face"]:
            assert sum(map(float, values)) == pytest.approx(1, abs=1e-5)
            assert line["probability"] == line[line["prediction"]] == max(values)
        else:
            assert not any(values) and not line["prediction"] and not line["x"]


def test_contempt_has_its_column() -> None:
    header = recognition.csv_header(CKPLUS.classes)
    assert header[10:] == ("angry", "disgust", "fear", "happy", "sad", "surprise", "contempt", "note")


@example("a\rb", "")
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20), st.text("a\"',;\n ", max_size=8))
def test_any_name_survives_the_csv(name: str, note: str) -> None:
    text = csv_text([recognition.BatchRow(name, None, note=note)], ())
    _, line = csv.reader(io.StringIO(text, newline=""))
    assert (line[0], line[-1]) == (name, note)


def test_pictures_of_any_name_are_written_apart(tmp_path: Path) -> None:
    recognised = recognise(PAGE, {MODEL: shipped()}, None)
    for number, name in enumerate(("a.jpg", "b/a.jpg", "x.zip/..", "é:\n*?" + "猫" * 200 + ".png", "a.jpg"), start=1):
        path = recognition.write_annotated(tmp_path / "new", number, Frame(name, 0.5, PAGE), recognised)
        assert path.parent == tmp_path / "new"
        assert not set(path.name) & set(':*?/\\"<>|\n')
        with Image.open(path) as image:
            assert image.size == (480, 160)
    assert len(list((tmp_path / "new").iterdir())) == 5


# the command line


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A folder of two drawings and a broken file, a zip with one of them, and a video of a second."""
    folder = tmp_path / "album"
    (folder / "inner").mkdir(parents=True)
    for name, expression in (("one.png", "happy"), ("inner/one.png", "sad")):
        Image.fromarray(drawn(expression, 96)).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"nothing")
    with zipfile.ZipFile(tmp_path / "album.zip", "w") as archive:
        archive.write(folder / "one.png", "one.png")
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 96))
    for _ in range(10):
        writer.write(colour(drawn("happy", 96)))
    writer.release()
    return folder


def predict(*arguments: object) -> int:
    return cli.main(["predict", *map(str, arguments), "--model", MODEL])


def test_predict_takes_folders_zips_and_videos(album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, boxes = tmp_path / "new" / "out.csv", tmp_path / "boxes"
    paths = (album, tmp_path / "album.zip", tmp_path / "clip.avi")
    assert predict(*paths, "--whole", "--csv", out, "--annotate", boxes) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = table(out.read_text())
    files = [album / "broken.jpg", album / "inner/one.png", album / "one.png", tmp_path / "album.zip/one.png"]
    assert [line["file"] for line in lines] == [*map(str, files), *[str(tmp_path / "clip.avi")] * 2]
    assert len(captured.out.splitlines()) == 6
    for text, line in zip(captured.out.splitlines(), lines, strict=True):
        assert text.startswith(line["file"])
        assert (line["prediction"] or line["note"]) in text
    expected = weights.load_published(Workspace(), MODEL).predict(drawn("happy", 96)[None])[0]
    assert [float(lines[2][name]) for name in FER2013.classes] == pytest.approx(expected, abs=1e-6)
    assert [path.name for path in sorted(boxes.iterdir())] == [
        *("00002_one.jpg", "00003_one.jpg", "00004_one.jpg", "00005_clip_0.0s.jpg", "00006_clip_0.5s.jpg")
    ]
    assert Image.open(boxes / "00002_one.jpg").size == (96, 96)


def test_predict_finds_faces(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(faces, "find_detector", lambda: finder((5, 5, 60, 60), (20, 20, 50, 50)))
    out = tmp_path / "out.csv"
    assert predict(album / "one.png", "--csv", out) == 0
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "finder" in captured.err and "finds what it is told" in captured.err
    assert [(line["face"], line["x"]) for line in table(out.read_text())] == [("1", "5.0"), ("2", "20.0")]
    assert ", face 2: " in captured.out
    model = MODEL.partition(".")[0]
    assert cli.main(["predict", str(album / "one.png"), "--whole", "--model", model]) == 0
    assert capsys.readouterr().err == f"model: {weights.published_name(Workspace(), model)}\n"
    monkeypatch.setattr(faces, "find_detector", lambda: finder())
    assert predict(album / "one.png", "--csv", out) == 0
    assert [line["note"] for line in table(out.read_text())] == ["no face"]


def test_predict_refuses_in_one_line_and_writes_nothing(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.csv"
    out.write_text("from last time")
    broken = album / "broken.jpg"

    def refused(*arguments: object) -> str:
        assert predict(*arguments) == 2
        return capsys.readouterr().err

    assert (
        refused(broken, "--whole", "--csv", out) == f"fer_bench: {broken}: not a readable image: in no known format\n"
    )
    missing = refused(album, tmp_path / "none.jpg", "--whole", "--csv", out)
    assert missing == f"fer_bench: {tmp_path / 'none.jpg'}: no such file or folder\n"
    assert "a folder" in refused(album, "--whole", "--csv", album)
    before = (album / "one.png").read_bytes()
    assert "would write over it" in refused(album / "one.png", "--whole", "--csv", album / "one.png")
    assert (album / "one.png").read_bytes() == before

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(recognition, "recognise", interrupted)
    assert predict(album / "one.png", "--whole", "--csv", out) == 130
    assert out.read_text() == "from last time"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["album", "album.zip", "clip.avi", "out.csv"]
