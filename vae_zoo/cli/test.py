"""``vae-zoo test``: measure a trained model on the test images."""

from collections.abc import Sequence
from pathlib import Path

from vae_zoo.cli.lightning import ZooCLI
from vae_zoo.cli.process import quiet
from vae_zoo.errors import UserError


def run(arguments: Sequence[str]) -> None:
    """Test, and say where the results are."""
    with quiet():
        cli = ZooCLI("test", arguments)
        results = cli.run_folder.results_file
        before = _written(results)
        with cli.running():
            found = cli.trainer.test(cli.model, datamodule=cli.datamodule, **cli.arguments)
        if not any(found):
            raise UserError("there are no images to test on, see trainer.limit_test_batches")
        if _written(results) != before:  # of a part of the images it is not
            cli.say("results", results)


def _written(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0
