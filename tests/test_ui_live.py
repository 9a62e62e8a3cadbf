"""Live: the track of a face over frames, and the answers to frames, without a camera."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_ui_try import MODELS, Marks, png, publish

from fer_bench import faces
from fer_bench.data import synthetic
from fer_bench.faces import Face
from fer_bench.labels import DISPLAY_ORDER, FER2013
from fer_bench.plots import TIMELINE_SECONDS
from fer_bench.recognition import Opinion, Reading
from fer_bench.records import Workspace
from fer_bench.transforms import Float32Array
from fer_bench.ui import AT_ONCE, live
from fer_bench.ui.context import Context
from fer_bench.ui.live import Camera, Track

HAPPY, SAD = np.eye(7, dtype=np.float32)[[3, 4]]
HERE, NEAR, AWAY = (100.0, 100.0, 80.0, 80.0), (110.0, 95.0, 80.0, 80.0), (300.0, 100.0, 90.0, 90.0)


def reading(box: live.Box = HERE, probabilities: Float32Array = HAPPY, number: int = 1) -> Reading:
    opinion = Opinion("m", FER2013.classes, probabilities, 1.0)
    return Reading(number, Face(box, 0.9), np.zeros((48, 48), dtype=np.uint8), (opinion,))


def play(frames: Sequence[tuple[float, Sequence[Reading]]], model: str = "m", track: Track | None = None) -> Track:
    track = track or Track()
    for now, readings in frames:
        track, _ = live.advance(track, model, readings, now)
    return track


gaps = st.lists(st.floats(0.01, 0.5), min_size=1, max_size=30)


@given(gaps, gaps)
def test_smoothing_does_not_depend_on_the_frame_rate(one: list[float], other: list[float]) -> None:
    """A second of one expression, then half a second of another: however many frames, the same comes out."""

    def smoothed(steps: list[float]) -> Float32Array:
        shares = np.array(steps) / sum(steps)
        track = play([(0.0, [reading()])])
        for start, length, probabilities in ((0.0, 0.9, HAPPY), (0.9, 0.5, SAD)):
            track = play(
                [(start + length * share, [reading(HERE, probabilities)]) for share in np.cumsum(shares)], track=track
            )
        return track.probabilities

    np.testing.assert_allclose(smoothed(one), smoothed(other), atol=1e-5)


def test_smoothing_calms_and_follows() -> None:
    flicker = play([(0.1 * i, [reading(HERE, (HAPPY, SAD)[i % 5 == 4])]) for i in range(40)])
    assert flicker.probabilities[3] > 0.6
    changed = play([(4 + 0.1 * i, [reading(HERE, SAD)]) for i in range(15)], track=flicker)
    assert changed.probabilities[4] > 0.9
    assert changed.probabilities.sum() == pytest.approx(1)


def test_a_face_that_was_lost_starts_afresh() -> None:
    before = play([(0.0, [reading()]), (0.1, [reading()])])
    blinked = play([(0.5, []), (0.9, [reading(NEAR, SAD)])], track=before)
    assert 0 < blinked.probabilities[3] < 1
    back = play([(0.5, []), (1.2, [reading(NEAR, SAD)])], track=before)
    np.testing.assert_array_equal(back.probabilities, SAD)


def test_the_largest_face_is_followed() -> None:
    assert play([(0.0, [reading(AWAY, SAD, 1), reading(HERE, HAPPY, 2)])]).box == AWAY
    before = play([(0.0, [reading()])])
    # As large as the one before it: no taking turns.
    track, face = live.advance(before, "m", [reading(AWAY, SAD, 1), reading(NEAR, HAPPY, 2)], 0.1)
    assert face is not None and face.number == 2
    assert track.box == NEAR
    # Much larger: it takes over, and nothing of the other is mixed in.
    large = (300.0, 50.0, 200.0, 200.0)
    track, face = live.advance(before, "m", [reading(large, SAD, 1), reading(NEAR, HAPPY, 2)], 0.1)
    assert face is not None and face.number == 1
    np.testing.assert_array_equal(track.probabilities, SAD)


def test_another_model_starts_afresh() -> None:
    before = play([(0.1 * i, [reading()]) for i in range(10)])
    after = play([(1.0, [reading(HERE, SAD)])], "other", before)
    np.testing.assert_array_equal(after.probabilities, SAD)
    assert len(after.timeline) == 1


def test_the_timeline_is_half_a_minute_with_gaps() -> None:
    frames = [(0.05 * i, [reading()] if i < 400 or i > 500 else []) for i in range(1000)]
    track = play(frames)
    seconds = np.array([second for second, _ in track.timeline])
    assert seconds[-1] - seconds[0] < TIMELINE_SECONDS
    assert np.diff(seconds).min() == pytest.approx(live.STEP, abs=0.051)
    gone = seconds[[bool(np.isnan(row).all()) for _, row in track.timeline]]
    assert 20 < gone.min() <= 21.3
    assert 24.5 < gone.max() <= 25
    assert track.rate == pytest.approx(20, rel=0.05)


@pytest.fixture
def context(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    publish(workspace, MODELS[0])
    monkeypatch.setattr(faces, "find_detector", Marks)
    yield Context(workspace)


def sent(expression: str | None = "happy", **changes: Any) -> dict[str, Any]:
    drawn = (
        synthetic.draw_face(expression, np.random.default_rng(0), 96) if expression else np.zeros((96, 96), np.uint8)
    )
    url = f"data:image/png;base64,{base64.b64encode(png(drawn)).decode()}"
    return {"image": url, "model": MODELS[0], "session": "one", **changes}


def test_a_frame_is_answered(context: Context) -> None:
    answer = Camera(context).frame(sent())
    assert json.loads(json.dumps(answer)) == answer
    assert answer["boxes"].count('class="fb-box"') == 2
    assert answer["boxes"].count("fb-followed") == 1
    places = [answer["bars"].index(f">{name}<") for name in DISPLAY_ORDER[:7]]
    assert places == sorted(places)
    assert "detection (Marks)" in answer["stats"]
    assert answer["top"] in FER2013.classes
    assert "<svg" in answer["timeline"]


def test_no_face_is_said_when_it_is_gone(context: Context) -> None:
    now = 0.0
    camera = Camera(context, clock=lambda: now)
    camera.frame(sent())
    now = 0.5
    blink = camera.frame(sent(None))
    assert blink["boxes"] == ""
    assert "bars" not in blink
    now = 2.0
    assert "No face" in camera.frame(sent(None))["bars"]


def test_what_is_wrong_is_said(context: Context) -> None:
    camera = Camera(context)
    assert camera.frame(sent(model=""))["error"] == "Choose a model first."
    assert "unknown model 'lin'" in camera.frame(sent(model="lin"))["error"]
    assert "python -m fer_bench run" in camera.frame(sent(model="lin_shi"))["error"]
    for image in (None, "data:image/jpeg;base64,***", "data:image/jpeg;base64,", "data:image/jpeg;base64,AAAA"):
        assert "error" in camera.frame(sent(image=image))
    broken = context.workspace.weights / "lin_shi.paper.safetensors"
    broken.write_bytes(b"nothing")
    assert "not a readable safetensors file" in camera.frame(sent(model="lin_shi.paper"))["error"]


def test_sessions_are_apart_and_forgotten(context: Context) -> None:
    now = 0.0
    camera = Camera(context, clock=lambda: now)
    for _ in range(3):
        now += 0.1
        camera.frame(sent(session="one"))
    camera.frame(sent(session="two"))
    assert len(camera.sessions.get("one").frames) == 3
    assert len(camera.sessions.get("two").frames) == 1
    now += live.RESTED + 1
    camera.frame(sent(session="three"))
    assert camera.sessions.get("one").frames == ()
    for number in range(live.SESSIONS + 1):
        camera.sessions.put(str(number), replace(Track(), model="m"), now)
    assert [camera.sessions.get(key).model for key in ("three", "0", "1")] == ["", "", "m"]


def test_few_frames_are_at_work_at_once(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, most = 0, 0
    lock = threading.Lock()
    detect = Marks.detect

    def slow(self: Marks, picture: Any) -> Any:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.02)
        with lock:
            at_work -= 1
        return detect(self, picture)

    monkeypatch.setattr(Marks, "detect", slow)
    camera = Camera(context)
    camera.frame(sent())
    threads = [threading.Thread(target=camera.frame, args=[sent(session=str(i))]) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == AT_ONCE
