"""The figures of compared runs, by model."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

from vae_zoo import settings
from vae_zoo.compare.columns import BASE, COLUMNS, KNOWN, Column, further
from vae_zoo.curves import FEWEST, Point, figures_of, oscillation
from vae_zoo.errors import UserError
from vae_zoo.results import Traits
from vae_zoo.runs import Run, find_runs

SECTIONS = ("model", "data", "trainer", "evaluation")  # of a config.yaml, which a report shows
# What training logs and a report draws, by name; a validation has the same.
DRAWN = {"loss": "loss, nats", "elbo": "ELBO, nats", "kl": "KL, nats", "mse": "MSE"}
LOGGED = [f"{part}/{name}" for part in ("train", "val") for name in DRAWN]


class Logged(NamedTuple):
    """What is made of a run's metrics.csv, which is read once: curves by name, and the oscillation of its loss."""

    curves: dict[str, list[Point]]
    oscillation: float | None


class Group:
    """The runs of one configuration in one setting, one a seed.

    Attributes:
        setting: the likelihood, with its arguments.
        name: of the configuration.
        label: what the model is called among the others.
        traits: what the model declares.
        logged: what was logged by epoch, by name, a curve for each run.
        oscillations: for each run, how much its loss swings.
        figures: for each run, by key; None for what it does not have.
        reasons: by key, why it has none.
    """

    def __init__(self, setting: str, name: str, label: str, runs: Sequence[Run], logged: Sequence[Logged]) -> None:
        self.setting, self.name, self.label, self.runs = setting, name, label, runs
        self.traits: Traits = runs[0].tested["traits"]
        self.logged = {name: [of_run.curves[name] for of_run in logged] for name in LOGGED}
        self.oscillations = [of_run.oscillation for of_run in logged]
        self.figures: list[dict[str, float | None]] = []
        self.reasons: dict[str, str] = {}

    def by_seed(self, key: str) -> dict[int | None, float]:
        """Return the figure of each seed that has it."""
        found = zip(self.runs, self.figures, strict=True)
        return {run.tested["seed"]: value for run, figures in found if (value := figures.get(key)) is not None}

    def values(self, key: str) -> list[float]:
        """Return the figures of the seeds that have it."""
        return list(self.by_seed(key).values())

    def complete(self, key: str) -> bool:
        """Whether all seeds have the figure; the mean of some would favour a model that fails now and then."""
        return len(self.values(key)) == len(self.runs)

    def mean(self, key: str) -> float:
        """Return the mean over the seeds that have the figure, nan where none has."""
        return fmean(values) if (values := self.values(key)) else math.nan

    def text(self, column: Column) -> str:
        """Return mean and standard deviation over seeds, or what is there instead."""
        values = self.values(column.key)
        if not values:
            return "diverged" if self.reasons.get(column.key) == "diverged" else "n/a"
        some = "" if self.complete(column.key) else f" ({len(values)} of {len(self.runs)} seeds)"
        return f"{spread(values, column)}{some}"


def spread(values: Sequence[float], column: Column) -> str:
    """Return a figure's mean and standard deviation in words, the mean alone where nothing deviates."""
    deviation = stdev(values) if len(values) > 1 else 0.0
    return column.text(fmean(values)) + (f" ± {column.text(deviation)}" if deviation else "")


def read_groups(folder: Path, order: Sequence[str] = (), base: str | None = None) -> tuple[list[Group], dict[str, str]]:
    """Read the runs below a folder.

    Args:
        folder: of the runs.
        order: names of configurations, which come first and in this order.
        base: the configuration that the others are compared with.

    Returns:
        the tested runs by setting and model, and by name the runs that are left out, with the reason.

    Raises:
        UserError: if there is no tested run, or two were not made under identical conditions.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    left_out: dict[str, str] = {}
    newest: dict[tuple[str, str, int | None], Run] = {}
    found = find_runs(folder)
    longest = max((run.epoch for run in found if run.results), default=0)
    logged: dict[Path, Logged] = {}
    for run in sorted(found, key=lambda run: (run.time, str(run.folder)), reverse=True):
        seen = _comparable(run, longest)
        if isinstance(seen, str):
            left_out[str(run.folder.relative_to(folder))] = seen
        elif newest.setdefault((run.likelihood or "", run.name, run.tested["seed"]), run) is not run:
            left_out[str(run.folder.relative_to(folder))] = "there is a newer run of this model and seed"
        else:
            logged[run.folder] = seen
    if not newest:
        why = "".join(f"; {name}: {reason}" for name, reason in left_out.items())
        raise UserError(f"there is no tested run below {folder}; vae-zoo test writes what is compared{why}")
    members: dict[tuple[str, str], list[Run]] = {}
    for (setting, name, _), run in sorted(newest.items(), key=lambda item: (*item[0][:2], item[0][2] or 0)):
        members.setdefault((setting, name), []).append(run)
    refuse_differences([run for runs in members.values() for run in runs])
    models = {name: runs[0].tested["model"] for (_, name), runs in members.items()}
    settings_ = sorted({setting for setting, _ in members if setting}) or [""]
    groups = []
    for (own, name), runs in members.items():
        label = models[name] if list(models.values()).count(models[name]) == 1 else f"{models[name]} ({name})"
        for setting in [own] if own else settings_:  # a model without a likelihood is part of every setting
            groups.append(Group(setting, name, label, runs, [logged[run.folder] for run in runs]))
    places = {name: place for place, name in enumerate(order)}
    groups.sort(key=lambda g: (g.setting, places.get(g.name, len(places)), g.name))
    for setting in settings_:
        _measure([group for group in groups if group.setting == setting], base)
    return groups, left_out


def columns_of(groups: Sequence[Group], base: str | None = None) -> list[Column]:
    """Return the columns of a table: those that are known, under the base's label, then all further figures."""
    label = next((group.label for group in groups if group.name == base), "the base")
    keys = sorted({key for group in groups for figures in group.figures for key in figures} - KNOWN.keys())
    return [column._replace(title=column.title.replace(BASE, label)) for column in COLUMNS] + list(map(further, keys))


def _comparable(run: Run, epochs: int) -> Logged | str:
    """What a run has logged, or why it cannot be compared with others of so many epochs."""
    if not run.exists:
        return "it was not begun, see its log.txt" if run.results is None else "its config.yaml is missing"
    try:
        run.likelihood  # noqa: B018  reading the settings is the test, and drawing the curves
        logged = _logged(run)
        if missing := [name for name in SECTIONS if not isinstance(run.config.get(name), dict)]:
            return f"its config.yaml is damaged, it has no {missing[0]}"
    except UserError as error:
        return str(error)
    except (AttributeError, TypeError) as error:  # a section of another type
        return f"its config.yaml is damaged: {error}"
    if run.untested:
        return run.untested
    return logged if run.epoch == epochs else f"it has had {run.epoch} of {epochs} epochs"


def refuse_differences(runs: Sequence[Run]) -> None:
    """Refuse tested runs that were not made under identical conditions.

    Raises:
        UserError: naming two runs, and what is not the same.
    """
    first: dict[tuple[str | None, str], Run] = {}
    for run in runs:
        like = first.setdefault((run.likelihood, run.name), run)  # seeds of one model have all its arguments alike
        for other, whole in ((runs[0], False), (like, True)):
            ours, theirs = (settings.conditions(each.config, whole, likelihood=whole) for each in (other, run))
            found = list(settings.differences(ours, theirs))
            if other.tested["split_sha256"]:
                found = [difference for difference in found if difference[0] not in settings.FILES]
            if other.tested["split_sha256"] != run.tested["split_sha256"]:
                found.append(("split_sha256", other.tested["split_sha256"], run.tested["split_sha256"]))
            for name, here, there in found:
                raise UserError(
                    f"{other.folder} and {run.folder} were not made under identical conditions: {name} is {here!r} in "
                    f"the one and {there!r} in the other"
                )


def _measure(groups: Sequence[Group], base_name: str | None) -> None:
    """Fill the figures of one setting's groups."""
    base = next((group for group in groups if group.name == base_name), None)
    for group in groups:
        for run, swing in zip(group.runs, group.oscillations, strict=True):
            results = run.tested
            known = {key: value for key, value in results["timing"].items() if key in KNOWN}
            figures = {**results["figures"], **known, "parameters": results["parameters"], "loss_oscillation": swing}
            group.figures.append(figures)
            group.reasons |= results["reasons"]
        if not group.values("loss_oscillation"):
            group.reasons["loss_oscillation"] = f"no loss of {2 * FEWEST - 1} epochs or more was logged"
    no_base = f"there is no run of {base_name} to compare with" if base_name else "no base to compare with: give --base"
    finals: dict[int | None, float] = {}  # the base's last validation MSE, by seed
    for run, curve in zip(base.runs, base.logged["val/mse"], strict=True) if base else ():
        if seen := [point.value for point in curve if math.isfinite(point.value)]:
            finals[run.tested["seed"]] = seen[-1]
    for group in groups:
        for run, curve, figures in zip(group.runs, group.logged["val/mse"], group.figures, strict=True):
            seconds, typical = figures.get("seconds_per_epoch"), base.mean("seconds_per_epoch") if base else math.nan
            figures["relative_time"] = seconds / typical if seconds and math.isfinite(typical) else None
            target = finals.get(run.tested["seed"], fmean(finals.values()) if finals else math.nan)
            figures["time_to_base"] = next((point.seconds for point in curve if point.value <= target), None)
            if figures["time_to_base"] is None:
                group.reasons["time_to_base"] = no_base if base is None else _not_reached(group, curve)
        if base is None:
            group.reasons["relative_time"] = no_base
        for key in KNOWN:
            group.reasons.setdefault(key, "it was not measured")


def _not_reached(group: Group, curve: Sequence[Point]) -> str:
    if any(math.isfinite(point.value) for point in curve):
        return "not reached"
    return group.reasons.get("mse", "no validation MSE, so no curve")


def _logged(run: Run) -> Logged:
    """What is drawn, and the training loss that swings most: a GAN has one for each side, a VAE has one alone."""
    losses = [f"train/{name}" for name in figures_of(run.metrics_file, "train") if re.fullmatch(r"(\w+_)?loss", name)]
    curves = run.curves([*LOGGED, *losses])
    swings = [found for name in losses if (found := oscillation(curves[name])) is not None]
    return Logged({name: curves[name] for name in LOGGED}, max(swings, default=None))
