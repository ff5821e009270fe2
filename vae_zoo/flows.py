"""Inverse autoregressive flow: the step (z, h) -> (z', log|det|), and the posterior made of such steps."""

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from vae_zoo.conditional import Conditional, at_least_float32, diagonal_normal
from vae_zoo.errors import require
from vae_zoo.trace import Autoregressive

WIDEST = 2**14  # units of a hidden layer, whose mask is made before its weights are counted
START = 0.9  # of the scale of z, what all steps of a new flow together leave


class MaskedLinear(nn.Linear):
    """A linear layer (N, in) -> (N, out) some of whose weights are always zero.

    Args:
        mask: (out, in), True where there is a weight.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the weights that there are."""
        return F.linear(x, self.weight * self.mask, self.bias)


class MADE(nn.Module):
    """Masked autoencoder (Germain et al. 2015) with a context: output i sees z_1 ... z_{i-1} and all of h.

    Hidden units have degrees 0 ... D-1, in turn; a unit of degree d sees the first d inputs, and output i the units of
    degree i-1 or less. Units of degree 0 see the context alone: so it reaches the first output, and D may be 1.

    Args:
        latent: D.
        context: width of h.
        outputs: numbers for each dimension.
        hidden: width of a hidden layer.
        depth: hidden layers.

    Shapes: z (..., D), h (..., H) -> (..., outputs, D).
    """

    def __init__(self, latent: int, context: int, outputs: int, hidden: int, depth: int) -> None:
        super().__init__()
        require(1, latent=latent, context=context, outputs=outputs, depth=depth)
        # A unit for each degree, else an output would not see all inputs before it.
        require(latent, WIDEST, hidden=hidden)
        inputs, units = torch.arange(1, latent + 1), torch.arange(hidden) % latent
        degrees = [inputs, *[units] * depth]
        masks = [after[:, None] >= before[None, :] for before, after in pairwise(degrees)]
        self.hidden = nn.ModuleList(MaskedLinear(mask) for mask in masks)
        self.context = nn.Linear(context, hidden, bias=False)
        self.out = MaskedLinear((inputs[:, None] > units[None, :]).repeat(outputs, 1))
        self.outputs = outputs

    def forward(self, z: Tensor, h: Tensor) -> Tensor:
        """Return the outputs for each dimension."""
        first, *others = self.hidden
        x = F.elu(first(z) + self.context(h))
        for layer in others:
            x = F.elu(layer(x))
        return self.out(x).unflatten(-1, (self.outputs, -1))


class IAFStep(nn.Module):
    """One gated step of inverse autoregressive flow (Kingma et al. 2016, eq. 13 and 14, algorithm 1).

    z' = sigma z + (1 - sigma) m,  sigma = sigmoid(s),  [m, s] = MADE(z, h),  log|det dz'/dz| = sum log sigma

    The bias of s begins at logit(start), so that a new step leaves z almost as it is. (The paper begins at 1
    to 2; with sigmoid(1.5) = .82 four steps shrink z to .45 of its scale, and the posterior begins half collapsed.)

    Args:
        latent: D.
        context: width of h.
        hidden: width of the MADE's hidden layers, at least D.
        depth: its hidden layers.
        start: sigma of a new step, about.
    """

    def __init__(self, latent: int, context: int, hidden: int, depth: int, start: float = START) -> None:
        super().__init__()
        self.made = MADE(latent, context, 2, hidden, depth)
        with torch.no_grad():
            self.made.out.bias[latent:] += math.log(start / (1 - start))

    def forward(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return z' (..., D) and log sigma (..., D), whose sum is the log-determinant."""
        m, s = (at_least_float32(part) for part in self.made(z, h).unbind(-2))
        sigma = s.sigmoid()
        return sigma * z + (1 - sigma) * m, F.logsigmoid(s)


class FlowDistribution(Autoregressive):
    """What a diagonal normal becomes when its draws go through flow steps. It scores its own last draws, no others.

    The density of any other point would need the inverse, D passes one after another; neither training nor importance
    sampling asks for it.
    """

    def __init__(self, base: Independent, steps: nn.ModuleList, h: Tensor) -> None:
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)
        self.base, self.steps, self.h = base, steps, h
        self._drawn: tuple[Tensor, Tensor] | None = None

    def _push(self, z: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
        """Send z through the steps, and its log-density along; both (..., D)."""
        for step in self.steps:
            # Each step sees the reverse of the last one's order, so that no dimension is always the first.
            z, log_sigma = step(z.flip(-1), self.h)
            log_q = log_q.flip(-1) - log_sigma
        return z, log_q

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw z, (*sample_shape, B, D)."""
        start = self.base.rsample(sample_shape)
        self._drawn = self._push(start, self.base.base_dist.log_prob(start))
        return self._drawn[0]

    def log_prob_per_dimension(self, value: Tensor) -> Tensor:
        """Return the summands of log q(z|x), (..., D), of the last draw: conditionals for one step, not for more."""
        if self._drawn is None or value is not self._drawn[0]:
            raise ValueError("an inverse autoregressive flow scores only what it has just drawn")
        return self._drawn[1]

    @property
    def mean(self) -> Tensor:
        """The centre, not the expectation: the normal's mean pushed through the flow, (..., D)."""
        mean = self.base.mean
        return self._push(mean, torch.zeros_like(mean))[0]

    @property
    def variance(self) -> Tensor:
        """An estimate from 64 draws, (..., D), since it has no closed form; the last draws are still those before."""
        start = self.base.sample(torch.Size([64]))
        return self._push(start, torch.zeros_like(start))[0].var(0)


class FlowPosterior(Conditional):
    """q(z|x): a diagonal normal whose draws go through T gated steps, each of which sees the encoder's context h.

    Args:
        encoder: (B, C, H, W) -> (B, 2 D + H): mu, log sigma^2 and h.
        latent: D.
        context: H, width of the context.
        steps: T.
        hidden: width of a step's hidden layers, at least D.
        depth: hidden layers of a step.
    """

    part = "flow"

    def __init__(self, encoder: nn.Module, latent: int, context: int, steps: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.encoder, self.latent = encoder, latent
        # Whatever T is, the whole flow begins close to the identity.
        self.steps = nn.ModuleList(IAFStep(latent, context, hidden, depth, START ** (1 / steps)) for _ in range(steps))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        """Return q(z|x) with batch shape (B,) and event shape (D,)."""
        # The context, too, in float32: the centre may be asked for outside of an autocast in which it was computed.
        out = at_least_float32(self.encoder(x))  # B, 2 D + H
        mean, log_variance = out[:, : 2 * self.latent].chunk(2, -1)  # B D, B D
        return FlowDistribution(diagonal_normal(mean, (log_variance / 2).exp()), self.steps, out[:, 2 * self.latent :])
