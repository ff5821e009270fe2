"""Monte Carlo EM: its two steps against plain PyTorch, its chains, its step size, its log p(x)."""

import copy
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.utils.data import DataLoader, TensorDataset

from tests.oracles.linear_gaussian import LATENT, PIXELS, LinearGaussian
from tests.zoo import as_in_a_run, batch, loader_of, small, trainer
from vae_zoo import hmc
from vae_zoo.distributions import Prior, StandardNormal
from vae_zoo.errors import UserError
from vae_zoo.likelihoods import OptimalGaussian
from vae_zoo.models import MCEM


def with_linear_decoder(**changes):
    """A model whose decoder and likelihood are those of the linear-Gaussian oracle, and the oracle."""
    truth = LinearGaussian(exact=True)

    class Decoder(nn.Sequential):
        def __init__(self, features, shape):
            super().__init__(nn.Linear(features, PIXELS), nn.Unflatten(-1, shape))

    model = MCEM((1, 1, PIXELS), LATENT, Decoder, **changes).double()
    model.likelihood = truth.likelihood
    model.check = truth.check
    return model, truth


@pytest.mark.slow
def test_codes_are_draws_of_the_posterior_when_there_are_moves_enough():
    model, truth = with_linear_decoder(moves=30)
    x = truth.images(3)
    many = x.repeat(1_500, 1, 1, 1)
    for _ in range(30):  # the step adapts, as in training
        _, probability = model._posterior_draws(x.repeat(50, 1, 1, 1))
        model.step_size.copy_(hmc.adapted(model.step_size, probability, 0.9, 0.5))
    z, probability = model._posterior_draws(many)
    assert probability.mean() == pytest.approx(0.9, abs=0.05)
    posterior = truth.posterior(x)
    z = z.view(1_500, 3, LATENT)
    error = posterior.covariance_matrix.diagonal(dim1=-2, dim2=-1).sqrt() / 1_500**0.5
    assert ((z.mean(0) - posterior.mean).abs() < 4.5 * error).all()
    covariance = posterior.covariance_matrix[0]  # the same for each image
    for draws in z.unbind(1):
        error = 4.5 * float(covariance.max()) * (2 / 1_500) ** 0.5
        torch.testing.assert_close(draws.T.cov(), covariance, atol=error, rtol=0)


class LearnedNormal(Prior):
    def __init__(self, latent, shape=(), posterior=None):
        super().__init__()
        self.mean, self.log_sigma = nn.Parameter(torch.full((latent,), 0.3)), nn.Parameter(torch.full((latent,), -0.2))

    def forward(self, y=None):
        return torch.distributions.Independent(torch.distributions.Normal(self.mean, self.log_sigma.exp()), 1)


@pytest.mark.slow
@pytest.mark.parametrize("prior", [StandardNormal, LearnedNormal])
def test_a_step_is_moves_and_then_updates_with_the_same_codes(prior, tmp_path):
    changes = {"prior": prior, "moves": 2, "leapfrogs": 2, "updates": 3}
    model = small(MCEM, lr=1e-4, optimizer=partial(SGD, lr=1e-4), **changes).double()
    x, y = batch(model, 6)
    x, plain = x.double(), copy.deepcopy(model)
    fits = trainer(tmp_path, max_steps=1)
    torch.manual_seed(5)
    fits.fit(model, DataLoader(TensorDataset(x, y), 6))
    assert fits.global_step == 1  # a batch, not an update

    as_in_a_run(5)
    z, total = plain.prior().rsample((6,)), 0.0

    mean, log_sigma = [*plain.prior.parameters()] or torch.zeros(2, z.shape[-1]).double()

    def density(z):
        log_prior = -((((z - mean) / log_sigma.exp()) ** 2 + math.log(2 * math.pi)) / 2 + log_sigma).sum(-1)
        return log_prior + plain.likelihood(z).log_prob(x)

    state = hmc.at(density, z)
    for _ in range(2):
        state, probability = hmc.move(density, state, plain.step_size, 2)
        total = total + probability / 2
    for _ in range(3):
        gradients = torch.autograd.grad(-density(state.z).mean(), list(plain.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(plain.parameters(), gradients, strict=True):
                parameter -= 1e-4 * gradient
    for (name, parameter), other in zip(model.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter, other, rtol=1e-9, atol=1e-12, msg=name)
    wanted = plain.step_size * (0.1 * (total.mean() - 0.9)).exp()
    torch.testing.assert_close(model.step_size, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("first", [1e-3, 3.0])
def test_the_step_size_comes_to_the_acceptance_that_is_wanted(first, tmp_path):
    model = small(MCEM, moves=2, lr=1e-5)
    model.step_size.fill_(first)
    trainer(tmp_path, max_epochs=60).fit(model, loader_of(model, n=24))
    if first < 1:  # as long as all moves are accepted, it grows by exp(.01) a step
        assert 4 * first < model.step_size < 1
    else:
        _, probability = model._posterior_draws(batch(model, 200)[0])
        assert 0.7 < float(probability.mean()) < 1 and model.step_size < first / 2


@pytest.mark.slow
def test_it_learns_and_validation_leaves_it_alone(tmp_path):
    model = small(MCEM)
    data = loader_of(model, n=64)
    x, y = next(iter(data))
    before = model.evaluate(x, y)["figures"]["loss"].mean()
    fits = trainer(tmp_path, max_epochs=10)
    fits.fit(model, data)
    state = copy.deepcopy(model.state_dict())
    figures = fits.validate(model, data, verbose=False)[0]
    assert figures["val/loss"] < before - 10
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_chains_leave_a_running_sigma_alone():
    model = small(MCEM, likelihood=OptimalGaussian)
    assert model.training
    model._posterior_draws(batch(model, 4)[0])
    assert model.likelihood.batches == 0 and model.training


@pytest.mark.slow
def test_its_log_prob_is_the_evidence_of_the_linear_gaussian_model():
    model, truth = with_linear_decoder()
    x = truth.images(4)
    found = model.log_prob(x, samples=50, temperatures=150)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, truth.true_log_prob(x), atol=0.4, rtol=0)


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="acceptance"):
        MCEM(acceptance=1.5)
    with pytest.raises(UserError, match="MCEM has no encoder or discriminator"):
        small(MCEM).features(torch.rand(1, 3, 16, 16))
