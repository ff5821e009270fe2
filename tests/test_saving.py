"""The best checkpoint: of an epoch with a finite figure, under one name, wherever the run folder lies."""

import math

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from tests.zoo import JOINT, loader, small, trainer
from vae_zoo.cli.saving import BestCheckpoint, OneCheckpoint


class Told(JOINT):
    """Whose validation loss is told."""

    losses = ()

    def on_validation_epoch_end(self):
        self.log("val/told", self.losses[self.current_epoch])


def fit(folder, losses, **settings):
    """Train with these validation losses, and return the epoch of the best checkpoint, None if there is none."""
    model = small(Told)
    model.losses = losses
    best = BestCheckpoint(folder / "checkpoints", "val/told")
    last = ModelCheckpoint(folder / "checkpoints", "last", save_on_train_epoch_end=True, enable_version_counter=False)
    settings = {"callbacks": [best, last], "enable_checkpointing": True, "max_epochs": len(losses)} | settings
    resumed = folder / "checkpoints" / "last.ckpt"
    fits = trainer(folder, num_sanity_val_steps=0, **settings)
    fits.fit(model, loader(), loader(), ckpt_path=resumed if resumed.exists() else None, weights_only=True)
    names = {path.name for path in resumed.parent.iterdir()}
    assert names <= {"best.ckpt", "last.ckpt"}
    return torch.load(resumed.with_name("best.ckpt"), weights_only=True)["epoch"] if "best.ckpt" in names else None


@pytest.mark.parametrize(
    "losses, best",
    [
        ([3.0, 1.0, 2.0], 1),
        ([math.nan, 3.0, 2.0], 2),
        ([3.0, math.nan, -math.inf], 0),
        ([math.nan, math.inf], None),
    ],
)
def test_the_best_epoch_has_a_finite_figure(losses, best, tmp_path):
    assert fit(tmp_path, losses) == best


def test_a_resumed_run_in_a_renamed_folder_keeps_its_best(tmp_path):
    assert fit(tmp_path / "a", [2.0, 1.0]) == 1
    (tmp_path / "a").rename(tmp_path / "b")
    assert fit(tmp_path / "b", [2.0, 1.0, 1.5]) == 1
    assert fit(tmp_path / "b", [2.0, 1.0, 1.5, 0.5]) == 3
    assert not (tmp_path / "a").exists()


def test_a_training_that_begins_anew_leaves_no_best_of_the_one_before(tmp_path):
    assert fit(tmp_path, [2.0]) == 0
    (tmp_path / "checkpoints" / "last.ckpt").unlink()
    assert fit(tmp_path, [math.nan]) is None


def test_a_checkpoint_of_an_earlier_version_is_understood(tmp_path):
    before = ModelCheckpoint(tmp_path, "best", monitor="val/told", save_on_train_epoch_end=False)
    assert BestCheckpoint(tmp_path, "val/told").state_key == before.state_key


@pytest.mark.parametrize("name", ["best", "last"])
def test_a_restored_state_names_no_other_file(name, tmp_path):
    """Lightning removes the file that was best before, whatever path a checkpoint gives for it."""
    precious = tmp_path / "precious.txt"
    saves = OneCheckpoint(tmp_path / "checkpoints", name)
    state = saves.state_dict() | {"best_model_path": str(precious), "best_k_models": {str(precious): torch.tensor(1.0)}}
    for path in (str(precious), "..", str(tmp_path / "checkpoints" / "mine.txt")):
        saves.load_state_dict(
            state | dict.fromkeys(("best_model_path", "kth_best_model_path", "last_model_path"), path)
        )
        own = str(tmp_path / "checkpoints" / f"{name}.ckpt")
        assert {saves.best_model_path, saves.kth_best_model_path, saves.last_model_path, *saves.best_k_models} == {own}
