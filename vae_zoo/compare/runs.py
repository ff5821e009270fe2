"""What a run folder tells: settings, progress, curves, pictures and results."""

import csv
import json
import math
import os
import re
from collections.abc import Iterator
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from vae_zoo.compare import conditions
from vae_zoo.errors import UserError


class Point(NamedTuple):
    """One epoch of a training: validation MSE and seconds of training so far, nan where it was not measured."""

    epoch: int
    mse: float
    seconds: float


class Run:
    """A run folder, as ``vae-zoo fit`` and ``vae-zoo test`` leave it. It may be unfinished, or not there at all.

    Settings and results are read once.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def exists(self) -> bool:
        """Whether a training was begun there."""
        return (self.folder / "config.yaml").is_file()

    @property
    def name(self) -> str:
        """What the runs of one model are called: ``vae`` for ``vae/version_0`` and ``vae/seed_0``."""
        numbered = re.fullmatch(r"(version|seed)_\d+", self.folder.name)
        return self.folder.resolve().parent.name if numbered else self.folder.name

    @cached_property
    def config(self) -> conditions.Config:
        """All settings."""
        return conditions.read(self.folder / "config.yaml")

    @property
    def likelihood(self) -> str | None:
        """The likelihood with its arguments, ``Gaussian(sigma=1.0)``; None for a model that has none."""
        given = conditions.arguments(self.config, "model").get("likelihood")
        own = given.get("init_args") if isinstance(given, dict) else None
        inside = ", ".join(f"{name}={value}" for name, value in (own or {}).items())
        return given and f"{conditions.class_name(given)}" + (f"({inside})" if inside else "")

    @cached_property
    def results(self) -> dict[str, Any] | None:
        """The content of results.json; None if the run was not tested."""
        try:
            content = json.loads((self.folder / "results.json").read_text())
        except (FileNotFoundError, ValueError):  # it is not there, or damaged
            return None
        return content if isinstance(content, dict) else None

    @property
    def tested(self) -> dict[str, Any]:
        """The results of a run that is known to be tested."""
        if self.results is None:
            raise UserError(f"{self.folder} was not tested")
        return self.results

    @property
    def time(self) -> float:
        """When the training was begun or went on."""
        path = self.folder / "config.yaml"
        return path.stat().st_mtime if path.is_file() else 0.0

    @property
    def epoch(self) -> int:
        """The number of epochs in the last checkpoint, as far as metrics.csv tells, which is read at its end only."""
        if self.results and "epochs" in self.results:
            return self.results["epochs"]
        try:
            with open(self.folder / "metrics.csv", "rb") as file:
                column = file.readline().decode().strip().split(",").index("epoch")
                begin = file.tell()
                file.seek(max(begin, file.seek(0, os.SEEK_END) - 10_000))
                *_, before, _ = file.read().decode().splitlines()
            return int(before.split(",")[column])
        except (FileNotFoundError, ValueError):  # not there yet, or just being written
            return 0

    def rows(self) -> Iterator[dict[str, str]]:
        """The lines of metrics.csv."""
        path = self.folder / "metrics.csv"
        if path.is_file():
            with open(path, newline="") as file:
                yield from csv.DictReader(file)

    def curve(self) -> list[Point]:
        """Return the epochs' validation MSE and training time, the latter as the results have it, if there are any."""
        found: dict[int, dict[str, float]] = {}
        for row in self.rows():
            for name in ("val/mse", "timing/train_seconds"):
                if row.get(name):
                    found.setdefault(int(row["epoch"]), {})[name] = float(row[name])
        measured = ((self.results or {}).get("timing") or {}).get("epoch_seconds") or []
        for epoch, seconds in enumerate(accumulate(measured)):
            found.setdefault(epoch, {})["timing/train_seconds"] = seconds
        return [
            Point(epoch + 1, at.get("val/mse", math.nan), at.get("timing/train_seconds", math.nan))
            for epoch, at in sorted(found.items())
        ]

    def pictures(self) -> dict[int, Path]:
        """Return by epoch the files with reconstructions and samples."""
        return {int(path.stem[6:]): path for path in sorted((self.folder / "images").glob("epoch_*.png"))}
