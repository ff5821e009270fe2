"""How long a comparison will still take, from what was timed of it, and from nothing else."""

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import NamedTuple

ALIKE = 1.15  # ratio of two bounds that are told as one number


@dataclass
class Seen:
    """What was seen of one training: times in seconds on any clock, None where it has not come to that.

    Attributes:
        kind: trainings of one kind take equally long.
        before: epochs that it had when it began.
        began: when its process was started.
        rises: when, and to how many, the number of its finished epochs rose.
        trained: when its training ended and its test began; None for one that failed.
        ended: when it ended.
    """

    kind: str
    before: int = 0
    began: float | None = None
    rises: list[tuple[float, int]] = field(default_factory=list)
    trained: float | None = None
    ended: float | None = None

    def each(self, epochs: int) -> float | None:
        """Return the seconds of an epoch, of so many altogether, with all that is done between two; None if unknown."""
        times = [*self.rises, *([] if self.trained is None else [(self.trained, epochs)])]
        if len(times) > 1 and times[-1][1] > times[0][1]:
            return (times[-1][0] - times[0][0]) / (times[-1][1] - times[0][1])
        if self.trained is not None and self.began is not None and epochs > self.before:
            return (self.trained - self.began) / (epochs - self.before)  # too few epochs to tell them from the start
        return None

    def start(self, epochs: int) -> float | None:
        """Return the seconds before its first epoch began."""
        each = self.each(epochs)
        if each is None or self.began is None or not self.rises:
            return None
        time, done = self.rises[0]
        return max(0.0, time - self.began - each * (done - self.before))

    def test(self) -> float | None:
        """Return the seconds of its test."""
        return None if self.trained is None or self.ended is None else self.ended - self.trained


class Left(NamedTuple):
    """The seconds that are left: at least `low`, at most `high`, which is infinite as long as something is untimed."""

    low: float
    high: float
    untimed: tuple[str, ...]

    def __str__(self) -> str:
        """In words; nothing where nothing is known."""
        if not self.low:
            return ""
        if self.high <= ALIKE * self.low:
            return f"about {_words(self.high)} left"
        if math.isfinite(self.high):
            low, high = _words(self.low).split(), _words(self.high).split()
            return f"{' '.join(low[: 1 if low[1] == high[1] else 2])} to {' '.join(high)} left"
        return f"at least {_words(self.low)} left, {', '.join(self.untimed)} not timed yet"


def left(plans: Sequence[Seen], epochs: int, jobs: int, now: float) -> Left:
    """Predict how long all trainings will still take.

    Of a kind that was not timed an epoch may take any time. A start-up that was not timed takes as long as others do,
    and a test as many epochs as others do.

    Args:
        plans: in the order in which they are begun.
        epochs: that each is to have.
        jobs: trainings at a time.
        now: on the clock of the plans.
    """
    each = _means((plan.kind, plan.each(epochs)) for plan in plans)
    start = _means((plan.kind, plan.start(epochs)) for plan in plans)
    test = _means((plan.kind, plan.test()) for plan in plans)
    ratios = [seconds / each[kind] for kind, seconds in test.items() if each.get(kind)]

    def ends(at_least: bool) -> float:
        pick, unknown = (min, 0.0) if at_least else (max, math.inf)

        def rest(plan: Seen) -> float:
            epoch = each.get(plan.kind, unknown)
            begin = start.get(plan.kind, pick(start.values(), default=unknown))
            ratio = pick(ratios, default=unknown)
            testing = test.get(plan.kind, epoch * ratio if epoch else 0.0)
            if plan.trained is not None:
                return max(0.0, testing - (now - plan.trained))
            if plan.rises:
                since, done = plan.rises[-1]
                return max(0.0, _times(epoch, epochs - done) - (now - since)) + testing
            since = now if plan.began is None else plan.began
            return max(0.0, begin + _times(epoch, epochs - plan.before) - (now - since)) + testing

        running = [rest(plan) for plan in plans if plan.began is not None and plan.ended is None]
        queue = [*running, *[0.0] * (jobs - len(running))]
        heapq.heapify(queue)
        for seconds in (rest(plan) for plan in plans if plan.began is None):
            heapq.heappush(queue, heapq.heappop(queue) + seconds)
        return max(queue)

    untimed = (plan.kind for plan in plans if plan.kind not in each and plan.ended is None)
    return Left(ends(True), ends(False), tuple(dict.fromkeys(untimed)) or ("tests",))


def _times(epoch: float, epochs: int) -> float:
    """The seconds of so many epochs; none takes no time, however long one takes."""
    return epoch * epochs if epochs else 0.0


def _means(values: Iterable[tuple[str, float | None]]) -> dict[str, float]:
    """The mean of each kind's values, where it has any."""
    found: dict[str, list[float]] = {}
    for kind, value in values:
        if value is not None:
            found.setdefault(kind, []).append(value)
    return {kind: fmean(each) for kind, each in found.items()}


def _words(seconds: float) -> str:
    """Rounded up: 40 s, 6 min, 3.5 h."""
    if seconds <= 90:
        return f"{10 * math.ceil(seconds / 10)} s"
    return f"{math.ceil(seconds / 60)} min" if seconds <= 5400 else f"{seconds / 3600:.1f} h"
