"""Does the loop keep the processor busy? `python benchmarks/training.py`

For each model, the rate of the full loop (read, augment, collate, step, with the model's own `fer_bench` recipe) over
the rate of the bare step on resident random tensors: same network, precision, threads, loss, optimiser, averaging.
Rounds of both alternate and the medians are compared, so that a change of the machine's pace meets both.

Also the loader: FER2013 from its files to arrays, from the cache, and the peak memory of that; and the time of
`python -m fer_bench list` over that of `python -c "import torch"`.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch

from fer_bench import data, fit, registry
from fer_bench.data.dataset import FaceDataset
from fer_bench.fit import TrainingData
from fer_bench.inputs import training_data
from fer_bench.protocols import get_protocol
from fer_bench.trainer import Compute, Trainer


def rate(images: int, work: Callable[[], object]) -> float:
    """Images a second."""
    started = time.perf_counter()
    work()
    return images / (time.perf_counter() - started)


def training(model: str, dataset: FaceDataset, protocol: str, steps: int, rounds: int, compute: Compute) -> None:
    """Print both rates and their ratio."""
    spec = registry.get_spec(model)
    recipe = dataclasses.replace(spec.recipe("fer_bench", dataset.name), epochs=2, select="last")
    assert recipe.batch_size is not None
    fold = get_protocol(protocol).folds(dataset)[0]
    everything = training_data(spec, dataset, fold, recipe)
    subset = np.arange(steps * recipe.batch_size)
    some = TrainingData(
        everything.train_images[subset], everything.train_targets[subset],
        everything.select_images[:0], everything.select_targets[:0], everything.classes,
    )  # fmt: skip
    trainer = Trainer(spec, recipe, len(some.classes), seed=0, fold=0, compute=compute)
    shape = (recipe.batch_size, spec.channels, spec.size, spec.size)
    inputs = torch.rand(shape).to(memory_format=torch.channels_last)
    targets = torch.randint(len(some.classes), (recipe.batch_size,))

    def bare() -> None:
        trainer.network.train()
        for step in range(steps):
            trainer.step(inputs, targets, 1e-3, 0, step, steps)

    def full() -> float:
        # The second epoch: the first one of a new network also allocates and plans.
        return fit.fit(spec, recipe, some, seed=0, compute=compute).history[1]["images_per_s"]

    bare()  # warm-up
    rates = [(full(), rate(steps * recipe.batch_size, bare)) for _ in range(rounds)]
    loops, steps_only = (statistics.median(column) for column in zip(*rates, strict=True))
    ratio = statistics.median(loop / step for loop, step in rates)
    print(f"{model}: full loop {loops:.0f} img/s, bare step {steps_only:.0f} img/s, ratio {ratio:.3f}", flush=True)


def loading() -> None:
    """FER2013 into an empty cache and out of it again, each in a process of its own."""
    code = (
        "import resource, sys, time; from fer_bench import data; import numpy; "
        "start = time.perf_counter(); d = data.load('fer2013'); int(d.images[::7].sum()); "
        "print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "FER_BENCH_CACHE": cache}
        for name in ("files", "cache"):
            result = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
            )
            seconds, peak = map(float, result.stdout.split())
            print(f"FER2013 from the {name}: {seconds:.2f} s, peak memory {peak:.0f} MiB", flush=True)


def start_up() -> None:
    """`list` against importing torch."""

    def seconds(*arguments: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started

    lists = statistics.median(seconds("-m", "fer_bench", "list") for _ in range(5))
    torches = statistics.median(seconds("-c", "import torch") for _ in range(5))
    print(f"list: {lists:.2f} s; import torch: {torches:.2f} s; ratio {lists / torches:.2f}", flush=True)


def main() -> None:
    """Everything, on the real data where they are found, else on the drawings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["lin_shi", "resnet18"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    real = "fer2013" in data.found()
    start_up()
    if real:
        loading()
    name = "fer2013" if real else "synthetic"
    dataset = data.load(name)
    compute = Compute.detect("cpu", threads=len(os.sched_getaffinity(0)))
    precision = "bfloat16 autocast" if compute.bf16 else "float32"
    print(f"{name}, {compute.threads} threads, {compute.workers} workers, {precision}")
    for model in options.models:
        training(model, dataset, name, options.steps, options.rounds, compute)
    print(f"peak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
