"""Which models a figure tells apart: against scipy, and against numbers worked out by hand."""

from math import isnan

import numpy as np
import pytest
from scipy.stats import ttest_ind, ttest_rel

from tests.run_folders import made_run
from vae_zoo.compare.claims import beyond
from vae_zoo.compare.columns import KNOWN
from vae_zoo.compare.figures import read_groups
from vae_zoo.compare.ranking import Ranking, difference, holm, rank


def seeds(*values, first=0):
    return dict(enumerate(values, first))


@pytest.mark.parametrize(
    "key, value, said", [("explained_variance", -0.0001, "0.000"), ("kl_share", -0.04, "0.0"), ("nll", -91.23, "-91.2")]
)
def test_no_zero_is_negative(key, value, said):
    assert KNOWN[key].text(value) == said


@pytest.fixture
def draws():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=5)
    return (1 + shared + 0.05 * rng.normal(size=5)).tolist(), (1.2 + shared + 0.05 * rng.normal(size=5)).tolist()


def test_shared_seeds_are_paired(draws):
    a, b = draws
    found = difference(seeds(*a), seeds(*b))
    assert found.p == pytest.approx(ttest_rel(a, b).pvalue) and found.p < 0.05 < ttest_ind(a, b).pvalue
    interval = ttest_rel(a, b).confidence_interval(0.9)  # two-sided at 90 %: each side is one-sided at 95 %
    assert found.bounds == pytest.approx((interval.low, interval.high))
    # The order in which the seeds come plays no part.
    assert difference(seeds(*a), dict(reversed(seeds(*b).items()))) == found


def test_other_seeds_are_told_apart_by_welch(draws):
    a, b = draws[0], [2 * value for value in draws[1][:3]]
    found = difference(seeds(*a), seeds(*b, first=7))
    welch = ttest_ind(a, b, equal_var=False)
    assert found.p == pytest.approx(welch.pvalue) and found.freedom == pytest.approx(welch.df)
    interval = welch.confidence_interval(0.9)
    assert found.bounds == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize(
    "a, b, p",
    [
        ([0.1, 0.1], [0.2, 0.2], 0.0),  # no spread at all
        ([0.1, 0.1], [0.1, 0.1], 1.0),
        ([0.1, 0.1], [0.1 + 1e-7, 0.1 + 1e-7], 1.0),  # no difference that a table would show
        ([1e-3, 1e-3], [2e-3, 2e-3], 0.0),
        ([0.1], [0.2], 1.0),  # one seed tells nothing
        ([0.1, 0.2], [5.0], 1.0),
        # t = 1 with one degree of freedom: a Cauchy's quarters.
        ([1.0, 3.0], [1.0, 1.0], 0.5),
    ],
)
def test_p_of_a_difference(a, b, p):
    for there in (a, b), (b, a):
        assert difference(*(seeds(*each) for each in there), least=5e-6).p == pytest.approx(p)


def test_a_constant_in_a_figure_hides_no_difference(tmp_path):
    """The NLL of a Gaussian of 3 x 64 x 64 pixels has 11,291.8 nats of it, and two of these models are a nat apart."""
    nll = [11483.3, 11483.4, 11483.2], [11482.3, 11482.41, 11482.19]
    assert str(ranking(tmp_path, nll, "nll")) == "Slow < Base"
    assert not ranking(tmp_path / "less", [[0.01, 0.012], [0.03, 0.032]], "nll").best  # the table has one digit


def test_two_seeds_that_differ_by_the_same_count_are_no_proof(tmp_path):
    """Of equal counts of a few modes two seeds agree in every tenth pair or so."""
    rng = np.random.default_rng(0)
    apart = 0
    for modes in rng.poisson(2, size=(2_000, 2, 2)):
        a, b = (seeds(*map(float, each)) for each in modes)
        apart += difference(a, b, KNOWN["modes_lost"].least, KNOWN["modes_lost"].step).p < 0.05
    assert apart / 2_000 < 0.05
    assert difference(seeds(0.0, 0.0), seeds(150.0, 150.0), step=1).p < 0.05
    # By hand: three paired counts, each difference off by sqrt(2 / 12); without pairs by the same.
    for first in 0, 3:
        assert difference(seeds(1.0, 1.0, 1.0), seeds(2.0, 2.0, 2.0, first=first), step=1).error == pytest.approx(
            (2 / 12 / 3) ** 0.5
        )
    assert ranking(tmp_path, [[22.0, 30.0], [20.0, 28.0]], "modes_lost").best is None


def test_holm_by_hand():
    # 4 x .01, then the larger of it and 3 x .012, then 2 x .04, then 1 x .045 but not below .08.
    assert holm({"a": 0.045, "b": 0.01, "c": 0.04, "d": 0.012}) == pytest.approx(
        {"b": 0.04, "d": 0.04, "c": 0.08, "a": 0.08}
    )
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def ranking(root, values, key="mse"):
    """Rank models by values of theirs, one list a model, one value a seed."""
    for name, each in zip(("base", "slow", "flow", "sharp"), values, strict=False):
        for seed, value in enumerate(each):
            made_run(root, name, seed, figures={key: value})
    return rank(read_groups(root)[0], KNOWN[key])


def test_an_order_claims_no_more_than_its_pairs(tmp_path):
    """Neighbours cannot be told apart, the ends can: no sign between neighbours says that."""
    said = ranking(tmp_path, [[10.0, 10.1, 9.9], [10.3, 10.6, 9.9], [10.6, 10.7, 10.5]])
    base, slow, flow = said.groups
    assert said.apart(base, flow) and not said.apart(base, slow) and not said.apart(slow, flow)
    assert str(said) == "(Base, Slow, Flow; apart: Base < Flow)" and said.best is None


def test_an_unsteady_model_is_not_before_what_only_its_neighbour_is_before(tmp_path):
    """ "Base ≈ Slow ≈ Flow < Sharp" would say that Base and Sharp are apart."""
    steady = [[10.0, 10.01, 9.99], [10.02, 10.01, 10.03], [10.5, 10.51, 10.49]]
    said = ranking(tmp_path, [[9.0, 11.0, 9.9], *steady])
    assert str(said) == "(Base, Slow, Flow, Sharp; apart: Slow < Sharp, Flow < Sharp)"


def test_an_order_of_blocks(tmp_path):
    said = ranking(tmp_path, [[1.0, 1.02, 0.98], [1.01, 0.99, 1.0], [2.01, 2.03, 1.98], [3.0, 3.02, 2.99]])
    assert str(said) == "Base ≈ Slow < Flow < Sharp"
    assert said.best is None  # two are ahead


def test_the_best_is_apart_from_all_others(tmp_path):
    said = ranking(tmp_path, [[2.0, 2.02, 1.98], [2.01, 1.99, 2.0], [1.01, 1.03, 0.98]])
    assert str(said) == "Flow < Base ≈ Slow" and said.best.name == "flow"


def test_pairs_are_corrected_for_their_number(tmp_path):
    """What is apart with two models is not with four, of which there are six pairs."""
    values = [[1.0, 1.1, 0.9], [1.12, 1.24, 1.0], [1.3, 1.0, 1.25], [0.9, 1.2, 1.15]]
    p = ttest_rel(*values[:2]).pvalue
    assert 0.05 / 6 < p < 0.05
    assert str(ranking(tmp_path / "two", values[:2])) == "Base < Slow"
    assert "<" not in str(ranking(tmp_path / "four", values))


def test_higher_may_be_better(tmp_path):
    said = ranking(tmp_path, [[20.0, 20.1], [25.0, 25.1]], key="psnr")
    assert str(said) == "Slow > Base" and said.best.name == "slow"


def test_one_seed_ranks_nobody(tmp_path):
    said = ranking(tmp_path, [[2.0], [1.0]])
    assert str(said) == "Slow, Base" and said.best is None


def test_who_is_no_competitor(tmp_path):
    """A model without a rate does not reconstruct best, and a density given the label is another one."""
    for seed in range(2):
        made_run(tmp_path, "floor", seed)
        made_run(tmp_path, "base", seed)
        made_run(tmp_path, "slow", seed, traits={"conditional": True})
    groups, _ = read_groups(tmp_path)

    def ranked(key):
        return {group.name for group in rank(groups, KNOWN[key]).groups}

    assert ranked("mse") == {"base", "slow"} and ranked("nll") == {"base"}
    assert ranked("seconds_per_epoch") == {"floor", "base", "slow"}
    made_run(tmp_path, "base", 2, environment={"device": "another"})
    groups, _ = read_groups(tmp_path)
    assert ranked("seconds_per_epoch") == ranked("peak_memory_mb") == set() != ranked("mse")


def test_as_good_as_needs_the_bound_within_the_margin():
    """The issue's example: .030 and .060 are not as good as .0190 and .0191, only because two seeds cannot tell."""
    low, high = beyond(seeds(0.030, 0.060), seeds(0.0190, 0.0191), margin=0.05, column=KNOWN["mse"]).bounds
    # Of .030 - 1.05 x .0190 and .060 - 1.05 x .0191; t(1) at 95 % is 6.3138.
    d = 0.030 - 1.05 * 0.0190, 0.060 - 1.05 * 0.0191
    mean, error = sum(d) / 2, abs(d[0] - d[1]) / 2
    assert (low, high) == pytest.approx((mean - 6.313752 * error, mean + 6.313752 * error))
    assert low < 0 < high
    # 4 % worse is within 5 %, and outside 3 %; where high is better, worse is lower; values may be below zero.
    for ours, theirs, key in (
        (seeds(1.04, 1.0401), seeds(1.0, 1.0), "mse"),
        (seeds(0.96, 0.9601), seeds(1.0, 1.0), "ssim"),
        (seeds(-104.0, -104.01), seeds(-100.0, -100.0), "elbo"),
    ):
        column = KNOWN[key]
        assert beyond(ours, theirs, 0.05, column).bounds[1] < 0 < beyond(ours, theirs, 0.03, column).bounds[0]
    assert isnan(beyond(seeds(1.0), seeds(1.0), 0.05, KNOWN["mse"]).bounds[1])  # one seed has no bound
    assert difference(seeds(1.0, 1.0), seeds(2.0, 2.0)).bounds == (-1.0, -1.0)


def test_figures_that_some_seeds_do_not_have_are_not_ranked(tmp_path):
    made_run(tmp_path, "base", 0)
    made_run(tmp_path, "base", 1, figures={"mse": float("nan")})
    made_run(tmp_path, "slow", 0)
    made_run(tmp_path, "slow", 1)
    assert [group.name for group in Ranking(read_groups(tmp_path)[0], KNOWN["mse"]).groups] == ["slow"]
