"""Posteriors, and conditionals that are given a label."""

import math

import pytest
import torch
from torch import nn

from vae_zoo.conditional import Conditional, check_labels, diagonal_normal
from vae_zoo.distributions import ConditionedOnLabel, GaussianPosterior, PointPosterior, StandardNormal
from vae_zoo.errors import UserError
from vae_zoo.trace import Trace


def test_kl_of_two_normals_is_the_integral():
    q = diagonal_normal(torch.tensor([[0.5]]).double(), torch.tensor([[0.7]]).double())
    p = StandardNormal(1).double()()
    t = torch.linspace(-10, 10, 20_001, dtype=torch.float64)[:, None]
    integrand = q.log_prob(t[:, None]).exp() * (q.log_prob(t[:, None]) - p.log_prob(t[:, None]))
    kl = Trace(torch.zeros(1, 1), None, q, p, lambda z, y: None).kl_per_dimension
    assert kl.shape == (1, 1)
    assert kl.item() == pytest.approx(torch.trapezoid(integrand[:, 0], t[:, 0]).item(), abs=1e-9)


@pytest.mark.parametrize("log_variance", [-170.0, -104.0, -87.0, -20.0, 0.0, 20.0])
def test_kl_of_a_narrow_posterior_is_finite(log_variance):
    """Its variance may be less than the smallest number of float32, 1e-38 or, where denormals are flushed, 1e-45."""
    x = torch.tensor([[0.3, log_variance]], requires_grad=True)
    kl = Trace(x, None, GaussianPosterior(nn.Identity())(x), StandardNormal(1)(), lambda z, y: None).kl.sum()
    (gradient,) = torch.autograd.grad(kl, x)
    exact = (math.exp(log_variance) + 0.09 - 1 - log_variance) / 2
    torch.testing.assert_close(kl, torch.tensor(exact), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient, torch.tensor([[0.3, (math.exp(log_variance) - 1) / 2]]))


def test_posterior_halves_are_mean_and_log_variance():
    q = GaussianPosterior(nn.Flatten())(torch.tensor([[0.1, 0.2, math.log(4), math.log(9)]]))
    torch.testing.assert_close(q.mean, torch.tensor([[0.1, 0.2]]))
    torch.testing.assert_close(q.variance, torch.tensor([[4.0, 9.0]]))


def test_a_posterior_is_float32_under_bfloat16():
    for posterior in (GaussianPosterior, PointPosterior):
        with torch.autocast("cpu", torch.bfloat16):
            assert posterior(nn.Linear(5, 4))(torch.randn(2, 5)).mean.dtype == torch.float32


def test_all_draws_of_a_point_are_the_point():
    x = torch.randn(2, 3)
    q = PointPosterior(nn.Identity())(x)
    assert torch.equal(q.rsample((4,)), x.expand(4, 2, 3)) and torch.equal(q.mean, x)


class Recording(Conditional):
    """Remembers what it is given."""

    def forward(self, given, y=None):
        self.given = given
        return diagonal_normal(given, torch.ones_like(given))


@pytest.mark.parametrize("shape, size", [((2, 3), (4,)), ((7, 2, 3), (4,)), ((2, 3, 8, 8), (1, 8, 8))])
def test_a_labels_embedding_stands_beside_what_is_given(shape, size):
    inner, y, given = Recording(), torch.tensor([1, 0]), torch.randn(shape)
    conditional = ConditionedOnLabel(inner, 3, size)
    conditional(given, y)
    axis = -len(size)
    kept, beside = inner.given.split([given.shape[axis], size[0]], axis)
    assert torch.equal(kept, given)
    assert torch.equal(beside, conditional.embedding(y).unflatten(-1, size).expand_as(beside))


def test_a_conditional_on_labels_is_of_the_same_kind_as_without():
    class Bits(Recording):
        discrete, binary = True, True

    assert ConditionedOnLabel(Bits(), 2, (1,)).discrete and ConditionedOnLabel(Bits(), 2, (1,)).binary
    assert not ConditionedOnLabel(Recording(), 2, (1,)).discrete


@pytest.mark.parametrize(
    "y, message",
    [
        (None, "this model needs the labels y of the images"),
        (3, "must be a tensor of whole numbers .int64., got 3"),
        (torch.tensor([0.0, 1.0]), "must be a tensor of whole numbers .int64., got tensor"),
        (torch.tensor([[0, 1]]), r"must have the shape \(2,\), one for each image, got \(1, 2\)"),
        (torch.tensor([0, 5]), r"must lie in 0 ... 4, got 0 ... 5"),
    ],
)
def test_labels_that_are_none(y, message):
    with pytest.raises(UserError, match=message):
        check_labels(y, 5, 2)
    assert check_labels(torch.tensor([0, 4]), 5, 2).tolist() == [0, 4]
