"""Networks: tensor to tensor. Each is built by its class, called with the sizes in and out.

An encoder factory is called as ``factory(shape, features)``, a decoder factory as ``factory(features, shape)``,
with ``shape = (C, H, W)``. Other arguments are bound beforehand: ``partial(ConvEncoder, width=64)`` in Python,
``{class_path: ConvEncoder, init_args: {width: 64}}`` in a yaml. So a yaml never repeats a size.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from vae_zoo.errors import UserError, require
from vae_zoo.inputs import check_images

DEEPEST = 1000  # layers of an MLP: a number that takes no time to refuse
Shape = tuple[int, ...]  # (C, H, W); of any length, so that `check_shape` says what is wrong with another


class Network(nn.Sequential):
    """A chain of layers, tensor to tensor.

    Attributes:
        twice_differentiable: not to be compiled, since compiling takes second derivatives away.
    """

    twice_differentiable: bool = False


EncoderFactory = Callable[[Shape, int], Network]
DecoderFactory = Callable[[int, Shape], Network]


class ConvEncoder(Network):
    """Strided convolutions and SiLU halve the image `depth` times and double the channels; then one linear layer.

    No normalisation layer: an image's code must not depend on the other images of its batch.

    Args:
        shape: (C, H, W) of the images; H and W are multiples of 2**depth.
        features: numbers out per image.
        width: channels after the first convolution.
        depth: how often the image is halved.

    Shapes: (B, C, H, W) -> (B, features).

    Raises:
        UserError: if the image cannot be halved `depth` times; at a call, if the images are of another shape.
    """

    def __init__(self, shape: Shape, features: int, width: int = 32, depth: int = 4) -> None:
        small = _shrunk(shape, features, width, depth)
        channels = [shape[0], *(width << i for i in range(depth))]  # C, width, 2 width, 4 width ...
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.SiLU()]
        super().__init__(_Images(shape), *layers, nn.Flatten(), nn.Linear(math.prod(small), features))
        _finish(self)


class ConvDecoder(Network):
    """The mirror image of :class:`ConvEncoder`: one linear layer, then `depth` transposed convolutions.

    It ends without an activation: the likelihood owns that.

    Args:
        features: numbers in per image.
        shape: (C, H, W) of the images out; H and W are multiples of 2**depth.
        width: channels before the last transposed convolution.
        depth: how often the image is doubled.

    Shapes: (B, features) -> (B, C, H, W).

    Raises:
        UserError: if H or W is not a multiple of 2**depth.
    """

    def __init__(self, features: int, shape: Shape, width: int = 32, depth: int = 4) -> None:
        small = _shrunk(shape, features, width, depth)
        channels = [*(width << i for i in reversed(range(depth))), shape[0]]  # ... 4 width, 2 width, width, C
        layers: list[nn.Module] = [nn.Linear(features, math.prod(small)), nn.Unflatten(1, small)]
        for before, after in pairwise(channels):
            layers += [nn.SiLU(), nn.ConvTranspose2d(before, after, 4, 2, 1)]
        super().__init__(*layers)
        _finish(self)


class _Images(nn.Module):
    """An encoder's first layer: lets images of the right shape and type pass."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = tuple(check_shape(shape))

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, self.shape)
        return x


class MLPEncoder(Network):
    """`depth` hidden layers of tanh, then a linear layer; weights uniform as in Glorot & Bengio 2010, eq. 16.

    The network of Burda et al. 2016 with one stochastic layer is two of these layers of 200 units, on each side.

    Args:
        shape: (C, H, W) of the images.
        features: numbers out per image.
        width: units of a hidden layer.
        depth: hidden layers.

    Shapes: (B, C, H, W) -> (B, features).
    """

    def __init__(self, shape: Shape, features: int, width: int = 200, depth: int = 2) -> None:
        super().__init__(_Images(shape), nn.Flatten(), *_tanh_layers(math.prod(shape), features, width, depth))


class MLPDecoder(Network):
    """The mirror image of :class:`MLPEncoder`. It ends without an activation: the likelihood owns that.

    Args:
        features: numbers in per image.
        shape: (C, H, W) of the images out.
        width: units of a hidden layer.
        depth: hidden layers.

    Shapes: (B, features) -> (B, C, H, W).
    """

    def __init__(self, features: int, shape: Shape, width: int = 200, depth: int = 2) -> None:
        super().__init__(
            *_tanh_layers(features, math.prod(check_shape(shape)), width, depth), nn.Unflatten(1, tuple(shape))
        )


def check_shape(shape: Shape) -> Shape:
    """Return (C, H, W), or raise a UserError if it is something else."""
    if not isinstance(shape, (tuple, list)) or len(shape) != 3:
        swapped = "; is an encoder in a decoder's place?" if isinstance(shape, int) else ""
        raise UserError(f"shape must be (channels, height, width), got {shape}{swapped}")
    for side in shape:
        require(1, **{f"each number of shape {shape}": side})
    return shape


def _tanh_layers(inputs: int, outputs: int, width: int, depth: int) -> list[nn.Module]:
    require(1, inputs=inputs, features=outputs, width=width)
    require(1, DEEPEST, depth=depth)
    layers: list[nn.Module] = []
    for before, after in pairwise([inputs, *[width] * depth, outputs]):
        linear = nn.Linear(before, after)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.Tanh()]
    return layers[:-1]


class Discriminator(Network):
    """`depth` hidden layers of leaky ReLU, then the logit of "this code was drawn from the prior".

    Args:
        latent: D, numbers in a code.
        width: units of a hidden layer.
        depth: hidden layers.

    Shapes: (B, D) -> (B, 1).
    """

    twice_differentiable = True  # for a gradient penalty

    def __init__(self, latent: int, width: int = 512, depth: int = 2) -> None:
        require(1, latent=latent, width=width)
        require(1, DEEPEST, depth=depth)
        layers: list[nn.Module] = []
        for before, after in pairwise([latent, *[width] * depth]):
            layers += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Linear(width, 1))


DiscriminatorFactory = Callable[[int], Network]


class DCGANGenerator(Network):
    """Noise to image by transposed convolutions alone (Radford et al. 2015, section 3 and figure 1).

    Batch normalisation and ReLU after each but the last, then Tanh. The noise becomes 4 x 4 pixels with
    width * size / 8 channels; each further layer doubles the side and halves the channels, down to `width`, then C.
    Kernels are of 4 x 4, which a stride of 2 divides, where the paper has 5 x 5. Weights are drawn from N(0, 0.02^2).

    Args:
        features: numbers of noise per image.
        shape: (C, H, W) of the images out; H = W is a power of two, at least 8.
        width: channels before the last layer; 128 at 64 x 64 pixels is the paper's.

    Shapes: (B, features) -> (B, C, H, W) in [-1, 1].

    Raises:
        UserError: if the images are of another size.
    """

    def __init__(self, features: int, shape: Shape, width: int = 32) -> None:
        channels = _doubled(shape, width)[::-1]  # ... 4 width, 2 width, width
        require(1, features=features)
        layers: list[nn.Module] = [nn.Unflatten(1, (features, 1, 1))]
        for i, (before, after) in enumerate(pairwise([features, *channels])):
            place = (4, 1, 0) if i == 0 else (4, 2, 1)  # kernel, stride, padding
            layers += [nn.ConvTranspose2d(before, after, *place, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        super().__init__(*layers, nn.ConvTranspose2d(width, shape[0], 4, 2, 1), nn.Tanh())
        initialise_dcgan(self)


class Strided(Network):
    """A chain of strided convolutions, each with a LeakyReLU after it."""

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """Return the output of each hidden layer, (B, width, H / 2, W / 2), (B, 2 width, H / 4, W / 4) ..."""
        maps = []
        for layer in self:
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                maps.append(x)
        return maps


class DCGANDiscriminator(Strided):
    """Image to the logit of "real" by strided convolutions alone (Radford et al. 2015, section 3).

    The mirror image of :class:`DCGANGenerator`: LeakyReLU of slope 0.2 after each but the last, batch normalisation
    between but for the first.

    Args:
        shape: (C, H, W) of the images; H = W is a power of two, at least 8.
        width: channels after the first layer; 128 at 64 x 64 pixels is the paper's.

    Shapes: (B, C, H, W) in [-1, 1] -> (B, 1).

    Raises:
        UserError: if the images are of another size.
    """

    def __init__(self, shape: Shape, width: int = 32) -> None:
        layers = _strided(shape, width)
        super().__init__(*layers, nn.Conv2d(_doubled(shape, width)[-1], 1, 4), nn.Flatten())
        initialise_dcgan(self)


class StridedMaps(Strided):
    """The layers of :class:`DCGANDiscriminator` but for the last, which makes a logit of their map of 4 x 4.

    Args:
        shape: (C, H, W) of the images; H = W is a power of two, at least 8.
        width: channels after the first layer.

    Attributes:
        features: channels of the last map.

    Shapes: (B, C, H, W) in [-1, 1] -> (B, features, 4, 4).

    Raises:
        UserError: if the images are of another size.
    """

    def __init__(self, shape: Shape, width: int = 32) -> None:
        super().__init__(*_strided(shape, width))
        self.features = _doubled(shape, width)[-1]
        initialise_dcgan(self)


def _strided(shape: Shape, width: int) -> list[nn.Module]:
    """The layers that halve an image down to a map of 4 x 4."""
    layers: list[nn.Module] = [_Images(shape), nn.Conv2d(shape[0], width, 4, 2, 1), nn.LeakyReLU(0.2)]
    for before, after in pairwise(_doubled(shape, width)):
        layers += [nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
    return layers


def _doubled(shape: Shape, width: int) -> list[int]:
    """The channels from the largest map, of half the image's side, to the smallest, of 4 x 4: each twice the last."""
    _, height, side = check_shape(shape)
    require(1, width=width)
    if height != side or side < 8 or side & (side - 1):
        raise UserError(
            f"image size {height} x {side}: a DCGAN makes squares whose side is a power of two, 8, 16, 32 ..."
        )
    return [width << i for i in range(int(math.log2(side)) - 2)]


def initialise_dcgan(network: nn.Module) -> None:
    """All convolutions' weights from N(0, 0.02^2) (Radford et al. 2015, section 4), biases zero; and channels_last."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    network.to(memory_format=torch.channels_last)


def _finish(network: Network) -> None:
    """Initialise the convolutions so that the signal does not vanish (He et al. 2015), and lay them out channels_last.

    With SiLU this took a VAE to a test MSE of .029 in the steps in which PyTorch's defaults with ReLU took it to .041
    and batch normalisation to .033 (250 steps, 64 x 64 photos).
    """
    for layer in network:
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            taps = 4 * 4 if isinstance(layer, nn.Conv2d) else 2 * 2  # inputs per output; a stride of 2 hits 1 tap in 4
            nn.init.normal_(layer.weight, std=math.sqrt(2 / (layer.in_channels * taps)))
            nn.init.zeros_(cast(Tensor, layer.bias))
    network.to(memory_format=torch.channels_last)


def _shrunk(shape: Shape, features: int, width: int, depth: int) -> Shape:
    """The feature map (C, H, W) that is left of an image of `shape` after `depth` halvings."""
    check_shape(shape)
    require(1, features=features, width=width, depth=depth)
    if depth > 31:  # a number whose 2 to the power of it takes no time
        raise UserError(f"image size {shape[1]} x {shape[2]} cannot be halved {depth} times; set a smaller depth")
    step = 1 << depth
    if any(side < step or side % step for side in shape[1:]):
        low = [max(side // step, 1) * step for side in shape[1:]]
        raise UserError(
            f"image size {shape[1]} x {shape[2]} cannot be halved {depth} times: each side must be a multiple of "
            f"{step}, such as {low[0]} x {low[1]} or {low[0] + step} x {low[1] + step}, or set a smaller depth"
        )
    return width << (depth - 1), shape[1] // step, shape[2] // step
