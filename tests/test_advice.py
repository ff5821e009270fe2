"""Advice: one sentence, once, where it is so three times in a row; and none where it is not."""

import warnings
from functools import partial

import pytest
import torch

from tests.zoo import BY_TURNS, JOINT, loader, small, trainer
from vae_zoo.callbacks import Advice, advice
from vae_zoo.likelihoods import Gaussian
from vae_zoo.models import VAE

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """These trainings take few steps."""
    monkeypatch.setattr(advice, "STEPS", 60)


def said(folder, model, epochs=30):
    """The advice that a training was given."""
    fits = trainer(folder, callbacks=[Advice()], max_epochs=epochs, log_every_n_steps=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fits.fit(model, loader(), loader())
    texts = [str(warning.message) for warning in caught]
    return [text for text in texts if any(sign in text for sign in ("collapsed", "alike", "discriminator is right"))]


def test_posterior_collapse(tmp_path):
    collapsed = small(VAE, beta=1e3, lr=1e-2)
    (sentence,) = said(tmp_path, collapsed)
    assert sentence.startswith("the posterior has collapsed") and "model.beta" in sentence
    assert not said(tmp_path, small(VAE, likelihood=partial(Gaussian, sigma=0.1), lr=1e-2))


class Deaf(JOINT):
    """Whose decoder is given the same codes for all images."""

    def trace(self, x, y=None, samples=1):
        made = super().trace(x, y, samples)
        made.x_hat = torch.full_like(x, 0.5)
        return made


def test_a_decoder_that_ignores_its_codes(tmp_path):
    (sentence,) = said(tmp_path, small(Deaf))
    assert "the reconstructions of different images are all alike" in sentence
    assert not said(tmp_path, small(Deaf), epochs=21)
    assert not said(tmp_path, small(JOINT, lr=1e-2))


class Sure(BY_TURNS):
    """A discriminator whose accuracy is known."""

    accuracy = 1.0

    def log_training(self, **values):
        super().log_training(**values | {"discriminator_accuracy": torch.tensor(self.accuracy)})


class Unsure(Sure):
    accuracy = 0.9


def test_a_saturated_discriminator(tmp_path):
    sign = "the discriminator is right in more than 99% of its decisions"
    assert sum(sign in sentence for sentence in said(tmp_path, small(Sure))) == 1
    assert not any(sign in sentence for sentence in said(tmp_path, small(Unsure)))
