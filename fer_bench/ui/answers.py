"""What the page says of a photo, in HTML: its faces, what each model was fed, where it looked, what it answered."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Literal, cast

from fer_bench import explain
from fer_bench.data.dataset import UInt8Array
from fer_bench.errors import FerBenchError
from fer_bench.faces import Detector, YuNet
from fer_bench.leaderboard.text import milliseconds
from fer_bench.plots import compare_bars, probability_bars
from fer_bench.recognition import Opinion, Reading
from fer_bench.transforms import prepare
from fer_bench.ui import messages
from fer_bench.ui.look import Look, shown

if TYPE_CHECKING:
    from fer_bench.predict import Predictor
    from fer_bench.ui.context import Context

# Pixels a side of a crop on the page.
CROP = 192
# Pixels a side under which a face is no longer one: half of what most models take.
TINY = 24
# Maps of a layer that are shown, those with the most contrast.
MAPS = 32

CSS = """
.fb-faces { margin: 0; text-align: center; }
.fb-faces img { display: block; margin: 0 auto; width: auto; max-width: 100%; max-height: 18rem; border-radius: 8px;
  cursor: pointer; }
.fb-faces figcaption { display: flex; gap: 1.5rem; justify-content: center; margin-top: 0.4rem; }
.fb-faces figcaption > * { padding: 0 !important; background: none !important; font: inherit !important;
  font-size: 0.8rem !important; color: var(--fb-accent); text-decoration: underline; text-underline-offset: 2px; }
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
.fb-pixelated { image-rendering: pixelated; }
@media (min-width: 900px) { .fb-answer.fb-alone { grid-template-columns: auto minmax(0, 1fr); } }
.fb-layers { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); }
"""


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


def remark(look: Look, detector: Detector) -> str:
    """What was found and how, and for those who hear the page what the models say."""
    found = look.recognition
    count = len(found.readings)
    weaker = "" if detector.name == YuNet.name else f" That is {detector.note}."
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
        f'<figure class="fb-faces"><img src="{data_url(shown(look), "jpg")}" '
        'alt="The photo with a box around each face"><figcaption><button type="button">Full screen</button>'
        '<a class="fb-download" download="faces.jpg" href="#">Download</a></figcaption></figure>'
    )


def html(context: Context, look: Look) -> str:
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
        f'<figure class="fb-figure"><img src="{data_url(picture)}" alt="{escape(alt)}"{style}>'
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


def data_url(picture: UInt8Array, kind: Literal["png", "jpg"] = "png") -> str:
    """A picture inside the page, so that nothing of it stays on the server."""
    import cv2

    stored = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    data = base64.b64encode(cv2.imencode(f".{kind}", stored)[1].tobytes()).decode()
    return f"data:image/{kind.replace('jpg', 'jpeg')};base64,{data}"
