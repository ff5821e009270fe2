"""Pictures that are unusual for a model: three scores, a threshold, and where in a picture the error is.

No score finds whatever is abnormal. A likelihood, above all, is no measure of how typical a picture is: p(x) is a
density, and simple pictures have high ones. Models trained on CIFAR-10 give SVHN, and pictures of a single colour, a
higher p(x) than their own training data (Nalisnick et al. 2019, Do deep generative models know what they don't know?).
Reconstruction errors are small for simple pictures, too, and a code may be an ordinary one though the picture is not.
So look at all three, on pictures that are known to be abnormal: `detection` says how well each tells them apart.
"""

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np
import torch
from scipy.linalg import solve_triangular
from torch import Tensor

from vae_zoo.errors import UserError, require, require_share
from vae_zoo.models import Autoencoder
from vae_zoo.models.base import inference

SCORES = ("nll", "mse", "code")
FEWEST = 6  # reference pictures: three whose codes have a covariance, and three others
LARGEST_CODE = 2048  # numbers, whose covariance takes 32 MiB, and seconds to be factored


class CodeDistance:
    """Mahalanobis distance of codes from the aggregate posterior q(z) = E_x q(z|x) of pictures, by its two moments.

    Its mean is that of the centres mu(x); its covariance, by the law of total covariance, is
    Cov[mu(x)] + E[diag sigma(x)^2]. The first is shrunk towards a multiple of the identity (Ledoit & Wolf 2004), so
    that it can be inverted when pictures are fewer than the numbers of a code. Where q(z) has several modes this is
    only its hull: a code in a hole between them is near. (Denouden et al. 2018 take this distance of an autoencoder's
    code.)

    Args:
        centres: (N, D) of N >= 3 pictures.
        spread: (N, D), the posteriors' standard deviations, zero where an encoder is deterministic.

    Raises:
        UserError: if all codes are alike.
    """

    def __init__(self, centres: np.ndarray, spread: np.ndarray) -> None:
        from sklearn.covariance import LedoitWolf

        require(3, pictures=len(centres))
        fitted = LedoitWolf(store_precision=False).fit(centres)
        self.mean = fitted.location_  # D
        self.covariance = fitted.covariance_ + np.diag(np.square(spread).mean(0))  # D D
        try:
            self._factor = np.linalg.cholesky(self.covariance)
        except np.linalg.LinAlgError:
            raise UserError("all reference pictures have the same code, from which there is no distance") from None

    def __call__(self, centres: np.ndarray) -> np.ndarray:
        """Return sqrt((mu - m)^T S^-1 (mu - m)), (B,), of centres (B, D)."""
        return np.linalg.norm(solve_triangular(self._factor, (centres - self.mean).T, lower=True), axis=0)


class Anomalies:
    """Scores of pictures, by three names, each larger for what is more unusual.

    nll:  -log p(x) in nats, estimated with importance samples, see `LatentVariableModel.log_prob`.
    mse:  mean squared error of the reconstruction from the posterior's centre, in squared pixel units.
    code: the centre's `CodeDistance` from the reference pictures' codes.

    Args:
        model: of pictures, with an encoder.
        reference: batches of ordinary pictures (B, C, H, W) in [0, 1] that the model was not trained on, and their
            labels (B,), or None for a model that takes none.
        samples: K, importance samples of each picture's log p(x).
        scores: which of them; nll takes by far the longest.

    Attributes:
        reference: by name, the scores of the reference pictures, for `threshold`. Those of `code` are of every second
            one: the moments come from the others, since a code is nearer to a mean and covariance that it was part of.
        missing: by name, why there is no such score.

    Raises:
        UserError: if the model is of sketches, there are fewer than four reference pictures, or they are none of the
            model's data.
    """

    def __init__(
        self,
        model: Autoencoder,
        reference: Iterable[tuple[Tensor, Tensor | None]],
        samples: int = 50,
        scores: Sequence[str] = SCORES,
    ) -> None:
        require(1, samples=samples)
        if not model.pixels:
            raise UserError(f"{type(model).__name__} is a model of sketches; anomalies are looked for in pictures")
        self.model, self.samples, self._wanted = model, samples, scores
        self.missing: dict[str, str] = {}
        if not model.density:
            self.missing["nll"] = f"{type(model).__name__} has no density"
        if (size := model.code_shape.numel()) > LARGEST_CODE:
            self.missing["code"] = f"a code has {size} numbers, and the covariance of more than {LARGEST_CODE} is large"
        self._binary = model.likelihood.binary
        parts: list[dict[str, np.ndarray]] = []
        for x, y in reference:
            if self._binary and _is_grey(x):
                self._binary = False
                self.missing["nll"] = "the pixels are grey, of which a Bernoulli's cross entropy is no density"
            parts.append(self._measured(x, y, spread=True))
        if (n := sum(len(part["mse"]) for part in parts)) < FEWEST:
            raise UserError(f"a reference needs {FEWEST} pictures or more, got {n}")
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[-1]}
        self._distance: CodeDistance | None = None
        if "centre" in found:
            centres, spread = found.pop("centre"), found.pop("spread")
            self._distance = CodeDistance(centres[::2], spread[::2])
            found["code"] = self._distance(centres[1::2])
        self.reference = {name: found[name] for name in scores if name in found}

    def scores(self, x: Tensor, y: Tensor | None = None) -> dict[str, np.ndarray]:
        """Return by name the scores (B,) of pictures (B, C, H, W) in [0, 1], float64.

        Raises:
            UserError: if these are no pictures of the model's, or grey where the reference is black and white, or a
                score is not finite.
        """
        if self._binary and _is_grey(x):
            raise UserError("the reference pictures are black and white, and these have grey pixels")
        found = self._measured(x, y)
        if self._distance:
            found["code"] = self._distance(found["centre"])
        return {name: found[name] for name in self._wanted if name in found}

    def threshold(self, by: str, false_alarms: float = 0.05) -> float:
        """Return the `threshold` of a score by its name, from the reference pictures.

        Raises:
            UserError: if there is no such score, or too few reference pictures for so small a rate.
        """
        if by not in self.reference:
            raise UserError(f"there is no score {by!r}: {self.missing.get(by, 'it is one of ' + ', '.join(SCORES))}")
        return threshold(self.reference[by], false_alarms)

    def _measured(self, x: Tensor, y: Tensor | None, spread: bool = False) -> dict[str, np.ndarray]:
        """What a batch is scored by, as far as there is one: mse, the code's centre, its spread if asked for, nll."""
        found = _encoded(self.model, x, y, spread)
        if "code" in self.missing or "code" not in self._wanted:
            found = {"mse": found["mse"]}
        if "nll" in self._wanted and "nll" not in self.missing:
            found["nll"] = -self.model.log_prob(x, y, samples=self.samples)
        arrays = {name: value.double().cpu().numpy() for name, value in found.items()}
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise UserError(f"{type(self.model).__name__} gives scores that are not finite, as after a divergence")
        return arrays


@inference
def _encoded(model: Autoencoder, x: Tensor, y: Tensor | None, spread: bool) -> dict[str, Tensor]:
    x, y = model.checked(x, y)
    q = model.posterior(x, y)
    error = (model.decode(q.mean, y) - x).square().flatten(1).mean(1)
    found = {"mse": error, "centre": q.mean.flatten(1)}
    return found | {"spread": q.stddev.flatten(1)} if spread else found


def _is_grey(x: Tensor) -> bool:
    return bool(((x > 0) & (x < 1)).any())


def threshold(reference: np.ndarray, false_alarms: float = 0.05) -> float:
    """Return the limit that the score of a picture like the reference pictures is above with at most this probability.

    It is the ceil((n + 1) (1 - a))-th smallest of n scores, a quantile that accounts for n being finite (split
    conformal prediction: Vovk et al. 2005; Lei et al. 2018, section 2.2). It holds whatever the distribution of the
    scores, on average over reference sets, if the picture and these are drawn alike, and the model was trained on none.

    Args:
        reference: (n,) scores of reference pictures.
        false_alarms: a, above 0 and below 1.

    Raises:
        UserError: if n scores cannot tell so small a share, which takes 1 / a - 1 of them, or one is NaN.
    """
    require_rate(false_alarms)
    n, share = len(reference), Fraction(str(float(false_alarms)))  # as it was written: 1 - 0.05 of 20 is 19, no less
    if np.isnan(reference).any():
        raise UserError("the reference scores have a NaN among them")
    rank = math.ceil((n + 1) * (1 - share))
    if rank > n:
        raise UserError(
            f"a false-alarm rate of {false_alarms:g} needs {math.ceil(1 / share) - 1} scores of reference pictures or "
            f"more, got {n}"
        )
    return float(np.sort(reference)[rank - 1])


def require_rate(false_alarms: float) -> None:
    """Raise a UserError if no threshold can have this share of false alarms."""
    require_share(false_alarms=false_alarms)
    if not 0 < false_alarms < 1:
        raise UserError(f"false_alarms must be above 0 and below 1, got {false_alarms}")


def detection(scores: np.ndarray, abnormal: np.ndarray) -> dict[str, float]:
    """Return how well scores (N,) tell abnormal pictures from others, where it is known which are.

    auroc: the probability that an abnormal picture has a higher score than another one; 0.5 is chance, and less means
        that the score has it the wrong way round.
    average_precision: the mean of the precision over the ranks of the abnormal pictures, the highest score first.
    share: of abnormal pictures, the average precision of chance.

    Args:
        scores: (N,), larger for what is more unusual.
        abnormal: (N,) whether each picture is.

    Raises:
        UserError: if all or none are abnormal.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    n = int(abnormal.sum())
    if not 0 < n < len(abnormal):
        raise UserError(
            f"to measure detection some pictures must be abnormal and some not; {n} of {len(abnormal)} are abnormal"
        )
    return {
        "auroc": float(roc_auc_score(abnormal, scores)),
        "average_precision": float(average_precision_score(abnormal, scores)),
        "share": n / len(abnormal),
    }


def heat_top(x: Tensor, x_hat: Tensor) -> float:
    """Return the squared error, averaged over channels, that one in a thousand pixels exceeds, see `heat_map`."""
    return float(np.quantile((x - x_hat).double().square().mean(1).cpu().numpy(), 0.999))


def heat_map(x: Tensor, x_hat: Tensor, top: float | None = None) -> Tensor:
    """Return where reconstructions are wrong, (B, 3, H, W) in [0, 1]: black is no error, light yellow the largest.

    The squared error of a pixel, averaged over channels, in matplotlib's colours "inferno", on one scale for all maps.

    Args:
        x: pictures (B, C, H, W) in [0, 1].
        x_hat: their reconstructions.
        top: the error at the scale's upper end, and of whatever is above; None is `heat_top` of these pictures.
    """
    from matplotlib import colormaps

    error = (x - x_hat).double().square().mean(1).cpu().numpy()  # B H W
    top = heat_top(x, x_hat) if top is None else top
    coloured = colormaps["inferno"](error / top if top > 0 else error)[..., :3]  # what is above 1 has the last colour
    return torch.from_numpy(coloured).float().permute(0, 3, 1, 2)
