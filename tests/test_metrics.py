"""The figures of the codes against brute force, and what results.json says."""

import json

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import nn

from tests.test_callbacks import SILENT
from tests.test_data import images, module
from tests.test_models import SMALL
from vae_zoo.distributions import Bernoulli, DiscretisedLogistic
from vae_zoo.errors import UserError
from vae_zoo.metrics import Evaluation, active_units, code_mmd
from vae_zoo.models import AE, VAE


def test_active_units_have_a_mean_that_varies():
    codes = torch.randn(1000, 3) * torch.tensor([1.0, 0.11, 0.09])
    assert active_units(codes) == 2
    assert active_units(torch.ones(10, 4) * 5) == 0


def test_mmd_is_the_unbiased_estimate():
    a, b = torch.randn(6, 3), torch.randn(5, 3) + 1

    def kernel(u, v):
        squares = float((u.double() - v.double()).square().sum())
        return sum(c / (c + squares) for c in (0.6, 3.0, 6.0, 12.0, 60.0))  # 2 D s

    same = sum(kernel(u, v) for i, u in enumerate(a) for j, v in enumerate(a) if i != j) / 30
    same += sum(kernel(u, v) for i, u in enumerate(b) for j, v in enumerate(b) if i != j) / 20
    cross = sum(kernel(u, v) for u in a for v in b) / 30
    assert code_mmd(a, b) == pytest.approx(same - 2 * cross, abs=1e-9)


def test_mmd_is_about_zero_for_one_distribution_and_large_for_two():
    a, b = torch.randn(1000, 8), torch.randn(1000, 8)
    assert abs(code_mmd(a, b)) < 0.01 < 0.3 < code_mmd(3 * a, b)


def run_test(model, data, folder, **settings):
    logger = CSVLogger(str(folder), name="", version="")
    trainer = Trainer(accelerator="cpu", logger=logger, callbacks=[Evaluation(**settings)], **SILENT)
    trainer.test(model, datamodule=data, verbose=False)
    return json.loads((folder / "results.json").read_text())


KEYS = set(
    "mse mse_sampled code_mmd elbo kl active_units nll nll_samples bits_per_dim timing environment git_revision "
    "split_sha256 seed parameters".split()
)


def test_results_of_a_vae_are_those_of_the_whole_test_set(shapes, tmp_path):
    data, model = module(shapes), VAE(**SMALL)
    results = run_test(model, data, tmp_path, nll_samples=20)
    assert results.keys() >= KEYS
    x, _ = images(data, "test")
    codes = model.encode(x)
    assert results["mse"] == pytest.approx((x - model.reconstruct(x)).square().mean().item(), rel=1e-5)
    assert results["mse_sampled"] > results["mse"]
    assert results["kl"] == pytest.approx(model.terms(x).kl.sum(-1).mean().item(), rel=1e-5)
    assert results["active_units"] == active_units(codes)
    assert results["nll"] == pytest.approx(-model.log_prob(x, samples=20).mean().item(), abs=0.5)
    assert results["nll"] < -results["elbo"] and results["nll_samples"] == 20
    assert results["bits_per_dim"] is None  # a density of undequantised pixels has no bits
    assert results["split_sha256"] == data.split_sha256
    assert results["parameters"] == sum(p.numel() for p in model.parameters())
    assert results["environment"]["cores"] >= 1 and results["environment"]["torch"] == torch.__version__.split("+")[0]


def test_mmd_is_of_draws_which_follow_the_prior_where_the_means_do_not(shapes, tmp_path):
    """An encoder that ignores the image, q(z|x) = p(z): its means are all zero, its draws are the prior's."""
    model = VAE(**SMALL)
    for parameter in model.posterior.encoder[-1].parameters():
        nn.init.zeros_(parameter)
    data = module(shapes, n_train=5, n_test=70, n_val=0)
    assert abs(run_test(model, data, tmp_path)["code_mmd"]) < 0.15 < code_mmd(torch.zeros(70, 5), torch.randn(70, 5))


def test_bits_per_dimension_where_pixels_are_discrete(shapes, tmp_path):
    results = run_test(VAE(**SMALL, likelihood=DiscretisedLogistic), module(shapes), tmp_path)
    assert results["bits_per_dim"] == pytest.approx(results["nll"] / (3 * 16 * 16) / 0.6931471805599453)
    assert 5 < results["bits_per_dim"] < 12  # untrained


def test_bernoulli_of_grey_pixels_is_no_density(shapes, tmp_path):
    results = run_test(VAE(**SMALL, likelihood=Bernoulli), module(shapes), tmp_path)
    assert results["elbo"] is results["nll"] is results["nll_samples"] is None and results["kl"] > 0


def test_what_an_autoencoder_does_not_have_is_null(shapes, tmp_path):
    results = run_test(AE(**SMALL), module(shapes), tmp_path)
    assert [results[key] for key in ("elbo", "kl", "nll", "nll_samples", "bits_per_dim")] == [None] * 5
    assert results["mse"] == results["mse_sampled"] > 0
    assert results["code_mmd"] is not None


def test_nll_is_the_mean_over_images_with_a_ragged_last_batch(shapes, tmp_path, monkeypatch):
    model, data = VAE(**SMALL), module(shapes)
    monkeypatch.setattr(model, "log_prob", lambda x, y, samples: -x.mean((1, 2, 3)) * samples)
    results = run_test(model, data, tmp_path, nll_samples=10)
    assert results["nll"] == pytest.approx(10 * images(data, "test")[0].mean().item(), rel=1e-5)


def test_nll_can_be_left_out(shapes, tmp_path):
    assert run_test(VAE(**SMALL), module(shapes), tmp_path, nll_samples=0)["nll"] is None
    with pytest.raises(UserError, match="nll_samples must be at least 0, got -1"):
        Evaluation(-1)
