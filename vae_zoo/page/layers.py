"""A decoder as a list of layers, in the few operations that ``templates/decoder.js`` computes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Of a number each, with the arguments that they have beside it.
ACTIVATIONS: Mapping[str, tuple[str, ...]] = {
    "relu": (),
    "silu": (),
    "sigmoid": (),
    "tanh": (),
    "exp": (),
    "leaky_relu": ("negative_slope",),
    "elu": ("alpha",),
    "softplus": ("beta", "threshold"),
}
BINARY: Mapping[str, Callable[..., Tensor]] = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div}
WEIGHTED = ("linear", "conv2d", "conv_transpose2d")
LARGEST = 32767  # of 16 bits


@dataclass
class Layers:
    """A decoder that was taken apart. Its tensors have numbers; the code is number 0.

    Attributes:
        shape: of the code, (D,) or of maps.
        layers: in their order. Each has "op"; "from" and "to", the numbers of what it takes and makes; the "shapes" of
            the former and the "shape" of the latter, with a first dimension of 1; and what else the operation needs.
            The weights of a transposed convolution are (C out, height, width, C in).
        constants: weights and what else is known beforehand, by number.
        labelled: numbers of those constants whose first dimension is the label.
        output: number of the image (1, C, H, W).
    """

    shape: tuple[int, ...]
    layers: list[dict[str, Any]] = field(default_factory=list)
    constants: dict[int, Tensor] = field(default_factory=dict)
    labelled: set[int] = field(default_factory=set)
    output: int = 0

    def __call__(self, z: Tensor, label: int = 0) -> Tensor:
        """Return the image (C, H, W) of a code (D,), computed as the page does."""
        values = {0: z, **self.constants}
        values |= {number: values[number][label] for number in self.labelled}
        for layer in self.layers:
            inputs = [values[n].reshape(shape) for n, shape in zip(layer["from"], layer["shapes"], strict=True)]
            values[layer["to"]] = compute(layer, inputs)
        return values[self.output][0]

    def packed(self, bits: int) -> bytes:
        """Return the constants, one after the other, little-endian, with 16 or 32 bits for a number.

        32 are float32. With 16 each row, all that has the same first index, has its scale before it, as float32, by
        which its whole numbers are multiplied: that is ten times closer to trained weights than float16. Constants of
        one dimension have 32 in any case.
        """
        found = []
        for x in self.constants.values():
            if bits == 16 and x.ndim > 1:
                whole, scale = _in_16_bits(x)
                found += [scale.numpy().astype("<f4").tobytes(), whole.numpy().astype("<i2").tobytes()]
            else:
                found.append(x.numpy().astype("<f4").tobytes())
        return b"".join(found)

    def rounded(self) -> "Layers":
        """Return the layers with constants as they are when they were packed with 16 bits."""
        constants = dict(self.constants)
        for number, x in constants.items():
            if x.ndim > 1:
                whole, scale = _in_16_bits(x)
                constants[number] = (whole * scale[:, None]).view_as(x)
        return Layers(self.shape, self.layers, constants, self.labelled, self.output)


def _in_16_bits(x: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers (R, N) and scales (R,), whose product is nearest to the rows of `x`."""
    rows = x.flatten(1)
    scale = rows.abs().amax(1).clamp(min=1e-30) / LARGEST
    return (rows / scale[:, None]).round(), scale


def compute(layer: Mapping[str, Any], inputs: list[Tensor]) -> Tensor:
    """Return what a layer makes of its inputs."""
    x, op = inputs[0], layer["op"]
    if op in BINARY:
        return BINARY[op](*inputs)
    if op == "linear":
        return F.linear(*inputs)
    if op == "conv2d":
        _, weight, bias = inputs
        return torch.conv2d(x, weight, bias, layer["stride"], layer["padding"], layer["dilation"])
    if op == "conv_transpose2d":
        _, weight, bias = inputs
        place = {name: layer[name] for name in ("stride", "padding", "output_padding", "dilation")}
        return F.conv_transpose2d(x, weight.permute(3, 0, 1, 2), bias, **place)
    if op == "normalise":
        return F.group_norm(x.reshape(1, -1), layer["groups"], eps=layer["eps"]).view_as(x)
    if op == "cat":
        return torch.cat(inputs, layer["dim"])
    if op == "take":
        # What is taken from may itself be a part of a row: a code among others.
        where = x.storage_offset() + layer["offset"]
        return x.as_strided(layer["shape"], layer["strides"], where).contiguous()
    activation: Callable[..., Tensor] = torch.exp if op == "exp" else getattr(F, op)
    return activation(x, **{name: layer[name] for name in ACTIVATIONS[op]})
