"""What was drawn: each thing is computed when it is asked for, once, and is what it says."""

from collections import Counter
from functools import partial

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal, kl_divergence

from tests.zoo import batch, models_that, small
from vae_zoo.conditional import diagonal_normal
from vae_zoo.models import LatentVariableModel
from vae_zoo.trace import Autoregressive, Trace

B, D, K = 4, 3, 5


def counted(distribution, name, calls):
    """Count what is asked of a distribution."""

    def count(asked, method, *given):
        calls[f"{name}.{asked}"] += 1
        return method(*given)

    for asked in ("log_prob", "rsample", "log_prob_per_dimension"):
        if asked in dir(distribution):
            setattr(distribution, asked, partial(count, asked, getattr(distribution, asked)))
    return distribution


def diagonal():
    return diagonal_normal(torch.randn(B, D).double(), torch.rand(B, D).double() + 0.5)


def mixture():
    components = diagonal_normal(torch.randn(2, D).double(), torch.ones(2, D).double())
    return MixtureSameFamily(Categorical(logits=torch.zeros(2).double()), components)


def make(q=None, prior=None, samples=K):
    """A trace of stub distributions, and the counts of what is asked of them."""
    calls = Counter()

    def likelihood(z, y):
        calls["likelihood"] += 1
        return counted(diagonal_normal(2 * z, torch.ones_like(z)), "px", calls)

    normal = diagonal_normal(torch.zeros(D).double(), torch.ones(D).double())
    x = torch.randn(B, D).double()
    q, prior = counted(q or diagonal(), "q", calls), counted(prior or normal, "prior", calls)
    return Trace(x, None, q, prior, likelihood, samples), calls


def test_at_first_there_are_draws_and_nothing_else():
    trace, calls = make()
    assert calls == {"q.rsample": 1} and trace.z.shape == (K, B, D)
    trace.redraw(7)
    assert calls == {"q.rsample": 2}


@pytest.mark.parametrize(
    "asked, cost",
    [
        ("px", {"likelihood": 1}),
        ("log_px", {"likelihood": 1, "px.log_prob": 1}),
        ("log_pz", {"prior.log_prob": 1}),
        ("log_qz", {"q.log_prob": 1}),
        ("kl", {}),  # in closed form
        ("kl_per_dimension", {}),
        ("centre", {}),
        ("x_hat", {"likelihood": 1}),
        ("log_w", {"likelihood": 1, "px.log_prob": 1, "prior.log_prob": 1, "q.log_prob": 1}),
    ],
)
def test_what_is_asked_for_is_computed_once_and_nothing_beside_it(asked, cost):
    trace, calls = make()
    for _ in range(2):
        getattr(trace, asked)
    assert calls == {"q.rsample": 1, **cost}


@pytest.mark.parametrize("prior", [None, mixture])
def test_all_together_cost_one_density_each_and_two_decodings(prior):
    trace, calls = make(prior=prior and prior())
    for _ in range(2):
        for name in ("log_w", "kl", "kl_per_dimension", "log_px", "log_pz", "log_qz", "x_hat", "px"):
            getattr(trace, name)
    assert calls == {"q.rsample": 1, "likelihood": 2, "px.log_prob": 1, "prior.log_prob": 1, "q.log_prob": 1}


def test_the_logarithms_are_those_of_the_draws():
    trace, _ = make()
    truth = Normal(2 * trace.z, 1.0).log_prob(trace.x).sum(-1)
    torch.testing.assert_close(trace.log_px, truth)
    torch.testing.assert_close(trace.log_qz, trace.q.base_dist.log_prob(trace.z).sum(-1))
    torch.testing.assert_close(trace.log_pz, Normal(0.0, 1.0).log_prob(trace.z).sum(-1))
    torch.testing.assert_close(trace.log_w, trace.log_px + trace.log_pz - trace.log_qz)
    torch.testing.assert_close(trace.x_hat, 2 * trace.q.mean)
    assert torch.equal(trace.centre, trace.q.mean)
    again = trace.redraw(2)
    assert again.z.shape == (2, B, D) and again.q is trace.q and again.prior is trace.prior and again.x is trace.x


def test_the_kl_of_diagonal_normals_is_in_closed_form_and_summed_over_dimensions():
    mean, log_variance = torch.randn(2, B, D, dtype=torch.float64)
    trace, _ = make(q=diagonal_normal(mean, (log_variance / 2).exp()))
    truth = (mean.square() + log_variance.exp() - log_variance - 1) / 2  # Kingma & Welling 2014, appendix B
    torch.testing.assert_close(trace.kl_per_dimension, truth)
    torch.testing.assert_close(trace.kl, truth.sum(-1))


def test_the_kl_to_a_prior_of_the_label_is_to_each_images_own():
    q, prior = diagonal(), diagonal()
    trace, _ = make(q, prior)
    truth = [
        kl_divergence(*(MultivariateNormal(p.mean[b], torch.diag(p.variance[b])) for p in (q, prior))) for b in range(B)
    ]
    torch.testing.assert_close(trace.kl, torch.stack(truth))


@pytest.mark.parametrize("q, prior", [(diagonal, mixture), (None, None)])
def test_a_kl_without_a_closed_form_is_the_mean_over_the_draws(q, prior):
    if q is None:
        full = torch.eye(D).double() + 0.5
        q, prior = (lambda: MultivariateNormal(torch.zeros(B, D).double(), full)), diagonal
    trace, _ = make(q(), prior(), samples=1000)
    assert trace.kl_per_dimension is None
    torch.testing.assert_close(trace.kl, (trace.log_qz - trace.log_pz).mean(0))


def test_the_kl_of_an_autoregressive_posterior_falls_into_dimensions():
    class Chain(Autoregressive):
        def __init__(self):
            super().__init__((B,), (D,), validate_args=False)
            self.inner = diagonal()

        def rsample(self, shape=()):
            return self.inner.rsample(shape)

        def log_prob_per_dimension(self, value):
            return self.inner.base_dist.log_prob(value)

    trace, calls = make(q=Chain())
    assert trace.kl_per_dimension.shape == (B, D)
    torch.testing.assert_close(trace.kl, (trace.log_qz - trace.log_pz).mean(0))
    torch.testing.assert_close(trace.log_qz, trace.q.inner.log_prob(trace.z))
    assert isinstance(trace.prior, Independent)


@models_that(LatentVariableModel)
def test_a_log_prob_makes_one_posterior_and_one_prior_whatever_the_chunks(cls):
    model, made = small(cls), []
    for conditional in (model.posterior, model.prior):
        conditional.register_forward_hook(lambda module, given, out: made.append(module))
    x, y = batch(model, 2)
    model.log_prob(x, y, samples=7, chunk=4)
    assert made == [model.posterior, model.prior]


@models_that(LatentVariableModel)
def test_training_decodes_the_draws_alone_and_evaluation_the_centres_too_where_there_is_an_error(cls):
    model, sizes = small(cls), []
    model.samples = 3
    model.likelihood.register_forward_hook(lambda module, given, out: sizes.append(len(given[0].flatten(0, -2))))
    x, y = batch(model, 2)
    model.training_step((x, y), 0)
    assert len(sizes) == 1
    figures = model.evaluate(x, y)["figures"]
    assert len(sizes) == (3 if "mse" in figures else 2)
