"""Which networks the compared models share, and what a model has beyond them, as the runs counted parameters."""

from collections.abc import Iterator, Sequence

from vae_zoo.compare.columns import MOST, some
from vae_zoo.compare.figures import Group


def shared_parts(groups: Sequence[Group], base: str | None) -> Iterator[str]:
    """Yield sentences on one setting; nothing where no run has counted its parts.

    Networks of one setting are described alike, else the runs would not be compared; so those with as many parameters
    are equal.

    Args:
        groups: of the setting.
        base: name of the configuration that the others are compared with; None, or one that is not there: the first.
    """
    counted = {group.label: group.runs[0].tested.get("parts") or {} for group in groups}
    models = {label: parts for label, parts in counted.items() if parts}
    if not models:
        return
    labels = {group.name: group.label for group in groups}
    first = labels.get(base or "")
    first = first if first in models else next(iter(models))
    ours = models[first]
    like = [label for label, parts in models.items() if parts == ours]
    totals = ", ".join(f"{part} {count:,}" for part, count in ours.items())
    if equal := [part for part in ours if len(models) > 1 and all(m.get(part) == ours[part] for m in models.values())]:
        count = sum(ours[part] for part in equal)
        yield f"Equal in all models: {_and(equal)}, {count:,} parameters."
    yield f"{_and(like)} {'has' if len(like) == 1 else 'have'} {sum(ours.values()):,} parameters: {totals}."
    others: list[tuple[dict[str, int], list[str]]] = []
    for label, theirs in models.items():
        if theirs != ours:
            alike = next((same for parts, same in others if parts == theirs), None)
            if alike is None:
                others.append((theirs, alike := []))
            alike.append(label)
    for theirs, same in others[:MOST]:
        have, their = ("has", "its") if len(same) == 1 else ("have", "their")
        yield f"{_and(same)} {have} {_apart(theirs, ours, first, their)}."
    if rest := [label for _, same in others[MOST:] for label in same]:
        yield f"Of {len(rest):,} more models the parts differ, too: vae-zoo report of a part of the folder tells them."
    if unknown := [label for label, parts in counted.items() if not parts]:
        yield f"The parts of {_and(unknown)} were not counted: vae-zoo test does it."


def _apart(theirs: dict[str, int], ours: dict[str, int], first: str, their: str) -> str:
    """By how many parameters models differ from the first, and where; `their` is a word for these models'."""
    apart = {part: theirs.get(part, 0) - ours.get(part, 0) for part in {**theirs, **ours}}
    more = sum(apart.values())
    much = f"{abs(more):,} {'more' if more > 0 else 'fewer'} than {first}" if more else f"as many as {first}"
    said = []
    for part, difference in apart.items():
        if part not in ours:
            said.append(f"{their} {part}" + ("" if difference == more else f" {difference:,}"))
        elif difference:
            without = f"no {part}, " if part not in theirs else f"{part} "
            said.append(f"{without}{abs(difference):,} {'more' if difference > 0 else 'fewer'}")
    return f"{much}: {', '.join(said)}"


def _and(words: Sequence[str]) -> str:
    if len(words) > MOST:
        return some(words)
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
