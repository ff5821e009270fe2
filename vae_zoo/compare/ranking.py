"""Which models a figure tells apart, as far as chance allows saying so, and in which order they come."""

import math
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

from scipy.special import stdtr, stdtrit  # Student's t; scipy.stats takes 40 times as long, for each pair of models

from vae_zoo.compare.columns import COST, DENSITIES, ESTIMATED, KNOWN, MACHINE, MOST, Column, some
from vae_zoo.compare.figures import Group

SIGNIFICANT = 0.05  # the p below which two models are told apart, and the level of a one-sided bound
FOREMOST = ("mse", "nll", "fid", "seconds_per_epoch")  # by the first that there is, the models of a picture are chosen
Seed = int | None
Key = TypeVar("Key", bound=Hashable)


class Difference(NamedTuple):
    """Of two means, with its standard error (nan where one seed does not tell) and the error's degrees of freedom."""

    mean: float
    error: float
    freedom: float

    @property
    def p(self) -> float:
        """The p of a two-sided t-test; 1 where one seed does not tell."""
        if self.mean == 0 or math.isnan(self.error):
            return 1.0
        return 2 * float(stdtr(self.freedom, -abs(self.mean) / self.error)) if self.error else 0.0

    @property
    def bounds(self) -> tuple[float, float]:
        """The lower and the upper one-sided 95 % confidence bound."""
        width = float(stdtrit(self.freedom, 1 - SIGNIFICANT)) * self.error if self.error else self.error
        return self.mean - width, self.mean + width


def difference(a: Mapping[Seed, float], b: Mapping[Seed, float], least: float = 0.0, step: float = 0.0) -> Difference:
    """Return mean(a) - mean(b): by pairs where the seeds are the same, whose noise is shared, else as Welch has it.

    Args:
        a: by seed.
        b: by seed.
        least: a smaller difference is none, even where seeds have no spread at all.
        step: of values that are counted, from one to the next. Two seeds may then well differ by the same number, so
            each value has the deviation of rounding, step / sqrt(12), at least.
    """
    mean = fmean(a.values()) - fmean(b.values())
    if abs(mean) < least:
        mean = 0.0
    if min(len(a), len(b)) < 2:
        return Difference(mean, math.nan, math.nan)
    rounding = step**2 / 12
    if a.keys() == b.keys():
        variance = max(_variance([a[seed] - b[seed] for seed in a]), 2 * rounding)
        return Difference(mean, math.sqrt(variance / len(a)), len(a) - 1)
    u, v = (max(_variance([*each.values()]), rounding) / len(each) for each in (a, b))
    freedom = (u + v) ** 2 / (u**2 / (len(a) - 1) + v**2 / (len(b) - 1)) if u + v else 1.0
    return Difference(mean, math.sqrt(u + v), freedom)


def _variance(values: Sequence[float]) -> float:
    """Of a sample, in floats, exactly 0 of equal values; that of `statistics` computes in fractions, slowly."""
    if min(values) == max(values):
        return 0.0
    mean = fmean(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def holm(p: Mapping[Key, float]) -> dict[Key, float]:
    """Return p-values that are corrected for their number (Holm 1979)."""
    corrected: dict[Key, float] = {}
    highest = 0.0
    for i, (key, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        highest = corrected[key] = max(highest, min(1.0, (len(p) - i) * value))
    return corrected


class Ranking:
    """Groups of one setting from best to worst by the mean of a figure, lowest first where neither side is better.

    Args:
        groups: those of whom not all seeds have the figure are left out.
        column: the figure.
    """

    def __init__(self, groups: Sequence[Group], column: Column) -> None:
        sign = -1 if column.better > 0 else 1
        having = [group for group in groups if group.complete(column.key)]
        self.groups = sorted(having, key=lambda group: sign * group.mean(column.key))
        self.column = column
        seeds = {group.label: group.by_seed(column.key) for group in self.groups}
        pairs = () if self.one_seed else combinations(seeds, 2)  # whose p is 1
        p = {frozenset((a, b)): difference(seeds[a], seeds[b], column.least, column.step).p for a, b in pairs}
        self._p = holm(p)

    @property
    def one_seed(self) -> bool:
        """Whether there is no model with two seeds, so that nothing tells what chance has done."""
        return all(len(group.runs) == 1 for group in self.groups)

    @property
    def best(self) -> Group | None:
        """The model that is told apart from all others and before them, if there is one."""
        if len(self.groups) < 2:
            return None
        first, *others = self.groups
        return first if all(self.apart(first, group) for group in others) else None

    def apart(self, a: Group, b: Group) -> bool:
        """Whether two models differ by more than chance, at 5 % over all pairs of this figure."""
        return self._p.get(frozenset((a.label, b.label)), 1.0) < SIGNIFICANT

    def __str__(self) -> str:
        """``AAE < IWAE ≈ VAE``: with < each model before it is apart from each behind it, with ≈ no two are apart.

        Where neither holds, models stand in brackets, with the pairs that are apart; with one seed, behind commas. Of
        many models only the first are named.
        """
        if self.one_seed:
            return some([group.label for group in self.groups])
        blocks: list[list[Group]] = []
        bound = -1  # the last place of which a model before is not told apart
        for i, group in enumerate(self.groups):
            if i > bound:
                blocks.append([])
            if i < MOST:
                blocks[-1].append(group)
            ties = (j for j in range(len(self.groups) - 1, i, -1) if not self.apart(group, self.groups[j]))
            bound = max(bound, next(ties, i))
        more = len(self.groups) - MOST
        named = f" {self._before} ".join(self._block(block) for block in blocks if block)
        return named + (f" and {more:,} more" if more > 0 else "")

    @property
    def _before(self) -> str:
        return ">" if self.column.better > 0 else "<"

    def _block(self, groups: Sequence[Group]) -> str:
        """Models that no single cut separates."""
        apart = [f"{a.label} {self._before} {b.label}" for a, b in combinations(groups, 2) if self.apart(a, b)]
        labels = [group.label for group in groups]
        return f"({', '.join(labels)}; apart: {', '.join(apart)})" if apart else " ≈ ".join(labels)


def rank(groups: Sequence[Group], column: Column) -> Ranking:
    """Rank the models of one setting that can be ranked by a figure.

    Not figures that do not compare, see `incomparable`; not conditional densities, which are other ones; nor a model
    whose codes are free of a prior, but by its cost.
    """
    if incomparable(groups, column):
        return Ranking([], column)
    if column.key not in COST:
        groups = [group for group in groups if group.traits["regularised"]]
    return Ranking([group for group in groups if not is_other_density(group, column)], column)


def foremost(groups: Sequence[Group], base: str | None) -> tuple[list[str], str]:
    """Return names of `MOST` models at most, the base and the first by a figure, and the title of that figure.

    Args:
        groups: of all settings; a model's place is the best one that it has in any of them.
        base: name of the configuration that the others are compared with.
    """
    by_setting: dict[str, list[Group]] = {}
    for group in groups:
        by_setting.setdefault(group.setting, []).append(group)
    for key in FOREMOST:
        rankings = [rank(members, KNOWN[key]).groups for members in by_setting.values()]
        if any(rankings):
            break
    places = dict.fromkeys((group.name for group in groups), math.inf)
    for ranked in rankings:
        for place, group in enumerate(ranked):
            places[group.name] = min(places[group.name], place)
    if base in places:
        places[base] = -1
    return sorted(places, key=lambda name: places[name])[:MOST], KNOWN[key].title


def is_other_density(group: Group, column: Column) -> bool:
    """Whether a figure is of images given their label, which does not compare with that of images."""
    return column.key in DENSITIES and group.traits["conditional"]


def incomparable(groups: Sequence[Group], column: Column) -> str:
    """Return why a figure ranks none of these groups, by which it was measured in different ways; else nothing."""
    if column.key in MACHINE and len(there := machines(groups)) > 1:
        return f"the runs are from different machines, {' and '.join(there)}"
    if column.key in ESTIMATED:
        estimated = [run for group in groups if group.values(column.key) for run in group.runs]
        ways = sorted({run.tested["nll_samples"] or 0 for run in estimated})  # 0: exact
        if len(ways) > 1:
            numbers = " and ".join(f"{samples:,}" for samples in ways if samples)
            return f"NLLs were computed {'' if ways[0] else 'exactly and '}with {numbers} importance samples"
    return ""


def machines(groups: Sequence[Group]) -> list[str]:
    """Return the machines that the runs were trained on."""
    environments = [run.tested["environment"] for group in groups for run in group.runs]
    return sorted({str(each.get("trained_on") or _tested_on(each)) for each in environments})


def _tested_on(environment: Mapping[str, Any]) -> str:
    """The machine of a test: results of an earlier version do not say which one the training ran on."""
    return f"{environment.get('device')} ({environment.get('threads')} threads)"
