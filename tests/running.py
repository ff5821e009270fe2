"""What the tests of callbacks and figures share: a model is trained or tested, and its results.json is read."""

import dataclasses
import inspect
import json

from lightning.pytorch.loggers import CSVLogger

from tests.data_sets import module
from tests.zoo import loader_of, models_that, small, trainer
from vae_zoo.callbacks import Evaluation
from vae_zoo.data import Sketches

# Runs of the fixture `tests.trained_runs.runs`, by name what their models declare.
KINDS = {
    "images": {"density": True, "encodes": True, "pixels": True, "conditional": False},
    "labelled": {"conditional": True, "pixels": True},
    "samples": {"encodes": False, "pixels": True},
    "sketches": {"encodes": True, "pixels": False},
    "sketch_samples": {"encodes": False, "pixels": False},
}


def one_that(*bases, **declared):
    """The smallest of the models that are and declare all this."""
    return min(models_that(*bases, **declared).args[1], key=lambda cls: sum(p.numel() for p in small(cls).parameters()))


def data_for(cls, shapes, doodles, **changes):
    """A small data module of what a model makes."""
    if cls.pixels:
        return module(shapes, **changes)
    data = Sketches(str(doodles), **{"n_train": 40, "n_test": 20, "n_val": 10, "batch_size": 16} | changes)
    data.setup()
    return data


def fitting(cls, data, **changes):
    """A model of seconds that is told of the data what its constructor takes, as the command does."""
    takes, facts = inspect.signature(cls).parameters, dataclasses.asdict(data.facts)
    return small(cls, **{name: value for name, value in facts.items() if name in takes} | changes)


def fit(folder, *callbacks, model, data=None, epochs=3, **settings):
    """Train a model, with a CSV logger in this folder, on a data module, on loaders by name, or on even colours."""
    settings = {"logger": CSVLogger(str(folder), name="", version=""), **settings}
    fits = trainer(folder, max_epochs=epochs, callbacks=list(callbacks), **settings)
    if not isinstance(data, dict):
        data = {"datamodule": data} if data else {"train_dataloaders": loader_of(model)}
    fits.fit(model, **data)
    return fits


def run_test(model, data, folder, **settings):
    """Test a model with an `Evaluation` of these settings, and return the content of results.json."""
    logger = CSVLogger(str(folder), name="", version="")
    tests = trainer(folder, logger=logger, callbacks=[Evaluation(**settings)])
    tests.test(model, datamodule=data, verbose=False)
    return read_results(folder)


def read_results(folder):
    """The content of results.json, which must be JSON as the standard has it, without NaN."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads((folder / "results.json").read_text(), parse_constant=refuse)


def checkpoint(name):
    """The checkpoint of the fixture's run of this kind, from their folder."""
    return f"{name}/checkpoints/last.ckpt"
