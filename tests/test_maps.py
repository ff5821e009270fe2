"""Codes of maps (C', H', W') in place of vectors: everything that takes vectors takes them, too."""

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence

import vae_zoo
from tests.zoo import loader, trainer
from vae_zoo import objectives
from vae_zoo.distributions import Gaussian, GaussianPosterior, PointPosterior, StandardNormal
from vae_zoo.models.base import JointModel
from vae_zoo.models.latent import EvidenceModel, ReconstructionModel
from vae_zoo.networks import Network

SHAPE, MAPS = (3, 16, 16), (2, 4, 4)


def networks(channels):
    """An encoder to so many maps of 4 x 4, and the decoder of two."""
    encoder = Network(nn.Conv2d(3, 8, 4, 4), nn.SiLU(), nn.Conv2d(8, channels, 1))
    return encoder, Network(nn.ConvTranspose2d(2, 8, 2, 2), nn.SiLU(), nn.ConvTranspose2d(8, 3, 2, 2))


class CodeOfMaps(JointModel, ReconstructionModel):
    regularised = False
    tiny = {}

    def __init__(self, shape=SHAPE, lr=1e-2):
        super().__init__()
        self.save_hyperparameters()
        encoder, decoder = networks(2)
        self.posterior, self.prior, self.likelihood = PointPosterior(encoder), StandardNormal(MAPS), Gaussian(decoder)
        self.likelihood.code_dims = 3
        self.lr = lr

    def training_step(self, batch, batch_idx):
        return -self.trace(*batch).log_px.mean()


class SpatialVAE(EvidenceModel):
    tiny = {}

    def __init__(self, shape=SHAPE, lr=1e-2, samples=1):
        super().__init__()
        self.save_hyperparameters()
        encoder, decoder = networks(4)
        self.posterior, self.prior = GaussianPosterior(encoder), StandardNormal(MAPS)
        self.likelihood = Gaussian(decoder)
        self.likelihood.code_dims = 3
        self.lr, self.samples, self.beta, self.free_bits, self.warmup = lr, samples, 1.0, 0.0, 0


class SpatialIWAE(SpatialVAE):
    def objective(self, trace):
        return objectives.iwae(trace)


spatial = pytest.mark.parametrize("cls", [CodeOfMaps, SpatialVAE, SpatialIWAE])


@spatial
def test_all_calls_take_maps(cls):
    model, x = cls(), torch.rand(4, *SHAPE)
    z = model.encode(x)
    assert z.shape == model.sample_prior(4).shape == (4, *MAPS)
    assert model.decode(z).shape == model.reconstruct(x).shape == x.shape
    torch.testing.assert_close(model.reconstruct(x), model.decode(z), rtol=0, atol=0)
    assert model.sample(5).shape == (5, *SHAPE)
    assert model.features(x).shape == (4, 2 * 4 * 4)
    between = model.interpolate(x[:2], x[2:], steps=5)
    assert between.shape == (10, *SHAPE)
    torch.testing.assert_close(between[[0, 5]], model.reconstruct(x[:2]))
    torch.testing.assert_close(between[[4, 9]], model.reconstruct(x[2:]))
    figures = model.evaluate(x)["figures"]
    assert {"loss", "reconstruction", "mse", "mse_sampled"} <= figures.keys()
    assert all(value.shape == (4,) for value in figures.values())


@pytest.mark.parametrize("cls", [SpatialVAE, SpatialIWAE])
def test_log_prob_of_a_model_with_maps(cls):
    model, x = cls().double(), torch.rand(3, *SHAPE, dtype=torch.float64)
    trace = model.trace(x, samples=7)
    for value in (trace.log_px, trace.log_pz, trace.log_qz, trace.log_w):
        assert value.shape == (7, 3)
    estimate = model.log_prob(x, samples=2000, chunk=500)
    assert estimate.shape == (3,) and (estimate > objectives.elbo(trace)).all()


def test_the_kl_of_maps_is_summed_over_all_of_them():
    model, x = SpatialVAE().double(), torch.rand(3, *SHAPE, dtype=torch.float64)
    trace = model.trace(x)
    mean, log_variance = model.posterior.encoder(x).chunk(2, 1)
    truth = (mean.square() + log_variance.exp() - log_variance - 1).flatten(1) / 2
    assert trace.kl_per_dimension.shape == (3, 32)
    torch.testing.assert_close(trace.kl_per_dimension, truth)
    torch.testing.assert_close(trace.kl, truth.sum(-1))
    zero, one = torch.zeros(32).double(), torch.eye(32).double()
    for b in range(3):
        q = MultivariateNormal(mean[b].flatten(), torch.diag(log_variance[b].flatten().exp()))
        torch.testing.assert_close(trace.kl[b], kl_divergence(q, MultivariateNormal(zero, one)))


def test_the_halves_of_maps_are_means_and_log_variances_by_channel():
    out = torch.randn(2, 6, 4, 5)
    q = GaussianPosterior(nn.Identity())(out)
    assert q.batch_shape == (2,) and q.event_shape == (3, 4, 5)
    torch.testing.assert_close(q.mean, out[:, :3])
    torch.testing.assert_close(q.variance, out[:, 3:].exp())
    assert q.log_prob(q.rsample((7,))).shape == (7, 2)


def test_doubly_reparameterised_gradients_of_maps_are_the_squared_weights_times_the_path():
    model, x = SpatialIWAE(samples=4).double(), torch.rand(1, *SHAPE, dtype=torch.float64)
    bias = model.posterior.encoder[-1].bias
    torch.manual_seed(5)
    (given,) = torch.autograd.grad(objectives.iwae_dreg(model.trace(x, samples=4)).sum(), bias)
    torch.manual_seed(5)
    mean, log_variance = model.posterior.encoder(x).chunk(2, 1)
    z = mean + (log_variance / 2).exp() * torch.randn(4, 1, *MAPS, dtype=torch.float64)
    q = torch.distributions.Normal(mean.detach(), (log_variance / 2).exp().detach())
    log_w = model.likelihood(z).log_prob(x) + model.prior().log_prob(z) - q.log_prob(z).sum((-3, -2, -1))
    weights = log_w.detach().softmax(0)[:, 0]
    truth = sum(
        w**2 * torch.autograd.grad(one.sum(), bias, retain_graph=True)[0] for w, one in zip(weights, log_w, strict=True)
    )
    torch.testing.assert_close(given, truth)


@spatial
@pytest.mark.slow
def test_a_model_with_maps_trains_and_loads(cls, tmp_path):
    model, data = cls(), loader(32, 8)
    before = trainer(tmp_path).validate(model, data, verbose=False)[0]["val/loss"]
    fit = trainer(tmp_path, max_epochs=5)
    fit.fit(model, data, data)
    assert fit.callback_metrics["val/loss"] < before - 1
    fit.save_checkpoint(tmp_path / "x.ckpt")
    loaded, x = vae_zoo.load(tmp_path / "x.ckpt", trust=[__name__]), torch.rand(2, *SHAPE)
    assert torch.equal(loaded.reconstruct(x), model.reconstruct(x))
