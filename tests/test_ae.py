"""AE: the reconstruction error and nothing else."""

import torch

from tests.zoo import asked, batch, small, traces_of
from vae_zoo.models import AE


def test_the_loss_is_the_mean_over_images_of_the_reconstruction_and_nothing_else_is_asked():
    model = small(AE)
    traces = traces_of(model)
    x, y = batch(model, 4)
    loss = model.training_step((x, y), 0)
    torch.testing.assert_close(loss, -model.likelihood(model.posterior(x).mean).log_prob(x).mean())
    assert [asked(trace) for trace in traces] == [{"px", "log_px"}]
    torch.testing.assert_close(loss, model.evaluate(x)["figures"]["loss"].mean())


def test_denoising_encodes_the_noisy_image_once_and_reconstructs_the_clean_one():
    model = small(AE, noise=0.5)
    x, y = batch(model, 4)
    seen = []
    model.posterior.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    torch.manual_seed(3)
    loss = model.training_step((x, y), 0)
    assert len(seen) == 1
    torch.manual_seed(3)
    torch.testing.assert_close(seen[0], x + 0.5 * torch.randn_like(x))
    torch.testing.assert_close(loss, -model.likelihood(model.posterior(seen[0]).mean).log_prob(x).mean())


def test_a_code_is_a_point_and_samples_are_of_standard_normal_codes():
    model = small(AE)
    figures = model.evaluate(*batch(model, 4))["figures"]
    assert torch.equal(figures["mse"], figures["mse_sampled"])
    assert 0.95 < model.sample_prior(4000).std() < 1.05
    assert not model.regularised
