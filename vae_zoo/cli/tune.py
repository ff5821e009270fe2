"""``vae-zoo tune``: search for the best hyper-parameters."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from vae_zoo.cli import trainings
from vae_zoo.cli.parser import Parser
from vae_zoo.cli.shipped import find_config
from vae_zoo.compare.columns import KNOWN
from vae_zoo.errors import UserError, printable
from vae_zoo.settings import nearest
from vae_zoo.tune.search import Search
from vae_zoo.tune.space import parse_space

JUDGES = {"loss": -1, **{key: column.better for key, column in KNOWN.items() if column.better}}


def run(arguments: Sequence[str]) -> None:
    """Search, and say what was found."""
    from vae_zoo.cli.trained import read_data  # here: --help need not wait for torch

    search = parse(arguments)
    read_data(search.settings)  # what is wrong with them is said once, and decoding is done for all
    best = search.run()
    values = ", ".join(f"{name} {value}" for name, value in best.params.items())
    print(printable(f"best          trial {best.number}, {search.figure} {best.value:.6g}: {values}"))
    print(f"train it      vae-zoo fit --config {shlex.quote(os.path.relpath(search.out / 'best.yaml'))}")
    print(f"trials        {os.path.relpath(search.out / 'trials.csv')}")
    print(f"TensorBoard   tensorboard --logdir {shlex.quote(os.path.relpath(search.out))}")


def parse(arguments: Sequence[str]) -> Search:
    """Turn the words after ``vae-zoo tune`` into a search that is ready to run."""
    parser = Parser(
        prog="vae-zoo tune",
        description="Search for the values of options, which the key `search` of the yaml lists, with which a model is "
        "best by a figure of the validation, and write best.yaml. What is finished in the folder is left alone, and "
        "what was cut off goes on.",
        epilog=trainings.EPILOG,
        allow_abbrev=False,
    )
    trainings.add_arguments(parser, "tune/vae")
    parser.add_argument("--train", metavar="YAML", default="vae", help="the model's yaml (default: %(default)s)")
    parser.add_argument("--figure", default="loss", help="of the validation, to judge by (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=20, help="trainings altogether (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=20, help="of a trial (default: %(default)s)")
    parser.add_argument(
        "--first_rung", type=int, default=1, help="epochs before a trial may be stopped (default: %(default)s)"
    )
    parser.add_argument(
        "--reduction", type=int, default=3, help="of so many trials one goes on; 1: all (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is tried (default: %(default)s)")
    parser.add_argument("--storage", metavar="URL", help="database of the trials (default: a file in the folder)")
    parser.add_argument("--out", type=Path, default=Path("tune/default"), help="folder to fill (default: %(default)s)")
    given = trainings.parse(parser, arguments, ["search"])
    options = given.options
    if options.figure not in JUDGES:
        raise UserError(
            f"figure: {options.figure!r} says of no model that it is better{nearest(options.figure, JUDGES)}"
        )
    if "search" not in given.further:
        raise UserError(
            "search: what is to be searched for is missing; give a --config that lists it, such as tune/vae"
        )
    space = parse_space(given.further["search"])
    from vae_zoo.cli.options import resolve  # here: --help need not wait for torch

    return Search(
        find_config(options.train),
        space,
        options.figure,
        JUDGES[options.figure],
        options.trials,
        options.epochs,
        options.out,
        given.executor,
        given.overrides,
        resolve=resolve,
        seed=options.seed,
        first_rung=options.first_rung,
        reduction=options.reduction,
        storage=options.storage,
    )
