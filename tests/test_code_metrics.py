"""The figures of the codes: active units, and the distance of the codes from the prior, by brute force."""

import pytest
import torch
from torch import nn

from tests.data_sets import images, module
from tests.running import fitting, one_that, run_test
from tests.zoo import models_that
from vae_zoo.conditional import Conditional, diagonal_normal
from vae_zoo.metrics import ActiveUnits, CodeMMD, active_units, code_mmd
from vae_zoo.models import Autoencoder, LatentVariableModel

LATENT = one_that(LatentVariableModel, pixels=True, conditional=False)


def test_active_units_have_a_mean_that_varies():
    codes = torch.randn(1000, 3) * torch.tensor([1.0, 0.11, 0.09])
    assert active_units(codes) == 2
    assert active_units(torch.ones(10, 4) * 5) == 0


def test_mmd_is_the_unbiased_estimate():
    a, b = torch.randn(6, 3), torch.randn(5, 3) + 1

    def kernel(u, v):
        squares = float((u.double() - v.double()).square().sum())
        return sum(c / (c + squares) for c in (0.6, 3.0, 6.0, 12.0, 60.0))  # 2 D s

    same = sum(kernel(u, v) for i, u in enumerate(a) for j, v in enumerate(a) if i != j) / 30
    same += sum(kernel(u, v) for i, u in enumerate(b) for j, v in enumerate(b) if i != j) / 20
    cross = sum(kernel(u, v) for u in a for v in b) / 30
    assert code_mmd(a, b) == pytest.approx(same - 2 * cross, abs=1e-9)


def test_mmd_is_about_zero_for_one_distribution_and_large_for_two():
    a, b = torch.randn(1000, 8), torch.randn(1000, 8)
    assert abs(code_mmd(a, b)) < 0.01 < 0.3 < code_mmd(3 * a, b)


@pytest.mark.slow
@models_that(Autoencoder, pixels=True)
def test_active_units_are_of_the_centres_of_the_whole_test_set(cls, shapes, tmp_path):
    data = module(shapes)
    model = fitting(cls, data)
    results = run_test(model, data, tmp_path, nll_samples=0)
    assert results["active_units"] == active_units(model.encode(*images(data, "test")))
    assert results["code_mmd"] is not None


@pytest.mark.slow
@models_that(encodes=False, pixels=True)
def test_a_model_without_codes_has_none_of_these(cls, shapes, tmp_path):
    data = module(shapes)
    results = run_test(fitting(cls, data), data, tmp_path)
    for key in ("active_units", "code_mmd"):
        assert results[key] is None and results["reasons"][key] == "it has no encoder"


class Blind(Conditional):
    """q(z|x) = N(0, I): its means are all zero, its draws are the prior's."""

    def forward(self, x, y=None):
        return diagonal_normal(torch.zeros(len(x), 5), torch.ones(len(x), 5))


def test_mmd_is_of_draws_which_follow_the_prior_where_the_means_do_not(shapes, tmp_path):
    data = module(shapes, n_train=5, n_test=70, n_val=0)
    model = fitting(LATENT, data)
    model.posterior = Blind()
    found = run_test(model, data, tmp_path, metrics=[CodeMMD()])["code_mmd"]
    assert abs(found) < 0.15 < code_mmd(torch.zeros(70, 5), torch.randn(70, 5))


class Same(Conditional):
    """q(z|x, y) = p(z|y)."""

    def __init__(self, prior):
        super().__init__()
        self.prior = prior

    def forward(self, x, y=None):
        return self.prior(y)


@models_that(LatentVariableModel, conditional=True, takes="learned_prior")
def test_the_prior_is_that_of_the_labels(cls, shapes, tmp_path):
    data = module(shapes, n_train=5, n_test=70, n_val=0)
    model = fitting(cls, data, learned_prior=True)
    nn.init.normal_(model.prior.embedding.weight[:, :5], std=4)  # the labels' means lie apart
    model.posterior = Same(model.prior)
    found = run_test(model, data, tmp_path, metrics=[CodeMMD()])["code_mmd"]
    _, y = images(data, "test")
    others = code_mmd(model.sample_prior(70, y), model.sample_prior(70, torch.zeros_like(y)))
    assert abs(found) < 0.15 < others


def test_one_image_has_no_distance(shapes, tmp_path):
    data = module(shapes, n_test=1)
    results = run_test(fitting(LATENT, data), data, tmp_path, metrics=[CodeMMD(), ActiveUnits()])
    assert results["code_mmd"] is results["active_units"] is None
    assert results["reasons"]["code_mmd"] == results["reasons"]["active_units"] == "it needs two images"
