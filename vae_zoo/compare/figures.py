"""The figures of compared runs, by model, and which of them can be told apart."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

from scipy.stats import ttest_ind

from vae_zoo.compare import conditions
from vae_zoo.compare.runs import Point, Run
from vae_zoo.errors import UserError

FLOOR = "AE"  # has no prior to keep to, so it is no competitor, but what the others' MSE is held against
BASE = "VAE"  # what the others are compared with
ORDER = (FLOOR, BASE, "IWAE", "IAFVAE", "AAE")  # in tables and charts; others come after them
SIGNIFICANT = 0.05  # the p below which two models are told apart
FILES = ("data.root", "data.annotations", "data.test_annotations", "data.image_dir")  # may move; the split tells


class Column(NamedTuple):
    """One figure: its key, its name and unit for people, whether lower or higher is better (-1, 1; 0 neither)."""

    key: str
    title: str
    better: int
    format: str


COLUMNS = [
    Column("mse", "MSE", -1, ".5f"),
    Column("mse_sampled", "MSE of a draw", -1, ".5f"),
    Column("psnr", "PSNR, dB", 1, ".2f"),
    Column("ssim", "SSIM", 1, ".3f"),
    Column("code_mmd", "code MMD", -1, ".4f"),
    Column("nll", "NLL, nats", -1, ".1f"),
    Column("bits_per_dim", "bits/dim", -1, ".3f"),
    Column("kl", "KL, nats", 0, ".1f"),
    Column("kl_share", "KL's share of -ELBO, %", 0, ".1f"),
    Column("active_units", "active units", 0, ".0f"),
    Column("fid", "FID", -1, ".1f"),
    Column("kid", "KID", -1, ".4f"),
    Column("parameters", "parameters", 0, ",.0f"),
    Column("seconds_per_epoch", "s / epoch", -1, ".2f"),
    Column("relative_time", f"time, {BASE} = 1", -1, ".2f"),
    Column("images_per_second", "images / s", 1, ".0f"),
    Column("peak_memory_mb", "peak memory, MB", -1, ".0f"),
    Column("time_to_base", f"s to the {BASE}'s final MSE", -1, ".1f"),
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
            there = any(figures.get(column.key) is not None for figures in self.figures)
            return "diverged" if there else "n/a"
        spread = f" ± {stdev(values):{column.format}}" if len(values) > 1 and stdev(values) else ""
        some = "" if self.complete(column.key) else f" ({len(values)} of {len(self.runs)} seeds)"
        return f"{fmean(values):{column.format}}{spread}{some}"


def read_groups(folder: Path) -> tuple[list[Group], dict[str, str]]:
    """Read the runs below a folder.

    Returns:
        the tested runs by setting and model, and by name the runs that are left out, with the reason.

    Raises:
        UserError: if there is no tested run, or two were not made under identical conditions.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    left_out: dict[str, str] = {}
    newest: dict[tuple[str, str, int], Run] = {}
    names = ("config.yaml", "results.json", "log.txt")
    found = [Run(path) for path in {path.parent for name in names for path in folder.rglob(name)}]
    longest = max((run.epoch for run in found if run.results), default=0)
    for run in sorted(found, key=lambda run: (run.time, str(run.folder)), reverse=True):
        if reason := _not_comparable(run, longest):
            left_out[str(run.folder.relative_to(folder))] = reason
        elif newest.setdefault((run.likelihood or "", run.name, run.tested["seed"]), run) is not run:
            left_out[str(run.folder.relative_to(folder))] = "there is a newer run of this model and seed"
    if not newest:
        why = "".join(f"; {name}: {reason}" for name, reason in left_out.items())
        raise UserError(f"there is no tested run below {folder}; vae-zoo test writes what is compared{why}")
    refuse_differences([run for _, run in sorted(newest.items())])
    members: dict[tuple[str, str], list[Run]] = {}
    for (setting, name, _), run in sorted(newest.items()):
        members.setdefault((setting, name), []).append(run)
    models = {name: runs[0].tested["model"] for (_, name), runs in members.items()}
    settings = sorted({setting for setting, _ in members if setting}) or [""]
    groups = []
    for (own, name), runs in members.items():
        label = models[name] if list(models.values()).count(models[name]) == 1 else f"{models[name]} ({name})"
        for setting in [own] if own else settings:  # a model without a likelihood is part of every setting
            groups.append(Group(setting, label, models[name], runs))
    groups.sort(key=lambda g: (g.setting, g.place, g.label))
    for setting in settings:
        _measure([group for group in groups if group.setting == setting])
    return groups, left_out


def _not_comparable(run: Run, epochs: int) -> str | None:
    """Why a run cannot be compared with others of so many epochs; None if it can."""
    if not run.exists:
        return "it was not begun, see its log.txt" if run.results is None else "its config.yaml is missing"
    try:
        run.likelihood  # noqa: B018  reading the settings is the test
    except UserError as error:
        return str(error)
    if run.results is None:
        return "it is not finished, or was not tested"
    if not {"shape", "epochs"} <= run.tested.keys():
        return "it was tested by an older version: vae-zoo test it again"
    return None if run.epoch == epochs else f"it has had {run.epoch} of {epochs} epochs"


def refuse_differences(runs: Sequence[Run]) -> None:
    """Refuse tested runs that were not made under identical conditions.

    Raises:
        UserError: naming two runs, and what is not the same.
    """
    first: dict[tuple[str | None, str], Run] = {}
    for run in runs:
        like = first.setdefault((run.likelihood, run.name), run)  # seeds of one model have all its arguments alike
        for other, whole in ((runs[0], False), (like, True)):
            ours, theirs = (conditions.conditions(each.config, whole) for each in (other, run))
            found = list(conditions.differences(ours, theirs))
            if other.tested["split_sha256"]:
                found = [difference for difference in found if difference[0] not in FILES]
            if not whole:
                found = [difference for difference in found if not difference[0].startswith("model.likelihood")]
            if other.tested["split_sha256"] != run.tested["split_sha256"]:
                found.append(("split_sha256", other.tested["split_sha256"], run.tested["split_sha256"]))
            for name, here, there in found:
                raise UserError(
                    f"{other.folder} and {run.folder} were not made under identical conditions: {name} is {here!r} in "
                    f"the one and {there!r} in the other"
                )


def the_base(groups: Sequence[Group]) -> Group | None:
    """Return what the others are compared with; of several such models the one named like its class."""
    found = [group for group in groups if group.model == BASE]
    return found[0] if len(found) == 1 else next((g for g in found if g.runs[0].name == BASE.lower()), None)


def _measure(groups: list[Group]) -> None:
    """Fill the figures of one setting's groups."""
    base = the_base(groups)
    finals: dict[int, float] = {}  # by seed
    for run, curve in zip(base.runs, base.curves, strict=True) if base else ():
        if seen := [point.mse for point in curve if math.isfinite(point.mse)]:
            finals[run.tested["seed"]] = seen[-1]
    for group in sorted(groups, key=lambda group: group is not base):  # the base's seconds are needed for the others
        for run, curve in zip(group.runs, group.curves, strict=True):
            figures = {column.key: run.tested.get(column.key) for column in COLUMNS} | run.tested["timing"]
            group.figures.append(figures)
            target = finals.get(run.tested["seed"], fmean(finals.values()) if finals else math.nan)
            figures["time_to_base"] = next((point.seconds for point in curve if point.mse <= target), None)
            figures["kl_share"] = _kl_share(run)
        for figures in group.figures:
            if base and base.values("seconds_per_epoch") and figures["seconds_per_epoch"]:
                figures["relative_time"] = figures["seconds_per_epoch"] / base.mean("seconds_per_epoch")
        for column in COLUMNS:
            for run, curve, figures in zip(group.runs, group.curves, group.figures, strict=True):
                if figures[column.key] is None:
                    group.reasons[column.key] = _reason(column.key, run, curve, base)


def _kl_share(run: Run) -> float | None:
    """100 KL / (KL + n mse / (2 sigma^2)): of -ELBO without its constant, for a Gaussian likelihood of n pixels."""
    given = conditions.arguments(run.config, "model").get("likelihood")
    name, kl, mse = conditions.class_name(given), run.tested["kl"], run.tested["mse_sampled"]
    if kl is None or name not in ("Gaussian", "OptimalGaussian"):
        return None
    sigma = (given.get("init_args") or {}).get("sigma", 1.0) if isinstance(given, dict) else 1.0
    variance = mse if name == "OptimalGaussian" else sigma**2
    return 100 * kl / (kl + math.prod(run.tested["shape"]) * mse / (2 * variance))


def _reason(key: str, run: Run, curve: Sequence[Point], base: Group | None) -> str:
    results, likelihood = run.tested, (run.likelihood or "").partition("(")[0]
    if key in ("fid", "kid"):
        return f"not asked for: --evaluation.{key} true"
    if key in ("relative_time", "time_to_base") and base is None:
        return f"there is no {BASE} to compare with"
    of_pixels = ("mse", "mse_sampled", "psnr", "ssim", "time_to_base")
    if results["mse"] is None and key in (*of_pixels, "code_mmd", "active_units"):
        encodes = results["code_mmd"] is not None
        return "it draws no pixels" if encodes else "it has no encoder"
    if key == "time_to_base":
        measured = any(math.isfinite(point.mse) for point in curve)
        return "not reached" if measured else "no validation MSE, so no curve"
    if key == "ssim":
        return "images smaller than SSIM's window of 11 pixels"
    if key in ("kl", "kl_share") and results["nll"] is not None and results["kl"] is None:
        return "it has no codes"
    if key in ("nll", "bits_per_dim", "kl", "kl_share") and results["elbo"] is None and results["nll"] is None:
        return (
            "the pixels are grey: a cross entropy is no density" if results["kl"] is not None else "it has no density"
        )
    return {
        "nll": "not asked for: evaluation.nll_samples is 0",
        "bits_per_dim": "only for a probability of 8-bit pixels" + (likelihood and f", which {likelihood} has not"),
        "kl_share": "only for a Gaussian likelihood of known variance"
        + (likelihood and f", which {likelihood} is not"),
    }.get(key, "it was not measured")


class Ranking(NamedTuple):
    """Groups from best to worst by one figure, which all their seeds have."""

    column: Column
    groups: list[Group]

    def apart(self, a: Group, b: Group) -> bool:
        """Whether two models differ by more than chance; where there is one seed only, whether they differ."""
        values = a.values(self.column.key), b.values(self.column.key)
        return apart(*values, one_seed=all(len(group.runs) == 1 for group in self.groups))

    def __str__(self) -> str:
        """``AAE < IWAE ≈ VAE``: ≈ where neighbours cannot be told apart."""
        words = [self.groups[0].label] if self.groups else []
        for before, after in zip(self.groups, self.groups[1:], strict=False):
            words += ["<" if self.apart(before, after) else "≈", after.label]
        return " ".join(words)


def apart(a: Sequence[float], b: Sequence[float], one_seed: bool) -> bool:
    """Whether two means differ by Welch's t-test, two-sided at 5 %; pairs are not corrected for their number."""
    differ = fmean(a) != fmean(b)
    if one_seed:
        return differ
    if min(len(a), len(b)) < 2:
        return False
    p = float(ttest_ind(a, b, equal_var=False).pvalue) if len({*a}) > 1 or len({*b}) > 1 else 0.0
    return differ and p < SIGNIFICANT


def rank(groups: Sequence[Group], key: str) -> Ranking:
    """Rank one setting's groups."""
    column = next(column for column in COLUMNS if column.key == key)
    having = [group for group in groups if group.complete(key)]
    return Ranking(column, sorted(having, key=lambda group: -column.better * group.mean(key)))
