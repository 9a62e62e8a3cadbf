"""CPU latency of the networks: measured when asked for, read when the board is built."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fer_bench import registry
from fer_bench.errors import FerBenchError
from fer_bench.records import Workspace, write_bytes
from fer_bench.specs import ModelSpec

WARM_UP = 5
REPEATS = 30


def latency_path(workspace: Workspace) -> Path:
    """Where the measurement lies."""
    return workspace.leaderboard / "latency.json"


def read_latency(workspace: Workspace) -> dict[str, Any] | None:
    """What `measure_latency` wrote, or None if nothing was measured.

    Raises:
        FerBenchError: the file is not such a measurement.
    """
    path = latency_path(workspace)
    if not path.exists():
        return None
    try:
        values: dict[str, Any] = json.loads(path.read_bytes())
        for model, milliseconds in values["milliseconds"].items():
            if not isinstance(milliseconds, int | float):
                raise TypeError(f"milliseconds of {model} are {milliseconds!r}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FerBenchError(f"{path}: not a latency measurement ({error}); measure again") from error
    return values


def measure_latency(workspace: Workspace, progress: Callable[[int, int, str], None] | None = None) -> dict[str, Any]:
    """Measure every registered network, with the options of its recipes too; write `latency.json`.

    One image at a time, one thread, float32, evaluation mode, channels last: the median of 30 forward passes
    after 5 to warm up. Reading, resizing and normalising the picture are not in it.

    Args:
        workspace: where to write.
        progress: called with the number measured, the number of all and the name of the next.

    Returns:
        {"cpu", "threads", "torch", "date", "milliseconds": {model or, with options, model.recipe: median},
        "multiply_adds": {the same: those of the network that was measured}}.
    """
    import datetime

    import torch

    from fer_bench.provenance import device_name, network_cost
    from fer_bench.trainer import Compute

    names = {name: network for model in registry.list_models() for name, network in _networks(model).items()}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    milliseconds: dict[str, float] = {}
    of_network: dict[tuple[str, str], float] = {}
    try:
        for number, (name, (spec, options)) in enumerate(names.items()):
            if progress:
                progress(number, len(names), name)
            network = spec.name, json.dumps(options, sort_keys=True)
            if network not in of_network:  # recipes of one network get one number, so that noise can't rank them
                of_network[network] = _median_milliseconds(spec, options)
            milliseconds[name] = of_network[network]
    finally:
        torch.set_num_threads(threads)
    result = {
        "cpu": device_name(Compute(device="cpu")),
        "threads": 1,
        "torch": torch.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "milliseconds": milliseconds,
        "multiply_adds": {name: network_cost(spec, 7, options)[1] for name, (spec, options) in names.items()},
    }
    write_bytes(latency_path(workspace), json.dumps(result, indent=1).encode() + b"\n")
    return result


def milliseconds_of(measured: Mapping[str, float], model: str, recipe: str) -> float | None:
    """The measured latency of a model as a recipe builds it, if it was measured."""
    optional = model in registry.list_models() and f"{model}.{recipe}" in _networks(model)
    return measured.get(f"{model}.{recipe}" if optional else model)


def _networks(model: str) -> dict[str, tuple[ModelSpec, dict[str, Any]]]:
    """The options to build a model's networks with, by what `milliseconds_of` looks for."""
    spec = registry.get_spec(model)
    optional = {recipe.name: dict(recipe.model_options) for recipe in spec.recipes if recipe.model_options}
    return {model: (spec, {}), **{f"{model}.{name}": (spec, options) for name, options in optional.items()}}


def _median_milliseconds(spec: ModelSpec, options: dict[str, Any]) -> float:
    import time
    from statistics import median

    import torch

    network = registry.build(spec, **options).eval().to(memory_format=torch.channels_last)
    image = torch.rand(1, spec.channels, spec.size, spec.size).contiguous(memory_format=torch.channels_last)
    seconds = []
    with torch.inference_mode():
        for _ in range(WARM_UP + REPEATS):
            started = time.perf_counter()
            network(image)
            seconds.append(time.perf_counter() - started)
    return round(1000 * median(seconds[WARM_UP:]), 2)
