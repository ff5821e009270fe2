"""Attribute vectors: against models in which the attribute is linear, and by the command as typed."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.conftest import call, options
from vae_zoo.errors import UserError
from vae_zoo.latent import AttributeProbe, AttributeVector, analogy, around
from vae_zoo.models import VAE

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
    probe = AttributeProbe(model, with_brightness(40, 0.5), with_brightness(40, 0.0))
    assert probe.accuracy > 0.95
    assert probe.score(with_brightness(9, 0.5)).min() > 0.8 > 0.2 > probe.score(with_brightness(9, 0.0)).max()
    nothing = AttributeProbe(model, with_brightness(40, 0.0), with_brightness(40, 0.0))
    assert nothing.accuracy < 0.7


def test_a_group_of_two_is_refused():
    z = torch.randn(5, 4)
    with pytest.raises(UserError, match="needs 3 pictures without it or more, got 2"):
        AttributeVector.between(z, z[:2])
    with pytest.raises(UserError, match="each group needs 3 pictures or more, got 2"):
        analogy(z, z, z[:2])


@pytest.mark.slow
def test_the_command(run, shapes, monkeypatch, capsys):
    monkeypatch.chdir(run.parents[2])
    pictures = sorted((shapes / "images").iterdir())
    (a, b, c) = pictures[:6], pictures[6:12], pictures[12:15]
    assert call("arithmetic", "--with", *a, "--without", *b, "--strengths", 0, 1, "--n", 3, "--save", "v.npz") == 0
    found = json.loads(open("arithmetic.json").read())
    assert len(found["scores"]) == 2 and 0 <= found["probe_accuracy"] <= 1 and found["pictures"]["with"] == 6
    assert Image.open("arithmetic.png").height == 2 * 36
    first = np.asarray(Image.open("arithmetic.png"))
    assert call("arithmetic", "--vector", "v.npz", "--images", *b[:3], "--strengths", 0, 1, "--out", "again.png") == 0
    again = np.asarray(Image.open("again.png"))
    assert (first[:, -105:] == again[:, -105:]).all()  # the same pictures, without a score before them
    assert call("arithmetic", "--with", *a, "--without", *b, "--plus", *c, "--out", "sum.png") == 0
    for words, message in (
        (["--with", *a], "needs --with and --without"),
        (["--vector", "v.npz"], "--vector needs --images"),
        (["--with", *a[:2], "--without", *b], "needs 3 pictures with it or more, got 2"),
        (["--vector", pictures[0], "--images", *b], "has no vector that can be read"),
    ):
        assert call("arithmetic", *words) == 1
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_samples_of_a_generator_are_chosen_by_their_numbers(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = {"data__n_train": 48, "data__n_test": 20, "data__n_val": 12, "data__image_size": 32, "model__width": 4}
    assert call("fit", "--config", "dcgan", *options({}, data__root=shapes, trainer__max_epochs=1, **small)) == 0
    groups = ["--with", 0, 3, 5, "--without", 1, 2, 4]
    assert call("arithmetic", *groups, "--plus", 6, 7, 8) == 0
    assert call("arithmetic", *groups, "--strengths", 0, 1, "--n", 2) == 0
    capsys.readouterr()
    assert call("arithmetic", "--with", "x.png", "--without", 1, 2, 4) == 1
    assert "DCGAN has no encoder: give numbers of samples" in capsys.readouterr().err
