"""Codes, ways between them, and walks along their numbers: against closed forms, and by the commands as typed."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import vae_zoo
from tests.conftest import call, only_run, options
from tests.zoo import models_that, small
from vae_zoo import latent
from vae_zoo.distributions import GaussianMixture
from vae_zoo.errors import UserError
from vae_zoo.models import CVAE, DCGAN, VAE, Autoencoder
from vae_zoo.models.decoding import Decoding

decoding = models_that(Decoding)
TINY = dict(VAE.tiny)


def labels(model, n):
    return torch.zeros(n, dtype=torch.int64) if model.labels else None


@decoding
def test_quantiles_and_probabilities_are_each_others_inverse(cls):
    model = small(cls)
    u = torch.linspace(0.01, 0.99, 7, dtype=torch.float64).view(-1, *[1] * len(model.code_shape))
    u = u.expand(-1, *model.code_shape)
    y = labels(model, 7)
    torch.testing.assert_close(model.cdf(model.icdf(u, y), y), u, atol=1e-12, rtol=0)
    draws = model.cdf(model.sample_prior(4000, labels(model, 4000)).double(), labels(model, 4000))
    assert abs(float(draws.mean()) - 0.5) < 0.02 and abs(float(draws.var()) - 1 / 12) < 0.01


@decoding
@pytest.mark.parametrize("how", latent.HOW)
def test_a_way_begins_and_ends_at_its_ends(cls, how):
    model = small(cls)
    a, b = model.sample_prior(3, labels(model, 3)), model.sample_prior(3, labels(model, 3))
    y = labels(model, 3)
    way = latent.between(model, a, b, 5, how, y)
    assert way.shape == (5, *a.shape) and torch.equal(way[0], a) and torch.equal(way[-1], b)
    there, back = way, latent.between(model, b, a, 5, how, y)
    torch.testing.assert_close(there, back.flip(0), atol=1e-5, rtol=1e-5)


def test_the_three_ways_against_their_equations():
    model = VAE(**TINY)
    a, b = torch.tensor([[3.0, 0, 0, 0, 0]]), torch.tensor([[0.0, 3, 0, 0, 0]])
    middle = {how: latent.between(model, a, b, 3, how)[1, 0] for how in latent.HOW}
    torch.testing.assert_close(middle["linear"], torch.tensor([1.5, 1.5, 0, 0, 0]))
    torch.testing.assert_close(middle["spherical"], 3 * math.sqrt(0.5) * torch.tensor([1.0, 1, 0, 0, 0]))
    normal = torch.distributions.Normal(0.0, 1.0)
    share = normal.icdf((normal.cdf(torch.tensor(0.0)) + normal.cdf(torch.tensor(3.0))) / 2)
    torch.testing.assert_close(middle["prior"][:2], share.expand(2), atol=1e-5, rtol=0)


def test_a_chain_passes_each_station():
    model = VAE(**TINY)
    stations = model.sample_prior(4)
    way = latent.path(model, stations, 6)
    assert way.shape == (16, 5)
    torch.testing.assert_close(way[::5], stations, rtol=0, atol=0)


def test_smoothness_of_steps_of_known_length():
    steps = torch.tensor([1.0, 1.0, 1.0, 5.0])
    x = torch.cat([torch.zeros(1), steps.cumsum(0)]).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    assert latent.smoothness(x) == pytest.approx(5 / 2)
    assert latent.smoothness(x[:4]) == pytest.approx(1)
    assert math.isnan(latent.smoothness(x[:1].expand(5, -1, -1, -1)))


def test_a_traversal_goes_through_the_quantiles_of_one_number():
    model = VAE(**TINY)
    start = torch.randn(5)
    codes = latent.traverse(model, start, [3, 0], 9, 0.01, 0.99)
    assert codes.shape == (2, 9, 5)
    truth = torch.distributions.Normal(0.0, 1.0).icdf(torch.linspace(0.01, 0.99, 9))
    torch.testing.assert_close(codes[0, :, 3], truth)
    torch.testing.assert_close(codes[1, :, 0], truth)
    others = [0, 1, 2, 4]
    torch.testing.assert_close(codes[0][:, others], start[others].expand(9, -1), rtol=0, atol=0)


def test_the_grid_of_a_manifold_has_equal_shares_of_the_prior():
    model = VAE(**TINY | {"latent": 2})
    codes = latent.manifold(model, 4)
    assert codes.shape == (4, 4, 2)
    share = model.cdf(codes.double())
    torch.testing.assert_close(share[0, :, 0], torch.tensor([0.125, 0.375, 0.625, 0.875]).double(), atol=1e-6, rtol=0)
    assert (codes[0, :, 1] > codes[-1, :, 1]).all()  # it grows upwards
    with pytest.raises(UserError, match="this model's has 5; vae-zoo traverse"):
        latent.manifold(VAE(**TINY))


def test_the_informative_numbers_come_first():
    model = VAE(**TINY)
    head = model.posterior.encoder[-1]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
        head.bias[:5] = torch.tensor([0.0, 3, 1, 0, 2])  # KL of mu^2 / 2 with sigma = 1
    told, what = latent.informative(model, [(torch.rand(8, 3, 16, 16), None)])
    torch.testing.assert_close(told, torch.tensor([0.0, 4.5, 0.5, 0, 2]))
    assert what == "KL, nats"


@models_that(Autoencoder, pixels=True)
def test_codes_are_the_models_own(cls):
    model, x = small(cls), torch.rand(7, 3, 16, 16)
    y = labels(model, 7)
    batches = [(x[i : i + 3], None if y is None else y[i : i + 3]) for i in (0, 3, 6)]
    codes = latent.encode(model, batches, errors=True)
    torch.testing.assert_close(torch.from_numpy(codes.z), model.encode(x, y))
    mse = (model.reconstruct(x, y) - x).square().mean((1, 2, 3))
    torch.testing.assert_close(torch.from_numpy(codes.mse), mse)
    with torch.no_grad():
        draws = torch.cat([model.posterior(x, y).rsample((4000,))])  # 4000 B D
    torch.testing.assert_close(torch.from_numpy(codes.spread), draws.std(0), rtol=0.5, atol=1e-6)


def test_quantiles_are_those_of_the_labels_prior():
    model = small(CVAE, learned_prior=True)
    with torch.no_grad():
        for parameter in model.prior.parameters():
            parameter.normal_()
    mean = model.prior(torch.tensor([2])).mean[0].detach()
    assert (mean != 0).all()
    median = torch.full((1, *model.code_shape), 0.5)
    torch.testing.assert_close(model.icdf(median, torch.tensor([2]))[0], mean, atol=1e-5, rtol=0)
    middle = latent.traverse(model, mean, [0], 3, 0.25, 0.75, torch.tensor([2]))[0, 1]
    torch.testing.assert_close(middle, mean, atol=1e-5, rtol=0)
    with pytest.raises(UserError, match="this model needs the labels"):
        model.icdf(median)


def test_a_prior_whose_numbers_depend_on_each_other_has_no_quantiles():
    model = VAE(**TINY, prior=GaussianMixture)
    with pytest.raises(UserError, match="GaussianMixture has no quantiles by dimension"):
        latent.traverse(model, torch.zeros(5), [0])
    assert latent.between(model, torch.zeros(1, 5), torch.ones(1, 5), 3, "linear").shape == (3, 1, 5)


def test_noise_of_a_generator_is_decoded_as_it_is_sampled():
    model = small(DCGAN)
    torch.manual_seed(0)
    x = model.sample(4)
    torch.manual_seed(0)
    torch.testing.assert_close(model.decode(model.sample_prior(4)), x, rtol=0, atol=0)


@pytest.mark.slow
def test_the_commands(run, shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(run.parents[2])
    pictures = shapes / "images"
    assert call("encode", pictures, "--errors", "--batch_size", 32, "--out", "codes.npz") == 0
    model = vae_zoo.load(run / "checkpoints" / "last.ckpt")
    x = vae_zoo.load_images(pictures, model)
    with np.load("codes.npz") as codes:
        torch.testing.assert_close(torch.from_numpy(codes["z"]), model.encode(x))
        assert codes["label"].tolist() == ["images"] * 80 and codes["name"][0].endswith(".jpg")
        assert codes["mse"].shape == (80,)
    assert call("decode", "codes.npz", "--out", "decoded") == 0
    made = np.asarray(Image.open("decoded/000003.png")).astype(int)
    truth = (model.reconstruct(x[3:4])[0].permute(1, 2, 0) * 255).numpy()
    assert abs(made - truth).max() <= 1
    assert call("decode", "codes.npz", "--out", "decoded") == 1
    assert "decoded/000000.png is there already" in capsys.readouterr().err
    assert call("traverse", "--n", 4, "--columns", 5) == 0
    assert Image.open("traverse.png").height == 4 * 34 + 4 * 2
    assert call("manifold") == 1
    assert "a code of 2 numbers, and this model's has 64" in capsys.readouterr().err
    for how in latent.HOW:
        assert call("interpolate", "--n", 2, "--columns", 5, "--how", how, "--images", pictures) == 0
    found = json.loads(open("interpolate.json").read())
    assert found["how"] == "prior" and len(found["longest_over_mean_step"]) == 2
    assert call("interpolate", "--chain", "--n", 2, "--columns", 5, "--out", "way.webp") == 0
    with Image.open("way.webp") as way:
        assert way.size == (96, 96)  # three times as large as the pictures
        assert 1 < way.n_frames <= 2 * (3 * 4 + 1) - 2  # frames that are alike are one


def test_codes_as_parquet_are_those_of_the_npz(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    model = small(VAE)
    codes = latent.encode(model, [(torch.rand(5, 3, 16, 16), None)], errors=True)
    codes.write(tmp_path / "codes.parquet")
    table = parquet.read_table(tmp_path / "codes.parquet").to_pydict()
    np.testing.assert_array_equal(np.array(table["z"], np.float32), codes.z)
    np.testing.assert_array_equal(np.array(table["mse"], np.float32), codes.mse)
    assert table["name"] == [""] * 5


@pytest.mark.slow
def test_a_generator_walks_from_noise_to_noise(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call("fit", "--config", "dcgan", *options({}, data__root=shapes, **QUICK)) == 0
    assert call("interpolate", "--n", 2, "--columns", 4) == call("traverse", "--n", 3) == 0
    assert call("encode", shapes / "images") == 1
    assert "DCGAN has no encoder, so it cannot encode" in capsys.readouterr().err
    assert only_run(tmp_path)


QUICK = {
    "data__n_train": 48,
    "data__n_test": 20,
    "data__n_val": 12,
    "data__image_size": 32,
    "model__width": 4,
    "trainer__max_epochs": 1,
    "trainer__accelerator": "cpu",
}


@pytest.mark.parametrize(
    "words, message",
    [
        (["encode", "nowhere"], "nowhere does not exist"),
        (["encode", "x.txt"], "x.txt is not a picture that can be read"),
        (["encode", "empty"], "there is no picture in empty"),
        (["encode", "good.png", "--out", "codes.csv"], "codes are written to an .npz, or to a .parquet"),
        (["encode", "good.png", "--batch_size", 0], "batch_size must be at least 1, got 0"),
        (["encode", "good.png", "--label", "cat"], "--label cat: VAE takes no labels"),
        (["decode", "x.txt"], "x.txt has no codes that can be read"),
        (["decode", "wrong.npz"], "codes must be (B, 64) for this model, got (2, 3)"),
        (["decode", "whole.npz"], "z must be floats (N, D), got torch.int64"),
        (["traverse", "--low", 2], "low must be between 0 and 1"),
        (["interpolate", "--images", "good.png"], "the number of pairs of images must be at least 1"),
        (["interpolate", "--images", *["good.png"] * 3], "--images are 3, of which one has no partner"),
        (["interpolate", "--images", "good.png", "--chain"], "a chain needs two codes or more, got 1"),
    ],
)
@pytest.mark.slow
def test_what_cannot_be_done_is_one_sentence(words, message, run, monkeypatch, capsys):
    monkeypatch.chdir(run.parents[2])
    with open("x.txt", "w") as file:
        file.write("no picture")
    (run.parents[2] / "empty").mkdir()
    Image.new("RGB", (40, 40)).save("good.png")
    np.savez("wrong.npz", z=np.zeros((2, 3), np.float32))
    np.savez("whole.npz", z=np.zeros((2, 64), np.int64))
    assert call(*words) == 1
    said = capsys.readouterr().err
    assert message in said and len(said.strip().splitlines()) == 1


@pytest.mark.slow
def test_a_file_of_the_users_is_not_replaced_by_a_picture_or_by_its_numbers(run, monkeypatch, capsys):
    monkeypatch.chdir(run.parents[2])
    checkpoint, split = run / "checkpoints" / "last.ckpt", run / "split.json"
    before = checkpoint.read_bytes(), split.read_bytes()
    given = {"interpolate": checkpoint, "denoise": "d.json", "traverse": "t.svg", "sample": "s.txt"}
    for command, out in given.items():
        assert call(command, "--n", 2, "--ckpt_path", checkpoint, "--out", out) == 1
        assert "it ends in .png" in capsys.readouterr().err
    assert call("denoise", "--n", 2, "--out", split.with_suffix(".png")) == 1
    assert "split.json is there, without the mark of a file that vae-zoo wrote" in capsys.readouterr().err
    assert (checkpoint.read_bytes(), split.read_bytes()) == before
    assert call("denoise", "--n", 2) == call("denoise", "--n", 3) == 0  # its own are


@pytest.mark.slow
def test_a_picture_counts_once(run, shapes, monkeypatch, capsys):
    monkeypatch.chdir(run.parents[2])
    pictures = sorted((shapes / "images").iterdir())
    assert call("arithmetic", "--with", *pictures[:3], pictures[0], "--without", *pictures[3:6]) == 1
    assert "--with: a picture is named twice" in capsys.readouterr().err
    assert call("arithmetic", "--with", *pictures[:4], "--without", *pictures[3:7]) == 1
    assert "is both --with and --without the attribute" in capsys.readouterr().err


def test_a_text_is_no_formula():
    assert latent.maps.plain("$^$") == r"\$^\$" and latent.maps.plain("_b") == " _b"
