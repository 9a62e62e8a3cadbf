"""Which stem of the 48-pixel ResNets gives more for its cost? `python benchmarks/stems.py`

Trains resnet18 with a 3x3 stem of stride 2 and of stride 1 by the `fer_bench` recipe, shortened, on FER2013's Training
and prints each one's PublicTest accuracy and minutes. Stride 2 is trained twice: for as many epochs as stride 1, and
for about as many minutes. PrivateTest is not looked at.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from fer_bench import data, registry
from fer_bench.fit import fit
from fer_bench.inputs import training_data
from fer_bench.protocols import get_protocol
from fer_bench.trainer import Compute

# (stride, epochs): an epoch at stride 1 costs about four at stride 2.
RUNS = ((2, 1), (2, 4), (1, 1))


def main() -> None:
    """Print a line a run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()

    spec = registry.get_spec("resnet18")
    dataset = data.load("fer2013", options.data_dir)
    (fold,) = get_protocol("fer2013").folds(dataset)
    recipe = spec.recipe("fer_bench", "fer2013")
    images = training_data(spec, dataset, fold, recipe)
    for stride, epochs in RUNS:
        fitted = fit(
            spec,
            dataclasses.replace(recipe, epochs=epochs, select="last", model_options={"stem_stride": stride}),
            images,
            seed=0,
            compute=Compute.detect("cpu", options.threads),
        )
        last = fitted.history[-1]
        print(
            f"stride {stride}, {epochs} epochs: PublicTest {100 * last['select_accuracy']:.2f}% "
            f"(loss {last['select_loss']:.3f}) in {fitted.seconds / 60:.1f} min",
            flush=True,
        )


if __name__ == "__main__":
    main()
