"""Nearest neighbours in a set that is shown batch by batch: what a code knows, and whether samples are copies."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from vae_zoo.errors import UserError, require

BLOCK = 256  # rows of a matrix of distances that are in memory at a time
SAME = 1e-14  # of |q|^2 + |s|^2: what is nearer than numbers of 32 bits tell apart has the distance 0


class Nearest:
    """The k nearest of a set to each query, by the Euclidean distance; a batch of the set is in memory at a time.

    Args:
        queries: (Q, D), or of any shape (Q, ...).
        k: how many, at least 1.

    Attributes:
        size: of the set, as far as it has been shown.
        indices: (Q, k) of the nearest so far, ascending by their distances; -1 where there is none yet.

    Raises:
        UserError: if there is no query, or one is not finite.
    """

    def __init__(self, queries: Tensor, k: int = 1) -> None:
        require(1, k=k)
        if not len(queries):
            raise UserError("there is nothing to find the nearest of")
        self.k, self.size = k, 0
        self._queries = _rows(queries)
        self._distances = self._queries.new_full((len(queries), k), torch.inf, dtype=torch.float32)
        self.indices = torch.full((len(queries), k), -1, device=queries.device)

    def show(self, batch: Tensor, leave_out: Tensor | None = None) -> None:
        """Take the next part of the set.

        Args:
            batch: (B, D), or of any shape (B, ...) with as many numbers as a query.
            leave_out: (Q, B), true where this is no neighbour of that query, such as the query itself.

        Raises:
            UserError: if it is of another size, or not finite.
        """
        found = _distances(self._queries, _rows(batch.to(self._queries.device)))  # Q B
        if leave_out is not None:
            found[leave_out.to(found.device)] = torch.inf
        numbers = torch.arange(self.size, self.size + len(batch), device=found.device).expand(len(found), -1)
        both = torch.cat([self._distances, found], 1)  # stable: of equal distances the first that was shown is nearer
        order = both.argsort(dim=1, stable=True)[:, : self.k]
        self._distances = both.gather(1, order)
        self.indices = torch.cat([self.indices, numbers], 1).gather(1, order)
        self.size += len(batch)

    def found(self) -> tuple[Tensor, Tensor]:
        """Return the distances (Q, k), ascending, and the numbers (Q, k) in the set of those that have them.

        Raises:
            UserError: if the set has fewer.
        """
        if self._distances.isinf().any():
            raise UserError(f"the set of {self.size} has fewer than {self.k} neighbours for a query")
        return self._distances, self.indices


def distances(queries: Tensor, others: Tensor) -> Tensor:
    """Return the Euclidean distances (Q, B) of queries (Q, ...) to others (B, ...).

    |q - s|^2 = |q|^2 - 2 q s + |s|^2 is computed in 64 bits: of numbers of 32 bits it then keeps all that they have.

    Raises:
        UserError: if the ones are of another size than the others, or a number is not finite.
    """
    return _distances(_rows(queries), _rows(others.to(queries.device)))


def _distances(queries: Tensor, others: Tensor) -> Tensor:
    """`distances` of rows of 64 bits, rounded to 32 bits, in which equal distances are equal."""
    if others.shape[1] != queries.shape[1]:
        raise UserError(f"the set is of {others.shape[1]} numbers each, the queries of {queries.shape[1]}")
    norms = queries.square().sum(1, keepdim=True) + others.square().sum(1)  # Q B
    squares = torch.addmm(norms, queries, others.T, alpha=-2)
    squares[squares < SAME * norms] = 0
    return squares.sqrt().float()


def _rows(x: Tensor) -> Tensor:
    if not x.isfinite().all():
        raise UserError("a distance needs finite numbers, and some of these are not")
    return x.flatten(1).double()


@torch.no_grad()
def nearest(queries: Tensor, batches: Iterable[Tensor], k: int = 1) -> tuple[Tensor, Tensor]:
    """Return the distances (Q, k) and the numbers (Q, k) of the k nearest of a set to each query, see `Nearest`.

    Args:
        queries: (Q, D), or of any shape (Q, ...).
        batches: of the set, (B, D) each.
        k: how many.

    Raises:
        UserError: if the set has fewer than k, or something is of another size or not finite.
    """
    search = Nearest(queries, k)
    for batch in batches:
        search.show(batch)
    return search.found()


def inside_balls(points: Tensor, centres: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Count for each of M points in how many of N balls it is (M,), and for each ball how many points it has (N,)."""
    reach = nearest(centres, centres.split(BLOCK), k + 1)[0][:, k]  # N; the nearest of all is the centre itself
    balls, samples = [], torch.zeros(len(centres), dtype=torch.int64)
    for rows in points.split(BLOCK):
        inside = distances(rows, centres) <= reach  # B N
        balls.append(inside.sum(1))
        samples += inside.sum(0)
    return torch.cat(balls), samples


def coverage(real: Tensor, fake: Tensor, k: int = 5) -> float:
    """Share of images whose ball has a sample inside (Naeem et al. 2020).

    Its expectation for two sets of N of one distribution is 1 - (N - 1) ... (N - k) / ((2N - 1) ... (2N - k)), about
    1 - 2^-k (appendix B).

    Args:
        real: features of N images, (N, F), N above k.
        fake: of M samples, (M, F).
        k: neighbours inside a ball.
    """
    _, samples = inside_balls(fake, real, k)
    return float((samples > 0).double().mean())


@dataclass(frozen=True, eq=False)
class Memorised:
    """How near samples are to training pictures, and what distance is usual, all in units of pixels in [0, 1].

    Attributes:
        distance: (S,) of each sample to its nearest training picture.
        row: (S,) the number of that in the training set.
        to_test: (S,) of each sample to its nearest test picture.
        usual: the median distance of a test picture to its nearest training picture.
        chance: the share of training pictures among all, n_train / (n_train + n_test).
    """

    distance: Tensor
    row: Tensor
    to_test: Tensor
    usual: float
    chance: float

    @property
    def ratio(self) -> Tensor:
        """Return distance / usual (S,): 0 of a copy. Smooth samples have less than 1 without being copies."""
        return self.distance / self.usual

    @property
    def share(self) -> float:
        """Return the share of samples whose nearest picture of all is a training picture.

        It is near `chance` for a model that knows no more of the training set than of the test set, however smooth its
        samples are, and 1 for one that copies: the three samples of Meehan et al. 2020, section 3, by nearest pictures.
        """
        return float((self.distance < self.to_test).double().mean())


@torch.no_grad()
def memorised(samples: Tensor, train: Callable[[], Iterable[Tensor]], test: Iterable[Tensor]) -> Memorised:
    """Compare the distances from samples to training pictures with those from test pictures.

    Args:
        samples: of a model, (S, C, H, W) in [0, 1].
        train: yields the training set, in batches (B, C, H, W), each time that it is called.
        test: batches of pictures that were not trained on.

    Raises:
        UserError: if one of these is empty, or half of the test pictures are in the training set.
    """
    to_train, to_test = Nearest(samples), Nearest(samples)
    for x in train():
        to_train.show(x)
    usual = []
    for x in test:
        to_test.show(x)
        usual.append(nearest(x, train())[0])
    distance, row = to_train.found()
    distance_to_test, _ = to_test.found()
    median = float(torch.cat(usual).median())
    if not median:
        raise UserError(
            "half of the test pictures or more are in the training set, so that nothing is a usual distance"
        )
    chance = to_train.size / (to_train.size + to_test.size)
    return Memorised(distance[:, 0], row[:, 0], distance_to_test[:, 0], median, chance)
