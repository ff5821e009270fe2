"""The figures of densities: ELBO, KL, NLL, bits per dimension, and when there are none."""

import math

import pytest
import torch

from tests.data_sets import images, module
from tests.running import data_for, fitting, one_that, run_test
from tests.zoo import batch, models_that, small
from vae_zoo.callbacks import Evaluation
from vae_zoo.distributions import Bernoulli, DiscretisedLogistic
from vae_zoo.errors import UserError
from vae_zoo.likelihoods import Gaussian, LearnedGaussian, OptimalGaussian
from vae_zoo.metrics import ELBO, KL, MSE, NLL, BitsPerDim, KLShare
from vae_zoo.metrics.density import GREY
from vae_zoo.models import IWAE, LatentVariableModel
from vae_zoo.models.latent import WithDensity

LATENT = models_that(WithDensity, takes="likelihood", pixels=True)
PLAIN = one_that(LatentVariableModel, pixels=True, conditional=False)
KEYS = ("elbo", "kl", "nll", "bits_per_dim")


@pytest.mark.slow
@models_that(WithDensity)
def test_bound_divergence_and_likelihood_are_those_of_the_whole_test_set(cls, shapes, doodles, tmp_path):
    data = data_for(cls, shapes, doodles)
    model = fitting(cls, data)
    results = run_test(model, data, tmp_path, nll_samples=20)
    x, y = next(data.batches("test", len(data.split["test"])))
    model.eval()
    with torch.no_grad():
        figures = [model.evaluate(x, y)["figures"] for _ in range(20)]
    for name in ("elbo", "kl"):
        drawn = torch.stack([each[name].mean() for each in figures])
        assert results[name] == pytest.approx(drawn.mean().item(), abs=5 * drawn.std().item() + 1e-4), name
    assert results["nll"] == pytest.approx(-model.log_prob(x, y, samples=20).mean().item(), abs=0.6)
    assert results["nll"] < -results["elbo"] and results["nll_samples"] == 20
    assert results["bits_per_dim"] is None  # a density of undequantised pixels has no bits
    assert results["reasons"]["bits_per_dim"].startswith("only for a probability of 8-bit pixels")


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("cls", [Gaussian, LearnedGaussian, OptimalGaussian])
def test_the_share_of_the_divergence_is_of_the_bound_without_its_constant(cls, chunk, shapes, tmp_path):
    """Whatever sigma is, and above all if the test's error is not what a learned sigma has seen in training."""
    data = module(shapes)
    model = fitting(IWAE, data, samples=3, chunk=chunk, likelihood=cls)
    sigma = {Gaussian: 1.0, LearnedGaussian: 0.1, OptimalGaussian: 0.05}[cls]
    if cls is LearnedGaussian:
        model.likelihood.log_sigma.data.fill_(math.log(sigma))
    if cls is OptimalGaussian:
        model.likelihood.variance.fill_(sigma**2)
    results = run_test(model, data, tmp_path)
    constant = math.prod(results["shape"]) * math.log(sigma * math.sqrt(2 * math.pi))
    assert results["kl_share"] == pytest.approx(100 * results["kl"] / (-results["elbo"] - constant), rel=1e-3)


def test_a_likelihood_that_is_no_gaussian_has_no_share(shapes, tmp_path):
    data = module(shapes)
    results = run_test(fitting(PLAIN, data, likelihood=DiscretisedLogistic), data, tmp_path)
    assert results["kl_share"] is None
    assert results["reasons"]["kl_share"].startswith("only for a Gaussian likelihood")


def test_a_share_of_nothing_is_none():
    share = KLShare()
    model = small(IWAE).eval()
    x, y = batch(model, 2)
    with torch.no_grad():
        evaluated = model.evaluate(x, y)
        evaluated["figures"] |= {"kl": torch.zeros(2), "mse_sampled": torch.zeros(2)}
        share.update(model, x, y, evaluated)
    assert share.compute() == "both the KL and the squared error are zero"


@pytest.mark.slow
@models_that(density=False)
def test_a_model_without_a_density_has_none_of_these(cls, shapes, doodles, tmp_path):
    data = data_for(cls, shapes, doodles)
    results = run_test(fitting(cls, data), data, tmp_path)
    assert [results[key] for key in (*KEYS, "nll_samples")] == [None] * 5
    assert {results["reasons"][key] for key in KEYS} == {"it has no density"}


@pytest.mark.slow
@models_that(density=True, encodes=False, pixels=True)
def test_a_density_without_an_encoder_is_estimated_all_the_same(cls, shapes, tmp_path):
    data = module(shapes)
    model = fitting(cls, data)
    results = run_test(model, data, tmp_path, nll_samples=3)
    x, _ = next(data.batches("test", len(data.split["test"])))
    assert results["nll"] == pytest.approx(-model.log_prob(x, samples=3).mean().item(), abs=1)
    assert results["nll_samples"] == 3 and results["reasons"]["elbo"] == "it has no encoder"


@pytest.mark.slow
@models_that(density=True, encodes=False, pixels=False)
def test_an_exact_density_is_not_estimated(cls, shapes, doodles, tmp_path):
    data = data_for(cls, shapes, doodles)
    model = fitting(cls, data)
    results = run_test(model, data, tmp_path, nll_samples=7)
    x, _ = next(data.batches("test", len(data.split["test"])))
    assert results["nll"] == pytest.approx(-model.log_prob(x).mean().item(), rel=1e-5)
    assert results["nll_samples"] is results["elbo"] is results["kl"] is None
    assert results["reasons"]["elbo"] == results["reasons"]["kl"] == "it has no encoder"


@pytest.mark.slow
@LATENT
def test_bits_per_dimension_where_pixels_are_discrete(cls, shapes, tmp_path):
    data = module(shapes)
    results = run_test(fitting(cls, data, likelihood=DiscretisedLogistic), data, tmp_path, nll_samples=3)
    assert results["bits_per_dim"] == pytest.approx(results["nll"] / (3 * 16 * 16) / math.log(2))
    assert 5 < results["bits_per_dim"] < 12  # untrained


def test_bernoulli_of_grey_pixels_is_no_density(shapes, tmp_path, monkeypatch):
    data = module(shapes)
    model = fitting(PLAIN, data, likelihood=Bernoulli)
    monkeypatch.setattr(model, "log_prob", lambda *_, **__: pytest.fail("estimated what is then thrown away"))
    results = run_test(model, data, tmp_path, nll_samples=3)
    assert results["elbo"] is results["nll"] is results["nll_samples"] is None and results["kl"] > 0
    assert results["reasons"]["elbo"] == results["reasons"]["nll"] == GREY


def test_nll_is_the_mean_over_images_with_a_ragged_last_batch(shapes, tmp_path, monkeypatch):
    data = module(shapes)
    model = fitting(PLAIN, data)
    monkeypatch.setattr(model, "log_prob", lambda x, y, samples: -x.mean((1, 2, 3)) * samples)
    results = run_test(model, data, tmp_path, nll_samples=10)
    assert results["nll"] == pytest.approx(10 * images(data, "test")[0].mean().item(), rel=1e-5)


def test_nll_can_be_left_out(shapes, tmp_path):
    data = module(shapes)
    results = run_test(fitting(PLAIN, data, likelihood=DiscretisedLogistic), data, tmp_path, nll_samples=0)
    assert results["nll"] is results["nll_samples"] is results["bits_per_dim"] is None
    assert results["reasons"]["nll"] == "not asked for: evaluation.nll_samples is 0"
    assert "evaluation.nll_samples is 0" in results["reasons"]["bits_per_dim"]
    for make in (lambda: Evaluation(-1), lambda: Evaluation(metrics=[NLL(-1)])):
        with pytest.raises(UserError, match="samples must be at least 0, got -1"):
            make()


def test_the_likelihoods_own_number_of_samples_comes_before_the_short_form(shapes, tmp_path):
    data = module(shapes)
    model = fitting(PLAIN, data)
    for given, used in ((None, 7), (3, 3)):
        results = run_test(model, data, tmp_path / str(used), nll_samples=7, metrics=[MSE(), NLL(given)])
        assert results["nll_samples"] == used


def test_a_measure_before_the_one_that_it_needs_says_so(shapes, tmp_path):
    data = module(shapes)
    model = fitting(PLAIN, data, likelihood=DiscretisedLogistic)
    results = run_test(model, data, tmp_path, nll_samples=2, metrics=[BitsPerDim(), NLL()])
    assert results["bits_per_dim"] is None and results["nll"] > 0
    assert results["reasons"]["bits_per_dim"].startswith("evaluation.metrics has no NLL before it")


def test_bound_and_divergence_need_no_order(shapes, tmp_path):
    data = module(shapes)
    torch.manual_seed(1)
    there = run_test(fitting(PLAIN, data), data, tmp_path / "there", nll_samples=0, metrics=[KL(), ELBO()])
    torch.manual_seed(1)
    here = run_test(fitting(PLAIN, data), data, tmp_path / "here", nll_samples=0, metrics=[ELBO(), KL()])
    assert (there["kl"], there["elbo"]) == (here["kl"], here["elbo"])
