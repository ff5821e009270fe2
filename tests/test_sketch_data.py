"""Sketches in batches: the split, lengths, the unit of the offsets, augmentation."""

import numpy as np
import pytest
import torch

from tests.conftest import shared
from tests.test_sketch_files import save_npz
from vae_zoo.data import Sketches
from vae_zoo.data.sketch_files import read_npz
from vae_zoo.data.sketches import AugmentedSketches, BucketBatchSampler, SketchDataset, drop_points
from vae_zoo.errors import UserError
from vae_zoo.strokes import lengths


@pytest.mark.slow
def test_the_published_sheep():
    path = shared("sketch/aaron_sheep.npz")
    data = Sketches(str(path))
    data.setup()
    with np.load(path, allow_pickle=True, encoding="latin1") as trusted:
        for part, name in (("train", "train"), ("val", "valid"), ("test", "test")):
            assert len(data.split[part]) == len(trusted[name])
            for ours, theirs in zip(read_npz(path)[part], trusted[name], strict=True):
                assert np.array_equal(ours.rows, theirs)
        scale = np.concatenate([rows[:, :2] for rows in trusted["train"]]).astype(np.float64).std()
    assert data.scale == pytest.approx(scale, rel=1e-4) and data.labels == ["aaron_sheep"]
    assert data.shape == (250, 5)  # the longest training sketch
    x, _ = next(data.batches("test", 300))
    with np.load(path, allow_pickle=True, encoding="latin1") as trusted:
        for sketch, rows in zip(x.numpy(), trusted["test"], strict=True):
            np.testing.assert_allclose(sketch[: len(rows), :2] * scale, rows[:, :2], rtol=1e-4, atol=1e-4)
        assert lengths(x).tolist() == [len(rows) for rows in trusted["test"]]


def test_quickdraw_files_in_a_folder():
    data = Sketches(str(shared("sketch/quickdraw_ndjson")), n_test=5, n_val=3)
    data.setup()
    assert data.labels == ["bicycle", "cat", "dog", "owl", "pig"]
    assert {part: len(ids) for part, ids in data.split.items()} == {"train": 85, "val": 15, "test": 25}
    ids = [id_ for part in data.split.values() for id_ in part]
    assert len(set(ids)) == 125
    x, y = next(data.batches("test", 25))
    assert y.bincount().tolist() == [5] * 5 and (x[..., 2:].sum(-1) == 1).all()


def of_lengths(ns, seed=0):
    rng = np.random.default_rng(seed)
    rows = [np.column_stack([rng.normal(size=(n, 2)), rng.random(n) < 0.2]).astype(np.float32) for n in ns]
    return SketchDataset(rows, torch.arange(len(ns)), list(map(str, ns)))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_each_sketch_once_an_epoch_among_sketches_of_its_length(world):
    data = AugmentedSketches(of_lengths(np.random.default_rng(0).integers(5, 250, 1_000)))
    samplers = [BucketBatchSampler(data, 16, world, rank, seed=3) for rank in range(world)]
    epochs = []
    for epoch in (0, 1, 0):
        for sampler in samplers:
            sampler.set_epoch(epoch)
        batches = [list(sampler) for sampler in samplers]
        assert {len(part) for part in batches} == {len(samplers[0])}  # as many for each process
        epochs.append([index for part in batches for batch in part for index in batch])
        assert len(set(epochs[-1])) == len(epochs[-1]) == 1_000 // world * world
        x = [data[batch][0] for batch in batches[0]]
        used = sum(int(lengths(part).sum()) for part in x) / sum(part.shape[0] * part.shape[1] for part in x)
        assert used > 0.92  # at random it would be .55
        means = [float(lengths(part).float().mean()) for part in x]
        assert means != sorted(means) and data.epoch == epoch  # not from short to long, and varied anew
    assert epochs[0] == epochs[2] != epochs[1]


def test_processes_share_the_batches_that_one_would_have_whole():
    data = AugmentedSketches(of_lengths(np.random.default_rng(0).integers(5, 250, 1_000)))
    one, *two = (list(BucketBatchSampler(data, 32 // world, world, rank)) for world, rank in ((1, 0), (2, 0), (2, 1)))
    assert [{*a, *b} for a, b in zip(*two, strict=True)] == [set(batch) for batch in one]
    left_out = list(BucketBatchSampler(AugmentedSketches(of_lengths([4, 5, 6])), 1, 2))
    assert len(left_out) == 1  # of two batches, the second has one sketch for two processes


def test_the_deviation_is_that_of_the_training_sketches(tmp_path):
    parts = {
        name: [rng_rows * scale for rng_rows in SAMPLE] for name, scale in (("train", 3), ("valid", 50), ("test", 7))
    }
    save_npz(tmp_path / "cat.npz", **parts)
    data = Sketches(str(tmp_path / "cat.npz"))
    data.setup()
    offsets = np.concatenate(parts["train"])[:, :2]
    assert data.scale == pytest.approx(offsets.std())
    x, _ = next(data.batches("train", 10))
    drawn = x[x[..., 4] == 0][:, :2]
    assert drawn.std(correction=0).item() == pytest.approx(1, rel=1e-5)
    assert set(x[..., 2:].unique().tolist()) == {0, 1}  # pens are not divided


SAMPLE = [
    np.column_stack([np.random.default_rng(n).normal(size=(n, 2)), np.zeros(n)]).astype(np.float32) for n in (4, 9)
]
for sample in SAMPLE:
    sample.setflags(write=False)


def test_stretching_is_of_whole_axes_and_new_in_each_epoch():
    data = of_lengths([12, 7])
    varied = AugmentedSketches(data, random_scale=0.2, seed=5)
    seen = []
    for epoch in range(200):
        varied.epoch = epoch
        x, plain = varied[[0, 1]][0], data.__getitems__([0, 1])[0]
        assert torch.equal(x[..., 2:], plain[..., 2:])
        factors = x[0, :12, :2] / plain[0, :12, :2]
        assert (factors - factors[0]).abs().max() < 1e-4
        seen.append(factors[0])
        assert torch.equal(varied[[1, 0]][0][1, :12], x[0, :12])  # the same in any batch of the epoch
    factors = torch.stack(seen)
    assert 0.8 <= factors.min() < 0.83 and 1.17 < factors.max() <= 1.2
    assert np.corrcoef(factors.T.numpy())[0, 1] == pytest.approx(0, abs=0.2)


def test_dropping_keeps_ends_and_places():
    rng = np.random.default_rng(0)
    rows = of_lengths([200]).sketches[0]
    rows[0, 2] = 0  # so that the first point may be dropped, too
    kept = [drop_points(rows, 0.3, rng) for _ in range(50)]
    for sketch in kept:
        ends = [np.round(part[:, :2].cumsum(0)[part[:, 2] == 1], 3) for part in (sketch, rows)]
        assert np.allclose(*ends, atol=2e-3)  # every stroke still ends where it did
        np.testing.assert_allclose(sketch[:, :2].sum(0), rows[:, :2].sum(0), atol=1e-4)
        places = {tuple(np.round(place, 3)) for place in rows[:, :2].cumsum(0)}
        assert all(tuple(np.round(place, 3)) in places for place in sketch[:, :2].cumsum(0)[::17])
    inside = ((rows[:, 2] == 0) & (np.append(0, rows[:-1, 2]) == 0)).sum()
    dropped = np.mean([200 - len(sketch) for sketch in kept])
    assert dropped == pytest.approx(0.3 * inside, rel=0.1)
    assert np.array_equal(drop_points(rows, 0.0, rng), rows)
    assert len(drop_points(rows[:1], 0.9, rng)) == 1


def test_only_training_sketches_vary(doodles):
    data = Sketches(str(doodles), random_scale=0.3, drop_points=0.3, batch_size=9)
    plain = Sketches(str(doodles), batch_size=9)
    for module in (data, plain):
        module.setup()
    for part in ("val", "test", "train"):
        assert torch.equal(next(data.batches(part, 9))[0], next(plain.batches(part, 9))[0])
    for a, b in zip(data.test_dataloader(), plain.test_dataloader(), strict=True):
        assert torch.equal(a[0], b[0])
    shapes = [[x.shape[1] for x, _ in module.train_dataloader()] for module in (data, plain)]
    assert shapes[0] != shapes[1]


def test_longer_sketches_are_left_out_with_a_word(doodles):
    data = Sketches(str(doodles), max_length=8, n_test=30, n_val=0)
    with pytest.warns(
        UserWarning, match=r"left out \d+ of 90 sketches, which have no line, or more points than data.max_length"
    ):
        data.setup()
    assert "circle" not in data.labels and data.shape == (8, 5) and data.val_dataloader() == []
    assert all(len(sketch) <= 8 for sketch in data.parts["train"].sketches)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"path": "nowhere"}, "data.path: .*nowhere does not exist; .* vae-zoo data sketches --out"),
        ({"max_length": 1}, "no train sketch has a line and at most data.max_length points"),
        (
            {"n_test": 80, "n_val": 20},
            "of 90 drawings in .*sketches.ndjson, 80 to test on and 20 to validate on leave 0 to train",
        ),
        ({"n_train": 90}, "set data.n_train, data.n_test and data.n_val"),
        ({"drop_points": 1.0}, "drop_points must be less than 1, got 1.0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_bad_settings_say_so(change, message, doodles):
    with pytest.raises(UserError, match=message):
        Sketches(**{"path": str(doodles)} | change).setup()


def test_a_folder_without_sketches(tmp_path):
    with pytest.raises(UserError, match="is neither a .ndjson or .npz file nor a folder with one in it"):
        Sketches(str(tmp_path)).setup()
    save_npz(tmp_path / "cat.npz", train=SAMPLE, valid=SAMPLE, test=SAMPLE)
    with pytest.raises(UserError, match="data.n_test = 3, but .*cat.npz has 2"):
        Sketches(str(tmp_path), n_test=3).setup()
    save_npz(tmp_path / "cat.npz", train=[np.zeros((4, 2))], valid=SAMPLE, test=SAMPLE)
    with pytest.raises(UserError, match=r"cat.npz .*: a sketch has the shape \(4, 2\), it must be \(N, 3\)"):
        Sketches(str(tmp_path)).setup()
    for bad in (np.full((4, 3), np.nan), np.full((4, 3), 7), np.array(3.0)):
        save_npz(tmp_path / "cat.npz", train=[bad], valid=SAMPLE, test=SAMPLE)
        with pytest.raises(UserError, match="cat.npz is not a .npz of sketches"):
            Sketches(str(tmp_path)).setup()
    save_npz(tmp_path / "cat.npz", train=[np.zeros((4, 3))], valid=SAMPLE, test=SAMPLE)
    with pytest.raises(UserError, match="the training sketches have no extent"):
        Sketches(str(tmp_path)).setup()
