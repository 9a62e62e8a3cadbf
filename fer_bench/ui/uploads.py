"""What visitors upload: found, opened, and kept for some minutes only."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradio.utils import get_upload_folder

from fer_bench.data.dataset import UInt8Array
from fer_bench.errors import FerBenchError
from fer_bench.pictures import read_picture
from fer_bench.ui import DELETE_CACHE

# Seconds that a page's photo or batch is kept for the next question about it.
KEPT = 600
GONE = f"The photo was kept for {KEPT // 60} minutes and is deleted now. Add it again."


def minutes_kept() -> int:
    """Minutes after which an upload is deleted, at the latest."""
    return -(-max(sum(DELETE_CACHE), KEPT) // 60)


def find(image: Any) -> tuple[Path, str]:
    """Where Gradio put a visitor's picture, and what the visitor calls it.

    Gradio looks only at paths that a request marks as files, and a request can name any file of the server, or be
    anything else.

    Raises:
        FerBenchError: it is not in the folder of the uploads; what else it is, nobody is told.
    """
    given: Mapping[str, Any] = image if isinstance(image, dict) else {}
    with contextlib.suppress(OSError, ValueError):  # too long, or a zero byte in it
        path = Path(str(given.get("path") or "")).resolve()
        if Path(get_upload_folder()).resolve() in path.parents and path.is_file():
            return path, str(given.get("orig_name") or "the picture")
    raise FerBenchError("expected an uploaded picture: upload it first, then send what the upload answered")


def read(image: Any) -> UInt8Array:
    """A visitor's picture: (H, W, 3) uint8 RGB or (H, W) uint8 gray.

    Raises:
        FerBenchError: it is no upload, or no picture.
    """
    return read_picture(*find(image))
