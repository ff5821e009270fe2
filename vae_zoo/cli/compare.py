"""``vae-zoo compare``: train models under identical conditions."""

from collections.abc import Sequence
from pathlib import Path

from vae_zoo.cli import trainings
from vae_zoo.cli.parser import Parser
from vae_zoo.cli.report import report
from vae_zoo.cli.shipped import find_config
from vae_zoo.compare.experiment import Experiment
from vae_zoo.compare.report import files_of
from vae_zoo.errors import UserError
from vae_zoo.marks import refuse_foreign

FOUR = ["vae", "iwae", "iaf", "aae"]


def run(arguments: Sequence[str]) -> None:
    """Train and test all runs, and report."""
    experiment = parse(arguments)
    refuse_foreign(*files_of(experiment.out))
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
    parser = Parser(
        prog="vae-zoo compare",
        description="Train models under identical conditions, each in a process of its own, and report. What is "
        "finished in the folder is left alone, and what was cut off goes on.",
        epilog=trainings.EPILOG,
        allow_abbrev=False,
    )
    trainings.add_arguments(parser, "compare/small, compare/cpu, compare/full")
    parser.add_argument("--configs", nargs="+", default=FOUR, help="models' yamls (default: vae iwae iaf aae)")
    parser.add_argument("--base", metavar="NAME", help="model that the others are compared with (default: the first)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="(default: 0) several give mean and spread")
    parser.add_argument("--epochs", type=int, default=100, help="to train for (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("comparison/default"), help="folder to fill (default: %(default)s)"
    )
    parser.add_argument(
        "--likelihoods",
        nargs="*",
        default=["Gaussian", "OptimalGaussian"],
        help="each is a setting of the comparison; none: as in the yamls (default: Gaussian OptimalGaussian)",
    )
    given = trainings.parse(parser, arguments, ["claims"])
    options, claims = given.options, given.further.get("claims")
    if "configs" in given.typed:  # other models are typed, among which those of the yaml's base and claims need not be
        claims = None
        options.base = options.base if "base" in given.typed else None
    from vae_zoo.cli.options import resolve  # here: --help need not wait for torch

    return Experiment(
        [find_config(config) for config in options.configs],
        options.likelihoods,
        options.seeds,
        options.epochs,
        options.out,
        given.executor,
        given.overrides,
        resolve=resolve,
        base=options.base,
        claims=claims,
    )
