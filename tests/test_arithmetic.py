"""Attribute vectors: against models in which the attribute is linear, and by the command as typed."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import vae_zoo
from tests.conftest import call, options
from vae_zoo.data import COCODataModule
from vae_zoo.errors import UserError
from vae_zoo.latent import AttributeProbe, AttributeVector, analogy, around, weights_of
from vae_zoo.models import VAE
from vae_zoo.runs import Run

SHAPE = (1, 4, 4)


def linear_model():
    """Sixteen pixels are sixteen numbers of a code, there and back."""
    model = VAE(shape=SHAPE, latent=16, encoder=Straight, decoder=lambda features, shape: nn.Unflatten(1, shape))
    return model.eval()


class Straight(nn.Module):
    """Pixels as means, and a small variance."""

    def __init__(self, shape, features):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        z = self.scale * x.flatten(1).logit()  # the likelihood's mean is the sigmoid
        return torch.cat([z, torch.full_like(z, -9.0)], 1)


def with_brightness(n, plus):
    """Pictures of noise, whose first row is brighter by `plus`, as a logit."""
    x = 0.1 * torch.rand(n, *SHAPE)
    x[:, :, 0] += plus
    return x.sigmoid()


def test_the_vector_of_a_linear_decoder_shifts_the_attribute_by_its_strength():
    torch.manual_seed(0)
    model = linear_model()
    with_it, without = with_brightness(500, 0.5), with_brightness(500, 0.0)
    vector = AttributeVector.between(model.encode(with_it), model.encode(without))
    z = model.encode(without[:7])
    strengths = [-0.5, 0.0, 1.0, 1.5]
    made = torch.stack([model.decode(each) for each in vector.added(z, strengths)]).logit()
    change = made - model.decode(z).logit()
    torch.testing.assert_close(change[..., 0, :].mean((1, 2, 3)), 0.5 * torch.tensor(strengths), atol=0.01, rtol=0)
    assert change[..., 1:, :].abs().max() < 0.02


def test_an_analogy_of_what_is_linear_is_exact():
    a, b, c = (torch.randn(5, 8) for _ in range(3))
    torch.testing.assert_close(analogy(a, b, c), (a.sum(0) - b.sum(0) + c.sum(0)) / 5)
    torch.testing.assert_close(analogy(a, a, c), c.mean(0))


def test_around_a_code_is_noise_of_the_size_asked_for():
    z = torch.randn(6)
    found = around(z, 999, 0.25, torch.Generator().manual_seed(0))
    assert torch.equal(found[999 // 2], z)
    far = (found - z).abs()
    assert far.max() <= 0.25 and abs(float(far.mean()) - 0.125) < 0.01


def test_the_probe_sees_what_was_put_there():
    torch.manual_seed(0)
    model = linear_model()
    features = [model.features(with_brightness(n, plus)) for n, plus in ((40, 0.5), (200, 0.0))]
    probe = AttributeProbe(*features)
    assert probe.accuracy > 0.95
    scores = [probe.score(model.features(with_brightness(9, plus))) for plus in (0.5, 0.0)]
    assert scores[0].min() > 0.8 > 0.2 > scores[1].max()
    nothing = AttributeProbe(*(model.features(with_brightness(n, 0.0)) for n in (40, 400)))
    assert 0.35 < nothing.accuracy < 0.65  # and not the share of the larger group, 0.91
    assert abs(nothing.accuracy - 0.5) < 3 * nothing.error
    with pytest.raises(UserError, match="two pictures or more of each group, got 1"):
        AttributeProbe(features[0][:1], features[1])


def test_the_probes_error_is_how_far_its_accuracy_spreads():
    """Of groups that do not differ, drawn often, in the ideal case that the probe's answers are independent."""
    rng = np.random.default_rng(0)
    drawn = [AttributeProbe(*(torch.tensor(rng.normal(size=(n, 2))) for n in (30, 60))) for _ in range(60)]
    spread = np.std([probe.accuracy for probe in drawn])
    assert np.mean([probe.error for probe in drawn]) == pytest.approx(spread, rel=0.3)
    assert AttributeProbe(torch.rand(4, 2) + 9, torch.rand(4, 2)).error > 0.05  # all told right, and yet not certain


def test_a_group_of_two_is_refused():
    z = torch.randn(5, 4)
    with pytest.raises(UserError, match="needs 3 pictures without it or more, got 2"):
        AttributeVector.between(z, z[:2])
    with pytest.raises(UserError, match="each group needs 3 pictures or more, got 2"):
        analogy(z, z, z[:2])


def test_a_random_direction_is_as_long_and_no_other_is_likelier():
    vector = AttributeVector(torch.tensor([3.0, 0.0, 4.0]))
    drawn = torch.stack([vector.random().vector for _ in range(4000)])
    torch.testing.assert_close(drawn.norm(dim=1), torch.full((4000,), 5.0))
    torch.testing.assert_close(drawn.T @ drawn / 4000, torch.eye(3) * 25 / 3, atol=0.8, rtol=0)
    assert drawn.mean(0).abs().max() < 0.25


def test_a_vector_is_of_the_weights_that_it_was_made_with(tmp_path):
    model, vector = linear_model(), AttributeVector(torch.randn(16), "bright")
    vector.write(tmp_path / "v.npz", model)
    with np.load(tmp_path / "v.npz") as kept:
        again = AttributeVector.of(model, torch.tensor(kept["vector"]), str(kept["name"]), str(kept["weights"]))
    assert again.name == "bright" and torch.equal(again.vector, vector.vector)
    weights = weights_of(model)
    with pytest.raises(UserError, match="must be of finite floats"):
        AttributeVector.of(model, vector.vector / 0, "bright", weights)
    with torch.no_grad():
        model.posterior.encoder.scale += 1e-6
    with pytest.raises(UserError, match="made with other weights than this VAE's"):
        AttributeVector.of(model, vector.vector, "bright", weights)
    with pytest.raises(UserError, match=r"these are \(5,\)"):
        vector.added(torch.zeros(2, 5), [1.0])


def shown(path, row, rows, column, columns, side=32):
    """A picture of a grid with captions at its left, as numbers 0 to 255."""
    picture = np.asarray(Image.open(path)).astype(int)
    top, left = 2 + row * (picture.shape[0] // rows), picture.shape[1] - columns * (side + 2)
    return picture[top:, left + column * (side + 2) :][:side, :side]


@pytest.mark.slow
def test_the_command(run, shapes, monkeypatch, capsys):
    monkeypatch.chdir(run.parents[2])
    pictures = sorted((shapes / "images").iterdir())
    a, b, c = pictures[:12], pictures[12:24], pictures[24:27]
    assert call("arithmetic", "--with", *a, "--without", *b, "--strengths", -1, 1, "--n", 3, "--save", "v.npz") == 0
    found = json.loads(open("arithmetic.json").read())
    assert found["scores"].keys() == {"pictures", "-1", "+1"} and found["scores_random"].keys() == {"-1", "+1"}
    assert found["scores"]["-1"] < found["scores"]["+1"]
    assert found["pictures"] == {"with": 12, "without": 9, "images": 3} and found["held_out"]

    model = vae_zoo.load(run / "checkpoints" / "last.ckpt")
    z = model.encode(vae_zoo.load_images(pictures[:24], model))
    truth = z[:12].mean(0) - z[15:].mean(0)  # the three that are changed are not among those without
    with np.load("v.npz") as kept:
        torch.testing.assert_close(torch.tensor(kept["vector"]), truth)
    made = model.decode(z[12:15] + truth)
    for column in range(3):
        picture = (255 * made[column]).permute(1, 2, 0).numpy()
        assert np.abs(shown("arithmetic.png", 2, 3, column, 3) - picture).max() <= 1

    words = ["--vector", "v.npz", "--strengths", 1, "--out", "again.png"]
    assert call("arithmetic", *words, "--images", *b[:3]) == 0
    again, first = (shown("again.png", 1, 2, 2, 3), shown("arithmetic.png", 2, 3, 2, 3))
    assert (again == first).all()
    assert call("arithmetic", "--with", *a[:3], "--without", *b[:3]) == 0
    assert "are among those that the probe was fitted to" in capsys.readouterr().out
    assert not json.loads(open("arithmetic.json").read())["held_out"]

    assert call("arithmetic", "--with", *a, "--without", *b, "--plus", *c, "--noise", 0, "--out", "sum.png") == 0
    assert json.loads(open("sum.json").read())["scores"].keys() == {"C", "A - B + C", "in pixels"}
    pixels = vae_zoo.load_images(pictures[:27], model)
    pixels = (pixels[:12].mean(0) - pixels[12:24].mean(0) + pixels[24:].mean(0)).clamp(0, 1)
    assert np.abs(shown("sum.png", 4, 5, 0, 9) - (255 * pixels).permute(1, 2, 0).numpy()).max() <= 1

    open("no.npz", "w").close()
    for words, message in (
        (["--with", *a], "needs --with and --without, or a --category, or the --vector"),
        (["--vector", "v.npz"], "--vector needs --images"),
        (["--with", *a[:2], "--without", *b], "needs 3 pictures with it or more, got 2"),
        (["--with", *a[:2], "--without", *b, "--plus", *c], "each group needs 3 pictures or more, got 2"),
        (["--plus", *a], "needs --with and --without"),
        (["--category", "star", "--with", *a], "--category chooses both groups"),
        (["--category", "dog"], "--category dog: the run's data have the labels "),
        (["--vector", pictures[0], "--images", *b], "has no vector that can be read"),
        (["--vector", "no.npz", "--images", *b], "no.npz has no vector that can be read"),
        (["--with", *a, "--without", *b, "--strengths", "nan"], "codes"),
    ):
        assert call("arithmetic", *words) == 1
        said = capsys.readouterr().err
        assert message in said and len(said.strip().splitlines()) == 1


@pytest.mark.slow
def test_a_category_is_a_label_of_the_runs_training_pictures(run, monkeypatch):
    monkeypatch.chdir(run.parents[2])
    assert call("arithmetic", "--category", "star", "--n", 4, "--save", "star.npz", "--strengths", 1) == 0
    model = vae_zoo.load(run / "checkpoints" / "last.ckpt")
    data = COCODataModule(**Run(run).config["data"]["init_args"])
    data.setup()
    x, y = next(data.batches("train", 1000))
    star, z = y == data.labels.index("star"), model.encode(x)
    assert 3 <= star.sum() < len(x)
    with np.load("star.npz") as kept:
        torch.testing.assert_close(torch.tensor(kept["vector"]), z[star].mean(0) - z[~star].mean(0))
        assert str(kept["name"]) == "star"
    found = json.loads(open("arithmetic.json").read())
    assert found["pictures"] == {"with": int(star.sum()), "without": int((~star).sum()), "images": 4}
    tests, labels = next(data.batches("test", 1000))
    changed = tests[labels != data.labels.index("star")][:4]
    picture = (255 * changed[3]).permute(1, 2, 0).numpy()
    assert np.abs(shown("arithmetic.png", 0, 2, 3, 4) - picture).max() <= 1


@pytest.mark.slow
def test_samples_of_a_generator_are_chosen_by_their_numbers(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = {"data__n_train": 48, "data__n_test": 20, "data__n_val": 12, "data__image_size": 32, "model__width": 4}
    assert call("fit", "--config", "dcgan", *options({}, data__root=shapes, trainer__max_epochs=1, **small)) == 0
    groups = ["--with", 0, 3, 5, "--without", 1, 2, 4]
    assert call("sample", "--numbers", "--seed", 3) == 0
    grid = np.asarray(Image.open("sample.png")).astype(int)
    assert grid.shape == (8 * (64 + 16 + 2) + 2, 8 * 66 + 2, 3)
    assert call("arithmetic", *groups, "--plus", 6, 7, 63, "--seed", 3) == 0
    for column, number in enumerate((6, 7, 63)):
        picture = grid[2 + number // 8 * 82 :, 2 + number % 8 * 66 :][:64:2, :64:2]  # twice as large
        assert np.abs(shown("arithmetic.png", 2, 5, column, 9) - picture).max() <= 1
        strip = grid[2 + number // 8 * 82 + 64 :, 2 + number % 8 * 66 :][:16, :64]
        assert strip.min() < 128 and strip.max() == 255  # something is written there
    assert call("arithmetic", *groups, "--strengths", 0, 1, "--n", 2, "--seed", 3) == 0
    assert json.loads(open("arithmetic.json").read())["pictures"] == {"with": 3, "without": 3, "images": 2}
    assert (
        np.abs(shown("arithmetic.png", 0, 3, 0, 2) - grid[2:, 2 + 6 * 66 :][:64:2, :64:2]).max() <= 1
    )  # 6 is in no group
    capsys.readouterr()
    for words, message in (
        (["--with", "x.png", "--without", 1, 2, 4], "DCGAN has no encoder: give numbers of samples, 0 to 63"),
        (["--with", 64, "--without", 1, 2, 4], "as vae-zoo sample --numbers shows them, or more with --grid, not 64"),
        (["--category", "star"], "DCGAN has no encoder, so the pictures of a --category have no codes"),
    ):
        assert call("arithmetic", *words) == 1
        assert message in capsys.readouterr().err
    assert call("sample", "--numbers", "--out", "a.svg") == 1
    assert "--numbers are written into a .png" in capsys.readouterr().err
