"""What comes from outside is looked at once, at the door: by each public method, and a loader's first batch."""

import inspect
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from tests.zoo import SMALL, batch, every_model, loader, models_that, small, trainer
from vae_zoo.errors import UserError
from vae_zoo.models import CVAE, VAE

encoding = models_that(encodes=True)


def methods(model, x, y):
    """All that takes data, each to be called without arguments."""
    found = {"evaluate": lambda: model.evaluate(x, y)}
    if model.encodes:
        found["encode"] = lambda: model.encode(x, y)
        found["reconstruct"] = lambda: model.reconstruct(x, y)
        found["interpolate a"] = lambda: model.interpolate(x, batch(model, 3)[0], y)
        found["interpolate b"] = lambda: model.interpolate(batch(model, 3)[0], x, y)
        found["features"] = lambda: model.encode(x, y) if model.labels else model.features(x)
    if model.density:
        found["log_prob"] = lambda: model.log_prob(x, y, samples=2)
    return found


def spoilt(x, value):
    """The data with one other number, which is an offset of a sketch."""
    x = x.clone()
    x[1, 0, *[0] * (x.ndim - 2)] = value
    return x


WRONG = {
    "NumPy": (lambda x: x.numpy(), "must be a tensor, got a NumPy array; torch.from_numpy"),
    "a list": (lambda x: [*x], "must be a tensor .*, got a list"),
    "whole numbers": (lambda x: x.to(torch.int64), "must be floats"),
    "complex": (lambda x: x.to(torch.complex64), "must be floats, got complex64"),
    "none": (lambda x: x[:0], "must be a batch of one or more, got none"),
    "a single one": (lambda x: x[0], "must be a batch .*; for a single one, x.None."),
    "sparse": (lambda x: x.to_sparse(), "must be an ordinary dense tensor"),
    "NaN": (lambda x: spoilt(x, torch.nan), "must be finite numbers"),
    "infinite": (lambda x: spoilt(x, torch.inf), "must be finite numbers"),
}
WRONG_IMAGES = {
    "bytes": (
        lambda x: (255 * x).to(torch.uint8),
        "floats in .0, 1.; these are uint8 from .* to .*: divide them by 255",
    ),
    "black and white": (lambda x: x > 0.5, "these are bool from 0 to 1: x.float.. makes them"),
    "up to 255": (lambda x: 255 * x, "these are from .* to 25.*: divide them by 255"),
    "from -1": (lambda x: spoilt(2 * x - 1, -1), "these are from -1 to .*: .x . 1. / 2 brings"),
    "a little below": (lambda x: spoilt(x, -0.01), "these are from -0.01 to "),
    "a little above": (lambda x: spoilt(x, 1.001), "to 1.001: x.clamp"),
    "of another size": (lambda x: x[..., :8], "built for images of shape .3, 16, 16.*, got .3, 16, 8."),
}
WRONG_SKETCHES = {
    "two pens": (lambda x: torch.ones_like(x), "one of the pen states"),
    "half a pen": (lambda x: torch.cat([x[..., :2], x[..., 2:] / 2], -1), "one of the pen states"),
    "endless": (lambda x: x[:, :2], "sketches must end"),
    "four columns": (lambda x: x[..., :4], "offset and pen state of each point, got .3, .*, 4."),
}


@every_model
def test_what_is_no_data_is_refused_by_every_method(cls):
    model = small(cls).eval()
    x, y = batch(model, 3)
    for name, (change, message) in (WRONG | (WRONG_IMAGES if model.pixels else WRONG_SKETCHES)).items():
        for method, call in methods(model, change(x), y).items():
            with pytest.raises(UserError, match=message):
                call()
                pytest.fail(f"{method} takes {name}")


@every_model
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_the_models_own(cls, dtype):
    model = small(cls).eval()
    x, y = batch(model, 3)
    x = x.to(dtype)
    for method, call in methods(model, x, y).items():
        torch.manual_seed(1)
        given = call()
        torch.manual_seed(1)
        expected = methods(model, x.float(), y)[method]()
        if method == "evaluate":
            given, expected = given["figures"], expected["figures"]
        torch.testing.assert_close(given, expected, rtol=0, atol=0)


@models_that(pixels=True)
def test_what_a_model_makes_it_takes(cls):
    model = small(cls)
    for x in (model.sample(3), torch.zeros(3, *SMALL["shape"]), torch.ones(3, *SMALL["shape"]) + 1e-7):
        assert model.evaluate(x, torch.arange(3))


@encoding
def test_what_are_no_codes_is_refused(cls):
    model = small(cls)
    x, y = batch(model, 3)
    z = model.encode(x, y)
    assert model.decode(z.double(), y).dtype == torch.float32
    for wrong, message in [
        (z.numpy(), "codes must be a tensor, got a NumPy array"),
        (z[:, :-1], r"codes must be \(B, 5\) for this model, got \(3, 4\)"),
        (z[0], r"codes must be a batch \(B, 5\), got \(5,\)"),
        (z[:0], "codes must be a batch of one or more"),
        (z.long(), "codes must be floats, got int64"),
        (spoilt(z, torch.nan), "codes must be finite"),
    ]:
        with pytest.raises(UserError, match=message):
            model.decode(wrong, y)


@every_model
@pytest.mark.parametrize("n", [0, -1, 2.5, True, "3", None, torch.tensor(3)])
def test_how_many_is_a_whole_number(cls, n):
    model = small(cls)
    for sample in (model.sample, *([model.sample_prior] if model.encodes else [])):
        with pytest.raises(UserError, match="n must be "):
            sample(n)


@models_that(has_temperature=True)
@pytest.mark.parametrize("temperature", [-1, torch.nan, torch.inf, "hot", True])
def test_a_temperature_is_a_number(cls, temperature):
    with pytest.raises(UserError, match="temperature must be "):
        small(cls).sample(2, temperature=temperature)


@models_that(CVAE)
@pytest.mark.parametrize(
    "wrong", [None, 1, [0, 1, 2], np.arange(3), torch.arange(2), torch.arange(3.0), -torch.arange(3)]
)
def test_labels_of_a_model_that_takes_them(cls, wrong):
    model = small(cls)
    x, _ = batch(model, 3)
    for call in methods(model, x, wrong).values():
        with pytest.raises(UserError, match="labels"):
            call()
    for call in (model.sample, model.sample_prior) if wrong is not None else ():
        with pytest.raises(UserError, match="labels y"):
            call(3, wrong)


@pytest.mark.slow
@every_model
@pytest.mark.parametrize("way", ["fit", "validate", "test", "predict"])
def test_a_loaders_first_batch_is_looked_at(cls, way, tmp_path):
    model = small(cls)
    if way == "predict" and not model.encodes:
        return
    x, y = batch(model, 6)
    data = DataLoader(TensorDataset(spoilt(x, torch.nan), y), 3)
    before = [parameter.clone() for parameter in model.parameters()]
    with warnings.catch_warnings(), pytest.raises(UserError, match="must be finite"):
        warnings.simplefilter("ignore")
        getattr(trainer(tmp_path), way)(model, data)
    assert all(map(torch.equal, before, model.parameters()))  # not one step was taken
    with pytest.raises(UserError, match="must be finite"):  # once it has stopped, all is looked at again
        model.evaluate(spoilt(x, torch.nan), y)


def test_no_other_batch_is_looked_at_while_a_trainer_runs(tmp_path, monkeypatch):
    model, seen = VAE(**SMALL), []
    check = model.check
    monkeypatch.setattr(model, "check", lambda x, values=True: seen.append(values) or check(x, values))
    trainer(tmp_path, num_sanity_val_steps=0, max_epochs=2).fit(model, loader(), loader())
    assert sum(seen) == 1 + 2  # the first of the training, and of each of two validations


def test_a_loader_without_pairs_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a batch must be a pair \(x, y\) .*, got a Tensor"):
        trainer(tmp_path).fit(VAE(**SMALL), DataLoader(torch.rand(8, *SMALL["shape"]), 4))


# --- a constructor's arguments

WHOLE = {"latent", "samples", "steps", "hidden", "depth", "context", "label_width", "labels", "width", "warmup"}
WHOLE |= {"chunk", "mixtures", "encoder_width", "decoder_width"}


@every_model
@pytest.mark.parametrize(
    "value", [-1, torch.nan, torch.inf, "x", [1], {"a": 1}, 10**400, torch.tensor(3)], ids=lambda value: str(value)[:9]
)
def test_a_wrong_argument_of_a_model_is_named(cls, value):
    for name in inspect.signature(cls).parameters:
        with pytest.raises(UserError, match=name):
            small(cls, **{name: value})
            pytest.fail(f"{cls.__name__} takes {name}={value!r}")


@every_model
def test_numbers_are_no_truth_values_and_whole_where_they_count(cls):
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.annotation in (int, float):
            with pytest.raises(UserError, match=name):
                small(cls, **{name: True})
        if name in WHOLE:
            with pytest.raises(UserError, match=f"{name} must be a whole number, got 2.5"):
                small(cls, **{name: 2.5})


@models_that(pixels=True)
@pytest.mark.parametrize(
    "shape", [(3, 16), (3, 16, 16, 1), (3.0, 16, 16), (3, -16, 16), (0, 16, 16), "3x16", 16, (3, 1, 1)]
)
def test_a_shape_is_three_whole_numbers(cls, shape):
    with pytest.raises(UserError, match="shape|image size 1 x 1"):
        small(cls, shape=shape)


def test_the_arguments_of_a_model_derived_from_one_of_ours_are_all_kept():
    class Own(VAE):
        def __init__(self, extra, **arguments):
            super().__init__(**arguments)

    assert Own(3, **SMALL).hparams["extra"] == 3 and Own(3, **SMALL).hparams["latent"] == 5
