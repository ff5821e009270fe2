"""Curves of a training, from its metrics.csv."""

import csv
import io
import math
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from statistics import fmean, linear_regression
from typing import NamedTuple

from vae_zoo.errors import LARGEST, UserError

SECONDS = "timing/train_seconds"
LONGEST = 2**16  # bytes of the line with the names
FEWEST = 4  # epochs: a line goes through two of them exactly


class Point(NamedTuple):
    """One epoch of a training: a figure and the seconds of training so far, nan where not measured."""

    epoch: int
    value: float
    seconds: float


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the lines of a metrics.csv, without such as were cut off while they were written.

    Raises:
        UserError: if the file is no table.
    """
    if not path.is_file():
        return []
    names, rows = _table(path, path.read_bytes())
    return [dict(zip(names, row, strict=True)) for row in rows]


def _table(path: Path, content: bytes) -> tuple[list[str], list[list[str]]]:
    """The names of the columns and the lines, without such as are shorter or longer."""
    ended = content[: content.rfind(b"\n") + 1].decode(errors="replace")  # a line without its end may lack digits
    try:
        names, *rows = [*csv.reader(io.StringIO(ended, ""))] or [[]]
    except csv.Error as error:
        raise UserError(f"{path} is damaged: {error}") from error
    return names, [row for row in rows if len(row) == len(names)]


def figures_of(path: Path, part: str = "val") -> list[str]:
    """Return the names of a part's figures in a metrics.csv, of the validation's or of those of "train".

    Raises:
        UserError: if the file is no table.
    """
    if not path.is_file():
        return []
    with open(path, "rb") as file:  # its first line alone: a folder may have thousands of them
        names, _ = _table(path, file.readline(LONGEST))
    return [name.removeprefix(f"{part}/") for name in names if name.startswith(f"{part}/")]


def read_curves(path: Path, names: Sequence[str], measured: Sequence[float] = ()) -> dict[str, list[Point]]:
    """Return by epoch what was logged, and the training time: of an epoch the last value, in training the mean of all.

    Args:
        path: of a metrics.csv.
        names: columns of it.
        measured: the seconds of each epoch, where they are known more exactly.

    Raises:
        UserError: if the file is damaged.
    """
    logged: dict[str, dict[int, list[float]]] = {name: {} for name in (*names, SECONDS)}
    titles, rows = _table(path, path.read_bytes() if path.is_file() else b"")
    columns = dict(zip(titles, zip(*rows, strict=True), strict=False))  # without any where there is no row
    try:
        for name, epochs in logged.items():
            for number, text in zip(columns["epoch"], columns[name], strict=True) if name in columns else ():
                if text:  # most cells of a column are empty: what is logged together has a row of its own
                    epoch, value = int(number), float(text)
                    if not 0 <= epoch < 2**31 or LARGEST < abs(value) < math.inf:
                        raise ValueError(f"{name} is {text[:40]} in epoch {number[:40]}")
                    epochs.setdefault(epoch, []).append(value)
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    seconds = {epoch: values[-1] for epoch, values in logged.pop(SECONDS).items()} | dict(
        enumerate(accumulate(measured))
    )
    return {
        name: [
            Point(epoch + 1, _value(name, epochs.get(epoch, [math.nan])), seconds.get(epoch, math.nan))
            for epoch in sorted(epochs.keys() | seconds)
        ]
        for name, epochs in logged.items()
    }


def oscillation(curve: Sequence[Point]) -> float | None:
    """How much the last half of a curve swings: its deviation from a straight line over its mean absolute value.

    The line is that of least squares through the half's n values, one an epoch, and the deviation from it is the root
    of the sum of squares over n - 2: noise of standard deviation s on a loss of height h has about s / h.

    Args:
        curve: of a loss.

    Returns:
        the ratio; None of a half with fewer than `FEWEST` finite values, or of zeros.
    """
    half = [(p.epoch, p.value) for p in curve[len(curve) // 2 :] if math.isfinite(p.value)]
    height = fmean(abs(value) for _, value in half) if half else 0.0
    if len(half) < FEWEST or not height:
        return None
    slope, intercept = linear_regression(*zip(*half, strict=True))
    squares = sum((value - intercept - slope * epoch) ** 2 for epoch, value in half)
    return math.sqrt(squares / (len(half) - 2)) / height


def _value(name: str, logged: Sequence[float]) -> float:
    """The mean of training's steps, each of another batch; a validation is of all images, and the last one counts."""
    return sum(logged) / len(logged) if name.startswith("train/") else logged[-1]
