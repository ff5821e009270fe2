"""``vae-zoo predict``: the codes of the test images."""

from collections.abc import Sequence

from vae_zoo.cli.lightning import ZooCLI
from vae_zoo.cli.process import quiet


def run(arguments: Sequence[str]) -> None:
    """Predict, and say where the codes are."""
    with quiet():
        cli = ZooCLI("predict", arguments)
        with cli.running():
            cli.trainer.predict(cli.model, datamodule=cli.datamodule, **cli.arguments)
        cli.say("codes", cli.run_folder.codes_file)
