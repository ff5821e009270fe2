"""How sharp samples are, by hand; and how near they are to training images, against scikit-learn."""

import itertools

import numpy as np
import pytest
import torch
from scipy.ndimage import laplace
from sklearn.neighbors import NearestNeighbors
from torchvision.transforms.v2.functional import gaussian_blur

from tests.data_sets import images, module
from tests.running import data_for, fitting, one_that, run_test
from tests.zoo import models_that
from vae_zoo.metrics import NearestInTraining, Sharpness, laplacian_variance, nearest_in_training, sharpness
from vae_zoo.models import LatentVariableModel

MODEL = one_that(LatentVariableModel, pixels=True, conditional=False)


def samples(model, x, monkeypatch):
    """Let a model sample these images, in their order."""
    drawn = itertools.cycle(x)
    monkeypatch.setattr(model, "sample", lambda n, y=None: torch.stack([next(drawn) for _ in range(n)]))


def test_the_variance_of_the_laplacian_is_scipys():
    x = torch.rand(4, 3, 9, 12)
    red, green, blue = x.double().unbind(1)
    for found, grey in zip(laplacian_variance(x), 0.299 * red + 0.587 * green + 0.114 * blue, strict=True):
        assert found.item() == pytest.approx(laplace(grey.numpy())[1:-1, 1:-1].var(), rel=1e-5)


def test_what_is_known_of_the_laplacian():
    ramp = torch.linspace(0, 1, 16).expand(1, 3, 16, 16)
    assert laplacian_variance(ramp).item() == pytest.approx(0, abs=1e-12)  # a slope is no edge
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2.0
    assert laplacian_variance(board.expand(1, 3, 16, 16)).item() == pytest.approx(16)  # values of 4 and -4
    noise = 0.1 * torch.randn(20, 1, 200, 200).expand(-1, 3, -1, -1)
    assert laplacian_variance(noise).mean().item() == pytest.approx(0.01 * (4**2 + 4), rel=0.01)  # weights squared
    assert laplacian_variance(0.5 * board.expand(1, 3, 16, 16)).item() == pytest.approx(4)


@pytest.mark.parametrize("channels", [1, 3])
def test_blurred_samples_are_less_sharp_and_by_how_much(channels, shapes, tmp_path, monkeypatch):
    data = module(shapes, channels=channels, image_size=32)
    x = images(data, "test")[0]
    model = fitting(MODEL, data)
    for name, made in {"same": x, "blurred": gaussian_blur(x, [5, 5]), "noisy": (x + 0.2 * torch.rand_like(x))}.items():
        made = made.clamp(0, 1)
        samples(model, made, monkeypatch)
        found = run_test(model, data, tmp_path / name, metrics=[Sharpness()])["sharpness"]
        by_hand = [laplacian_variance(each.expand(-1, 3, -1, -1)).double().mean().item() for each in (made, x)]
        assert found == pytest.approx(by_hand[0] / by_hand[1], rel=1e-5)
        assert {"same": abs(found - 1) < 1e-6, "blurred": found < 0.5, "noisy": found > 1}[name]


def test_what_has_no_sharpness(tmp_path, shapes, monkeypatch):
    data = module(shapes)
    data.parts["test"].pixels = np.full_like(data.parts["test"].pixels, 7)
    results = run_test(fitting(MODEL, data), data, tmp_path, metrics=[Sharpness()])
    assert results["reasons"]["sharpness"] == "each test image is of one colour"
    model = fitting(MODEL, module(shapes))
    for side in 2, 3:  # of 3 x 3 pixels there is one value, and no variance
        model.hparams["shape"] = (3, side, side)
        measure = Sharpness()
        measure.begin(model, data)
        assert measure.reason == "images no larger than the Laplacian of 3 pixels"


# --- nearness to the training images


def nearest(a, b):
    return NearestNeighbors(n_neighbors=1, algorithm="brute").fit(b.numpy()).kneighbors(a.numpy())[0].mean()


@pytest.mark.parametrize("block", [5, 1024])
@pytest.mark.parametrize("n_train", [30, 70])
def test_it_is_the_ratio_of_mean_distances(n_train, block, monkeypatch):
    """With no more training images than test images, of as many of these, which are chosen at random."""
    monkeypatch.setattr(sharpness, "SAMPLES", block)
    train, test, made = torch.rand(n_train, 6), torch.rand(70, 6), torch.rand(23, 6)
    chosen = test[np.random.default_rng(0).permutation(70)[:n_train]] if n_train < 70 else test
    found = nearest_in_training(made, test, train.split(8), n_train)
    if n_train == 70:
        assert found == pytest.approx(nearest(made, train) / nearest(made, test), rel=1e-5)
    else:
        assert len(chosen) == 30 and 0.7 < found / (nearest(made, train) / nearest(made, chosen)) < 1.4


@pytest.mark.parametrize("n_test", [20, 100, 400])
def test_copies_of_training_images_have_0_whatever_the_sizes(n_test):
    train, test = torch.rand(100, 6), torch.rand(n_test, 6)
    assert nearest_in_training(train[torch.randperm(100)[:30]], test, train.split(9), 100) == 0
    assert nearest_in_training(train[:1], test, train.split(9), 100) == 0  # of an image that may not be swapped


def test_samples_of_the_truth_have_1_and_those_near_the_training_images_less():
    ratios = {"truth": [], "smooth": [], "remembers": []}
    for _ in range(60):
        train, test, made = (torch.randn(n, 3) for n in (200, 50, 100))
        near = train[torch.randperm(200)[:100]] + 0.1 * torch.randn(100, 3)
        for name, samples_ in {"truth": made, "smooth": made / 3, "remembers": near}.items():
            ratios[name].append(nearest_in_training(samples_, test, train.split(64), 200))
    means = {name: np.mean(values) for name, values in ratios.items()}
    assert means["truth"] == pytest.approx(1, abs=0.015) and means["smooth"] == pytest.approx(1, abs=0.015)
    assert means["remembers"] < 0.85


def test_copies_of_test_images_are_a_reason():
    test = torch.rand(20, 6)
    assert nearest_in_training(test, test, [torch.rand(20, 6)], 20) == "each sample is a test image"


@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_that_copies(channels, shapes, tmp_path, monkeypatch):
    data = module(shapes, channels=channels)
    model = fitting(MODEL, data)
    honest = run_test(model, data, tmp_path / "honest", metrics=[NearestInTraining()])["nearest_in_training"]
    samples(model, next(data.batches("train", 40))[0], monkeypatch)
    copies = run_test(model, data, tmp_path / "copies", metrics=[NearestInTraining()])["nearest_in_training"]
    assert copies == 0 and honest == pytest.approx(1, abs=0.2)


@models_that(pixels=False)
def test_sketches_are_a_reason(cls, shapes, doodles, tmp_path):
    data = data_for(cls, shapes, doodles)
    results = run_test(fitting(cls, data), data, tmp_path, metrics=[Sharpness(), NearestInTraining()])
    assert results["reasons"]["sharpness"] == results["reasons"]["nearest_in_training"]
    assert results["reasons"]["sharpness"] == "it makes sketches, which have no pixels"
