"""``vae-zoo fit``: train a model."""

import shlex
from collections.abc import Sequence
from contextlib import nullcontext

from lightning.pytorch.loggers import TensorBoardLogger

from vae_zoo.cli.checkpoints import finished_epochs
from vae_zoo.cli.lightning import ZooCLI, short
from vae_zoo.cli.process import quiet
from vae_zoo.errors import UserError, amount
from vae_zoo.newest import first_process
from vae_zoo.trust import foreign


def run(arguments: Sequence[str]) -> None:
    """Train, or resume a training, and say where things are."""
    with quiet():
        cli = ZooCLI("fit", arguments)
        last = cli.run_folder.checkpoint()
        epochs, asked = finished_epochs(cli.saved), cli.trainer.max_epochs
        if cli.saved and asked is not None and 0 <= asked <= epochs:
            said = f"trained for {amount(epochs, 'epoch')}, and trainer.max_epochs is {asked}; a larger one goes on"
            cli.say("finished", said)
        else:
            _fit(cli)
        cli.say("run folder", cli.run_folder.folder)
        cli.say("images", cli.run_folder.picture("", 0).parent)
        root = cli.run_folder.folder if cli.run_dir else cli.run_folder.folder.parents[1]
        if any(isinstance(logger, TensorBoardLogger) for logger in cli.trainer.loggers):
            cli.say("TensorBoard", shlex.join(["tensorboard", "--logdir", short(root)]))
        if last.exists():
            own = sorted(foreign([cli.config.as_dict().get(section) for section in ("model", "data", "evaluation")]))
            trust = ["--trust", *own] if own else []
            cli.say("test it", shlex.join(["vae-zoo", "test", "--ckpt_path", short(last), *trust]))


def _fit(cli: ZooCLI) -> None:
    with cli.run_folder.held() if first_process() else nullcontext():
        if not cli.saved:  # since the first look another process may have trained here, and ended
            cli.run_folder.refuse_trained(anew=True)
        with cli.running():
            _refuse(cli)
            try:
                cli.trainer.fit(cli.model, datamodule=cli.datamodule, **cli.arguments)
            except SystemExit:
                if cli.trainer.interrupted:  # by Ctrl-C
                    raise KeyboardInterrupt(*[_how_to_go_on(cli)] * cli.trainer.is_global_zero) from None
                raise


def _refuse(cli: ZooCLI) -> None:
    """Refuse what the model cannot be trained with."""
    model = type(cli.model).__name__
    if not cli.model.automatic_optimization:
        for name, off in (("gradient_clip_val", 0), ("accumulate_grad_batches", 1)):
            if cli.config.trainer[name] not in (None, off):
                raise UserError(f"trainer.{name}: {model} steps its optimizers itself; leave it out")
    if "labels" in cli.model.hparams and cli.datamodule.facts.labels < 2:
        raise UserError(f"the data have no labels, which {model} needs")


def _how_to_go_on(cli: ZooCLI) -> str:
    run = cli.run_folder
    if not run.checkpoint().exists():
        return "stopped before the end of the first epoch, so there is nothing to resume"
    words = ["vae-zoo", "fit", "--config", short(run.config_file), "--ckpt_path", short(run.checkpoint())]
    return f"stopped; go on from the last epoch with\n  {shlex.join(words)}"
