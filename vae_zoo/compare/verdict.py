"""What the figures say, in words: who is best at what, by how much, and whether the seeds allow saying so."""

import math
from collections.abc import Iterator, Sequence

from vae_zoo.compare.columns import KNOWN, some
from vae_zoo.compare.figures import Group
from vae_zoo.compare.ranking import Ranking, incomparable, rank

TASKS = {  # each by a figure of which less is better
    "mse": "reconstructs best",
    "nll": "has the best density",
    "code_mmd": "has the codes nearest to the prior",
    "fid": "has the best samples",
    "seconds_per_epoch": "is fastest",
    "peak_memory_mb": "needs the least memory",
}
IN_PERCENT = ("mse", "fid", "seconds_per_epoch", "peak_memory_mb")


def verdict(groups: Sequence[Group]) -> Iterator[str]:
    """Yield sentences on one setting; the figures are in the table."""
    if all(len(group.runs) == 1 for group in groups):
        yield "With one seed per model, differences may be chance: models are listed, and none is called the best."
    for key, what in (("seconds_per_epoch", "Time and memory are"), ("nll", "The density is")):
        if why := incomparable(groups, KNOWN[key]):
            yield f"{what} not ranked: {why}."
    for key, task in TASKS.items():
        ranking = rank(groups, KNOWN[key])
        if len(ranking.groups) > 1:
            yield _sentence(ranking, task)
    if failed := [g.label for g in groups if g.values("mse") and not g.complete("mse")]:
        are, their = ("is", "its") if len(failed) == 1 else ("are", "their")
        yield f"{some(failed)} {are} not ranked by {their} MSE, which not all of {their} seeds have: some diverged."
    free = [group for group in groups if not group.traits["regularised"]]
    floors = [group for group in free if group.values("mse") and group.mean("mse") > 0]
    if floors:
        floor = min(floors, key=lambda group: group.mean("mse"))
        away = [
            f"{group.label} {100 * (group.mean('mse') / floor.mean('mse') - 1):+z.1f} %"
            for group in rank(groups, KNOWN["mse"]).groups
        ]
        if away:
            yield f"MSE relative to {floor.label}, whose codes follow no prior: {some(away)}."


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
    yield f"MSE with {', '.join(settings)}: {some(changes, '; ')}."


def _sentence(ranking: Ranking, task: str) -> str:
    first = ranking.groups[0]
    order, second, lead = f"{ranking.column.title}: {ranking}.", ranking.groups[1].label, _lead(ranking)
    if ranking.one_seed:
        figure = ranking.column.title.partition(",")[0]  # without its unit
        return (
            f"Lowest {figure}: {first.label}, {f'{lead} below' if lead else 'level with'} {second} (one seed). {order}"
        )
    if ranking.best:
        return f"{first.label} {task}, {f'by {lead} over' if lead else 'level with'} {second}. {order}"
    return f"Which model {task} is undecided. {order}"


def _lead(ranking: Ranking) -> str:
    """By how much the first is below the second; nothing if it is not."""
    ours, theirs, *_ = (group.mean(ranking.column.key) for group in ranking.groups)
    if ours == theirs:
        return ""
    if ranking.column.key in IN_PERCENT and min(ours, theirs) > 0:
        share = 100 * (1 - ours / theirs)
        return f"{share:{'.2g' if share < 10 else '.0f'}} %"
    return ranking.column.text(theirs - ours)
