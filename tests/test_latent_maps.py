"""Maps of codes, and their figures: against closed forms and planted answers, and by the command as typed."""

import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal, Uniform

from tests.conftest import call
from tests.running import checkpoint
from tests.zoo import models_that, small
from vae_zoo import latent
from vae_zoo.distributions import GaussianMixture, LabelPrior
from vae_zoo.errors import UserError
from vae_zoo.models import VAE, Autoencoder

pytest_plugins = ["tests.trained_runs"]
TINY = dict(VAE.tiny)


def normal_codes(n=400, numbers=5, seed=0):
    return np.random.default_rng(seed).normal(size=(n, numbers))


def test_codes_of_two_numbers_are_shown_as_they_are():
    codes = normal_codes(numbers=2)
    found = latent.project(codes)
    assert found.how == "direct" and np.array_equal(found.points, codes)


def test_pca_is_on_the_directions_of_the_greatest_variance():
    codes = normal_codes(4000) * [1, 7, 1, 3, 1] + 2  # 49 and 9 of 61
    found = latent.project(codes)
    assert found.axes == ("PC 1, 80% of the variance", "PC 2, 15% of the variance")
    np.testing.assert_allclose(np.abs(found.rows), np.eye(5)[[1, 3]], atol=0.05)
    np.testing.assert_allclose(found.points, codes @ found.rows.T)
    maps = latent.project(codes[:, :4].reshape(-1, 1, 2, 2))
    np.testing.assert_allclose(maps.points, codes[:, :4] @ maps.rows.T)


def test_codes_that_are_all_one_have_a_map():
    assert latent.project(np.ones((9, 5))).axes[0] == "PC 1, 0% of the variance"


def test_umap_keeps_neighbours(monkeypatch):
    pytest.importorskip("umap", reason="umap-learn is not installed")
    codes = np.concatenate([normal_codes(60), normal_codes(60) + 20])
    found = latent.project(codes, "umap")
    assert found.points.shape == (120, 2) and found.rows is None
    assert latent.label_accuracy(found.points, np.repeat([0, 1], 60)) == 1
    assert np.array_equal(latent.project(codes, "umap").points, found.points)


@pytest.mark.parametrize(
    "codes, how, message",
    [
        (normal_codes(numbers=1), "auto", "a map needs codes of 2 numbers or more, and this model's has 1"),
        (
            normal_codes(),
            "direct",
            "direct is for codes of 2 numbers, and this model's has 5; pca or umap are for more",
        ),
        (normal_codes(2), "pca", "a map needs 3 codes or more, got 2"),
        (normal_codes(), "tsne", "a projection is auto, direct, pca, umap, got 'tsne'"),
        (normal_codes() * np.nan, "auto", "there are codes that are not finite"),
    ],
)
def test_what_has_no_map(codes, how, message):
    with pytest.raises(UserError, match=message):
        latent.project(codes, how)


def test_umap_that_is_not_installed_is_told_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UserError, match=r"umap needs umap-learn: pip install 'vae_zoo\[umap\]'"):
        latent.project(normal_codes(), "umap")


def test_a_share_of_a_normals_mass_lies_in_a_circle_of_known_radius():
    prior = Independent(Normal(torch.zeros(2), torch.ones(2)), 1)
    shares = (0.5, 0.9, 0.99)
    density = latent.mass_levels(prior, shares)
    radius = (-2 * (density + math.log(2 * math.pi))).sqrt()  # log p = -r^2 / 2 - log 2 pi
    truth = torch.tensor([math.sqrt(-2 * math.log(1 - share)) for share in shares]).double()
    torch.testing.assert_close(radius, truth, atol=0.04, rtol=0)


def test_the_prior_on_a_map_is_its_projection():
    model = VAE(**TINY)
    found = latent.projected_prior(model, latent.project(normal_codes()))
    assert isinstance(found, MultivariateNormal)  # of N(0, I) on two perpendicular directions: N(0, I)
    torch.testing.assert_close(found.mean, torch.zeros(2).double())
    torch.testing.assert_close(found.covariance_matrix, torch.eye(2).double(), atol=1e-9, rtol=0)
    umap = latent.Projection(np.zeros((9, 2)), ("", ""), "umap", None)
    assert latent.projected_prior(model, umap) is None
    mixture = VAE(**TINY, prior=GaussianMixture)
    assert latent.projected_prior(mixture, latent.project(normal_codes())) is None
    flat, z = VAE(**TINY | {"latent": 2}, prior=GaussianMixture), torch.randn(7, 2)
    shown = latent.projected_prior(flat, latent.project(normal_codes(numbers=2)))
    torch.testing.assert_close(shown.log_prob(z), flat.prior().log_prob(z))


@models_that(Autoencoder, pixels=True, conditional=True)
def test_the_prior_of_a_labelled_model_is_the_mixture_over_its_labels(cls):
    model = small(cls, latent=2)
    model.prior = LabelPrior(2, model.labels)
    nn.init.normal_(model.prior.embedding.weight)
    shown = latent.projected_prior(model, latent.project(normal_codes(numbers=2)))
    z = torch.randn(7, 2)
    y = torch.arange(model.labels)
    truth = torch.stack([model.prior(y).log_prob(one[None]).exp().mean().log() for one in z])
    torch.testing.assert_close(shown.log_prob(z.double()), truth.double(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("numbers", [2, 20])
def test_coverage_of_equal_distributions(numbers):
    prior, codes = normal_codes(2000, numbers), normal_codes(2000, numbers, seed=1)
    assert latent.coverage(prior, codes) == pytest.approx(1 - 2**-5, abs=0.02)  # whatever they are
    assert latent.coverage(prior**3, codes**3) == pytest.approx(1 - 2**-5, abs=0.02)
    assert latent.coverage(prior, codes + 100) == 0
    assert latent.coverage(0 * prior, 0 * codes) == 1  # what is on the edge is near, as in the figure of samples


def test_coverage_tells_gaps():
    codes = normal_codes(4000, 2)
    half = codes[codes[:, 0] > 0][:1900]
    assert latent.coverage(normal_codes(1900, 2, seed=1), half) == pytest.approx(0.5, abs=0.05)


def test_the_order_of_codes():
    labels = np.repeat(np.arange(10), 50)  # in order, as a file may be
    assert latent.label_accuracy(np.eye(10)[labels] + 0.01 * normal_codes(500, 10), labels) == 1
    assert latent.label_accuracy(np.zeros((500, 2)), labels) < 0.2  # all codes are one
    assert latent.label_accuracy(normal_codes(500), labels) < 0.2


def test_strays_of_a_planted_model():
    """Samples at known distances from black, white and grey; test pictures at known distances, too."""
    model = VAE(**TINY)

    def sample(n, y=None):
        x = torch.full((n, 3, 16, 16), 0.4)
        x[: n // 4] = 0.2  # a quarter is 0.2 a pixel from black, the rest 0.1 from grey
        return x

    model.sample = sample
    train = [torch.full((2, 3, 16, 16), value) for value in (0.0, 1.0, 0.5)]
    test = torch.full((100, 3, 16, 16), 0.15)
    test[:4] = 0.25  # more than 95 % are at 0.15
    share, far = latent.strays(model, train, test, 200)
    assert far == pytest.approx(0.15 * math.sqrt(768), rel=1e-5) and share == 0.25
    assert latent.strays(model, train, test, 200, 0.99)[0] == 0
    with pytest.raises(UserError, match=r"the pictures are \(3, 8, 8\), the model makes \(3, 16, 16\)"):
        latent.strays(model, train, test[..., ::2, ::2], 200)


@models_that(Autoencoder)
def test_every_model_with_an_encoder_places_pictures(cls):
    model = small(cls)
    if not model.pixels:
        return
    x, y = torch.rand(7, 3, 16, 16), torch.zeros(7, dtype=torch.int64) if model.labels else None
    centres, draws = latent.placed(
        model, [(x[:4], None if y is None else y[:4]), (x[4:], None if y is None else y[4:])]
    )
    torch.testing.assert_close(torch.from_numpy(centres), model.encode(x, y))
    assert draws.shape == centres.shape


def drawn(labels, prior=None, codes=None):
    axes = Figure().subplots()
    names = [f"label {i}" for i in range(100)]
    latent.draw_map(axes, latent.project(normal_codes(numbers=2) if codes is None else codes), labels, names, prior)
    return axes, [text.get_text() for text in axes.legend().get_texts()]


def test_a_picture_has_a_colour_for_each_of_twenty_labels_and_one_for_all_of_more():
    labels = np.arange(400) % 3
    axes, legend = drawn(labels)
    assert legend == ["label 0", "label 1", "label 2"]
    points = axes.collections[0]
    by_place = {
        tuple(at): tuple(colour) for at, colour in zip(points.get_offsets().data, points.get_facecolors(), strict=True)
    }
    colours = [
        {by_place[tuple(at)] for at, label in zip(normal_codes(numbers=2), labels, strict=True) if label == i}
        for i in range(3)
    ]
    assert all(len(one) == 1 for one in colours) and len(set.union(*colours)) == 3
    axes, legend = drawn(np.arange(400) % 20)
    assert legend == [f"label {i}" for i in range(20)]
    assert len(np.unique(axes.collections[0].get_facecolors(), axis=0)) == 20
    axes, legend = drawn(np.arange(400) % 21)
    assert legend == ["21 labels"] and len(np.unique(axes.collections[0].get_facecolors(), axis=0)) == 1


@pytest.mark.parametrize(
    "prior, radii",
    [
        (Independent(Normal(torch.zeros(2), torch.ones(2)), 1), [1.177, 2.146, 3.035]),
        (Independent(Uniform(-torch.ones(2), torch.ones(2), validate_args=False), 1), [1.0]),  # half a side
    ],
)
def test_contours_are_drawn_where_the_mass_lies(prior, radii):
    axes, _ = drawn(np.zeros(400, int), prior)
    reach = max(np.abs(normal_codes(numbers=2)).max(), max(radii))
    assert max(map(abs, axes.get_ylim())) < 1.2 * reach  # not all that a contour was looked for in
    found = sorted(np.abs(path.vertices[:, 0]).max() for path in axes.collections[-1].get_paths() if len(path.vertices))
    assert found == pytest.approx(radii, abs=0.06)


@pytest.mark.slow
def test_the_command(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    several = [checkpoint(name) for name in ("images", "labelled", "sketches")]
    out = tmp_path / "map.png"
    assert call("map", "--ckpt_path", *several, "--n", 15, "--samples", 12, "--out", out) == 0
    content = json.loads((tmp_path / "map.json").read_text())["models"]
    assert [one["name"].split(", ")[1] for one in content] == ["images", "labelled", "sketches"]
    assert [one["n"] for one in content] == [15] * 3
    assert 0 <= content[0]["strays"] <= 1 and content[0]["far"] > 0 and content[2]["strays"] is None
    assert all(0 <= one["coverage"] <= 1 and 0 <= one["label_accuracy"] <= 1 for one in content)
    width, height = Image.open(out).size
    assert width > 2.5 * height and "of the prior covered" in capsys.readouterr().out
    before = out.read_bytes()
    assert call("map", "--ckpt_path", *several, "--n", 15, "--samples", 12, "--out", out) == 0
    assert out.read_bytes() == before and json.loads((tmp_path / "map.json").read_text())["models"] == content
    words = ["--ckpt_path", several[0], "--n", 15, "--samples", 12, "--out", out]
    assert call("map", *words, "--part", "train", "--draws", "--names", "mine", "--trust", "tests.zoo") == 0
    (content,) = json.loads((tmp_path / "map.json").read_text())["models"]
    assert content["name"] == "mine" and content["part"] == "train"
    alike = [shutil.copytree("images", tmp_path / "one" / f"version_{i}") / "checkpoints/last.ckpt" for i in (0, 1)]
    assert call("map", "--ckpt_path", *alike, "--n", 15, "--samples", 12, "--out", out) == 0
    content = json.loads((tmp_path / "map.json").read_text())["models"]
    assert [one["name"].split(", ")[1] for one in content] == [str(path) for path in alike]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, words, message",
    [
        ("samples", [], "{model} has no encoder, so it cannot be mapped"),
        ("images", ["--out", "a.svg"], "--out a.svg: it ends in .png"),
        ("images", ["--names", "a", "b"], "--names: 2 titles for 1 checkpoints"),
        ("images", ["--n", "0"], "n must be at least 1, got 0"),
        ("images", ["--n", "2"], "a map needs 3 codes or more, got 2"),
        ("images", ["--n", "4"], "coverage needs as many codes as draws, more than 5, got 4 and 4"),
        ("images", ["--how", "direct"], "direct is for codes of 2 numbers"),
        ("nowhere", [], "nowhere/checkpoints/last.ckpt: there is no such checkpoint file"),
    ],
)
def test_what_the_command_refuses(name, words, message, runs, monkeypatch, capsys):
    import vae_zoo

    monkeypatch.chdir(runs)
    model = type(vae_zoo.load(checkpoint(name))).__name__ if Path(name).exists() else None
    assert call("map", "--ckpt_path", checkpoint(name), *words) == 1
    said = capsys.readouterr().err
    assert message.format(model=model) in said and len(said.strip().splitlines()) == 1
