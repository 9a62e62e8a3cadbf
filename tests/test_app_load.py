"""Twenty visitors at once: everyone gets their own answers, and the app's memory stays flat."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from gradio_client import Client, handle_file

from fer_bench import ui
from fer_bench.pictures import read_picture
from fer_bench.ui.context import Context
from fer_bench.ui.look import look_at

VISITORS, PICTURES = 20, 10
GROWTH = 200 * 2**20  # bytes; one leaked photo an answer would be 157 MB more than this in the second round


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    app, url = ui.launch(prevent_thread_lock=True, quiet=True)
    yield url
    app.close()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[list[Path]]:
    """Ten pictures a visitor, all different: a portrait, moved, turned a little and of another brightness."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    portrait = skimage.data.astronaut()[:, :, ::-1]
    paths = []
    for visitor in range(VISITORS):
        own = []
        for number in range(PICTURES):
            move = cv2.getRotationMatrix2D((256, 128), rng.uniform(-15, 15), rng.uniform(0.8, 1.4))
            move = np.add(move, [[0, 0, rng.uniform(-40, 40)], [0, 0, rng.uniform(-40, 40)]])
            image = cv2.convertScaleAbs(cv2.warpAffine(portrait, move, (512, 512)), alpha=rng.uniform(0.6, 1.3))
            own.append(folder / f"{visitor}_{number}.jpg")
            cv2.imwrite(str(own[-1]), image)
        paths.append(own)
    return paths


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def ask(address: str, paths: list[Path]) -> list[dict[str, Any]]:
    client = Client(address, verbose=False)
    return [client.predict(handle_file(path), ["lin_shi"], api_name="/predict") for path in paths]


def timeless(answer: dict[str, Any]) -> dict[str, Any]:
    faces = [
        {**face, "opinions": [{**opinion, "milliseconds": 0} for opinion in face["opinions"]]}
        for face in answer["faces"]
    ]
    return {**answer, "detection_ms": 0, "faces": faces}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory from /proc")
def test_twenty_visitors_get_their_own_answers(address: str, photos: list[list[Path]]) -> None:
    context = Context()
    expected = [
        [timeless(look_at(context, read_picture(path), ["lin_shi"]).recognition.to_dict()) for path in own]
        for own in photos
    ]
    assert sum(len(answer["faces"]) for own in expected for answer in own) > VISITORS * PICTURES / 2
    with ThreadPoolExecutor(VISITORS) as visitors:
        list(visitors.map(lambda own: ask(address, own[:2]), photos))  # warms up
        before = resident()
        answers = list(visitors.map(lambda own: ask(address, own), photos))
    assert [[timeless(answer) for answer in own] for own in answers] == expected
    assert resident() - before < GROWTH
