"""``vae-zoo compare``: train models under identical conditions."""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vae_zoo.cli import UsageError, engines
from vae_zoo.cli.report import report
from vae_zoo.cli.shipped import find_config
from vae_zoo.compare.experiment import Experiment
from vae_zoo.errors import UserError
from vae_zoo.settings import join_numbers, nearest, read

FOUR = ["vae", "iwae", "iaf", "aae"]
INSTEAD = {"--seed_everything": "--seeds", "--run_dir": "--out"}
SECTIONS = ("model", "data", "trainer", "images", "evaluation", "compile")
ENGINE = "executor"


def run(arguments: Sequence[str]) -> None:
    """Train and test all runs, and report."""
    experiment = parse(arguments)
    if not all(plan.run.results for plan in experiment.plans):
        _read_data(experiment)
    failed = experiment.run()
    if len(failed) < len(experiment.plans):
        report(experiment.out)
    if failed:
        raise UserError(f"{len(failed)} of {len(experiment.plans)} runs failed; the same command tries them once more")


def _read_data(experiment: Experiment) -> None:
    """Read the data before any training does: what is wrong with them is said once, and decoding is done for all."""
    from vae_zoo.cli.trained import read_data  # here: --help need not wait for torch

    given = [option for option in experiment.overrides if option.startswith("--data")]
    read = []
    for config in experiment.given:
        settings = experiment.resolve(config, given)
        if settings["data"] not in read:
            read_data(settings)
            read.append(settings["data"])


def parse(arguments: Sequence[str]) -> Experiment:
    """Turn the words after ``vae-zoo compare`` into a comparison that is ready to run."""
    parser = argparse.ArgumentParser(
        prog="vae-zoo compare",
        description="Train models under identical conditions, each in a process of its own, and report. What is "
        "finished in the folder is left alone, and what was cut off goes on.",
        epilog="Options of vae-zoo fit that begin with --data., --trainer., --model., --images. or --evaluation., and "
        "--compile, are given to all runs.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", help="yaml with these options: yours, or compare/small, compare/cpu, compare/full")
    parser.add_argument("--configs", nargs="+", default=FOUR, help="models' yamls (default: vae iwae iaf aae)")
    parser.add_argument("--base", metavar="NAME", help="model that the others are compared with (default: the first)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="(default: 0) several give mean and spread")
    parser.add_argument("--epochs", type=int, default=100, help="to train for (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("comparison/default"), help="folder to fill (default: %(default)s)"
    )
    parser.add_argument("--jobs", type=int, help="trainings at a time (default: 1, on a cluster all)")
    parser.add_argument("--executor", help=engines.HELP)
    parser.add_argument(
        "--likelihoods",
        nargs="*",
        default=["Gaussian", "OptimalGaussian"],
        help="each is a setting of the comparison; none: as in the yamls (default: Gaussian OptimalGaussian)",
    )
    options, rest = parser.parse_known_args(arguments)
    own = set(vars(options)) - {"config"}
    overrides, claims, engine = list[str](), None, list[str]()
    if options.config:
        given = read(find_config(options.config))
        claims = given.pop("claims", None)
        if options.configs is not FOUR:  # other models are typed, among which those of its base and claims need not be
            claims = None
            given.pop("base", None)
        engine = [*_flat(f"--{ENGINE}", given.pop(ENGINE))] if ENGINE in given else []
        for key, value in given.items():
            if key not in {*own, *SECTIONS}:
                raise UsageError(
                    f"{options.config}: there is no key {key!r}{nearest(key, {*own, *SECTIONS, 'claims'})}"
                )
            if value is None:
                raise UsageError(f"{options.config}: {key} has no value; leave it out for the default")
        overrides = [option for key in SECTIONS if key in given for option in _flat(f"--{key}", given[key])]
        words = [word for key in own & given.keys() for word in (f"--{key}", *_words(given[key]))]
        options, rest = parser.parse_known_args([*words, *arguments])  # what is typed comes last, and counts
    for option in _joined([*join_numbers(rest)], [f"--{name}" for name in ("config", *sorted(own))]):
        (engine if option.startswith(f"--{ENGINE}.") else overrides).append(option)
    if options.executor:
        engine.insert(0, f"--{ENGINE}={options.executor}")
    if options.jobs is not None:
        engine.append(f"--{ENGINE}.jobs={options.jobs}")
    from vae_zoo.cli.options import resolve  # here: --help need not wait for torch

    return Experiment(
        [find_config(config) for config in options.configs],
        options.likelihoods,
        options.seeds,
        options.epochs,
        options.out,
        engines.executor_of(engine),
        overrides,
        resolve=resolve,
        base=options.base,
        claims=claims,
    )


def _words(value: Any) -> list[str]:
    return [str(item) for item in (value if isinstance(value, list) else [value])]


def _flat(path: str, value: Any) -> Iterator[str]:
    """Nested settings as options."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _flat(f"{path}.{key}", below)
    else:
        yield f"{path}={value if isinstance(value, str) else json.dumps(value, default=str)}"


def _joined(words: Sequence[str], own: Sequence[str]) -> Iterator[str]:
    """``--data.root x`` as ``--data.root=x``; refuse what is no option of a run."""
    left = list(words)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        section, dot, _ = name.removeprefix("--").partition(".")
        if not (name.startswith("--") and section in (*SECTIONS, ENGINE) and (dot or section == "compile")):
            if name in INSTEAD:
                raise UsageError(f"there is no option {name}; it is {INSTEAD[name]} in a comparison")
            raise UsageError(f"there is no option {name}{nearest(name, own)}")
        if not equals and (not left or left[0].startswith("--")):
            raise UsageError(f"{name} needs a value")
        yield word if equals else f"{name}={left.pop(0)}"
