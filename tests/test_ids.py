"""Ids that are too many for a list: their part by a hash, and how many two sets share by their samples."""

import json

import pytest

from vae_zoo.ids import SAMPLE, ManyIds, Sampler, in_common, listed, place_of
from vae_zoo.runs import Run


class Numbers(ManyIds):
    def __init__(self, numbers):
        self.numbers = numbers

    def __len__(self):
        return len(self.numbers)

    def __getitem__(self, index):
        return str(self.numbers[index])

    @property
    def sample(self):
        sampler = Sampler()
        for number in self.numbers:
            sampler.add(str(number))
        return sampler.sample


def test_shares_are_those_that_are_asked_for():
    """Of 20,000 ids, a share of .1 has 2,000, with a deviation of 42; other seeds have others."""
    ids = [str(n) for n in range(20_000)]
    one, other = ({id_ for id_ in ids if place_of(id_, seed) < 0.1} for seed in (0, 1))
    assert abs(len(one) - 2000) < 5 * 42 and abs(len(other) - 2000) < 5 * 42
    assert abs(len(one & other) - 200) < 5 * 14


def test_small_sets_are_compared_exactly():
    many = Numbers(range(100, 3000))
    assert in_common(many, [str(n) for n in range(150)]) == 50
    assert in_common([*range(150)], many) == 50
    assert in_common(many, Numbers(range(2000, 5000))) == 1000
    assert in_common(many, Numbers(range(4000, 5000))) == 0


@pytest.mark.parametrize("shared", [0, 3_000, 30_000])
def test_large_sets_are_compared_by_their_samples(shared):
    """Of the 4,096 lowest, a share is in common; the deviation is about the root of those that are."""
    one, other = Numbers(range(60_000)), Numbers(range(60_000 - shared, 120_000 - shared))
    assert len(one.sample["lowest"]) == SAMPLE
    hits = shared / 60_000 * SAMPLE
    assert abs(in_common(one, other) - shared) <= 5 * (hits + 1) ** 0.5 * 60_000 / SAMPLE * bool(shared)


@pytest.mark.parametrize(
    "found", [None, {}, {"n": 2}, {"n": "2", "lowest": []}, {"n": 1, "lowest": ["x" * 16]}, 7, "123"]
)
def test_what_is_damaged_knows_no_id(found, tmp_path):
    run = Run(tmp_path)
    run.split_file.write_text(json.dumps({"train": found}))
    assert run.trained_on(Numbers(range(5))) == run.trained_on(["1", "2"]) == 0


def test_a_run_knows_what_it_was_trained_on(tmp_path):
    run = Run(tmp_path)
    run.write_split({"train": listed(Numbers(range(100)))}, "0", 1.0)
    assert run.trained_on(Numbers(range(90, 200))) == run.trained_on([*range(90, 200)]) == 10
