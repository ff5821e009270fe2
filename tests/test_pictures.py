"""Pictures of a training: what they show, when, and that they change nothing."""

from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from tests.data_sets import module
from tests.running import fit, fitting, one_that
from tests.zoo import JOINT, loader_of, models_that, small
from vae_zoo.callbacks import Drawings, LabelGrid, RunFolder, SampleImages
from vae_zoo.callbacks.pictures import captioned, grid, pairs
from vae_zoo.errors import UserError
from vae_zoo.models import Autoencoder, LatentVariableModel
from vae_zoo.runs import Run

TILE = 18  # 16 pixels and a border of 2


def names(folder):
    return sorted(path.name for path in (folder / "images").iterdir())


def pixels_of(path):
    return torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1) / 255


def tile(pixels, row, column, left=0):
    top, left = 2 + row * TILE, left + 2 + column * TILE
    return pixels[:, top : top + 16, left : left + 16]


def close(shown, truth):
    torch.testing.assert_close(shown, truth, atol=1.5 / 255, rtol=0)


@pytest.mark.slow
def test_grids_are_written_at_the_chosen_epochs_and_the_last(tmp_path):
    fit(tmp_path, SampleImages(epochs=[0, 2]), model=small(JOINT), epochs=3)
    assert names(tmp_path) == [f"{kind}_{n:04d}.png" for kind in ("reconstructions", "samples") for n in (0, 2, 3)]
    assert list(Run(tmp_path).pictures["samples"]) == [0, 2, 3]


@pytest.mark.slow
@models_that(Autoencoder, pixels=True)
def test_grids_hold_the_test_images_their_reconstructions_and_samples(cls, shapes, tmp_path):
    data = module(shapes)
    model = fitting(cls, data)
    fit(tmp_path, SampleImages(columns=4, reconstructions=8, generated=6), model=model, data=data, epochs=1)
    run = Run(tmp_path)
    pixels = pixels_of(run.picture("reconstructions", 1))
    x, y = (part[:8] for part in next(data.batches("test", 16)))
    x_hat = model.reconstruct(x, y)
    assert pixels.shape == (3, 4 * TILE + 2, 4 * TILE + 2)
    for row, images in enumerate([x[:4], x_hat[:4], x[4:], x_hat[4:]]):
        for column, image in enumerate(images):
            close(tile(pixels, row, column), image)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        samples = model.sample(6)
    pixels = pixels_of(run.picture("samples", 1))
    assert pixels.shape == (3, 2 * TILE + 2, 4 * TILE + 2)
    for index, image in enumerate(samples):
        close(tile(pixels, index // 4, index % 4), image)
    assert (pixels[:, TILE:, 2 + 2 * TILE :] == 1).all()  # nothing there: white


@pytest.mark.slow
@models_that(encodes=False, pixels=True)
def test_a_model_without_an_encoder_has_the_samples_alone(cls, tmp_path):
    fit(tmp_path, SampleImages(epochs=[]), model=small(cls), epochs=1)
    assert names(tmp_path) == ["samples_0001.png"]


@pytest.mark.slow
def test_pictures_do_not_change_the_training(tmp_path):
    """Neither the noise, nor the order of the images, which a shuffling loader draws from the same generator."""
    weights, cls = [], one_that(LatentVariableModel, pixels=True)
    images = loader_of(small(cls)).dataset
    for callbacks in ([], [SampleImages(epochs=[0, 1, 2])]):
        torch.manual_seed(5)
        model = small(cls)
        data = {"train_dataloaders": DataLoader(images, 8, shuffle=True)}
        torch.manual_seed(6)
        fit(tmp_path / str(len(callbacks)), *callbacks, model=model, data=data)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


@pytest.mark.slow
def test_another_seed_gives_other_samples(tmp_path):
    for seed in (0, 1):
        torch.manual_seed(5)
        fit(tmp_path / str(seed), SampleImages(seed=seed), model=small(JOINT), epochs=1)
    a, b = (tmp_path / str(n) / "images" / "samples_0000.png" for n in (0, 1))
    assert a.read_bytes() != b.read_bytes()


@pytest.mark.slow
def test_they_are_in_tensorboard_and_in_the_run_folder_whatever_logger_there_is(tmp_path):
    logger = TensorBoardLogger(str(tmp_path / "logs"), "", "", default_hp_metric=False)
    fit(tmp_path, SampleImages(epochs=[]), RunFolder(tmp_path / "run"), model=small(JOINT), epochs=1, logger=logger)
    assert names(tmp_path / "run") == ["reconstructions_0001.png", "samples_0001.png"]
    tags = EventAccumulator(str(tmp_path / "logs"), {"images": 0}).Reload().Tags()
    assert {"images/reconstructions", "images/samples"} <= set(tags["images"])
    assert not (tmp_path / "logs" / "images").exists()


@pytest.mark.slow
def test_a_training_that_diverged_is_blamed_and_no_images(tmp_path):
    with pytest.raises(UserError, match="makes after epoch 1 cannot be drawn.*diverged.*try a smaller learning rate"):
        fit(tmp_path, SampleImages(epochs=[]), model=small(JOINT, lr=1e30), epochs=1)


def test_the_former_name_of_the_number_of_samples_is_understood():
    assert SampleImages(samples=7).generated == 7 and SampleImages().generated == 32
    for wrong in ({"generated": 0}, {"columns": 0}, {"reconstructions": 0}):
        with pytest.raises(UserError, match=f"{next(iter(wrong))} must be at least 1, got 0"):
            SampleImages(**wrong)


def test_a_grid_with_fewer_images_than_columns_and_a_ragged_last_row():
    x = torch.rand(3, 1, 8, 8)
    assert grid(pairs(x, x, columns=8)).shape == (3, 2 * 10 + 2, 3 * 10 + 2)
    laid = grid(pairs(x, x, columns=2))
    assert laid.shape == (3, 4 * 10 + 2, 2 * 10 + 2)
    assert (laid[:, 22:, 12:] == 1).all()  # nothing there: white


def test_captions_are_black_on_white_before_their_rows():
    rows = [("one", torch.zeros(2, 1, 16, 16)), ("a longer name", torch.zeros(3, 1, 16, 16))]
    laid = captioned(rows)
    width = laid.shape[2] - (3 * TILE + 2)
    assert laid.shape[1] == 2 * (TILE + 2) and 70 < width < 120
    for row in (0, 1):
        caption = laid[:, row * (TILE + 2) :, :width][:, : TILE + 2]
        assert caption.min() < 0.3 and caption.max() == 1 and 0.01 < (caption < 0.5).float().mean() < 0.3
        assert (caption[:, :, :4] == 1).all() and (caption[:, :, -2:] == 1).all()  # nothing is cut off


# --- a row for each label


@pytest.mark.slow
@models_that(conditional=True, pixels=True)
def test_a_row_for_each_label_and_one_code_for_each_column(cls, shapes, tmp_path):
    data = module(shapes)
    model = fitting(cls, data)
    fit(tmp_path, LabelGrid(epochs=[1], labels=3, columns=4, seed=7), model=model, data=data, epochs=1)
    pixels = pixels_of(Run(tmp_path).picture("labels", 1))
    caption = pixels.shape[2] - 4 * TILE - 2
    assert pixels.shape[1] == 3 * (TILE + 2) and 30 < caption < 80
    for row in range(3):
        torch.manual_seed(7)
        samples = model.sample(4, torch.full((4,), row))
        top = row * (TILE + 2) + 2
        for column in range(4):
            left = caption + 2 + column * TILE
            close(pixels[:, top : top + 16, left : left + 16], samples[column])
        assert pixels[:, top : top + 16, :caption].min() < 0.5  # the label's name


@models_that(lacks="labels")
def test_a_model_without_labels_has_no_such_grid(cls):
    with pytest.raises(UserError, match=f"LabelGrid needs a model that takes labels, such as CVAE, got {cls.__name__}"):
        LabelGrid().setup(None, small(cls), "fit")


# --- sketches


@pytest.mark.slow
@models_that(pixels=False)
def test_sketches_are_rendered_in_rows_and_as_svg(cls, tmp_path):
    model = small(cls)
    callbacks = Drawings(epochs=[0, 2], temperatures=[0.1, 1.0], columns=4), RunFolder(tmp_path)
    logger = TensorBoardLogger(str(tmp_path), "", "", default_hp_metric=False)
    fit(tmp_path, *callbacks, model=model, epochs=3, logger=logger)
    assert set(names(tmp_path)) == {f"sketches_{n:04d}.{kind}" for n in (0, 2, 3) for kind in ("png", "svg")}
    run, rows = Run(tmp_path), 4 if model.encodes else 2  # originals and reconstructions, and two temperatures
    root = ElementTree.parse(run.picture("sketches", 3, ".svg")).getroot()
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) == 4 * rows
    width, height = Image.open(run.picture("sketches", 3)).size
    assert height == rows * 68 and width > 4 * 66
    assert "images/sketches" in EventAccumulator(str(tmp_path), {"images": 0}).Reload().Tags()["images"]


@pytest.mark.slow
@models_that(Autoencoder, pixels=False)
def test_fewer_test_sketches_than_columns(cls, tmp_path):
    model = small(cls)
    data = {"train_dataloaders": loader_of(model, 3)}
    fit(tmp_path, Drawings(epochs=[], temperatures=[0.5]), model=model, data=data, epochs=1)
    assert Image.open(Run(tmp_path).picture("sketches", 1)).size[1] == 3 * 68


@models_that(pixels=True)
def test_a_model_of_images_has_no_sketches(cls):
    with pytest.raises(UserError, match=f"Drawings needs a model of sketches, such as SketchRNN, got {cls.__name__}"):
        Drawings().setup(None, small(cls), "fit")
    for wrong in ({"columns": 0}, {"temperatures": []}, {"temperatures": [-1]}, {"reconstruct_at": -1}):
        with pytest.raises(UserError, match=f"{next(iter(wrong))} must be at least"):
            Drawings(**wrong)
