"""Try it: what is found, shown, selected and answered, without a browser; and the API as its clients use it."""

from __future__ import annotations

import base64
import copy
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from fer_bench import explain, faces, leaderboard, registry, weights
from fer_bench.data import synthetic
from fer_bench.data.dataset import UInt8Array
from fer_bench.faces import Face
from fer_bench.labels import CKPLUS, DISPLAY_ORDER, FER2013
from fer_bench.pictures import read_picture
from fer_bench.predict import Predictor
from fer_bench.recognition import Opinion, recognise
from fer_bench.records import Workspace
from fer_bench.transforms import Normaliser
from fer_bench.ui import answers, messages, try_it
from fer_bench.ui.context import Context
from fer_bench.ui.look import LARGEST, SMALLEST, Look, ask_others, face_at, look_at, select, shown

MODELS = ["attentional_cnn.paper", "lin_shi.paper"]
# In widths of a picture; the second lies on the first.
BOXES = ((0.1, 0.07, 0.4, 0.45), (0.2, 0.13, 0.17, 0.2), (0.8, 0.3, 0.13, 0.17))


class Marks:
    """A detector of drawn faces: three in every picture that is not blank."""

    name, note = "Marks", "less able than YuNet"
    calls = 0

    def detect(self, picture: UInt8Array) -> list[Face]:
        self.calls += 1
        x, y, width, height = picture.shape[1] * np.array(BOXES).T
        return [Face(box, 0.9) for box in zip(x, y, width, height, strict=True)] if picture.std() > 1 else []


def publish(workspace: Workspace, *names: str) -> None:
    """Untrained networks in the workspace's weights."""
    import torch

    for seed, name in enumerate(names):
        torch.manual_seed(seed)
        model, _, recipe = name.rpartition(".")
        spec = registry.get_spec(model)
        one = np.ones((1, 1, 1), dtype=np.float32)
        predictor = Predictor(
            network=registry.build(spec, len(FER2013)).eval(),
            classes=FER2013.classes,
            size=spec.size,
            channels=spec.channels,
            normaliser=Normaliser(0 * one, one),
            metadata={"model": model, "model_revision": spec.revision, "model_options": {}, "recipe": recipe},
        )
        weights.save(predictor, workspace.weights / f"{name}.safetensors")


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    workspace = Workspace(tmp_path_factory.mktemp("workspace"))
    publish(workspace, *MODELS)
    context = Context(workspace)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faces, "find_detector", Marks)
        yield context


@pytest.fixture
def photo() -> UInt8Array:
    """300 by 200 pixels."""
    drawn = synthetic.draw_face("happy", np.random.default_rng(0), 200)
    return np.repeat(np.pad(drawn, ((0, 0), (50, 50)))[:, :, None], 3, axis=2)


def png(picture: UInt8Array, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, options.pop("format", "PNG"), **options)
    return buffer.getvalue()


def test_other_models_answer_for_the_same_faces(context: Context, photo: UInt8Array) -> None:
    look = replace(look_at(context, photo, MODELS[:1]), selected=2)
    assert isinstance(context.detector, Marks)
    calls = context.detector.calls
    other = ask_others(context, look, MODELS)
    assert context.detector.calls == calls
    assert other.selected == 2
    fresh = look_at(context, photo, MODELS)
    for answer, expected in zip(other.recognition.readings, fresh.recognition.readings, strict=True):
        assert answer.face == expected.face
        assert [opinion.model for opinion in answer.opinions] == MODELS
        for one, two in zip(answer.opinions, expected.opinions, strict=True):
            np.testing.assert_array_equal(one.probabilities, two.probabilities)
    assert other.recognition.detection_ms == look.recognition.detection_ms


def test_other_models_answer_for_the_same_whole_picture(context: Context, photo: UInt8Array) -> None:
    look = ask_others(context, look_at(context, photo, [], whole=True), MODELS)
    [reading] = look.recognition.readings
    assert reading.face is None
    assert len(reading.opinions) == 2
    assert look.recognition.detector == ""


@pytest.mark.parametrize("width", [48, 300, 2400])
def test_faces_are_selected_by_number_and_by_a_click(context: Context, photo: UInt8Array, width: int) -> None:
    size = (width, width * 2 // 3)
    picture = np.asarray(Image.fromarray(photo).resize(size))
    look = look_at(context, picture, MODELS)
    page = shown(look)
    assert SMALLEST <= max(page.shape) <= LARGEST
    assert face_at(look, -1, -1) is None
    for number, (x, y, w, h) in enumerate(BOXES, start=1):
        middle = (x + w / 2) * page.shape[1], (y + h / 2) * page.shape[1]
        assert face_at(look, *middle) == (2 if number == 1 else number)
        assert select(look, number).reading == look.recognition.readings[number - 1]
    assert face_at(look, 0.12 * page.shape[1], 0.5 * page.shape[1]) == 1
    assert select(look, 4) == select(look, 0) == look
    assert not np.array_equal(page, shown(select(look, 3)))


def test_the_remark_says_what_was_found_and_by_what(context: Context, photo: UInt8Array) -> None:
    blank = np.zeros_like(photo)

    def remark(look: Look) -> str:
        return answers.remark(look, context.detector)

    assert "Marks found no face" in remark(look_at(context, blank, MODELS))
    whole = remark(look_at(context, blank, MODELS, whole=True))
    assert "whole picture" in whole
    assert "stretched from 300x200 to a square" in whole
    assert "stretched" not in remark(look_at(context, blank[:, :200], MODELS, whole=True))
    several = remark(look_at(context, photo, MODELS))
    assert "3 faces, found by Marks" in several
    assert f"That is {Marks.note}." in several
    said = look_at(context, photo, MODELS).recognition.readings[1].opinions
    chosen = remark(select(look_at(context, photo, MODELS), 2))
    assert all(f"{opinion.model} says {opinion.top}" in chosen for opinion in said)


def test_a_face_of_a_few_pixels_is_no_face_to_trust(context: Context, photo: UInt8Array) -> None:
    said = "too few to trust"
    assert said not in answers.remark(look_at(context, photo, MODELS), context.detector)
    small = look_at(context, photo[::12, ::12], MODELS, whole=True)
    assert "Face 1 has 17 pixels a side, too few to trust" in answers.remark(small, context.detector)


def test_answers_show_every_class_in_the_fixed_order(context: Context, photo: UInt8Array) -> None:
    opinions = [
        Opinion(name, classes, np.linspace(0, 1, 7, dtype=np.float32), 1.0)
        for name, classes in (("one", CKPLUS.classes), ("two", FER2013.classes[::-1]))
    ]
    rows = r'<th scope="row">(\w+)</th>'
    alone = re.findall(rows, answers.bars(opinions[:1]))
    assert alone == [name for name in DISPLAY_ORDER if name in CKPLUS.classes]
    assert re.findall(rows, answers.bars(opinions)) == list(DISPLAY_ORDER)


def test_answers_carry_the_result_as_json(context: Context, photo: UInt8Array) -> None:
    look = look_at(context, photo, MODELS)
    page = answers.html(context, look)
    saved = re.search(r'download="fer_bench.json" href="data:application/json;base64,([^"]+)"', page)
    assert saved is not None
    assert json.loads(base64.b64decode(saved[1])) == look.recognition.to_dict()
    assert page.count("<h2>") == 2
    assert "Pick a model" in answers.html(context, look_at(context, photo, []))
    assert answers.html(context, look_at(context, np.zeros_like(photo), MODELS)) == ""


def test_a_heat_without_a_place_says_so(context: Context, photo: UInt8Array, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "grad_cam", lambda *_: np.zeros((12, 12), np.float32))
    look = look_at(context, photo, MODELS[:1])
    answers.add_heats(context, look)
    assert look.reading is not None
    assert f"no place in the crop speaks for {look.reading.opinions[0].top}" in look.heats[1, MODELS[0]]


def test_heat_comes_second_and_stays(context: Context, photo: UInt8Array) -> None:
    look = look_at(context, photo, MODELS[:1])
    assert "fb-pending" in answers.html(context, look)
    more = ask_others(context, look, MODELS)
    answers.add_heats(context, look)  # late: the visitor has picked another model since
    assert set(look.heats) == {(1, MODELS[0])}
    assert answers.html(context, more).count("fb-pending") == 1
    first = look.heats[1, MODELS[0]]
    third = select(more, 3)
    answers.add_heats(context, third)
    assert set(more.heats) == {(1, MODELS[0]), (3, MODELS[0]), (3, MODELS[1])}
    assert more.heats[1, MODELS[0]] is first
    assert "fb-pending" not in answers.html(context, third)


def test_a_model_that_fails_does_so_in_its_own_place(context: Context, photo: UInt8Array, tmp_path: Path) -> None:
    own = Context(Workspace(tmp_path))
    publish(own.workspace, MODELS[1])
    (own.workspace.weights / f"{MODELS[0]}.safetensors").write_bytes(b"nonsense")
    look = look_at(own, photo, MODELS)
    assert look.models == tuple(MODELS) and set(look.problems) == {MODELS[0]}
    assert [opinion.model for opinion in look.recognition.readings[0].opinions] == MODELS[1:]
    page = answers.html(own, look)
    bad, good = (page.index(name.replace(".", ".<wbr>")) for name in MODELS)
    assert bad < page.index("fb-warning") < good < page.index("What lin_shi.paper is fed")
    assert f"weights/{MODELS[0]}.safetensors" in page and str(tmp_path) not in page
    alone = ask_others(own, look, MODELS[:1])
    assert "fb-warning" in answers.html(own, alone)
    assert "Download" not in answers.html(own, alone)
    assert ask_others(own, alone, MODELS[1:]).problems == {}


def test_paths_in_errors_begin_at_the_project(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert messages.public(f"{tmp_path}/weights/a: no", workspace) == "weights/a: no"


def test_without_a_board_the_manifest_says_which_is_best(tmp_path: Path) -> None:
    context = Context(Workspace(tmp_path))
    for name in ("a.paper", "b.paper", "c.paper"):
        (tmp_path / "weights").mkdir(exist_ok=True)
        (tmp_path / "weights" / f"{name}.safetensors").write_bytes(b"")
    (tmp_path / "leaderboard").mkdir()
    (tmp_path / "leaderboard" / "leaderboard.csv").write_text("nonsense")
    manifest = [
        {"file": "a.paper.safetensors", "test_accuracy": 40, "select_accuracy": 51},
        {"file": "b.paper.safetensors"},
    ]
    manifest.append({"file": "c.paper.safetensors", "test_accuracy": 60.5, "select_accuracy": 50})
    (tmp_path / "weights" / "manifest.json").write_text(json.dumps(manifest))
    assert [choice.label for choice in context.choices] == ["c.paper · 60.5%", "a.paper · 40.0%", "b.paper"]
    assert context.default == context.choices[1]  # the test part decides nothing
    assert context.measures == "accuracy on FER2013, time for a face"
    (tmp_path / "leaderboard" / "latency.json").write_text('{"cpu": "A CPU", "milliseconds": {}}')
    assert Context(context.workspace).measures == "accuracy on FER2013, time for a face on one core (A CPU)"
    (tmp_path / "weights" / "manifest.json").write_text("{")
    assert [choice.name for choice in Context(context.workspace).choices] == ["a.paper", "b.paper", "c.paper"]


def test_the_default_is_quick_and_best_on_select(workspace: Workspace, make_record: Callable[..., Any]) -> None:
    workspace.weights.mkdir()
    for model, accuracy in (("lin_shi", 0.9), ("marrugat_1", 0.6), ("ranjan_1", 0.5)):
        make_record(workspace, model, accuracy=accuracy)
        (workspace.weights / f"{model}.paper.safetensors").write_bytes(b"")
    milliseconds = {"lin_shi": 50.0, "marrugat_1": 2.0, "ranjan_1": 1.0}
    (workspace.leaderboard / "latency.json").write_text(json.dumps({"milliseconds": milliseconds}))
    leaderboard.build(workspace)
    default = Context(workspace).default
    assert default is not None and (default.name, default.milliseconds) == ("marrugat_1.paper", 2.0)


def test_an_answer_says_what_its_model_never_finds(
    photo: UInt8Array, context: Context, workspace: Workspace, make_record: Callable[..., Any]
) -> None:
    own = Context(workspace)
    publish(workspace, MODELS[1])
    assert own.never_found(MODELS[1]) == ()  # nothing is known of it
    record = make_record(workspace)
    assert own.never_found(MODELS[1]) == ()
    metrics = copy.deepcopy(record.metrics)
    plain = metrics["test"]["plain"]
    plain["recall"] = [0.0 if name == "disgust" else 0.5 for name in record.classes]
    make_record(workspace, metrics=metrics)
    count = plain["support"][record.classes.index("disgust")]
    assert own.never_found(MODELS[1]) == (("disgust", count),)
    assert f"none of the {count} disgust faces" in answers.html(own, look_at(own, photo, MODELS[1:]))


def test_a_layer_says_how_many_of_its_maps_are_shown(photo: UInt8Array) -> None:
    workspace_context = Context()
    name = next(choice.name for choice in workspace_context.choices if choice.name.startswith("resnet18."))
    look = look_at(workspace_context, photo, [name], whole=True)
    page = answers.layer_maps(workspace_context, look, name)
    assert f"{answers.MAPS} of 512 maps" in page


def test_layer_maps_are_of_the_selected_face(context: Context, photo: UInt8Array) -> None:
    look = look_at(context, photo, MODELS)
    assert answers.layer_maps(context, look, MODELS[1]).count("conv2d") >= 2
    assert answers.layer_maps(context, select(look, 2), MODELS[1]) != answers.layer_maps(context, look, MODELS[1])


def test_a_link_picks_a_model(context: Context) -> None:
    update = try_it.linked(context, "lin_shi")
    assert update["value"] == ["lin_shi.paper"]
    for nothing in ("", "no_such_model", "ranjan_1"):
        assert try_it.linked(context, nothing)["__type__"] == "update"
        assert "value" not in try_it.linked(context, nothing)


def test_the_first_example_is_scikit_images_portrait() -> None:
    from skimage import data

    (_, portrait), *drawings = try_it.examples()
    np.testing.assert_array_equal(portrait, data.astronaut())
    assert [name for name, _ in drawings] == [f"Drawn: {name}" for name in FER2013.classes]


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where Gradio keeps files."""
    folder = tmp_path_factory.mktemp("uploads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def client(context: Context, uploads: Path) -> Iterator[Client]:
    import gradio as gr

    with gr.Blocks(analytics_enabled=False) as app:
        try_it.build(context)
    _, url, _ = app.queue(default_concurrency_limit=2).launch(prevent_thread_lock=True, quiet=True)
    yield Client(url, verbose=False, httpx_kwargs={"timeout": 60})
    app.close()


def without_times(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {k: without_times(v) for k, v in answer.items() if k not in ("milliseconds", "detection_ms")}
    return [without_times(value) for value in answer] if isinstance(answer, list) else answer


def test_the_api_answers_twenty_at_once_as_offline(context: Context, client: Client, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    jobs = {}
    for number in range(20):
        path = tmp_path / f"{number}.png"
        path.write_bytes(png(synthetic.draw_face(FER2013.classes[number % 7], rng, 160)))
        jobs[path] = client.submit(handle_file(path), ["lin_shi", MODELS[0]], api_name="/predict")
    predictors = {name: context.predictor(name) for name in MODELS[::-1]}
    for path, job in jobs.items():
        offline = recognise(read_picture(path), predictors, context.detector)
        assert without_times(job.result(timeout=60)) == without_times(offline.to_dict())


def test_the_api_decodes_as_everything_else_does(client: Client, tmp_path: Path, photo: UInt8Array) -> None:
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[274] = 6
    turned.write_bytes(png(photo, format="JPEG", exif=exif))
    answer = client.predict(handle_file(turned), api_name="/predict")
    assert (answer["width"], answer["height"]) == (200, 300)
    assert [opinion["model"] for opinion in answer["faces"][0]["opinions"]] == [MODELS[0]]  # the default
    for name, content in {"cut.png": turned.read_bytes()[:1000], "empty.jpg": b"", "words.heic": b"no picture"}.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(AppError, match=rf"^{name}: "):
            client.predict(handle_file(path), MODELS, api_name="/predict")
    for name, problem in {
        "lin_shy": "'lin_shy': did you mean 'lin_shi'",
        "lin_shy.paper": "'lin_shy.paper': did you mean 'lin_shi.paper'",
        "xyz": "'xyz': known: attentional_cnn, attentional_cnn_wide, hog_cnn_2",
    }.items():
        with pytest.raises(AppError, match=f"unknown model {problem}"):
            client.predict(handle_file(turned), [name], api_name="/predict")


def test_predict_is_all_the_api_there_is(client: Client) -> None:
    api = client.view_api(print_info=False, return_format="dict")
    assert set(api["named_endpoints"]) == {"/predict"}
    names = [one["parameter_name"] for one in api["named_endpoints"]["/predict"]["parameters"]]
    assert names == ["image", "models", "whole"]


def test_the_api_takes_a_picture_whole_if_asked(client: Client, tmp_path: Path, photo: UInt8Array) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(png(photo))
    answer = client.predict(handle_file(path), MODELS, True, api_name="/predict")
    assert answer["detector"] == "" and [face["box"] for face in answer["faces"]] == [None]
    assert len(client.predict(handle_file(path), MODELS, api_name="/predict")["faces"]) > 1


def test_a_name_alone_is_a_list_of_one_and_nothing_is_no_picture(
    context: Context, client: Client, tmp_path: Path, photo: UInt8Array
) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(png(photo))
    answer = client.predict(handle_file(path), "lin_shi", api_name="/predict")
    assert [opinion["model"] for opinion in answer["faces"][0]["opinions"]] == [MODELS[1]]
    with pytest.raises(AppError, match="expected the names of models"):
        client.predict(handle_file(path), [1], api_name="/predict")
    with pytest.raises(AppError, match="expected an uploaded picture"):
        client.predict(None, MODELS, api_name="/predict")


@pytest.mark.parametrize("image", [{}, {"path": "a\0b"}, {"url": "http://x/y.png"}], ids=str)
def test_an_odd_request_gets_a_line(
    client: Client, image: object, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "expected an uploaded picture" in ask_api(client, image)
    assert "Traceback" not in "".join(capfd.readouterr()) + caplog.text


def ask_page(client: Client, image: dict[str, Any], session: str) -> str:
    """What the page gets when the photo changes, as its JSON."""
    components = {component["id"]: component for component in client.config["components"]}
    [changed] = [
        dependency["id"]
        for dependency in client.config["dependencies"]
        for target, event in dependency["targets"]
        if event == "change" and components[target]["props"].get("elem_id") == "fb-try-photo"
    ]
    sent = {"data": [image, MODELS], "fn_index": changed, "session_hash": session}
    httpx.post(f"{client.src}gradio_api/queue/join", json=sent, timeout=60).raise_for_status()
    with httpx.stream("GET", f"{client.src}gradio_api/queue/data?session_hash={session}", timeout=60) as stream:
        return next(line for line in stream.iter_lines() if "process_completed" in line)


def ask_api(client: Client, image: object) -> str:
    call = f"{client.src}gradio_api/call/predict"
    event = httpx.post(call, json={"data": [image, MODELS, False]}, timeout=60).json()["event_id"]
    return httpx.get(f"{call}/{event}", timeout=60).text


@pytest.mark.parametrize("mark", [{}, {"meta": {}}, {"meta": {"_type": "gradio.FileData"}}], ids=str)
def test_a_path_on_the_server_is_not_a_picture(
    client: Client, tmp_path: Path, uploads: Path, photo: UInt8Array, mark: dict[str, Any]
) -> None:
    """A client could write any path into its request."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(photo))
    (uploads / "link.png").unlink(missing_ok=True)
    (uploads / "link.png").symlink_to(secret)
    asked = []
    climbing = f"{uploads}/{os.path.relpath(secret, uploads)}"
    for number, path in enumerate((secret, tmp_path / "missing.png", uploads / "link.png", climbing)):
        image = {"path": str(path), **mark}
        api, page = ask_api(client, image), ask_page(client, image, f"path{number}")
        assert "event: error" in api
        assert "data:image" not in page
        asked.append((api.replace(str(path), ""), "expected an uploaded picture" in page))
    assert asked[0] == asked[1]  # whether there is a file, nobody is told


def test_an_answer_leaves_nothing_on_the_server(client: Client, uploads: Path, photo: UInt8Array) -> None:
    for picture in (photo, photo[:, ::-1]):
        sent = {"files": ("photo.png", png(picture), "image/png")}
        [path] = httpx.post(f"{client.src}gradio_api/upload", files=sent, timeout=60).json()
        before = sorted(uploads.rglob("*"))
        answer = ask_page(client, {"path": path, "meta": {"_type": "gradio.FileData"}}, "one visitor")
        assert "data:image/jpeg" in answer
        assert sorted(uploads.rglob("*")) == before
