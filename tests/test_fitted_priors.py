"""Priors fitted to codes: densities against SciPy and numerical integrals, and the command as typed."""

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scipy import stats
from scipy.special import logsumexp

import vae_zoo
from tests.conftest import call
from tests.running import checkpoint
from tests.zoo import small
from vae_zoo.errors import UserError
from vae_zoo.latent import fit_flow, fit_mixture
from vae_zoo.models import AE, VAE
from vae_zoo.priors import FittedMixture, FlowPrior

pytest_plugins = ["tests.trained_runs"]


def ring(n, seed=0):
    """Codes on a ring, which no single normal is like."""
    rng = np.random.default_rng(seed)
    angle, radius = rng.uniform(0, 2 * np.pi, n), rng.normal(3, 0.2, n)
    return torch.tensor(np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]), dtype=torch.float32)


def test_a_mixture_of_one_is_the_normal_of_the_codes_moments():
    z = torch.randn(500, 4) @ torch.randn(4, 4) + 3
    found = fit_mixture(z, components=1)()
    torch.testing.assert_close(found.component_distribution.mean[0], z.mean(0), atol=1e-4, rtol=0)
    covariance = np.cov(z.double().numpy().T, bias=True) + 1e-6 * np.eye(4)
    truth = stats.multivariate_normal(z.double().mean(0).numpy(), covariance).logpdf(z.numpy())
    np.testing.assert_allclose(found.log_prob(z).numpy(), truth, atol=1e-3)


def test_a_mixtures_density_is_the_sum_of_its_normals():
    assert torch.equal(FittedMixture(3)().log_prob(torch.zeros(3)).isfinite(), torch.tensor(True))
    z = torch.randn(6, 3)
    truth = stats.multivariate_normal(np.zeros(3)).logpdf(z.numpy())
    np.testing.assert_allclose(FittedMixture(3)().log_prob(z).numpy(), truth, rtol=1e-5)  # N(0, I) until it is fitted
    two = torch.cat([torch.randn(900, 3) * 0.5 + 4, torch.randn(300, 3) * 2 - 4])
    prior = fit_mixture(two, components=2)
    weights = prior.logits.softmax(0)
    assert sorted(weights.tolist()) == pytest.approx([0.25, 0.75], abs=0.01)
    each = [
        stats.multivariate_normal(mean.numpy(), (scale @ scale.T).numpy()).logpdf(z.numpy())
        for mean, scale in zip(prior.mean, prior.scale, strict=True)
    ]
    truth = logsumexp(np.stack(each) + weights.log().numpy()[:, None], 0)
    np.testing.assert_allclose(prior().log_prob(z).numpy(), truth, rtol=1e-4)
    drawn = prior().sample(torch.Size([4000]))
    assert abs(float((drawn.mean(1) > 0).float().mean()) - 0.75) < 0.03


@pytest.mark.slow
def test_a_flows_density_is_one_and_it_bends_where_a_normal_cannot():
    pytest.importorskip("zuko")
    torch.manual_seed(5)
    before = torch.rand(2)
    torch.manual_seed(5)
    prior = fit_flow(ring(2000), epochs=40)
    assert torch.equal(torch.rand(2), before)  # the caller's noise is left alone
    side = torch.linspace(-12, 12, 1201)
    grid = torch.stack(torch.meshgrid(side, side, indexing="ij"), -1).flatten(0, 1)
    with torch.no_grad():
        mass = float(prior().log_prob(grid).double().exp().sum()) * float(side[1] - side[0]) ** 2
        reached = float(prior().log_prob(ring(1000, 1)).mean())
        radius = prior().sample(torch.Size([1000])).norm(dim=1)
    assert mass == pytest.approx(1, abs=0.02)
    normal = stats.multivariate_normal(np.zeros(2), np.eye(2) * 4.52).logpdf(ring(1000, 1).numpy()).mean()
    assert reached > normal + 0.4 and abs(float(radius.median()) - 3) < 0.4
    again = fit_flow(ring(2000), epochs=2), fit_flow(ring(2000), epochs=2)
    assert all(torch.equal(a, b) for a, b in zip(*(each.state_dict().values() for each in again), strict=True))


@pytest.mark.parametrize(
    "codes, message",
    [
        (torch.randn(30, 2, 4, 4), "codes that are vectors, .N, D., and these are .30, 2, 4, 4."),
        (torch.randn(1, 4), "the fit needs 2 codes or more, got 1"),
        (torch.randn(199, 4), "10 normals over 4 numbers needs 200 codes or more, got 199; give at most 9 components"),
        (torch.randn(19, 4), "got 19; there are too few pictures for it"),
        (torch.full((30, 4), torch.nan), "among these there is a NaN"),
    ],
)
def test_codes_that_cannot_be_fitted(codes, message):
    with pytest.raises(UserError, match=message):
        fit_mixture(codes)


@pytest.mark.parametrize("cls", [AE, VAE])
@pytest.mark.parametrize("prior", [FittedMixture, FlowPrior])
def test_a_model_takes_such_a_prior(cls, prior, tmp_path):
    if prior is FlowPrior:
        pytest.importorskip("zuko")
    model = small(cls, prior=prior)
    assert model.sample(5).shape == (5, *model.hparams["shape"])
    assert model.evaluate(torch.rand(4, *model.hparams["shape"]))["figures"]["loss"].isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mixture", "flow"])
def test_the_command_keeps_the_model_with_its_prior(kind, runs, monkeypatch, capsys):
    if kind == "flow":
        pytest.importorskip("zuko")
    monkeypatch.chdir(runs)
    config = yaml.safe_load((runs / "images" / "config.yaml").read_text())["data"]["init_args"]
    data = [f"--data.{name}={config[name]}" for name in ("root", "n_train", "n_test", "n_val", "image_size")]
    fit = ["--config", "vae", *data, "--model.latent", 2, "--trainer.max_epochs", 1, "--trainer.accelerator", "cpu"]
    assert call("fit", *fit, "--run_dir", "two") == 0
    words = ["--ckpt_path", checkpoint("two"), "--kind", kind, "--n", 6]
    assert call("prior", *words, *(["--components", 2] if kind == "mixture" else [])) == 0
    said, found = capsys.readouterr().out, json.loads((runs / "prior.json").read_text())
    assert "log p(z) of test codes" in said and f"two_{kind}/version_0/checkpoints/last.ckpt" in said
    before, after = found["measures"].values()
    assert after["log_prob"] > before["log_prob"] and found["codes"]["test"] == 20
    assert Image.open("prior.png").width > 6 * 34
    new, old = vae_zoo.load(f"runs/two_{kind}/version_0/checkpoints/last.ckpt"), vae_zoo.load(checkpoint("two"))
    assert type(new.prior) is {"mixture": FittedMixture, "flow": FlowPrior}[kind]
    x = torch.rand(3, *new.hparams["shape"])
    assert torch.equal(new.reconstruct(x), old.reconstruct(x))
    weights = {name: value for name, value in new.state_dict().items() if not name.startswith("prior.")}
    assert all(torch.equal(value, old.state_dict()[name]) for name, value in weights.items())
    given = yaml.safe_load((runs / f"runs/two_{kind}/version_0/config.yaml").read_text())["model"]["init_args"]["prior"]
    assert given["class_path"] == f"vae_zoo.priors.{type(new.prior).__name__}"
    torch.manual_seed(0)
    expected = new.decode(new.sample_prior(4))
    torch.manual_seed(0)
    torch.testing.assert_close(new.sample(4), expected)
    assert call("sample", "--n", 4) == 0  # the newest run
    assert call("test", "--trainer.accelerator", "cpu") == 0
    results = json.loads((runs / f"runs/two_{kind}/version_0/results.json").read_text())
    assert results["kl"] is not None and not (runs / "two" / "results.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, words, message",
    [
        ("samples", [], "has no encoder, so it cannot have a prior fitted to its codes"),
        ("sketch_samples", [], "has no encoder, so it cannot have a prior fitted to its codes"),
        ("images", ["--components", 0], "components must be at least 1, got 0"),
        ("images", [], "normals over 64 numbers needs 3200 codes or more, got 48; there are too few pictures for it"),
        ("images", ["--kind", "flow", "--components", 5], "these are of a mixture, and --kind is flow"),
        ("images", ["--run_dir", "labelled"], "run_dir labelled has a run in it; give another folder"),
        ("images", ["--out", "a.txt"], "--out a.txt: it ends in .png"),
    ],
)
def test_what_the_command_refuses(name, words, message, runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    assert call("prior", "--ckpt_path", checkpoint(name), *words) == 1
    said = capsys.readouterr().err
    assert message in said and len(said.strip().splitlines()) == 1
    assert not (runs / "runs").exists() and not (runs / "prior.json").exists()
