"""Endings for the first strokes of a drawing."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vae_zoo.errors import require_not_negative
from vae_zoo.models.base import inference
from vae_zoo.models.sketch import SketchModel
from vae_zoo.strokes import beginning, lengths


@dataclass(frozen=True, eq=False)
class Endings:
    """Endings of one beginning, drawn at one temperature.

    Attributes:
        temperature: at which they were drawn.
        sketches: (n, T, 5), the beginning first in each.
        begun: how many points the beginning has.
        points: how many the endings have, their mean.
        ended: the share of them that the model ended before N_max.
        nats: `surprise` of each, (n,).
    """

    temperature: float
    sketches: Tensor
    begun: int
    points: float
    ended: float
    nats: Tensor


@inference
def surprise(model: SketchModel, x: Tensor, begun: int, codes: Tensor | None = None) -> Tensor:
    """Return -log p(ending | beginning) per step of the ending, (B,), in nats, by the model at its own temperature, 1.

    A step is a point, or the end; where a sketch is cut off at N_max, that is none. Offsets are counted in deviations
    of the training set, as in `log_prob`, so that the figure compares drawings under one model.

    Args:
        model: of sketches.
        x: (B, T, 5).
        begun: how many of their points are the beginning.
        codes: (B, D), under which they are drawn; by default their own.
    """
    x, _ = model.checked(x)
    log_p = model.likelihood.forward(model.codes_of(x) if codes is None else codes).log_prob_steps(x)  # B T
    steps = torch.arange(x.shape[1], device=x.device)
    of_ending = (steps >= begun) & (steps <= lengths(x)[:, None]) & (steps < model.likelihood.longest)  # B T
    return -(log_p * of_ending).sum(-1) / of_ending.sum(-1)


@inference
def endings(
    model: SketchModel,
    x: Tensor,
    temperatures: Sequence[float],
    n: int = 8,
    *,
    points: int | None = None,
    lines: int | None = None,
    seed: int = 0,
) -> list[Endings]:
    """Draw endings to the beginning of one sketch at several temperatures (Ha & Eck 2017, section 4.4).

    Args:
        model: of sketches; one with an encoder goes on under the code of all of `x`.
        x: the sketch, (T, 5), or a beginning, if neither of the next two is given.
        temperatures: low ones draw what is likeliest, 1 is the model's own spread.
        n: endings at each.
        points: how many of its points are the beginning.
        lines: or how many of its lines.
        seed: of the noise, which is the same at each temperature.

    Raises:
        UserError: if a temperature is negative, or there is no such beginning.
    """
    for temperature in temperatures:
        require_not_negative(temperature=temperature)
    x, _ = model.checked(x[None])
    begun = int(lengths(beginning(x, points=points, lines=lines)))
    codes = model.codes_of(x).expand(n, -1)
    found = []
    for temperature in temperatures:
        with torch.random.fork_rng([x.device] if x.device.type == "cuda" else []):
            torch.manual_seed(seed)
            made = model.complete(x, points=points, lines=lines, n=n, temperature=temperature)[0]
        sizes = lengths(made)
        ended = float((sizes < model.likelihood.longest).float().mean())
        nats = surprise(model, made, begun, codes)
        found.append(Endings(temperature, made, begun, float((sizes - begun).float().mean()), ended, nats))
    return found
