"""Ids of pictures by their hashes: the part that an id belongs to, and what is kept where a list would be too long.

A sample of ids is those with the lowest hashes. Two samples tell how many ids two sets share (a bottom-k sketch, Cohen
and Kaplan 2007): exactly where both are whole, else to about the square root of the ids that both samples have.
"""

import hashlib
import heapq
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

SAMPLE = 4096  # ids in a sample
DIGITS = 16  # of a hash, hexadecimal
HASH = re.compile(f"[0-9a-f]{{{DIGITS}}}")


class ManyIds(Sequence[str], ABC):
    """Ids that are too many for a list; they are read where they are asked for, and split.json has their sample."""

    @property
    @abstractmethod
    def sample(self) -> dict[str, Any]:
        """How many they are, `n`, and the hashes of some, `lowest`."""


class Sampler:
    """Takes ids one after the other, and keeps those with the lowest hashes."""

    def __init__(self) -> None:
        self.n = 0
        self._kept: list[int] = []  # a heap of negative numbers, the highest hash first

    def add(self, id_: str) -> None:
        """Take an id."""
        self.n += 1
        number = -int(_hash(id_), 16)
        if len(self._kept) < SAMPLE:
            heapq.heappush(self._kept, number)
        elif number > self._kept[0]:
            heapq.heapreplace(self._kept, number)

    @property
    def sample(self) -> dict[str, Any]:
        """The sample of all ids so far."""
        return {"n": self.n, "lowest": [f"{-number:0{DIGITS}x}" for number in sorted(self._kept, reverse=True)]}


def place_of(id_: str, seed: int) -> float:
    """Return a number in [0, 1) that follows from the id and a seed, evenly spread: below a share is in that share."""
    return int(_hash(f"{seed}/{id_}"), 16) / 16**DIGITS


def listed(ids: Sequence[Any]) -> Any:
    """Return what JSON has of ids: all of them, or a sample of many."""
    return ids.sample if isinstance(ids, ManyIds) else list(ids)


def in_common(one: Any, other: Any) -> int:
    """Return how many ids two sets have in common; exactly if both are lists, else as their samples tell.

    Args:
        one: ids, or what `listed` made of some, as it was found in a file; of anything else, none are in common.
        other: likewise.
    """
    if not any(isinstance(each, ManyIds | Mapping) for each in (one, other)):
        known = {str(each) for each in one} if isinstance(one, list) else set()
        return sum(str(each) in known for each in other)
    samples = [_sample(each) for each in (one, other)]
    parts = [sample["lowest"][-1] for sample in samples if len(sample["lowest"]) < sample["n"]]
    limit = min(parts, default="f" * DIGITS)  # up to here both samples have all ids
    shared = {each for each in samples[0]["lowest"] if each <= limit} & {*samples[1]["lowest"]}
    most = min(sample["n"] for sample in samples)
    return min(most, round(len(shared) * 16**DIGITS / (int(limit, 16) + 1)))


def is_sample(n: Any, lowest: Any) -> bool:
    """Whether these, found in a file, can be the number of some ids and the lowest of their hashes."""
    known = isinstance(lowest, list) and all(isinstance(each, str) and HASH.fullmatch(each) for each in lowest)
    return known and isinstance(n, int) and min(n, 1) <= len(lowest) <= n


def _sample(ids: Any) -> dict[str, Any]:
    if isinstance(ids, ManyIds):
        return ids.sample
    if isinstance(ids, Mapping):
        n, lowest = ids.get("n"), ids.get("lowest", [])
        if is_sample(n, lowest):
            return {"n": n, "lowest": sorted(lowest)}
        ids = ()
    sampler = Sampler()
    for id_ in ids if isinstance(ids, list) else ():
        sampler.add(str(id_))
    return sampler.sample


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:DIGITS]
