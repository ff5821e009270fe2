"""What a comparison costs: its FLOPs, its hours, and its price at a rate that you state.

    python benchmarks/cost.py [--config compare/full] [--dollars 2.5] [--at_a_time 1] [--other 30] [--seconds 2]
        [--step vae=5.9 iwae=8.2 ...] [OPTION ...]

Each model is trained for some seconds here, which counts the FLOPs of a step, the same on each machine, and times it.
Run on the GPU that you mean to rent, this is all; elsewhere --step says what a step took there, in milliseconds. The
options are those of ``vae-zoo compare``, such as ``--seeds 0 --epochs 50``. Then, summed over the trainings,

    hours = (epochs * ceil(images / batch) * seconds of a step + other seconds) / 3600 / trainings' worth at a time
"""

import argparse
import math
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch

from vae_zoo import settings
from vae_zoo.cli.benchmark import measure
from vae_zoo.cli.compare import parse
from vae_zoo.data.shapes import generate_shapes


class Cost(NamedTuple):
    """Of all trainings of one model: how many, of how many steps each, FLOPs of a step, seconds of a step."""

    trainings: int
    steps: int
    flops: float
    step: float

    @property
    def all_flops(self) -> float:
        """Of the steps of all trainings."""
        return self.trainings * self.steps * self.flops

    def seconds(self, other: float) -> float:
        """Return those of all trainings one after the other, each with so many of other things than steps."""
        return self.trainings * (self.steps * self.step + other)


def costs(words: list[str], seconds: float, stated: dict[str, float]) -> dict[str, Cost]:
    """Return the cost of each model of a comparison.

    Args:
        words: after ``vae-zoo compare``.
        seconds: for which each model is trained.
        stated: by model, the seconds of a step elsewhere.
    """
    accelerator = "gpu" if torch.cuda.is_available() else "cpu"
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        generate_shapes(Path(folder) / "shapes", 768)
        experiment = parse([*words, "--out", f"{folder}/out"])
        small = [f"--data.root={folder}/shapes", f"--data.cache_dir={folder}", f"--trainer.accelerator={accelerator}"]
        small += ["--data.n_train=640", "--data.n_test=64", "--data.n_val=64"]
        trainings = Counter(plan.config for plan in experiment.plans)
        for plan in experiment.plans:
            if plan.config.stem not in found:
                own = experiment.resolve(plan.config, shared := experiment._shared_options(plan))
                data = settings.arguments(own, "data")
                steps = experiment.epochs * math.ceil(data["n_train"] / data["batch_size"])
                measured = measure([f"--config={plan.config}", *shared, *small], seconds, tries=False)
                step = stated.get(plan.config.stem, measured.step)
                found[plan.config.stem] = Cost(trainings[plan.config], steps, measured.flops, step)
    return found


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.allow_abbrev = False  # --seeds is no --seconds
    parser.add_argument("--config", default="compare/full")
    parser.add_argument("--dollars", type=float, default=2.5, help="an hour")
    parser.add_argument("--at_a_time", type=float, default=1, help="by how much trainings at a time are faster")
    parser.add_argument("--other", type=float, default=30, help="seconds of a training beside its steps")
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--step", nargs="+", default=[], metavar="MODEL=MS", help="milliseconds of a step elsewhere")
    options, rest = parser.parse_known_args()
    stated = {name: float(ms) / 1000 for name, ms in (word.split("=") for word in options.step)}
    found = costs(["--config", options.config, *rest], options.seconds, stated)
    print("| | trainings | steps of each | GFLOP a step | ms a step | TFLOP/s | hours |\n|---|---|---|---|---|---|---|")
    for name, cost in found.items():
        cells = f"{cost.trainings} | {cost.steps:,} | {cost.flops / 1e9:.1f} | {1000 * cost.step:.1f}"
        rate, hours = cost.flops / cost.step / 1e12, cost.seconds(options.other) / 3600
        print(f"| {name} | {cells} | {rate:.1f} | {hours:.2f} |")
    hours = sum(cost.seconds(options.other) for cost in found.values()) / 3600
    total = sum(cost.all_flops for cost in found.values())
    print(f"\n{total / 1e15:.1f} PFLOP. One after the other: {hours:.2f} h, {hours * options.dollars:.2f} dollars.")
    hours /= options.at_a_time
    print(
        f"With {options.at_a_time:g} trainings' worth at a time: {hours:.2f} h, {hours * options.dollars:.2f} dollars."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
