"""Estimates of p(x) without an encoder: against the linear-Gaussian model and a posterior with two modes."""

import math
from functools import partial

import pytest
import torch
from torch.distributions import Normal

from tests.oracles.linear_gaussian import LinearGaussian
from vae_zoo import evidence
from vae_zoo.errors import UserError
from vae_zoo.likelihoods import Bernoulli
from vae_zoo.models import VAE
from vae_zoo.networks import MLPDecoder, MLPEncoder


def model_and_images(n=4):
    model = LinearGaussian(exact=False)
    return model, model.images(n)


def down_and_up(model, x, temperatures, chains, leapfrogs=5):
    """Log-weights (K, B) of chains up from the prior, and down from the exact posterior."""
    joint = model.joint(x, chains=chains)
    steps = evidence.tuned(model.joint(x), temperatures, leapfrogs)
    posterior = LinearGaussian(exact=True).posterior(x)
    z = posterior.sample((chains,)).flatten(0, 1)
    up = evidence.annealed(joint, joint.draw(), steps, leapfrogs)
    down = evidence.annealed(joint, z, steps, leapfrogs, down=True)
    return up.view(chains, -1), down.view(chains, -1)


def test_the_schedule_rises_from_0_to_1_and_is_denser_at_its_ends():
    found = evidence.schedule(10)
    assert found[0] == 0 and found[-1] == pytest.approx(1, abs=1e-12) and len(found) == 11
    gaps = [b - a for a, b in zip(found, found[1:], strict=False)]
    assert gaps == pytest.approx(gaps[::-1]) and gaps[0] < gaps[1] < gaps[4] and min(gaps) > 0
    sigmoid = [1 / (1 + math.exp(-4 * (2 * i / 10 - 1))) for i in range(11)]
    assert found[3] == pytest.approx((sigmoid[3] - sigmoid[0]) / (sigmoid[10] - sigmoid[0]))


def test_the_pilot_finds_a_step_for_each_temperature():
    """Of one for the prior's width of 1, and of one for the posterior's of a thousandth."""
    joint = evidence.Joint(
        lambda: torch.randn(200, 1, dtype=torch.float64),
        lambda z: Normal(0.0, 1.0).log_prob(z).sum(1),
        lambda z: -(z / 1e-3).square().sum(1) / 2,
    )
    steps = evidence.tuned(joint, 60, 5)
    assert len(steps) == 61 and steps[0] > 0.1 and steps[-1] < 0.01


def test_one_temperature_is_importance_sampling_from_the_prior():
    model, x = model_and_images(3)
    joint = model.joint(x, chains=2)
    z = joint.draw()
    log_w = evidence.annealed(joint, z, evidence.tuned(joint, 1, 1), 1)
    torch.testing.assert_close(log_w, joint.log_likelihood(z).detach())


@pytest.mark.parametrize("temperatures", [1, 30])
def test_weights_are_without_bias_both_ways(temperatures):
    model, x = model_and_images(2)
    # Near the mean, where the prior's draws have weights of moderate variance.
    x = model.marginal.mean.view(1, 1, 1, -1) + 0.3 * (x - model.marginal.mean.view(1, 1, 1, -1))
    truth, chains = model.true_log_prob(x), 20_000
    up, down = down_and_up(model, x, temperatures, chains)
    for log_w, sign in ((up, 1), (down, -1)) if temperatures > 1 else ((up, 1),):
        weights = (log_w - sign * truth).exp()  # E is 1
        error = weights.std(0) / math.sqrt(chains)
        assert (error < 0.1).all()
        assert ((weights.mean(0) - 1).abs() < 4.5 * error).all()


def test_bounds_from_both_sides_close_in_on_the_evidence():
    model, x = model_and_images()
    truth, gaps = model.true_log_prob(x), []
    for temperatures in (5, 50, 500):
        up, down = down_and_up(model, x, temperatures, chains=30)
        lower, upper = up.mean(0), -down.mean(0)  # of one chain each: stochastic bounds
        error = (up.std(0) + down.std(0)) / math.sqrt(30)
        assert ((lower < truth + 4 * error) & (truth < upper + 4 * error)).all()
        gaps.append(float((upper - lower).mean()))
    assert gaps[0] > 4 * gaps[1] > 16 * gaps[2] and gaps[2] < 0.4


def test_a_model_anneals_to_its_evidence_whatever_the_chunk():
    model, x = model_and_images()
    for chunk in (90, 512):  # 22 chains of each image at a time, of 60; or all
        found = model.anneal(x, samples=60, temperatures=200, leapfrogs=5, chunk=chunk)
        assert found.dtype == torch.float64 and found.shape == (4,)
        torch.testing.assert_close(found, model.true_log_prob(x), atol=0.4, rtol=0)
    with pytest.raises(UserError, match="temperatures must be at least 1, got 0"):
        model.anneal(x, temperatures=0)


def test_it_agrees_with_importance_sampling_by_an_encoder_that_is_exact():
    model = LinearGaussian(exact=True)
    x = model.images(5)
    found = model.anneal(x, samples=60, temperatures=200, leapfrogs=5)
    torch.testing.assert_close(found, model.log_prob(x, samples=1), atol=0.4, rtol=0)


def test_the_harmonic_form_finds_the_evidence_of_a_normal_posterior():
    """Appendix D of Kingma & Welling: the fitted q is then nearly the posterior, and the ratio nearly constant."""
    model, x = model_and_images(6)
    found = evidence.harmonic(model.joint(x), draws=600, burn_in=100, leapfrogs=8)
    torch.testing.assert_close(found, model.true_log_prob(x), atol=0.05, rtol=0)


def two_modes(n):
    """p(z) = N(0, 1), p(x|z) = N(x; z^2, .3^2), x = 2.25: two modes at about +-1.5."""
    x = torch.tensor(2.25, dtype=torch.float64)
    return evidence.Joint(
        draw=lambda: torch.randn(n, 1, dtype=torch.float64),
        log_prior=lambda z: Normal(0, 1).log_prob(z).sum(-1),
        log_likelihood=lambda z: Normal(z.square().sum(-1), 0.3).log_prob(x),
    )


def test_annealing_finds_both_modes_of_a_posterior():
    joint = two_modes(2_000)
    grid = torch.linspace(-6, 6, 200_001, dtype=torch.float64)[:, None]
    truth = torch.trapezoid((joint.log_prior(grid) + joint.log_likelihood(grid)).exp(), grid[:, 0]).log()
    log_w = evidence.annealed(joint, joint.draw(), evidence.tuned(joint, 50, 5), 5)
    assert evidence.log_mean_exp(log_w) == pytest.approx(float(truth), abs=0.05)


def test_both_estimates_of_a_model_of_bits_are_the_sum_over_all_codes():
    """Of one number, on a grid: codes that are bits themselves have no gradient that could move them."""
    torch.manual_seed(0)
    decoder = partial(MLPDecoder, width=8, depth=1)
    model = VAE((1, 4, 4), 1, partial(MLPEncoder, width=8, depth=1), decoder, Bernoulli).double().eval()
    with torch.no_grad():
        for parameter in model.likelihood.parameters():
            parameter *= 2  # so that codes matter, and posteriors are skewed, but not beyond the harmonic form
    x, z = torch.rand(5, 1, 4, 4).round().double(), torch.linspace(-8, 8, 8_001, dtype=torch.float64)[:, None]
    log_joint = torch.stack([model.log_joint(each[None].expand(len(z), 1, 4, 4), z) for each in x]).detach()
    truth = torch.trapezoid(log_joint.exp(), z[:, 0]).log()
    torch.testing.assert_close(model.anneal(x, samples=200, temperatures=50, leapfrogs=5), truth, atol=0.1, rtol=0)
    found = evidence.harmonic(model.joint(x), draws=1_000, burn_in=100, leapfrogs=8)
    torch.testing.assert_close(found, truth, atol=0.1, rtol=0)


def test_the_log_mean_exp_is_of_the_first_dimension():
    values = torch.randn(5, 3)
    torch.testing.assert_close(evidence.log_mean_exp(values), values.exp().mean(0).log())
