"""The ``vae-zoo`` command: one place that knows all subcommands."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from vae_zoo import __version__
from vae_zoo.errors import UserError

# name: (module that runs it, one line of help). Modules are imported when they are needed: torch takes seconds.
COMMANDS = {
    "fit": ("train", "train a model"),
    "validate": ("train", "measure a trained model on the validation images"),
    "test": ("train", "measure a trained model on the test images and write results.json"),
    "predict": ("train", "write the test images' codes to codes.npz"),
    "sample": ("pictures", "draw from a trained model into a PNG, or sketches into an SVG"),
    "reconstruct": ("pictures", "put images over their reconstructions, in a PNG or SVG"),
    "interpolate": ("pictures", "put what lies between two images in a PNG or SVG"),
    "probe": ("probe", "say how well a linear classifier tells labels from a model's features"),
    "compare": ("compare", "train models under identical conditions, then report"),
    "report": ("compare", "compare the runs in a folder: report.html, report.md, results.csv"),
    "data": ("data", "draw an embedded data set, or download a part of COCO"),
}


class UsageError(UserError):
    """A command line or a configuration file that cannot be understood."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return the exit status: 1 for what could not be done, 2 for what was not understood."""
    parser = argparse.ArgumentParser(
        prog="vae-zoo",
        description="Train, measure and compare autoencoder-family image models.",
        epilog="vae-zoo COMMAND --help tells a command's options.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"vae_zoo {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, line) in COMMANDS.items():
        commands.add_parser(name, help=line, add_help=False)
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = parser.parse_args(given[:1]).command
    module = importlib.import_module(f"vae_zoo.cli.{COMMANDS[command][0]}")
    try:
        module.run(command, given[1:])
    except UsageError as error:
        print(f"vae-zoo {command}: {error}", file=sys.stderr)
        return 2
    except (UserError, OSError) as error:  # what a file or a folder refuses, its error names
        print(f"vae-zoo {command}: {error}", file=sys.stderr)
        return 1
    return 0
