"""Objectives: plain functions of what was drawn to a bound of shape (B,), in nats per image.

Below them the losses of adversarial training.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributions import Independent, Normal
from torch.nn.functional import softplus

from vae_zoo import processes
from vae_zoo.errors import UserError
from vae_zoo.evidence import log_mean_exp
from vae_zoo.trace import Trace

Figures = Mapping[str, Tensor]  # by name, (B,) each


def elbo(trace: Trace) -> Tensor:
    """The evidence lower bound E_q[log p(x|z)] - KL(q(z|x) || p(z)), (B,).

    Kingma & Welling 2014, eq. 3 (closed-form KL, there eq. 10), or eq. 2 where the KL has no closed form.
    """
    return trace.log_px.mean(0) - trace.kl  # B


def weighted_elbo(trace: Trace, beta: float | Tensor, free_bits: float, together: bool = False) -> Tensor:
    """What a VAE may be trained on instead of the bound, (B,): the KL weighted, and free up to some nats.

    E_q[log p(x|z)] - beta KL (Higgins et al. 2017, eq. 4). With free bits the KL is sum_d max(free_bits, mean over the
    batch of KL_d), so that no dimension gains by saying less than that (Kingma et al. 2016, eq. 15).

    Args:
        trace: its KL per dimension is needed for free bits.
        beta: weight of the KL; 1 is the bound.
        free_bits: nats per latent dimension; 0 is the bound.
        together: whether the batch is that of all processes, which all are at this step.

    Raises:
        UserError: if there are free bits, and the KL does not fall into dimensions.
    """
    kl = trace.kl  # B
    if free_bits:
        if trace.kl_per_dimension is None:
            raise UserError(
                "free_bits need a KL that falls into dimensions, as that of diagonal normals and flows does; "
                f"the prior is a {type(trace.prior).__name__}: leave free_bits out"
            )
        # The same for each image, so that its mean is itself.
        rates = trace.kl_per_dimension.mean(0)  # D
        kl = (processes.mean(rates) if together else rates).clamp(min=free_bits).sum()
    return trace.log_px.mean(0) - beta * kl  # B


def iwae(trace: Trace) -> Tensor:
    """The importance-weighted bound E[log 1/K sum_k w_k], (B,). Burda et al. 2016, eq. 8."""
    return log_mean_exp(trace.log_w)  # B


def iwae_dreg(trace: Trace) -> Tensor:
    """The same bound with the doubly reparameterised gradient of the encoder, (B,). Tucker et al. 2019, eq. 8.

    The encoder's gradient is sum_k (w_k / sum_j w_j)^2 (d log w_k / d z_k) (d z_k / d phi): of log q(z|x) only the path
    through z is kept; there the bound's gradient brings one factor w_k / sum_j w_j, and the hook the other. All else
    that is derived from the trace's z gets that factor, too, so nothing but this bound can be trained on it.

    Args:
        trace: its posterior is a diagonal normal, and its codes need gradients.

    Raises:
        UserError: if the posterior is another.
    """
    if not isinstance(trace.q, Independent) or not isinstance(q := trace.q.base_dist, Normal):
        raise UserError(f"dreg needs a posterior that is a diagonal normal, got a {type(trace.q).__name__}")
    dims = trace.z.ndim - 2  # of a code: 1, or 3 of maps
    fixed = Independent(Normal(q.loc.detach(), q.scale.detach(), validate_args=False), dims, validate_args=False)
    log_w = trace.log_px + trace.log_pz - fixed.log_prob(trace.z)  # K B
    weights = log_w.detach().softmax(0).view(*log_w.shape, *[1] * dims)  # K B 1
    trace.z.register_hook(lambda gradient: gradient * weights)
    return log_mean_exp(log_w)  # B


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-log D(real) - log(1 - D(fake)), (B,), for the logits of D (Goodfellow et al. 2014, eq. 1)."""
    return softplus(-real) + softplus(fake)


def generator_loss(fake: Tensor) -> Tensor:
    """-log D(fake), (B,), for the logits of D: the loss that does not saturate (Goodfellow et al. 2014, section 3)."""
    return softplus(-fake)


def matching_loss(real: Tensor, wrong: Tensor, fake: Tensor, differs: Tensor) -> Tensor:
    """-log D(x, t) - 1/2 [log(1 - D(x, t')) + log(1 - D(G(z, t), t))], (B,), for the logits of D.

    So D says whether a picture is real and whether its text t is right, and not that t' of another one (Reed et al.
    2016, algorithm 1; Zhang et al. 2016, eq. 3).

    Args:
        real: logits of pictures with their texts, (B,).
        wrong: of pictures with others' texts, (B,).
        fake: of generated pictures with the texts that they were made of, (B,).
        differs: whether the other one's text says something else, (B,); where it does not, it is no wrong one, and the
            generated picture counts in full.
    """
    fake = softplus(fake)
    return softplus(-real) + torch.where(differs, (softplus(wrong) + fake) / 2, fake)
