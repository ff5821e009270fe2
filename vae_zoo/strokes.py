"""Sketches: the network that reads them, and p(x|z), which writes them point by point.

A sketch is a tensor (T, 5) of rows (dx, dy, p1, p2, p3) (Ha & Eck 2017, section 3.1): the offset from the point before,
and the pen's state after it: on the paper, lifted, or the sketch is over. A sketch of N points has N rows and then, up
to T, rows (0, 0, 0, 0, 1), of which there is at least one. It begins at the origin with the pen on the paper.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_zoo.conditional import Conditional, at_least_float32
from vae_zoo.errors import UserError, amount, require, require_not_negative
from vae_zoo.inputs import check_finite, check_floats
from vae_zoo.networks import Shape

ROW = 5
LARGEST_LOG_SIGMA = 10.0  # a point 1e4 from a mean has u = 2e8, whose square times cosh(r)^2 is still a float32
LARGEST_R = 10.0  # tanh of it is 1 - 4e-9; the cosh of 90 would overflow
START, END = (0.0, 0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0, 1.0)


def lengths(x: Tensor) -> Tensor:
    """Return N, the number of points, (...) int64, of sketches (..., T, 5)."""
    return (x[..., 4] < 0.5).sum(-1)


def beginning(x: Tensor, *, points: int | None = None, lines: int | None = None) -> Tensor:
    """Return the first points of sketches (B, T, 5), or their first lines: sketches (B, T', 5) that end there.

    A line goes to where the pen is lifted, or to the sketch's end. Without either number it is all of a sketch.

    Raises:
        UserError: if both numbers are given, or a sketch has fewer points or lines.
    """
    if points is not None and lines is not None:
        raise UserError(f"a beginning is of {amount(points, 'point')} or of {amount(lines, 'line')}, not of both")
    asked, what = (points, "point") if lines is None else (lines, "line")
    if asked is None:
        return x
    require(1, **{f"{what}s": asked})
    steps, n = torch.arange(x.shape[1], device=x.device), lengths(x)[:, None]  # T, B 1
    counted = steps < n if lines is None else (x[..., 3] > 0.5) | (steps == n - 1)  # B T
    there = counted.sum(-1)
    if len(short := (there < asked).nonzero()):
        first = int(short[0])
        raise UserError(f"{what}s {asked}: sketch {first} of {len(x)} is over after {amount(int(there[first]), what)}")
    kept = 1 + (counted.cumsum(-1) < asked).sum(-1, keepdim=True)  # B 1
    x = x[:, : int(kept.max()) + 1]  # B T' 5
    return torch.where((steps[: x.shape[1]] < kept)[..., None], x, x.new_tensor(END))


def longest(shape: Shape) -> int:
    """Return N_max of the shape (N_max, 5) of sketches, or raise a UserError if it is something else."""
    if not isinstance(shape, (tuple, list)) or len(shape) != 2 or shape[1] != ROW:
        raise UserError(f"shape must be (points of the longest sketch, {ROW}), got {shape}; are the data sketches?")
    require(1, **{f"the first number of shape {shape}": shape[0]})
    return shape[0]


class LSTM(nn.LSTM):
    """One layer of PyTorch's LSTM, (B, T, inputs) -> (B, T, width), with recurrent dropout as an option.

    c_t = f_t c_{t-1} + i_t d(g_t): the new values g are dropped, anew in each step, and never what is remembered
    (Semeniuta et al. 2016, eq. 10). No fused kernel can do that, so with it training loops over time.

    Args:
        inputs: numbers in per step.
        width: of the state.
        recurrent_dropout: probability to drop a new value, in training.
    """

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(self, inputs: int, width: int, recurrent_dropout: float = 0.0) -> None:
        super().__init__(inputs, width, batch_first=True)
        self.recurrent_dropout = recurrent_dropout

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # type: ignore[override]
        """Return the outputs (B, T, width) and the last state h, c, (1, B, width) each."""
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):  # few CPUs have an LSTM of 16 bits
            h_c = None if state is None else (at_least_float32(state[0]), at_least_float32(state[1]))
            with torch.autocast("cpu", enabled=False):
                return self(at_least_float32(x), h_c)
        if not (self.training and self.recurrent_dropout):
            return super().forward(x, state)
        zero = x.new_zeros(len(x), self.hidden_size)
        h, c = (zero, zero) if state is None else (part.squeeze(0) for part in state)
        outputs = []
        for given in F.linear(x, self.weight_ih_l0, self.bias_ih_l0 + self.bias_hh_l0).unbind(1):
            i, f, g, o = (given + F.linear(h, self.weight_hh_l0)).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * F.dropout(g.tanh(), self.recurrent_dropout)
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        return torch.stack(outputs, 1), (h[None], c[None])


class StrokeEncoder(nn.Module):
    """An LSTM reads the sketch forwards, another backwards; then one linear layer (Ha & Eck 2017, eq. 1 and 2).

    Each stops at the sketch's own end, so padding changes nothing. The sketches are turned around before the second
    one, and neither is packed: on a CPU a packed sequence takes 7 times as long.

    Args:
        features: numbers out per sketch.
        width: of each LSTM's state.
        recurrent_dropout: see `LSTM`.

    Shapes: (B, T, 5) -> (B, features).
    """

    def __init__(self, features: int, width: int = 256, recurrent_dropout: float = 0.0) -> None:
        super().__init__()
        require(1, features=features, width=width)
        self.forwards, self.backwards = (LSTM(ROW, width, recurrent_dropout) for _ in range(2))
        self.linear = nn.Linear(2 * width, features)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features (B, features) of sketches (B, T, 5)."""
        check_sketches(x)
        last = (lengths(x) - 1).clamp(min=0)  # B
        turned = (last[:, None] - torch.arange(x.shape[1], device=x.device)).clamp(min=0)  # B T
        backwards = x.gather(1, turned[..., None].expand(-1, -1, ROW))  # B T 5
        rows = torch.arange(x.shape[0], device=x.device)
        states = [lstm(given)[0][rows, last] for lstm, given in ((self.forwards, x), (self.backwards, backwards))]
        return self.linear(torch.cat(states, -1))


def check_sketches(x: Tensor) -> None:
    """Raise a UserError if x is no batch of sketches (B, T, 5)."""
    check_floats("sketches", x, f"(B, T, {ROW})", 3)
    if x.shape[2] != ROW or not x.shape[1]:
        raise UserError(f"sketches must be (B, T, {ROW}), offset and pen state of each point, got {tuple(x.shape)}")


def check_strokes(x: Tensor) -> None:
    """Raise a UserError if these sketches (B, T, 5) hold other numbers than sketches do; waits for the device."""
    check_finite("sketches", x)
    pen, over = x[..., 2:], x[..., 4]
    one = ((pen == 0) | (pen == 1)).all() & (pen.sum(-1) == 1).all()
    ends = (over[:, -1] == 1).all() & (over[:, 1:] >= over[:, :-1]).all()
    if not one:
        raise UserError("sketches must have one of the pen states p1, p2, p3 of each row at 1 and the others at 0")
    if not ends:
        raise UserError("sketches must end: from some row on, the last one at the latest, p3 is 1")


class Points(NamedTuple):
    """The distribution of the next point, (...) of them: M normals in the plane, and the pen (Ha & Eck 2017, eq. 3-8).

    A normal has the correlation tanh(r), so that with u = (dx - mu_x) / sigma_x, v = (dy - mu_y) / sigma_y
    (u^2 + v^2 - 2 rho u v) / (1 - rho^2) = v^2 + (u cosh r - v sinh r)^2, which cannot cancel out.

    Attributes:
        weight: logits of the mixture's weights, (..., M).
        mean: (..., M, 2).
        log_sigma: (..., M, 2).
        r: (..., M).
        pen: logits of the three states, (..., 3).
    """

    weight: Tensor
    mean: Tensor
    log_sigma: Tensor
    r: Tensor
    pen: Tensor

    def log_prob_offset(self, offset: Tensor) -> Tensor:
        """Return log p(dx, dy), (...), of offsets (..., 2)."""
        u, v = ((offset[..., None, :] - self.mean) * (-self.log_sigma).exp()).unbind(-1)  # ... M
        cosh = self.r.cosh()
        squares = v.square() + (u * cosh - v * self.r.sinh()).square()
        log_normal = cosh.log() - self.log_sigma.sum(-1) - squares / 2 - math.log(2 * math.pi)
        return (self.weight.log_softmax(-1) + log_normal).logsumexp(-1)

    def log_prob_pen(self, pen: Tensor) -> Tensor:
        """Return log p(pen), (...), of pen states (..., 3), one of them 1."""
        return (self.pen.log_softmax(-1) * pen).sum(-1)

    def sample(self, temperature: float) -> Tensor:
        """Draw a row each, (..., 5); weights and pen logits are divided by the temperature, variances multiplied.

        At 0 it is the mean of the heaviest normal and the likeliest pen state.
        """
        # The largest of logits + t * Gumbel noise is a draw from softmax(logits / t), also for t = 0.
        which, pen = ((logits + temperature * _gumbel(logits)).argmax(-1) for logits in (self.weight, self.pen))
        mean, log_sigma = (part.take_along_dim(which[..., None, None], -2).squeeze(-2) for part in self[1:3])  # ... 2
        r = self.r.take_along_dim(which[..., None], -1).squeeze(-1)
        a, b = torch.randn_like(mean).unbind(-1)
        noise = torch.stack([r.tanh() * b + a / r.cosh(), b], -1)  # ... 2
        offset = mean + math.sqrt(temperature) * log_sigma.exp() * noise
        return torch.cat([offset, F.one_hot(pen, 3).to(offset.dtype)], -1)


def _gumbel(like: Tensor) -> Tensor:
    return -torch.empty_like(like).exponential_().log()


class StrokeDecoder(Conditional):
    """p(x|z) = prod_i p(x_i | x_1 ... x_{i-1}, z): an LSTM is given the last row and z (Ha & Eck 2017, section 3.2).

    Its first state is tanh of a linear layer of z; without z it is zero.

    Args:
        latent: D, numbers in a code; 0 is the decoder alone, p(x).
        width: of the LSTM's state.
        mixtures: M, normals in the mixture of an offset.
        recurrent_dropout: see `LSTM`.
        longest: points after which a sampled sketch ends in any case.
    """

    part = "decoder"

    def __init__(
        self, latent: int, width: int = 512, mixtures: int = 20, recurrent_dropout: float = 0.0, longest: int = 250
    ) -> None:
        super().__init__()
        require(1, width=width, mixtures=mixtures, longest=longest)
        require(0, latent=latent)
        self.mixtures, self.longest = mixtures, longest
        self.start = nn.Linear(latent, 2 * width) if latent else None
        self.lstm = LSTM(ROW + latent, width, recurrent_dropout)
        self.linear = nn.Linear(width, 6 * mixtures + 3)

    def forward(self, z: Tensor, y: Tensor | None = None) -> "SketchDistribution":
        """Return p(x|z) with the batch shape of codes (..., D)."""
        return SketchDistribution(self, z)

    def first_state(self, z: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the LSTM's h and c, (1, N, width) each, for codes (N, D)."""
        if self.start is None:
            return None
        h, c = self.start(z).tanh().chunk(2, -1)
        return h[None].contiguous(), c[None].contiguous()

    def points(
        self, last: Tensor, z: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Points, tuple[Tensor, Tensor]]:
        """Return the distributions after each of the rows `last` (N, T, 5), and the LSTM's state after all of them."""
        given = torch.cat([last, z[:, None].expand(-1, last.shape[1], -1)], -1)  # N T 5+D
        outputs, state = self.lstm(given, state)
        m = self.mixtures
        weight, mean, log_sigma, r, pen = at_least_float32(self.linear(outputs)).split(
            [m, 2 * m, 2 * m, m, 3], -1
        )  # N T .
        log_sigma = log_sigma.clamp(-LARGEST_LOG_SIGMA, LARGEST_LOG_SIGMA).unflatten(-1, (m, 2))
        return Points(weight, mean.unflatten(-1, (m, 2)), log_sigma, r.clamp(-LARGEST_R, LARGEST_R), pen), state

    def sample(self, z: Tensor, temperature: float = 1.0, begun: Tensor | None = None) -> Tensor:
        """Sample a sketch for each code (N, D): (N, T, 5), T what the longest needs (Ha & Eck 2017, eq. 8).

        Args:
            z: the codes.
            temperature: 1 samples from p(x|z), 0 takes what is likeliest at each point.
            begun: sketches (N, T', 5), whose points are the first ones of what is sampled. Noise is drawn for them,
                too, so that under one seed a sample goes on from any beginning of its own to itself.

        Raises:
            UserError: if the temperature is negative, or a beginning as long as a sketch can be.
        """
        require_not_negative(temperature=temperature)
        end, row = z.new_tensor(END), z.new_tensor(START).expand(len(z), ROW)
        begun = row[:, None][:, :0] if begun is None else begun
        n = lengths(begun)[:, None]  # N 1
        if begun.shape[1] and (most := int(n.max())) >= self.longest:
            raise UserError(
                f"a beginning of {most} points has no ending: the model's sketches have {self.longest} at most"
            )
        over = torch.zeros(len(z), 1, dtype=torch.bool, device=z.device)
        state, rows = self.first_state(z), []
        for step in range(self.longest):
            points, state = self.points(row[:, None], z, state)
            row = Points(*(part.squeeze(1) for part in points)).sample(temperature).to(z.dtype)
            if step < begun.shape[1]:
                row = torch.where(step < n, begun[:, step], row)
            over = over | (row[:, 4:] > 0)
            row = torch.where(over, end, row)
            rows.append(row)
            if over.all():
                break
        return torch.stack([*rows, end.expand_as(row)], 1)


class SketchDistribution(Distribution):
    """p(x|z) of sketches for codes (..., D).

    Args:
        decoder: gives the next point's distribution.
        z: (..., D).
    """

    def __init__(self, decoder: StrokeDecoder, z: Tensor) -> None:
        super().__init__(z.shape[:-1], validate_args=False)
        self._decoder, self._z = decoder, z

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(x|z), (...), of sketches (B, T, 5), in nats: of N offsets and N + 1 pen states.

        What comes after a sketch's end has probability one. (For their loss Ha & Eck, eq. 9, let the network pay for
        predicting the end state over and over, up to N_max.)
        """
        return self.log_prob_steps(value).sum(-1)

    def log_prob_steps(self, value: Tensor) -> Tensor:
        """Return log p(x_i | x_1 ... x_{i-1}, z), (..., T), of the rows of sketches (B, T, 5)."""
        check_sketches(value)
        x = value.expand(*self.batch_shape, *value.shape[1:]).flatten(0, -3)  # N T 5
        z = self._z.flatten(0, -2)  # N D
        start = torch.zeros_like(x[:, :1])  # N 1 5
        start[..., 2] = 1
        last = torch.cat([start, x[:, :-1]], 1)  # N T 5
        points, _ = self._decoder.points(last, z, self._decoder.first_state(z))
        steps, n = torch.arange(x.shape[1], device=x.device), lengths(x)[:, None]  # T, N 1
        log_p = points.log_prob_offset(x[..., :2]) * (steps < n) + points.log_prob_pen(x[..., 2:]) * (steps <= n)
        return log_p.unflatten(0, self.batch_shape)
