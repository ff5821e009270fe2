"""Wake-sleep: its two phases against plain PyTorch, what each leaves alone, and what it is measured by."""

import copy
from functools import partial

import pytest
import torch
from torch.optim import SGD
from torch.utils.data import DataLoader, TensorDataset

from tests.oracles.linear_gaussian import LinearGaussian
from tests.zoo import as_in_a_run, batch, loader_of, small, trainer
from vae_zoo.distributions import GaussianMixture
from vae_zoo.likelihoods import Bernoulli, Gaussian
from vae_zoo.models import WakeSleep


def descended(parameters, loss, lr):
    """Take a step of plain gradient descent."""
    parameters = list(parameters)
    gradients = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= lr * gradient


@pytest.mark.slow
@pytest.mark.parametrize("lr, sleep_lr", [(1e-3, 1e-2), (1e-3, 1e-12), (1e-12, 1e-2)])
@pytest.mark.parametrize("samples", [1, 3])
def test_a_step_is_the_two_phases_and_each_trains_its_own_side(lr, sleep_lr, samples, tmp_path):
    sgd = {"optimizer": partial(SGD, lr=lr), "sleep_optimizer": partial(SGD, lr=sleep_lr)}
    model = small(WakeSleep, samples=samples, lr=lr, sleep_lr=sleep_lr, **sgd).double()
    x, y = batch(model, 6)
    x, plain = x.double(), copy.deepcopy(model)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    torch.manual_seed(5)
    trainer(tmp_path, max_steps=1).fit(model, DataLoader(TensorDataset(x, y), 6))

    as_in_a_run(5)
    z = plain.posterior(x).rsample((samples,)).detach()
    log_pz = torch.distributions.Normal(0, 1).log_prob(z).sum(-1)
    descended(plain.likelihood.parameters(), -(plain.likelihood(z).log_prob(x) + log_pz).mean(), lr)
    z = plain.prior().sample((6,))
    dream = plain.likelihood(z).sample()  # of the decoder that has just learned
    descended(plain.posterior.parameters(), -plain.posterior(dream).log_prob(z).mean(), sleep_lr)

    after = dict(model.named_parameters())
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(after[name], parameter, rtol=1e-9, atol=1e-12, msg=name)
    moved = {
        side: max((after[n] - before[n]).abs().max() for n in after if n.startswith(side))
        for side in ("likelihood", "posterior")
    }
    assert (moved["likelihood"] > 1e-7) == (lr > 1e-6) and (moved["posterior"] > 1e-7) == (sleep_lr > 1e-6)


@pytest.mark.slow
def test_dreams_may_begin_at_a_prior_through_which_no_gradient_passes(tmp_path):
    model = small(WakeSleep, prior=GaussianMixture)
    before = copy.deepcopy(dict(model.named_parameters()))
    trainer(tmp_path, max_steps=2).fit(model, loader_of(model))
    assert all(not torch.equal(before[name], value) for name, value in model.named_parameters())


@pytest.mark.slow
def test_dreams_teach_the_encoder_the_posterior_of_the_decoder():
    """Of a linear decoder that stands still: the diagonal q that is nearest to p(z|x) in KL(p || q)."""
    truth = LinearGaussian(exact=True)
    torch.manual_seed(0)
    encoder = torch.nn.Linear(6, 6).double()
    adam = torch.optim.Adam(encoder.parameters(), lr=1e-2)
    for _ in range(1500):
        z = torch.randn(256, 3, dtype=torch.float64)
        x = truth.likelihood(z).sample().flatten(1)
        mean, log_variance = encoder(x).chunk(2, 1)
        loss = -torch.distributions.Normal(mean, (log_variance / 2).exp()).log_prob(z).sum(1).mean()
        adam.zero_grad(), loss.backward(), adam.step()
    x = truth.images(200)
    mean, log_variance = encoder(x.flatten(1)).chunk(2, 1)
    posterior = truth.posterior(x)
    assert (mean - posterior.mean).abs().mean() < 0.05
    # The moments of p(z|x), where the evidence lower bound would have the smaller 1 / L_ii.
    spread = log_variance.exp().mean(0)
    torch.testing.assert_close(spread, posterior.covariance_matrix[0].diagonal(), rtol=0.1, atol=0)
    assert (spread > 1.02 / truth.posterior.precision.diagonal()).all()


def test_it_is_measured_by_the_evidence_lower_bound():
    model = small(WakeSleep, likelihood=Bernoulli)
    x, y = batch(model, 4)
    torch.manual_seed(2)
    figures = model.evaluate(x, y)["figures"]
    torch.manual_seed(2)
    trace = model.trace(x)
    torch.testing.assert_close(figures["elbo"], trace.log_px[0] - trace.kl)
    torch.testing.assert_close(figures["loss"], -figures["elbo"])


@pytest.mark.slow
def test_it_learns(tmp_path):
    model = small(WakeSleep, likelihood=partial(Gaussian, sigma=0.1), lr=1e-2, sleep_lr=1e-2)
    data = loader_of(model, n=64)
    x, y = next(iter(data))
    before = model.evaluate(x, y)["figures"]["mse"].mean()
    trainer(tmp_path, max_epochs=40).fit(model, data)
    assert model.eval().evaluate(x, y)["figures"]["mse"].mean() < before / 2
