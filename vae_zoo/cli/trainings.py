"""What commands share that train many runs: a yaml with the command's own options, and options of ``fit``."""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vae_zoo.cli import UsageError, engines
from vae_zoo.cli.shipped import find_config
from vae_zoo.executors import Executor
from vae_zoo.settings import Config, join_numbers, nearest, read

INSTEAD = {"--seed_everything": "--seeds", "--run_dir": "--out"}
SECTIONS = ("model", "data", "trainer", "images", "evaluation", "compile")
ENGINE = "executor"
EPILOG = (
    "Options of vae-zoo fit that begin with --data., --trainer., --model., --images. or --evaluation., and --compile, "
    "are given to all runs."
)


@dataclass
class Given:
    """What a command line and its yaml say.

    Attributes:
        options: the command's own.
        typed: the names of those that were typed, and do not come from the yaml.
        overrides: options of ``vae-zoo fit``, each ``--section.key=value``.
        executor: that carries the trainings out.
        further: keys of the yaml that are no options.
    """

    options: argparse.Namespace
    typed: set[str]
    overrides: list[str]
    executor: Executor
    further: Config


def add_arguments(parser: argparse.ArgumentParser, shipped: str) -> None:
    """Add the options that the commands share."""
    parser.add_argument("--config", help=f"yaml with these options: yours, or {shipped}")
    parser.add_argument("--jobs", type=int, help="trainings at a time (default: 1, on a cluster all)")
    parser.add_argument("--executor", help=engines.HELP)


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str], further: Sequence[str]) -> Given:
    """Parse a command line; what is typed counts more than what its yaml says.

    Args:
        parser: that has the command's own options.
        arguments: the words after the command.
        further: keys that its yaml may have beside them.

    Raises:
        UsageError: if they are not understood.
    """
    options, rest = parser.parse_known_args(arguments)
    own = {*vars(options)} - {"config", ENGINE}
    typed = {word.partition("=")[0].removeprefix("--") for word in arguments if word.startswith("--")} & own
    overrides, engine, more = list[str](), list[str](), Config()
    if options.config:
        given = read(find_config(options.config))
        more = {key: given.pop(key) for key in further if key in given}
        known = {*own, *SECTIONS, ENGINE}
        for key, value in given.items():
            if key not in known and "seed_everything" in given:
                its = "--configs" if "configs" in own else "--train"
                raise UsageError(f"{options.config} is the yaml of a training; give it as {its}")
            if key not in known:
                raise UsageError(f"{options.config}: there is no key {key!r}{nearest(key, {*known, *further})}")
            if value is None:
                raise UsageError(f"{options.config}: {key} has no value; leave it out for the default")
        if ENGINE in given and not engines.is_another(options.executor, given[ENGINE]):
            engine = [*_flat(f"--{ENGINE}", given[ENGINE])]
        overrides = [option for key in SECTIONS if key in given for option in _flat(f"--{key}", given[key])]
        words = [word for key in own & given.keys() for word in (f"--{key}", *_words(given[key]))]
        options, rest = parser.parse_known_args([*words, *arguments])  # what is typed comes last, and counts
    for option in _joined([*join_numbers(rest)], [f"--{name}" for name in ("config", *sorted(own))]):
        (engine if option.startswith(f"--{ENGINE}.") else overrides).append(option)
    if options.executor:
        engine.insert(0, f"--{ENGINE}={options.executor}")
    if options.jobs is not None:
        engine.append(f"--{ENGINE}.jobs={options.jobs}")
    return Given(options, typed, overrides, engines.executor_of(engine), more)


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
            if name in INSTEAD and INSTEAD[name] in own:
                raise UsageError(f"there is no option {name}; it is {INSTEAD[name]} here")
            raise UsageError(f"there is no option {name}{nearest(name, own)}")
        if not equals and (not left or left[0].startswith("--")):
            raise UsageError(f"{name} needs a value")
        yield word if equals else f"{name}={left.pop(0)}"
