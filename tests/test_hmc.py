"""Hamiltonian Monte Carlo: its trajectories, its moves, and that they leave a density invariant."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from vae_zoo import hmc

COVARIANCE = torch.tensor([[2.0, 1.2], [1.2, 1.0]], dtype=torch.float64)
NORMAL = MultivariateNormal(torch.tensor([1.0, -2.0], dtype=torch.float64), COVARIANCE)


def step(value):
    return torch.tensor(value, dtype=torch.float64)


def energy(state, momentum):
    return -state.log_density + momentum.square().sum(-1) / 2


def test_a_state_has_the_density_and_its_gradient_and_is_detached():
    z = torch.randn(5, 2, dtype=torch.float64)
    with torch.inference_mode():
        state = hmc.at(NORMAL.log_prob, z)
    torch.testing.assert_close(state.log_density, NORMAL.log_prob(z))
    torch.testing.assert_close(state.gradient, -(z - NORMAL.mean) @ COVARIANCE.inverse())
    assert not any(each.requires_grad for each in state)


def test_a_trajectory_walks_back_when_its_time_is_reversed():
    start = hmc.at(NORMAL.log_prob, torch.randn(5, 2, dtype=torch.float64))
    momentum = torch.randn(5, 2, dtype=torch.float64)
    end, ended = hmc.leapfrog(NORMAL.log_prob, start, momentum, step(0.2), 17)
    back, returned = hmc.leapfrog(NORMAL.log_prob, end, ended, step(-0.2), 17)
    assert (end.z - start.z).abs().max() > 0.5
    torch.testing.assert_close(back.z, start.z, atol=1e-10, rtol=0)
    torch.testing.assert_close(returned, momentum, atol=1e-10, rtol=0)


def test_the_error_of_the_energy_falls_with_the_square_of_the_step():
    start = hmc.at(NORMAL.log_prob, torch.randn(50, 2, dtype=torch.float64))
    momentum = torch.randn(50, 2, dtype=torch.float64)
    errors = []
    for steps in (20, 40, 80):
        end = hmc.leapfrog(NORMAL.log_prob, start, momentum, step(2 / steps), steps)
        errors.append((energy(*end) - energy(start, momentum)).abs().mean())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1) and errors[1] / errors[2] == pytest.approx(4, rel=0.1)


def test_a_trajectory_of_a_standard_normal_is_a_rotation():
    """z'' = -z, so after a quarter of a turn position and momentum have changed places."""
    z, momentum = torch.randn(2, 5, 3, dtype=torch.float64)

    def normal(z):
        return -z.square().sum(-1) / 2

    end, ended = hmc.leapfrog(normal, hmc.at(normal, z), momentum, step(math.pi / 2e3), 1_000)
    torch.testing.assert_close(end.z, momentum, atol=1e-5, rtol=0)
    torch.testing.assert_close(ended, -z, atol=1e-5, rtol=0)


def test_a_move_is_accepted_with_the_probability_of_metropolis(monkeypatch):
    state = hmc.at(NORMAL.log_prob, torch.randn(60, 2, dtype=torch.float64))
    momentum, chance = 2 * torch.randn(60, 2, dtype=torch.float64), torch.rand(60, dtype=torch.float64)
    monkeypatch.setattr(torch, "randn_like", lambda like: momentum)
    monkeypatch.setattr(torch, "rand_like", lambda like: chance)
    steps = 0.7 * (1 + 0.3 * (2 * chance - 1))[:, None]  # the jitter, too, is what rand_like gives
    end, ended = hmc.leapfrog(NORMAL.log_prob, state, momentum, steps, 3)
    moved, probability = hmc.move(NORMAL.log_prob, state, step(0.7), 3)
    wanted = (energy(state, momentum) - energy(end, ended)).exp().clamp(max=1)
    torch.testing.assert_close(probability, wanted)
    accepted = chance < wanted
    assert 0 < accepted.sum() < 60  # both happen
    for new, proposed, old in zip(moved, end, state, strict=True):
        torch.testing.assert_close(new[accepted], proposed[accepted])
        torch.testing.assert_close(new[~accepted], old[~accepted])


def test_a_trajectory_that_leaves_all_bounds_is_refused():
    state = hmc.at(lambda z: -z.square().sum(-1).square(), torch.ones(4, 2))
    moved, probability = hmc.move(lambda z: -z.square().sum(-1).square(), state, torch.tensor(1e3), 20)
    assert torch.equal(moved.z, state.z) and torch.equal(probability, torch.zeros(4))


@pytest.mark.parametrize("size", [0.3, 0.8])  # the longer one is refused often
def test_moves_leave_a_correlated_normal_invariant(size):
    n = 40_000
    z = NORMAL.sample((n,))
    state, refused = hmc.at(NORMAL.log_prob, z), 0.0
    for _ in range(5):
        state, probability = hmc.move(NORMAL.log_prob, state, step(size), 4)
        refused += float(1 - probability.mean()) / 5
    assert (refused > 0.2) == (size > 0.5)
    assert (state.z - z).abs().mean() > 0.5
    error = COVARIANCE.diagonal().sqrt() / math.sqrt(n)
    assert ((state.z.mean(0) - NORMAL.mean).abs() < 4.5 * error).all()
    torch.testing.assert_close(state.z.T.cov(), COVARIANCE, atol=4.5 * 2 * math.sqrt(2 / n), rtol=0)


@pytest.mark.parametrize("first", [0.05, 10.0])
def test_a_step_adapts_to_the_acceptance_that_is_wanted(first):
    state, size, found = hmc.at(NORMAL.log_prob, NORMAL.sample((500,))), step(first), []
    for i in range(600):
        state, probability = hmc.move(NORMAL.log_prob, state, size, 5)
        size = hmc.adapted(size, probability, 0.9, rate=0.1)
        found += [probability.mean()] if i >= 400 else []
    assert torch.stack(found).mean() == pytest.approx(0.9, abs=0.02)
