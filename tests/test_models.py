"""Every exported model through its public face, as a notebook user calls it."""

import inspect

import pytest
import torch
from lightning.pytorch import LightningModule

from tests.zoo import MODELS, batch, every_model, models_that, small
from vae_zoo.errors import UserError
from vae_zoo.models import Autoencoder
from vae_zoo.models.latent import WithDensity, spherical
from vae_zoo.results import Traits

encoding = models_that(encodes=True)


def seeded(call):
    torch.manual_seed(1)
    return call()


def calls(model, n=3):
    """All that one may ask of a model, each without arguments; what it has not is left out."""
    x, y = batch(model, n)
    found = {"sample": lambda: model.sample(n, y)}
    if model.encodes:
        z = model.encode(x, y)
        found["encode"] = lambda: model.encode(x, y)
        found["decode"] = lambda: model.decode(z, y)
        found["reconstruct"] = lambda: model.reconstruct(x, y)
        found["interpolate"] = lambda: model.interpolate(x, x.flip(0), y, steps=2)
    if model.density:
        found["log_prob"] = lambda: model.log_prob(x, y, samples=2)
    return found


@models_that(pixels=True)
def test_without_arguments_it_makes_images_of_64_pixels_in_colour(cls):
    model = cls()
    assert tuple(model.hparams["shape"]) == (3, 64, 64)
    (x, y), images = batch(model, 2), [model.sample(4)]
    assert images[0].shape == (4, 3, 64, 64) and model.sample(2, y).shape == x.shape
    if model.encodes:
        z = model.encode(x, y)
        images += [model.decode(z, y), model.reconstruct(x, y)]
        assert z.shape == model.sample_prior(2, y).shape and images[1].shape == images[2].shape == x.shape
    assert all(0 <= each.min() and each.max() <= 1 and not each.requires_grad for each in images)
    assert model.training  # the calls put the mode back


@models_that(pixels=False)
def test_without_arguments_it_makes_sketches(cls):
    assert len(cls().hparams["shape"]) == 2


@encoding
def test_a_reconstruction_is_what_the_codes_decode_to(cls):
    model = small(cls)
    x, y = batch(model, 3)
    z = model.encode(x, y)
    assert z.shape == model.sample_prior(3, y).shape and z.isfinite().all()
    torch.testing.assert_close(model.reconstruct(x, y), model.decode(z, y), rtol=0, atol=0)
    torch.testing.assert_close(model.predict_step((x, y), 0), z, rtol=0, atol=0)


@encoding
def test_a_code_does_not_depend_on_the_other_items_of_the_batch(cls):
    model = small(cls).double()
    x, y = batch(model, 6)
    torch.testing.assert_close(model.encode(x.double(), y)[:1], model.encode(x[:1].double(), y[:1]))


@every_model
def test_calls_evaluate_and_leave_no_trace(cls):
    """Each layer is in evaluation mode and without gradients, so that no batch statistics move."""
    model, seen = small(cls), set()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    for module in model.modules():
        module.register_forward_pre_hook(lambda module, given: seen.add((module.training, torch.is_grad_enabled())))
    for name, call in calls(model).items():
        seen.clear()
        result = call()
        assert not result.requires_grad, name
        if name == "log_prob" and not model.encodes:  # chains without an encoder follow gradients of the codes
            seen -= {(False, True)}
        assert seen == {(False, False)}, name
    assert model.training and all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())


@every_model
def test_calls_put_either_mode_back_even_after_an_error(cls):
    model = small(cls).eval()
    model.sample(1)
    assert not model.training
    model.train()
    with pytest.raises(UserError, match="n must be at least 1, got 0"):
        model.sample(0)
    assert model.training and torch.is_grad_enabled()


@every_model
def test_calls_leave_a_frozen_part_frozen_and_take_any_float(cls):
    model = small(cls).double()
    part = next(model.children())
    part.eval()
    assert model.sample(2).dtype == torch.float64
    assert model.training and not part.training


@encoding
def test_codes_are_float32_under_bfloat16(cls):
    model = small(cls)
    with torch.autocast("cpu", torch.bfloat16):
        assert model.encode(*batch(model, 2)).dtype == torch.float32


@encoding
def test_interpolation_goes_from_one_reconstruction_to_the_other_on_a_great_circle(cls, monkeypatch):
    model = small(cls).double()
    (x, y), codes, decode = batch(model, 4), [], model.decode
    (a, b), y = x.double().split(2), y[:2]
    monkeypatch.setattr(model, "decode", lambda z, y=None: codes.append(z) or decode(z, y))
    assert len(model.interpolate(a, b, y, steps=5)) == 10
    z = codes[0].unflatten(0, (2, 5))  # 2 5 D
    torch.testing.assert_close(z[:, 0], model.encode(a, y))
    torch.testing.assert_close(z[:, -1], model.encode(b, y))
    torch.testing.assert_close(z, spherical(z[:, 0], z[:, -1], torch.linspace(0, 1, 5)).transpose(0, 1))
    with pytest.raises(UserError, match="steps must be at least 2, got 1"):
        model.interpolate(a, b, y, steps=1)


@models_that(WithDensity)
def test_log_prob_is_the_importance_weighted_bound(cls):
    model = small(cls)
    x, y = batch(model, 3)
    assert model.log_prob(x, y, samples=3).shape == (3,)
    copies = [part.repeat_interleave(100, 0) for part in (x, y)]  # so that chance does not turn the means around
    few, many = (model.log_prob(*copies, samples=k).mean() for k in (1, 20))
    assert many > few
    with pytest.raises(UserError, match="samples must be at least 1, got 0"):
        model.log_prob(x, y, samples=0)
    with pytest.raises(UserError, match=r"y are labels, \(B,\), got 5000; .* log_prob\(x, samples=5000\)"):
        model.log_prob(x, 5000)


# --- what a model declares is so


@every_model
def test_traits_are_what_is_declared(cls):
    model = small(cls)
    assert model.traits == {name: getattr(model, name) for name in Traits.__annotations__}
    assert model.encodes is isinstance(model, Autoencoder)


@models_that(density=True)
def test_a_density_is_of_each_item_and_of_the_label_if_it_says_so(cls):
    model = small(cls)
    x, y = batch(model, 3)
    log_prob = seeded(lambda: model.log_prob(x, y, samples=2))
    assert log_prob.shape == (3,) and log_prob.isfinite().all()
    if model.conditional:
        assert (log_prob != seeded(lambda: model.log_prob(x, y.roll(1), samples=2))).all()
    else:
        assert torch.equal(log_prob, seeded(lambda: model.log_prob(x, samples=2)))


@models_that(density=False)
def test_a_model_without_a_density_says_so(cls):
    model = small(cls)
    assert not model.conditional
    with pytest.raises(UserError, match=f"{cls.__name__} has no density"):
        model.log_prob(*batch(model, 1), samples=100)


@models_that(encodes=False)
def test_a_model_without_codes_says_so(cls):
    model = small(cls)
    with pytest.raises(UserError, match=f"{cls.__name__} has no encoder"):
        model.predict_step(batch(model, 1), 0)
    assert model.evaluate(*batch(model, 2))["trace"] is None


@every_model
def test_labels_are_needed_where_there_are_some_and_else_make_no_difference(cls):
    model = small(cls)
    x, y = batch(model, 3)
    assert len(model.sample(3)) == 3  # of labels drawn at random
    if model.labels:
        with pytest.raises(UserError, match="labels y must lie in 0 ... "):
            model.sample(1, torch.tensor([model.labels]))
        if model.encodes:
            with pytest.raises(UserError, match="this model needs the labels y of the images"):
                model.encode(x)
    else:
        assert torch.equal(seeded(lambda: model.sample(3, y)), seeded(lambda: model.sample(3)))
        if model.encodes:
            assert torch.equal(model.encode(x, y), model.encode(x))


@every_model
def test_a_temperature_is_taken_where_there_is_one_and_refused_elsewhere(cls):
    model = small(cls)
    x, y = batch(model, 2)
    ways = [lambda temperature: model.sample(2, temperature=temperature)]
    if model.encodes:
        ways.append(lambda temperature: model.reconstruct(x, y, temperature=temperature))
    for way in ways:
        if model.has_temperature:
            assert len(way(0.0)) == len(way(0.5)) == 2
            if model.encodes and way is ways[-1]:
                assert torch.equal(way(0.0), way(0.0))  # of the same codes
        else:
            with pytest.raises(UserError, match=f"temperature 0.5: {cls.__name__} has none"):
                way(0.5)


@every_model
def test_what_it_makes_can_be_looked_at(cls):
    model = small(cls)
    drawn = model.sample(4)
    pictures = model.pictures(drawn)
    assert len(pictures) == 4 and pictures.ndim == 4 and 0 <= pictures.min() and pictures.max() <= 1
    if model.pixels:
        assert torch.equal(pictures, drawn) and drawn.shape[1:] == tuple(model.hparams["shape"])
        with pytest.raises(UserError, match=f"{cls.__name__} makes pixels, which an .svg has no use for"):
            model.svg([drawn])
    else:
        assert drawn.shape[2] == 5 and model.svg([drawn]).startswith("<?xml")


@encoding
def test_features_are_the_codes_unless_the_encoder_is_given_the_label(cls):
    model = small(cls)
    x, _ = batch(model, 3)
    if model.labels:
        with pytest.raises(UserError, match="encoder is given the label"):
            model.features(x)
    else:
        assert torch.equal(model.features(x), model.encode(x).flatten(1))


# --- the classes


OURS = {base for cls in MODELS for base in cls.__mro__ if base.__module__.startswith("vae_zoo.models")}


@every_model
def test_each_method_is_implemented_in_one_place(cls):
    """What a base implements, no subclass overrides; Lightning's hooks, which call super, are exempt."""
    places = {}
    for base in OURS.intersection(cls.__mro__):
        for name, value in vars(base).items():
            method = callable(value) or isinstance(value, (property, classmethod, staticmethod))
            if method and not getattr(value, "__isabstractmethod__", False) and name not in dir(LightningModule):
                places.setdefault(name, []).append(base.__name__)
    assert len(places) > 5
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_a_class_is_abstract_or_a_model_that_no_other_model_inherits():
    for cls in OURS - set(MODELS):
        assert inspect.isabstract(cls), cls
        with pytest.raises(TypeError, match="abstract"):
            cls()
    for cls in MODELS:
        assert set(MODELS).intersection(cls.__mro__) == {cls}
