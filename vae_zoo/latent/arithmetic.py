"""Attribute vectors: what two groups of pictures differ by, as a direction in the space of codes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vae_zoo.errors import UserError, require, require_not_negative
from vae_zoo.latent.codes import weights_of, write_npz
from vae_zoo.models import GenerativeModel

FEWEST = 3  # pictures of a group: the codes of single ones gave unsteady results (Radford et al. 2015, section 6.3.2)


@dataclass(frozen=True, eq=False)
class AttributeVector:
    """The mean code of pictures with an attribute minus that of pictures without it.

    Attributes:
        vector: (D,), or maps.
        name: what the attribute is called.
    """

    vector: Tensor
    name: str = ""

    @staticmethod
    def between(with_it: Tensor, without_it: Tensor, name: str = "") -> "AttributeVector":
        """Return mean(with_it) - mean(without_it), codes (N, D) and (M, D) of three pictures or more each.

        Larsen et al. 2016, section 4.2; Radford et al. 2015, section 6.3.2.

        Raises:
            UserError: if there are fewer, which gives unsteady directions.
        """
        for what, codes in (("with", with_it), ("without", without_it)):
            if len(codes) < FEWEST:
                raise UserError(f"an attribute needs {FEWEST} pictures {what} it or more, got {len(codes)}")
        return AttributeVector(with_it.mean(0) - without_it.mean(0), name)

    @staticmethod
    def of(model: GenerativeModel, vector: Tensor, name: str, weights: str) -> "AttributeVector":
        """Return a vector that was kept.

        Args:
            model: whose codes it is added to.
            vector: (D,), or maps.
            name: what the attribute is called.
            weights: the checksum of the weights that it was made with, see `weights_of`.

        Raises:
            UserError: if it was made with other weights, by which its numbers mean something else, or is not finite.
        """
        if weights != weights_of(model):
            raise UserError(f"the vector was made with other weights than this {type(model).__name__}'s; make it anew")
        if not vector.is_floating_point() or not vector.isfinite().all():
            raise UserError("the vector must be of finite floats")
        return AttributeVector(vector, name)

    def added(self, z: Tensor, strengths: Sequence[float]) -> Tensor:
        """Return z + s vector for each strength s: (B, D) -> (S, B, D)."""
        if self.vector.shape != z.shape[1:]:
            raise UserError(f"the vector is of codes {tuple(self.vector.shape)}, these are {tuple(z.shape[1:])}")
        s = torch.tensor(strengths, dtype=z.dtype, device=z.device).view(-1, *[1] * z.ndim)
        return z + s * self.vector.to(z)

    def random(self, generator: torch.Generator | None = None) -> "AttributeVector":
        """Return a direction drawn uniformly, as long as this one: what it changes, any change of a code does."""
        drawn = torch.randn(self.vector.shape, generator=generator, dtype=self.vector.dtype).to(self.vector)
        return AttributeVector(drawn * (self.vector.norm() / drawn.norm()), "random")

    def write(self, path: Path, model: GenerativeModel) -> None:
        """Write an ``.npz`` with the arrays vector, name and weights, the checksum of the model's."""
        if path.suffix != ".npz":
            raise UserError(f"{path}: a vector is written to an .npz")
        weights = np.array(weights_of(model))
        write_npz(path, vector=self.vector.cpu().numpy(), name=np.array(self.name), weights=weights)


def analogy(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return mean(a) - mean(b) + mean(c), (D,), of three groups of codes (N, D): man with glasses - man + woman."""
    for group in (a, b, c):
        if len(group) < FEWEST:
            raise UserError(f"each group needs {FEWEST} pictures or more, got {len(group)}")
    return a.mean(0) - b.mean(0) + c.mean(0)


def around(z: Tensor, n: int = 9, noise: float = 0.25, generator: torch.Generator | None = None) -> Tensor:
    """Return `n` codes (n, D): in the middle z, (D,), around it z with uniform noise in [-noise, noise].

    Radford et al. 2015, section 6.3.2, show nine decodings with noise of .25.
    """
    require(1, n=n)
    require_not_negative(noise=noise)
    drawn = torch.rand(n, *z.shape, generator=generator, dtype=z.dtype, device=z.device)
    found = z + noise * (2 * drawn - 1)
    found[n // 2] = z
    return found


class AttributeProbe:
    """A logistic regression that tells pictures with an attribute from those without it, by a model's features.

    It has seen the pictures that it is fitted to: measure a change on others.

    Args:
        with_it: features (N, F) of pictures with the attribute, as ``model.features`` gives them.
        without_it: features (M, F) of pictures without it; both groups weigh the same, however large they are.

    Attributes:
        accuracy: the mean of the shares of both groups that it tells, in five-fold cross-validation, or in as many
            folds as the smaller group has pictures. Chance gives 1/2.
        error: its standard error, if each picture is told right or wrong independently of the others, with one
            success and one failure more in each group than there were (Agresti & Caffo 2000), so that none is 0.

    Raises:
        UserError: if a group has fewer than two pictures.
    """

    def __init__(self, with_it: Tensor, without_it: Tensor) -> None:
        from sklearn.linear_model import LogisticRegression  # here, since it takes a second that others need not wait
        from sklearn.model_selection import StratifiedKFold, cross_val_predict
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        fewer = min(len(with_it), len(without_it))
        if fewer < 2:
            raise UserError(f"a probe needs two pictures or more of each group, got {fewer}")
        x = torch.cat([with_it, without_it]).float().cpu().numpy()
        y = np.repeat([1, 0], [len(with_it), len(without_it)])
        self._classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced"))
        folds = StratifiedKFold(min(5, fewer), shuffle=True, random_state=0)
        told = cross_val_predict(self._classifier, x, y, cv=folds) == y
        groups = [told[y == kind] for kind in (0, 1)]
        self.accuracy = float(np.mean([group.mean() for group in groups]))
        shares = [(group.sum() + 1) / (len(group) + 2) for group in groups]
        variances = [share * (1 - share) / (len(group) + 2) for share, group in zip(shares, groups, strict=True)]
        self.error = sum(variances) ** 0.5 / 2
        self._classifier.fit(x, y)

    def score(self, features: Tensor) -> np.ndarray:
        """Return the probability of the attribute (B,) that it sees in features (B, F)."""
        return self._classifier.predict_proba(features.float().cpu().numpy())[:, 1]
