"""``vae-zoo validate``: measure a trained model on the validation images."""

from collections.abc import Sequence

from vae_zoo.cli.lightning import ZooCLI
from vae_zoo.cli.process import quiet
from vae_zoo.errors import UserError


def run(arguments: Sequence[str]) -> None:
    """Validate, and print the figures."""
    with quiet():
        cli = ZooCLI("validate", arguments)
        with cli.running():
            found = cli.trainer.validate(cli.model, datamodule=cli.datamodule, **cli.arguments)
        if not any(found):
            raise UserError("there are no images to validate on, see data.n_val and trainer.limit_val_batches")
