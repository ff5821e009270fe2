"""Trainings that diverge, and what is made of them: told, stopped, and never a NaN that passes for a result."""

import json
import math

import torch

from tests.torture.generate import dice
from tests.torture.harness import case, expect, words_of
from tests.torture.kills import curve
from tests.torture.templates import MODELS, config, fit

RATES = ["1e6", "1e30", "1e3", "1e12", "1e300", "30"]


def finite(path):
    """Whether all weights of a checkpoint are numbers."""
    state = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    return all(bool(torch.isfinite(tensor).all()) for tensor in state.values() if tensor.is_floating_point())


def strict(path):
    """The content of a JSON file, which has no NaN."""

    def refuse(constant):
        expect(False, f"{path.name} has {constant}, which is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


@case
def diverging(place, name, *options, then=("test",)):
    """A training with options that let it diverge, and commands on what it leaves."""
    place.own += ("*",)
    done = fit(place, name, *options)
    checkpoints = place.work / "run" / "checkpoints"
    for path in checkpoints.glob("*.ckpt"):
        expect(finite(path), f"{path.name} has weights that are no numbers, and fit ended with {done.status}")
    if done.status == 0:
        rows, _ = curve(place.work / "run")
        losses = [float(value) for row in rows for key, value in row.items() if value and key.endswith("/loss")]
        told = {"finite", "diverged", "nan", "infinite"} & set(words_of(done.said))
        expect(told or all(map(math.isfinite, losses)), "a loss that is no number, and not a word of it")
    for command in then if (checkpoints / "last.ckpt").exists() else ():
        place.zoo(command, "--ckpt_path", checkpoints / "last.ckpt")
    for path in (place.work / "run").glob("*.json"):
        strict(path)


def rates_of(arguments):
    """The names of a model's learning rates, and of those of its parts."""
    for key, value in arguments.items():
        if key.endswith("lr"):
            yield key
        elif isinstance(value, dict):
            yield from (f"{key}.{name}" for name in rates_of(value.get("init_args", {})))


def cases(count):
    """Every model at learning rates from too large to absurd."""
    found = []
    for number, rate in enumerate(RATES):
        for name in MODELS:
            rates = [*rates_of(config(name)["model"]["init_args"])]
            chosen = rates if number < 2 else dice(f"rates {name}", number).sample(rates, 1)
            commands = [("test", "probe"), ("sample",), ("test",), ("validate", "reconstruct")][
                (number + len(found)) % 4
            ]
            options = [word for key in chosen for word in (f"--model.{key}", rate)]
            found.append(diverging(name, *options, then=commands))
    found += [
        diverging("vae", "--model.likelihood.sigma", "1e-30"),
        diverging("vae", "--model.beta", "1e38"),
        diverging("vae", "--model.lr", "1e6", "--trainer.gradient_clip_val", "1"),
        diverging("vae", "--model.lr", "1e6", "--trainer.precision", "bf16-mixed"),
        diverging("vae", "--model.lr", "1e6", "--trainer.max_epochs", "4", "--trainer.check_val_every_n_epoch", "2"),
        diverging("vae", "--model.lr", "1e6", "--data.val_on_test", "true", "--data.n_val", "null"),
    ]
    return found[:count]
