"""How long a comparison will still take: held against a recorded one, and against times that follow from arithmetic."""

import math
import re

import pytest

from vae_zoo.compare.forecast import Left, Seen, left

EPOCHS, JOBS = 12, 2
# Of `vae-zoo compare --config compare/small` on two busy cores, in seconds: when each model's process began, when its
# number of finished epochs rose, when its test began, when it ended.
RECORDED = {
    "vae": (71.5, [133, 150, 165, 182, 194, 216, 238, 253, 268, 280, 292], 315, 423.5),
    "iwae": (71.6, [159, 180, 211, 249, 275, 303, 339, 383, 427, 461, 493], 527.5, 628.5),
    "iaf": (423.8, [505, 524, 558, 590, 616, 641, 666, 685, 706, 733, 752], 784, 853.6),
    "aae": (629, [711, 736, 754, 775, 795, 814, 841, 864, 879, 898, 917], 939, 999.4),
}
END = max(times[-1] for times in RECORDED.values())


def seen_at(now, recorded=None):
    """What was seen of each training until then."""

    def until(time):
        return time if time <= now else None

    return [
        Seen(kind, 0, until(began), [(t, n + 1) for n, t in enumerate(rises) if t <= now], until(trained), until(ended))
        for kind, (began, rises, trained, ended) in (recorded or RECORDED).items()
    ]


@pytest.mark.parametrize("now", range(72, 999, 9))
def test_a_recorded_comparison_never_takes_longer_than_was_said(now):
    found = left(seen_at(now), EPOCHS, JOBS, now)
    truth = END - now
    assert found.low <= 1.3 * truth  # the machine had less to do at the end
    assert found.high >= 0.9 * truth
    begun = {kind for kind, (began, rises, *_) in RECORDED.items() if now >= rises[1]}
    assert math.isfinite(found.high) == (begun == set(RECORDED))  # nothing is foretold of a model that was not timed
    unknown = tuple(kind for kind in RECORDED if kind not in begun)
    assert str(found) == "" or math.isfinite(found.high) or ", ".join(unknown) in str(found)


def test_what_was_said_before_was_a_fraction_of_the_truth():
    """The finished epochs' rate alone, as the bar had it: neither start-ups nor tests, nor that others are slower."""
    now = 290
    rises = sorted(time for _, times, *_ in RECORDED.values() for time in times if time <= now)
    rate = (len(rises) - 1) / (rises[-1] - rises[0])
    assert (EPOCHS * len(RECORDED) - len(rises)) / rate < 0.5 * (END - now)
    assert str(left(seen_at(now), EPOCHS, JOBS, now)).startswith("at least")


def regular(kind, began, start=5.0, each=2.0, test=4.0, epochs=EPOCHS, before=0):
    """A training that takes exactly so long, as it is recorded: start-up, epochs and test."""
    rises = [began + start + each * (n - before) for n in range(before + 1, epochs)]
    trained = began + start + each * (epochs - before)
    return began, rises, trained, trained + test


@pytest.mark.parametrize("now", [33.5, 34, 40, 57.9, 62, 62.1, 90, 94.9])
def test_what_is_regular_is_foretold_to_the_second(now):
    """Three seeds one after the other: 5 s to start, 12 epochs of 2 s, a test of 4 s are 33 s each."""
    plans = seen_at(now, {f"seed {i}": regular("vae", 33.0 * i) for i in range(3)})
    for plan in plans:
        plan.kind = "vae"
    found = left(plans, EPOCHS, 1, now)
    assert found.low == pytest.approx(99 - now) == found.high
    assert str(found).startswith("about ")


def test_two_at_a_time_end_when_the_later_one_does():
    """The first kind takes 33 s; the other, of 6 s an epoch and a start of 5 s, 89 s with a test of 12 s."""
    recorded = {"a": regular("a", 0), "b": regular("b", 0, each=6.0, test=12.0), "c": regular("a", 33.0)}
    plans = seen_at(40, recorded)
    plans[2].kind = "a"
    found = left(plans, EPOCHS, 2, 40)
    assert found.low == pytest.approx(found.high) == pytest.approx(89 - 40)  # its test: 2 epochs, as that of the first


def test_one_that_goes_on_needs_the_rest_alone():
    plans = seen_at(34, {"a": regular("a", 0), "b": (math.inf, [], math.inf, math.inf)})
    plans[1].kind, plans[1].before = "a", 10
    assert left(plans, EPOCHS, 1, 34).low == pytest.approx(5 + 2 * 2 + 4)


def test_a_failure_is_no_measure():
    plans = [Seen("a", began=0.0, ended=1.0), Seen("a")]
    found = left(plans, EPOCHS, 1, 1.0)
    assert found == (0, math.inf, ("a",)) and str(found) == ""


def test_epochs_too_few_to_be_timed_one_by_one():
    plans = [Seen("a", began=0.0, trained=10.0, ended=12.0), Seen("a")]
    assert left(plans, 1, 1, 12.0).low == pytest.approx(12.0)


@pytest.mark.parametrize(
    "low, high, said",
    [
        (33, 33, "about 40 s left"),
        (290, 320, "about 6 min left"),
        (200, 330, "4 to 6 min left"),
        (50, 200, "50 s to 4 min left"),
        (9000, 20000, "2.5 to 5.6 h left"),
        (61, math.inf, "at least 70 s left, aae not timed yet"),
        (0, math.inf, ""),
    ],
)
def test_in_words(low, high, said):
    assert str(Left(low, high, ("aae",))) == said
    assert not re.search(r"\b1 min", said)
