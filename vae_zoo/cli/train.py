"""``vae-zoo fit | validate | test | predict``: LightningCLI with this package's run folders, callbacks and errors."""

import csv
import ctypes
import glob
import inspect
import io
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter, ModelCheckpoint, RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch._functorch import config as functorch_config

import vae_zoo.data
import vae_zoo.models  # noqa: F401  importing the models is what lets a yaml name them by their short names
from vae_zoo.callbacks import LabelGrid, SampleImages, Timing
from vae_zoo.cli import UsageError
from vae_zoo.cli.runs import RUNS, find_checkpoint, read_checkpoint, remove_if_empty, run_folder, trained_labels
from vae_zoo.cli.usage import explain
from vae_zoo.compare.conditions import class_name, differences
from vae_zoo.errors import UserError, require
from vae_zoo.metrics import Evaluation
from vae_zoo.models import GenerativeModel
from vae_zoo.models.base import Alternating
from vae_zoo.networks import Network

CALLBACKS: dict[str, type[Callback]] = {"images": SampleImages, "evaluation": Evaluation}
SECTIONS = {"model": GenerativeModel, "data": LightningDataModule, "trainer": Trainer, **CALLBACKS}
SCALARS = {"config", "seed_everything", "compile", "run_dir", "ckpt_path", "help"}
SCALARS |= {"weights_only", "verbose", "return_predictions"}  # of Lightning's four methods


def run(command: str, arguments: Sequence[str]) -> None:
    """Run one of the four Lightning commands."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # batches come whole from memory
    warnings.filterwarnings("ignore", message=".*Checkpoint directory.*exists and is not empty.*")  # a resumed run
    warnings.filterwarnings("ignore", message=".*Total length of .* is zero.*")  # no image left to validate on
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    given = list(arguments)
    if command != "fit" and not any(argument.split("=")[0] in ("--config", "-c") for argument in given):
        given = _config_of_run(given)
    sys.argv[1:] = [command, *given]
    try:
        ZooCLI(
            GenerativeModel,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            # An optimizer given on the command line would replace the two of a model trained by turns.
            auto_configure_optimizers=False,
            parser_class=Parser,
            parser_kwargs={"allow_abbrev": False},
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},  # a resumed run goes on in its folder
        )
    except Complaint as complaint:
        raise UsageError(explain(str(complaint), given, SECTIONS, SCALARS)) from None
    except ValueError as error:  # jsonargparse wraps what a constructor raises in a page of types
        cause: BaseException | None = error
        while cause and not isinstance(cause, UserError):
            cause = cause.__cause__ or cause.__context__
        raise cause or error from None


def keep_freed_memory() -> None:
    """Let glibc keep the memory that is freed, for the next step.

    It would give tensors above 32 MB back to the kernel, which maps and clears them anew in each step: an IWAE's with 5
    draws then takes 1.2 times as long on a CPU. Not for batches that differ in shape: what is kept does not fit the
    next one, and Sketch-RNN takes 1.8 times the memory for .95 of the time.
    """
    with suppress(OSError, AttributeError):  # another C library has other ways
        mmap_max, trim_threshold = -4, -1  # of mallopt(3)
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)


class Complaint(Exception):
    """What jsonargparse did not understand, in its own words."""


class Parser(LightningArgumentParser):
    """A parser that raises instead of printing a page of usage."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise what was not understood."""
        raise Complaint(message) from ex


class ZooCLI(LightningCLI):
    """LightningCLI with a folder for each run and the callbacks that fill it."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the callbacks' settings, and give the model the shape of the data."""
        for key, callback in CALLBACKS.items():
            parser.add_lightning_class_args(callback, key)
        parser.add_argument("--compile", type=bool, default=False, help="compile the networks with torch.compile")
        parser.add_argument("--run_dir", type=Path | None, help="run folder (default runs/<model>/version_N)")
        parser.link_arguments("data", "model.init_args.shape", compute_fn=_shape, apply_on="instantiate")
        parser.link_arguments("data", "model.init_args.labels", compute_fn=_labels, apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Find the checkpoint, and the run folder that it lies in."""
        try:
            super().parse_arguments(parser, args)
        except (ValueError, TypeError) as error:
            raise Complaint(str(error)) from error
        command = self.config.subcommand
        config = self.config[command]
        if config.seed_everything is not True:
            require(0, seed_everything=config.seed_everything)
        model = _name(config.model.class_path)
        given = config.ckpt_path or (None if command == "fit" else "last")
        self.run_dir, config.run_dir = config.run_dir, None  # a config.yaml is for other folders, too
        checkpoint = find_checkpoint(given, _pattern(self.run_dir) or RUNS / model / "*") if given else None
        if command == "fit" and self.run_dir and not checkpoint and (self.run_dir / "checkpoints").exists():
            raise UserError(
                f"run_dir {self.run_dir} has a run in it; give --ckpt_path auto to go on with it, or another folder"
            )
        # A file that is no checkpoint fails here, in one sentence.
        self.loaded = None if checkpoint is None else vae_zoo.load(checkpoint)
        saved = {} if checkpoint is None else read_checkpoint(checkpoint)
        if saved:
            _refuse_differences(config.model, saved["hyper_parameters"])
        self.trained_labels = trained_labels(saved)
        config.ckpt_path = None if checkpoint is None else str(checkpoint)
        self.resumed = run_folder(checkpoint) if checkpoint else None
        self.resumed_at = (saved["epoch"] + 1, saved["global_step"] + 1) if saved and command == "fit" else (0, None)
        if command != "fit":
            self.save_config_callback = None
        if command == "predict":  # several processes would each have a part of the codes
            config.trainer.devices, config.trainer.num_nodes, config.trainer.strategy = 1, 1, "auto"

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add the loggers and callbacks that a run always has."""
        config = self._get(self.config_init, "trainer")
        if str(config["precision"]).endswith("true") and "32" not in str(config["precision"]):
            raise UserError(f"trainer.precision {config['precision']}: it is 32-true, or bf16-mixed for more speed")
        model = _name(self.config[self.subcommand].model.class_path)
        self.folder: Path = self.run_dir.resolve() if self.run_dir else self.resumed or _new_folder(model)
        if config["logger"] in (None, True):
            where = self.folder.parents[1], self.folder.parent.name, self.folder.name
            loggers: list[Logger] = [TensorBoardLogger(*where, default_hp_metric=False, purge_step=self.resumed_at[1])]
            table = MetricsCSV(*where, self.resumed_at[0])
            kwargs["logger"] = [*loggers, table] if self.subcommand == "fit" else loggers
        callbacks = config["callbacks"] or []
        callbacks = [*callbacks] if isinstance(callbacks, list) else [callbacks]
        if config["enable_progress_bar"] is not False and not config["fast_dev_run"]:
            callbacks.append(RichProgressBar(refresh_rate=10))
        callbacks.append(Timing())  # after all that has work at a step's end, before what saves its state
        if config["enable_checkpointing"] is not False and config["logger"] in (None, True):
            if self.model.monitor and not getattr(self.datamodule, "val_on_test", False):
                best = ModelCheckpoint(monitor=self.model.monitor, filename="best", save_on_train_epoch_end=False)
                callbacks.append(best)
            last = ModelCheckpoint(filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
            callbacks.append(last)
        if not config["plugins"]:
            kwargs["plugins"] = [WholeCheckpoints()]
        if self.subcommand == "predict":
            callbacks.append(CodeWriter(self.folder / "codes.npz"))
        try:
            return super().instantiate_trainer(callbacks=callbacks, **kwargs)
        except (MisconfigurationException, ValueError, ModuleNotFoundError) as error:
            remove_if_empty(self.folder)
            raise UserError(f"trainer: {' '.join(str(error).split())}") from error

    def after_instantiate_classes(self) -> None:
        """Refuse a checkpoint that does not fit the data; compile the networks, if asked to."""
        if not getattr(self.datamodule, "ragged", False):
            keep_freed_memory()
        for name in self.model.hparams.keys() - inspect.signature(type(self.model)).parameters:
            if not name.startswith("_"):
                del self.model.hparams[name]  # linked to every model, but this one does not take it
        trained_on = self.loaded.hparams if self.loaded else {}
        if "shape" in trained_on and tuple(trained_on["shape"]) != tuple(self.model.hparams["shape"]):
            raise UserError(
                f"the checkpoint was trained on data of shape {tuple(trained_on['shape'])}, these have "
                f"{tuple(self.model.hparams['shape'])}; set --data.image_size and "
                "--data.channels, or --data.max_length, as they were"
            )
        here = list(getattr(self.datamodule, "labels", []))
        there = self.trained_labels or [str(i) for i in range(trained_on.get("labels", 0))]  # names, if it has them
        if "labels" in trained_on and (there != here if self.trained_labels else len(there) != len(here)):
            raise UserError(
                f"the checkpoint was trained with the labels {', '.join(there)}; the data have {', '.join(here)}"
            )
        if self._get(self.config, "compile"):
            if isinstance(self.model, Alternating):  # it goes back twice through a graph, whose buffers must stay
                functorch_config.donated_buffer = False
            for module in self.model.modules():
                if isinstance(module, Network) and not module.twice_differentiable:
                    module.compile()

    def before_fit(self) -> None:
        """Refuse what cannot be trained while the run folder is still empty."""
        try:
            if isinstance(self.model, Alternating):
                for name, off in (("gradient_clip_val", 0), ("accumulate_grad_batches", 1)):
                    if getattr(self.trainer, name) not in (None, off):
                        model = type(self.model).__name__
                        raise UserError(f"trainer.{name}: {model} steps its optimizers itself; leave it out")
            if self.model.hparams.get("labels", 2) < 2:
                raise UserError(f"the data have no labels, which {type(self.model).__name__} needs")
            for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, LabelGrid):
                    callback.setup(self.trainer, self.model, "fit")
        except UserError:
            remove_if_empty(self.folder)
            raise

    def after_fit(self) -> None:
        """Say where things are."""
        if self.trainer.is_global_zero and self.folder.is_dir():
            print(f"run folder    {_short(self.folder)}")
            print(f"images        {_short(self.folder / 'images')}")
            print(
                f"TensorBoard   tensorboard --logdir {_short(self.folder if self.run_dir else self.folder.parents[1])}"
            )
            last = self.folder / "checkpoints" / "last.ckpt"
            if last.exists():
                print(f"test it       vae-zoo test --ckpt_path {_short(last)}")

    def after_test(self) -> None:
        """Say where the results are."""
        if self.trainer.is_global_zero:
            print(f"results       {_short(self.folder / 'results.json')}")

    def after_predict(self) -> None:
        """Say where the codes are."""
        if self.trainer.is_global_zero:
            print(f"codes         {_short(self.folder / 'codes.npz')}")


class KeepingWriter(ExperimentWriter):
    """Lightning's writer of metrics.csv, which replaces the file by a whole one where Lightning empties it first."""

    def keep(self, epochs: int) -> None:
        """Keep the lines of the first epochs."""
        rows = [row for row in self._rows() if row["epoch"].isdigit() and int(row["epoch"]) < epochs]
        self.metrics_keys = list(rows[0]) if rows else []
        self._replace(rows)

    def _check_log_dir_exists(self) -> None:
        """Leave what is there."""

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        self._replace(self._rows())

    def _rows(self) -> list[dict[str, str]]:
        path = Path(self.metrics_file_path)
        with open(path, newline="") if path.is_file() else io.StringIO() as file:
            return [row for row in csv.DictReader(file) if None not in row and None not in row.values()]

    def _replace(self, rows: list[dict[str, str]]) -> None:
        path = Path(self.metrics_file_path)
        if not self.metrics_keys:
            path.unlink(missing_ok=True)
            return
        with open(path.with_suffix(".partial"), "w", newline="") as file:
            writer = csv.DictWriter(file, self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)
        path.with_suffix(".partial").replace(path)


class MetricsCSV(CSVLogger):
    """Lightning's CSV logger, but a resumed run goes on with its metrics.csv where Lightning deletes it.

    Args:
        save_dir: the folder of the folders of runs.
        name: of the folder of runs.
        version: the run folder's name.
        epochs: how many epochs the resumed checkpoint has seen; lines of later ones were written before a cut.
    """

    def __init__(self, save_dir: Path, name: str, version: str, epochs: int) -> None:
        # A run that is killed leaves all that it has logged.
        super().__init__(save_dir, name, version, flush_logs_every_n_steps=1)
        self.epochs = epochs

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer, with the lines that are there already."""
        if self._experiment is None:
            self._experiment = KeepingWriter(self.log_dir)
            self._experiment.keep(self.epochs)
        return super().experiment


class WholeCheckpoints(TorchCheckpointIO):
    """Rename a checkpoint into place when it is whole: a training that is killed while it saves leaves the last one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Save under another name in the same folder, and rename."""
        super().save_checkpoint(checkpoint, f"{path}.partial", storage_options)
        os.replace(f"{path}.partial", path)


class CodeWriter(BasePredictionWriter):
    """Write the predicted codes z (N, D) and the labels' names to a ``.npz``."""

    def __init__(self, path: Path) -> None:
        super().__init__(write_interval="epoch")
        self.path = path

    def write_on_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, predictions: Sequence[Tensor], batch_indices: Sequence[Any]
    ) -> None:
        """Write the file."""
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        labels = np.concatenate([y.numpy() for _, y in datamodule.predict_dataloader()])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        codes = np.concatenate([codes.float().cpu().numpy() for codes in predictions])
        np.savez(self.path, z=codes, label=np.array(datamodule.labels)[labels[: len(codes)]])


def _config_of_run(given: list[str]) -> list[str]:
    """Without a --config, use the one that the checkpoint was trained with."""
    if {"--help", "-h"} & set(given):
        return given
    values = dict(zip(given, given[1:], strict=False))
    values |= dict(argument.split("=", 1) for argument in given if argument.startswith(("--ckpt_path=", "--run_dir=")))
    where = _pattern(values.get("--run_dir")) or RUNS / "*" / "*"
    checkpoint = find_checkpoint(values.get("--ckpt_path", "last"), where)
    folder = run_folder(checkpoint) if checkpoint else None
    if folder is None or not (folder / "config.yaml").is_file():
        vae_zoo.load(cast(Path, checkpoint))
        raise UserError(f"{checkpoint} is not in a run folder with a config.yaml; say with --config what to test it on")
    return ["--config", str(folder / "config.yaml"), *given, "--ckpt_path", str(checkpoint)]


def _refuse_differences(given: Namespace, saved: dict[str, Any]) -> None:
    """Lightning would take the checkpoint's model without a word; the command must agree with it."""
    here = {"class": class_name(given.class_path), **given.init_args.as_dict()}
    there = {name: value for name, value in saved.items() if name not in ("shape", "labels")}  # as the data have them
    there["class"] = class_name(saved["_class_path"])
    for path, ours, theirs in differences(here, there, "model"):
        raise UserError(
            f"{path} is {ours!r} here, but {theirs!r} in the checkpoint; leave it out, or train a new model"
        )


def _shape(data: LightningDataModule) -> tuple[int, ...]:
    shape = getattr(data, "shape", None)
    if shape is None:
        raise UserError(f"{type(data).__name__} has no `shape`, such as (C, H, W), which a model is built for")
    return shape


def _labels(data: LightningDataModule) -> int:
    """The number of labels, which are known once the data are set up; what is wrong with the data is said here."""
    data.prepare_data()
    data.setup("fit")
    return len(getattr(data, "labels", []))


def _pattern(folder: Path | str | None) -> Path | None:
    """A folder as a pattern that fits nothing else."""
    return None if folder is None else Path(glob.escape(str(folder)))


def _name(class_path: str) -> str:
    """The name that a model's runs go by: its module's, ``vae`` for ``vae_zoo.models.vae.VAE``."""
    return _class(class_path).__module__.rpartition(".")[2]


def _class(path: str) -> type:
    module, _, name = path.rpartition(".")
    return getattr(sys.modules[module], name)


def _new_folder(model: str) -> Path:
    """Make the next ``version_N``, which no other process then takes."""
    numbers = [int(path.name[8:]) for path in (RUNS / model).glob("version_*") if path.name[8:].isdigit()]
    for number in count(max(numbers, default=-1) + 1):
        folder = (RUNS / model / f"version_{number}").resolve()
        if int(os.environ.get("LOCAL_RANK", 0)):  # only the first of several processes writes
            return folder
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise AssertionError


def _short(path: Path) -> str:
    """The path as one would type it here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)
