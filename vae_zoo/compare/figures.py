"""The figures of compared runs, by model, and what they allow to say."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from scipy.stats import t

from vae_zoo.compare import conditions
from vae_zoo.compare.runs import Run
from vae_zoo.errors import UserError

FLOOR = "AE"  # has no prior to keep to, so it is the floor of the MSE and no competitor
BASE = "VAE"  # what the others are compared with
ORDER = (FLOOR, BASE, "IWAE", "IAFVAE", "AAE")  # in tables and charts; others come after them


class Column(NamedTuple):
    """One figure: its key, its name and unit for people, whether lower or higher is better (-1, 1; 0 neither)."""

    key: str
    title: str
    better: int
    format: str


COLUMNS = [
    Column("mse", "MSE", -1, ".4f"),
    Column("mse_sampled", "MSE of a draw", -1, ".4f"),
    Column("psnr", "PSNR, dB", 1, ".2f"),
    Column("ssim", "SSIM", 1, ".3f"),
    Column("code_mmd", "code MMD", -1, ".3f"),
    Column("nll", "NLL, nats", -1, ".1f"),
    Column("bits_per_dim", "bits/dim", -1, ".3f"),
    Column("kl", "KL, nats", 0, ".1f"),
    Column("kl_share", "KL's share of the loss, %", 0, ".1f"),
    Column("active_units", "active units", 0, ".0f"),
    Column("fid", "FID", -1, ".1f"),
    Column("kid", "KID", -1, ".4f"),
    Column("parameters", "parameters", 0, ",.0f"),
    Column("seconds_per_epoch", "s / epoch", -1, ".2f"),
    Column("relative_time", f"time, {BASE} = 1", -1, ".2f"),
    Column("images_per_second", "images / s", 1, ".0f"),
    Column("peak_memory_mb", "peak memory, MB", -1, ".0f"),
    Column("time_to_base", f"s to the {BASE}'s final MSE", -1, ".0f"),
]


class Group:
    """The runs of one model in one setting, one a seed.

    Attributes:
        setting: the likelihood, with its arguments.
        label: what the model is called among the others.
        model: its class.
        figures: for each run, by key; None for what it does not have.
        reasons: by key, why it has none.
    """

    def __init__(self, setting: str, label: str, model: str, runs: Sequence[Run]) -> None:
        self.setting, self.label, self.model, self.runs = setting, label, model, runs
        self.curves = [run.curve() for run in runs]
        self.figures: list[dict[str, float | None]] = []
        self.reasons: dict[str, str] = {}

    @property
    def place(self) -> int:
        """Where the model stands among all."""
        return ORDER.index(self.model) if self.model in ORDER else len(ORDER)

    def values(self, key: str) -> list[float]:
        """Return the figure of each seed that has it, and whose training did not diverge."""
        return [v for figures in self.figures if (v := figures.get(key)) is not None and math.isfinite(v)]

    def mean(self, key: str) -> float:
        """Return the mean over the seeds, nan where no seed has it."""
        return fmean(values) if (values := self.values(key)) else math.nan

    def text(self, column: Column) -> str:
        """Return mean and standard deviation over seeds, or what is there instead."""
        values = self.values(column.key)
        if not values:
            there = any(figures.get(column.key) is not None for figures in self.figures)
            return "diverged" if there else "n/a"
        spread = f" ± {stdev(values):{column.format}}" if len(values) > 1 and stdev(values) else ""
        return f"{fmean(values):{column.format}}{spread}"


def read_groups(folder: Path) -> tuple[list[Group], list[Run]]:
    """Read the runs below a folder; return the tested ones by setting and model, and the unfinished ones.

    Raises:
        UserError: if there is no tested run, or two were not made under identical conditions.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    found = sorted((Run(path.parent) for path in folder.rglob("config.yaml")), key=lambda run: str(run.folder))
    tested = [run for run in found if run.results]
    if not tested:
        raise UserError(f"there is no tested run below {folder}; vae-zoo test writes the results that are compared")
    _refuse_differences(tested)
    models = {run.name: (run.results or {})["model"] for run in tested}
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in tested:
        groups.setdefault((run.likelihood or "", run.name), []).append(run)
    result = []
    for (setting, name), runs in groups.items():
        seeds = [(run.results or {})["seed"] for run in runs]
        for seed in seeds:
            if seeds.count(seed) > 1:
                same = [str(run.folder) for run in runs if (run.results or {})["seed"] == seed]
                raise UserError(f"there are several runs of {name} with seed {seed}: {', '.join(same)}; keep one")
        model = models[name]
        shown = model if list(models.values()).count(model) == 1 else f"{model} ({name})"
        ordered = [run for _, run in sorted(zip(seeds, runs, strict=True), key=lambda pair: pair[0])]
        result.append(Group(setting, shown, model, ordered))
    settings = list(dict.fromkeys(group.setting for group in result if group.setting)) or [""]
    for group in [group for group in result if not group.setting and settings != [""]]:
        result.remove(group)  # a model without a likelihood is part of every setting
        result += [Group(setting, group.label, group.model, group.runs) for setting in settings]
    result.sort(key=lambda g: (g.setting, g.place, g.label))
    for setting in settings:
        _measure([group for group in result if group.setting == setting])
    return result, [run for run in found if not run.results]


def _refuse_differences(runs: Sequence[Run]) -> None:
    first = runs[0]
    ours = conditions.conditions(first.config)
    for run in runs[1:]:
        theirs = conditions.conditions(run.config)
        pairs = [d for d in conditions.differences(ours, theirs) if not d[0].startswith("model.likelihood")]
        a, b = first.results or {}, run.results or {}
        pairs += [(key, a.get(key), b.get(key)) for key in ("epochs", "split_sha256") if a.get(key) != b.get(key)]
        for name, here, there in pairs:
            raise UserError(
                f"{first.folder} and {run.folder} were not made under identical conditions: {name} is {here!r} in the "
                f"one and {there!r} in the other"
            )


def _measure(groups: list[Group]) -> None:
    """Fill the figures of one setting's groups."""
    base = next((group for group in groups if group.model == BASE), None)
    seconds = fmean(run.results["timing"]["seconds_per_epoch"] for run in base.runs if run.results) if base else None
    finals = {run.results["seed"]: curve[-1].mse for run, curve in _pairs(base) if run.results and curve}
    for group in groups:
        for run, curve in _pairs(group):
            results: dict[str, Any] = run.results or {}
            figures = {column.key: results.get(column.key) for column in COLUMNS} | results["timing"]
            if seconds and figures["seconds_per_epoch"]:
                figures["relative_time"] = figures["seconds_per_epoch"] / seconds
            target = finals.get(results["seed"], fmean(finals.values()) if finals else math.nan)
            figures["time_to_base"] = next((point.seconds for point in curve if point.mse <= target), None)
            figures["kl_share"] = _kl_share(run, results)
            group.figures.append(figures)
            for column in COLUMNS:
                if figures[column.key] is None:
                    measured = any(math.isfinite(point.mse) for point in curve)
                    group.reasons[column.key] = _reason(column.key, results, bool(base), measured)


def _pairs(group: Group | None) -> Iterable[tuple[Run, Any]]:
    return zip(group.runs, group.curves, strict=True) if group else ()


def _kl_share(run: Run, results: dict[str, Any]) -> float | None:
    """100 KL / (KL + n mse / (2 sigma^2)): the loss of a Gaussian likelihood without its constant, of n pixels."""
    given = conditions.arguments(run.config, "model").get("likelihood")
    name, kl, mse = conditions.class_name(given), results["kl"], results["mse_sampled"]
    if kl is None or name not in ("Gaussian", "OptimalGaussian"):
        return None
    variance = (
        mse if given is None or name == "OptimalGaussian" else (given.get("init_args") or {}).get("sigma", 1.0) ** 2
    )
    return 100 * kl / (kl + math.prod(results["shape"]) * mse / (2 * variance))


def _reason(key: str, results: dict[str, Any], base: bool, curve: bool) -> str:
    if key in ("fid", "kid"):
        return f"not asked for: --evaluation.{key} true"
    if key in ("relative_time", "time_to_base"):
        if not base:
            return f"there is no {BASE} among the runs"
        return "not reached" if curve else "no validation images, so no curve"
    if results["mse"] is None:
        return "it has no encoder"
    if key == "ssim":
        return "images smaller than SSIM's window of 11 pixels"
    if results["elbo"] is None:
        return "it has no density"
    return {
        "nll": "not asked for: evaluation.nll_samples is 0",
        "bits_per_dim": "the likelihood is a density of continuous pixels",
        "kl_share": "only told for a Gaussian likelihood of known variance",
    }.get(key, "it was not measured")


class Ranking(NamedTuple):
    """Groups from best to worst by one figure.

    Attributes:
        groups: those that have the figure.
        least: the smallest difference that more than chance explains (two-sided t-test, 5 %, variance pooled over the
            models); None with one seed, where nothing tells.
    """

    column: Column
    groups: list[Group]
    least: float | None

    def apart(self, a: Group, b: Group) -> bool:
        """Whether the seeds allow saying that two models differ; with one seed, whether the figures do."""
        return abs(a.mean(self.column.key) - b.mean(self.column.key)) > (self.least or 0.0)

    def __str__(self) -> str:
        """``AAE < IWAE ≈ VAE``: ≈ where neighbours cannot be told apart."""
        words = [self.groups[0].label] if self.groups else []
        for before, after in zip(self.groups, self.groups[1:], strict=False):
            words += ["<" if self.apart(before, after) else "≈", after.label]
        return " ".join(words)


def rank(groups: Sequence[Group], key: str) -> Ranking:
    """Rank one setting's groups."""
    column = next(column for column in COLUMNS if column.key == key)
    having = [group for group in groups if group.values(key)]
    having.sort(key=lambda group: -column.better * group.mean(key))
    freedom = sum(len(group.values(key)) - 1 for group in having)
    if not freedom:
        return Ranking(column, having, None)
    squares = sum((value - group.mean(key)) ** 2 for group in having for value in group.values(key))
    fewest = min(len(group.values(key)) for group in having)
    return Ranking(column, having, float(t.ppf(0.975, freedom)) * math.sqrt(squares / freedom * 2 / fewest))
