"""Oracles 4 and 5: the masks, the determinant, the context, and what a linear flow can do."""

import math

import pytest
import torch
from torch import nn
from torch.autograd.functional import jacobian
from torch.distributions import MultivariateNormal, kl_divergence

from tests.zoo import asked, batch, small, traces_of
from vae_zoo.conditional import diagonal_normal
from vae_zoo.distributions import StandardNormal
from vae_zoo.errors import UserError
from vae_zoo.flows import MADE, FlowDistribution, FlowPosterior, IAFStep
from vae_zoo.models import IAFVAE
from vae_zoo.trace import Trace

CONTEXT = 3


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("latent", [1, 2, 5, 8])
@pytest.mark.parametrize("hidden, depth", [(8, 1), (16, 2), (9, 3)])
def test_output_i_depends_on_the_inputs_before_i_and_on_the_context(latent, hidden, depth):
    seen, seen_context = 0, 0
    for seed in range(5):
        torch.manual_seed(seed)
        made = MADE(latent, CONTEXT, 2, hidden, depth).double()
        dz, dh = jacobian(made, (random(latent), random(CONTEXT)))  # 2 D D, 2 D H
        seen, seen_context = seen + (dz != 0), seen_context + (dh != 0)
    before = torch.ones(latent, latent).tril(-1).bool()
    assert ((seen > 0) == before).all()  # each of them for some weights, and no other for any
    assert (seen_context > 0).all()


@pytest.mark.parametrize("latent", [1, 2, 5])
def test_log_determinant_is_that_of_the_triangular_jacobian(latent):
    step, z, h = IAFStep(latent, CONTEXT, 16, 2).double(), random(latent), random(CONTEXT)
    matrix = jacobian(lambda z: step(z, h)[0], z)
    assert torch.equal(matrix, matrix.tril())
    torch.testing.assert_close(step(z, h)[1].sum(), torch.linalg.slogdet(matrix).logabsdet, atol=1e-10, rtol=0)


@pytest.mark.parametrize("latent, steps", [(1, 2), (4, 0), (4, 1), (4, 4), (5, 3)])
def test_density_of_a_flow_is_the_change_of_variables(latent, steps):
    """log q(z_T) = log N(z_0) - log |det dz_T/dz_0|, the determinant of the whole chain by autograd."""
    chain = nn.ModuleList(IAFStep(latent, CONTEXT, 16, 1) for _ in range(steps)).double()
    q = FlowDistribution(diagonal_normal(random(1, latent), random(1, latent).exp()), chain, random(1, CONTEXT))
    start = q.base.rsample()
    q.base.rsample = lambda shape: start.expand(*shape, 1, latent)
    z = q.rsample((2,))
    matrix = jacobian(lambda z: q._push(z, torch.zeros_like(z))[0][0], start)[:, 0]
    truth = q.base.log_prob(start) - torch.linalg.slogdet(matrix).logabsdet
    torch.testing.assert_close(q.log_prob(z), truth.expand(2, 1), atol=1e-10, rtol=0)


def test_order_is_reversed_between_steps():
    """After two steps every dimension depends on every other; without the reversal the first would be free."""
    chain = nn.ModuleList(IAFStep(4, CONTEXT, 16, 1) for _ in range(2)).double()
    q = FlowDistribution(diagonal_normal(random(1, 4), random(1, 4).exp()), chain, random(1, CONTEXT))
    matrix = jacobian(lambda z: q._push(z, torch.zeros_like(z))[0], q.base.mean)
    assert (matrix != 0).all()


@pytest.mark.parametrize("steps", [1, 2, 4, 16])
def test_a_new_flow_is_close_to_the_identity_whatever_its_length(steps):
    posterior = FlowPosterior(nn.Flatten(), latent=6, context=CONTEXT, steps=steps, hidden=32, depth=2)
    q = posterior(torch.randn(200, 12 + CONTEXT))
    start = q.base.rsample()
    z, log_q = q._push(start, torch.zeros_like(start))
    assert 0.85 < log_q.neg().exp().mean() < 0.95  # of a dimension's scale
    assert (z - (start.flip(-1) if steps % 2 else start)).square().mean() < 0.1 * start.square().mean()


@pytest.mark.parametrize("bias", [-1e4, 1e4])
def test_saturated_weights_stay_finite(bias):
    posterior = FlowPosterior(nn.Flatten(), latent=3, context=CONTEXT, steps=4, hidden=8, depth=1)
    for step in posterior.steps:
        nn.init.constant_(step.made.out.bias, bias)
    x = torch.randn(2, 9, requires_grad=True)
    q = posterior(x)
    q.log_prob(q.rsample((5,))).sum().backward()
    assert q.mean.isfinite().all() and x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in posterior.parameters())


@pytest.mark.parametrize("rho", [0.5, -0.9, 0.99])
def test_a_linear_flow_closes_the_gap_that_a_diagonal_q_leaves(rho):
    covariance = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64)
    target = MultivariateNormal(torch.zeros(2, dtype=torch.float64), covariance)
    best_diagonal = MultivariateNormal(target.mean, torch.eye(2).double() * (1 - rho**2))
    assert kl_divergence(best_diagonal, target).item() == pytest.approx(-math.log(1 - rho**2) / 2)
    # One step with sigma = 1/2 and m_2 = rho u_1, u = (z_2, z_1) ~ N(0, diag(4, 4 (1 - rho^2))): exactly the target.
    step = IAFStep(2, CONTEXT, 2, 1).double()
    for parameter in step.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        step.made.hidden[0].weight[1, 0], step.made.hidden[0].bias[1] = 1, 1000  # far up, the ELU is linear
        step.made.out.weight[1, 1], step.made.out.bias[1] = rho, -1000 * rho
    sigma = torch.tensor([[2 * math.sqrt(1 - rho**2), 2.0]], dtype=torch.float64)
    q = FlowDistribution(diagonal_normal(torch.zeros_like(sigma), sigma), nn.ModuleList([step]), random(1, CONTEXT))
    z = q.rsample((1000,))
    torch.testing.assert_close(q.log_prob(z), target.log_prob(z), atol=1e-9, rtol=0)


def test_every_step_sees_the_context():
    for blind in range(2):
        posterior = FlowPosterior(nn.Flatten(), latent=3, context=CONTEXT, steps=2, hidden=8, depth=1).double()
        nn.init.zeros_(posterior.steps[blind].made.context.weight)
        x = random(1, 9).repeat(2, 1)
        x[1, 6:] += 1  # another context, the same mu and sigma
        q = posterior(x)
        assert (q.mean[0] != q.mean[1]).all()  # through the step that is not blind


def test_kl_falls_into_dimensions_and_adds_up_to_log_q_less_log_p():
    posterior = FlowPosterior(nn.Flatten(), latent=3, context=CONTEXT, steps=3, hidden=8, depth=1).double()
    q, p = posterior(random(2, 9)), StandardNormal(3).double()()
    trace = Trace(random(2, 9), None, q, p, lambda z, y: None, samples=7)
    assert trace.kl_per_dimension.shape == (2, 3)
    torch.testing.assert_close(trace.kl_per_dimension.sum(-1), (q.log_prob(trace.z) - p.log_prob(trace.z)).mean(0))
    torch.testing.assert_close(trace.kl, trace.kl_per_dimension.sum(-1))


@pytest.mark.parametrize("steps", [1, 2])
def test_the_log_density_of_a_dimension_stays_with_it(steps):
    """Steps with sigma = 1 do nothing but reverse the order: free bits and the KL chart must see the same order."""
    posterior = FlowPosterior(nn.Flatten(), latent=3, context=CONTEXT, steps=steps, hidden=8, depth=1).double()
    for step in posterior.steps:
        nn.init.constant_(step.made.out.bias, 1e3)
    q = posterior(random(2, 9))
    z = q.rsample((4,))
    order = [2, 1, 0] if steps == 1 else [0, 1, 2]
    base = torch.distributions.Normal(q.base.mean[:, order], q.base.stddev[:, order])
    torch.testing.assert_close(q.log_prob_per_dimension(z), base.log_prob(z))


def test_a_flow_scores_no_other_point_than_its_last_random():
    q = FlowPosterior(nn.Flatten(), latent=3, context=CONTEXT, steps=1, hidden=8, depth=1)(torch.randn(2, 9))
    first, _ = q.rsample((1,)), q.rsample((1,))
    with pytest.raises(ValueError, match="scores only what it has just drawn"):
        q.log_prob(first)


def test_without_steps_it_is_the_diagonal_normal():
    x = random(2, 9)
    q = FlowPosterior(nn.Flatten(), latent=3, context=CONTEXT, steps=0, hidden=8, depth=1)(x)
    z = q.rsample((4,))
    torch.testing.assert_close(q.log_prob(z), diagonal_normal(x[:, :3], (x[:, 3:6] / 2).exp()).log_prob(z))


def test_sampling_images_needs_no_flow():
    model = small(IAFVAE)
    model.posterior.requires_grad_(False)
    for step in model.posterior.steps:
        step.forward = None  # would raise
    assert model.sample(4).shape == (4, 3, 16, 16)


def test_reconstruction_is_of_the_mean_pushed_through_the_flow():
    model, x = small(IAFVAE).double(), torch.rand(2, 3, 16, 16, dtype=torch.float64)
    q = model.posterior(x)
    z = q.base.mean
    for step in model.posterior.steps:
        z = step(z.flip(-1), q.h)[0]
    torch.testing.assert_close(model.encode(x), z)
    assert (model.encode(x) - q.base.mean).abs().max() > 1e-3


def test_a_hidden_layer_narrower_than_the_code_is_refused():
    with pytest.raises(UserError, match="hidden must be at least 5, got 4"):
        small(IAFVAE, hidden=4)


def test_training_asks_for_the_densities_of_the_draws_and_decodes_no_centre():
    model = small(IAFVAE)
    traces = traces_of(model)
    model.training_step(batch(model, 4), 0)
    assert [asked(trace) for trace in traces] == [{"px", "log_px", "kl", "kl_per_dimension"}]
