"""The network that learns the data's labels, and the labels and modes that samples lack."""

import itertools

import numpy as np
import pytest
import torch

from tests.data_sets import images, module
from tests.running import data_for, fitting, one_that, run_test
from tests.zoo import models_that
from vae_zoo.data.images import ImageDataModule, ImageDataset
from vae_zoo.errors import UserError
from vae_zoo.metrics import Coverage, LabelAccuracy, ModesLost, Precision, label_network, modes_lost
from vae_zoo.metrics import labels as of_labels
from vae_zoo.models import LatentVariableModel

MODEL = one_that(LatentVariableModel, pixels=True, conditional=False)
CPU = torch.device("cpu")


class Hues(ImageDataModule):
    """Noisy grey images, or such as have one of four colours, by which their labels are known."""

    colours = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [200, 200, 40]])

    def __init__(self, labels=4, channels=3, n=200, wrong=0):
        super().__init__()
        self.batch_size, self.count, self.n, self.wrong, self.shape_ = 32, labels, n, wrong, (channels, 16, 16)

    @property
    def shape(self):
        return self.shape_

    def read(self):
        rng, parts = np.random.default_rng(0), {}
        for i, part in enumerate(("train", "val", "test")):
            y = np.arange(self.n) % self.count
            pixels = self.colours[y][:, None, None, : self.shape[0]] + rng.integers(-30, 30, (self.n, 16, 16, 1))
            if part == "test":
                y[: self.wrong] = (y[: self.wrong] + 1) % self.count
            parts[part] = ImageDataset(pixels.astype(np.uint8), torch.from_numpy(y), np.arange(self.n), None, i)
        return [f"hue {i}" for i in range(self.count)], parts


def hues(**changes):
    data = Hues(**changes)
    data.setup()
    return data


def paints(model, data, rows, monkeypatch):
    """Let a model sample the test images of these rows, over and over."""
    x = images(data, "test")[0][rows]
    drawn = itertools.cycle(x)
    monkeypatch.setattr(model, "sample", lambda n, y=None: torch.stack([next(drawn) for _ in range(n)]))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("wrong", [0, 50])
def test_accuracy_is_that_of_the_held_out_images(channels, wrong, tmp_path):
    data = hues(channels=channels, labels=2, wrong=wrong)
    results = run_test(fitting(MODEL, data), data, tmp_path, metrics=[LabelAccuracy()])
    assert results["label_accuracy"] == 1 - wrong / 200


@pytest.mark.parametrize("kept", [[0, 1, 2, 3], [0, 1, 3], [2]])
def test_modes_that_no_sample_shows_are_lost(kept, tmp_path, monkeypatch):
    data = hues()  # image i has the label i % 4
    model = fitting(MODEL, data)
    paints(model, data, [i for i in range(200) if i % 4 in kept], monkeypatch)
    results = run_test(model, data, tmp_path, metrics=[ModesLost(), Coverage(), Precision()])
    assert results["modes_lost"] == 4 - len(kept) and results["precision"] == 1
    assert results["coverage"] == len(kept) / 4


def test_labels_that_the_network_finds_in_no_test_image_are_not_counted(tmp_path, monkeypatch):
    data = hues()
    data.parts["test"].rows = np.arange(0, 200, 4).repeat(4)  # all of them have the first colour
    model = fitting(MODEL, data)
    paints(model, data, [0], monkeypatch)
    assert run_test(model, data, tmp_path, metrics=[ModesLost()])["modes_lost"] == 0


def test_one_network_is_trained_for_all_and_anew_for_other_data(shapes, tmp_path, monkeypatch):
    trained, train = [], of_labels._trained
    monkeypatch.setattr(of_labels, "_trained", lambda *given: trained.append(train(*given)) or trained[-1])
    for _ in range(2):
        data = module(shapes)
        before = torch.get_rng_state()
        metrics = [Precision(), LabelAccuracy(), ModesLost(), Coverage()]
        for measure in metrics:
            measure.begin(fitting(MODEL, data), data)
        torch.set_rng_state(before)
        label_network(data, CPU)
        assert torch.get_rng_state().equal(before)
    first, second = trained  # two data modules of the same images
    assert first is not second and not first.training
    x = torch.rand(5, 3, 16, 16)
    assert first(x).equal(second(x)) and first(x).shape == (5, 128)
    assert first.found(x).squeeze(1).equal(first.logits(x).argmax(1).float())


def test_a_last_batch_of_one_image_is_no_obstacle():
    data = hues(n=of_labels.BATCH + 1)
    x, y = images(data, "test")
    assert label_network(data, CPU).found(x).squeeze(1).equal(y.float())


NEEDS_LABELS = [LabelAccuracy, ModesLost, Precision]


def test_data_without_labels_are_a_reason(tmp_path):
    data = hues(labels=1)
    results = run_test(fitting(MODEL, data), data, tmp_path, metrics=[measure() for measure in NEEDS_LABELS])
    for measure in NEEDS_LABELS:
        assert results[measure.name] is None
        assert results["reasons"][measure.name] == "the data have one label, where a network is to tell labels apart"


@models_that(pixels=False)
def test_sketches_are_a_reason(cls, shapes, doodles, tmp_path):
    data = data_for(cls, shapes, doodles)
    results = run_test(fitting(cls, data), data, tmp_path, metrics=[LabelAccuracy(), ModesLost()])
    assert {results["reasons"][name] for name in ("label_accuracy", "modes_lost")} == {
        "it makes sketches, which have no pixels"
    }


def test_no_data_module_is_a_reason():
    assert label_network(None, CPU) == "there is no data module to take training images from"


# --- modes of a mixture


GRID = torch.tensor([[2.0 * i, 2.0 * j] for i in range(-2, 3) for j in range(-2, 3)])  # of the 25 Gaussians
SIGMA = 0.05


def test_of_25_gaussians_those_without_a_sample_are_lost():
    every = GRID.repeat_interleave(200, 0)
    assert modes_lost(every + SIGMA * torch.randn_like(every), GRID, SIGMA) == 0
    some = every[: 18 * 200]
    assert modes_lost(some + SIGMA * torch.randn_like(some), GRID, SIGMA) == 7
    assert modes_lost(torch.randn(5000, 2) * 1e-3, GRID, SIGMA) == 24  # collapsed to the mode in the middle
    assert modes_lost(every + 1, GRID, SIGMA) == 25  # between the modes


def test_a_mode_is_lost_beyond_three_sigma_of_the_nearest_sample():
    direction = torch.tensor([0.6, 0.8])
    for distance, lost in ((2.99, 0), (3.01, 1)):
        assert modes_lost((distance * SIGMA * direction)[None], torch.zeros(1, 2), SIGMA) == lost
    with pytest.raises(UserError, match="sigma must be positive"):
        modes_lost(torch.zeros(1, 2), GRID, 0.0)
