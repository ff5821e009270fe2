"""Filters that draw something: a decoder in which one is known to, and the command as typed."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.conftest import call
from tests.zoo import small
from vae_zoo import latent
from vae_zoo.errors import UserError
from vae_zoo.models import VAE

SIDE = 16


class Squares(nn.Module):
    """A code is the corner of a square. Map 0 is a texture around it, map 1 the square, map 2 the same everywhere."""

    def __init__(self, features, shape):
        super().__init__()
        self.register_buffer("texture", torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(0)))
        self.draw = nn.Conv2d(3, 1, 1)
        with torch.no_grad():
            self.draw.weight.copy_(torch.tensor([1.0, 6.0, -1.0]).view(1, 3, 1, 1))
            self.draw.bias.zero_()

    def forward(self, z):
        square = squares(z).float()
        return self.draw(torch.stack([self.texture * (1 - square), square, torch.ones_like(square)], 1))


def squares(z):
    """Where they are, (B, H, W)."""
    places = torch.arange(SIDE)
    rows, columns = ((places >= corner[:, None]) & (places < corner[:, None] + 5) for corner in z.T)
    return rows[:, :, None] & columns[:, None, :]


def model_and_codes():
    model = VAE(shape=(1, SIDE, SIDE), latent=2, encoder=small_encoder, decoder=Squares)
    return model.eval(), torch.randint(0, SIDE - 5, (12, 2), generator=torch.Generator().manual_seed(1)).float()


def small_encoder(shape, features):
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, features))


def test_the_filter_that_draws_a_square_is_found_and_without_it_only_the_square_is_gone():
    model, z = model_and_codes()
    masks = squares(z)
    drawers = latent.choose(model, z, masks)
    assert drawers.layer == "likelihood.decoder.draw" and drawers.filters() == [1] and drawers.accuracy == 1
    assert drawers.weights[0] < 0 == drawers.weights[2]
    before = model.decode(z)
    with latent.without(model, drawers.layer, [1]):
        after = model.decode(z)
    outside = ~masks[:, None]
    assert torch.equal(after[outside], before[outside])
    torch.testing.assert_close(after[~outside], torch.full_like(after[~outside], -1.0).sigmoid())  # map 2 is left
    torch.testing.assert_close(before[~outside], torch.full_like(after[~outside], 5.0).sigmoid())
    assert torch.equal(model.decode(z), before)
    inside, around = latent.change(before, after, masks)
    assert inside == pytest.approx(float(torch.tensor(5.0).sigmoid() - torch.tensor(-1.0).sigmoid())) and around == 0


def test_without_no_filter_nothing_changes_and_the_heaviest_come_first():
    model, z = model_and_codes()
    before = model.decode(z)
    with latent.without(model, "likelihood.decoder.draw", []):
        assert torch.equal(model.decode(z), before)
    drawers = latent.Drawers("", np.array([0.5, -1.0, 2.0, 0.0, 1.0]), 1.0)
    assert drawers.filters() == [2, 4, 0] and drawers.filters(2) == [2, 4]


def test_marks_without_meaning_are_told_at_chance():
    model, z = model_and_codes()
    x = torch.rand(40, 2) * 10
    elsewhere = squares((10 * torch.rand(40, 2)).floor())  # other places than the squares'
    assert abs(latent.choose(model, x.floor(), elsewhere).accuracy - 0.5) < 0.1


def test_what_is_refused():
    model, z = model_and_codes()
    masks = squares(z)
    with pytest.raises(UserError, match=r"masks must be true or false, \(12, 16, 16\), got torch.float32"):
        latent.choose(model, z, masks.float())
    with pytest.raises(UserError, match="masks must be"):
        latent.choose(model, z, masks[:3])
    one = torch.zeros_like(masks)
    one[0], one[1] = masks[0], True
    with pytest.raises(UserError, match="two images or more, and cover a part of each; 1 of these 12 does"):
        latent.choose(model, z, one)
    with (
        pytest.raises(UserError, match="filter must be at most 2, got 3"),
        latent.without(model, "likelihood.decoder.draw", [3]),
    ):
        pass
    with pytest.raises(UserError, match="layer x: the convolutions of this network are likelihood.decoder.draw"):
        latent.choose(model, z, masks, layer="x")
    without = small(
        VAE, decoder=lambda features, shape: nn.Sequential(nn.Linear(features, 768), nn.Unflatten(1, shape))
    )
    with pytest.raises(UserError, match="this network of VAE has no convolution"):
        latent.choose(without, torch.zeros(2, 5), torch.zeros(2, 16, 16, dtype=torch.bool))


@pytest.mark.slow
def test_the_command(run, shapes, monkeypatch, capsys):
    monkeypatch.chdir(run.parents[2])
    assert call("erase", "--category", "circle", "--most", 2) == 0  # of the run's own test images
    found = json.loads(open("erase.json").read())
    assert {len(found["filters"])} == {*map(len, found["random_filters"])} <= {1, 2} and 0 <= found["accuracy"] <= 1
    assert set(found["change"]) == {"chosen", "random"} and found["marked"] < 20
    assert Image.open("erase.png").height == 4 * 36
    assert "were chosen; without them" in capsys.readouterr().out
    assert call("erase", "--category", "circle", "--coco", shapes) == 0
    assert json.loads(open("erase.json").read())["marked"] > found["marked"]
    assert call("erase", "--layer", "list") == 0
    assert "likelihood.decoder.3" in capsys.readouterr().out
    pictures = sorted((shapes / "images").iterdir())[:4]
    (run.parents[2] / "masks").mkdir()
    for picture in pictures:
        mask = np.zeros(Image.open(picture).size[::-1], np.uint8)
        mask[len(mask) // 4 : len(mask) // 2, mask.shape[1] // 2 :] = 255
        Image.fromarray(mask).save(f"masks/{picture.stem}.png")
    assert call("erase", "--images", *pictures, "--masks", "masks", "--layer", "likelihood.decoder.5") == 0
    (run.parents[2] / "more").mkdir()
    Image.new("L", (8, 8)).save(f"more/{pictures[0].stem}.png")
    capsys.readouterr()
    for words, message in (
        ([], "give --images with --masks, or a --category of COCO"),
        (["--images", pictures[0]], "give --images with --masks, or a --category of COCO"),
        (["--images", *pictures, "--masks", "more"], f"{pictures[1]} has no mask"),
        (["--images", *pictures, "--masks", "more", "masks"], f"two masks are called {pictures[0].stem}"),
        (["--images", pictures[0], "--masks", "more"], "masks must lie in two images or more"),
        (["--category", "sun"], "['sun'] not in"),
        (["--category", "star", "--coco", "more"], "more has no COCO annotation file"),
        (["--category", "star", "--layer", "x"], "layer x: the convolutions of this network are"),
        (["--category", "star", "--most", 0], "most must be at least 1"),
    ):
        assert call("erase", *words) == 1, words
        said = capsys.readouterr().err
        assert message in said and len(said.strip().splitlines()) == 1
