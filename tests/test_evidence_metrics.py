"""Log p(x) by annealing and by the posterior as figures of a test: values, reasons, and noise of their own."""

import pytest
import torch

from tests.oracles.linear_gaussian import LATENT, SIGMA, LinearGaussian
from tests.running import data_for, fitting, one_that, run_test
from tests.zoo import models_that, small
from vae_zoo.errors import UserError
from vae_zoo.likelihoods import Bernoulli
from vae_zoo.metrics import MSE, NLL, AISGap, MSESampled, NLLByAIS, NLLByPosterior
from vae_zoo.models import LatentVariableModel
from vae_zoo.models.decoding import DirectedImageModel

MODEL = one_that(LatentVariableModel, pixels=True, conditional=False)
FEW = {"temperatures": 3, "leapfrogs": 2, "images": 3}
ALL = (
    lambda: NLLByAIS(samples=2, **FEW),
    lambda: AISGap(samples=2, **FEW),
    lambda: NLLByPosterior(draws=6, burn_in=2, leapfrogs=2, images=3),
)


def measured(measure, model, x, size=4):
    """The figure of images that come in batches."""
    measure.begin(model, None)
    with torch.no_grad():
        for batch in x.split(size):
            measure.update(model, batch, torch.zeros(len(batch), dtype=torch.int64), {})
    return measure.compute()


def test_they_find_the_evidence_of_the_first_images_of_the_linear_gaussian_model():
    model = LinearGaussian(exact=False)
    x = model.images(9)
    truth = -float(model.true_log_prob(x[:6]).mean())
    found = measured(NLLByAIS(samples=30, temperatures=100, leapfrogs=5, images=6), model, x)
    assert found == pytest.approx(truth, abs=0.3)
    found = measured(NLLByPosterior(draws=400, burn_in=100, leapfrogs=8, images=6), model, x)
    assert found == pytest.approx(truth, abs=0.05)


def test_the_gap_bounds_the_error_and_falls_with_the_temperatures():
    model = LinearGaussian(exact=False)
    x = model.images(30)
    gaps = [measured(AISGap(samples=1, temperatures=t, leapfrogs=5, images=30), model, x) for t in (5, 20, 80)]
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2] > 0 and gaps[2] < 2


def test_the_gap_is_of_draws_of_the_model(monkeypatch):
    """Of images with the likelihood's noise in them, else their codes are no draws of the posterior."""
    model, seen = LinearGaussian(exact=False), []
    made = model.joint
    monkeypatch.setattr(model, "joint", lambda x, y=None: seen.append(x) or made(x, y))
    measured(AISGap(samples=1, temperatures=1, leapfrogs=1, images=1_000), model, model.images(1_000), size=1_000)
    directions, _, _ = torch.linalg.svd(model.posterior.weight)
    beside = (seen[0].flatten(1) - model.marginal.mean) @ directions[:, LATENT:]  # what no code explains
    assert beside.std() == pytest.approx(SIGMA, rel=5 / (2 * beside.numel()) ** 0.5)


@models_that(DirectedImageModel, density=True)
def test_each_directed_model_with_a_density_has_them(cls):
    model = small(cls)
    x = torch.rand(4, *model.hparams["shape"])
    for make in ALL:
        assert isinstance(measured(make(), model, x), float)


@models_that()
@pytest.mark.slow
def test_a_test_has_a_number_or_the_reason(cls, shapes, doodles, tmp_path):
    data = data_for(cls, shapes, doodles)
    found = run_test(fitting(cls, data), data, tmp_path, metrics=[make() for make in ALL], nll_samples=2)
    for name in ("nll_by_ais", "ais_gap", "nll_by_posterior"):
        if issubclass(cls, DirectedImageModel) and cls.density:
            assert isinstance(found[name], float)
        else:
            assert found[name] is None and found["reasons"][name].startswith("it ")


def test_grey_pixels_have_no_density_under_a_bernoulli():
    model = small(MODEL, likelihood=Bernoulli)
    x = torch.rand(4, *model.hparams["shape"])
    assert "grey" in measured(NLLByAIS(samples=2, **FEW), model, x)
    assert isinstance(measured(NLLByAIS(samples=2, **FEW), model, x.round()), float)


@pytest.mark.slow
def test_they_change_no_other_figure(shapes, tmp_path):
    found = []
    for i, before in enumerate([[], [make() for make in ALL]]):
        torch.manual_seed(4)
        data = data_for(MODEL, shapes, None)
        results = run_test(
            fitting(MODEL, data), data, tmp_path / str(i), metrics=[*before, MSE(), MSESampled(), NLL(3)]
        )
        found.append([results[name] for name in ("mse", "mse_sampled", "nll")])
    assert found[0] == found[1]


def test_numbers_that_are_too_small_are_refused():
    for make in (lambda: NLLByAIS(images=0), lambda: AISGap(temperatures=0), lambda: NLLByPosterior(draws=3)):
        with pytest.raises(UserError, match="must be at least"):
            make()
