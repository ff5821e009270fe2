"""Priors fitted to the codes of a trained model: draws of what the decoder has learnt to decode."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from vae_zoo.errors import UserError, amount, require
from vae_zoo.priors import FittedMixture, FlowPrior

HELD_OUT = 0.1  # share of the codes that say when a flow has been trained enough
PATIENCE = 5  # epochs without a better figure on them
BATCH = 512
PER_NUMBER = 5  # codes for each number of a normal's mean: with fewer, its covariance is that of chance


def fit_mixture(codes: Tensor, *, components: int = 10, seed: int = 0) -> FittedMixture:
    """Fit a mixture of normals with full covariances, by expectation maximisation (Ghosh et al. 2020, section 4).

    Args:
        codes: of training pictures, (N, D); of a stochastic encoder draws, and not means.
        components: of the mixture.
        seed: of the start.

    Raises:
        UserError: if the codes are maps, or there are too few of them.
    """
    from sklearn.mixture import GaussianMixture

    _check(codes, 2)
    n, latent = codes.shape
    fewest = components * latent * PER_NUMBER
    if n < fewest:
        most = n // (latent * PER_NUMBER)
        less = f"give at most {most} components" if most else "there are too few pictures for it"
        raise UserError(
            f"a mixture of {amount(components, 'normal')} over {amount(latent, 'number')} needs {fewest} codes or "
            f"more, got {n}; {less}"
        )
    fitted = GaussianMixture(components, random_state=seed).fit(codes.double().cpu().numpy())
    prior = FittedMixture(latent, components=components)
    prior.logits.copy_(torch.from_numpy(fitted.weights_).log())
    prior.mean.copy_(torch.from_numpy(fitted.means_))
    prior.scale.copy_(torch.linalg.cholesky(torch.from_numpy(fitted.covariances_)))
    return prior


def fit_flow(codes: Tensor, *, epochs: int = 100, lr: float = 2e-3, seed: int = 0) -> FlowPrior:
    """Fit a flow by maximum likelihood, and stop when codes that are held out do not become likelier.

    Args:
        codes: of training pictures, (N, D), as above.
        epochs: at most.
        lr: learning rate of Adam.
        seed: of the weights, of the order, and of what is held out.

    Raises:
        UserError: if the codes are maps or of one number, or there are too few of them.
        ModuleNotFoundError: if zuko is not installed, an extra, vae_zoo[flow].
    """
    _check(codes, 20)
    require(1, epochs=epochs)
    codes = codes.float().cpu()
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        prior = FlowPrior(codes.shape[1])
        prior.centre.copy_(codes.mean(0))
        prior.spread.copy_(codes.std(0).clamp(min=1e-6))
        order = torch.randperm(len(codes))
        held_out, train = order[: round(HELD_OUT * len(codes))], order[round(HELD_OUT * len(codes)) :]
        optimizer = torch.optim.Adam(prior.parameters(), lr)
        best, kept, waited = -torch.inf, copy.deepcopy(prior.state_dict()), 0
        for _ in range(epochs):
            for rows in train[torch.randperm(len(train))].split(BATCH):
                optimizer.zero_grad()
                (-prior().log_prob(codes[rows]).mean()).backward()
                optimizer.step()
            with torch.no_grad():
                reached = float(prior().log_prob(codes[held_out]).mean())
            waited = 0 if reached > best else waited + 1
            if not waited:
                best, kept = reached, copy.deepcopy(prior.state_dict())
            if waited == PATIENCE:
                break
    prior.load_state_dict(kept)
    return prior


KINDS: dict[str, Callable[..., FittedMixture | FlowPrior]] = {"mixture": fit_mixture, "flow": fit_flow}


def _check(codes: Tensor, fewest: int) -> None:
    if codes.ndim != 2:
        raise UserError(f"a prior is fitted to codes that are vectors, (N, D), and these are {tuple(codes.shape)}")
    if len(codes) < fewest:
        raise UserError(f"the fit needs {fewest} codes or more, got {len(codes)}")
    if not codes.isfinite().all():
        raise UserError("codes must be finite numbers, and among these there is a NaN or an infinity")
