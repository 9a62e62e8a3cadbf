"""What a record says of the code, the machine and the cost of a network."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

import fer_bench
from fer_bench import registry
from fer_bench.errors import FerBenchError
from fer_bench.records import PROJECT_ROOT, CodeInfo
from fer_bench.specs import ModelSpec
from fer_bench.trainer import Compute

PACKAGES = ("torch", "timm", "numpy", "albumentations", "opencv-python-headless", "scikit-learn")


def network_cost(spec: ModelSpec, num_classes: int, options: dict[str, Any]) -> tuple[int, int]:
    """Parameters, and an image's multiply-adds in convolutions and matrix products, as torch counts them.

    Raises:
        FerBenchError: the network can't be built, or does not take an image of its spec.
    """
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    shape = (1, spec.channels, spec.size, spec.size)
    try:
        with torch.device("meta"), torch.no_grad():  # shapes only: nothing is drawn or computed
            network = registry.build(spec, num_classes, **options).eval()
            with counter:
                network(torch.zeros(shape))
    except Exception as error:  # whatever someone else's network raises
        raise FerBenchError(f"{spec.name}: {spec.build} gives no network for an input of {shape} ({error})") from error
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2


def code_info() -> CodeInfo:
    """Versions of the code and of what decides numbers."""

    def git(*arguments: str) -> str:
        try:
            return subprocess.run(
                ["git", *arguments], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
            ).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return ""

    commit = git("rev-parse", "HEAD")
    return CodeInfo(
        version=fer_bench.__version__,
        commit=commit,
        dirty=bool(commit and git("status", "--porcelain", "--", "fer_bench", "requirements.txt")),
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
        python=sys.version.split()[0],
    )


def device_name(compute: Compute) -> str:
    """The processor's or GPU's own name."""
    if compute.device.startswith("cuda"):
        return torch.cuda.get_device_name(compute.device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")


def now() -> str:
    """The present time, ISO 8601, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
