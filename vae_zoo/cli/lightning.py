"""LightningCLI with this package's run folders, callbacks and errors; fit, validate, test and predict begin with it."""

import argparse
import glob
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelSummary
from lightning.pytorch.cli import LightningCLI, _InstantiatorFn
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_warn
from torch._functorch import config as functorch_config

from vae_zoo import settings
from vae_zoo.callbacks import Advice, Guard, Noise, RunFolder, Timing
from vae_zoo.checkpoints import read, refuse_nonfinite
from vae_zoo.cli import UsageError, is_out_of_memory, limits, options
from vae_zoo.cli.checkpoints import (
    WholeCheckpoints,
    check_data,
    finished_epochs,
    refuse_another_model,
    refuse_another_size,
    refuse_other_processes,
    refuse_other_settings,
    refuse_to_replace,
)
from vae_zoo.cli.loggers import MetricsCSV, NoProfiler, ProgressBar, Summary, TensorBoard
from vae_zoo.cli.process import computes_bf16, flush_denormals, keep_freed_memory, look_for_gpus_once
from vae_zoo.cli.saving import BestCheckpoint, OneCheckpoint, SaveConfig
from vae_zoo.cli.shipped import find_configs
from vae_zoo.cli.trained import run_of, settings_of
from vae_zoo.data.module import DataModule
from vae_zoo.errors import UserError, causes_of, require
from vae_zoo.models import GenerativeModel
from vae_zoo.networks import Network
from vae_zoo.newest import EVERY, RUNS, find_checkpoint, first_process, new_run, newest_checkpoint
from vae_zoo.runs import Run, of_checkpoint
from vae_zoo.settings import parameters_of


class OwnArguments(_InstantiatorFn):
    """Keep a fact of the data from the hyper-parameters of a model that does not take it.

    jsonargparse gives a model no argument that its constructor lacks; Lightning's instantiator would list it all the
    same, and a checkpoint would not load.

    Raises:
        UserError: if the model takes captions and cannot do without, as its default says, and the data have none.
    """

    def __call__(
        self, class_type: type[Any], *args: Any, applied_instantiation_links: dict[str, Any], **kwargs: Any
    ) -> Any:
        """Construct the model."""
        if kwargs.get("captions") == () != default_of(class_type, "captions"):
            raise UserError(
                f"the data have no captions, which {class_type.__name__} needs; of pictures, ask for them with "
                "--data.captions auto, or categories"
            )
        taken = {key: value for key, value in applied_instantiation_links.items() if key.rpartition(".")[2] in kwargs}
        return super().__call__(class_type, *args, applied_instantiation_links=taken, **kwargs)


def default_of(class_type: type[Any], name: str) -> Any:
    """Return the default of a constructor's argument."""
    return next(parameter.default for parameter in parameters_of(class_type) if parameter.name == name)


class ZooCLI(LightningCLI):
    """LightningCLI with a folder for each run and the callbacks that fill it.

    Attributes:
        run_folder: the run.
        saved: the checkpoint that is resumed or evaluated; empty if there is none.
        goes_on: whether a training goes on in its own folder.
        arguments: of the Trainer's method, but for model and data.
    """

    model: GenerativeModel
    datamodule: DataModule

    def __init__(self, command: str, arguments: Sequence[str]) -> None:
        self.command = command
        flush_denormals()
        look_for_gpus_once()
        super().__init__(
            GenerativeModel,
            DataModule,
            save_config_callback=SaveConfig if command == "fit" else None,
            save_config_kwargs={"save_to_log_dir": False},
            subclass_mode_model=True,
            subclass_mode_data=True,
            # The optimizer is the model's own argument: one given beside it would replace the two of an AAE.
            auto_configure_optimizers=False,
            args=list(arguments),
            run=False,
        )
        self.arguments = {name: self.config_init[name] for name in self._method_arguments}

    def setup_parser(self, *_: Any) -> None:
        """Make the command's parser."""
        self.parser, self._method_arguments = options.make_parser(self.command)

    def parse_arguments(self, parser: options.Parser, args: list[str]) -> None:  # type: ignore[override]
        """Find the checkpoint, and the run folder that it lies in."""
        with _config_of_run(self.command, args) as words:
            self.config = config = options.parse(parser, words)
        if config.seed_everything is not True:
            require(0, seed_everything=config.seed_everything)
        if config.ckpt_path == "":
            raise UserError("ckpt_path is empty: give a checkpoint, last or auto")
        given = config.ckpt_path or (None if self.command == "fit" else "last")
        self.run_dir, config.run_dir = config.run_dir, None  # a config.yaml is for other folders, too
        where = [_pattern(self.run_dir)] if self.run_dir else [RUNS / self._name / "*"]
        if given == "auto":
            checkpoint = newest_checkpoint(*where)
        else:
            checkpoint = find_checkpoint(given, where) if given else None
        self.resumed = of_checkpoint(checkpoint) if checkpoint else None
        target = Run(self.run_dir.resolve()) if self.run_dir else self.resumed
        self.goes_on = self.command == "fit" and target is not None and target == self.resumed
        if self.command == "fit" and self.run_dir:
            Run(self.run_dir).refuse_foreign()
        if self.command == "fit" and target and not checkpoint:
            target.refuse_trained(anew=given == "auto")
        self.saved: dict[str, Any] = {}
        if checkpoint:
            if target:
                refuse_to_replace(target, checkpoint, self.command == "fit")
            self.saved = read(checkpoint)
            if not config.get("allow_nonfinite"):
                refuse_nonfinite(checkpoint, self.saved)
            plain = options.plain(parser, config)
            refuse_another_model(plain, self.saved)
            refuse_another_size(plain, self.saved["hyper_parameters"].get("shape"))
            if self.goes_on and self.resumed:
                refuse_other_settings(plain, self.resumed)
        config.ckpt_path = str(checkpoint) if checkpoint else None
        if self.command == "predict":  # several processes would each have a part of the codes
            config.trainer.devices, config.trainer.num_nodes, config.trainer.strategy = 1, 1, "auto"

    def before_instantiate_classes(self) -> None:
        """Replace the instantiator of models."""
        self.parser.add_instantiator(OwnArguments(cli=self, key="model"), GenerativeModel)

    def instantiate_classes(self) -> None:
        """Instantiate data, model and trainer.

        Raises:
            UserError: which jsonargparse wraps in a page of types; or that says what a class made of its arguments.
        """
        try:
            with options.values_are_no_files():
                super().instantiate_classes()
        except Exception as error:  # given just any arguments, classes and jsonargparse itself raise anything
            causes = causes_of(error)
            for cause in causes:
                if isinstance(cause, UserError | ModuleNotFoundError) or is_out_of_memory(cause):
                    raise cause from None
            raise UserError(_told(causes[-1])) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add the loggers and callbacks that a run always has."""
        config = self.config_init.trainer
        limits.check(config)
        self.is_new = not self.resumed and not (self.run_dir and self.run_dir.exists())
        self.run_folder = Run(self.run_dir.resolve()) if self.run_dir else self.resumed or new_run(self._name)
        self.run_folder.refuse_links()
        kwargs |= {"default_root_dir": self.run_folder.folder, "logger": self._loggers(config.logger)}
        callbacks = [*listed(config.callbacks), RunFolder(self.run_folder.folder), Advice(), Noise()]
        if not any(isinstance(callback, Guard) for callback in callbacks):
            callbacks.append(Guard())
        if config.enable_progress_bar is not False and not config.fast_dev_run:
            callbacks.append(ProgressBar())
        if config.enable_model_summary is not False and not any(isinstance(each, ModelSummary) for each in callbacks):
            callbacks.append(Summary())
        callbacks.append(Timing())  # after all that has work at a step's end, before what saves its state
        if config.enable_checkpointing is not False:
            folder = self.run_folder.checkpoint().parent
            if self.model.monitor and not self.datamodule.facts.validates_on_test:
                callbacks.append(BestCheckpoint(folder, self.model.monitor))
            callbacks.append(OneCheckpoint(folder, "last", save_on_train_epoch_end=True))
        if not config.profiler:
            kwargs["profiler"] = NoProfiler()
        if not config.plugins:
            kwargs["plugins"] = [WholeCheckpoints()]
        try:
            trainer = super().instantiate_trainer(callbacks=callbacks, **kwargs)
            limits.check_synchronised(trainer, config.sync_batchnorm)
        except Exception as error:
            self._remove_if_new()
            if refused := limits.refusal(error):
                raise refused from error
            raise
        if trainer.precision.startswith("bf16") and trainer.strategy.root_device.type == "cpu" and not computes_bf16():
            rank_zero_warn(f"this CPU has no instructions for trainer.precision {trainer.precision}; 32-true is faster")
        return trainer

    def after_instantiate_classes(self) -> None:
        """Refuse a checkpoint that does not fit the data; compile the training step, if asked to."""
        if self.saved:
            check_data(self.datamodule, self.saved, self.resumed, self.goes_on)
        if self.goes_on:
            refuse_other_processes(self.trainer.world_size, self.saved)
        if not self.datamodule.facts.ragged:
            keep_freed_memory()
        if self.config.compile:
            compile_step(self.model, self.datamodule.facts.ragged)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the Trainer inside of this; the folder of a run that is refused before its first step is removed."""
        # A model trained in turns goes back twice through a graph, whose buffers must stay.
        donated = functorch_config.donated_buffer and self.model.automatic_optimization
        try:
            with functorch_config.patch(donated_buffer=donated):
                yield
            if torch.distributed.is_initialized():  # else gloo speaks of lost connections when the other one ends first
                torch.distributed.destroy_process_group()
        except Exception as error:
            if not self.trainer.global_step:
                self._remove_if_new()
            if refused := limits.refusal(error):
                raise refused from error
            raise

    def say(self, what: str, text: object) -> None:
        """Print a line in one process; a path as one would type it here."""
        if self.trainer.is_global_zero:
            print(f"{what:13} {short(text) if isinstance(text, Path) else text}")

    @property
    def _name(self) -> str:
        """The name that a model's runs go by: its module's, ``vae`` for ``vae_zoo.models.vae.VAE``."""
        module, _, name = self.config.model.class_path.rpartition(".")
        return vars(sys.modules[module])[name].__module__.rpartition(".")[2]

    def _loggers(self, given: Any) -> list[Logger] | bool:
        if given is False:
            return False
        folder = self.run_folder.folder
        fit = self.command == "fit"
        # Of what is there, TensorBoard forgets the steps that were taken after the checkpoint, or all of them.
        purge = self.saved["global_step"] + 1 if self.saved else None if self.is_new else 0
        loggers = listed(None if given is True else given)
        if not loggers and self.command in ("fit", "test"):  # the others read a run, in a folder that may be read-only
            purge_step = purge if fit else None
            loggers = [TensorBoard(folder.parent, "", folder.name, default_hp_metric=False, purge_step=purge_step)]
        seen = (finished_epochs(self.saved), self.saved["global_step"]) if self.saved else (0, 0)
        return [*loggers, MetricsCSV(folder, *seen)] if fit else loggers

    def _remove_if_new(self) -> None:
        if self.is_new and first_process():
            self.run_folder.remove()


def compile_step(model: GenerativeModel, ragged: bool = False) -> None:
    """Compile a model's training step as a whole, where one method does it; else each of its networks.

    Batches that differ in shape would have the whole compiled anew time and again.
    """
    if model.whole_step and not ragged:
        setattr(model, model.whole_step, torch.compile(getattr(model, model.whole_step)))
        return
    for module in model.modules():
        if isinstance(module, Network) and not module.twice_differentiable:
            module.compile()


def short(path: Path) -> str:
    """Return a path as one would type it here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def listed(value: Any) -> list[Any]:
    """Return one, several or no values as a new list."""
    return [] if value is None else [*value] if isinstance(value, list | tuple) else [value]


def _names_model(words: Sequence[str]) -> bool:
    """Whether options, or a yaml that one of them names, say what the model is; or the yaml says nothing at all."""
    for word in find_configs(words):
        name, _, value = word.partition("=")
        try:
            if name == "--model" or (name == "--config" and "model" in settings.read(Path(value))):
                return True
        except UserError:  # which the parser words
            return True
    return False


def _told(error: BaseException) -> str:
    """Say in a line what went wrong, and where."""
    text = " ".join(str(error).split())[:300]
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {text} ({frame.filename}, line {frame.lineno})"


def _pattern(folder: Path | str) -> Path:
    """Escape a folder's name for glob."""
    return Path(glob.escape(str(folder)))


@contextmanager
def _config_of_run(command: str, arguments: Sequence[str]) -> Iterator[list[str]]:
    """Give a command what it may know of the yaml that its checkpoint was trained with, unless a --config has a model.

    A yaml without a model, such as a list of measures, is laid over that.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for names in (("-c", "--config"), ("--ckpt_path",), ("--run_dir",)):
        parser.add_argument(*names, nargs="?")
    parser.add_argument("--trust", nargs="*", default=[])
    given, rest = parser.parse_known_args(arguments)
    if command == "fit" or options.asks_for_help(rest) or (given.config and _names_model(arguments)):
        yield list(arguments)
        return
    where = [_pattern(given.run_dir)] if given.run_dir else EVERY
    checkpoint = find_checkpoint(given.ckpt_path or "last", where)
    run = run_of(checkpoint, "say with --config what to test it on")
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / run.config_file.name
        config.write_text(yaml.safe_dump(settings_of(run, given.trust)))
        try:
            yield [f"--config={config}", *arguments, f"--ckpt_path={checkpoint}"]
        except UsageError as error:
            raise UsageError(str(error).replace(str(config), str(run.config_file))) from None
