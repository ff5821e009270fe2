"""The figures of the codes against brute force, and what results.json says."""

import json
from urllib.error import URLError

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torchmetrics.image import StructuralSimilarityIndexMeasure

from tests.test_callbacks import SILENT
from tests.test_data import images, module
from tests.test_models import SMALL
from vae_zoo.cli.train import Parser
from vae_zoo.distributions import Bernoulli, Conditional, DiscretisedLogistic
from vae_zoo.errors import UserError
from vae_zoo.metrics import Evaluation, active_units, code_mmd, fid, kid
from vae_zoo.models import AE, CVAE, VAE, GenerativeModel


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
    "mse mse_sampled psnr ssim code_mmd fid kid elbo kl active_units nll nll_samples bits_per_dim timing environment "
    "git_revision split_sha256 seed parameters".split()
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


class Same(Conditional):
    """q(z|x, y) = p(z|y)."""

    def __init__(self, prior):
        super().__init__()
        self.prior = prior

    def forward(self, x, y=None):
        return self.prior(y)


def test_a_labelled_model_has_its_prior_and_its_likelihood_given_the_labels(shapes, tmp_path):
    data = module(shapes, n_train=5, n_test=70, n_val=0)
    model = CVAE(**SMALL, labels=len(data.labels), learned_prior=True, likelihood=DiscretisedLogistic)
    nn.init.normal_(model.prior.embedding.weight[:, :5], std=4)  # the labels' means lie apart
    model.posterior = Same(model.prior)
    results = run_test(model, data, tmp_path, nll_samples=2)
    _, y = images(data, "test")
    others = code_mmd(model.sample_prior(70, y), model.sample_prior(70, torch.zeros_like(y)))
    assert abs(results["code_mmd"]) < 0.15 < others
    assert results["bits_per_dim"] > 0


# --- reconstructions


@pytest.mark.parametrize("cls", [AE, VAE])
def test_psnr_and_ssim_are_means_over_images_with_a_ragged_last_batch(cls, shapes, tmp_path):
    data, model = module(shapes), cls(**SMALL)
    results = run_test(model, data, tmp_path, nll_samples=0)
    x, _ = images(data, "test")
    x_hat = model.reconstruct(x)
    psnr = -10 * (x - x_hat).square().mean((1, 2, 3)).log10()
    assert results["psnr"] == pytest.approx(psnr.mean().item(), rel=1e-5)
    batches = (psnr[:16].mean() + psnr[16:].mean()).item() / 2
    assert results["psnr"] != pytest.approx(batches, rel=1e-3)  # so that the line above would see it
    ssim = StructuralSimilarityIndexMeasure(data_range=1.0)
    assert results["ssim"] == pytest.approx(ssim(x_hat, x).item(), rel=1e-4)


def test_ssim_needs_an_image_as_large_as_its_window(shapes, tmp_path):
    results = run_test(AE(**SMALL | {"shape": (3, 8, 8)}), module(shapes, image_size=8), tmp_path)
    assert results["ssim"] is None and results["psnr"] > 0


# --- samples


class Colour(nn.Module):
    """The mean colour, (B, 3): normals of three dimensions, whose distance can be computed by hand."""

    def __init__(self, scale: float = 1.0):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        assert x.shape[1] == 3 and not self.training
        return self.scale * x.mean((2, 3))


class Noise(GenerativeModel):
    """A generator without an encoder: even colours."""

    def sample(self, n, y=None):
        return torch.rand(n, 3, 1, 1).expand(-1, -1, 16, 16)


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


@pytest.mark.parametrize("model", [Noise(), VAE(**SMALL), CVAE(**SMALL, labels=20)], ids=lambda m: type(m).__name__)
def test_fid_and_kid_of_the_mean_colour(model, shapes, tmp_path, monkeypatch):
    data, samples = module(shapes), remember(model, monkeypatch)
    results = run_test(model, data, tmp_path, nll_samples=0, fid=True, kid=True, features=Colour(3.0).train())
    (x, y), (fake_x, fake_y) = images(data, "test"), map(torch.cat, zip(*samples, strict=True))
    real, fake = 3 * x.mean((2, 3)), 3 * fake_x.mean((2, 3))
    assert len(real) == len(fake) == 20 and fake_y.equal(y)
    assert results["fid"] == pytest.approx(frechet(real, fake), rel=1e-4)
    assert results["kid"] == pytest.approx(kernel_distance(real, fake), rel=1e-4)
    if isinstance(model, Noise):
        assert [results[key] for key in ("mse", "psnr", "ssim", "code_mmd", "active_units")] == [None] * 5


def test_grey_images_are_seen_in_three_equal_channels(shapes, tmp_path, monkeypatch):
    data, model = module(shapes, channels=1), VAE(**SMALL | {"shape": (1, 16, 16)})
    samples = remember(model, monkeypatch)
    results = run_test(model, data, tmp_path, nll_samples=0, fid=True, features=Colour())
    a, b = images(data, "test")[0].mean((1, 2, 3)), torch.cat([x for x, _ in samples]).mean((1, 2, 3))
    by_hand = 3 * ((a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2).item()  # the three are one normal
    assert results["fid"] == pytest.approx(by_hand, rel=1e-3) and results["kid"] is None and results["ssim"] > 0


def test_distances_vanish_for_one_distribution_and_kid_takes_subsets_of_many_images(monkeypatch):
    a, b = torch.rand(400, 4), torch.rand(400, 4) + 0.3
    assert fid(a, a) == pytest.approx(0, abs=1e-6) and abs(kid(a, a)) < 0.01 and abs(kid(a, b - 0.3)) < 0.01
    everything = kid(a, b)
    assert kid(a, b) == pytest.approx(everything, rel=1e-6) and everything > 0.1
    monkeypatch.setattr("vae_zoo.metrics.images.SUBSET", 40)
    first, second = kid(a, b), kid(a, b)
    assert first != second and (first, second) == pytest.approx((everything, everything), rel=0.07)


def test_distances_are_null_unless_asked_for(shapes, tmp_path):
    results = run_test(VAE(**SMALL), module(shapes), tmp_path, nll_samples=0, features=Colour())
    assert results["fid"] is results["kid"] is None


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

    model = VAE(**SMALL)
    monkeypatch.setattr("vae_zoo.metrics.images.NoTrainInceptionV3", fail)
    monkeypatch.setattr(model, "test_step", lambda *_: pytest.fail("tested"))
    with pytest.raises(UserError, match=f"^evaluation.{name} needs .*{says}"):
        run_test(model, module(shapes), tmp_path, **{name: True})


def test_a_training_needs_no_inception(shapes, tmp_path, monkeypatch):
    monkeypatch.setattr("vae_zoo.metrics.images.NoTrainInceptionV3", lambda *_: pytest.fail("loaded"))
    trainer = Trainer(accelerator="cpu", logger=False, callbacks=[Evaluation(fid=True)], max_epochs=1, **SILENT)
    trainer.fit(VAE(**SMALL), datamodule=module(shapes))


def test_a_yaml_can_name_the_network():
    parser = Parser()
    parser.add_lightning_class_args(Evaluation, "evaluation")
    given = {"class_path": f"{__name__}.Colour", "init_args": {"scale": 2}}
    made = parser.instantiate(parser.parse_object({"evaluation": {"fid": True, "features": given}})).evaluation
    assert made.fid and isinstance(made.features, Colour) and made.features.scale == 2
