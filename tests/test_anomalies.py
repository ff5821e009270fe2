"""Scores of anomalies against closed forms and brute force, the rate of false alarms, and the command as typed."""

import itertools
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.covariance import LedoitWolf
from torch import nn

import vae_zoo
from tests.conftest import call
from tests.running import checkpoint
from tests.zoo import models_that, small
from vae_zoo import latent
from vae_zoo.callbacks.pictures import captioned
from vae_zoo.cli import anomalies
from vae_zoo.distributions import Bernoulli
from vae_zoo.errors import UserError
from vae_zoo.models import AE, VAE, Autoencoder

pytest_plugins = ["tests.trained_runs"]


class Pixels(nn.Module):
    """The pixels are the code."""

    def __init__(self, shape, features):
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.one * x.flatten(1)


def of_pixels(shape=(1, 4, 4)):
    """An autoencoder whose code is the picture, and whose pictures are the code's sigmoid."""
    return AE(shape=shape, latent=math.prod(shape), encoder=Pixels, decoder=lambda d, shape: nn.Unflatten(1, shape))


def batches(x, y=None, size=16):
    parts = [None] * len(x) if y is None else y.split(size)
    return zip(x.split(size), parts, strict=False)


@models_that(Autoencoder, pixels=True)
def test_scores_are_the_models_own(cls):
    model, x = small(cls), torch.rand(40, *cls.tiny["shape"])
    y = torch.arange(40) % model.labels if model.labels else None
    found = latent.Anomalies(model, batches(x, y), samples=7)
    torch.manual_seed(1)
    scores = found.scores(x, y)
    mse = (model.reconstruct(x, y) - x).square().mean((1, 2, 3))
    np.testing.assert_allclose(scores["mse"], mse, rtol=1e-5)
    centres = model.encode(x, y).double().numpy()
    spread = model.posterior(x, y).stddev.detach().double().numpy()
    distance = latent.CodeDistance(centres[::2], spread[::2])
    rtol = (
        1e-4 if torch.equal(model.posterior(x, y).stddev, model.posterior(x, y).stddev) else 0.1
    )  # of a flow by draws
    np.testing.assert_allclose(scores["code"], distance(centres), rtol=rtol)
    np.testing.assert_allclose(found.reference["code"], distance(centres[1::2]), rtol=rtol)
    if model.density:
        torch.manual_seed(1)
        np.testing.assert_array_equal(scores["nll"], -model.log_prob(x, y, samples=7).numpy())
        assert list(scores) == ["nll", "mse", "code"] and len(found.reference["nll"]) == 40
    else:
        assert list(scores) == ["mse", "code"] and found.missing == {"nll": f"{cls.__name__} has no density"}


def test_the_distance_is_that_of_the_moments_of_the_aggregate_posterior():
    rng = np.random.default_rng(0)
    mix, spread = rng.normal(size=(3, 3)), np.array([0.5, 1.0, 2.0])
    centres = rng.normal(size=(4000, 3)) @ mix + [1.0, 2.0, 3.0]
    distance = latent.CodeDistance(centres, np.tile(spread, (4000, 1)))
    draws = centres + spread * rng.normal(size=centres.shape)  # of q(z)
    np.testing.assert_allclose(distance.covariance, np.cov(draws.T), atol=0.25)
    z = rng.normal(size=(5, 3))
    inverse = np.linalg.inv(distance.covariance)
    truth = [math.sqrt((each - distance.mean) @ inverse @ (each - distance.mean)) for each in z]
    np.testing.assert_allclose(distance(z), truth)
    point = latent.CodeDistance(centres[:5], np.zeros((5, 3)))  # of a deterministic encoder
    np.testing.assert_allclose(point(z) ** 2, LedoitWolf().fit(centres[:5]).mahalanobis(z))
    with pytest.raises(UserError, match="pictures must be at least 3, got 2"):  # whose line has no width
        latent.CodeDistance(z[:2], np.zeros((2, 3)))
    with pytest.raises(UserError, match="all reference pictures have the same code"):
        latent.CodeDistance(np.zeros((5, 3)), np.zeros((5, 3)))


def test_the_threshold_is_the_lowest_score_that_keeps_the_rate():
    rng = np.random.default_rng(0)
    for n, share in itertools.product((19, 20, 50, 99, 100), (0.05, 0.1, 0.29, 0.5, 0.58)):
        scores = rng.normal(size=n)
        limit = latent.threshold(scores, share)
        keeps = [t for t in scores if round((n + 1) * share, 6) >= (scores > t).sum() + 1]
        assert limit == min(keeps)


def test_the_rate_of_false_alarms_is_kept_where_codes_are_longer_than_references_are_many():
    model, rates = of_pixels(), {"mse": [], "code": []}
    for seed in range(30):
        torch.manual_seed(seed)
        found = latent.Anomalies(model, batches(torch.rand(38, 1, 4, 4)))
        fresh = found.scores(torch.rand(1000, 1, 4, 4))
        for name, each in rates.items():
            each.append((fresh[name] > found.threshold(name, 0.1)).mean())
    # Of 38 the 36th, and of the code's 19 the 18th: 4 of 39 and 2 of 20 lie above it.
    assert np.mean(rates["mse"]) == pytest.approx(3 / 39, abs=0.03)
    assert np.mean(rates["code"]) == pytest.approx(2 / 20, abs=0.04)


@pytest.mark.parametrize(
    "scores, share, message",
    [
        (np.arange(18.0), 0.05, "a false-alarm rate of 0.05 needs 19 scores of reference pictures or more, got 18"),
        (np.arange(98.0), 0.01, "needs 99 scores"),
        (np.array([]), 0.5, "needs 1 scores"),
        (np.array([1.0, math.nan] * 40), 0.05, "a NaN among them"),
        (np.arange(50.0), 0.0, "above 0 and below 1, got 0.0"),
        (np.arange(50.0), 1, "above 0 and below 1, got 1"),
        (np.arange(50.0), math.nan, "must be a finite number"),
    ],
)
def test_what_a_threshold_refuses(scores, share, message):
    with pytest.raises(UserError, match=message):
        latent.threshold(scores, share)


def test_detection_counts_pairs_and_ranks():
    rng = np.random.default_rng(0)
    scores, abnormal = rng.integers(0, 9, 60).astype(float), rng.random(60) < 0.3
    found = latent.detection(scores, abnormal)
    pairs = [(a > b) + (a == b) / 2 for a in scores[abnormal] for b in scores[~abnormal]]
    assert found["auroc"] == pytest.approx(np.mean(pairs))
    precision = [abnormal[scores >= s].mean() for s in scores[abnormal]]
    assert found["average_precision"] == pytest.approx(np.mean(precision))
    assert found["share"] == abnormal.mean()
    for none in (np.zeros(60, bool), np.ones(60, bool)):
        with pytest.raises(UserError, match="some pictures must be abnormal and some not"):
            latent.detection(scores, none)


def test_a_heat_map_is_dark_where_the_picture_is_right_and_bright_where_it_is_wrong():
    x = torch.rand(2, 3, 5, 5)
    x_hat = x.clone()
    x_hat[0, :, 1, 2] += 0.4
    x_hat[1, :, 3, 3] += 0.2
    maps = latent.heat_map(x, x_hat).sum(1)  # all maps on one scale: a quarter of the error is darker
    assert maps.shape == (2, 5, 5) and maps[0, 1, 2] > maps[1, 3, 3] > maps[0, 0, 0]
    assert (maps == maps[0, 0, 0]).sum() == 48
    assert latent.heat_top(x[:1], x_hat[:1]) == pytest.approx(0.16 * (1 - 0.001 * 24), abs=1e-4)  # between two of 25
    weak = latent.heat_map(x[1:], x_hat[1:], top=0.16)[0]  # on the scale of another one
    torch.testing.assert_close(weak, latent.heat_map(x, x_hat, top=0.16)[1])
    assert weak[:, 3, 3].sum() < latent.heat_map(x[1:], x_hat[1:])[0, :, 3, 3].sum()
    assert latent.heat_map(x, x).sum() == pytest.approx(50 * float(maps[0, 0, 0]), rel=1e-5)


def test_grey_pixels_have_no_likelihood_under_one_of_black_and_white():
    model = small(VAE, likelihood=Bernoulli)
    grey, binary = torch.rand(30, 3, 16, 16), (torch.rand(30, 3, 16, 16) > 0.5).float()
    found = latent.Anomalies(model, [(binary, None), (grey, None)], samples=2)
    assert list(found.scores(grey)) == ["mse", "code"] and "cross entropy is no density" in found.missing["nll"]
    with pytest.raises(UserError, match="there is no score 'nll': the pixels are grey"):
        found.threshold("nll")
    found = latent.Anomalies(model, [(binary, None)], samples=2)
    assert list(found.scores(binary)) == ["nll", "mse", "code"]
    with pytest.raises(UserError, match="the reference pictures are black and white, and these have grey pixels"):
        found.scores(grey)


def test_what_the_scores_refuse():
    model = of_pixels((1, 64, 64))
    found = latent.Anomalies(model, [(torch.rand(6, 1, 64, 64), None)])
    assert list(found.reference) == ["mse"]
    with pytest.raises(UserError, match="no score 'code': a code has 4096 numbers"):
        found.threshold("code")
    with pytest.raises(UserError, match="no score 'x': it is one of nll, mse, code"):
        found.threshold("x")
    with pytest.raises(UserError, match="a reference needs 6 pictures or more, got 5"):
        latent.Anomalies(model, [(torch.rand(5, 1, 64, 64), None)])
    with pytest.raises(UserError, match="a reference needs 6 pictures or more, got 0"):
        latent.Anomalies(model, [])
    with pytest.raises(UserError, match="built for images of shape"):
        found.scores(torch.rand(3, 1, 32, 32))
    diverged = small(VAE)
    with torch.no_grad():
        for weights in diverged.likelihood.parameters():
            weights.fill_(math.nan)
    with pytest.raises(UserError, match="VAE gives scores that are not finite"):
        latent.Anomalies(diverged, [(torch.rand(6, 3, 16, 16), None)])


@pytest.fixture
def sorted_pictures(shapes, tmp_path):
    """A folder with the embedded pictures in one folder, and noise in another."""
    (tmp_path / "both" / "shape").mkdir(parents=True)
    (tmp_path / "both" / "noise").mkdir()
    for path in sorted((shapes / "images").iterdir())[:30]:
        shutil.copy(path, tmp_path / "both" / "shape")
    pixels = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), np.uint8)
    for i, noise in enumerate(pixels):
        Image.fromarray(noise).save(tmp_path / "both" / "noise" / f"{i}.png")
    return tmp_path / "both"


@pytest.mark.slow
def test_the_command_finds_what_is_planted(runs, sorted_pictures, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    words = [sorted_pictures, "--ckpt_path", checkpoint("images"), "--false_alarms", 0.2, "--samples", 3]
    assert call("anomalies", *words, "--abnormal", "noise", "--n", 7, "--batch_size", 9) == 0
    said, found = capsys.readouterr().out, json.loads(open("anomalies.json").read())
    model = vae_zoo.load(checkpoint("images"))
    x = vae_zoo.load_images(sorted_pictures, model)
    mse = (model.reconstruct(x) - x).square().mean((1, 2, 3))
    np.testing.assert_allclose([each["mse"] for each in found["pictures"]], mse.sort(descending=True)[0], rtol=1e-5)
    assert {each["name"].split("/")[-2] for each in found["pictures"][:10]} == {"noise"}
    assert found["detection"]["mse"] == {"auroc": 1.0, "average_precision": 1.0, "share": 0.25}
    assert found["reference_pictures"] == 12 and 10 <= found["above"] <= 25
    assert found["above"] == sum(each["mse"] > found["threshold"] for each in found["pictures"])
    learnt = set(json.loads(Path("images/split.json").read_text())["train"])
    shapes = [int(path.stem) for path in (sorted_pictures / "shape").iterdir()]
    assert found["trained_on"] == len(learnt & set(shapes)) > 0
    assert f"the model was trained on {found['trained_on']} of these pictures" in said
    assert f"{found['above']} of 40 pictures score above the threshold" in said and " by mse; of" in said
    assert "mse   AUROC 1.000" in said
    sheet = np.asarray(Image.open("anomalies.png"))
    assert sheet.shape[0] == 3 * 36 and sheet.shape[1] > 3 * 3 * 34
    left = sheet.shape[1] - 3 * 34 - 2  # of the last column, whose first row is the seventh picture
    shown = sheet[2:34, left + 2 : left + 34].astype(int)
    truth = (x[mse.argsort(descending=True)[6]].permute(1, 2, 0) * 255).round().numpy()
    assert np.abs(shown - truth).max() <= 1
    for by in ("nll", "code"):
        assert call("anomalies", *words, "--by", by, "--reference", sorted_pictures / "shape") == 0
        again = json.loads(open("anomalies.json").read())
        assert again["reference_pictures"] == {"nll": 30, "code": 15}[by] and "detection" not in again
        ranked = [each[by] for each in again["pictures"]]
        assert ranked == sorted(ranked, reverse=True) and again["missing"] == {}


@pytest.mark.slow
def test_a_picture_is_called_by_its_folder_or_by_its_file_where_all_are_in_one_folder(
    runs, sorted_pictures, monkeypatch
):
    monkeypatch.chdir(runs)
    seen = []
    monkeypatch.setattr(anomalies, "captioned", lambda rows: seen.extend(name for name, _ in rows) or captioned(rows))
    words = ["--ckpt_path", checkpoint("images"), "--false_alarms", 0.2, "--n", 4]
    assert call("anomalies", sorted_pictures, *words) == 0
    assert {name.split(":")[0] for name in seen} <= {"noise", "shape"}
    seen.clear()
    assert call("anomalies", sorted_pictures / "noise", *words) == 0
    assert len({name.split(".png: ")[0] for name in seen}) == 4


@pytest.mark.slow
def test_pictures_with_a_label_are_compared_with_those_of_that_label(runs, sorted_pictures, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    words = [sorted_pictures, "--ckpt_path", checkpoint("labelled"), "--false_alarms", 0.3, "--samples", 3]
    words += ["--by", "nll"]
    assert call("anomalies", *words) == 1
    assert "needs the label of what it encodes or decodes; give it with --label" in capsys.readouterr().err
    model = vae_zoo.load(checkpoint("labelled"))
    seen = []
    log_prob = type(model).log_prob

    def spied(self, x, y, **options):
        seen.append(y.tolist())
        return log_prob(self, x, y, **options)

    monkeypatch.setattr(type(model), "log_prob", spied)
    assert call("anomalies", *words, "--label", 2) in (0, 1)  # there may be too few of it
    assert {label for labels in seen for label in labels} == {2}
    assert call("anomalies", *words, "--label", 2, "--reference", sorted_pictures) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, words, message",
    [
        ("samples", ["both"], "has no encoder, so it cannot find anomalies"),
        ("sketches", ["both"], "is a model of sketches; anomalies are looked for in pictures"),
        ("images", ["nowhere"], "nowhere does not exist"),
        ("images", ["empty"], "there is no picture in empty"),
        ("images", ["both", "--reference", "empty"], "there is no picture in empty"),
        ("images", ["both", "--reference", "broken.png"], "broken.png is not a picture that can be read"),
        ("images", ["both"], "a false-alarm rate of 0.05 needs 19 scores of reference pictures or more, got 12"),
        ("images", ["both", "--false_alarms", 2], "false_alarms must be between 0 and 1, got 2"),
        ("images", ["both", "--abnormal", "cat"], "--abnormal cat: no picture is in a folder of this name"),
        ("images", ["both", "--abnormal", "noise", "shape"], "all pictures are abnormal then"),
        ("images", ["both", "--out", "a.json"], "--out a.json: it ends in .png"),
        ("images", ["both", "--samples", 0], "samples must be at least 1, got 0"),
        ("images", ["both", "--label", 0], "takes no labels"),
    ],
)
def test_what_the_command_refuses(name, words, message, runs, sorted_pictures, monkeypatch, capsys):
    monkeypatch.chdir(sorted_pictures.parent)
    (sorted_pictures.parent / "empty").mkdir()
    (sorted_pictures.parent / "broken.png").write_bytes(b"none")
    assert call("anomalies", *words, "--ckpt_path", runs / checkpoint(name)) == 1
    said = capsys.readouterr().err
    assert message in said and len(said.strip().splitlines()) == 1
    assert not (sorted_pictures.parent / "anomalies.json").exists()
