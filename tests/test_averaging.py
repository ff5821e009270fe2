"""Averaged weights by Lightning's callback: what is saved, loaded, tested and sampled is the average."""

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EMAWeightAveraging

import vae_zoo
from tests.zoo import batch, every_model, loader_of, small, trainer

pytestmark = pytest.mark.slow
DECAY = 0.8


class ByHand(Callback):
    """The moving average of the weights after each step; the first counts whole."""

    def __init__(self):
        self.average, self.last, self.validated = {}, {}, []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.last = {name: parameter.detach().clone() for name, parameter in pl_module.named_parameters()}
        for name, value in self.last.items():
            self.average[name] = DECAY * self.average.get(name, value) + (1 - DECAY) * value

    def on_validation_batch_start(self, trainer, pl_module, *_):
        if not trainer.sanity_checking:
            self.validated.append(self.same(pl_module))

    def same(self, model):
        found = dict(model.named_parameters())
        return all(torch.allclose(found[name], value, rtol=1e-5, atol=1e-7) for name, value in self.average.items())


@every_model
def test_the_checkpoint_has_the_averaged_weights(cls, tmp_path):
    model, by_hand = small(cls), ByHand()
    data = loader_of(model)
    fit = trainer(tmp_path, max_epochs=2, callbacks=[by_hand, EMAWeightAveraging(decay=DECAY)])
    fit.fit(model, data, data)
    assert by_hand.average.keys() == dict(model.named_parameters()).keys()
    assert any(not torch.allclose(by_hand.last[name], value) for name, value in by_hand.average.items())
    assert len(by_hand.validated) == 6 and all(by_hand.validated)
    fit.save_checkpoint(tmp_path / "x.ckpt")
    loaded = vae_zoo.load(tmp_path / "x.ckpt")
    assert by_hand.same(loaded) and by_hand.same(model)
    x, y = batch(model, 4)
    drawn = []
    for each in (model, loaded):
        torch.manual_seed(3)
        drawn.append(each.sample(4, y))
    assert torch.equal(*drawn)


@every_model
def test_a_resumed_average_is_that_of_an_uninterrupted_run(cls, tmp_path):
    start, data = small(cls).state_dict(), loader_of(small(cls))

    def fit(epochs, **settings):
        model = small(cls)
        model.load_state_dict(start)
        torch.manual_seed(4)
        run = trainer(tmp_path, max_epochs=epochs, callbacks=[EMAWeightAveraging(decay=DECAY), Saved(tmp_path)])
        run.fit(model, data, **settings)
        return model

    whole = fit(3)
    fit(2)
    resumed = fit(3, ckpt_path=tmp_path / "2.ckpt")
    for (name, a), b in zip(whole.named_parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b), name


class Saved(Callback):
    """A checkpoint at the end of each epoch, as a run writes it: inside of the training."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.save_checkpoint(self.folder / f"{trainer.current_epoch + 1}.ckpt")
