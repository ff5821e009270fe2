"""Networks: sizes, layouts, and what they refuse."""

import math

import pytest
import torch
from torch import nn

from vae_zoo.errors import UserError
from vae_zoo.models.latent import spherical
from vae_zoo.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 32, 48), (3, 96, 32)])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_any_size_that_can_be_halved(shape, depth):
    x = torch.rand(2, *shape)
    features = ConvEncoder(shape, 7, width=4, depth=depth)(x)
    assert features.shape == (2, 7)
    assert ConvDecoder(7, shape, width=4, depth=depth)(features).shape == x.shape


@pytest.mark.parametrize(
    "shape, message",
    [
        ((3, 50, 64), "50 x 64 .* multiple of 16, such as 48 x 64 or 64 x 80"),
        ((3, 8, 8), "8 x 8 .* multiple of 16, such as 16 x 16 or 32 x 32"),
    ],
)
def test_other_sizes_are_refused_with_the_nearest_that_work(shape, message):
    for build in (lambda: ConvEncoder(shape, 7), lambda: ConvDecoder(7, shape)):
        with pytest.raises(UserError, match=message):
            build()


@pytest.mark.parametrize("network", [ConvEncoder, MLPEncoder])
@pytest.mark.parametrize(
    "x, message",
    [
        (torch.rand(2, 1, 16, 16), r"built for images of shape \(3, 16, 16\).*got \(1, 16, 16\)"),
        (torch.rand(2, 3, 32, 16), r"got \(3, 32, 16\)"),
        (
            torch.zeros(2, 3, 16, 16, dtype=torch.uint8),
            "must be floats in .*; these are uint8 from 0 to 0: divide them",
        ),
        (torch.rand(3, 16, 16), r"must be a batch \(B, C, H, W\), got \(3, 16, 16\); for a single one, x\[None\]"),
    ],
)
def test_what_is_no_batch_of_such_images_is_refused(network, x, message):
    with pytest.raises(UserError, match=message):
        network((3, 16, 16), 7)(x)


@pytest.mark.parametrize("shape", [(32, 32), 7])
def test_a_shape_has_three_numbers(shape):
    for build in (ConvEncoder, MLPEncoder, lambda shape, features: MLPDecoder(features, shape)):
        with pytest.raises(UserError, match=r"shape must be \(channels, height, width\), got"):
            build(shape, 7)


def test_convolutions_are_channels_last_and_let_the_signal_through():
    encoder, decoder = ConvEncoder((3, 64, 64), 64), ConvDecoder(64, (3, 64, 64))
    for network in (encoder, decoder):
        weights = [layer.weight for layer in network if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))]
        assert len(weights) == 4
        assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    signal = nn.Sequential(*list(encoder)[:-2])(torch.randn(4, 3, 64, 64))
    assert 0.1 < signal.square().mean() < 2
    assert [m.in_channels for m in decoder if isinstance(m, nn.ConvTranspose2d)] == [256, 128, 64, 32]
    out = nn.Sequential(*list(decoder)[2:])(torch.randn(4, 256, 4, 4))
    assert 0.1 < out.square().mean() < 2


def test_the_networks_of_burda_are_tanh_and_glorot():
    encoder = MLPEncoder((1, 28, 28), 100)
    linears = [layer for layer in encoder if isinstance(layer, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linears] == [(784, 200), (200, 200), (200, 100)]
    for layer in linears:
        bound = math.sqrt(6 / (layer.in_features + layer.out_features))
        assert 0.95 * bound < layer.weight.abs().max() <= bound and not layer.bias.any()
    decoder = MLPDecoder(50, (1, 28, 28))
    assert decoder(torch.randn(2, 50)).shape == (2, 1, 28, 28)


def test_spherical_is_the_great_circle_and_straight_where_there_is_none():
    a, b = torch.tensor([[1.0, 0.0], [2.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [2.0, 2.0], [1.0, 0.0]])
    z = spherical(a, b, torch.tensor([0.0, 1 / 3, 1.0]))
    torch.testing.assert_close(z[1, 0], torch.tensor([math.cos(math.pi / 6), math.sin(math.pi / 6)]))
    torch.testing.assert_close(z[:, 1], b[1].expand(3, 2))
    torch.testing.assert_close(z[0], a)
    torch.testing.assert_close(z[2], b)


def test_spherical_has_a_gradient_where_it_is_straight():
    a = torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    spherical(a, torch.tensor([[2.0, 0.0], [-2.0, 0.0]]), torch.linspace(0, 1, 5)).sum().backward()
    torch.testing.assert_close(a.grad, torch.full((2, 2), 2.5))  # the sum of 1 - t


@pytest.mark.parametrize("latent", [1, 2, 64])
def test_spherical_stays_between_the_lengths_of_its_ends(latent):
    """Also from a code to one that is opposite, or nearly so, and of another length."""
    a, turn = torch.randn(2_000, latent), torch.randn(2_000, latent)
    b = -3 * torch.rand(2_000, 1) * a + torch.logspace(-8, 1, 2_000)[:, None] * turn
    z = spherical(a, b, torch.linspace(0, 1, 11))
    torch.testing.assert_close(z[0], a)
    torch.testing.assert_close(z[-1], b)
    assert (z.norm(dim=-1) <= torch.maximum(a.norm(dim=-1), b.norm(dim=-1)) * (1 + 1e-3)).all()
    t, lengths = torch.linspace(0, 1, 11)[:, None], (a.norm(dim=-1), b.norm(dim=-1))
    circle = torch.nn.functional.cosine_similarity(a, b).abs() < 0.99
    torch.testing.assert_close(z.norm(dim=-1)[:, circle], torch.lerp(*lengths, t)[:, circle], rtol=1e-3, atol=1e-4)
