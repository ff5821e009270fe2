"""``vae-zoo predict``: the codes of the test images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vae_zoo.cli.lightning import ZooCLI
from vae_zoo.cli.process import quiet


def run(arguments: Sequence[str]) -> None:
    """Predict, write the codes z (N, D) and the labels' names to a ``.npz``, and say where they are."""
    with quiet():
        cli = ZooCLI("predict", arguments)
        with cli.running():
            predictions: Any = cli.trainer.predict(cli.model, datamodule=cli.datamodule, **cli.arguments)
        path = cli.run_folder.codes_file
        path.parent.mkdir(parents=True, exist_ok=True)
        codes = np.concatenate([codes.float().cpu().numpy() for codes in predictions])
        labels = np.concatenate([y.numpy() for _, y in cli.datamodule.predict_dataloader()])
        names = np.array(cli.datamodule.facts.label_names)
        np.savez(path, z=codes, label=names[labels[: len(codes)]])
        cli.say("codes", path)
