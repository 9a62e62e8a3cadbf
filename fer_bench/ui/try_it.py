"""Try it: a photo in, its faces and what each model makes of them out. The API's `predict` answers the same."""

from __future__ import annotations

import base64
import importlib.util
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import gradio as gr
import numpy as np

from fer_bench import explain
from fer_bench.data import synthetic
from fer_bench.data.dataset import UInt8Array
from fer_bench.errors import FerBenchError
from fer_bench.faces import Detector, Face, YuNet
from fer_bench.labels import FER2013
from fer_bench.leaderboard.text import milliseconds
from fer_bench.pictures import read_picture
from fer_bench.plots import CLASS_COLOURS, compare_bars, probability_bars
from fer_bench.recognition import Opinion, Reading, Recognition, annotate, recognise
from fer_bench.transforms import prepare
from fer_bench.ui import messages, uploads

if TYPE_CHECKING:
    from fer_bench.predict import Predictor
    from fer_bench.ui.context import Context

# Pixels of the longer side of the picture with the boxes; larger ones are slow to send.
LARGEST, SMALLEST = 1024, 768
# Pixels a side of a crop on the page.
CROP = 192
DRAWN = 256
# Pixels a side under which a face is no longer one: half of what most models take.
TINY = 24
# Maps of a layer that are shown, those with the most contrast.
MAPS = 32
WAITING = "Drop, paste or take a photo, or click an example: every model you pick says what it sees in each face."
DRAWINGS = "A portrait and drawings. No model was trained on drawings: they are often misread."
MISSED = " YuNet, which finds more faces, is not available here: `FER_BENCH_YUNET` names its file, see the README."
WHOLE, FIND = "Use the whole picture", "Find faces in it"
NO_MODELS = "No trained network is here yet. What is below trains one; then start the app again."

CSS = """
.fb-examples { display: grid; grid-template-columns: repeat(8, 1fr); gap: 4px; }
.fb-examples button { padding: 0; margin: 0 !important; overflow: hidden; border-radius: 6px;
  border: 1px solid var(--border-color-primary); }
.fb-examples button:hover { border-color: var(--fb-accent); }
.fb-examples img { display: block; width: 100%; margin: 0; }
.fb-faces { margin: 0; text-align: center; }
.fb-faces img { display: block; margin: 0 auto; width: auto; max-width: 100%; max-height: 18rem; border-radius: 8px;
  cursor: pointer; }
.fb-faces figcaption { display: flex; gap: 1.5rem; justify-content: center; margin-top: 0.4rem; }
.fb-faces figcaption > * { padding: 0 !important; background: none !important; font: inherit !important;
  font-size: 0.8rem !important; color: var(--fb-accent); text-decoration: underline; text-underline-offset: 2px; }
#fb-try:has(.fb-faces) #fb-try-photo:has(.image-frame img) { height: 9rem !important; }
#fb-try-photo.fb-unshown .image-frame { display: grid; place-items: center; padding: 2rem 1rem 0; }
#fb-try-photo.fb-unshown .image-frame::before { content: "Your browser does not show such a file.";
  color: var(--body-text-color-subdued); }
#fb-try-photo.fb-unshown .image-frame img { display: none; }
#fb-try-photo[data-said]::after { content: attr(data-said); position: absolute; inset: 2.25rem 0.75rem auto;
  text-align: center; color: var(--fb-warning); background: var(--body-background-fill); }
#fb-try-whole { width: fit-content; }
#fb-try-models .remove-all { display: none; }
.fb-answer { display: grid; gap: 1rem 2.5rem; align-items: end; }
.fb-answer > * { min-width: 0; }
.fb-looks { --fb-side: 88px; display: flex; flex-wrap: wrap; gap: 1rem 1.25rem; align-items: flex-end; }
.fb-alone .fb-looks { --fb-side: 104px; }
.fb-model { width: calc(2 * var(--fb-side) + 6px); overflow-wrap: anywhere; }
.fb-model h2 { margin: 0; font-size: 0.95rem; font-weight: 600; }
.fb-model p { margin: 0 0 0.4rem; }
.fb-model .fb-quiet, .fb-model .fb-warning { font-size: 0.8rem; }
.fb-pair { display: flex; gap: 6px; }
.fb-pair .fb-figure { flex: 0 0 var(--fb-side); }
.fb-figure { margin: 0; }
.fb-figure img, .fb-pending { width: 100%; border-radius: 4px; margin: 0; }
.fb-looks img, .fb-pending { width: var(--fb-side); height: var(--fb-side); object-fit: contain; }
.fb-pending { display: grid; place-items: center; padding: 0.25rem; text-align: center; font-size: 0.75rem;
  color: var(--body-text-color-subdued); background: var(--background-fill-secondary); }
.fb-figure figcaption { font-size: 0.8rem; color: var(--body-text-color-subdued); }
#fb-try-answer .fb-download { padding: 0; }
#fb-try-layers-run { white-space: nowrap; }
.fb-pixelated { image-rendering: pixelated; }
@media (min-width: 900px) { .fb-answer.fb-alone { grid-template-columns: auto minmax(0, 1fr); } }
.fb-layers { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); }
.fb-untrained dd { margin: 0 0 0.5rem; color: var(--body-text-color-subdued); overflow-wrap: anywhere; }
"""


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


def add_heats(context: Context, look: Look) -> None:
    """Run Grad-CAM on the shown face for every model for which it has not run."""
    reading = look.reading
    if reading is None:
        return
    for opinion in reading.opinions:
        key = (reading.number, opinion.model)
        if key not in look.heats:
            try:
                look.heats[key] = _heat(context.predictor(opinion.model), reading.crop, opinion)
            except FerBenchError as error:
                look.heats[key] = messages.warning(messages.public(error, context.workspace))


# HTML


def remark(look: Look, detector: Detector) -> str:
    """What was found and how, and for those who hear the page what the models say."""
    found = look.recognition
    count = len(found.readings)
    weaker = "" if detector.name == YuNet.name else MISSED
    if not count:
        return messages.warning(
            f"{found.detector} found no face here.{weaker} Is the picture one face? Then take it whole."
        )
    if not found.detector:
        width, height = found.size
        text = "The whole picture is taken as one face."
        if width != height:
            text += f" It is stretched from {width}x{height} to a square, which is what the models take."
    else:
        faces = "1 face" if count == 1 else f"{count} faces"
        if found.left_out:
            faces = f"The {count} largest of {count + found.left_out} faces"
        text = f"{faces}, found by {found.detector} in {found.detection_ms:.0f} ms."
        if count > 1:
            text += " Choose one below, or click it in the picture."
        text += weaker
    if look.reading is not None and (pixels := min(look.reading.crop.shape[:2])) < TINY:
        text += f" Face {look.selected} has {pixels} pixels a side, too few to trust what is said of it."
    said = [f"{o.model} says {o.top}, {o.confidence:.0%}." for o in (look.reading.opinions if look.reading else ())]
    heard = f'<p class="fb-visually-hidden">Face {look.selected}: {escape(" ".join(said))}</p>' if said else ""
    return messages.note(text) + heard


def faces_picture(look: Look) -> str:
    """The photo with its boxes."""
    return (
        f'<figure class="fb-faces"><img src="{_data_url(shown(look), "jpg")}" '
        'alt="The photo with a box around each face"><figcaption><button type="button">Full screen</button>'
        '<a class="fb-download" download="faces.jpg" href="#">Download</a></figcaption></figure>'
    )


def answers(context: Context, look: Look) -> str:
    """The shown face: its crop, what each model was fed and looked at, and all probabilities."""
    reading = look.reading
    if reading is None:
        return "".join(map(messages.warning, look.problems.values()))
    if not look.models:
        return messages.note("Pick a model to see what it makes of this face.")
    height, width = reading.crop.shape[:2]
    kind = "picture" if reading.face is None else "crop"
    crop = _figure(_small(reading.crop), f"Face {reading.number}", f"{kind}, {width}x{height}")
    said = {opinion.model: _model(context, look, reading, opinion) for opinion in reading.opinions}
    failed = {model: messages.warning(problem) for model, problem in look.problems.items()}
    models = "".join(
        f'<section class="fb-model"><h2>{escape(model).replace(".", ".<wbr>")}</h2>{(said | failed)[model]}</section>'
        for model in look.models
    )
    saved = json.dumps(look.recognition.to_dict(), indent=2)
    link = messages.download("fer_bench.json", saved, "application/json", "Download JSON")
    table = f"<div>{bars(reading.opinions)}</div><p>{link}</p>" if reading.opinions else ""
    alone = " fb-alone" if len(look.models) == 1 else ""
    return f'<div class="fb-answer{alone}"><div class="fb-looks">{crop}{models}</div>{table}</div>'


def bars(opinions: Sequence[Opinion]) -> str:
    """All probabilities; of several models side by side, with what they agree on."""
    if len(opinions) == 1:
        return probability_bars(opinions[0].probabilities, opinions[0].classes)
    return compare_bars({opinion.model: (opinion.classes, opinion.probabilities) for opinion in opinions})


def _model(context: Context, look: Look, reading: Reading, opinion: Opinion) -> str:
    predictor = context.predictor(opinion.model)
    fed = prepare(reading.crop[None], predictor.size, predictor.channels)[0]
    size = f"{predictor.size}x{predictor.size} {'gray' if predictor.channels == 1 else 'RGB'}"
    took = escape(milliseconds(opinion.milliseconds))
    missed = " and ".join(f"{count} {label}" for label, count in context.never_found(opinion.model))
    return (
        f"<p><strong>{escape(opinion.top)} {opinion.confidence:.0%}</strong> in {took}</p>"
        + (f'<p class="fb-quiet">In its test it found none of the {missed} faces.</p>' if missed else "")
        + f'<div class="fb-pair">{_figure(fed, f"What {opinion.model} is fed", size, True)}'
        + f"{look.heats.get((reading.number, opinion.model), _blank(''))}</div>"
    )


def _heat(predictor: Predictor, crop: UInt8Array, opinion: Opinion) -> str:
    """Grad-CAM of the top class over the crop, as a figure."""
    import cv2

    fed = prepare(crop[None], predictor.size, predictor.channels)[0]
    try:
        heat = explain.grad_cam(predictor, fed, opinion.classes.index(opinion.top))
    except FerBenchError:
        return _blank("none: it has no convolution")
    if not heat.any():
        return _blank(f"none: no place in the crop speaks for {opinion.top}")
    heat = cast(Any, cv2.resize(heat, (CROP, CROP), interpolation=cv2.INTER_LINEAR))
    square = cast(UInt8Array, cv2.resize(crop, (CROP, CROP), interpolation=cv2.INTER_AREA))
    return _figure(explain.overlay(square, heat), f"Where {opinion.model} sees {opinion.top}", "Grad-CAM")


def _blank(text: str) -> str:
    """In Grad-CAM's place."""
    return f'<figure class="fb-figure"><div class="fb-pending">{text}</div><figcaption>Grad-CAM</figcaption></figure>'


def layer_maps(context: Context, look: Look, model: str) -> str:
    """What each convolution of a model makes of the shown face.

    Raises:
        FerBenchError: the model has none.
    """
    reading = look.reading
    if reading is None:
        return ""
    layers = explain.activation_maps(context.predictor(model), reading.crop)
    figures = (_figure(explain.tile(layer.maps, limit=MAPS), _title(layer), _title(layer)) for layer in layers)
    return f'<div class="fb-layers">{"".join(figures)}</div>'


def _title(layer: explain.LayerMaps) -> str:
    count = len(layer.maps)
    return layer.title.replace(f"{count} maps", f"{MAPS} of {count} maps") if count > MAPS else layer.title


def _figure(picture: UInt8Array, alt: str, caption: str, pixelated: bool = False) -> str:
    style = ' class="fb-pixelated"' if pixelated else ""
    return (
        f'<figure class="fb-figure"><img src="{_data_url(picture)}" alt="{escape(alt)}"{style}>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _small(crop: UInt8Array) -> UInt8Array:
    """No larger than it is shown."""
    import cv2

    factor = CROP / max(crop.shape[:2])
    if factor >= 1:
        return crop
    height, width = (max(1, round(side * factor)) for side in crop.shape[:2])
    return cast(UInt8Array, cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA))


def _data_url(picture: UInt8Array, kind: Literal["png", "jpg"] = "png") -> str:
    """A picture inside the page, so that nothing of it stays on the server."""
    import cv2

    stored = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    data = base64.b64encode(cv2.imencode(f".{kind}", stored)[1].tobytes()).decode()
    return f"data:image/{kind.replace('jpg', 'jpeg')};base64,{data}"


# examples


@cache
def examples() -> tuple[tuple[str, UInt8Array], ...]:
    """Name and picture: scikit-image's portrait (public domain, NASA), then drawings, one for each class."""
    rng = np.random.default_rng(7)
    person = synthetic.draw_person(rng)
    drawings = ((f"Drawn: {name}", synthetic.draw_face(name, rng, DRAWN, person)) for name in FER2013.classes)
    return (("Portrait", _portrait()), *((name, np.repeat(face[:, :, None], 3, axis=2)) for name, face in drawings))


def _portrait() -> UInt8Array:
    """`skimage.data.astronaut()`, without importing scikit-image, which takes seconds."""
    spec = importlib.util.find_spec("skimage")
    assert spec is not None and spec.submodule_search_locations
    return read_picture(Path(spec.submodule_search_locations[0]) / "data" / "astronaut.png")


def _example_buttons() -> str:
    import cv2

    buttons = (
        f'<button type="button" data-index="{index}" title="{escape(name)}">'
        f'<img src="{_data_url(cast(UInt8Array, cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA)))}"'
        f' alt="{escape(name)}"></button>'
        for index, (name, picture) in enumerate(examples())
    )
    return (
        f'<div class="fb-examples" role="group" aria-label="Examples">{"".join(buttons)}</div>'
        f'<p class="fb-quiet">{DRAWINGS}</p>'
    )


# The choice is the component's value: of several quick clicks, Gradio repeats the first one's event with that.
_ON_EXAMPLE = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  props.value = button.dataset.index;
  trigger('select');
});
"""

_ANNOUNCED = "element.setAttribute('aria-live', 'polite');"

# A click on a face, and what the browser does itself.
_ON_FACES = """
element.addEventListener('click', (event) => {
  const picture = element.querySelector('img');
  if (event.target.matches('button')) picture.requestFullscreen();
  if (event.target.matches('a')) event.target.href = picture.src;
  if (event.target !== picture) return;
  if (document.fullscreenElement) { document.exitFullscreen(); return; }
  const {left, top, width, height} = picture.getBoundingClientRect();
  const x = (event.clientX - left) / width * picture.naturalWidth;
  const y = (event.clientY - top) / height * picture.naturalHeight;
  trigger('select', {index: [x, y], value: null});
});
"""

# Gradio pastes by its button only, and says nothing of a picture that a browser can't show, such as HEIC, nor of a
# camera or a clipboard that it may not use.
_ON_PHOTO = """
const photo = () => document.getElementById('fb-try-photo');
const say = (text) => { photo().dataset.said = text; };
const NO_CAMERA = "The camera can't be used. Is there one, and may this page use it? Then try again.";
const NO_PICTURE = 'No picture could be pasted. Copy one and press Ctrl+V, which needs no permission.';
const media = navigator.mediaDevices, clipboard = navigator.clipboard;
const [open, read] = [media?.getUserMedia?.bind(media), clipboard?.read?.bind(clipboard)];
// Gradio catches neither.
if (open) media.getUserMedia = (...given) => open(...given).catch((error) => {
  if (!photo().offsetParent) throw error;  // it is the live tab that asks
  say(NO_CAMERA);
  return new Promise(() => {});
});
if (read) clipboard.read = async () => {
  const items = await read().catch(() => []);
  if (!items.some((item) => item.types.some((type) => type.startsWith('image/')))) say(NO_PICTURE);
  return items;
};
document.addEventListener('click', (event) => {
  if (!event.target.closest('#fb-try-photo, #fb-try-examples')) return;
  delete photo().dataset.said;
  // Without HTTPS there is neither.
  if (event.target.closest('[aria-label="Capture from camera"]') && !open) say(NO_CAMERA);
  if (event.target.closest('[aria-label="Paste from clipboard"]') && !read) say(NO_PICTURE);
}, true);
const rest = () => new Promise((done) => setTimeout(done, 50));
document.addEventListener('paste', async (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((file) => file.type.startsWith('image/'));
  if (!file || !element.offsetParent || event.target.closest?.('input, textarea, [contenteditable]')) return;
  event.preventDefault();
  photo().querySelector('[aria-label="Upload file"]')?.click();  // it may be showing the camera
  for (let tries = 0; tries < 20 && !photo().querySelector('input[type=file]'); tries++) await rest();
  const input = photo().querySelector('input[type=file]');
  const chosen = new DataTransfer();
  chosen.items.add(file);
  input.files = chosen.files;
  input.dispatchEvent(new Event('change', {bubbles: true}));
});
for (const outcome of ['load', 'error'])
  document.addEventListener(outcome, (event) => {
    if (event.target.matches?.('#fb-try-photo img')) photo().classList.toggle('fb-unshown', outcome === 'error');
  }, true);
"""


def _untrained(context: Context) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{_code(how)}</dd>" for name, how in context.untrained())
    return f'<dl class="fb-untrained">{rows}</dl>'


def _code(text: str) -> str:
    """Escaped, with what is between backticks as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


# the tab


def linked(context: Context, model: str) -> Any:
    """An update of the picker for `?model=`; what is empty or not shipped changes nothing."""
    try:
        return gr.update(value=[context.name(model)]) if model else gr.skip()
    except FerBenchError:
        return gr.skip()


def build(context: Context) -> gr.Dropdown:
    """The tab and the API's `predict`; returns the picker of models."""
    default = [] if context.default is None else [context.default.name]
    names = [choice.name for choice in context.choices]
    waiting = messages.empty(WAITING if names else NO_MODELS)
    state = gr.State(None, time_to_live=uploads.KEPT)
    with gr.Row(elem_id="fb-try"):
        with gr.Column(scale=2, min_width=300):
            photo = gr.Image(
                label="Photo",
                sources=["upload", "webcam", "clipboard"],
                height=300,
                alt_text="Your photo",
                elem_id="fb-try-photo",
            )
            sample = gr.HTML(
                html_template=_example_buttons(), js_on_load=_ON_EXAMPLE + _ON_PHOTO, elem_id="fb-try-examples"
            )
            picker = gr.Dropdown(
                [(choice.label, choice.name) for choice in context.choices],
                value=default,
                multiselect=True,
                label=f"Models: {context.measures}",
                elem_id="fb-try-models",
            )
        with gr.Column(scale=3, min_width=300):
            boxes = gr.HTML(waiting, js_on_load=_ON_FACES, elem_id="fb-try-faces")
            status = gr.HTML(js_on_load=_ANNOUNCED, elem_id="fb-try-status")
            number = gr.Radio([], label="Face", visible=False, elem_id="fb-try-face")
            whole = gr.Button(visible=False, size="sm", elem_id="fb-try-whole")
    answer = gr.HTML(elem_id="fb-try-answer")
    with gr.Accordion("What the layers make of this face", open=False, elem_id="fb-try-layers"):
        with gr.Row(equal_height=True):
            layer_model = gr.Dropdown(default, label="Model", elem_id="fb-try-layers-model")
            layer_button = gr.Button("Show the maps", scale=0, min_width=160, elem_id="fb-try-layers-run")
        layers = gr.HTML(elem_id="fb-try-layers-maps")
    with gr.Accordion("Models without weights, and how to train them", open=False, elem_id="fb-try-untrained"):
        gr.HTML(_untrained(context))

    outputs = [state, boxes, status, number, whole, answer, layers]
    nothing = (gr.skip(),) * len(outputs)

    def view(look: Look | None, problem: str = "") -> tuple[Any, ...]:
        """Values for `outputs`."""
        if look is None:
            return None, waiting, problem, gr.update(visible=False), gr.update(visible=False), "", ""
        found = look.recognition
        numbers = [reading.number for reading in found.readings]
        return (
            look,
            faces_picture(look),
            remark(look, context.detector),
            gr.update(choices=numbers, value=look.selected, visible=len(numbers) > 1),
            gr.update(value=WHOLE if found.detector else FIND, visible=True),
            answers(context, look),
            "",
        )

    def guarded(make: Callable[[], Look], before: Look | None = None) -> tuple[Any, ...]:
        try:
            return view(make())
        except FerBenchError as error:
            problem = messages.warning(messages.public(error, context.workspace))
        if before is None:
            return view(None, problem)
        return tuple(problem if output is status else gr.skip() for output in outputs)

    # The photo comes as Gradio received it: `read_picture` is the only decoder.
    def on_photo(photo: dict[str, Any] | None, models: list[str]) -> tuple[Any, ...]:
        if photo is None:  # an example made room for itself; the visitor's own is `on_clear`
            return nothing
        return guarded(lambda: look_at(context, uploads.read(photo), named(models)))

    def on_clear() -> tuple[Any, ...]:
        return view(None)

    def on_example(chosen: str, models: list[str]) -> tuple[Any, ...]:
        index = int(chosen)
        return None, *guarded(lambda: look_at(context, examples()[index][1], models, whole=index > 0))

    def on_models(look: Look | None, models: list[str]) -> tuple[Any, ...]:
        return nothing if look is None else guarded(lambda: ask_others(context, look, models), look)

    def on_whole(look: Look | None, models: list[str]) -> tuple[Any, ...]:
        if look is None:
            return view(None, messages.warning(uploads.GONE))
        taken_whole = not look.recognition.detector
        return guarded(lambda: look_at(context, look.picture, models, whole=not taken_whole), look)

    def on_number(look: Look | None, number: int) -> tuple[Any, ...]:
        return view(None, messages.warning(uploads.GONE)) if look is None else view(select(look, number))

    def on_click(look: Look | None, event: gr.SelectData) -> tuple[Any, ...]:
        hit = None if look is None else face_at(look, *event.index)
        return nothing if look is None or hit is None else view(select(look, hit))

    def on_explain(look: Look | None) -> Any:
        if look is None:
            return gr.skip()
        add_heats(context, look)
        return answers(context, look)

    private: dict[str, Any] = {"api_visibility": "private", "trigger_mode": "always_last"}
    hidden = private | {"show_progress": "hidden"}
    busy = private | {"show_progress": "minimal", "show_progress_on": answer}
    started = (
        photo.change(on_photo, [photo, picker], outputs, preprocess=False, **busy),
        sample.select(on_example, [sample, picker], [photo, *outputs], **busy),
        picker.change(on_models, [state, picker], outputs, **busy),
        whole.click(on_whole, [state, picker], outputs, **busy),
        number.input(on_number, [state, number], outputs, **busy),
        boxes.select(on_click, state, outputs, **(busy | {"trigger_mode": "multiple"})),
    )
    for event in started:
        event.then(on_explain, state, answer, **hidden)
    photo.clear(on_clear, None, outputs, **hidden)

    def on_layers(look: Look | None, model: str | None) -> str:
        if look is None or look.reading is None:
            return messages.note("Add a photo with a face first.")
        if not model:
            return messages.note("Pick a model first.")
        try:
            return layer_maps(context, look, model)
        except FerBenchError as error:
            return messages.warning(messages.public(error, context.workspace))

    def on_picked(models: list[str]) -> Any:
        return gr.update(choices=models, value=next(iter(models), None))

    layer_button.click(on_layers, [state, layer_model], layers, **private)
    picker.change(on_picked, picker, layer_model, queue=False, **hidden)

    def predict(image: dict[str, Any] | None, models: list[str] | str | None, whole: bool = False) -> dict[str, Any]:
        """Find the faces of a picture and classify each by the models; without models, by the page's default one.

        With `whole` the picture itself is one face.
        """
        try:
            look = look_at(context, uploads.read(image), named(models) or default, whole is True)
        except FerBenchError as error:
            raise gr.Error(messages.public(error, context.workspace), print_exception=False) from error
        for problem in look.problems.values():
            raise gr.Error(problem, print_exception=False)
        return look.recognition.to_dict()

    gr.Button(visible=False).click(
        predict,
        [
            gr.Image(label="image", visible=False),
            gr.Dropdown(names, value=default, multiselect=True, label="models", visible=False),
            gr.Checkbox(False, label="whole", visible=False),
        ],
        gr.JSON(label="result", visible=False),
        api_name="predict",
        preprocess=False,
    )
    return picker
