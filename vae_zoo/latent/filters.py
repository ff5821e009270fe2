"""Inside a network that sees images: what its units respond to, and those of one that was never trained."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vae_zoo.errors import UserError, require
from vae_zoo.models.base import inference
from vae_zoo.models.decoding import TwoSided

M = TypeVar("M", bound=TwoSided)
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
# Those that leave the sign of what they are given as it is, or make zero of it.
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh)


def convolutions(model: TwoSided, network: nn.Module) -> list[str]:
    """Return the names, in the model, of the convolutions of `network`, which is ``model.sees`` or ``model.draws``."""
    inside = set(network.modules())
    return [name for name, module in model.named_modules() if isinstance(module, CONVOLUTIONS) and module in inside]


def convolution(model: TwoSided, network: nn.Module, layer: str) -> nn.Conv2d | nn.ConvTranspose2d:
    """Return the convolution of this name.

    Raises:
        UserError: if the network has no such convolution, or none at all.
    """
    names = convolutions(model, network)
    if not names:
        raise UserError(f"this network of {type(model).__name__} has no convolution, so it has no filters")
    if layer not in names:
        raise UserError(f"layer {layer}: the convolutions of this network are {', '.join(names)}")
    found: Any = model.get_submodule(layer)
    return found


def highest(model: TwoSided) -> str:
    """Return the last convolution of the network that sees, but for one of a single unit, a discriminator's verdict.

    Raises:
        UserError: if there is none.
    """
    names = convolutions(model, model.sees)
    several = [name for name in names if convolution(model, model.sees, name).out_channels > 1]
    if not several:
        raise UserError(f"{type(model).__name__} sees images without a convolution, so it has no filters")
    return several[-1]


@inference
def activations(model: TwoSided, x: Tensor, layer: str, y: Tensor | None = None) -> Tensor:
    """Return the maps (B, F, H', W') that a convolution makes of images, before normalisation and activation function.

    Args:
        model: with a network that sees images, an encoder or a discriminator.
        x: (B, C, H, W) in [0, 1].
        layer: one of ``convolutions(model, model.sees)``.
        y: labels (B,), for a model that takes them.

    Raises:
        UserError: if there is no such layer.
    """
    return _maps(model, *model.checked(x, y), layer)


@dataclass(frozen=True, eq=False)
class Strongest:
    """The K images that activate each of U units most, the strongest first.

    Attributes:
        images: (U, K, C, H, W).
        labels: (U, K), None for a model that takes none.
        values: (U, K), the units' largest activations in these images.
        places: (U, K, 2), the row and the column in the unit's map.
        peaks: (U,), how many standard deviations the largest activation lies above the mean, over all places of all
            images. It does not change with the scale of a network's weights, so it compares networks.
    """

    images: Tensor
    labels: Tensor | None
    values: Tensor
    places: Tensor
    peaks: Tensor


@inference
def strongest(
    model: TwoSided, batches: Iterable[tuple[Tensor, Tensor | None]], layer: str, units: Sequence[int], k: int = 1
) -> Strongest:
    """Find the images that activate units most (Radford et al. 2015, section 6.2), in memory for a batch.

    Args:
        model: with a network that sees images.
        batches: of images (B, C, H, W), and their labels (B,) or None.
        layer: one of ``convolutions(model, model.sees)``.
        units: U of its channels.
        k: K, images of each.

    Raises:
        UserError: if there is no such layer or unit, or there are fewer images.
    """
    require(1, k=k)
    for unit in units:
        require(0, convolution(model, model.sees, layer).out_channels - 1, unit=unit)
    kept: list[Tensor] = []  # values, places, images and labels of the best so far, (U, K, ...) each
    sums, squares, n, width = torch.zeros(len(units)).double(), torch.zeros(len(units)).double(), 0, 1
    for x, y in batches:
        x, y = model.checked(x, y)
        maps = _maps(model, x, y, layer)[:, list(units)]  # B U H' W'
        wide = maps.double().cpu()
        sums, squares = sums + wide.sum((0, 2, 3)), squares + wide.square().sum((0, 2, 3))
        n, width = n + wide[:, 0].numel(), maps.shape[-1]
        values, places = maps.flatten(2).max(2)  # B U, B U
        values, rows = values.T.topk(min(k, len(x)))  # U k, U k
        found = [values, places.T.gather(1, rows), x[rows], *([] if y is None else [y[rows]])]
        if kept:
            found = [torch.cat(both, 1) for both in zip(kept, found, strict=True)]
        values, order = found[0].topk(min(k, found[0].shape[1]))
        kept = [values, *(torch.stack([row[i] for row, i in zip(each, order, strict=True)]) for each in found[1:])]
    if not kept or kept[0].shape[1] < k:
        raise UserError(f"{k} images of each unit need as many to choose from, got {kept[0].shape[1] if kept else 0}")
    values, places, images, *labels = (each.cpu() for each in kept)
    mean = sums / n
    deviation = (squares / n - mean.square()).clamp(min=0).sqrt()
    peaks = torch.where(deviation > 0, (values[:, 0] - mean) / deviation, 0.0).float()
    where = torch.stack([places // width, places % width], -1)
    return Strongest(images, labels[0] if labels else None, values, where, peaks)


@inference
def guided_backpropagation(model: TwoSided, x: Tensor, layer: str, unit: int, y: Tensor | None = None) -> Tensor:
    """Return what in images activates a unit: its largest activation's gradient, guided (Springenberg et al. 2014).

    At each activation function f, with the input a and the gradient R of its output, what goes on backwards is

        R' = f'(a) R [a > 0] [R > 0],

    only what is positive there in the forward pass and in the backward pass. For ReLU, f'(a) [a > 0] is [a > 0], and
    this is eq. 3.2 of the paper, "guided backpropagation"; for LeakyReLU it is the same as for ReLU; SiLU and the like
    keep their own slope, which for positive a is between 0.5 and 1.1. In all else, such as convolutions and batch
    normalisation, it is the gradient. The model is as before when this returns, or raises.

    Args:
        model: with a network that sees images.
        x: (B, C, H, W) in [0, 1].
        layer: one of ``convolutions(model, model.sees)``.
        unit: one of its channels.
        y: labels (B,), for a model that takes them.

    Returns:
        (B, C, H, W), per unit of a pixel in [0, 1].

    Raises:
        UserError: if there is no such layer or unit, or no activation function is a module, whose gradient can be
            guided.
    """
    require(0, convolution(model, model.sees, layer).out_channels - 1, unit=unit)
    functions = [module for module in model.sees.modules() if isinstance(module, ACTIVATIONS)]
    if not functions:
        raise UserError(f"{type(model).__name__}'s activation functions are no modules, such as nn.SiLU()")
    x, y = model.checked(x, y)
    with ExitStack() as hooks, torch.enable_grad():
        for function in functions:
            hooks.enter_context(function.register_forward_hook(_guide))
        x = x.detach().clone().requires_grad_()
        largest = _maps(model, x, y, layer)[:, unit].flatten(1).max(1).values  # B
        (gradient,) = torch.autograd.grad(largest.sum(), x)
    return gradient


def untrained(model: M, seed: int = 0) -> M:
    """Return the model with the weights that it would begin a training with, drawn by this seed.

    Beside its filters, random ones show what is learned (Radford et al. 2015, figure 5). No random state is touched.
    """
    given = {name: value for name, value in model.hparams.items() if not name.startswith("_")}
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        return type(model)(**given).to(model.device).eval()


def _maps(model: TwoSided, x: Tensor, y: Tensor | None, layer: str) -> Tensor:
    """What a layer makes of images, (B, F, H', W')."""
    found: list[Tensor] = []
    hook = convolution(model, model.sees, layer).register_forward_hook(lambda _, given, out: found.append(out))
    with hook:
        model.see(x, y)
    if not found:
        raise UserError(f"layer {layer} is not run when {type(model).__name__} sees an image")
    return found[-1]


def _guide(_: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
    """Let a gradient pass back through an activation function only where it is positive, as what is given is."""
    positive = given[0] > 0
    if out.requires_grad:
        out.register_hook(lambda gradient: gradient.clamp(min=0) * positive)
