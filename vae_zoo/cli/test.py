"""``vae-zoo test``: measure a trained model on the test images."""

from collections.abc import Sequence

from vae_zoo.cli.lightning import ZooCLI
from vae_zoo.cli.process import quiet


def run(arguments: Sequence[str]) -> None:
    """Test, and say where the results are."""
    with quiet():
        cli = ZooCLI("test", arguments)
        with cli.running():
            cli.trainer.test(cli.model, datamodule=cli.datamodule, **cli.arguments)
        cli.say("results", cli.run_folder.results_file)
