"""MNIST drawn anew in each epoch: from grey values, by seed and epoch alone, and fixed where it is tested."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import REPOSITORY, call, shared
from tests.data_sets import images
from tests.zoo import Recorder, trainer
from vae_zoo.data import DynamicMNIST
from vae_zoo.errors import UserError
from vae_zoo.runs import Run

N_TRAIN, N_TEST = 50, 12


def arrays():
    """Digits of random pixels, a part of them black, a part white; ordered by class, as the file may be."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(-100, 356, (N_TRAIN + N_TEST, 28, 28)).clip(0, 255).astype(np.uint8)
    labels = [np.arange(n, dtype=np.uint8) * 10 // n for n in (N_TRAIN, N_TEST)]
    return dict(
        train_images=pixels[:N_TRAIN], train_labels=labels[0], test_images=pixels[N_TRAIN:], test_labels=labels[1]
    )


@pytest.fixture
def path(tmp_path):
    np.savez(tmp_path / "mnist.npz", **arrays())
    return tmp_path / "mnist.npz"


def module(path, **changes):
    data = DynamicMNIST(str(path), **{"n_val": 10, "batch_size": 16, **changes})
    data.setup()
    return data


def epoch_of(loader, data, epoch):
    """The images of an epoch (N, 1, 28, 28), their labels, and their places in the training set."""
    loader.sampler.set_epoch(epoch)
    batches = [data.on_after_batch_transfer(batch, 0) for batch in loader]
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches]), list(loader.sampler)


def drawn(data, *epochs, seed=0):
    """The training images of some epochs of a run, (epochs, N, 1, 28, 28), in the order of the file."""
    torch.manual_seed(seed)
    loader = data.train_dataloader()
    return torch.stack([x[np.argsort(order)] for x, _, order in (epoch_of(loader, data, e) for e in epochs)])


def test_the_parts_are_the_files_and_validation_is_a_random_choice_by_seed(path):
    data, again, other = module(path), module(path), module(path, seed=1)
    assert data.facts.shape == (1, 28, 28) and data.facts.label_names == tuple("0123456789")
    assert {part: len(ids) for part, ids in data.split.items()} == {"train": 40, "val": 10, "test": 12}
    assert sorted(data.split["train"] + data.split["val"]) == sorted(f"train/{row}" for row in range(N_TRAIN))
    assert again.split_sha256 == data.split_sha256 != other.split_sha256
    for part in ("val", "test"):
        name = "test" if part == "test" else "train"
        rows = [int(id_.removeprefix(f"{name}/")) for id_ in data.split[part]]
        x, y = images(data, part)
        assert y.tolist() == arrays()[f"{name}_labels"][rows].tolist()
        grey = torch.from_numpy(arrays()[f"{name}_images"][rows])[:, None]
        assert (x[grey == 0] == 0).all() and (x[grey == 255] == 1).all()  # the pixels of these images
    assert len(images(data, "val")[1].unique()) > 4  # of an ordered file
    assert module(path, n_val=0).val_dataloader() == []


@pytest.mark.parametrize("resident", [False, True])
def test_labels_and_pixels_stay_together(resident, path):
    data = module(path, resident=resident)
    rows = np.array([int(id_.removeprefix("train/")) for id_ in data.split["train"]])
    x, y, order = epoch_of(data.train_dataloader(), data, 3)
    assert order != sorted(order)
    grey = torch.from_numpy(arrays()["train_images"][rows[order]])[:, None]
    assert (x[grey == 0] == 0).all() and (x[grey == 255] == 1).all()
    assert y.tolist() == arrays()["train_labels"][rows[order]].tolist()


def test_the_mean_of_many_draws_is_the_grey_value(path):
    data, n = module(path), 400
    rows = [int(id_.removeprefix("train/")) for id_ in data.split["train"]]
    p = torch.from_numpy(arrays()["train_images"][rows])[:, None] / 255
    error = drawn(data, *range(n)).mean(0) - p
    assert (error[(p == 0) | (p == 1)] == 0).all()
    deviations = (error / (p * (1 - p) / n).sqrt())[(p > 0.1) & (p < 0.9)]
    assert deviations.mean().abs() < 0.05 and 0.95 < deviations.std() < 1.05 and deviations.abs().max() < 6


@pytest.mark.parametrize("resident", [False, True])
def test_draws_follow_from_the_runs_seed_and_the_epoch_and_nothing_else(resident, path):
    first = drawn(module(path), 0, 1, 2)
    assert torch.equal(drawn(module(path, batch_size=7, resident=resident), 2, 0, 1), first[[2, 0, 1]])
    pixels = torch.cat([first, drawn(module(path), 0, seed=1), images(module(path), "train")[0][None]]).flatten(1)
    for one in range(len(pixels)):
        assert all((pixels[one] != pixels[two]).float().mean() > 0.1 for two in range(one))
    data = module(path)
    shares = []
    for rank in range(2):
        loader = data.shuffled(2, rank, 0)
        x, _, order = epoch_of(loader, data, 1)
        shares += zip(order, x, strict=True)
    assert torch.equal(torch.stack([x for _, x in sorted(shares, key=lambda share: share[0])]), first[1])


def test_what_is_tested_is_drawn_once_whatever_the_seeds(path):
    torch.manual_seed(0)
    data = module(path)
    held_out = {part: images(data, part)[0] for part in ("val", "test")}
    drawn(data, 0, 1)
    torch.manual_seed(1)
    other = module(path, seed=1, n_val=20)
    by_id = dict(zip(data.split["val"], held_out["val"], strict=True))
    both = [(by_id[id_], x) for id_, x in zip(other.split["val"], images(other, "val")[0], strict=True) if id_ in by_id]
    assert both and all(torch.equal(one, two) for one, two in both)
    assert torch.equal(images(other, "test")[0], held_out["test"])
    for part in ("val", "test"):  # nor by what was trained on since
        assert torch.equal(images(data, part)[0], held_out[part])
        assert torch.equal(next(data.batches(part, 20))[0], held_out[part])
    fixed = next(data.batches("train", 40))[0]
    assert torch.equal(fixed, next(module(path).batches("train", 40))[0])
    for x in (*held_out.values(), fixed, drawn(data, 5)):
        assert x.unique().tolist() == [0, 1] and x.dtype == torch.float32


def test_the_noise_of_a_model_is_left_as_it_was(path):
    def noise(read):
        torch.manual_seed(0)
        np.random.seed(0)
        loader = module(path).train_dataloader()
        order = iter(loader)  # a loader draws a seed of its own, whatever the data
        for _ in order if read else ():
            pass
        return torch.rand(3).tolist() + np.random.rand(3).tolist()

    assert noise(True) == noise(False)


def trained_on(path, epochs, ckpt_path=None, accelerator="cpu", **changes):
    """The batches of a training, which leaves a checkpoint."""
    torch.manual_seed(7)
    recorder = Recorder()
    run = trainer(path.parent, max_epochs=epochs, accelerator=accelerator)
    run.fit(recorder, datamodule=module(path, **changes), ckpt_path=ckpt_path)
    run.save_checkpoint(path.parent / "last.ckpt")
    return [x for _, x in recorder.batches]


@pytest.mark.filterwarnings("ignore")
def test_a_resumed_run_sees_the_same_pixels(path):
    whole = trained_on(path, 3)
    trained_on(path, 1)
    torch.rand(11)  # whatever happened in between
    resumed = trained_on(path, 3, path.parent / "last.ckpt")
    assert len(whole) == 9 and len(resumed) == 6
    assert all(torch.equal(one, two) for one, two in zip(whole[3:], resumed, strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("resident", [False, True])
def test_a_device_sees_the_same_pixels(resident, path):
    found = trained_on(path, 3, accelerator="gpu", resident=resident)
    assert all(torch.equal(one.cpu(), two) for one, two in zip(found, trained_on(path, 3), strict=True))


def test_the_order_of_a_files_bytes_does_not_matter(path):
    expected = drawn(module(path), 0, 1)
    np.savez(path, **{name: np.asfortranarray(array) for name, array in arrays().items()})
    assert torch.equal(drawn(module(path), 0, 1), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name, options", [("vae", []), ("iwae", []), ("vae", ["--model", "CVAE"])])
def test_paper_configs_have_a_density_of_these_pixels(name, options, path, monkeypatch):
    monkeypatch.chdir(path.parent)
    quick = ["--trainer.max_epochs", 2, "--trainer.accelerator", "cpu", "--data.root", path, "--data.n_val", 10]
    config = REPOSITORY / "configs" / "paper" / f"{name}_mnist_dynamic.yaml"
    assert call("fit", "--config", config, *options, "--run_dir", "run", *quick) == 0
    assert call("test", "--run_dir", "run", "--evaluation.nll_samples", 10) == 0
    assert Run(Path("run")).tested["figures"]["nll"] is not None


@pytest.mark.slow
def test_the_real_digits():
    data = DynamicMNIST(str(shared("mnist.npz")))
    data.setup()
    assert [len(data.split[part]) for part in ("train", "val", "test")] == [50_000, 10_000, 10_000]
    for part, loader in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
        x, y = (torch.cat(both) for both in zip(*(data.on_after_batch_transfer(b, 0) for b in loader), strict=True))
        assert x.unique().tolist() == [0, 1] and x.mean() == pytest.approx(33.3184 / 255, abs=0.003), part
        assert y.bincount().min() > 800  # of each digit, though the file is ordered by them
    x, y = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert x.shape == (100, 1, 28, 28) and len(y.unique()) == 10


def spoilt(**changes):
    return {**arrays(), **changes}


@pytest.mark.parametrize(
    "content, settings, message",
    [
        (None, {}, "there is no file .*mnist.npz"),
        (b"no zip", {}, "mnist.npz is not a .npz of MNIST with arrays train_images, train_labels, test_images, test_l"),
        ({"train_images": arrays()["train_images"]}, {}, "is not a .npz of MNIST with arrays"),
        (spoilt(train_labels=np.array([{}] * N_TRAIN)), {}, "is not a .npz of MNIST"),  # a pickle is not read
        (spoilt(train_images=np.zeros((N_TRAIN, 784), np.uint8)), {}, r"train_images is \(50, 784\) uint8; it must be"),
        (spoilt(test_images=np.zeros((N_TEST, 28, 28))), {}, r"test_images is \(12, 28, 28\) float64; it must be"),
        (spoilt(test_images=np.zeros((0, 28, 28), np.uint8)), {}, r"test_images is \(0, 28, 28\) uint8; it must be"),
        (spoilt(train_images=np.uint8(3)), {}, r"train_images is \(\) uint8; it must be"),
        (
            spoilt(train_labels=np.zeros(N_TRAIN - 1, np.uint8)),
            {},
            "train_labels must be a whole number from 0 to 9 fo",
        ),
        (spoilt(test_labels=np.zeros(N_TEST)), {}, "test_labels must be a whole number from 0 to 9 for each of 12 im"),
        (spoilt(test_labels=np.full(N_TEST, 10)), {}, "test_labels must be a whole number from 0 to 9"),
        (spoilt(test_labels=np.full(N_TEST, -1)), {}, "test_labels must be a whole number from 0 to 9"),
        (arrays(), {"n_val": N_TRAIN}, "data.n_val = 50 leaves none of the 50 images to train on"),
        (arrays(), {"n_val": -1}, "n_val must be at least 0, got -1"),
        (arrays(), {"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ],
)
def test_files_and_settings_that_do_not_do(content, settings, message, tmp_path):
    path = tmp_path / "mnist.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        np.savez(path, **content)
    with pytest.raises(UserError, match=message):
        module(path, **settings)
