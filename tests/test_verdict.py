"""What the report says of figures that are known, and what it does not say."""

import math

from tests.run_folders import compared, made_run
from vae_zoo.compare.figures import columns_of, read_groups
from vae_zoo.compare.verdict import across, verdict


def said_of(root):
    return list(verdict(read_groups(root)[0]))


def test_verdict_on_known_figures(tmp_path):
    said = said_of(compared(tmp_path))
    assert said[0] == "Sharp reconstructs best, by 30 % over Slow. MSE: Sharp < Slow < Base < Flow."
    # Seeds are 690, 691, 692 with all that have a density: nobody's is best.
    assert "Which model has the best density is undecided. NLL, nats: Base ≈ Flow ≈ Slow." in said
    assert "Floor is fastest, by 10 % over Base. s / epoch: Floor < Base < Flow < Sharp < Slow." in said
    assert said[-1] == (
        "MSE relative to Floor, whose codes follow no prior: Sharp +6.6 %, Slow +53.0 %, Base +59.6 %, Flow +62.9 %."
    )


def test_a_model_without_a_rate_is_never_the_best(tmp_path):
    """Whatever it is called, and however low its error is."""
    for seed in range(2):
        made_run(tmp_path, "base", seed)
        made_run(tmp_path, "slow", seed)
        made_run(tmp_path, "sharp", seed, mse=0.001, traits={"regularised": False})
    said = said_of(tmp_path)
    assert said[0].startswith("Slow reconstructs best") and "Sharp" not in said[0]
    assert any(line.startswith("MSE relative to Sharp") for line in said)


def test_what_the_seeds_do_not_allow_is_not_said(tmp_path):
    for seed, (a, b) in enumerate(((0.020, 0.022), (0.022, 0.021), (0.021, 0.023))):
        made_run(tmp_path, "base", seed, mse=a)
        made_run(tmp_path, "slow", seed, mse=b)
    assert said_of(tmp_path)[0] == "Which model reconstructs best is undecided. MSE: Base ≈ Slow."


def test_one_seed_calls_none_the_best(tmp_path):
    said = said_of(compared(tmp_path, seeds=1))
    assert said[0].startswith("With one seed per model, differences may be chance")
    assert said[1] == "Lowest MSE: Sharp, 30 % below Slow (one seed). MSE: Sharp, Slow, Base, Flow."
    assert "Lowest s / epoch: Floor, 10 % below Base (one seed). s / epoch: Floor, Base, Flow, Sharp, Slow." in said
    assert not any(word in line for line in said for word in ("best,", "fastest", "<", "≈"))


def test_seeds_that_failed_are_not_left_out_of_the_mean(tmp_path):
    for seed in range(3):
        made_run(tmp_path, "base", seed)
        made_run(tmp_path, "flow", seed, mse=0.01, figures={"mse": 0.01 if seed == 0 else math.nan})
        made_run(tmp_path, "sharp", seed)
    said = said_of(tmp_path)
    assert said[0].startswith("Sharp reconstructs best, by 33 % over Base.")
    assert "Flow is not ranked by its MSE, which not all of its seeds have: some diverged." in said


def test_runs_of_several_machines_are_not_ranked_by_time(tmp_path):
    for name in ("base", "sharp"):
        for seed in range(2):
            made_run(tmp_path, name, seed, environment={"device": f"{name}'s", "threads": 1})
    said = said_of(tmp_path)
    machines = "the runs are from different machines, base's (1 threads) and sharp's (1 threads)."
    assert said[0] == f"Time and memory are not ranked: {machines}"
    assert not any("is fastest" in line for line in said) and any("reconstructs best" in line for line in said)


def test_figures_relative_to_the_base(tmp_path):
    compared(tmp_path)
    groups = {group.name: group for group in read_groups(tmp_path, base="base")[0]}
    assert groups["slow"].values("relative_time") == [3.0] * 3
    # Sharp's curve begins at 1.5 of its end: .0240, .02415, .0243; the same seed's base ends at .0240, .0241, .0242.
    assert groups["sharp"].values("time_to_base") == [14.0, 28.0, 28.0]
    assert groups["base"].values("time_to_base") == [60.0] * 3
    assert groups["flow"].values("time_to_base") == [] and groups["flow"].reasons["time_to_base"] == "not reached"
    titles = [column.title for column in columns_of(list(groups.values()), "base")]
    assert "time, Base = 1" in titles and "s to the final MSE of Base" in titles


def test_without_a_base_nothing_is_relative(tmp_path):
    compared(tmp_path, seeds=1)
    for base, reason in ((None, "give --base"), ("other", "there is no run of other to compare with")):
        for group in read_groups(tmp_path, base=base)[0]:
            for key in ("relative_time", "time_to_base"):
                assert not group.values(key) and reason in group.reasons[key]


def test_reasons_are_those_of_the_test(tmp_path):
    made_run(tmp_path, "base", reasons={"ssim": "the pictures are too small"}, figures={"ssim": None})
    (group,) = read_groups(tmp_path)[0]
    assert group.reasons["ssim"] == "the pictures are too small"


def test_the_likelihood_may_differ(tmp_path):
    for setting in ("Gaussian", "OptimalGaussian"):
        for seed in (0, 5):
            made_run(tmp_path, "base", seed, setting)
    groups, _ = read_groups(tmp_path)
    assert [(g.setting, len(g.runs)) for g in groups] == [("Gaussian(sigma=1.0)", 2), ("OptimalGaussian", 2)]
    assert list(across(groups)) == ["MSE with Gaussian(sigma=1.0), OptimalGaussian: Base 0.02425, 0.02425."]


def test_the_order_is_that_of_the_comparison(tmp_path):
    compared(tmp_path, seeds=1)
    order = ["sharp", "base"]
    assert [g.name for g in read_groups(tmp_path, order)[0]] == [*order, "floor", "flow", "slow"]
