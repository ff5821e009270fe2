"""What the label does."""

import numpy as np
import pytest
import torch
from torch.distributions import kl_divergence

from tests.zoo import small
from vae_zoo.conditional import diagonal_normal
from vae_zoo.distributions import StandardNormal
from vae_zoo.errors import UserError
from vae_zoo.models import CVAE


def test_everything_depends_on_the_label():
    model, x = small(CVAE, labels=3), torch.rand(1, 3, 16, 16)
    zero, one = torch.tensor([0]), torch.tensor([1])
    z = model.encode(x, zero)
    assert not torch.equal(z, model.encode(x, one))
    assert not torch.equal(model.decode(z, zero), model.decode(z, one))
    torch.manual_seed(1)
    a = model.log_prob(x, zero)
    torch.manual_seed(1)
    assert not torch.equal(a, model.log_prob(x, one))


def test_each_image_is_given_its_own_label():
    model, x = small(CVAE, labels=3).double(), torch.rand(3, 3, 16, 16, dtype=torch.float64)
    y = torch.tensor([2, 0, 1])
    for method in (model.encode, model.reconstruct):
        together = method(x, y)
        for i in range(3):
            torch.testing.assert_close(together[i : i + 1], method(x[i : i + 1], y[i : i + 1]))
    z = torch.randn(4, 3, 5, dtype=torch.float64)  # K B D
    means = model.likelihood(z, y).mean
    for k in range(4):
        torch.testing.assert_close(means[k], model.decode(z[k], y))


def test_samples_of_labels_and_of_none():
    model = small(CVAE, labels=4)
    y = torch.tensor([3, 3, 0])
    torch.manual_seed(1)
    given = model.sample(3, y)
    torch.manual_seed(1)
    torch.testing.assert_close(given, model.decode(model.sample_prior(3, y), y))
    drawn = []
    model.decode = lambda z, y, **names: drawn.append(y)
    model.sample(1000)
    assert drawn[0].bincount(minlength=4).min() > 180  # without labels, each is as likely


@pytest.mark.parametrize(
    "y, message",
    [
        (None, "this model needs the labels y of the images"),
        (torch.tensor([0, 5]), r"labels y must lie in 0 ... 4, got 0 ... 5"),
        (torch.tensor([-1, 0]), r"labels y must lie in 0 ... 4, got -1 ... 0"),
        (torch.tensor([0.0, 1.0]), "labels y must be a tensor of whole numbers .int64., got tensor"),
        (torch.tensor([False, True]), "labels y must be a tensor of whole numbers .int64., got tensor"),
        (torch.tensor([1]), r"labels y must have the shape \(2,\), one for each image, got \(1,\)"),
        (torch.tensor([[0], [1]]), r"labels y must have the shape .*, got \(2, 1\)"),
    ],
)
@pytest.mark.parametrize("learned", [False, True])
def test_labels_that_are_none(y, message, learned):
    model, x = small(CVAE, labels=5, learned_prior=learned), torch.rand(2, 3, 16, 16)
    calls = [lambda: model.encode(x, y), lambda: model.decode(torch.randn(2, 5), y), lambda: model.log_prob(x, y)]
    for call in calls:
        with pytest.raises(UserError, match=message):
            call()


def test_numbers_of_labels_and_sizes_that_do_not_fit():
    model = small(CVAE)
    with pytest.raises(UserError, match=r"labels y must have the shape \(8,\), one for each image, got \(4,\)"):
        model.sample(8, torch.arange(4))
    with pytest.raises(UserError, match="labels y must be a tensor of whole numbers .int64., got 3"):
        model.encode(torch.rand(1, 3, 16, 16), 3)
    with pytest.raises(UserError, match="must be a batch .*, got .*; for a single one, x.None."):
        model.encode(torch.rand(3, 16, 16), torch.arange(1))
    with pytest.raises(UserError, match=r"built for images of shape \(3, 16, 16\) .*, got \(3, 8, 8\)"):
        model.encode(torch.rand(2, 3, 8, 8), torch.arange(2))
    with pytest.raises(UserError, match=r"shape must be \(channels, height, width\), got \(64, 64\)"):
        CVAE(shape=(64, 64))


def test_learned_prior_is_a_normal_for_each_label_and_the_kl_is_to_it():
    model, x = small(CVAE, labels=2, learned_prior=True), torch.rand(2, 3, 16, 16)
    y = torch.tensor([0, 1])
    q = model.posterior(x, y)
    torch.testing.assert_close(model.trace(x, y).kl, kl_divergence(q, StandardNormal(5)()))  # N(0, I) at first
    with torch.no_grad():
        model.prior.embedding.weight[1] = torch.tensor([10.0] * 5 + [2 * np.log(3.0)] * 5)
    draws = model.sample_prior(4000, y.repeat(2000))
    assert draws[::2].mean() == pytest.approx(0, abs=0.05) and draws[1::2].mean() == pytest.approx(10, abs=0.1)
    assert draws[1::2].std() == pytest.approx(3, abs=0.1)
    p = diagonal_normal(torch.full((5,), 10.0), torch.full((5,), 3.0))
    truth = kl_divergence(diagonal_normal(q.mean[1:], q.stddev[1:]), p)
    torch.testing.assert_close(model.trace(x, y).kl[1:], truth)


@pytest.mark.slow
def test_a_kl_free_label_helps_reconstruction():
    """Images that are their label: the label alone is enough, so the code can be free."""
    torch.manual_seed(0)
    model = small(CVAE, labels=2, lr=1e-2, beta=100.0)
    (optimizer,) = model.configure_optimizers()
    y = torch.arange(32) % 2
    x = y.float()[:, None, None, None].expand(-1, 3, 16, 16) * 0.8 + 0.1
    for _ in range(60):
        optimizer.zero_grad()
        model.training_step((x, y), 0).backward()
        optimizer.step()
    assert model.evaluate(x, y)["figures"]["kl"].mean() < 0.5
    assert (x - model.reconstruct(x, y)).square().mean() < 0.01
    assert (model.sample(2, torch.tensor([0, 1])).mean((1, 2, 3)) - torch.tensor([0.1, 0.9])).abs().max() < 0.1
