"""FID and KID of the test images and as many samples, by hand."""

from urllib.error import URLError

import pytest
import torch
from torch import nn

from tests.data_sets import images, module
from tests.running import data_for, fit, fitting, one_that, run_test
from tests.zoo import models_that, small
from vae_zoo.callbacks import Evaluation
from vae_zoo.errors import UserError
from vae_zoo.metrics import FID, KID, fid, kid
from vae_zoo.models import LatentVariableModel

MODEL = one_that(LatentVariableModel, pixels=True, conditional=False)


class Colour(nn.Module):
    """The mean colour, (B, 3): normals of three dimensions, whose distance can be computed by hand."""

    def __init__(self, scale: float = 1.0):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        assert x.shape[1] == 3 and not self.training
        return self.scale * x.mean((2, 3))


def frechet(a, b):
    a, b = a.double(), b.double()
    root = torch.linalg.cholesky(a.T.cov())
    cross = torch.linalg.eigvalsh(root.T @ b.T.cov() @ root).sqrt().sum()  # tr (S1 S2)^(1/2)
    return float((a.mean(0) - b.mean(0)).square().sum() + a.T.cov().trace() + b.T.cov().trace() - 2 * cross)


def kernel_distance(a, b):
    def kernel(u, v):
        return (float(u.double() @ v.double()) / len(u) + 1) ** 3

    n = len(a)
    same = sum(kernel(s[i], s[j]) for s in (a, b) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return same - 2 * sum(kernel(u, v) for u in a for v in b) / n**2


def remember(model, monkeypatch):
    """A list that fills with what the model samples, and the labels that it is given."""
    samples, sample = [], model.sample

    def listen(n, y=None):
        samples.append((sample(n, y), y))
        return samples[-1][0]

    monkeypatch.setattr(model, "sample", listen)
    return samples


@pytest.mark.slow
@models_that(pixels=True)
@pytest.mark.parametrize("listed", [False, True], ids=["short form", "listed"])
def test_fid_and_kid_of_the_mean_colour(cls, listed, shapes, tmp_path, monkeypatch):
    data = module(shapes)
    model = fitting(cls, data)
    samples, colour = remember(model, monkeypatch), Colour(3.0).train()
    given = {"metrics": [KID(colour), FID(colour)]} if listed else {"fid": True, "kid": True, "features": colour}
    results = run_test(model, data, tmp_path, nll_samples=0, **given)
    (x, y), (drawn, labels) = images(data, "test"), zip(*samples, strict=True)  # drawn once for both
    real, fake = 3 * x.mean((2, 3)), 3 * torch.cat(drawn).mean((2, 3))
    assert len(real) == len(fake) == 20 and len(drawn) == 2
    assert torch.cat(labels).equal(y) if model.labels else labels == (None, None)
    for name, distance in {"fid": frechet, "kid": kernel_distance}.items():
        assert results[name] == pytest.approx(distance(real, fake), rel=1e-4, abs=1e-6)


def test_grey_images_are_seen_in_three_equal_channels(shapes, tmp_path, monkeypatch):
    data = module(shapes, channels=1)
    model = fitting(MODEL, data)
    samples = remember(model, monkeypatch)
    results = run_test(model, data, tmp_path, nll_samples=0, fid=True, features=Colour())
    a, b = images(data, "test")[0].mean((1, 2, 3)), torch.cat([x for x, _ in samples]).mean((1, 2, 3))
    by_hand = 3 * ((a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2).item()  # the three are one normal
    assert results["fid"] == pytest.approx(by_hand, rel=1e-3) and "kid" not in results and results["ssim"] > 0


@pytest.mark.slow
@models_that(pixels=False)
def test_sketches_are_seen_as_pictures(cls, shapes, doodles, tmp_path):
    data = data_for(cls, shapes, doodles)
    results = run_test(fitting(cls, data), data, tmp_path, nll_samples=2, kid=True, features=Colour())
    assert results["shape"] == list(data.shape) and results["kid"] is not None


def test_distances_vanish_for_one_distribution_and_kid_takes_subsets_of_many_images(monkeypatch):
    a, b = torch.rand(400, 4), torch.rand(400, 4) + 0.3
    assert fid(a, a) == pytest.approx(0, abs=1e-6) and abs(kid(a, a)) < 0.01 and abs(kid(a, b - 0.3)) < 0.01
    everything = kid(a, b)
    assert kid(a, b) == pytest.approx(everything, rel=1e-6) and everything > 0.1
    monkeypatch.setattr("vae_zoo.metrics.distances.SUBSET", 40)
    first, second = kid(a, b), kid(a, b)
    assert first != second and (first, second) == pytest.approx((everything, everything), rel=0.07)


def test_distances_are_left_out_unless_asked_for(shapes, tmp_path):
    data = module(shapes)
    results = run_test(fitting(MODEL, data), data, tmp_path, nll_samples=0, features=Colour())
    assert results.keys().isdisjoint({"fid", "kid"}) and results["reasons"].keys().isdisjoint({"fid", "kid"})


@pytest.mark.parametrize("name", ["fid", "kid"])
@pytest.mark.parametrize(
    "error, says",
    [
        (ModuleNotFoundError("torch_fidelity"), r"torch-fidelity: pip install 'vae_zoo\[fid\]', or .*features"),
        (URLError("no route to host"), "no route to host.*try again with a connection, or .*features"),
    ],
)
def test_a_missing_inception_is_told_before_anything_is_tested(name, error, says, shapes, tmp_path, monkeypatch):
    def fail(*_):
        raise error

    model = small(MODEL)
    monkeypatch.setattr("vae_zoo.metrics.distances.NoTrainInceptionV3", fail)
    monkeypatch.setattr(model, "test_step", lambda *_: pytest.fail("tested"))
    with pytest.raises(UserError, match=f"^evaluation.{name} needs .*{says}"):
        run_test(model, module(shapes), tmp_path, **{name: True})


@pytest.mark.slow
def test_a_training_needs_no_inception(shapes, tmp_path, monkeypatch):
    monkeypatch.setattr("vae_zoo.metrics.distances.NoTrainInceptionV3", lambda *_: pytest.fail("loaded"))
    fit(tmp_path, Evaluation(fid=True), model=small(MODEL), data=module(shapes), epochs=1, logger=False)
