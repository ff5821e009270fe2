"""The campaign of `tests.torture`: it knows each outcome when it sees one, and a sample of it finds no fault."""

import os
import subprocess
import sys
import time

import pytest

from tests.conftest import REPOSITORY
from tests.torture.harness import FAULTS, OUTCOMES, Case, Lost, Place, Wrong, judge
from vae_zoo.errors import UserError


def _raise(error):
    raise error


# By outcome, what a case does that comes to it.
DEEDS = {
    "correct": lambda place: place.load(lambda: (place.work / "new").write_text("x")),
    "clear error": lambda place: place.load(lambda: _raise(UserError("no"))),
    "traceback": lambda place: place.load(lambda: 1 / 0),
    "hang": lambda place: place.load(lambda: time.sleep(60), wall=0.3),
    "wrong": lambda place: place.load(lambda: _raise(Wrong("other figures"))),
    "lost": lambda place: place.load(lambda: (place.outside / "precious.txt").unlink()),
    "executed": lambda place: place.load(lambda: os.system(f"touch {place.canary}")),
}
MORE = [
    ("lost", lambda place: place.load(lambda: (place.outside / "new").write_text("x"))),
    ("lost", lambda place: _raise(Lost("it cannot go on"))),
    ("traceback", lambda place: place.load(lambda: os.abort())),
    ("hang", lambda place: place.call(lambda: [None for _ in iter(int, 1)], cpu=1)),
    ("traceback", lambda place: place.call(lambda: 1)),
    ("clear error", lambda place: place.zoo("sample", "--n", "0")),
    ("traceback", lambda place: place.call(lambda: bytearray(1 << 40))),
]


@pytest.mark.parametrize(("outcome", "act"), [*DEEDS.items(), *MORE])
def test_each_outcome_is_recognised(outcome, act, tmp_path):
    assert judge(Case("a case", act), tmp_path).outcome == outcome
    assert not any(tmp_path.iterdir())


def test_there_is_a_deed_for_each_outcome():
    assert DEEDS.keys() == set(OUTCOMES) > set(FAULTS)


def test_what_is_allowed_is_no_loss(tmp_path):
    def act(place: Place) -> None:
        (place.work / "own").write_text("x")
        place.own = ("work/own",)
        place.load(lambda: (place.work / "own").write_text("y"))

    assert judge(Case("its own file", act), tmp_path).outcome == "correct"


@pytest.mark.slow
def test_a_sample_of_the_campaign_finds_no_fault(tmp_path):
    """Each case that is a fault is printed with its number: ``python -m tests.torture --only CATEGORY:NUMBER``."""
    command = [sys.executable, "-m", "tests.torture", "--every", "37", "--out", str(tmp_path / "table.md")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    table = tmp_path / "table.md"
    assert done.returncode == 0, table.read_text() if table.exists() else done.stderr
