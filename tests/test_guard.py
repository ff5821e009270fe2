"""A step whose loss or gradient is not finite is skipped and named, and a training that cannot go on stops."""

import math
import re
from functools import partial

import pytest
import torch
from torch.optim import SGD, Adagrad, Adam, AdamW

from tests.conftest import call, config_that, only_run, options_for
from tests.zoo import BY_TURNS, JOINT, every_model, loader_of, small, trainer
from vae_zoo.callbacks import Guard, guard
from vae_zoo.errors import UserError

both = pytest.mark.parametrize("cls", [JOINT, BY_TURNS])
looked = pytest.mark.parametrize("at_once", [True, False], ids=["CPU", "device"])


def spoilt(cls, bad, **changes):
    """A model with states of its weights after each batch; a parameter's gradient is not finite in some of them."""

    class Spoilt(cls):
        states = ()

        def on_train_batch_start(self, batch, batch_idx):
            super().on_train_batch_start(batch, batch_idx)
            self.spoils = self.trainer.global_step in bad

        def on_train_batch_end(self, *_):
            self.states = (*self.states, [each.detach().clone() for each in self.parameters()])

    model = small(Spoilt, **changes)
    for parameter in model.parameters():
        parameter.register_hook(lambda gradient: gradient + math.nan if model.spoils else gradient)
    return model


def stays(before, after):
    return all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def fit(folder, model, *callbacks, batches=5, **settings):
    fits = trainer(folder, **{"callbacks": list(callbacks) or [Guard()], "log_every_n_steps": 2} | settings)
    fits.fit(model, loader_of(model, 8 * batches, 8))
    return fits


@looked
@both
def test_a_step_is_skipped_and_named_and_the_next_one_is_not(cls, at_once, tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "looked_at_once", lambda device: at_once)
    model = spoilt(cls, {2})
    # On a device Python hears of it later, when the gradient is another step's.
    what = r"the gradient of \S+" if at_once else "the loss or the length of its gradient"
    said = rf"Spoilt, step 2, learning rate [\d.e, -]+: {what} is not finite, and the step is skipped"
    with pytest.warns(UserWarning, match=said):
        fits = fit(tmp_path, model)
    assert stays(model.states[1], model.states[2]) and not stays(model.states[2], model.states[3])
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    states = [state for optimizer in fits.optimizers for state in optimizer.state.values()]
    assert states and all(state["step"] == 4 for state in states)  # of five


OPTIMIZERS = {
    "Adam": lambda p: Adam(p, fused=False),
    "fused Adam": lambda p: Adam(p, fused=True),
    "AdamW": AdamW,
    "SGD": lambda p: SGD(p, momentum=0.9, weight_decay=0.1),
    "fused SGD": lambda p: SGD(p, momentum=0.9, weight_decay=0.1, fused=True),
    "Adagrad": lambda p: Adagrad(p),
}


@looked
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_leave_weights_and_state_alone(name, at_once, tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "looked_at_once", lambda device: at_once)
    model = spoilt(JOINT, {1}, optimizer=OPTIMIZERS[name], lr=1e-3)
    with pytest.warns(UserWarning, match="step 1, .* is not finite"):
        fit(tmp_path, model)
    if at_once or "fused" in name:
        assert stays(model.states[0], model.states[1])
    # Others are given a gradient of zero on a device: they move by what they remember.
    assert all(each.isfinite().all() for state in model.states for each in state)


@looked
@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_what_is_not_finite_is_not_clipped(algorithm, at_once, tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "looked_at_once", lambda device: at_once)
    model = spoilt(JOINT, {1}, optimizer=partial(SGD, lr=1e-5))
    with pytest.warns(UserWarning, match="step 1, .* is not finite"):
        fits = fit(tmp_path, model, gradient_clip_val=0.5, gradient_clip_algorithm=algorithm)
    assert stays(model.states[0], model.states[1]) and not stays(model.states[1], model.states[2])
    assert fits.gradient_clip_val == 0.5


@looked
@both
def test_it_stops_after_ten_in_a_row(cls, at_once, tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "looked_at_once", lambda device: at_once)
    model = spoilt(cls, range(6, 1000))
    said = "further: 10 steps in a row were skipped, at learning rate .*, since the gradient of .* is not finite. Try a"
    with pytest.warns(UserWarning), pytest.raises(UserError, match=said):
        fit(tmp_path, model, batches=20)
    assert stays(model.states[5], model.states[-1]) and len(model.states) == 15  # and none of the sixteenth


def test_it_stops_after_an_epoch_without_a_step(tmp_path):
    model = spoilt(JOINT, range(5, 10))
    with (
        pytest.warns(UserWarning),
        pytest.raises(UserError, match="5 steps in a row were skipped, at learning rate 0.001, "),
    ):
        fit(tmp_path, model, max_epochs=3)


def test_six_in_a_row_are_told_in_one_warning(tmp_path, recwarn):
    fit(tmp_path, spoilt(JOINT, range(3, 9)), max_epochs=4)
    assert len([warning for warning in recwarn if "not finite" in str(warning.message)]) == 1


def test_it_can_be_told_how_many(tmp_path):
    with pytest.warns(UserWarning), pytest.raises(UserError, match="2 steps in a row"):
        fit(tmp_path, spoilt(JOINT, range(1, 99)), Guard(in_a_row=2))
    with pytest.raises(UserError, match="in_a_row must be at least 1, got 0"):
        Guard(in_a_row=0)


class Infinite(JOINT):
    """A loss that is not finite, though its gradient is; and figures that say so."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) + (math.inf if self.trainer.global_step == 1 else 0)

    def evaluate(self, x, y=None):
        assert not self.training
        torch.rand(1)
        evaluated = super().evaluate(x, y)
        return {**evaluated, "figures": {**evaluated["figures"], "kl": x[:, 0, 0, 0] * math.nan}}


@looked
def test_the_figures_that_are_not_finite_are_named_without_touching_random_state(at_once, tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "looked_at_once", lambda device: at_once)
    model = small(Infinite)
    random = []
    monkeypatch.setattr(guard, "_figures", lambda *given, of=guard._figures: _noting(random, of, *given))
    with pytest.warns(UserWarning, match="Infinite, step 1, learning rate 0.001: the batch's kl is not finite"):
        fit(tmp_path, model)
    assert torch.equal(*random)


def _noting(random, function, *given):
    random.append(torch.get_rng_state())
    found = function(*given)
    random.append(torch.get_rng_state())
    return found


@looked
@every_model
@pytest.mark.slow
def test_a_sound_training_is_the_same_to_the_bit(cls, at_once, tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(guard, "looked_at_once", lambda device: at_once)
    weights = []
    for callbacks in ([Guard()], []):
        torch.manual_seed(0)
        model = small(cls)
        trainer(tmp_path, callbacks=callbacks, max_epochs=2).fit(model, loader_of(model))
        weights.append(list(model.parameters()))
    assert stays(*weights) and not [warning for warning in recwarn if "not finite" in str(warning.message)]


def test_what_is_not_finite_is_not_saved(tmp_path):
    model = small(JOINT)
    fits = fit(tmp_path, model)
    fits.save_checkpoint(tmp_path / "good.ckpt")
    name, parameter = next(iter(model.named_parameters()))
    parameter.data[0] = math.inf
    with pytest.raises(UserError, match=f"is not saved: state_dict.{name} is not finite"):
        fits.save_checkpoint(tmp_path / "bad.ckpt")
    assert [path.name for path in tmp_path.glob("*.ckpt")] == ["good.ckpt"]


@pytest.mark.slow
@pytest.mark.parametrize("cls", [JOINT, BY_TURNS])
def test_a_rate_that_is_far_too_high_is_one_clear_line(cls, shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = config_that(**{name: getattr(cls(**cls.tiny), name) for name in ("automatic_optimization", "monitor")})
    words = options_for(config, data__root=shapes, model__lr="1e6", trainer__max_epochs=9)
    status = call("fit", "--config", config, *words)
    said = capsys.readouterr().err
    saved = [torch.load(path, weights_only=True)["state_dict"] for path in tmp_path.rglob("*.ckpt")]
    assert all(weight.isfinite().all() for state in saved for weight in state.values())
    assert (status == 1) == bool(re.search("^vae-zoo fit: .* cannot be trained any further", said, re.M))
    assert only_run(tmp_path) and "Traceback" not in said


@pytest.mark.parametrize("device, at_once", [("cpu", True), ("cuda", False), ("mps", False), ("meta", False)])
def test_no_step_waits_for_a_device(device, at_once):
    assert guard.looked_at_once(torch.device(device)) is at_once
