"""Calls of each model's methods, with inputs of any type, shape and range."""

import inspect
import math

import torch
from hypothesis import strategies

import vae_zoo
from tests.torture.generate import examples
from tests.torture.harness import Case, case, expect
from tests.torture.templates import IMAGES, MODELS, template
from tests.zoo import sketches

FORMS = {
    "float32": lambda x: x,
    "float64": lambda x: x.double(),
    "float16": lambda x: x.half(),
    "bfloat16": lambda x: x.bfloat16(),
    "int64": lambda x: x.long(),
    "uint8": lambda x: (x * 255).to(torch.uint8),
    "bool": lambda x: x > 0.5,
    "complex64": lambda x: x.to(torch.complex64),
    "a NumPy array": lambda x: x.numpy(),
    "a NumPy array of float64": lambda x: x.double().numpy(),
    "a list": lambda x: x.tolist(),
    "not contiguous": lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2),
    "with a gradient": lambda x: x.clone().requires_grad_(),
    "on the meta device": lambda x: x.to("meta"),
    "a text": lambda x: "x",
    "None": lambda x: None,
    "a number": lambda x: 0.5,
}
SAME = {"float32", "not contiguous", "with a gradient"}  # must work, and give the very numbers
NEAR = {"float64", "float16", "bfloat16", "a NumPy array", "a NumPy array of float64", "a list"}  # if they work
SHAPES = {
    "as it should be": lambda x: x,
    "one": lambda x: x[:1],
    "empty": lambda x: x[:0],
    "without a batch": lambda x: x[0],
    "two batches": lambda x: x[None],
    "narrow": lambda x: x[..., :-1],
    "doubled": lambda x: torch.cat([x, x], -1),
    "another channel": lambda x: x[:, :1],
    "flat": lambda x: x.flatten(1),
    "channels last": lambda x: x.movedim(1, -1),
    "no axis": lambda x: x.mean(),
}
RANGES = {
    "in range": lambda x: x,
    "one pixel of 1.5": lambda x: _with(x, 1.5),
    "one pixel of -0.5": lambda x: _with(x, -0.5),
    "0 to 255": lambda x: x * 255,
    "-1 to 1": lambda x: x * 2 - 1,
    "one NaN": lambda x: _with(x, math.nan),
    "all NaN": lambda x: x * math.nan,
    "one infinite": lambda x: _with(x, math.inf),
    "huge": lambda x: x * 1e30,
}
LABELS = {
    "right": lambda y: y,
    "none": lambda y: None,
    "one too many": lambda y: torch.cat([y, y[:1]]),
    "too large": lambda y: y + 1000,
    "negative": lambda y: y - 1000,
    "floats": lambda y: y.float(),
    "with fractions": lambda y: y + 0.5,
    "a NumPy array": lambda y: y.numpy(),
    "a list": lambda y: y.tolist(),
    "in two axes": lambda y: y[None],
    "a number": lambda y: 1,
}
METHODS = ("encode", "reconstruct", "interpolate", "log_prob", "features", "evaluate")
ARGUMENTS = ["sample n", "sample temperature", "sample_prior n", "log_prob samples", "log_prob chunk"]
ARGUMENTS += ["interpolate steps", "reconstruct temperature", "decode temperature"]
# For arguments that are numbers: all but whole ones from 1 on must be refused, and temperatures that are none.
NUMBERS = [0, -1, 1, 3, 1.5, 0.5, math.nan, math.inf, -math.inf, -(2**70)]


def _with(x, value):
    x = x.clone()
    x.view(-1)[x.numel() // 2] = value
    return x


def outputs(found):
    """The tensors in an answer."""
    if isinstance(found, torch.Tensor):
        return [found]
    if isinstance(found, dict):
        return [tensor for value in found.values() for tensor in outputs(value)]
    return []


def inputs(model):
    """A batch that is right."""
    torch.manual_seed(5)
    shape = tuple(model.hparams["shape"])
    x = torch.rand(3, *shape) if model.pixels else sketches(3, longest=min(shape[0], 20))
    return x, torch.arange(3) % (model.labels or 3)


def ask(model, method, x, y, **more):
    """Call a method with a seed."""
    torch.manual_seed(7)
    if method == "interpolate":
        return model.interpolate(x, x, y, **more) if model.labels else model.interpolate(x, x, **more)
    if method == "features":
        return model.features(x)
    more = {"samples": 2} | more if method == "log_prob" else more
    return getattr(model, method)(x, y, **more)


def close(a, b, tolerance):
    """Whether two answers are as far apart as rounding, relative to their size, at most."""
    pairs = [(left.detach().double(), right.detach().double()) for left, right in zip(a, b, strict=True)]
    return all(x.shape == y.shape and bool(((x - y).abs() <= tolerance * (1 + y.abs())).all()) for x, y in pairs)


@case
def given(place, name, method, form, shape, range_, label):
    """A method, given a batch that is wrong in up to four ways."""

    def use():
        model = vae_zoo.load(template(f"runs/{name}/checkpoints/last.ckpt"))
        x, y = inputs(model)
        y = y[: len(SHAPES[shape](x))] if shape in ("one", "empty") else y
        right = y if model.labels else None
        finite = range_ not in ("one NaN", "all NaN", "one infinite")
        if not hasattr(model, method) or (not model.pixels and range_ != "in range" and finite):
            return
        x_, y_ = FORMS[form](SHAPES[shape](RANGES[range_](x))), LABELS[label](y) if model.labels else None
        found = outputs(ask(model, method, x_, y_))
        numbers = form not in ("int64", "uint8", "bool")
        expect(range_ == "in range" or shape == "empty" or not numbers, f"accepted: {range_}")
        wrong = label in ("too large", "negative", "with fractions", "one too many", "none")
        expect(not model.labels or not wrong or method == "features", f"labels accepted: {label}")
        expect(not model.pixels or shape in ("as it should be", "one", "empty"), f"accepted: {shape}")
        if range_ == "in range" and shape == "as it should be" and label == "right":
            same = x_.float() if isinstance(x_, torch.Tensor) else x  # rounded as it was given
            true = outputs(ask(model, method, same, right))
            if form in SAME | NEAR | {"uint8"}:
                tolerance = 1e-6 if form in SAME else 0.05
                expect(close(found, true, tolerance), f"{form} gives other numbers")
        for tensor in found:
            expect(torch.isfinite(tensor).all() or shape == "empty", "an answer that is not finite")

    done = place.load(use)
    right = form == "float32" and shape in ("as it should be", "one") and range_ == "in range" and label == "right"
    known = ("has no", "needs", "given the label")
    expect(not right or done.status == 0 or any(word in done.said for word in known), f"refused: {done.said}")


def number(name, what, value):
    """A method whose number of samples, steps or draws, or temperature, is this."""

    def use():
        model = vae_zoo.load(template(f"runs/{name}/checkpoints/last.ckpt"))
        x, y = inputs(model)
        y = y if model.labels else None
        method, _, argument = what.partition(" ")
        takes = inspect.signature(getattr(model, method, print)).parameters
        if argument not in takes:
            return
        if method in ("sample", "sample_prior"):
            found = outputs(getattr(model, method)(**({"n": 2} | {argument: value})))
        elif method == "decode":
            found = outputs(
                model.decode(
                    model.encode(x, y) if model.encodes else model.sample_prior(len(x)), y, **{argument: value}
                )
            )
        else:
            found = outputs(ask(model, method, x, y, **{argument: value}))
        expect(argument == "temperature" or value in (1, 3), f"{argument} {value!r} was accepted")
        expect(argument != "temperature" or 0 <= value < math.inf, f"a temperature of {value!r} was accepted")
        for tensor in found:
            expect(torch.isfinite(tensor).all(), "an answer that is not finite")

    return Case(f"{name}.{what} {value!r}", lambda place: place.load(use, cpu=20))


def codes(name, form, shape, value):
    """Codes to decode, or labels to sample, that are wrong."""

    def use():
        model = vae_zoo.load(template(f"runs/{name}/checkpoints/last.ckpt"))
        if not model.encodes:
            return
        x, y = inputs(model)
        y = y if model.labels else None
        z = model.encode(x, y)
        found = outputs(model.decode(FORMS[form](SHAPES[shape](_with(z, value))), y))
        for tensor in found if math.isfinite(value) else []:
            expect(torch.isfinite(tensor).all(), "an answer that is not finite")

    return Case(f"{name}.decode, {form}, shape {shape}, one number {value}", lambda place: place.load(use))


def cases(count):
    """What is named in the issue for each model, then combinations of all that there is."""
    usual = {"form": "float32", "shape": "as it should be", "range_": "in range", "label": "right"}
    found = [given(name, "encode", **usual) for name in MODELS]
    for name in MODELS:
        for change in ({"form": "float64"}, {"form": "float16"}, {"form": "a NumPy array"}, {"shape": "empty"}):
            found.append(given(name, "reconstruct" if name in IMAGES else "log_prob", **usual | change))
        for range_ in ("one pixel of 1.5", "one pixel of -0.5", "one NaN"):
            for method in ("encode", "log_prob"):
                found.append(given(name, method, **usual | {"range_": range_}))
    pick = strategies.sampled_from
    every = {"form": pick([*FORMS]), "shape": pick([*SHAPES]), "range_": pick([*RANGES]), "label": pick([*LABELS])}
    fixed = {key: strategies.just(value) for key, value in usual.items()}
    whose = {"name": pick(MODELS), "method": pick(METHODS)}
    one_wrong = [strategies.fixed_dictionaries({**whose, **fixed, key: values}) for key, values in every.items()]
    any_wrong = strategies.fixed_dictionaries({**whose, **every})
    of_numbers = strategies.tuples(pick(MODELS), pick(ARGUMENTS), pick(NUMBERS))
    of_codes = strategies.tuples(pick(MODELS), every["form"], every["shape"], pick([0.0, 3.0, math.nan, math.inf]))
    left = count - len(found)
    found += [number(*drawn) for drawn in examples(of_numbers, left // 5)]
    found += [codes(*drawn) for drawn in examples(of_codes, left // 8)]
    drawn = examples(strategies.one_of(*one_wrong, any_wrong), count - len(found))
    return found + [given(**each) for each in drawn]
