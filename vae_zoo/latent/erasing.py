"""Filters of a decoder that draw something, chosen by a few marked images, and images without them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from vae_zoo.errors import UserError, require
from vae_zoo.latent.filters import convolution, convolutions
from vae_zoo.models.decoding import TwoSided

CHUNK = 64  # images decoded at a time
MOST = 200  # positions of an image, inside its mask and as many outside


@dataclass(frozen=True, eq=False)
class Drawers:
    """How much the presence of something weighs on each filter that a convolution is given.

    Attributes:
        layer: the convolution's name.
        weights: (F,) of the logistic regression, for features of mean 0 and variance 1.
        accuracy: with which it tells positions of images that it was not fitted to; one in two is chance.
    """

    layer: str
    weights: np.ndarray
    accuracy: float

    def filters(self, most: int | None = None) -> list[int]:
        """Return the filters of positive weight, those that draw it, the heaviest first.

        Args:
            most: how many of them at most; None is all, as in the paper.
        """
        order = np.argsort(-self.weights, kind="stable")
        return [int(i) for i in order if self.weights[i] > 0][:most]


def choose(
    model: TwoSided, z: Tensor, masks: Tensor, y: Tensor | None = None, *, layer: str | None = None, seed: int = 0
) -> Drawers:
    """Find the filters that draw what is marked in a few images (Radford et al. 2015, section 6.3.1).

    A logistic regression tells positions inside the masks from as many random ones of the same images, by the features
    at them. Features are what a convolution is given: the maps of the layer below it, after normalisation and
    activation function. By default it is the last one, so these are the paper's, of the second highest layer.

    Args:
        model: with a network that draws, a decoder or a generator.
        z: codes (B, D) of the images.
        masks: (B, H, W), true where it is. A position of a map counts as inside if half of it or more is.
        y: labels (B,), for a model that takes them.
        layer: one of ``convolutions(model, model.draws)``.
        seed: of the positions that are drawn.

    Raises:
        UserError: if there is no such layer, or fewer than two images have positions both inside and outside.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    wanted = (len(z), *model.hparams["shape"][1:])
    if masks.dtype != torch.bool or tuple(masks.shape) != wanted:
        raise UserError(f"masks must be true or false, {wanted}, got {masks.dtype} {tuple(masks.shape)}")
    layer = layer or next(reversed(convolutions(model, model.draws)), "")
    rng = np.random.default_rng(seed)
    features, inside, images = [], [], []
    for row, (maps, mask) in enumerate(zip(_features(model, z, y, layer), masks, strict=True)):
        share = adaptive_avg_pool2d(mask.float()[None], (maps.shape[1], maps.shape[2])).flatten().numpy()  # H'W'
        places = [np.flatnonzero(share >= 0.5), np.flatnonzero(share < 0.5)]
        n = min(MOST, *map(len, places))
        for truth, some in zip((1, 0), places, strict=True):
            features.append(maps.flatten(1).T.numpy()[rng.permutation(some)[:n]])  # n F
            inside += [truth] * n
            images += [row] * n
    folds = len(set(images))
    if folds < 2:
        raise UserError(
            f"masks must lie in two images or more, and cover a part of each; {folds} of these {len(z)} does"
        )
    x, truths = np.concatenate(features), np.array(inside)
    regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    accuracy = cross_val_score(regression, x, truths, groups=images, cv=GroupKFold(min(5, folds))).mean()
    regression.fit(x, truths)
    return Drawers(layer, regression[-1].coef_[0], float(accuracy))


@contextmanager
def without(model: TwoSided, layer: str, filters: Sequence[int]) -> Iterator[None]:
    """Let a model draw without some filters: these of the maps that a convolution is given are zero everywhere.

    Args:
        model: with a network that draws.
        layer: one of ``convolutions(model, model.draws)``.
        filters: numbers of its input's channels.

    Raises:
        UserError: if there is no such layer or filter.
    """
    found = convolution(model, model.draws, layer)
    for number in filters:
        require(0, found.in_channels - 1, filter=number)

    def drop(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        maps = given[0].clone()
        maps[:, list(filters)] = 0
        return maps, *given[1:]

    with found.register_forward_pre_hook(drop):
        yield


def change(before: Tensor, after: Tensor, masks: Tensor) -> tuple[float, float]:
    """Return the mean absolute change of pixels inside masks (B, H, W), and outside, of images (B, C, H, W)."""
    by_place = (after - before).abs().mean(1)  # B H W
    return float(by_place[masks].mean()), float(by_place[~masks].mean())


def _features(model: TwoSided, z: Tensor, y: Tensor | None, layer: str) -> Iterator[Tensor]:
    """What a layer is given for each code, (F, H', W')."""
    given: list[Tensor] = []
    found = convolution(model, model.draws, layer)
    for begin in range(0, len(z), CHUNK):
        part = slice(begin, begin + CHUNK)
        with found.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0])):
            model.decode(z[part], None if y is None else y[part])
        if not given:
            raise UserError(f"layer {layer} is not run when {type(model).__name__} draws an image")
        yield from given[-1].float().cpu()
        given.clear()
