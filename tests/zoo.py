"""What the tests of models share: the exported models, and small data for each.

A model that `vae_zoo.models` exports is tested by all common tests, by what it declares, with no edit of any test.
"""

import inspect

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from vae_zoo import models
from vae_zoo.data.sketches import stroke5
from vae_zoo.models.base import ImageModel

MODELS = models.concrete()
SMALL = dict(ImageModel.tiny)
JOINT, BY_TURNS = (  # one of each kind, with a figure that says how good it is
    next(cls for cls in MODELS if cls.monitor and cls(**cls.tiny).automatic_optimization is automatic)
    for automatic in (True, False)
)


def models_that(*bases, takes=None, lacks=None, **declared):
    """Parametrise over the models of these classes whose constructor takes, or lacks, an argument, and declare this."""
    found = [
        cls
        for cls in MODELS
        if all(issubclass(cls, base) for base in bases)
        and (takes is None or takes in inspect.signature(cls).parameters)
        and (lacks is None or lacks not in inspect.signature(cls).parameters)
        and all(getattr(cls, name) == value for name, value in declared.items())
    ]
    return pytest.mark.parametrize("cls", found)


every_model = models_that()


def small(cls, **changes):
    """A model of seconds."""
    return cls(**{**cls.tiny, **changes})


def sketches(n=20, seed=0, longest=20):
    """Sketches of 3 points to fewer than the longest has."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(3, longest, n)
    return stroke5([np.column_stack([rng.normal(size=(k, 2)), rng.random(k) < 0.3]) for k in sizes])


def batch(model, n):
    """Data for a model, and labels, which one that takes none does not look at."""
    shape = tuple(model.hparams["shape"])
    x = torch.rand(n, *shape) if model.pixels else sketches(n, longest=shape[0])
    return x, torch.arange(n) % (model.labels or 10)


def loader_of(model, n=20, size=8):
    """Data to train a model on: images of one colour each, or sketches."""
    x, y = batch(model, n)
    if model.pixels:
        x = x[..., :1, :1].expand_as(x).clone()
    return DataLoader(TensorDataset(x, y), size)


def loader(n=20, size=8, shape=(3, 16, 16)):
    """Images of one colour each, and labels that are all 0."""
    x = torch.rand(n, shape[0], 1, 1).expand(n, *shape).clone()
    return DataLoader(TensorDataset(x, torch.zeros(n, dtype=torch.int64)), size)


def trainer(folder, **changes):
    """A Trainer on the CPU that says nothing, and writes to this folder if at all."""
    settings = {"max_epochs": 1, "accelerator": "cpu", "logger": False}
    settings |= {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    return Trainer(default_root_dir=folder, **settings | changes)


def as_in_a_run(seed, epoch=0):
    """Seed the noise as an epoch of a run with this seed begins with it, in its first process."""
    torch.manual_seed(int(np.random.SeedSequence((seed, epoch, 0)).generate_state(1, np.uint64)[0]))


def traces_of(model):
    """The traces that a model makes from now on."""
    seen, trace = [], model.trace
    model.trace = lambda *given: seen.append(trace(*given)) or seen[-1]
    return seen


def asked(trace):
    """The names of what was derived from a trace."""
    return vars(trace).keys() - {"x", "y", "q", "prior", "likelihood", "z"}


def same(model, other):
    states = model.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def makes_the_same(model, other, x, y):
    """Whether both draw and reconstruct the same to the bit."""
    made = []
    for each in (model, other):
        torch.manual_seed(3)
        made.append([each.sample(4, y), *([each.reconstruct(x, y)] if model.encodes else [])])
    return all(torch.equal(a, b) for a, b in zip(*made, strict=True))


class Recorder(LightningModule):
    """Keeps the epoch and the images of each batch that it is trained on, with noise of its own."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.batches = []

    def training_step(self, batch, index):
        self.batches.append((self.current_epoch, batch[0].clone()))
        return self.weight * torch.rand(())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
