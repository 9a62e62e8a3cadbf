"""Name -> spec. Every public module of `fer_bench.models` with a `SPECS` tuple is read, by file name."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import TYPE_CHECKING, Any

from fer_bench.errors import FerBenchError, UnknownNameError
from fer_bench.specs import ModelSpec

if TYPE_CHECKING:
    from torch import nn


@cache
def _registered() -> dict[str, ModelSpec]:
    package = importlib.import_module("fer_bench.models")
    specs: dict[str, ModelSpec] = {}
    for module in pkgutil.iter_modules(package.__path__, "fer_bench.models."):
        if module.name.rpartition(".")[2].startswith("_"):
            continue
        for spec in getattr(importlib.import_module(module.name), "SPECS", ()):
            if spec.name in specs:
                raise ValueError(f"two models are called {spec.name!r}")
            specs[spec.name] = spec
    return specs


def list_models() -> list[str]:
    """The names of all registered models."""
    return list(_registered())


def get_spec(name: str) -> ModelSpec:
    """The spec of a registered model, or of someone else's as "module:SPEC".

    Raises:
        UnknownNameError: no such model; the message names the nearest one.
        FerBenchError: the outside module cannot be imported, holds no ModelSpec, or one whose name is taken.
    """
    specs = _registered()
    if name in specs:
        return specs[name]
    if ":" not in name:
        raise UnknownNameError("model", name, specs)
    module, _, attribute = name.partition(":")
    try:
        spec = getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:  # whatever someone else's module raises
        problem = f"{type(error).__name__}: {error}"
        raise FerBenchError(f"--spec {name}: expected an importable module:SPEC, got {problem}") from error
    if not isinstance(spec, ModelSpec):
        raise FerBenchError(f"--spec {name}: expected a ModelSpec, got {type(spec).__name__}")
    if spec.name in specs:  # its records would be taken for that model's
        raise FerBenchError(f"--spec {name}: a model of the benchmark is called {spec.name!r}; choose another name")
    return spec


def build(spec: ModelSpec, num_classes: int = 7, **options: Any) -> nn.Module:
    """The untrained network of a spec."""
    module, _, function = spec.build.partition(":")
    network: nn.Module = getattr(importlib.import_module(module), function)(num_classes=num_classes, **options)
    return network


def create_model(name: str, num_classes: int = 7, **options: Any) -> nn.Module:
    """An untrained network by name: (N, channels, size, size) float32 -> (N, num_classes) logits."""
    return build(get_spec(name), num_classes, **options)
