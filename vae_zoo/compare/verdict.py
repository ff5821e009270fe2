"""What the figures say, in words: who is best at what, and what became of the claims made for these models."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from vae_zoo.compare.figures import BASE, FLOOR, Group, Ranking, rank

# The ranking that is claimed for these models, best first, and under test here.
CLAIMED = {"mse": ("AAE", "IWAE", "IAFVAE", "VAE"), "seconds_per_epoch": ("AAE", "VAE", "IAFVAE", "IWAE")}
EARLY, EARLY_EPOCH = "AAE", 5  # claimed to be as good as the VAE after 100
TASKS = {
    "mse": "reconstructs best",
    "nll": "has the best density",
    "code_mmd": "has the codes nearest to the prior",
    "fid": "has the best samples",
    "seconds_per_epoch": "is fastest",
    "peak_memory_mb": "needs the least memory",
}
IN_PERCENT = ("mse", "fid", "seconds_per_epoch", "peak_memory_mb")


def verdict(groups: Sequence[Group]) -> Iterator[str]:
    """Yield sentences on one setting: who is best at what, by how much, and whether the seeds allow saying so."""
    if not any(len(group.runs) > 1 for group in groups):
        yield "There is one seed, so nothing tells what chance has done."
    for key, task in TASKS.items():
        ranking = rank([group for group in groups if group.model != FLOOR], key)
        if len(ranking.groups) < 2:
            continue
        best, *others = ranking.groups
        close = [group.label for group in others if not ranking.apart(best, group)]
        said = f", though it cannot be told apart from {' and '.join(close)}" if close else _ahead(ranking)
        figures = ", ".join(f"{group.label} {group.text(ranking.column)}" for group in ranking.groups)
        chance = f" (less than {ranking.least:{ranking.column.format}} may be chance)" if ranking.least else ""
        yield f"{best.label} {task}{said}. {ranking.column.title}: {figures}. In order: {ranking}{chance}."
    floor = next((group for group in groups if group.model == FLOOR), None)
    if floor and floor.values("mse"):
        above = [
            f"{group.label} {100 * (group.mean('mse') / floor.mean('mse') - 1):+.0f} %"
            for group in rank(groups, "mse").groups
            if group is not floor
        ]
        yield f"{FLOOR}, which has no prior to keep to, is the floor of the MSE with {floor.mean('mse'):.4f}: " + (
            ", ".join(above) + "."
        )
    shares = [f"{group.label} {group.mean('kl_share'):.0f} %" for group in groups if group.values("kl_share")]
    if shares:
        yield f"The KL's share of the loss: {', '.join(shares)}."


def across(groups: Sequence[Group]) -> Iterator[str]:
    """Yield a sentence on what another likelihood does to the MSE of each model, if there are several."""
    settings = list(dict.fromkeys(group.setting for group in groups))
    if len(settings) < 2:
        return
    changes = []
    for label in dict.fromkeys(group.label for group in groups):
        means = [group.mean("mse") for group in groups if group.label == label]  # in the order of the settings
        changes.append(f"{label} {', '.join(f'{mean:.4f}' for mean in means)}")
    yield f"MSE with {', '.join(settings)}: {'; '.join(changes)}."


def _ahead(ranking: Ranking) -> str:
    """By how much the first is ahead of the second."""
    key, (best, second, *_) = ranking.column.key, ranking.groups
    ours, theirs = best.mean(key), second.mean(key)
    less = f"{100 * (1 - ours / theirs):.2g} %" if key in IN_PERCENT else f"{theirs - ours:{ranking.column.format}}"
    return f", by {less} over {second.label}"


class Claim(NamedTuple):
    """A claim, what was found, and whether it holds; None where it could not be tested."""

    claim: str
    found: str
    holds: bool | None


def claims(groups: Sequence[Group]) -> Iterator[Claim]:
    """Test the claims on one setting."""
    for key, order in CLAIMED.items():
        first = {model: next((g for g in groups if g.model == model), None) for model in order}
        ranking = rank([group for group in first.values() if group], key)
        claim = f"{ranking.column.title}, best first: {', '.join(order)}"
        missing = [model for model in order if first[model] not in ranking.groups]
        if missing:
            yield Claim(claim, f"not tested: {', '.join(missing)} missing", None)
            continue
        place = {group.model: i for i, group in enumerate(ranking.groups)}
        failed = []
        for better, worse in zip(order, order[1:], strict=False):
            a, b = (next(group for group in ranking.groups if group.model == model) for model in (better, worse))
            told = f"{a.mean(key):{ranking.column.format}} and {b.mean(key):{ranking.column.format}}"
            if not ranking.apart(a, b):
                failed.append(f"{better} and {worse} cannot be told apart ({told})")
            elif place[better] > place[worse]:
                failed.append(f"{better} is not before {worse} ({told})")
        yield Claim(claim, f"{ranking}" + (f": {'; '.join(failed)}" if failed else ""), not failed)
    yield _early(groups)


def _early(groups: Sequence[Group]) -> Claim:
    claim = f"{EARLY} at epoch {EARLY_EPOCH} looks as good as {BASE} at epoch 100"
    a, b = (next((g for g in groups if g.model == model), None) for model in (EARLY, BASE))
    early = _at(a, EARLY_EPOCH) if a else math.nan
    last = max((curve[-1].epoch for curve in b.curves if curve), default=0) if b else 0
    final = _at(b, last) if b else math.nan
    if math.isnan(early) or math.isnan(final) or last <= EARLY_EPOCH:
        return Claim(claim, f"not tested: it needs both, with validation images and over {EARLY_EPOCH} epochs", None)
    found = (
        f"validation MSE {early:.4f} after {EARLY_EPOCH} epochs, the {BASE}'s {final:.4f} after {last}; "
        "for the samples, see the picture wall"
    )
    return Claim(claim.replace("looks", "reconstructs and looks"), found, early <= final)


def _at(group: Group, epoch: int) -> float:
    """The mean validation MSE after an epoch, nan if a seed has none."""
    values = [next((point.mse for point in curve if point.epoch == epoch), math.nan) for curve in group.curves]
    return sum(values) / len(values) if values else math.nan
