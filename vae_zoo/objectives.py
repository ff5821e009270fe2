"""Objectives: plain functions from log-terms of shape (K, B) to a bound of shape (B,), in nats per image."""

import math
from typing import NamedTuple

from torch import Tensor


class Terms(NamedTuple):
    """The log-terms of K posterior draws for each of B images, in nats.

    Attributes:
        log_px: log p(x|z), (K, B).
        log_pz: log p(z), (K, B).
        log_qz: log q(z|x), (K, B).
        kl: KL(q(z|x) || p(z)) in closed form, per latent dimension, (B, D); None where there is no closed form.
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
    """KL(q(z|x) || p(z)), (B,): closed form where there is one, else the mean of log q(z|x) - log p(z) over K."""
    if terms.kl is None:
        return (terms.log_qz - terms.log_pz).mean(0)  # B
    return terms.kl.sum(-1)  # B


def elbo(terms: Terms) -> Tensor:
    """The evidence lower bound E_q[log p(x|z)] - KL(q(z|x) || p(z)), (B,).

    Kingma & Welling 2014, eq. 3 (closed-form KL, there eq. 10), or eq. 2 where the KL has no closed form.
    """
    return terms.log_px.mean(0) - kl(terms)  # B


def iwae(terms: Terms) -> Tensor:
    """The importance-weighted bound E[log 1/K sum_k w_k], (B,). Burda et al. 2016, eq. 8."""
    return terms.log_w.logsumexp(0) - math.log(len(terms.log_w))  # B
