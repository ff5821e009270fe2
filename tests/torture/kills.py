"""Commands that are killed, at any instant and inside each kind of write, and then given once more."""

import csv
import itertools
import json
import os
import re
import signal
import sys

import torch

from tests.torture.generate import dice
from tests.torture.harness import Lost, case, expect
from tests.torture.templates import MODELS, fit, template, trained

INSTANTS = 11  # of each model's training
WRITES = ("open", "os.rename", "os.remove", "os.mkdir", "os.truncate")


def watch(base, then):
    """Call a function at each write below a folder, before it is made, with its number and its kind."""
    numbers = itertools.count()

    def hook(event, arguments):
        if event not in WRITES or not isinstance(arguments[0], (str, os.PathLike)):
            return
        if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        path = os.path.abspath(arguments[1] if event == "os.rename" else arguments[0])
        if path.startswith((str(base / "work"), str(base / "home"))):
            then(next(numbers), f"{event} {re.sub('[0-9a-f]*[0-9][0-9a-f]*', '', os.path.basename(path))}")

    sys.addaudithook(hook)


def recorder(place):
    """Write the kinds of all writes of a command to a file in ``tmp``."""

    def arm():
        file = os.open(place.base / "tmp" / "writes", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        watch(place.base, lambda number, kind: os.write(file, f"{kind}\n".encode()) and None)

    return arm


def end_at(place, which, late):
    """End a command at a write: just before it, or so many seconds later, when some of it may be done."""

    def then(number, kind):
        if number == which and late:
            signal.setitimer(signal.ITIMER_REAL, late)  # whose signal nobody catches
        elif number == which:
            os.kill(os.getpid(), signal.SIGKILL)

    return lambda: watch(place.base, then)


def instant(writes, number, name):
    """Which write, and how late: each kind of write has its turn, then any write."""
    random, kinds = dice(f"kills of {name}", number), sorted(set(writes), key=writes.index)
    if number < len(kinds):
        kind = kinds[number if len(kinds) <= INSTANTS else number * len(kinds) // INSTANTS]
        which = random.choice([i for i, each in enumerate(writes) if each == kind])
    else:
        which = random.randrange(len(writes))
    return which, random.choice([0, 0, 0.0002, 0.001, 0.02])


def curve(run):
    """The lines of metrics.csv but for the times, and how many have these."""
    with open(run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    timed = sum(bool(row.get("timing/train_seconds")) for row in rows)
    kept = [{key: value for key, value in row.items() if not key.startswith("timing/")} for row in rows]
    return [row for row in kept if any(value for key, value in row.items() if key not in ("epoch", "step"))], timed


def equal(here, there):
    """Whether two trees of tensors and numbers are equal to the bit."""
    if isinstance(here, torch.Tensor):
        return isinstance(there, torch.Tensor) and torch.equal(here, there)
    if isinstance(here, dict):
        return here.keys() == there.keys() and all(equal(here[key], there[key]) for key in here)
    if isinstance(here, (list, tuple)):
        return len(here) == len(there) and all(map(equal, here, there))
    return here == there


@case
def training(place, name, number):
    """A training that is killed, and goes on to what it would have become."""
    writes = template(f"runs/{name}.writes").read_text().splitlines()
    which, late = instant(writes, number, name)
    killed = fit(place, name, expected=True, kill=end_at(place, which, late))
    words = f"killed {late * 1000:.1f} ms after the begin of write {which}, {writes[which]}: "
    place.own += ("*",)
    done = fit(place, name, "--ckpt_path", "auto")
    if done.status:
        raise Lost(f"{words}it cannot go on: {done.said.strip()[-300:]}")
    run, whole = place.work / "run", template(f"runs/{name}")
    for file in ("last", "best"):
        if not (whole / f"checkpoints/{file}.ckpt").exists():
            continue
        if not (run / f"checkpoints/{file}.ckpt").exists():
            raise Lost(f"{words}there is no {file}.ckpt")
        here, there = (torch.load(at / f"checkpoints/{file}.ckpt", weights_only=True) for at in (run, whole))
        for key in ("state_dict", "optimizer_states", "epoch", "global_step"):
            expect(equal(here[key], there[key]), f"{words}{key} of {file}.ckpt is another")
    (lines, timed), (other, times) = curve(run), curve(whole)
    expect(lines == other, f"{words}the curve is another")
    if timed != times:
        raise Lost(f"{words}{timed} of {times} epochs have their time in metrics.csv")
    for file in ("config.yaml", "split.json", "images"):
        expect((run / file).exists() or not (whole / file).exists(), f"{words}there is no {file}")
    for path in run.rglob("*"):
        if "partial" in path.name or path.name.endswith(".tmp"):
            raise Lost(f"{words}{path.name} was left")
    assert killed.status in (0, -signal.SIGKILL, -signal.SIGALRM), killed


@case
def testing(place, number):
    """A test that is killed, and repeated."""
    trained(place)
    results = place.work / "run" / "results.json"
    good = json.loads(results.read_text())
    results.unlink()
    place.zoo("test", "--run_dir", "run", expected=True, kill=end_at(place, number, [0, 0.0005][number % 2]))
    if results.exists():
        json.loads(results.read_text())
    place.zoo("test", "--run_dir", "run")
    again = json.loads(results.read_text())
    expect(all(again[key] == good[key] for key in ("mse", "nll", "code_mmd")), "other figures")


@case
def making(place, kind, number):
    """A generated data set that is killed, and made again."""
    out = "made" if kind == "shapes" else "made.ndjson"
    words = ["data", kind, "--out", out, "--n", 12]
    place.zoo(*words, expected=True, kill=end_at(place, number, [0, 0.0005][number % 2]))
    place.own = ("work/made*",)
    place.zoo(*words)
    place.zoo(*words[:3], "other" if kind == "shapes" else "other.ndjson", *words[4:])
    pairs = zip(
        *(sorted(p for p in place.work.rglob("*") if p.is_file() and f"/{n}" in str(p)) for n in ("made", "other")),
        strict=True,
    )
    expect(all(a.read_bytes() == b.read_bytes() for a, b in pairs), "another data set than in one go")


@case
def comparing(place, what, act_):
    """A comparison of two models, whose trainings are forks here."""
    from tests.forking import forks
    from tests.torture.templates import SMALL
    from vae_zoo.cli import main
    from vae_zoo.compare import experiment

    words = ["compare", "--configs", "vae", "ae", "--likelihoods", "Gaussian", "--epochs", "2", "--out", "out"]
    options = {
        "data.root": template("shapes"),
        "data.image_size": 16,
        "model.encoder.depth": 2,
        "model.decoder.depth": 2,
    }
    options |= {name.replace("__", "."): value for name, value in SMALL.items()} | {"evaluation.nll_samples": 2}
    words += [word for name, value in options.items() for word in (f"--{name}", str(value))]

    def compare(**limits):
        def run():
            experiment.subprocess = forks
            return main(words)

        return place.call(run, cpu=120, **limits)

    place.own += ("work/out/*",)
    act_(place, compare)


def _killed_compare(at):
    """Killed with its trainings, after so many seconds, or before the first write of a file of this name."""

    def act(place, compare):
        def then(number, kind):
            if str(at) in kind:
                os.killpg(0, signal.SIGKILL)

        def arm():
            watch(place.base, then) if isinstance(at, str) else signal.setitimer(signal.ITIMER_REAL, at)

        compare(expected=True, kill=arm)
        done = compare()
        if done.status:
            raise Lost(f"it cannot go on: {done.said.strip()[-300:]}")
        results = sorted((place.work / "out").rglob("results.json"))
        expect(len(results) == 2, "there are no results")

    return act


def _files_of_others(place, compare):
    """Notes of the user's, where a comparison will make its folders."""
    names = [
        "notes.txt",
        "Gaussian/mine.txt",
        "Gaussian/vae/mine.txt",
        "Gaussian/vae/seed_0/mine.txt",
        "Gaussian/ae/seed_0/sub/x.txt",
    ]
    for name in names:
        path = place.work / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("of the user's")
    place.own = ()
    compare()


def cases(count):
    """Each model's instants, then other commands."""
    found = [training(name, number) for number in range(INSTANTS) for name in MODELS]
    found += [comparing("in a folder with files of the user's", _files_of_others)]
    moments = ["last.ckpt", "best.ckpt", "results.json", "config.yaml", dice("compare", 0).uniform(1, 15)]
    found += [comparing(f"that is killed at {moment}", _killed_compare(moment)) for moment in moments]
    rest = [testing(number) for number in range(0, 8, 2)] + [
        making(kind, n) for n in (0, 1, 3, 6) for kind in ("shapes", "sketches")
    ]
    return (found + rest)[:count]
