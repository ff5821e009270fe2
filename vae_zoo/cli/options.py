"""The options of fit, validate, test and predict: their parser and help, and what is read from them."""

import argparse
import dataclasses
import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import groupby
from operator import attrgetter, itemgetter
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import yaml
from jsonargparse import (  # _actions and _typehints are not public; what they read is no option
    ActionConfigFile,
    DefaultHelpFormatter,
    Namespace,
    _actions,
    _typehints,
    get_loader,
    set_loader,
)
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

import vae_zoo.data
import vae_zoo.models  # importing models and data is what lets a yaml name them by their short names
from vae_zoo.callbacks import Evaluation, SampleImages
from vae_zoo.cli import COMMANDS, UsageError
from vae_zoo.cli.shipped import find_configs, shipped
from vae_zoo.cli.trained import ALLOW_NONFINITE, TRUST
from vae_zoo.data.module import DataModule, Facts
from vae_zoo.errors import UserError
from vae_zoo.models import GenerativeModel
from vae_zoo.settings import explain, given, join_numbers
from vae_zoo.yamls import check

CALLBACKS: dict[str, type[Callback]] = {"images": SampleImages, "evaluation": Evaluation}
SECTIONS: dict[str, type] = {"model": GenerativeModel, "data": DataModule, **CALLBACKS, "trainer": Trainer}
FACTS = {field.name for field in dataclasses.fields(Facts)}  # what a model may be told of the data
SCALARS = {"config", "seed_everything", "compile", "run_dir", "help", "trust", "allow_nonfinite", "print_config"}
SCALARS |= {"ckpt_path", "weights_only", "verbose"}  # of the Trainer's methods
TRAININGS = [name for name in shipped() if not name.startswith(("compare/", "tune/"))]


def _by_folder(names: Sequence[str]) -> str:
    """The names for people: those of a folder together, ``paper/{aevb_mnist, iwae_mnist}``."""
    plain = [name for name in names if "/" not in name]
    folders = groupby((name.split("/", 1) for name in names if "/" in name), key=itemgetter(0))
    return ", ".join([*plain, *(f"{folder}/{{{', '.join(name for _, name in each)}}}" for folder, each in folders)])


def _names(package: ModuleType, base: type) -> str:
    """The classes of a package that can be chosen."""
    classes = [exported for exported in vars(package).values() if isinstance(exported, type)]
    return ", ".join(sorted(c.__name__ for c in classes if issubclass(c, base) and not inspect.isabstract(c)))


HELP = {
    "help": "show this page",
    "help.trainer": "show the Trainer's options, such as --trainer.max_epochs, .precision, .callbacks",
    "config": f"your yaml, or one that comes with vae_zoo: {_by_folder(TRAININGS)}",
    "print_config": "print all settings and stop: a yaml to begin with",
    "seed_everything": "seed of weights, noise and the order of the training images (default: %(default)s)",
    "compile": "compile the training step with torch.compile (default: %(default)s)",
    "run_dir": "run folder (default: runs/MODEL/version_N)",
    "ckpt_path": "a checkpoint; last: that of the newest run; auto: the same, or none if there is none",
    "weights_only": "read plain values alone from the checkpoint",
    "verbose": "print the figures (default: %(default)s)",
    "model": f"{_names(vae_zoo.models, GenerativeModel)}, or your own, module.Class. "
    "Its arguments follow, as in --model.latent 128",
    "model.help": "list the model's arguments, as in --model.help VAE",
    "data": f"{_names(vae_zoo.data, DataModule)}, or your own, module.Class. "
    "Its arguments follow, as in --data.root ~/coco",
    "data.help": "list the data's arguments, as in --data.help COCODataModule",
    "evaluation.metrics.help": "list a measure's arguments, as in --evaluation.metrics.help KID",
}
EXAMPLES = {"fit": "--config vae --data.root ~/coco --model.latent 128 --trainer.max_epochs 20"}


class ParseError(Exception):
    """What jsonargparse did not understand, in its own words."""


def load_yaml(text: str) -> Any:
    """Load a yaml as jsonargparse does, once it is checked: all that the command is given, by files or by options."""
    check(text)
    return _load_yaml(text)


_load_yaml = get_loader("yaml")
set_loader("yaml", load_yaml, (yaml.YAMLError,))


class Parser(LightningArgumentParser):
    """A parser that raises instead of printing a page of usage."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise what was not understood."""
        raise ParseError(message) from ex


class Page(DefaultHelpFormatter):
    """Help that fits a page: the Trainer's options are on another, and types and lists of classes are left out."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=100)

    def add_arguments(self, actions: Iterable[argparse.Action]) -> None:
        """Add the options that are shown here; a link is none, and a whole section's file is seldom given."""
        super().add_arguments(a for a in actions if a.option_strings[0].startswith("-") and self.shows(a.dest))

    def shows(self, option: str) -> bool:
        """Whether an option is on this page."""
        return option not in CALLBACKS and option.partition(".")[0] != "trainer"

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return ", ".join(option for option in action.option_strings if not option.endswith("+"))

    def _get_help_string(self, action: argparse.Action) -> str:
        return HELP.get(action.dest) or (action.help or "").rstrip(".") + " (default: %(default)s)"


class TrainerPage(Page):
    """The Trainer's options."""

    def shows(self, option: str) -> bool:
        """Whether an option is on this page."""
        return option.startswith("trainer.") and not option.endswith(".help")


class TrainerHelp(argparse.Action):
    """Show the Trainer's options."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print the page and exit."""
        parser.formatter_class = TrainerPage
        parser.print_help()
        parser.exit()


def make_parser(command: str) -> tuple[Parser, list[str]]:
    """Return the parser of a command that runs a Trainer, and the names of the arguments of the Trainer's method."""
    parser = Parser(
        prog=f"vae-zoo {command}",
        usage=f"vae-zoo {command} [--config YAML] [--OPTION VALUE ...]",
        description=f"{COMMANDS[command].capitalize()}.",
        epilog=f"Example: vae-zoo {command} {EXAMPLES.get(command, '--ckpt_path last')}",
        formatter_class=Page,
        allow_abbrev=False,
    )
    parser.add_argument("-c", "--config", action=ActionConfigFile, help="yaml")
    parser.add_argument("--help.trainer", action=TrainerHelp, nargs=0, default=argparse.SUPPRESS)
    parser.add_argument("--run_dir", type=Path | None)
    parser.add_argument("--seed_everything", type=bool | int, default=0)
    parser.add_argument("--compile", type=bool, default=False)
    if command != "fit":
        parser.add_argument("--trust", nargs="+", default=[], help=TRUST)
        parser.add_argument("--allow_nonfinite", action="store_true", help=ALLOW_NONFINITE)
    skip: set[str | int] = {*LightningCLI.subcommands()[command], "return_predictions"}
    arguments = parser.add_method_arguments(Trainer, command, as_group=False, skip=skip)
    for key, class_ in SECTIONS.items():
        parser.add_lightning_class_args(class_, key, subclass_mode=key in ("model", "data"))
        assert parser.groups  # which are by key; an argparse title is a sentence of the class's docstring
        parser.groups[key].title = key
    for fact in FACTS:
        link = attrgetter(fact)
        parser.link_arguments("data.facts", f"model.init_args.{fact}", compute_fn=link, apply_on="instantiate")
    return parser, arguments


@contextmanager
def values_are_no_files() -> Iterator[None]:
    """Let a value be a value: jsonargparse would open a file of that name, called cpu, say, and make what it names.

    A yaml is read where --config says so, and nowhere else.
    """
    actions: Any = _actions
    hints: Any = _typehints.ActionTypeHint
    read = actions.parse_value_or_config
    actions.parse_value_or_config = lambda value, enable_path=True, **more: read(value, False, **more)
    # What each option says of itself stays with it, and is not asked.
    hints._enable_path = property(lambda self: False, lambda self, given: vars(self).update(_enable_path=given))
    try:
        yield
    finally:
        actions.parse_value_or_config = read
        del hints._enable_path


def asks_for_help(words: Sequence[str]) -> bool:
    """Whether a command line is to show a page of help."""
    names = (word.partition("=")[0] for word in words)
    return any(name == "-h" or (name.startswith("--") and "help" in name[2:].split(".")) for name in names)


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Parse a command line, on which an option outranks the yamls, wherever they stand.

    Raises:
        UsageError: that says in one sentence what was not understood.
    """
    words = list(join_numbers(find_configs(arguments)))
    if not asks_for_help(words):  # which is there whatever the yaml says
        words.sort(key=lambda word: not word.startswith("--config="))  # for jsonargparse the last word counts
    try:
        list(given(words))
    except UserError as error:
        raise UsageError(str(error)) from None
    try:
        with values_are_no_files():
            return parser.parse_args(words)
    except Exception as error:  # to a tree that it does not expect jsonargparse can say anything
        message = " ".join(str(error).split())
        missing = re.search(r'(?:key "([\w.]+)":.*)?arguments are required: ([\w, ]+?)(?= -|$)', message)
        if missing:
            key, names = missing.groups()
            # Of a class that is named below the key, jsonargparse tells the key alone.
            pairs = zip(words, words[1:], strict=False)
            named = [a[2:] for a, b in pairs if a.startswith(f"--{key}.") and re.fullmatch(r"[\w.]*[A-Z]\w*", b)]
            there = f"give it as --{[key, *named][-1]}.{names}" if key else "give a yaml, such as --config vae"
            raise UsageError(f"required: {names}; {there}") from None
        raise UsageError(explain(str(error), words, SECTIONS, SCALARS)) from None


@cache
def _fit_parser() -> Parser:
    return make_parser("fit")[0]


def resolve(config: Path, options: Sequence[str]) -> dict[str, Any]:
    """Return all settings of ``vae-zoo fit --config CONFIG OPTIONS``, as its config.yaml would have them.

    Raises:
        UsageError: if they are not understood.
    """
    parser = _fit_parser()
    return plain(parser, parse(parser, [f"--config={config}", *options]))


def plain(parser: Parser, settings: Namespace) -> dict[str, Any]:
    """Return settings as a yaml has them: without what the data tell the model."""
    return yaml.safe_load(parser.dump(settings, skip_unset=False))
