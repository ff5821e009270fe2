"""The run folder, ``runs/<model>/version_N``: what its files are called, and their reading and writing."""

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from vae_zoo import settings
from vae_zoo.curves import Point, read_curves
from vae_zoo.errors import UserError
from vae_zoo.ids import in_common
from vae_zoo.reading import read_file
from vae_zoo.results import NO_FIGURES, REQUIRED, Results, damage
from vae_zoo.writing import write_json


class Run:
    """A run folder. It may be unfinished, or not there at all; settings and results are read once.

    Attributes:
        config_file: all settings of the training.
        split_file: the images' ids by part, and their hash.
        metrics_file: what was logged in training.
        results_file: the figures of the test.
        codes_file: the codes of the test images.
        probe_file: what a linear classifier makes of the model's features.
        log_file: what the commands printed in a comparison.
        lock_file: held by the job of a comparison that is at work here.
        fit_lock_file: held by the process that trains here.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config_file = folder / "config.yaml"
        self.split_file = folder / "split.json"
        self.metrics_file = folder / "metrics.csv"
        self.results_file = folder / "results.json"
        self.codes_file = folder / "codes.npz"
        self.probe_file = folder / "probe.json"
        self.log_file = folder / "log.txt"
        self.lock_file = folder / ".lock"
        self.fit_lock_file = folder / ".fit.lock"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self.folder.resolve() == other.folder.resolve()

    def __hash__(self) -> int:
        return hash(self.folder.resolve())

    def checkpoint(self, which: Literal["last", "best"] = "last") -> Path:
        """Return the file of the last checkpoint, or of the best one."""
        return self.folder / "checkpoints" / f"{which}.ckpt"

    def picture(self, kind: str, epoch: int, suffix: str = ".png") -> Path:
        """Return the file of a picture, ``images/samples_0005.png``; each grid has a file of its own."""
        return self.folder / "images" / f"{kind}_{epoch:04d}{suffix}"

    @property
    def pictures(self) -> dict[str, dict[int, Path]]:
        """The pictures that are there, by kind and epoch; what a link leads to is not the run's."""
        found: dict[str, dict[int, Path]] = {}
        for path in sorted((self.folder / "images").glob("*.png")):
            named = re.fullmatch(r"(.+)_(\d{4,9})", path.stem)
            if named and path.is_file() and not path.is_symlink() and not path.parent.is_symlink():
                found.setdefault(named[1], {})[int(named[2])] = path
        return found

    @property
    def exists(self) -> bool:
        """Whether a training was begun there."""
        return self.config_file.is_file()

    @property
    def name(self) -> str:
        """What the runs of one model are called: ``vae`` for ``vae/version_0`` and ``vae/seed_0``."""
        numbered = re.fullmatch(r"(version|seed)_\d+", self.folder.name)
        return self.folder.resolve().parent.name if numbered else self.folder.name

    @property
    def time(self) -> float:
        """When the training was begun or went on."""
        return self.config_file.stat().st_mtime if self.exists else 0.0

    @cached_property
    def config(self) -> settings.Config:
        """All settings."""
        return settings.read(self.config_file)

    @property
    def likelihood(self) -> str | None:
        """The likelihood with its arguments, ``Gaussian(sigma=1.0)``; None for a model that has none."""
        given = settings.arguments(self.config, "model").get("likelihood")
        own = given.get("init_args") if isinstance(given, dict) else None
        inside = ", ".join(f"{name}={value}" for name, value in (own or {}).items())
        return given and f"{settings.class_name(given)}" + (f"({inside})" if inside else "")

    @cached_property
    def _content(self) -> dict[str, Any] | None:
        """What stands in results.json; None if it is not there, or damaged."""
        try:
            content = json.loads(read_file(self.results_file, 2**24))
        except (FileNotFoundError, IsADirectoryError, ValueError, RecursionError):  # the last, of one without end
            return None
        return content if isinstance(content, dict) else None

    @property
    def untested(self) -> str | None:
        """Why there are no results; None if there are."""
        if self._content is None:
            return "it is not finished, or was not tested"
        if not self._content.keys() >= REQUIRED:
            return "it was tested by an older version: vae-zoo test it again"
        return (found := damage(self._content)) and f"its results.json is damaged, {found}: vae-zoo test it again"

    @cached_property
    def results(self) -> Results | None:
        """The results of the test; None if there are none, or they are an older version's."""
        if self._content is None or self.untested:
            return None
        known = {name: value for name, value in self._content.items() if name in NO_FIGURES}
        figures = {name: value for name, value in self._content.items() if name not in NO_FIGURES}
        return Results(**known, figures=figures)  # type: ignore[typeddict-item]  # its keys are checked above

    @property
    def tested(self) -> Results:
        """The results of a run that is known to be tested."""
        if self.results is None:
            raise UserError(f"{self.folder}: {self.untested}")
        return self.results

    @property
    def epoch(self) -> int:
        """The number of epochs in the last checkpoint, as far as metrics.csv tells, which is read at its end only."""
        if self.results:
            return self.results["epochs"]
        if not self.metrics_file.is_file():
            return 0
        try:
            with open(self.metrics_file, "rb") as file:
                column = file.readline().decode().strip().split(",").index("epoch")
                begin = file.tell()
                file.seek(max(begin, file.seek(0, os.SEEK_END) - 10_000))
                *_, before, _ = file.read().decode().splitlines()
            return int(before.split(",")[column])
        except (OSError, ValueError, IndexError):  # not there yet, or just being written
            return 0

    def curve(self, figure: str = "mse") -> list[Point]:
        """Return by epoch a figure of the validation, and the training time, which the results have more exactly.

        Raises:
            UserError: if metrics.csv is damaged.
        """
        return self.curves([f"val/{figure}"])[f"val/{figure}"]

    def curves(self, names: Sequence[str]) -> dict[str, list[Point]]:
        """Return what was logged under these names, such as ``train/loss``, each as `curve` does, in one reading.

        Raises:
            UserError: if metrics.csv is damaged.
        """
        measured = self.results["timing"].get("epoch_seconds") if self.results else None
        return read_curves(self.metrics_file, names, measured or [])

    def write_results(self, results: Results) -> None:
        """Write results.json. A figure that is no finite number is None there, and the reason is that it diverged.

        Raises:
            UserError: if a figure is called like something else in the file.
        """
        for name in results["figures"].keys() & NO_FIGURES:
            raise UserError(f"a figure cannot be called {name!r}, which is another key of results.json; rename it")
        figures, reasons = dict(results["figures"]), dict(results["reasons"])
        for name, value in figures.items():
            if value is not None and not math.isfinite(value):
                figures[name], reasons[name] = None, "diverged"
        rest = {name: value for name, value in results.items() if name not in ("model", "traits", "figures", "reasons")}
        content = {"model": results["model"], "traits": results["traits"], **figures, "reasons": reasons, **rest}
        write_json(self.results_file, content)

    @cached_property
    def split(self) -> dict[str, Any]:
        """What stands in split.json; nothing where it is missing or damaged."""
        try:
            content = json.loads(read_file(self.split_file))
        except (OSError, ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}

    def trained_on(self, ids: Iterable[Any]) -> int:
        """Return how many of these images, by their ids, the run was trained on; 0 where it does not say.

        Where either are too many for a list, it is what their samples tell.
        """
        return in_common(self.split.get("train"), ids)

    def write_split(self, split: Mapping[Any, Any], sha256: str, scale: float) -> None:
        """Write split.json: the images' ids by part, or samples of them, a hash, and what values were divided by."""
        write_json(self.split_file, {**split, "sha256": sha256, "scale": scale}, indent=None)

    def write_probe(self, found: dict[str, Any]) -> None:
        """Write probe.json."""
        write_json(self.probe_file, found)

    def refuse_foreign(self) -> None:
        """Refuse a folder in which a training would write among what is not its own.

        Raises:
            UserError: if it is a file, or a folder with files or folders of others and without a run.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"run_dir {self.folder} is a file; give a folder")
        if not self.exists and (foreign := next((path for path, own in self._entries() if not own), None)):
            raise UserError(f"run_dir {self.folder} has {foreign.name} in it, and no run; give another folder")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, and let no other process train in it meanwhile.

        Raises:
            UserError: if another one does.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.fit_lock_file)
        try:
            lock.acquire(timeout=5)  # the workers of a process that was killed live on for a moment
        except Timeout:
            raise UserError(
                f"another process trains in {self.folder}; wait for it, or give another folder; if none does, remove "
                f"{self.fit_lock_file.name} there"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def refuse_links(self) -> None:
        """Refuse links in the run folder through which something would be written elsewhere.

        Raises:
            UserError: that names one.
        """
        folders = self.checkpoint().parent, self.picture("", 0).parent
        files = (path for path, own in self._entries() if own and path.parent == self.folder)
        if link := next((path for path in (*folders, *files) if path.is_symlink()), None):
            raise UserError(f"{link} is a link, and nothing is written to where it leads; remove it")

    def remove(self) -> None:
        """Remove the files that a training writes, and the folders that are empty then."""
        for path, own in [*self._entries()]:
            if own:
                path.unlink(missing_ok=True)
        for folder in (self.checkpoint().parent, self.picture("", 0).parent, self.folder):
            with suppress(OSError):  # there is something of others in it
                folder.rmdir()

    def _entries(self) -> Iterator[tuple[Path, bool]]:
        """What lies in the folder and in its own two, and whether a training writes a file of that name."""
        folders = self.folder, self.checkpoint().parent, self.picture("", 0).parent
        own = [value.name for value in vars(self).values() if isinstance(value, Path)]
        names = ("|".join(map(re.escape, own)) + r"|hparams\.yaml|events\.out\.tfevents\..*", r"(last|best)\.ckpt")
        for folder, name in zip(folders, (*names, r".+_\d{4,}\.(png|svg)"), strict=True):
            for path in folder.iterdir() if folder.is_dir() else ():
                if path not in folders:  # one that was not finished has another name
                    yield path, bool(re.fullmatch(rf"\.?({name})(\.partial)?", path.name)) and not path.is_dir()

    def forget_results(self, epoch: int = 0) -> None:
        """Remove what was made of another checkpoint when training goes on: figures, codes, pictures of later epochs.

        Args:
            epoch: after which it goes on.
        """
        for path in (self.results_file, self.probe_file, self.codes_file):
            path.unlink(missing_ok=True)
        for path, own in [*self._entries()]:
            drawn = re.search(r"_(\d{4,})\.(png|svg)", path.name)
            if own and drawn and path.parent == self.picture("", 0).parent and int(drawn[1]) > epoch:
                path.unlink()

    def refuse_trained(self, anew: bool) -> None:
        """Refuse to begin a training in a folder in which another one has left something.

        Args:
            anew: whether what a training left that was cut off in its first epoch may be replaced.

        Raises:
            UserError: if it has.
        """
        left = [self.results_file, self.probe_file, self.codes_file, self.checkpoint("last")]
        left += [] if anew else [self.checkpoint("best")]
        found = next((path.relative_to(self.folder) for path in left if path.exists()), None)
        if found or (self.epoch and not anew):
            raise UserError(
                f"run_dir {self.folder} has a run in it, see its {found or self.metrics_file.name}; give --ckpt_path "
                "auto to resume it, or another folder"
            )


def find_runs(folder: Path) -> list[Run]:
    """Return the run folders below a folder, among them those whose training did not begin."""
    names = {path.name for path in (Run(folder).config_file, Run(folder).results_file, Run(folder).log_file)}
    found = (Path(path) for path, folders, files in os.walk(folder) if not names.isdisjoint([*folders, *files]))
    return [Run(path) for path in sorted(found)]


def of_checkpoint(path: Path) -> Run | None:
    """Return the run that a checkpoint belongs to, None if it lies elsewhere."""
    folder = path.resolve().parent
    return Run(folder.parent) if folder.name == "checkpoints" and not path.is_dir() else None
