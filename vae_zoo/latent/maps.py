"""Maps of codes: where a model puts pictures, beside where its prior draws; and gaps, collapse and order as numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, MultivariateNormal, Normal

from vae_zoo import neighbours
from vae_zoo.errors import UserError, require, require_share
from vae_zoo.models import Autoencoder, GenerativeModel
from vae_zoo.models.base import inference
from vae_zoo.models.decoding import Decoding

PROJECTIONS = ("auto", "direct", "pca", "umap")
SHARES = (0.5, 0.9, 0.99)  # of the prior's mass, inside a contour each
COLOURED = 20  # labels, at most: nobody tells more colours apart, nor a few of them among the others


@dataclass(frozen=True, eq=False)
class Projection:
    """Codes of D numbers in two dimensions.

    Attributes:
        points: (N, 2).
        axes: the names of the two.
        how: "direct", "pca" or "umap".
        rows: (2, D) with points = codes rows^T, so that the origin stays where it is; None where there are none.
    """

    points: np.ndarray
    axes: tuple[str, str]
    how: str
    rows: np.ndarray | None


def project(codes: np.ndarray, how: str = "auto", seed: int = 0) -> Projection:
    """Bring codes to two dimensions.

    direct: codes of two numbers, as they are.
    pca:    on the two directions of the greatest variance (scikit-learn).
    umap:   McInnes et al. 2018, from umap-learn: neighbours stay neighbours, and distances mean nothing.
    auto:   direct for two numbers, else pca.

    Args:
        codes: (N, D), or maps, of one model: the codes of two models have no axis in common.
        how: one of `PROJECTIONS`.
        seed: of what is random in UMAP.

    Raises:
        UserError: if `how` is none of these or not for so many numbers or codes, or umap-learn is not installed.
    """
    flat = codes.reshape(len(codes), -1)
    numbers = flat.shape[1]
    if how not in PROJECTIONS:
        raise UserError(f"a projection is {', '.join(PROJECTIONS)}, got {how!r}")
    if numbers < 2:
        raise UserError("a map needs codes of 2 numbers or more, and this model's has 1")
    if how == "direct" and numbers != 2:
        raise UserError(f"direct is for codes of 2 numbers, and this model's has {numbers}; pca or umap are for more")
    if len(flat) < 3:
        raise UserError(f"a map needs 3 codes or more, got {len(flat)}")
    if not np.isfinite(flat).all():
        raise UserError("there are codes that are not finite, as after a training that diverged")
    if how == "direct" or (how == "auto" and numbers == 2):
        return Projection(flat, ("$z_1$", "$z_2$"), "direct", np.eye(2))
    if how == "umap":
        try:
            from umap import UMAP
        except ModuleNotFoundError as error:
            raise UserError("umap needs umap-learn: pip install 'vae_zoo[umap]'") from error
        points = UMAP(n_neighbors=min(15, len(flat) - 1), random_state=seed, n_jobs=1).fit_transform(flat)
        return Projection(points, ("UMAP 1", "UMAP 2"), "umap", None)
    from sklearn.decomposition import PCA

    with np.errstate(invalid="ignore"):  # of codes that are all one there is no share
        pca = PCA(2, random_state=0).fit(flat)
    first, second = (f"PC {i + 1}, {share:.0%} of the variance" for i, share in enumerate(_shares(pca, flat)))
    return Projection(flat @ pca.components_.T, (first, second), "pca", pca.components_)


def lifted(projection: Projection, points: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the codes that stand for places on a map, (M, 2) -> (M, D), or maps: what `project` undoes.

    Of the codes that have a place, it is the one nearest to the mean of the map's codes, m + R^+ (p - R m), R the rows.

    Args:
        projection: the map.
        points: (M, 2).
        codes: that were brought to the map, (N, D), or maps.

    Raises:
        UserError: if the map is none of directions, as UMAP's, on which a place stands for no code.
    """
    if projection.rows is None:
        raise UserError(f"a place on a map by {projection.how} stands for no code")
    mean = codes.reshape(len(codes), -1).mean(0)
    z = mean + (points - projection.rows @ mean) @ np.linalg.pinv(projection.rows).T
    return z.reshape(len(points), *codes.shape[1:]).astype(codes.dtype)


def _shares(pca: Any, flat: np.ndarray) -> np.ndarray:
    total = flat.var(0, ddof=1).sum()
    return pca.explained_variance_ / total if total else np.zeros(2)


@inference
def projected_prior(model: Decoding, projection: Projection) -> Distribution | None:
    """Return the prior p(z) as it is on a map, a distribution over two numbers; None where that is not known.

    Of a normal prior a projection is normal, N(W m, W S W^T); another prior is known where the map is its own space.
    Of a prior that depends on the label it is the mixture over the labels, each drawn equally often, as `sample` does.
    """
    if projection.rows is None:
        return None
    y = torch.arange(model.labels, device=model.device) if model.labels else None
    prior = model.prior(y)
    match prior:
        case Independent(base_dist=Normal() as each):
            batch, rows = prior.batch_shape, torch.tensor(projection.rows, dtype=torch.float64)
            mean, variance = (value.cpu().double().reshape(*batch, -1) for value in (each.mean, each.variance))  # (L) D
            prior = MultivariateNormal(mean @ rows.T, (rows * variance[..., None, :]) @ rows.T)  # (L) 2, (L) 2 2
        case _ if projection.how != "direct" or prior.event_shape != (2,):
            return None
    if prior.batch_shape:
        prior = MixtureSameFamily(Categorical(torch.ones(prior.batch_shape)), prior)
    return prior


def mass_levels(prior: Distribution, shares: Sequence[float] = SHARES, draws: int = 100_000) -> Tensor:
    """Return the log-densities above which these shares of a distribution's mass lie, by draws of it.

    The region of highest density with the mass s is where log p is above the (1 - s)-quantile of log p (Hyndman 1996).
    """
    require_share(**{f"share_{i}": share for i, share in enumerate(shares)})
    log_p = prior.log_prob(prior.sample(torch.Size([draws]))).double()
    return log_p.quantile(1 - torch.tensor(shares, dtype=torch.float64, device=log_p.device))


@inference
def placed(model: Autoencoder, batches: Iterable[tuple[Tensor, Tensor | None]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the posterior's centre for each item, and a draw of it: codes (N, D), or maps, both.

    Args:
        model: with an encoder.
        batches: of items and their labels, or None for a model that takes none.

    Raises:
        UserError: if there is no batch, or one is none of the model's data.
    """
    centres, draws = [], []
    for x, y in batches:
        trace = model.trace(*model.checked(x, y))
        centres.append(trace.centre.cpu().numpy())
        draws.append(trace.z[0].cpu().numpy())
    if not centres:
        raise UserError("there is nothing to encode")
    return np.concatenate(centres), np.concatenate(draws)


def label_accuracy(codes: np.ndarray, labels: np.ndarray, k: int = 5) -> float:
    """Return the share of items whose label most of the k nearest other codes have: the order of a map.

    A model whose codes tell nothing of the label gives the share of the most frequent label, or less.

    Args:
        codes: (N, D), or maps: draws of the posteriors, since neighbours do not tell that centres are nearer to each
            other than a posterior is wide, as those of a collapsed model are.
        labels: (N,) whole numbers.
        k: neighbours that vote; of equal numbers of votes the smaller label wins.

    Raises:
        UserError: if there are not more than k codes.
    """
    from scipy.stats import mode
    from sklearn.neighbors import NearestNeighbors

    if len(codes) <= k:
        raise UserError(f"{k} nearest neighbours need more than {k} codes, got {len(codes)}")
    flat = codes.reshape(len(codes), -1)
    near = NearestNeighbors(n_neighbors=k).fit(flat).kneighbors(return_distance=False)  # N k, others than itself
    return float((mode(labels[near], axis=1).mode == labels).mean())


def coverage(prior: np.ndarray, codes: np.ndarray, k: int = 5) -> float:
    """Return the share of the prior's draws that have a code near them: what is missing of it are gaps.

    Near is no farther than the k-th nearest other draw of the prior, see `vae_zoo.neighbours.coverage`. Of equal
    numbers of draws of one distribution, whatever it is, it is about 1 - 2^-k, 0.97 for k = 5.

    Args:
        prior: draws of p(z), (N, D), or maps.
        codes: as many draws of the posteriors of as many pictures.
        k: as above.

    Raises:
        UserError: if there are not as many, or not more than k.
    """
    if len(prior) != len(codes) or len(codes) <= k:
        raise UserError(f"coverage needs as many codes as draws, more than {k}, got {len(codes)} and {len(prior)}")
    return neighbours.coverage(torch.from_numpy(prior), torch.from_numpy(codes), k)


@inference
def samples_of(model: GenerativeModel, n: int, y: Tensor | None = None, at_once: int = 256) -> Tensor:
    """Return `n` samples (n, C, H, W) of a model on the CPU, `at_once` at a time, of labels (n,) if given."""
    sizes = [min(at_once, n - done) for done in range(0, n, at_once)]
    labels = repeat(None) if y is None else y.split(at_once)
    return torch.cat([model.sample(size, part).cpu() for size, part in zip(sizes, labels, strict=False)])


@inference
def strays(
    model: GenerativeModel, train: Iterable[Tensor], test: Tensor, n: int = 1000, share: float = 0.95
) -> tuple[float, float]:
    """Return the share of samples that are far from every training picture, and what far is, in pixels' units.

    The distance is Euclidean over all pixels; far is farther than `share` of the test pictures are from their nearest
    training picture. Samples that are as the data would thus have 1 - share, and smooth ones, which are nearer to
    everything, less.

    Args:
        model: of images.
        train: batches of all that it was trained on, (B, C, H, W); one is in memory at a time.
        test: pictures that were not trained on, (M, C, H, W).
        n: samples.
        share: of the test pictures.

    Raises:
        UserError: if the model makes no images, or there are no pictures.
    """
    require(1, n=n)
    require_share(share=share)
    if not model.pixels:
        raise UserError(f"{type(model).__name__} makes no pixels, which have a distance")
    made = samples_of(model, n)
    if test.shape[1:] != made.shape[1:]:
        raise UserError(f"the pictures are {tuple(test.shape[1:])}, the model makes {tuple(made.shape[1:])}")
    distance = neighbours.nearest(torch.cat([test.cpu(), made]), train, 1)[0][:, 0].double()
    limit = distance[: len(test)].quantile(share)
    return float((distance[len(test) :] > limit).double().mean()), float(limit)


def plain(text: str) -> str:
    """Return a text that matplotlib shows as it is: a dollar begins no formula, an underscore hides no label."""
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")


def draw_map(
    axes: Any, projection: Projection, labels: np.ndarray, names: Sequence[str], prior: Distribution | None = None
) -> None:
    """Draw a map on matplotlib's axes: points coloured by label, and contours with 50, 90 and 99 % of the prior inside.

    Of more than 20 labels all points have one colour.

    Args:
        axes: of matplotlib.
        projection: of N codes.
        labels: (N,) whole numbers.
        names: of the labels.
        prior: on this map, see `projected_prior`; None draws none.
    """
    from matplotlib import colormaps

    points = projection.points
    there = sorted(set(labels.tolist()))
    palette = 0.8 * colormaps["tab10" if len(there) <= 10 else "tab20"](range(COLOURED))[:, :3]  # dark enough on white
    if len(there) > COLOURED:
        of_label, legend = dict.fromkeys(there, palette[0]), [(palette[0], f"{len(there)} labels")]
    else:
        of_label = dict(zip(there, palette, strict=False))
        legend = [(colour, plain(names[label])) for label, colour in of_label.items()]
    colours = np.array([of_label[label] for label in labels.tolist()])
    order = np.random.default_rng(0).permutation(len(points))  # so that the last label does not cover the others
    axes.scatter(*points[order].T, s=6, c=colours[order], linewidths=0)
    for colour, text in legend:
        axes.scatter([], [], color=[colour], label=text)
    seen = points if prior is None else np.concatenate([points, *_contours(axes, prior)])
    axes.dataLim.set_points(np.stack([seen.min(0), seen.max(0)]))  # not all that a contour was looked for in
    axes.autoscale_view()
    axes.set(xlabel=projection.axes[0], ylabel=projection.axes[1])
    axes.set_aspect("equal", adjustable="datalim")


def _contours(axes: Any, prior: Distribution) -> list[np.ndarray]:
    """Draw them, and return where they go, (M, 2) each."""
    log_levels = mass_levels(prior)
    drawn = prior.sample(torch.Size([10_000]))
    margin = 0.2 * (drawn.max(0).values - drawn.min(0).values)
    (left, bottom), (right, top) = drawn.min(0).values - margin, drawn.max(0).values + margin
    x, y = torch.meshgrid(torch.linspace(left, right, 300), torch.linspace(bottom, top, 300), indexing="xy")
    log_p = prior.log_prob(torch.stack([x, y], -1).to(drawn)).double()
    # As densities, since log p of a uniform prior is -inf outside; the levels of one are the same, and just below it.
    most = log_p.max()
    at = sorted({round(float(level), 9) for level in (log_levels - most).exp() * (1 - 1e-6)})
    density = (log_p - most).exp().cpu().numpy()
    drawn_lines = axes.contour(x.numpy(), y.numpy(), density, at, colors="black", linewidths=0.8)
    return [path.vertices for path in drawn_lines.get_paths()]
