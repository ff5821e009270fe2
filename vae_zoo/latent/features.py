"""A trained encoder as a step of a scikit-learn pipeline; imported by its name, since that library takes a second."""

from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from torch import Tensor

from vae_zoo.errors import require
from vae_zoo.models import GenerativeModel
from vae_zoo.models.base import inference


class CodeTransformer(TransformerMixin, BaseEstimator):
    """Pictures to the numbers by which a model tells them apart: an encoder's codes, or a discriminator's maps.

    Args:
        model: a trained one, which `fit` leaves as it is.
        batch_size: pictures at a time.
    """

    def __init__(self, model: GenerativeModel, batch_size: int = 256) -> None:
        self.model, self.batch_size = model, batch_size

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803  scikit-learn's name
        """Do nothing: the model is trained."""
        return self

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the features (N, F) of pictures (N, C, H, W) in [0, 1], or of rows (N, C H W) of their pixels.

        Raises:
            UserError: if these are no pictures of the model's, or it has no features.
        """
        require(1, batch_size=self.batch_size)
        x = X if isinstance(X, Tensor) else torch.from_numpy(np.asarray(X))
        shape = self.model.hparams["shape"]
        if x.ndim == 2 and x.shape[1] == np.prod(shape):
            x = x.unflatten(1, tuple(shape))
        return _features(self.model, x, self.batch_size)

    def __sklearn_is_fitted__(self) -> bool:
        """Say that nothing has to be fitted."""
        return True


@inference
def _features(model: GenerativeModel, x: Tensor, size: int) -> np.ndarray:
    return np.concatenate([model.features(part).float().cpu().numpy() for part in x.split(size)])
