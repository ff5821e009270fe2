"""``vae-zoo predict``: the codes of the test images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vae_zoo.cli.lightning import ZooCLI
from vae_zoo.cli.process import quiet
from vae_zoo.errors import UserError
from vae_zoo.writing import whole


def run(arguments: Sequence[str]) -> None:
    """Predict, write the codes z (N, D) and the labels' names to a ``.npz``, and say where they are."""
    with quiet():
        cli = ZooCLI("predict", arguments)
        with cli.running():
            predictions: Any = cli.trainer.predict(cli.model, datamodule=cli.datamodule, **cli.arguments)
        if not predictions:
            raise UserError("there are no images to predict, see trainer.limit_predict_batches")
        path = cli.run_folder.codes_file
        codes = np.concatenate([codes.float().cpu().numpy() for codes in predictions])
        labels = np.concatenate([y.numpy() for _, y in cli.datamodule.predict_dataloader()])
        names = np.array(cli.datamodule.facts.label_names)
        with whole(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, z=codes, label=names[labels[: len(codes)]])
        cli.say("codes", path)
