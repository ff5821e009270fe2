"""Augmentation of the training images: off, on, image by image, and the same again in a resumed run."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torchvision.transforms import v2

from tests.data_sets import images, module
from tests.zoo import Recorder
from vae_zoo.data.images import AugmentedDataset, Images, augmented
from vae_zoo.errors import UserError

FLIP = v2.RandomHorizontalFlip()


def train_batches(data, epoch=0, seed=0):
    torch.manual_seed(seed)
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return [data.on_after_batch_transfer(batch, 0) for batch in loader]


def test_without_a_transform_nothing_changes(shapes):
    for off in (None, []):
        for (x, y), (plain, labels) in zip(
            train_batches(module(shapes, augment=off)), train_batches(module(shapes)), strict=True
        ):
            assert torch.equal(x, plain) and torch.equal(y, labels)


def test_only_training_batches_change(shapes):
    data, plain = module(shapes, augment=v2.RandomHorizontalFlip(1.0)), module(shapes)
    for part in ("val", "test"):
        assert torch.equal(images(data, part)[0], images(plain, part)[0])
    for part in ("train", "val", "test"):
        assert torch.equal(next(data.batches(part, 9))[0], next(plain.batches(part, 9))[0])
    for (x, y), (before, labels) in zip(train_batches(data), train_batches(plain), strict=True):
        assert torch.equal(x, before.flip(-1)) and torch.equal(y, labels)
        assert x.is_contiguous(memory_format=torch.channels_last)


def test_a_seed_follows_from_run_epoch_and_index_and_no_array_of_all_is_made():
    class Many(Images):
        ids, checksums, order = (), None, None

        def __len__(self):
            return 10**15

        def __getitems__(self, indices):
            return indices, indices

    order = SimpleNamespace(seed=3, epoch=5)
    indices = [70, 2, 99, 2, 0]
    seeds = AugmentedDataset(Many(), order).__getitems__(indices)[2]
    assert seeds == np.random.default_rng((3, 5)).integers(2**63, size=100)[indices].tolist()


@pytest.mark.parametrize("resident", [False, True])
def test_each_image_has_draws_of_its_own_that_differ_between_epochs_and_seeds(shapes, resident):
    data, plain = module(shapes, augment=[FLIP], resident=resident), module(shapes)

    def flips(seed, epoch):
        """By image, whatever the order."""
        decided = []
        pairs = zip(train_batches(data, epoch, seed), train_batches(plain, epoch, seed), strict=True)
        for (x, _), (before, _) in pairs:
            flipped, kept = ((x == other).flatten(1).all(1) for other in (before.flip(-1), before))
            assert (flipped ^ kept).all()
            assert 0 < flipped.sum() < len(x)
            decided += zip(before.double().flatten(1).sum(1).tolist(), flipped.tolist(), strict=True)
        return [flip for _, flip in sorted(decided)]

    assert flips(0, 1) == flips(0, 1)
    by_epoch_and_seed = [flips(0, 1), flips(0, 2), flips(1, 1)]
    assert all(by_epoch_and_seed.count(decisions) == 1 for decisions in by_epoch_and_seed)


def test_an_images_draws_do_not_depend_on_the_batch_it_is_in(shapes):
    by_batch_size = []
    for size in (5, 40):
        batches = train_batches(module(shapes, augment=[FLIP], batch_size=size))
        by_batch_size.append(torch.cat([x for x, _ in batches]))
    assert torch.equal(*by_batch_size)


def test_a_flip_of_half_the_images_and_several_transforms_in_order():
    x = torch.rand(2_000, 1, 2, 2)
    flipped = (augmented(x, [FLIP], range(2_000)) != x).flatten(1).any(1)
    assert flipped.float().mean().item() == pytest.approx(0.5, abs=0.04)
    twice = augmented(x, [v2.RandomHorizontalFlip(1.0), v2.RandomVerticalFlip(1.0)], range(2_000))
    assert torch.equal(twice, x.flip(-1, -2))
    assert torch.equal(x, augmented(x, [v2.Compose([v2.RandomHorizontalFlip(1.0)] * 2)], range(2_000)))


def test_what_leaves_the_range_is_clamped_and_another_shape_is_refused():
    x = torch.rand(8, 3, 6, 4)
    bright = augmented(x, [v2.Lambda(lambda image: 3 * image - 1)], range(8))
    assert torch.equal(bright, (3 * x - 1).clamp(0, 1))
    with pytest.raises(UserError, match=r"data.augment makes images of shape \(3, 3, 3\) from \(3, 6, 4\)"):
        augmented(x, [v2.RandomCrop(3)], range(8))


def test_the_noise_of_a_model_is_the_same_with_augmentation():
    expected = torch.rand(3)
    torch.manual_seed(0)
    augmented(torch.zeros(4, 3, 4, 4), [FLIP], range(4))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_device_draws_as_a_cpu_does_and_keeps_its_own_noise():
    x = torch.rand(16, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    torch.manual_seed(0)
    expected = torch.rand(3, device="cuda")
    torch.manual_seed(0)
    noisy = [augmented(x.cuda(), [FLIP, v2.GaussianNoise()], range(16)) for _ in range(2)]
    assert torch.equal(*noisy) and torch.equal(torch.rand(3, device="cuda"), expected)
    assert torch.equal(augmented(x.cuda(), [FLIP], range(16)).cpu(), augmented(x, [FLIP], range(16)))


@pytest.mark.filterwarnings("ignore")
def test_a_resumed_run_sees_the_same_batches(shapes, tmp_path):
    def fit(epochs, ckpt_path=None):
        torch.manual_seed(7)
        recorder = Recorder()
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        trainer = Trainer(max_epochs=epochs, default_root_dir=tmp_path, **quiet)
        trainer.fit(recorder, datamodule=module(shapes, augment=[FLIP, v2.RandomErasing()]), ckpt_path=ckpt_path)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return recorder

    whole = fit(3)
    fit(1)
    torch.rand(11)  # whatever happened in between
    resumed = fit(3, tmp_path / "last.ckpt")
    later = [(epoch, x) for epoch, x in whole.batches if epoch > 0]
    assert len(later) == len(resumed.batches) == 6
    for (epoch, x), (resumed_epoch, resumed_x) in zip(later, resumed.batches, strict=True):
        assert epoch == resumed_epoch and torch.equal(x, resumed_x)
