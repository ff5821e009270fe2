"""The linear-Gaussian model (probabilistic PCA), of which everything is known in closed form.

p(z) = N(0, I), p(x|z) = N(W z + b, s^2 I), so p(x) = N(b, W W' + s^2 I) and p(z|x) = N(m, L^-1) with the precision
L = (W'W + s^2 I) / s^2 and m = L^-1 W'(x - b) / s^2. Images are 1 x 1 x P.
"""

import math

import torch
from torch.distributions import Distribution, MultivariateNormal

from vae_zoo import objectives
from vae_zoo.conditional import Conditional, diagonal_normal
from vae_zoo.distributions import Likelihood, StandardNormal
from vae_zoo.likelihoods import GaussianPixels
from vae_zoo.models.latent import ImageAutoencoder, LatentVariableModel

PIXELS, LATENT, SIGMA = 6, 3, 0.5


class LinearLikelihood(Likelihood):
    def __init__(self, weight, bias):
        super().__init__()
        self.decoder = torch.nn.Sequential(torch.nn.Linear(LATENT, PIXELS), torch.nn.Unflatten(-1, (1, 1, PIXELS)))
        self.decoder[0].weight.data, self.decoder[0].bias.data = weight, bias

    def distribution(self, out) -> Distribution:
        return GaussianPixels(out, torch.tensor(math.log(SIGMA), dtype=out.dtype))


class LinearPosterior(Conditional):
    """The exact posterior, or the best factorised one, whose precision is L's diagonal (Bishop 2006, 10.1.2)."""

    def __init__(self, weight, bias, exact):
        super().__init__()
        self.precision = weight.T @ weight / SIGMA**2 + torch.eye(LATENT, dtype=weight.dtype)
        self.weight, self.bias, self.exact = weight, bias, exact

    def forward(self, x, y=None) -> Distribution:
        mean = torch.linalg.solve(self.precision, self.weight.T @ (x.flatten(1) - self.bias).T).T / SIGMA**2
        if self.exact:
            return MultivariateNormal(mean, precision_matrix=self.precision)
        return diagonal_normal(mean, self.precision.diagonal().rsqrt().expand_as(mean))


class LinearGaussian(ImageAutoencoder, LatentVariableModel):
    def __init__(self, exact, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(PIXELS, LATENT, generator=generator, dtype=torch.float64)
        bias = torch.randn(PIXELS, generator=generator, dtype=torch.float64)
        self.posterior = LinearPosterior(weight, bias, exact)
        self.prior = StandardNormal(LATENT).double()
        self.likelihood = LinearLikelihood(weight, bias)
        self.samples, self.lr = 1, 1e-3
        self.marginal = MultivariateNormal(bias, weight @ weight.T + SIGMA**2 * torch.eye(PIXELS, dtype=torch.float64))

    def check(self, x, values=True):
        """All numbers are images."""

    def objective(self, trace):
        return objectives.elbo(trace)

    def images(self, n):
        return self.marginal.sample((n,)).view(n, 1, 1, PIXELS)

    def true_log_prob(self, x):
        return self.marginal.log_prob(x.flatten(1))

    @property
    def factorised_gap(self):
        """KL(best factorised q || p(z|x)) = (sum log L_ii - log det L) / 2, the same for every x."""
        precision = self.posterior.precision
        return float(precision.diagonal().log().sum() - torch.logdet(precision)) / 2
