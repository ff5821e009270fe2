"""How good a model's features are: what a linear classifier makes of them."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from vae_zoo.errors import UserError, require, require_positive

LabelledFeatures = tuple[np.ndarray, np.ndarray]


def probe(
    train: LabelledFeatures,
    test: LabelledFeatures,
    few: Sequence[int] = (100, 1000),
    draws: int = 5,
    c: float = 1.0,
    max_iter: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Fit a multinomial logistic regression to standardised features, with all labels and with few (Radford 2015, 5).

    Args:
        train: features (N, F) and labels (N,).
        test: features (M, F) and labels (M,).
        few: numbers of labels to learn from: as many of each class as can be.
        draws: how often these are drawn.
        c: inverse of the weight of the squared coefficients.
        max_iter: steps of a fit, at most.
        seed: of the draws.

    Returns:
        `accuracy` on the test set with all labels, whether that fit `converged`, `chance`, the accuracy of always
        giving the commonest training label, which is that label's share of the test set, and by number of labels the
        `error`, 1 - accuracy, its mean and standard deviation over draws; None where the training set has fewer.

    Raises:
        UserError: if there are not two classes, or a number is out of range.
    """
    require(1, draws=draws, max_iter=max_iter)
    require(2, few=min(few, default=2))
    require_positive(c=c)
    (x, y), (x_test, y_test) = train, test
    classes, counts = np.unique(y, return_counts=True)
    if len(classes) < 2:
        raise UserError("a probe needs two labels or more, these data have one")
    rng = np.random.default_rng(seed)
    errors: dict[str, dict[str, float] | None] = {}
    for n in few:
        if n > len(y):
            errors[str(n)] = None
            continue
        chosen = [balanced(y, n, rng) for _ in range(draws)]
        wrong = [1 - _fit(x[rows], y[rows], c, max_iter).score(x_test, y_test) for rows in chosen]
        errors[str(n)] = {"mean": float(np.mean(wrong)), "std": float(np.std(wrong, ddof=1)) if draws > 1 else 0.0}
    whole = _fit(x, y, c, max_iter)
    return {
        "accuracy": float(whole.score(x_test, y_test)),
        "converged": bool(whole[-1].n_iter_.max() < max_iter),
        "chance": float((y_test == classes[counts.argmax()]).mean()),
        "error": errors,
        "features": x.shape[1],
        "labels": len(classes),
        "n_train": len(y),
        "n_test": len(y_test),
        "c": c,
        "draws": draws,
        "seed": seed,
    }


def balanced(y: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Choose `n` of the rows of labels y (N,) at random, from all classes as equally as can be."""
    order = rng.permutation(len(y))
    place = np.empty(len(y), np.int64)  # of each row among those of its class
    for label in np.unique(y):
        rows = order[y[order] == label]
        place[rows] = np.arange(len(rows))
    return order[np.argsort(place[order], kind="stable")][:n]


def _fit(x: np.ndarray, y: np.ndarray, c: float, max_iter: int) -> Pipeline:
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=max_iter))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `converged` says what is said; few labels of many classes are meant
        return classifier.fit(x, y)
