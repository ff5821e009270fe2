"""Near-doubles among pictures, by hashes of a small denoising autoencoder (Radford et al. 2015, section 4.1.1).

Its numbers were chosen by copies that were planted among 6,000 photos, see docs/after_training.md.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae_zoo.errors import UserError, require, require_share

SHAPE = (3, 32, 32)
CODE = 128  # bits
STEPS, BATCH = 250, 128  # of the training, as long for a million pictures as for a thousand
NOISE, DROP_PIXELS, DROP_CODE = 0.1, 0.2, 0.5  # without the last the bits are nearly all on, and tell little apart
BITS, AGREEMENT = 20, 0.65
BLOCK = 4096  # pictures, or pairs, at a time


class PictureHash:
    """128 bits of a picture: which units of a small autoencoder's code are above zero.

    It is 3072-128-3072 on the pixels of 32 x 32 without their mean, with a ReLU code, and is trained on the pictures
    themselves to remove noise, with dropout. The thresholded code is a semantic hash: near-doubles have nearly the
    same. Its draws are of its own seed, and leave torch's generators alone.

    Args:
        pictures: (N, 3, 32, 32) uint8; they may lie in a file that is mapped into memory.
        seed: of the weights and the draws.

    Raises:
        UserError: if there are fewer than two.
    """

    def __init__(self, pictures: Tensor, seed: int = 0) -> None:
        if pictures.shape[1:] != SHAPE or pictures.dtype != torch.uint8:
            raise UserError(f"pictures must be bytes (N, 3, 32, 32), got {pictures.dtype} {tuple(pictures.shape)}")
        if len(pictures) < 2:
            raise UserError("duplicates need two pictures or more")
        size = pictures[0].numel()
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            self._encoder, decoder = nn.Linear(size, CODE), nn.Linear(CODE, size)
            weights = [*self._encoder.parameters(), *decoder.parameters()]
            optimizer = torch.optim.Adam(weights, 2e-3)
            for _ in range(STEPS):
                clean = centred(pictures[torch.randint(len(pictures), (BATCH,))])
                given = F.dropout(clean + NOISE * torch.randn_like(clean), DROP_PIXELS)
                restored = decoder(F.dropout(self._encoder(given).relu(), DROP_CODE))
                optimizer.zero_grad()
                F.mse_loss(restored, clean).backward()
                optimizer.step()

    @torch.no_grad()
    def bits(self, pictures: Tensor) -> Tensor:
        """Return the bits (N, 128), bool, of pictures (N, 3, 32, 32) uint8."""
        return torch.cat([self._encoder(centred(part)) > 0 for part in pictures.split(BLOCK)])


def centred(pictures: Tensor) -> Tensor:
    """Return pixels in [0, 1] less their mean, (N, 3072), of bytes: a brighter copy is then nearly the same."""
    x = pictures.flatten(1).float() / 255
    return x - x.mean(1, keepdim=True)


def close_pairs(bits: Tensor, most: int, others: Tensor | None = None) -> Iterator[Tensor]:
    """Yield the pairs (P, 2), i < j, whose bits differ in `most` places or fewer.

    With +1 and -1 for the bits, i and j differ in (D - b_i b_j) / 2 places: a product of matrices, block by block. For
    none at all a dictionary takes as many steps as there are pictures; it gives each with the one before it.

    Args:
        bits: (N, D) bool.
        most: places, at least 0.
        others: (N, D) bool, in which j's bits are looked up in place of `bits`, as of mirrored pictures.
    """
    require(0, most=most)
    others = bits if others is None else others
    if not most:
        seen: dict[bytes, int] = {}
        pairs = []
        for j, (mine, other) in enumerate(zip(bits.numpy(), others.numpy(), strict=True)):
            if (i := seen.get(other.tobytes())) is not None:
                pairs.append((i, j))
            seen[mine.tobytes()] = j
        yield torch.tensor(pairs, dtype=torch.int64).view(-1, 2)
        return
    for first in range(0, len(bits), BLOCK):
        signs = 2 * bits[first : first + BLOCK].float() - 1
        for second in range(first, len(bits), BLOCK):
            differ = (bits.shape[1] - signs @ (2 * others[second : second + BLOCK].float() - 1).T) / 2
            found = (differ <= most).nonzero() + torch.tensor([first, second])
            yield found[found[:, 0] < found[:, 1]]


def agreement(a: Tensor, b: Tensor) -> Tensor:
    """Return how far the fine structure of pictures (N, 3, 32, 32) and (M, 3, 32, 32) uint8 agrees, (N, M), in [-1, 1].

    It is the correlation of pixels whose local contrast is one: less the mean of the 7 x 7 around them, over 0.05 plus
    their deviation there (Jarrett et al. 2009, section 2). The pixels themselves correlate as well for meadows below
    different skies, and without the division a frame around pictures is all that counts. A flat picture has 0.
    """
    return _fine(a) @ _fine(b).T


def _fine(pictures: Tensor) -> Tensor:
    """Vectors (N, 3072) of length one."""

    def around(x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, [3] * 4, "reflect"), 7, 1)

    x = pictures.float() / 255
    difference = x - around(x)
    fine = difference / (0.05 + around(difference.square().mean(1, keepdim=True)).sqrt())
    return F.normalize(fine.flatten(1), eps=1.0)  # up to 55 long; shorter than 1 are errors of rounding


def find_duplicates(
    pictures: Tensor,
    bits: int = BITS,
    least: float = AGREEMENT,
    mirrored: bool = False,
    seed: int = 0,
) -> list[list[int]]:
    """Return groups of near-doubles, the rows of each ascending, the largest groups first.

    Equal pixels are found by a dictionary. Of the rest, pairs whose hashes differ in few bits are compared by their
    pixels, and those that agree are in one group, as is what is in a group with either.

    Args:
        pictures: (N, 3, 32, 32) uint8; they may lie in a file that is mapped into memory.
        bits: in how many of 128 bits two hashes may differ. 0 takes a time that grows with N, more one with N^2.
        least: the `agreement` from which on two are near-doubles.
        mirrored: also those that are alike when one is mirrored.
        seed: of the hash.

    Raises:
        UserError: if there are fewer than two pictures, or a number is out of range.
    """
    require(0, CODE, bits=bits)
    require_share(least=least)
    same: dict[bytes, list[int]] = defaultdict(list)
    for row, picture in enumerate(pictures):
        same[hashlib.sha256(picture.numpy().tobytes()).digest()].append(row)
    rows = torch.tensor([equal[0] for equal in same.values()])  # one of each that differ
    hashes = PictureHash(pictures, seed)
    mine = torch.cat([hashes.bits(pictures[part]) for part in rows.split(BLOCK)])
    links = [(first, other) for first, *others in same.values() for other in others]
    for flip in (False, True) if mirrored else (False,):
        theirs = torch.cat([hashes.bits(pictures[part].flip(-1)) for part in rows.split(BLOCK)]) if flip else mine
        for found in close_pairs(mine, bits, theirs):
            # By a product of matrices, too, since of some kinds of pictures, such as digits, most pairs come this far.
            (i, row), (j, column) = (rows[ends].unique(return_inverse=True) for ends in found.T)
            other = pictures[j].flip(-1) if flip else pictures[j]
            agree = agreement(pictures[i], other)[row, column] >= least
            links += [(int(a), int(b)) for a, b in rows[found[agree]].tolist()]
    return connected(len(pictures), links)


def connected(n: int, links: list[tuple[int, int]]) -> list[list[int]]:
    """Return the groups of two or more of `n` that links connect, each ascending, the largest first."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    i, j = zip(*links, strict=True) if links else ((), ())
    _, component = connected_components(coo_array(([True] * len(links), (i, j)), shape=(n, n)), directed=False)
    groups = defaultdict(list)
    for row, of in enumerate(component.tolist()):
        groups[of].append(row)
    return sorted((rows for rows in groups.values() if len(rows) > 1), key=lambda rows: (-len(rows), rows))
