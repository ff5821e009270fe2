"""Several processes train as one with the same global batch, and what they share is made once."""

import os
import socket
import subprocess
import sys

import pytest
import torch

from tests.conftest import REPOSITORY
from tests.training_together import BATCH, CASES, CHAOTIC, N_TRAIN
from vae_zoo.data.generated_sketches import generate_sketches

pytestmark = pytest.mark.slow


def free_port():
    """A port that nobody listens at now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def at_once(commands, cwd, timeout=600):
    """Run commands, each with variables of its environment, at the same time; return what each said."""
    here = {"PYTHONPATH": str(REPOSITORY), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    here |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    started = [
        subprocess.Popen(
            [sys.executable, *map(str, words)],
            cwd=cwd,
            env=os.environ | here | own,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for words, own in commands
    ]
    try:
        said = [process.communicate(timeout=timeout) for process in started]
    finally:
        for process in started:
            process.kill()
    for process, (out, err) in zip(started, said, strict=True):
        assert process.returncode == 0, out + err
    return said


@pytest.fixture(scope="module")
def trained_together(tmp_path_factory):
    """What one process made of each model, and each of two with the same global batch."""
    folder = tmp_path_factory.mktemp("together")
    generate_sketches(folder / "sketches.ndjson", N_TRAIN + 2, seed=1)
    words = ["-m", "tests.training_together", folder]
    at_once([([*words, 1], {}), *(([*words, 2], {"LOCAL_RANK": str(rank)}) for rank in range(2))], folder)
    return [torch.load(folder / f"{name}.pt") for name in ("1_0", "2_0", "2_1")]


@pytest.mark.parametrize("case", [*CASES, *(f"{case}, float64" for case in CHAOTIC)])
def test_two_processes_train_as_one_does(case, trained_together):
    one, first, second = (found[case] for found in trained_together)
    exact = case.endswith("float64")
    largest = 1e-10 if exact else 1e-5
    assert len(one["steps"]) == len(first["steps"]) == 20
    pairs = list(zip(one["steps"], first["steps"], strict=True))
    for number, (alone, together) in enumerate(pairs[: 15 if case in CHAOTIC else 20]):
        assert alone and alone.keys() == together.keys()
        for name, value in alone.items():
            assert together[name] == pytest.approx(value, rel=largest, abs=largest), (number, name)
    for name, value in first["state"].items():
        assert torch.equal(value, second["state"][name]), f"{name} differs between the processes"
        if exact:
            torch.testing.assert_close(value, one["state"][name], rtol=0, atol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_each_image_is_trained_and_validated_on_once(case, trained_together):
    one, *two = (found[case] for found in trained_together)
    assert len(one["seen"]) == 2 * N_TRAIN
    assert sorted(one["seen"]) == sorted(two[0]["seen"] + two[1]["seen"])
    if CASES[case][0].pixels:
        assert [len(each["validated"]) for each in (one, *two)] == [2 * (BATCH + 1), BATCH + 2, BATCH]
        assert sorted(one["validated"]) == sorted(two[0]["validated"] + two[1]["validated"])


def test_a_validation_measures_what_that_of_one_process_does(trained_together):
    one, first, second = (found["AE"]["after"] for found in trained_together)
    assert one.keys() == first.keys() >= {"val/loss", "val/mse"}  # of codes that are not drawn
    for name in one:
        assert first[name] == second[name] == pytest.approx(one[name], rel=1e-5), name
