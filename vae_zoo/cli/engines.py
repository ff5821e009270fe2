"""The option ``--executor``: where the trainings of a comparison or a search are carried out."""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from vae_zoo import executors
from vae_zoo.cli import UsageError
from vae_zoo.errors import UserError, causes_of
from vae_zoo.executors import Executor
from vae_zoo.settings import explain

HELP = "where trainings run: local, ray, slurm, or your own, module.Class; its options follow, as in --executor.cpus 4"


def named() -> dict[str, type[Executor]]:
    """The executors of this package, by the names that one types."""
    classes = [each for each in vars(executors).values() if isinstance(each, type) and issubclass(each, Executor)]
    return {each.__name__.lower(): each for each in classes if not inspect.isabstract(each)}


def is_another(typed: str | None, given: Any) -> bool:
    """Whether the executor that is typed is another one than that of a yaml, whose options then mean nothing."""
    named = given.get("class_path") if isinstance(given, dict) else given
    return None not in (typed, named) and _class_path(str(typed)) != _class_path(str(named))


def executor_of(words: Sequence[str]) -> Executor:
    """Construct the executor that options name, each ``--executor.NAME=VALUE`` or ``--executor=NAME``.

    Raises:
        UsageError: if they are not understood.
    """
    from vae_zoo.cli.options import Parser, values_are_no_files  # here: --help need not wait for torch

    parser = Parser(prog="vae-zoo", allow_abbrev=False)
    parser.add_subclass_arguments(Executor, "executor")
    given = [*_by_class(words)]
    try:
        with values_are_no_files():
            return parser.instantiate(parser.parse_args(given)).executor
    except UserError:
        raise
    except Exception as error:  # jsonargparse can say anything
        for cause in causes_of(error):
            if isinstance(cause, UserError):  # what the executor itself refuses it puts among its own words
                raise UsageError(f"executor: {cause}") from None
        raise UsageError(explain(str(error), given, {"executor": Executor}, set())) from None


def _by_class(words: Sequence[str]) -> Iterator[str]:
    """The options with a class's name in place of the one that is typed; local, where none is."""
    if not any(word.partition("=")[0] in ("--executor", "--executor.class_path") for word in words):
        yield f"--executor={executors.__name__}.Local"
    for word in words:
        name, _, value = word.partition("=")
        yield f"{name}={_class_path(value)}" if name in ("--executor", "--executor.class_path") else word


def _class_path(name: str) -> str:
    """The class path of an executor of this package, by whichever name; of another one what was given."""
    own = named().get(name.removeprefix(f"{executors.__name__}.").lower())
    return f"{executors.__name__}.{own.__name__}" if own else name
