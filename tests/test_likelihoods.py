"""Likelihoods against torch.distributions, brute force and autograd."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

from vae_zoo.distributions import (
    Bernoulli,
    DiscretisedLogistic,
    Gaussian,
    LearnedGaussian,
    OptimalGaussian,
)
from vae_zoo.errors import UserError
from vae_zoo.likelihoods import DiscretisedLogisticPixels
from vae_zoo.metrics.density import bits_per_dim

SHAPE = (2, 3, 4)
PIXELS = math.prod(SHAPE)


def decoder(latent=5):
    return nn.Sequential(nn.Linear(latent, PIXELS), nn.Unflatten(-1, SHAPE)).double()


def z_and_x(k=3, b=4):
    return torch.randn(k, b, 5, dtype=torch.float64), torch.randint(256, (b, *SHAPE)).double() / 255


@pytest.mark.parametrize("likelihood", [partial(Gaussian, sigma=0.3), LearnedGaussian])
def test_gaussian_is_the_normal_density_of_the_sigmoid(likelihood):
    head = likelihood(decoder()).double()
    z, x = z_and_x()
    mean = torch.stack([head.decoder(draw) for draw in z]).sigmoid()
    sigma = 0.3 if isinstance(head, Gaussian) else 1.0
    truth = Independent(Normal(mean, torch.tensor(sigma).double()), 3).log_prob(x)
    torch.testing.assert_close(head(z).log_prob(x), truth, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(head(z).mean, mean)
    assert head(z).log_prob(x).shape == (3, 4)


def test_unit_gaussian_is_half_the_squared_error():
    head = Gaussian(decoder())
    z, x = z_and_x()
    squares = (x - head(z).mean).square().sum((-3, -2, -1))
    difference = -head(z).log_prob(x) - squares / 2
    torch.testing.assert_close(difference, torch.full_like(difference, PIXELS / 2 * math.log(2 * math.pi)))


def test_learned_sigma_gets_the_gradient_of_autograd_and_its_optimum_is_the_mean_squared_error():
    head = LearnedGaussian(decoder()).double()
    z, x = z_and_x()
    mse = (x - head(z).mean).square().mean()
    head.log_sigma.data = mse.detach().log() / 2
    head(z).log_prob(x).sum().backward()
    assert head.log_sigma.grad.item() == pytest.approx(0, abs=1e-9)
    head.log_sigma.data += 0.1
    head.log_sigma.grad = None
    head(z).log_prob(x).sum().backward()
    assert head.log_sigma.grad.item() == pytest.approx((x - head(z).mean).numel() * (math.exp(-0.2) - 1))


def test_optimal_sigma_beats_every_other_sigma_and_leaves_no_gradient():
    head = OptimalGaussian(decoder()).double()
    z, x = z_and_x()
    best = head(z).log_prob(x).sum()
    mean = head(z).mean
    for sigma in torch.logspace(-2, 1, 50).tolist():
        assert best >= Independent(Normal(mean, sigma), 3).log_prob(x).sum() - 1e-9
    variance = (x - mean).square().mean()
    assert head.variance.item() == pytest.approx(variance.item())
    fixed = Independent(Normal(mean, variance.detach().sqrt()), 3).log_prob(x).sum()
    ours = torch.autograd.grad(best, list(head.parameters()))
    theirs = torch.autograd.grad(fixed, list(head.parameters()))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_optimal_sigma_is_a_constant_in_evaluation():
    """Else the density of an image would depend on the batch, and on the image itself."""
    head = OptimalGaussian(decoder()).double()
    z, x = z_and_x()
    for _ in range(3):
        head(z).log_prob(x)
    before = head.variance.clone()
    head.eval()
    alone = head(z[:, :1]).log_prob(x[:1])
    torch.testing.assert_close(head(z).log_prob(x)[:, :1], alone)
    truth = Independent(Normal(head(z).mean, before.sqrt()), 3).log_prob(x)
    torch.testing.assert_close(head(z).log_prob(x), truth)
    assert head.variance == before


def test_optimal_sigma_follows_the_mean_of_the_last_batches():
    head = OptimalGaussian(nn.Identity()).double()
    out = torch.zeros(1, *SHAPE, dtype=torch.float64)  # a mean of 1/2
    for value in [0.5] * 3 + [1.0] * 5:
        head.distribution(out).log_prob(torch.full((1, *SHAPE), value, dtype=torch.float64))
    assert head.variance.item() == pytest.approx((3 * 1e-6 + 5 * 0.25) / 8)


@pytest.mark.parametrize("head", [OptimalGaussian, DiscretisedLogistic])
def test_location_is_the_sigmoid_in_evaluation(head):
    head = head(decoder()).double().eval()
    z, _ = z_and_x()
    p = head(z)
    truth = torch.stack([head.decoder(draw) for draw in z]).sigmoid()
    torch.testing.assert_close(getattr(p, "centre", p.mean), truth)


def test_optimal_sigma_forgets_old_batches_and_travels_in_the_state():
    head, out = OptimalGaussian(nn.Identity()).double(), torch.zeros(1, *SHAPE, dtype=torch.float64)
    for value in [0.5] * 300 + [1.0] * 500:
        head.distribution(out).log_prob(torch.full_like(out, value))
    assert head.variance > 0.24  # a mean over all batches would be 0.156
    again = OptimalGaussian(nn.Identity()).double()
    again.load_state_dict(head.state_dict())
    assert again.variance == head.variance and again.batches == head.batches


def test_bernoulli_is_a_probability_of_binary_pixels():
    head = Bernoulli(decoder())
    z, x = z_and_x()
    x = (x > 0.5).double()
    p = torch.stack([head.decoder(draw) for draw in z]).sigmoid()
    truth = (x * p.log() + (1 - x) * (1 - p).log()).sum((-3, -2, -1))
    torch.testing.assert_close(head(z).log_prob(x), truth)
    torch.testing.assert_close(head(z).mean, p)


def test_draws_of_a_bernoulli_are_binary_and_have_its_probabilities():
    pixels = Bernoulli(nn.Identity()).distribution(torch.tensor([-90.0, -1.0, 0.0, 2.0, 90.0]).view(1, 5, 1, 1))
    drawn = pixels.sample((40_000,))
    assert drawn.shape == (40_000, 1, 5, 1, 1) and set(drawn.unique().tolist()) == {0, 1}
    torch.testing.assert_close(drawn.mean(0), pixels.mean, rtol=0, atol=0.01)


VALUES = (torch.arange(256).double() / 255).view(256, 1, 1, 1)


@pytest.mark.parametrize("centre", [0.0, 1e-3, 0.3, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("log_scale", [-12.0, -6.0, -2.0, 0.0, 4.0])
def test_discretised_logistic_sums_to_one_and_its_mean_is_right(centre, log_scale):
    p = DiscretisedLogisticPixels(torch.tensor(centre).double().view(1, 1, 1), torch.tensor(log_scale).double())
    log_prob = p.log_prob(VALUES)
    assert log_prob.isfinite().all()
    assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert p.mean.item() == pytest.approx((log_prob.exp() * VALUES.flatten()).sum().item(), abs=2.1e-3)
    if log_scale >= -2:  # on a wide scale the 256 steps make no difference
        assert p.mean.item() == pytest.approx((log_prob.exp() * VALUES.flatten()).sum().item(), abs=2e-6)


@pytest.mark.parametrize("log_scale", torch.arange(-16.0, 5.0).tolist())
def test_the_256_values_sum_to_one_in_float32(log_scale):
    """Also where the scale is so small that all the mass is at a bin's edge: the edge of two bins is one number."""
    centre = torch.cat([torch.rand(100), (torch.arange(100) + 0.5) / 255]).view(-1, 1, 1)
    p = DiscretisedLogisticPixels(centre[:, None], torch.tensor(log_scale))
    total = p.log_prob((torch.arange(256) / 255).view(256, 1, 1, 1, 1)).double().exp().sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=2e-5)


def test_discretised_logistic_is_the_difference_of_the_distribution_function():
    p = DiscretisedLogisticPixels(torch.tensor(0.4).double().view(1, 1, 1), torch.tensor(-1.5).double())
    scale = math.exp(-1.5)

    def cdf(t):
        return 1 / (1 + math.exp(-(t - 0.4) / scale))

    for k in (1, 100, 254):
        assert p.log_prob(VALUES[k]).item() == pytest.approx(math.log(cdf((k + 0.5) / 255) - cdf((k - 0.5) / 255)))
    assert p.log_prob(VALUES[0]).item() == pytest.approx(math.log(cdf(0.5 / 255)))
    assert p.log_prob(VALUES[255]).item() == pytest.approx(math.log(1 - cdf(254.5 / 255)))


def test_discretised_logistic_sums_pixels_in_float32():
    head = DiscretisedLogistic(decoder().float())
    x = torch.randint(256, (4, *SHAPE)) / 255  # as the data module divides bytes
    z = torch.randn(3, 4, 5)
    double = DiscretisedLogistic(head.decoder).double()(z.double()).log_prob(x.double())
    head.decoder.float()
    torch.testing.assert_close(head.float()(z).log_prob(x).double(), double, rtol=1e-4, atol=1e-3)


def test_uniform_is_eight_bits_per_dimension():
    assert bits_per_dim(PIXELS * math.log(256), SHAPE) == pytest.approx(8, abs=1e-12)


def test_log_densities_are_float32_under_bfloat16():
    head = Gaussian(decoder().float())
    z, x = z_and_x()
    with torch.autocast("cpu", torch.bfloat16):
        assert head(z.float()).log_prob(x.float()).dtype == torch.float32


def test_a_sigma_that_is_none_is_refused():
    with pytest.raises(UserError, match="sigma must be positive, got 0"):
        Gaussian(decoder(), sigma=0)


def test_the_optimal_sigma_does_not_depend_on_how_images_are_laid_out():
    head = OptimalGaussian(decoder()).double().train()
    z, x = z_and_x()
    truth = head(z).log_prob(x)
    torch.testing.assert_close(head(z).log_prob(x[None]), truth)
    torch.testing.assert_close(head(z[:, :1]).log_prob(x[0]), head(z[:, :1]).log_prob(x[:1]))


@pytest.mark.parametrize("head", [partial(Gaussian, sigma=0.3), LearnedGaussian, OptimalGaussian])
@pytest.mark.parametrize("training", [False, True])
def test_draws_of_a_gaussian_have_its_mean_and_deviation(head, training):
    likelihood = head(decoder()).train(training)
    if head is LearnedGaussian:
        likelihood.log_sigma.data.fill_(math.log(0.3))
    z, x = z_and_x(k=1, b=2)
    for _ in range(3):
        likelihood(z).log_prob(x)  # lets a running sigma move
    px = likelihood(z)
    drawn = px.sample((4_000,))
    sigma = {True: lambda: likelihood.variance.sqrt()}.get(
        head is OptimalGaussian, lambda: likelihood.log_sigma.exp()
    )()
    assert drawn.shape == (4_000, 1, 2, *x.shape[1:]) and not drawn.requires_grad
    assert ((drawn.mean(0) - px.mean).abs() < 5.5 * sigma / 4_000**0.5).all()
    torch.testing.assert_close(drawn.std(0).mean(), sigma.detach(), rtol=0.01, atol=0, check_dtype=False)


def test_draws_of_a_discretised_logistic_have_its_probabilities():
    """Cross entropy of the draws under the distribution, against its entropy by the sum over the 256 values."""
    centre = torch.tensor([0.02, 0.4, 0.97]).view(1, 1, 3)
    pixels = DiscretisedLogisticPixels(centre, torch.tensor(-3.0))
    values = torch.arange(256) / 255
    log_p = torch.stack(
        [
            DiscretisedLogisticPixels(c.view(1, 1, 1), torch.tensor(-3.0)).log_prob(values.view(-1, 1, 1, 1))
            for c in centre.flatten()
        ]
    )  # 3 256
    drawn = pixels.sample((200_000,))
    assert torch.equal((255 * drawn).round() / 255, drawn) and drawn.min() == 0 and drawn.max() == 1
    found = pixels.log_prob(drawn)
    entropy = -(log_p.exp() * log_p).sum()
    assert abs(found.mean() + entropy) < 5 * found.std() / 200_000**0.5
    torch.testing.assert_close(drawn.mean(0), pixels.mean, atol=5 * 0.1 / 200_000**0.5, rtol=0)
