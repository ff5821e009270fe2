"""``vae-zoo explore``: a page to move about in trained models, local, or with --html one that needs no server."""

import argparse
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import vae_zoo
from vae_zoo.checkpoints import read
from vae_zoo.cli.checkpoints import trained_labels
from vae_zoo.cli.page import add_page, refuse_page_options, write
from vae_zoo.cli.parser import Parser
from vae_zoo.cli.process import give_back_freed_memory
from vae_zoo.cli.trained import ALLOW_NONFINITE, TRUST, data_of_run
from vae_zoo.data.module import DataModule
from vae_zoo.errors import UserError, require
from vae_zoo.explore.session import Explored, Session
from vae_zoo.models import GenerativeModel
from vae_zoo.newest import EVERY, RUNS, newest_checkpoint
from vae_zoo.runs import Run, find_runs, of_checkpoint

MOST = 4  # models beside each other
LARGEST_PORT = 65535


def run(arguments: Sequence[str]) -> None:
    """Read the models and their data, and serve the page, or write it."""
    parser = Parser(
        prog="vae-zoo explore", description="Open a local page to move about in trained models.", allow_abbrev=False
    )
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help=f"run folders, checkpoints, or a folder of runs, whose newest models are shown, at most {MOST} (default: "
        "the newest run)",
    )
    parser.add_argument("--trust", nargs="+", default=[], metavar="MODULE", help=TRUST)
    parser.add_argument("--allow_nonfinite", action="store_true", help=ALLOW_NONFINITE)
    parser.add_argument("--port", type=int, default=0, help="of the page on this machine (default: a free one)")
    parser.add_argument(
        "--browser", action=argparse.BooleanOptionalAction, help="open the page in a browser (default: where one can)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default %(default)s)")
    add_page(parser)
    options = parser.parse_args(arguments)
    require(0, LARGEST_PORT, port=options.port)
    require(0, seed=options.seed)
    if options.html:
        checkpoints, _ = find(options.runs)
        if len(checkpoints) > 1:
            raise UserError(f"--html is of one model, and these are {len(checkpoints)}; name one RUN")
        options.ckpt_path = str(checkpoints[0])
        return write(options)
    refuse_page_options(options, parser)
    if find_spec("gradio") is None:  # which is reported before the models are read
        raise ModuleNotFoundError("explore needs gradio: pip install 'vae_zoo[explore]'")
    from vae_zoo.explore.server import serve

    give_back_freed_memory()
    checkpoints, folder = find(options.runs)
    serve(session(checkpoints, folder, options), options.port, options.browser)


def find(given: Sequence[str]) -> tuple[list[Path], Path | None]:
    """Return the checkpoints that are meant, and the folder of runs that is looked at as a whole, if there is one.

    Raises:
        UserError: if something is not there, or has no checkpoint.
    """
    if not given:
        if (newest := newest_checkpoint(*EVERY)) is None:
            raise UserError(f"there is no trained model in {RUNS}; train one with vae-zoo fit, or name a RUN")
        return [newest], RUNS
    found: list[Path] = []
    folder = None
    for word in given:
        path = Path(word)
        if path.is_file():
            found.append(path)
        elif not path.is_dir():
            raise UserError(f"{word}: there is no such run folder, folder of runs or checkpoint")
        elif (of_run := _newest(Run(path))) or Run(path).exists:
            if of_run is None:
                raise UserError(f"{word}: this run has no checkpoint yet; one is written at the end of an epoch")
            found.append(of_run)
        else:
            folder = folder or path
            found += _of_folder(path)
    found = list(dict.fromkeys(path.resolve() for path in found))
    if len(found) > MOST:
        raise UserError(f"{len(found)} models are too many beside each other; name {MOST} or fewer")
    return found, folder


def _newest(run: Run) -> Path | None:
    return next((path for which in ("last", "best") if (path := run.checkpoint(which)).is_file()), None)


def _of_folder(folder: Path) -> list[Path]:
    """The checkpoint of the newest run of each model below a folder, the newest first."""
    there = [(path.stat().st_mtime, run, path) for run in find_runs(folder) if (path := _newest(run))]
    if not there:
        raise UserError(f"{folder}: there is no run with a checkpoint in it")
    newest: dict[tuple[str, str], Path] = {}
    for _, run, path in sorted(there, key=lambda each: each[0], reverse=True):
        newest.setdefault((str(run.folder.parent) if run.name != run.folder.name else "", run.name), path)
    if len(newest) > MOST:
        print(f"{folder} has {len(newest)} models; the {MOST} newest are shown, name others to see them")
    return [*newest.values()][:MOST]


def session(checkpoints: Sequence[Path], folder: Path | None, options: argparse.Namespace) -> Session:
    """Return the session of these models, each with the data of its run where they can be had."""
    load = partial(vae_zoo.load, trust=options.trust, allow_nonfinite=options.allow_nonfinite)
    names = _names(checkpoints)
    models = []
    for name, path in zip(names, checkpoints, strict=True):
        print(f"reads {path}", flush=True)
        explored = Explored(name, path, load, of_checkpoint(path))
        model = explored.model
        explored.name = f"{type(model).__name__}, {name}"
        explored.data, explored.no_data = _data(path, model, options.trust)
        explored.labels = trained_labels(read(path)) or (
            explored.data.labels if explored.data and model.labels else explored.labels
        )
        models.append(explored)
    return Session(models, folder, options.seed)


def _data(path: Path, model: GenerativeModel, trust: Sequence[str]) -> tuple[DataModule | None, str]:
    """The data of the model's run, or why there are none."""
    try:
        return data_of_run(path, model, "so there are no test pictures to take", trust), ""
    except (UserError, OSError) as error:
        print(f"{path}: its data cannot be had, so pictures must be dropped: {error}")
        return None, str(error)


def _names(checkpoints: Sequence[Path]) -> list[str]:
    """Short names of checkpoints: of the run, and as much of its path as tells them apart."""
    runs = [of_checkpoint(path) for path in checkpoints]
    folders = [run.folder if run else path for run, path in zip(runs, checkpoints, strict=True)]
    for depth in range(1, 20):
        names = ["/".join(folder.resolve().parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names) and (depth > 1 or all(r is None or r.name == r.folder.name for r in runs)):
            break
    return [
        f"{n} ({p.name})" if r and names.count(n) > 1 else n for n, r, p in zip(names, runs, checkpoints, strict=True)
    ]
