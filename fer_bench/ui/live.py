"""Live: the camera's face, as fast as the model allows.

The page sends the next frame when it has the answer to the last one, so a slow model drops frames and never lags.
Of a frame nothing stays on the server; of a session its smoothed probabilities do, until it ends or rests.
"""

from __future__ import annotations

import base64
import binascii
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from fer_bench.errors import FerBenchError
from fer_bench.pictures import read_picture
from fer_bench.plots import TIMELINE_SECONDS, probability_bars, timeline_svg
from fer_bench.recognition import Reading, Recognition, recognise
from fer_bench.transforms import Float32Array
from fer_bench.ui import AT_ONCE, messages

if TYPE_CHECKING:
    from fer_bench.ui.context import Context

# Seconds after which a frame counts 1/e of what it did: less flickers, more comes late.
SMOOTHING = 0.5
# Seconds without the face after which smoothing starts afresh.
LOST = 1.0
# Seconds between two points of the timeline, and those over which frames are counted.
STEP, COUNTED = 0.25, 2.0
# Overlap (intersection over union) with the box of the last frame from which on it is the same face.
SAME = 0.2
# Another face takes over where it is this much larger, so that two alike do not take turns.
LARGER = 1.5
# Faces of a frame, the largest.
LIMIT = 5
SESSIONS, RESTED = 256, 60.0

CSS = """
.fb-live { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); }
.fb-stage { position: relative; container-type: size; aspect-ratio: 4 / 3; overflow: hidden; border-radius: 8px;
  background: var(--background-fill-secondary); display: grid; place-items: center; }
.fb-stage video, .fb-stage canvas { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0;
  visibility: hidden; transform: scaleX(-1); }
.fb-running .fb-stage video, .fb-running .fb-stage canvas { visibility: visible; }
.fb-running .fb-stage .fb-empty { display: none; }
.fb-boxes { position: absolute; inset: 0; }
.fb-box { position: absolute; border: 2px solid var(--fb-colour); border-radius: 4px; }
.fb-followed { border-width: 4px; }
.fb-box span { position: absolute; left: -2px; top: max(-1.9rem, calc(-1 * var(--fb-y))); padding: 0 0.4rem;
  white-space: nowrap; color: var(--body-text-color); background: var(--background-fill-primary);
  border: 2px solid var(--fb-colour); border-radius: 4px; }
.fb-readout { display: grid; gap: 0.75rem; align-content: start; }
.fb-readout p { margin: 0; }
.fb-stats { display: flex; flex-wrap: wrap; gap: 0 1rem; min-height: 1.5rem; font-size: 0.9rem;
  font-variant-numeric: tabular-nums; }
#fb-live-bars { min-height: 11rem; }
#fb-live-timeline { min-height: 8rem; }
@media (max-width: 40rem) {
  #fb-live-timeline svg { overflow: visible; font-size: 11.5px !important; }
}
.fb-button { padding: 0.5rem 1rem; border-radius: 6px; font-weight: 600; cursor: pointer;
  color: var(--fb-on-accent); background: var(--fb-accent); }
"""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Track:
    """One face over time; replaced, never changed.

    Attributes:
        model: whose probabilities these are.
        classes: their names.
        seen: when the face was last in a frame, in seconds of a steady clock.
        box: where, (x, y, width, height) in pixels.
        probabilities: (classes,), smoothed.
        timeline: time and `probabilities` of the last half minute.
        frames: times of the last frames, with a face or without.
    """

    model: str = ""
    classes: tuple[str, ...] = ()
    seen: float = -math.inf
    box: Box = (0.0, 0.0, 0.0, 0.0)
    probabilities: Float32Array = field(default_factory=lambda: np.empty(0, dtype=np.float32))
    timeline: tuple[tuple[float, Float32Array], ...] = ()
    frames: tuple[float, ...] = ()

    @property
    def rate(self) -> float:
        """Frames a second."""
        return (len(self.frames) - 1) / (self.frames[-1] - self.frames[0]) if len(self.frames) > 1 else 0.0


def smooth(old: Float32Array, new: Float32Array, seconds: float) -> Float32Array:
    """Exponential smoothing by time, so that the number of frames in it does not matter."""
    kept = np.float32(math.exp(-seconds / SMOOTHING))
    return kept * old + (1 - kept) * new


def advance(track: Track, model: str, readings: Sequence[Reading], now: float) -> tuple[Track, Reading | None]:
    """The track after a frame and the face in it that it follows, None where there is no face.

    Args:
        readings: of one model, largest face first.
        now: in seconds of a steady clock.
    """
    frames = (*([moment for moment in track.frames if now - moment < COUNTED] or track.frames[-1:]), now)
    track = replace(track, frames=frames) if model == track.model else Track(model, frames=frames)
    reading = _followed(track, readings)
    if reading is not None:
        box, opinion = _box(reading), reading.opinions[0]
        known = now - track.seen <= LOST and overlap(track.box, box) >= SAME
        mixed = smooth(track.probabilities, opinion.probabilities, now - track.seen) if known else opinion.probabilities
        track = replace(track, classes=opinion.classes, seen=now, box=box, probabilities=mixed)
    if track.classes and (not track.timeline or now - track.timeline[-1][0] >= STEP):
        held = track.probabilities if now - track.seen <= LOST else np.full_like(track.probabilities, np.nan)
        recent = (point for point in track.timeline if now - point[0] < TIMELINE_SECONDS)
        track = replace(track, timeline=(*recent, (now, held)))
    return track, reading


def _followed(track: Track, readings: Sequence[Reading]) -> Reading | None:
    """The largest face, or the one that was followed if it is about as large."""
    if not readings:
        return None
    _, _, width, height = _box(readings[0])
    for reading in readings:
        box = _box(reading)
        if overlap(track.box, box) >= SAME and LARGER * box[2] * box[3] >= width * height:
            return reading
    return readings[0]


def _box(reading: Reading) -> Box:
    assert reading.face is not None
    x, y, width, height = map(float, reading.face.box)
    return x, y, width, height


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (one[2] * one[3] + other[2] * other[3] - width * height)


@dataclass
class Sessions:
    """The visitors' tracks by a key that each page makes up; the oldest and those that rest are dropped."""

    _tracks: OrderedDict[str, tuple[float, Track]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: str) -> Track:
        with self._lock:
            return self._tracks[key][1] if key in self._tracks else Track()

    def put(self, key: str, track: Track, now: float) -> None:
        with self._lock:
            self._tracks[key] = now, track
            self._tracks.move_to_end(key)
            while len(self._tracks) > SESSIONS or now - next(iter(self._tracks.values()))[0] > RESTED:
                self._tracks.popitem(last=False)


@dataclass
class Camera:
    """Answers the frames of all visitors."""

    context: Context
    clock: Callable[[], float] = time.monotonic
    sessions: Sessions = field(default_factory=Sessions)
    _slots: threading.Semaphore = field(default_factory=lambda: threading.BoundedSemaphore(AT_ONCE))

    def frame(self, sent: dict[str, Any]) -> dict[str, str]:
        """What the page shows for a frame.

        Args:
            sent: "image", a data URL; "model", a shipped network's name; "session", the page's key.

        Returns:
            HTML by the place where it goes, and "top", the class on top; or an "error" for the visitor.
        """
        try:
            picture = read_picture(_decoded(sent.get("image")), "the frame")
            if not sent.get("model"):
                raise FerBenchError("Choose a model first.")
            model = self.context.name(str(sent["model"]))
            predictor = self.context.predictor(model)
            with self._slots:
                recognition = recognise(picture, {model: predictor}, self.context.detector, LIMIT)
        except FerBenchError as error:
            return {"error": messages.public(error, self.context.workspace)}
        now, key = self.clock(), str(sent.get("session"))
        track, reading = advance(self.sessions.get(key), model, recognition.readings, now)
        self.sessions.put(key, track, now)
        return render(track, reading, recognition)


def _decoded(url: Any) -> bytes:
    try:
        return base64.b64decode(str(url).partition(",")[2], validate=True)
    except binascii.Error as error:
        raise FerBenchError("expected a picture as a data URL; load the page again") from error


# HTML


def render(track: Track, reading: Reading | None, recognition: Recognition) -> dict[str, str]:
    """A frame's answer by the place where it goes."""
    readings, now = recognition.readings, track.frames[-1]
    classifying = sum(opinion.milliseconds for one in readings for opinion in one.opinions)
    answer = {
        "boxes": "".join(_outline(one, recognition.size, track if one is reading else None) for one in readings),
        "stats": (
            f"<span><b>{track.rate:.2g}</b> frames a second</span>"
            f"<span><b>{recognition.detection_ms:.0f} ms</b> detection ({escape(recognition.detector)})</span>"
            f"<span><b>{classifying:.0f} ms</b> classification</span>"
        ),
        "top": "No face" if reading is None else _top(track),
    }
    if reading is not None:
        answer["bars"] = probability_bars(track.probabilities, track.classes)
    elif now - track.seen > LOST:
        answer["bars"] = messages.empty("No face in view.")
    if track.timeline and track.timeline[-1][0] == now:
        seconds, rows = zip(*track.timeline, strict=True)
        answer["timeline"] = timeline_svg(seconds, np.stack(rows), track.classes)
    return answer


def _outline(reading: Reading, size: tuple[int, int], track: Track | None) -> str:
    """A face's box over the mirrored video; the one that is followed says its smoothed class."""
    x, y, width, height = _box(reading)
    opinion = reading.opinions[0]
    top, confidence = (opinion.top, opinion.confidence) if track is None else (_top(track), track.probabilities.max())
    across, down = 100 / size[0], 100 / size[1]
    place = f"right:{x * across:.2f}%;top:{y * down:.2f}%;width:{width * across:.2f}%;height:{height * down:.2f}%"
    kind = "fb-box" if track is None else "fb-box fb-followed"
    return (
        f'<div class="{kind}" style="{place};--fb-y:{y * down:.2f}cqh;--fb-colour:var(--fb-{escape(top)})">'
        f"<span>{escape(top)} {confidence:.0%}</span></div>"
    )


def _top(track: Track) -> str:
    return track.classes[int(track.probabilities.argmax())]


_PAGE = """
<div class="fb-live" data-model="{model}">
  <div class="fb-stage">
    <video playsinline muted aria-hidden="true"></video>
    <canvas role="img" aria-label="The last classified frame of your camera, with a box around each face"></canvas>
    <div class="fb-boxes" aria-hidden="true"></div>
    <p class="fb-empty">Press <b>Start the camera</b>. Frames go to this app's server, are classified there and
    forgotten.</p>
  </div>
  <div class="fb-readout">
    <p><button type="button" id="fb-live-start" class="fb-button">Start the camera</button></p>
    <p class="fb-warning" id="fb-live-problem" role="alert" hidden></p>
    <p class="fb-visually-hidden" id="fb-live-top" role="status"></p>
    <p class="fb-stats" id="fb-live-stats"></p>
    <div id="fb-live-bars"></div>
    <div id="fb-live-timeline"></div>
  </div>
</div>
"""

# Camera on and off, and a loop in which one frame is on its way at a time.
_ON_LOAD = """
const at = (name) => element.querySelector(name);
const root = at('.fb-live'), start = at('#fb-live-start'), problem = at('#fb-live-problem'), top = at('#fb-live-top');
const stage = at('.fb-stage'), video = at('video'), shown = at('canvas'), boxes = at('.fb-boxes');
const frame = document.createElement('canvas');
const places = {boxes, stats: at('#fb-live-stats'), bars: at('#fb-live-bars'), timeline: at('#fb-live-timeline')};
const reasons = {
  NotAllowedError: 'The browser does not let this page use the camera. Allow it beside the address, then start again.',
  NotFoundError: 'No camera was found. Plug one in, then start again; or use a photo in the first tab.',
  NotReadableError: 'The camera is busy. Close what else uses it, then start again.',
};
const rest = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const say = (text) => { problem.hidden = !text; if (problem.textContent !== text) problem.textContent = text; };
let stream = null;

function stop() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = video.srcObject = null;
  for (const place of Object.values(places)) place.innerHTML = '';
  top.textContent = '';
  shown.width = 0;
  root.classList.remove('fb-running');
  start.textContent = 'Start the camera';
}

async function run(mine, session) {
  while (stream === mine) {
    const began = performance.now();
    if (!video.offsetParent) return stop();  // another tab of this page is open
    if (video.videoWidth) {
      frame.width = video.videoWidth;
      frame.height = video.videoHeight;
      frame.getContext('2d').drawImage(video, 0, 0);
      const image = frame.toDataURL('image/jpeg', 0.85);
      const answer = await server.frame({image, session, model: root.dataset.model});
      if (stream !== mine) return;
      say(answer ? answer.error || '' : 'The server does not answer; trying again.');
      if (!answer || answer.error) { await rest(1000); continue; }
      shown.width = frame.width;  // the very frame that was classified, so that its boxes fit
      shown.height = frame.height;
      shown.getContext('2d').drawImage(frame, 0, 0);
      stage.style.aspectRatio = `${frame.width} / ${frame.height}`;
      for (const [name, place] of Object.entries(places)) if (name in answer) place.innerHTML = answer[name];
      if (top.textContent !== answer.top) top.textContent = answer.top;
    }
    await rest(Math.max(10, 60 - (performance.now() - began)));
  }
}

document.addEventListener('visibilitychange', () => { if (document.hidden && stream) stop(); });
start.addEventListener('click', async () => {
  if (stream) { stop(); return; }
  say('');
  start.disabled = true;
  try {
    if (!navigator.mediaDevices) throw new Error('Browsers give the camera to https and localhost pages only.');
    const wanted = {width: {ideal: 640}, height: {ideal: 480}, facingMode: 'user'};
    const mine = await navigator.mediaDevices.getUserMedia({video: wanted, audio: false});
    stream = video.srcObject = mine;
    mine.getVideoTracks()[0].addEventListener('ended', () => { stop(); say('The camera is gone.'); });
    await video.play();
    root.classList.add('fb-running');
    start.textContent = 'Stop the camera';
    run(mine, Math.random().toString(36).slice(2));
  } catch (error) {
    stop();
    say(reasons[error.name] || error.message);
  }
  start.disabled = false;
});
"""


def build(context: Context) -> gr.Dropdown:
    """The tab; the picker of the model."""
    default = None if context.default is None else context.default.name
    model = gr.Dropdown(
        [(choice.label, choice.name) for choice in context.choices],
        value=default,
        label=f"Model: {context.measures}",
        elem_id="fb-live-model",
    )
    camera = Camera(context)

    def frame(sent: dict[str, Any]) -> dict[str, str]:
        return camera.frame(sent)

    gr.HTML(
        _PAGE.format(model=escape(default or "")),
        js_on_load=_ON_LOAD,
        server_functions=[frame],
        elem_id="fb-live-camera",
    )
    model.change(None, model, js="(name) => { document.querySelector('.fb-live').dataset.model = name || ''; }")
    return model
