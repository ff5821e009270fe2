"""The data and settings of published figures: binarised MNIST, Frey faces, the paper's configs."""

import numpy as np
import pytest
import torch
import yaml

from tests.conftest import REPOSITORY, call, shared
from vae_zoo.data import BinarizedMNIST, FreyFaces
from vae_zoo.errors import UserError

PARTS = {"train": 30, "valid": 11, "test": 7}


def draw_digits(seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.integers(0, 2, (n, 784), dtype=np.uint8) for name, n in PARTS.items()}


@pytest.fixture
def digits(tmp_path):
    """The same random digits as a folder of text files and as packed bits."""
    bits = draw_digits()
    (tmp_path / "amat").mkdir()
    for name, rows in bits.items():
        np.savetxt(tmp_path / "amat" / f"binarized_mnist_{name}.amat", rows, fmt="%d")
    np.savez(tmp_path / "bits.npz", **{name: np.packbits(rows, axis=1) for name, rows in bits.items()})
    return tmp_path


@pytest.mark.parametrize("root", ["amat", "bits.npz"])
def test_digits_are_those_of_the_files(root, digits):
    data = BinarizedMNIST(str(digits / root), batch_size=4)
    data.setup()
    assert data.shape == (1, 28, 28) and data.labels == ["none"]
    assert {part: len(ids) for part, ids in data.split.items()} == {"train": 30, "val": 11, "test": 7}
    for load, name in ((data.val_dataloader(), "valid"), (data.test_dataloader(), "test")):
        x, y = (torch.cat(part) for part in zip(*(data.on_after_batch_transfer(b, 0) for b in load), strict=True))
        assert torch.equal(x.flatten(1), torch.from_numpy(draw_digits()[name]).float())
        assert not y.any() and len(y) == len(x)
    seen = torch.cat([data.on_after_batch_transfer(batch, 0)[0] for batch in data.train_dataloader()]).flatten(1)
    rows = torch.from_numpy(draw_digits()["train"]).float()
    assert not torch.equal(seen, rows)  # shuffled
    assert sorted(map(tuple, seen.tolist())) == sorted(map(tuple, rows.tolist()))


@pytest.mark.slow
def test_the_published_digits():
    data = BinarizedMNIST(str(shared("binarized_mnist.npz")))
    data.setup()
    assert [len(data.split[part]) for part in ("train", "val", "test")] == [50_000, 10_000, 10_000]
    x = torch.cat([data.on_after_batch_transfer(batch, 0)[0] for batch in data.test_dataloader()])
    assert x.unique().tolist() == [0, 1] and 0.12 < x.mean() < 0.14
    border = torch.cat([x[..., 0, :].flatten(), x[..., -1, :].flatten(), x[..., 0].flatten(), x[..., -1].flatten()])
    assert border.mean() < 0.001 < 0.3 < x[..., 12:16, 12:16].mean()  # upright, in the middle


def write(path, content):
    path.write_bytes(content)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda d: (d / "amat" / "binarized_mnist_valid.amat").unlink(), "there is no binarized_mnist_valid.amat in"),
        (lambda d: write(d / "amat" / "binarized_mnist_test.amat", b"0 1 2 " * 784), "must hold 784 numbers 0 or 1"),
        (lambda d: write(d / "amat" / "binarized_mnist_test.amat", b"0 1 0 " * 300), "must hold 784 numbers 0 or 1"),
        (lambda d: write(d / "amat" / "binarized_mnist_test.amat", b""), "must hold 784 numbers 0 or 1"),
        (lambda d: write(d / "bits.npz", b"no zip"), "bits.npz is not a .npz of a binarised MNIST"),
        (lambda d: np.savez(d / "bits.npz", train=np.zeros((3, 98), np.uint8)), "with an array 'valid'"),
        (lambda d: np.savez(d / "bits.npz", train=np.zeros((3, 784), np.uint8)), r"train is \(3, 784\) uint8; it must"),
        (lambda d: np.savez(d / "bits.npz", train=np.array([{}])), "is not a .npz of a binarised MNIST"),
        (lambda d: (d / "bits.npz").unlink(), "bits.npz does not exist"),
    ],
)
def test_files_that_are_not_digits(spoil, message, digits):
    spoil(digits)
    with pytest.raises(UserError, match=message):
        for root in ("amat", "bits.npz"):
            BinarizedMNIST(str(digits / root)).setup()


def test_frey_faces_are_held_out_by_blocks(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (203, 28, 20), dtype=np.uint8)
    np.save(tmp_path / "faces.npy", frames)
    data = FreyFaces(str(tmp_path / "faces.npy"), block=10, test_blocks=3, val_blocks=2, batch_size=8)
    data.setup()
    parts = {part: set(ids) for part, ids in data.split.items()}
    assert set.union(*parts.values()) == set(range(203)) and sum(map(len, parts.values())) == 203
    for ids in parts.values():
        assert all(set(range(i - i % 10, min(i - i % 10 + 10, 203))) <= ids for i in ids)  # whole blocks
    x = torch.cat([data.on_after_batch_transfer(batch, 0)[0] for batch in data.test_dataloader()])
    truth = torch.from_numpy(frames[data.split["test"]]).float() / 255
    torch.testing.assert_close(x[:, 0], truth)
    again, other = (
        FreyFaces(str(tmp_path / "faces.npy"), block=10, test_blocks=3, val_blocks=2, seed=s) for s in (0, 1)
    )
    for one in (again, other):
        one.setup()
    assert again.split_sha256 == data.split_sha256 != other.split_sha256


@pytest.mark.parametrize(
    "content, settings, message",
    [
        (np.zeros((40, 28, 20), np.uint8), {"block": 5}, "no block is left to train on: 8 of 8 are held out"),
        (np.zeros((40, 20, 28), np.uint8), {}, r"does not hold \(N, 28, 20\) uint8"),
        (np.zeros((40, 28, 20)), {}, r"does not hold \(N, 28, 20\) uint8"),
        (np.array([{}]), {}, "faces.npy is not a .npy file of frames"),
        (None, {}, "faces.npy is not a .npy file of frames"),
    ],
)
def test_files_that_are_not_frey_faces(content, settings, message, tmp_path):
    if content is not None:
        np.save(tmp_path / "faces.npy", content)
    with pytest.raises(UserError, match=message):
        FreyFaces(str(tmp_path / "faces.npy"), **settings).setup()


def test_paper_configs_are_burdas():
    for name, samples in (("vae_mnist", 1), ("iwae_mnist", 5), ("vae_mnist_dynamic", 1), ("iwae_mnist_dynamic", 5)):
        config = yaml.safe_load((REPOSITORY / "configs" / "paper" / f"{name}.yaml").read_text())
        arguments = config["model"]["init_args"]
        assert arguments["latent"] == 50 and arguments["samples"] == samples and arguments["likelihood"] == "Bernoulli"
        for network in ("encoder", "decoder"):
            assert arguments[network]["init_args"] == {"width": 200, "depth": 2}
        assert config["data"]["init_args"]["batch_size"] == 20 and config["trainer"]["max_epochs"] == sum(
            3**i for i in range(8)
        )
        assert config["evaluation"]["nll_samples"] == 5000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vae_mnist", "iwae_mnist"])
def test_paper_configs_run_on_digits(name, digits, monkeypatch, capsys):
    monkeypatch.chdir(digits)
    quick = ["--trainer.max_epochs", 2, "--trainer.accelerator", "cpu", "--data.root", digits / "amat"]
    assert call("fit", "--config", REPOSITORY / "configs" / "paper" / f"{name}.yaml", *quick) == 0
    assert call("test", "--evaluation.nll_samples", 10) == 0
    assert "test/nll" in capsys.readouterr().out


@pytest.mark.slow
def test_frey_config_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "faces.npy", np.random.default_rng(0).integers(0, 256, (600, 28, 20), dtype=np.uint8))
    quick = ["--trainer.max_epochs", 2, "--trainer.accelerator", "cpu", "--data.root", "faces.npy"]
    assert call("fit", "--config", REPOSITORY / "configs" / "paper" / "vae_frey.yaml", *quick) == 0
    assert call("test", "--evaluation.nll_samples", 10) == 0
    assert "test/nll" in capsys.readouterr().out
