"""What numbers below 1e-38 cost: images per second of training with them flushed to zero, over those without.

    python benchmarks/denormals.py [--data pictures.zip] [--steps 60] [--size 64] [--batch 32]

IWAE and its doubly reparameterised gradients, at sigma = 1 and with the optimal sigma. Denormal numbers appear when the
importance weights have become small, so each model trains `steps` steps first; then steps with and without take turns.
On one thread, since threads keep the setting that they were started with.
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from itertools import cycle
from time import perf_counter

import torch
from photos import photos
from torch import Tensor

from vae_zoo.cli.process import keep_freed_memory
from vae_zoo.distributions import Gaussian, OptimalGaussian
from vae_zoo.models import IWAE


def seconds_of_a_step(model: IWAE, optimizer: torch.optim.Optimizer, batches: Iterator[Tensor], flush: bool) -> float:
    """Train one step."""
    torch.set_flush_denormal(flush)
    x = next(batches)
    begin = perf_counter()
    optimizer.zero_grad()
    model.training_step((x, x), 0).backward()
    optimizer.step()
    return perf_counter() - begin


def main() -> None:
    """Measure each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a folder or zip of pictures; by default generated shapes")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        data = photos(options.data, folder, 512, 1, options.size, options.batch)
        for dreg in (False, True):
            for likelihood in (Gaussian, OptimalGaussian):
                torch.manual_seed(0)
                model = IWAE(data.shape, likelihood=likelihood, samples=5, dreg=dreg)
                optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
                batches = cycle([x for x, _ in data.batches("train", options.batch)])
                for _ in range(options.steps):
                    seconds_of_a_step(model, optimizer, batches, flush=True)
                times: dict[bool, list[float]] = {True: [], False: []}
                for _ in range(options.rounds):
                    for flush in times:
                        times[flush].append(seconds_of_a_step(model, optimizer, batches, flush))
                with_them, without = (options.batch / statistics.median(times[flush]) for flush in (False, True))
                name = f"{'DReG' if dreg else 'IWAE'}, {likelihood.__name__}"
                print(
                    f"{name:22} {with_them:6.1f} images/s, flushed {without:6.1f}: {without / with_them:.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
