"""Augmentations, normalisers and views, each against what it says it does."""

from __future__ import annotations

from typing import Any, get_args

import albumentations as A
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_bench.affine import ImageAffine
from fer_bench.data.dataset import UInt8Array
from fer_bench.specs import VIEWS, Augmentation, Normalisation
from fer_bench.transforms import IMAGENET_MEAN, IMAGENET_STD, Augmenter, Normaliser, prepare, views

AUGMENTATIONS: tuple[Augmentation, ...] = get_args(Augmentation)
RANDOM = [name for name in AUGMENTATIONS if name != "none"]
SHAPES = [(6, 48, 48), (6, 48, 48, 3), (3, 31, 31)]


def noise(shape: tuple[int, ...], seed: int = 0) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_augmentation_keeps_shape_type_and_input(name: Augmentation, shape: tuple[int, ...]) -> None:
    images = noise(shape)
    before = images.copy()
    images.flags.writeable = False  # a data set is a read-only memory map
    augmented = Augmenter(name)(images, seed=1)
    assert augmented.shape == shape and augmented.dtype == np.uint8
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("name", RANDOM)
def test_augmentation_is_a_function_of_the_seed(name: Augmentation) -> None:
    images = noise((16, 48, 48))
    one, other = Augmenter(name), Augmenter(name)
    first = one(images, seed=5)
    assert not np.array_equal(one(images, seed=6), first)
    np.testing.assert_array_equal(one(images, seed=5), first)
    np.random.seed(0)
    np.testing.assert_array_equal(other(images, seed=5), first)


@pytest.mark.parametrize("name", RANDOM)
def test_images_of_a_batch_are_augmented_apart(name: Augmentation) -> None:
    same = np.repeat(noise((1, 48, 48)), 16, axis=0)
    assert len({image.tobytes() for image in Augmenter(name)(same, seed=0)}) > 1


def test_none_changes_nothing() -> None:
    images = noise((4, 48, 48))
    np.testing.assert_array_equal(Augmenter("none")(images, seed=0), images)


@pytest.mark.parametrize("shape", SHAPES)
def test_flip_mirrors_about_half_of_the_images(shape: tuple[int, ...]) -> None:
    images = noise((60, *shape[1:]))
    flipped = Augmenter("flip")(images, seed=0)
    mirrored = [np.array_equal(after, before[:, ::-1]) for before, after in zip(images, flipped, strict=True)]
    kept = [np.array_equal(after, before) for before, after in zip(images, flipped, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 18 <= sum(mirrored) <= 42


def test_flip_shift_moves_by_at_most_a_tenth_in_both_directions() -> None:
    images = np.zeros((200, 50, 50), dtype=np.uint8)
    images[:, 23:27, 23:27] = 255  # symmetric, so that mirroring does not move it
    shifted = Augmenter("flip_shift")(images, seed=0).astype(np.float64)
    mass = shifted.sum(axis=(1, 2))
    places = np.arange(50) - 24.5
    down = (shifted.sum(axis=2) @ places) / mass
    right = (shifted.sum(axis=1) @ places) / mass
    for moved in (down, right):
        assert np.all(np.abs(moved) <= 5.01)
        assert moved.min() < -3.5 and moved.max() > 3.5
    assert abs(np.corrcoef(down, right)[0, 1]) < 0.3


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "options",
    [
        {"translate_percent": (-0.1, 0.1)},
        {"scale": (0.8, 1.2), "translate_percent": (-0.15, 0.15), "rotate": (-15, 15)},
    ],
)
def test_the_quick_affine_map_is_albumentations_own(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    images = noise((40, *shape[1:]))
    warped = []
    for kind in (A.Affine, ImageAffine):
        compose = A.Compose([A.HorizontalFlip(p=0.5), kind(border_mode=cv2.BORDER_REPLICATE, p=0.9, **options)])
        compose.set_random_seed(7)
        warped.append(np.stack([compose(image=image)["image"] for image in images]))
    np.testing.assert_array_equal(warped[0], warped[1])
    assert not np.array_equal(warped[0], images)


def test_prepare_leaves_what_fits_alone() -> None:
    for images, channels in ((noise((3, 48, 48)), 1), (noise((3, 48, 48, 3)), 3)):
        np.testing.assert_array_equal(prepare(images, 48, channels), images)


def test_prepare_turns_colour_into_luminosity() -> None:
    images = noise((3, 20, 20, 3))
    expected = np.rint(images.astype(np.float64) @ [0.213, 0.715, 0.072])
    gray = prepare(images, 20, 1)
    assert gray.shape == (3, 20, 20) and gray.dtype == np.uint8
    assert np.abs(gray - expected).max() <= 1 and (gray != expected).mean() < 0.01
    white = np.full((1, 4, 4, 3), 255, dtype=np.uint8)
    assert np.all(prepare(white, 4, 1) == 255)


def test_prepare_repeats_gray_as_colour() -> None:
    images = noise((2, 20, 20))
    np.testing.assert_array_equal(prepare(images, 20, 3), np.stack([images] * 3, axis=-1))


@pytest.mark.parametrize("shape", [(2, 96, 96), (2, 96, 96, 3), (2, 24, 24), (2, 60, 80, 3)])
@pytest.mark.parametrize(("size", "channels"), [(48, 1), (48, 3)])
def test_prepare_resizes(shape: tuple[int, ...], size: int, channels: int) -> None:
    prepared = prepare(noise(shape), size, channels)
    assert prepared.shape == ((2, size, size) if channels == 1 else (2, size, size, 3))
    assert prepared.dtype == np.uint8
    constant = prepare(np.full(shape, 77, dtype=np.uint8), size, channels)
    assert np.all(constant == 77)


def test_prepare_shrinks_by_area_means() -> None:
    images = noise((1, 96, 96))
    blocks = images.reshape(1, 48, 2, 48, 2).mean(axis=(2, 4))
    assert np.abs(prepare(images, 48, 1) - blocks).max() <= 0.5


@pytest.mark.parametrize("shape", [(9, 12, 12), (9, 12, 12, 3)])
def test_normalisers(shape: tuple[int, ...]) -> None:
    images = noise(shape)
    channels = 1 if len(shape) == 3 else 3
    # (N, C, H, W) in 0..1
    scaled = images.reshape(*shape[:3], channels).transpose(0, 3, 1, 2) / 255
    expected = {
        "unit": scaled,
        "half": scaled * 2 - 1,
        "standard": (scaled - scaled.mean(axis=(0, 2, 3), keepdims=True)) / scaled.std(axis=(0, 2, 3), keepdims=True),
        "mean_image": scaled - scaled.mean(axis=0),
        "imagenet": (scaled - np.reshape(IMAGENET_MEAN[:channels], (-1, 1, 1)))
        / np.reshape(IMAGENET_STD[:channels], (-1, 1, 1)),
    }
    assert set(expected) == set(get_args(Normalisation))
    for kind in get_args(Normalisation):
        normaliser = Normaliser.fitted(kind, images)
        assert normaliser.mean.dtype == normaliser.std.dtype == np.float32
        normalised = (scaled - normaliser.mean) / normaliser.std
        np.testing.assert_allclose(normalised, expected[kind], atol=2e-6, err_msg=kind)


def test_a_blank_training_set_does_not_divide_by_zero() -> None:
    normaliser = Normaliser.fitted("standard", np.full((2, 4, 4), 9, dtype=np.uint8))
    assert np.all(normaliser.std > 0)


@pytest.mark.parametrize("shape", [(5, 48, 48), (5, 48, 48, 3), (2, 33, 33)])
def test_views_count_and_content(shape: tuple[int, ...]) -> None:
    images = noise(shape)
    versions = {view: list(views(images, view)) for view in VIEWS}
    assert {view: len(of) for view, of in versions.items()} == {"plain": 1, "flip": 2, "ten_crop": 10}
    for of in versions.values():
        assert all(version.shape == shape and version.dtype == np.uint8 for version in of)
    np.testing.assert_array_equal(versions["plain"][0], images)
    np.testing.assert_array_equal(versions["flip"][0], images)
    np.testing.assert_array_equal(versions["flip"][1], images[:, :, ::-1])


@given(st.integers(0, 255), st.sampled_from([(2, 48, 48), (2, 48, 48, 3)]))
def test_ten_crops_of_a_constant_image_are_it(value: int, shape: tuple[int, ...]) -> None:
    images = np.full(shape, value, dtype=np.uint8)
    for version in views(images, "ten_crop"):
        np.testing.assert_array_equal(version, images)


def test_ten_crops_are_the_corners_the_middle_and_their_mirrors() -> None:
    # A gradient across: a crop's mean is that of its window, in the enlarged copy as well.
    images = np.broadcast_to(np.arange(48, dtype=np.uint8) * 5, (1, 48, 48))
    across = [version.mean() for version in views(images, "ten_crop")]
    down = [version.mean() for version in views(images.transpose(0, 2, 1), "ten_crop")]
    left, middle, right = ((start + 43 / 2) * 5 for start in (0, 2, 4))
    mirrored = [right, left, right, left, middle]
    np.testing.assert_allclose(across, [left, right, left, right, middle, *mirrored], atol=0.3)
    np.testing.assert_allclose(down, [left, left, right, right, middle] * 2, atol=0.3)
