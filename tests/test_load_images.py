"""`vae_zoo.load_images`: a batch of one's own pictures, as a model was trained on its own."""

import numpy as np
import pytest
import torch
from PIL import Image

import vae_zoo
from tests.data_sets import images, module
from tests.zoo import models_that, small
from vae_zoo.errors import UserError


@models_that(pixels=True)
def test_a_folder_is_a_batch_that_the_model_takes(cls, shapes):
    model = small(cls)
    x = vae_zoo.load_images(shapes / "images", model)
    assert x.dtype == torch.float32 and x.device == model.device and 0 <= x.min() < x.max() <= 1
    files = sorted((shapes / "images").iterdir())
    assert x.shape == (len(files), *model.hparams["shape"])
    assert torch.equal(vae_zoo.load_images([files[3], str(files[0])], model), x[[3, 0]])
    if model.encodes:
        assert model.encode(x[:2], torch.zeros(2, dtype=torch.int64)).isfinite().all()


@models_that(pixels=True)
def test_pictures_are_decoded_as_in_training(cls, shapes):
    model = small(cls)
    size = model.hparams["shape"][-1]
    trained_on, _ = images(module(shapes, image_size=size), "test")
    loaded = vae_zoo.load_images(shapes / "images", model)
    same = (trained_on[:, None] == loaded[None]).flatten(2).all(-1)  # N files
    assert (same.sum(1) >= 1).all()


@models_that(pixels=True, encodes=True)
def test_the_shape_is_the_models(cls, tmp_path):
    """Grey images of 16 x 24: the picture is scaled to cover them, and its middle is kept."""
    picture = np.zeros((96, 48, 3), np.uint8)
    picture[32:64] = 200  # a band in the middle third
    Image.fromarray(picture).save(tmp_path / "x.png")
    x = vae_zoo.load_images(tmp_path / "x.png", small(cls, shape=(1, 16, 24)))
    assert x.shape == (1, 1, 16, 24)
    torch.testing.assert_close(x[0, 0, 4:12].mean(), torch.tensor(200 / 255), atol=0.02, rtol=0)


@models_that(pixels=False)
def test_a_model_of_sketches_reads_no_pictures(cls, shapes):
    with pytest.raises(UserError, match="a model of sketches, .*, reads no pictures"):
        vae_zoo.load_images(shapes / "images", small(cls))


@models_that(pixels=True)
def test_what_is_no_picture_is_named(cls, tmp_path):
    model = small(cls)
    with pytest.raises(UserError, match="nowhere does not exist; give a picture file, a folder or a zip"):
        vae_zoo.load_images(tmp_path / "nowhere", model)
    with pytest.raises(UserError, match="there is no picture in"):
        vae_zoo.load_images(tmp_path, model)
    (tmp_path / "x.jpg").write_text("no picture")
    with pytest.raises(UserError, match="x.jpg is not a picture that can be read"):
        vae_zoo.load_images(tmp_path, model)
