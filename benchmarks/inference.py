"""How long does an answer take? `python benchmarks/inference.py [--data-dir DIR]`

- Detection width: faces found in every tenth SFEW frame, and the median time for a 640x480 frame, at each width.
- A 640x480 frame with one face: detection, and detection with classification by the app's default model.
- Every shipped network alone, on one face.
- The app: seconds to its first page, and its memory with three models loaded.

Times are medians; run it on an idle machine. The face is scikit-image's bundled portrait.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from fer_bench import data, faces
from fer_bench.data.dataset import UInt8Array
from fer_bench.faces import Detector
from fer_bench.recognition import recognise
from fer_bench.ui.context import Context

ROOT = Path(__file__).resolve().parent.parent
WIDTHS = (160, 224, 320, 352, 384, 448, 512, 640, 720)


def milliseconds(work: Callable[[], object], rounds: int = 50) -> float:
    """The median of some rounds, after a few that warm up."""
    times = []
    for number in range(rounds + 5):
        started = time.perf_counter()
        work()
        if number >= 5:
            times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def portrait_frame() -> UInt8Array:
    """(480, 640, 3) uint8 with one face of about 150 pixels."""
    import skimage.data

    frame = np.full((480, 640, 3), 128, dtype=np.uint8)
    frame[:, 64:576] = skimage.data.astronaut()[:480]
    return frame


def detection_widths(detector: Detector, frame: UInt8Array, data_dir: Path | None) -> None:
    """Print faces found and time by detection width."""
    pictures: Sequence[UInt8Array] = []
    if "sfew" in data.found(data_dir):
        frames = data.load("sfew", data_dir)
        pictures = [frames.images[index] for index in np.argsort(frames.ids)[::10]]
    for width in WIDTHS:
        with mock.patch.object(faces, "DETECTION_WIDTH", width):
            with_face = sum(bool(detector.detect(picture)) for picture in pictures)
            spent = milliseconds(lambda: detector.detect(frame), 20)
        share = f"a face in {with_face} of {len(pictures)} SFEW frames, " if pictures else ""
        chosen = " <- used" if width == faces.DETECTION_WIDTH else ""
        print(f"{detector.name}, width {width}: {share}{spent:.1f} ms for 640x480{chosen}")


def models(context: Context, detector: Detector, frame: UInt8Array) -> None:
    """Print the time of the default model with detection, and of every model on a crop."""
    assert context.default is not None, "no network is shipped"
    name = context.default.name
    chosen = {name: context.predictor(name)}
    print(f"{detector.name} alone: {milliseconds(lambda: detector.detect(frame)):.1f} ms")
    print(f"{detector.name} and {name}: {milliseconds(lambda: recognise(frame, chosen, detector)):.1f} ms")
    crop = faces.crop(frame, detector.detect(frame)[0])
    for choice in context.choices:
        predictor = context.predictor(choice.name)
        print(f"{choice.name} alone: {milliseconds(lambda p=predictor: p.predict(crop[None])):.1f} ms")


def app(context: Context, frame: UInt8Array) -> None:
    """Print the time to the first page and the memory of a fresh app with three models loaded."""
    import cv2
    from gradio_client import Client, handle_file

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.perf_counter()
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port)}
    server = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5).read()
                break
            except (urllib.error.URLError, TimeoutError):
                time.sleep(0.05)
        print(f"app: first page after {time.perf_counter() - started:.1f} s")
        with tempfile.TemporaryDirectory() as folder:
            picture = Path(folder, "portrait.png")
            cv2.imwrite(str(picture), frame[:, :, ::-1])
            names = [choice.name for choice in context.choices[:3]]
            client: Any = Client(f"http://127.0.0.1:{port}", verbose=False)
            client.predict(handle_file(picture), names, api_name="/predict")
        resident = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        print(f"app: {resident / 2**20:.0f} MiB with {', '.join(names)} loaded")
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="where SFEW is; default: FER_BENCH_DATA and the usual places")
    parser.add_argument("--threads", type=int, default=1, help="of the networks; the app gives each one (default: 1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.threads} threads, torch {torch.__version__}")
    context, frame = Context(), portrait_frame()
    print(f"{context.detector.name}: {context.detector.note}")
    detection_widths(context.detector, frame, options.data_dir)
    models(context, context.detector, frame)
    app(context, frame)


if __name__ == "__main__":
    main()
