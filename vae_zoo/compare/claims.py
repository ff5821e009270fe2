"""What became of a comparison's claims."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

from vae_zoo.compare.columns import KNOWN, Column
from vae_zoo.compare.comparison import After, AsGoodAs, Claim, Ordering
from vae_zoo.compare.figures import Group
from vae_zoo.compare.ranking import Difference, Ranking, Seed, difference, incomparable, is_other_density
from vae_zoo.errors import amount


class Finding(NamedTuple):
    """A claim in words, its source, what was found, and whether it holds: yes, no, not shown or not tested."""

    claim: str
    source: str
    found: str
    holds: str


def findings(claims: Sequence[Claim], groups: Sequence[Group]) -> Iterator[Finding]:
    """Test claims on the groups of one setting."""
    named = {group.name: group for group in groups}
    for claim in claims:
        yield _ordering(claim, named) if isinstance(claim, Ordering) else _as_good_as(claim, named)


def _ordering(claim: Ordering, named: Mapping[str, Group]) -> Finding:
    """It holds if each is before the next and apart from it, and not if any two are apart the other way round."""
    column = KNOWN[claim.figure]
    ranking = Ranking([named[name] for name in claim.order if name in named], column)
    sign = " > " if column.better > 0 else " < "
    title = f"{column.title}: {sign.join(_label(name, named) for name in claim.order)}"
    ranked = {group.name: group for group in ranking.groups}
    if missing := [_label(name, named) for name in claim.order if name not in ranked]:
        return Finding(title, claim.source, f"there is no such figure of {', '.join(missing)}", "not tested")
    order = [ranked[name] for name in claim.order]
    if why := incomparable(order, column) or _conditional(order, column):
        return Finding(title, claim.source, why, "not tested")
    place = ranking.groups.index
    if ranking.one_seed:
        return Finding(title, claim.source, f"with one seed each: {ranking}", "not shown")
    reversed_ = [(a, b) for a, b in combinations(order, 2) if place(a) > place(b) and ranking.apart(a, b)]
    if reversed_:
        why = "; ".join(f"{b.label} ranks ahead of {a.label}" for a, b in reversed_)
        return Finding(title, claim.source, f"{ranking}: {why}", "no")
    open_ = [(a, b) for a, b in pairwise(order) if not ranking.apart(a, b)]
    why = "; ".join(f"{a.label} and {b.label} are not told apart" for a, b in open_)
    return Finding(title, claim.source, f"{ranking}{why and f': {why}'}", "not shown" if open_ else "yes")


def _as_good_as(claim: AsGoodAs, named: Mapping[str, Group]) -> Finding:
    """It holds if the one-sided bound of how much worse the early one is lies within the margin."""
    column = KNOWN[claim.figure]
    early, late = (_label(each.config, named) for each in (claim.early, claim.late))
    title = f"{early} after {amount(claim.early.epoch, 'epoch')} is as good as {late} after {claim.late.epoch}: "
    title += f"validation {column.title}, at most {100 * claim.margin:g} % worse"
    values = []
    for after in (claim.early, claim.late):
        found = _at(after, claim.figure, named)
        if isinstance(found, str):
            return Finding(title, claim.source, found, "not tested")
        values.append(found)
    if why := _conditional([named[each.config] for each in (claim.early, claim.late)], column):
        return Finding(title, claim.source, why, "not tested")
    ours, theirs = values
    worse = beyond(ours, theirs, claim.margin, column)
    means = [sum(each.values()) / len(each) for each in values]
    found = f"{column.text(means[0])} against {column.text(means[1])}"
    low, high = worse.bounds
    if high <= 0:
        return Finding(title, claim.source, f"{found}, within the margin", "yes")
    if low > 0:
        return Finding(title, claim.source, f"{found}, outside the margin", "no")
    seeds = "one seed" if math.isnan(worse.error) else "the seeds"
    return Finding(title, claim.source, f"{found}; {seeds} cannot show whether that is within the margin", "not shown")


def beyond(ours: Mapping[Seed, float], theirs: Mapping[Seed, float], margin: float, column: Column) -> Difference:
    """Return by how much ours is worse than theirs and a margin, which is a share of theirs."""
    worse = -column.better
    allowed = {seed: worse * value + margin * abs(value) for seed, value in theirs.items()}
    return difference({seed: worse * value for seed, value in ours.items()}, allowed, column.least, column.step)


def _conditional(groups: Sequence[Group], column: Column) -> str:
    """Why a density does not compare between groups, some of whose are of images given their label; else nothing."""
    conditional = [group.label for group in groups if is_other_density(group, column)]
    if conditional and len(set(conditional)) < len({group.label for group in groups}):
        return f"the density of {', '.join(conditional)} is that of images given their label"
    return ""


def _at(after: After, figure: str, named: Mapping[str, Group]) -> dict[Seed, float] | str:
    """By seed a validation figure after some epochs, or why there is none."""
    group = named.get(after.config)
    if group is None:
        return f"there is no run of {after.config}"
    epochs = group.runs[0].epoch
    if epochs < after.epoch:
        return f"it needs {amount(after.epoch, 'epoch')}, {group.label} has had {epochs}"
    found = {
        run.tested["seed"]: point.value
        for run in group.runs
        for point in run.curve(figure)
        if point.epoch == after.epoch and math.isfinite(point.value)
    }
    return found if len(found) == len(group.runs) else f"{group.label} has no such figure of the validation"


def _label(name: str, named: Mapping[str, Group]) -> str:
    return named[name].label if name in named else name
