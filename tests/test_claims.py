"""A comparison's claims: mistakes in them are told when it starts, and the report tests them on the runs."""

import pytest

from tests.run_folders import MODELS, compared, made_run
from vae_zoo.compare.claims import findings
from vae_zoo.compare.comparison import Comparison, parse_claims
from vae_zoo.compare.figures import read_groups
from vae_zoo.compare.report import write_report
from vae_zoo.errors import UserError

ORDERING = {"figure": "mse", "order": ["sharp", "slow", "base"], "source": "somebody"}
AS_GOOD_AS = {
    "figure": "mse",
    "early": {"config": "sharp", "epoch": 2},
    "late": {"config": "base", "epoch": 6},
    "margin": 0.05,
    "source": "somebody",
}


def found(root, *claims):
    return list(findings(parse_claims(claims, tuple(MODELS)), read_groups(root)[0]))


@pytest.mark.parametrize(
    "claim, message",
    [
        ("mse", r"claims\[0\]: it must have the keys figure, early, late, margin, source, got 'mse'"),
        (ORDERING | {"order": ["sharp", "bass"]}, r"claims\[0\].order: there is no config 'bass'.*did you mean 'base'"),
        (ORDERING | {"order": "sharp"}, r"claims\[0\].order: it must be a list of two or more configs, each once"),
        (ORDERING | {"order": ["sharp", "sharp"]}, "each once"),
        (ORDERING | {"figure": "mes"}, r"claims\[0\].figure: there is no figure 'mes'; did you mean 'mse'"),
        (ORDERING | {"source": None}, r"claims\[0\]: source is missing"),
        (ORDERING | {"margin": 0.1}, r"claims\[0\]: there is no key 'margin'"),
        ({k: v for k, v in AS_GOOD_AS.items() if k != "margin"}, r"claims\[0\]: margin is missing"),
        (AS_GOOD_AS | {"margin": "small"}, r"claims\[0\].margin: it must be a number, such as 0.05"),
        (AS_GOOD_AS | {"margin": -0.1}, r"claims\[0\].margin must be at least 0, got -0.1"),
        (AS_GOOD_AS | {"early": "sharp"}, r"claims\[0\].early: it must have the keys config, epoch"),
        (AS_GOOD_AS | {"early": {"config": "shrp", "epoch": 2}}, "claims.*early.config: there is no config 'shrp'"),
        (AS_GOOD_AS | {"late": {"config": "base", "epoch": 0}}, r"claims\[0\].late.epoch must be at least 1, got 0"),
        (AS_GOOD_AS | {"late": {"config": "base", "epoch": "x"}}, "late.epoch: it must be a whole number, got 'x'"),
        (AS_GOOD_AS | {"figure": "kl"}, "kl is neither better when it is low nor when it is high"),
    ],
)
def test_mistakes_in_a_claim(claim, message):
    with pytest.raises(UserError, match=message):
        parse_claims([claim], tuple(MODELS))


def test_claims_must_be_a_list():
    with pytest.raises(UserError, match="claims: it must be a list of claims"):
        parse_claims(ORDERING, tuple(MODELS))


def test_a_comparison_comes_back_as_it_was_written(tmp_path):
    claims = parse_claims([ORDERING, AS_GOOD_AS], tuple(MODELS))
    written = Comparison(tuple(MODELS), "base", claims)
    written.write(tmp_path)
    assert Comparison.read(tmp_path) == written
    assert Comparison.read(tmp_path / "none") == Comparison()


def test_orderings(tmp_path):
    compared(tmp_path)
    right, wrong = found(tmp_path, ORDERING, ORDERING | {"order": ["sharp", "base", "slow"]})
    assert right == ("MSE: Sharp < Slow < Base", "somebody", "Sharp < Slow < Base", "yes")
    assert wrong.claim == "MSE: Sharp < Base < Slow"
    assert (wrong.found, wrong.holds) == ("Sharp < Slow < Base: Slow ranks ahead of Base", "no")
    (high,) = found(tmp_path, ORDERING | {"figure": "psnr"})
    assert (high.claim, high.holds) == ("PSNR, dB: Sharp > Slow > Base", "yes")
    (absent,) = found(tmp_path, ORDERING | {"figure": "nll"})
    assert (absent.found, absent.holds) == ("there is no such figure of Sharp", "not tested")


def test_an_ordering_that_the_seeds_do_not_tell(tmp_path):
    for seed, (a, b) in enumerate(((0.020, 0.022), (0.022, 0.021), (0.021, 0.023))):
        made_run(tmp_path, "base", seed, mse=a)
        made_run(tmp_path, "slow", seed, mse=b)
    for order in (["base", "slow"], ["slow", "base"]):
        (claim,) = found(tmp_path, ORDERING | {"order": order})
        assert claim.holds == "not shown" and "are not told apart" in claim.found


def test_one_seed_shows_nothing(tmp_path):
    compared(tmp_path, seeds=1)
    ordering, good = found(tmp_path, ORDERING, AS_GOOD_AS)
    assert (ordering.found, ordering.holds) == ("with one seed each: Sharp, Slow, Base", "not shown")
    assert good.holds == "not shown" and "one seed cannot show" in good.found


def test_time_on_several_machines_is_not_tested(tmp_path):
    compared(tmp_path)
    made_run(tmp_path, "base", 3, environment={"device": "another"})
    made_run(tmp_path, "sharp", 3)
    (claim,) = found(tmp_path, ORDERING | {"figure": "seconds_per_epoch"})
    assert claim.found.startswith("the runs are from different machines, another (") and claim.holds == "not tested"


def test_densities_of_different_estimates_are_not_tested(tmp_path):
    for seed in range(2):
        made_run(tmp_path, "base", seed, nll_samples=5_000)
        made_run(tmp_path, "slow", seed)
    (claim,) = found(tmp_path, ORDERING | {"figure": "nll", "order": ["slow", "base"]})
    ways = "NLLs were computed with 100 and 5,000 importance samples"
    assert (claim.found, claim.holds) == (ways, "not tested")


def test_a_conditional_density_is_not_tested_against_others(tmp_path):
    for seed in range(2):
        made_run(tmp_path, "base", seed)
        made_run(tmp_path, "slow", seed, traits={"conditional": True})
    density, error = found(tmp_path, *(ORDERING | {"figure": key, "order": ["slow", "base"]} for key in ("nll", "mse")))
    assert (density.found, density.holds) == ("the density of Slow is that of images given their label", "not tested")
    assert error.holds == "yes"
    for file in tmp_path.rglob("metrics.csv"):
        file.write_text(file.read_text().replace("val/mse", "val/elbo"))
    bounds = {"figure": "elbo", "early": {"config": "slow", "epoch": 6}}
    (good,) = found(tmp_path, AS_GOOD_AS | bounds)
    assert (good.found, good.holds) == (density.found, "not tested")
    (itself,) = found(tmp_path, AS_GOOD_AS | bounds | {"late": {"config": "slow", "epoch": 6}})
    assert itself.holds != "not tested"


def test_as_good_as(tmp_path):
    compared(tmp_path)  # after 2 epochs sharp has 1.4 x .016, base .024 at its end; the seeds differ by little
    (good,) = found(tmp_path, AS_GOOD_AS)
    assert good.claim == "Sharp after 2 epochs is as good as Base after 6: validation MSE, at most 5 % worse"
    assert (good.found, good.holds) == ("0.02254 against 0.02410, within the margin", "yes")
    (bad,) = found(tmp_path, AS_GOOD_AS | {"early": {"config": "flow", "epoch": 2}})
    assert (bad.found, bad.holds) == ("0.03444 against 0.02410, outside the margin", "no")


def test_what_the_seeds_cannot_tell_is_not_as_good(tmp_path):
    for seed, (early, late) in enumerate(((0.030, 0.0190), (0.060, 0.0191))):
        made_run(tmp_path, "sharp", seed, mse=early)
        made_run(tmp_path, "base", seed, mse=late)
    (claim,) = found(tmp_path, AS_GOOD_AS | {"early": {"config": "sharp", "epoch": 6}})
    assert claim.holds == "not shown" and "the seeds cannot show whether that is within the margin" in claim.found


@pytest.mark.parametrize(
    "change, message",
    [
        ({"late": {"config": "base", "epoch": 100}}, "it needs 100 epochs, Base has had 6"),
        ({"figure": "nll"}, "Sharp has no such figure of the validation"),
    ],
)
def test_what_cannot_be_tested_says_why(change, message, tmp_path):
    compared(tmp_path, seeds=2)
    (claim,) = found(tmp_path, AS_GOOD_AS | change)
    assert (claim.found, claim.holds) == (message, "not tested")


def test_a_model_that_is_not_there_is_not_tested(tmp_path):
    made_run(tmp_path, "base")
    ordering, good = found(tmp_path, ORDERING, AS_GOOD_AS)
    assert (ordering.claim, ordering.found) == (
        *("MSE: sharp < slow < Base", "there is no such figure of sharp, slow"),
    )
    assert good.found == "there is no run of sharp" and {ordering.holds, good.holds} == {"not tested"}


def test_a_report_without_claims_has_no_such_section(tmp_path):
    claims = parse_claims([ORDERING, AS_GOOD_AS], tuple(MODELS))
    for name, there in (("with", claims), ("without", ())):
        (tmp_path / name).mkdir()
        _, (page, text, _) = write_report(compared(tmp_path / name, seeds=2, claims=there))
        html = page.read_text()
        assert ('id="claims"' in html) == ('href="#claims"' in html) == ("somebody" in html) == bool(there)
        assert ("| claim |" in text.read_text()) == ("somebody" in text.read_text()) == bool(there)
