"""The marginal likelihood p(x) of a directed model p(z) p(x|z), without an encoder's help."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from vae_zoo import hmc
from vae_zoo.hmc import LogDensity

FIRST_STEP = 0.1  # of the leapfrogs; a pilot run finds each temperature's own
SHARPNESS = 4.0  # of the schedule, as in Wu et al. 2017


class Joint(NamedTuple):
    """p(x, z) of N images, of each one chain.

    Attributes:
        draw: gives codes (N, ...) from the prior.
        log_prior: (N, ...) -> log p(z), (N,).
        log_likelihood: (N, ...) -> log p(x|z), (N,).
    """

    draw: Callable[[], Tensor]
    log_prior: LogDensity
    log_likelihood: LogDensity

    def at(self, temperature: float) -> LogDensity:
        """Return log p(z) + t log p(x|z): the prior at t = 0, the posterior up to a constant at t = 1."""
        return lambda z: self.log_prior(z) + temperature * self.log_likelihood(z)


def schedule(temperatures: int) -> list[float]:
    """Return the temperatures 0 = t_0 < ... < t_T = 1, denser at both ends (Wu et al. 2017, section 4.1).

    t_i = (s(d (2 i / T - 1)) - s(-d)) / (s(d) - s(-d)), with the logistic function s and d = 4.
    """
    curve = torch.linspace(-SHARPNESS, SHARPNESS, temperatures + 1, dtype=torch.float64).sigmoid()
    return ((curve - curve[0]) / (curve[-1] - curve[0])).tolist()


def tuned(joint: Joint, temperatures: int, leapfrogs: int, target: float = 0.65) -> list[Tensor]:
    """Return a step of the leapfrogs for each temperature, (), found by a pilot run with chains of its own.

    They are then fixed, so that what is drawn with them is without bias.

    Args:
        joint: of the images.
        temperatures: T.
        leapfrogs: of a move.
        target: mean probability of acceptance, about the best of Hamiltonian Monte Carlo (Neal 2011, section 4.4).
    """
    z = joint.draw()
    step, steps = torch.full((), FIRST_STEP, device=z.device, dtype=z.dtype), []
    for temperature in schedule(temperatures):
        density = joint.at(temperature)
        (z, *_), probability = hmc.move(density, hmc.at(density, z), step, leapfrogs)
        step = hmc.adapted(step, probability, target, rate=0.5)
        steps.append(step)
    return steps


def annealed(joint: Joint, z: Tensor, steps: list[Tensor], leapfrogs: int, down: bool = False) -> Tensor:
    """Anneal N chains from the prior to the posterior, and return their log-weights (N,) (Neal 2001, eq. 11).

    log w = sum_i log f_i(z_{i-1}) - log f_{i-1}(z_{i-1}),  f_i(z) = p(z) p(x|z)^t_i,  z_i by a move that leaves f_i
    invariant. E[w] = p(x), whatever the number of temperatures, so log w falls short of log p(x) in expectation.

    Args:
        joint: of the images.
        z: draws of the prior, (N, ...); for `down`, of the posterior.
        steps: of the leapfrogs at each temperature, see `tuned`.
        leapfrogs: of a move.
        down: from the posterior to the prior; then E[w] = 1 / p(x).

    Returns:
        (N,) in nats, float64, on the CPU.
    """
    levels = [*zip(schedule(len(steps) - 1), steps, strict=True)][:: -1 if down else 1]
    density = joint.at(levels[0][0])
    state = hmc.at(density, z)
    increments = []
    for i, (temperature, step) in enumerate(levels[1:], 2):
        before, density = state.log_density, joint.at(temperature)
        state = hmc.at(density, state.z)
        increments.append(state.log_density - before)
        if i < len(levels):  # no weight depends on a last move
            state, _ = hmc.move(density, state, step, leapfrogs)
    return torch.stack(increments).cpu().double().sum(0)  # N; on the CPU: not all devices have float64


def log_mean_exp(values: Tensor) -> Tensor:
    """Return the logarithm of the mean over the first dimension of exp(values)."""
    return values.logsumexp(0) - math.log(len(values))


def harmonic(joint: Joint, draws: int, burn_in: int, leapfrogs: int, target: float = 0.9) -> Tensor:
    """Estimate log p(x), (N,), by draws of the posterior alone (Kingma & Welling 2014, appendix D).

    1 / p(x) = E_{p(z|x)}[q(z) / (p(z) p(x|z))] for any density q. Half of the draws of Hamiltonian Monte Carlo give q,
    a normal with their mean and covariance; the other half give the mean of the ratio. It is of use for a few latent
    dimensions only: where q has thinner tails than the posterior its variance is small, and where the chains missed a
    mode it is wrong.

    Args:
        joint: of the images, N chains with D numbers each.
        draws: for the two halves together.
        burn_in: moves before the first draw, in which the step adapts.
        leapfrogs: of a move; between two draws there is one.
        target: mean probability of acceptance.

    Returns:
        (N,) in nats, float64, on the CPU.
    """
    density, z = joint.at(1.0), joint.draw()
    state, step = hmc.at(density, z), torch.full((), FIRST_STEP, device=z.device, dtype=z.dtype)
    found, log_joint = [], []
    for i in range(burn_in + draws):
        state, probability = hmc.move(density, state, step, leapfrogs)
        if i < burn_in:
            step = hmc.adapted(step, probability, target, rate=0.2)
        else:
            found.append(state.z.flatten(1).cpu().double())
            log_joint.append(state.log_density.cpu().double())
    fitted, fresh = torch.stack(found).tensor_split(2)  # L N D each
    centred = fitted - fitted.mean(0)
    covariance = torch.einsum("lnd,lne->nde", centred, centred) / (len(fitted) - 1)
    spread = covariance.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-12)[:, None, None]  # N 1 1
    # A thousandth of the spread on the diagonal, for chains that stood still.
    regular = covariance + 1e-3 * spread * torch.eye(z[0].numel(), dtype=torch.float64)
    q = MultivariateNormal(fitted.mean(0), regular, validate_args=False)
    return -log_mean_exp(q.log_prob(fresh) - torch.stack(log_joint[len(fitted) :]))
