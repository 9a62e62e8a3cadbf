"""The app as a visitor meets it, in headless Chromium with a made-up camera."""

from __future__ import annotations

import base64
import csv
import io
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

import cv2
import numpy as np
import pytest
import skimage.data
from playwright import sync_api as playwright

from fer_bench import ui
from fer_bench.data import synthetic
from fer_bench.labels import DISPLAY_ORDER
from fer_bench.leaderboard import read_board
from fer_bench.records import Workspace

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]
PATIENCE = 60_000  # milliseconds; the machine may be busy
playwright.expect.set_options(timeout=PATIENCE)
CROPPED = np.s_[0:300, 70:370]


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo with one face."""
    path = tmp_path_factory.mktemp("photo") / "portrait.png"
    cv2.imwrite(str(path), skimage.data.astronaut()[:, :, ::-1])
    return path


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of a moving face, as Chromium's fake camera reads it."""
    path = tmp_path_factory.mktemp("camera") / "face.y4m"
    face = cv2.resize(skimage.data.astronaut()[CROPPED], (360, 360))
    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W640 H480 F10:1 Ip A1:1 C420jpeg\n")
        for step in range(20):
            frame = np.full((480, 640, 3), 200, dtype=np.uint8)
            left = 60 + 8 * abs(10 - step)
            frame[60:420, left : left + 360] = face
            file.write(b"FRAME\n" + cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420).tobytes())
    return path


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The project's own app."""
    app, url = ui.launch(prevent_thread_lock=True, quiet=True)
    yield url
    app.close()


@pytest.fixture(scope="module")
def browser(camera: Path) -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as session:
        browser = session.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                f"--use-file-for-fake-video-capture={camera}",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: playwright.Browser, address: str) -> Iterator[playwright.Page]:
    """A fresh visitor; nothing may be asked of any other host, and no script may fail."""
    context = browser.new_context(
        permissions=["camera"], viewport={"width": 1200, "height": 900}, accept_downloads=True
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    elsewhere: list[str] = []
    failures: list[str] = []
    own = urlparse(address).netloc
    page.on(
        "request",
        lambda request: (
            elsewhere.append(request.url)
            if request.url.startswith(("http", "ws")) and urlparse(request.url).netloc != own
            else None
        ),
    )
    page.on("pageerror", lambda error: failures.append(str(error)))
    yield page
    context.close()
    assert not elsewhere
    assert not failures


def add_photo(page: playwright.Page, photo: Path | playwright.FilePayload) -> None:
    page.locator("#fb-try-photo input[type=file]").first.set_input_files(photo)


def test_a_photo_is_answered(page: playwright.Page, address: str, portrait: Path) -> None:
    page.goto(address)
    add_photo(page, portrait)
    answer = page.locator("#fb-try-answer")
    playwright.expect(answer.get_by_text("Download JSON")).to_be_visible()
    playwright.expect(page.locator("#fb-try-status")).to_contain_text("1 face")
    playwright.expect(answer.locator("img[alt^='Where']")).to_be_visible()  # Grad-CAM, a moment later
    text = answer.inner_text()
    places = [text.index(name) for name in DISPLAY_ORDER if name != "contempt" and name in text]
    assert len(places) == 7


def test_what_is_no_picture_gets_a_message_and_the_next_one_an_answer(
    page: playwright.Page, address: str, portrait: Path
) -> None:
    page.goto(address)
    add_photo(page, {"name": "notes.png", "mimeType": "image/png", "buffer": b"these are words"})
    playwright.expect(page.locator("#fb-try-status [role=alert]")).to_contain_text("notes.png")
    remove = page.locator("#fb-try-photo").get_by_label("Remove Image")
    if remove.count():
        remove.first.click()
    add_photo(page, portrait)
    playwright.expect(page.locator("#fb-try-answer").get_by_text("Download JSON")).to_be_visible()


def test_several_models_stand_side_by_side(page: playwright.Page, address: str) -> None:
    names = sorted({path.name.partition(".")[0] for path in Workspace().weights.glob("*.safetensors")})
    assert len(names) > 1
    page.goto(f"{address}?model={names[0]}")
    playwright.expect(page.locator("#fb-try-models")).to_contain_text(names[0])
    page.locator("#fb-try-examples button").first.click()
    playwright.expect(page.locator("#fb-try-answer").get_by_text("Download JSON")).to_be_visible()
    page.locator("#fb-try-models input").click()
    page.get_by_role("option").filter(has_text=names[1]).first.click()
    playwright.expect(page.locator("#fb-try-answer h2")).to_have_count(2)


def test_five_models_fit(page: playwright.Page, address: str) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(address)
    page.locator("#fb-try-examples button").first.click()
    for count in range(2, 6):
        page.locator("#fb-try-models input").click()
        page.locator("#fb-try-models [role=option]:not([aria-selected=true])").first.click()
        playwright.expect(page.locator("#fb-try-answer h2")).to_have_count(count)
    assert page.locator("#fb-try-answer .fb-scroll").evaluate("all => all.scrollWidth <= all.clientWidth")


def test_a_click_selects_a_face(page: playwright.Page, address: str, tmp_path: Path) -> None:
    person = skimage.data.astronaut()[:, :, ::-1]
    smaller = cv2.copyMakeBorder(person[::2, ::2], 0, 256, 0, 0, cv2.BORDER_CONSTANT)
    cv2.imwrite(str(tmp_path / "two.png"), np.hstack([person, smaller]))
    page.goto(address)
    add_photo(page, tmp_path / "two.png")
    playwright.expect(page.locator("#fb-try-status")).to_contain_text("2 faces")
    box = page.locator("#fb-try-faces img").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * (512 + 112) / 768, box["y"] + box["height"] * 60 / 512)
    playwright.expect(page.get_by_label("2", exact=True)).to_be_checked()
    playwright.expect(page.locator("#fb-try-answer img[alt='Face 2']")).to_be_visible()


PASTE = """async (base64) => {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const clipboardData = new DataTransfer();
  clipboardData.items.add(new File([bytes], 'a.png', {type: 'image/png'}));
  document.activeElement.dispatchEvent(new ClipboardEvent('paste', {clipboardData, bubbles: true}));
}"""


def test_a_photo_is_pasted_where_it_is_meant(page: playwright.Page, address: str, portrait: Path) -> None:
    uploads: list[str] = []
    page.on("request", lambda request: uploads.append(request.url) if "/upload" in request.url else None)
    pasted = base64.b64encode(portrait.read_bytes()).decode()
    page.goto(address)
    page.locator("#fb-try-models input").focus()
    page.evaluate(PASTE, pasted)
    page.get_by_role("tab", name="About").click()
    playwright.expect(page.locator("#fb-about")).to_be_visible()
    page.evaluate(PASTE, pasted)
    page.get_by_role("tab", name="Try it").click()
    playwright.expect(page.locator("#fb-try-faces")).to_contain_text("paste")
    assert not uploads
    page.evaluate(PASTE, pasted)
    playwright.expect(page.locator("#fb-try-status")).to_contain_text("1 face")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate(
        """async (base64) => {
          const blob = await (await fetch('data:image/png;base64,' + base64)).blob();
          await navigator.clipboard.write([new ClipboardItem({'image/png': blob})]);
        }""",
        pasted,
    )
    page.locator("#fb-try-photo").get_by_label("Remove Image").click()
    playwright.expect(page.locator("#fb-try-answer")).to_be_empty()
    page.keyboard.press("Control+v")
    playwright.expect(page.locator("#fb-try-status")).to_contain_text("1 face")


def test_what_the_browser_cannot_show_is_said(page: playwright.Page, address: str, portrait: Path) -> None:
    page.goto(address)
    tiff = cv2.imencode(".tiff", skimage.data.astronaut()[:, :, ::-1])[1].tobytes()
    add_photo(page, {"name": "photo.tiff", "mimeType": "image/tiff", "buffer": tiff})
    playwright.expect(page.locator("#fb-try-status")).to_contain_text("1 face")
    playwright.expect(page.locator("#fb-try-photo.fb-unshown")).to_be_visible()
    add_photo(page, portrait)
    playwright.expect(page.locator("#fb-try-photo:not(.fb-unshown) img")).to_be_visible()


def test_a_camera_or_clipboard_that_may_not_be_used_is_said(page: playwright.Page, address: str) -> None:
    refuse = "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotAllowedError'));"
    page.add_init_script(refuse)
    page.goto(address)
    photo = page.locator("#fb-try-photo")
    photo.get_by_label("Capture from camera").click()
    photo.get_by_text("Webcam").click()
    playwright.expect(photo).to_have_attribute("data-said", re.compile("camera can't be used"))
    photo.get_by_label("Paste from clipboard").click()
    playwright.expect(photo).to_have_attribute("data-said", re.compile("Ctrl.V"))
    page.locator("#fb-try-examples button").first.click()
    playwright.expect(page.locator("#fb-try-status")).to_contain_text("1 face")
    playwright.expect(photo).not_to_have_attribute("data-said", re.compile("."))


def test_a_picture_is_taken_whole_and_its_faces_found_again(
    page: playwright.Page, address: str, portrait: Path
) -> None:
    page.goto(address)
    add_photo(page, portrait)
    status = page.locator("#fb-try-status")
    for word, button in (("1 face", "Use the whole picture"), ("whole picture is taken", "Find faces in it")):
        playwright.expect(status).to_contain_text(word)
        page.get_by_role("button", name=button).click()
    playwright.expect(status).to_contain_text("1 face")


def test_the_camera_takes_a_photo(page: playwright.Page, address: str) -> None:
    page.goto(address)
    page.locator("#fb-try-photo").get_by_label("Capture from camera").click()
    page.locator("#fb-try-photo").get_by_text("Click to Access Webcam").click()
    page.wait_for_function("document.querySelector('#fb-try-photo video')?.videoWidth > 0")
    page.locator("#fb-try-photo").get_by_label("capture photo").click()
    playwright.expect(page.locator("#fb-try-answer").get_by_text("Download JSON")).to_be_visible()


def test_live_follows_a_moving_face(page: playwright.Page, address: str) -> None:
    page.goto(f"{address}?tab=live")
    page.locator("#fb-live-start").click()
    box = page.locator("#fb-live-camera .fb-followed").first
    box.wait_for()
    playwright.expect(page.locator("#fb-live-stats")).to_contain_text("frames a second")
    playwright.expect(page.locator("#fb-live-timeline svg")).to_be_visible()
    places = set()
    for _ in range(12):
        places.add(box.get_attribute("style"))
        page.wait_for_timeout(250)
    assert len(places) > 2  # the frames differ: the face moves
    page.locator("#fb-live-start").click()
    playwright.expect(page.locator("#fb-live-start")).to_have_text("Start the camera")
    for place in ("stats", "bars", "timeline"):
        playwright.expect(page.locator(f"#fb-live-{place}")).to_be_empty()


def test_the_camera_stops_when_another_tab_opens(page: playwright.Page, address: str) -> None:
    page.goto(f"{address}?tab=live")
    playwright.expect(page.locator("#fb-live-camera")).to_contain_text("Press Start the camera")
    page.locator("#fb-live-start").click()
    page.locator("#fb-live-camera .fb-followed").first.wait_for()
    page.get_by_role("tab", name="Live").press("ArrowRight")
    playwright.expect(page.locator("#fb-batch-run")).to_be_visible()
    page.wait_for_function("document.querySelector('.fb-stage video').srcObject === null")


def test_a_batch_gives_a_csv(page: playwright.Page, address: str, portrait: Path, tmp_path: Path) -> None:
    archive = tmp_path / "two.zip"
    drawing = synthetic.draw_face(
        "happy", np.random.default_rng(0), 64, synthetic.draw_person(np.random.default_rng(0))
    )
    with zipfile.ZipFile(archive, "w") as file:
        file.write(portrait, "portrait.png")
        file.writestr("gray.png", cv2.imencode(".png", np.full_like(drawing, 128))[1].tobytes())
        file.writestr("broken.png", b"nothing")
    page.goto(f"{address}?tab=batch")
    page.locator("#fb-batch-files input[type=file]").set_input_files([archive])
    playwright.expect(page.locator("#fb-batch-files")).to_contain_text("two")
    page.locator("#fb-batch-run").click()
    with page.expect_download() as downloading:
        page.locator("#fb-batch-summary").get_by_text("Download CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(downloading.value.path()).read_text())))
    assert {row["file"] for row in rows} == {"two.zip/portrait.png", "two.zip/gray.png", "two.zip/broken.png"}
    notes = {row["file"]: row["note"] for row in rows}
    assert notes["two.zip/gray.png"] == "no face"
    assert notes["two.zip/broken.png"]
    assert next(row for row in rows if row["file"].endswith("portrait.png"))["prediction"] in DISPLAY_ORDER


def test_a_stopped_batch_gives_what_it_has(page: playwright.Page, address: str, tmp_path: Path) -> None:
    photo = cv2.imencode(".jpg", cv2.resize(skimage.data.astronaut()[CROPPED][:, :, ::-1], (1200, 1200)))[1].tobytes()
    page.goto(f"{address}?tab=batch")
    # A hundred in a zip for the time that they take, and a hundred beside it for the room.
    archive = tmp_path / "many.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(100):
            file.writestr(f"{number:03d}.jpg", photo)
    words: list[playwright.FilePayload] = [
        {"name": f"{number:03d}.png", "mimeType": "image/png", "buffer": b"words"} for number in range(100)
    ]
    many: playwright.FilePayload = {"name": "m.zip", "mimeType": "application/zip", "buffer": archive.read_bytes()}
    page.locator("#fb-batch-files input[type=file]").set_input_files([many, *words])
    playwright.expect(page.locator("#fb-batch-files .file-preview")).to_contain_text("099")
    playwright.expect(page.locator("#fb-batch-run")).to_be_in_viewport()
    page.locator("#fb-batch-run").click()
    playwright.expect(page.locator("#fb-batch-table tbody tr").nth(1)).to_be_visible()
    page.locator("#fb-batch-stop").click()
    playwright.expect(page.locator("#fb-batch-summary")).to_contain_text("Stopped.")
    with page.expect_download() as downloading:
        page.locator("#fb-batch-summary").get_by_text("Download CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(downloading.value.path()).read_text())))
    assert 2 <= len(rows) < 200
    assert {row["file"].partition("/")[0] for row in rows} == {"m.zip"}


def test_a_link_sets_every_picker_and_says_what_is_unknown(page: playwright.Page, address: str) -> None:
    name = sorted(path.name.removesuffix(".safetensors") for path in Workspace().weights.glob("*.safetensors"))[0]
    page.goto(f"{address}?protocol=ckplus_subject&model={name}")
    playwright.expect(page.locator("#fb-board-protocol input")).to_have_value("ckplus_subject")
    for tab in ("live", "batch"):
        page.get_by_role("tab", name=tab.title()).click()
        playwright.expect(page.locator(f"#fb-{tab}-model input")).to_have_value(re.compile(re.escape(name)))
    playwright.expect(page.locator("#fb-linked")).to_be_hidden()
    page.goto(f"{address}?model=nobody")
    playwright.expect(page.locator("#fb-linked [role=alert]")).to_contain_text("unknown model 'nobody'")


def test_the_board_says_that_nothing_is_found_and_that_there_is_more(page: playwright.Page, address: str) -> None:
    page.goto(f"{address}?tab=leaderboard&protocol=fer2013")
    rows = page.locator("#fb-board-table .fb-rows")
    playwright.expect(rows).to_have_class(re.compile("fb-more"))
    rows.evaluate("rows => rows.scrollTo(rows.scrollWidth, 0)")
    playwright.expect(rows).not_to_have_class(re.compile("fb-more"))
    page.locator("#fb-board-table input[type=search]").fill("nobody")
    playwright.expect(page.locator("#fb-board-table").get_by_text("No row has these words")).to_be_visible()
    playwright.expect(rows).to_be_hidden()


def test_a_row_of_the_board_opens(page: playwright.Page, address: str) -> None:
    board = read_board(Workspace())
    protocol = "ckplus_random"
    best = board[board["protocol"] == protocol].iloc[0]
    page.goto(f"{address}?tab=leaderboard&protocol={protocol}")
    table = page.locator("#fb-board-table")
    table.get_by_text(best["model"], exact=False).first.click()
    playwright.expect(page.locator("#fb-board-command")).to_contain_text(
        f"python -m fer_bench run --model {best['model']} --protocol {protocol} --recipe {best['recipe']}"
    )
    playwright.expect(page.locator("#fb-board-body svg").first).to_be_visible()


SHOWN = {
    "try": "#fb-try-photo",
    "live": "#fb-live-start",
    "batch": "#fb-batch-run",
    "leaderboard": "#fb-board-table tbody tr",
    "about": "#fb-about",
}


@pytest.mark.parametrize("tab", ui.TABS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_tab_fits_a_phone(page: playwright.Page, address: str, tab: str, scheme: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{address}?tab={tab}&__theme={scheme}")
    playwright.expect(page.locator(SHOWN[tab]).first).to_be_visible()
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
    background = page.evaluate("getComputedStyle(document.querySelector('gradio-app')).backgroundColor")
    brightness = np.mean([int(part) for part in background[background.index("(") + 1 : -1].split(",")[:3]])
    assert (brightness < 128) == (scheme == "dark")
