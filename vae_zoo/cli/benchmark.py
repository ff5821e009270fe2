"""``vae-zoo benchmark``: what a training costs on this machine, where a step's time goes, and what would change it."""

import tempfile
from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, ProgressBar

from vae_zoo.cli.lightning import ZooCLI, listed
from vae_zoo.cli.parser import Parser
from vae_zoo.cli.process import quiet
from vae_zoo.cli.turns import Measured, Turns
from vae_zoo.errors import UserError, require_positive


class BenchmarkCLI(ZooCLI):
    """The command without callbacks that save, stop, or draw."""

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Leave them out."""
        config = self.config_init.trainer
        unwanted = (Checkpoint, EarlyStopping, ProgressBar)
        config.callbacks = [each for each in listed(config.callbacks) if not isinstance(each, unwanted)]
        return super().instantiate_trainer(**kwargs)


def run(arguments: Sequence[str]) -> None:
    """Measure, and print what was found."""
    parser = Parser(
        prog="vae-zoo benchmark",
        usage="vae-zoo benchmark [--seconds S] [--no-try] [--config YAML] [--OPTION VALUE ...]",
        description="Train for some seconds and print steps per second, where their time goes, the memory, the "
        "distance from a plain PyTorch loop and from the machine's matrix products, and what would be faster. "
        "Nothing is kept.",
        epilog="All options of vae-zoo fit can be given, too; see vae-zoo fit --help.",
        allow_abbrev=False,
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to measure (default: %(default)s)")
    parser.add_argument("--no-try", dest="tries", action="store_false", help="measure the settings as they are alone")
    options, rest = parser.parse_known_args(arguments)
    require_positive(seconds=options.seconds)
    print(measure(rest, options.seconds, options.tries))


def measure(arguments: Sequence[str], seconds: float = 20.0, tries: bool = True) -> Measured:
    """Train with the options of ``vae-zoo fit`` for some seconds, in a folder that is removed.

    Args:
        arguments: of ``vae-zoo fit``.
        seconds: how long to measure.
        tries: also try what could be faster.

    Raises:
        UserError: if a checkpoint is given, or several processes.
    """
    if any(argument.partition("=")[0] == "--ckpt_path" for argument in arguments):
        raise UserError("ckpt_path: a benchmark trains a new model; leave it out")
    with tempfile.TemporaryDirectory() as folder, quiet():
        # What would end the training, or write outside of the folder, is none of a benchmark's business.
        own = {"run_dir": f"{folder}/run", "ckpt_path": "null", "images.epochs": "[]"}
        trainer = {"max_epochs": "-1", "max_steps": "-1", "min_epochs": "null", "min_steps": "null", "max_time": "null"}
        trainer |= {"limit_val_batches": "0", "num_sanity_val_steps": "0", "fast_dev_run": "false", "logger": "true"}
        trainer |= dict.fromkeys(("enable_checkpointing", "enable_progress_bar", "enable_model_summary"), "false")
        own |= {f"trainer.{name}": value for name, value in trainer.items()}
        cli = BenchmarkCLI("fit", [*arguments, *(f"--{name}={value}" for name, value in own.items())])
        if cli.trainer.world_size > 1:
            raise UserError("trainer.devices: a benchmark measures one process; give 1")
        turns = Turns(seconds, tries, cli.config.compile, cli.datamodule.facts.ragged)
        cli.model.lr_scheduler = None  # one that waits for a validation would wait for ever
        cli.trainer.callbacks.append(turns)  # type: ignore[attr-defined]
        with cli.running():
            cli.trainer.fit(cli.model, datamodule=cli.datamodule)
        if turns.measured is None:
            raise UserError("the training ended before it was measured; which callback ends it?")
        return turns.measured
