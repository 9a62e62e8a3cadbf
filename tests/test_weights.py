"""Networks survive the way through a file, and files that are not theirs are refused in one line."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fer_bench import metrics, weights
from fer_bench.data import synthetic
from fer_bench.errors import FerBenchError, UnknownNameError
from fer_bench.fit import fit
from fer_bench.leaderboard.board import manifest_path
from fer_bench.predict import Predictor
from fer_bench.records import Workspace
from fer_bench.specs import VIEWS
from fer_bench.trainer import Compute

SHIPPED = sorted(path.name.removesuffix(".safetensors") for path in Workspace().weights.glob("*.safetensors"))
METADATA = {"model": tiny.NAME, "model_revision": 1, "model_options": {}, "recipe": "plain", "seed": 3}


@pytest.fixture(scope="module")
def trained() -> Predictor:
    recipe = dataclasses.replace(tiny.PLAIN, epochs=1, normalisation="mean_image", crop="yunet")
    predictor = fit(tiny.SPEC, recipe, tiny.training_data(), seed=0, compute=Compute()).predictor
    predictor.metadata = dict(METADATA)
    return predictor


@pytest.fixture
def path(trained: Predictor, tmp_path: Path) -> Path:
    weights.save(trained, tmp_path / "deep" / "net.safetensors")
    return tmp_path / "deep" / "net.safetensors"


def header(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def rewrite(path: Path, drop: str = "", **changes: Any) -> None:
    """The file again with other metadata, a number throughout its mean or std, or without one of its tensors."""
    numbers = {key: changes.pop(key) for key in ("mean", "std") if key in changes}
    values = json.loads(header(path)["fer_bench"])
    values = {key: value for key, value in (values | changes).items() if value is not None}
    tensors = {key: value for key, value in load_file(path).items() if key != drop}
    tensors |= {key: torch.full_like(tensors[key], number) for key, number in numbers.items()}
    save_file(tensors, path, metadata={"fer_bench": json.dumps(values)})


def test_a_loaded_predictor_repeats_itself(path: Path) -> None:
    images = tiny.training_data().select_images
    one, other = weights.load(path), weights.load(path)
    for view in VIEWS:
        probabilities = one.predict(images, view)
        np.testing.assert_array_equal(one.predict(images, view), probabilities)
        np.testing.assert_array_equal(other.predict(images, view), probabilities)


def test_a_second_way_through_a_file_changes_nothing(path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    assert weights.save(weights.load(path), again) == weights.sha256(path)
    assert again.read_bytes() == path.read_bytes()


def test_rounding_is_all_that_a_file_changes(trained: Predictor, path: Path) -> None:
    images = tiny.training_data().select_images
    loaded = weights.load(path)
    np.testing.assert_allclose(loaded.predict(images), trained.predict(images), atol=5e-3)
    state = loaded.network.state_dict()
    for key, value in trained.network.state_dict().items():
        assert state[key].dtype == value.dtype
        expected = value.half().float() if value.is_floating_point() and value.ndim > 1 else value
        assert torch.equal(state[key], expected), key
    assert not loaded.network.training


def test_large_dense_layers_take_a_byte_a_weight_and_change_little(
    trained: Predictor, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "LARGE_DENSE", 144 * 7)  # the network's only dense layer
    small, again = tmp_path / "small.safetensors", tmp_path / "again.safetensors"
    weights.save(trained, small)
    assert path.stat().st_size - small.stat().st_size > 144 * 7 - 4 * 7 - 200  # a scale a unit, and its name
    loaded = weights.load(small)
    dense, kept = loaded.network.get_parameter("9.weight"), trained.network.get_parameter("9.weight")
    step = kept.abs().amax(dim=1, keepdim=True) / 127
    assert bool(((dense - kept).abs() <= step / 2 * 1.001).all())
    weights.save(loaded, again)
    assert again.read_bytes() == small.read_bytes()


def test_all_that_is_needed_travels_along(trained: Predictor, path: Path) -> None:
    loaded = weights.load(path)
    assert loaded.metadata == METADATA
    for name in ("classes", "size", "channels", "crop"):
        assert getattr(loaded, name) == getattr(trained, name)
    np.testing.assert_array_equal(loaded.normaliser.mean, trained.normaliser.mean)
    np.testing.assert_array_equal(loaded.normaliser.std, trained.normaliser.std)
    assert loaded.normaliser.mean.shape == (1, 48, 48)


def test_a_network_on_features_says_so_and_no_other(trained: Predictor, path: Path, tmp_path: Path) -> None:
    assert "input" not in header(path)["fer_bench"] and weights.load(path).input == "pixels"
    weights.save(dataclasses.replace(trained, input="published_features"), tmp_path / "other.safetensors")
    assert weights.load(tmp_path / "other.safetensors").input == "published_features"


def test_the_same_network_gives_the_same_bytes(trained: Predictor, tmp_path: Path) -> None:
    shuffled = dataclasses.replace(trained, metadata=dict(reversed(METADATA.items())))
    digests = {
        weights.save(predictor, tmp_path / f"{number}.safetensors")
        for number, predictor in enumerate([trained, shuffled] * 8)
    }
    assert len(digests) == 1
    assert digests == {weights.sha256(tmp_path / "0.safetensors")}
    other = dataclasses.replace(trained, metadata=METADATA | {"seed": 4})
    assert weights.save(other, tmp_path / "other.safetensors") not in digests


def refused(path: Path, match: str) -> None:
    with pytest.raises(FerBenchError, match=match) as caught:
        weights.load(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.safetensors", "no weights at .*: train the model, or fetch the file")


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_a_truncated_file(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    refused(path, "not a readable safetensors file")


@pytest.mark.parametrize("content", [b"PK\x03\x04 not this", b"<html>not found</html>", b"\xff" * 100])
def test_a_file_of_another_kind(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    refused(path, "not a readable safetensors file")


def test_a_folder(tmp_path: Path) -> None:
    refused(tmp_path, "not a readable safetensors file")


def test_a_file_of_someone_else(path: Path) -> None:
    save_file(load_file(path), path)
    refused(path, "expected format 'fer_bench/1', got None")
    save_file(load_file(path), path, metadata={"format": "pt"})
    refused(path, "expected format 'fer_bench/1', got 'pt'")


def test_another_format(path: Path) -> None:
    rewrite(path, format="fer_bench/2")
    refused(path, "expected format 'fer_bench/1', got 'fer_bench/2'")


def test_a_format_beside_the_other_metadata_is_read(path: Path) -> None:
    values = json.loads(header(path)["fer_bench"])
    del values["format"]
    metadata = {"format": weights.FORMAT, "fer_bench": json.dumps(values)}
    save_file(load_file(path), path, metadata=metadata)
    assert weights.load(path).metadata == METADATA


def test_another_revision(path: Path) -> None:
    rewrite(path, model_revision=2)
    refused(path, "weights of tiny revision 2, but the model is at revision 1; train it again")


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": ["one", "two"]},
        {"classes": ["angry", "disgust", "fear", "happy", "sad", "surprise", "bored"]},
        {"classes": ["angry", "disgust", "fear", "happy", "sad", "surprise", "angry"]},
        {"classes": [["angry"], "disgust", "fear", "happy", "sad", "surprise", "neutral"]},
        {"size": 47},
        {"crop": "nonsense"},
        {"input": "nonsense"},
        {"channels": 3},
        {"std": 0.0},
        {"std": float("nan")},
        {"mean": float("inf")},
        {"model_revision": None},
        {"crop": None},
        {"model_options": {"depth": 3}},
        {"drop": "network.9.bias"},
        {"drop": "mean"},
    ],
    ids=str,
)
def test_content_that_contradicts_itself(path: Path, changes: dict[str, Any]) -> None:
    rewrite(path, **changes)
    refused(path, "does not fit its model")


def test_metadata_that_are_no_json(path: Path) -> None:
    save_file(load_file(path), path, metadata={"fer_bench": "{"})
    refused(path, "does not fit its model")


def test_an_unknown_model(path: Path) -> None:
    rewrite(path, model="lin_shy")
    with pytest.raises(FerBenchError, match="did you mean 'lin_shi'"):
        weights.load(path)


def test_a_module_that_a_file_names_is_imported_only_if_a_run_here_wrote_it(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "strangers.py").write_text("from tiny import SPEC\nprint('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    rewrite(path, model="strangers:SPEC")
    refused(path, "wants to import strangers, and no record here is of this file")
    assert "strangers" not in sys.modules
    assert weights.load(path, trusted=True).classes
    assert weights.load(path).classes, "it is imported now"


def test_a_failed_write_leaves_the_old_file(trained: Predictor, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(FerBenchError, match=r"can't write .*: No space left on device"):
        weights.save(dataclasses.replace(trained, metadata={}), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_shipped_network_that_is_not_its_records_is_refused(workspace: Workspace) -> None:
    """Damage that leaves a readable file would give wrong answers."""
    shipped, record = Workspace(), "fer2013/lda.paper/s0.json"
    path = workspace.weights / "lda.paper.safetensors"
    path.parent.mkdir(parents=True)
    content = bytearray((shipped.weights / path.name).read_bytes())
    path.write_bytes(content)
    (workspace.records / record).parent.mkdir(parents=True)
    shutil.copyfile(shipped.records / record, workspace.records / record)
    assert weights.load_published(workspace, "lda").classes
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(FerBenchError, match=r"lda\.paper\.safetensors: damaged, or not the network of its record"):
        weights.load_published(workspace, "lda")
    (workspace.records / record).unlink()
    assert weights.load_published(workspace, "lda").classes, "there is nothing to compare it with"
    path.rename(path.with_name("qda.paper.safetensors"))
    with pytest.raises(FerBenchError, match=r"expected the network of qda\.paper, found that of lda\.paper"):
        weights.load_published(workspace, "qda")


def test_a_name_means_one_network_without_records(workspace: Workspace) -> None:
    workspace.weights.mkdir(parents=True)
    for recipe in ("paper", "no_dropout", "fer_bench", "distilled"):
        (workspace.weights / f"lin_shi.{recipe}.safetensors").write_bytes(b"")
    assert weights.published_name(workspace, "lin_shi") == "lin_shi.distilled"


def test_a_network_whose_record_is_here_is_fetched(workspace: Workspace) -> None:
    """`run` says that it is done."""
    with pytest.raises(FerBenchError, match="`python -m fer_bench run --model lin_shi --protocol fer2013` trains it"):
        weights.published_name(workspace, "lin_shi")
    record = workspace.record_path("fer2013", "lin_shi", "paper", 0)
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    for name in ("lin_shi", "lin_shi.paper"):
        with pytest.raises(FerBenchError, match=rf"{name} are shipped: its record is here, and .* weights pull"):
            weights.published_name(workspace, name)
    with pytest.raises(FerBenchError, match="--model lin_shi --protocol fer2013 --recipe no_dropout` trains it"):
        weights.published_name(workspace, "lin_shi.no_dropout")
    with pytest.raises(UnknownNameError, match="unknown recipe of lin_shi 'no_dropot'"):
        weights.published_name(workspace, "lin_shi.no_dropot")


def test_the_committed_networks_are_small_enough_to_clone() -> None:
    """50 MB a file and 250 MB in all; what is larger goes by the Hub alone."""
    sizes = [entry["bytes"] for entry in json.loads(manifest_path(Workspace()).read_text())]
    assert max(sizes) <= weights.LARGEST_FILE and sum(sizes) <= weights.LARGEST_SUM


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_network_is_as_sure_as_its_manifest_says(name: str) -> None:
    """By the same temperature as the board's calibrated error, and with the record's answers."""
    (entry,) = (e for e in json.loads(manifest_path(Workspace()).read_text()) if e["file"] == f"{name}.safetensors")
    raw, published = weights.load(Workspace().weights / entry["file"]), weights.load_published(Workspace(), name)
    images = synthetic.load(per_class={"train": 1, "select": 1, "test": 1}).images
    before, after = raw.predict(images), published.predict(images)
    assert published.temperature == entry["temperature"] != 1
    # Of probabilities alone, all under the floor become the same, at most this.
    least = metrics.SMALLEST_PROBABILITY ** (1 / entry["temperature"])
    np.testing.assert_allclose(after, metrics.tempered(before, entry["temperature"]), atol=2e-4 + least)
    np.testing.assert_array_equal(after.argmax(axis=1), before.argmax(axis=1))


@pytest.mark.parametrize("temperature", ["0", "-1", "NaN", "1e-300", "Infinity", "null", '"x"'])
def test_a_temperature_that_can_be_none_is_not_used(workspace: Workspace, temperature: str) -> None:
    workspace.weights.mkdir(parents=True)
    path = workspace.weights / "lda.paper.safetensors"
    shutil.copyfile(Workspace().weights / path.name, path)
    manifest_path(workspace).write_text(f'[{{"sha256": "{weights.sha256(path)}", "temperature": {temperature}}}]')
    assert weights.load_published(workspace, "lda").temperature == 1


@pytest.mark.parametrize("manifest", ["", "{}", "[]", '[{"sha256": "0"}]', '[{"sha256": 1, "temperature": "x"}]'])
def test_without_a_temperature_the_probabilities_are_the_networks_own(workspace: Workspace, manifest: str) -> None:
    workspace.weights.mkdir(parents=True)
    shutil.copyfile(Workspace().weights / "lda.paper.safetensors", workspace.weights / "lda.paper.safetensors")
    manifest_path(workspace).write_text(manifest)
    assert weights.load_published(workspace, "lda").temperature == 1
