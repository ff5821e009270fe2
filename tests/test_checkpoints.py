"""Checkpoints: safe to load, the same to the bit, and a clear word for what is none."""

import functools
import pickle
import random

import pytest
import torch

import vae_zoo
from tests.conftest import call, options
from tests.zoo import batch, every_model, loader_of, makes_the_same, models_that, same, small, trainer
from vae_zoo.checkpoints import checksum
from vae_zoo.distributions import Gaussian
from vae_zoo.errors import UserError
from vae_zoo.hyperparameters import plain


def saved(model, folder, **settings):
    """The checkpoint of a short training."""
    fit = trainer(folder, **settings)
    fit.fit(model, loader_of(model), loader_of(model))
    fit.save_checkpoint(folder / "x.ckpt")
    return folder / "x.ckpt"


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
    assert makes_the_same(model, loaded, x, y)


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


def test_a_checkpoint_that_may_not_be_read_says_that(tmp_path, monkeypatch):
    (tmp_path / "x.ckpt").touch()

    def load(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(PermissionError, match="Permission denied: .*x.ckpt"):
        vae_zoo.load(tmp_path / "x.ckpt")


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 nor a whole zip"])
def test_a_file_that_is_no_checkpoint(tmp_path, content):
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(UserError, match="x.ckpt is not a checkpoint of a vae_zoo model"):
        vae_zoo.load(tmp_path / "x.ckpt")
    (tmp_path / "x.ckpt").write_bytes(pickle.dumps({"a": len}, protocol=4))
    with pytest.raises(UserError, match="a vae_zoo model: it is cut off, or more than tensors and plain values that"):
        vae_zoo.load(tmp_path / "x.ckpt")
    torch.save({"weights": torch.ones(1)}, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match="x.ckpt is not a checkpoint of a vae_zoo model"):
        vae_zoo.load(tmp_path / "x.ckpt")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(UserError, match=f"is a part of an exported model; give its folder, {tmp_path}"):
        vae_zoo.load(tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="there is no such checkpoint file"):
        vae_zoo.load(tmp_path / "nowhere.ckpt")


@pytest.fixture
def last(run, monkeypatch):
    """The last checkpoint of a run that the commands find."""
    monkeypatch.chdir(run.parents[2])
    return run / "checkpoints" / "last.ckpt"


def edited(path, change):
    """Change what a checkpoint holds; its checksum stays."""
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    return path


def test_no_flipped_bit_changes_what_is_loaded(last, tmp_path):
    model, content, rng = vae_zoo.load(last), last.read_bytes(), random.Random(0)
    refused = 0
    for place in rng.sample(range(len(content)), 200):
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.randrange(8)
        (tmp_path / "x.ckpt").write_bytes(damaged)
        try:  # between the records of the file there is padding, where nothing is lost
            loaded = vae_zoo.load(tmp_path / "x.ckpt")
        except UserError:
            refused += 1
        else:
            assert same(model, loaded) and plain("", model.hparams) == plain("", loaded.hparams)
    assert refused > 150


def change_weight(saved):
    next(iter(saved["state_dict"].values())).add_(1e-3)


@pytest.mark.parametrize(
    "change",
    [
        change_weight,
        lambda saved: saved["hyper_parameters"].pop("likelihood"),
        lambda saved: saved["hyper_parameters"].update(beta=1.5),
        lambda saved: saved.update(epoch=3),
        lambda saved: saved["callbacks"].clear(),
        lambda saved: saved["optimizer_states"].clear(),
    ],
)
@pytest.mark.parametrize("command", ["test", "sample", "fit"])
def test_what_was_changed_after_it_was_saved_is_told(command, change, last, shapes, capsys):
    edited(last, change)
    words = ["--config", "vae", "--data.root", shapes] if command == "fit" else []
    assert call(command, *words, "--ckpt_path", last) == 1
    assert "last.ckpt is damaged: it does not hold what was saved" in capsys.readouterr().err


def test_a_checkpoint_of_before_there_were_checksums_is_loaded_with_a_word(last):
    edited(last, lambda saved: saved.pop("checksum"))
    with pytest.warns(UserWarning, match="has no checksum"):
        vae_zoo.load(last)


def test_a_hyper_parameter_that_is_missing_or_unknown_is_told(last):
    def older(saved):
        del saved["hyper_parameters"]["likelihood"], saved["checksum"]

    with pytest.warns(UserWarning, match="does not say likelihood, so VAE's default is taken"):
        vae_zoo.load(edited(last, older))
    with pytest.warns(), pytest.raises(UserError, match="has an argument 'gamma', which VAE does not have"):
        vae_zoo.load(edited(last, lambda saved: saved["hyper_parameters"].update(gamma=1)))


@pytest.mark.parametrize("part", ["state_dict", "hyper_parameters", "epoch", "global_step", "loops", "callbacks"])
@pytest.mark.parametrize("value", [None, [1]])
def test_a_part_of_another_kind_is_told(part, value, last):
    def change(saved):
        del saved["checksum"]
        saved[part] = value

    with pytest.raises(UserError, match=f"is not a checkpoint of a vae_zoo model: it has no {part}"):
        vae_zoo.load(edited(last, change))


def test_a_tensor_that_claims_to_be_larger_than_the_file_is_told(last):
    def claim(saved):
        saved["state_dict"]["posterior.encoder.1.weight"] = torch.zeros(1).expand(10**13)

    with pytest.raises(UserError, match="larger than what is stored of it"):
        vae_zoo.load(edited(last, claim))


def test_weights_that_are_no_numbers_are_refused_unless_asked_for(last, capsys):
    def diverge(saved):
        saved["state_dict"]["posterior.encoder.1.weight"][:] = torch.nan
        saved["checksum"] = checksum(saved)

    edited(last, diverge)
    for command in ("test", "sample", "probe", "reconstruct"):
        assert call(command, "--ckpt_path", last) == 1
        assert "posterior.encoder.1.weight is not finite, so the training diverged" in capsys.readouterr().err
    assert call("sample", "--ckpt_path", last, "--allow_nonfinite") == 0
    assert not vae_zoo.load(last, allow_nonfinite=True).posterior.encoder[1].weight.isfinite().any()


def shared(levels):
    """A list of lists, which holds 10^levels values in the memory of a few."""
    return [shared(levels - 1)] * 10 if levels else 0


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda saved: saved["hyper_parameters"].update(encoder=shared(9)), "it names the same values too often"),
        (lambda saved: saved["hyper_parameters"].update(shape=[3] * 20_000), "it has more than 10000 values"),
        (lambda saved: saved["hyper_parameters"].update(latent=10**4), "a larger model than the one whose weights"),
        (lambda saved: saved["loops"]["fit_loop"]["epoch_progress"]["current"].update(completed=-(10**6)), "-1000000"),
    ],
)
def test_a_small_file_cannot_fill_the_memory(change, message, last, capsys):
    """Without a look at the checksum, which counts the values, too."""
    edited(last, lambda saved: (saved.pop("checksum"), change(saved)))
    assert call("sample", "--ckpt_path", last) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda saved: saved["callbacks"].update(Timing=1), "the state of the callback Timing is 1"),
        (lambda saved: saved["callbacks"].update(Timing={"epochs": [{"seconds": 0}]}), "measured epochs are damaged"),
        (lambda saved: saved.update(epoch=-(10**6)), "it is of epoch -1000000"),
        (lambda saved: saved.update(optimizer_states=[1]), "cannot be restored"),
    ],
)
def test_a_part_that_no_training_can_have_is_told(change, message, last, shapes, capsys):
    def with_checksum(saved):
        change(saved)
        saved["checksum"] = checksum(saved)

    edited(last, with_checksum)
    words = options(data__root=shapes, trainer__max_epochs=9, images__epochs="[0,5,50]")
    assert call("fit", "--config", "vae", *words, "--ckpt_path", last) == 1
    assert message in capsys.readouterr().err
