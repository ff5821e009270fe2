"""Checkpoints: safe to load, the same to the bit, and a clear word for what is none."""

import functools

import pytest
import torch

import vae_zoo
from tests.zoo import batch, every_model, loader_of, models_that, small, trainer
from vae_zoo.distributions import Gaussian
from vae_zoo.errors import UserError


def saved(model, folder, **settings):
    """The checkpoint of a short training."""
    fit = trainer(folder, **settings)
    fit.fit(model, loader_of(model), loader_of(model))
    fit.save_checkpoint(folder / "x.ckpt")
    return folder / "x.ckpt"


def same(model, other):
    states = model.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@every_model
@pytest.mark.slow
def test_a_checkpoint_loads_safely_and_draws_the_same_to_the_bit(cls, tmp_path):
    model = small(cls)
    path = saved(model, tmp_path)
    torch.load(path, weights_only=True)
    loaded = vae_zoo.load(path)
    assert type(loaded) is cls and not loaded.training and same(model, loaded)
    assert type(cls.load_from_checkpoint(path, weights_only=True)) is cls
    x, y = batch(model, 4)
    drawn = []
    for each in (model, loaded):
        torch.manual_seed(3)
        drawn.append([each.sample(4, y), *([each.reconstruct(x, y)] if model.encodes else [])])
    assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))


@models_that(takes="likelihood")
@pytest.mark.slow
def test_a_factory_with_its_settings_is_in_the_checkpoint(cls, tmp_path):
    loaded = vae_zoo.load(saved(small(cls, likelihood=functools.partial(Gaussian, sigma=0.3)), tmp_path))
    (pixels,) = [module for module in loaded.modules() if isinstance(module, Gaussian)]
    assert pixels.log_sigma.exp() == pytest.approx(0.3)


@every_model
@pytest.mark.slow
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(cls, tmp_path):
    start = small(cls).state_dict()

    def fresh():
        model = small(cls)
        model.load_state_dict(start)
        return model

    data = loader_of(fresh())
    torch.manual_seed(4)
    trainer(tmp_path, max_epochs=3).fit(whole := fresh(), data)
    torch.manual_seed(4)
    first = trainer(tmp_path, max_epochs=1)
    first.fit(fresh(), data)
    first.save_checkpoint(tmp_path / "x.ckpt")
    torch.manual_seed(4)
    second = trainer(tmp_path, max_epochs=3)
    second.fit(resumed := small(cls), data, ckpt_path=tmp_path / "x.ckpt", weights_only=True)
    assert same(whole, resumed)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 nor a whole zip"])
def test_a_file_that_is_no_checkpoint(tmp_path, content):
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(UserError, match="x.ckpt is not a checkpoint of a vae_zoo model"):
        vae_zoo.load(tmp_path / "x.ckpt")
    torch.save({"weights": torch.ones(1)}, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match="x.ckpt is not a checkpoint of a vae_zoo model"):
        vae_zoo.load(tmp_path / "x.ckpt")
    with pytest.raises(UserError, match="there is no such checkpoint file"):
        vae_zoo.load(tmp_path / "nowhere.ckpt")
