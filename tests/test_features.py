"""The encoder as a step of a scikit-learn pipeline."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from tests.zoo import small
from vae_zoo.errors import UserError
from vae_zoo.latent.features import CodeTransformer
from vae_zoo.models import CVAE, DCGAN, VAE


def test_codes_are_the_encoders_however_the_pictures_come():
    model, x = small(VAE), torch.rand(7, 3, 16, 16)
    codes = model.encode(x).numpy()
    transformer = CodeTransformer(model, batch_size=3)
    for given in (x, x.numpy(), x.flatten(1).numpy(), x.numpy().astype(np.float64)):
        np.testing.assert_allclose(transformer.transform(given), codes, atol=1e-6)
    assert transformer.fit(x) is transformer and model.training  # which is put back
    np.testing.assert_array_equal(CodeTransformer(DCGAN(**DCGAN.tiny).eval()).transform(x).shape, (7, 16 * (4 + 8)))


def test_a_pipeline_is_cross_validated_with_it():
    """Bright and dark pictures: a code of any encoder tells them apart, and clones encode alike."""
    model = small(VAE).eval()
    y = np.arange(40) % 2
    x = (0.1 + 0.8 * y[:, None] + 0.1 * np.random.default_rng(0).random((40, 3 * 16 * 16))).astype(np.float32)
    pipeline = make_pipeline(CodeTransformer(model), LogisticRegression())
    assert cross_val_score(pipeline, x, y, cv=4).min() == 1
    np.testing.assert_array_equal(clone(pipeline)[0].transform(x), CodeTransformer(model).transform(x))


def test_what_is_no_picture_of_the_models_is_told():
    with pytest.raises(UserError, match="got \\(3, 8, 8\\)"):
        CodeTransformer(small(VAE)).transform(torch.rand(2, 3, 8, 8))
    with pytest.raises(UserError, match="divide them by 255"):
        CodeTransformer(small(VAE)).transform(np.zeros((2, 3, 16, 16), np.uint8))
    with pytest.raises(UserError, match="encoder is given the label"):
        CodeTransformer(small(CVAE)).transform(torch.rand(2, 3, 16, 16))
    with pytest.raises(UserError, match="batch_size must be at least 1"):
        CodeTransformer(small(VAE), batch_size=0).transform(torch.rand(2, 3, 16, 16))
