"""The ``vae-zoo`` command: each of its commands is a module here, and a line below."""

import argparse
import importlib
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.machinery import PathFinder
from itertools import accumulate
from pathlib import Path

from vae_zoo import __version__
from vae_zoo.errors import UserError, printable

# A command's module is imported when it is needed: torch takes seconds.
COMMANDS = {
    "fit": "train a model",
    "validate": "measure a trained model on the validation images",
    "test": "measure a trained model on the test images and write results.json",
    "predict": "write the test images' codes to codes.npz",
    "sample": "sample from a trained model into a PNG, or sketches into an SVG",
    "reconstruct": "show images above their reconstructions, in a PNG or SVG",
    "interpolate": "interpolate between images or along a chain, in a PNG or SVG, or moving in a WebP or GIF",
    "traverse": "change one number of a code at a time, a row each, in a PNG",
    "manifold": "decode a grid over a code of two numbers, in a PNG",
    "arithmetic": "put an attribute onto pictures, or calculate A - B + C, and measure the effect",
    "map": "show where models put pictures, coloured by label, beside the prior, in a PNG",
    "relabel": "decode pictures under every label, for a model that takes labels",
    "complete": "draw endings to the first strokes of test sketches, at several temperatures",
    "denoise": "damage pictures, let a model restore them, and measure the PSNR",
    "anomalies": "rank pictures by how unusual they are for a model, with a threshold and heat maps",
    "filters": "show what units of an encoder or a discriminator respond to, beside untrained ones",
    "erase": "remove the filters of a decoder that draw what is marked in some pictures",
    "encode": "write the codes of any pictures to an .npz or a Parquet file",
    "decode": "write a picture for each code of an .npz",
    "neighbours": "show the nearest to pictures by code and in pixels, side by side, in a PNG",
    "duplicates": "find near-doubles among pictures; needs no model, and deletes nothing",
    "memorised": "compare samples with the nearest training pictures, in a PNG",
    "prior": "fit a prior to a model's codes, to sample from, and keep the model with it",
    "probe": "measure how well a linear classifier predicts labels from a model's features",
    "explore": "move about in trained models on a local page, or write one that needs no server",
    "export": "write a trained model to a folder that one hands on: safetensors, ONNX or torch.export",
    "push": "push a trained model to the Hugging Face Hub",
    "compare": "train models under identical conditions, then report",
    "tune": "search for the best hyper-parameters, judged by the validation",
    "report": "compare the runs in a folder: report.html, report.md, results.csv",
    "benchmark": "measure what a training costs here, and what would make it faster",
    "data": "make the embedded data sets, or download a part of COCO",
}
# Options that can name a class or a function, for commands that have a trained model.
NAME_CODE = ("-c", "--config", "--trust", "--model", "--data", "--evaluation", "--trainer.callbacks")
FILES = ("-c", "--config", "--configs", "--train")
CLASS_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
YAML = re.compile(r"[^\s'\"=,\[\]{}]+\.ya?ml")


class UsageError(UserError):
    """A command line or a configuration file that cannot be understood."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Returns:
        the exit status: 1 for what could not be done, 2 for what was not understood, 130 after Ctrl-C.
    """
    commands = "\n".join(f"  {name:12}{line}" for name, line in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="vae-zoo",
        usage="vae-zoo COMMAND [OPTION ...]",
        description=f"Train, measure and compare autoencoder-family image models.\n\ncommands:\n{commands}",
        epilog="vae-zoo COMMAND --help lists a command's options.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"vae_zoo {__version__}")
    parser.add_argument("command", metavar="COMMAND", choices=COMMANDS, help=argparse.SUPPRESS)
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = parser.parse_args(given[:1]).command
    try:
        if wrong := next((word for word in given if "\0" in word), None):
            raise UsageError(f"{wrong!r} has a NUL in it, which no file, folder or setting has")
        with _undisturbed():
            module = importlib.import_module(f"vae_zoo.cli.{command}")
        with importable_from_here() if _names_code_here(command, given) else nullcontext():
            module.run(given[1:])
    except KeyboardInterrupt as interrupt:
        from vae_zoo.newest import first_process  # of several, one says it

        if first_process():
            print(f"\nvae-zoo {command}: {interrupt.args[0] if interrupt.args else 'stopped'}", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        print(f"vae-zoo {command}: {_missing(error)}", file=sys.stderr)
        return 1
    except (UserError, OSError) as error:  # what a file or a folder refuses, its error names
        print(f"vae-zoo {command}: {printable(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        why = " ".join(str(error).split())[:300]
        print(f"vae-zoo {command}: not enough memory for a model or batch of this size; {why}", file=sys.stderr)
        return 1
    return 0


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it is what Python, or PyTorch on any device, raises where there is no memory left."""
    said = re.search("allocate memory|out of memory", str(error))
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and said is not None)


@contextmanager
def importable_from_here() -> Iterator[None]:
    """Let a yaml name classes of modules in the current folder, after all that is installed."""
    before, here = list(sys.path), str(Path.cwd())
    if not {here, ""} & set(sys.path):
        sys.path.append(here)
    try:
        yield
    finally:
        sys.path[:] = before


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold a Ctrl-C back until modules are imported: where it meets NumPy or PyTorch halfway, they raise or abort.

    The second one ends the process there and then.
    """
    asked = False

    def remember(*_: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    usual = signal.getsignal(signal.SIGINT)
    if usual is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield  # it is ignored, or in other hands, and only a main thread has signals
        return
    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
    if asked:
        raise KeyboardInterrupt


def _names_code_here(command: str, arguments: Sequence[str]) -> bool:
    """Whether the command line, or a yaml that it names, names a module of the current folder.

    Otherwise a folder with data or a checkpoint would bring modules along, in place of such as are not installed.
    """
    if command not in ("fit", "compare", "tune", "benchmark") and not any(
        word.startswith(NAME_CODE) for word in arguments
    ):
        return False
    option, names, yamls = "", set[str](), list[Path]()
    for word in arguments:
        if word.startswith("-"):
            option, _, word = word.partition("=")
        if not word:
            continue
        if option == "--trust":
            names.add(word)
        elif option in FILES:
            yamls.append(_config(word))
        elif not os.path.exists(word):  # and not Path's, which raises where a list is longer than a name may be
            names.update(CLASS_PATH.findall(word))
    return any(_lies_here(name) for name in names | _named_in(yamls))  # here `map` is a command, once it is imported


def _config(word: str) -> Path:
    """The file that a configuration's path or name means."""
    from vae_zoo.cli.shipped import find_config  # which needs this module

    try:
        return find_config(word)
    except UserError:
        return Path(word)


def _named_in(yamls: Sequence[Path]) -> set[str]:
    """What may be class paths in yamls, and in those that they name."""
    names, waiting, seen = set[str](), list(yamls), set[Path]()
    while waiting:
        if (path := waiting.pop()) in seen or not path.is_file():
            continue
        seen.add(path)
        text = re.sub(r"(^|\s)#.*", "", path.read_text(errors="replace"))
        names.update(CLASS_PATH.findall(text))
        waiting += [folder / name for name in YAML.findall(text) for folder in (Path(), path.parent)]
    return names


def _lies_here(name: str) -> bool:
    """Whether a module or package that a name begins with lies in the current folder, and is installed nowhere."""
    first = name.partition(".")[0]
    if first in sys.stdlib_module_names or PathFinder.find_spec(first):
        return False
    paths = accumulate(name.split("."), lambda path, part: path / part, initial=Path())
    return any(path.with_name(f"{path.name}.py").is_file() or (path / "__init__.py").is_file() for path in [*paths][1:])


def _missing(error: ModuleNotFoundError) -> str:
    """Name a missing optional package and the command that installs it.

    Raises:
        ModuleNotFoundError: if it is this package that is broken.
    """
    if (error.name or "").startswith("vae_zoo."):
        raise error
    if error.name is None:  # raised by a library, whose message has the command
        return " ".join(str(error).split())
    package = error.name.partition(".")[0]
    install = f"pip install {package.replace('_', '-')}"
    return f"there is no module {package}; {install}, or, if it is yours, run this in its folder"
