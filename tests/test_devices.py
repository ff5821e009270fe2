"""Several processes train as one with the same global batch, and what they share is made once."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import REPOSITORY, options, vae_zoo
from tests.training_together import BATCH, CASES, CHAOTIC, N_TRAIN
from vae_zoo.cli.checkpoints import refuse_other_processes
from vae_zoo.data.generated_sketches import generate_sketches
from vae_zoo.errors import UserError

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


def fit(folder, *words, shapes, devices=1, nodes=1, config="vae"):
    """The words of a training of seconds, shared by processes."""
    own = options(data__root=shapes, data__n_train=47, trainer__devices=devices, trainer__num_nodes=nodes)
    return ["fit", "--config", config, *own, *words]


def runs_of(folder):
    return sorted(path.name for path in folder.glob("runs/*/version_*"))


def test_torchrun_goes_on_to_the_bit_and_refuses_another_number_of_processes(shapes, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", free_port()]
    for name, epochs in (("whole", 2), ("cut", 1), ("cut", 2)):
        go_on = ["--ckpt_path", "cut/checkpoints/last.ckpt"] if (name, epochs) == ("cut", 2) else []
        more = ["--run_dir", name, "--trainer.max_epochs", epochs, *go_on]
        words = fit(tmp_path, *more, shapes=shapes, devices=2, config="aae")
        ((out, _),) = at_once([([*torchrun, "-m", "vae_zoo.cli", *words], {})], tmp_path)
        assert out.count("run folder") == 1  # one of them speaks
    whole, cut = (torch.load(tmp_path / name / "checkpoints" / "last.ckpt")["state_dict"] for name in ("whole", "cut"))
    assert all(torch.equal(value, cut[name]) for name, value in whole.items())
    assert (tmp_path / "whole" / "metrics.csv").read_text().count("\n") > 2

    monkeypatch.chdir(tmp_path)
    saved = torch.load("cut/checkpoints/last.ckpt")
    with pytest.raises(UserError, match="are 3 processes here, and the run was begun with 2; start as many, or"):
        refuse_other_processes(3, saved)
    refuse_other_processes(2, saved)
    go_on = ["--run_dir", "cut", "--ckpt_path", "cut/checkpoints/last.ckpt"]
    done = vae_zoo(*fit(tmp_path, *go_on, shapes=shapes, config="aae"), cwd=tmp_path, check=False)
    assert done.returncode == 1 and re.search("trainer.devices is .?1.? here, and the run in", done.stderr)


def test_two_machines_make_one_run(shapes, tmp_path):
    words = ["-m", "vae_zoo.cli", *fit(tmp_path, shapes=shapes, nodes=2)]
    said = at_once([(words, {"NODE_RANK": str(node)}) for node in range(2)], tmp_path)
    assert runs_of(tmp_path) == ["version_0"]
    assert ["run folder" in out for out, _ in said] == [True, False]


SRUN = """#!/bin/bash
for node in $(seq 0 $((SLURM_NNODES - 1))); do
  for task in $(seq 0 $((SLURM_NTASKS_PER_NODE - 1))); do
    number=$((node * SLURM_NTASKS_PER_NODE + task))
    SLURM_PROCID=$number SLURM_LOCALID=$task SLURM_NODEID=$node "$@" > task_$number.txt 2>&1 &
  done
done
wait
"""


def test_the_script_for_slurm(shapes, tmp_path):
    """With an srun that starts the tasks of two machines on this one, so that Lightning's SLURMEnvironment runs."""
    page = (REPOSITORY / "docs" / "devices.md").read_text()
    (script,) = re.findall(r"```\n(#!/bin/bash\n.*?)```", page, re.S)
    (tmp_path / "train.sh").write_text(script)
    (tmp_path / "srun").write_text(SRUN)
    (tmp_path / "srun").chmod(0o755)
    nodes = int(re.search(r"--nodes=(\d+)", script)[1])
    job = {"JOB_ID": free_port(), "JOB_NAME": "vae", "NNODES": nodes, "NTASKS_PER_NODE": 1, "NTASKS": nodes}
    job |= {"NODELIST": "127.0.0.1", "JOB_NODELIST": "127.0.0.1"}
    own = {f"SLURM_{name}": str(value) for name, value in job.items()} | {"PYTHONPATH": str(REPOSITORY)}
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    words = [str(word) for word in ("--config", "vae", *options(data__root=shapes, data__n_train=47))]
    command = ["bash", "train.sh", *words]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | own | {"PATH": path}, timeout=300, check=True)
    said = [(tmp_path / f"task_{number}.txt").read_text() for number in range(nodes)]
    assert done.returncode == 0 and runs_of(tmp_path) == ["version_0"], said
    assert ["run folder" in each for each in said] == [True, False]
    assert "num_nodes: 2" in next(tmp_path.glob("runs/vae/*/config.yaml")).read_text()
