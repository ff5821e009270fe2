"""Hamiltonian Monte Carlo (Neal 2011): draws from a density that is known up to a constant."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

JITTER = 0.3  # of a trajectory's step; one that is the same each time may return to where it began, again and again

LogDensity = Callable[[Tensor], Tensor]  # of N chains at once, (N, ...) -> (N,), up to a constant


class State(NamedTuple):
    """Where N chains are.

    Attributes:
        z: positions, (N, ...).
        log_density: there, (N,).
        gradient: of the log-density there, (N, ...).
    """

    z: Tensor
    log_density: Tensor
    gradient: Tensor


def at(log_density: LogDensity, z: Tensor) -> State:
    """Return the state of chains at positions z, (N, ...); nothing of it has a gradient."""
    # A Trainer validates in inference mode, whose tensors take part in no gradient.
    with torch.inference_mode(False), torch.enable_grad():
        z = z.detach().clone().requires_grad_()
        value = log_density(z)  # N
        (gradient,) = torch.autograd.grad(value.sum(), z)
    return State(z.detach(), value.detach(), gradient)


def leapfrog(log_density: LogDensity, state: State, momentum: Tensor, step: Tensor, steps: int) -> tuple[State, Tensor]:
    """Follow the Hamiltonian -log p(z) + |r|^2 / 2 for a time of `steps` x `step` (Neal 2011, eq. 2.28 to 2.30).

    Half a step of the momentum, a step of the position, half a step of the momentum: reversible, of unit volume, with
    an error of the energy that falls with the square of the step.

    Args:
        log_density: of the chains.
        state: where they are.
        momentum: r, (N, ...).
        step: of time, () or (N, 1 ...); negative goes back.
        steps: how many.

    Returns:
        the state there, and the momentum.
    """
    for _ in range(steps):
        momentum = momentum + step / 2 * state.gradient
        state = at(log_density, state.z + step * momentum)
        momentum = momentum + step / 2 * state.gradient
    return state, momentum


def move(log_density: LogDensity, state: State, step: Tensor, leapfrogs: int) -> tuple[State, Tensor]:
    """Make one move of each chain, which leaves the density invariant: r ~ N(0, I), leapfrogs, accept or stay.

    Each chain's step is drawn anew, uniform on (1 +- 0.3) step (Neal 2011, section 4.2).

    Args:
        log_density: of the chains.
        state: where they are.
        step: of time, ().
        leapfrogs: steps.

    Returns:
        where they are then, and the probability with which each move was accepted, (N,), min(1, exp(-dH)).
    """
    momentum = torch.randn_like(state.z)
    jitter = 1 + JITTER * (2 * torch.rand_like(state.log_density) - 1)  # N
    each = step * jitter.view(-1, *[1] * (state.z.ndim - 1))
    proposed, ended = leapfrog(log_density, state, momentum, each, leapfrogs)
    gain = proposed.log_density - state.log_density - _kinetic(ended) + _kinetic(momentum)  # N
    probability = gain.exp().clamp(max=1).nan_to_num(0)  # a trajectory that left all bounds is refused
    accepted = torch.rand_like(probability) < probability

    def chosen(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(accepted.view(-1, *[1] * (old.ndim - 1)), new, old)

    return State(*map(chosen, proposed, state)), probability


def _kinetic(momentum: Tensor) -> Tensor:
    """|r|^2 / 2, (N,)."""
    return momentum.square().flatten(1).sum(1) / 2


def adapted(step: Tensor, probability: Tensor, target: float, rate: float) -> Tensor:
    """Return a step longer by exp(rate (mean probability - target)): shorter if too few moves were accepted.

    While a step adapts, the moves do not leave the density quite invariant.

    Args:
        step: (), positive.
        probability: of the last move's acceptance, (N,).
        target: mean probability that is wanted.
        rate: of the logarithm of the step.
    """
    return step * (rate * (probability.mean() - target)).exp()
