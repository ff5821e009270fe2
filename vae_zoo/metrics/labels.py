"""A small network that learns the labels of the data, on the spot, and which labels it finds in no sample."""

from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vae_zoo.errors import require_positive
from vae_zoo.metrics.base import ImageFigure, why_none
from vae_zoo.metrics.samples import NO_DATA, Look, SampleFigure
from vae_zoo.models import GenerativeModel
from vae_zoo.models.base import Evaluated
from vae_zoo.neighbours import nearest

EPOCHS = 10
BATCH = 128
LR = 4e-3  # the highest of a cycle (Smith & Topin 2017)
ONE_LABEL = "the data have one label, where a network is to tell labels apart"
FAR = 3  # standard deviations from a mode's centre
SAMPLES = 4096  # compared with the centres at a time


class LabelNetwork(nn.Module):
    """Four convolutions with batch norm, the largest value over all places, and a linear layer to the labels.

    Args:
        labels: how many.
        width: channels after the first convolution; doubled at each of the next.

    Shapes: (B, 3, H, W) in [0, 1] -> (B, 8 width), the features; `logits` and `found` say what the labels are.
    """

    def __init__(self, labels: int, width: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise([3, *(width << i for i in range(4))]):
            layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.maps, self.last = nn.Sequential(*layers), nn.Linear(8 * width, labels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features (B, 8 width), which have no label in them yet."""
        return self.maps(x).amax((2, 3))  # unlike AdaptiveMaxPool2d, it has a deterministic gradient on a GPU

    def logits(self, x: Tensor) -> Tensor:
        """Return log p(label | x) but for a constant, (B, labels)."""
        return self.last(self(x))

    def found(self, x: Tensor) -> Tensor:
        """Return the most probable labels, (B, 1), as floats."""
        return self.logits(x).argmax(1, keepdim=True).float()


_TRAINED: WeakKeyDictionary[Any, LabelNetwork] = WeakKeyDictionary()  # by data module


def label_network(data: Any, device: torch.device) -> LabelNetwork | str:
    """Return a network trained on the labels of the training images, or the reason why there is none.

    All measures of the same data module have the same one. Ten epochs of Adam from a fixed seed, whatever that of the
    model is; no random state of others is touched.

    Args:
        data: the data module, None if there is none.
        device: to train on.
    """
    if data is None:
        return NO_DATA
    if data.facts.labels < 2:
        return ONE_LABEL
    if data not in _TRAINED:
        with torch.inference_mode(False), torch.enable_grad():  # a test has neither gradients nor tensors for them
            _TRAINED[data] = _trained(data, device)
    return _TRAINED[data].to(device)


def _trained(data: Any, device: torch.device) -> LabelNetwork:
    order, n = np.random.default_rng(0), data.facts.n_train
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        network = LabelNetwork(data.facts.labels).to(device)
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=EPOCHS * -(-n // BATCH))
    for _ in range(EPOCHS):
        for x, y in data.batches("train", BATCH, order.permutation(n)):
            if len(x) == 1:  # which has no statistics that a batch norm could take
                continue
            optimizer.zero_grad()
            x, y = x.to(device), y.to(device)
            cross_entropy(network.logits(x.expand(-1, 3, -1, -1)), y).backward()
            optimizer.step()
            schedule.step()
    return network.requires_grad_(False).eval()


class LabelAccuracy(ImageFigure):
    """Share of the test images whose label `label_network` finds, by which the figures that rest on it are trusted."""

    name, needs = "label_accuracy", ("pixels",)

    def __init__(self) -> None:
        super().__init__()
        self.network: LabelNetwork | None = None

    def begin(self, model: GenerativeModel, data: Any) -> None:
        """Train the network."""
        found = why_none(model, self.needs) or label_network(data, model.device)
        self.network, self.reason = (None, found) if isinstance(found, str) else (found, self.reason)

    def values(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> Tensor | str:
        """Return 1 for each image whose label is found, and 0 for the others."""
        if self.network is None:
            return self.reason
        return (self.network.found(x.float().expand(-1, 3, -1, -1)).squeeze(1) == y).float()


class ModesLost(SampleFigure):
    """Number of the data's labels that `label_network` finds in a test image, and in none of as many samples."""

    name = "modes_lost"

    def network(self, model: GenerativeModel, data: Any) -> Look | str:
        """Return what finds labels."""
        network = label_network(data, model.device)
        return network if isinstance(network, str) else network.found

    def figure(self, real: Tensor, fake: Tensor) -> float | str:
        """Count among labels found, (N, 1) each."""
        return len({*real.flatten().tolist()} - {*fake.flatten().tolist()})


def modes_lost(samples: Tensor, centres: Tensor, sigma: float) -> int:
    """Count the modes of a mixture of normals that have no sample within 3 sigma (Srivastava et al. 2017, section 4.1).

    Args:
        samples: of a model, (S, D).
        centres: of the modes, (M, D), further than 6 sigma from each other.
        sigma: their standard deviation.

    Raises:
        UserError: if there are no samples, one is not finite, or sigma is not positive.
    """
    require_positive(sigma=sigma)
    distance, _ = nearest(centres, samples.split(SAMPLES))
    return int((distance > FAR * sigma).sum())
