"""Posteriors q(z|x) and priors p(z), and by their names the likelihoods p(x|z) of `vae_zoo.likelihoods`."""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Uniform

from vae_zoo.conditional import Conditional, at_least_float32, check_labels, diagonal_normal
from vae_zoo.errors import UserError, require, require_positive
from vae_zoo.likelihoods import *  # noqa: F403  by whose names checkpoints and yamls know them here, too
from vae_zoo.networks import Shape

MOST_COMPONENTS = 10_000  # of a mixture: its centres are made of this number alone, so a small file could ask for any


class GaussianPosterior(Conditional):
    """q(z|x) = N(mu(x), diag(sigma(x)^2)): mu and log sigma^2 are the encoder's two halves (Kingma & Welling, eq. 9).

    Args:
        encoder: (B, C, H, W) -> (B, 2 D), or (B, 2 C', H', W') for a code of maps.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        """Return q(z|x) with batch shape (B,) and event shape (D,)."""
        mean, log_variance = at_least_float32(self.encoder(x)).chunk(2, 1)  # B D, B D
        return diagonal_normal(mean, (log_variance / 2).exp(), mean.ndim - 1)


class Point(Distribution):
    """All mass at one point (B, D). It has draws and a mean, and no density."""

    def __init__(self, point: Tensor) -> None:
        super().__init__(point.shape[:1], point.shape[1:], validate_args=False)
        self._point = point

    @property
    def mean(self) -> Tensor:
        """The point, (B, D)."""
        return self._point

    @property
    def variance(self) -> Tensor:
        """Zeros, (B, D)."""
        return torch.zeros_like(self._point)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Return the point, (*sample_shape, B, D)."""
        return self._point.expand(*sample_shape, *self._point.shape)


class PointPosterior(Conditional):
    """The code of a deterministic encoder: z = f(x).

    Args:
        encoder: (B, C, H, W) -> (B, D), or (B, C', H', W') for a code of maps.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        """Return f(x) with batch shape (B,) and event shape (D,)."""
        return Point(at_least_float32(self.encoder(x)))


class Prior(Conditional):
    """p(z), or p(z|y). Its parameters, if it has any, are trained with the model's.

    A prior is made by a factory that is called with what it may need, in this order:

        latent: D, or the shape of a code that consists of maps.
        shape: of the data, (C, H, W).
        posterior: q(z|x), for a prior that is made of it; None of a model without one. Keep it in a tuple, so that its
            parameters stay the model's.
    """

    @abstractmethod
    def forward(self, y: Tensor | None = None) -> Distribution:
        """Return p(z) with event shape (D,); if it depends on labels (B,), with the batch shape (B,)."""


class InitialisedPrior(Prior):
    """A prior that begins with training data, such as pseudo-inputs.

    Attributes:
        initialised: whether it has been shown some, a buffer, which checkpoints hold.
    """

    initialised: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("initialised", torch.tensor(False))

    @property
    @abstractmethod
    def initial_images(self) -> int:
        """The number of training images that it begins with."""

    @abstractmethod
    def initialise(self, x: Tensor) -> None:
        """Take so many training images (N, C, H, W), once, before the first training."""


PriorFactory = Callable[[Any, Shape, Any], Prior]  # latent is a number or, of a code of maps, their shape


class StandardNormal(Prior):
    """p(z) = N(0, I).

    Args:
        latent: D, the number of latent dimensions, or the shape of a code of maps.
        shape: not used.
        posterior: not used.
    """

    mean: Tensor
    sigma: Tensor

    def __init__(self, latent: int | Shape, shape: Shape = (), posterior: Conditional | None = None) -> None:
        super().__init__()
        for size in latent if isinstance(latent, (tuple, list)) else [latent]:
            require(1, latent=size)
        self.register_buffer("mean", torch.zeros(latent), persistent=False)
        self.register_buffer("sigma", torch.ones(latent), persistent=False)

    def forward(self, y: Tensor | None = None) -> Distribution:
        """Return p(z) with event shape (D,)."""
        return diagonal_normal(self.mean, self.sigma, self.mean.ndim)


class UniformNoise(Prior):
    """p(z) uniform on [-1, 1]^D, the noise of a generator (Radford et al. 2015, section 4).

    Args:
        latent: D, or the shape of a code of maps.
        shape: not used.
        posterior: not used.
    """

    one: Tensor

    def __init__(self, latent: int | Shape, shape: Shape = (), posterior: Conditional | None = None) -> None:
        super().__init__()
        for size in latent if isinstance(latent, (tuple, list)) else [latent]:
            require(1, latent=size)
        self.register_buffer("one", torch.ones(latent), persistent=False)

    def forward(self, y: Tensor | None = None) -> Distribution:
        """Return p(z) with event shape (D,)."""
        each = Uniform(-self.one, self.one, validate_args=False)
        return Independent(each, self.one.ndim, validate_args=False)


class GaussianMixture(Prior):
    """p(z) = 1/M sum_m N(c_m, sigma^2 I): the centres c_m stand on a circle in the first two dimensions.

    Makhzani et al. 2015, section 2.3, in two dimensions; with more, the others are N(0, 1).

    Args:
        latent: D, at least 2.
        shape: not used.
        posterior: not used.
        components: M.
        radius: of the circle.
        sigma: standard deviation of a component in the circle's two dimensions.

    Raises:
        UserError: if there is no such mixture.
    """

    centres: Tensor
    sigmas: Tensor

    def __init__(
        self,
        latent: int,
        shape: Shape = (),
        posterior: Conditional | None = None,
        components: int = 10,
        radius: float = 4.0,
        sigma: float = 0.5,
    ) -> None:
        super().__init__()
        require(2, latent=latent)
        require(1, MOST_COMPONENTS, components=components)
        require_positive(sigma=sigma)
        angles = torch.arange(components) * (2 * math.pi / components)
        centres, sigmas = torch.zeros(components, latent), torch.ones(components, latent)
        centres[:, 0], centres[:, 1], sigmas[:, :2] = radius * angles.cos(), radius * angles.sin(), sigma
        self.register_buffer("centres", centres, persistent=False)
        self.register_buffer("sigmas", sigmas, persistent=False)

    def forward(self, y: Tensor | None = None) -> Distribution:
        """Return p(z) with event shape (D,)."""
        weights = Categorical(logits=torch.zeros_like(self.centres[:, 0]), validate_args=False)
        return MixtureSameFamily(weights, diagonal_normal(self.centres, self.sigmas), validate_args=False)


class LabelPrior(Prior):
    """p(z|y) = N(mu_y, diag(sigma_y^2)), a learned normal for each label (Sohn et al. 2015), N(0, I) at first.

    Args:
        latent: D.
        labels: number of labels.
    """

    def __init__(self, latent: int, labels: int) -> None:
        super().__init__()
        require(1, latent=latent, labels=labels)
        self.labels = labels
        self.embedding = nn.Embedding(labels, 2 * latent)
        nn.init.zeros_(self.embedding.weight)

    def forward(self, y: Tensor | None = None) -> Distribution:
        """Return p(z|y) with batch shape (B,) and event shape (D,)."""
        mean, log_variance = at_least_float32(self.embedding(check_labels(y, self.labels))).chunk(2, -1)  # B D, B D
        return diagonal_normal(mean, (log_variance / 2).exp())


class ConditionedOnLabel(Conditional):
    """A conditional that is also given a label: the label's embedding is put beside what is given.

    Args:
        conditional: takes what is given with the embedding beside it, as further channels or numbers.
        labels: number of labels.
        size: of an embedding: (N,) to stand beside codes (..., D), or (C, H, W) to stand beside images.
    """

    part = "labels"

    def __init__(self, conditional: Conditional, labels: int, size: tuple[int, ...]) -> None:
        super().__init__()
        require(1, labels=labels)
        self.conditional, self.labels, self.size = conditional, labels, size
        self.discrete, self.binary = conditional.discrete, conditional.binary
        self.embedding = nn.Embedding(labels, math.prod(size))

    def forward(self, given: Tensor, y: Tensor | None = None) -> Distribution:
        """Return the distribution given (..., B, *event) and the labels y (B,), whole numbers from 0."""
        if given.ndim <= len(self.size):
            raise UserError(f"images and codes come as a batch, got {tuple(given.shape)}; for one image, x[None]")
        if given.shape[1 - len(self.size) :] != torch.Size(self.size)[1:] and len(self.size) > 1:
            wanted, got = tuple(self.size[1:]), tuple(given.shape[1 - len(self.size) :])
            raise UserError(f"this model was built for images of {wanted} (height, width), got {got}; resize them")
        beside = self.embedding(check_labels(y, self.labels, given.shape[-len(self.size) - 1])).unflatten(-1, self.size)
        beside = beside.to(given.dtype).expand(*given.shape[: -len(self.size)], *self.size)
        return self.conditional(torch.cat([given, beside], -len(self.size)))
