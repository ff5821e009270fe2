"""Oracles 1 to 3: the bounds of a model whose log p(x) is known."""

import math
from types import SimpleNamespace

import pytest
import torch

from tests.oracles.linear_gaussian import LinearGaussian
from vae_zoo import objectives
from vae_zoo.errors import UserError


def test_exact_posterior_makes_every_weight_the_evidence():
    model = LinearGaussian(exact=True)
    x = model.images(5)
    truth = model.true_log_prob(x)
    trace = model.trace(x, samples=7)
    torch.testing.assert_close(trace.log_w, truth.expand(7, 5), atol=1e-10, rtol=0)
    torch.testing.assert_close(objectives.elbo(trace), truth, atol=1e-10, rtol=0)
    torch.testing.assert_close(objectives.iwae(trace), truth, atol=1e-10, rtol=0)


@pytest.mark.parametrize("samples, chunk", [(1, 512), (7, 15), (100, 30), (7, 1)])
def test_log_prob_counts_every_sample_once(samples, chunk):
    """K is no multiple of the chunk of 3 draws; counting K wrongly would shift the result by a log of a ratio."""
    model = LinearGaussian(exact=True)
    x = model.images(5)
    log_prob = model.log_prob(x, samples=samples, chunk=chunk)
    torch.testing.assert_close(log_prob, model.true_log_prob(x), atol=1e-10, rtol=0)


def test_factorised_posterior_leaves_the_known_gap():
    model = LinearGaussian(exact=False)
    x = model.images(4)
    assert model.factorised_gap > 0.1
    trace = model.trace(x, samples=40_000)
    gap = model.true_log_prob(x) - objectives.elbo(trace)
    error = trace.log_px.std(0) / math.sqrt(40_000)
    assert ((gap - model.factorised_gap).abs() < 5 * error).all()
    # Without the closed form, by sampling the KL too, the bound is the same.
    sampled = trace.log_w.mean(0)
    error = trace.log_w.std(0) / math.sqrt(40_000)
    assert ((sampled - objectives.elbo(trace)).abs() < 8 * error).all()


def test_importance_weighted_gap_shrinks_with_samples_and_is_not_negative():
    model = LinearGaussian(exact=False)
    x = model.images(1).expand(4000, -1, -1, -1)
    gaps = []
    for samples in (1, 5, 50):
        bounds = objectives.iwae(model.trace(x, samples=samples)).detach()
        gaps.append((model.true_log_prob(x[:1]) - bounds.mean()).item())
        error = bounds.std().item() / math.sqrt(4000)
        assert gaps[-1] > -4 * error
        if samples == 1:
            assert gaps[0] == pytest.approx(model.factorised_gap, abs=4 * error)
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2]


def test_log_prob_of_a_large_k_is_the_evidence():
    model = LinearGaussian(exact=False)
    x = model.images(4)
    torch.testing.assert_close(model.log_prob(x, samples=20_000), model.true_log_prob(x), atol=0.03, rtol=0)


def test_log_prob_decodes_a_chunk_at_a_time():
    model, sizes = LinearGaussian(exact=True), []
    model.likelihood.decoder.register_forward_hook(lambda module, given, out: sizes.append(len(out)))
    model.log_prob(model.images(5), samples=7, chunk=15)
    assert sizes == [15, 15, 5]


def drawn(log_px, log_pz, log_qz, kl=None):
    """A stand-in of what was drawn: logarithms (K, B), and the KL per dimension (B, D) if it has a closed form."""
    log_w = log_px + log_pz - log_qz
    total = (log_qz - log_pz).mean(0) if kl is None else kl.sum(-1)
    return SimpleNamespace(log_px=log_px, log_w=log_w, kl_per_dimension=kl, kl=total, prior=None)


def test_one_sample_bound_is_the_one_sample_elbo():
    trace = drawn(*torch.randn(3, 1, 6, dtype=torch.float64))
    torch.testing.assert_close(objectives.iwae(trace), objectives.elbo(trace))


def test_importance_weighted_gradient_is_the_weighted_sum_and_the_best_draw_counts_most():
    log_px = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    trace = drawn(log_px, *torch.randn(2, 5, 3, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(objectives.iwae(trace).sum(), log_px)
    torch.testing.assert_close(gradient, trace.log_w.detach().softmax(0))
    assert (gradient.argmax(0) == trace.log_w.argmax(0)).all()


def test_closed_form_kl_is_not_averaged_over_draws_or_latents():
    zero = torch.zeros(2, 1)
    assert objectives.elbo(drawn(zero, zero, zero, torch.tensor([[1.0, 2.0, 3.0]]))).item() == -6


KL = torch.tensor([[1.0, 0.1], [3.0, 0.3]])  # B D, means 2 and 0.2


def flat(kl):
    return drawn(torch.full((1, 2), -10.0), torch.zeros(1, 2), torch.zeros(1, 2), kl)


@pytest.mark.parametrize(
    "beta, free_bits, kl",
    [
        (1, 0, [1.1, 3.3]),
        (4, 0, [4.4, 13.2]),
        (1, 0.5, [2.5, 2.5]),  # 2 is above half a nat, 0.2 is below it
        (2, 0.1, [4.4, 4.4]),
        (1, 3.0, [6.0, 6.0]),
        (0, 0, [0, 0]),
    ],
)
def test_beta_weights_the_kl_and_free_bits_are_of_the_batch_mean_of_each_dimension(beta, free_bits, kl):
    torch.testing.assert_close(objectives.weighted_elbo(flat(KL), beta, free_bits), -10.0 - torch.tensor(kl))


def test_free_bits_stop_the_gradient_of_what_is_free():
    kl = KL.clone().requires_grad_()
    objectives.weighted_elbo(flat(kl), 1.0, 0.5).mean().backward()
    torch.testing.assert_close(kl.grad, torch.tensor([[-0.5, 0.0], [-0.5, 0.0]]))


def test_free_bits_need_a_kl_that_falls_into_dimensions():
    trace = drawn(*torch.randn(3, 4, 2))
    torch.testing.assert_close(objectives.weighted_elbo(trace, 1.0, 0.0), objectives.elbo(trace))
    with pytest.raises(UserError, match="free_bits need a KL that falls into dimensions"):
        objectives.weighted_elbo(trace, 1.0, 0.5)


def test_one_posterior_and_one_prior_serve_all_chunks_of_a_log_prob():
    model, made = LinearGaussian(exact=False), []
    for conditional in (model.posterior, model.prior):
        conditional.register_forward_hook(lambda module, given, out: made.append(module))
    model.log_prob(model.images(3), samples=50, chunk=6)
    assert made == [model.posterior, model.prior]
