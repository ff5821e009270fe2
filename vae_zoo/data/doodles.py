"""The embedded sketches: circles, zigzags and stars with jitter, drawn by formula, as a QuickDraw file."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vae_zoo.errors import UserError, require


def draw_doodles(out: Path, n: int, seed: int = 0) -> None:
    """Write `n` drawings to a ``.ndjson`` as QuickDraw's simplified ones are: places from 0 to 255.

    Equal seeds give equal files; drawing i does not depend on `n`.

    Args:
        out: the file to make; its folder is made too.
        n: how many drawings.
        seed: of all that is random.

    Raises:
        UserError: if `n` is less than 1, `out` is there already or has another suffix.
    """
    require(1, n=n)
    if out.exists():
        raise UserError(f"{out} is there already; remove it or choose another file")
    if out.suffix != ".ndjson":
        raise UserError(f"out must be a .ndjson file, got {out}")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_suffix(".partial")
    with open(temporary, "w") as file:
        for i in range(n):
            rng = np.random.default_rng([seed, i])
            word = sorted(DOODLES)[int(rng.integers(len(DOODLES)))]
            lines = _jittered(DOODLES[word](rng), rng)
            drawing = [np.rint(line).astype(int).T.tolist() for line in lines]
            file.write(json.dumps({"word": word, "key_id": f"{seed}-{i}", "drawing": drawing}) + "\n")
    os.replace(temporary, out)


def _circle(rng: np.random.Generator) -> list[np.ndarray]:
    """A circle with two eyes and a mouth: four strokes."""
    around = _arc(0, 0, 1, 0, 2 * math.pi, 16) @ np.diag([1, rng.uniform(0.7, 1.0)])
    eyes = [_arc(side * 0.35, -0.25, 0.08, 0, 2 * math.pi, 5) for side in (-1, 1)]
    return [around, *eyes, _arc(0, 0.1, 0.45, 0.15 * math.pi, 0.85 * math.pi, 6)]


def _zigzag(rng: np.random.Generator) -> list[np.ndarray]:
    """Up and down, in one stroke."""
    turns = int(rng.integers(4, 9))
    return [np.column_stack([np.linspace(-1, 1, turns), np.resize([-0.5, 0.5], turns) * rng.uniform(0.5, 1)])]


def _star(rng: np.random.Generator) -> list[np.ndarray]:
    """Five points, drawn in one stroke."""
    angles = rng.uniform(0, 2 * math.pi) + np.arange(6) * 4 * math.pi / 5
    return [np.column_stack([np.cos(angles), np.sin(angles)])]


DOODLES: dict[str, Callable[[np.random.Generator], list[np.ndarray]]] = {
    "circle": _circle,
    "zigzag": _zigzag,
    "star": _star,
}


def _arc(x: float, y: float, radius: float, begin: float, end: float, points: int) -> np.ndarray:
    angles = np.linspace(begin, end, points)
    return np.column_stack([x + radius * np.cos(angles), y + radius * np.sin(angles)])


def _jittered(lines: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Shake each point, turn the whole a little, and fit it into 0 ... 255."""
    turn = rng.normal(0, 0.15)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    shaken = [(line + rng.normal(0, 0.02, line.shape)) @ rotation for line in lines]
    points = np.concatenate(shaken)
    low, side = points.min(0), (points.max(0) - points.min(0)).max()
    return [(line - low) * 255 / side for line in shaken]
