"""Figures of a model's codes."""

from typing import Any

import torch
from torch import Tensor

from vae_zoo.metrics.base import WHY_NONE, Measure
from vae_zoo.models import Autoencoder, GenerativeModel
from vae_zoo.models.base import Evaluated

ACTIVE = 0.01
ONE_IMAGE = "it needs two images"
SCALES = (0.1, 0.5, 1.0, 2.0, 10.0)


class ActiveUnits(Measure):
    """Latent dimensions whose posterior mean varies over the data by more than .01 (Burda et al. 2016, section 5.2).

    Of a flow it counts the centres, which are the base's mean pushed through, and not the expectation.
    """

    name = "active_units"
    in_validation = True
    codes: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("codes", [], dist_reduce_fx="cat")

    def update(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> None:
        """Collect a batch's centres."""
        if trace := evaluated["trace"]:
            self.codes.append(trace.centre.flatten(1))

    def compute(self) -> float | str:
        """Return their number."""
        if not len(self.codes):
            return WHY_NONE["encodes"]
        codes = gathered(self.codes)
        return active_units(codes) if len(codes) > 1 else ONE_IMAGE


class CodeMMD(Measure):
    """The distance of the codes from the prior, see `code_mmd`: of a draw from each posterior and as many of p(z)."""

    name = "code_mmd"
    codes: list[Tensor]
    draws: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("codes", [], dist_reduce_fx="cat")
        self.add_state("draws", [], dist_reduce_fx="cat")

    def update(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> None:
        """Collect a batch's draws, and draw from the prior."""
        if (trace := evaluated["trace"]) and isinstance(model, Autoencoder):
            self.codes.append(trace.z[0].flatten(1))
            self.draws.append(model.sample_prior(len(x), y).flatten(1))

    def compute(self) -> float | str:
        """Return the unbiased squared MMD."""
        if not len(self.codes):
            return WHY_NONE["encodes"]
        codes, draws = gathered(self.codes), gathered(self.draws)
        return code_mmd(codes, draws) if len(codes) > 1 else ONE_IMAGE


def gathered(state: Any) -> Tensor:
    """Return a list state as one tensor on the CPU: a list of batches, or one tensor of all processes' images."""
    return (state if isinstance(state, Tensor) else torch.cat(state)).cpu()


def active_units(codes: Tensor) -> int:
    """Count the latent dimensions that depend on the image (Burda et al. 2016, section 5.2).

    A unit is active if the variance over the data of its posterior mean is above 0.01.

    Args:
        codes: posterior means of N images, (N, D).
    """
    return int((codes.var(0) > ACTIVE).sum())


def code_mmd(codes: Tensor, draws: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy between codes and draws of the prior (Gretton et al. 2012, eq. 3).

    The kernel is the inverse multiquadratic, sum over s of C / (C + |a - b|^2), C = 2 D s, s in {.1, .5, 1, 2, 10}
    (Tolstikhin et al. 2018, section 4). Zero in expectation where both have one distribution, so it may be below zero.

    Args:
        codes: of the data, (N, D), N at least 2; of a stochastic encoder, draws and not means.
        draws: of the prior, (M, D), M at least 2.
    """
    n, m, latent = len(codes), len(draws), codes.shape[1]
    own = len(SCALES)  # the kernel of a point with itself
    same = (_kernel_sum(codes, codes, latent) - n * own) / (n * (n - 1))
    same += (_kernel_sum(draws, draws, latent) - m * own) / (m * (m - 1))
    return same - 2 * _kernel_sum(codes, draws, latent) / (n * m)


def _kernel_sum(a: Tensor, b: Tensor, latent: int) -> float:
    """The kernel summed over all pairs, a block of rows at a time: memory grows with M, not with N M."""
    total = 0.0
    for rows in a.double().split(256):
        squares = torch.cdist(rows, b.double(), compute_mode="donot_use_mm_for_euclid_dist").square()  # 256 M
        total += sum(float((2 * latent * s / (2 * latent * s + squares)).sum()) for s in SCALES)
    return total
