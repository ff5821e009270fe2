"""What the commands for a trained model share: its checkpoint, the model, and the data of its run."""

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

import vae_zoo
from vae_zoo.callbacks import Evaluation
from vae_zoo.checkpoints import read
from vae_zoo.cli.checkpoints import check_data, refuse_another_size
from vae_zoo.cli.process import quiet
from vae_zoo.data.module import DataModule
from vae_zoo.errors import UserError
from vae_zoo.models import GenerativeModel
from vae_zoo.newest import NEWEST, find_checkpoint
from vae_zoo.runs import Run, of_checkpoint
from vae_zoo.settings import Config
from vae_zoo.sharing import find
from vae_zoo.trust import refuse_arguments, refuse_untrusted

TRUST = "modules of your own that the checkpoint and the config.yaml beside it may name"
ALLOW_NONFINITE = "use weights that are infinite or not a number, of a training that diverged"
# Of a Trainer's settings, those that a config.yaml that was found may say: what is measured does not depend on them.
OF_TRAINER = {"accelerator", "precision", "deterministic", "benchmark", "enable_progress_bar", "enable_model_summary"}


def add_checkpoint(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Add the options that say which model, or which ones, and what their files may name."""
    which = "a checkpoint; an exported model's folder, https:// address, or name on the Hub; or last: the newest run's"
    which += " (default)"
    if several:
        parser.add_argument("--ckpt_path", nargs="+", default=["last"], help=f"{which}; or several")
    else:
        parser.add_argument("--ckpt_path", default="last", help=which)
    parser.add_argument("--trust", nargs="+", default=[], metavar="MODULE", help=TRUST)
    parser.add_argument("--allow_nonfinite", action="store_true", help=ALLOW_NONFINITE)


def load_trained(options: argparse.Namespace) -> tuple[GenerativeModel, Path]:
    """Return the model that ``--ckpt_path`` names, and its file."""
    return _load(options.ckpt_path, options)


def load_each(options: argparse.Namespace) -> Iterator[tuple[GenerativeModel, Path]]:
    """Yield the models that ``--ckpt_path`` names, one at a time, and their files."""
    for given in options.ckpt_path:
        yield _load(given, options)


def _load(given: str, options: argparse.Namespace) -> tuple[GenerativeModel, Path]:
    checkpoint = found(given)
    return vae_zoo.load(checkpoint, trust=options.trust, allow_nonfinite=options.allow_nonfinite), checkpoint


def found(given: str) -> Path:
    """Return the checkpoint file or exported folder that ``--ckpt_path`` names, fetched if it is elsewhere."""
    if given in NEWEST:
        return find_checkpoint(given)
    path, source = find(given)
    if source is None:
        return find_checkpoint(str(path), folders=True)
    print(f"using {source}")
    return path


def run_of(checkpoint: Path, otherwise: str) -> Run:
    """Return the run that a checkpoint belongs to.

    Args:
        checkpoint: its file.
        otherwise: what to do if it lies in no run folder, for the error.
    """
    run = of_checkpoint(checkpoint)
    if not (run and run.exists):
        read(checkpoint)  # what is no checkpoint is reported first
        raise UserError(f"{checkpoint} is not in a run folder with a config.yaml; {otherwise}")
    return run


def settings_of(run: Run, trust: Sequence[str]) -> Config:
    """Return what a config.yaml that was found says of model, data, devices and measures.

    Where to write is none of its business, and it names nothing that is not trusted.

    Raises:
        UserError: if it does.
    """
    where, config = str(run.config_file), run.config
    for section, base in (("model", GenerativeModel), ("data", DataModule)):
        refuse_untrusted(config.get(section), base, f"{where}: {section}", trust)
    refuse_arguments(Evaluation, config.get("evaluation") or {}, f"{where}: evaluation", trust)
    kept: Config = {key: config[key] for key in ("seed_everything", "model", "evaluation") if key in config}
    trainer = config.get("trainer") or {}
    kept["trainer"] = {name: trainer[name] for name in OF_TRAINER & trainer.keys() if _is_plain(trainer[name])}
    data = config.get("data")
    kept["data"] = {"class_path": data} if isinstance(data, str) else dict(data or {})
    own = kept["data"].get("init_args") or {}
    kept["data"]["init_args"] = {name: value for name, value in own.items() if name not in ("cache_dir", "workers")}
    return kept


def data_of_run(checkpoint: Path, model: GenerativeModel, otherwise: str, trust: Sequence[str]) -> DataModule:
    """Return the data of the run that a checkpoint belongs to, set up.

    Args:
        checkpoint: its file.
        model: what it holds.
        otherwise: what to do if it lies in no run folder, for the error.
        trust: modules that its config.yaml may name.
    """
    run = run_of(checkpoint, otherwise)
    settings = settings_of(run, trust)
    refuse_another_size(settings, model.hparams.get("shape"))
    with quiet():
        data = read_data(settings)
        check_data(data, read(checkpoint), run)
    return data


def read_data(settings: Config) -> DataModule:
    """Return the data of a training with these settings, set up."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(DataModule, "data")
    try:
        datamodule = parser.instantiate(parser.parse_object({"data": settings["data"]})).data
    except UserError:
        raise
    except Exception as error:  # given just any arguments, classes and jsonargparse itself raise anything
        raise UserError(f"the data cannot be made of their settings: {' '.join(str(error).split())[:300]}") from error
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def _is_plain(value: Any) -> bool:
    """Whether a setting can name no code."""
    return value is None or isinstance(value, bool | int | float) or bool(re.fullmatch(r"[\w-]*", str(value)))
