"""How much the losses of a training swing, from its metrics.csv to the report."""

import csv
import math

import numpy as np
import pytest

from tests.run_folders import made_run
from vae_zoo.compare.figures import read_groups
from vae_zoo.compare.report import write_report
from vae_zoo.curves import Point, oscillation


def curve(values):
    return [Point(epoch, value, math.nan) for epoch, value in enumerate(values, start=1)]


def test_it_is_the_deviation_of_the_last_half_from_its_line_over_its_height():
    rng = np.random.default_rng(0)
    values = np.concatenate([1000 * rng.random(9), rng.normal(-5, 1, 9)])  # a half that must not count
    epochs, half = np.arange(10, 19), values[9:]
    residuals = half - np.polyval(np.polyfit(epochs, half, 1), epochs)
    expected = np.sqrt((residuals**2).sum() / 7) / np.abs(half).mean()
    assert oscillation(curve(values)) == pytest.approx(expected, rel=1e-9)
    assert oscillation(curve(3 * values)) == pytest.approx(expected, rel=1e-9)  # in units of the loss itself


def test_a_line_does_not_swing_and_noise_swings_by_its_own_deviation():
    assert oscillation(curve(7 - 0.1 * np.arange(40))) == pytest.approx(0, abs=1e-12)
    swings = [oscillation(curve(np.random.default_rng(seed).normal(10, 0.5, 12))) ** 2 for seed in range(400)]
    assert math.sqrt(np.mean(swings)) == pytest.approx(0.05, rel=0.06)
    assert oscillation(curve(100 + 50 * np.exp(-np.arange(40) / 5))) < 0.01  # what converges


@pytest.mark.parametrize("values", [[], [1.0] * 3, [1.0, 2.0] * 3, [0.0] * 20, [1.0] * 4 + [math.nan] * 4])
def test_too_little_says_nothing(values):
    assert oscillation(curve(values)) is None


def log(run, **losses):
    """Write a metrics.csv with losses of these names, two logged steps an epoch."""
    with open(run.metrics_file, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "step", *(f"train/{name}" for name in losses), "timing/train_seconds"])
        for epoch, values in enumerate(zip(*losses.values(), strict=True)):
            for step, sign in enumerate((1, -1)):  # whose mean is the epoch's
                writer.writerow([epoch, 2 * epoch + step, *(value + 0.5 * sign for value in values), epoch + 1.0])


def test_the_report_has_that_of_the_loss_that_swings_most(tmp_path):
    steady, rising = np.full(20, 700.0), 1 + 0.1 * np.arange(20)
    swinging = 2 + 0.5 * (-1) ** np.arange(20)
    log(made_run(tmp_path, "base", epochs=20), loss=steady, kl=swinging, reconstruction=-swinging)
    gan = made_run(tmp_path, "sharp", epochs=20)
    log(gan, d_x=swinging * 3, discriminator_loss=rising, generator_loss=swinging)
    groups, _ = read_groups(tmp_path)
    found = {group.name: group.figures[0]["loss_oscillation"] for group in groups}
    by_hand = oscillation(curve(swinging))
    assert found["base"] == pytest.approx(0, abs=1e-12) and found["sharp"] == pytest.approx(by_hand) and by_hand > 0.2
    _, (page, text, table) = write_report(tmp_path)
    for file in (page, text):
        assert "oscillation of the loss" in file.read_text() and f"{by_hand:.4f}" in file.read_text()
    assert "loss_oscillation" in table.read_text()


def test_a_short_training_has_a_reason_and_a_damaged_loss_leaves_its_run_out(tmp_path):
    made_run(tmp_path, "base")
    gan = made_run(tmp_path, "sharp")
    log(gan, generator_loss=[1.0] * 6)
    groups, left_out = read_groups(tmp_path)
    assert not left_out and {group.reasons["loss_oscillation"] for group in groups} == {
        "no loss of 7 epochs or more was logged"
    }
    gan.metrics_file.write_text(gan.metrics_file.read_text().replace("0.5,1.0", "x,1.0"))
    assert "is damaged" in read_groups(tmp_path)[1]["Gaussian/sharp/seed_0"]
