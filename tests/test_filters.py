"""What units respond to: against numbers by hand, brute force, the rule as a function of autograd, and the commands."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.conftest import call, options
from tests.zoo import batch, models_that, small
from vae_zoo import latent
from vae_zoo.errors import UserError
from vae_zoo.models import CVAE, DCGAN, VAE
from vae_zoo.models.decoding import TwoSided
from vae_zoo.networks import ConvEncoder, MLPEncoder

two_sided = models_that(TwoSided)


class ByHand(nn.Sequential):
    """One pixel x; four hidden numbers a = w x + b; a unit v . f(a). At x = .5, a = (1, -2, 2, 3)."""

    def __init__(self, shape, features, function=None):
        first, second = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 1, 1, bias=False)
        with torch.no_grad():
            first.weight.copy_(torch.tensor([2.0, 2, -2, 4]).view(4, 1, 1, 1))
            first.bias.copy_(torch.tensor([0.0, -3, 3, 1]))
            second.weight.copy_(torch.tensor([3.0, 5, 7, -1]).view(1, 4, 1, 1))
        super().__init__(first, *([function] if function else []), second, nn.Flatten(), nn.Linear(1, features))


def by_hand(function):
    return VAE(
        shape=(1, 1, 1),
        latent=2,
        encoder=lambda shape, features: ByHand(shape, features, function),
        decoder=lambda features, shape: nn.Sequential(nn.Linear(features, 1), nn.Unflatten(1, shape)),
    )


def silu_slope(a):
    sigmoid = 1 / (1 + np.exp(-a))
    return sigmoid * (1 + a * (1 - sigmoid))


@pytest.mark.parametrize(
    "function, truth",
    [
        # Backwards comes R = v = (3, 5, 7, -1); a > 0 lets 1, 3 and 4 pass, R > 0 the first three: 3 * 2 + 7 * -2.
        # The gradient of ReLU is 3 * 2 + 7 * -2 + -1 * 4 = -12, that of a deconvnet 3 * 2 + 5 * 2 + 7 * -2 = 2.
        (nn.ReLU(), -8),
        (nn.ReLU(inplace=True), -8),
        (nn.LeakyReLU(0.2), -8),
        (nn.SiLU(), 6 * silu_slope(1) - 14 * silu_slope(2)),
    ],
)
def test_guided_backpropagation_by_hand(function, truth):
    model = by_hand(function)
    second = latent.convolutions(model, model.sees)[-1]
    found = latent.guided_backpropagation(model, torch.full((3, 1, 1, 1), 0.5), second, 0)
    torch.testing.assert_close(found, torch.full((3, 1, 1, 1), float(truth)))
    assert not hooks_of(model) and not any(parameter.grad is not None for parameter in model.parameters())


def test_below_the_first_activation_function_it_is_the_gradient():
    model = by_hand(nn.ReLU())
    first = latent.convolutions(model, model.sees)[0]
    found = [latent.guided_backpropagation(model, torch.full((1, 1, 1, 1), 0.5), first, unit) for unit in range(4)]
    assert torch.cat(found).flatten().tolist() == [2, 2, -2, 4]


class Guided(torch.autograd.Function):
    """Springenberg et al. 2014, figure 1, as captum has it for ReLU."""

    @staticmethod
    def forward(ctx, a):
        ctx.save_for_backward(a)
        return a.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        (a,) = ctx.saved_tensors
        return torch.where((a > 0) & (gradient > 0), gradient, torch.zeros_like(gradient))


class GuidedReLU(nn.Module):
    def forward(self, a):
        return Guided.apply(a)


def replaced(network, function):
    return nn.Sequential(*[function() if isinstance(layer, nn.SiLU) else layer for layer in network])


def test_of_a_deep_network_it_is_the_rule_written_as_a_function():
    torch.manual_seed(0)
    network = ConvEncoder((3, 16, 16), 10, width=4, depth=3)
    model = small(VAE, encoder=lambda shape, features: replaced(network, nn.ReLU))
    x, layer = torch.rand(5, 3, 16, 16), latent.convolutions(model, model.sees)[-1]
    for unit in (0, 7):
        copy = x.clone().requires_grad_()
        replaced(network, GuidedReLU)[:6](copy)[:, unit].amax((1, 2)).sum().backward()  # up to the third convolution
        torch.testing.assert_close(latent.guided_backpropagation(model, x, layer, unit), copy.grad)


def hooks_of(model):
    return [hook for module in model.modules() for hook in (*module._forward_hooks, *module._forward_pre_hooks)]


@two_sided
def test_nothing_is_left_in_a_model_even_after_an_error(cls, monkeypatch):
    model = small(cls).train()
    (x, y), layer = batch(model, 4), latent.highest(model)
    y = y if model.labels else None
    gradient = latent.guided_backpropagation(model, x, layer, 1, y)
    assert gradient.shape == x.shape and gradient.abs().sum() > 0 and not gradient.requires_grad
    see = type(model).see

    def fail(self, x, y=None):
        see(self, x, y)
        raise RuntimeError("in the middle")

    monkeypatch.setattr(type(model), "see", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        latent.guided_backpropagation(model, x, layer, 1, y)
    with pytest.raises(RuntimeError, match="in the middle"), latent.without(model, *drawn(model)):
        model.decode(model.sample_prior(2, None if y is None else y[:2]), None if y is None else y[:2])
        raise RuntimeError("in the middle")
    assert not hooks_of(model) and all(module.training for module in model.modules())


def drawn(model):
    return latent.convolutions(model, model.draws)[-1], [0, 2]


@two_sided
def test_the_strongest_are_those_of_all_images(cls):
    model = small(cls)
    x, y = batch(model, 23)
    y = y if model.labels else None
    layer, units, k = latent.highest(model), [2, 0], 3
    parts = [(x[i : i + 5], None if y is None else y[i : i + 5]) for i in range(0, 23, 5)]
    found = latent.strongest(model, parts, layer, units, k)
    maps = latent.activations(model, x, layer, y)[:, units]
    for row in range(2):
        order = maps[:, row].amax((1, 2)).argsort(descending=True)[:k]
        torch.testing.assert_close(found.values[row], maps[order, row].amax((1, 2)))
        assert torch.equal(found.images[row], x[order]) and (y is None or torch.equal(found.labels[row], y[order]))
        for image, place, value in zip(order, found.places[row], found.values[row], strict=True):
            assert maps[image, row, place[0], place[1]] == value
        of_unit = maps[:, row].double()
        peak = (of_unit.max() - of_unit.mean()) / of_unit.std(correction=0)
        torch.testing.assert_close(found.peaks[row].double(), peak, atol=1e-4, rtol=1e-4)


def test_activations_are_those_of_the_network():
    model = small(DCGAN)
    x = torch.rand(4, 3, 16, 16)
    first, second, _ = latent.convolutions(model, model.sees)
    assert latent.highest(model) == second  # the last one has one unit, the verdict
    with torch.no_grad():
        model.eval()
        truth = nn.Sequential(*[*model.discriminator][:4])(2 * x - 1)  # images, convolution, leaky ReLU, convolution
    torch.testing.assert_close(latent.activations(model, x, second), truth)


def test_an_untrained_model_is_one_that_is_new():
    model = small(CVAE, labels=3)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    found = latent.untrained(model, seed=7)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(7)
    new = small(CVAE, labels=3)
    for a, b, c in zip(found.parameters(), new.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b) and (a.numel() == 1 or not a.any() or not torch.equal(a, c))


def test_what_cannot_be_shown_is_refused():
    model, x = small(VAE), torch.rand(2, 3, 16, 16)
    layer = latent.highest(model)
    with pytest.raises(UserError, match="layer nowhere: the convolutions of this network are posterior.encoder.1"):
        latent.activations(model, x, "nowhere")
    with pytest.raises(UserError, match="unit must be at most 7, got 8"):
        latent.guided_backpropagation(model, x, layer, 8)
    with pytest.raises(UserError, match="3 images of each unit need as many to choose from, got 2"):
        latent.strongest(model, [(x, None)], layer, [0], 3)
    with pytest.raises(UserError, match="got 0"):
        latent.strongest(model, [], layer, [0])
    with pytest.raises(UserError, match="VAE sees images without a convolution"):
        latent.highest(small(VAE, encoder=MLPEncoder))
    with pytest.raises(UserError, match="activation functions are no modules"):
        latent.guided_backpropagation(by_hand(None), torch.rand(1, 1, 1, 1), "posterior.encoder.1", 0)


@pytest.mark.slow
def test_the_command(run, shapes, monkeypatch, capsys):
    monkeypatch.chdir(run.parents[2])
    assert call("filters", "--n", 3, "--columns", 2, "--images", shapes / "images") == 0
    found = json.loads(open("filters.json").read())
    assert found["units"] == [0, 1, 2] and np.shape(found["trained"]["activations"]) == (3, 2)
    assert f"{found['mean_peak']['trained']:.1f} standard deviations above" in capsys.readouterr().out
    assert Image.open("filters.png").height == 6 * 36  # 32 pixels and a gap on either side
    assert call("filters", "--units", 5, "--layer", "posterior.encoder.1") == 0  # the run's test images
    assert call("filters", "--layer", "list") == 0
    assert "posterior.encoder.3" in capsys.readouterr().out
    for words, message in (
        (["--layer", "x"], "layer x: the convolutions of this network are"),
        (["--units", 4096], "unit must be at most"),
        (["--images", "nowhere"], "nowhere does not exist"),
        (["--columns", 50], "50 images of each unit need as many to choose from, got 20"),
    ):
        assert call("filters", *words) == 1
        said = capsys.readouterr().err
        assert message in said and len(said.strip().splitlines()) == 1


@pytest.mark.slow
def test_the_command_for_a_discriminator_and_the_filters_of_its_generator(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sizes = {"data__n_train": 48, "data__n_test": 20, "data__n_val": 12, "data__image_size": 32, "model__width": 4}
    words = options({}, data__root=shapes, trainer__max_epochs=1, trainer__accelerator="cpu", **sizes)
    assert call("fit", "--config", "dcgan", *words) == 0
    assert call("filters", "--columns", 2) == 0
    assert json.loads(open("filters.json").read())["layer"] == "discriminator.6"
    (tmp_path / "masks").mkdir()
    for number in (3, 7, 12):
        mask = np.zeros((32, 32), np.uint8)
        mask[number : number + 12, 10:20] = 255
        Image.fromarray(mask).save(f"masks/{number}.png")
    assert call("erase", "--images", 3, 12, 7, "--masks", "masks") == 0
    found = json.loads(open("erase.json").read())
    assert found["layer"] == "generator.10" and found["marked"] == 3 and found["of"] == 4
    assert Image.open("erase.png").height == 4 * 36
    capsys.readouterr()
    for more in (["--images", shapes / "images", "--masks", "masks"], ["--category", "star"]):
        assert call("erase", *more) == 1
        assert "DCGAN has no encoder: --images are numbers of samples" in capsys.readouterr().err
    assert call("erase", "--images", 3, 4, "--masks", "masks") == 1
    assert "4 has no mask; a mask has the name of its picture, such as 4.png" in capsys.readouterr().err
