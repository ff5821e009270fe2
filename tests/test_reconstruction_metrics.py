"""The figures of reconstructions: squared errors, the yardstick beside them, PSNR and SSIM."""

import pytest
import torch

from tests.data_sets import images, module
from tests.running import fitting, one_that, run_test
from tests.zoo import models_that, small
from vae_zoo.metrics import MSE, ExplainedVariance, MSEOfMeanImage, ssim
from vae_zoo.models import Autoencoder

RECONSTRUCTS = models_that(Autoencoder, pixels=True)
RECONSTRUCTING = one_that(Autoencoder, pixels=True)


@pytest.mark.slow
@RECONSTRUCTS
def test_squared_errors_are_of_the_centre_and_of_draws(cls, shapes, tmp_path):
    data = module(shapes)
    model = fitting(cls, data)
    results = run_test(model, data, tmp_path, nll_samples=0)
    x, y = images(data, "test")
    assert results["mse"] == pytest.approx((x - model.reconstruct(x, y)).square().mean().item(), rel=1e-5)
    trace = model.trace(x, y, 20)
    draws_differ = bool(trace.z.std(0).max() > 1e-6)
    assert (results["mse_sampled"] > results["mse"]) == draws_differ
    assert draws_differ or results["mse_sampled"] == results["mse"]


# --- the yardstick


def test_the_yardstick_is_the_mean_training_images_error(shapes, tmp_path):
    """The training set and the test set are of other sizes than whole batches, here and in the measure."""
    data = module(shapes, n_train=43, n_test=21, batch_size=8)
    results = run_test(fitting(RECONSTRUCTING, data), data, tmp_path, nll_samples=0)
    train, test = images(data, "train")[0].double(), images(data, "test")[0].double()
    by_hand = (test - train.mean(0)).square().mean().item()
    assert results["mse_of_mean_image"] == pytest.approx(by_hand, rel=1e-5)
    assert results["mse_of_mean_image"] != pytest.approx((test - test.mean(0)).square().mean().item(), rel=1e-3)
    assert results["explained_variance"] == pytest.approx(1 - results["mse"] / by_hand, abs=1e-5)


def test_the_mean_is_of_images_and_not_of_batches(shapes, tmp_path, monkeypatch):
    monkeypatch.setattr("vae_zoo.metrics.reconstruction.BATCH", 40)  # 43 are one batch of 40 and one of 3
    test_the_yardstick_is_the_mean_training_images_error(shapes, tmp_path)


class Copy(RECONSTRUCTING):
    """Reconstructs without any error."""

    def evaluate(self, x, y=None):
        evaluated = super().evaluate(x, y)
        evaluated["figures"]["mse"] = torch.zeros(len(x))
        return evaluated


def test_a_perfect_reconstruction_explains_everything(shapes, tmp_path):
    data = module(shapes)
    assert run_test(fitting(Copy, data), data, tmp_path, nll_samples=0)["explained_variance"] == 1


def measured(measure, x, figures, data=None):
    """What a measure finds of one batch, beside these figures of the model."""
    model = small(RECONSTRUCTING)
    measure.begin(model, data)
    measure.update(model, x, torch.zeros(len(x)), {"figures": figures, "trace": None})
    return measure.compute()


def test_without_a_yardstick_there_is_no_share_and_it_says_why():
    x = torch.rand(4, 3, 16, 16)
    assert "no data module" in measured(MSEOfMeanImage(), x, {})
    assert "has no MSEOfMeanImage before it" in measured(ExplainedVariance(), x, {"mse": torch.rand(4)})
    flat = {"mse": torch.rand(4), "mse_of_mean_image": torch.zeros(4)}
    assert "do not vary" in measured(ExplainedVariance(), x, flat)


def test_a_measure_begins_anew(shapes):
    data, model = module(shapes), small(RECONSTRUCTING)
    x, y = images(data, "test")
    for measure in (MSE(), MSEOfMeanImage(), ExplainedVariance()):
        found = []
        for _ in range(2):
            measure.reset()
            measure.begin(model, data)
            figures = {"mse": x.mean((1, 2, 3)), "mse_of_mean_image": torch.ones(len(x))}
            measure.update(model, x, y, {"figures": figures, "trace": None})
            found.append(measure.compute())
        assert found[0] == found[1] > 0, measure


# --- PSNR and SSIM


@pytest.mark.slow
@RECONSTRUCTS
def test_psnr_and_ssim_are_means_over_images_with_a_ragged_last_batch(cls, shapes, tmp_path):
    data = module(shapes)
    model = fitting(cls, data)
    results = run_test(model, data, tmp_path, nll_samples=0)
    x, y = images(data, "test")
    x_hat = model.reconstruct(x, y)
    psnr = -10 * (x - x_hat).square().mean((1, 2, 3)).log10()
    assert results["psnr"] == pytest.approx(psnr.mean().item(), rel=1e-5)
    batches = (psnr[:16].mean() + psnr[16:].mean()).item() / 2
    assert results["psnr"] != pytest.approx(batches, rel=1e-3)  # so that the line above would see it
    assert results["ssim"] == pytest.approx(sum(map(brute_force_ssim, x_hat, x)) / len(x), rel=1e-4)


def brute_force_ssim(a, b):
    """Wang et al. 2004, eq. 13, over each window of 11 x 11 pixels that lies inside two images (C, H, W), averaged."""
    offsets = torch.arange(-5, 6, dtype=torch.float64)
    weights = torch.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    weights /= weights.sum()

    def mean(windows):
        return (weights * windows).sum((-2, -1), keepdim=True)

    c1, c2 = 0.01**2, 0.03**2
    u, v = (image.double().unfold(1, 11, 1).unfold(2, 11, 1) for image in (a, b))  # C H-10 W-10 11 11
    mean_u, mean_v = mean(u), mean(v)
    variances, covariance = mean((u - mean_u) ** 2) + mean((v - mean_v) ** 2), mean((u - mean_u) * (v - mean_v))
    luminance = (2 * mean_u * mean_v + c1) / (mean_u**2 + mean_v**2 + c1)
    return float((luminance * (2 * covariance + c2) / (variances + c2)).mean())


def waves(channels, height, width):
    """Two images by formula, one like the other."""
    c, row, column = torch.meshgrid(*map(torch.arange, (channels, height, width)), indexing="ij")
    a = 0.5 + 0.5 * torch.sin(0.7 * row + 0.4 * column + c)
    return a, (0.8 * a + 0.1 * torch.cos(1.3 * row * (c + 1)) + 0.1).clamp(0, 1)


@pytest.mark.parametrize("shape", [(1, 11, 11), (3, 16, 16), (3, 13, 20)])
def test_ssim_is_that_of_the_windows_inside_the_image(shape):
    a, b = waves(*shape)
    pairs = torch.stack([a, b]), torch.stack([b, a])
    assert ssim(*pairs).tolist() == pytest.approx([brute_force_ssim(a, b)] * 2, rel=1e-5)
    assert ssim(pairs[0], pairs[0]).tolist() == pytest.approx([1, 1])


def test_ssim_is_scikit_images():
    a, b = waves(3, 24, 32)
    # structural_similarity(a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    # channel_axis=0), of scikit-image 0.26.0 in float64
    assert ssim(a[None], b[None]).item() == pytest.approx(0.94050071428775, rel=1e-6)


def test_ssim_needs_an_image_as_large_as_its_window(shapes, tmp_path):
    model = small(RECONSTRUCTING, shape=(3, 8, 8))
    results = run_test(model, module(shapes, image_size=8), tmp_path, nll_samples=0)
    assert results["ssim"] is None and results["psnr"] > 0
    assert results["reasons"]["ssim"] == "images smaller than SSIM's window of 11 pixels"
