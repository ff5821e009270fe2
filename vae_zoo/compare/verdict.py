"""What the figures say, in words: who is best at what, and what became of the claims made for these models."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from vae_zoo.compare.figures import BASE, FLOOR, Group, Ranking, apart, rank, the_base

# The ranking that is claimed for these models, best first, and under test here.
CLAIMED = {"mse": ("AAE", "IWAE", "IAFVAE", "VAE"), "seconds_per_epoch": ("AAE", "VAE", "IAFVAE", "IWAE")}
EARLY, EARLY_EPOCH, LATE_EPOCH = "AAE", 5, 100  # the AAE is claimed to be as good after 5 epochs as the VAE after 100
TASKS = {
    "mse": "reconstructs best",
    "nll": "has the best density",
    "code_mmd": "has the codes nearest to the prior",
    "fid": "has the best samples",
    "seconds_per_epoch": "is fastest",
    "peak_memory_mb": "needs the least memory",
}
IN_PERCENT = ("mse", "fid", "seconds_per_epoch", "peak_memory_mb")
MACHINE = ("seconds_per_epoch", "peak_memory_mb")  # only comparable on one machine
CONDITIONAL = ("CVAE",)  # their density is of images given the label, which is another one


def verdict(groups: Sequence[Group]) -> Iterator[str]:
    """Yield sentences on one setting: who is best at what, by how much, and whether the seeds allow saying so."""
    if _one_seed(groups):
        yield "There is one seed, so nothing tells what chance has done."
    if len(machines := _machines(groups)) > 1:
        yield f"Time and memory are not ranked: the runs are from different machines, {' and '.join(machines)}."
    for key, task in TASKS.items():
        ranking = rank(_competitors(groups, key), key)
        if len(ranking.groups) < 2:
            continue
        best, *others = ranking.groups
        close = [group.label for group in others if not ranking.apart(best, group)]
        said = f", though it cannot be told apart from {', '.join(close)}" if close else _ahead(ranking)
        figures = ", ".join(f"{group.label} {group.text(ranking.column)}" for group in ranking.groups)
        yield f"{best.label} {task}{said}. {ranking.column.title}: {figures}. In order: {ranking}."
    for group in groups:
        if not group.complete("mse") and group.values("mse"):
            yield f"{group.label} is not ranked by its MSE, which not all of its seeds have: some diverged."
    floor = next((group for group in groups if group.model == FLOOR), None)
    if floor and floor.values("mse"):
        away = [
            f"{group.label} {100 * (group.mean('mse') / floor.mean('mse') - 1):+.1f} %"
            for group in rank(groups, "mse").groups
            if group is not floor
        ]
        lowest = f"{FLOOR}, which has no prior to keep to, with {floor.mean('mse'):.5f}"
        if away:
            yield f"MSE held against the {lowest}: {', '.join(away)}."
    shares = [f"{group.label} {group.mean('kl_share'):.1f} %" for group in groups if group.values("kl_share")]
    if shares:
        yield f"The KL's share of -ELBO without its constant: {', '.join(shares)}."


def across(groups: Sequence[Group]) -> Iterator[str]:
    """Yield a sentence on what another likelihood does to the MSE of each model, if there are several."""
    settings = list(dict.fromkeys(group.setting for group in groups))
    if len(settings) < 2:
        return
    changes = []
    for label in dict.fromkeys(group.label for group in groups):
        means = {group.setting: group.mean("mse") for group in groups if group.label == label}
        texts = [f"{means[s]:.5f}" if math.isfinite(means.get(s, math.nan)) else "n/a" for s in settings]
        changes.append(f"{label} {', '.join(texts)}")
    yield f"MSE with {', '.join(settings)}: {'; '.join(changes)}."


class Claim(NamedTuple):
    """A claim, what was found, and whether it holds: yes, no, not shown (the seeds do not tell), or not tested."""

    claim: str
    found: str
    holds: str


def claims(groups: Sequence[Group]) -> Iterator[Claim]:
    """Test the claims on one setting."""
    for key, order in CLAIMED.items():
        # In the order of the yamls' names where there are several of one class.
        first = {model: next((g for g in groups if g.model == model), None) for model in order}
        ranking = rank([group for group in _competitors(groups, key) if group in first.values()], key)
        claim = f"{ranking.column.title}, best first: {', '.join(order)}"
        missing = [model for model in order if first[model] not in ranking.groups]
        if missing:
            yield Claim(claim, f"there is no such figure of {', '.join(missing)}", "not tested")
            continue
        ranked = {group.model: group for group in ranking.groups}
        pairs = [(ranked[better], ranked[worse]) for better, worse in zip(order, order[1:], strict=False)]
        failed = [why for a, b in pairs if (why := _why_not(ranking, a, b))]
        found = f"{ranking}: {'; '.join(failed)}" if failed else str(ranking)
        unclear = all(not ranking.apart(a, b) for a, b in pairs if _why_not(ranking, a, b))
        yield Claim(claim, found, "not shown" if failed and unclear else _holds(not failed, groups))
    yield _early(groups)


def _why_not(ranking: Ranking, better: Group, worse: Group) -> str | None:
    """Why one model is not before another, with what was measured; None if it is."""
    key, column = ranking.column.key, ranking.column
    told = f"{better.text(column)} and {worse.text(column)}"
    if not ranking.apart(better, worse):
        return f"{better.label} and {worse.label} cannot be told apart ({told})"
    if ranking.groups.index(better) < ranking.groups.index(worse):
        return None
    reason = ""
    if key == "mse" and better.values("kl") and worse.values("kl"):
        reason = f", with a KL of {better.mean('kl'):.1f} and {worse.mean('kl'):.1f} nats"
    if key == "seconds_per_epoch" and better.values("relative_time"):
        reason = f": an epoch takes {better.mean(key) / worse.mean(key):.2f} times as long"
    return f"{better.label} is not before {worse.label} ({told}){reason}"


def _early(groups: Sequence[Group]) -> Claim:
    claim = f"{EARLY} after {EARLY_EPOCH} epochs is as good as {BASE} after {LATE_EPOCH}"
    early, base = next((group for group in groups if group.model == EARLY), None), the_base(groups)
    last = min((curve[-1].epoch for curve in base.curves if curve), default=0) if base else 0
    ours, theirs = (_at(group, epoch) if group else [] for group, epoch in ((early, EARLY_EPOCH), (base, last)))
    if last <= EARLY_EPOCH or not ours or not theirs or not all(map(math.isfinite, [*ours, *theirs])):
        return Claim(claim, f"it needs both, with validation images and over {EARLY_EPOCH} epochs", "not tested")
    a, b = sum(ours) / len(ours), sum(theirs) / len(theirs)
    told = apart(ours, theirs, one_seed=_one_seed(groups))
    relation = ("below" if a < b else "above") if told else "not to be told apart from"
    found = f"validation MSE {a:.5f}, {relation} the {BASE}'s {b:.5f} after {last}; for the samples, see the pictures"
    late = last >= LATE_EPOCH
    return Claim(claim, found, _holds(a < b or not told, groups) if late else f"not tested at {LATE_EPOCH}")


def _holds(holds: bool, groups: Sequence[Group]) -> str:
    return ("yes" if holds else "no") + (", with one seed" if _one_seed(groups) else "")


def _at(group: Group, epoch: int) -> list[float]:
    """The seeds' validation MSE after an epoch, nan where it was not measured."""
    return [next((point.mse for point in curve if point.epoch == epoch), math.nan) for curve in group.curves]


def _ahead(ranking: Ranking) -> str:
    """By how much the first is ahead of the second."""
    key, (best, second, *_) = ranking.column.key, ranking.groups
    ours, theirs = best.mean(key), second.mean(key)
    less = f"{100 * (1 - ours / theirs):.2g} %" if key in IN_PERCENT else f"{theirs - ours:{ranking.column.format}}"
    return f", by {less} over {second.label}"


def _competitors(groups: Sequence[Group], key: str) -> list[Group]:
    """The groups that can be ranked by a figure."""
    if key in MACHINE and len(_machines(groups)) > 1:
        return []
    groups = [group for group in groups if group.model != FLOOR or key in MACHINE]
    return [group for group in groups if not (key == "nll" and group.model in CONDITIONAL)]


def _machines(groups: Sequence[Group]) -> list[str]:
    environments = [run.tested["environment"] for group in groups for run in group.runs]
    return sorted({f"{each.get('device')} ({each.get('threads')} threads)" for each in environments})


def _one_seed(groups: Sequence[Group]) -> bool:
    return all(len(group.runs) == 1 for group in groups)
