#!/usr/bin/env python3
"""A SLURM cluster in one file: `install` puts its commands, such as sbatch, into a folder for PATH."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

COMMANDS = ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol")


def install(folder):
    """Make the commands, whose jobs are processes of this machine, kept in the same folder."""
    folder.mkdir()
    for name in COMMANDS:
        script = folder / name
        script.write_text(f"#!{sys.executable}\n" + Path(__file__).read_text())
        script.chmod(0o755)
    return folder


def jobs(folder):
    """By number, the name and the process of each job, and whether it is alive."""
    found = {}
    for path in folder.glob("*.job"):
        name, pid, *_ = path.read_text().split()
        try:
            alive = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            alive = False
        found[path.stem] = name, int(pid), alive
    return found


def sbatch(folder, file):
    """Submit a batch file."""
    number = str(100 + len([*folder.glob("*.job")]))
    start(folder, number, file)
    print(f"Submitted batch job {number}")


def start(folder, number, file):
    """Start a batch file in the background."""
    name = re.search(r"--job-name=(\S+)", Path(file).read_text())[1]
    environment = os.environ | {"SLURM_JOB_ID": number, "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    environment |= {"SLURM_NODEID": "0", "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "node1"}
    with open(os.devnull, "w") as nowhere:
        process = subprocess.Popen(
            ["bash", file], env=environment, stdout=nowhere, stderr=nowhere, stdin=nowhere, start_new_session=True
        )
    (folder / f"{number}.job").write_text(f"{name} {process.pid} {file}")


def srun(folder, *words):
    """Run what follows the options."""
    command = [*words]
    while command[0].startswith("-"):
        option = command.pop(0)
        if "=" not in option and option in ("--output", "--error"):
            command.pop(0)
    os.execvp(command[0], command)


def squeue(folder, *_):
    """Say which jobs are alive."""
    for number, (name, _, alive) in jobs(folder).items():
        if alive:
            print(number, name)


def sacct(folder, *_):
    """Say what became of all jobs."""
    print("JobID|State|NodeList")
    for number, (_, _, alive) in jobs(folder).items():
        print(f"{number}|{'RUNNING' if alive else 'COMPLETED'}|node1")


def scancel(folder, number, *_):
    """Kill a job."""
    with open(folder / "cancelled", "a") as file:
        print(number, file=file)
    os.killpg(jobs(folder)[number][1], signal.SIGKILL)


def scontrol(folder, requeue, number):
    """Start a job once more."""
    start(folder, number, (folder / f"{number}.job").read_text().split()[2])


if __name__ == "__main__":
    called = Path(sys.argv[0])
    globals()[called.name](called.parent, *sys.argv[1:])
