"""Curves of a training, from its metrics.csv."""

import csv
import io
import math
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from vae_zoo.errors import LARGEST, UserError


class Point(NamedTuple):
    """One epoch of a training: a validation figure and the seconds of training so far, nan where not measured."""

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
    content = path.read_bytes()
    ended = content[: content.rfind(b"\n") + 1].decode(errors="replace")  # a line without its end may lack digits
    try:
        return [row for row in csv.DictReader(io.StringIO(ended, "")) if None not in row and None not in row.values()]
    except csv.Error as error:
        raise UserError(f"{path} is damaged: {error}") from error


def figures_of(path: Path) -> list[str]:
    """Return the names of the validation's figures in a metrics.csv, for `read_curve`.

    Raises:
        UserError: if the file is no table.
    """
    rows = read_rows(path)
    return [name.removeprefix("val/") for name in (rows[0] if rows else {}) if name.startswith("val/")]


def read_curve(path: Path, figure: str, measured: Sequence[float] = ()) -> list[Point]:
    """Return by epoch a figure of the validation, and the training time.

    Args:
        path: of a metrics.csv.
        figure: its name.
        measured: the seconds of each epoch, where they are known more exactly.

    Raises:
        UserError: if the file is damaged.
    """
    found: dict[int, dict[str, float]] = {}
    rows = read_rows(path)
    try:
        for row in rows:
            for name in (f"val/{figure}", "timing/train_seconds"):
                if row.get(name):
                    epoch, value = int(row["epoch"]), float(row[name])
                    if not 0 <= epoch < 2**31 or LARGEST < abs(value) < math.inf:
                        raise ValueError(f"{name} is {row[name][:40]} in epoch {row['epoch'][:40]}")
                    found.setdefault(epoch, {})[name] = value
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    for epoch, seconds in enumerate(accumulate(measured)):
        found.setdefault(epoch, {})["timing/train_seconds"] = seconds
    return [
        Point(epoch + 1, at.get(f"val/{figure}", math.nan), at.get("timing/train_seconds", math.nan))
        for epoch, at in sorted(found.items())
    ]
