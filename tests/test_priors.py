"""Priors: standard normal, a mixture on a circle, and one that is learned, in any model that takes a prior."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily

import vae_zoo
from tests.zoo import batch, loader_of, models_that, small, trainer
from vae_zoo.conditional import diagonal_normal
from vae_zoo.distributions import GaussianMixture, LabelPrior, Prior, StandardNormal
from vae_zoo.errors import UserError
from vae_zoo.models import LatentVariableModel
from vae_zoo.trace import Trace


class LearnedMixture(Prior):
    """A mixture of diagonal normals over codes of any shape, all of it learned."""

    def __init__(self, latent, shape=(), posterior=None, components=3):
        super().__init__()
        sizes = (latent,) if isinstance(latent, int) else tuple(latent)
        self.mean = nn.Parameter(torch.randn(components, *sizes))
        self.log_sigma = nn.Parameter(torch.zeros(components, *sizes))
        self.logits = nn.Parameter(torch.zeros(components))

    def forward(self, y=None):
        components = diagonal_normal(self.mean, self.log_sigma.exp(), self.mean.ndim - 1)
        return MixtureSameFamily(Categorical(logits=self.logits), components, validate_args=False)


@models_that(takes="prior")
def test_the_standard_normal_has_codes_of_spread_one(cls):
    model = small(cls, prior=StandardNormal)
    z = model.sample_prior(4000)
    assert 0.95 < z.std() < 1.05 and abs(z.mean()) < 0.05
    p, dims = model.prior(), z[0].ndim
    truth = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(tuple(range(-dims, 0)))
    torch.testing.assert_close(p.log_prob(z), truth)


@models_that(LatentVariableModel, takes="prior")
def test_every_parameter_of_a_learned_prior_gets_a_gradient(cls):
    model = small(cls, prior=LearnedMixture)
    x, y = batch(model, 6)
    model.training_step((x, y), 0).backward()
    gradients = {name: parameter.grad for name, parameter in model.prior.named_parameters()}
    assert gradients.keys() == {"mean", "log_sigma", "logits"}
    for name, gradient in gradients.items():
        assert gradient is not None and (gradient != 0).all(), name
    assert len(model.sample(3)) == 3 and model.log_prob(x, y, samples=3).shape == (6,)
    figures = model.evaluate(x, y)["figures"]
    torch.testing.assert_close(figures["elbo"], figures["reconstruction"] - figures["kl"])


def test_the_kl_to_a_learned_mixture_is_the_integral():
    prior = LearnedMixture(1).double()
    with torch.no_grad():
        prior.mean[:, 0], prior.log_sigma[:, 0] = torch.tensor([-2.0, 0.5, 3.0]), torch.tensor([-0.5, 0.0, 0.3])
        prior.logits.copy_(torch.tensor([0.2, -1.0, 1.0]))
    q, p = diagonal_normal(torch.tensor([[0.5]]).double(), torch.tensor([[0.7]]).double()), prior()
    t = torch.linspace(-10, 10, 20_001, dtype=torch.float64)[:, None]
    log_q, log_p = q.log_prob(t[:, None])[:, 0], p.log_prob(t)
    truth = torch.trapezoid(log_q.exp() * (log_q - log_p), t[:, 0]).item()
    trace = Trace(torch.zeros(1, 1), None, q, p, lambda z, y: None, samples=100_000)
    error = (trace.log_qz - trace.log_pz).std().item() / math.sqrt(100_000)
    assert error < 0.01 < truth
    assert trace.kl.item() == pytest.approx(truth, abs=4 * error)
    assert trace.kl_per_dimension is None


@models_that(takes="prior", density=True)  # a discriminator's prior is fixed
@pytest.mark.slow
def test_a_prior_with_its_settings_survives_a_checkpoint(cls, tmp_path):
    model = small(cls, prior=partial(LearnedMixture, components=2))
    fit = trainer(tmp_path)
    fit.validate(model, loader_of(model, 4, 4), verbose=False)
    fit.save_checkpoint(tmp_path / "x.ckpt")
    loaded = vae_zoo.load(tmp_path / "x.ckpt", trust=[__name__])
    assert isinstance(loaded.prior, LearnedMixture) and len(loaded.prior.mean) == 2
    assert torch.equal(loaded.prior.mean, model.prior.mean)


@models_that(takes="prior")
def test_a_prior_is_given_the_size_of_the_codes_the_shape_of_the_data_and_the_posterior(cls):
    given = []

    class Recording(StandardNormal):
        def __init__(self, latent, shape, posterior):
            super().__init__(latent, shape, posterior)
            given.append((latent, tuple(shape), posterior))

    model = small(cls, prior=Recording)
    ((latent, shape, posterior),) = given
    sizes = (latent,) if isinstance(latent, int) else tuple(latent)
    x, y = batch(model, 2)
    codes = model.encode(x, y) if model.encodes else model.sample_prior(2, y)
    assert codes[0].shape == sizes and shape == tuple(model.hparams["shape"])
    assert posterior is (model.posterior if model.encodes else None)


@pytest.mark.parametrize("latent", [5, (2, 3, 4)])
def test_a_standard_normal_over_codes_of_any_shape(latent):
    p = StandardNormal(latent)()
    z = p.expand(torch.Size([7])).sample()
    assert z.shape == (7, *((latent,) if latent == 5 else latent)) and p.log_prob(z).shape == (7,)


def test_a_mixture_stands_on_a_circle():
    prior = GaussianMixture(5, components=6, radius=5.0, sigma=0.1)
    draws = prior().expand(torch.Size([6000])).sample()
    assert draws.shape == (6000, 5)
    assert draws[:, :2].norm(dim=1).sub(5).abs().max() < 0.6
    angles = torch.atan2(draws[:, 1], draws[:, 0]) / (2 * math.pi / 6)
    assert (angles - angles.round()).abs().max() < 0.15
    counts = angles.round().long().remainder(6).bincount()
    assert counts.min() > 850 and counts.max() < 1150
    assert draws[:, 2:].std() == pytest.approx(1, abs=0.03)
    # Its density integrates to one over the plane.
    p = GaussianMixture(2, components=6, radius=5.0, sigma=0.5)()
    t = torch.linspace(-9, 9, 400)
    grid = torch.cartesian_prod(t, t)
    assert p.log_prob(grid).exp().sum() * (t[1] - t[0]) ** 2 == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"latent": 1}, "latent must be at least 2, got 1"),
        ({"components": 0}, "components must be at least 1, got 0"),
        ({"sigma": 0.0}, "sigma must be positive, got 0"),
    ],
)
def test_a_mixture_that_cannot_be(settings, message):
    with pytest.raises(UserError, match=message):
        GaussianMixture(**{"latent": 5, **settings})


def test_a_normal_for_each_label():
    prior = LabelPrior(5, labels=2)
    with torch.no_grad():
        prior.embedding.weight[1] = torch.tensor([10.0] * 5 + [2 * math.log(3.0)] * 5)
    p = prior(torch.tensor([0, 1, 1]))
    assert p.batch_shape == (3,) and p.event_shape == (5,)
    torch.testing.assert_close(p.mean, torch.tensor([0.0, 10, 10])[:, None].expand(3, 5))
    torch.testing.assert_close(p.stddev, torch.tensor([1.0, 3, 3])[:, None].expand(3, 5))
