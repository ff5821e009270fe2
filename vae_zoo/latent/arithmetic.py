"""Attribute vectors: what two groups of pictures differ by, as a direction in the space of codes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from vae_zoo.errors import UserError, require, require_not_negative
from vae_zoo.models import GenerativeModel
from vae_zoo.writing import whole

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

    def added(self, z: Tensor, strengths: Sequence[float]) -> Tensor:
        """Return z + s vector for each strength s: (B, D) -> (S, B, D)."""
        if self.vector.shape != z.shape[1:]:
            raise UserError(f"the vector is of codes {tuple(self.vector.shape)}, these are {tuple(z.shape[1:])}")
        s = torch.tensor(strengths, dtype=z.dtype, device=z.device).view(-1, *[1] * z.ndim)
        return z + s * self.vector.to(z)

    def write(self, path: Path) -> None:
        """Write an ``.npz`` with the arrays vector and name."""
        if path.suffix != ".npz":
            raise UserError(f"{path}: a vector is written to an .npz")
        with whole(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, vector=self.vector.cpu().numpy(), name=np.array(self.name))


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

    Args:
        model: whose features these are: its codes, or the maps of its discriminator.
        with_it: pictures (N, C, H, W) with the attribute.
        without_it: pictures without it.

    Attributes:
        accuracy: in five-fold cross-validation, or in as many folds as the smaller group has pictures; what chance
            gives is the share of the larger group.
    """

    def __init__(self, model: GenerativeModel, with_it: Tensor, without_it: Tensor) -> None:
        from sklearn.model_selection import StratifiedKFold, cross_val_score

        self.model = model
        x = np.concatenate([self._features(with_it), self._features(without_it)])
        y = np.repeat([1, 0], [len(with_it), len(without_it)])
        self._classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced"))
        folds = StratifiedKFold(min(5, len(with_it), len(without_it)), shuffle=True, random_state=0)
        self.accuracy = float(cross_val_score(self._classifier, x, y, cv=folds).mean())
        self._classifier.fit(x, y)

    def score(self, x: Tensor) -> np.ndarray:
        """Return the probability of the attribute (B,) that it sees in pictures (B, C, H, W)."""
        return self._classifier.predict_proba(self._features(x))[:, 1]

    def _features(self, x: Tensor) -> np.ndarray:
        with torch.no_grad():
            return torch.cat([self.model.features(part).float().cpu() for part in x.split(256)]).numpy()
