"""Trains every model of the package for 20 steps, alone or together with other processes, on the same noise.

A process of a training draws noise of its own. For the comparison all draw that of the whole batch instead, from one
generator, and take their share of it. Batch normalisation takes the statistics of the whole batch, as `SyncBatchNorm`
does, which PyTorch has for GPUs alone.
"""

import dataclasses
import inspect
import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed, nn
from torch.distributed.nn.functional import all_reduce
from torch.utils._python_dispatch import TorchDispatchMode

from tests.zoo import MODELS, small, trainer
from vae_zoo.data import Sketches
from vae_zoo.data.images import ImageDataModule, ImageDataset
from vae_zoo.distributions import OptimalGaussian
from vae_zoo.models import EBGAN, IAFVAE, SketchRNN, StackGAN
from vae_zoo.models.ebgan import Equilibrium
from vae_zoo.models.first_stages import VAEStage
from vae_zoo.networks import ConvDecoder, ConvEncoder

BATCH, EPOCHS = 14, 2  # ten batches an epoch, the last one of 12: numbers that are the size of nothing else
N_TRAIN = 9 * BATCH + 12
# Beside each model as the others test it: what looks at a batch as a whole.
FURTHER = {
    "free bits": (IAFVAE, {"free_bits": 0.2}),
    "optimal sigma": (IAFVAE, {"likelihood": OptimalGaussian}),
    "pulling away": (EBGAN, {"pull_away": 0.5, "balance": Equilibrium}),
    "a KL that is free": (SketchRNN, {"kl_min": 1.0}),
    "a VAE first": (
        StackGAN,
        {
            "first": partial(
                VAEStage,
                latent=5,
                encoder=partial(ConvEncoder, width=4, depth=1),
                decoder=partial(ConvDecoder, width=4, depth=1),
            )
        },
    ),
}
CASES = {cls.__name__: (cls, {}) for cls in MODELS} | FURTHER
# After 15 steps a difference in the last bit has grown to one in the third digit, so they are trained in float64, too.
CHAOTIC = ["StackGAN", "a VAE first"]


class Blots(ImageDataModule):
    """Images of one colour each with a little noise, and labels in turn."""

    shape = (3, 16, 16)

    def __init__(self, batch_size):
        super().__init__()
        # One image to validate on makes a batch more, in the first of two processes alone.
        self.batch_size, self.sizes = batch_size, {"train": N_TRAIN, "val": BATCH + 1, "test": 20}

    def read(self):
        rng, parts = np.random.default_rng(0), {}
        for part, n in self.sizes.items():
            pixels = rng.integers(20, 200, (n, 1, 1, 3)) + rng.integers(0, 50, (n, 16, 16, 3))
            parts[part] = ImageDataset(pixels.astype(np.uint8), torch.arange(n) % 4, np.arange(n))
        return list("abcd"), parts

    def on_after_batch_transfer(self, batch, dataloader_idx):
        x, y = super().on_after_batch_transfer(batch, dataloader_idx)
        return x.double() if self.trainer.precision == "64-true" else x, y


class SharedNoise(TorchDispatchMode):
    """Random numbers of the whole batch, of which this process takes its rows."""

    def __init__(self, world, rank):
        super().__init__()
        self.world, self.rank, self.batch = world, rank, 0
        self.generator = torch.Generator().manual_seed(0)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made, name = func(*args, **(kwargs or {})), func.overloadpacket.__name__
        if name not in ("randn", "randn_like", "normal", "normal_", "rand", "rand_like", "uniform_", "bernoulli"):
            assert not (torch.Tag.nondeterministic_seeded in func.tags and self.batch), f"{func} is random, too"
            return made
        if self.batch not in made.shape:
            return made
        where = made.shape.index(self.batch)
        shape = [*made.shape]
        shape[where] *= self.world
        even = name in ("rand", "rand_like", "uniform_", "bernoulli")
        noise = (torch.rand if even else torch.randn)(shape, generator=self.generator)
        rows = torch.arange(self.rank, shape[where], self.world)
        noise = noise.index_select(where, rows)
        if name == "bernoulli":
            noise = (noise < args[0]).to(made)
        elif name == "uniform_":
            low, high = (*args[1:], 0.0, 1.0)[:2] if len(args) != 2 else (args[1], 1.0)
            noise = low + (high - low) * noise
        elif name in ("normal", "normal_"):
            mean, std = args[-2:] if name == "normal" else (*args[1:], 0.0, 1.0)[:2]
            noise = mean + std * noise
        return made.copy_(noise)


class WholeBatchNorm(nn.BatchNorm2d):
    """Batch normalisation by the batch of all processes."""

    def forward(self, x):
        if not self.training or not distributed.is_initialized():
            return super().forward(x)
        n, world = x.numel() / x.shape[1], distributed.get_world_size()
        mean = all_reduce(x.mean((0, 2, 3))) / world
        variance = all_reduce((x - mean[:, None, None]).square().mean((0, 2, 3))) / world
        if self.track_running_stats:
            unbiased = variance.detach() * n * world / (n * world - 1)
            self.running_mean.lerp_(mean.detach(), self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
            self.num_batches_tracked += 1
        x = (x - mean[:, None, None]) * (variance + self.eps).rsqrt()[:, None, None]
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class Losses(Callback):
    """Keeps what is logged at each step, and by their sums the images that are trained and validated on."""

    def __init__(self, noise):
        self.noise, self.steps, self.seen, self.validated = noise, [], [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.noise.batch = len(batch[0])
        self.seen += [float(each.double().sum()) for each in batch[0]]

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.noise.batch = 0
        figures = trainer.callback_metrics.items()
        self.steps.append({name: float(value) for name, value in figures if name.startswith("train/")})

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        if not trainer.sanity_checking:
            self.validated += [float(each.double().sum()) for each in batch[0]]


def train(case, folder, world, rank, precision):
    """Train one; return the logged figures of each step, the images, and the state that is left."""
    cls, changes = CASES[case]
    seed_everything(1)
    if cls.pixels:
        data = Blots(BATCH // world)
    else:
        data = Sketches(str(folder / "sketches.ndjson"), n_train=N_TRAIN, n_test=2, n_val=0, batch_size=BATCH // world)
    takes, facts = inspect.signature(cls).parameters, dataclasses.asdict(data.facts)
    model = small(cls, **{name: value for name, value in facts.items() if name in takes} | changes)
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = WholeBatchNorm
    noise = SharedNoise(world, rank)
    losses = Losses(noise)
    own = {"devices": world, "strategy": DDPStrategy(process_group_backend="gloo")} if world > 1 else {}
    own |= {"precision": precision, "max_epochs": EPOCHS, "log_every_n_steps": 1, "callbacks": [losses]}
    fits = trainer(folder, **own)
    with noise:
        fits.fit(model, datamodule=data)
    after = {name: float(value) for name, value in fits.callback_metrics.items() if name.startswith("val/")}
    kept = {"steps": losses.steps, "seen": losses.seen, "validated": losses.validated, "after": after}
    return kept | {"state": {**model.state_dict()}}


if __name__ == "__main__":
    place, processes = Path(sys.argv[1]), int(sys.argv[2])
    number = int(os.environ.get("LOCAL_RANK", 0))
    torch.set_num_threads(1)
    done = {case: train(case, place, processes, number, "32-true") for case in CASES}
    done |= {f"{case}, float64": train(case, place, processes, number, "64-true") for case in CHAOTIC}
    torch.save(done, place / f"{processes}_{number}.pt")
