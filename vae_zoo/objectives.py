"""Objectives: plain functions from log-terms of shape (K, B) to a bound of shape (B,), in nats per image.

Below them the two losses of adversarial training.
"""

import math
from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import softplus

from vae_zoo.errors import UserError


class Terms(NamedTuple):
    """The log-terms of K posterior draws for each of B images, in nats.

    Attributes:
        log_px: log p(x|z), (K, B).
        log_pz: log p(z), (K, B).
        log_qz: log q(z|x), (K, B).
        kl: the summands of KL(q(z|x) || p(z)), one for each latent dimension, (B, D): each a KL, in closed form, where
            q is factorised; of a flow, the mean over the K draws of those of log q - log p. None if there are none.
    """

    log_px: Tensor
    log_pz: Tensor
    log_qz: Tensor
    kl: Tensor | None = None

    @property
    def log_w(self) -> Tensor:
        """The log importance weights log p(x|z) + log p(z) - log q(z|x), (K, B)."""
        return self.log_px + self.log_pz - self.log_qz


def kl(terms: Terms) -> Tensor:
    """KL(q(z|x) || p(z)), (B,): in closed form where there is one, else the mean of log q(z|x) - log p(z) over K."""
    if terms.kl is None:
        return (terms.log_qz - terms.log_pz).mean(0)  # B
    return terms.kl.sum(-1)  # B


def elbo(terms: Terms) -> Tensor:
    """The evidence lower bound E_q[log p(x|z)] - KL(q(z|x) || p(z)), (B,).

    Kingma & Welling 2014, eq. 3 (closed-form KL, there eq. 10), or eq. 2 where the KL has no closed form.
    """
    return terms.log_px.mean(0) - kl(terms)  # B


def weighted_elbo(terms: Terms, beta: float, free_bits: float) -> Tensor:
    """What a VAE may be trained on instead of the bound, (B,): the KL weighted, and free up to some nats.

    E_q[log p(x|z)] - beta KL (Higgins et al. 2017, eq. 4). With free bits the KL is sum_d max(free_bits, mean over the
    batch of KL_d), so that no dimension gains by saying less than that (Kingma et al. 2016, eq. 15).

    Args:
        terms: their `kl` per dimension is needed for free bits.
        beta: weight of the KL; 1 is the bound.
        free_bits: nats per latent dimension; 0 is the bound.

    Raises:
        UserError: if there are free bits, and the KL does not fall into dimensions.
    """
    cost = kl(terms)  # B
    if free_bits:
        if terms.kl is None:
            raise UserError(
                "free_bits need a KL that falls into dimensions, as that of diagonal normals and flows does"
            )
        cost = terms.kl.mean(0).clamp(min=free_bits).sum()  # the same for each image, so that its mean is itself
    return terms.log_px.mean(0) - beta * cost  # B


def iwae(terms: Terms) -> Tensor:
    """The importance-weighted bound E[log 1/K sum_k w_k], (B,). Burda et al. 2016, eq. 8."""
    return terms.log_w.logsumexp(0) - math.log(len(terms.log_w))  # B


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-log D(real) - log(1 - D(fake)), (B,), for the logits of D (Goodfellow et al. 2014, eq. 1)."""
    return softplus(-real) + softplus(fake)


def generator_loss(fake: Tensor) -> Tensor:
    """-log D(fake), (B,), for the logits of D: the loss that does not saturate (Goodfellow et al. 2014, section 3)."""
    return softplus(-fake)
