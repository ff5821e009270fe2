"""Damages of known size, relabelling, and a denoising autoencoder."""

import json

import pytest
import torch

from tests.conftest import call, options
from tests.zoo import small
from vae_zoo import latent
from vae_zoo.errors import UserError
from vae_zoo.latent.restoring import DAMAGES
from vae_zoo.models import AE, CVAE, VAE


def test_damages_have_the_size_that_they_are_asked_for():
    torch.manual_seed(0)
    x = torch.full((40, 3, 32, 32), 0.5)
    assert float((DAMAGES["gaussian"](x, 0.1) - x).std()) == pytest.approx(0.1, rel=0.02)
    salted = DAMAGES["salt_and_pepper"](x, 0.3)
    changed = (salted != x).float()
    assert float(changed.mean()) == pytest.approx(0.3, abs=0.01)
    assert set(salted.unique().tolist()) == {0.0, 0.5, 1.0} and (changed == changed[:, :1]).all()
    assert float((salted == 1).float().mean()) == pytest.approx(0.15, abs=0.01)
    white = torch.ones(40, 3, 32, 48)
    hidden = DAMAGES["occluded"](white, 0.25) == 0.5
    assert (hidden.sum((1, 2, 3)) == 3 * 8 * 8).all()
    for damage in DAMAGES.values():
        assert torch.equal(damage(white, 0.0), white)


def test_psnr_of_a_known_error():
    x = torch.rand(3, 3, 8, 8)
    torch.testing.assert_close(latent.psnr(x, x + 0.1), torch.full((3,), 20.0))


def test_a_relabelled_picture_keeps_its_code():
    model, x, y = small(CVAE), torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 2, 1])
    made = latent.relabel(model, x, y)
    assert made.shape == (4, model.labels, 3, 16, 16)
    own = made[torch.arange(4), y]
    torch.testing.assert_close(own, model.reconstruct(x, y), rtol=0, atol=1e-6)
    with pytest.raises(UserError, match="VAE takes no labels"):
        latent.relabel(small(VAE), x, y)


def test_the_target_of_a_denoising_autoencoder_is_clean():
    x, y = torch.rand(4, 3, 16, 16), torch.zeros(4, dtype=torch.int64)
    model = small(AE, noise=0.3)
    torch.manual_seed(3)
    loss = model.training_step((x, y), 0)
    torch.manual_seed(3)
    given = x + 0.3 * torch.randn_like(x)
    error = (model.likelihood(model.posterior(given).mean).mean - x).square().sum((1, 2, 3)) / 2
    constant = x[0].numel() * 0.9189385332046727
    torch.testing.assert_close(loss, (error + constant).mean())
    clean = small(AE)
    torch.testing.assert_close(clean.training_step((x, y), 0), -clean.trace(x, y).log_px.mean())


@pytest.mark.slow
def test_the_commands(run, shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(run.parents[2])
    for damage in DAMAGES:
        assert call("denoise", "--damage", damage, "--n", 4) == 0
    found = json.loads(open("denoise.json").read())
    assert found["damage"] == "occluded" and found["psnr_before"] > 0
    mask = sorted((shapes / "images").iterdir())[0]
    assert call("denoise", "--mask", mask, "--n", 2) == 0
    assert call("relabel") == 1
    assert "VAE takes no labels" in capsys.readouterr().err
    assert call("denoise", "--amount", -1) == 1


@pytest.mark.slow
def test_relabel_by_the_command(shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("fit", "--config", "cvae", *options(data__root=shapes, trainer__max_epochs=1)) == 0
    assert call("relabel", "--n", 3) == 0
    assert call("relabel", "--images", shapes / "images", "--label", "star", "--n", 3) == 0
