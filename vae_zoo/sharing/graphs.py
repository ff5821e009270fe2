"""The parts of a model as functions of tensors alone, which other programs can run: encoder, decoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from vae_zoo.errors import UserError
from vae_zoo.models import Autoencoder, GenerativeModel
from vae_zoo.models.base import inference
from vae_zoo.models.decoding import Decoding
from vae_zoo.models.sketch import SketchModel
from vae_zoo.strokes import END, START
from vae_zoo.trace import Autoregressive

Layout = Literal["nhwc", "nchw"]
SIZES = (3, 1, 16)  # of the random batches; the first one is what is traced, where one item would be taken for all
POINT = ("log_weight", "mean", "log_sigma", "r", "log_pen", "next_h", "next_c")


class Part(nn.Module):
    """A part of a model. Of the model, which is none of its modules, a program keeps only the weights that it uses."""

    def __init__(self, model: GenerativeModel) -> None:
        super().__init__()
        self.held: tuple[Any] = (model,)


class Encoder(Part):
    """(x [, y]) -> the posterior's mean and standard deviation; of a flow, whose deviation is estimated, the centre."""

    def __init__(self, model: Autoencoder, layout: Layout | None = None) -> None:
        super().__init__(model)
        self.layout = layout

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, ...]:
        """Encode pictures (B, C, H, W) in [0, 1], or of 8 bits in the layout; or sketches (B, T, 5)."""
        (model,) = self.held
        q = model.posterior(from_bytes(x, self.layout) if self.layout else x, y)
        return (q.mean,) if isinstance(q, Autoregressive) else (q.mean, q.stddev)


class Decoder(Part):
    """(z [, y]) -> images in [0, 1], or of 8 bits in the layout."""

    def __init__(self, model: Decoding, layout: Layout | None = None) -> None:
        super().__init__(model)
        self.layout = layout

    def forward(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, ...]:
        """Decode codes (B, D)."""
        (model,) = self.held
        x = model.decode(z, y)
        return (to_bytes(x, self.layout) if self.layout else x,)


class Start(Part):
    """z -> h, c: the state in which a decoder of sketches begins, (B, width) each."""

    def forward(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return the state for codes (B, D)."""
        (model,) = self.held
        h, c = model.likelihood.first_state(z)
        return h[0], c[0]


class Step(Part):
    """(point, h, c [, z]) -> the distribution of a sketch's next point, and the state after it."""

    def forward(self, point: Tensor, h: Tensor, c: Tensor, z: Tensor | None = None) -> tuple[Tensor, ...]:
        """Take one step from the last points (B, 5); the mixture has M normals, with the correlations tanh(r)."""
        (model,) = self.held
        z = point[:, :0] if z is None else z
        points, (h, c) = model.likelihood.points(point[:, None], z, (h[None], c[None]))
        weight, mean, log_sigma, r, pen = (part.squeeze(1) for part in points)
        return weight.log_softmax(-1), mean, log_sigma, r, pen.log_softmax(-1), h[0], c[0]


@dataclass(frozen=True, eq=False)
class Graph:
    """A part, and what is known of it.

    Attributes:
        name: of its file.
        part: the function.
        exact: the same, whose pictures are not rounded to 8 bits.
        inputs: their names.
        outputs: their names.
        batches: inputs to try it on; the first is what is traced.
        sizes: by place, the name of each size that may be any.
    """

    name: str
    part: Part
    exact: Part
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    batches: list[tuple[Tensor, ...]]
    sizes: Mapping[int, str] = field(default_factory=lambda: {0: "batch"})

    def difference(self, got: Sequence[Tensor], given: Sequence[Tensor]) -> float:
        """Return how far outputs are from the model's at most, relative to those that are larger than 1.

        Pictures of 8 bits may be off by their rounding, of half a grey level, which is not counted.
        """
        worst = 0.0
        with torch.no_grad():
            wanted = self.exact(*given)
        for ours, theirs in zip(wanted, got, strict=True):
            rounding = 0.0
            if theirs.dtype == torch.uint8 and isinstance(self.part, Decoder) and self.part.layout:
                theirs, rounding = from_bytes(theirs, self.part.layout), 0.5 / 255
            off = ((ours - theirs).abs() - rounding) / ours.abs().clamp(min=1)
            worst = max(worst, float(off.nan_to_num(torch.inf).max()))
        return worst


class Pictures(NamedTuple):
    """What a model is tried on: pictures (N, C, H, W) in [0, 1], or sketches (N, T, 5), and their labels (N,)."""

    x: Tensor
    y: Tensor | None


def from_bytes(x: Tensor, layout: Layout) -> Tensor:
    """Return pictures (B, C, H, W) in [0, 1] of those of 8 bits."""
    return (x.permute(0, 3, 1, 2) if layout == "nhwc" else x).float() / 255


def to_bytes(x: Tensor, layout: Layout) -> Tensor:
    """Return pictures of 8 bits of those (B, C, H, W) in [0, 1]."""
    x = (x * 255).round().clamp(0, 255).to(torch.uint8)
    return x.permute(0, 2, 3, 1) if layout == "nhwc" else x


@inference
def graphs_of(model: GenerativeModel, layout: Layout | None = None, pictures: Pictures | None = None) -> list[Graph]:
    """Return a model's parts: an encoder, if it has one, and a decoder; of sketches one step of it.

    Args:
        model: in evaluation mode.
        layout: of pictures of 8 bits, in and out; None is floats.
        pictures: real ones, on which the parts are tried beside random ones.

    Raises:
        UserError: if it has neither part, or a layout is asked for of a model of sketches.
    """
    if isinstance(model, SketchModel):
        if layout:
            raise UserError(f"--uint8 {layout}: {type(model).__name__} makes sketches, which have no pixels")
        return _of_sketches(model, pictures)
    if not (isinstance(model, Decoding) and model.pixels):
        raise UserError(f"{type(model).__name__} has no encoder or decoder, so it is exported as safetensors alone")
    ys = [torch.randint(model.labels, (n,)) if model.labels else None for n in SIZES]
    xs = [torch.rand(n, *model.hparams["shape"]) for n in SIZES]
    zs = [model.sample_prior(n, y) for n, y in zip(SIZES, ys, strict=True)]
    if pictures:
        x, y = model.checked(*pictures)
        xs, ys = [*xs, x], [*ys, y if model.labels else None]
        zs.append(model.encode(x, y) if isinstance(model, Autoencoder) else model.sample_prior(len(x), y))
    label = ("y",) if model.labels else ()
    found = []
    if isinstance(model, Autoencoder):
        part = Encoder(model, layout)
        batches = [_given(to_bytes(x, layout) if layout else x, y) for x, y in zip(xs, ys, strict=True)]
        outputs = ("mean", "stddev")[: len(part(*batches[0]))]
        found.append(Graph("encoder", part, part, ("x", *label), outputs, batches))
    batches = [_given(z, y) for z, y in zip(zs, ys, strict=True)]
    found.append(Graph("decoder", Decoder(model, layout), Decoder(model), ("z", *label), ("x",), batches))
    return found


def _given(x: Tensor, y: Tensor | None) -> tuple[Tensor, ...]:
    return (x,) if y is None else (x, y)


def _of_sketches(model: SketchModel, pictures: Pictures | None) -> list[Graph]:
    """An encoder and the decoder's first state, of a model with codes, and one step of the decoder."""
    batches = [
        _padded(model.sample(n), most) for n, most in zip(SIZES, (7, 2, model.hparams["shape"][0] + 1), strict=True)
    ]
    batches += [model.checked(*pictures)[0]] if pictures else []
    found: list[Graph] = []
    codes = [model.codes_of(x) for x in batches]
    if isinstance(model, Autoencoder):
        encoder, start = Encoder(model), Start(model)
        sizes = {0: "batch", 1: "points"}
        found.append(Graph("encoder", encoder, encoder, ("x",), ("mean", "stddev"), [(x,) for x in batches], sizes))
        found.append(Graph("start", start, start, ("z",), ("h", "c"), [(z,) for z in codes]))
    step = Step(model)
    steps = [_teacher_forced(model, x, z) for x, z in zip(batches, codes, strict=True)]
    return [*found, Graph("decoder", step, step, ("point", "h", "c", "z")[: len(steps[0])], POINT, steps)]


def _padded(x: Tensor, most: int) -> Tensor:
    """Sketches (B, T, 5) as (B, `most`, 5), cut off or with rows that say that they are over."""
    end = x.new_tensor(END).expand(len(x), most, -1)
    return torch.cat([x[:, : most - 1], end], 1)[:, :most]


def _teacher_forced(model: SketchModel, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    """The inputs of all steps along sketches (B, T, 5): (B T, 5), the state (B T, width) twice, the codes (B T, D)."""
    width = model.likelihood.lstm.hidden_size
    state = model.likelihood.first_state(z) or (x.new_zeros(1, len(x), width),) * 2
    last, inputs = x.new_tensor(START).expand(len(x), -1), []
    for row in x.unbind(1):
        inputs.append((last, state[0][0], state[1][0], z))
        _, state = model.likelihood.points(last[:, None], z, state)
        last = row
    point, h, c, z = (torch.cat(parts) for parts in zip(*inputs, strict=True))
    return (point, h, c, z) if z.shape[1] else (point, h, c)
