"""A network's ONNX file gives the predictor's probabilities, without fer_bench."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from fer_bench import cli, export, registry
from fer_bench.errors import FerBenchError
from fer_bench.labels import FER2013
from fer_bench.predict import Predictor
from fer_bench.records import Workspace
from fer_bench.specs import ModelSpec
from fer_bench.transforms import Normaliser

SHIPPED = [spec for name in registry.list_models() if not (spec := registry.get_spec(name)).not_shipped]
# Of what they do, a quicker one of their family does all.
SLOW = {"attentional_cnn_wide", "hog_cnn_2", "logreg", "ranjan_2", "resnet50", "resnet101"} | {
    f"marrugat_{number}" for number in (2, 3, 4)
}


def shaken(spec: ModelSpec, temperature: float = 1.0) -> Predictor:
    """With random weights and statistics everywhere: a spatial transformer that starts as the identity warps too."""
    torch.manual_seed(0)
    network = registry.build(spec, 7).eval()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                noise = 0.03 * torch.randn_like(value)
                value += noise.abs() if name.endswith("running_var") else noise
    mean = np.linspace(0.3, 0.6, spec.channels * spec.size**2, dtype=np.float32).reshape(spec.channels, spec.size, -1)
    normaliser = Normaliser(mean, np.full((spec.channels, 1, 1), 0.4, dtype=np.float32))
    metadata = {"model": spec.name, "recipe": "paper"}
    return Predictor(
        network, FER2013.classes, spec.size, spec.channels, normaliser, metadata=metadata, temperature=temperature
    )


@pytest.mark.parametrize(
    "spec",
    [pytest.param(spec, id=spec.name, marks=[pytest.mark.slow] if spec.name in SLOW else []) for spec in SHIPPED],
)
def test_every_shipped_kind_gives_the_same_probabilities(spec: ModelSpec) -> None:
    predictor = shaken(spec)
    content = export.to_onnx(predictor)
    assert export.largest_difference(content, predictor) < export.TOLERANCE


def test_another_network_is_noticed() -> None:
    predictor = shaken(registry.get_spec("lda"))
    content = export.to_onnx(predictor)
    predictor.temperature = 1.01
    assert export.largest_difference(content, predictor) > export.TOLERANCE


def test_the_temperature_and_what_is_needed_to_use_it_are_inside() -> None:
    predictor = shaken(registry.get_spec("lin_shi"), temperature=2.5)
    content = export.to_onnx(predictor)
    assert export.largest_difference(content, predictor) < export.TOLERANCE
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model)
    assert str(Path(export.__file__).parent).encode() not in content, "this machine's folders are in it"
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told.pop("classes") == json.dumps(FER2013.classes)
    assert told == {"model": "lin_shi", "recipe": "paper", "size": "48", "channels": "1", "crop": "whole"}


class _Fixed(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.reshape(len(images), -1)[:, :7]


class _Looping(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        while images.sum() > 1:
            images = images / 2
        return images.flatten(1)[:, :7]


@pytest.mark.parametrize("network", [_Fixed(), _Looping()], ids=["fixed", "looping"])
def test_what_cannot_be_exported_says_so_in_a_line(network: torch.nn.Module) -> None:
    predictor = shaken(registry.get_spec("lda"))
    predictor.network = network
    with pytest.raises(FerBenchError, match=r"^lda\.paper can't be exported: [^\n]+$"):
        export.to_onnx(predictor)


def test_the_command_writes_a_file_that_stands_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", "attentional_cnn.no_transformer"]) == 0
    said, path = capsys.readouterr(), tmp_path / "attentional_cnn.no_transformer.onnx"
    assert "differ from ours by at most" in said.out and not said.err
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    [probabilities] = session.run(None, {"image": np.full((1, 1, 48, 48), 128, dtype=np.float32)})
    assert probabilities.shape == (1, 7) and probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_a_shipped_network_is_not_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    shipped = Workspace().weights / "lda.paper.safetensors"
    before = shipped.read_bytes()
    assert cli.main(["export", "lda", "--out", str(shipped)]) == 2
    assert "the folder of the shipped networks" in capsys.readouterr().err and shipped.read_bytes() == before


def test_a_file_that_differs_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(export, "to_onnx", lambda _: b"content")
    for difference in (2 * export.TOLERANCE, float("nan")):
        monkeypatch.setattr(export, "largest_difference", lambda *_, difference=difference: difference)
        assert cli.main(["export", "lda", "--format", "onnx", "--out", str(tmp_path / "lda.onnx")]) == 1
        assert "FAILED" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime", "onnxscript"])
def test_without_the_packages_it_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    assert cli.main(["export", "lda"]) == 2
    assert 'pip install -e ".[export]"' in capsys.readouterr().err
