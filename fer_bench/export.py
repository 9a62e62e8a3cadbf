"""A network as one ONNX file that needs nothing of fer_bench: pixels in, probabilities out."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fer_bench.data import synthetic
from fer_bench.errors import FerBenchError
from fer_bench.predict import Predictor
from fer_bench.transforms import prepare

# Of a probability. Sums in another order differ by less; more than this is another network.
TOLERANCE = 1e-4
OPSET = 18


class _Portable(nn.Module):
    """(N, channels, size, size) float32 in 0..255 -> (N, classes) probabilities."""

    mean: Tensor
    std: Tensor

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.network = predictor.network
        self.temperature = predictor.temperature
        self.register_buffer("mean", torch.from_numpy(predictor.normaliser.mean))
        self.register_buffer("std", torch.from_numpy(predictor.normaliser.std))

    def forward(self, image: Tensor) -> Tensor:
        logits = self.network((image / 255 - self.mean) / self.std)
        return torch.softmax(logits / self.temperature, dim=1)


def to_onnx(predictor: Predictor) -> bytes:
    """The content of an ONNX file (opset 18), all weights inside.

    Its input "image" is (N, channels, size, size) float32 in 0..255, for any N; its output "probabilities" (N,
    classes) float32. The metadata have the model, the recipe, the classes as a JSON list in the order of the
    probabilities, size, channels and crop.

    Args:
        predictor: on the CPU.

    Raises:
        FerBenchError: the packages of the extra `export` are not installed, the network takes no pictures, or it
            does what an ONNX graph can't.
    """
    onnx, _ = _packages()
    name = f"{predictor.metadata.get('model')}.{predictor.metadata.get('recipe')}"
    if predictor.input != "pixels":
        raise FerBenchError(f"{name} can't be exported: it takes features, not pictures")
    try:
        with _quiet():
            model = _traced(predictor)
    except Exception as error:  # whatever stands in the way of its tracing
        raise FerBenchError(f"{name} can't be exported: {str(error).strip().splitlines()[0]}") from error
    if not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise FerBenchError(f"{name} can't be exported: its code fixes the number of pictures")
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")  # the lines that it was traced from, with this machine's folders
    properties = {
        "model": str(predictor.metadata.get("model")),
        "recipe": str(predictor.metadata.get("recipe")),
        "classes": json.dumps(predictor.classes),
        "size": str(predictor.size),
        "channels": str(predictor.channels),
        "crop": predictor.crop,
    }
    onnx.helper.set_model_props(model, properties)
    content: bytes = model.SerializeToString()
    return content


def _traced(predictor: Predictor) -> Any:
    example = torch.zeros(2, predictor.channels, predictor.size, predictor.size)
    program = torch.onnx.export(
        _Portable(predictor).eval(),
        (example,),
        input_names=["image"],
        output_names=["probabilities"],
        dynamic_shapes=({0: torch.export.Dim("N")},),
        opset_version=OPSET,
        custom_translation_table={torch.ops.aten.hypot.default: _hypot},
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    return program.model_proto


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what PyTorch's exporter says of its own workings."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _hypot(a: Any, b: Any) -> Any:
    """What PyTorch's exporter has no translation for."""
    from onnxscript import opset18

    return opset18.Sqrt(opset18.Add(opset18.Mul(a, a), opset18.Mul(b, b)))


def largest_difference(content: bytes, predictor: Predictor) -> float:
    """How far onnxruntime's probabilities are from the predictor's, on drawn faces and on noise."""
    _, onnxruntime = _packages()
    drawn = synthetic.load(per_class={"train": 1, "select": 1, "test": 6}).images
    noise = np.random.default_rng(0).integers(0, 256, drawn.shape, dtype=np.uint8)
    images = prepare(np.concatenate([drawn, noise]), predictor.size, predictor.channels)
    pixels = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found,) = session.run(["probabilities"], {"image": pixels.astype(np.float32)})
    return float(np.abs(found - predictor.predict(images)).max())


def _packages() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 (PyTorch's exporter needs it)
    except ImportError as error:
        raise FerBenchError(f'{error}: `pip install -e ".[export]"` installs what an ONNX file needs') from error
    return onnx, onnxruntime
