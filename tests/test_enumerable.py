"""The bounds of a model whose codes are few: against sums over all codes, and over all that K draws can be."""

import itertools
import math

import pytest
import torch
from scipy.stats import binom
from torch import nn
from torch.distributions import Bernoulli, Independent

from vae_zoo import objectives
from vae_zoo.conditional import Conditional
from vae_zoo.distributions import LearnedGaussian, Prior
from vae_zoo.models.latent import ImageAutoencoder, LatentVariableModel


class Bits(Independent):
    """Independent bits (..., k), whose draws have no gradient."""

    def __init__(self, logits):
        super().__init__(Bernoulli(logits=logits, validate_args=False), 1, validate_args=False)

    def rsample(self, sample_shape=()):
        return self.sample(sample_shape)


class BitPrior(Prior):
    def __init__(self, latent):
        super().__init__()
        self.logits = nn.Parameter(torch.randn(latent))

    def forward(self, y=None):
        return Bits(self.logits)


class BitPosterior(Conditional):
    def __init__(self, latent):
        super().__init__()
        self.linear = nn.Linear(2, latent)

    def forward(self, x, y=None):
        return Bits(self.linear(x.flatten(1)))


class Enumerable(ImageAutoencoder, LatentVariableModel):
    """Points from k bits."""

    def __init__(self, shape=(1, 1, 2), latent=2):
        super().__init__()
        self.save_hyperparameters()
        self.posterior, self.prior = BitPosterior(latent), BitPrior(latent)
        self.likelihood = LearnedGaussian(nn.Sequential(nn.Linear(latent, 2), nn.Unflatten(1, shape)))
        with torch.no_grad():
            self.likelihood.decoder[0].weight *= 3
            self.likelihood.log_sigma.fill_(math.log(0.3))

    def objective(self, trace):
        return objectives.iwae(trace)


def codes(bits):
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=bits))).double()  # M k


def given(bits):
    """A model, points, log p(x) summed over all codes without a trace, and log p(z|x) and log q(z|x), (M, B)."""
    torch.manual_seed(1)
    model = Enumerable(latent=bits).double()
    x = torch.rand(6, 1, 1, 2).double()
    z = codes(bits)
    prior, q = model.prior.logits.sigmoid(), model.posterior.linear(x.flatten(1)).sigmoid()
    mean, sigma = model.likelihood.decoder(z).sigmoid().view(-1, 1, 2), model.likelihood.log_sigma.exp()
    log_px = torch.distributions.Normal(mean, sigma).log_prob(x.view(1, -1, 2)).sum(-1)  # M B
    joint = log_px + (z * prior.log() + (1 - z) * (1 - prior).log()).sum(-1)[:, None]
    log_q = (z[:, None] * q.log() + (1 - z[:, None]) * (1 - q).log()).sum(-1)
    log_p = joint.logsumexp(0)
    return model, x, log_p.detach(), (joint - log_p).detach(), log_q.detach()


def with_draws(model, x, z):
    """A trace whose draws are these codes (K, k), the same for every point."""
    trace = model.trace(x)
    trace.z = z[:, None].expand(-1, len(x), -1)
    return trace


def exact_bound(model, x, log_q, samples):
    """E[iwae of K draws], (B,): a sum over all tuples of K codes, each with its probability under q."""
    z, total = codes(model.posterior.linear.out_features), 0.0
    for chosen in itertools.product(range(len(z)), repeat=samples):
        bound = objectives.iwae(with_draws(model, x, z[list(chosen)])).detach()
        total = total + log_q[list(chosen)].sum(0).exp() * bound
    return total


def test_the_elbo_falls_short_of_the_evidence_by_the_divergence_from_the_true_posterior():
    model, x, log_p, log_posterior, log_q = given(3)
    trace = with_draws(model, x, codes(3))
    elbo = (log_q.exp() * trace.log_w).sum(0)
    kl = (log_q.exp() * (log_q - log_posterior)).sum(0)
    assert kl.min() > 0.01
    torch.testing.assert_close(elbo, log_p - kl, atol=1e-12, rtol=0)
    torch.testing.assert_close(elbo, exact_bound(model, x, log_q, 1), atol=1e-12, rtol=0)  # IWAE of one draw


def test_the_importance_weighted_bound_is_the_sum_over_all_draws_rises_and_stays_below():
    model, x, log_p, _, log_q = given(2)
    bounds = torch.stack([exact_bound(model, x, log_q, samples) for samples in (1, 2, 3, 4)])  # 4 B
    assert (bounds.diff(dim=0) > 1e-3).all() and (bounds[-1] < log_p).all()
    for samples, exact in zip((1, 2, 3, 4), bounds, strict=True):
        drawn = objectives.iwae(model.trace(x.repeat(4_000, 1, 1, 1), samples=samples)).detach().view(4_000, -1)
        error = drawn.std(0) / math.sqrt(4_000)
        assert ((drawn.mean(0) - exact).abs() < 4.5 * error).all()
        averaged = torch.stack([model.log_prob(x, samples=samples) for _ in range(100)])
        assert ((averaged.mean(0) - exact).abs() < 4.5 * averaged.std(0) / 10).all()


def test_the_elbo_of_many_draws_has_the_expectation_of_one():
    model, x, log_p, log_posterior, log_q = given(3)
    truth = log_p - (log_q.exp() * (log_q - log_posterior)).sum(0)
    elbo = objectives.elbo(model.trace(x, samples=100_000)).detach()
    spread = (log_q.exp() * (log_posterior - log_q + log_p - truth).square()).sum(0).sqrt()  # of log w
    assert ((elbo - truth).abs() < 4.5 * spread / math.sqrt(100_000)).all()


@pytest.mark.parametrize("samples", [100, 400])
def test_the_gap_of_the_bound_is_half_the_relative_variance_of_a_weight_over_k(samples):
    """Domke & Sheldon 2018, theorem 3, for one bit, of which K draws are a binomial number of ones."""
    model, x, log_p, log_posterior, log_q = given(1)
    bound = torch.zeros_like(log_p)
    for ones in range(samples + 1):
        z = (torch.arange(samples) < ones).double()[:, None]  # K 1
        share = torch.from_numpy(binom.pmf(ones, samples, log_q[1].exp().numpy()))
        bound += share * objectives.iwae(with_draws(model, x, z)).detach()
    variance = (2 * log_posterior - log_q).exp().sum(0) - 1  # of w / p(x)
    assert variance.max() > 0.1
    ratio = samples * (log_p - bound) / (variance / 2)
    torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=20 / samples, rtol=0)
