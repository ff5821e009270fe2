"""``vae-zoo validate``: measure a trained model on the validation images."""

from collections.abc import Sequence

from vae_zoo.cli.lightning import ZooCLI
from vae_zoo.cli.process import quiet


def run(arguments: Sequence[str]) -> None:
    """Validate, and print the figures."""
    with quiet():
        cli = ZooCLI("validate", arguments)
        with cli.running():
            cli.trainer.validate(cli.model, datamodule=cli.datamodule, **cli.arguments)
