"""What the commands for a trained model share: its checkpoint, the model, and the data of its run."""

import argparse
import importlib
from pathlib import Path

from jsonargparse import ArgumentParser

import vae_zoo
from vae_zoo.data.module import DataModule
from vae_zoo.errors import UserError
from vae_zoo.models import GenerativeModel
from vae_zoo.runs import find_checkpoint, of_checkpoint
from vae_zoo.settings import Config


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add the option that says which model."""
    parser.add_argument("--ckpt_path", default="last", help="a checkpoint, or last: the newest run's (default)")


def load_trained(given: str) -> tuple[GenerativeModel, Path]:
    """Return the model that ``--ckpt_path`` names, and its file."""
    checkpoint = find_checkpoint(given)
    run = of_checkpoint(checkpoint)
    if run and run.exists:  # a class of one's own must be there: a checkpoint by itself gets no code to run
        importlib.import_module(run.config["model"]["class_path"].rpartition(".")[0] or "vae_zoo.models")
    return vae_zoo.load(checkpoint), checkpoint


def data_of_run(checkpoint: Path, otherwise: str) -> DataModule:
    """Return the data of the run that a checkpoint belongs to, set up.

    Args:
        checkpoint: its file.
        otherwise: what to do if it lies in no run folder, for the error.
    """
    run = of_checkpoint(checkpoint)
    if not (run and run.exists):
        raise UserError(f"{checkpoint} is not in a run folder with a config.yaml; {otherwise}")
    return read_data(run.config)


def read_data(settings: Config) -> DataModule:
    """Return the data of a training with these settings, set up."""
    parser = ArgumentParser()
    parser.add_subclass_arguments(DataModule, "data")
    datamodule = parser.instantiate(parser.parse_object({"data": settings["data"]})).data
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule
