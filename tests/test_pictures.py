"""Every kind of picture comes out upright and right; every bad one is a line, and the rest goes on."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from fer_bench import pictures
from fer_bench.data.dataset import UInt8Array
from fer_bench.data.synthetic import draw_face
from fer_bench.errors import FerBenchError
from fer_bench.pictures import Frame, count, read_picture

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")  # as the library itself asks for
RNG = np.random.default_rng(0)
# Four flat quarters: survive JPEG, and no turn or mirror leaves them as they are.
QUARTERS = np.array([[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [250, 250, 0]]], dtype=np.uint8)
PICTURE: UInt8Array = np.repeat(np.repeat(QUARTERS, 32, axis=0), 48, axis=1)  # 64 x 96


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def jpeg(number: int = 0) -> bytes:
    return encoded(Image.fromarray(draw_face("happy", np.random.default_rng(number), size=64)).convert("RGB"), "JPEG")


def assert_alike(found: UInt8Array, expected: UInt8Array, tolerance: float = 6) -> None:
    assert found.shape == expected.shape
    assert found.dtype == np.uint8
    assert np.abs(found.astype(float) - expected).mean() < tolerance


def png_header(width: int, height: int) -> bytes:
    """A PNG that states its size and holds next to nothing."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


# stills


# What a camera stores, so that the turn that the number asks for undoes it.
STORED: dict[int, Callable[[UInt8Array], UInt8Array]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


@settings(max_examples=24, deadline=None)
@given(
    orientation=st.integers(1, 8),
    kind=st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"]),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
)
def test_exif_orientation_is_undone(orientation: int, kind: str, height: int, width: int) -> None:
    pillow_heif.register_heif_opener()
    upright = np.zeros((16 * height, 16 * width, 3), dtype=np.uint8)
    upright[: 8 * height, :, 0] = 250
    upright[:, : 8 * width, 2] = 250
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    assert_alike(read_picture(encoded(stored, kind, exif=exif.tobytes())), upright, 20)


def test_damaged_exif_spoils_nothing() -> None:
    for kind in ("JPEG", "PNG"):
        nonsense = b"Exif\0\0XX*\0\xff\xff\xff\xff\x12\x01"
        assert_alike(read_picture(encoded(Image.fromarray(PICTURE), kind, exif=nonsense)), PICTURE)
        exif = Image.Exif()
        exif[0x0112] = 6
        exif[0x010F] = "Maker"
        damaged = bytearray(exif.tobytes())
        damaged[damaged.index(b"\x01\x0f") + 1] = 0  # the maker's name as the picture's width
        stored = Image.fromarray(np.ascontiguousarray(STORED[6](PICTURE)))
        assert_alike(read_picture(encoded(stored, kind, exif=bytes(damaged))), PICTURE)


def _over_white(alpha: int) -> UInt8Array:
    over: UInt8Array = np.rint(PICTURE * (alpha / 255) + 255 * (1 - alpha / 255)).astype(np.uint8)
    return over


def _rgba(alpha: int) -> Image.Image:
    image = Image.fromarray(PICTURE)
    image.putalpha(alpha)
    return image


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "HEIF"])
def test_what_is_transparent_is_over_white(kind: str) -> None:
    pillow_heif.register_heif_opener()
    assert_alike(read_picture(encoded(_rgba(64), kind)), _over_white(64))


def test_gray_with_transparency_and_palettes() -> None:
    gray = Image.fromarray(np.full((8, 8), 100, np.uint8))
    gray.putalpha(0)
    assert (read_picture(encoded(gray, "PNG")) == 255).all()
    palette = Image.fromarray(PICTURE).quantize(4)
    assert_alike(read_picture(encoded(palette, "PNG")), PICTURE)
    corner = palette.getpixel((0, 0))
    clear = read_picture(encoded(palette, "GIF", transparency=corner))
    assert (clear[0, 0] == 255).all()
    assert (read_picture(encoded(Image.fromarray(PICTURE[:, :, 0] > 0), "PNG")) == [255, 255, 255]).mean() > 0.4


def test_the_first_frame_of_an_animation() -> None:
    first, second = (Image.fromarray(np.full((16, 16, 3), value, np.uint8)) for value in (30, 220))
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        data = encoded(first, kind, save_all=True, append_images=[second])
        assert_alike(read_picture(data), np.full((16, 16, 3), 30, np.uint8))


def test_cmyk() -> None:
    assert_alike(read_picture(encoded(Image.fromarray(PICTURE).convert("CMYK"), "JPEG", quality=95)), PICTURE)
    assert_alike(read_picture(encoded(Image.fromarray(PICTURE).convert("CMYK"), "TIFF")), PICTURE)


def test_ycck() -> None:
    # As Photoshop stores it: the inks as YCbCr, black inverted, and 2 in the marker's last byte.
    inks = Image.fromarray(255 - PICTURE).convert("YCbCr")
    # Pillow inverts all four when it writes CMYK.
    stored = Image.merge("CMYK", [*(ImageOps.invert(band) for band in inks.split()), Image.new("L", inks.size)])
    data = encoded(stored, "JPEG", quality=95, subsampling=0)
    marker = data.index(b"Adobe") + 11
    assert data[marker] == 0
    assert_alike(read_picture(data[:marker] + b"\2" + data[marker + 1 :]), PICTURE)


def test_sixteen_bits() -> None:
    gray = PICTURE[:, :, 0]
    expected = np.repeat(gray[:, :, None], 3, axis=2)
    deep = Image.fromarray(gray.astype(np.uint16) * 256 + 77)
    for kind in ("PNG", "TIFF", "PPM"):
        np.testing.assert_array_equal(read_picture(encoded(deep, kind)), expected)
    colour = cv2.imencode(".png", PICTURE[:, :, ::-1].astype(np.uint16) * 256 + 77)[1].tobytes()
    np.testing.assert_array_equal(read_picture(colour), PICTURE)


def test_heic(monkeypatch: pytest.MonkeyPatch) -> None:
    pillow_heif.register_heif_opener()
    data = encoded(Image.fromarray(PICTURE), "HEIF")
    assert_alike(read_picture(data), PICTURE)
    monkeypatch.setattr(pictures, "_formats", lambda: ("JPEG", "PNG"))
    with pytest.raises(FerBenchError, match=r"^photo\.heic: a HEIC picture: `pip install pillow-heif`"):
        read_picture(data, "photo.heic")


def test_a_picture_can_be_written_to() -> None:
    assert read_picture(encoded(Image.fromarray(PICTURE), "PNG")).flags.writeable


BAD = {
    "empty": (b"", "empty"),
    "truncated JPEG": (jpeg()[:-200], "not a readable image .*truncated"),
    "truncated PNG": (encoded(Image.fromarray(RNG.integers(0, 255, (64, 64, 3), np.uint8)), "PNG")[:-400], "readable"),
    "start only": (jpeg()[:20], "not a readable image"),
    "text": (b"dear diary", "not a readable image: in no known format"),
    "a program for a printer": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "in no known format"),
    "20,000 x 20,000": (png_header(20_000, 20_000), "more than 50 megapixels"),
    "10,000 x 10,000": (png_header(10_000, 10_000), "more than 50 megapixels"),
    "7,100 x 7,100": (png_header(7_100, 7_100), "more than 50 megapixels"),
    "no pixels": (png_header(0, 10), "not a readable image"),
    "32 bits": (encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "got 32"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_picture_is_one_line(what: str, tmp_path: Path) -> None:
    data, words = BAD[what]
    (tmp_path / "bad.jpg").write_bytes(data)
    sources: list[tuple[Path | bytes, str, str]] = [
        (tmp_path / "bad.jpg", "", f"{tmp_path}/bad.jpg: "),
        (data, "upload.jpg", "upload.jpg: "),
    ]
    for source, name, start in sources:
        with warnings.catch_warnings(), pytest.raises(FerBenchError, match=words) as caught:
            warnings.simplefilter("error")
            read_picture(source, name)
        message = str(caught.value)
        assert message.startswith(start)
        assert "\n" not in message and "object at" not in message


def test_no_file_at_all(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "none.png", "no such file"), (tmp_path, "not a file")):
        with pytest.raises(FerBenchError, match=words):
            read_picture(path)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(FerBenchError, match="not a file"):
        read_picture(tmp_path / "pipe.png")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_never_raises_anything_else(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(DAMAGED)))
    content = bytearray(DAMAGED[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        picture = read_picture(bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))]))
    except FerBenchError as error:
        assert "\n" not in str(error)
    else:
        assert picture.ndim == 3 and picture.dtype == np.uint8


DAMAGED = {
    kind: encoded(Image.fromarray(PICTURE[::4, ::4]), kind, exif=Image.Exif() if kind == "JPEG" else b"")
    for kind in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP")
}


# batches


def listed(paths: Sequence[Path]) -> list[Frame]:
    """All frames; each is a picture or an error."""
    frames = list(pictures.pictures(paths))
    assert all((frame.picture is None) == bool(frame.error) for frame in frames)
    assert all("\n" not in frame.error for frame in frames)
    return frames


def only_error(path: Path) -> str:
    [frame] = listed([path])
    assert frame.file == str(path)
    assert str(path) not in frame.error  # the row has the name already
    assert count([path]) == 1
    return frame.error


def test_a_folder_is_read_to_any_depth_in_order(tmp_path: Path) -> None:
    for name in ("b.jpg", "a/z.JPEG", "a/b/c/d/e/f/deep.jpeg", ".hidden.jpg", ".cache/x.jpg", "a/._b.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(jpeg())
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "broken.png").write_bytes(b"")
    frames = listed([tmp_path])
    assert [Path(frame.file).relative_to(tmp_path).as_posix() for frame in frames] == [
        *("a/b/c/d/e/f/deep.jpeg", "a/z.JPEG", "b.jpg", "broken.png")
    ]
    assert [frame.error for frame in frames] == ["", "", "", "empty (0 bytes)"]
    assert count([tmp_path]) == 4


def test_one_bad_file_never_stops_the_rest(tmp_path: Path) -> None:
    for name, (data, _) in BAD.items():
        (tmp_path / f"{name}.jpg").write_bytes(data)
    for name in ("0.jpg", "zz.jpg"):
        (tmp_path / name).write_bytes(jpeg())
    for name in ("broken.zip", "broken.mp4"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
    frames = listed([tmp_path / "0.jpg", tmp_path, tmp_path / "broken.zip", tmp_path / "none", tmp_path / "zz.jpg"])
    good = [Path(frame.file).name for frame in frames if frame.picture is not None]
    assert good == ["0.jpg", "0.jpg", "zz.jpg", "zz.jpg"]
    assert len(frames) == len(good) + len(BAD) + 3


def test_pictures_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        for number in range(3):
            archive.writestr(f"{number}.jpg", jpeg(number))
    decoded: list[int] = []
    decode = pictures._decode

    def counting(data: bytes) -> UInt8Array:
        decoded.append(len(data))
        return decode(data)

    monkeypatch.setattr(pictures, "_decode", counting)
    frames = pictures.pictures([tmp_path / "faces.zip"])
    for expected in (1, 2, 3):
        next(frames)
        assert len(decoded) == expected


def test_an_empty_folder(tmp_path: Path) -> None:
    assert "no pictures or videos" in only_error(tmp_path)


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))
    try:
        path.write_bytes(jpeg())
    except OSError:
        pytest.skip("this file system has no such names")
    [frame] = listed([tmp_path])
    assert frame.file.encode().endswith("/caf\ufffd.jpg".encode())
    assert frame.picture is not None


# zips


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_zip(tmp_path: Path) -> None:
    members = {
        "b.jpg": jpeg(),
        "in/a.png": b"broken",
        "__MACOSX/._b.jpg": b"",
        "read.me": b"",
        "clip.mp4": b"",
        "c.jpg": jpeg(),
    }
    path = zipped(tmp_path / "faces.zip", members)
    before = sorted(tmp_path.iterdir())
    frames = listed([path])
    assert [frame.file for frame in frames] == [f"{path}/{name}" for name in ("b.jpg", "c.jpg", "clip.mp4", "in/a.png")]
    assert [bool(frame.error) for frame in frames] == [False, False, True, True]
    assert "inside a zip" in frames[2].error
    assert "not a readable image" in frames[3].error
    assert count([path]) == 4
    assert sorted(tmp_path.iterdir()) == before


def test_a_zip_that_climbs_out(tmp_path: Path) -> None:
    for name in ("../out.jpg", "/etc/out.jpg", "a/../../out.jpg", "..\\out.jpg"):
        assert "points outside" in only_error(zipped(tmp_path / "in.zip", {"good.jpg": jpeg(), name: jpeg()}))
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.zip"]


def test_zip_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blank = bytes(1_000_000)
    assert "a zip bomb" in only_error(zipped(tmp_path / "ratio.zip", {f"{n}.bmp": blank for n in range(3)}))
    monkeypatch.setattr(pictures, "MAX_MEMBERS", 3)
    assert "more than 3 files" in only_error(zipped(tmp_path / "many.zip", {f"{n}.jpg": b"" for n in range(4)}))
    monkeypatch.setattr(pictures, "MAX_UNPACKED", 2_000_000)
    noise = RNG.bytes(700_000)
    assert "unpacked" in only_error(zipped(tmp_path / "long.zip", {f"{n}.jpg": noise for n in range(3)}))


def test_a_member_longer_than_stated(tmp_path: Path) -> None:
    path = zipped(tmp_path / "liar.zip", {"a.bmp": bytes(5_000_000), "b.jpg": jpeg()})
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\1\2")
    struct.pack_into("<I", data, entry + 24, 100_000)
    path.write_bytes(data)
    frames = listed([path])
    assert [bool(frame.error) for frame in frames] == [True, False]


def test_a_zip_with_a_password(tmp_path: Path) -> None:
    path = zipped(tmp_path / "locked.zip", {"a.jpg": jpeg()}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    for start, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(start) + offset] |= 1
    path.write_bytes(data)
    assert "'a.jpg' has a password" in only_error(path)


def test_a_damaged_zip(tmp_path: Path) -> None:
    path = zipped(tmp_path / "cut.zip", {"a.jpg": jpeg(), "b.jpg": jpeg(1)})
    content = path.read_bytes()
    path.write_bytes(content[:-30])
    assert "truncated or damaged" in only_error(path)
    flipped = bytearray(content)
    flipped[content.index(b"b.jpg") + 200] ^= 0xFF
    path.write_bytes(flipped)
    assert [bool(frame.error) for frame in listed([path])] == [False, True]
    path.write_bytes(b"")
    assert only_error(path) == "empty (0 bytes)"
    assert "no pictures in this zip" in only_error(zipped(tmp_path / "texts.zip", {"a.txt": b"hello"}))


# videos


def filmed(path: Path, frames: int = 40, rate: float = 20, codec: str = "mp4v") -> Path:
    """PICTURE, its brightness falling with time."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), rate, (96, 64))
    for number in range(frames):
        writer.write((PICTURE[:, :, ::-1] * (1 - number / frames / 2)).astype(np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize(("name", "codec"), [("clip.mp4", "mp4v"), ("clip.avi", "MJPG"), ("clip.webm", "VP80")])
def test_a_video_gives_two_frames_a_second(tmp_path: Path, name: str, codec: str) -> None:
    path = filmed(tmp_path / name, codec=codec)
    frames = listed([path])
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.5, 1, 1.5], abs=0.051)
    assert count([path]) == 4
    for frame in frames:
        assert frame.picture is not None and frame.seconds is not None
        assert_alike(frame.picture, (PICTURE * (1 - frame.seconds / 4)).astype(np.uint8), 15)


def test_a_slow_video_gives_all_its_frames(tmp_path: Path) -> None:
    path = filmed(tmp_path / "slow.avi", frames=3, rate=1, codec="MJPG")
    assert [frame.seconds for frame in listed([path])] == pytest.approx([0, 1, 2])


def test_a_phone_held_upright(tmp_path: Path) -> None:
    path = filmed(tmp_path / "turned.mp4", frames=10)
    data = bytearray(path.read_bytes())
    # The track header's matrix: a quarter turn clockwise.
    matrix = data.index(b"tkhd") + 4 + 40
    struct.pack_into(">9i", data, matrix, 0, 1 << 16, 0, -(1 << 16), 0, 0, 64 << 16, 0, 1 << 30)
    path.write_bytes(data)
    [frame] = listed([path])
    assert frame.picture is not None
    assert_alike(frame.picture, np.rot90(PICTURE, -1), 15)


def test_a_long_video_is_cut_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_VIDEO_SECONDS", 60)
    path = filmed(tmp_path / "long.avi", frames=70, rate=1, codec="MJPG")
    *frames, last = listed([path])
    assert len(frames) == 60
    assert last.seconds == 60
    assert "1 minutes" in last.error
    assert count([path]) == 120  # one every half second was expected


class _Capture:
    """A stream whose container knows neither its length nor its times."""

    def __init__(self, frames: int) -> None:
        self.left = frames

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def get(self, what: int) -> float:
        return {cv2.CAP_PROP_FRAME_COUNT: -9.2e18, cv2.CAP_PROP_POS_MSEC: float("nan")}.get(what, 0.0)

    def set(self, what: int, value: float) -> bool:
        return False

    def retrieve(self) -> tuple[bool, UInt8Array]:
        return True, PICTURE

    def release(self) -> None:
        pass


def test_a_stream_of_unknown_length_and_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "recorded.webm"
    path.write_bytes(b"\x1aE\xdf\xa3")
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: _Capture(30))
    assert [frame.seconds for frame in listed([path])] == pytest.approx([0, 0.5, 1], abs=0.021)
    assert count([path]) == 1


def test_videos_without_frames(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = filmed(tmp_path / "none.mp4")
    data = path.read_bytes()
    for content, words in (
        (b"", "empty"),
        (b"#EXTM3U\nfile:///etc/passwd\n", "not a video"),
        (data[:400], "no frame of this video"),
        (data[:12] + RNG.bytes(500), "no frame of this video"),
    ):
        path.write_bytes(content)
        assert words in only_error(path)
    assert capfd.readouterr().err == ""
