"""Networks in and out of safetensors files, with everything needed to use them inside the file."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fer_bench import registry
from fer_bench.errors import FerBenchError
from fer_bench.predict import Predictor
from fer_bench.transforms import Normaliser

FORMAT = "fer_bench/1"


def sha256(path: Path) -> str:
    """The hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save(predictor: Predictor, path: Path) -> str:
    """Write a predictor and return the file's sha256.

    Kernels are stored as float16, which halves the file; vectors (biases, batch norms, running statistics) stay
    float32. A run scores the network that it reads back, so what is scored is what is shipped.
    """
    from safetensors.torch import save_file

    state = {f"network.{key}": value for key, value in predictor.network.state_dict().items()}
    state["mean"] = torch.from_numpy(predictor.normaliser.mean)
    state["std"] = torch.from_numpy(predictor.normaliser.std)
    tensors = {
        key: value.detach()
        .cpu()
        .to(torch.float16 if key.startswith("network.") and value.is_floating_point() and value.ndim > 1 else value.dtype)
        .contiguous()
        for key, value in state.items()
    }
    # Keys in order: the same network gives the same bytes.
    header = {
        "format": FORMAT,
        "fer_bench": json.dumps(
            {
                **predictor.metadata,
                "classes": list(predictor.classes),
                "size": predictor.size,
                "channels": predictor.channels,
                "crop": predictor.crop,
            },
            sort_keys=True,
        ),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(tensors, temporary, metadata=header)
    os.replace(temporary, path)
    return sha256(path)


def load(path: Path, device: torch.device | str = "cpu") -> Predictor:
    """Read a predictor.

    Raises:
        FerBenchError: the file is missing, corrupt, or of another format or model revision.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError as error:
        raise FerBenchError(f"no weights at {path}: train the model, or fetch the file") from error
    except (SafetensorError, OSError) as error:
        raise FerBenchError(f"{path}: not a readable safetensors file ({error}); fetch or train it again") from error
    if header.get("format") != FORMAT:
        raise FerBenchError(f"{path}: expected format {FORMAT!r}, got {header.get('format')!r}")
    metadata: dict[str, Any] = json.loads(header["fer_bench"])
    spec = registry.get_spec(metadata["model"])
    if metadata["model_revision"] != spec.revision:
        raise FerBenchError(
            f"{path}: weights of {spec.name} revision {metadata['model_revision']}, but the model is at "
            f"revision {spec.revision}; train it again"
        )
    network = registry.build(spec, len(metadata["classes"]), **metadata["model_options"])
    network.load_state_dict(
        {
            key.removeprefix("network."): value.float() if value.is_floating_point() else value
            for key, value in state.items()
            if key.startswith("network.")
        }
    )
    network.eval().to(device, memory_format=torch.channels_last)
    classes = tuple(metadata.pop("classes"))
    return Predictor(
        network=network,
        classes=classes,
        size=metadata.pop("size"),
        channels=metadata.pop("channels"),
        crop=metadata.pop("crop"),
        normaliser=Normaliser(np.asarray(state["mean"]), np.asarray(state["std"])),
        metadata=metadata,
    )
