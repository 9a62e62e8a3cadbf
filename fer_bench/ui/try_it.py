"""Try it: a photo in, its faces and what each model makes of them out. The API's `predict` answers the same."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import gradio as gr
import numpy as np

from fer_bench.data import synthetic
from fer_bench.data.dataset import UInt8Array
from fer_bench.errors import FerBenchError
from fer_bench.labels import FER2013
from fer_bench.pictures import read_picture
from fer_bench.ui import answers, messages, uploads
from fer_bench.ui.look import Look, ask_others, face_at, look_at, named, select

if TYPE_CHECKING:
    from fer_bench.ui.context import Context

DRAWN = 256
WAITING = "Drop, paste or take a photo, or click an example: every model you pick says what it sees in each face."
DRAWINGS = "A portrait and drawings. No model was trained on drawings: they are often misread."
WHOLE, FIND = "Use the whole picture", "Find faces in it"
NO_MODELS = "No trained network is here yet. What is below trains one; then start the app again."

CSS = """
.fb-examples { display: grid; grid-template-columns: repeat(8, 1fr); gap: 4px; }
.fb-examples button { padding: 0; margin: 0 !important; overflow: hidden; border-radius: 6px;
  border: 1px solid var(--border-color-primary); }
.fb-examples button:hover { border-color: var(--fb-accent); }
.fb-examples img { display: block; width: 100%; margin: 0; }
#fb-try:has(.fb-faces) #fb-try-photo:has(.image-frame img) { height: 9rem !important; }
#fb-try-photo.fb-unshown .image-frame { display: grid; place-items: center; padding: 2rem 1rem 0; }
#fb-try-photo.fb-unshown .image-frame::before { content: "Your browser does not show such a file.";
  color: var(--body-text-color-subdued); }
#fb-try-photo.fb-unshown .image-frame img { display: none; }
#fb-try-photo[data-said]::after { content: attr(data-said); position: absolute; inset: 2.25rem 0.75rem auto;
  text-align: center; color: var(--fb-warning); background: var(--body-background-fill); }
#fb-try-whole { width: fit-content; }
#fb-try-models .remove-all { display: none; }
#fb-try-layers-run { white-space: nowrap; }
.fb-untrained dd { margin: 0 0 0.5rem; color: var(--body-text-color-subdued); overflow-wrap: anywhere; }
"""


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
        f'<img src="{answers.data_url(cast(UInt8Array, cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA)))}"'
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
            answers.faces_picture(look),
            answers.remark(look, context.detector),
            gr.update(choices=numbers, value=look.selected, visible=len(numbers) > 1),
            gr.update(value=WHOLE if found.detector else FIND, visible=True),
            answers.html(context, look),
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
        answers.add_heats(context, look)
        return answers.html(context, look)

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
            return answers.layer_maps(context, look, model)
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
