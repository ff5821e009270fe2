"""From a model's `decode` to `Layers`.

No class of a network is known here: torch.export says what `decode` does, operation by operation. What does not follow
from the code is computed beforehand, once or for each label, so that embeddings, and all else that a network makes of
the label alone, are tables. Views (a reshape, a permutation, a slice, an expansion) cost nothing, or are one "take".
"""

import io
import logging
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.fx import Node
from torch.fx.node import map_arg

from vae_zoo.errors import UserError
from vae_zoo.models.base import inference
from vae_zoo.models.decoding import Decoding
from vae_zoo.page.layers import ACTIVATIONS, BINARY, WEIGHTED, Layers, compute

BATCH_NORM = "_native_batch_norm_legit_no_training"
COPIES = ("clone", "_to_copy", "contiguous")
KNOWN = [*WEIGHTED, "batch_norm", "group_norm", "layer_norm", "instance_norm", "upsample_nearest2d", "pixel_shuffle"]
KNOWN += ["cat", *BINARY, *ACTIVATIONS]


@dataclass(frozen=True, eq=False)
class Live:
    """What follows from the code: `x`, a view of the numbers of a tensor, which stand in a row."""

    number: int
    x: Tensor


@dataclass(frozen=True, eq=False)
class PerLabel:
    """What follows from the label alone: a value for each."""

    values: list[Any]


class _Decode(nn.Module):
    def __init__(self, model: Decoding) -> None:
        super().__init__()
        self.model = model

    def forward(self, *given: Tensor) -> Tensor:
        return self.model.decode(*given)


@inference
def take_apart(model: Decoding) -> Layers:
    """Return the layers of a model's `decode`, on the CPU.

    Raises:
        UserError: if it computes what the page does not know, or decides by the numbers what to compute.
    """
    y = torch.zeros(1, dtype=torch.int64) if model.labels else None
    z = model.sample_prior(1, y)
    given = (z,) if y is None else (z, y)
    layers = Layers(tuple(model.code_shape))  # which asks the prior: once known, that is no part of what is followed
    try:
        with _without_checks():
            exported = torch.export.export(_Decode(model), given, strict=False).run_decompositions({})
    except Exception as error:  # of a network of one's own, anything
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{type(model).__name__}: torch.export cannot follow its decode: {reason}") from error
    signature, tensors = exported.graph_signature, {**exported.state_dict, **exported.constants}
    held = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    held |= signature.inputs_to_lifted_tensor_constants
    values = {name: tensors[place].detach() for name, place in held.items()}
    labels = PerLabel([torch.tensor([label]) for label in range(model.labels)])
    values |= dict(zip(signature.user_inputs, (Live(0, z.contiguous()), labels), strict=False))
    return _Translation(type(model).__name__, layers, values).run(exported.graph.nodes)


@contextmanager
def _without_checks() -> Iterator[None]:
    """Leave out the checks of distributions, which decide by the numbers, and what torch says of ways that it left."""
    checks, silent = Distribution._validate_args, logging.root.manager.disable
    Distribution.set_default_validate_args(False)
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        Distribution.set_default_validate_args(checks)
        logging.disable(silent)


class _Translation:
    """Runs a graph on one code, and writes a layer for each operation on what follows from the code."""

    def __init__(self, model: str, layers: Layers, values: dict[str, Any]) -> None:
        self.model, self.found, self.given = model, layers, values
        self.numbers = 1
        self.values: dict[Node, Any] = {}

    def run(self, nodes: Any) -> Layers:
        """Translate the graph."""
        output = next(node for node in nodes if node.op == "output")
        needed, waiting = set[Node](), [output]
        while waiting:
            needed.add(node := waiting.pop())
            waiting += [each for each in node.all_input_nodes if each not in needed]
        for node in (node for node in nodes if node in needed and node is not output):
            self.values[node] = self.given[node.name] if node.op == "placeholder" else self.value(node)
        image = self.values[output.all_input_nodes[0]]
        if not isinstance(image, Live):
            raise UserError(f"{self.model}: what it decodes does not depend on the code")
        self.found.output = self.row(image)
        return self.found

    def value(self, node: Node) -> Any:
        """What an operation makes: a value, or a layer's."""
        operands = [self.values[each] for each in node.all_input_nodes]
        if any(isinstance(each, Live | tuple) for each in operands):
            return self.translated(node)
        if any(isinstance(each, PerLabel) for each in operands):
            count = next(len(each.values) for each in operands if isinstance(each, PerLabel))
            return PerLabel([self.called(node, label) for label in range(count)])
        return self.called(node)

    def called(self, node: Node, label: int = 0, instead: Callable[[Any], Any] = lambda value: value) -> Any:
        """Call the operation itself."""

        def chosen(each: Node) -> Any:
            value = self.values[each]
            return value.values[label] if isinstance(value, PerLabel) else instead(value)

        target: Any = node.target
        return target(*map_arg(node.args, chosen), **map_arg(node.kwargs, chosen))

    def translated(self, node: Node) -> Any:
        """What an operation on what follows from the code makes."""
        if node.target is operator.getitem:
            return self.called(node)
        target: Any = node.target
        name, given = target.overloadpacket.__name__, self.arguments(node)
        x = next(self.values[each] for each in node.all_input_nodes if isinstance(self.values[each], Live))
        if name == "cat":
            return self.layer("cat", given["tensors"], dim=given["dim"])
        if name == "broadcast_tensors":
            return tuple(_expanded(each, node.meta["val"][0].shape) for each in given["tensors"])
        if name == "rsub" and given["alpha"] == 1:
            return self.layer("sub", [given["other"], given["self"]])
        if name in BINARY and given.get("alpha", 1) == 1 and not given.get("rounding_mode"):
            return self.layer(name, [given["self"], given["other"]])
        if name in ACTIVATIONS:
            return self.layer(name, [x], **{each: float(given[each]) for each in ACTIVATIONS[name]})
        if name == "linear" and x.x.numel() == x.x.shape[-1]:
            return self.layer(name, [x, *_weights(given, 0)])
        if name in ("conv2d", "conv_transpose2d"):
            return self.convolution(name, given)
        if name == BATCH_NORM:
            return self.batch_norm(x, given), None, None
        if name in ("group_norm", "layer_norm", "instance_norm"):
            return self.norm(name, x, given)
        if name == "upsample_nearest2d":
            return self.upsampled(x, node.meta["val"].shape)
        if name == "pixel_shuffle":
            factor, (_, c, h, w) = given["upscale_factor"], x.x.shape
            parts = x.x.reshape(1, c // factor**2, factor, factor, h, w).permute(0, 1, 4, 2, 5, 3)
            return self.moved(x, parts, (1, c // factor**2, h * factor, w * factor))
        if name in COPIES and node.meta["val"].dtype == torch.float32:
            return x
        return self.view(node, x, name)

    def arguments(self, node: Node) -> dict[str, Any]:
        """An operation's arguments by name, those that are not given as its schema has them."""
        schema = node.target._schema.arguments  # type: ignore[union-attr]
        values = {each.name: each.default_value for each in schema if each.has_default_value()}
        values |= {each.name: value for each, value in zip(schema, node.args, strict=False)}
        return {name: map_arg(value, self.values.__getitem__) for name, value in {**values, **node.kwargs}.items()}

    def layer(self, op: str, operands: Sequence[Any], **more: Any) -> Live:
        """Write a layer; it is computed, too, for the strides of what is a view of it."""
        kept = [self.operand(each) for each in operands if each is not None]
        layer = {"op": op, "from": [number for number, _ in kept], "to": self.numbers, **more}
        self.numbers += 1
        x = compute(layer, [x for _, x in kept]).contiguous()
        self.found.layers.append({**layer, "shapes": [list(x.shape) for _, x in kept], "shape": list(x.shape)})
        return Live(layer["to"], x)

    def operand(self, value: Any) -> tuple[int, Tensor]:
        """The number of a tensor that holds a value, and the value; of what follows from the label, the first one's."""
        if isinstance(value, Live):
            return self.row(value), value.x.contiguous()
        values = value.values if isinstance(value, PerLabel) else [value]
        values = [torch.as_tensor(each, dtype=torch.float32).contiguous() for each in values]
        number, self.numbers = self.numbers, self.numbers + 1
        self.found.constants[number] = torch.stack(values) if isinstance(value, PerLabel) else values[0]
        if isinstance(value, PerLabel):
            self.found.labelled.add(number)
        return number, values[0]

    def row(self, value: Live) -> int:
        """The number of a tensor whose row of numbers is the value's; where it is none yet, a copy is."""
        x, size = value.x, value.x.untyped_storage().nbytes() // value.x.element_size()
        if x.is_contiguous() and x.numel() == size:
            return value.number
        place = {"strides": list(x.stride()), "offset": x.storage_offset()}
        layer = {"op": "take", "from": [value.number], "to": self.numbers, **place}
        self.found.layers.append({**layer, "shapes": [[size]], "shape": list(x.shape)})
        self.numbers += 1
        return self.numbers - 1

    def moved(self, x: Live, view: Tensor, shape: Sequence[int]) -> Live:
        """A view of `x`, put in a row and given a shape."""
        return Live(self.row(Live(x.number, view)), view.reshape(*shape).contiguous())

    def view(self, node: Node, x: Live, name: str) -> Any:
        """What an operation makes that only looks at the numbers in another way, which shows in where they lie."""
        target: Any = node.target
        for start in (x, Live(-1, x.x.contiguous())):

            def instead(value: Any, start: Live = start) -> Any:
                return start.x if value is x else value

            if target._schema.is_mutable:
                break
            try:
                made = self.called(node, instead=instead)
            except (RuntimeError, TypeError, AttributeError):  # another of its operands follows from the code, too
                break
            out = made if isinstance(made, (tuple, list)) else (made,)
            if all(each.untyped_storage().data_ptr() == start.x.untyped_storage().data_ptr() for each in out):
                number = x.number if start is x else self.row(x)
                lives = tuple(Live(number, each) for each in out)
                return lives if isinstance(made, (tuple, list)) else lives[0]
        raise self.unknown(name)

    def upsampled(self, x: Live, shape: Sequence[int]) -> Live:
        """Each pixel a whole number of times, in both directions."""
        _, c, h, w = x.x.shape
        down, across = shape[2] // h, shape[3] // w
        if (down * h, across * w) != tuple(shape[2:]):
            raise self.unknown(f"upsample_nearest2d from {h} x {w} to {shape[2]} x {shape[3]}")
        each = x.x.reshape(1, c, h, 1, w, 1) if x.x.is_contiguous() else x.x[:, :, :, None, :, None]
        return self.moved(x, each.expand(1, c, h, down, w, across), shape)

    def convolution(self, name: str, given: dict[str, Any]) -> Live:
        """A convolution, transposed or not."""
        weight, padding = given["weight"], given["padding"]
        if given["groups"] != 1:
            raise self.unknown(f"{name} with {given['groups']} groups")
        if not isinstance(weight, Tensor):
            raise self.unknown(f"{name} with weights that depend on the code or the label")
        if isinstance(padding, str):
            all_around = [d * (k - 1) for d, k in zip(given["dilation"], weight.shape[2:], strict=True)]
            padding = [each // 2 if padding == "same" else 0 for each in all_around]
            if given["padding"] == "same" and any(each % 2 for each in all_around):
                raise self.unknown("conv2d with padding 'same' and an even kernel")
        place = {"stride": given["stride"], "padding": padding, "dilation": given["dilation"]}
        place = {key: [*value] * (2 // len(value)) for key, value in place.items()}
        weight, bias = _weights(given, int(name == "conv_transpose2d"))
        if name == "conv_transpose2d":
            weight = weight.permute(1, 2, 3, 0)
            place["output_padding"] = [*given["output_padding"]] * (2 // len(given["output_padding"]))
        return self.layer(name, [given["input"], weight, bias], **place)

    def batch_norm(self, x: Live, given: dict[str, Any]) -> Live:
        """Batch normalisation by running statistics, put into the weights before it where nothing else needs those."""
        scale = (given["running_var"] + given["eps"]).rsqrt()
        scale = scale if given["weight"] is None else scale * given["weight"]
        shift = -given["running_mean"] * scale
        shift = shift if given["bias"] is None else shift + given["bias"]
        last: dict[str, Any] = self.found.layers[-1] if self.found.layers else {"op": ""}
        same = last["op"] in WEIGHTED and (last["to"], last["shape"]) == (x.number, list(x.x.shape))
        looks = (node for node, value in self.values.items() if isinstance(value, Live) and value.number == x.number)
        alone = sum(len(node.users) for node in looks) == 1
        constants, owned = self.found.constants, self.found.constants.keys() - self.found.labelled
        if same and alone and owned.issuperset(last["from"][1:]):
            _, weight, bias = last["from"]
            constants[weight] = constants[weight] * scale.view(-1, *[1] * (constants[weight].ndim - 1))
            constants[bias] = constants[bias] * scale + shift
            return x
        each = -1, *[1] * (x.x.ndim - 2)
        return self.scaled(x, scale.view(each), shift.view(each))

    def norm(self, name: str, x: Live, given: dict[str, Any]) -> Live:
        """Normalisation by statistics of the numbers themselves, of so many groups of numbers that stand in a row."""
        weight, bias = given["weight"], given["bias"]
        if name == "layer_norm":
            groups = x.x.numel() // math.prod(given["normalized_shape"])
        else:
            groups = given["num_groups"] if name == "group_norm" else x.x.shape[1]
            if not given.get("use_input_stats", True):
                raise self.unknown("instance_norm by running statistics")
            each = -1, *[1] * (x.x.ndim - 2)
            weight, bias = (value if value is None else value.view(each) for value in (weight, bias))
        return self.scaled(self.layer("normalise", [x], groups=groups, eps=given["eps"]), weight, bias)

    def scaled(self, x: Live, weight: Tensor | None, bias: Tensor | None) -> Live:
        """`x` times a weight, plus a bias, where there are such."""
        x = x if weight is None else self.layer("mul", [x, weight])
        return x if bias is None else self.layer("add", [x, bias])

    def unknown(self, name: str) -> UserError:
        """The error for what the page does not know."""
        return UserError(
            f"{self.model}'s decoder computes {name}, which the page does not; it knows {', '.join(KNOWN)}"
        )


def _expanded(value: Any, shape: Sequence[int]) -> Any:
    """A value as it looks when it is repeated to this shape."""
    if isinstance(value, Live):
        return Live(value.number, value.x.expand(shape))
    if isinstance(value, PerLabel):
        return PerLabel([each.expand(shape) for each in value.values])
    return value.expand(shape)


def _weights(given: dict[str, Any], outputs: int) -> tuple[Any, Any]:
    """A weight and its bias, zeros where there is none; the weight has the outputs in this dimension."""
    weight, bias = given["weight"], given["bias"]
    return weight, weight.new_zeros(weight.shape[outputs]) if bias is None and isinstance(weight, Tensor) else bias
